"""Pooling to super-voxels against sums over Python lists, its plain twin and PyTorch's own gradients."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.supervoxels.pooling import majority_labels, plain_pool_mean, pool_mean


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_ids(points, size, seed):
    return torch.randint(size, (points,), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(points=st.integers(1, 60), size=st.integers(1, 12), seed=st.integers(0, 99))
def test_pooling_is_the_mean_of_each_supervoxel(points, size, seed):
    values, ids = random(points, 3, seed=seed), random_ids(points, size, seed)
    for pooled in (pool_mean(values, ids, size), plain_pool_mean(values, ids, size)):
        for j in range(size):
            members = [values[i] for i in range(points) if ids[i] == j]
            expected = sum(members) / len(members) if members else torch.zeros(3, dtype=torch.float64)
            torch.testing.assert_close(pooled[j], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ids_dtype", [torch.int32, torch.int64])
def test_the_compiled_form_and_its_gradient_equal_the_plain_ones(dtype, ids_dtype):
    ids = random_ids(5000, 300, seed=1).to(ids_dtype)
    wide = random(5000, 64, seed=2).to(dtype)
    for values in (wide[:, :32], wide[:, :1], wide):  # also of rows that do not lie one after the other
        values = values.detach().requires_grad_()
        outer = random(301, values.shape[1], seed=3).to(dtype)
        results = []
        for pool in (pool_mean, plain_pool_mean):
            pooled = pool(values, ids, 301)
            results.append((pooled.detach(), *torch.autograd.grad(pooled, values, outer)))
        rounding = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
        torch.testing.assert_close(*results, rtol=rounding, atol=rounding)


def test_pooling_passes_gradients():
    values = random(10, 2).requires_grad_()
    ids = torch.tensor([0, 0, 1, 2, 2, 2, 2, 1, 0, 1], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda v: pool_mean(v, ids, 3), values)


def test_half_precision_is_pooled_too():
    pooled = pool_mean(torch.ones(4, 2, dtype=torch.bfloat16), torch.tensor([0, 0, 2, 0]), 3)
    assert torch.equal(pooled, torch.tensor([[1, 1], [0, 0], [1, 1]], dtype=torch.bfloat16))


@pytest.mark.parametrize("ids", [[0, 3], [0, -1], [0]])
def test_ids_that_do_not_fit_are_refused(ids):
    with pytest.raises(OtocError, match="ids 0..2, one for every point"):
        pool_mean(torch.zeros(2, 4), torch.tensor(ids), 3)


def test_majority_labels_ignore_what_is_not_labelled():
    labels = torch.tensor([3, 3, 4, IGNORE, IGNORE, 5])
    supervoxels = torch.tensor([0, 0, 0, 0, 1, 2])
    assert majority_labels(labels, supervoxels, 4, 20).tolist() == [3, IGNORE, 5, IGNORE]


@settings(max_examples=30, deadline=None)
@given(points=st.integers(1, 60), size=st.integers(1, 9), classes=st.integers(1, 6), seed=st.integers(0, 99))
def test_majority_labels_are_the_most_frequent_ones_and_the_lowest_on_a_tie(points, size, classes, seed):
    supervoxels, labels = random_ids(points, size, seed), random_ids(points, classes + 1, seed + 1) - 1
    labels[labels < 0] = IGNORE
    expected = []
    for j in range(size):
        votes = Counter(label for label in labels[supervoxels == j].tolist() if label != IGNORE)
        expected.append(max(votes, key=lambda label: (votes[label], -label)) if votes else IGNORE)
    assert majority_labels(labels, supervoxels, size, classes).tolist() == expected
