"""A project in a temporary folder: the notebooks, tiny params files and four rooms in ScanNet's layout."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from otoc_lib.datasets.rooms import CATEGORIES, Room, label_table, write_scan
from otoc_lib.scene import Scene

ROOT = Path(__file__).parents[2]
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
    "supervised": {"source": "all", "variant": "control"},
    "unet": {"variant": "unet"},
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
            write_scan(Room(scene.name, coords, faces, scene.colors, scene.supervoxels, tuple(objects)), root / "scans")


@pytest.fixture(scope="session")
def project(rooms: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(ROOT / "Snakefile", root)
    (root / "params" / "tiny").mkdir(parents=True)
    for name, changes in EXPERIMENTS.items():
        values = {**TINY, "experiment": name, **changes}
        (root / "params" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    write_tree(root / "data" / "rooms", {"train": rooms[:2], "val": rooms[2:]})
    return root
