"""How well super-voxels follow the labels: number, size, purity and boundary recall."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from otoc_lib.errors import OtocError


@dataclass(frozen=True)
class Quality:
    """Measures of one partition of N points; nan where there is nothing to measure."""

    count: int  # super-voxels
    purity: float  # share of the labelled points that have the most frequent label of their super-voxel
    mixed: float  # share of the super-voxels with labelled points that hold more than one label
    boundary_recall: float  # share of the label boundary points near a super-voxel boundary point
    size_p5: float  # points in a super-voxel, percentiles
    size_p50: float
    size_p95: float


def partition_quality(
    points: np.ndarray, supervoxels: np.ndarray, labels: np.ndarray, tolerance: float = 0.05, neighbours: int = 8
) -> Quality:
    """Compare super-voxels with labels.

    A boundary point has another id than its own among its nearest neighbours. Label boundaries lie between two
    labels; points without one take no part in them, nor in the purity, but super-voxels may border there.

    Args:
        points: float [N, 3] metres.
        supervoxels: int [N], any ids >= 0.
        labels: int [N], classes or objects; negative without one.
        tolerance: metres from a label boundary point within which a super-voxel boundary point recalls it.
        neighbours: nearest neighbours that are compared, the point itself not counted.
    """
    points, supervoxels, labels = np.asarray(points), np.asarray(supervoxels), np.asarray(labels)
    if not len(points) == len(supervoxels) == len(labels) > 0:
        raise OtocError(
            f"{len(points)} points, {len(supervoxels)} supervoxels, {len(labels)} labels: one of each a point is needed"
        )
    sizes = np.unique(supervoxels, return_counts=True)[1]
    low, middle, high = np.percentile(sizes, [5, 50, 95])
    purity, mixed = _purity(supervoxels[labels >= 0], labels[labels >= 0])
    recall = _boundary_recall(points, supervoxels, labels, tolerance, neighbours)
    return Quality(len(sizes), purity, mixed, recall, float(low), float(middle), float(high))


def _purity(supervoxels: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Purity and share of mixed super-voxels, of labelled points."""
    if len(labels) == 0:
        return np.nan, np.nan
    pairs, counts = np.unique(np.stack([supervoxels, labels]), axis=1, return_counts=True)  # sorted by super-voxel
    starts = np.flatnonzero(np.diff(pairs[0], prepend=-1))
    kinds = np.diff(starts, append=len(counts))
    return float(np.maximum.reduceat(counts, starts).sum() / len(labels)), float((kinds > 1).mean())


def _boundary_recall(
    points: np.ndarray, supervoxels: np.ndarray, labels: np.ndarray, tolerance: float, neighbours: int
) -> float:
    centred = points - points.mean(axis=0)
    nearest = cKDTree(centred).query(centred, min(neighbours + 1, len(points)))[1].reshape(len(points), -1)  # [N, K]
    across = supervoxels[nearest] != supervoxels[:, None]
    between = (labels[nearest] != labels[:, None]) & (labels[nearest] >= 0) & (labels[:, None] >= 0)
    edge, wanted = across.any(axis=1), between.any(axis=1)
    if not wanted.any():
        return np.nan
    if not edge.any():
        return 0.0
    distance = cKDTree(centred[edge]).query(centred[wanted])[0]
    return float((distance <= tolerance + 1e-9).mean())  # a nanometre for the rounding of the coordinates
