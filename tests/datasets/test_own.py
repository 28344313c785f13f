import numpy as np
import pytest
from own_scan import CLASSES, COLORS, FACES, POINTS, load, write_ascii

from otoc_lib.datasets import own
from otoc_lib.errors import OtocError
from otoc_lib.supervoxels.mesh import segment_mesh


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


@pytest.mark.parametrize("name", ["a\\b", "a..b", "a\nb", "labels", "con"])
def test_a_scan_whose_name_cannot_be_a_file_of_ours_is_named(tmp_path, name):
    (tmp_path / f"{name}.ply").write_text("")
    with pytest.raises(OtocError, match="(?s)\\.ply: .* is no scene name.*rename it"):
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


def test_points_that_no_grid_covers_are_refused_by_file(tmp_path):
    (tmp_path / "room.xyz").write_text("0 0 0 1 2 3\n9e11 9e11 9e11 4 5 6\n")
    with pytest.warns(UserWarning, match="spans"), pytest.raises(OtocError, match="room.xyz: points: they span"):
        load(tmp_path)


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
