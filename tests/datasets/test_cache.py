import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from scannet_room import AGGREGATION, CATEGORIES, LABELS, MESH, NAME, SEGMENTS, vertices, write_room

from otoc_lib.config import Config, config_from
from otoc_lib.datasets import cache, load_faces, load_split, own, s3dis, scannet
from otoc_lib.errors import OtocError
from otoc_lib.labels import SCANNET20
from otoc_lib.palette import distinct_colors
from otoc_lib.scene import ARRAYS, Scene
from otoc_lib.supervoxels.geometric import Partition

OTHERS = [f"scene000{i}_00" for i in range(1, 7)]


TRIANGLE = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
3 2 1 0
"""


def write_rooms(root: Path) -> Path:
    """Seven copies of the tiny room, all in the training list."""
    write_room(root)
    for other in OTHERS:
        folder = root / "scans" / other
        folder.mkdir()
        for file in (root / "scans" / NAME).iterdir():
            shutil.copy(file, folder / file.name.replace(NAME, other))
    (root / "splits" / "scannetv2_train.txt").write_text("".join(f"{name}\n" for name in (NAME, *OTHERS)))
    return root


@pytest.fixture
def config(tmp_path) -> Config:
    root = write_rooms(tmp_path / "scannet")
    return config_with(data_root=str(root), cache_root=str(tmp_path / "cache"))


def config_with(**values) -> Config:
    return config_from({"profile": "p", "experiment": "e", "eval_splits": ["train"], **values})


def assert_same(scene: Scene, other: Scene) -> None:
    assert (scene.name, scene.label_set) == (other.name, other.label_set)
    for field in ARRAYS:
        np.testing.assert_array_equal(getattr(scene, field), getattr(other, field))


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


def cached(config: Config) -> dict[Path, tuple[int, int]]:
    """The converted scenes; not what was noted of them."""
    files = files_below(config.cache_folder)
    return {path: stat for path, stat in files.items() if path.name != cache.CHECKED}


@pytest.mark.parametrize("workers", [1, 2])
def test_scenes_from_the_cache_equal_those_from_the_files(config, workers):
    assert cache.prepare(config, workers=workers) == 7
    before = cached(config)
    scenes = load_split(config, "train")
    assert [scene.name for scene in scenes] == [NAME, *OTHERS]
    for scene in scenes:
        expected = scannet.load_scene(config.data_folder, scene.name)
        assert_same(scene, expected)
        assert scene.fingerprint == expected.fingerprint
    assert cached(config) == before  # nothing was converted again


def test_the_colours_of_the_classes_are_chosen_for_all_pictures_and_change_no_key(config):
    (scene,) = load_split(config, "train", 1)
    before = cached(config)
    (distinct,) = load_split(replace(config, class_colors="distinct"), "train", 1)
    np.testing.assert_array_equal(distinct.label_set.paint(np.arange(20)), distinct_colors(20))
    assert scene.label_set.colors == SCANNET20.colors and distinct.label_set.names == SCANNET20.names
    assert distinct.fingerprint == scene.fingerprint and cached(config) == before


def test_the_triangles_of_a_scene_are_those_of_its_file(config, tmp_path):
    faces = load_faces(config, NAME)
    assert faces.dtype == np.int32 and faces.tolist() == [[0, 1, 2], [1, 2, 3]]
    (config.data_folder / "scans" / NAME / f"{NAME}_vh_clean_2.ply").unlink()
    with pytest.raises(OtocError, match=rf"{NAME}_vh_clean_2\.ply"):
        load_faces(config, NAME)
    assert load_faces(replace(config, dataset="s3dis"), "Area_1_office_1") is None  # points, whatever is there
    for name, text in (("cloud.xyz", "0 0 0\n1 0 0\n0 1 0\n"), ("mesh.ply", TRIANGLE)):
        path = tmp_path / "own" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    mine = replace(config, dataset="own", data_root=str(tmp_path / "own"), own_classes=["a", "b"])
    assert load_faces(mine, "cloud") is None and load_faces(mine, "mesh").tolist() == [[2, 1, 0]]


def test_a_limit_converts_only_what_is_asked_for(config):
    assert [scene.name for scene in load_split(config, "train", 2)] == [NAME, OTHERS[0]]
    assert len(cached(config)) == 2
    assert cache.prepare(config) == 5


def test_held_out_are_the_training_scenes_that_are_left_out_and_no_scan_of_a_room_that_is_not(config):
    names = ["scene0007_00", "scene0007_01", "scene0002_00", "scene0007_02", "scene0011_00", "scene0012_00"]
    (config.data_folder / "splits" / "scannetv2_train.txt").write_text("\n".join(names))
    held_out = {
        count: cache.list_scenes(replace(config, train_rooms=count), "held_out") for count in range(1, len(names))
    }
    assert held_out[1] == ["scene0002_00", "scene0011_00", "scene0012_00"]  # none of the room of scene0007
    assert held_out[3] == held_out[4] == ["scene0011_00", "scene0012_00"] and held_out[5] == ["scene0012_00"]
    for count, few in held_out.items():
        assert not {name[:9] for name in few} & {name[:9] for name in names[:count]}
    with pytest.raises(
        OtocError, match="eval_splits: held_out: 'train_rooms: 6' leaves no training room .*of 6; lower"
    ):
        cache.list_scenes(replace(config, train_rooms=6), "held_out")


def test_held_out_scans_of_ones_own_are_judged_by_themselves(config, tmp_path):
    (tmp_path / "own").mkdir()
    for name in "abc":
        (tmp_path / "own" / f"{name}.xyz").write_text("0 0 0 9 9 9\n" * 9)
    mine = replace(config, dataset="own", data_root=str(tmp_path / "own"), own_classes=["a", "b"], train_rooms=1)
    assert cache.list_scenes(mine, "held_out") == ["b", "c"] and cache.list_scenes(mine, "val") == ["a", "b", "c"]
    alone = replace(mine, eval_rooms=1)
    assert cache.limits(alone, "held_out") != cache.limits(replace(alone, train_rooms=2), "held_out")
    assert cache.limits(alone, "val") == cache.limits(replace(alone, train_rooms=2), "val")


@pytest.mark.parametrize("workers", [1, 2])
def test_several_experiments_are_prepared_at_once_and_what_they_share_once(config, workers, tmp_path):
    shutil.copytree(config.data_folder, tmp_path / "second")
    second = config_with(data_root=str(tmp_path / "second"), cache_root=config.cache_root, experiment="f")
    (tmp_path / "second" / MESH).unlink()
    with pytest.raises(OtocError, match=f"1 of 14 scenes(?s:.)*{tmp_path / 'second' / MESH}"):
        cache.prepare(config, second, config_with(**{**vars(config), "seed": 1}), workers=workers)
    assert len(cached(config)) == 13 and cache.prepare(config) == 0


@pytest.mark.parametrize("name", ["../room", "/room", "a\0b", "", "statistics"])
def test_no_name_leads_out_of_the_cache(config, name, monkeypatch):
    for call in (cache.open_scene, cache.load_converted, lambda config, name: cache.convert_missing(config, [name])):
        with pytest.raises(OtocError, match="is no scene name"):
            call(config, name)
    monkeypatch.setattr(scannet, "list_scenes", lambda root, split: [NAME, name])  # whatever a reader may say
    with pytest.raises(OtocError, match="split train: .* is no scene name"):
        load_split(config, "train")
    assert not cached(config)


def test_opened_scenes_are_mapped_and_cannot_be_written_to(config):
    scene = cache.open_scene(config, NAME)
    assert scene.axes is None
    for field in set(ARRAYS) - {"axes"}:
        assert not getattr(scene, field).flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            getattr(scene, field)[...] = 0
    scenes = [cache.open_scene(config, NAME) for _ in range(50)]
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        assert not [link for link in descriptors.iterdir() if str(os.path.realpath(link)).endswith(".safetensors")]
    assert len(scenes) == 50


@pytest.mark.parametrize("file", [MESH, LABELS, SEGMENTS, AGGREGATION, CATEGORIES])
def test_a_changed_file_is_noticed_even_within_one_second_and_at_the_same_size(config, file):
    scene = cache.open_scene(config, NAME)
    path = config.data_folder / file
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    before = cached(config)
    assert_same(cache.open_scene(config, NAME), scene)
    assert cached(config) != before


def test_changed_contents_are_read(config):
    assert cache.open_scene(config, NAME).num_objects == 2
    path = config.data_folder / AGGREGATION
    path.write_text(path.read_text().replace("office chair", "pillow"))
    assert cache.open_scene(config, NAME).num_objects == 1


def test_a_file_that_disappears_is_missed(config):
    cache.open_scene(config, NAME)
    (config.data_folder / SEGMENTS).unlink()
    with pytest.raises(OtocError, match="segs.json: no such file"):
        cache.open_scene(config, NAME)


def run_script(path: Path, config: Config, *lines: str) -> subprocess.CompletedProcess:
    """Run a script as somebody writes it who has not heard of the guard of ``__main__``."""
    head = ["from otoc_lib.config import Config", "from otoc_lib.datasets import cache, load_split"]
    path.write_text("\n".join([*head, f"config = {config!r}", *lines]) + "\n")
    root = Path(cache.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, str(path)], cwd=root, env=environment, capture_output=True, text=True)


def test_a_plain_script_loads_scenes_that_are_not_converted(config, tmp_path):
    done = run_script(tmp_path / "script.py", config, "print(cache.prepare(config), len(load_split(config, 'train')))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["7", "7"]


def test_a_plain_script_may_ask_the_doctor(config, tmp_path):
    checks = "from otoc_lib.datasets import doctor", "print(doctor.diagnose(config.data_folder).dataset)"
    done = run_script(tmp_path / "script.py", config, *checks)
    assert done.returncode == 0 and done.stdout.split() == ["ScanNet"], done.stderr


def test_a_plain_script_that_asks_for_processes_is_told_of_the_guard(config, tmp_path):
    done = run_script(tmp_path / "script.py", config, "cache.prepare(config, workers=2)")
    said = [line for line in done.stderr.strip().splitlines() if "resource_tracker" not in line]
    last = said[-1]  # but for what multiprocessing cleans up
    assert done.returncode == 1 and "OtocError: preparing: a worker process died" in last
    assert "memory" in last and 'if __name__ == "__main__":' in last


def test_what_changes_the_conversion_changes_the_place(config, tmp_path, monkeypatch):
    def place(**values) -> Path:
        return cache._path(config_with(cache_root=str(tmp_path), data_root="d", **values), "room")

    own = {"dataset": "own", "own_classes": ["wall", "chair"]}
    places = [
        place(),
        place(dataset="s3dis"),
        place(dataset="s3dis", partition_voxel=0.05),
        place(dataset="s3dis", partition_strength=0.5),
        place(dataset="s3dis", partition_minimum=99),
        place(**own),
        place(**own | {"own_classes": ["chair", "wall"]}),
        cache._path(config_with(cache_root=str(tmp_path), data_root="e"), "room"),
    ]
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    places.append(place())
    assert len(set(places)) == len(places)
    assert all(path.parent.parent == tmp_path and path.name == "room.safetensors" for path in places)
    assert place(partition_voxel=0.05) == place()  # ScanNet brings its own super-voxels
    assert place(unet_width=8) == place()


def test_one_place_for_one_root_however_it_is_named(config, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(config.data_folder, target_is_directory=True)
    other = config_with(data_root=str(link), cache_root=config.cache_root)
    assert cache._path(other, NAME) == cache._path(config, NAME)


@pytest.mark.parametrize("keep", [0.0, 0.05, 0.9])
def test_a_damaged_cache_is_made_again(config, keep):
    expected = cache.open_scene(config, NAME)
    (path,) = cached(config)
    whole = path.read_bytes()
    path.unlink()  # the arrays of the first scene keep the old file
    path.write_bytes(whole[: int(keep * len(whole))])
    assert_same(cache.open_scene(config, NAME), expected)


def test_a_cached_scene_that_changed_without_a_trace_is_made_again(config):
    expected = cache.open_scene(config, NAME)
    (path,) = cached(config)
    whole, stat = path.read_bytes(), path.stat()
    for place in (len(whole) - 1, len(whole) - 30):
        path.unlink()  # the arrays of the scenes above keep their file
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
        with pytest.warns(UserWarning, match=rf"{NAME}\.safetensors: .*damaged .*; it is converted anew"):
            assert_same(cache.open_scene(config, NAME), expected)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_scenes_that_fail_are_reported_together_after_the_others_are_done(config, workers):
    root = config.data_folder
    (root / SEGMENTS).write_bytes(b"")
    (root / f"scans/{OTHERS[2]}/{OTHERS[2]}_vh_clean_2.ply").unlink()
    before = files_below(root)
    with pytest.raises(OtocError, match="2 of 7 scenes cannot be read") as refusal:
        cache.prepare(config, workers=workers)
    assert f"{root / SEGMENTS}: damaged" in str(refusal.value)
    assert f"{OTHERS[2]}_vh_clean_2.ply: no such file" in str(refusal.value)
    assert len(cached(config)) == 5 and files_below(root) == before
    shutil.copy(root / MESH, root / f"scans/{OTHERS[2]}/{OTHERS[2]}_vh_clean_2.ply")
    shutil.copy(root / f"scans/{OTHERS[0]}/{OTHERS[0]}_vh_clean_2.0.010000.segs.json", root / SEGMENTS)
    assert cache.prepare(config, workers=workers) == 2


@pytest.mark.parametrize("vertices", [2**40, 2**64])
def test_a_count_that_no_machine_has_memory_for_stops_no_other_scene(config, vertices):
    mesh = config.data_folder / MESH
    mesh.write_bytes(mesh.read_bytes().replace(b"element vertex 10\n", b"element vertex %d\n" % vertices))
    with pytest.raises(OtocError, match=f"1 of 7 scenes cannot be read.*(?s:.)*{mesh}: truncated"):
        cache.prepare(config)
    assert len(cached(config)) == 6


def test_a_scene_that_memory_is_too_short_for_stops_no_other(config, monkeypatch):
    read_scene = scannet.read_scene

    def read(root, name, config):
        if name == NAME:
            raise MemoryError
        return read_scene(root, name, config)

    monkeypatch.setattr(scannet, "read_scene", read)
    with pytest.raises(OtocError, match=f"1 of 7 scenes cannot be read.*(?s:.)*scene {NAME}: is too large"):
        cache.prepare(config)
    assert len(cached(config)) == 6


def test_a_long_list_of_failures_is_cut(config):
    names = [f"scene9{i:03}_00" for i in range(30)]
    with pytest.raises(OtocError, match=r"30 of 30 scenes.*(?s:.)*\.\.\. and 10 more"):
        cache.convert_missing(config, names, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_warnings_of_the_reader_reach_the_caller(config, workers):
    for name in (NAME, OTHERS[0]):
        path = config.data_folder / f"scans/{name}/{name}_vh_clean_2.ply"
        path.write_bytes(millimetres(path.read_bytes()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache.prepare(config, workers=workers)
    assert sorted(NAME in str(warning.message) for warning in caught) == [False, True]


def millimetres(ply: bytes) -> bytes:
    head, body = ply.split(b"end_header\n", 1)
    vertices = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rest", "u1", 8)]), count=10).copy()
    vertices["xyz"] *= 1000
    return head + b"end_header\n" + vertices.tobytes() + body[vertices.nbytes :]


def test_only_the_cache_is_written_to(config):
    before = files_below(config.data_folder)
    for folder in [config.data_folder, *config.data_folder.rglob("*")]:
        folder.chmod(0o555)
    load_split(config, "train", 1)
    assert files_below(config.data_folder) == before
    assert [path.suffix for path in cached(config)] == [".safetensors"]


def test_a_cache_that_cannot_be_written_is_refused_by_name(config, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OtocError, match="cache.*cannot be written.*cache_root"):
        cache.open_scene(config, NAME)


def test_an_interrupted_call_goes_on_where_it_was(config, monkeypatch):
    convert, made = cache._convert, []

    def interrupted(config: Config, name: str) -> None:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(convert(config, name))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache, "_convert", interrupted)
        cache.prepare(config, workers=1)
    finished = cached(config)
    assert len(finished) == 3
    assert cache.prepare(config) == 4
    assert finished.items() <= cached(config).items()


def other_datasets(folder: Path) -> list[tuple[Config, str, Scene]]:
    """A room of S3DIS and a scan of one's own, with the scenes that their readers make of them."""
    rng = np.random.default_rng(0)
    points, colors = rng.uniform(0, 2, (400, 3)).round(3), rng.integers(0, 256, (400, 3), np.uint8)
    halves = np.arange(400, dtype=np.int32) // 200
    s3dis.write_room(folder / "s3dis/Area_1/office_1", points, colors, halves.astype(np.int16), halves)
    (folder / "own").mkdir()
    PlyData([PlyElement.describe(vertices(points, colors), "vertex")]).write(str(folder / "own" / "den.ply"))
    partition = Partition(0.2, 0.1, 2)
    settings = {"partition_voxel": 0.2, "partition_strength": 0.1, "partition_minimum": 2, "eval_splits": ["train"]}
    settings |= {"cache_root": str(folder / "cache")}
    classes = ["wall", "chair"]
    return [
        (
            config_with(dataset="s3dis", data_root=str(folder / "s3dis"), **settings),
            "Area_1_office_1",
            s3dis.load_scene(folder / "s3dis", "Area_1_office_1", partition),
        ),
        (
            config_with(dataset="own", data_root=str(folder / "own"), own_classes=classes, **settings),
            "den",
            own.load_scene(folder / "own", "den", own.label_set(classes), partition),
        ),
    ]


def test_every_dataset_is_read_through_the_cache(tmp_path):
    for config, name, expected in other_datasets(tmp_path):
        (scene,) = load_split(config, "train")
        assert scene.name == name
        assert_same(scene, expected)
        assert cache.prepare(config) == 0
        os.utime(cache.reader_of(config).scene_files(config.data_folder, name)[0], ns=(0, 0))
        assert cache.prepare(config) == 1


def test_a_dataset_is_one_module(tmp_path, monkeypatch):
    toy = ModuleType("otoc_lib.datasets.toy")
    toy.READS = ("partition",)
    toy.list_scenes = lambda root, split: sorted(path.stem for path in root.glob("*.txt"))
    toy.scene_files = lambda root, name: [root / f"{name}.txt"]

    def read_scene(root: Path, name: str, config: Config) -> Scene:
        points = np.loadtxt(root / f"{name}.txt", dtype=np.float32)
        cells = (points[:, 0] // config.partition_voxel).astype(np.int32)
        return Scene(name, points, np.zeros((3, 3), np.uint8), cells, None, None, np.zeros(3), SCANNET20)

    toy.read_scene = read_scene
    monkeypatch.setitem(sys.modules, toy.__name__, toy)
    (tmp_path / "toy").mkdir()
    for name in ("attic", "cellar"):
        np.savetxt(tmp_path / "toy" / f"{name}.txt", [[0, 0, 0], [1.5, 0, 0], [2.5, 0, 0]])
    config = config_with(data_root=str(tmp_path / "toy"), cache_root=str(tmp_path / "cache"), partition_voxel=1.75)
    config = replace(config, dataset="toy")
    attic, cellar = load_split(config, "train")
    assert (attic.name, cellar.name) == ("attic", "cellar") and attic.supervoxels.tolist() == [0, 0, 1]
    before = cached(config)
    load_split(replace(config, voxel_size=0.5), "train")
    assert cached(config) == before
    load_split(replace(config, partition_voxel=1.0), "train")
    assert len(cached(config)) == 4
    toy.READS = ()  # what it reads and does not say would be taken from the cache for any value
    with pytest.raises(OtocError, match="the reader of toy reads the parameter 'partition_voxel', which its key"):
        load_split(replace(config, data_root=str(tmp_path / "toy" / ".." / "toy"), cache_root="elsewhere"), "train")


def test_a_scene_without_any_file_does_not_keep_the_others_from_being_converted(tmp_path):
    for config, name, _ in other_datasets(tmp_path):
        with pytest.raises(OtocError, match="1 of 2 scenes cannot be read.*(?s:.)*Area_9_hall"):
            cache.convert_missing(config, ["Area_9_hall", name])
        assert cache.convert_missing(config, [name]) == 0


def test_unknown_names_are_refused(config):
    with pytest.raises(OtocError, match="split: 'valid'"):
        load_split(config, "valid")
    with pytest.raises(OtocError, match="scans/scene0009_00"):
        cache.open_scene(config, "scene0009_00")
    with pytest.raises(OtocError, match="data root .*nowhere"):
        load_split(config_with(data_root="nowhere", cache_root=config.cache_root), "train")


def test_fingerprints_are_told_without_loading_and_only_of_what_is_converted_as_it_is_now(config, monkeypatch):
    assert cache.fingerprints(config, "train") == [None] * 7
    scenes = load_split(config, "train", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Scene, "load", None)
        assert cache.fingerprints(config, "train", 3) == [scene.fingerprint for scene in scenes]
        assert cache.fingerprints(config, "train")[2:4] == [scenes[2].fingerprint, None]
        path = config.data_folder / "scans" / OTHERS[0] / f"{OTHERS[0]}.aggregation.json"
        path.write_text(path.read_text().replace("office chair", "pillow"))
        assert cache.fingerprints(config, "train", 3)[:2] == [scenes[0].fingerprint, None]
        path.unlink()
        assert cache.fingerprints(config, "train", 3) is None  # not on this machine
        assert cache.fingerprints(config, "val") is None
        assert cache.fingerprints(config, "train", 1) == [scenes[0].fingerprint]


# --- what was found whole ---------------------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The scenes whose arrays were looked at, while files need no time to be trusted."""
    monkeypatch.setattr(cache, "STILL_SECONDS", 0.0)
    names, load = [], Scene.load

    def recorded(path: Path, whole: bool = False) -> Scene:
        if not whole:
            names.append(path.stem)
        return load(path, whole)

    monkeypatch.setattr(Scene, "load", staticmethod(recorded))
    return names


def test_scenes_that_were_found_whole_are_mapped_and_not_read_again(config, read):
    first = load_split(config, "train")
    assert read == [NAME, *OTHERS]
    again = load_split(config, "train")
    assert len(read) == 7
    for before, after in zip(first, again, strict=True):
        assert before.fingerprint == after.fingerprint == replace(after).fingerprint  # the last hashes them anew
        assert all(np.array_equal(getattr(before, field), getattr(after, field)) for field in set(ARRAYS) - {"axes"})
        assert after.axes is None and not after.coords.flags.writeable and after.num_supervoxels > 0
    distinct = load_split(replace(config, class_colors="distinct"), "train")
    np.testing.assert_array_equal(distinct[0].label_set.paint(np.arange(20)), distinct_colors(20))
    assert len(read) == 7


def test_one_that_was_written_to_since_is_read_and_damage_mended(config, read):
    load_split(config, "train")
    path = cache.folder(config) / f"{OTHERS[2]}.safetensors"
    data, times = bytearray(path.read_bytes()), path.stat()
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had happened
    read.clear()
    with pytest.warns(UserWarning, match=f"{OTHERS[2]}.*converted anew"):
        scenes = load_split(config, "train")
    assert set(read) == {OTHERS[2]} and scenes[3].fingerprint == replace(scenes[3]).fingerprint


def test_what_was_written_a_moment_ago_is_read_again(config, read, monkeypatch):
    monkeypatch.setattr(cache, "STILL_SECONDS", 60.0)
    for times in (1, 2):
        load_split(config, "train")
        assert len(read) == 7 * times
    assert not (cache.folder(config) / cache.CHECKED).exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"scene0000_00": 3}', "\0\xff"])
def test_a_note_that_is_damaged_is_written_anew(config, read, text):
    load_split(config, "train")
    (cache.folder(config) / cache.CHECKED).write_text(text, encoding="latin-1")
    load_split(config, "train")
    load_split(config, "train")
    assert len(read) == 14
