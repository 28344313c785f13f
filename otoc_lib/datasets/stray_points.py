"""Points that lie far from all others of a scan, as reflections and damaged records leave them."""

import numpy as np

SHARE = 100  # at most one in so many points is stray at one end of an axis
SAMPLE = 10_000


@np.errstate(over="ignore")  # infinitely far is far
def find_strays(axes: np.ndarray) -> np.ndarray:
    """Indices, int64 [S], of the few points behind a gap that is wider than all else is large.

    Along each axis the core of a scan lies between its 1 % and 99 % quantile (where there are few points: without the
    outermost three, or tenth). Outward from it, what lies behind the first gap larger than the core's longest side is
    stray. Points seen through a window or a door stay: they are more, or nearer.

    Args:
        axes: float64 [3, N] coordinates, finite.
    """
    few = _few(axes.shape[1])
    if few == 0 or not _may_have_strays(axes):
        return np.empty(0, dtype=np.int64)
    low, high = np.partition(axes, (few, axes.shape[1] - 1 - few), axis=1)[:, [few, -1 - few]].T
    side = (high - low).max()
    stray = np.zeros(axes.shape[1], dtype=bool)
    if side > 0:
        for axis, start, end in zip(axes, low, high, strict=True):
            stray |= axis > _limit(axis[axis > end], end, side)
            stray |= -axis > _limit(-axis[axis < start], -start, side)
    return np.flatnonzero(stray)


def _few(count: int) -> int:
    return min(max(count // SHARE, 3), count // 10)


def _may_have_strays(axes: np.ndarray) -> bool:
    """Whether the box is more than twice as long as the core of a sample: most scans need no closer look."""
    sample = axes[:, :: max(1, axes.shape[1] // SAMPLE)]
    few = min(
        2 * _few(sample.shape[1]), sample.shape[1] // 3
    )  # more than of all: no stray may hide in the sample's core
    inner = np.partition(sample, (few, sample.shape[1] - 1 - few), axis=1)
    side = (inner[:, -1 - few] - inner[:, few]).max()
    return bool((axes.max(axis=1) - axes.min(axis=1) > 2 * side).any())


def _limit(beyond: np.ndarray, end: float, gap: float) -> float:
    """How far the scan goes on beyond the end of its core: to the last value before the first gap."""
    ordered = np.concatenate([[end], np.sort(beyond)])
    wide = np.flatnonzero(np.diff(ordered) > gap)
    return float(ordered[wide[0]]) if wide.size else np.inf
