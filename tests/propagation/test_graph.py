"""Propagation against an oracle that enumerates pairs in Python floats, and against exact marginals of tiny graphs."""

import itertools
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from pair_oracle import kernel_oracle, mean_field_oracle

from otoc_lib.errors import OtocError
from otoc_lib.propagation import combine, mean_field, pairwise_kernel, standardise


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(2, 9), widths=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_kernel_and_mean_field_equal_the_enumeration_of_pairs(size, widths, seed):
    blocks = [random(size, width, seed=seed + i) + 100 for i, width in enumerate(widths)]
    kernel = pairwise_kernel(blocks, 1.5)
    expected = kernel_oracle(blocks, 1.5)
    torch.testing.assert_close(kernel, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10)

    unary = torch.softmax(random(size, 4, seed=seed + 50), dim=1)
    marginals = mean_field(unary, kernel, 1.3, "literal", steps=7, tolerance=1e-6)
    oracle = mean_field_oracle(unary.tolist(), expected, 1.3, 7, 1e-6)
    torch.testing.assert_close(marginals, torch.tensor(oracle, dtype=torch.float64), rtol=1e-8, atol=1e-9)


def test_an_unknown_scaling_is_refused():
    for size in (0, 3):
        with pytest.raises(OtocError, match="scaling 'row sum' is unknown; choose row_sum or literal"):
            mean_field(torch.full((size, 2), 0.5), torch.zeros(size, size), 1.0, "row sum")


def test_a_block_too_large_to_be_squared_is_no_block_without_spread():
    """An infinite spread once made all zeros of it: every pair alike."""
    large = torch.tensor([[1e30], [-1e30], [0.0]])
    for block in (large, large.double() * 1e200, torch.tensor([[1.0], [math.inf]])):
        assert standardise(block).isnan().all()


def test_row_sum_scaling_divides_the_weight_by_the_mean_row_sum():
    kernel, unary = pairwise_kernel([random(30, 3)], 1.0), torch.softmax(random(30, 5, seed=1), dim=1)
    scaled = mean_field(unary, kernel, 2.0, "row_sum")
    literal = mean_field(unary, kernel, 2.0 / float(kernel.sum(1).mean()), "literal")
    torch.testing.assert_close(scaled, literal)


@pytest.mark.parametrize("seed", range(8))
def test_marginals_have_the_order_of_the_exact_ones_on_tiny_graphs(seed):
    """3 to 4 nodes, 3 classes: exact marginals of the Potts model by summing over every labelling."""
    size, classes, weight = 3 + seed % 2, 3, 0.4
    kernel = pairwise_kernel([random(size, 2, seed=seed)], 0.7)
    unary = torch.softmax(1.5 * random(size, classes, seed=seed + 20), dim=1)
    exact = torch.zeros(size, classes, dtype=torch.float64)
    for labelling in itertools.product(range(classes), repeat=size):
        score = sum(math.log(unary[j, c]) for j, c in enumerate(labelling))
        for a, b in itertools.combinations(range(size), 2):
            score += weight * float(kernel[a, b]) * (labelling[a] == labelling[b])
        for j, c in enumerate(labelling):
            exact[j, c] += math.exp(score)
    exact /= exact.sum(1, keepdim=True)
    approximate = mean_field(unary, kernel, weight, "literal", steps=50, tolerance=0.0)
    assert (approximate - exact).abs().max() < 0.05
    gaps = exact.sort(dim=1).values.diff(dim=1).min(dim=1).values
    clear = gaps > 0.02  # a tie may fall either way
    assert clear.any()
    assert (approximate.argsort(dim=1) == exact.argsort(dim=1))[clear].all()


def test_neighbours_that_agree_strengthen_and_a_weight_of_zero_changes_nothing():
    unary = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.45, 0.55]], dtype=torch.float64)
    kernel = torch.ones(3, 3, dtype=torch.float64).fill_diagonal_(0)
    assert mean_field(unary, kernel, 2.0, "literal")[:, 0].min() > 0.5
    torch.testing.assert_close(mean_field(unary, kernel, 0.0), unary)


def test_rooms_of_one_supervoxel_or_without_spread_do_not_divide_by_zero():
    for size in (1, 4):
        kernel = pairwise_kernel([torch.ones(size, 3)], 2.0)
        assert torch.equal(kernel, torch.ones(size, size).fill_diagonal_(0))
        assert torch.isfinite(mean_field(torch.full((size, 2), 0.5), kernel, 1.0)).all()
    assert torch.equal(standardise(torch.full((4, 2), 3.0)), torch.zeros(4, 2))


def test_float32_keeps_the_kernel_far_from_the_origin():
    """Without centring an offset of 100 ruins the Gram form in float32."""
    features = random(200, 6, seed=3)
    expected = pairwise_kernel([features], 1.0)
    got = pairwise_kernel([(features + 100).float()], 1.0)
    assert (got - expected).abs().max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(power=st.floats(0, 3), seed=st.integers(0, 99))
def test_combination_is_the_normalised_product(power, seed):
    unet, relation = (torch.softmax(3 * random(6, 5, seed=seed + i), dim=1) for i in range(2))
    expected = unet * relation**power
    torch.testing.assert_close(combine(unet, relation, power), expected / expected.sum(1, keepdim=True))


def test_combination_survives_probabilities_of_zero():
    unet = torch.tensor([[1.0, 0.0, 0.0]])
    result = combine(unet, torch.tensor([[0.0, 1.0, 0.0]]), 1.0)
    assert torch.isfinite(result).all() and abs(float(result.sum()) - 1) < 1e-6
