"""Scans of one's own through the notebooks: files, a class list and clicks in, labelled files out."""

import csv
import shutil
from pathlib import Path

import laspy
import numpy as np
import papermill
import pytest
import yaml
from own_scan import make_scan
from plyfile import PlyData, PlyElement
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
CLASSES = ["floor", "box", "crate"]
SCANS = {"office": make_scan(0), "hall": make_scan(1), "yard": make_scan(2)}
SHIFT = np.array([500_000.0, 5_400_000.0, 300.0])  # of the LAS file: map coordinates


def write_scans(folder: Path) -> dict[str, np.ndarray]:
    """A mesh as PLY, points as LAS and as XYZ; returns the points [N, 3] of each as their files hold them."""
    folder.mkdir(parents=True)
    points, colors, faces, _ = SCANS["office"]
    vertices = np.empty(len(points), [(axis, "f8") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")])
    for name, column in zip(vertices.dtype.names, [*points.T, *colors.T], strict=True):
        vertices[name] = column
    triangles = np.array([(face,) for face in faces.tolist()], dtype=[("vertex_indices", "i4", (3,))])
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(triangles, "face")]
    PlyData(elements, byte_order=">").write(str(folder / "office.ply"))

    points, colors, _, _ = SCANS["hall"]
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales, header.offsets = [0.001] * 3, SHIFT
    las = laspy.LasData(header)
    las.xyz = points + SHIFT
    las.red, las.green, las.blue = colors.T.astype(np.uint16) * 257
    las.write(str(folder / "hall.las"))

    points, colors, _, _ = SCANS["yard"]
    np.savetxt(folder / "yard.xyz", np.concatenate([points, colors], axis=1), fmt="%.3f")
    return {"office": SCANS["office"][0], "hall": SCANS["hall"][0] + SHIFT, "yard": SCANS["yard"][0]}


def write_clicks(path: Path, points: dict[str, np.ndarray]) -> dict[str, list[tuple[int, int]]]:
    """Two clicks on each class of each scan; returns scan -> (vertex, class)."""
    chosen = {
        name: [(int(np.flatnonzero(truth == label)[i]), label) for label in range(3) for i in (40, 90)]
        for name, (_, _, _, truth) in SCANS.items()
    }
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["scene", "point", "x", "y", "z", "class", "object"])
        for name, clicks in chosen.items():
            writer.writerows([name, vertex, *points[name][vertex], CLASSES[label], -1] for vertex, label in clicks)
    return chosen


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three scans after notebooks 01, 02, 03 and 06; their folder, the scans' points and their clicks.

    All roots lie outside the project: data, cache and runs as whole paths, reports beside it.
    """
    away = tmp_path_factory.mktemp("away from the project")
    root = away / "project"
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    values = yaml.safe_load((ROOT / "params" / "own" / "example.yaml").read_text(encoding="utf-8"))
    values |= {"own_classes": CLASSES, "voxel_size": 0.1, "unet_width": 4, "unet_levels": 3, "unet_blocks": 1}
    values |= {"unet_steps": 4, "unet_steps_later": 2, "relation_steps": 3, "relation_steps_later": 2}
    values |= {"relation_dim": 4, "self_train_iterations": 2, "device": "cpu", "reports_root": "../reports"}
    values |= {
        f"{kind}_root": str(away / folder) for kind, folder in (("data", "own"), ("cache", "c"), ("runs", "runs"))
    }
    values |= {"clicks_file": str(away / "own" / "clicks.csv")}
    (root / "params" / "own").mkdir(parents=True)
    (root / "params" / "own" / "example.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    points = write_scans(away / "own")
    clicks = write_clicks(away / "own" / "clicks.csv", points)
    for name in ("01_annotate", "02_baseline", "03_self_train", "06_report"):
        papermill.execute_notebook(
            root / "notebooks" / f"{name}.ipynb",
            away / f"{name}.ipynb",
            parameters={"profile": "own", "experiment": "example"},
            cwd=root,
            progress_bar=False,
        )
    assert sorted(path.name for path in root.iterdir()) == ["notebooks", "params"]  # nothing is written into it
    return away, points, clicks


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANS)
def test_a_scan_comes_out_with_a_label_a_vertex_in_its_order(finished, name):
    root, points, _ = finished
    ply = PlyData.read(str(root / "reports" / "own" / "labelled" / f"{name}.ply"))
    vertices = ply["vertex"].data
    written = np.stack([vertices[axis] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(written, points[name], rtol=0, atol=1e-6 if name == "hall" else 0)  # LAS: steps of 1 mm
    np.testing.assert_array_equal(
        np.stack([vertices[f"scan_{channel}"] for channel in ("red", "green", "blue")], axis=1), SCANS[name][1]
    )
    assert set(vertices["label"]) <= {0, 1, 2}
    assert 1 / 3 - 0.01 <= vertices["confidence"].min() <= vertices["confidence"].max() <= 1
    colors = np.stack([vertices[channel] for channel in ("red", "green", "blue")], axis=1)
    pairs = np.unique(np.column_stack([vertices["label"], colors]), axis=0)
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1:], axis=0))  # one colour a class
    if name == "office":
        np.testing.assert_array_equal(np.stack(ply["face"]["vertex_indices"]), SCANS[name][2])
    else:
        assert "face" not in ply


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANS)
def test_clicked_vertices_keep_their_class_in_the_labels_trained_on(finished, name):
    root, _, clicks = finished
    for iteration in (1, 2):
        labels = load_file(root / f"runs/own/example/pseudo_{iteration}/{name}.safetensors")["labels"]
        assert len(labels) == len(SCANS[name][3]) and labels.max() <= 2
        assert [(vertex, labels[vertex]) for vertex, _ in clicks[name]] == clicks[name]


@pytest.mark.slow
def test_the_labelled_scan_is_what_was_predicted(finished):
    root = finished[0]
    for name in SCANS:
        predicted = load_file(root / f"runs/own/example/evaluate_2/{name}.safetensors")
        labelled = PlyData.read(str(root / "reports/own/labelled" / f"{name}.ply"))["vertex"].data
        np.testing.assert_array_equal(labelled["label"], predicted["full"])
        np.testing.assert_array_equal(labelled["confidence"], predicted["confidence"].astype(np.float32))


@pytest.mark.slow
def test_notebook_01_shows_the_scan_its_super_voxels_and_the_clicks(finished):
    executed = (finished[0] / "01_annotate.ipynb").read_text(encoding="utf-8")
    assert executed.count('"image/png"') == 2 and "| here | 6.00 |" in executed
    assert "Nobody is here to click" in executed and "widget-view" not in executed
