from pathlib import Path

import numpy as np
import pytest
import yaml
from own_scan import CLASSES, COLORS, FACES, POINTS, TRUTH, load, write_ascii

from otoc_lib.annotation.clicks import expand_clicks, read_clicks
from otoc_lib.datasets import own
from otoc_lib.errors import OtocError
from otoc_lib.labels import SCANNET20
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.supervoxels.mesh import segment_mesh

ROOT = Path(__file__).parents[2]


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
    write_ascii(tmp_path / "room.ply")
    scene = load(tmp_path)
    assert scene.name == "room" and scene.labels is None and scene.instances is None and scene.label_set is CLASSES
    np.testing.assert_allclose(scene.coords + scene.origin, POINTS, atol=1e-6)
    np.testing.assert_array_equal(scene.colors, COLORS)
    assert same_partition(scene.supervoxels, segment_mesh(POINTS - POINTS.mean(axis=0), FACES))


def test_triangles_that_share_no_vertices_give_the_super_voxels_of_those_that_do(tmp_path):
    write_ascii(tmp_path / "whole" / "room.ply")
    loose = FACES.ravel()  # each corner a vertex of its own
    write_ascii(tmp_path / "loose" / "room.ply", POINTS[loose], COLORS[loose], np.arange(len(loose)).reshape(-1, 3))
    whole, pieces = load(tmp_path / "whole"), load(tmp_path / "loose")
    assert same_partition(whole.supervoxels[loose], pieces.supervoxels)


def test_a_mesh_in_crumbs_is_cut_as_points(tmp_path):
    write_ascii(tmp_path / "room.ply", faces=FACES[::40])
    with pytest.warns(UserWarning, match="room.ply: its mesh is in too many pieces"):
        crumbs = load(tmp_path)
    write_ascii(tmp_path / "points" / "room.ply", faces=FACES[:0])
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
    write_ascii(tmp_path / "room.ply")
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
    write_ascii(tmp_path / "room.ply")
    with pytest.raises(OtocError, match=f"picked.csv, {words}"):
        own.snap_clicks(tmp_path, write_positions(tmp_path / "picked.csv", rows), tmp_path / "clicks.csv")
    assert not (tmp_path / "clicks.csv").exists()


def test_positions_without_a_column(tmp_path):
    write_ascii(tmp_path / "room.ply")
    path = write_positions(tmp_path / "picked.csv", ["room,1,2,floor"], "scene,x,y,class")
    with pytest.raises(OtocError, match="line 1: no column z"):
        own.snap_clicks(tmp_path, path, tmp_path / "clicks.csv")


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
