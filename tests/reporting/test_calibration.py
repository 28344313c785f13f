import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.calibration import (
    TEMPERATURES,
    at_temperature,
    calibration_counts,
    calibration_of,
    read_calibration,
    temperature_of,
)

HALVES = slice(2), slice(2, None)


def test_by_hand():
    # Five bins. Two points at 0.9 of which one is right, one at 1.0 that is right, one at 0.3 that is wrong.
    confidence = np.array([0.9, 0.9, 1.0, 0.3])
    correct = np.array([True, False, True, False])
    found = calibration_of(sum(calibration_counts(confidence[part], correct[part], 5) for part in HALVES))
    assert found.count.tolist() == [0, 1, 0, 0, 3]
    assert found.confidence[1] == pytest.approx(0.3) and found.confidence[4] == pytest.approx(2.8 / 3)
    assert found.accuracy[1] == 0 and found.accuracy[4] == pytest.approx(2 / 3)
    assert np.isnan(found.accuracy[[0, 2, 3]]).all()
    # 3/4 of the points are 2.8/3 - 2/3 too sure, a quarter is 0.3 too sure.
    assert found.error == pytest.approx(0.75 * (0.8 / 3) + 0.25 * 0.3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 20))
def test_the_error_is_that_of_a_plain_loop(seed, count, bins):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(count).astype(np.float16), rng.random(count) < 0.6
    groups = [[] for _ in range(bins)]
    for value, right in zip(confidence.tolist(), correct.tolist(), strict=True):
        groups[min(int(value * bins), bins - 1)].append((value, right))
    expected = sum(abs(sum(v for v, _ in group) - sum(r for _, r in group)) for group in groups) / count
    parts = slice(count // 2), slice(count // 2, None)
    error = calibration_of(sum(calibration_counts(confidence[part], correct[part], bins) for part in parts)).error
    assert error == pytest.approx(expected, abs=1e-12) and 0 <= error <= 1


def test_a_large_sample_that_is_as_often_right_as_it_says_has_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(400_000)
    assert calibration_of(calibration_counts(confidence, rng.random(400_000) < confidence)).error < 0.005


def test_every_mode_of_an_evaluation_is_judged_and_nothing_that_was_not_evaluated(results, scenes):
    whole, control = (results.find(experiment, "evaluate_3") for experiment in ("otoc", "control"))
    count = sum(int((scene.labels >= 0).sum()) for scene in scenes["val"])
    for evaluation, mode in ((whole, "full"), (whole, "point"), (control, "sv")):
        assert read_calibration(evaluation, mode, "val").count.sum() == count
    assert read_calibration(control, "relation", "val") is None and read_calibration(whole, "full", "train") is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_the_one_that_the_points_were_drawn_with(temperature):
    rng = np.random.default_rng(1)
    confidence = rng.beta(4, 1, 400_000).clip(0.01, 0.999)
    truth = at_temperature(confidence, temperature)
    correct = rng.random(len(truth)) < truth
    found = temperature_of(calibration_of(calibration_counts(confidence, correct, bins=60)))
    assert found == pytest.approx(temperature, rel=0.05)
    before = calibration_of(calibration_counts(confidence, correct)).error
    after = calibration_of(calibration_counts(at_temperature(confidence, found), correct)).error
    assert after < 0.01 and (temperature == 1 or after < before / 3)


def test_a_temperature_keeps_the_order_of_confidences_and_a_half():
    confidence = np.array([0, 0.2, 0.5, 0.7, 1], np.float16)
    for temperature in (0.05, 3.0):
        found = at_temperature(confidence, temperature)
        assert (np.diff(found) >= 0).all() and found[2] == 0.5 and found.dtype == np.float32
        assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(at_temperature(confidence[1:4], 1.0), confidence[1:4], rtol=1e-6)


def test_networks_that_are_always_right_or_wrong_get_the_ends_of_the_range():
    sure = np.full(100, 0.9)
    for correct, end in ((np.ones(100, bool), TEMPERATURES[0]), (np.zeros(100, bool), TEMPERATURES[1])):
        found = temperature_of(calibration_of(calibration_counts(sure, correct)))
        assert found == pytest.approx(end, rel=0.01)
