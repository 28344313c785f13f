import warnings

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


def listing(root):
    """The names of the scans, and what is said of the rest."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = own.list_scenes(root, "train")
    return names, sorted(str(warning.message).removeprefix(f"{root}: leaves out ") for warning in caught)


def test_every_scan_of_the_folder_is_a_scene_of_every_split(tmp_path):
    for name in ("b.ply", "a.XYZ", "c.csv", "d.las.gz", "e.asc", "f.pts", "g.PLY.GZ", "h.labelled.csv"):
        (tmp_path / name).write_text("1 2 3\n")
    (tmp_path / "labelled.csv").write_text("x,y,z,r,g,b,class\n1,2,3,4,5,6,wall\n")
    clicks = ("clicks.csv", "scene,point,x,y,z,class,object\n"), ("more.csv", "Scene; X; Y; Z; Class\n")
    beside = ("clicks.seconds.json", "{}"), ("clicks.kept.json", "{}")
    for name, text in (*clicks, *beside, (".hidden.ply", ""), ("Thumbs.db", "")):
        (tmp_path / name).write_text(text)
    names = ["a", "b", "c", "d", "e", "f", "g", "h.labelled", "labelled"]
    assert listing(tmp_path) == (names, [])
    assert own.list_scenes(tmp_path, "val") == names
    assert own.scene_files(tmp_path, "a") == [tmp_path / "a.XYZ"]
    assert own.scene_files(tmp_path, "d") == [tmp_path / "d.las.gz"]
    with pytest.raises(OtocError, match="holds no scan 'x'; its scans are a, b, c"):
        own.scene_files(tmp_path, "x")


def test_every_file_that_is_left_out_is_named_with_what_to_do(tmp_path):
    (tmp_path / "a.ply").write_text("1 2 3\n")
    for name in ("b.ptx", "c.zip", "d.rcp", "e.fls", "f.usdz", "h.xlsx", "scan", "z.bin", "photo.jpg"):
        (tmp_path / name).write_text("x")
    (tmp_path / "license.txt").write_text("MIT License\n1. You may\n")
    (tmp_path / "readme.csv").write_text("who,what\nme,it\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "folder.ply").mkdir()
    (tmp_path / "gone.ply").symlink_to(tmp_path / "nowhere.ply")
    names, said = listing(tmp_path)
    assert names == ["a"]
    expected = {
        "b.ptx": "open it in CloudCompare",
        "z.bin": "open it in CloudCompare",
        "c.zip": "unpack it",
        "d.rcp": "Autodesk ReCap",
        "e.fls": "the scanner's program",
        "f.usdz": "the scanning app",
        "h.xlsx": "save it as .csv",
        "scan": "convert it to .ply",
        "photo.jpg": ".jpg is no scan",
        "license.txt, readme.csv": "text without a line of points",
        "folder.ply, more": "a folder, which is not searched; put its scans beside it",
        "gone.ply": "a link to what is not there; mend the link",
    }
    found = {files: [text for text in said if text.startswith(f"{files}: ")] for files in expected}
    assert all(len(texts) == 1 and expected[files] in texts[0] for files, texts in found.items()), said
    assert len(said) == len(expected)


def test_a_link_to_itself_is_named_and_harms_nothing(tmp_path):
    write_ascii(tmp_path / "room.ply")
    (tmp_path / "loop.ply").symlink_to(tmp_path / "loop.ply")
    with pytest.warns(UserWarning, match="leaves out loop.ply: a link to what is not there"):
        assert own.list_scenes(tmp_path, "train") == ["room"]


def test_a_link_to_a_scan_is_one(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "elsewhere.xyz").write_text("1 2 3\n")
    (tmp_path / "scans" / "a.xyz").symlink_to(tmp_path / "elsewhere.xyz")
    assert listing(tmp_path / "scans") == (["a"], [])


def test_what_cannot_be_listed_is_said(tmp_path):
    with pytest.raises(OtocError, match="nowhere: no such folder"):
        own.list_scenes(tmp_path / "nowhere", "train")
    (tmp_path / "room.stl").write_text("")
    with pytest.raises(
        OtocError, match=r"holds no scan; put files there that end in \.ply, .* \(room.stl: \.stl is not"
    ):
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
    (tmp_path / "room.xyz").write_text("0 0 0 1 2 3\n9e11 9e11 9e11 4 5 6\n")  # of two points none is stray
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
    "names, words",
    [
        ([], "at least two"),
        (["a", " "], "each with a name"),
        (["a", "b", "a "], "a twice"),
        (["a", "None"], "'none' in clicks.csv means none of the classes; name it otherwise"),
    ],
)
def test_class_lists_that_name_no_classes(names, words):
    with pytest.raises(OtocError, match=f"own_classes: .*{words}"):
        own.label_set(names)
