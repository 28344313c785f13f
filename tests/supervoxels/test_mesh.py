"""Felzenszwalb's segmentation against an independent slow implementation, and its defining properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.errors import OtocError
from otoc_lib.supervoxels.mesh import segment_mesh, vertex_normals


def bumpy_grid(rows: int, columns: int, seed: int, rough: float) -> tuple[np.ndarray, np.ndarray]:
    """A triangulated height field with a step and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns] * 0.03
    z = np.where(x > x.mean(), 0.2, 0.0) + rng.normal(0, rough, x.shape)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([x.ravel(), y.ravel(), z.ravel()], 1), faces


def slow_segments(vertices: np.ndarray, faces: np.ndarray, k: float, minimum: int) -> list[frozenset[int]]:
    """The same segmentation with sets instead of union-find, one edge at a time."""
    normals = []
    for v in range(len(vertices)):
        total = np.zeros(3)
        for a, b, c in faces:
            if v in (a, b, c):
                total += np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
        normals.append(total / np.linalg.norm(total))
    edges = []
    for first, second in ((0, 1), (0, 2), (2, 1)):
        for face in faces:
            a, b = int(face[first]), int(face[second])
            step = (vertices[b] - vertices[a]) / np.linalg.norm(vertices[b] - vertices[a])
            weight = 1 - float(np.dot(normals[a], normals[b]))
            edges.append((weight**2 if np.dot(normals[b], step) > 1e-9 else weight, a, b))
    edges.sort(key=lambda edge: edge[0])
    segment = {v: {v} for v in range(len(vertices))}
    threshold = {v: k for v in range(len(vertices))}  # by vertex, the same throughout a segment
    for weight, a, b in edges:
        if segment[a] is not segment[b] and weight <= threshold[a] and weight <= threshold[b]:
            union = segment[a] | segment[b]
            for v in union:
                segment[v], threshold[v] = union, weight + k / len(union)
    for _, a, b in edges:
        if segment[a] is not segment[b] and min(len(segment[a]), len(segment[b])) < minimum:
            union = segment[a] | segment[b]
            for v in union:
                segment[v] = union
    return [frozenset(segment[v]) for v in range(len(vertices))]


@pytest.mark.parametrize("seed,rough,k,minimum", [(0, 0.004, 0.01, 20), (1, 0.01, 0.01, 20), (2, 0.006, 0.1, 5)])
def test_equals_the_slow_twin(seed, rough, k, minimum):
    vertices, faces = bumpy_grid(12, 14, seed, rough)
    fast = segment_mesh(vertices, faces, k, minimum)
    slow = slow_segments(vertices, faces, k, minimum)
    for v, members in enumerate(slow):
        assert set(np.flatnonzero(fast == fast[v])) == members
    assert len(set(slow)) > 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 0.02))
def test_segments_are_connected_and_large_enough(seed, rough):
    vertices, faces = bumpy_grid(10, 10, seed, rough)
    segments = segment_mesh(vertices, faces, 0.01, 20)
    ids, counts = np.unique(segments, return_counts=True)
    assert counts.min() >= 20
    assert np.array_equal(segments[ids], ids)  # an id is the index of one of its vertices
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


def test_normals_of_a_plane():
    vertices, faces = bumpy_grid(4, 4, 0, 0.0)
    vertices[:, 2] = 0
    assert np.allclose(vertex_normals(vertices, faces), [0, 0, 1])


def test_a_face_beyond_the_vertices_is_refused():
    with pytest.raises(OtocError, match="vertex 9 in a mesh of 4"):
        segment_mesh(np.zeros((4, 3)), np.array([[0, 1, 9]]))
