"""Super-voxel pooling (eq. 2) and majority votes."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from otoc_lib.errors import OtocError
from otoc_lib.jit import compiled
from otoc_lib.labels import IGNORE


def pool_mean(values: Tensor, supervoxels: Tensor, num_supervoxels: int) -> Tensor:
    """Mean of the points' values in each super-voxel, differentiable.

    Args:
        values: float [N, D].
        supervoxels: int [N], ids 0..M-1.
        num_supervoxels: M.

    Returns:
        [M, D] in the dtype of ``values``; a super-voxel without points gets zeros.

    Raises:
        OtocError: on the CPU, an id outside 0..M-1.
    """
    if values.is_cpu and values.dtype in (torch.float32, torch.float64):
        return _PoolMean.apply(values, supervoxels, num_supervoxels)
    return plain_pool_mean(values, supervoxels, num_supervoxels)


def plain_pool_mean(values: Tensor, supervoxels: Tensor, num_supervoxels: int) -> Tensor:
    """Twin of ``pool_mean`` in plain PyTorch, on any device."""
    supervoxels = supervoxels.long()
    sums = values.new_zeros(num_supervoxels, values.shape[1]).index_add_(0, supervoxels, values)  # [M, D]
    counts = values.new_zeros(num_supervoxels).index_add_(0, supervoxels, values.new_ones(len(values)))  # [M]
    return sums / counts.clamp_(min=1)[:, None]


class _PoolMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, supervoxels: Tensor, num_supervoxels: int) -> Tensor:
        means = values.new_zeros(num_supervoxels, values.shape[1])
        counts = torch.zeros(num_supervoxels, dtype=torch.int64)
        if not _average(values.contiguous().numpy(), supervoxels.numpy(), means.numpy(), counts.numpy()):
            raise OtocError(f"supervoxels: pooling needs ids 0..{num_supervoxels - 1}, one for every point")
        ctx.save_for_backward(supervoxels, counts)
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        supervoxels, counts = ctx.saved_tensors
        return functional.embedding(supervoxels, gradient / counts.clamp(min=1)[:, None]), None, None


@compiled(parallel=False)
def _average(values, supervoxels, means, counts):
    """Fill means [M, D] and counts [M], both zeros, in the order of the points; False where an id is out of range."""
    size, width = means.shape
    if len(supervoxels) != len(values):
        return False
    for i in range(len(values)):
        j = supervoxels[i]
        if j < 0 or j >= size:
            return False
        counts[j] += 1
        for d in range(width):
            means[j, d] += values[i, d]
    for j in range(size):
        for d in range(width):
            means[j, d] /= max(counts[j], 1)
    return True


def majority_labels(labels: Tensor, supervoxels: Tensor, num_supervoxels: int, num_classes: int) -> Tensor:
    """Most frequent label of the labelled points of each super-voxel, int64 [M]; IGNORE where there is none.

    Args:
        labels: int [N], 0..C-1 or IGNORE, on the CPU; supervoxels: int [N], ids 0..M-1.

    Raises:
        OtocError: a label or an id is out of range.
    """
    votes = torch.zeros(num_supervoxels, num_classes, dtype=torch.int64)
    if not _count_votes(labels.numpy(), supervoxels.numpy(), votes.numpy()):
        raise OtocError(
            f"labels and supervoxels: voting needs classes 0..{num_classes - 1} and ids 0..{num_supervoxels - 1}"
        )
    most, winner = votes.max(dim=1)
    return torch.where(most > 0, winner, IGNORE)


@compiled(parallel=False)
def _count_votes(labels, supervoxels, votes):
    """Add the labelled points to votes [M, C]; False where a label or an id is out of range."""
    size, classes = votes.shape
    for i in range(len(labels)):
        j, label = supervoxels[i], labels[i]
        if label == IGNORE:
            continue
        if j < 0 or j >= size or label < 0 or label >= classes:
            return False
        votes[j, label] += 1
    return True
