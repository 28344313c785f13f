"""The super-voxel graph: unary combination, pairwise kernel (eq. 5) and mean field for its Potts energy (eq. 3).

The oracle that enumerates pairs in Python floats is in the tests.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from otoc_lib.errors import OtocError

Scaling = Literal["row_sum", "literal"]
Multiply = Callable[[Tensor], Tensor]  # V [C, M] -> V K [C, M], however K is kept
WATCHED = 10_000  # super-voxels from which a step on a GPU costs more than asking it whether to stop
# Mean row sum of a kernel up to which there is nothing to propagate. Entries of float32 that are subnormal, below
# 2 ** -126, have lost digits or are 0; 2 ** -100 is far enough above them that they do not count, and that a weight
# divided by it is far from overflow.
VANISHED = 2.0**-100


def check_scaling(scaling: str) -> None:
    """OtocError for an unknown name."""
    if scaling not in get_args(Scaling):
        raise OtocError(f"propagation: scaling {scaling!r} is unknown; choose {' or '.join(get_args(Scaling))}")


def per_row_sum(weight: float, row_sum: float) -> float:
    """The weight that ``row_sum`` scaling uses: divided by the mean row sum of the kernel, 0 where that has vanished.

    The CPU's kernel compiles this too, so that every storage has one rule.
    """
    return weight / row_sum if row_sum > VANISHED else 0.0


def combine(unet: Tensor, relation: Tensor, power: float) -> Tensor:
    """P = P_U * P_R ** power, renormalised over classes.

    Args:
        unet, relation: class probabilities of the two networks, [M, C].
        power: trust in the relation network; 1 is the paper's product, 0 leaves the U-Net alone.

    Returns:
        [M, C], rows sum to one. Computed as logarithms, so that products of tiny numbers do not vanish.
    """
    tiny = torch.finfo(unet.dtype).tiny
    return torch.softmax(unet.clamp_min(tiny).log() + power * relation.clamp_min(tiny).log(), dim=1)


def standardise(block: Tensor) -> Tensor:
    """Centre a block of features [M, D] and divide it by the root mean square of its rows' norms.

    Centring also keeps the Gram form of the kernel exact in float32: distances do not drown in large norms.
    A block without any spread beyond rounding becomes zeros, one that is not finite or too large to be squared NaN.
    """
    if not len(block):
        return block
    mean = block.mean(0)  # [D]
    centred = block - mean
    spread = float(torch.linalg.vector_norm(centred)) / math.sqrt(len(block))
    rounding = 4 * torch.finfo(block.dtype).eps * float(torch.linalg.vector_norm(mean))
    if not math.isfinite(spread):
        return torch.full_like(block, math.nan)
    return torch.zeros_like(block) if spread <= rounding else centred / spread


def stack_blocks(blocks: list[Tensor], bandwidth: float) -> Tensor:
    """x [M, D]: the standardised blocks side by side, times ``bandwidth``."""
    return torch.cat([standardise(block) for block in blocks], dim=1).mul_(bandwidth)


def pairwise_kernel(blocks: list[Tensor], bandwidth: float) -> Tensor:
    """k(j, j') = exp(-1/2 * sum over blocks of |x_j - x_j'|^2), zero on the diagonal (eq. 5, lambda = sigma = 1).

    Args:
        blocks: per super-voxel features, each [M, D_b]: colour, position, U-Net feature, relation feature.
        bandwidth: factor on the standardised blocks; larger means narrower.

    Returns:
        [M, M], symmetric, in the dtype of the blocks.
    """
    features = stack_blocks(blocks, bandwidth)  # [M, D]
    half_norms = 0.5 * features.square().sum(1)  # [M]
    # -1/2 |a - b|^2 = a.b - |a|^2/2 - |b|^2/2, one matrix product and everything else in place
    kernel = torch.addmm(half_norms[None].expand(len(features), -1), features, features.T, beta=-1.0)
    kernel.sub_(half_norms[:, None]).clamp_(max=0).exp_()
    return kernel.fill_diagonal_(0)


def mean_field(
    unary: Tensor,
    kernel: Tensor | Multiply,
    weight: float,
    scaling: Scaling = "row_sum",
    steps: int = 10,
    tolerance: float = 1.0e-3,
) -> Tensor:
    """Synchronous mean field of the Potts energy of eq. 3: Q <- softmax(log P + w K Q).

    Args:
        unary: class probabilities P [M, C].
        kernel: [M, M], symmetric, zero diagonal, or a function that multiplies by it: V [C', M] -> V K.
        weight: strength of the pairwise term; 0 returns P.
        scaling: ``row_sum`` divides ``weight`` by the mean row sum of the kernel, so that one weight suits rooms
            of any size, and propagates nothing where that is at most ``VANISHED``: all super-voxels are too far
            apart. ``literal`` uses the weight as it stands (the paper's eq. 3 has weight 1).
        steps, tolerance: stop after so many steps, or once no entry of Q moves by ``tolerance``.

    Returns:
        Q [M, C], rows sum to one.

    Raises:
        OtocError: an unknown scaling.
    """
    check_scaling(scaling)
    # Transposed: vectors of numbers run along the super-voxels, whatever the number of classes.
    multiply = (lambda values: values @ kernel) if isinstance(kernel, Tensor) else kernel
    log_unary = unary.clamp_min(torch.finfo(unary.dtype).tiny).log().T.contiguous()  # [C, M]
    marginals = torch.softmax(log_unary, dim=0)
    if not len(unary):
        return marginals.T
    # A GPU runs ahead of the host: a small graph takes all steps there and ignores those after the one that converged.
    watched = not unary.is_cuda or len(unary) >= WATCHED
    moving = torch.ones((), dtype=torch.bool, device=unary.device)
    for step in range(steps):
        if step == 0 and scaling == "row_sum":
            # row sums of K beside Q K, in one product: a kernel that is not stored is not computed twice
            product = multiply(functional.pad(marginals, (0, 0, 0, 1), value=1.0))  # [C + 1, M]
            message, weight = product[:-1], per_row_sum(weight, float(product[-1].mean()))
        else:
            message = multiply(marginals)  # [C, M]
        updated = torch.softmax(torch.add(log_unary, message, alpha=weight), dim=0)
        moved = (updated - marginals).abs_().max()
        if watched:
            marginals = updated
            if float(moved) < tolerance:
                break
        else:
            marginals = torch.where(moving, updated, marginals)
            moving &= moved >= tolerance
    return marginals.T.contiguous()
