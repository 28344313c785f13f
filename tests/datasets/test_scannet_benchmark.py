import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import at_most

from otoc_lib.datasets.scannet_benchmark import export_benchmark, score_benchmark
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import evaluate_rooms, iou, mean_iou
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.scene import Scene


def room(name: str, labels: np.ndarray) -> Scene:
    """A room of which only the labels matter."""
    count = len(labels)
    coords, colors, supervoxels = np.zeros((count, 3), np.float32), np.zeros((count, 3), np.uint8), np.zeros(count)
    truth = labels.astype(np.int16)
    return Scene(name, coords, colors, supervoxels.astype(np.int32), truth, None, np.zeros(3), SCANNET20)


def submission() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"scene0708_00": rng.integers(0, 20, 300), "scene0707_00": np.arange(20, dtype=np.int16)}


def sizes(predictions: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: len(classes) for name, classes in predictions.items()}


def write_ids(folder: Path, ids: dict[str, list[int]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in ids.items():
        (folder / f"{name}.txt").write_text("".join(f"{value}\n" for value in values))
    return folder


def test_a_submission_holds_a_file_a_scene_with_one_nyu40_id_a_line(tmp_path):
    export_benchmark(submission(), sizes(submission()), tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["scene0707_00.txt", "scene0708_00.txt"]
        lines = archive.read("scene0707_00.txt").decode().splitlines()
        assert [int(line) for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
        assert len(archive.read("scene0708_00.txt").splitlines()) == 300
    first = (tmp_path / "out.zip").read_bytes()
    export_benchmark(submission(), sizes(submission()), tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scene0709_00": np.zeros(3, int)}, "does not list 1 scenes .scene0709_00"),
        ({"scene0707_00": None}, "no prediction for 1 scenes .scene0707_00"),
        ({"scene0707_00": np.zeros(19, int)}, r"scene0707_00 is int64 \(19,\).*20 vertices"),
        ({"scene0707_00": np.zeros((20, 1), int)}, "scene0707_00 is int64"),
        ({"scene0707_00": np.zeros(20)}, "scene0707_00 is float64"),
        ({"scene0707_00": np.full(20, 20)}, "vertex 0 of scene0707_00 has the class 20"),
        ({"scene0707_00": np.array([0] * 19 + [IGNORE])}, "vertex 19 of scene0707_00 has the class -100"),
    ],
)
def test_what_the_benchmark_would_refuse_is_not_written(tmp_path, changes, message):
    (tmp_path / "out.zip").write_text("an earlier one")
    predictions = {name: classes for name, classes in (submission() | changes).items() if classes is not None}
    with pytest.raises(OtocError, match=f"out.zip: .*{message}"):
        export_benchmark(predictions, sizes(submission()), tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_text() == "an earlier one" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OtocError, match="no scene"):
        export_benchmark({}, {}, tmp_path / "out.zip")


@pytest.mark.parametrize("name", ["../scene", "/scene", "a/b", "", "a\0"])
def test_no_member_of_a_submission_leaves_its_folder(tmp_path, name):
    with pytest.raises(OtocError, match="out.zip: .* is no scene name"):
        export_benchmark({name: np.zeros(3, int)}, {name: 3}, tmp_path / "out.zip")
    assert not list(tmp_path.iterdir())


def test_a_submission_is_scored_as_the_rooms_are(tmp_path):
    rng = np.random.default_rng(1)
    predictions = submission()
    truths = {name: rng.choice([IGNORE, *range(20)], len(classes)) for name, classes in predictions.items()}
    ids = {name: SCANNET20.to_file_ids(truth, unlabelled=40).tolist() for name, truth in truths.items()}
    labels = write_ids(tmp_path / "labels", ids)
    export_benchmark(predictions, sizes(predictions), tmp_path / "out.zip")
    confusion, per_scene = score_benchmark(tmp_path / "out.zip", labels)
    expected, per_room = evaluate_rooms([room(name, truth) for name, truth in truths.items()], predictions)
    np.testing.assert_array_equal(confusion, expected)
    assert per_scene == per_room


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_scores_equal_the_rule_of_the_benchmark(tmp_path_factory, seed):
    """The rule in plain Python: vertices truly of another class are skipped, the rest are counted by id."""
    folder, rng = tmp_path_factory.mktemp("benchmark"), np.random.default_rng(seed)
    classes, ids = rng.integers(0, 20, 60), rng.choice([0, 1, 2, 5, 13, 39, 40], 60)
    ids[0] = 5
    export_benchmark({"a": classes}, {"a": 60}, folder / "out.zip")
    confusion, _ = score_benchmark(folder / "out.zip", write_ids(folder / "labels", {"a": ids}))
    predicted = [SCANNET20.file_ids[value] for value in classes]
    for index, label in enumerate(SCANNET20.file_ids):
        counted = [(true, made) for true, made in zip(ids, predicted, strict=True) if true in SCANNET20.file_ids]
        hits = sum(true == made == label for true, made in counted)
        union = sum(label in pair for pair in counted)
        assert np.isnan(iou(confusion)[index]) if union == 0 else iou(confusion)[index] == hits / union


def zipped(path: Path, members: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "lacks a.txt"),
        ({"a.txt": "1\n1\n", "b.txt": "1\n"}, "holds, beside .*b.txt"),
        ({"sub/a.txt": "1\n1\n"}, "a.txt.*in no folder"),
        ({"a.txt": "1\n"}, "a.txt: has 1 lines, but .*a.txt has 2"),
        ({"a.txt": ""}, "a.txt, line 1: b'' is no label id"),
        ({"a.txt": "1\n\n"}, "a.txt, line 2: b'' is no label id"),
        ({"a.txt": "1\nchair\n"}, "a.txt, line 2: b'chair' is no label id"),
        ({"a.txt": "1\n1 2\n"}, "a.txt, line 2: b'1 2' is no label id"),
        ({"a.txt": "1\n-1\n"}, "a.txt, line 2: b'-1' is no label id"),
        ({"a.txt": "1\n" + "9" * 30}, "a.txt, line 2: b'9999"),
        ({"a.txt": "1\n99999"}, "a.txt, line 2: b'99999' is no label id"),
        ({"a.txt": "1\n13\n"}, "a.txt, line 2: no NYU40 id of the 20"),
    ],
)
def test_submissions_that_cannot_be_scored_are_refused_by_file_and_line(tmp_path, members, message):
    zipped(tmp_path / "out.zip", members)
    with pytest.raises(OtocError, match=f"out.zip: .*{message}"):
        score_benchmark(tmp_path / "out.zip", write_ids(tmp_path / "labels", {"a": [1, 5]}))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_more_of_a_submission_is_unpacked_than_a_scene_takes(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "out.zip", "w", method) as archive:
        archive.writestr("a.txt", b"1\n" * 25_000_000)
    with at_most(megabytes=2), pytest.raises(OtocError, match="out.zip: "):
        score_benchmark(tmp_path / "out.zip", write_ids(tmp_path / "labels", {"a": [1, 5]}))


@pytest.mark.parametrize("flag", [0x01, 0x20, 0x40, 0x800])  # encrypted, a patch, strongly encrypted, a name in UTF-8
def test_members_that_cannot_be_unpacked_are_refused(tmp_path, flag):
    zipped(tmp_path / "out.zip", {"a.txt": "1\n5\n"})
    data = bytearray((tmp_path / "out.zip").read_bytes())
    entry = data.index(b"PK\1\2")
    for place in (6, entry + 8):
        data[place : place + 2] = flag.to_bytes(2, "little")
    data[entry + 46] = data[30] = 0xFF if flag == 0x800 else ord("a")
    (tmp_path / "out.zip").write_bytes(data)
    with pytest.raises(OtocError, match="out.zip: missing, damaged"):
        score_benchmark(tmp_path / "out.zip", write_ids(tmp_path / "labels", {"a": [1, 5]}))


def test_line_ends_of_another_system_are_read(tmp_path):
    zipped(tmp_path / "out.zip", {"a.txt": "1\r\n5"})
    confusion, _ = score_benchmark(tmp_path / "out.zip", write_ids(tmp_path / "labels", {"a": [1, 5]}))
    assert mean_iou(confusion) == 1


def test_missing_and_damaged_files_are_refused_by_name(tmp_path):
    labels = write_ids(tmp_path / "labels", {"a": [1, 5]})
    with pytest.raises(OtocError, match="nowhere: no folder"):
        score_benchmark(tmp_path / "out.zip", tmp_path / "nowhere")
    with pytest.raises(OtocError, match="out.zip: missing"):
        score_benchmark(tmp_path / "out.zip", labels)
    export_benchmark({"a": np.array([0, 4])}, {"a": 2}, tmp_path / "out.zip")
    whole = (tmp_path / "out.zip").read_bytes()
    for keep in range(len(whole)):
        (tmp_path / "out.zip").write_bytes(whole[:keep])
        with pytest.raises(OtocError, match="out.zip: missing, damaged"):
            score_benchmark(tmp_path / "out.zip", labels)
    (tmp_path / "out.zip").write_bytes(whole)
    write_ids(labels, {"a": [0, 40]})
    with pytest.raises(OtocError, match="a.txt: no vertex has a benchmark class"):
        score_benchmark(tmp_path / "out.zip", labels)


@given(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_damaged_submission_gives_a_score_or_one_clear_error(tmp_path_factory, position, junk):
    folder = tmp_path_factory.mktemp("benchmark")
    export_benchmark({"a": np.array([0, 4])}, {"a": 2}, folder / "out.zip")
    data = (folder / "out.zip").read_bytes()
    start = int(position * len(data))
    (folder / "out.zip").write_bytes(data[:start] + junk + data[start + len(junk) :])
    try:
        score_benchmark(folder / "out.zip", write_ids(folder / "labels", {"a": [1, 5]}))
    except OtocError as error:
        assert "out.zip" in str(error)
