"""Frames with labelled images: what is read, what is skipped, and what is said of files that are missing or wrong."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scannet_room import CATEGORIES, write_room
from tiny_frames import camera, looking_along_x, matrix_text, write_frame_files

from otoc_lib.config import config_from
from otoc_lib.datasets import frames
from otoc_lib.datasets.frames import class_table, content_key, open_frames, read_frame
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, S3DIS13, SCANNET20

SHAPE = (6, 8)
NAME = "Area_1_office_1"


def config(root, **values):
    given = {"profile": "p", "experiment": "e", "source": "images", "images_root": str(root), **values}
    return config_from({"dataset": "s3dis", **given})


@pytest.fixture
def table(tmp_path):
    return class_table(config(tmp_path), S3DIS13)


@pytest.fixture
def root(tmp_path):
    """Three frames of one scene: all chairs, tables and bookcases."""
    seen = [(looking_along_x((i, 0, 1)), np.full(SHAPE, 1.5 + i), np.full(SHAPE, 7 + i, np.uint16)) for i in range(3)]
    write_frame_files(tmp_path / "frames" / NAME, seen, camera(SHAPE, 5.0))
    return tmp_path / "frames"


def test_frames_come_back_in_metres_and_classes(root, table):
    (root / NAME / "color").mkdir()
    (root / NAME / "depth" / "._1.png").write_bytes(b"left by a copy")
    folder = open_frames(root, NAME)
    assert (folder.names, folder.skipped) == (("0", "1", "2"), 0)
    frame = read_frame(folder, 1, table)
    np.testing.assert_array_equal(frame.pose, looking_along_x((1, 0, 1)))
    assert frame.depth.dtype == np.float32 and (frame.depth == 2.5).all()
    assert frame.classes.dtype == np.int16 and (frame.classes == S3DIS13.index("table")).all()
    np.testing.assert_array_equal(frame.depth_intrinsic, [[5, 0, 3.5], [0, 5, 2.5], [0, 0, 1]])
    np.testing.assert_array_equal(frame.class_intrinsic, frame.depth_intrinsic)


def test_numbers_are_in_their_order_with_zeros_before_them_and_without(root):
    for kind, suffix in frames.SUFFIXES.items():
        shutil.copy(root / NAME / kind / f"2{suffix}", root / NAME / kind / f"10{suffix}")
    assert open_frames(root, NAME).names == ("0", "1", "2", "10")


def test_label_images_have_the_size_of_the_colours_or_of_the_depth(tmp_path, table):
    large = (12, 16)
    for name, shape, focal in (("of_colors", large, 11.0), ("of_depth", SHAPE, 5.0)):
        seen = [(np.eye(4), np.ones(SHAPE), np.zeros(shape, np.uint8))]
        write_frame_files(tmp_path / name, seen, camera(SHAPE, 5.0), camera(large, 11.0))
        frame = read_frame(open_frames(tmp_path, name), 0, table)
        assert frame.depth_intrinsic[0, 0] == 5 and frame.class_intrinsic[0, 0] == focal
        assert frame.classes.shape == shape and (frame.classes == 0).all()


@pytest.mark.parametrize("number", ["nan", "-inf"])
def test_frames_without_a_pose_are_left_out_and_told(root, number):
    (root / NAME / "pose" / "1.txt").write_text(" ".join([number] * 16))
    with pytest.warns(UserWarning, match=rf"{NAME}: 1 of 3 frames have no pose \(NaN or infinity\) .*: 1$"):
        folder = open_frames(root, NAME)
    assert (folder.names, folder.skipped, len(folder.poses)) == (("0", "2"), 1, 2)
    for name in "02":
        (root / NAME / "pose" / f"{name}.txt").write_text(" ".join([number] * 16))
    with pytest.raises(OtocError, match=r"pose: no frame has a pose; export the poses again"):
        open_frames(root, NAME)


@pytest.mark.parametrize("file", ["depth/1.png", "label-filt/0.png", "pose/2.txt"])
def test_a_frame_that_is_not_whole_is_named(root, file):
    (root / NAME / file).unlink()
    number = file.split("/")[1][0]
    with pytest.raises(OtocError, match=rf"{file}: no such file; export it, or delete the rest of frame {number}"):
        open_frames(root, NAME)


def test_what_is_missing_altogether_is_named(root):
    for file in ("intrinsic_depth.txt", "intrinsic_color.txt"):
        kept = (root / NAME / "intrinsic" / file).read_bytes()
        (root / NAME / "intrinsic" / file).unlink()
        with pytest.raises(OtocError, match=f"{file}: no such file; export the intrinsics"):
            open_frames(root, NAME)
        (root / NAME / "intrinsic" / file).write_bytes(kept)
    with pytest.raises(OtocError, match=r"office_9: no such folder; export the frames of Area_1_office_9 there"):
        open_frames(root, "Area_1_office_9")
    with pytest.raises(OtocError, match="nowhere: no such folder; set it to the folder .* rooms film"):
        open_frames(root / "nowhere", NAME)
    with pytest.raises(OtocError, match="no scene name"):
        open_frames(root, "../frames")
    for kind in frames.SUFFIXES:
        shutil.rmtree(root / NAME / kind)
    with pytest.raises(OtocError, match=r"holds no frames; each needs depth/N.png, label-filt/N.png, pose/N.txt"):
        open_frames(root, NAME)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("pose/0.txt", "1 0 0 0", "four lines of four numbers"),
        ("pose/0.txt", "one " * 16, "four lines of four numbers"),
        ("pose/0.txt", matrix_text(2 * np.eye(3)), "no rotation and shift"),
        ("pose/0.txt", matrix_text(np.diag([1.0, 1, 1, 2])), "no rotation and shift"),
        ("pose/0.txt", matrix_text(camera(SHAPE, 5.0)), "no rotation and shift"),
        ("pose/0.txt", "1e308 " * 16, "no rotation and shift"),
        ("intrinsic/intrinsic_depth.txt", matrix_text(looking_along_x()), "no matrix of a camera"),
        ("intrinsic/intrinsic_depth.txt", "nan " * 16, "no matrix of a camera"),
    ],
)
def test_numbers_that_cannot_be_are_named(root, file, text, words):
    (root / NAME / file).write_text(text)
    with pytest.raises(OtocError, match=rf"{file}: .*{words}.*export it again"):
        open_frames(root, NAME)


@pytest.mark.parametrize("kind", ["depth", "label-filt"])
def test_images_that_are_none_are_named(root, kind, table):
    path = root / NAME / kind / "0.png"
    whole = path.read_bytes()
    colored = np.zeros((*SHAPE, 3), np.uint8)
    Image.fromarray(colored).save(path)
    painted = path.read_bytes()
    Image.fromarray(colored).save(path, format="JPEG")
    for data in (b"", b"no image", whole[: len(whole) // 2], painted, path.read_bytes()):
        path.write_bytes(data)
        with pytest.raises(OtocError, match=rf"{kind}/0.png: not a PNG image of one channel .*export it again"):
            read_frame(open_frames(root, NAME), 0, table)
    Image.fromarray(np.zeros((5000, 5000), np.uint8)).save(path)
    with pytest.raises(OtocError, match=f"{kind}/0.png: not a PNG"):
        read_frame(open_frames(root, NAME), 0, table)


@pytest.mark.parametrize("kind", ["depth", "label-filt"])
def test_images_of_another_size_than_the_intrinsics_are_named(root, kind, table):
    Image.fromarray(np.zeros((12, 16), np.uint16)).save(root / NAME / kind / "0.png")
    with pytest.raises(OtocError, match=rf"{kind}/0.png: is 16 x 12 pixels, but the principal point.*\(3.5, 2.5\)"):
        read_frame(open_frames(root, NAME), 0, table)


# --- label ids


def test_ids_are_those_of_the_label_set_and_no_others(root, table):
    ids = np.array([[0, 12, 255, 65535]] * 3, np.uint16)
    write_frame_files(root / "s", [(np.eye(4), np.ones((3, 4)), ids)], camera((3, 4), 4.0))
    frame = read_frame(open_frames(root, "s"), 0, table)
    assert frame.classes[0].tolist() == [0, 12, IGNORE, IGNORE]
    Image.fromarray(ids + np.uint16(13)).save(root / "s" / "label-filt" / "0.png")
    with pytest.raises(OtocError, match=r"label-filt/0.png: holds the label id 13, .*not those of instances"):
        read_frame(open_frames(root, "s"), 0, table)


def test_scannets_ids_go_through_its_label_table(tmp_path):
    path = tmp_path / CATEGORIES
    lines = ["id\traw_category\tnyu40id\tnyu40class\n", "1\twall\t1\twall\n", "9\tpillow\t18\tpillow\n"]
    path.write_text("".join([*lines, "1357\toffice chair\t5\tchair\n"]))
    table = class_table(config(tmp_path, dataset="scannet", data_root=str(tmp_path)), SCANNET20)
    assert table[[0, 1, 9, 1357]].tolist() == [IGNORE, 0, IGNORE, SCANNET20.index("chair")]
    assert (table[[2, 5, 65535]] == frames.UNKNOWN).all()
    for line in ("x\tbed\t4\tbed\n", "-1\tbed\t4\tbed\n", "65536\tbed\t4\tbed\n", "4\tbed\t4000\tbed\n", "4\tbed\n"):
        path.write_text("".join([*lines, line]))
        with pytest.raises(OtocError, match=r"combined.tsv, line 4: the columns id and nyu40id hold"):
            class_table(config(tmp_path, dataset="scannet", data_root=str(tmp_path)), SCANNET20)


# --- the key


def test_other_frames_have_another_key(root, tmp_path):
    now = config(root)
    key = content_key(now)
    (root / NAME / "color").mkdir()
    (root / NAME / "color" / "0.jpg").write_bytes(b"not read")
    (root / NAME / "pose" / ".0.txt.swp").write_bytes(b"hidden")
    (root / "CREDITS").write_text("thanks")
    assert content_key(now) == key
    keys = {key}
    for file in ("depth/0.png", "label-filt/2.png", "pose/1.txt", "intrinsic/intrinsic_color.txt"):
        with (root / NAME / file).open("ab") as changed:
            changed.write(b"\n")
        keys.add(content_key(now))
    (root / NAME).rename(root / "Area_1_office_2")
    keys.add(content_key(now))
    assert len(keys) == 6
    write_room(tmp_path / "scans_of_it")
    there = config(root, dataset="scannet", data_root=str(tmp_path / "scans_of_it"))
    key = content_key(there)
    with (tmp_path / "scans_of_it" / CATEGORIES).open("a") as changed:
        changed.write("5\tbed\t4\tbed\n")
    assert content_key(there) != key
    shutil.rmtree(root)
    with pytest.raises(OtocError, match="images_root .*no such folder"):
        content_key(now)


def test_files_that_have_not_changed_are_read_once(root, monkeypatch):
    read = []
    original = frames.read_bytes
    monkeypatch.setattr(frames, "read_bytes", lambda path: read.append(path) or original(path))
    key = content_key(config(root))
    assert content_key(config(root)) == key and len(read) == len(set(read)) == 11
