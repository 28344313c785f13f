"""The doctor on scans of one's own and their clicks: what is right, several faults at once, status, picture."""

import json
import warnings

import numpy as np
import pytest
from own_scan import CLASSES, POINTS, TRUTH, write_ascii
from PIL import Image
from scipy.spatial import cKDTree

from otoc_lib.__main__ import main
from otoc_lib.annotation.check_own import check_clicks, check_truth
from otoc_lib.config import config_from
from otoc_lib.datasets import cache, own, summary
from otoc_lib.datasets.doctor import OWN, diagnose
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.scan_views import PAPER, view_scan
from otoc_lib.errors import OtocError

CLICKS = "scene,point,x,y,z,class,object\n"


def rows(diagnosis, severity):
    return [f"{problem.place}: {problem.text}" for problem in diagnosis.problems if problem.severity == severity]


def click(point, label, scene="room"):
    return f"{scene},{point},{','.join(map(str, POINTS[point]))},{label},-1\n"


@pytest.fixture
def root(tmp_path):
    write_ascii(tmp_path / "own" / "room.ply")
    return tmp_path / "own"


def test_a_scan_is_summarized_as_it_is(root):
    diagnosis = diagnose(root)
    assert diagnosis.ok and diagnosis.dataset == OWN and diagnosis.problems == ()
    (scan,) = diagnosis.scans
    spacing = np.median(cKDTree(POINTS).query(POINTS, k=2)[0][:, 1])
    assert scan.spacing == pytest.approx(spacing, rel=0.02)
    assert (scan.name, scan.file, scan.points, scan.triangles) == ("room", "room.ply", 3600, 2 * 59 * 59)
    assert scan.low == tuple(POINTS.min(axis=0)) and scan.high == tuple(POINTS.max(axis=0)) and scan.strays == 0
    assert scan.colors == "0..255, as they are" and scan.class_column is None
    assert summary.from_json(json.loads(json.dumps(summary.to_json(scan)))) == scan
    text = summary.as_text([scan])
    assert text.startswith("room.ply\n") and "3,600, 6,962 triangles" in text and "box           2.3" in text


def test_a_stray_a_class_column_and_what_else_was_decided(root):
    table = np.column_stack([POINTS, np.full((len(POINTS), 3), 60000), TRUTH, np.arange(len(POINTS))])
    table[5, :3] = (900, 0, 0)
    header = "x,y,z,red,green,blue,class,index"
    np.savetxt(root / "hall.csv", table, fmt="%.6g", delimiter=",", header=header, comments="")
    scan = next(scan for scan in diagnose(root).scans if scan.name == "hall")
    assert scan.strays == 1 and scan.high[0] < 10 and "divided by 256" in scan.colors
    assert scan.class_column.startswith("class, 3 values (0, 1, 2);") and scan.left_out == ("index",)
    assert any("stray" in sentence and "point 5" in sentence for sentence in scan.told)
    assert any("stray" in row for row in rows(diagnose(root), "warning"))


def test_several_faults_of_one_scan_and_of_many_are_all_told(root):
    lines = (root / "room.ply").read_text().splitlines()
    body = lines.index("end_header") + 1
    number = lines[body].split()
    lines[body] = " ".join(["nan", *number[1:]])
    lines[-1] = "3 0 1 99999"
    (root / "bad.ply").write_text("\n".join(lines).replace("uchar red", "int red").replace("uchar blue", "int blue"))
    text = (root / "bad.ply").read_text().splitlines()
    some = slice(body + 1, body + 1900)
    text[some] = [" ".join([*row.split()[:3], "-9", "0", "0"]) for row in text[some]]
    (root / "bad.ply").write_text("\n".join(text))
    (root / "empty.las").write_bytes(b"")
    (root / "room.txt").write_text("1 2 3\n4 5 6\n")  # a second scan of the name room
    (root / "notes.docx").write_text("?")
    diagnosis = diagnose(root)
    assert not diagnosis.ok
    errors = rows(diagnosis, "error")
    told = [row.partition(":")[0] for row in errors]
    assert told.count("bad.ply") == 3 and {"empty.las", "room.txt"} <= set(told) and len(errors) == 5
    for words in ("NaN or infinite coordinate", "a face names vertices [0, 1, 99999]", "colours from -9"):
        assert any(words in row for row in errors)
    assert any(row.startswith("notes.docx: is left out") for row in rows(diagnosis, "warning"))
    assert [scan.name for scan in diagnosis.scans] == ["room"]  # the whole one is summarized all the same


def test_workers_see_the_same(root):
    for name in ("a", "b", "c"):
        write_ascii(root / f"{name}.ply")
    one, two = (diagnose(root, workers=workers) for workers in (1, 2))
    assert one == two and [scan.name for scan in two.scans] == ["a", "b", "c", "room"]


def test_clicks_are_checked_line_by_line_and_classes_without_any_are_named(root):
    path = root / "clicks.csv"
    path.write_text(
        CLICKS
        + click(0, "floor")
        + click(1, "flor")
        + click(2, "box", scene="hall")
        + click(3, "box").replace(str(POINTS[3][0]), "77")
        + click(0, "box")
    )
    problems, _ = check_clicks(root, path, CLASSES.names)
    told = [problem.text for problem in problems]
    assert all(problem.severity == "error" and problem.place == "clicks.csv" for problem in problems)
    assert [text.partition(":")[0] for text in told] == ["line 3", "line 4", "line 5", "line 6"]
    for text, words in zip(told, ("class 'flor'", "scene 'hall'", "lies 74", "clicked a second time"), strict=True):
        assert words in text
    path.write_text(CLICKS + click(0, "floor") + click(1, "floor") + click(700, "box"))
    problems, totals = check_clicks(root, path, CLASSES.names)
    assert [problem.text.partition(":")[0] for problem in problems] == ["no click of crate"]
    assert {total.name: total.found for total in totals} == {
        "clicks": "3",
        "clicks: floor": "2",
        "clicks: box": "1",
        "clicks: crate": "0",
    }
    problems, totals = check_clicks(root, path, None)  # no params file says which classes there are
    assert problems == [] and [total.name for total in totals] == ["clicks", "clicks: floor", "clicks: box"]
    path.unlink()
    assert check_clicks(root, path, None) == ([], [])
    assert [problem.text for problem in check_clicks(root, path, CLASSES.names)[0]] == ["no clicks yet"]


def test_clicks_on_a_scan_that_is_broken_are_not_called_wrong(root):
    (root / "hall.ply").write_bytes(b"ply\n")
    path = root / "clicks.csv"
    path.write_text(CLICKS + click(0, "floor") + click(1, "box", scene="hall") + click(1, "box", scene="attic"))
    problems, _ = check_clicks(root, path, CLASSES.names)
    assert [problem.text.partition(";")[0] for problem in problems] == ["line 4: unknown scene 'attic'"]


def test_true_labels_that_a_params_file_asks_for_are_checked(root):
    np.savetxt(root / "hall.csv", np.column_stack([POINTS, TRUTH]), delimiter=",", header="x,y,z,class", comments="")
    (problem,) = check_truth(root, CLASSES.names, "class")
    assert problem.place == "room.ply" and "asks for a class column 'class', and it has none" in problem.text
    problems = check_truth(root, CLASSES.names[:2], "class")
    assert [found.place for found in problems] == ["hall.csv", "room.ply"] and "counted from 0" in problems[0].text


def test_the_command_its_status_and_its_files(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("params/own", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    params = tmp_path / "params" / "own" / "e.yaml"
    params.write_text(
        f"profile: own\nexperiment: e\ndataset: own\ndata_root: {root}\nown_classes: [floor, box, crate]\n"
        "source: file\nclicks_file: own/clicks.csv\neval_splits: [val]\n"
    )
    assert main(["doctor", "own"]) == 0 and "OK: training would run (0 errors, 0 warnings)" in capsys.readouterr().out
    (root / "clicks.csv").write_text(CLICKS + click(0, "floor"))
    picture = tmp_path / "new" / "seen.png"
    assert main(["doctor", "own", "--params", str(params), "--json", "--picture", str(picture)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["dataset"] == OWN and said["scans"][0]["points"] == 3600
    assert [problem["text"].partition(":")[0] for problem in said["problems"]] == ["no click of box, crate"]
    with Image.open(picture) as image:
        assert image.format == "PNG" and image.width > 400
    (root / "clicks.csv").write_text(CLICKS + click(0, "chair"))
    assert main(["doctor", "own", "--params", str(params)]) == 1
    assert "clicks.csv  line 2: unknown class 'chair'" in capsys.readouterr().out
    assert main(["prepare", str(params)]) == 0
    assert capsys.readouterr().out.startswith("room.ply\n  points        3,600")
    assert main(["prepare", str(params), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "room"
    assert main(["doctor", "nowhere"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["doctor", "empty"]) == 2 and "for scans of your own" in capsys.readouterr().err


def test_a_converted_scan_keeps_its_summary(root, tmp_path, monkeypatch):
    values = {"profile": "p", "experiment": "e", "dataset": "own", "own_classes": ["floor", "box"]}
    config = config_from({**values, "data_root": str(root), "cache_root": str(tmp_path / "cache")})
    (before,) = cache.summaries(config)  # read for it
    cache.prepare(config)
    monkeypatch.setattr("otoc_lib.datasets.own.read_scan", None)
    assert cache.summaries(config) == [before] and before["file"] == "room.ply"
    scannet = config_from({"profile": "p", "experiment": "e", "data_root": "nowhere"})
    assert cache.summaries(scannet) == []


def test_the_views_show_the_highest_point_and_the_far_half(tmp_path):
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # x is the longer side. Two points one above the other, and a blue one near the eye of the side view.
    points = [
        (0, 0, 0, *red),
        (0, 0, 1, *green),
        (4, 0, 0, *red),
        (4, 2, 1, *red),
        (2, 0.1, 0.5, *blue),
        (2, 2, 0.5, *red),
    ]
    path = tmp_path / "room.xyz"
    path.write_text("\n".join(" ".join(map(str, point)) for point in points * 20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        views = view_scan("room", read_scan(path), own.scan_axes(read_scan(path)), 0.0)
    assert views.along == 0 and views.top.shape == (210, 420, 3) and views.side.shape == (105, 420, 3)
    assert tuple(views.top[-1, 0]) == green and tuple(views.top[0, -1]) == red  # y upwards
    assert tuple(views.top[105, 105]) == PAPER
    shown = {tuple(color) for color in views.side.reshape(-1, 3).tolist()}
    assert blue not in shown and green not in shown and red in shown
    assert tuple(views.side[0, -1]) == red and tuple(views.side[-1, -1]) == PAPER


def test_a_set_of_rooms_takes_no_picture(tmp_path):
    (tmp_path / "Area_1" / "office_1" / "Annotations").mkdir(parents=True)
    (tmp_path / "Area_1" / "office_1" / "Annotations" / "chair_1.txt").write_text("1 2 3 4 5 6\n")
    assert main(["doctor", str(tmp_path), "--picture", str(tmp_path / "a.png")]) == 2
    with pytest.raises(OtocError, match="no such folder"):
        diagnose(tmp_path / "none")


def test_what_no_training_could_learn_from_is_told(root, capsys):
    (root / "clicks.csv").write_text(CLICKS)
    assert main(["doctor", str(root)]) == 1
    assert "holds no click; click every object once" in capsys.readouterr().out
    (root / "clicks.csv").write_text("")
    assert main(["doctor", str(root)]) == 1
    told = capsys.readouterr().out
    assert "is empty; it needs names of columns, scene, class" in told and "no scene name" not in told
    (root / "clicks.csv").write_text("x,y,z\n0,0,0\n1,1,1\n")
    assert main(["doctor", str(root)]) == 1  # what may be a scan is not passed over
    told = capsys.readouterr().out
    assert "line 1 names no columns scene and class" in told and "rename it if it is a scan" in told
    (root / "clicks.csv").unlink()
    (root / "few.xyz").write_text("0 0 0\n1 1 1\n")
    assert any(
        "few.xyz: holds 2 points, from which nothing is learnt" in row for row in rows(diagnose(root), "warning")
    )


def test_parameters_of_a_dataset_say_nothing_of_scans(root, tmp_path, capsys):
    path = tmp_path / "p" / "e.yaml"
    path.parent.mkdir()
    path.write_text("profile: p\nexperiment: e\n")
    assert main(["doctor", str(root), "--params", str(path)]) == 2
    assert "e.yaml: is for 'dataset: scannet', and --params for scans of your own" in capsys.readouterr().err


def test_a_scene_that_is_spelt_otherwise_is_met_with_its_name(root):
    for said in ("Room", "room.ply", "rom"):
        (root / "clicks.csv").write_text(CLICKS + click(3, "floor", said))
        (problem, *_), _ = check_clicks(root, root / "clicks.csv", CLASSES.names)
        assert problem.severity == "error" and f"unknown scene {said!r}; did you mean 'room'?" in problem.text
