"""The geometric partition: each step against a slow twin, the whole by its properties."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from otoc_lib.errors import OtocError
from otoc_lib.supervoxels.geometric import (
    Partition,
    cut_pursuit,
    merge_small,
    nearest,
    neighbour_graph,
    segment_points,
    surface_features,
    voxel_means,
)
from otoc_lib.supervoxels.make import make_supervoxels

DEFAULT = Partition()


def corner(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on a floor, two walls and a red box in the middle; the surface of each point."""
    rng = np.random.default_rng(seed)
    u, v, w = rng.random((3, n))
    zero = np.zeros(n)
    surface = rng.integers(0, 4, n)
    floor, left, right = np.stack([2 * u, 2 * v, zero]), np.stack([2 * u, zero, 2 * v]), np.stack([zero, 2 * u, 2 * v])
    box = np.stack([0.8 + 0.4 * u, 0.8 + 0.4 * v, 0.3 + zero])
    side = np.stack([0.8 + 0.4 * u, 0.8 + 0.4 * (w > 0.5), 0.3 * v])
    box = np.where(w < 0.3, box, side)
    points = np.choose(surface, [floor, left, right, box]).T + rng.normal(0, 0.002, (n, 3))
    colors = np.array([[120, 90, 60], [200, 200, 190], [200, 200, 190], [180, 30, 30]], np.uint8)[surface]
    return points, colors, surface


def groups(ids: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(ids == i).tolist()) for i in np.unique(ids)}


def reached(start: int, edges: np.ndarray, inside: set[int]) -> set[int]:
    """All that can be reached from a node along edges within a set of nodes."""
    ways: dict[int, set[int]] = {}
    for a, b in edges.tolist():
        if a in inside and b in inside:
            ways.setdefault(a, set()).add(b)
            ways.setdefault(b, set()).add(a)
    seen, frontier = {start}, [start]
    while frontier:
        for other in ways.get(frontier.pop(), ()):
            if other not in seen:
                seen.add(other)
                frontier.append(other)
    return seen


# --- the steps


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.03, 0.25, 10.0]), st.sampled_from([0.0, 4e6]))
def test_voxel_means_equal_a_dictionary(seed, n, voxel, origin):
    rng = np.random.default_rng(seed)
    points, colors = rng.random((n, 3)) + origin, rng.integers(0, 256, (n, 3), dtype=np.uint8)
    voxel_of, centres, shades = voxel_means(points, colors, voxel)
    cells: dict[tuple, list[int]] = {}
    for i, point in enumerate(points):
        cells.setdefault(tuple(((point - points.min(axis=0)) // voxel).astype(int)), []).append(i)
    assert groups(voxel_of) == {frozenset(members) for members in cells.values()}
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    for members in cells.values():
        v = voxel_of[members[0]]
        assert np.allclose(centres[v], (points[members] - middle).mean(axis=0), atol=1e-6)
        assert np.allclose(shades[v], colors[members].mean(axis=0) / 255, atol=1e-6)


@pytest.mark.parametrize("n,count", [(300, 21), (5, 21), (1, 21)])
def test_nearest_equals_a_kd_tree(n, count):
    points = np.random.default_rng(0).random((n, 3)).astype(np.float32)
    neighbours, distances = nearest(points, count)
    expected = cKDTree(points).query(points, min(count, n))[0].reshape(n, -1)
    assert np.allclose(distances, expected, atol=1e-6)
    assert np.allclose(np.linalg.norm(points[neighbours] - points[:, None], axis=2), distances, atol=1e-6)
    assert np.array_equal(neighbours[:, 0], np.arange(n))


def test_surface_features_equal_those_of_the_covariance():
    points = np.random.default_rng(1).random((60, 3)).astype(np.float32)
    neighbours, _ = nearest(points, 21)
    features = surface_features(points, neighbours)
    for row, members in zip(features, neighbours, strict=True):
        values, vectors = np.linalg.eigh(np.cov(points[members].astype(np.float64).T))
        small, middle, large = np.sqrt(values)
        expected = [(large - middle) / large, (middle - small) / large, small / large]
        assert np.allclose(row[:3], expected, atol=5e-3)  # pgeof adds a millimetre to the divisor
        assert np.allclose(row[3:], np.abs(vectors[:, 0]), atol=1e-2)


def test_surface_features_of_a_floor_and_a_wall():
    flat = np.random.default_rng(2).random((200, 3)).astype(np.float32)
    flat[:, 2] = 0
    wall = np.ascontiguousarray(np.roll(flat, 1, axis=1))
    for points, normal in ((flat, [0, 0, 1]), (wall, [1, 0, 0])):
        features = surface_features(points, nearest(points, 21)[0])
        assert np.allclose(features[:, 2:], [0, *normal], atol=1e-3)  # scattering, normal


@pytest.mark.parametrize("dimensions", [0, 1, 2])
def test_surface_features_of_flat_clouds_are_finite(dimensions):
    points = np.random.default_rng(3).random((50, 3)).astype(np.float32)
    points[:, dimensions:] = 0.5
    assert np.isfinite(surface_features(points, nearest(points, 21)[0])).all()


def test_the_graph_does_not_bridge_gaps():
    rng = np.random.default_rng(0)
    sheet = rng.random((300, 3)) * [1, 1, 0]
    far = np.array([[0, 0, 2.0], [0.05, 0, 2.0], [0, 0.05, 2.0]])  # three points alone, far above the sheet
    points = np.concatenate([sheet, far]).astype(np.float32)
    edges, lengths = neighbour_graph(*nearest(points, 21))
    assert np.allclose(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1), lengths, atol=1e-5)
    assert not ((edges[:, 0] >= 300) ^ (edges[:, 1] >= 300)).any()
    assert {(300, 301), (301, 300), (300, 302), (302, 301)} <= {tuple(edge) for edge in edges.tolist()}


def test_the_sparse_part_of_a_scan_stays_in_one_piece():
    rng = np.random.default_rng(0)
    dense, sparse = rng.random((3000, 2)), rng.random((300, 2)) * [3, 1] + [1, 0]  # 2 and 10 cm apart, side by side
    points = np.pad(np.concatenate([dense, sparse]), [(0, 0), (0, 1)]).astype(np.float32)
    edges, _ = neighbour_graph(*nearest(points, 21))
    assert len(reached(0, edges, set(range(3300)))) == 3300


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    halves=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    step=st.floats(0.2, 3.0),
    ratio=st.one_of(st.floats(0.05, 0.95), st.floats(1.05, 10.0)),
    twice=st.booleans(),
)
def test_a_step_is_cut_where_that_pays(seed, halves, step, ratio, twice):
    # cutting a chain of two constant halves saves n m / (n + m) step^2 and costs the weight of one edge
    n, m = halves
    features = np.repeat([[0.0], [step]], halves, axis=0).astype(np.float32)
    chain = np.array([(i, i + 1) for i in range(n + m - 1)], np.uint32)
    edges = np.concatenate([chain, chain[:, ::-1]]) if twice else chain
    edges = np.random.default_rng(seed).permutation(edges)
    saving = n * m / (n + m) * step**2
    strength = 2 * ratio * saving / (2 if twice else 1)  # an edge of mean length weighs half the strength
    pieces = cut_pursuit(features, edges, np.full(len(edges), 0.7, np.float32), strength)
    assert len(groups(pieces)) == (2 if ratio < 1 else 1)
    assert ratio > 1 or groups(pieces) == {frozenset(range(n)), frozenset(range(n, n + m))}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(0, 80), st.sampled_from([0.001, 0.1, 1.0]))
def test_pieces_are_connected(seed, n, num_edges, strength):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, n, (num_edges, 2)).astype(np.uint32)
    features = rng.random((n, 3)).astype(np.float32)
    pieces = cut_pursuit(features, edges, rng.random(num_edges).astype(np.float32) + 0.1, strength)
    for piece in groups(pieces):
        assert reached(min(piece), edges, set(piece)) == piece


def test_strength_decides_how_many_pieces():
    points, colors, _ = corner(6000)
    _, centres, shades = voxel_means(points, colors, 0.05)
    graph = neighbour_graph(*nearest(centres, 21))
    counts = [cut_pursuit(shades, *graph, strength).max() + 1 for strength in (1e-4, 1e-2, 1.0, 1e3)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] == 1


def slow_merge(segments, features, edges, minimum):
    segments = segments.copy()
    while True:
        ids = np.unique(segments)
        means = {s: features[segments == s].mean(axis=0) for s in ids}
        choice = {}
        for s in ids:
            touching = {int(segments[b]) for a, b in edges if segments[a] == s}
            touching |= {int(segments[a]) for a, b in edges if segments[b] == s}
            touching -= {int(s)}
            if (segments == s).sum() < minimum and touching:
                choice[int(s)] = min(touching, key=lambda t: (((means[s] - means[t]) ** 2).sum(), t))
        if not choice:
            return segments
        parent = {int(s): choice.get(int(s), int(s)) for s in ids}
        for s in ids:
            if parent[parent[s]] == s and s < parent[s]:
                parent[s] = s
        for i in range(len(segments)):
            s = int(segments[i])
            while parent[s] != s:
                s = parent[s]
            segments[i] = s


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 60), st.integers(1, 12), st.booleans())
def test_merging_equals_the_slow_twin(seed, n, num_edges, minimum, ties):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, n, (num_edges, 2)).astype(np.uint32)
    features = rng.integers(0, 2, (n, 2)).astype(float) if ties else rng.random((n, 2))
    segments = np.unique(rng.integers(0, 10, n), return_inverse=True)[1] if ties else np.arange(n)
    merged = merge_small(segments, features, edges, minimum)
    assert groups(merged) == groups(slow_merge(segments, features, edges, minimum))
    for s in np.unique(merged):  # large enough, or nothing beside it
        outward = (merged[edges[:, 0]] == s) ^ (merged[edges[:, 1]] == s)
        assert (merged == s).sum() >= minimum or not outward.any()


def test_a_small_segment_joins_what_it_resembles():
    features = np.array([[0.0]] * 5 + [[0.8]] + [[1.0]] * 5)
    segments = np.repeat([0, 1, 2], [5, 1, 5])
    edges = np.array([[i, i + 1] for i in range(10)])
    assert groups(merge_small(segments, features, edges, 3)) == {frozenset(range(5)), frozenset(range(5, 11))}


# --- the whole


def test_surfaces_come_apart():
    points, colors, surface = corner(40_000)
    segments = segment_points(points, colors, DEFAULT)
    votes = np.zeros((segments.max() + 1, 4), int)
    np.add.at(votes, (segments, surface), 1)
    assert votes.max(axis=1).sum() / len(points) > 0.98
    assert len(votes) < 60


def assert_contract(points, colors, partition) -> np.ndarray:
    segments = segment_points(points, colors, partition)
    assert segments.dtype == np.int32 and segments.shape == (len(points),)
    ids, first = np.unique(segments, return_index=True)
    assert np.array_equal(ids, np.arange(len(ids))) and (np.diff(first) > 0).all()  # in order of the first points
    assert np.array_equal(segments, segment_points(points.copy(), colors.copy(), partition))
    return segments


CLOUDS = {
    "cloud": lambda rng, n: rng.random((n, 3)),
    "flat": lambda rng, n: rng.random((n, 3)) * [1, 1, 0],
    "line": lambda rng, n: rng.random((n, 3)) * [1, 0, 0],
    "point": lambda rng, n: np.full((n, 3), 1.7),
    "lattice": lambda rng, n: rng.integers(0, 5, (n, 3)) * 0.05,
    "clusters": lambda rng, n: rng.integers(0, 3, (n, 1)) * 50.0 + rng.normal(0, 0.1, (n, 3)),
    "duplicates": lambda rng, n: rng.random((n, 3))[rng.integers(0, n, n)],
    "outlier": lambda rng, n: np.concatenate([rng.random((n - 1, 3)), [[1e4, -1e4, 50]]]),
}


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(CLOUDS)),
    seed=st.integers(0, 10_000),
    n=st.one_of(st.integers(1, 60), st.integers(200, 800)),
    strength=st.sampled_from([0.001, 0.05, 2.0]),
    minimum=st.integers(1, 30),
)
def test_any_cloud_gives_connected_segments(kind, seed, n, strength, minimum):
    rng = np.random.default_rng(seed)
    points, colors = CLOUDS[kind](rng, n), rng.integers(0, 256, (n, 3), dtype=np.uint8)
    segments = assert_contract(points, colors, Partition(0.03, strength, minimum))
    voxel_of, centres, _ = voxel_means(points, colors, 0.03)
    of_voxel = np.full(len(centres), -1)
    of_voxel[voxel_of] = segments
    assert np.array_equal(of_voxel[voxel_of], segments)  # points in one cell stay together
    edges, _ = neighbour_graph(*nearest(centres, 21))
    for segment in groups(of_voxel):
        assert reached(min(segment), edges, set(segment)) == segment
        crossing = np.isin(edges, list(segment)).sum(axis=1) == 1
        assert len(segment) >= minimum or not crossing.any()


@pytest.mark.parametrize("origin", [(5e5, 4e6, 100.0), (-1e7, 0.0, 0.0)])
def test_far_from_the_origin(origin):
    points, colors, _ = corner(20_000)
    points = np.round(points * 1024) / 1024  # the shift loses no digit
    here = segment_points(points, colors, DEFAULT)
    assert np.array_equal(segment_points(points + np.array(origin), colors, DEFAULT), here)


def test_float32_points_and_no_points():
    points, colors, _ = corner(3000)
    assert_contract(points.astype(np.float32), colors, DEFAULT)
    assert segment_points(points[:0], colors[:0], DEFAULT).shape == (0,)


def test_another_process_finds_the_same():
    code = (
        "import hashlib, sys; sys.path.insert(0, 'tests/supervoxels'); from test_geometric import *;"
        "print(hashlib.md5(segment_points(*corner(20_000)[:2], DEFAULT)).hexdigest())"
    )
    root = __file__.rsplit("tests", 1)[0]
    outputs = {subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True).stdout for _ in range(2)}
    assert len(outputs) == 1 and len(outputs.pop()) > 30


def test_an_empty_mesh_counts_as_points():
    points, colors, _ = corner(2000)
    expected = segment_points(points, colors, DEFAULT)
    assert np.array_equal(make_supervoxels(points, colors, None, DEFAULT), expected)
    assert np.array_equal(make_supervoxels(points, colors, np.zeros((0, 3), int), DEFAULT), expected)
    meshed = make_supervoxels(points[:4], colors[:4], np.array([[0, 1, 2]]), DEFAULT)
    assert meshed.dtype == np.int32 and meshed.tolist() in ([0, 0, 0, 1], [0, 1, 2, 3])


GOOD = np.zeros((3, 3)), np.zeros((3, 3), np.uint8)
BROKEN = {
    "point 1 is .*nan.*finite": (np.array([[0, 0, 0], [0, np.nan, 0], [0, 0, 0]]), GOOD[1]),
    "point 2 is .*inf": (np.array([[0, 0, 0], [0, 0, 0], [np.inf, 0, 0]]), GOOD[1]),
    r"points \(3, 2\) and colors \(3, 3\)": (GOOD[0][:, :2], GOOD[1]),
    r"points \(3, 3\) and colors \(2, 3\)": (GOOD[0], GOOD[1][:2]),
    "colors: float64": (GOOD[0], GOOD[1].astype(float)),
    "is there an outlier": (np.array([[0, 0, 0], [0, 0, 0], [1e30, 1e30, 1e30]]), GOOD[1]),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_clouds_are_refused(message):
    with pytest.raises(OtocError, match=message):
        segment_points(*BROKEN[message], DEFAULT)


@pytest.mark.parametrize(
    "values", [{"voxel": 0.0}, {"voxel": float("nan")}, {"strength": -1.0}, {"strength": float("inf")}, {"minimum": 0}]
)
def test_partitions_without_sense_are_refused(values):
    with pytest.raises(OtocError, match=f"partition_{next(iter(values))}"):
        Partition(**values)


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1.0), (2, 1.0), (3, 0.0), (50, 1.0), (2000, 1e-4), (2000, 3.0), (50, 1e4)]
)
@pytest.mark.parametrize("voxel", [0.001, 10])
def test_partitions_at_the_edges_of_the_ranges_number_every_point_or_name_the_extent(count, size, voxel):
    generator = np.random.default_rng(0)
    points = size * generator.uniform(size=(count, 3))
    colors = generator.integers(0, 256, (count, 3)).astype(np.uint8)
    for strength, minimum in itertools.product((1e-6, 1e6), (1, 10**6)):
        try:
            ids = segment_points(points, colors, Partition(voxel, strength, minimum))
        except OtocError as error:
            assert "too much for cells of 0.001 m" in str(error) and size == 1e4
        else:
            assert ids.shape == (count,) and set(ids.tolist()) == set(range(ids.max() + 1))


# --- larger scans, tile by tile ---------------------------------------------------------------------------------------


def patches(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A floor of patches of 1.5 m, each in a colour that no neighbour has; the patch of each point."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, [1.5 * rows, 1.5 * columns, 0], (rows * columns * 3000, 3))
    place = (points[:, :2] // 1.5).astype(int)
    palette = np.array([(220, 40, 40), (40, 200, 60), (50, 60, 220), (230, 220, 40)])
    colors = palette[(place[:, 0] + 2 * place[:, 1]) % 4] + rng.normal(0, 3, points.shape)
    return points, colors.clip(0, 255).astype(np.uint8), place[:, 0] * columns + place[:, 1]


def pairs_alike(first: np.ndarray, second: np.ndarray) -> float:
    """Of the pairs of points that either joins, the share that both do (Jaccard)."""
    pairs = lambda ids: (np.unique(ids, return_counts=True)[1].astype(float) ** 2).sum()  # noqa: E731
    both = pairs(first.astype(np.int64) * (second.max() + 1) + second)
    return both / (pairs(first) + pairs(second) - both)


@pytest.mark.parametrize("overlap", [0.2, 0.4])
def test_super_voxels_are_joined_across_the_borders_of_tiles(overlap, monkeypatch):
    points, colors, patch = patches(5, 3)
    whole = segment_points(points, colors, DEFAULT)
    tiled = segment_points(points, colors, Partition(tile=3.2, overlap=overlap))
    assert_numbered(tiled)
    assert pairs_alike(whole, patch) > 0.9  # the patches are what there is to find
    assert pairs_alike(tiled, whole) > 0.97
    monkeypatch.setattr("otoc_lib.supervoxels.geometric._mutual", lambda *_: np.zeros((2, 0), np.int64))
    cut = segment_points(points, colors, Partition(tile=3.2, overlap=overlap))
    assert pairs_alike(cut, whole) < 0.8  # what the borders cut where nothing joins it


def test_a_room_smaller_than_a_tile_is_not_cut():
    points, colors, _ = corner(5000)
    assert np.array_equal(segment_points(points, colors, Partition(tile=2.1)), segment_points(points, colors, DEFAULT))


def test_far_away_tiles_and_coordinates_change_nothing():
    points, colors, _ = patches(4, 1)
    partition = Partition(tile=3.0)
    here, there = (segment_points(points + shift, colors, partition) for shift in (0, [389_512.0, 5_819_123.0, 0]))
    assert pairs_alike(here, there) > 0.97


def assert_numbered(ids: np.ndarray) -> None:
    """0..M-1 in the order of first points."""
    first = np.unique(ids, return_index=True)
    assert ids.dtype == np.int32 and np.array_equal(first[0], np.arange(len(first[0])))
    assert (np.diff(first[1]) > 0).all()


def test_memory_of_the_partition_does_not_grow_with_the_number_of_tiles():
    from memory import peak  # here: a test above runs this file where there is no such module

    partition, taken = Partition(tile=6.0, voxel=0.05), {}
    segment_points(*patches(2, 2)[:2], partition)
    for rows in (8, 32):
        points, colors, _ = patches(rows, 4)
        taken[rows] = peak(lambda points=points, colors=colors: segment_points(points, colors, partition))
    assert taken[32] < 1.3 * taken[8] + 24 * 3 * 3000 * 24 * 4  # and some numbers of every point
