"""Super-voxels of points without a mesh: a geometric partition by l0 cut pursuit, as for superpoint graphs.

On a voxel grid, every voxel gets features of the surface around it and its mean colour; cut pursuit (Landrieu and
Obozinski, 2017) then looks for the piecewise constant approximation g of the features f that minimises

    sum_i |f_i - g_i|^2  +  strength * sum_(i,j) w_ij [g_i != g_j],    w_ij = 1 / (1 + d_ij / mean d)

over the graph of nearest neighbours. Its pieces are the super-voxels, once those too small have joined a neighbour.
"""

from dataclasses import dataclass

import cut_pursuit_py
import numpy as np
import pgeof
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from otoc_lib.config import Config
from otoc_lib.errors import OtocError
from otoc_lib.tiling import Tiling, tiling

SURFACE = 20  # neighbours that describe the surface around a voxel
NEIGHBOURS = 10  # neighbours a voxel has in the graph
WEIGHTS = np.repeat(np.array([0.5, 1, 2], np.float32), 3)  # of shape, normal and colour; by benchmarks/supervoxels.py
SHARED = 2.0  # metres that neighbouring tiles need share, at most, to tell which super-voxels go on in the other
REACH = 3.0  # no edge to a voxel from farther than this times the distance of its own farthest neighbour


@dataclass(frozen=True)
class Partition:
    """How points without a mesh are cut into super-voxels.

    voxel: metres, edge of the grid cells in which points are averaged first; at least as fine as the labels need.
    strength: regularisation; larger gives fewer, larger and less pure super-voxels.
    minimum: voxels; smaller super-voxels join the neighbour they resemble most.
    tile, overlap: metres, and a share of that; what is wider than a tile is cut tile by tile, nothing if None.
    """

    voxel: float = 0.03
    strength: float = 0.05
    minimum: int = 20
    tile: float | None = None
    overlap: float = 0.25

    @classmethod
    def of(cls, config: Config) -> "Partition":
        """The partition that an experiment asks for."""
        grid = config.partition_voxel, config.partition_strength, config.partition_minimum
        side, overlap = config.tile_metres, config.tile_overlap
        return cls(*grid, side, overlap if side is None else min(overlap, SHARED / side))

    def __post_init__(self) -> None:
        for name in ("voxel", "strength"):
            if not 0 < getattr(self, name) < np.inf:
                raise OtocError(f"partition_{name} is {getattr(self, name)}; it must be a positive number")
        if self.minimum < 1:
            raise OtocError(f"partition_minimum is {self.minimum}; it must be at least 1")


def segment_points(points: np.ndarray, colors: np.ndarray, partition: Partition) -> np.ndarray:
    """Super-voxel of every point, int32 [N], ids 0..M-1 in the order of their first points.

    The same input gives the same output. Points in one grid cell stay together, and a super-voxel is connected in the
    graph of nearest neighbours; a piece that nothing is near to stays on its own however small it is.

    Args:
        points: float [N, 3] metres, any origin.
        colors: uint8 [N, 3].
        partition: voxel size, strength and minimum.

    Raises:
        OtocError: NaN or infinity among the points, shapes that do not match, or an extent that no grid can cover.
    """
    points, colors = np.asarray(points), np.asarray(colors)
    if points.ndim != 2 or points.shape[1] != 3 or colors.shape != points.shape:
        raise OtocError(f"points {points.shape} and colors {colors.shape}: both must have the shape (N, 3)")
    if colors.dtype != np.uint8:
        raise OtocError(f"colors: {colors.dtype}; they must be uint8, 0..255")
    if not np.isfinite(points).all():
        first = int(np.argmin(np.isfinite(points).all(axis=1)))
        raise OtocError(f"points: point {first} is {points[first].tolist()}; remove points that are not finite")
    if len(points) == 0:
        return np.zeros(0, np.int32)
    tiles = tiling(points, partition.tile, partition.overlap)
    return _in_order(
        _segment(points, colors, partition) if len(tiles) == 1 else _in_tiles(points, colors, partition, tiles)
    )


def _in_tiles(points: np.ndarray, colors: np.ndarray, partition: Partition, tiles: Tiling) -> np.ndarray:
    """Segments int [N] of a scan larger than a tile, joined without seams.

    A point has the segment of the tile that it belongs to. Two segments of two tiles are one if, of the points that
    both tiles hold, more than half of those of either lie in the other.
    """
    own, before = np.empty(len(points), np.int32), np.full(len(points), -1, np.int32)
    counts, joined = [0], [np.zeros((2, 0), np.int64)]  # segments of all tiles up to each
    for tile in tiles:
        segments = _segment(points[tile.points], colors[tile.points], partition).astype(np.int32) + counts[-1]
        met = before[tile.points]
        whose = np.searchsorted(counts, met, side="right")  # the tile that met them first; 0: none did
        joined += [_mutual(met[whose == other], segments[whose == other]) for other in np.unique(whose[whose > 0])]
        before[tile.points[met < 0]] = segments[met < 0]
        own[tile.points[tile.core]] = segments[tile.core]
        counts.append(int(segments.max()) + 1)
    ends, count = np.concatenate(joined, axis=1), counts[-1]
    graph = coo_array((np.ones(ends.shape[1], bool), tuple(ends)), shape=(count, count))
    return connected_components(graph, directed=False)[1][own]


def _mutual(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The pairs int64 [2, K] of segments of the same points, int [P] each, that hold more than half of each other."""
    (a, b), shared = np.unique(np.stack([first, second]).astype(np.int64), axis=1, return_counts=True)
    sizes = np.bincount(first), np.bincount(second)
    most = (2 * shared > sizes[0][a]) & (2 * shared > sizes[1][b]) if len(a) else np.zeros(0, bool)
    return np.stack([a[most], b[most]])


def _segment(points: np.ndarray, colors: np.ndarray, partition: Partition) -> np.ndarray:
    """``segment_points`` of one tile, with ids int [N] in any order."""
    voxel_of, centres, shades = voxel_means(points, colors, partition.voxel)
    neighbours, distances = nearest(centres, SURFACE + 1)
    features = np.hstack([surface_features(centres, neighbours), shades]) * WEIGHTS  # [V, 9]
    edges, lengths = neighbour_graph(neighbours, distances)
    segments = cut_pursuit(features, edges, lengths, partition.strength)
    return merge_small(segments, features, edges, partition.minimum)[voxel_of]


def voxel_means(points: np.ndarray, colors: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average points and colours in cubic cells.

    Returns:
        cell of each point int64 [N], mean position float32 [V, 3] relative to the middle of all points, and mean
        colour float32 [V, 3] in 0..1.
    """
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    shape = np.floor((high - low) / voxel) + 1
    if not shape.prod() < 2.0**62:
        raise OtocError(
            f"points: they span {' x '.join(f'{side:g}' for side in high - low)} m, too much for cells of {voxel:g} m; "
            "are they in metres, is there an outlier?"
        )
    cells = np.ravel_multi_index(((points - low) / voxel).astype(np.int64).T, shape.astype(np.int64))
    _, voxel_of, counts = np.unique(cells, return_inverse=True, return_counts=True)
    centred = points - (low + high) / 2  # float32 holds millimetres only near the origin

    def mean(columns: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(voxel_of, column) / counts for column in columns.T], axis=1).astype(np.float32)

    return voxel_of, mean(centred), mean(colors) / np.float32(255)


def nearest(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` nearest points (fewer if there are not so many), uint32 [V, K], and distances float32 [V, K].

    The first neighbour of a point is the point itself.
    """
    neighbours, squared = pgeof.knn_search(points, points, min(count, len(points)))
    return neighbours, np.sqrt(squared)


def surface_features(points: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Linearity, planarity, scattering and the absolute normal, float32 [V, 6].

    ``points`` float32 [V, 3], ``neighbours`` uint32 [V, K]. The normal has no sign: on a wall it is arbitrary.
    """
    bounds = np.arange(0, neighbours.size + 1, neighbours.shape[1], dtype=np.uint32)
    features = pgeof.compute_features(points, neighbours.ravel(), bounds)
    return np.hstack([features[:, :3], np.abs(features[:, 4:7])])


def neighbour_graph(neighbours: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges uint32 [E, 2] from each point to its nearest others, and their lengths float32 [E].

    Edges over a gap are left out: those much longer than what the point at their end has around it. That leaves the
    sparse parts of a scan in one piece and stray points, whose nearest others are far, alone.
    """
    ends, lengths = neighbours[:, 1 : NEIGHBOURS + 1], distances[:, 1 : NEIGHBOURS + 1]  # [V, K]
    starts = np.broadcast_to(neighbours[:, :1], ends.shape)
    near = lengths <= REACH * distances[:, : NEIGHBOURS + 1].max(axis=1)[ends]
    return np.stack([starts[near], ends[near]], axis=1), lengths[near]


def cut_pursuit(features: np.ndarray, edges: np.ndarray, lengths: np.ndarray, strength: float) -> np.ndarray:
    """Connected pieces int [V] of the piecewise constant approximation of features float32 [V, D] on the graph.

    Every row of ``edges`` uint32 [E, 2] counts, so neighbours that name each other are tied twice. The greedy search
    comes near the least energy; it need not reach it.
    """
    if len(edges) == 0:
        return np.arange(len(features))
    order = np.argsort(edges[:, 0], kind="stable")  # unsorted edges give wrong pieces without a word
    starts, ends = np.ascontiguousarray(edges[order].T)
    pieces = cut_pursuit_py.perform_cut_pursuit(
        reg_strength=1.0,  # ignored by the library: the strength is in the weights
        D=features.shape[1],
        pc_vec=features,
        edge_weights=np.float32(strength) / (1 + lengths[order] / lengths.mean()),
        Eu=starts,
        Ev=ends,
        verbose=False,
    )
    inside = pieces[starts] == pieces[ends]
    graph = coo_array((inside[inside], (starts[inside], ends[inside])), shape=(len(features), len(features)))
    return connected_components(graph, directed=False)[1]


def merge_small(segments: np.ndarray, features: np.ndarray, edges: np.ndarray, minimum: int) -> np.ndarray:
    """Merge segments of fewer than ``minimum`` points, in rounds, into the neighbour with the nearest mean feature.

    ``segments`` int [V] dense, ``features`` float [V, D], ``edges`` int [E, 2]. In one round every small segment that
    has a neighbour picks one (the lowest id among equals) and joins it. Picks cannot run in circles longer than two
    segments, since distances only shrink along a chain of picks. Segments without a neighbour stay.
    """
    edges = edges.astype(np.int64)
    while True:
        sizes = np.bincount(segments)
        means = np.stack([np.bincount(segments, column) for column in features.T], axis=1) / sizes[:, None]  # [M, D]
        pairs = segments[edges]
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
        pairs = pairs[sizes[pairs[:, 0]] < minimum]
        if len(pairs) == 0:
            return segments
        small, other = pairs.T
        distance = ((means[small] - means[other]) ** 2).sum(axis=1)
        order = np.lexsort((other, distance, small))
        picker, first = np.unique(small[order], return_index=True)
        target = np.arange(len(sizes))
        target[picker] = other[order[first]]
        mutual = (target[target] == np.arange(len(sizes))) & (np.arange(len(sizes)) < target)
        target[mutual] = np.flatnonzero(mutual)  # of two that picked each other the lower id stays
        while (target[target] != target).any():
            target = target[target]
        segments = np.unique(target[segments], return_inverse=True)[1]


def _in_order(ids: np.ndarray) -> np.ndarray:
    """Renumber ids [N] as int32 0..M-1 in the order of first appearance."""
    _, first, dense = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[dense]
