"""The bundled rooms: what the index promises, packing, the unpacked official tree, damaged input."""

import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from otoc_lib.datasets.bundled_rooms import (
    CATEGORIES,
    FORMAT,
    SOURCE,
    SPLITS,
    BundledRoom,
    draw_points,
    label_table,
    pack,
    read,
    read_index,
    unpack,
)
from otoc_lib.datasets.packing import planes, read_packed, write_packed
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.lock import locked
from otoc_lib.supervoxels.mesh import segment_mesh
from room_factory.statistics import compare_rooms, distance_to_scannet


def names_in(folder):
    """What lies in a folder, but for the locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def toy_room(name: str = "scene0000_00", seed: int = 0, n: int = 60) -> BundledRoom:
    rng = np.random.default_rng(seed)
    vertices = (rng.integers(-900, 2500, (n, 3)) * 0.002).astype(np.float32)
    faces = rng.integers(0, n, (2 * n, 3)).astype(np.int32)
    colors = (rng.integers(0, 64, (n, 3)) * 4).astype(np.uint8)
    segments = np.sort(rng.choice([3, 17, 40, 59], n)).astype(np.int32)
    return BundledRoom(name, vertices, faces, colors, segments, (("wall", (3, 40)), ("office chair", (17,))))


def same(a: BundledRoom, b: BundledRoom) -> bool:
    arrays = ("vertices", "faces", "colors", "segments")
    equal = all(np.array_equal(getattr(a, key), getattr(b, key)) for key in arrays)
    types = all(getattr(a, key).dtype == getattr(b, key).dtype for key in arrays)
    return equal and types and (a.name, a.objects) == (b.name, b.objects)


@pytest.fixture
def packed(tmp_path):
    """A small set of packed rooms, one a split."""
    folder = tmp_path / "packed"
    entries = {}
    for number, split in enumerate(SPLITS):
        room = toy_room(f"scene{number}000_00", number)
        pack(room, folder / f"{room.name}.room.xz")
        entries[room.name] = {"split": split}
    (folder / "index.json").write_text(json.dumps({"seed": 0, "rooms": entries}))
    (folder / "CREDITS").write_text("nobody\n")
    return folder


# --- the bundled set


def rooms_of(split: str) -> list[dict]:
    return [room for room in read_index()["rooms"].values() if room["split"] == split]


def test_splits_and_classes_of_the_bundled_rooms():
    assert [len(rooms_of(split)) for split in SPLITS] == [96, 24, 4, 12]
    for name in SCANNET20.names:
        assert sum(name in room["objects"] for room in rooms_of("train")) >= 8, name
        assert sum(name in room["objects"] for room in rooms_of("val")) >= 3, name
        assert sum(name in room["objects"] for room in rooms_of("val_novel")) >= 1, name


@pytest.mark.parametrize("split", SPLITS)
def test_bundled_rooms_are_small_and_full(split):
    rooms = rooms_of(split)
    assert np.mean([room["wall_floor_share"] for room in rooms]) <= 0.36
    assert 15 <= np.mean([sum(room["objects"].values()) for room in rooms]) <= 30
    for room in rooms:
        assert 8 <= sum(room["objects"].values()) <= 36
        assert 9_000 <= room["vertices"] <= 50_000
        assert 0.025 <= room["spacing"] <= 0.032


def test_bundled_rooms_resemble_scannet():
    names = [name for name, room in read_index()["rooms"].items() if room["split"] == "train"]
    statistics = compare_rooms(read(SOURCE / f"{name}.room.xz") for name in names)
    assert distance_to_scannet(statistics) <= 0.35
    assert statistics["wall, % of points"] <= 25
    assert statistics["wall, % of points"] + statistics["floor, % of points"] <= 35
    assert 2.5 <= statistics["vertex spacing, cm"] <= 3.2
    assert statistics["super-voxel size, median"] == pytest.approx(69, rel=0.15)
    assert statistics["super-voxel size, 5th percentile"] == pytest.approx(27, rel=0.15)
    assert statistics["super-voxel size, 95th percentile"] == pytest.approx(315, rel=0.4)


def test_bundled_rooms_stay_small_on_disk():
    assert sum(path.stat().st_size for path in SOURCE.iterdir()) <= 34e6


def test_every_model_is_credited_under_a_free_licence():
    lines = [line for line in (SOURCE / "CREDITS").read_text(encoding="utf-8").splitlines() if line.count("|") == 3]
    assert len(lines) > 50
    for line in lines[1:]:
        assert line.split("|")[2].strip() and line.split("|")[3].strip().startswith(("CC0 1.0", "CC-BY 3.0"))


@pytest.mark.parametrize("name", ["scene0000_00", "scene0037_00", "scene1003_00", "scene2001_00", "scene3011_00"])
def test_bundled_room_matches_its_index_and_ids(name):
    room, entry = read(SOURCE / f"{name}.room.xz"), read_index()["rooms"][name]
    n = len(room.vertices)
    assert (n, len(room.faces)) == (entry["vertices"], entry["faces"])
    assert room.faces.min() == 0 and room.faces.max() == n - 1
    ids = np.unique(room.segments)
    assert len(ids) == entry["supervoxels"] < n and ids.max() > len(ids)  # raw ids, not dense
    assert np.array_equal(room.segments, segment_mesh(room.vertices, room.faces))
    owned = [segment for _, segments in room.objects for segment in segments]
    assert len(owned) == len(set(owned)) and set(owned) <= set(ids.tolist())
    labels = SCANNET20.from_file_ids(room.nyu40())
    assert np.isin(labels, [0, 1]).mean() == pytest.approx(entry["wall_floor_share"], abs=1e-4)
    assert (labels == IGNORE).mean() == pytest.approx(entry["ignored_share"], abs=1e-4)


# --- packing and unpacking


@pytest.mark.parametrize("seed", range(5))
def test_packing_is_exact(tmp_path, seed):
    room = toy_room(seed=seed, n=40 + 97 * seed)
    pack(room, tmp_path / "a.room.xz")
    assert same(read(tmp_path / "a.room.xz"), room)


def test_unpacked_files_hold_the_room_in_order(tmp_path, packed):
    unpack(tmp_path / "tree", packed)
    tree = tmp_path / "tree"
    for number, split in enumerate(SPLITS):
        name = f"scene{number}000_00"
        assert (tree / "splits" / f"scannetv2_{split}.txt").read_text() == f"{name}\n"
        room, labelled = read(packed / f"{name}.room.xz"), split != "test"
        stem = tree / ("scans" if labelled else "scans_test") / name / name
        for suffix in ("_vh_clean_2.ply", "_vh_clean_2.labels.ply")[: 1 + labelled]:
            ply = PlyData.read(f"{stem}{suffix}")
            assert not ply.text and ply.byte_order == "<"
            vertex = ply["vertex"]
            assert np.array_equal(np.stack([vertex[axis] for axis in "xyz"], 1), room.vertices)
            assert np.array_equal(np.stack([vertex[c] for c in ("red", "green", "blue")], 1), room.colors)
            assert (vertex["alpha"] == 255).all()
            assert np.array_equal(np.stack(ply["face"]["vertex_indices"]), room.faces)
        if labelled:
            segments = json.loads(open(f"{stem}_vh_clean_2.0.010000.segs.json").read())
            assert segments["sceneId"] == name and segments["segIndices"] == room.segments.tolist()
            assert vertex["label"].dtype == np.uint16 and np.array_equal(vertex["label"], room.nyu40())
            groups = json.loads(open(f"{stem}.aggregation.json").read())["segGroups"]
            assert [(group["label"], tuple(group["segments"])) for group in groups] == list(room.objects)
            assert [group["objectId"] for group in groups] == list(range(len(groups)))


def test_labels_of_test_rooms_are_kept_apart(tmp_path, packed):
    tree = tmp_path / "tree"
    unpack(tree, packed)
    name = "scene3000_00"
    assert [path.name for path in (tree / "scans_test").iterdir()] == [name] and not (tree / "scans" / name).exists()
    assert [path.name for path in (tree / "scans_test" / name).iterdir()] == [f"{name}_vh_clean_2.ply"]
    assert [path.name for path in (tree / "test_labels").iterdir()] == [f"{name}.txt"]
    lines = (tree / "test_labels" / f"{name}.txt").read_text().splitlines()
    assert [int(line) for line in lines] == read(packed / f"{name}.room.xz").nyu40().tolist()


def test_points20_is_a_file_of_limited_annotations(tmp_path, packed):
    tree = tmp_path / "tree"
    unpack(tree, packed)
    points = torch.load(tree / "points20", weights_only=True)
    assert list(points) == ["scene0000_00"]  # training rooms only, as in ScanNet's
    chosen, labels = points["scene0000_00"], read(packed / "scene0000_00.room.xz").nyu40()
    assert chosen.dtype == torch.int64 and chosen.shape == (20,) and len(chosen.unique()) == 20
    assert (SCANNET20.from_file_ids(labels)[chosen] != IGNORE).all()


def test_points_are_drawn_uniformly_from_what_has_a_class():
    vertices, segments = np.zeros((400, 3), np.float32), np.repeat([3, 17, 40, 59], 100)
    objects = (("wall", (3,)), ("office chair", (17,)), ("lamp", (40,)))  # a lamp has no benchmark class
    drawn = [
        draw_points(BundledRoom(f"scene{n:04d}_00", vertices, np.zeros((0, 3), int), vertices, segments, objects))
        for n in range(400)
    ]
    counts = np.bincount(np.concatenate(drawn), minlength=400)
    assert (counts[200:] == 0).all() and all((np.diff(points) > 0).all() for points in drawn)
    assert counts[:200].mean() == 40 and abs(counts[:200] - 40).max() < 5.5 * np.sqrt(40)
    assert np.array_equal(
        drawn[5], draw_points(BundledRoom("scene0005_00", vertices, None, vertices, segments, objects))
    )


def test_label_table_maps_every_category_to_its_nyu40_id():
    lines = [line.split("\t") for line in label_table().splitlines()]
    raw, nyu40, name = (lines[0].index(column) for column in ("raw_category", "nyu40id", "nyu40class"))
    assert {row[raw]: (int(row[nyu40]), row[name]) for row in lines[1:]} == CATEGORIES
    assert {len(row) for row in lines} == {17}
    assert set(SCANNET20.file_ids) <= {number for number, _ in CATEGORIES.values()}
    assert any(raw_name != class_name for raw_name, (_, class_name) in CATEGORIES.items())


def test_unpacking_twice_changes_nothing(tmp_path, packed):
    tree = tmp_path / "tree"
    unpack(tree, packed)
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*")}
    unpack(tree, packed)
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*")} == before


def test_a_new_set_replaces_an_older_one(tmp_path, packed):
    tree = tmp_path / "tree"
    unpack(tree, packed)
    index = json.loads((packed / "index.json").read_text())
    del index["rooms"]["scene3000_00"]
    (packed / "index.json").write_text(json.dumps(index))
    unpack(tree, packed)
    assert not (tree / "scans_test" / "scene3000_00").exists() and (tree / "scans" / "scene0000_00").exists()


# --- bad input


def test_foreign_folder_is_left_alone(tmp_path, packed):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "thesis.tex").write_text("precious")
    with pytest.raises(OtocError, match="something other"):
        unpack(tmp_path / "tree", packed)
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["thesis.tex"]


def test_damaged_rooms_are_named_and_nothing_is_left(tmp_path, packed):
    path = packed / "scene1000_00.room.xz"
    for damaged in (path.read_bytes()[:-20], b"not a room", lzma.compress(b"nor this"), lzma.compress(b"\xff" * 64)):
        path.write_bytes(damaged)
        with pytest.raises(OtocError, match="scene1000_00.room.xz"):
            unpack(tmp_path / "tree", packed)
        assert names_in(tmp_path) == ["packed"]
    path.unlink()
    with pytest.raises(OtocError, match="scene1000_00.room.xz: no such file"):
        unpack(tmp_path / "tree", packed)


def spoil(path, arrays, header) -> None:
    """Pack the room again, with other arrays or another header."""
    packed, known = read_packed(path, FORMAT, lambda arrays, header: (arrays, header))
    write_packed(path, {**packed, **arrays}, {**known, **header})


@pytest.mark.parametrize(
    ("arrays", "header"),
    [
        ({}, {"name": "../escaped"}),
        ({}, {"name": "a/b"}),
        ({}, {"objects": '["wall", "spaceship"]'}),
        ({}, {"objects": "[" * 100_000}),
        ({}, {"objects": '[["wall"]]'}),
        ({}, {"objects": "3"}),
        ({"face_starts": planes(np.full(120, 9))}, {}),  # their sums name vertices that are not there
        ({"vertices": planes(np.zeros((59, 3)))}, {}),
        ({"vertices": planes(np.zeros(60))}, {}),
        ({"segments": np.full(60, 4, np.uint16)}, {}),
        ({"segments": np.zeros((60, 1), np.uint16)}, {}),
        ({"owners": np.zeros(3, np.int16)}, {}),
        ({"segment_ids": np.zeros(4, np.float32)}, {}),
        ({"colors": np.zeros((3, 2**40, 0), np.uint8)}, {}),
    ],
)
def test_a_room_that_no_files_can_be_written_of_is_refused(tmp_path, packed, arrays, header):
    path = packed / "scene1000_00.room.xz"
    spoil(path, {}, {})
    read(path)
    spoil(path, arrays, header)
    with pytest.raises(OtocError, match="scene1000_00.room.xz: not a packed room or damaged"):
        unpack(tmp_path / "tree", packed)
    assert names_in(tmp_path) == ["packed"]


def test_missing_or_foreign_index(tmp_path, packed):
    with pytest.raises(OtocError, match="index.json"):
        unpack(tmp_path / "tree", tmp_path / "nowhere")
    strange = ['{"rooms": {"../escaped": {"split": "train"}}}', "[" * 100_000, '{"rooms": {"a": NaN}}', '{"rooms": 3}']
    for text in ("{", "[]", '{"rooms": {"scene0000_00": {"split": "exam"}}}', *strange):
        (packed / "index.json").write_text(text)
        with pytest.raises(OtocError, match="index.json"):
            unpack(tmp_path / "tree", packed)


def test_a_room_whose_name_leaves_the_tree_is_refused_by_its_file(tmp_path, packed):
    with pytest.raises(OtocError, match="is no scene name"):
        toy_room("../../escaped")
    path = packed / "scene0000_00.room.xz"
    whole = lzma.decompress(path.read_bytes())
    path.write_bytes(lzma.compress(whole.replace(b"scene0000_00", b"../escaped00")))
    with pytest.raises(OtocError, match="scene0000_00.room.xz: .*is no scene name"):
        unpack(tmp_path / "tree", packed)
    path.write_bytes(lzma.compress(whole))
    index = (packed / "index.json").read_text().replace("scene0000_00", "../escaped00")
    (packed / "index.json").write_text(index)
    shutil.copyfile(path, tmp_path / "escaped00.room.xz")
    with pytest.raises(OtocError, match="index.json: .*is no scene name"):
        unpack(tmp_path / "tree", packed)
    assert names_in(tmp_path) == ["escaped00.room.xz", "packed"]


def test_what_cannot_be_packed_exactly_is_refused(tmp_path):
    room = toy_room()
    odd = BundledRoom(
        room.name, room.vertices + np.float32(0.0007), room.faces, room.colors, room.segments, room.objects
    )
    with pytest.raises(OtocError, match="steps of 2 mm"):
        pack(odd, tmp_path / "a.room.xz")
    assert not names_in(tmp_path)


def test_a_missing_file_leaves_an_unpacked_tree_usable(tmp_path, packed):
    tree = tmp_path / "tree"
    unpack(tree, packed)
    shutil.copyfile(packed / "index.json", packed / "index.old")
    (packed / "index.json").write_text((packed / "index.old").read_text().replace('"seed": 0', '"seed": 1'))
    (packed / "scene0000_00.room.xz").unlink()
    with pytest.raises(OtocError):
        unpack(tree, packed)
    assert (tree / "scans" / "scene0000_00").is_dir()  # the older set is still there


def test_two_processes_that_unpack_at_once_unpack_once(tmp_path):
    command = [sys.executable, "-m", "otoc_lib", "rooms", "unpack", str(tmp_path / "tree")]
    with locked(tmp_path / ".tree.lock", "the tree"):  # until both of them wait for it
        processes = [
            subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for process in processes:
            assert f"waiting for process {os.getpid()} on this machine" in process.stderr.readline()
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum("100%" in text for text in said) == 1
    assert (tmp_path / "tree" / "rooms.json").is_file() and not (tmp_path / ".tree.part").exists()
