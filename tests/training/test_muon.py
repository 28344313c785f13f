"""Muon: its orthogonal updates beside the singular value decomposition and PyTorch's own form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from otoc_lib.training.muon import CUBIC, LINEAR, QUINTIC, STEPS, Muon, orthogonalised


def plain_iteration(matrix):
    """The quintic iteration as it is written down, on the whole matrix."""
    x = matrix / matrix.norm()
    for _ in range(STEPS):
        gram = x.T @ x
        x = LINEAR * x + x @ (CUBIC * gram + QUINTIC * gram @ gram)
    return x


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 4), st.integers(0, 2**16))
def test_the_iteration_on_the_gram_matrix_equals_that_on_the_whole_matrix(rows, columns, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    matrix *= torch.logspace(0, -spread, columns, dtype=torch.float64)  # singular values far apart
    torch.testing.assert_close(orthogonalised(matrix), plain_iteration(matrix), rtol=1e-8, atol=1e-10)
    single = orthogonalised(matrix.float())
    torch.testing.assert_close(single.double(), plain_iteration(matrix), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(432, 16), (16, 432), (81, 80)])
def test_an_update_has_the_singular_vectors_of_its_matrix_and_values_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalised(matrix) @ right.T
    diagonal = found.diagonal()
    assert (found - torch.diag(diagonal)).abs().max() < 1e-10
    assert ((diagonal > 0.65) & (diagonal < 1.25))[values > values[0] / 50].all()
    torch.testing.assert_close(orthogonalised(1000 * matrix), orthogonalised(matrix))


def test_steps_equal_those_of_pytorch_on_a_matrix_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(54, 8, generator=generator) for _ in range(4)]
    start = torch.randn(54, 8, generator=generator)
    ours, theirs = nn.Parameter(start.view(27, 2, 8).clone()), nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], lr=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0, adjust_lr_fn="match_rms_adamw"),
    )
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.view(27, 2, 8), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved, expected = ours.detach().view(54, 8) - start, theirs.detach() - start
    assert (moved - expected).norm() < 0.02 * expected.norm()


def test_a_weight_without_gradient_or_with_a_zero_one_stays():
    weights = [nn.Parameter(torch.ones(8, 2, 3)) for _ in range(2)]
    weights[1].grad = torch.zeros(8, 2, 3)
    Muon(weights, lr=0.1).step()
    assert all(torch.equal(weight, torch.ones(8, 2, 3)) for weight in weights)


def test_a_step_has_the_stated_size():
    weight = nn.Parameter(torch.zeros(27, 16, 32))
    weight.grad = torch.randn(27, 16, 32, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.01).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.2)
