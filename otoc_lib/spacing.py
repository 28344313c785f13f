"""How far apart the points of a room lie: the size to draw them in."""

import numpy as np
from scipy.spatial import cKDTree

MOST_POINTS = 2_000_000  # among which neighbours are looked for; of more, a slice through the middle is


def point_spacing(coords: np.ndarray) -> float:
    """Median distance from a point [N, 3] to its nearest neighbour, over about 2000 evenly chosen points; 0 of one."""
    if len(coords) < 2:
        return 0.0
    if len(coords) > MOST_POINTS:
        coords = _middle_slice(coords)
    sample = coords[:: max(1, len(coords) // 2000)]
    return float(np.median(cKDTree(coords).query(sample, k=2)[0][:, 1]))


def _middle_slice(coords: np.ndarray) -> np.ndarray:
    """The points of a slice across the longest axis, about MOST_POINTS of them: neighbours stay together."""
    axis = coords[:, int(np.ptp(coords, axis=0).argmax())]
    half = MOST_POINTS / len(coords) / 2
    low, high = np.quantile(axis[:: max(1, len(axis) // 100_000)], (0.5 - half, 0.5 + half))
    inside = np.flatnonzero((axis >= low) & (axis <= high))
    return coords[inside]
