import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.recfunctions import drop_fields
from plyfile import PlyData, PlyElement

from otoc_lib.datasets.scannet import list_scenes, load_scene, scene_files
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene

NAME = "scene0000_00"
MESH = f"scans/{NAME}/{NAME}_vh_clean_2.ply"
LABELS = f"scans/{NAME}/{NAME}_vh_clean_2.labels.ply"
SEGMENTS = f"scans/{NAME}/{NAME}_vh_clean_2.0.010000.segs.json"
AGGREGATION = f"scans/{NAME}/{NAME}.aggregation.json"
CATEGORIES = "scannetv2-labels.combined.tsv"
TRAIN = "splits/scannetv2_train.txt"

# Four super-voxels whose raw ids are not dense: a chair (7), nothing annotated (12), a wall (40), a pillow (90).
RAW_SEGMENTS = [40, 40, 7, 7, 7, 90, 90, 12, 12, 12]
NYU40 = [1, 1, 5, 5, 5, 18, 18, 0, 0, 0]
GROUPS = [("pillow", [90]), ("office chair", [7]), ("wall", [40])]
POINTS = np.random.default_rng(0).uniform(0, 4, (10, 3)).astype(np.float32)
COLORS = np.arange(30, dtype=np.uint8).reshape(10, 3)


def vertices(points=POINTS, colors=COLORS, labels=None) -> np.ndarray:
    """Vertices as in the release, with an alpha channel and normals that the reader has no use for."""
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "u1")]
    table = np.zeros(len(points), dtype=kinds + ([("nx", "f4")] if labels is None else [("label", "u2")]))
    for column, name in enumerate("xyz"):
        table[name] = points[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        table[name] = colors[:, column]
    if labels is not None:
        table["label"] = labels
    return table


def write_ply(path: Path, table: np.ndarray, text: bool = False, element: str = "vertex") -> None:
    faces = np.array([([0, 1, 2],), ([1, 2, 3],)], dtype=[("vertex_indices", "i4", (3,))])
    PlyData([PlyElement.describe(table, element), PlyElement.describe(faces, "face")], text=text).write(str(path))


def write_groups(path: Path, groups=GROUPS) -> None:
    listed = [{"id": i, "objectId": i, "label": name, "segments": ids} for i, (name, ids) in enumerate(groups)]
    path.write_text(json.dumps({"sceneId": NAME, "segGroups": listed}))


def write_room(root: Path) -> Path:
    """A tiny room in the official layout."""
    (root / "scans" / NAME).mkdir(parents=True)
    (root / "splits").mkdir()
    write_ply(root / MESH, vertices())
    write_ply(root / LABELS, vertices(labels=NYU40))
    (root / SEGMENTS).write_text(json.dumps({"sceneId": NAME, "segIndices": RAW_SEGMENTS}))
    write_groups(root / AGGREGATION)
    rows = [("wall", 1, "wall"), ("office chair", 5, "chair"), ("pillow", 18, "pillow"), ("couch", 6, "sofa")]
    lines = [f"{i}\t{raw}\t{name}\t{nyu}\n" for i, (raw, nyu, name) in enumerate(rows)]
    (root / CATEGORIES).write_text("id\traw_category\tnyu40class\tnyu40id\n" + "".join(lines))
    (root / TRAIN).write_text(NAME + "\n")
    return root


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


def test_groups_listed_twice_are_one_object(root):
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


@given(st.sampled_from([MESH, LABELS]), st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_a_ply_cut_anywhere_is_refused(tmp_path_factory, path, keep):
    root = write_room(tmp_path_factory.mktemp("room"))
    cut(root / path, keep)
    with pytest.raises(OtocError, match=Path(path).name):
        load_scene(root, NAME)


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
