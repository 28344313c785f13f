"""Bundled rooms, written as ScanNet, read by readers that are not ours and compared point by point."""

import json
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from otoc_lib.datasets import bundled_rooms, scannet
from otoc_lib.scene import Scene

BENCHMARK_IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two of the bundled rooms, as unpacking writes them."""
    root = tmp_path_factory.mktemp("scannet")
    for name in names():
        bundled_rooms.write_scan(bundled_rooms.read(bundled_rooms.SOURCE / f"{name}.room.xz"), root / "scans")
    (root / "scannetv2-labels.combined.tsv").write_text(bundled_rooms.label_table(), encoding="utf-8")
    (root / "rooms.txt").write_text("".join(f"{name}\n" for name in names()))
    return root


def names() -> list[str]:
    listed = [name for name, room in bundled_rooms.read_index()["rooms"].items() if room["split"] != "test"]
    return [listed[0], listed[-1]]


def table(root: Path) -> dict[str, int]:
    """Raw category -> NYU40 id, by position of the official columns."""
    lines = (root / "scannetv2-labels.combined.tsv").read_text().split("\n")
    return {line.split("\t")[1]: int(line.split("\t")[4]) for line in lines[1:] if line}


def assert_objects(scene: Scene, objects: list[tuple[int, np.ndarray]]) -> None:
    """The annotated objects, (NYU40 id, vertices), are those of the scene, in their order and in no other class."""
    expected = [np.sort(vertices) for nyu40, vertices in objects if nyu40 in BENCHMARK_IDS]
    assert len(expected) == scene.num_objects > 5
    for number, vertices in enumerate(expected):
        np.testing.assert_array_equal(np.flatnonzero(scene.instances == number), vertices)


@pytest.mark.parametrize("name", names())
def test_plain_plyfile_and_json_read_the_same(root, name):
    scene, folder = scannet.load_scene(root, name), root / "scans" / name
    mesh = PlyData.read(folder / f"{name}_vh_clean_2.ply")["vertex"]
    points = np.stack([mesh["x"], mesh["y"], mesh["z"]], axis=1)
    assert points.dtype == np.float32 and len(points) > 20_000
    np.testing.assert_allclose(scene.coords + scene.origin, points, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(scene.colors, np.stack([mesh["red"], mesh["green"], mesh["blue"]], axis=1))

    ids = np.array(PlyData.read(folder / f"{name}_vh_clean_2.labels.ply")["vertex"]["label"])
    expected = [BENCHMARK_IDS.index(value) if value in BENCHMARK_IDS else -100 for value in ids.tolist()]
    assert scene.labels.tolist() == expected

    segments = json.loads((folder / f"{name}_vh_clean_2.0.010000.segs.json").read_text())["segIndices"]
    vertices_of: dict[int, list[int]] = {}
    for vertex, segment in enumerate(segments):
        vertices_of.setdefault(segment, []).append(vertex)
    for number, segment in enumerate(sorted(vertices_of)):
        np.testing.assert_array_equal(np.flatnonzero(scene.supervoxels == number), vertices_of[segment])

    groups = json.loads((folder / f"{name}.aggregation.json").read_text())["segGroups"]
    nyu40 = table(root)
    assert_objects(
        scene,
        [(nyu40[group["label"]], np.concatenate([vertices_of[s] for s in group["segments"]])) for group in groups],
    )


@pytest.mark.parametrize("name", names())
def test_scenezoo_reads_the_same(root, name):
    """Install with ``pip install --no-deps scenezoo cachetools pandas``: open3d comes with the extra 'room-factory'."""
    pytest.importorskip("open3d")
    ScanNet = pytest.importorskip("scenezoo.dataset.scene.scannet").ScanNet
    lists = {f"{split}_split_file": "rooms.txt" for split in ("train", "val", "test")}
    dataset, scene = ScanNet(root, offline=True, **lists), scannet.load_scene(root, name)
    assert dataset.get_ids("train") == names()
    mesh = dataset.get_mesh(name)
    np.testing.assert_allclose(scene.coords + scene.origin, np.asarray(mesh.vertices), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(scene.colors, np.rint(np.asarray(mesh.vertex_colors) * 255))
    ids = dataset.get_segmentation(name, segmentation_type="semantic").labels
    np.testing.assert_array_equal(scene.labels, scene.label_set.from_file_ids(ids))
    objects, nyu40 = dataset.get_segmentation(name), table(root)
    listed = [(nyu40[label], np.flatnonzero(objects.labels == i)) for i, label in sorted(objects.id_to_name.items())]
    assert_objects(scene, listed)
