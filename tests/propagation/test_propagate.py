"""Every storage of propagation against the plain kernel and mean field in float64, their limits, and bad input."""

import importlib.util
import math
import sys

import hypothesis.strategies as st
import numba
import pytest
import torch
from hypothesis import assume, example, given, settings
from random_graphs import random_graph
from tiny_graphs import OPTIONS, oracle, tiny_graphs

from otoc_lib.errors import OtocError
from otoc_lib.propagation import mean_field, pairwise_kernel, propagate_graph
from otoc_lib.propagation.cpu_kernel import TILE, stored_elements
from otoc_lib.propagation.graph import stack_blocks
from otoc_lib.propagation.propagate import choose_storage, propagate_by_products
from otoc_lib.propagation.tiles import GIB, chunked_kernel, dense_elements, dense_kernel

CPU = torch.device("cpu")
STORAGES = ("dense", "chunked")


def plainly(unary, blocks, bandwidth, weight, *rest):
    return mean_field(unary, pairwise_kernel(blocks, bandwidth), weight, *rest)


@pytest.mark.parametrize("kernel", (dense_kernel, chunked_kernel))
@pytest.mark.parametrize("scaling", ("row_sum", "literal"))
@pytest.mark.parametrize(("size", "tile"), ((1, 4), (3, 1), (4, 4), (5, 4), (37, 8), (64, 16), (90, 1024)))
def test_tiles_of_pytorch_equal_the_plain_equations(kernel, scaling, size, tile):
    unary, blocks = random_graph(size, seed=size)
    weight = 2.0 if scaling == "row_sum" else 0.1
    got = mean_field(unary, kernel(stack_blocks(blocks, 1.5), tile), weight, scaling, 7, 1e-3)
    torch.testing.assert_close(got, plainly(unary, blocks, 1.5, weight, scaling, 7, 1e-3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scaling", ("row_sum", "literal"))
@pytest.mark.parametrize("size", (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 192, 193, 500))
def test_the_compiled_storages_equal_the_plain_equations(scaling, size):
    """One block, an even and an odd number of them, whole and not, with 1 to 24 classes."""
    unary, blocks = random_graph(size, seed=size, classes=1 + size % 24)
    weight = 2.0 if scaling == "row_sum" else 0.1
    expected = plainly(unary, blocks, 1.5, weight, scaling, 7, 1e-3)
    dense, chunked = (
        propagate_graph(
            unary, blocks, bandwidth=1.5, weight=weight, scaling=scaling, steps=7, tolerance=1e-3, storage=storage
        )
        for storage in STORAGES
    )
    torch.testing.assert_close(dense, expected, rtol=0, atol=1e-13)
    assert torch.equal(dense, chunked)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 200),
    widths=st.lists(st.integers(0, 33), min_size=1, max_size=4),
    classes=st.integers(1, 24),
    bandwidth=st.floats(0.1, 5),
    seed=st.integers(0, 999),
)
def test_compiled_graphs_of_any_shape_equal_the_plain_equations(size, widths, classes, bandwidth, seed):
    unary, blocks = random_graph(size, widths, classes, seed)
    options = {"bandwidth": bandwidth, "weight": 3 / size, "scaling": "literal", "steps": 6, "tolerance": 0.0}
    expected = plainly(unary, blocks, *options.values())
    for dtype, rounding in ((torch.float64, 1e-13), (torch.float32, 2e-5)):
        cast = unary.to(dtype), [block.to(dtype) for block in blocks]
        dense, chunked = (propagate_graph(*cast, **options, storage=storage) for storage in STORAGES)
        assert dense.dtype == dtype and dense.shape == expected.shape
        torch.testing.assert_close(dense.double(), expected, rtol=0, atol=rounding)
        assert torch.equal(dense, chunked)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_the_number_of_threads_changes_no_bit(dtype):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two threads")
    unary, blocks = random_graph(500, (3, 32), 20)
    unary, blocks = unary.to(dtype), [block.to(dtype) for block in blocks]
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results += [
                propagate_graph(unary, blocks, bandwidth=1.5, weight=3.0, storage=storage) for storage in STORAGES
            ]
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def pair():
    """Two super-voxels that differ in their only feature, and disagree."""
    unary = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    return unary, [torch.tensor([[0.0], [1.0]], dtype=torch.float64)]


@settings(max_examples=300, deadline=None)
@given(graph=tiny_graphs())
@example(graph=(*pair(), 6.7, 3.0, "row_sum"))  # a row sum subnormal in float32: a weight divided by it overflows
@example(graph=(*pair(), 19.0, 3.0, "row_sum"))  # in float64
@example(graph=(*pair(), 30.0, 3.0, "row_sum"))  # and 0
@example(graph=(*pair(), 6.5, 3.0, "row_sum"))  # normal, but so small that a weight of 3 is nearly too large
@example(graph=(*pair(), 5.0, 3.0, "row_sum"))
def test_tiny_graphs_equal_the_enumeration_of_pairs_by_every_path(graph):
    unary, blocks, bandwidth, weight, scaling = graph
    expected = oracle(*graph)
    assume(expected is not None)
    options = {"weight": weight, "scaling": scaling, **OPTIONS}
    for dtype, rounding in ((torch.float64, 1e-9), (torch.float32, 2e-3)):
        cast = unary.to(dtype), [block.to(dtype) for block in blocks]
        features = stack_blocks(cast[1], bandwidth)
        results = [propagate_graph(*cast, bandwidth=bandwidth, **options, storage=storage) for storage in STORAGES]
        results += [propagate_by_products(*cast, bandwidth, **options, storage=storage) for storage in STORAGES]
        results += [mean_field(cast[0], kernel(features, 1), **options) for kernel in (dense_kernel, chunked_kernel)]
        results.append(mean_field(cast[0], pairwise_kernel(cast[1], bandwidth), **options))
        for got in results:
            assert got.dtype == dtype
            torch.testing.assert_close(got.double(), expected, rtol=0, atol=rounding)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_where_the_kernel_vanishes_is_where_a_row_sum_reaches_two_to_the_minus_100(dtype):
    """k of a pair is exp(-2 bandwidth^2): every path returns the unary on one side and propagates on the other."""
    unary, blocks = pair()
    unary, blocks = unary.to(dtype), [block.to(dtype) for block in blocks]
    for power, propagates in ((-99.9, True), (-100.1, False)):
        options = {"bandwidth": math.sqrt(-power * math.log(2) / 2), "weight": 3.0, "scaling": "row_sum", **OPTIONS}
        for storage in STORAGES:
            for run in (propagate_graph, propagate_by_products):
                moved = (run(unary, blocks, **options, storage=storage) - unary).abs().max()
                assert moved > 0.5 if propagates else moved < 1e-6


@settings(max_examples=100, deadline=None)
@given(graph=tiny_graphs(), value=st.sampled_from([math.nan, math.inf, -math.inf]), where=st.integers(0, 99))
def test_one_value_that_is_not_finite_is_refused_by_every_path(graph, value, where):
    unary, blocks, bandwidth, weight, scaling = graph
    spoilt = [unary.clone(), *(block.clone() for block in blocks)]
    one = spoilt[where % len(spoilt)].view(-1)
    one[where // len(spoilt) % len(one)] = value
    for dtype in (torch.float32, torch.float64):
        cast = [values.to(dtype) for values in spoilt]
        options = {"bandwidth": bandwidth, "weight": weight, "scaling": scaling, **OPTIONS}
        for storage in STORAGES:
            for run in (propagate_graph, propagate_by_products):
                with pytest.raises(OtocError, match="holds NaN or infinite values in 1 of"):
                    run(cast[0], cast[1:], **options, storage=storage)


def test_features_that_do_not_lie_row_by_row_or_need_gradients_are_taken_too():
    unary, blocks = random_graph(70)
    expected = propagate_graph(unary, blocks, bandwidth=1.5, weight=2.0)
    turned = [block.T.contiguous().T.requires_grad_() for block in blocks]
    assert torch.equal(
        propagate_graph(unary.T.contiguous().T.requires_grad_(), turned, bandwidth=1.5, weight=2.0), expected
    )


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_far_and_identical_super_voxels(dtype):
    """Between clusters far apart the kernel is exactly zero, within one exactly one."""
    _, blocks = random_graph(150, (4,))
    unary = torch.softmax(random_graph(150, classes=5)[0].log() / 2, dim=1).to(dtype)
    cluster = torch.arange(150) % 3
    features = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]], dtype=dtype)[cluster]
    for storage in STORAGES:
        got = propagate_graph(unary, [features], bandwidth=1e3, weight=0.1, scaling="literal", storage=storage)
        alike = (cluster[:, None] == cluster).to(dtype).fill_diagonal_(0)
        torch.testing.assert_close(got, mean_field(unary, alike, 0.1, "literal"), rtol=1e-5, atol=1e-6)
        apart = [blocks[0].to(dtype)]  # no pair agrees at all
        alone = propagate_graph(unary, apart, bandwidth=1e4, weight=5.0, storage=storage)
        torch.testing.assert_close(alone, unary)


@pytest.mark.parametrize("distance", [5.5, 6.2, 6.4, 12.5, 13.2])
def test_a_weight_over_row_sums_of_next_to_nothing_does_not_overflow(distance):
    """Two super-voxels whose kernel is at the end of float32, about 1e-38: their mean row sum divides the weight."""
    unary, blocks = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), [torch.tensor([[0.0, 0.0], [1.0, 0.0]])]
    for storage in STORAGES:
        got = propagate_graph(unary, blocks, bandwidth=distance, weight=1e6, storage=storage)
        torch.testing.assert_close(got.sum(dim=1), torch.ones(2))
    plain = mean_field(unary, pairwise_kernel(blocks, distance), 1e6)
    torch.testing.assert_close(plain.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("bandwidth", [0.001, 10_000.0])
@pytest.mark.parametrize("weight", [0.0, 1e6])
@pytest.mark.parametrize("scaling", ["row_sum", "literal"])
def test_graphs_at_the_edges_of_the_ranges_stay_probabilities(bandwidth, weight, scaling):
    for size, classes in ((1, 2), (2, 20), (150, 13)):
        unary, blocks = random_graph(size, (3, 4), classes=classes)
        unary = torch.nn.functional.one_hot(unary.argmax(1), classes).float()
        for storage in STORAGES:
            options = {"bandwidth": bandwidth, "weight": weight, "scaling": scaling, "steps": 10, "tolerance": 0.0}
            got = propagate_graph(unary, [b.float() for b in blocks], **options, storage=storage)
            torch.testing.assert_close(got.sum(dim=1), torch.ones(size))


def test_class_probabilities_of_zero_give_finite_marginals():
    unary = torch.zeros(80, 3)
    unary[:, 0] = 1
    for storage in STORAGES:
        got = propagate_graph(unary, [torch.randn(80, 3)], bandwidth=1.0, weight=50.0, storage=storage)
        torch.testing.assert_close(got, unary)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 40), tile=st.integers(1, 50), classes=st.integers(1, 6), seed=st.integers(0, 999))
def test_tiles_multiply_like_the_whole_kernel(size, tile, classes, seed):
    _, blocks = random_graph(size, seed=seed)
    values = torch.randn(classes, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    features = torch.cat(blocks, dim=1)
    differences = features[:, None] - features[None]
    expected = values @ (-0.5 * differences.square().sum(2)).exp().fill_diagonal_(0)
    for kernel in (dense_kernel, chunked_kernel):
        multiply = kernel(features, tile)
        for _ in range(2):  # chunks overwrite each other: the second product must not notice
            torch.testing.assert_close(multiply(values), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("storage", STORAGES)
def test_float32_stays_within_1e_5_of_float64(storage):
    unary, blocks = random_graph(400, (3, 3, 32, 32), 20)
    got = propagate_graph(
        unary.float(), [block.float() for block in blocks], bandwidth=2.0, weight=3.0, tolerance=0.0, storage=storage
    )
    assert got.dtype == torch.float32
    assert (got - plainly(unary, blocks, 2.0, 3.0, "row_sum", 10, 0.0)).abs().max() < 1e-5


@pytest.mark.parametrize("storage", STORAGES)
@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 30), seed=st.integers(0, 999), weight=st.floats(0, 20))
def test_rows_sum_to_one_and_the_order_of_supervoxels_does_not_matter(storage, size, seed, weight):
    unary, blocks = random_graph(size, seed=seed)
    marginals = propagate_graph(unary, blocks, bandwidth=1.5, weight=weight, tolerance=0.0, storage=storage)
    torch.testing.assert_close(marginals.sum(1), torch.ones(size, dtype=torch.float64))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    shuffled = propagate_graph(
        unary[order], [b[order] for b in blocks], bandwidth=1.5, weight=weight, tolerance=0.0, storage=storage
    )
    torch.testing.assert_close(shuffled, marginals[order], rtol=0, atol=1e-8)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_weight_of_zero_or_no_steps_return_the_unary(storage):
    unary, blocks = random_graph(20)
    torch.testing.assert_close(propagate_graph(unary, blocks, bandwidth=1.0, weight=0.0, storage=storage), unary)
    torch.testing.assert_close(
        propagate_graph(unary, blocks, bandwidth=1.0, weight=5.0, steps=0, storage=storage), unary
    )


def test_steps_end_once_nothing_moves():
    unary, blocks = random_graph(30)
    kernel, calls = pairwise_kernel(blocks, 1.5), []

    def multiply(values):
        calls.append(len(values))
        return values @ kernel

    converged = mean_field(unary, multiply, 0.2, "row_sum", 50, 1e-3)
    assert 1 < len(calls) < 10 and calls[0] == 5 and set(calls[1:]) == {4}  # the first brings the row sums too
    torch.testing.assert_close(converged, mean_field(unary, kernel, 0.2, "row_sum", len(calls), 0.0))


@pytest.mark.parametrize("storage", STORAGES)
def test_degenerate_graphs(storage):
    unary, _ = random_graph(6)
    equal = [torch.full((6, 3), 0.1), torch.full((6, 2), 1e3)]
    got = propagate_graph(unary.float(), equal, bandwidth=2.0, weight=1.0, storage=storage)  # every pair agrees fully
    everyone = torch.ones(6, 6).fill_diagonal_(0)
    torch.testing.assert_close(got, mean_field(unary.float(), everyone, 1.0))

    empty, no_blocks = random_graph(0)
    assert propagate_graph(empty, no_blocks, bandwidth=2.0, weight=1.0, storage=storage).shape == (0, 4)


def test_rounding_noise_is_no_spread():
    """Means over points of one colour differ in their last bit; that must not become a feature."""
    unary, (block,) = random_graph(50, (3,))
    noise = torch.full((50, 3), 0.3) * (1 + 1e-7 * torch.rand(50, 1, generator=torch.Generator().manual_seed(1)))
    with_noise = propagate_graph(unary.float(), [noise, block.float()], bandwidth=2.0, weight=2.0)
    torch.testing.assert_close(with_noise, propagate_graph(unary.float(), [block.float()], bandwidth=2.0, weight=2.0))


@pytest.mark.parametrize("storage", STORAGES)
def test_features_far_from_the_origin(storage):
    unary, blocks = random_graph(200, (3, 6))
    got = propagate_graph(
        unary.float(), [(block + 1e3).float() for block in blocks], bandwidth=1.5, weight=2.0, storage=storage
    )
    assert (got - plainly(unary, blocks, 1.5, 2.0)).abs().max() < 1e-3  # float32 itself holds 1e3 to 6e-5


def test_half_precision_is_computed_in_float32_even_under_autocast():
    unary, blocks = random_graph(60, (3, 32), 5)
    halves = [block.half() for block in blocks]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = propagate_graph(unary.half(), halves, bandwidth=2.0, weight=2.0)
    expected = plainly(unary.half().double(), [block.double() for block in halves], 2.0, 2.0)
    assert got.dtype == torch.float32 and (got - expected).abs().max() < 1e-4


def test_auto_stores_the_kernel_up_to_the_budget():
    size = 5000
    exact = 4 * stored_elements(size) / GIB
    assert choose_storage("auto", size, CPU, exact) == "dense"
    assert choose_storage("auto", size, CPU, 0.999 * exact) == "chunked"
    assert choose_storage("auto", size, CPU, 1.001 * exact, itemsize=8) == "chunked"
    assert choose_storage("dense", size, CPU, 0.0) == "dense"
    assert exact < 0.55 * 4 * size**2 / GIB
    assert choose_storage("auto", size, torch.device("mps"), 4 * dense_elements(size, 8192) / GIB) == "dense"


def test_stored_tiles_fill_exactly_the_room_that_was_counted():
    for size, tile in ((10, 4), (8, 4), (3, 8), (1, 1)):
        covered = sum(1 for i in range(size) for j in range(size) if j // tile >= i // tile)
        assert dense_elements(size, tile) == covered
    assert [stored_elements(size) // TILE**2 for size in (1, TILE, TILE + 1, 5 * TILE)] == [1, 1, 4, 15]


@pytest.mark.parametrize("value", (float("nan"), float("inf")))
def test_values_that_are_not_finite_name_their_block(value):
    unary, blocks = random_graph(8)
    blocks[1][3:5] = value
    with pytest.raises(OtocError, match=r"feature block 2 of 2 .* in 2 of 8 super-voxels"):
        propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0)
    unary, blocks = random_graph(8)
    unary[0, 0] = value
    with pytest.raises(OtocError, match=r"class probabilities .* in 1 of 8 super-voxels"):
        propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0)


def test_shapes_that_do_not_fit_are_named():
    unary, blocks = random_graph(8)
    with pytest.raises(OtocError, match=r"feature block 1 of 2 .* has shape \(7, 3\)"):
        propagate_graph(unary, [blocks[0][:7], blocks[1]], bandwidth=1.0, weight=1.0)
    with pytest.raises(OtocError, match="at least one block"):
        propagate_graph(unary, [], bandwidth=1.0, weight=1.0)


@pytest.mark.parametrize("storage", ("auto", *STORAGES))
@pytest.mark.parametrize("size", (0, 8))
def test_an_unknown_scaling_is_refused_whatever_the_storage(storage, size):
    unary, blocks = random_graph(size)
    with pytest.raises(OtocError, match="propagation: scaling 'rowsum' is unknown; choose row_sum or literal"):
        propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0, scaling="rowsum", storage=storage)


def test_a_storage_that_cannot_run_here_is_one_clear_error(monkeypatch):
    unary, blocks = random_graph(8)
    with pytest.raises(OtocError, match="propagation: 'sparse' is unknown; choose auto, dense, chunked, triton"):
        propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0, storage="sparse")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if importlib.util.find_spec("triton"):
        with pytest.raises(OtocError, match="propagation: triton needs a CUDA GPU, not cpu"):
            propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0, storage="triton")
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OtocError, match="propagation: triton is not installed; choose auto or chunked"):
        propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0, storage="triton")


def test_a_stored_kernel_beyond_the_memory_is_one_clear_error(monkeypatch):
    def no_memory(*_):
        raise RuntimeError("not enough memory")

    unary, blocks = random_graph(8)
    monkeypatch.setattr(torch.Tensor, "new_empty", no_memory)
    with pytest.raises(OtocError, match="propagation: dense needs 0.0 GiB for 8 super-voxels, more than there is"):
        dense_kernel(blocks[0], 4)
    with pytest.raises(OtocError, match="propagation: dense needs 0.0 GiB for 8 super-voxels, more than there is"):
        propagate_graph(unary, blocks, bandwidth=1.0, weight=1.0, storage="dense")


@pytest.mark.parametrize("storage", STORAGES)
def test_features_too_large_to_be_squared_are_one_clear_error(storage):
    unary, blocks = random_graph(8)
    options = {"bandwidth": 1.0, "weight": 1.0, "scaling": "row_sum", **OPTIONS, "storage": storage}
    for run in (propagate_graph, propagate_by_products):
        with pytest.raises(OtocError, match="propagation: features too large to be squared"):
            run(unary, [1e200 * block for block in blocks], **options)
