"""A row has one colour wherever it is drawn, and no two rows have the same."""

from pathlib import Path

import numpy as np
from fake_rooms import known, results_in
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb

from otoc_lib.experiments import VARIANTS, read_profile
from otoc_lib.reporting import figures
from otoc_lib.reporting.charts import calibration_rows
from otoc_lib.reporting.curves import experiments_of, label_curves, loss_curves, miou_curves
from otoc_lib.reporting.pictures import _bars, _colors
from otoc_lib.reporting.row_colors import HUES, hues, row_color
from otoc_lib.reporting.runs import Results
from otoc_lib.reporting.sweeps import sweep_curves, sweep_lines

ROOT = Path(__file__).parents[2]


def study() -> Results:
    return Results(ROOT / "runs", "study", 3, tuple(read_profile(ROOT / "params", "study")))


def test_the_same_row_has_the_same_colour_in_every_chart_and_figure(results):
    calibration = {row["line"]["name"]: row["line"] for row in calibration_rows(results, results.rows("table2"))}
    lines = {curve.name: curve for curve in miou_curves(results)}
    pairs = {  # of the chart of calibration, of the curves over the iterations
        "One Thing One Click": "3D U-Net+Rel+GP",
        "One Thing One Click, averaged in super-voxels": "Super-voxel mean",
        "One Thing One Click, control: clicks only, as many steps": "Control, U-Net alone",
        "One Thing One Click, control after propagation": "Control (clicks only), after propagation",
        "Fully supervised": "fully supervised, U-Net alone",
        "Fully supervised, after propagation": "fully supervised, after propagation",
    }
    assert {name: calibration[name]["color"] for name in pairs} == {n: lines[other].color for n, other in pairs.items()}
    assert len({calibration[name]["color"] for name in pairs}) == len(pairs)

    bars = {}
    axes = figures.figure1(_bars(results, "rooms"), _colors(results)).axes[2]
    ticks = dict(zip(axes.get_xticks(), (tick.get_text() for tick in axes.get_xticklabels()), strict=True))
    for bar in axes.patches:
        bars.setdefault(ticks[bar.get_x() + bar.get_width() / 2].split("\n")[0], []).append(to_hex(bar.get_facecolor()))
    control = [calibration[name]["color"] for name in pairs if "control" in name]
    assert bars["control"] == control and bars["fully"] == [lines[pairs[name]].color for name in list(pairs)[-2:]]
    assert bars["1T1C"][-1] == calibration["One Thing One Click"]["color"]

    losses = {curve.name: curve.color for curve in loss_curves(results, experiments_of(results), "unet")}
    labels = {curve.name: curve.color for curve in label_curves(results, "covered_percent")}
    assert losses["otoc"] == labels["3D U-Net+Rel+GP"] == HUES["otoc"] and losses["control"] == hues(results)["control"]


def test_what_was_not_run_changes_no_colour(results, runs, tmp_path):
    (tmp_path / "rooms").mkdir()
    for run in ("otoc", "control"):
        (tmp_path / "rooms" / run).symlink_to(runs / "rooms" / run)
    fewer = results_in(tmp_path)

    def colors(of):
        return {row["line"]["name"]: row["line"]["color"] for row in calibration_rows(of, of.rows("table2"))}

    assert 3 < len(colors(fewer)) < len(colors(results)) and colors(fewer).items() <= colors(results).items()


def test_before_self_training_lines_are_dashed(results):
    dashed = {row["line"]["name"] for row in calibration_rows(results, results.rows("table2")) if row["line"]["dash"]}
    assert "One Thing One Click* (initial labels)" in dashed
    assert {"One Thing One Click", "Fully supervised"}.isdisjoint(dashed)


def test_no_two_rows_of_the_study_look_alike_on_a_page_and_no_line_is_red():
    results = study()
    for table in ("table2", "table4"):
        rows = [*results.rows(table), *results.further(table)]
        named = {(row.experiment, row.mode) for row in rows} | set(VARIANTS.values() if table == "table2" else ())
        colors = {of: row_color(results, *of) for of in named}
        assert len(named) > 20 and len(set(colors.values())) == len(colors)
        hue, saturation, value = rgb_to_hsv([to_rgb(color) for color in colors.values()]).T
        red = (np.abs((hue + 0.5) % 1 - 0.5) < 0.04) & (saturation > 0.5) & (value > 0.5)
        assert not red.any()


def test_controls_are_brown():
    results = study()
    found = hues(results)
    config = {experiment.name.removeprefix("s3dis_"): experiment.config for experiment in results.experiments}
    controls = [name for name, c in config.items() if c.method == "control" and c.source not in ("all", "images")]
    assert {"control", "points20_control", "xu_baseline_02", "control_02"} <= set(controls)
    brown = {name for name in found if 0.05 < rgb_to_hsv(to_rgb(found[name]))[0] < 0.14}
    assert brown - {"unet_gp"} == set(controls)  # which is orange


def test_more_experiments_than_colours_get_colours_of_their_own():
    results = results_in(Path("nowhere"), experiments=tuple(known(f"mine{place:02d}") for place in range(30)))
    colors = [row_color(results, f"mine{place:02d}", mode) for place in range(30) for mode in ("point", "full")]
    assert len(set(colors)) == len(colors)


def test_a_sweep_has_the_colours_of_the_rows_at_its_ends(results):
    experiments = (*results.experiments, *(known(f"wrong{k}", clicks_wrong=k / 100) for k in (10, 20)))
    swept = results_in(results.runs, experiments=experiments)
    for mode in ("point", "full"):
        curves = {curve.name: curve for curve in sweep_curves(swept, sweep_lines(swept)["clicks_wrong"], mode)}
        assert curves["self-training"].color == curves["first iteration"].color == row_color(results, "otoc", mode)
        assert curves["control"].color == row_color(results, "control", mode)
        assert curves["first iteration"].dashed and not curves["self-training"].dashed
