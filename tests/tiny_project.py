"""A project in a folder: notebooks, tiny params files, four rooms in ScanNet's layout and three in S3DIS'."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from otoc_lib.datasets.bundled_rooms import CATEGORIES, BundledRoom, label_table, write_scan
from otoc_lib.datasets.s3dis import write_room
from otoc_lib.labels import IGNORE, S3DIS13
from otoc_lib.scene import Scene

ROOT = Path(__file__).parents[1]
TINY = {
    "profile": "tiny",
    "data_root": "data/rooms",
    "eval_splits": ["val"],
    "voxel_size": 0.15,
    "unet_width": 4,
    "unet_levels": 3,
    "unet_blocks": 1,
    "relation_dim": 4,
    "batch_size": 2,
    "unet_steps": 3,
    "unet_steps_later": 2,
    "relation_steps": 2,
    "relation_steps_later": 1,
    "elastic_granularity": [],
    "elastic_magnitude": [],
    "self_train_iterations": 2,
    "tsne_supervoxels": 4,
    "threshold": 0.3,
}
EXPERIMENTS = {
    "otoc": {},
    "supervised": {"source": "all", "method": "control"},
    "unet": {"variant": "unet"},
    "points20": {"source": "points20", "clicks_file": "data/rooms/points20"},
    "s3dis_otoc3": {"dataset": "s3dis", "data_root": "data/areas", "clicks_per_object": 3, "partition_voxel": 0.1},
}


def write_tree(root: Path, splits: dict[str, list[Scene]]) -> None:
    """Write scenes as ScanNet's files; their objects take a category of their class."""
    category_of = {nyu40: name for name, (nyu40, _) in reversed(CATEGORIES.items())}
    (root / "splits").mkdir(parents=True)
    (root / "scannetv2-labels.combined.tsv").write_text(label_table(), encoding="utf-8")
    for split, scenes in splits.items():
        (root / "splits" / f"scannetv2_{split}.txt").write_text("".join(f"{scene.name}\n" for scene in scenes))
        for scene in scenes:
            objects = []
            for instance in range(scene.num_objects):
                mine = scene.instances == instance
                category = category_of[scene.label_set.file_ids[scene.labels[mine][0]]]
                objects.append((category, tuple(np.unique(scene.supervoxels[mine]).tolist())))
            coords = np.round(scene.coords, 3).astype(np.float32)
            faces = np.arange(3, dtype=np.int32)[None]
            write_scan(
                BundledRoom(scene.name, coords, faces, scene.colors, scene.supervoxels, tuple(objects)), root / "scans"
            )


def write_areas(root: Path, scenes: list[Scene]) -> None:
    """Write scenes as S3DIS' files: a room in each of the areas 1, 2 and 5."""
    for area, scene in zip((1, 2, 5), scenes, strict=True):
        labels = np.where(scene.labels == IGNORE, S3DIS13.index("clutter"), scene.labels % len(S3DIS13))
        instances = np.where(scene.instances < 0, scene.num_objects, scene.instances)
        write_room(root / f"Area_{area}" / "office_1", scene.coords, scene.colors, labels, instances)


def write_project(root: Path, rooms: list[Scene], experiments: dict[str, dict[str, Any]]) -> None:
    """Write the notebooks, the Snakefile, the params files of the profile ``tiny`` and its rooms in ScanNet's layout.

    experiments: what each changes.
    """
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(ROOT / "Snakefile", root)
    (root / "params" / "tiny").mkdir(parents=True)
    shared = {name: value for name, value in TINY.items() if name != "profile"}
    (root / "params" / "tiny" / "_base.yaml").write_text(yaml.safe_dump(shared), encoding="utf-8")
    for name, changes in experiments.items():
        values = {"extends": "_base", "profile": "tiny", "experiment": name, **changes}
        (root / "params" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    write_tree(root / "data" / "rooms", {"train": rooms[:2], "val": rooms[2:]})


def environment() -> dict[str, str]:
    """The commands of this interpreter come first on PATH, as in an activated environment."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": folder + os.pathsep + os.environ["PATH"]}
