"""How far a difference of mIoU depends on which rooms were measured, and with which seeds: a paired bootstrap.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (the percentile interval). Rooms are
drawn with replacement, and seeds where there are several, the same ones for both sides: what makes a room hard for both
cancels. With two or three seeds the interval says little of how seeds scatter; it is then rather too narrow.
"""

import numpy as np

from otoc_lib.experiments import Row
from otoc_lib.reporting.runs import Results

DRAWS = 2000
LEVEL = 95.0  # percent


def paired_interval(
    first: np.ndarray, second: np.ndarray, *, relative: bool = False, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference in mIoU of two predictions of the same rooms.

    Args:
        first, second: confusion matrices by seed and room, int64 [S, R, C, C] each; equal seeds and rooms in equal
            order. The mIoU of a seed is that of the sum over its rooms, as in the tables.
        relative: of the improvement over the second in percent, instead of the difference in points of mIoU.
        draws: number of resamples.
        seed: of the draws.

    Returns:
        Its lower and upper end, first minus second; not finite where the second has no mIoU to improve on.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape}: both sides need the same seeds, rooms and classes")
    seeds, rooms = first.shape[:2]
    generator = np.random.default_rng(seed)
    of_rooms = generator.multinomial(rooms, np.full(rooms, 1 / rooms), size=draws)  # [D, R], how often each is drawn
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds  # [D, S]
    a, b = ((of_seeds * _mean_ious(side, of_rooms)).sum(axis=1) for side in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample in which the second is never right
        values = 100 * (a / b - 1) if relative else 100 * (a - b)
    low, high = np.percentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def interval_of(
    results: Results, first: Row, second: Row, split: str | None = None, *, relative: bool = False
) -> tuple[float, float] | None:
    """``paired_interval`` of two rows over the seeds that both were run with.

    None where one was not run, where they were measured on other rooms, on a single one, or where a run kept no
    confusion matrices of its rooms.
    """
    measured = results.measure(first, split), results.measure(second, split)
    if None in measured:
        return None
    shared = sorted(set(measured[0].by_seed) & set(measured[1].by_seed))
    sides = results.confusions(first, split), results.confusions(second, split)
    if not shared or any(seed not in side for side in sides for seed in shared):
        return None
    rooms = list(sides[0][shared[0]])
    if len(rooms) < 2 or any(set(side[seed]) != set(rooms) for side in sides for seed in shared):
        return None
    stacked = (np.array([[side[seed][room] for room in rooms] for seed in shared]) for side in sides)
    interval = paired_interval(*stacked, relative=relative)
    return interval if np.isfinite(interval).all() else None


def interval_text(interval: tuple[float, float] | None, seeds: int = 1) -> str:
    """The interval of a difference over so many seeds, in words."""
    if interval is None:
        return "no interval known"
    low, high = interval
    return f"95 % interval {low:+.2f} to {high:+.2f} over rooms{' and seeds' if seeds > 1 else ''}"


def _mean_ious(confusions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mIoU of every resample, float64 [D, S], 0..1, by the rule of ``evaluation.iou``.

    confusions: [S, R, C, C]. weights: how often each room counts, [D, R].
    """
    counts = np.stack(
        [np.diagonal(confusions, axis1=2, axis2=3), confusions.sum(axis=3), confusions.sum(axis=2)]
    ).astype(np.float64)  # [3, S, R, C]: hits, true and predicted points
    hits, true, predicted = weights.astype(np.float64) @ counts  # [S, D, C] each
    union = true + predicted - hits
    counted = union > 0
    return ((hits / np.where(counted, union, 1)).sum(axis=2) / counted.sum(axis=2)).T  # no hits where there is no union
