import shutil

import numpy as np
import pytest
from fake_rooms import results_in, sign, write_params

from otoc_lib.experiments import read_profile
from otoc_lib.reporting.charts import line
from otoc_lib.reporting.curves import Curve, experiments_of, label_curves, loss_curves, miou_curves, smooth


def test_losses_are_averaged_over_the_seeds(results):
    curves = {curve.name: curve for curve in loss_curves(results, ("otoc", "unet", "unet_gp"), "unet")}
    assert curves.keys() == {"otoc", "unet"} and curves["otoc"].breaks == (195, 390)
    assert curves["unet"].seeds == 1 and curves["unet"].deviation is None
    history = results.history("unet", "unet_1")
    assert np.array_equal(curves["unet"].mean[:40], smooth(history["loss"]))
    both = np.stack([smooth(results.history("otoc", "unet_2", seed)["loss"]) for seed in (0, 1)])
    assert curves["otoc"].mean[40:80] == pytest.approx(both.mean(axis=0))
    assert curves["otoc"].deviation[40:80] == pytest.approx(both.std(axis=0, ddof=1))
    assert curves["otoc"].title == "otoc (2 seeds)" and curves["unet"].title == "unet"


def test_only_steps_that_all_seeds_noted_are_averaged(runs, tmp_path):
    for run in ("otoc", "otoc_seed1"):
        shutil.copytree(runs / "rooms" / run / "unet_1", tmp_path / "rooms" / run / "unet_1")
    path = tmp_path / "rooms" / "otoc_seed1" / "unet_1" / "history.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:31]))
    sign(path.parent)
    (curve,) = loss_curves(results_in(tmp_path), ("otoc",), "unet")
    assert curve.x.tolist() == list(range(0, 150, 5)) and curve.seeds == 2


def test_an_iteration_of_one_seed_has_no_band(runs, tmp_path):
    shutil.copytree(runs / "rooms" / "otoc", tmp_path / "rooms" / "otoc")
    shutil.copytree(runs / "rooms" / "otoc_seed1" / "evaluate_1", tmp_path / "rooms" / "otoc_seed1" / "evaluate_1")
    curve = next(curve for curve in miou_curves(results_in(tmp_path)) if curve.name == "3D U-Net+Rel+GP")
    assert np.isfinite(curve.deviation).tolist() == [True, False, False] and curve.seeds == 2
    assert curve.title == "3D U-Net+Rel+GP (1 to 2 seeds)"
    drawn = line(curve)
    assert drawn["low"][1:] == drawn["y"][1:] == drawn["high"][1:] and drawn["low"][0] < drawn["y"][0]


def test_an_experiment_of_ones_own_has_curves_in_a_colour_of_its_own(runs, tmp_path):
    write_params(tmp_path / "params", "mine")
    write_params(tmp_path / "params", "other", like="control")
    (tmp_path / "rooms").mkdir()
    for run, made_of in (("otoc", "otoc"), ("mine", "otoc"), ("mine_seed1", "otoc_seed1"), ("other", "control")):
        (tmp_path / "rooms" / run).symlink_to(runs / "rooms" / made_of)
    results = results_in(tmp_path, experiments=tuple(read_profile(tmp_path / "params", "rooms")))
    assert experiments_of(results)[-2:] == ("mine", "other")
    found = {
        "loss": loss_curves(results, experiments_of(results), "unet"),
        "miou": miou_curves(results),
        "labels": label_curves(results, "covered_percent"),
    }
    by_name = {chart: {curve.name: curve for curve in curves} for chart, curves in found.items()}
    assert {"mine", "other"} <= by_name["loss"].keys() & by_name["miou"].keys() and "mine" in by_name["labels"]
    assert len({by_name[chart]["mine"].color for chart in found}) == 1 and by_name["miou"]["mine"].seeds == 2
    assert by_name["miou"]["mine"].color != by_name["miou"]["other"].color
    full = results.measure_stage("mine", "evaluate_2", "full")
    assert by_name["miou"]["mine"].mean[1] == pytest.approx(full.mean)


def test_lines_are_thinned_and_keep_both_ends():
    x = np.arange(5000.0)
    found = line(Curve("loss", "#000", x, np.where(x == 7, np.nan, x**0.5), np.ones(5000), 3))
    assert 250 < len(found["x"]) <= 300 and found["x"][0] == 0 and found["x"][-1] == 4999
    assert {len(found[name]) for name in ("x", "y", "low", "high", "deviation")} == {len(found["x"])}
