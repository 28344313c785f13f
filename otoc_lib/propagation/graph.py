"""The super-voxel graph: unary combination, pairwise kernel (eq. 5) and mean field for its Potts energy (eq. 3).

The oracle that enumerates pairs in Python floats is in the tests.
"""

from typing import Literal

import torch
from torch import Tensor


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
    A block without any spread becomes zeros.
    """
    centred = block - block.mean(0)
    spread = centred.square().sum(1).mean().sqrt()
    return centred / spread if spread > 0 else centred


def pairwise_kernel(blocks: list[Tensor], bandwidth: float) -> Tensor:
    """k(j, j') = exp(-1/2 * sum over blocks of |x_j - x_j'|^2), zero on the diagonal (eq. 5, lambda = sigma = 1).

    Args:
        blocks: per super-voxel features, each [M, D_b]: colour, position, U-Net feature, relation feature.
        bandwidth: factor on the standardised blocks; larger means narrower.

    Returns:
        [M, M], symmetric, in the dtype of the blocks.
    """
    features = torch.cat([bandwidth * standardise(block) for block in blocks], dim=1)  # [M, D]
    half_norms = 0.5 * features.square().sum(1)  # [M]
    # -1/2 |a - b|^2 = a.b - |a|^2/2 - |b|^2/2, one matrix product and everything else in place
    kernel = torch.addmm(half_norms[None].expand(len(features), -1), features, features.T, beta=-1.0)
    kernel.sub_(half_norms[:, None]).clamp_(max=0).exp_()
    return kernel.fill_diagonal_(0)


def mean_field(
    unary: Tensor,
    kernel: Tensor,
    weight: float,
    scaling: Literal["row_sum", "literal"] = "row_sum",
    steps: int = 10,
    tolerance: float = 1.0e-3,
) -> Tensor:
    """Synchronous mean field of the Potts energy of eq. 3: Q <- softmax(log P + w K Q).

    Args:
        unary: class probabilities P [M, C].
        kernel: [M, M], zero diagonal.
        weight: strength of the pairwise term; 0 returns P.
        scaling: ``row_sum`` divides ``weight`` by the mean row sum of the kernel, so that one weight suits rooms
            of any size; ``literal`` uses it as it stands (the paper's eq. 3 has weight 1).
        steps, tolerance: stop after so many steps, or once no entry of Q moves by ``tolerance``.

    Returns:
        Q [M, C], rows sum to one.
    """
    log_unary = unary.clamp_min(torch.finfo(unary.dtype).tiny).log()
    if scaling == "row_sum":
        row_sum = kernel.sum() / max(len(kernel), 1)
        weight = weight / float(row_sum) if row_sum > 0 else 0.0
    marginals = torch.softmax(log_unary, dim=1)
    for _ in range(steps):
        previous = marginals
        marginals = torch.softmax(torch.addmm(log_unary, kernel, previous, alpha=weight), dim=1)
        if (marginals - previous).abs().max() < tolerance:
            break
    return marginals
