import json
import shutil

import numpy as np
import pytest
from fake_rooms import sign
from safetensors.numpy import load_file, save_file

from otoc_lib.errors import OtocError
from otoc_lib.methods.stages import CONFUSIONS
from otoc_lib.reporting.compare import compare_runs, main_compare


def miou(runs, experiment, stage, mode, split="val"):
    metrics = json.loads((runs / "rooms" / experiment / stage / "metrics.json").read_text())
    return 100 * metrics["splits"][split]["modes"][mode]["miou"]


def test_rows_classes_and_rooms_are_those_measured(runs):
    found = compare_runs(runs / "rooms" / "control", runs / "rooms" / "otoc")
    assert found.names == ("rooms/control", "rooms/otoc")
    rows = {row.what: row for row in found.rows}
    assert len(rows) == (2 + 3 * 3) * 2  # modes of the baseline and of three iterations, splits
    row = rows["evaluate_3", "val", "full"]
    expected = [miou(runs, name, "evaluate_3", "full") for name in ("control", "otoc")]
    assert [row.a, row.b] == pytest.approx(expected) and row.difference == pytest.approx(expected[1] - expected[0])
    assert found.basis == ("evaluate_3", "val", "full")
    metrics = json.loads((runs / "rooms" / "otoc" / "evaluate_3" / "metrics.json").read_text())
    ious = dict(zip(metrics["classes"], metrics["splits"]["val"]["modes"]["full"]["iou"], strict=True))
    assert {pair.what[0]: pair.b for pair in found.classes} == pytest.approx(
        {name: 100 * value for name, value in ious.items() if value is not None}
    )
    gains = [pair.difference for pair in found.rooms]
    assert len(gains) == 4 and gains == sorted(gains)
    assert found.total == pytest.approx(row.difference) and found.interval[0] < found.total < found.interval[1]
    low, high = found.interval
    assert f"{found.total:+.2f} points" in found.summary and f"{low:+.2f} to {high:+.2f} over rooms" in found.summary
    assert f"better in {sum(gain > 0 for gain in gains)} and" in found.summary
    assert "pseudo_1" in found.only[1] and found.only[0] == []


def test_the_other_way_round_changes_every_sign(runs):
    one = compare_runs(runs / "rooms" / "control", runs / "rooms" / "otoc")
    other = compare_runs(runs / "rooms" / "otoc", runs / "rooms" / "control")
    assert [row.difference for row in one.rows] == [-row.difference for row in other.rows]
    assert one.total == -other.total and one.interval == pytest.approx(tuple(-end for end in other.interval[::-1]))
    same = compare_runs(runs / "rooms" / "otoc", runs / "rooms" / "otoc")
    assert same.parameters == [] and same.total == 0 and same.interval == (0, 0)


def test_parameters_that_differ_are_named(runs, tmp_path):
    found = compare_runs(runs / "rooms" / "otoc", runs / "rooms" / "otoc_seed1")
    name, one, other, stages = found.parameters[0]
    assert (name, one, other) == ("seed", "0", "1") and "unet_2" in stages and len(found.parameters) == 1
    # A parameter that one of the two has not, and one that differs in a single stage.
    copy = tmp_path / "runs" / "rooms" / "otoc"
    shutil.copytree(runs / "rooms" / "otoc", copy)
    path = copy / "unet_2" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["parameters"] |= {"wobble": 0.2}
    manifest["versions"] |= {"torch": "9.9"}
    path.write_text(json.dumps(manifest))
    found = compare_runs(runs / "rooms" / "otoc", copy)
    assert found.parameters == [("wobble", "-", "0.2", "unet_2")]
    assert ("torch", "2.13.0", "2.13.0, 9.9") in found.facts
    assert found.names[0] != found.names[1]


def test_what_is_set_aside_or_begun_is_no_stage(runs, tmp_path):
    copy = tmp_path / "runs" / "rooms" / "otoc"
    shutil.copytree(runs / "rooms" / "otoc", copy)
    for name in ("evaluate_3.damaged", "evaluate_9.part"):
        shutil.copytree(copy / "evaluate_3", copy / name)
    whole, found = (compare_runs(runs / "rooms" / "control", run) for run in (runs / "rooms" / "otoc", copy))
    assert found.rows == whole.rows and found.basis == whole.basis and found.only == whole.only


def test_other_rooms_are_not_subtracted(runs, tmp_path):
    copy = tmp_path / "rooms" / "few"
    shutil.copytree(runs / "rooms" / "otoc", copy)
    for path in copy.glob("evaluate_*/metrics.json"):
        metrics = json.loads(path.read_text())
        val = metrics["splits"]["val"]
        val["rooms"] = val["rooms"][:2]
        val["per_room"] = {name: val["per_room"][name] for name in val["rooms"]}
        path.write_text(json.dumps(metrics))
        counts = load_file(path.with_name(CONFUSIONS))
        save_file(
            {key: array[:2] if key.startswith("val/") else array for key, array in counts.items()},
            path.with_name(CONFUSIONS),
        )
        sign(path.parent)
    found = compare_runs(runs / "rooms" / "otoc", copy)
    assert {row.difference for row in found.rows if row.what[1] == "val"} == {None}
    assert {row.note for row in found.rows if row.what[1] == "val"} == {"other rooms"}
    assert [pair.difference for pair in found.rooms] == [0, 0]  # the two rooms that both have
    assert found.total == 0 and found.interval == (0, 0)


def test_no_interval_is_made_up_for_runs_of_before(runs, tmp_path):
    copy = tmp_path / "rooms" / "old"
    shutil.copytree(runs / "rooms" / "otoc", copy)
    for path in copy.glob(f"evaluate_*/{CONFUSIONS}"):
        path.unlink()
        sign(path.parent)
    found = compare_runs(runs / "rooms" / "control", copy)
    gains = [pair.difference for pair in found.rooms]
    assert found.total is None and found.interval is None
    assert f"Room by room rooms/old is {np.mean(gains):+.2f} points" in found.summary
    assert "no interval known" in found.summary


def test_the_page_and_the_text_hold_the_same_numbers(runs, tmp_path, capsys):
    page = main_compare(runs / "rooms" / "control", runs / "rooms" / "otoc", tmp_path / "page.html")
    printed, text = capsys.readouterr().out, page.read_text(encoding="utf-8")
    for value in (miou(runs, name, "evaluate_3", "point") for name in ("control", "otoc")):
        assert f"{value:.2f}" in printed and f"{value:.2f}" in text
    assert "<h1>rooms/control and rooms/otoc</h1>" in text and 'src="' not in text and str(tmp_path) not in text
    assert "<style>" in text and 'href="#main"' in text and text.count("href=") == 2  # skip link and no icon


def test_what_is_no_run_is_named(runs, tmp_path):
    run = runs / "rooms" / "otoc"
    with pytest.raises(OtocError, match=r"nowhere: no such folder"):
        compare_runs(tmp_path / "nowhere", run)
    with pytest.raises(OtocError, match=r"holds the runs control, otoc, .*give one of them"):
        compare_runs(run, runs / "rooms")
    with pytest.raises(OtocError, match=r"holds no finished stage"):
        compare_runs(run, tmp_path)
    bare = tmp_path / "rooms" / "bare"
    shutil.copytree(run / "clicks", bare / "clicks")
    with pytest.raises(OtocError, match=r"share no evaluation .*none"):
        compare_runs(run, bare)
    other = tmp_path / "rooms" / "other"
    shutil.copytree(run / "evaluate_1", other / "evaluate_1")
    metrics = json.loads((other / "evaluate_1" / "metrics.json").read_text())
    (other / "evaluate_1" / "metrics.json").write_text(json.dumps({**metrics, "classes": ["a", "b"]}))
    sign(other / "evaluate_1")
    with pytest.raises(OtocError, match=r"share no evaluation"):
        compare_runs(run, other)
    (other / "evaluate_1" / "metrics.json").write_text("{")
    with pytest.raises(OtocError, match=r"metrics\.json: is not what the stage wrote"):
        compare_runs(run, other)
