import itertools

import numba
import pytest
import torch
import torch.nn.functional as F

from otoc_lib.sparse import batch_norm

# rows and channels: a single part, several parts with an unfinished last one, more channels than a long vector
SIZES = [(2, 1), (37, 5), (9001, 6), (4100, 16), (700, 112), (40, 600)]


def draw(rows, channels, dtype, offset=0.0):
    """x, running mean, running variance, weight and bias, and the gradient of the output."""
    generator = torch.Generator().manual_seed(rows)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    vectors = [normal(channels), normal(channels).exp(), normal(channels), normal(channels)]
    return [t.to(dtype) for t in [3 * normal(rows, channels) + offset, *vectors, normal(rows, channels)]]


def run(backend, tensors, of_batch, relu=True):
    """Output, the three gradients and the running statistics afterwards."""
    x, mean, variance, weight, bias, dy = (tensor.clone() for tensor in tensors)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    y = batch_norm(x, mean, variance, weight, bias, of_batch, momentum=0.1, eps=1e-4, relu=relu, backend=backend)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy), mean, variance]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("of_batch", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_compiled_normalisation_agrees_with_torch(size, of_batch, relu):
    tensors = draw(*size, torch.float64, offset=5.0)
    fast, plain = run("numba", tensors, of_batch, relu), run("torch", tensors, of_batch, relu)
    assert (fast[0] >= 0).all() == relu
    for value, expected in zip(fast, plain, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", SIZES[2:], ids=str)
def test_single_precision_is_as_exact_as_torch(size):
    """Far from zero mean, where sums of squares would cancel."""
    tensors = draw(*size, torch.float32, offset=30.0)
    exact = run("torch", [tensor.double() for tensor in tensors], True)
    fast, plain = run("numba", tensors, True), run("torch", tensors, True)
    for value, theirs, wanted in zip(fast, plain, exact, strict=True):
        assert value.dtype == torch.float32
        # an output near 0 may fall on the other side of the ReLU, which moves its gradient by as much as it is
        off, theirs_off = ((v - wanted).abs().flatten().quantile(0.999) for v in (value.double(), theirs.double()))
        assert off <= 4 * theirs_off + 1e-6 * wanted.abs().max()


def test_gradients_by_finite_differences():
    x, mean, variance, weight, bias, _ = draw(7, 3, torch.float64)

    def normal(of_batch, relu):
        return lambda *leaves: batch_norm(
            leaves[0], mean.clone(), variance.clone(), *leaves[1:], of_batch, 0.1, 1e-4, relu, backend="numba"
        )

    for of_batch, relu in itertools.product((True, False), repeat=2):
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        assert torch.autograd.gradcheck(normal(of_batch, relu), leaves)


def test_strides_and_the_number_of_threads_change_no_bit():
    tensors = draw(9001, 16, torch.float32)
    first = run("numba", tensors, True)
    before = numba.get_num_threads()
    numba.set_num_threads(min(3, numba.config.NUMBA_NUM_THREADS))
    again = run("numba", tensors, True)
    numba.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    turned = [tensors[0].t().contiguous().t(), *tensors[1:-1], tensors[-1].t().contiguous().t()]
    assert not turned[0].is_contiguous()
    assert all(torch.equal(a, b) for a, b in zip(first, run("numba", turned, True), strict=True))


def test_nan_is_not_hidden():
    tensors = draw(40, 4, torch.float32)
    tensors[0][3, 1] = torch.nan
    y = batch_norm(*tensors[:-1], True, 0.1, 1e-4, True, backend="numba")
    assert y[:, 1].isnan().all() and y[:, [0, 2, 3]].isfinite().all()
    assert F.relu(torch.tensor(torch.nan)).isnan()
