"""Batch normalisation, and a ReLU in the same operation where one follows, on the CPU, compiled by numba.

For float32 and float64. Values up to a floor become the floor and let no gradient through: 0 is the ReLU, -inf is none.

Each direction reads its rows twice, once for the sums over the voxels and once for the result, and nothing is stored
between the normalisation and the ReLU. Loops over few channels are short, so whole rows are joined to vectors of about
LONG numbers. Sums run over PART vectors in the type of the rows and over those parts in float64, whatever the number of
threads: the result does not depend on it.

A parallel function holds its loop and nothing else, and channels are walked one by one: arrays in parallel functions,
and sums along an axis anywhere, take numba seconds each to compile.
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
    long = np.empty(max(LONG // len(values), 1) * len(values), x.dtype)
    for i in range(len(long)):
        long[i] = values[i % len(values)]
    return long


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
def _set_normal(x, scale, shift, floor, y):
    for i in range(len(x)):
        value = x[i] * scale[i] + shift[i]
        y[i] = floor if value <= floor else value  # NaN stays


@compiled(parallel=False)
def _set_kept(x, scale, shift, floor, dy, kept):
    zero = x.dtype.type(0)
    for i in range(len(x)):
        g = dy[i]
        kept[i] = zero if x[i] * scale[i] + shift[i] <= floor else g


@compiled(parallel=False)
def _add_gradients(x, kept, mean, total, products):
    for i in range(len(x)):  # apart from _set_kept: with more arrays than these LLVM gives up vector instructions
        total[i] += kept[i]
        products[i] += kept[i] * (x[i] - mean[i])


@compiled(parallel=False)
def _set_gradient(x, kept, mean, scale, offset, slope, dx):
    for i in range(len(x)):
        dx[i] = kept[i] * scale[i] - offset[i] - (x[i] - mean[i]) * slope[i]


@compiled(parallel=False)
def _part_moments(flat, first, sums):
    """Sums, float64 [2, C], of the differences to ``first`` and of their squares."""
    long = len(first)
    total, squares = np.zeros(long, flat.dtype), np.zeros(long, flat.dtype)
    for i in range(0, len(flat), long):
        _add_moments(flat[i : i + long], first, total, squares)
    _fold(total, sums[0])
    _fold(squares, sums[1])


@compiled()
def _moments(flat, first, parts):
    size = PART * len(first)
    for part in prange(len(parts)):
        _part_moments(flat[part * size : (part + 1) * size], first, parts[part])


@compiled(parallel=False)
def _part_normal(flat, scale, shift, floor, result):
    long = len(scale)
    for i in range(0, len(flat), long):
        _set_normal(flat[i : i + long], scale, shift, floor, result[i : i + long])


@compiled()
def _normal(flat, scale, shift, floor, result):
    size = PART * len(scale)
    for part in prange(-(-len(flat) // size)):
        begin, end = part * size, (part + 1) * size
        _part_normal(flat[begin:end], scale, shift, floor, result[begin:end])


@compiled(parallel=False)
def _part_gradient_sums(flat, mean, scale, shift, floor, gradient, sums):
    """Sums, float64 [2, C], of g and of g * (x - mean), g being the gradient where the ReLU let x through."""
    long = len(scale)
    total, products, kept = np.zeros(long, flat.dtype), np.zeros(long, flat.dtype), np.empty(long, flat.dtype)
    for i in range(0, len(flat), long):
        _set_kept(flat[i : i + long], scale, shift, floor, gradient[i : i + long], kept)
        _add_gradients(flat[i : i + long], kept, mean, total, products)
    _fold(total, sums[0])
    _fold(products, sums[1])


@compiled()
def _gradient_sums(flat, mean, scale, shift, floor, gradient, parts):
    size = PART * len(scale)
    for part in prange(len(parts)):
        begin, end = part * size, (part + 1) * size
        _part_gradient_sums(flat[begin:end], mean, scale, shift, floor, gradient[begin:end], parts[part])


@compiled(parallel=False)
def _part_gradient(flat, mean, scale, shift, floor, offset, slope, gradient, result):
    long = len(scale)
    kept = np.empty(long, flat.dtype)
    for i in range(0, len(flat), long):
        _set_kept(flat[i : i + long], scale, shift, floor, gradient[i : i + long], kept)
        _set_gradient(flat[i : i + long], kept, mean, scale, offset, slope, result[i : i + long])


@compiled()
def _gradient(flat, mean, scale, shift, floor, offset, slope, gradient, result):
    size = PART * len(scale)
    for part in prange(-(-len(flat) // size)):
        begin, end = part * size, (part + 1) * size
        _part_gradient(
            flat[begin:end], mean, scale, shift, floor, offset, slope, gradient[begin:end], result[begin:end]
        )


@compiled(parallel=False)
def _new_parts(x, long):
    """Room for the sums of every part, float64 [P, 2, C]."""
    return np.empty((-(-x.size // (PART * long)), 2, x.shape[1]))


@compiled(parallel=False)
def _total(parts):
    """The sum of all parts in their order, float64 [2, C]."""
    sums = np.zeros((2, parts.shape[2]))
    for part in range(len(parts)):
        for i in range(2):
            for channel in range(parts.shape[2]):
                sums[i, channel] += parts[part, i, channel]
    return sums


@compiled(parallel=False)
def _scale_and_shift(mean, deviation, weight, bias):
    """What normalises x as x * scale + shift, float64 [C] each."""
    scale, shift = np.empty(len(mean)), np.empty(len(mean))
    for channel in range(len(mean)):
        scale[channel] = weight[channel] / deviation[channel]
        shift[channel] = bias[channel] - mean[channel] * weight[channel] / deviation[channel]
    return scale, shift


@compiled(parallel=False)
def _forward(x, running_mean, running_variance, weight, bias, of_batch, momentum, eps, floor, y):
    """Fills y, updates the running statistics with ``of_batch``; returns the mean and deviation used, float64 [C]."""
    rows, channels = x.shape
    mean, deviation = np.empty(channels), np.empty(channels)
    if of_batch:  # moments of the differences to the first row, against cancellation
        for channel in range(channels):
            mean[channel] = x[0, channel]
        first = _repeated(mean, x)
        parts = _new_parts(x, len(first))
        _moments(x.reshape(-1), first, parts)
        sums = _total(parts)
    for channel in range(channels):
        if of_batch:
            difference = sums[0, channel] / rows
            mean[channel] += difference
            variance = sums[1, channel] / rows - difference * difference
            if variance < 0:
                variance = 0.0
            running_mean[channel] += momentum * (mean[channel] - running_mean[channel])
            unbiased = variance * (rows / (rows - 1))
            running_variance[channel] += momentum * (unbiased - running_variance[channel])
        else:
            mean[channel], variance = running_mean[channel], np.float64(running_variance[channel])
        deviation[channel] = np.sqrt(variance + eps)
    scale, shift = _scale_and_shift(mean, deviation, weight, bias)
    _normal(x.reshape(-1), _repeated(scale, x), _repeated(shift, x), x.dtype.type(floor), y.reshape(-1))
    return mean, deviation


@compiled(parallel=False)
def _backward(x, dy, weight, bias, mean, deviation, of_batch, floor, dx):
    """Fills dx; returns the gradients of weight and bias, float64 [2, C]."""
    rows, channels = x.shape
    scale, shift = _scale_and_shift(mean, deviation, weight, bias)
    flat, gradient, floor = x.reshape(-1), dy.reshape(-1), x.dtype.type(floor)
    middle, long_scale, long_shift = _repeated(mean, x), _repeated(scale, x), _repeated(shift, x)
    parts = _new_parts(x, len(middle))
    _gradient_sums(flat, middle, long_scale, long_shift, floor, gradient, parts)
    total = _total(parts)

    share = of_batch / rows  # statistics of the batch depend on x, running ones do not
    offset, slope, sums = np.empty(channels), np.empty(channels), np.empty((2, channels))
    for channel in range(channels):
        offset[channel] = share * scale[channel] * total[0, channel]
        slope[channel] = share * scale[channel] / deviation[channel] ** 2 * total[1, channel]
        sums[0, channel], sums[1, channel] = total[1, channel] / deviation[channel], total[0, channel]
    offset, slope = _repeated(offset, x), _repeated(slope, x)
    _gradient(flat, middle, long_scale, long_shift, floor, offset, slope, gradient, dx.reshape(-1))
    return sums


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, running_mean, running_variance, weight, bias, of_batch, momentum, eps, floor) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        channels = (tensor.detach().numpy() for tensor in (running_mean, running_variance, weight, bias))
        ctx.statistics = _forward(x.numpy(), *channels, of_batch, momentum, eps, floor, y.numpy())
        ctx.save_for_backward(x, weight, bias)
        ctx.of_batch, ctx.floor = of_batch, floor
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, weight, bias = ctx.saved_tensors
        arrays = (tensor.detach().numpy() for tensor in (x, dy.contiguous(), weight, bias))
        dx = torch.empty_like(x)
        sums = _backward(*arrays, *ctx.statistics, ctx.of_batch, ctx.floor, dx.numpy())
        dweight, dbias = torch.from_numpy(sums).to(weight.dtype)
        return dx, None, None, dweight, dbias, None, None, None, None


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    of_batch: bool,
    momentum: float,
    eps: float,
    relu: bool,
) -> Tensor:
    """F.batch_norm(...) of CPU tensors in float32 or float64, with autograd; arguments as in backend."""
    floor = 0.0 if relu else -np.inf
    return _BatchNorm.apply(x, running_mean, running_variance, weight, bias, of_batch, momentum, eps, floor)
