"""Felzenszwalb's segmentation against an independent slow implementation, and its defining properties."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from slow_mesh import slow_segments

from otoc_lib.datasets import bundled_rooms
from otoc_lib.errors import OtocError
from otoc_lib.supervoxels.mesh import edge_weights, mean_normals, segment_mesh, vertex_normals

BUNDLED = sorted(bundled_rooms.SOURCE.glob("*.room.xz"))


def bumpy_grid(rows: int, columns: int, seed: int, rough: float) -> tuple[np.ndarray, np.ndarray]:
    """A triangulated height field with a step and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns] * 0.03
    z = np.where(x > x.mean(), 0.2, 0.0) + rng.normal(0, rough, x.shape)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([x.ravel(), y.ravel(), z.ravel()], 1), faces


def smallest_members(segments: np.ndarray) -> list[int]:
    """The smallest vertex of each vertex's segment: equal lists, equal partitions."""
    ids, first, dense = np.unique(segments, return_index=True, return_inverse=True)
    assert np.array_equal(segments[ids], ids)  # an id is the index of one of its vertices
    return first[dense].tolist()


def assert_equals_slow(vertices, faces, k=0.01, minimum=20) -> None:
    fast = segment_mesh(vertices, faces, k, minimum)
    assert fast.dtype == np.int32 and fast.shape == (len(vertices),)
    assert smallest_members(fast) == slow_segments(vertices.tolist(), faces.tolist(), k, minimum)


@pytest.mark.parametrize("path", BUNDLED[:: max(1, len(BUNDLED) // 4)], ids=lambda path: path.name.split(".")[0])
def test_equals_the_slow_twin_on_bundled_rooms(path):
    room = bundled_rooms.read(path)
    assert_equals_slow(room.vertices, room.faces)
    assert np.array_equal(segment_mesh(room.vertices, room.faces), room.segments)  # ids too


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rough=st.floats(0.0001, 0.02),
    k=st.sampled_from([0.001, 0.01, 0.1, 1.0]),
    minimum=st.integers(1, 40),
)
@example(seed=0, rough=0.004, k=0.01, minimum=20)
@example(seed=2, rough=0.006, k=0.1, minimum=5)
def test_equals_the_slow_twin_on_rough_grids(seed, rough, k, minimum):
    assert_equals_slow(*bumpy_grid(12, 14, seed, rough), k, minimum)


@st.composite
def soups(draw) -> tuple[np.ndarray, np.ndarray]:
    """Triangles between random points: duplicates, degenerate ones, non-manifold edges, unused vertices."""
    n = draw(st.integers(1, 25))
    vertices = np.random.default_rng(draw(st.integers(0, 10_000))).normal(size=(n, 3))
    faces = draw(arrays.arrays(np.int64, (draw(st.integers(0, 40)), 3), elements=st.integers(0, n - 1)))
    return vertices, faces


@settings(max_examples=150, deadline=None)
@given(soups(), st.sampled_from([0.01, 0.5, 2.0]), st.integers(1, 8))
def test_equals_the_slow_twin_on_triangle_soup(soup, k, minimum):
    vertices, faces = soup
    assert_equals_slow(vertices, faces, k, minimum)
    unused = np.setdiff1d(np.arange(len(vertices)), faces)
    segments = segment_mesh(vertices, faces, k, minimum)
    assert all((segments == v).sum() == 1 for v in unused)  # a vertex without a face stays alone


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 0.02))
def test_segments_are_connected_and_large_enough(seed, rough):
    vertices, faces = bumpy_grid(10, 10, seed, rough)
    segments = segment_mesh(vertices, faces, 0.01, 20)
    ids, counts = np.unique(segments, return_counts=True)
    assert counts.min() >= 20
    for number in ids:
        reached, frontier = set(), {int(number)}
        while frontier:
            reached |= frontier
            touching = faces[np.isin(faces, list(frontier)).any(axis=1)].ravel()
            frontier = {int(v) for v in touching if segments[v] == number} - reached
        assert reached == set(np.flatnonzero(segments == number).tolist())


def test_floor_and_box_side_fall_apart_at_the_concave_line():
    # an L of two planes that meet in a concave fold
    t = np.arange(20) * 0.03
    u, v = np.meshgrid(t, np.concatenate([-t[:0:-1], t]))
    vertices = np.stack([u, np.minimum(v, 0), np.maximum(v, 0)], -1).reshape(-1, 3)
    index = np.arange(len(vertices)).reshape(u.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    segments = segment_mesh(vertices, faces)
    flat, upright = vertices[:, 1] < -0.05, vertices[:, 2] > 0.05
    assert len(set(segments[flat])) == 1 and len(set(segments[upright])) == 1
    assert segments[flat][0] != segments[upright][0]


# At the fold the mean of two unit normals at a right angle has the length sqrt(1/2): its product with either, and with
# itself, is 1/2.
HALF = 0.5
FOLDS = {
    "concave": ([[0, 1, 2], [1, 0, 3]], {edge: HALF for edge in ((0, 1), (1, 0), (0, 2), (2, 1), (1, 3), (3, 0))}),
    "convex": (
        [[2, 1, 0], [0, 1, 3]],
        {(2, 1): HALF**2, (2, 0): HALF**2, (0, 1): HALF, (0, 3): HALF, (3, 1): HALF**2},
    ),
}


@pytest.mark.parametrize("fold", FOLDS)
def test_weights_at_a_right_angle(fold):
    # two triangles that meet in the edge 0-1; 2 lies on the floor, 3 on the wall above the edge. Convex counts only
    # towards the fold: seen from 0, the vertices 2 and 3 lie in their own planes
    faces, expected = FOLDS[fold]
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    edges, weights = edge_weights(vertices, np.array(faces))
    assert {tuple(edge) for edge in edges.tolist()} == set(expected)
    assert weights == pytest.approx([expected[tuple(edge)] for edge in edges.tolist()])
    assert (np.diff(weights) >= 0).all()


def test_normals_of_a_plane_and_of_no_face():
    vertices, faces = bumpy_grid(4, 4, 0, 0.0)
    vertices[:, 2] = 0
    vertices = np.vstack([vertices, [[9, 9, 9]]])
    assert np.allclose(vertex_normals(vertices, faces)[:-1], [0, 0, 1])
    assert np.array_equal(vertex_normals(vertices, faces)[-1], [0, 0, 0])


def test_rough_surfaces_have_short_normals():
    vertices, faces = bumpy_grid(6, 6, 0, 0.0)
    vertices[:, 2] = 0
    assert np.allclose(mean_normals(vertices, faces), [0, 0, 1])
    vertices[7, 2] = 0.5
    lengths = np.linalg.norm(mean_normals(vertices, faces), axis=1)
    around = np.unique(faces[(faces == 7).any(axis=1)])
    assert (lengths[around] < 0.99).all() and np.allclose(np.delete(lengths, around), 1)


def test_faces_twice_change_nothing():
    vertices, faces = bumpy_grid(12, 12, 3, 0.005)
    once = segment_mesh(vertices, faces)
    assert smallest_members(segment_mesh(vertices, np.repeat(faces, 2, axis=0))) == smallest_members(once)


@pytest.mark.parametrize("faces", [np.zeros((0, 3), np.int64), np.zeros((0,)), []], ids=["0x3", "0", "list"])
def test_without_faces_every_vertex_is_alone(faces):
    assert np.array_equal(segment_mesh(np.zeros((5, 3)), faces), np.arange(5))
    assert segment_mesh(np.zeros((0, 3)), faces).shape == (0,)


def test_faces_of_any_integer_type_and_vertices_of_any_float_type():
    vertices, faces = bumpy_grid(8, 8, 1, 0.004)
    vertices = np.round(vertices * 512) / 512  # exact in float32
    expected = segment_mesh(vertices, faces)
    assert np.array_equal(segment_mesh(vertices.astype(np.float32), faces.astype(np.uint32)), expected)


BROKEN = {
    "vertex 9 in a mesh of 4": (np.zeros((4, 3)), np.array([[0, 1, 9]])),
    "vertex -1 in a mesh of 4": (np.zeros((4, 3)), np.array([[0, 1, -1]])),
    "vertex 1 is .*nan": (np.array([[0, 0, 0], [0, np.nan, 0], [1, 1, 1]]), np.array([[0, 1, 2]])),
    "vertex 0 is .*inf": (np.array([[np.inf, 0, 0]]), np.zeros((0, 3), int)),
    r"vertices: the shape is \(4, 2\)": (np.zeros((4, 2)), np.array([[0, 1, 2]])),
    r"faces: int64 \(1, 4\); they must be triangles": (np.zeros((4, 3)), np.array([[0, 1, 2, 3]])),
    "faces: float64": (np.zeros((4, 3)), np.array([[0.0, 1, 2]])),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_meshes_are_refused(message):
    with pytest.raises(OtocError, match=message):
        segment_mesh(*BROKEN[message])
