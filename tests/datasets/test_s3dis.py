"""S3DIS rooms written by plain Python and read by the kit, and the defects of the release and of bad copies."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.datasets import s3dis
from otoc_lib.datasets.s3dis import list_scenes, load_scene, read_room, scene_files, write_room
from otoc_lib.errors import OtocError
from otoc_lib.labels import S3DIS13
from otoc_lib.supervoxels.geometric import Partition

NAME = "Area_1_office_1"
OBJECTS = {  # file -> lines; the numbers are written as the release does, once as whole numbers and once with decimals
    "ceiling_1.txt": "0.100 0.200 2.500 10 20 30\n-1.250 3.000 2.510 11 21 31\n",
    "chair_1.txt": "1.000 1.000 0.400 200 100 0\n",
    "chair_2.txt": "2.000 1.000 0.400 255 255 255\n2.000 1.001 0.400 0 0 0\n",
    "stairs_1.txt": "0.577500 -12.407500 2.604000 167.000000 175.000000 177.000000\n",
}


def write_text_room(root: Path, objects=OBJECTS, room: str = "Area_1/office_1") -> Path:
    """The room, by hand; returns its Annotations folder."""
    folder = root / room / "Annotations"
    folder.mkdir(parents=True)
    for name, text in objects.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    (folder.parent / f"{folder.parent.name}.txt").write_text("".join(objects.values()))
    return folder


def read_quietly(root: Path, name: str = NAME):
    """The room, read without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_room(root, name)


def random_room(seed: int, num_points: int = 500, num_objects: int = 12):
    rng = np.random.default_rng(seed)
    points = np.rint(rng.uniform(-20, 20, (num_points, 3)) * 1000) / 1000
    colors = rng.integers(0, 256, (num_points, 3)).astype(np.uint8)
    instances = rng.permutation(np.arange(num_points) % num_objects)
    labels = rng.integers(0, 13, num_objects).astype(np.int16)[instances]
    return points, colors, labels, instances


def test_a_room_is_its_files_in_order_of_their_names(tmp_path):
    write_text_room(tmp_path)
    room = read_quietly(tmp_path)
    plain = [[float(number) for number in line.split()] for text in OBJECTS.values() for line in text.splitlines()]
    np.testing.assert_array_equal(room.points, np.array(plain)[:, :3])
    np.testing.assert_array_equal(room.colors, np.array(plain)[:, 3:])
    assert [S3DIS13.names[label] for label in room.labels] == ["ceiling"] * 2 + ["chair"] * 3 + ["clutter"]
    assert room.instances.tolist() == [0, 0, 1, 2, 2, 3]
    kinds = [array.dtype for array in (room.points, room.colors, room.labels, room.instances)]
    assert kinds == [np.float64, np.uint8, np.int16, np.int32]


def test_every_class_has_the_index_of_the_label_set(tmp_path):
    write_text_room(tmp_path, {f"{name}_1.txt": f"{i} 0 0 1 2 3\n" for i, name in enumerate(S3DIS13.names)})
    room = read_quietly(tmp_path)
    assert room.labels.tolist() == room.points[:, 0].tolist()


def test_splits_hold_out_area_five_and_skip_no_room(tmp_path):
    for room in ("Area_1/office_10", "Area_1/office_2", "Area_1/WC_1", "Area_3/hallway_2", "Area_5/lobby_1"):
        write_text_room(tmp_path, room=room)
    write_text_room(tmp_path, room="Area_6/copyRoom_1")
    (tmp_path / "Area_1" / ".DS_Store").write_text("")
    (tmp_path / "Area_1" / "Icon\r").write_text("")
    (tmp_path / "Area_1" / ".office_3.part").mkdir()
    (tmp_path / "Area_6" / "storage_1").mkdir()  # empty: an error when it is read, not silence
    first = ["Area_1_WC_1", "Area_1_office_2", "Area_1_office_10"]
    assert list_scenes(tmp_path, "train") == [*first, "Area_3_hallway_2", "Area_6_copyRoom_1", "Area_6_storage_1"]
    assert list_scenes(tmp_path, "val") == ["Area_5_lobby_1"]
    assert list_scenes(tmp_path, "area_1") == first
    for split in ("val", "area_1", "area_3", "area_5", "area_6"):
        assert s3dis.in_training(split) == (set(list_scenes(tmp_path, split)) <= set(list_scenes(tmp_path, "train")))
    with pytest.raises(OtocError, match="storage_1: has no folder Annotations"):
        read_room(tmp_path, "Area_6_storage_1")
    with pytest.raises(OtocError, match="no room in Area_2 for split 'area_2'"):
        list_scenes(tmp_path, "area_2")
    with pytest.raises(OtocError, match="split: 'test' is not one of"):
        list_scenes(tmp_path, "test")


def test_the_official_list_has_272_rooms():
    per_area = [sum(kinds.values()) for kinds in s3dis.OFFICIAL_ROOMS.values()]
    assert per_area == [44, 40, 23, 49, 68, 48] and sum(per_area) == 272


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, "has no room") for name in ("Area_1_office_2", "office_1", "Area_1")),
        *((name, "is no scene name") for name in ("Area_1_..", "Area_1_../Area_1/office_1")),
    ],
)
def test_a_room_that_is_not_there(tmp_path, name, words):
    write_text_room(tmp_path)
    with pytest.raises(OtocError, match=words):
        read_room(tmp_path, name)


def test_a_root_that_is_not_there(tmp_path):
    for read in (lambda root: list_scenes(root, "train"), lambda root: read_room(root, NAME)):
        with pytest.raises(OtocError, match="no such folder"):
            read(tmp_path / "elsewhere")


def test_points_that_no_grid_covers_are_refused_by_room(tmp_path):
    write_text_room(tmp_path, {"wall_1.txt": "0 0 0 1 2 3\n1e300 1e300 1e300 4 5 6\n"})
    with pytest.warns(UserWarning, match="measures"), pytest.raises(OtocError, match="office_1: points: they span"):
        load_scene(tmp_path, NAME, Partition())


def test_a_room_of_nothing_but_the_object_that_is_left_out(tmp_path):
    write_text_room(tmp_path, {"wall_3 (1).txt": "0 0 0 1 2 3\n"}, "Area_5/office_36")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(OtocError, match="office_36: holds no object"):
        read_room(tmp_path, "Area_5_office_36")


def test_rooms_may_have_any_digits_in_their_names(tmp_path):
    for room in ("office_10", "office_2", "1\u00b22"):
        write_text_room(tmp_path, room=f"Area_1/{room}")
    assert list_scenes(tmp_path, "area_1") == ["Area_1_1\u00b22", "Area_1_office_2", "Area_1_office_10"]


def test_scene_files_are_what_a_scene_is_read_from(tmp_path):
    folder = write_text_room(tmp_path)
    for name in (".DS_Store", "Icon\r", "._chair_1.txt", "notes.md"):
        (folder / name).write_text("?")
    assert scene_files(tmp_path, NAME) == [folder / name for name in OBJECTS]
    (tmp_path / "Area_1/office_1/office_1.txt").unlink()
    assert len(read_quietly(tmp_path).points) == 6


def test_a_scene_has_super_voxels_and_finds_back_to_the_file(tmp_path):
    points, colors, labels, instances = random_room(0, num_points=3000, num_objects=7)
    write_room(tmp_path / "Area_5" / "office_3", points + [10, 20, 0], colors, labels, instances)
    room = read_quietly(tmp_path, "Area_5_office_3")
    scene = load_scene(tmp_path, "Area_5_office_3", Partition(voxel=0.5, minimum=2))
    assert scene.name == "Area_5_office_3" and scene.label_set is S3DIS13 and scene.num_objects == 7
    np.testing.assert_allclose(scene.coords + scene.origin, room.points, atol=1e-5)
    np.testing.assert_allclose(scene.coords.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_array_equal(scene.colors, room.colors)
    np.testing.assert_array_equal(scene.labels, room.labels)
    assert 1 < scene.num_supervoxels <= 3000


# ---- defects of the release


def test_a_blank_that_lost_bit_5_is_mended_and_told(tmp_path):
    text = "22.359 6.835 3.050 152 152 162\r\n22.350 6.692 3.048 185\x00187 182\r\n1 2 3 4 5 6\r\n"
    write_text_room(tmp_path, {"ceiling_1.txt": text}, room="Area_5/hallway_6")
    with pytest.warns(UserWarning, match=r"hallway_6/Annotations/ceiling_1.txt, line 2: .* mended: .*185\\x") as told:
        room = read_room(tmp_path, "Area_5_hallway_6")
    assert len(told) == 1
    assert room.points[1].tolist() == [22.35, 6.692, 3.048]
    assert room.colors.tolist() == [[152, 152, 162], [185, 187, 182], [4, 5, 6]]


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_that_lost_bit_5_is_mended_and_told(tmp_path, digit):
    lost = chr(ord(str(digit)) & ~0x20)
    text = f"7 8 9 1 2 3\n19.302 -9.150 103.0{lost}0000 146 1{lost}7 106\n10.5 2 3 4 5 6\n"
    write_text_room(tmp_path, {"wall_1.txt": text})
    with pytest.warns(UserWarning) as told:
        room = read_room(tmp_path, NAME)
    assert room.points.tolist() == [[7, 8, 9], [19.302, -9.15, 103 + digit / 100], [10.5, 2, 3]]
    assert room.colors[1].tolist() == [146, 107 + 10 * digit, 106]
    words = [f"wall_1.txt, line 2: a control character in place of the digit {digit}, mended"] * 2
    assert [word in str(warning.message) for word, warning in zip(words, told, strict=True)] == [True, True]


@pytest.mark.parametrize(
    "line",
    [
        "19.302 -9.1\x1a0 1.785 146 137 106",  # no digit without bit 5
        "19.302 -9.1\x0f0 1.785 146 137 106",
        "19.302 -9.\x1650 1.785 146 137 106",  # not between digits
        "19.302 -9.1\x16\x160 1.785 146 137 106",
        "19.302 -9.1\x160 1.785 146 137",  # five columns with the digit; six with a blank, which it is not
        "19.302 -9.150 1.785 146 \x00 137 106",
        "19.302 -9.150 1.785 14\x006 13\x007",  # two of them
        "19.302 -9.150 1.785 146 137\x00",
        "19.302 -9.150 1.785 146 137 106\x00",
        "\x00" * 30,  # a block that was never written
    ],
)
def test_any_other_control_character_is_an_error(tmp_path, line):
    write_text_room(tmp_path, {"wall_1.txt": f"1 2 3 4 5 6\n{line}\n1 2 3 4 5 6\n"})
    with pytest.raises(OtocError, match=r"Annotations/wall_1.txt, line 2: .*\\x") as caught:
        read_quietly(tmp_path)
    assert "repair" in str(caught.value)


def test_the_second_copy_of_the_release_is_left_out(tmp_path):
    objects = {"wall_3 (1).txt": "9 9 9 9 9 9\n", "wall_3.txt": "1 2 3 4 5 6\n"}
    write_text_room(tmp_path, objects, room="Area_5/office_36")
    with pytest.warns(UserWarning, match=r"wall_3 \(1\).txt: left out, the release holds this object twice"):
        room = read_room(tmp_path, "Area_5_office_36")
    assert room.points.tolist() == [[1, 2, 3]]


def test_the_same_object_twice(tmp_path):
    write_text_room(tmp_path, {"wall_3 (1).txt": "1 2 3 4 5 6\n", "wall_3.txt": "1 2 3 4 5 6\n"})
    with pytest.warns(UserWarning, match=r"wall_3.txt: left out, it holds the same points as wall_3 \(1\).txt"):
        room = read_room(tmp_path, NAME)
    assert len(room.points) == 1


def test_the_same_points_under_two_classes_are_kept_and_told(tmp_path):
    write_text_room(tmp_path, {"board_1.txt": "1 2 3 4 5 6\n", "wall_1.txt": "1 2 3 4 5 6\n"})
    with pytest.warns(UserWarning, match="wall_1.txt: holds the same points as board_1.txt under another class"):
        room = read_room(tmp_path, NAME)
    assert room.instances.tolist() == [0, 1]


# ---- bad input


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2 3 4 5 6\n1 2 3 4 5\n1 2 3 4 5 6\n", "line 2: 5 columns where 6 are needed"),
        ("1 2 3 4 5 6 7\n", "line 1: 7 columns where 6 are needed"),
        ("1 2 3 4 5 6\n1 2 3 4 5 six\n", "line 2: 'six' is no number"),
        ("1 2 3 4 5 6\n1 nan 3 4 5 6\n", "line 2: holds 'nan'"),
        ("1 2 3 4 5 6\n1 2 3 4", "line 2: the file ends in the middle of a line"),
        ("", "is empty"),
        ("\r\n\r\n", "holds no numbers"),
        ("1 2 3 4 5 6\n\n1 2 3 4 256 6\n", "line 3: a colour is not a whole number 0..255"),
        ("1 2 3 4 5 6\n1 2 3 4 -1 6\n", "line 2: a colour is not a whole number 0..255"),
        ("1 2 3 4 5 6\n1 2 3 4 5.5 6\n", "line 2: a colour is not a whole number 0..255"),
        ("1 2 3 0.5 0.25 1\n1 2 3 4 5 6\n", "line 1: a colour is not a whole number 0..255"),
        ("1 2 3 70000 0 0\n", "line 1: a colour is not a whole number 0..255"),
        ("1 2 3 60000 1000 2000\n", "line 1: a colour is not a whole number 0..255"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, says):
    write_text_room(tmp_path, {**OBJECTS, "chair_10.txt": "1 2 3 4 5 6\n", "door_1.txt": text})
    with pytest.raises(OtocError, match=says) as caught:
        read_quietly(tmp_path)
    assert "Area_1/office_1/Annotations/door_1.txt" in str(caught.value)


@pytest.mark.parametrize("name", ["lamp_1.txt", "Chair_1.txt", "celling_1.txt", "1.txt"])
def test_an_unknown_class_is_named(tmp_path, name):
    write_text_room(tmp_path, {name: "1 2 3 4 5 6\n"})
    with pytest.raises(OtocError, match=f"Annotations/{name}: .* is none of the classes ceiling, floor"):
        read_quietly(tmp_path)


def test_an_empty_room_is_named(tmp_path):
    write_text_room(tmp_path, {})
    with pytest.raises(OtocError, match="office_1/Annotations: holds no <class>_<i>.txt; the room is empty"):
        read_quietly(tmp_path)


def test_colours_of_another_scale_are_converted_where_it_is_clear(tmp_path):
    write_text_room(tmp_path / "unit", {"wall_1.txt": "0 0 0 0 0 1\n", "door_1.txt": "1 2 3 0.2 0.5 0\n"})
    with pytest.warns(UserWarning, match="colours are 0..1, scaled to 0..255"):
        assert read_room(tmp_path / "unit", NAME).colors.tolist() == [[51, 128, 0], [0, 0, 255]]
    write_text_room(tmp_path / "wide", {"wall_1.txt": "0 0 0 65535 0 257\n", "door_1.txt": "1 2 3 0 0 514\n"})
    with pytest.warns(UserWarning, match="colours have 16 bit, scaled to 0..255"):
        assert read_room(tmp_path / "wide", NAME).colors.tolist() == [[0, 0, 2], [255, 0, 1]]


def test_millimetres_are_told_from_the_size_of_the_room(tmp_path):
    write_text_room(tmp_path, {"wall_1.txt": "0 0 0 1 2 3\n4000 3000 2500 1 2 3\n"})
    with pytest.warns(UserWarning, match="office_1: the room measures 4000 x 3000 x 2500 m; .* like millimetres"):
        room = read_room(tmp_path, NAME)
    assert room.points.max() == 4000


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_cut_or_overwritten_file_is_read_or_refused_by_name(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("room")
    folder = write_text_room(root)
    path = folder / data.draw(st.sampled_from(list(OBJECTS)))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    noise = data.draw(st.binary(max_size=4))
    path.write_bytes(content[:cut] + noise + data.draw(st.sampled_from([b"", content[cut + len(noise) :]])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            room = read_room(root, NAME)
        except OtocError as error:
            assert str(folder) in str(error)
        else:
            assert len(room.points) == len(room.colors) == len(room.labels) == len(room.instances)


# ---- the writer


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), num_points=st.integers(1, 200), num_objects=st.integers(1, 20))
def test_what_is_written_is_read_back_exactly(tmp_path_factory, seed, num_points, num_objects):
    root = tmp_path_factory.mktemp("room")
    points, colors, labels, instances = random_room(seed, num_points, min(num_objects, num_points))
    write_room(root / "Area_2" / "storage_4", points, colors, labels, instances)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        room = read_room(root, "Area_2_storage_4")
    written = np.concatenate([points, colors, labels[:, None], _sizes(instances)], axis=1)
    read = np.concatenate([room.points, room.colors, room.labels[:, None], _sizes(room.instances)], axis=1)
    np.testing.assert_array_equal(read[np.lexsort(read.T)], written[np.lexsort(written.T)])
    text = np.loadtxt(root / "Area_2/storage_4/storage_4.txt", ndmin=2)
    np.testing.assert_array_equal(text, np.concatenate([points, colors], axis=1))


def _sizes(instances: np.ndarray) -> np.ndarray:
    """Size of each point's object, [N, 1]: what is left of the objects when their numbers change."""
    return np.bincount(instances)[instances][:, None]


def test_objects_are_numbered_by_class(tmp_path):
    points, colors = np.zeros((4, 3)), np.zeros((4, 3), dtype=np.uint8)
    points[:, 0] = range(4)
    write_room(tmp_path / "Area_1" / "office_1", points, colors, np.array([7, 0, 7, 7]), np.array([9, 4, 2, 9]))
    folder = tmp_path / "Area_1" / "office_1" / "Annotations"
    assert {path.name: len(path.read_text().splitlines()) for path in folder.iterdir()} == {
        "ceiling_1.txt": 1,
        "chair_1.txt": 1,
        "chair_2.txt": 2,
    }
    assert (folder / "chair_2.txt").read_text() == "0.000 0.000 0.000 0 0 0\n3.000 0.000 0.000 0 0 0\n"
    assert [entry.name for entry in (tmp_path / "Area_1").iterdir()] == ["office_1"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p, c, lab, i: (p[:0], c[:0], lab[:0], i[:0]), "N >= 1"),
        (lambda p, c, lab, i: (p, c[1:], lab, i), "shapes"),
        (lambda p, c, lab, i: (p, c / 255, lab, i), "colors are float64"),
        (lambda p, c, lab, i: (p, c, lab - 100, i), "a class 0..12"),
        (lambda p, c, lab, i: (p, c, lab, i - 1), "an object >= 0"),
        (lambda p, c, lab, i: (p, c, lab, i * 0), "points of two classes"),
        (lambda p, c, lab, i: (p * np.nan, c, lab, i), "NaN"),
    ],
)
def test_a_room_that_cannot_be_written(tmp_path, change, says):
    with pytest.raises(OtocError, match=says):
        write_room(tmp_path / "Area_1" / "office_1", *change(*random_room(1)))
    assert not (tmp_path / "Area_1" / "office_1").exists()


def test_a_room_that_exists_is_left_alone(tmp_path):
    folder = write_text_room(tmp_path)
    with pytest.raises(OtocError, match="exists already"):
        write_room(folder.parent, *random_room(1))
    assert (folder / "chair_1.txt").read_text() == OBJECTS["chair_1.txt"]
