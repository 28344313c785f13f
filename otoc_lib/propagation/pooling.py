"""Super-voxel pooling (eq. 2)."""

import torch
from torch import Tensor


def pool_mean(values: Tensor, supervoxels: Tensor, num_supervoxels: int) -> Tensor:
    """Mean of the points' values in each super-voxel, differentiable.

    Args:
        values: float [N, D].
        supervoxels: int [N], ids 0..M-1.
        num_supervoxels: M.

    Returns:
        [M, D] in the dtype of ``values``; a super-voxel without points gets zeros.
    """
    supervoxels = supervoxels.long()
    sums = values.new_zeros(num_supervoxels, values.shape[1]).index_add_(0, supervoxels, values)  # [M, D]
    counts = torch.bincount(supervoxels, minlength=num_supervoxels).clamp_(min=1)  # [M]
    return sums / counts.to(values.dtype)[:, None]
