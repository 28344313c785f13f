"""How far apart the points of a room lie: the size to draw them in."""

import numpy as np
from scipy.spatial import cKDTree


def point_spacing(coords: np.ndarray) -> float:
    """Median distance in metres from a point [N, 3] to its nearest neighbour, over about 2000 evenly chosen points."""
    sample = coords[:: max(1, len(coords) // 2000)]
    return float(np.median(cKDTree(coords).query(sample, k=2)[0][:, 1]))
