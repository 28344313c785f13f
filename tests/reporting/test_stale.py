"""What is stale is shown nowhere: its files are spoilt here, so that whatever reads one stops."""

import csv
import json
import os
import random
import shutil
from dataclasses import replace

import pytest
from fake_rooms import EXPERIMENTS, KINDS, known, make_experiment, results_in, write_params
from test_site import read_pages

from otoc_lib.config import load_config
from otoc_lib.current import Runs
from otoc_lib.datasets import cache
from otoc_lib.errors import OtocError
from otoc_lib.labels import SCANNET20
from otoc_lib.methods import stages
from otoc_lib.reporting import display, figures
from otoc_lib.reporting import runs as runs_module
from otoc_lib.reporting.charts import page_of_curves
from otoc_lib.reporting.compare import NothingInCommonError, compare_runs, to_text
from otoc_lib.reporting.findings import findings
from otoc_lib.reporting.gallery import best_median_worst
from otoc_lib.reporting.pictures import _bars
from otoc_lib.reporting.runs import export_predictions, results_of
from otoc_lib.reporting.site import build_report
from otoc_lib.reporting.tables import make_tables, to_markdown
from otoc_lib.reporting.viewer import prediction_layers, pseudo_label_layers

OTHER = {"optimizer": "muon", "schedule": "one_cycle", "class_weights": "inverse_sqrt"}
OTHER |= {"pairwise_scaling": "literal", "precision": "bfloat16"}
MENDED = "run make reproduce PROFILE=rooms"


def other_value(name, value):
    """Another value of a parameter, None where this does not know one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 or 0.5
    return [value[0] / 2, *value[1:]] if isinstance(value, list) and value else OTHER.get(name)


@pytest.fixture
def project(runs, scenes, tmp_path, monkeypatch):
    """A project with the runs (linked: what is spoilt is replaced), their params files, and their rooms at hand."""
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(runs, tmp_path / "runs", copy_function=os.link)
    for name in KINDS:
        write_params(tmp_path / "params", name, name)
    monkeypatch.chdir(tmp_path)
    at_hand(monkeypatch, scenes)
    return tmp_path


def at_hand(monkeypatch, scenes):
    def fingerprints(config, split, limit=None):
        return [scene.fingerprint for scene in scenes[split]][:limit]

    monkeypatch.setattr(cache, "fingerprints", fingerprints)
    monkeypatch.setattr(runs_module, "load_split", lambda config, split: scenes[split])


def spoil(folder):
    for path in folder.iterdir():
        if path.name != "manifest.json":
            path.unlink()
            path.write_text("stale")


def results():
    return results_of(load_config("params/rooms/otoc.yaml"))


@pytest.fixture(scope="module")
def whole(runs):
    """The cells and the findings while everything is current."""
    return cells(results_in(runs)), findings(results_in(runs))


def cells(found):
    """(table, row, column) -> text, of all that is ours."""
    return {
        (table.name, row[0], column): text
        for table in make_tables(found)
        for row in table.csv_rows
        for column, text in zip(table.csv_columns, row, strict=True)
        if not column.endswith("paper") and column not in ("setting", "annotation")
    }


def show_everything(found, scenes):
    """Ask for all that a report shows, pictures aside."""
    room, train = scenes["val"][0], scenes["train"][0]
    for experiment in KINDS:
        best_median_worst(found, experiment, found.last_evaluation(experiment), "val", scenes["val"])
        prediction_layers(found, experiment, "supervised", room)
        if clicks := found.clicks(experiment, scenes["train"]):
            pseudo_label_layers(found, experiment, train, clicks[train.name])
    figures.figure6(found, SCANNET20)
    return json.dumps(page_of_curves(found, scenes["val"], SCANNET20)["charts"])


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(24))
def test_a_changed_parameter_takes_every_number_that_depends_on_it_away(project, scenes, whole, trial):
    draw, (base, said) = random.Random(trial), whole
    experiment = draw.choice(list(KINDS))
    contents = results().held._contents(experiment, 0)
    stage, name, value = draw.choice(
        [
            (stage, name, other_value(name, value))
            for stage, content in contents.items()
            for name, value in content["parameters"].items()
            if other_value(name, value) is not None and name not in ("seed", "own_classes")
        ]
    )
    write_params(project / "params", experiment, experiment, **{name: value})
    config = load_config(project / "params" / "rooms" / f"{experiment}.yaml")
    found = results()
    changed = {key for key, content in found.held._contents(experiment, 0).items() if content != contents[key]}
    while further := {k for k in contents if k not in changed and changed & inputs_of(contents, k)}:
        changed |= further
    assert stage in changed
    for run in found.seeds(experiment).values():
        for folder in (project / "runs" / "rooms" / run).iterdir():
            if folder.name in changed:
                spoil(folder)

    after, dependent = cells(found), set()
    for (table, row, column), text in after.items():
        if text.startswith("stale: "):
            assert text == f"stale: {MENDED}" + (" SEEDS=0,1" if experiment == "otoc" else "")
            dependent.add((table, row, column))
        elif text != base[table, row, column]:
            # Beside a number that is gone, or a gain over one.
            assert text == "" or column in ("stale_seeds", "seeds", "rooms", "views"), (table, row, column, text)
    for row in found.rows("table2"):
        is_stale = row.experiment == experiment and found.stage_of(row) in changed
        assert (("table2", row.row, "ours") in dependent) == is_stale
    assert all(sentence in said or sentence.startswith("Stale: ") for sentence in findings(found))
    show_everything(found, scenes)
    for panel in _bars(found, "rooms").values():
        rows = [found.row(name) for name in panel]
        assert not [row for row in rows if row.experiment == experiment and found.stage_of(row) in changed]
    (why,) = {run.why for run in found.stale()}
    assert why.startswith(f"{name} was ") and {run.experiment for run in found.stale()} == {experiment}
    try:
        compared = compare_runs("runs/rooms/control", "runs/rooms/otoc")
        if experiment in ("control", "otoc"):
            assert not {row.what[0] for row in compared.rows} & changed and "left out as stale" in to_text(compared)
    except NothingInCommonError as error:
        assert f"left out as stale ({why})" in str(error)
    if found.last_evaluation(experiment) in changed:
        with pytest.raises(OtocError, match=rf"evaluate_\w+: stale: {name} was .*run make reproduce"):
            export_predictions(config, "val", "sv", project / "out.zip")
    else:
        export_predictions(config, "val", "sv", project / "out.zip")


def inputs_of(contents, stage):
    """The stages that a stage is made of."""
    keys = {stages.stage_key(content): name for name, content in contents.items()}
    return {keys[key] for key in contents[stage]["inputs"].values() if key in keys}


def test_a_baseline_of_other_voxels_is_not_beside_the_whole_method(project, scenes, tmp_path):
    """As it was found: notebook 02 with -p voxel_size 0.2, then notebook 03 with what the file says."""
    assert any(sentence.startswith("As the paper counts, the whole method") for sentence in findings(results()))
    coarse = known("otoc", voxel_size=0.2)
    make_experiment(tmp_path / "coarse", coarse, scenes, 0.3, ("point", "sv", "full"))
    folder = project / "runs" / "rooms" / "otoc" / "evaluate_baseline"
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "coarse" / "rooms" / "otoc" / "evaluate_baseline", folder)
    shutil.rmtree(project / "runs" / "rooms" / "otoc_seed1")
    found, said = results(), findings(results())
    assert cells(found)["table2", "otoc_baseline", "ours"] == f"stale: {MENDED}"
    assert float(cells(found)["table2", "otoc_full", "ours"]) > 0
    assert not any(sentence.startswith("As the paper counts") for sentence in said)
    assert any(sentence.startswith(f"Stale: {MENDED}: One Thing One Click* (initial labels)") for sentence in said)
    assert display.stale_runs(found).data == (
        f"- otoc (evaluate_baseline) is stale: voxel_size was 0.2 and is 0.02; {MENDED}"
    )


def test_a_repeat_over_fewer_rooms_is_not_averaged(project, scenes):
    both = results().measure(results().row("otoc_full"))
    assert both.by_seed.keys() == {0, 1} and both.stale == ()
    shutil.rmtree(project / "runs" / "rooms" / "otoc_seed1")
    few = {**scenes, "train": scenes["train"][:1]}
    make_experiment(project / "runs", EXPERIMENTS[1], few, 0.9, ("point", "sv", "full"), seed=1)
    found = results()
    one = found.measure(found.row("otoc_full"))
    assert one.by_seed == {0: both.by_seed[0]} and one.stale == (1,) and one.std is None
    table = next(table for table in make_tables(found) if table.name == "table2")
    shown = {row[0]: row for row in table.rows}["One Thing One Click"]
    assert shown[3] == f"{both.by_seed[0]:.2f} (seed 1 stale)"
    row = dict(zip(table.csv_columns, table.csv_rows[table.keys.index("otoc_full")], strict=True))
    assert (row["ours"], row["seeds"], row["stale_seeds"]) == (f"{both.by_seed[0]:.2f}", "1", "1")
    assert "Left out: " in "\n".join(findings(found)) and "One Thing One Click (seed 1 stale)" in findings(found)[-2]
    (run,) = found.stale()
    assert (run.run, run.why) == ("otoc_seed1", "the rooms of train have changed") and len(run.stages) == 14


def test_other_rooms_and_other_code_are_stale(project, scenes, monkeypatch):
    monkeypatch.setitem(stages.VERSIONS, "evaluate", stages.VERSIONS["evaluate"] + 1)
    assert cells(results())["table2", "supervised", "ours"] == f"stale: {MENDED}"
    assert results().statistics("otoc", "pseudo_1")  # which no evaluation was an input of
    monkeypatch.undo()
    monkeypatch.chdir(project)
    at_hand(monkeypatch, {**scenes, "val": scenes["val"][:3]})
    assert {run.why for run in results().stale()} == {"the rooms of val have changed"}


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_report_says_what_is_stale_and_why(project, scenes):
    write_params(project / "params", "control", "control", learning_rate_later=0.5)
    for folder in (project / "runs" / "rooms" / "control").glob("*_[23]"):
        spoil(folder)
    index = build_report(results(), project / "reports", scenes)
    text = index.read_text(encoding="utf-8")
    assert f"stale: {MENDED}</td>" in text
    notice = text.partition('id="stale"')[2].partition("</ul>")[0]
    assert (
        "<li><b>control</b> (unet_2, relation_2, evaluate_2, unet_3, relation_3, evaluate_3): learning_rate_later was "
        "0.01 and is 0.5; " in notice
    )
    assert notice.count("<li>") == 1 and f"{MENDED}</li>" in notice
    pages = read_pages(index)
    assert "compare.html" in pages  # of what is left
    for name, page in pages.items():
        assert ("index.html#stale" in page.links) == (name != "index.html")
    compared = (index.parent / "compare.html").read_text(encoding="utf-8")
    assert "left out as stale (learning_rate_later was 0.01 and is 0.5)" in compared and "evaluate_2" in compared
    with open(index.parent / "tables" / "table2.csv", newline="", encoding="utf-8") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert rows["otoc_control"]["ours"] == f"stale: {MENDED}" and rows["otoc_control"]["stale_seeds"] == "0"
    assert rows["otoc_control@val_novel"]["ours"] == f"stale: {MENDED}"
    with open(index.parent / "tables" / "table3.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["control"]) > 0 and rows[1]["control"] == f"stale: {MENDED}"
    assert rows[1]["stale_seeds"] == "control: 0; control_point: 0" and rows[0]["stale_seeds"] == ""


def test_a_report_of_stale_runs_alone_is_made_all_the_same(project, scenes):
    for name in KINDS:
        write_params(project / "params", name, name, clicks_per_object=2, voxel_size=0.2)
    for folder in (project / "runs" / "rooms").glob("*/*"):
        spoil(folder)
    index = build_report(results(), project / "reports", scenes)
    text = index.read_text(encoding="utf-8")
    assert 'class="none">stale: ' in text and "in short" not in text and "nothing has been run" in text
    assert "Not drawn" in (index.parent / "figures.html").read_text(encoding="utf-8")
    assert set(read_pages(index)) == {"curves.html", "figures.html", "index.html", "rooms.html"}


def test_where_the_rooms_are_not_at_hand_it_says_so_once(project, scenes, monkeypatch):
    assert "at hand" not in to_markdown(make_tables(results())[1])
    monkeypatch.setattr(cache, "fingerprints", lambda *arguments: None)
    found = results()
    assert found.doubt.startswith("The data of control, otoc, supervised, unet are not at hand") and not found.stale()
    assert [to_markdown(table).count("not at hand") for table in make_tables(found)] == [0, 1, 1, 0]
    assert display.stale_runs(found).data == f"- {found.doubt}"
    index = build_report(found, project / "reports", scenes)
    assert index.read_text(encoding="utf-8").count(found.doubt) == 4  # the page, and the notes of three tables
    assert to_text(compare_runs("runs/rooms/control", "runs/rooms/otoc")).count("not at hand") == 1
    with pytest.warns(UserWarning, match="not at hand"):
        export_predictions(load_config("params/rooms/otoc.yaml"), "val", "full", project / "out.zip")


def test_an_experiment_that_lost_its_file_is_stale(project):
    (project / "params" / "rooms" / "control.yaml").unlink()
    (project / "params" / "rooms" / "unet.yaml").write_text("profile: rooms\n")
    with pytest.warns(UserWarning, match=r"unet\.yaml.*left out until it is mended"):
        found = results()
    rows = cells(found)
    assert rows["table2", "otoc_control", "ours"] == (
        "stale: restore params/rooms/control.yaml, or delete what it made"
    )
    assert rows["table3", "1", "unet"] == "stale: mend params/rooms/unet.yaml"
    assert float(rows["table2", "otoc_full", "ours"]) > 0


def test_a_notebook_is_held_to_what_it_was_run_with(project):
    """With -p: the other stages of its own experiment are those of other parameters; other experiments stay."""
    found = results_of(replace(load_config("params/rooms/otoc.yaml"), views=3, seed=1, device="cpu"))
    rows = cells(found)
    command = "papermill notebooks/03_self_train.ipynb OUT.ipynb -f params/rooms/otoc.yaml -p views 3"
    assert rows["table2", "otoc_full", "ours"] == f"stale: run {command} && {command} -p seed 1"
    assert float(rows["table2", "otoc_control", "ours"]) > 0
    assert results_of(replace(load_config("params/rooms/otoc.yaml"), device="cpu", workers=1)).stale() == []


# --- two runs ---------------------------------------------------------------------------------------------------------


def test_a_run_elsewhere_is_compared_as_far_as_it_belongs_together(project, scenes, tmp_path):
    copy = tmp_path / "before" / "rooms" / "otoc"
    shutil.copytree(project / "runs" / "rooms" / "otoc", copy)
    found = compare_runs(copy, project / "runs" / "rooms" / "otoc")
    assert "no params file says whether it is current" in to_text(found) and found.only == ([], [])
    make_experiment(tmp_path / "later", known("otoc", unet_steps=9), scenes, 0.4, ("point", "sv", "full"))
    shutil.rmtree(copy / "unet_1")
    shutil.copytree(tmp_path / "later" / "rooms" / "otoc" / "unet_1", copy / "unet_1")
    with pytest.raises(NothingInCommonError, match=r"evaluate_1, evaluate_2, .*left out, made of other stages"):
        compare_runs(copy, project / "runs" / "rooms" / "control")
    # A run that keeps its evaluations alone, to save room, says nothing of what they were made of.
    for stage in ("clicks", "unet_1", "unet_2", "unet_3", "relation_1", "relation_2", "relation_3"):
        shutil.rmtree(copy / stage)
    assert len(compare_runs(copy, project / "runs" / "rooms" / "otoc").rows) == 22


def test_evaluations_on_other_rooms_do_not_belong_together(project, scenes, tmp_path):
    copy = tmp_path / "before" / "rooms" / "otoc"
    shutil.copytree(project / "runs" / "rooms" / "otoc", copy)
    path = copy / "evaluate_2" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["inputs"]["val"] = "other rooms"
    path.write_text(json.dumps(manifest | {"finished": "2026-11-21T00:00:00+00:00"}))
    found = compare_runs(copy, project / "runs" / "rooms" / "otoc")
    assert found.only == ([], ["evaluate_2"]) and "evaluate_2 left out" in to_text(found)


def test_a_damaged_run_beside_the_control_stops_the_report(project, scenes):
    path = project / "runs" / "rooms" / "control" / "evaluate_1" / "metrics.json"
    path.unlink()
    path.write_text("{}")
    with pytest.raises(OtocError, match=r"control/evaluate_1/metrics\.json: is not what the stage wrote"):
        build_report(results(), project / "reports", scenes)


def test_results_without_experiments_know_nothing_to_be_current(runs):
    found = results_in(runs, experiments=())
    assert found.measure(found.row("otoc_full")) is None and len(found.stale()) == 5
    assert isinstance(found.held, Runs) and found.finished() == []
