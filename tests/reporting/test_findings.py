import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_rooms import known, make_experiment, results_in, sign

from otoc_lib.methods.stages import CONFUSIONS
from otoc_lib.reporting.findings import compare, findings


def miou(runs, experiment, stage, mode, split="val"):
    metrics = json.loads((runs / "rooms" / experiment / stage / "metrics.json").read_text())
    return 100 * metrics["splits"][split]["modes"][mode]["miou"]


def rows(results, *names):
    return [results.row(name) for name in names]


def test_comparison_counts_rooms_and_seeds(runs, results):
    comparison = compare(results, *rows(results, "otoc_full", "otoc_baseline"))
    expected = [
        miou(runs, name, "evaluate_3", "full") - miou(runs, name, "evaluate_baseline", "point")
        for name in ("otoc", "otoc_seed1")
    ]
    assert comparison.total == pytest.approx(np.mean(expected))
    assert comparison.deviation == pytest.approx(np.std(expected, ddof=1))
    assert comparison.seeds == 2 and comparison.rooms == 4 and comparison.better == 4
    assert 0 < comparison.low < comparison.total < comparison.high


def test_a_difference_is_clear_where_enough_rooms_leave_no_doubt(results):
    comparison = compare(results, *rows(results, "otoc_full", "otoc_baseline"))
    assert not comparison.clear  # four rooms are too few
    assert replace(comparison, rooms=8).clear and replace(comparison, rooms=8, low=-9.0, high=-1.0).clear
    assert not replace(comparison, rooms=8, low=-0.1).clear
    assert not replace(comparison, rooms=8, low=None, high=None).clear
    same = compare(results, *rows(results, "otoc_full", "otoc_full"))
    assert same.total == 0 and same.interval == (0, 0) and not replace(same, rooms=8).clear


def test_findings_do_not_claim_what_was_not_run(runs, results, tmp_path):
    text = "\n".join(findings(results))
    assert "for 600 steps, the supervised one for 200" in text
    assert "Self-training" in text and "one seed" in text and "mean of 2 seeds, standard deviation" in text
    # Like with like: points against points, super-voxels against super-voxels.
    weak = {
        mode: np.mean([miou(runs, name, "evaluate_3", mode) for name in ("otoc", "otoc_seed1")])
        for mode in ("point", "full")
    }
    alone = 100 * weak["point"] / miou(runs, "supervised", "evaluate_baseline", "point")
    whole = 100 * weak["full"] / miou(runs, "supervised", "evaluate_baseline", "full")
    assert f"the U-Net alone reaches {alone:.0f} %" in text and f"the whole method {whole:.0f} %" in text
    assert findings(results_in(tmp_path))[-1].startswith("Not run: Fully supervised")


def test_every_difference_carries_its_interval(results):
    sentences = findings(results)
    claims = [sentence for sentence in sentences if "points of mIoU" in sentence or "points below" in sentence]
    assert len(claims) == 8 and all("95 % interval " in sentence for sentence in claims)
    by_control = next(sentence for sentence in claims if sentence.startswith("Self-training"))
    found = compare(results, *rows(results, "otoc_dagger", "otoc_control"))
    assert f"{found.total:+.2f} points of mIoU (one seed), 95 % interval {found.low:+.2f} to" in by_control
    assert "over rooms;" in by_control and "So few rooms" in by_control
    assert sum("over rooms and seeds" in sentence for sentence in claims) == 5  # both sides have two


@pytest.fixture
def of_before(runs, tmp_path):
    """The same runs, by a version that kept no confusion matrices of the rooms."""
    shutil.copytree(runs, tmp_path / "runs")
    for path in (tmp_path / "runs").glob(f"*/*/*/{CONFUSIONS}"):
        path.unlink()
        sign(path.parent)
    return results_in(tmp_path / "runs")


def test_runs_of_before_have_no_interval(results, of_before):
    pair = ("otoc_full", "otoc_baseline")
    new, old = (compare(found, *rows(found, *pair)) for found in (results, of_before))
    assert old == replace(new, low=None, high=None) and not replace(old, rooms=8).clear
    text = "\n".join(findings(of_before))
    assert "no interval known" in text and "95 %" not in text and "a gain" not in text


def test_what_is_said_of_many_rooms(results, of_before, monkeypatch):
    monkeypatch.setattr("otoc_lib.reporting.findings.ENOUGH_ROOMS", 4)
    text = "\n".join(findings(results))
    assert "than the choice of rooms explains: a gain." in text  # of several seeds
    assert "explains, of one training run each: chance in training is not ruled out." in text
    assert "So few rooms" not in text
    assert "which an earlier version did not keep" in "\n".join(findings(of_before))
    # The same network against itself.
    monkeypatch.setattr("otoc_lib.reporting.findings.interval_of", lambda *_: (-1.0, 2.0))
    assert "The interval holds 0: no difference is shown." in "\n".join(findings(results))


def test_every_comparison_of_the_paper_is_put_into_words(scenes, tmp_path):
    """Graph or none, relation network or none, 20 points or one click, and rivals beside their own controls."""
    modes = ("point", "sv", "full")
    runs = {
        "otoc": (known("otoc"), 0.5),
        "unet_gp": (known("unet_gp", variant="unet_gp"), 0.46),
        "points20": (known("points20", source="points", points_share=0.1), 0.4),
        "points20_control": (known("points20_control", source="points", points_share=0.1, method="control"), 0.35),
        "teacher": (known("teacher", method="mean_teacher", self_train_iterations=1), 0.3),
        "alone": (known("alone", method="control", variant="unet", self_train_iterations=1), 0.2),
    }
    for experiment, share in runs.values():
        make_experiment(tmp_path / "runs", experiment, scenes, share, modes)
    found = results_in(tmp_path / "runs", experiments=tuple(experiment for experiment, _ in runs.values()))
    sentences = findings(found, "table2")
    for question, with_it, without in (
        ("The graph alone against averaging", ("unet_gp", "full"), ("unet_gp", "sv")),
        ("The relation network: ", ("otoc", "full"), ("unet_gp", "full")),
        ("20 points a room, self-training against as long on", ("points20", "point"), ("points20_control", "point")),
        ("20 points a room against one click an object, both", ("points20", "point"), ("otoc", "point")),
        ("Mean Teacher (teacher) with one click/object against its control", ("teacher", "point"), ("alone", "point")),
    ):
        (sentence, *_) = [said for said in sentences if said.startswith(question)]
        stages = {name: "evaluate_1" if name in ("teacher", "alone") else "evaluate_3" for name in runs}
        (a, of_a), (b, of_b) = with_it, without
        expected = miou(tmp_path / "runs", a, stages[a], of_a) - miou(tmp_path / "runs", b, stages[b], of_b)
        assert f"{expected:+.2f} points of mIoU (one seed), 95 % interval" in sentence
    assert not any("Three clicks" in said for said in sentences)
