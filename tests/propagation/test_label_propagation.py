"""Smoothing of predictions over points: hand-computed pairs, a dense solution, and what it must leave alone."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from otoc_lib.errors import OtocError
from otoc_lib.propagation.label_propagation import (
    COLOR_SCALE,
    LEAST_SURE,
    RIDGE,
    certainty,
    similarity,
    smoothed,
)


def dense(similarities, p):
    """The formula with whole matrices."""
    w = similarities.toarray()
    degree = w.sum(axis=1)
    laplacian = np.diag(degree**-0.5) @ (np.diag(degree) - w) @ np.diag(degree**-0.5)
    sure = certainty(p)
    y = np.linalg.solve(laplacian + np.diag(sure) + RIDGE * np.eye(len(p)), sure[:, None] * p)
    return y / y.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("w", [0.0, 0.3, 1.0])
def test_two_points_that_are_sure_draw_near_by_the_factor_worked_out_by_hand(w):
    y = smoothed(csr_matrix(np.array([[1, w], [w, 1.0]])), np.eye(2))
    assert y[0, 0] - y[1, 0] == pytest.approx((1 + w) / (1 + 3 * w), abs=2e-5)  # the ridge is the rest
    np.testing.assert_allclose(y.sum(axis=0), 1, atol=1e-9)  # the mean stays


def test_a_point_that_knows_nothing_takes_what_its_neighbours_say():
    w = np.array([[1, 0.9, 0.0], [0.9, 1, 0.9], [0, 0.9, 1.0]])
    p = np.array([[0.97, 0.02, 0.01], [1 / 3, 1 / 3, 1 / 3], [0.97, 0.02, 0.01]])
    y = smoothed(csr_matrix(w), p)
    assert certainty(p)[1] == LEAST_SURE and y[1].argmax() == 0 and y[1, 0] > 0.9


def test_one_class_everywhere_is_left_alone():
    generator = np.random.default_rng(0)
    similarities = similarity(generator.random((40, 3)), generator.random((40, 3)))
    p = np.tile([1.0, 0, 0], (40, 1))
    np.testing.assert_allclose(smoothed(similarities, p), p, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_the_sparse_solution_is_the_dense_one(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(12, 200))
    similarities = similarity(generator.random((count, 3)), generator.random((count, 3)))
    p = generator.dirichlet(np.full(5, 0.3), count)
    np.testing.assert_allclose(smoothed(similarities, p), dense(similarities, p), atol=1e-6)


def test_points_that_are_far_apart_do_not_meet():
    generator = np.random.default_rng(1)
    blobs = np.concatenate([generator.normal(0, 0.1, (30, 3)), generator.normal(50, 0.1, (30, 3))])
    colors = np.full((60, 3), 0.5)
    p = generator.dirichlet(np.ones(4), 60)
    together = smoothed(similarity(blobs, colors), p)
    changed = p.copy()
    changed[30:] = generator.dirichlet(np.ones(4), 30)
    np.testing.assert_allclose(smoothed(similarity(blobs, colors), changed)[:30], together[:30], atol=1e-6)


def test_similarities_are_those_of_distance_and_colour():
    coords = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
    colors = np.array([[0.0, 0, 0], [0.5, 0, 0], [0.5, 0, 0]])
    w = similarity(coords, colors).toarray()
    scale = 2.0  # the median of 1, 3, 1, 2, 3, 2
    expected = np.eye(3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        far, other = np.linalg.norm(coords[i] - coords[j]), np.sum((colors[i] - colors[j]) ** 2)
        expected[i, j] = expected[j, i] = np.exp(-0.5 * (far / scale) ** 2 - COLOR_SCALE * other)
    np.testing.assert_allclose(w, expected, atol=1e-12)
    assert similarity(coords[:1], colors[:1]).toarray().tolist() == [[1.0]]
    assert np.isfinite(similarity(np.zeros((5, 3)), np.zeros((5, 3))).toarray()).all()  # all points in one place


def test_probabilities_that_are_not_finite_are_refused():
    p = np.full((2, 2), np.nan)
    with pytest.raises(OtocError, match="finite"):
        smoothed(csr_matrix(np.eye(2)), p)
