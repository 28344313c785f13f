"""Whether a prediction that claims to be 80 % sure is right in 80 % of the points: the reliability diagram.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2 (bins of equal width).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from otoc_lib.labels import IGNORE
from otoc_lib.reporting.runs import last_mode, read_arrays
from otoc_lib.scene import Scene
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


def calibrate(rooms: Iterable[tuple[np.ndarray, np.ndarray]], bins: int = BINS) -> Calibration:
    """Sort points of some rooms into ``bins`` equal intervals of confidence; the last one holds 1.

    rooms: pairs of confidence, float [N] in 0..1, and whether the prediction is right, bool [N].
    """
    count, sure, right = np.zeros(bins, dtype=np.int64), np.zeros(bins), np.zeros(bins)
    for confidence, correct in rooms:
        values = confidence.astype(np.float64)
        place = np.minimum((values * bins).astype(np.int64), bins - 1)
        count += np.bincount(place, minlength=bins)
        sure += np.bincount(place, weights=values, minlength=bins)
        right += np.bincount(place, weights=correct, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        return Calibration(count, sure / count, right / count)


def read_calibration(evaluation: Stage, mode: str, scenes: list[Scene]) -> Calibration | None:
    """Calibration of a finished evaluation stage over the labelled points of some rooms.

    None if it was not run on them, if they have no labels, or if ``mode`` is not the one whose confidence was saved.
    """
    if mode != last_mode(evaluation):
        return None
    pairs = []
    for scene in scenes:
        name = f"{scene.name}.safetensors"
        if name in evaluation.files and scene.labels is not None:
            arrays, known = read_arrays(evaluation, name), scene.labels != IGNORE
            pairs.append((arrays["confidence"][known], (arrays[mode] == scene.labels)[known]))
    return calibrate(pairs) if pairs else None
