"""Scans larger than a room, cut into overlapping tiles, so that memory does not grow with their number.

Tiles are columns of one size along x and y, over the whole height. Neighbours overlap, and every point belongs to the
tile in which it lies farthest from a border that was cut: to its core. Whatever looks no farther than half the overlap
says of a point in the core what it would say in the whole scan.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

AT_ONCE = 1 << 17  # points that are counted at a time


@dataclass(frozen=True, eq=False)
class Tile:
    """P points of a scan, their places int64 [P] ascending, and which of them belong to this tile, bool [P]."""

    points: np.ndarray
    core: np.ndarray


@dataclass(frozen=True, eq=False)
class Tiling:
    """The tiles of a scan, in order of x, then y; those to which no point belongs are left out. One is cut when asked
    for.

    coords: [N, 3]. sides: of a tile along x and y, in the unit of the coordinates. starts: lowest x and lowest y of the
    tiles, float64 [X] and [Y]. cells: place along x and y of each tile, int64 [T, 2].
    """

    coords: np.ndarray
    sides: tuple[float, float]
    starts: tuple[np.ndarray, np.ndarray]
    cells: np.ndarray

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Tile]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Tile:
        inside = np.ones(len(self.coords), dtype=bool)
        for axis, place in enumerate(self.cells[number]):
            starts, values = self.starts[axis], self.coords[:, axis]
            if place > 0:
                inside &= values >= starts[place]
            if place < len(starts) - 1:
                inside &= values < starts[place] + self.sides[axis]
        points = np.flatnonzero(inside)
        return Tile(points, (self._places(self.coords[points]) == self.cells[number]).all(axis=1))

    def _places(self, coords: np.ndarray) -> np.ndarray:
        """Place along x and y, int64 [P, 2], of the tile that each point belongs to."""
        return np.stack(
            [
                np.searchsorted(_borders(starts, side), coords[:, axis], "right")
                for axis, (starts, side) in enumerate(zip(self.starts, self.sides, strict=True))
            ],
            axis=1,
        )


def tiling(coords: np.ndarray, side: float | None, overlap: float) -> Tiling:
    """Tiles that cover a scan; one alone where it is no larger than a tile.

    Args:
        coords: float [N, 3], N > 0.
        side: of a tile at most, in their unit; None for one tile, however large the scan is.
        overlap: share of ``side`` by which neighbours overlap, 0 to 0.5.
    """
    if side is None:  # without a look at the points: they may lie in a file
        return Tiling(coords, (np.inf, np.inf), (np.zeros(1), np.zeros(1)), np.zeros((1, 2), dtype=np.int64))
    ends = ((float(values.min()), float(values.max())) for values in coords.T[:2])
    starts, sides = zip(*(_spread(low, high, side, overlap * side) for low, high in ends), strict=True)
    whole = Tiling(coords, sides, starts, np.zeros((1, 2), dtype=np.int64))
    shape = tuple(len(of_axis) for of_axis in starts)
    if shape == (1, 1):
        return whole
    counts = np.zeros(shape[0] * shape[1], dtype=np.int64)
    for start in range(0, len(coords), AT_ONCE):
        places = whole._places(coords[start : start + AT_ONCE])
        counts += np.bincount(np.ravel_multi_index(places.T, shape), minlength=len(counts))
    return Tiling(coords, sides, starts, np.stack(np.unravel_index(np.flatnonzero(counts), shape), axis=1))


def _spread(low: float, high: float, side: float, overlap: float) -> tuple[np.ndarray, float]:
    """Where the tiles along an axis begin, and how long they are: as few as suffice, and no longer than needed then."""
    if high - low <= side:
        return np.array([low]), side
    count = int(np.ceil((high - low - overlap) / (side - overlap)))
    side = (high - low + (count - 1) * overlap) / count
    return np.linspace(low, high - side, count), side


def _borders(starts: np.ndarray, side: float) -> np.ndarray:
    """Where one tile is left for the next: in the middle of what both cover."""
    return (starts[:-1] + side + starts[1:]) / 2
