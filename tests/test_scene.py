import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otoc_lib.errors import OtocError, shown
from otoc_lib.files import read_notes
from otoc_lib.labels import IGNORE, S3DIS13, SCANNET20, LabelSet
from otoc_lib.scene import ARRAYS, LONGEST_NAME, Scene, checked_name, densify

OWN = LabelSet("own", ("Wand", "Stuhl", "\u6905\u5b50"), (0, 1, 2), ((0, 0, 0), (255, 0, 0), (1, 2, 3)))


def fields(**changes) -> dict:
    good = {
        "name": "scene0000_00",
        "coords": np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32),
        "colors": np.arange(12, dtype=np.uint8).reshape(4, 3),
        "supervoxels": np.array([1, 0, 2, 1], np.int32),
        "labels": np.array([0, 19, IGNORE, 0], np.int16),
        "instances": np.array([0, 1, -1, 0], np.int32),
        "origin": np.array([10.0, 20.0, 30.0]),
        "label_set": SCANNET20,
        "axes": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    }
    return good | changes


def assert_same(scene: Scene, other: Scene) -> None:
    assert (scene.name, scene.label_set) == (other.name, other.label_set)
    for field in ARRAYS:
        one, two = getattr(scene, field), getattr(other, field)
        if one is None:
            assert two is None
        else:
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)


def test_counts():
    scene = Scene(**fields())
    assert (scene.num_points, scene.num_supervoxels, scene.num_objects) == (4, 3, 2)
    assert Scene(**fields(instances=None)).num_objects == 0


def test_is_immutable_and_independent_of_the_arrays_it_was_made_from():
    given_arrays = fields()
    scene = Scene(**given_arrays)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.labels = None
    for field in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(scene, field)[...] = 0
        given_arrays[field][...] = 0
    assert_same(scene, Scene(**fields()))


@pytest.mark.parametrize("label_set", [SCANNET20, S3DIS13, OWN])
@pytest.mark.parametrize("missing", [(), ("labels",), ("instances",), ("labels", "instances", "axes")])
def test_save_and_load_round_trip(tmp_path, label_set, missing):
    scene = Scene(
        **(fields(labels=np.array([0, 2, IGNORE, 0], np.int16), label_set=label_set) | dict.fromkeys(missing))
    )
    path = tmp_path / "folder" / "room.safetensors"
    scene.save(path)
    assert_same(Scene.load(path), scene)
    assert Scene.load(path).fingerprint == scene.fingerprint
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_fingerprint_follows_everything_a_scene_holds():
    other = {
        "name": "scene0000_01",
        "coords": fields()["coords"] + 1,
        "colors": fields()["colors"] + 1,
        "supervoxels": np.array([1, 0, 2, 0], np.int32),
        "labels": np.array([0, 18, IGNORE, 0], np.int16),
        "instances": np.array([0, 1, -1, 1], np.int32),
        "origin": np.array([10.0, 20.0, 31.0]),
        "label_set": dataclasses.replace(SCANNET20, names=("walls", *SCANNET20.names[1:])),
        "axes": 2 * np.eye(3),
    }
    scenes = [Scene(**fields(**{field: value})) for field, value in other.items()]
    scenes += [
        Scene(**fields()),
        Scene(**fields(labels=None)),
        Scene(**fields(instances=None)),
        Scene(**fields(axes=None)),
    ]
    assert len({scene.fingerprint for scene in scenes}) == len(scenes)
    assert Scene(**fields()).fingerprint == Scene(**fields()).fingerprint


def test_arrays_that_cannot_be_written_to_are_not_copied(tmp_path):
    Scene(**fields()).save(tmp_path / "room.safetensors")
    scene = Scene.load(tmp_path / "room.safetensors")
    again = dataclasses.replace(scene, name="another")
    assert all(getattr(again, field) is getattr(scene, field) for field in ARRAYS)
    writable = np.zeros((4, 3), np.uint8)
    view = writable.view()
    view.flags.writeable = False
    scene = Scene(**fields(colors=view))
    writable[:] = 1
    assert not scene.colors.any()


def test_an_array_of_any_memory_layout_is_saved_as_it_reads(tmp_path):
    coords = np.asfortranarray(fields()["coords"])
    scene = Scene(**fields(coords=coords, colors=np.broadcast_to(np.uint8(7), (4, 3))))
    scene.save(tmp_path / "room.safetensors")
    assert_same(Scene.load(tmp_path / "room.safetensors"), scene)


def test_notes_are_kept_beside_a_scene(tmp_path):
    path = tmp_path / "room.safetensors"
    assert read_notes(path) == {}
    Scene(**fields()).save(path, {"made": "today"})
    assert read_notes(path)["made"] == "today" and Scene.load(path).name == "scene0000_00"
    path.write_bytes(b"junk")
    assert read_notes(path) == {}


def replace_in(path: Path, old: bytes, new: bytes) -> None:
    whole = path.read_bytes()
    assert old in whole and len(old) == len(new)
    path.write_bytes(whole.replace(old, new))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"coords": np.zeros((0, 3), np.float32)}, "no points"),
        ({"coords": np.zeros((4, 3))}, "coords must be float32"),
        ({"coords": np.zeros((4, 2), np.float32)}, r"coords must be float32 \(4, 3\)"),
        ({"coords": np.full((4, 3), np.nan, np.float32)}, "coords holds NaN"),
        ({"origin": np.array([0, np.inf, 0])}, "origin holds NaN"),
        ({"origin": [0.0, 0.0, 0.0]}, "origin must be float64"),
        ({"colors": np.zeros((3, 3), np.uint8)}, "colors must be"),
        ({"colors": np.zeros((4, 3))}, "colors must be uint8"),
        ({"supervoxels": np.array([0, 1, 3, 1], np.int32)}, "densify"),
        ({"supervoxels": np.array([1, 2, 3, 1], np.int32)}, "densify"),
        ({"supervoxels": np.array([0, 1, -1, 1], np.int32)}, "densify"),
        ({"supervoxels": np.array([0, 1, 2**31 - 1, 1], np.int32)}, "densify"),
        ({"labels": np.array([0, 20, 0, 0], np.int16)}, "labels hold 20"),
        ({"labels": np.array([0, -1, 0, 0], np.int16)}, "labels hold -1"),
        ({"labels": np.zeros(4, np.int64)}, "labels must be int16"),
        ({"instances": np.array([0, 2, -1, 0], np.int32)}, "instances"),
        ({"instances": np.array([0, 1, -2, 0], np.int32)}, "instances"),
        ({"instances": np.zeros(3, np.int32)}, "instances must be"),
    ],
)
def test_broken_arrays_are_refused_with_the_name_of_the_scene(changes, named):
    with pytest.raises(OtocError, match=f"scene0000_00: .*{named}"):
        Scene(**fields(**changes))


def test_damaged_files_are_refused_by_name(tmp_path):
    path = tmp_path / "room.safetensors"
    with pytest.raises(OtocError, match="room.safetensors: no such file"):
        Scene.load(path)
    Scene(**fields()).save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:-1], b"\xff" * 200):
        path.write_bytes(damaged)
        with pytest.raises(OtocError, match="room.safetensors"):
            Scene.load(path)
    for old, new in ((b"label_set", b"label_bag"), (b'"coords"', b'"coordz"'), (b"file_ids", b"file_odd")):
        path.write_bytes(whole)
        replace_in(path, old, new)
        with pytest.raises(OtocError, match="room.safetensors"):
            Scene.load(path)


def label_set(**changes) -> str:
    return json.dumps(dataclasses.asdict(OWN) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        "9" * 5000,
        label_set(names=[]),
        label_set(names=["Wand", "Stuhl"]),
        label_set(names=["Wand", "Stuhl", 3]),
        label_set(name=3),
        label_set(file_ids=[0, 1, 2**40]),  # from_file_ids would make a table as long
        label_set(file_ids=[0, 1, -1]),
        label_set(file_ids=[0, 1, 1.5]),
        label_set(file_ids=3),
        label_set(colors=[[0, 0, 0], [1, 2, 256], [1, 2, 3]]),
        label_set(colors=[[0, 0, 0], [1, 2], [1, 2, 3]]),
        label_set(colors="abc"),
    ],
)
def test_classes_that_are_none_are_refused_by_name(tmp_path, text):
    path = tmp_path / "room.safetensors"
    with writing_label_set(text):
        Scene(**fields(label_set=OWN, labels=None)).save(path)
    with pytest.raises(OtocError, match="room.safetensors: not a scene saved by this kit, or damaged"):
        Scene.load(path)


@contextlib.contextmanager
def writing_label_set(text: str):
    """Let ``save`` write another text for the label set."""

    def metadata_of(notes):
        others = {name: value for name, value in notes.items() if name != "label_set"}
        return {"notes": f'{json.dumps(others)[:-1]}, "label_set": {text}}}'}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otoc_lib.files.metadata_of", metadata_of)
        yield


@given(arrays(np.int64, st.integers(1, 50), elements=st.integers(-(2**62), 2**62) | st.integers(0, 5)))
def test_densify_keeps_the_partition_and_the_order_of_the_ids(raw):
    dense = densify(raw)
    ranks = {value: rank for rank, value in enumerate(sorted(set(raw.tolist())))}
    assert dense.dtype == np.int32
    assert dense.tolist() == [ranks[value] for value in raw.tolist()]
    np.testing.assert_array_equal(densify(dense), dense)


# --- names

# What would leave a folder, hide in it, or not be one file in it on every system.
BAD_NAMES = (
    *("", " ", ".", "..", "../x", "a/../../x", "/etc/x", "a/b", "a\\b", "..\\x", "a..b", ".hidden", "a\0b", "a\nb"),
    *("\x1b[31m", "a\u2028b", "a\ud800", "x" * 201, "\u6905" * 67, "labels", "Statistics", "con", "NUL", "com1.v2"),
)


@pytest.mark.parametrize("name", [*BAD_NAMES, None, 3, ["a"], [10**5000]], ids=shown)
def test_what_cannot_name_a_file_cannot_name_a_scene(name):
    with pytest.raises(OtocError, match="^list.txt, line 3: .* is no scene name") as refusal:
        checked_name(name, "list.txt, line 3")
    assert len(str(refusal.value)) < 250
    with pytest.raises(OtocError, match="^scene: .* is no scene name"):
        Scene(**fields(name=name))


@given(st.text(max_size=20) | st.sampled_from(BAD_NAMES) | st.text("./\\ ab\0", max_size=8))
def test_a_name_that_passes_is_one_file_in_its_folder(tmp_path_factory, name):
    try:
        checked_name(name, "list")
    except OtocError:
        return
    folder = tmp_path_factory.mktemp("scenes").resolve()
    path = folder / f"{name}.safetensors"
    assert path.parent == folder == path.resolve().parent
    path.touch()
    assert [file.name for file in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["scene0000_00", "K\u00fcche", "my scan (2)", "concert", "a.b", "x" * 200])
def test_names_of_real_scenes_pass(name):
    assert checked_name(name, "list") == name and len(name.encode()) <= LONGEST_NAME


def test_a_saved_scene_with_another_name_in_it_is_refused_by_its_file(tmp_path):
    path = tmp_path / "room.safetensors"
    Scene(**fields(name="four")).save(path)
    replace_in(path, b"four", b"../x")
    with pytest.raises(OtocError, match="room.safetensors.*is no scene name"):
        Scene.load(path)
