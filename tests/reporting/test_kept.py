"""Numbers of runs that are kept: what tables show of them equals what they showed of the runs, until they are stale."""

import csv
import shutil
import zipfile

import pytest
from fake_rooms import KINDS, write_params
from test_stale import at_hand

from otoc_lib.__main__ import main
from otoc_lib.config import load_config
from otoc_lib.datasets import cache
from otoc_lib.errors import OtocError
from otoc_lib.reporting import hidden_test
from otoc_lib.reporting.findings import findings
from otoc_lib.reporting.hidden_test import hidden_scores
from otoc_lib.reporting.kept import HIDDEN, keep_numbers
from otoc_lib.reporting.runs import results_of, results_of_profile
from otoc_lib.reporting.site import build_report
from otoc_lib.reporting.tables import make_tables


@pytest.fixture
def project(runs, scenes, tmp_path, monkeypatch):
    """A project whose runs were kept."""
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(runs, tmp_path / "runs")
    for name in KINDS:
        write_params(tmp_path / "params", name, name)
    monkeypatch.chdir(tmp_path)
    at_hand(monkeypatch, scenes)
    keep_numbers(results().held, results().archives, {("otoc", "evaluate_3"): {"full": 61.5}})
    return tmp_path


def results():
    return results_of(load_config("params/rooms/otoc.yaml"))


def csvs(found):
    return {table.name: table.csv_rows for table in make_tables(found, {})}


def test_tables_of_kept_numbers_are_those_of_the_runs(project):
    before, said = csvs(results()), findings(results())
    assert "kept" not in results().doubt
    shutil.rmtree(project / "runs")
    after = results()
    assert csvs(after) == before
    assert any("not run" not in cell for row in before["table2"] for cell in row[4:5])  # there was something to keep
    assert findings(after) == said
    assert f"Of {len(list(after.archives.glob('*.zip')))} runs" in after.doubt
    assert "with the same parameters, code and rooms as now" in after.doubt
    assert after.hidden_score("otoc", "evaluate_3", "full", 0) == 61.5
    assert after.hidden_score("otoc", "evaluate_3", "point", 0) is None


@pytest.mark.parametrize("runs_here", [True, False])
def test_kept_scores_of_hidden_rooms_need_neither_predictions_nor_labels(project, monkeypatch, runs_here):
    monkeypatch.setattr(hidden_test, "SPLIT", "val")  # whose predictions these runs have, and labels nobody
    if not runs_here:
        shutil.rmtree(project / "runs")
    found = hidden_scores(results(), project / "submissions")
    assert {name: measured.by_seed for name, measured in found.items()} == {"otoc_full": {0: 61.5}}
    assert not (project / "submissions").exists()


def test_the_command_keeps_numbers_and_writes_their_tables(project, capsys):
    shutil.rmtree(project / "reports")
    main(["keep", "rooms"])
    before = csvs(results())
    shutil.rmtree(project / "runs")
    (project / "reports/rooms/tables/table2.csv").write_text("typed")
    main(["keep", "rooms"])  # on a machine without the runs
    with (project / "reports/rooms/tables/table2.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [list(row) for row in before["table2"]]
    assert "reports/rooms/tables: the tables of all numbers that are kept" in capsys.readouterr().out


def test_no_prediction_is_kept_and_pictures_know_it(project, scenes):
    assert results().prediction("otoc", "evaluate_3", scenes["val"][0])
    shutil.rmtree(project / "runs")
    found = results()
    assert found.metrics("otoc", "evaluate_3")["splits"]["val"]["rooms"]
    assert found.find("otoc", "evaluate_3") is None
    assert found.prediction("otoc", "evaluate_3", scenes["val"][0]) == {}
    assert found.clicks("otoc", scenes["train"]) == {}
    for path in found.archives.glob("*.zip"):
        names = {name.split("/")[1] for name in zipfile.ZipFile(path).namelist()}
        assert names <= {"manifest.json", "metrics.json", "confusions.counts", "statistics.json", HIDDEN}


def test_a_report_is_written_of_kept_numbers_alone(project, scenes):
    shutil.rmtree(project / "runs")
    page = build_report(results(), project / "elsewhere", scenes).read_text()
    row = next(row for row in csvs(results())["table2"] if row[0] == "otoc_full")
    assert row[4] != "not run" and row[4] in page and "numbers were kept" in page
    shutil.rmtree(results().archives)
    with pytest.raises(OtocError, match="nothing has been run for this profile, and no numbers were kept"):
        build_report(results(), project / "elsewhere", scenes)


def test_kept_numbers_do_not_say_that_rooms_are_the_same_where_there_are_none(project, monkeypatch):
    before = csvs(results())
    shutil.rmtree(project / "runs")
    monkeypatch.setattr(cache, "fingerprints", lambda config, split, limit: None)
    after = results()
    assert csvs(after) == before
    assert "with the same parameters and code as now" in after.doubt and "are not at hand on this mach" in after.doubt


def test_kept_numbers_of_other_parameters_are_shown_nowhere(project):
    shutil.rmtree(project / "runs")
    write_params(project / "params", "otoc", "otoc", mean_field_steps=7)
    found = results()
    row = found.row("otoc_full")
    assert found.measure(row) is None
    assert found.measure(found.row("supervised")) is not None


def test_a_run_that_is_here_comes_before_what_is_kept_of_it(project):
    kept = results().measure(results().row("otoc_full")).mean
    write_params(project / "params", "otoc", "otoc", mean_field_steps=7)
    archive = results().archives / "otoc.zip"
    before = archive.read_bytes()
    keep_numbers(results().held, results().archives)  # only clicks and training are current: the archive keeps the rest
    write_params(project / "params", "otoc", "otoc")
    shutil.rmtree(project / "runs")
    assert results().measure(results().row("otoc_full")).mean == kept
    assert archive.read_bytes() == before


def test_equal_numbers_make_equal_archives(project):
    archives = {path.name: path.read_bytes() for path in results().archives.glob("*.zip")}
    for path in results().archives.glob("*.zip"):
        path.unlink()
    keep_numbers(results().held, results().archives, {("otoc", "evaluate_3"): {"full": 61.5}})
    assert {path.name: path.read_bytes() for path in results().archives.glob("*.zip")} == archives


@pytest.mark.parametrize("member", ["../metrics.json", "evaluate_1/weights.safetensors", "a/b/metrics.json", None])
def test_an_archive_that_is_none_is_named(project, member):
    path = results().archives / "otoc.zip"
    if member is None:
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(member, "{}")
    with pytest.raises(OtocError, match=r"otoc\.zip: damaged"):
        results().seeds("otoc")


def test_a_changed_number_is_no_kept_number(project):
    shutil.rmtree(project / "runs")
    path = results().archives / "otoc.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["evaluate_3/metrics.json"] = members["evaluate_3/metrics.json"].replace(b"0.", b"0.9", 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(OtocError, match="is not what the stage wrote"):
        results().measure(results().row("otoc_full"))


def test_a_profile_without_params_files_has_no_results(project):
    assert results_of_profile("rooms").main == "otoc"
    with pytest.raises(OtocError, match="nonsense"):
        results_of_profile("nonsense")
