"""Batch normalisation and ReLU in one operation on the CPU, compiled by numba, for float32 and float64.

Each direction reads its rows twice, once for the sums over the voxels and once for the result, and nothing is stored
between the normalisation and the ReLU. Loops over few channels are short, so whole rows are joined to vectors of about
LONG numbers. Sums run over PART vectors in the type of the rows and over those parts in float64, whatever the number of
threads: the result does not depend on it.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from otoc_lib.jit import compiled

LONG = 512
PART = 64


@compiled(parallel=False)
def _repeated(values, x):
    """Values of the channels, [C], as often as rows of x make a vector, in the type of x."""
    rows = max(LONG // len(values), 1)
    long = np.empty((rows, len(values)), x.dtype)
    for row in range(rows):
        for channel in range(len(values)):  # assigned as arrays, the check of their shapes compiles for seconds
            long[row, channel] = values[channel]
    return long.reshape(-1)


@compiled(parallel=False)
def _fold(long, sums):
    """Sums of the channels of a vector of joined rows, in its type."""
    for channel in range(len(sums)):
        total = long[channel]
        for i in range(channel + len(sums), len(long), len(sums)):
            total += long[i]
        sums[channel] = total


@compiled(parallel=False)
def _add_moments(x, first, total, squares):
    for i in range(len(x)):
        difference = x[i] - first[i]
        total[i] += difference
        squares[i] += difference * difference


@compiled(parallel=False)
def _set_normal(x, scale, shift, y):
    zero = x.dtype.type(0)
    for i in range(len(x)):
        value = x[i] * scale[i] + shift[i]
        y[i] = zero if value <= zero else value  # NaN stays


@compiled(parallel=False)
def _set_kept(x, scale, shift, dy, kept):
    zero = x.dtype.type(0)
    for i in range(len(x)):
        g = dy[i]
        kept[i] = zero if x[i] * scale[i] + shift[i] <= zero else g


@compiled(parallel=False)
def _add_gradients(x, kept, mean, total, products):
    for i in range(len(x)):  # apart from _set_kept: with more arrays than these LLVM gives up vector instructions
        total[i] += kept[i]
        products[i] += kept[i] * (x[i] - mean[i])


@compiled(parallel=False)
def _set_gradient(x, kept, mean, scale, offset, slope, dx):
    for i in range(len(x)):
        dx[i] = kept[i] * scale[i] - offset[i] - (x[i] - mean[i]) * slope[i]


@compiled()
def _moments(x):
    """Mean and biased variance, float64 [C], of x [V, C]; of its differences to the first row, against cancellation."""
    channels, flat = x.shape[1], x.reshape(-1)
    first = _repeated(x[0], x)
    long, size = len(first), PART * len(first)
    sums = np.empty((-(-len(flat) // size), 2, channels))
    for part in prange(len(sums)):
        end = min((part + 1) * size, len(flat))
        total, squares = np.zeros(long, x.dtype), np.zeros(long, x.dtype)
        for i in range(part * size, end, long):
            _add_moments(flat[i : min(i + long, end)], first, total, squares)
        _fold(total, sums[part, 0])
        _fold(squares, sums[part, 1])
    sums = sums.sum(0) / len(x)
    return x[0] + sums[0], np.maximum(sums[1] - sums[0] * sums[0], 0)


@compiled()
def _forward(x, running_mean, running_variance, weight, bias, of_batch, momentum, eps, y):
    """Fills y, updates the running statistics with ``of_batch``; returns the mean and deviation used, float64 [C]."""
    if of_batch:
        mean, variance = _moments(x)
        running_mean += momentum * (mean - running_mean)
        running_variance += momentum * (variance * (len(x) / (len(x) - 1)) - running_variance)
    else:
        mean, variance = running_mean.astype(np.float64), running_variance.astype(np.float64)
    deviation = np.sqrt(variance + eps)
    scale, shift = _repeated(weight / deviation, x), _repeated(bias - mean * weight / deviation, x)
    flat, result = x.reshape(-1), y.reshape(-1)
    long, size = len(scale), PART * len(scale)
    for part in prange(-(-len(flat) // size)):
        end = min((part + 1) * size, len(flat))
        for i in range(part * size, end, long):
            j = min(i + long, end)
            _set_normal(flat[i:j], scale, shift, result[i:j])
    return mean, deviation


@compiled()
def _gradient_sums(x, dy, mean, scale, shift):
    """Sums over the voxels of g and of g * (x - mean), float64 [2, C], g being dy where the ReLU let x through."""
    channels, flat, gradient = x.shape[1], x.reshape(-1), dy.reshape(-1)
    mean, scale, shift = _repeated(mean, x), _repeated(scale, x), _repeated(shift, x)
    long, size = len(mean), PART * len(mean)
    sums = np.empty((-(-len(flat) // size), 2, channels))
    for part in prange(len(sums)):
        end = min((part + 1) * size, len(flat))
        total, products, kept = np.zeros(long, x.dtype), np.zeros(long, x.dtype), np.empty(long, x.dtype)
        for i in range(part * size, end, long):
            j = min(i + long, end)
            _set_kept(flat[i:j], scale, shift, gradient[i:j], kept)
            _add_gradients(flat[i:j], kept, mean, total, products)
        _fold(total, sums[part, 0])
        _fold(products, sums[part, 1])
    return sums.sum(0)


@compiled()
def _backward(x, dy, weight, bias, mean, deviation, of_batch, dx):
    """Fills dx; returns the gradients of weight and bias, float64 [2, C]."""
    scale, shift = weight / deviation, bias - mean * weight / deviation  # as in _forward, to the last bit
    total, product = _gradient_sums(x, dy, mean, scale, shift)
    share = of_batch / len(x)  # statistics of the batch depend on x, running ones do not
    offset, slope = _repeated(share * scale * total, x), _repeated(share * scale / deviation**2 * product, x)
    middle, scale, shift = _repeated(mean, x), _repeated(scale, x), _repeated(shift, x)
    flat, gradient, result = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    long, size = len(scale), PART * len(scale)
    for part in prange(-(-len(flat) // size)):
        end = min((part + 1) * size, len(flat))
        kept = np.empty(long, x.dtype)
        for i in range(part * size, end, long):
            j = min(i + long, end)
            _set_kept(flat[i:j], scale, shift, gradient[i:j], kept)
            _set_gradient(flat[i:j], kept, middle, scale, offset, slope, result[i:j])
    return np.stack((product / deviation, total))


class _BatchNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, running_mean, running_variance, weight, bias, of_batch, momentum, eps) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        channels = (tensor.detach().numpy() for tensor in (running_mean, running_variance, weight, bias))
        ctx.statistics = _forward(x.numpy(), *channels, of_batch, momentum, eps, y.numpy())
        ctx.save_for_backward(x, weight, bias)
        ctx.of_batch = of_batch
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, weight, bias = ctx.saved_tensors
        arrays = (tensor.detach().numpy() for tensor in (x, dy.contiguous(), weight, bias))
        dx = torch.empty_like(x)
        sums = _backward(*arrays, *ctx.statistics, ctx.of_batch, dx.numpy())
        dweight, dbias = torch.from_numpy(sums).to(weight.dtype)
        return dx, None, None, dweight, dbias, None, None, None


def batch_norm_relu(
    x: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    of_batch: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """relu(F.batch_norm(...)) of CPU tensors in float32 or float64, with autograd; arguments as in backend."""
    return _BatchNormReLU.apply(x, running_mean, running_variance, weight, bias, of_batch, momentum, eps)
