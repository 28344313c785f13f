"""Muon (Jordan et al. 2024): momentum, with the update of every convolution made orthogonal before it is taken.

All directions of a weight then move by the same amount, not mostly the few that its gradients agree on, and fewer steps
lead as far (docs/decisions.md). torch.optim.Muon takes matrices only, in bfloat16, which many CPUs only emulate.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from otoc_lib.one_thread import one_thread

# Of the odd polynomial that drives every singular value into 0.7 to 1.2 within five steps (Jordan et al. 2024).
LINEAR, CUBIC, QUINTIC, STEPS = 3.4445, -4.7750, 2.0315, 5


class Muon(torch.optim.Optimizer):
    """Steps of root mean square 0.2 ``lr`` in every weight, so that rates that suit Adam suit it (Liu et al. 2025).

    Args:
        weights: of convolutions, [K, C_in, C_out]; each is treated as one matrix [K * C_in, C_out].
        lr: learning rate.
        momentum: of the Nesterov kind.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure: no loss is evaluated twice
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "average" not in state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"]
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"]).flatten(0, 1)  # [K * C_in, C_out]
                scale = 0.2 * math.sqrt(max(update.shape))
                with one_thread():  # on some processors the products round by how many share them
                    weight.add_(orthogonalised(update).view_as(weight), alpha=-group["lr"] * scale)


def orthogonalised(matrix: Tensor) -> Tensor:
    """U V' of the singular value decomposition U S V', its singular values 1 up to 0.3; [n, m].

    The quintic iteration X <- a X + b X X'X + c X (X'X)^2 only ever multiplies X by polynomials of X'X. So it runs on
    the smaller Gram matrix, and the large matrix is met twice instead of fifteen times.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return orthogonalised(matrix.T).T
    norm = matrix.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    scaled = matrix / norm  # singular values of at most 1
    gram = scaled.T @ scaled  # [m, m]
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(STEPS):
        factor = torch.addmm(LINEAR * identity, gram, torch.add(CUBIC * identity, gram, alpha=QUINTIC))
        product = product @ factor
        gram = factor @ gram @ factor
    return scaled @ product
