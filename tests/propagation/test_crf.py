"""The CRF against a mean field over whole matrices, pairs worked out by hand, and what it must leave alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from otoc_lib.errors import OtocError
from otoc_lib.propagation import crf
from otoc_lib.propagation.crf import APPEARANCE, CELL, COLOR, POSITION, SMOOTHNESS, TRUST, kernel, mean_field, refine


def dense_kernel(coords, colors):
    """K from the distances of all pairs, those beyond reach too."""
    far = np.square(coords[:, None] - coords[None]).sum(-1) / (2 * POSITION**2)
    other = np.square(colors[:, None] - colors[None]).sum(-1) / (2 * COLOR**2)
    total = np.zeros((len(coords), len(coords)))
    for weight, k in ((SMOOTHNESS, np.exp(-far)), (APPEARANCE, np.exp(-far - other))):
        degree = k.sum(axis=1)
        np.fill_diagonal(k, 0)
        total += weight * k / np.sqrt(degree[:, None] * degree[None])
    return total


def plain_mean_field(p, k, steps):
    """Potts: every pair of other classes costs its weight; node by node."""
    q = p / p.sum(axis=1, keepdims=True)
    for _ in range(steps):
        new = np.empty_like(q)
        for i in range(len(p)):
            cost = np.array([sum(k[i, j] * (1 - q[j, c]) for j in range(len(p)) if j != i) for c in range(p.shape[1])])
            new[i] = p[i] * np.exp(-(cost - cost.min()))
        q = new / new.sum(axis=1, keepdims=True)
    return q


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mean_field_over_all_pairs(seed):
    generator = np.random.default_rng(seed)
    coords, colors = generator.random((50, 3)) * 0.3, generator.random((50, 3)) * 0.1  # all within reach
    p = generator.dirichlet(np.full(4, 0.5), 50) + 0.01
    k = kernel(coords, colors)
    np.testing.assert_allclose(k.toarray(), dense_kernel(coords, colors), atol=1e-12)
    np.testing.assert_allclose(mean_field(p, k, 5), plain_mean_field(p, k.toarray(), 5), atol=1e-9)


def test_what_lies_beyond_reach_counts_for_little():
    generator = np.random.default_rng(3)
    coords, colors = generator.random((60, 3)) * [2, 2, 0], np.full((60, 3), 0.5)
    near, all_pairs = kernel(coords, colors).toarray(), dense_kernel(coords, colors)
    apart = np.linalg.norm(coords[:, None] - coords[None], axis=-1) > crf.REACH
    assert not near[apart].any() and np.exp(-0.5 * (crf.REACH / POSITION) ** 2) < 0.012
    assert all_pairs[apart].sum() < 0.05 * all_pairs.sum()


def test_one_step_of_two_nodes_by_hand():
    p, k = np.array([[0.6, 0.4], [0.1, 0.9]]), csr_matrix(np.array([[0, 0.7], [0.7, 0]]))
    found = mean_field(p, k, 1)
    first = 0.6 * np.exp(-0.7 * 0.9), 0.4 * np.exp(-0.7 * 0.1)  # the other one's other class costs
    np.testing.assert_allclose(found[0], np.array(first) / sum(first), atol=1e-12)


def test_a_node_in_a_colour_of_its_own_is_left_nearly_alone():
    coords, colors = np.zeros((3, 3)), np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1.0]])
    k = kernel(coords, colors).toarray()
    assert k[0, 2] == pytest.approx(SMOOTHNESS / 3) and k[0, 1] == pytest.approx(SMOOTHNESS / 3 + APPEARANCE / 2)


def test_nodes_that_know_nothing_learn_nothing_from_each_other():
    generator = np.random.default_rng(0)
    k = kernel(generator.random((30, 3)) * 0.3, generator.random((30, 3)))
    np.testing.assert_allclose(mean_field(np.full((30, 5), 0.2), k, 5), 0.2, atol=1e-12)


def test_without_neighbours_nothing_changes():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    k = kernel(np.array([[0.0, 0, 0], [5, 0, 0], [0, 5, 0]]), np.zeros((3, 3)))
    assert k.nnz == 0
    np.testing.assert_allclose(mean_field(p, k, 5), p, atol=1e-12)


def test_a_speckle_in_its_own_colour_takes_the_class_around_it(rooms):
    room = rooms[0]
    one = replace(room, colors=np.where(room.coords[:, :1] < 0, [[40, 40, 40]], [[200, 60, 60]]).astype(np.uint8))
    left = one.coords[:, 0] < 0
    p = torch.zeros(room.num_points, 20)
    p[left, 3], p[~left, 5] = 1.0, 1.0
    wrong = np.flatnonzero(left)[::29]
    p[wrong] = p[wrong].roll(4, dims=1)
    q = refine(one, p)
    assert q.shape == p.shape and q.dtype == torch.float32
    torch.testing.assert_close(q.sum(dim=1), torch.ones(room.num_points))
    inner = np.abs(one.coords[:, 0]) > CELL  # cells at the border hold both
    expected = np.where(left, 3, 5)
    assert (q.argmax(dim=1).numpy() == expected)[inner].mean() > 0.99 > (p.argmax(dim=1).numpy() == expected).mean()


def test_points_of_a_cell_share_what_cells_without_pairs_say(monkeypatch, rooms):
    room = rooms[0]
    monkeypatch.setattr(crf, "REACH", 1e-9)
    p = torch.rand(room.num_points, 20, generator=torch.Generator().manual_seed(0))
    p /= p.sum(dim=1, keepdim=True)
    q = refine(room, p)
    cells = np.floor((room.coords - room.coords.min(axis=0)) / CELL).astype(int)
    for cell in np.unique(cells, axis=0)[::97]:
        own = np.flatnonzero((cells == cell).all(axis=1))
        expected = TRUST * p[own].double().mean(dim=0) + (1 - TRUST) / 20
        torch.testing.assert_close(q[own].double(), expected.expand(len(own), -1), atol=1e-6, rtol=0)


def test_where_nothing_is_known_nothing_is_said(rooms):
    room = rooms[0]
    p = torch.zeros(room.num_points, 20)
    assert not refine(room, p).any()
    apart = np.arange(room.num_points) < 30
    moved = replace(room, coords=np.where(apart[:, None], room.coords + np.float32([20, 0, 0]), room.coords))
    p[~apart, 4] = 1.0
    q = refine(moved, p)
    assert not q[apart].any() and (q[~apart].argmax(dim=1) == 4).all()
    near = replace(room, coords=np.where(apart[:, None], room.coords + np.float32([0.01, 0, 0]), room.coords))
    assert (refine(near, p).argmax(dim=1) == 4).all()  # what the rest reaches takes its class


def test_a_room_without_colours_is_refused(rooms):
    grey = replace(rooms[0], colors=np.full((rooms[0].num_points, 3), 128, dtype=np.uint8))
    with pytest.raises(OtocError, match="has no colours .* 'mprm_crf: false'"):
        refine(grey, torch.ones(grey.num_points, 20))
