from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from own_scan import make_scan
from plyfile import PlyData
from safetensors.numpy import save_file

from otoc_lib.annotation.clicks import expand_clicks, read_clicks
from otoc_lib.config import load_config
from otoc_lib.datasets import own
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.supervoxels.mesh import segment_mesh

ROOT = Path(__file__).parents[2]
CLASSES = own.label_set(["floor", "box", "crate"])
POINTS, COLORS, FACES, TRUTH = make_scan(0)


def write_ply(path, points=POINTS, colors=COLORS, faces=FACES):
    """An ascii PLY; written line by line so that nothing of the kit is in it."""
    lines = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    lines += [f"property double {axis}" for axis in "xyz"] + [f"property uchar {c}" for c in ("red", "green", "blue")]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [
        " ".join(map(repr, [*point, *color])) for point, color in zip(points.tolist(), colors.tolist(), strict=True)
    ]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def load(root, name="room"):
    return own.load_scene(root, name, CLASSES, Partition(minimum=5))


def same_partition(one, other):
    """Whether two numberings put the same points together."""
    pairs = np.unique(np.stack([one, other]), axis=1)
    return pairs.shape[1] == len(np.unique(one)) == len(np.unique(other))


# --- scenes


def test_every_scan_of_the_folder_is_a_scene_of_every_split(tmp_path):
    for name in ("b.ply", "a.XYZ", "c.csv"):
        (tmp_path / name).write_text("1 2 3\n")
    for name in ("clicks.csv", "more_clicks.csv"):
        (tmp_path / name).write_text("scene,point,x,y,z,class,object\n")
    for name in ("notes.md", ".hidden.ply"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.ply").mkdir()
    assert own.list_scenes(tmp_path, "train") == own.list_scenes(tmp_path, "val") == ["a", "b", "c"]
    assert own.scene_files(tmp_path, "a") == [tmp_path / "a.XYZ"]
    with pytest.raises(OtocError, match="holds no scan 'd'; its scans are a, b, c"):
        own.scene_files(tmp_path, "d")


def test_what_cannot_be_listed_is_said(tmp_path):
    with pytest.raises(OtocError, match="nowhere: no such folder"):
        own.list_scenes(tmp_path / "nowhere", "train")
    (tmp_path / "room.obj").write_text("")
    with pytest.raises(OtocError, match=r"holds no scan; put files there that end in \.ply, \.las, \.laz, \.xyz"):
        own.list_scenes(tmp_path, "train")
    for name in ("room.ply", "room.xyz"):
        (tmp_path / name).write_text("")
    with pytest.raises(OtocError, match=r"room.xyz: room.ply has the same name"):
        own.list_scenes(tmp_path, "train")


def test_a_mesh_becomes_a_scene_in_the_order_of_its_vertices(tmp_path):
    write_ply(tmp_path / "room.ply")
    scene = load(tmp_path)
    assert scene.name == "room" and scene.labels is None and scene.instances is None and scene.label_set is CLASSES
    np.testing.assert_allclose(scene.coords + scene.origin, POINTS, atol=1e-6)
    np.testing.assert_array_equal(scene.colors, COLORS)
    assert same_partition(scene.supervoxels, segment_mesh(POINTS - POINTS.mean(axis=0), FACES))


def test_triangles_that_share_no_vertices_give_the_super_voxels_of_those_that_do(tmp_path):
    write_ply(tmp_path / "whole" / "room.ply")
    loose = FACES.ravel()  # each corner a vertex of its own
    write_ply(tmp_path / "loose" / "room.ply", POINTS[loose], COLORS[loose], np.arange(len(loose)).reshape(-1, 3))
    whole, pieces = load(tmp_path / "whole"), load(tmp_path / "loose")
    assert same_partition(whole.supervoxels[loose], pieces.supervoxels)


def test_a_mesh_in_crumbs_is_cut_as_points(tmp_path):
    write_ply(tmp_path / "room.ply", faces=FACES[::40])
    with pytest.warns(UserWarning, match="room.ply: its mesh is in too many pieces"):
        crumbs = load(tmp_path)
    write_ply(tmp_path / "points" / "room.ply", faces=FACES[:0])
    np.testing.assert_array_equal(crumbs.supervoxels, load(tmp_path / "points").supervoxels)


# --- classes


@pytest.mark.parametrize(
    "names, words", [([], "at least two"), (["a", " "], "each with a name"), (["a", "b", "a "], "a twice")]
)
def test_class_lists_that_name_no_classes(names, words):
    with pytest.raises(OtocError, match=f"own_classes: .*{words}"):
        own.label_set(names)


# --- clicks


def write_positions(path, rows, header="scene,x,y,z,class"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_positions_are_snapped_to_the_nearest_vertex(tmp_path):
    write_ply(tmp_path / "room.ply")
    chosen = [7, 1400, 2222]
    names = [CLASSES.names[TRUTH[point]] for point in chosen]
    rows = [
        ",".join(["room", *map(str, POINTS[point] + 0.004), name]) for point, name in zip(chosen, names, strict=True)
    ]
    written = own.snap_clicks(tmp_path, write_positions(tmp_path / "picked.csv", rows), tmp_path / "clicks.csv")
    clicks = read_clicks(tmp_path / "clicks.csv", [load(tmp_path)])["room"]
    assert written == 3 and clicks.points.tolist() == chosen and clicks.classes.tolist() == TRUTH[chosen].tolist()


@pytest.mark.parametrize(
    "rows, words",
    [
        (["room,3,-2,9,floor"], "line 2: lies 8.* m from the nearest point of room"),
        (["room,3,-2,0.5,floor", "room,3.001,-2,0.5,box"], "line 3: its nearest point is clicked before"),
        (["room,3,-2,0.5,floor", "hall,3,-2,0.5,box"], "line 3: .* has no scan 'hall'; it has room"),
        (["room,3,x,0.5,floor"], "line 2: needs a class and numbers"),
        (["room,3,-2,nan,floor"], "line 2: needs a class and numbers"),
        (["room,3,-2,0.5"], "line 2: needs a class and numbers"),
    ],
)
def test_positions_that_mean_no_click(tmp_path, rows, words):
    write_ply(tmp_path / "room.ply")
    with pytest.raises(OtocError, match=f"picked.csv, {words}"):
        own.snap_clicks(tmp_path, write_positions(tmp_path / "picked.csv", rows), tmp_path / "clicks.csv")
    assert not (tmp_path / "clicks.csv").exists()


def test_positions_without_a_column(tmp_path):
    write_ply(tmp_path / "room.ply")
    path = write_positions(tmp_path / "picked.csv", ["room,1,2,floor"], "scene,x,y,class")
    with pytest.raises(OtocError, match="line 1: no column z"):
        own.snap_clicks(tmp_path, path, tmp_path / "clicks.csv")


# --- labelled scans


@pytest.mark.parametrize("offset", [0.0, 5_412_345.0])
def test_a_labelled_scan_has_the_vertices_of_the_input(tmp_path, offset):
    path = write_ply(tmp_path / "room.ply", POINTS + offset)
    labels = TRUTH.astype(np.int16)
    labels[:5] = IGNORE
    confidence = np.linspace(0, 1, len(labels)).astype(np.float16)
    own.export_labels(path, labels, confidence, CLASSES, tmp_path / "out" / "room.ply")
    ply = PlyData.read(str(tmp_path / "out" / "room.ply"))
    vertices = ply["vertex"].data
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=1), POINTS + offset)
    np.testing.assert_array_equal(vertices["label"], labels)
    np.testing.assert_array_equal(vertices["confidence"], confidence.astype(np.float32))
    for prefix, colors in (("", CLASSES.paint(labels)), ("scan_", COLORS)):
        written = np.stack([vertices[f"{prefix}{channel}"] for channel in ("red", "green", "blue")], axis=1)
        np.testing.assert_array_equal(written, colors)
    np.testing.assert_array_equal(np.stack(ply["face"]["vertex_indices"]), FACES)
    assert ply.comments == ["label 0 is floor", "label 1 is box", "label 2 is crate"]
    again = read_scan(tmp_path / "out" / "room.ply")
    np.testing.assert_array_equal(again.points, POINTS + offset)


def test_points_come_out_without_faces_and_without_confidence(tmp_path):
    np.savetxt(tmp_path / "room.xyz", np.concatenate([POINTS, COLORS], axis=1), fmt="%.3f")
    own.export_labels(tmp_path / "room.xyz", TRUTH, None, CLASSES, tmp_path / "out.ply")
    ply = PlyData.read(str(tmp_path / "out.ply"))
    assert "face" not in ply and "confidence" not in ply["vertex"].data.dtype.names


def test_labels_of_another_scan_are_refused(tmp_path):
    path = write_ply(tmp_path / "room.ply")
    with pytest.raises(OtocError, match="room.ply: has 3600 points, but there are labels for 3599"):
        own.export_labels(path, TRUTH[1:], None, CLASSES, tmp_path / "out.ply")
    with pytest.raises(OtocError, match="label 3 is not one of the 3 classes"):
        own.export_labels(path, TRUTH + 1, None, CLASSES, tmp_path / "out.ply")
    assert not (tmp_path / "out.ply").exists()


def test_a_run_is_exported_with_its_last_mode(tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    write_ply(tmp_path / "data" / "own" / "room.ply")
    config = replace(load_config(ROOT / "params/own/example.yaml"), own_classes=list(CLASSES.names))
    scene, evaluation = load(tmp_path / "data" / "own"), tmp_path / "runs"
    with pytest.raises(OtocError, match="room.safetensors: cannot be read"):
        own.export_run(config, [scene], evaluation)
    evaluation.mkdir()
    modes = {"point": np.zeros_like(TRUTH, np.int16), "full": TRUTH.astype(np.int16)}
    save_file({**modes, "confidence": np.ones(len(TRUTH), np.float16)}, evaluation / "room.safetensors")
    (path,) = own.export_run(config, [scene], evaluation)
    assert path == tmp_path / "reports" / "own" / "labelled" / "room.ply"
    np.testing.assert_array_equal(PlyData.read(str(path))["vertex"]["label"], TRUTH)


# --- the example


def test_the_example_is_a_scan_with_clicks_of_its_classes(tmp_path):
    values = yaml.safe_load((ROOT / "params/own/example.yaml").read_text())
    assert values["own_classes"] == list(own.EXAMPLE_CLASSES)
    assert sorted(sum(own.EXAMPLE_CLASSES.values(), ())) == sorted(SCANNET20.names)
    own.example(tmp_path)
    classes = own.label_set(values["own_classes"])
    scene = own.load_scene(tmp_path, *own.list_scenes(tmp_path, "train"), classes, Partition())
    clicks = read_clicks(tmp_path / "clicks.csv", [scene])["room"]
    room, truth = own.example_room()
    assert len(clicks) == truth.num_objects > 5
    np.testing.assert_array_equal(truth.labels[clicks.points], clicks.classes)
    np.testing.assert_allclose(scene.coords + scene.origin, room.vertices, atol=1e-5)
    np.testing.assert_array_equal(scene.colors, room.colors)
    assert (expand_clicks(scene, clicks)[clicks.points] == clicks.classes).all()
    with pytest.raises(OtocError, match="room.ply: is there already"):
        own.example(tmp_path)
