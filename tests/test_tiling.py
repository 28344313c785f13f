import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.tiling import Tiling, tiling


def inner_distance(tiles: Tiling, number: int, points: np.ndarray) -> np.ndarray:
    """How far points [P, 3] lie inside a tile, from those of its borders that cut the scan; negative: outside."""
    found = np.full(len(points), np.inf)
    for axis, place in enumerate(tiles.cells[number]):
        starts, values = tiles.starts[axis], points[:, axis]
        if place > 0:
            found = np.minimum(found, values - starts[place])
        if place < len(starts) - 1:
            found = np.minimum(found, starts[place] + tiles.sides[axis] - values)
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.tuples(st.floats(0.1, 60), st.floats(0.1, 60)),
    side=st.floats(1, 40),
    overlap=st.floats(0, 0.5),
)
def test_every_point_belongs_to_the_tile_in_which_it_is_farthest_from_a_cut(seed, size, side, overlap):
    points = np.random.default_rng(seed).uniform(0, [*size, 3], (300, 3)) - 7
    tiles = tiling(points, side, overlap)
    owners = np.zeros(len(points), int)
    depths = np.stack([inner_distance(tiles, number, points) for number in range(len(tiles))])  # [T, N]
    for number, tile in enumerate(tiles):
        assert np.array_equal(tile.points, np.flatnonzero((depths[number] >= 0) & is_below(tiles, number, points)))
        assert tile.core.any() and np.ptp(points[tile.points], axis=0)[:2].max() <= side + 1e-9
        mine = tile.points[tile.core]
        owners[mine] += 1
        best = depths[:, mine].max(axis=0)
        assert (depths[number, mine] >= np.where(np.isinf(best), best, best - 1e-9)).all()
        assert (depths[number, mine] >= overlap * side / 2 - 1e-9).all()
    assert (owners == 1).all()
    fewest = [max(1, np.ceil((np.ptp(points[:, axis]) - overlap * side) / (side - overlap * side))) for axis in (0, 1)]
    assert [len(starts) for starts in tiles.starts] == fewest and max(tiles.sides) <= side * (1 + 1e-12)


def is_below(tiles, number, points):
    """The upper border is the next tile's."""
    inside = np.ones(len(points), bool)
    for axis, place in enumerate(tiles.cells[number]):
        if place < len(tiles.starts[axis]) - 1:
            inside &= points[:, axis] < tiles.starts[axis][place] + tiles.sides[axis]
    return inside


def test_a_scan_no_wider_than_a_tile_is_one_and_so_is_any_without_a_side():
    points = np.random.default_rng(0).uniform(0, [4, 4, 30], (100, 3))
    for side in (4.0, None):
        (tile,) = tiling(points, side, 0.25)
        assert tile.core.all() and np.array_equal(tile.points, np.arange(100))
    assert len(tiling(points, 3.0, 0.25)) == 4


def test_tiles_without_a_point_are_left_out():
    corner = np.random.default_rng(0).uniform(0, [2, 2, 1], (50, 3))
    points = np.concatenate([corner, corner + [18, 18, 0], corner + [18, 0, 0]])  # an L of 20 m by 20 m
    tiles = tiling(points, 2.5, 0.2)
    assert 3 <= len(tiles) < 20
    assert sum(int(tile.core.sum()) for tile in tiles) == len(points)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_on_a_border_belong_to_one_tile(dtype):
    axis = np.arange(0, 10.5, 0.5, dtype=dtype)
    points = np.stack([*map(np.ravel, np.meshgrid(axis, axis)), np.zeros(len(axis) ** 2, dtype)], axis=1)
    tiles = tiling(points, 4.0, 0.5)
    cores = np.concatenate([tile.points[tile.core] for tile in tiles])
    assert np.array_equal(np.sort(cores), np.arange(len(points)))
