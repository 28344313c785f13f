import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.recfunctions import drop_fields
from scannet_room import (
    AGGREGATION,
    CATEGORIES,
    COLORS,
    GROUPS,
    LABELS,
    MESH,
    NAME,
    NYU40,
    POINTS,
    RAW_SEGMENTS,
    SEGMENTS,
    TRAIN,
    vertices,
    write_groups,
    write_ply,
    write_room,
)

from otoc_lib.datasets import bundled_rooms
from otoc_lib.datasets.scannet import list_scenes, load_scene, scene_files
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene, densify


def read_all(root: Path) -> list[Scene]:
    return [load_scene(root, name) for name in list_scenes(root, "train")]


@pytest.fixture
def root(tmp_path):
    return write_room(tmp_path)


def test_reads_a_room_in_the_vertex_order_of_its_file(root):
    (scene,) = read_all(root)
    assert scene.name == NAME and scene.label_set.name == "scannet20"
    np.testing.assert_allclose(scene.coords + scene.origin, POINTS, atol=1e-6)
    np.testing.assert_allclose(scene.coords.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_array_equal(scene.colors, COLORS)
    assert scene.supervoxels.tolist() == [2, 2, 0, 0, 0, 3, 3, 1, 1, 1]
    assert scene.labels.tolist() == [0, 0, 4, 4, 4] + [IGNORE] * 5
    assert scene.instances.tolist() == [1, 1, 0, 0, 0] + [-1] * 5


def test_text_ply_and_the_other_name_of_the_aggregation_file(root):
    expected = load_scene(root, NAME)
    write_ply(root / MESH, vertices(), text=True)
    (root / AGGREGATION).rename(root / f"scans/{NAME}/{NAME}_vh_clean.aggregation.json")
    scene = load_scene(root, NAME)
    np.testing.assert_allclose(scene.coords, expected.coords, atol=1e-6)
    np.testing.assert_array_equal(scene.instances, expected.instances)


def test_objects_of_the_full_resolution_mesh_are_refused(root):
    other = root / f"scans/{NAME}/{NAME}_vh_clean.aggregation.json"
    (root / AGGREGATION).rename(other)
    change_json(other, segmentsFile=f"scannet.{NAME}_vh_clean_2.0.010000.segs.json")
    assert load_scene(root, NAME).num_objects == 2
    change_json(other, segmentsFile=f"scannet.{NAME}_vh_clean.segs.json")
    with pytest.raises(OtocError, match="_vh_clean.aggregation.json: .*full-resolution"):
        load_scene(root, NAME)


def test_groups_listed_twice_are_one_object(root):
    """As in scene0217_00, whose second half repeats the first under other numbers."""
    expected = load_scene(root, NAME).instances
    write_groups(root / AGGREGATION, GROUPS + GROUPS)
    np.testing.assert_array_equal(load_scene(root, NAME).instances, expected)


def test_objects_of_several_supervoxels_and_stray_label_ids_of_the_release(root):
    write_groups(root / AGGREGATION, [("couch", [12, 90]), ("wall", []), ("wall", [7, 40])])
    write_ply(root / LABELS, vertices(labels=[149, 50, *NYU40[2:]]))
    scene = load_scene(root, NAME)
    assert scene.instances.tolist() == [1] * 5 + [0] * 5
    assert scene.labels.tolist() == [IGNORE] * 2 + [4] * 3 + [IGNORE] * 5


def test_room_without_any_object_has_no_instance(root):
    write_groups(root / AGGREGATION, [])
    assert (load_scene(root, NAME).instances == -1).all()


def test_rooms_without_labels(root):
    for path in (LABELS, AGGREGATION, CATEGORIES):
        (root / path).unlink()
    scene = load_scene(root, NAME, with_labels=False)
    assert scene.labels is None and scene.instances is None
    (root / "scans").rename(root / "scans_test")
    assert load_scene(root, NAME).labels is None
    assert [file.name for file in scene_files(root, NAME)] == [Path(MESH).name, Path(SEGMENTS).name]


def test_super_voxels_of_a_test_scene_are_cut_from_its_mesh(tmp_path):
    """The release has no segs.json for these; the bundled rooms say what ours must give."""
    room = bundled_rooms.read(bundled_rooms.SOURCE / "scene3000_00.room.xz")
    bundled_rooms.write_scan(room, tmp_path / "scans_test", labelled=False)
    scene = load_scene(tmp_path, room.name)
    assert [file.name for file in scene_files(tmp_path, room.name)] == [f"{room.name}_vh_clean_2.ply"]
    assert scene.labels is None and np.array_equal(scene.supervoxels, densify(room.segments))
    mesh = tmp_path / "scans_test" / room.name / f"{room.name}_vh_clean_2.ply"
    bundled_rooms.write_scan(replace(room, faces=room.faces[:0]), tmp_path / "scans_test", labelled=False)
    with pytest.raises(OtocError, match=f"{mesh.name}: has no triangles"):
        load_scene(tmp_path, room.name)


def test_the_files_of_a_scene_are_those_it_is_read_from(root):
    files = scene_files(root, NAME)
    assert sorted(files) == sorted(root / path for path in (MESH, SEGMENTS, LABELS, AGGREGATION, CATEGORIES))
    for file in files:
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(OtocError, match=f"{file.name}: no such file"):
            load_scene(root, NAME)
        file.write_bytes(b"")
        with pytest.raises(OtocError, match=file.name):
            load_scene(root, NAME)
        file.write_bytes(content)
    assert load_scene(root, NAME).num_objects == 2


def test_other_files_beside_those_of_the_scene_are_left_alone(root):
    for name in (".DS_Store", f"{NAME}.sens", f"{NAME}_vh_clean.ply", f"{NAME}_vh_clean.aggregation.json", "notes.txt"):
        (root / "scans" / NAME / name).write_bytes(b"\x00 not for us")
    (root / "scans" / "scene0001_00").mkdir()
    (scene,) = read_all(root)
    assert scene.num_objects == 2


def test_the_official_lists_are_used_where_the_root_has_none(tmp_path):
    splits = {split: list_scenes(tmp_path, split) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in splits.items()} == {"train": 1201, "val": 312, "test": 100}
    names = [name for split in splits.values() for name in split]
    assert len(set(names)) == 1613 and all(re.fullmatch(r"scene0[0-8]\d\d_0\d", name) for name in names)
    assert "scene0217_00" in splits["val"] and splits["test"][0] == "scene0707_00"
    # Scans of one room (scene<room>_<scan>) never fall into two splits.
    rooms = [{name[:9] for name in split} for split in splits.values()]
    assert not (rooms[0] & rooms[1] or rooms[0] & rooms[2] or rooms[1] & rooms[2])
    with pytest.raises(OtocError, match="scannetv2_val_novel.txt: no such file"):
        list_scenes(tmp_path, "val_novel")


def test_lists_of_the_root_come_before_the_official_ones(tmp_path):
    (tmp_path / "scannetv2_train.txt").write_text("scene0002_00\n")
    assert list_scenes(tmp_path, "train") == ["scene0002_00"]
    (tmp_path / "splits").mkdir()
    (tmp_path / TRAIN).write_text("scene0001_00\n")
    assert list_scenes(tmp_path, "train") == ["scene0001_00"]
    assert len(list_scenes(tmp_path, "val")) == 312


def test_line_ends_of_another_system_make_no_difference(root):
    expected = load_scene(root, NAME)
    for path in (TRAIN, CATEGORIES):
        (root / path).write_bytes(b"\xef\xbb\xbf" + (root / path).read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    (scene,) = read_all(root)
    assert scene.fingerprint == expected.fingerprint


def with_colors(values, dtype) -> np.ndarray:
    table = vertices()
    kinds = [(n, dtype if n in ("red", "green", "blue") else table.dtype[n]) for n in table.dtype.names]
    table = table.astype(kinds)
    for column, name in enumerate(("red", "green", "blue")):
        table[name] = np.asarray(values)[:, column]
    return table


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(1, "u1"), (1, "u2"), (1, "i4"), (257, "u2"), (257, "i4"), (257, "f8"), (1 / 255, "f4"), (1, "f4"), (1, "f8")],
)
def test_colors_of_other_types_are_converted_where_their_scale_is_clear(root, scale, dtype):
    write_ply(root / MESH, with_colors(COLORS.astype(np.float64) * scale, dtype))
    np.testing.assert_array_equal(load_scene(root, NAME).colors, COLORS)


@pytest.mark.parametrize(
    ("values", "dtype", "named"),
    [
        (np.eye(10, 3), "f4", "not clearly"),  # black and white at 0..1, or nearly black at 0..255
        (np.eye(10, 3), "u2", "not clearly"),
        (np.eye(10, 3) * 300, "u2", "not clearly"),
        (np.eye(10, 3) * 1.5, "f4", "not clearly"),
        (np.eye(10, 3) * 5000.5, "f8", "not clearly"),
        (np.eye(10, 3) * 70000, "f4", "vertex 0 has the colour"),
        (np.eye(10, 3) * -1, "i4", "vertex 0 has the colour"),
        (np.eye(10, 3) * np.nan, "f4", "vertex 0 has the colour"),
    ],
)
def test_colors_that_could_mean_two_things_are_refused(root, values, dtype, named):
    write_ply(root / MESH, with_colors(values, dtype))
    with pytest.raises(OtocError, match=f"{Path(MESH).name}: .*{named}"):
        load_scene(root, NAME)


def test_black_is_black_in_every_type(root):
    for dtype in ("u2", "f4"):
        write_ply(root / MESH, with_colors(np.zeros((10, 3)), dtype))
        assert not load_scene(root, NAME).colors.any()


def test_a_room_in_millimetres_is_warned_of(root):
    write_ply(root / MESH, vertices(POINTS * 1000))
    with pytest.warns(UserWarning, match=f"{Path(MESH).name}: the room is 3... m wide.*millimetres"):
        load_scene(root, NAME)
    write_ply(root / MESH, vertices(POINTS * 20))  # 80 m, a hall
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scene(root, NAME)


@st.composite
def meshes(draw):
    """A mesh of N vertices: coordinates, colours, NYU40 ids, segments, and objects as groups of segments."""
    count = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([0.01, 1.0, 9.0]))
    points = (rng.normal(size=(count, 3)) * size + rng.normal(size=3) * 20).astype(np.float32)
    segments = rng.choice(rng.integers(0, 10**6, 6), count)
    labels = rng.choice([0, 1, 2, 5, 18, 39, 40], count)
    labels[0] = 1
    group = {segment: rng.integers(-1, 4) for segment in np.unique(segments).tolist()}
    members = [[segment for segment in group if group[segment] == number] for number in range(4)]
    categories = draw(st.lists(st.sampled_from(["wall", "office chair", "pillow"]), min_size=4, max_size=4))
    groups = [(category, ids) for category, ids in zip(categories, members, strict=True) if ids]
    return points, rng.integers(0, 256, (count, 3), np.uint8), labels, segments, groups


@given(meshes(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_mesh_is_read_exactly_as_it_was_written(tmp_path_factory, mesh, text):
    points, colors, labels, segments, groups = mesh
    root = write_room(tmp_path_factory.mktemp("room"))
    write_ply(root / MESH, vertices(points, colors), text)
    write_ply(root / LABELS, vertices(points, colors, labels), text)
    (root / SEGMENTS).write_text(json.dumps({"segIndices": segments.tolist()}))
    write_groups(root / AGGREGATION, groups)
    scene = load_scene(root, NAME)
    if text:  # digits in the file need not be those of the array
        np.testing.assert_allclose(scene.coords + scene.origin, points, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(scene.origin, points.astype(np.float64).mean(axis=0))
        np.testing.assert_array_equal(scene.coords, (points - scene.origin).astype(np.float32))
    np.testing.assert_array_equal(scene.colors, colors)
    np.testing.assert_array_equal(
        scene.label_set.to_file_ids(scene.labels), np.where(labels % 40 == 18, 0, labels % 40)
    )
    np.testing.assert_array_equal(np.unique(segments)[scene.supervoxels], segments)
    objects = [ids for category, ids in groups if category != "pillow"]
    for segment, instance in zip(segments, scene.instances, strict=True):
        assert [segment in ids for ids in objects] == [number == instance for number in range(len(objects))]


@given(raw=st.lists(st.integers(0, 10**6) | st.integers(0, 3), min_size=10, max_size=10))
@settings(max_examples=25, deadline=None)
def test_any_segment_ids_give_the_objects_of_their_segments(tmp_path_factory, raw):
    root = write_room(tmp_path_factory.mktemp("room"))
    ids = sorted(set(raw))
    (root / SEGMENTS).write_text(json.dumps({"segIndices": raw}))
    write_groups(root / AGGREGATION, [("wall", ids[0::3]), ("pillow", ids[1::3])])
    scene = load_scene(root, NAME)
    assert scene.supervoxels.tolist() == [ids.index(value) for value in raw]
    assert scene.instances.tolist() == [0 if value in ids[0::3] else -1 for value in raw]


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def recount(path: Path, vertices: int) -> None:
    """Let the header name another number of vertices than the file holds."""
    data = path.read_bytes()
    assert b"element vertex 10\n" in data
    path.write_bytes(data.replace(b"element vertex 10\n", b"element vertex %d\n" % vertices))


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def write_text_mesh(path: Path, old: str, new: str) -> None:
    write_ply(path, vertices(), text=True)
    rewrite(path, old.encode(), new.encode())


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_nan() -> np.ndarray:
    points = POINTS.copy()
    points[3, 1] = np.nan
    return points


DEFECTS = {
    "mesh missing": (lambda r: (r / MESH).unlink(), MESH, "no such file"),
    "mesh empty": (lambda r: (r / MESH).write_bytes(b""), MESH, "PLY"),
    "mesh header cut": (lambda r: cut(r / MESH, 0.1), MESH, "truncated"),
    "mesh body cut": (lambda r: cut(r / MESH, 0.8), MESH, "truncated"),
    "mesh is no PLY": (lambda r: (r / MESH).write_bytes(bytes(range(256))), MESH, "PLY"),
    "mesh without vertices": (lambda r: write_ply(r / MESH, vertices()[:0]), MESH, "no vertices"),
    "mesh without the element": (lambda r: write_ply(r / MESH, vertices(), element="point"), MESH, "no numeric x"),
    "NaN coordinate": (lambda r: write_ply(r / MESH, vertices(with_nan())), MESH, "NaN.*3"),
    "no colours": (lambda r: write_ply(r / MESH, drop_fields(vertices(), "green")), MESH, "no numeric green"),
    "no z": (lambda r: write_ply(r / MESH, drop_fields(vertices(), "z")), MESH, "no numeric z"),
    "labels missing": (lambda r: (r / LABELS).unlink(), LABELS, "no such file"),
    "labels cut": (lambda r: cut(r / LABELS, 0.7), LABELS, "truncated"),
    "labels without the property": (lambda r: write_ply(r / LABELS, vertices()), LABELS, "no numeric label"),
    "label out of range": (lambda r: write_ply(r / LABELS, vertices(labels=[41] * 10)), LABELS, "label 41"),
    "labels of another mesh": (
        lambda r: write_ply(r / LABELS, vertices(POINTS[:9], COLORS[:9], NYU40[:9])),
        LABELS,
        "9 vertices.*10",
    ),
    "labels as fractions": (
        lambda r: write_ply(
            r / LABELS, vertices(labels=NYU40).astype([(n, "f4") for n in vertices(labels=NYU40).dtype.names])
        ),
        LABELS,
        "labels are float32",
    ),
    "mesh counts all there could be": (lambda r: recount(r / MESH, 2**40), MESH, "damaged|truncated"),
    "mesh counts beyond any number": (lambda r: recount(r / MESH, 2**64), MESH, "damaged|truncated"),
    "colour beyond its type": (
        lambda r: write_text_mesh(r / MESH, " 29 0 ", " 300 0 "),
        MESH,
        "blue of vertex 9 is 300",
    ),
    "label beyond its type": (
        lambda r: (
            write_ply(r / LABELS, vertices(labels=NYU40), text=True),
            rewrite(r / LABELS, b" 18\n", b" 65554\n"),
        ),
        LABELS,
        "label of vertex 5 is 65554",
    ),
    "segment beyond any number": (lambda r: change_json(r / SEGMENTS, segIndices=[2**63] * 10), SEGMENTS, "whole"),
    "segments as text": (lambda r: change_json(r / SEGMENTS, segIndices=["a" * 10**6] + [1] * 9), SEGMENTS, "whole"),
    "segments as truths": (lambda r: change_json(r / SEGMENTS, segIndices=[True] * 10), SEGMENTS, "whole"),
    "a number of 5000 digits": (lambda r: (r / SEGMENTS).write_text('{"segIndices": [' + "9" * 5000), SEGMENTS, "JSON"),
    "category as long as a book": (
        lambda r: (r / CATEGORIES).write_text((r / CATEGORIES).read_text() + "4\t" + "x" * 200_000),
        CATEGORIES,
        "line 6: no line of a table",
    ),
    "columns as long as a book": (
        lambda r: (r / CATEGORIES).write_text("id\t" + "x" * 200_000),
        CATEGORIES,
        "line 1: no line of a table",
    ),
    "split names the folder itself": (lambda r: (r / TRAIN).write_text("..\n"), TRAIN, "line 1: .*no scene name"),
    "split names what no file can": (lambda r: (r / TRAIN).write_text("a\0b\n"), TRAIN, "line 1: .*no scene name"),
    "split names a book": (lambda r: (r / TRAIN).write_text("x" * 300), TRAIN, "line 1: .*no scene name"),
    "mesh is a folder": (lambda r: put_a_folder(r / MESH), MESH, "cannot be read"),
    "mesh counts too few": (lambda r: recount(r / MESH, 9), MESH, "damaged|truncated"),
    "mesh counts too many": (lambda r: recount(r / MESH, 11), MESH, "damaged|truncated"),
    "labels count too few": (lambda r: recount(r / LABELS, 9), LABELS, "damaged|truncated"),
    "mesh far away": (lambda r: write_ply(r / MESH, vertices(POINTS * 1e30)), MESH, "absurd coordinate, .* 0"),
    "no benchmark class": (lambda r: write_ply(r / LABELS, vertices(labels=[18, 0] * 5)), LABELS, "benchmark"),
    "segs missing": (lambda r: (r / SEGMENTS).unlink(), SEGMENTS, "no such file"),
    "segs empty": (lambda r: (r / SEGMENTS).write_bytes(b""), SEGMENTS, "JSON"),
    "segs cut": (lambda r: cut(r / SEGMENTS, 0.6), SEGMENTS, "truncated"),
    "segs are no text": (lambda r: (r / SEGMENTS).write_bytes(b"\xff\xfe\x00"), SEGMENTS, "not a text"),
    "segs of another mesh": (lambda r: change_json(r / SEGMENTS, segIndices=[1] * 9), SEGMENTS, "9 segIndices.*10"),
    "segs without indices": (lambda r: (r / SEGMENTS).write_text("{}"), SEGMENTS, "segIndices"),
    "segs are a list": (lambda r: (r / SEGMENTS).write_text("[1, 2]"), SEGMENTS, "segIndices"),
    "segs are words": (lambda r: change_json(r / SEGMENTS, segIndices=["a"] * 10), SEGMENTS, "whole numbers"),
    "segs are fractions": (lambda r: change_json(r / SEGMENTS, segIndices=[0.5] * 10), SEGMENTS, "whole numbers"),
    "segs are ragged": (lambda r: change_json(r / SEGMENTS, segIndices=[1, [2]]), SEGMENTS, "whole numbers"),
    "aggregation missing": (lambda r: (r / AGGREGATION).unlink(), AGGREGATION, "no such file"),
    "aggregation cut": (lambda r: cut(r / AGGREGATION, 0.5), AGGREGATION, "truncated"),
    "aggregation without groups": (
        lambda r: (r / AGGREGATION).write_text('{"segGroups": 3}'),
        AGGREGATION,
        "segGroups",
    ),
    "group without segments": (
        lambda r: change_json(r / AGGREGATION, segGroups=[{"label": "wall"}]),
        AGGREGATION,
        "segments",
    ),
    "unknown category": (lambda r: write_groups(r / AGGREGATION, [("wal", [40])]), AGGREGATION, "'wal'"),
    "unknown segment": (lambda r: write_groups(r / AGGREGATION, [("wall", [41, 91])]), AGGREGATION, "segment 41"),
    "objects overlap": (
        lambda r: write_groups(r / AGGREGATION, [("wall", [40, 7]), ("couch", [7])]),
        AGGREGATION,
        r"segment 7 .*\[0\].*\[1\]",
    ),
    "categories missing": (lambda r: (r / CATEGORIES).unlink(), CATEGORIES, "no such file"),
    "categories empty": (lambda r: (r / CATEGORIES).write_bytes(b""), CATEGORIES, "nyu40id"),
    "categories without ids": (
        lambda r: (r / CATEGORIES).write_text((r / CATEGORIES).read_text().replace("nyu40id", "other")),
        CATEGORIES,
        "nyu40id",
    ),
    "category without id": (
        lambda r: (r / CATEGORIES).write_text((r / CATEGORIES).read_text().replace("18", "")),
        CATEGORIES,
        "line 4",
    ),
    "split empty": (lambda r: (r / TRAIN).write_bytes(b""), TRAIN, "one name a line"),
    "split names twice": (lambda r: (r / TRAIN).write_text(f"{NAME}\n\n{NAME}\n"), TRAIN, "line 3: .* line 1"),
    "split names a path": (lambda r: (r / TRAIN).write_text(f"../scans/{NAME}\n"), TRAIN, "line 1: .*no scene name"),
    "split holds columns": (lambda r: (r / TRAIN).write_text(f"{NAME} 1\n"), TRAIN, "line 1: .*no scene name"),
    "split is no text": (lambda r: (r / TRAIN).write_bytes(b"\xff\xfe\x00"), TRAIN, "not a text"),
    "split names a stranger": (lambda r: (r / TRAIN).write_text("scene9999_00\n"), "", "scans/scene9999_00"),
}


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_refused_with_the_name_of_the_file(root, defect):
    spoil, path, message = DEFECTS[defect]
    spoil(root)
    before = contents(root)
    with pytest.raises(OtocError, match=message) as refusal:
        read_all(root)
    assert str(root / path) in str(refusal.value)
    assert contents(root) == before


def test_unknown_parameters_are_refused_by_name(root):
    with pytest.raises(OtocError, match="split: 'valid'.*val_novel"):
        list_scenes(root, "valid")
    for call in (lambda path: list_scenes(path, "train"), lambda path: load_scene(path, NAME)):
        with pytest.raises(OtocError, match="data root .*nowhere"):
            call(root / "nowhere")


@given(
    st.sampled_from([MESH, LABELS, SEGMENTS, AGGREGATION, CATEGORIES]), st.floats(0, 1, exclude_max=True), st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_a_file_cut_anywhere_is_refused_by_name_or_lacks_nothing(tmp_path_factory, path, keep, text):
    root = write_room(tmp_path_factory.mktemp("room"))
    if text:
        write_ply(root / MESH, vertices(), text)
        write_ply(root / LABELS, vertices(labels=NYU40), text)
    expected = load_scene(root, NAME).fingerprint
    cut(root / path, keep)
    try:
        scene = load_scene(root, NAME)
    except OtocError as error:
        assert Path(path).name in str(error)
    else:
        assert scene.fingerprint == expected


@given(
    st.sampled_from([MESH, LABELS, SEGMENTS, AGGREGATION, CATEGORIES]),
    st.floats(0, 1, exclude_max=True),
    st.binary(max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_damage_anywhere_gives_a_scene_or_one_clear_error(tmp_path_factory, path, position, junk):
    root = write_room(tmp_path_factory.mktemp("room"))
    data = (root / path).read_bytes()
    start = int(position * len(data))
    (root / path).write_bytes(data[:start] + junk + data[start + len(junk) :])
    try:
        scene = load_scene(root, NAME)
    except OtocError:
        return
    assert scene.num_points == len(RAW_SEGMENTS)


@pytest.mark.parametrize("name", ["../scene0000_00", "a\\b", ".hidden", "x" * 201, "a\x1bb"])
def test_a_name_in_a_list_or_an_argument_does_not_leave_the_folder(root, name):
    path = root / "splits" / "scannetv2_train.txt"
    path.write_text(f"{NAME}\n{name}\n")
    with pytest.raises(OtocError, match="scannetv2_train.txt, line 2: .* is no scene name"):
        list_scenes(root, "train")
    for call in (scene_files, load_scene):
        with pytest.raises(OtocError, match="is no scene name"):
            call(root, name)
