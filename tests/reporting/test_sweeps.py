"""Curves over one parameter: which experiments are their points, and what stands beside each."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_rooms import known, make_experiment, results_in

from otoc_lib.experiments import LISTED, rows_of, sweeps
from otoc_lib.reporting import figures
from otoc_lib.reporting.sweeps import sweep_curves, sweep_lines, sweep_tables
from otoc_lib.reporting.tables import make_tables, write_table

ALIKE = {"variant": "unet_gp", "self_train_iterations": 2}
MODES = ("U-Net alone", "after propagation")
SHARES = {"unet_gp": 0.0, "wrong10": 0.1, "wrong20": 0.2}


def experiment(name, like="unet", **values):
    return known(name, like, **{**ALIKE, **values})


@pytest.fixture(scope="module")
def swept():
    """A curve over wrong clicks with controls; a pair in clicks an object, which is none; one that differs twice."""
    found = [experiment(name, clicks_wrong=share) for name, share in SHARES.items()]
    beside = {"control": 0.0, "wrong10_control": 0.1, "wrong20_control": 0.2}
    found += [experiment(name, "control", clicks_wrong=share) for name, share in beside.items()]
    found += [
        experiment("often", clicks_per_object=2),
        experiment("both", clicks_per_object=3, clicks_wrong=0.3),
        experiment("kind", source="all", method="control"),
    ]
    return tuple(found)


@pytest.fixture(scope="module")
def measured(swept, scenes, tmp_path_factory):
    """Runs of the curve, two seeds at 0 and one elsewhere; the last control was not run."""
    runs = tmp_path_factory.mktemp("swept")
    shares = {"unet_gp": 0.5, "wrong10": 0.4, "wrong20": 0.3, "control": 0.45, "wrong10_control": 0.3}
    by_name = {known.name: known for known in swept}
    for name, share in shares.items():
        make_experiment(runs, by_name[name], scenes, share, ("point", "sv", "full"))
    for name in ("unet_gp", "control"):
        make_experiment(runs, by_name[name], scenes, shares[name], ("point", "sv", "full"), seed=1)
    return results_in(runs, experiments=swept)


def miou(results, experiment, stage, mode, seed=0):
    metrics = json.loads(results.find(experiment, stage, seed).read("metrics.json"))
    return 100 * metrics["splits"]["val"]["modes"][mode]["miou"]


def test_experiments_that_differ_in_one_number_are_a_curve_with_controls(swept):
    (points,) = sweeps(swept).values()
    assert list(sweeps(swept)) == ["clicks_wrong"]
    assert [(point.value, point.experiment, point.control) for point in points] == [
        (0.0, "unet_gp", "control"),
        (0.1, "wrong10", "wrong10_control"),
        (0.2, "wrong20", "wrong20_control"),
    ]
    with_third = sweeps([*swept, experiment("oftener", clicks_per_object=3)])
    assert [(point.value, point.control) for point in with_third["clicks_per_object"]] == [
        (1, "control"),
        (2, ""),
        (3, ""),
    ]


def test_a_control_needs_none_of_the_numbers_that_make_pseudo_labels(swept):
    found = sweeps([*swept, experiment("sure", threshold=0.99), experiment("bold", threshold=0.5)])
    assert [(point.value, point.experiment, point.control) for point in found["threshold"]] == [
        (0.5, "bold", "control"),
        (0.9, "unet_gp", "control"),
        (0.99, "sure", "control"),
    ]
    found = sweeps([*swept, experiment("wide", bandwidth=3.0), experiment("wider", bandwidth=4.0)])
    assert [point.control for point in found["bandwidth"]] == ["control", "", ""]  # another graph for a control, too


def test_points_of_a_curve_are_no_rows_of_the_tables(swept):
    further = {row.experiment for row in rows_of("table2", swept) if row not in LISTED["table2"]}
    assert further == {"often", "both", "kind"}
    assert not sweeps([])


def test_each_value_stands_beside_its_control_and_its_first_iteration(measured):
    (lines,) = sweep_lines(measured).values()
    assert [(line.mode, line.value) for line in lines] == [
        (mode, share) for mode in ("point", "sv", "full") for share in (0.0, 0.1, 0.2)
    ]
    line = next(line for line in lines if (line.mode, line.value) == ("full", 0.1))
    ours, control = (miou(measured, name, "evaluate_2", "full") for name in ("wrong10", "wrong10_control"))
    assert line.ours.mean == pytest.approx(ours) and line.control.mean == pytest.approx(control)
    assert line.first.mean == pytest.approx(miou(measured, "wrong10", "evaluate_1", "full"))
    assert line.gain.mean == pytest.approx(ours - control) and line.gain.interval[0] <= ours - control
    of_two = next(line for line in lines if (line.mode, line.value) == ("point", 0.0))
    both = [miou(measured, "unet_gp", "evaluate_2", "point", seed) for seed in (0, 1)]
    assert of_two.ours.mean == pytest.approx(np.mean(both)) and len(of_two.ours.by_seed) == 2
    usual = miou(measured, "unet_gp", "evaluate_2", "full")  # of the seed that both have
    assert line.change.mean == pytest.approx(ours - usual) and line.change.interval[0] <= ours - usual
    assert of_two.change is None
    without = next(line for line in lines if (line.mode, line.value) == ("sv", 0.2))
    assert without.ours and without.control is None and without.gain is None
    assert line.labels["covered_percent"] > 0 and line.labels["accuracy_percent"] > 0


def test_the_table_of_a_curve_is_written_like_the_others(measured, tmp_path):
    (table,) = sweep_tables(measured)
    assert table.name == "sweep_clicks_wrong" and len(table.rows) == len(table.csv_rows) == 9
    assert {len(row) for row in table.csv_rows} == {len(table.csv_columns)}
    assert {len(row) for row in table.rows} == {len(table.columns)}
    rows = [dict(zip(table.csv_columns, row, strict=True)) for row in table.csv_rows]
    row = next(row for row in rows if (row["mode"], row["clicks_wrong"]) == ("full", "0.1"))
    assert float(row["gain"]) == pytest.approx(float(row["ours"]) - float(row["control"]), abs=0.011)
    usual = miou(measured, "unet_gp", "evaluate_2", "full")
    assert float(row["change"]) == pytest.approx(float(row["ours"]) - usual, abs=0.011)
    assert "Against 0" in table.columns and float(row["change_low"]) <= float(row["change"]) <= float(
        row["change_high"]
    )
    assert row["experiment"] == "wrong10" and row["seeds"] == "1" and row["ours_std"] == ""
    missing = next(row for row in rows if (row["mode"], row["clicks_wrong"]) == ("full", "0.2"))
    assert missing["control"] == missing["gain"] == "" and float(missing["ours"]) > 0
    assert "not run" in next(row for row in table.rows if row[:2] == ["0.2", "after propagation"])
    assert len(write_table(table, tmp_path)) == 3 and "clicks_wrong" in (tmp_path / f"{table.name}.tex").read_text()


def test_curves_are_drawn_for_the_first_and_the_last_mode(measured):
    swept = sweep_lines(measured)
    curves = sweep_curves(measured, swept["clicks_wrong"], "full")
    assert [(curve.name, curve.x.tolist()) for curve in curves] == [
        ("first iteration", [0.0, 0.1, 0.2]),
        ("control", [0.0, 0.1]),
        ("self-training", [0.0, 0.1, 0.2]),
    ]
    assert curves[2].deviation[0] > 0 and np.isnan(curves[2].deviation[1])
    figure = figures.sweep_figure(measured, swept)
    assert [axes.get_title(loc="left").split(",")[0] for axes in figure.axes] == ["U-Net alone", "after propagation"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Share of wrong clicks"}
    assert figures.sweep_figure(measured, {}) is None
    first_alone = {name: [line for line in lines if line.value == 0] for name, lines in swept.items()}
    assert figures.sweep_figure(measured, first_alone) is None
    both = figures.sweep_figure(measured, swept | {"train_rooms": swept["clicks_wrong"]})
    limits = [[axes.get_ylim() for axes in both.axes if axes.get_title(loc="left").startswith(mode)] for mode in MODES]
    assert all(len(of_mode) == 2 and len(set(of_mode)) == 1 for of_mode in limits)  # panels that can be compared


def test_a_variant_without_a_graph_has_curves_of_the_modes_it_has(scenes, tmp_path):
    names = {"unet_gp": 0.9, "sure": 0.99, "bold": 0.5}
    found = tuple(experiment(name, variant="unet", threshold=value) for name, value in names.items())
    for known_one in found:
        make_experiment(tmp_path, known_one, scenes, 0.4, ("point", "sv"))
    (lines,) = sweep_lines(results_in(tmp_path, experiments=found)).values()
    assert [line.mode for line in lines] == ["point"] * 3 + ["sv"] * 3


def test_of_a_single_iteration_the_relation_net_is_shown_too_and_each_value_against_the_usual_one(scenes, tmp_path):
    """As ``params/trials``: on held-out training rooms, without self-training and its control."""
    values = {"otoc": 0.07, "cold": 0.03, "warm": 0.2}
    alike = {"self_train_iterations": 1, "train_rooms": 3, "eval_splits": ["held_out"]}
    found = tuple(known(name, "otoc", temperature=value, **alike) for name, value in values.items())
    rooms = {"train": scenes["train"], "held_out": scenes["val"]}
    modes = ("point", "relation", "full")
    for trial, right in zip(found, (0.5, 0.3, 0.4), strict=True):
        make_experiment(tmp_path, trial, rooms, right, modes)
    results = results_in(tmp_path, experiments=found)
    (lines,) = sweep_lines(results).values()
    assert [(line.mode, line.value) for line in lines] == [(mode, v) for mode in modes for v in (0.03, 0.07, 0.2)]
    assert all(line.ours is None and line.control is None and line.first for line in lines)
    cold, usual, warm = (line for line in lines if line.mode == "relation")
    assert usual.change is None and cold.change.mean == pytest.approx(cold.first.mean - usual.first.mean)
    assert cold.change.interval[1] < 0 and warm.change.mean > cold.change.mean
    (table,) = sweep_tables(results)
    assert table.title == "Sweep. Temperature of the relation net. Held-out training rooms"
    assert not {"Control", "Self-training"} & set(table.columns) and "control" not in table.note
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert "Against 0.07" in table.columns and {row[table.columns.index("Seeds")] for row in table.rows} == {"1"}
    figure = figures.sweep_figure(results, {"temperature": lines})
    titles = [axes.get_title(loc="left").split(",")[0] for axes in figure.axes]
    assert titles == ["U-Net alone", "relation net alone", "after propagation"]
    untouched = [replace(line, first=lines[0].first) if line.mode == "point" else line for line in lines]
    figure = figures.sweep_figure(results, {"temperature": untouched})
    assert [axes.get_title(loc="left").split(",")[0] for axes in figure.axes] == titles[1:]
    figure = figures.sweep_figure(results, {"train_rooms": lines, "temperature": untouched})
    shown = [axes.axison and axes.get_title(loc="left").split(",")[0] for axes in figure.axes]
    assert shown == [titles[0], False, titles[1], titles[1], titles[2], titles[2]]  # a mode in each row
    assert [axes.get_legend() is not None for axes in figure.axes] == [False, False, False, True, False, False]
    assert figures.sweep_figure(results, {"views": [replace(line, first=lines[0].first) for line in lines[:3]]})


def test_a_value_whose_clicks_alone_are_drawn_has_no_numbers(swept, scenes, tmp_path):
    """Its evaluations are not there yet, so it is not kept, and the table of a clone could not have them."""
    for of_share in swept[: len(SHARES)]:
        make_experiment(tmp_path, of_share, scenes, 0.4, ("point", "sv", "full"))
    evaluations = list(tmp_path.glob("**/wrong20/evaluate_*"))
    for stage in evaluations:
        shutil.rmtree(stage)
    results = results_in(tmp_path, experiments=swept)
    assert evaluations and results.statistics("wrong20", "clicks")
    (lines,) = sweep_lines(results).values()
    labelled = [(line.value, any(line.labels.values())) for line in lines if line.mode == "point"]
    assert labelled == [(0.0, True), (0.1, True), (0.2, False)]


def test_values_are_shown_before_the_usual_one_was_run(swept, scenes, tmp_path):
    make_experiment(tmp_path, swept[1], scenes, 0.4, ("point", "sv", "full"))  # wrong10
    (table,) = sweep_tables(results_in(tmp_path, experiments=swept))
    rows = [dict(zip(table.csv_columns, row, strict=True)) for row in table.csv_rows]
    assert {(row["experiment"], bool(row["ours"])) for row in rows} == {
        ("unet_gp", False), ("wrong10", True), ("wrong20", False)
    }  # fmt: skip
    assert "Against 0" in table.columns and {row["change"] for row in rows} == {""}


def test_a_report_without_a_sweep_shows_none(results):
    assert sweep_tables(results) == [] and figures.sweep_figure(results, sweep_lines(results)) is None
    assert [table.name for table in make_tables(results)] == ["table1", "table2", "table3", "table4"]
