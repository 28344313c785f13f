"""The doctor on trees that the tests write: whole ones, parts of the release, and damaged ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from otoc_lib.datasets import scannet
from otoc_lib.datasets.doctor import diagnose, print_diagnosis
from otoc_lib.datasets.s3dis import write_room
from otoc_lib.errors import OtocError
from otoc_lib.labels import S3DIS13, SCANNET20

SCENES = {"train": ["scene0000_00", "scene0001_00"], "val": ["scene0002_00"], "test": ["scene0707_00"]}
ROOMS = ["Area_1/office_1", "Area_2/hallway_1", "Area_5/office_1", "Area_5/office_2"]


def write_scene(folder: Path, name: str, with_labels: bool = True) -> None:
    """A scene with one object, of three points, for each of the 20 classes, each its own super-voxel."""
    folder = folder / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(int(name[5:9]))
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    table = np.zeros(60, dtype=kinds)
    for axis in "xyz":
        table[axis] = rng.uniform(0, 4, 60)
    faces = np.array([([0, 1, 2],)], dtype=[("vertex_indices", "i4", (3,))])
    parts = [PlyElement.describe(table, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(parts).write(str(folder / f"{name}_vh_clean_2.ply"))
    segments = np.repeat(np.arange(20) * 7, 3)
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments.tolist()}))
    if with_labels:
        labelled = np.zeros(60, dtype=[*kinds, ("label", "u2")])
        labelled["label"] = np.repeat(SCANNET20.file_ids, 3)
        PlyData([PlyElement.describe(labelled, "vertex")]).write(str(folder / f"{name}_vh_clean_2.labels.ply"))
        groups = [{"label": label, "segments": [i * 7]} for i, label in enumerate(SCANNET20.names)]
        (folder / f"{name}.aggregation.json").write_text(json.dumps({"segGroups": groups}))


@pytest.fixture(scope="session")
def whole_scannet(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scannet")
    rows = [f"{name}\t{name}\t{number}" for name, number in zip(SCANNET20.names, SCANNET20.file_ids, strict=True)]
    (root / "scannetv2-labels.combined.tsv").write_text("\n".join(["raw_category\tnyu40class\tnyu40id", *rows]))
    (root / "splits").mkdir()
    for split, names in SCENES.items():
        (root / "splits" / f"scannetv2_{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            write_scene(root / ("scans_test" if split == "test" else "scans"), name, with_labels=split != "test")
    return root


@pytest.fixture(scope="session")
def whole_s3dis(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("s3dis")
    instances = np.repeat(np.arange(26), 4)
    for number, room in enumerate(ROOMS):
        points = np.random.default_rng(number).integers(0, 5000, (104, 3)) / 1000
        write_room(root / room, points, np.full((104, 3), 100, dtype=np.uint8), instances % 13, instances)
    return root


@pytest.fixture
def scannet_root(whole_scannet, tmp_path) -> Path:
    return Path(shutil.copytree(whole_scannet, tmp_path / "scannet"))


@pytest.fixture
def s3dis_root(whole_s3dis, tmp_path) -> Path:
    return Path(shutil.copytree(whole_s3dis, tmp_path / "s3dis"))


def rows(diagnosis, severity: str) -> list[str]:
    return [f"{problem.place}: {problem.text}" for problem in diagnosis.problems if problem.severity == severity]


def totals(diagnosis) -> dict[str, tuple[str, str]]:
    return {total.name: (total.found, total.official) for total in diagnosis.totals}


OF_ALL_MEMORY = b"ply\nformat binary_little_endian 1.0\nelement vertex %d\nproperty float x\nend_header\n" % 2**40
OF_A_COLOUR_300 = (
    b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    b"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n1 2 3 300 0 0\n"
)


# ---- what is recognised


@pytest.mark.parametrize("folders", [[], ["scan", "Area"], ["a", "b", "c", "d", "e", "f", "g"]])
def test_a_folder_without_a_dataset_says_what_was_looked_for(tmp_path, folders):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(OtocError, match=r"looked for scans/ or scans_test/ \(ScanNet\) and Area_1/ to Area_6/") as told:
        diagnose(tmp_path)
    assert all(name in str(told.value) for name in folders[:5])


def test_a_missing_folder_and_no_workers(tmp_path):
    with pytest.raises(OtocError, match="no such folder"):
        diagnose(tmp_path / "elsewhere")
    with pytest.raises(OtocError, match="workers is 0"):
        diagnose(tmp_path, workers=0)


# ---- ScanNet


def test_a_whole_scannet_tree(scannet_root, capsys):
    diagnosis = diagnose(scannet_root, workers=1)
    assert diagnosis.ok and diagnosis.dataset == "ScanNet" and diagnosis.problems == ()
    assert totals(diagnosis) == {
        "train scenes": ("2", "1201"),
        "val scenes": ("1", "312"),
        "test scenes": ("1", "100"),
        "points": ("240", "-"),
        "points a scene": ("60", "-"),
        "objects a training scene": ("20.00", "19.74 (clicks, paper)"),
        "classes in training scenes": ("20", "20"),
    }
    print_diagnosis(diagnosis)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"ScanNet in {scannet_root}"
    assert "train scenes                2      1201" in printed
    assert printed[-1] == "OK: training would run (0 errors, 0 warnings)"


def test_processes_find_what_one_process_finds(scannet_root, s3dis_root):
    (scannet_root / "scans/scene0000_00/scene0000_00.aggregation.json").write_text("{")
    (s3dis_root / "Area_5/office_1/Annotations/wall_1.txt").write_text("1 2 3\n")
    for root in (scannet_root, s3dis_root):
        assert diagnose(root, workers=2) == diagnose(root, workers=1)


@pytest.mark.parametrize(
    ("path", "content", "place"),
    [
        ("scans/scene0001_00/scene0001_00_vh_clean_2.ply", b"", "scans/scene0001_00/scene0001_00_vh_clean_2.ply"),
        ("scans/scene0001_00/scene0001_00_vh_clean_2.ply", OF_ALL_MEMORY, "scene0001_00_vh_clean_2.ply"),
        ("scans/scene0001_00/scene0001_00_vh_clean_2.ply", OF_A_COLOUR_300, "scene0001_00_vh_clean_2.ply"),
        ("scans/scene0002_00/scene0002_00.aggregation.json", None, "scans/scene0002_00/scene0002_00.aggregation.json"),
        ("scans/scene0000_00/scene0000_00_vh_clean_2.labels.ply", b"ply\n", "scene0000_00_vh_clean_2.labels.ply"),
        ("scans_test/scene0707_00/scene0707_00_vh_clean_2.0.010000.segs.json", b"[]", "0.010000.segs.json"),
        ("splits/scannetv2_train.txt", b"\n", "splits/scannetv2_train.txt"),
        ("splits/scannetv2_val.txt", b"scene0002_00\nscene0002_00\n", "splits/scannetv2_val.txt"),
    ],
)
def test_a_damaged_file_of_scannet_is_an_error_at_its_place(scannet_root, path, content, place, capsys):
    if content is None:
        (scannet_root / path).unlink()
    else:
        (scannet_root / path).write_bytes(content)
    diagnosis = diagnose(scannet_root, workers=1)
    assert not diagnosis.ok
    assert any(place in problem.place for problem in diagnosis.problems if problem.severity == "error")
    print_diagnosis(diagnosis)
    assert capsys.readouterr().out.splitlines()[-1].startswith("BROKEN: training would fail (")


def test_a_file_that_every_scene_needs_is_told_once(scannet_root):
    (scannet_root / "scannetv2-labels.combined.tsv").unlink()
    errors = rows(diagnose(scannet_root, workers=1), "error")
    assert sum("scannetv2-labels.combined.tsv" in error for error in errors) == 1
    assert "split train: not one complete scene" in errors and "split val: not one complete scene" in errors


def test_a_missing_scene_of_ones_own_list_is_an_error(scannet_root):
    shutil.rmtree(scannet_root / "scans" / "scene0001_00")
    diagnosis = diagnose(scannet_root, workers=1)
    assert rows(diagnosis, "error") == ["split train: 1 of its 2 scenes are missing: scene0001_00"]
    assert totals(diagnosis)["train scenes"] == ("1 of 2 listed", "1201")


def test_missing_test_scenes_are_a_warning(scannet_root):
    shutil.rmtree(scannet_root / "scans_test")
    diagnosis = diagnose(scannet_root, workers=1)
    assert diagnosis.ok
    assert rows(diagnosis, "warning") == ["split test: 1 of its 1 scenes are missing: scene0707_00"]


def test_a_part_of_the_official_lists_wants_a_list_of_its_own(scannet_root):
    """The lists name the whole release, and a training reads all that they name."""
    shutil.rmtree(scannet_root / "splits")
    names = {split: scannet.list_scenes(scannet_root, split)[:1] for split in ("train", "val")}
    shutil.rmtree(scannet_root / "scans")
    for (name,) in names.values():
        write_scene(scannet_root / "scans", name)
    errors = rows(diagnose(scannet_root, workers=1), "error")
    assert errors[0].startswith("split train: 1200 of its 1201 scenes are missing: scene")
    assert errors[1].startswith("split val: 311 of its 312 scenes are missing: ")
    assert all("list what is there in splits/scannetv2_" in row for row in errors)
    (scannet_root / "splits").mkdir()
    for split, (name,) in names.items():
        (scannet_root / "splits" / f"scannetv2_{split}.txt").write_text(f"{name}\n")
    diagnosis = diagnose(scannet_root, workers=1)
    assert diagnosis.ok
    (told,) = rows(diagnosis, "warning")
    assert told.startswith("split test: 99 of its 100 scenes are missing: ")


def test_what_belongs_to_nothing_is_a_warning(scannet_root):
    write_scene(scannet_root / "scans", "scene0009_00")
    (scannet_root / "scans" / "readme.md").write_text("?")
    (scannet_root / "scans" / ".DS_Store").write_text("?")
    (scannet_root / "scans" / "scene0000_00" / "scene0001_00_vh_clean_2.ply").write_text("?")
    for extra in ("scene0000_00.sens", "scene0000_00.txt", "scene0000_00_vh_clean.ply", "scene0000_00_2d-label.zip"):
        (scannet_root / "scans" / "scene0000_00" / extra).write_text("?")
    diagnosis = diagnose(scannet_root, workers=1)
    assert diagnosis.ok
    assert rows(diagnosis, "warning") == [
        "scans/readme.md: belongs to no scene",
        "scans: 1 scene in no list of a split, not used: scene0009_00",
        "scans/scene0000_00: files that are none of this scene's: scene0001_00_vh_clean_2.ply",
    ]


def test_training_scenes_without_labels_are_an_error(scannet_root):
    shutil.move(scannet_root / "scans" / "scene0001_00", scannet_root / "scans_test")
    errors = rows(diagnose(scannet_root, workers=1), "error")
    assert errors == ["split train: 1 scene without labels, in scans_test/: scene0001_00"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_file_of_scannet_never_stops_the_doctor(whole_scannet, tmp_path_factory, data):
    root = Path(shutil.copytree(whole_scannet, tmp_path_factory.mktemp("cut") / "scannet"))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    diagnosis = diagnose(root, workers=1)
    relative = path.relative_to(root).as_posix()
    named = any(relative in problem.place or path.name in problem.text for problem in diagnosis.problems)
    assert diagnosis.ok or named or "splits/" in relative


# ---- S3DIS


def test_a_sound_s3dis_tree(s3dis_root, capsys):
    diagnosis = diagnose(s3dis_root, workers=1)
    assert diagnosis.ok and diagnosis.dataset == "S3DIS"
    found = totals(diagnosis)
    assert [found[f"Area_{area} rooms"] for area in range(1, 7)] == [
        ("1", "44"),
        ("1", "40"),
        ("0", "23"),
        ("0", "49"),
        ("2", "68"),
        ("0", "48"),
    ]
    assert found["rooms"] == ("4", "272")
    assert found["points"] == ("416", "-")
    assert found["objects a training scene"] == ("26.00", "36.15 (clicks, paper)")
    assert found["classes in training scenes"] == ("13", "13")
    told = rows(diagnosis, "warning")
    assert "Area_3: 23 of its 23 rooms are missing: " in "".join(told) and len(told) == 6
    print_diagnosis(diagnosis)
    assert capsys.readouterr().out.splitlines()[-1] == "OK: training would run (0 errors, 6 warnings)"


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda root: (root / "Area_1/office_1/Annotations/wall_1.txt").write_bytes(b""), "Annotations/wall_1.txt"),
        (
            lambda root: (root / "Area_1/office_1/Annotations/wall_1.txt").write_text("1 2 3 4 5 6\n1 2 3\n"),
            "Area_1/office_1/Annotations/wall_1.txt, line 2",
        ),
        (
            lambda root: (root / "Area_5/office_1/Annotations/lamp_1.txt").write_text("1 2 3 4 5 6\n"),
            "Area_5/office_1/Annotations/lamp_1.txt",
        ),
        (lambda root: shutil.rmtree(root / "Area_2/hallway_1/Annotations"), "Area_2/hallway_1"),
        (lambda root: (root / "Area_4/office_9/Annotations").mkdir(parents=True), "Area_4/office_9/Annotations"),
        (lambda root: shutil.rmtree(root / "Area_5"), "split val (Area 5)"),
        (lambda root: [shutil.rmtree(root / area) for area in ("Area_1", "Area_2")], "split train (every area but 5)"),
    ],
)
def test_a_defect_of_s3dis_is_an_error_at_its_place(s3dis_root, damage, place, capsys):
    damage(s3dis_root)
    diagnosis = diagnose(s3dis_root, workers=1)
    assert not diagnosis.ok
    assert any(problem.severity == "error" and problem.place.endswith(place) for problem in diagnosis.problems)
    print_diagnosis(diagnosis)
    assert "BROKEN: training would fail (1 error, " in capsys.readouterr().out


def test_what_may_not_be_read_is_told_and_stops_nothing(s3dis_root, monkeypatch):
    """As another user's files: the folder of a room's objects may not be listed, nor another room's repetition read."""
    place, iterdir = s3dis_root / "Area_1/office_1/Annotations", Path.iterdir
    whole, open_file = s3dis_root / "Area_2/hallway_1/hallway_1.txt", Path.open

    def refused(path, *rest):
        if path in (place, whole):
            raise PermissionError(13, "Permission denied")
        return (iterdir if not rest else open_file)(path, *rest)

    monkeypatch.setattr(Path, "iterdir", refused)
    monkeypatch.setattr(Path, "open", refused)
    diagnosis = diagnose(s3dis_root)
    text = "cannot be read (Permission denied); make it a readable file"
    assert [row for row in rows(diagnosis, "error") if text in row] == [f"Area_1/office_1/Annotations: {text}"]
    assert [row for row in rows(diagnosis, "warning") if text in row] == [f"Area_2/hallway_1/hallway_1.txt: {text}"]
    assert totals(diagnosis)["points"] == ("312", "-")


def test_what_is_odd_in_s3dis_is_a_warning(s3dis_root):
    before = set(rows(diagnose(s3dis_root, workers=1), "warning"))
    first = s3dis_root / "Area_1" / "office_1"
    board = (first / "Annotations" / "board_1.txt").read_text()
    (first / "Annotations" / "board_9.txt").write_text(board)
    (first / "Annotations" / "chair_9.txt").write_bytes(b"1 2 3 4\x005 6\n")
    (first / "Annotations" / "notes.md").write_text("?")
    (first / "Annotations" / "Icon\r").write_text("")
    (first / "spare.txt").write_text("?")
    (s3dis_root / "Area_5/office_1/Annotations/door_9.txt").write_text("9000 1 2 3 4 5\n")
    (s3dis_root / "Area_2/hallway_1/hallway_1.txt").rename(s3dis_root / "Area_2/hallway_1/hall_way_1.txt")
    (s3dis_root / "Area_1" / "Area_1_alignmentAngle.txt").write_text("?")
    (s3dis_root / "Area_7").mkdir()
    shutil.copytree(s3dis_root / "Area_5/office_2", s3dis_root / "Area_5/cellar_1")
    (s3dis_root / "Area_5/cellar_1/office_2.txt").rename(s3dis_root / "Area_5/cellar_1/cellar_1.txt")
    diagnosis = diagnose(s3dis_root, workers=1)
    assert diagnosis.ok
    told = [row for row in rows(diagnosis, "warning") if row not in before]
    for expected in [
        "Area_7: is none of Area_1 to Area_6, not used",
        "Area_1/Area_1_alignmentAngle.txt: belongs to no room; this is the release whose rooms are not aligned",
        "Area_1/office_1/Annotations/board_9.txt: left out, it holds the same points as board_1.txt",
        "Area_1/office_1/Annotations/chair_9.txt, line 1: a control character in place of a blank, mended: "
        "'1 2 3 4\\x005 6'",
        "Area_1/office_1/Annotations/notes.md: is no annotation <class>_<i>.txt, not read",
        "Area_1/office_1/spare.txt: belongs to no room",
        "Area_1/office_1/office_1.txt: 104 points, but the annotations hold 105; these are used",
        "Area_2/hallway_1: has no hallway_1.txt; hall_way_1.txt may be it, misnamed; it is not needed",
        "Area_5/office_1/office_1.txt: 104 points, but the annotations hold 105; these are used",
        "Area_5: 1 room that the release does not have, used all the same: Area_5_cellar_1",
    ]:
        assert expected in told
        told.remove(expected)
    assert len(told) == 1 and told[0].startswith("Area_5/office_1: the room measures 90")


def test_a_class_that_no_training_room_holds_is_a_warning(s3dis_root):
    for room in ("Area_1/office_1", "Area_2/hallway_1"):
        for path in (s3dis_root / room / "Annotations").glob("sofa_*.txt"):
            path.unlink()
    diagnosis = diagnose(s3dis_root, workers=1)
    assert "classes: no training scene holds sofa: these classes cannot be learned" in rows(diagnosis, "warning")
    assert totals(diagnosis)["classes in training scenes"] == ("12", str(len(S3DIS13)))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_file_of_s3dis_never_stops_the_doctor(whole_s3dis, tmp_path_factory, data):
    root = Path(shutil.copytree(whole_s3dis, tmp_path_factory.mktemp("cut") / "s3dis"))
    path = data.draw(st.sampled_from(sorted(root.rglob("*.txt"))))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 2))])
    relative = path.relative_to(root).as_posix()
    told = rows(diagnose(root, workers=1), "error" if "Annotations" in relative else "warning")
    cut_between_lines = path.read_bytes().endswith(b"\n") or content[len(path.read_bytes())] in b" \n0123456789"
    assert any(row.startswith(relative) for row in told) or cut_between_lines


# ---- several faults of one scene


def test_all_broken_files_of_a_scene_are_named(scannet_root):
    folder = scannet_root / "scans" / "scene0000_00"
    for file, data in (("_vh_clean_2.ply", b"ply\n"), (".aggregation.json", b"{"), ("_vh_clean_2.labels.ply", b"?")):
        (folder / f"scene0000_00{file}").write_bytes(data)
    (folder / "scene0000_00_vh_clean_2.0.010000.segs.json").unlink()
    errors = [row for row in rows(diagnose(scannet_root), "error") if "scene0000_00" in row]
    named = [row.partition(":")[0].removeprefix("scans/scene0000_00/scene0000_00") for row in errors]
    assert sorted(named) == sorted(
        ["_vh_clean_2.ply", ".aggregation.json", "_vh_clean_2.labels.ply", "_vh_clean_2.0.010000.segs.json"]
    )
    with pytest.raises(OtocError) as told:  # training names them, too
        scannet.load_scene(scannet_root, "scene0000_00")
    assert len(str(told.value).splitlines()) == 4


def test_all_broken_files_of_a_room_are_named(s3dis_root):
    annotations = s3dis_root / "Area_1/office_1/Annotations"
    (annotations / "chair_1.txt").write_text("1 2 3 4 5\n")
    (annotations / "door_1.txt").write_text("1 2 3 x 5 6\n")
    (annotations / "lamp_1.txt").write_text("1 2 3 4 5 6\n")
    errors = [row for row in rows(diagnose(s3dis_root), "error") if "office_1/Annotations" in row]
    assert [row.partition("Annotations/")[2].partition(".")[0] for row in errors] == ["chair_1", "door_1", "lamp_1"]
