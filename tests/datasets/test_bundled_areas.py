"""The bundled areas: what the index promises, packing, the unpacked official tree, damaged input."""

import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.datasets.bundled_areas import (
    FORMAT,
    SOURCE,
    BundledAreaRoom,
    _morton,
    assemble,
    pack,
    packed_path,
    read,
    read_index,
    unpack,
)
from otoc_lib.datasets.packing import planes, read_packed, write_packed
from otoc_lib.datasets.s3dis import AREAS, list_scenes, read_room
from otoc_lib.errors import OtocError
from otoc_lib.labels import S3DIS13


def names_in(folder):
    """What lies in a folder, but for the locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def toy_room(name: str = "Area_1/office_1", seed: int = 0, n: int = 400, objects: int = 14) -> BundledAreaRoom:
    """Random points of random objects, mostly of one class, so that there is a "clutter_10", which precedes "_2"."""
    rng = np.random.default_rng(seed)
    points = rng.integers(-900, 30_000, (n, 3)) / 500
    classes = np.where(rng.random(objects) < 0.8, 12, rng.integers(0, 13, objects))
    instances = np.concatenate([np.arange(objects), rng.integers(0, objects, n - objects)])
    colors = rng.integers(0, 256, (n, 3)).astype(np.uint8)
    return assemble(name, points, colors, classes[instances], instances)


def same(a: BundledAreaRoom, b: BundledAreaRoom) -> bool:
    pairs = ((a.points, b.points), (a.colors, b.colors))
    equal = all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs)
    return equal and (a.name, a.objects) == (b.name, b.objects)


@pytest.fixture
def packed(tmp_path) -> Path:
    """A small set of packed rooms of two areas."""
    folder = tmp_path / "packed"
    entries = {}
    for seed, name in enumerate(("Area_1/office_1", "Area_1/hallway_1", "Area_5/office_1")):
        room = toy_room(name, seed)
        pack(room, packed_path(folder, name))
        entries[name] = {"points": len(room.points)}
    (folder / "index.json").write_text(json.dumps({"seed": 0, "rooms": entries}))
    (folder / "CREDITS").write_text("nobody\n")
    return folder


# --- the bundled set


def rooms_of(area: int) -> list[dict]:
    return [room for name, room in read_index()["rooms"].items() if name.startswith(f"Area_{area}/")]


def test_areas_and_classes_of_the_bundled_rooms():
    assert len(read_index()["rooms"]) >= 36
    assert all(len(rooms_of(area)) >= 6 for area in AREAS)
    for name in S3DIS13.names:
        areas = [area for area in AREAS if any(name in room["objects"] for room in rooms_of(area))]
        assert len(areas) >= 3, name
        assert sum(name in room["objects"] for room in rooms_of(5)) >= 2, name


def test_bundled_rooms_are_of_the_size_and_number_of_objects_of_s3dis():
    rooms = read_index()["rooms"].values()
    assert all(80_000 <= room["points"] <= 150_000 for room in rooms)
    assert 30 <= np.mean([sum(room["objects"].values()) for room in rooms]) <= 42  # 36.15 in the paper


def test_bundled_rooms_stay_small_on_disk():
    assert sum(path.stat().st_size for path in SOURCE.iterdir()) <= 40e6
    assert {path.name for path in SOURCE.glob("*.xz")} == {packed_path(SOURCE, n).name for n in read_index()["rooms"]}


def test_every_model_is_credited_under_a_free_licence():
    lines = [line for line in (SOURCE / "CREDITS").read_text(encoding="utf-8").splitlines() if line.count("|") == 3]
    assert len(lines) > 40
    for line in lines[1:]:
        assert line.split("|")[2].strip() and line.split("|")[3].strip().startswith(("CC0 1.0", "CC-BY 3.0"))


@pytest.mark.parametrize("name", ["Area_1/office_1", "Area_3/hallway_1", "Area_5/office_2"])
def test_bundled_room_matches_its_index(name):
    room, entry = read(packed_path(SOURCE, name)), read_index()["rooms"][name]
    assert room.name == name and len(room.points) == entry["points"]
    classes = [file.split("_")[0] for file, _ in room.objects]
    assert {c: classes.count(c) for c in set(classes)} == entry["objects"]
    counts = np.bincount(room.labels(), minlength=len(S3DIS13))
    assert {S3DIS13.names[c]: n for c, n in enumerate(counts) if n} == entry["class_points"]
    floor = room.points[room.labels() == S3DIS13.index("floor"), 2]
    ceiling = room.points[room.labels() == S3DIS13.index("ceiling"), 2]
    assert abs(np.median(floor)) < 0.02 and 2.4 < np.median(ceiling) < 3.1
    assert room.points[:, 2].min() > -0.2 and room.points[:, 2].max() < 3.3


# --- packing and unpacking


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(20, 300), objects=st.integers(1, 16))
def test_packing_is_exact(tmp_path_factory, seed, n, objects):
    path = tmp_path_factory.mktemp("packing") / "a.room.xz"
    room = toy_room(seed=seed, n=n, objects=objects)
    pack(room, path)
    assert same(read(path), room)


def test_assembling_keeps_every_point_with_its_color_and_object():
    rng = np.random.default_rng(3)
    lattice = np.unique(rng.integers(0, 40, (300, 3)), axis=0)
    points = lattice / 500 + rng.uniform(-0.0009, 0.0009, lattice.shape)
    colors = rng.integers(0, 256, (len(points), 3)).astype(np.uint8)
    instances = rng.integers(0, 30, len(points))
    labels = (instances * 7) % 13
    room = assemble("Area_2/WC_1", points, colors, labels, instances)
    before = sorted(
        (*map(int, cell), *(color // 4 * 4), label) for cell, color, label in zip(lattice, colors, labels, strict=True)
    )
    after = sorted(
        (*map(int, np.rint(p * 500)), *c, label)
        for p, c, label in zip(room.points, room.colors, room.labels(), strict=True)
    )
    assert before == after
    assert [f"{name}.txt" for name, _ in room.objects] == sorted(f"{name}.txt" for name, _ in room.objects)
    assert len(room.objects) == len(np.unique(instances))


def test_morton_order_interleaves_the_bits():
    cells = np.random.default_rng(0).integers(0, 2**16, (50, 3))

    def code(x: int, y: int, z: int) -> int:
        bits = zip(f"{x:016b}", f"{y:016b}", f"{z:016b}", strict=True)
        return int("".join(f"{c}{b}{a}" for a, b, c in bits), 2)

    assert _morton(cells).tolist() == [code(*cell) for cell in cells.tolist()]


def test_the_reader_of_s3dis_gives_unpacked_rooms_back_exactly(tmp_path, packed):
    unpack(tmp_path / "tree", packed)
    tree = tmp_path / "tree"
    assert list_scenes(tree, "train") == ["Area_1_hallway_1", "Area_1_office_1"]
    assert list_scenes(tree, "val") == ["Area_5_office_1"]
    for name in read_index(packed)["rooms"]:
        room, found = read(packed_path(packed, name)), read_room(tree, name.replace("/", "_"))
        assert np.array_equal(found.points, room.points)
        assert np.array_equal(found.colors, room.colors)
        assert np.array_equal(found.labels, room.labels())
        assert np.array_equal(found.instances, room.instances())
        whole = np.loadtxt(tree / name / f"{name.split('/')[1]}.txt")
        assert np.array_equal(whole, np.column_stack([room.points, room.colors]))
    assert (tree / "CREDITS").read_text() == "nobody\n"


def test_a_bundled_room_comes_back_exactly(tmp_path):
    name = next(iter(read_index()["rooms"]))
    folder = tmp_path / "packed"
    folder.mkdir()
    shutil.copy(packed_path(SOURCE, name), folder)
    shutil.copy(SOURCE / "CREDITS", folder)
    (folder / "index.json").write_text(json.dumps({"seed": 0, "rooms": {name: read_index()["rooms"][name]}}))
    unpack(tmp_path / "tree", folder)
    room, found = read(packed_path(folder, name)), read_room(tmp_path / "tree", name.replace("/", "_"))
    assert np.array_equal(found.points, room.points) and np.array_equal(found.colors, room.colors)
    assert np.array_equal(found.labels, room.labels()) and np.array_equal(found.instances, room.instances())


def test_unpacking_again_does_nothing_and_a_newer_set_replaces_the_older(tmp_path, packed):
    tree = tmp_path / "tree"
    unpack(tree, packed)
    first = (tree / "CREDITS").stat().st_ino
    unpack(tree, packed)
    assert (tree / "CREDITS").stat().st_ino == first
    index = read_index(packed)
    del index["rooms"]["Area_1/hallway_1"]
    (packed / "index.json").write_text(json.dumps(index))
    unpack(tree, packed)
    assert not (tree / "Area_1" / "hallway_1").exists() and (tree / "Area_1" / "office_1").is_dir()
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_other_content_is_left_alone(tmp_path, packed):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OtocError, match="holds something other"):
        unpack(tmp_path / "mine", packed)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


# --- damaged input


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "other", "format", "short"])
def test_damaged_room_is_named_and_nothing_is_left(tmp_path, packed, damage):
    path = packed_path(packed, "Area_1/hallway_1")
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "format":
        path.write_bytes(lzma.compress(lzma.decompress(data).replace(b"otoc-area-room-1", b"otoc-area-room-9")))
    elif damage == "short":
        objects = json.dumps(read(path).objects).replace('"', '\\"')
        fewer = objects[:-4] + "9" * (objects[-4] != "9") + "8" * (objects[-4] == "9") + objects[-3:]
        path.write_bytes(lzma.compress(lzma.decompress(data).replace(objects[2:].encode(), fewer[2:].encode())))
    else:
        path.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "other": b"ply\n"}[damage])
    with pytest.raises(OtocError, match="Area_1_hallway_1.room.xz"):
        unpack(tmp_path / "tree", packed)
    assert names_in(tmp_path) == ["packed"]


@pytest.mark.parametrize(
    ("arrays", "header"),
    [
        ({}, {"name": "../office_1"}),
        ({}, {"name": "Area_1/../../escaped"}),
        ({}, {"objects": '[["chair_1", 400]'}),
        ({}, {"objects": '[["chair_1", 400.0]]'}),
        ({}, {"objects": '[["chair_1", NaN]]'}),
        ({}, {"objects": '[["chair_1", 401], ["chair_2", -1]]'}),
        ({}, {"objects": '[["chair", 400]]'}),
        ({}, {"objects": '[["throne_1", 400]]'}),
        ({}, {"objects": '[["chair_1", 200], ["chair_1", 200]]'}),
        ({}, {"objects": "[3]"}),
        ({}, {"objects": "[" * 100_000}),
        ({"points": planes(np.full((400, 3), 2**30))}, {}),
        ({"points": np.zeros((3, 2, 400), np.int8)}, {}),
    ],
)
def test_a_room_that_no_files_can_be_written_of_is_refused(tmp_path, arrays, header):
    path = tmp_path / "a.room.xz"
    pack(toy_room(n=400), path)
    packed, known = read_packed(path, FORMAT, lambda arrays, header: (arrays, header))
    assert len(read(path).points) == 400
    write_packed(path, packed, {**known, "objects": '[["chair_1", 400]]'})
    read(path)
    write_packed(path, {**packed, **arrays}, {**known, "objects": '[["chair_1", 400]]', **header})
    with pytest.raises(OtocError, match="a.room.xz: not a packed room or damaged"):
        read(path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rooms": {"office_1": {}}}', '{"seed": 0}', '{"rooms": {"Area_1/..": {}}}', "[" * 100_000]
)
def test_damaged_index_is_named(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(OtocError, match="index.json: not a list of rooms"):
        read_index(tmp_path)
    with pytest.raises(OtocError, match="index.json: no such file"):
        read_index(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["Area_1/..", "Area_../office_1", "Area_1/", "Area_1/a\nb", "Area_1/a/../../b", "x"])
def test_a_room_whose_name_leaves_the_tree_is_refused_by_its_file(tmp_path, packed, name):
    with pytest.raises(OtocError, match="packed room: "):
        toy_room(name)
    index = json.loads((packed / "index.json").read_text())
    index["rooms"][name] = index["rooms"]["Area_1/office_1"]
    (packed / "index.json").write_text(json.dumps(index))
    with pytest.raises(OtocError, match="index.json: not a list of rooms .*packed room"):
        unpack(tmp_path / "tree", packed)
    assert names_in(tmp_path) == ["packed"]


def test_a_packed_room_that_names_another_folder_is_refused_by_its_file(tmp_path, packed):
    path = packed_path(packed, "Area_1/office_1")
    path.write_bytes(lzma.compress(lzma.decompress(path.read_bytes()).replace(b"Area_1/office_1", b"Area_1/../../ab")))
    with pytest.raises(OtocError, match="Area_1_office_1.room.xz: .*not Area_<k>/<room>"):
        unpack(tmp_path / "tree", packed)
    assert names_in(tmp_path) == ["packed"]


def test_only_what_unpacks_exactly_can_be_packed(tmp_path):
    room = toy_room()
    wrong = (
        BundledAreaRoom(room.name, room.points + 0.0005, room.colors, room.objects),
        BundledAreaRoom(room.name, room.points, room.colors + 1, room.objects),
        BundledAreaRoom(room.name, room.points, room.colors, room.objects[::-1]),
        BundledAreaRoom(room.name, room.points, room.colors, room.objects[1:]),
    )
    for bad in wrong:
        with pytest.raises(OtocError, match="Area_1/office_1"):
            pack(bad, tmp_path / "a.room.xz")
    assert not names_in(tmp_path)
