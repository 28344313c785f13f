"""Thin products are PyTorch's of one thread, to the bit, under any number of threads."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from otoc_lib.one_thread import Linear, linear, one_thread, softmax


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def tensors(rows, inner, columns, bias, dtype=torch.float32):
    generator = torch.Generator().manual_seed(rows)
    shapes = [(rows, inner), (columns, inner), *([(columns,)] if bias else [])]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def with_gradients(function, inputs):
    y = function(*inputs)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return [y, *torch.autograd.grad(y, inputs, dy)]


SHAPES = ((32000, 16, 20), (32000, 16, 13), (2661, 8, 20), (300, 32, 20), (1, 8, 20), (0, 8, 3))


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_that_of_one_thread_whatever_their_number(shape, bias):
    inputs = tensors(*shape, bias)
    torch.set_num_threads(1)
    expected = with_gradients(functional.linear, inputs)
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        got = with_gradients(linear, inputs)
        assert torch.get_num_threads() == count
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_gradients_are_right_and_taken_only_where_they_are_wanted():
    inputs = tensors(5, 3, 2, True, torch.float64)
    assert torch.autograd.gradcheck(linear, inputs)
    for wanted in range(3):
        for place, tensor in enumerate(inputs):
            tensor.requires_grad_(place == wanted)
        (got,) = torch.autograd.grad(linear(*inputs).square().sum(), [inputs[wanted]])
        (expected,) = torch.autograd.grad(functional.linear(*inputs).square().sum(), [inputs[wanted]])
        torch.testing.assert_close(got, expected)


def test_the_layer_has_the_weights_of_pytorchs_and_its_autocast():
    torch.manual_seed(0)
    ours = Linear(6, 4)
    torch.manual_seed(0)
    theirs = nn.Linear(6, 4)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    x = torch.randn(7, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ours(x)
        assert y.dtype == torch.bfloat16 and torch.equal(y, theirs(x))
        y.float().sum().backward()
    assert ours.weight.grad.dtype == torch.float32


def test_the_number_of_threads_comes_back_even_after_an_error():
    torch.set_num_threads(3)
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("shape", [(1, 1), (60, 24), (333, 333), (700, 48)])
def test_softmax_and_its_gradient_are_those_of_one_thread(shape):
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(shape, generator=generator) for _ in range(2))

    def both(function):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        return y.detach(), *torch.autograd.grad(y, leaf, dy)

    torch.set_num_threads(1)
    expected = both(softmax)
    for got, known in zip(expected, both(lambda leaf: functional.softmax(leaf, dim=1)), strict=True):
        torch.testing.assert_close(got, known)
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        assert all(torch.equal(a, b) for a, b in zip(both(softmax), expected, strict=True))


def test_the_gradient_of_softmax_is_right():
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(softmax, x)
