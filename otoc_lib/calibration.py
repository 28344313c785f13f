"""Whether a prediction that claims to be 80 % sure is right in 80 % of the points: the reliability diagram.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2 (bins of equal width).
"""

import json
from dataclasses import dataclass

import numpy as np

from otoc_lib.store import Stage

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Points by confidence: how many lie in each of B bins, how sure they are and how many are right.

    count: int64 [B]. confidence, accuracy: float64 [B], means over the points of a bin, 0..1, NaN where it is empty.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1: the mean of |accuracy - confidence| over the points, bin by bin."""
        gap = np.abs(np.nan_to_num(self.accuracy) - np.nan_to_num(self.confidence))
        return float((self.count * gap).sum() / self.count.sum())


def calibration_counts(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Sort points into ``bins`` equal intervals of confidence; the last one holds 1. Counts of rooms may be added.

    Args:
        confidence: float [N] in 0..1.
        correct: bool [N], whether the prediction is right.

    Returns:
        float64 [3, B]: points, sum of their confidences, and how many are right.
    """
    values = confidence.astype(np.float64)
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    return np.stack(
        [np.bincount(place, weights, minlength=bins) for weights in (np.ones(len(values)), values, correct)]
    )


def calibration_of(counts: np.ndarray) -> Calibration:
    """What counts [3, B] come to."""
    count, sure, right = counts
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        return Calibration(count.astype(np.int64), sure / count, right / count)


SURE = 1e-6  # how near to 0 and 1 a confidence is taken seriously
TEMPERATURES = (0.05, 20.0)  # beyond, a network was right, or wrong, whatever it said


def temperature_of(calibration: Calibration) -> float:
    """The temperature T that makes confidences most likely: the one that minimises, over the points of all bins,

        - sum_b right_b log s(z_b / T) + wrong_b log (1 - s(z_b / T)),    s the logistic function, z_b = logit of the
                                                                           mean confidence of bin b

    Guo et al. (section 4.2) divide the logits of all classes; here the likeliest class stands against all others, which
    is the same for two classes and needs no more than the counts that evaluations keep.
    """
    from scipy.optimize import minimize_scalar  # takes long to import, and most commands do without

    filled = calibration.count > 0
    count, right = calibration.count[filled], (calibration.count * np.nan_to_num(calibration.accuracy))[filled]
    logits = _logit(calibration.confidence[filled])

    def unlikeliness(log_temperature: float) -> float:
        z = logits / np.exp(log_temperature)
        return float((right * np.logaddexp(0, -z) + (count - right) * np.logaddexp(0, z)).sum())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(unlikeliness, bounds=(low, high), method="bounded").x))


def at_temperature(confidence: np.ndarray, temperature: float) -> np.ndarray:
    """Confidences float32 [N] in 0..1 as ``temperature_of`` makes them; the order of points by confidence is kept."""
    return (1 / (1 + np.exp(-_logit(confidence) / temperature))).astype(np.float32)


def _logit(confidence: np.ndarray) -> np.ndarray:
    sure = np.clip(np.asarray(confidence, np.float64), SURE, 1 - SURE)
    return np.log(sure) - np.log1p(-sure)


def read_calibration(evaluation: Stage, mode: str, split: str) -> Calibration | None:
    """Calibration of a mode of a finished evaluation stage over the labelled points of a split; None if unknown."""
    splits = json.loads(evaluation.read("metrics.json"))["splits"]
    counts = splits.get(split, {}).get("modes", {}).get(mode, {}).get("calibration")
    return None if counts is None or not any(counts[0]) else calibration_of(np.array(counts))
