"""Batch normalisation over the voxels of all processes that train one network, on any device.

PyTorch's own is for CUDA alone. Every process sends the number of its rows, their mean and their squared deviations
from it; joined as Chan et al. (1979) do, those give the moments of all rows without cancellation. In the backward pass
it sends the two sums over its rows that the gradient of every row depends on.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from otoc_lib import processes
from otoc_lib.one_thread import one_thread


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
    relu: bool,
) -> Tensor:
    """``backend.batch_norm`` of the batch that the rows [V, C] of all processes are; V may differ among them."""
    y, mean, variance, count = _SharedNorm.apply(x, weight, bias, eps)
    with torch.no_grad():
        unbiased = variance * (count / (count - 1).clamp(min=1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_variance.lerp_(unbiased.to(running_variance.dtype), momentum)
    return functional.relu(y) if relu else y


class _SharedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        rows = x.to(weight.dtype)
        with one_thread():
            variance, mean = torch.var_mean(rows, dim=0, correction=0)  # [C]
        own = torch.cat([mean, variance * len(x), mean.new_full((1,), len(x))]).double()
        found = processes.stacked(own)  # [processes, 2 C + 1]
        means, deviations = found[:, :-1].chunk(2, dim=1)  # [processes, C]
        counts = found[:, -1:]  # [processes, 1]
        count = counts.sum()
        center = (counts * means).sum(0) / count
        spread = (deviations + counts * (means - center).square()).sum(0) / count  # the variance, [C]
        scale = (spread + eps).rsqrt()
        y = (rows - center.to(rows)) * (scale.to(rows) * weight) + bias
        ctx.save_for_backward(x, weight, center, scale)
        ctx.count = count
        ctx.mark_non_differentiable(center, spread, count)
        return y.to(x.dtype), center, spread, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, center, scale = ctx.saved_tensors
        dy = dy.to(weight.dtype)
        normal = (x.to(weight.dtype) - center.to(weight)) * scale.to(weight)  # [V, C]
        with one_thread():
            own = torch.stack([dy.sum(0), (dy * normal).sum(0)])  # the gradients of bias and weight, [2, C]
        shift, slope = (processes.total(own) / ctx.count.to(own)).unbind()
        dx = (dy - shift - normal * slope) * (weight * scale.to(weight))
        return dx.to(x.dtype), own[1], own[0], None
