"""Sparse convolution on the CPU: register-blocked kernels compiled by numba, for float32 and float64.

The pairs of a kernel map are sorted by output row, so blocks of output rows are independent: no atomics, and the
result does not depend on the number of threads. Within a block and one kernel offset, eight pairs at a time (as many as
the machine has registers for) keep their part of the output in vector registers while the rows of the weight pass by,
each used eight times. LLVM does not find that form in scalar loops, so the innermost step is written as vector
instructions, which it lowers to what the machine has. A sum is always taken in the same order, so machines that fuse
multiplication and addition agree to the bit.
"""

import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor
from torch.autograd.function import once_differentiable

from otoc_lib.jit import compiled
from otoc_lib.sparse.kernel_map import KernelMap
from otoc_lib.vector_code import REGISTERS, VECTOR_BYTES, VectorCode

WIDE = 64  # bytes of a row at a time: one register of AVX-512, two of AVX2, four of NEON
# Rows of the output whose sums are in registers at a time, beside a part of a row of the weight and a number.
PAIRS = min((REGISTERS - 1) * VECTOR_BYTES // WIDE - 1, 8)
FEW = min(PAIRS, 4)  # at the end of a list
ROWS = 1 << (PAIRS.bit_length() - 1)  # of the weight gradient likewise; a power of two divides most numbers of channels
PAIRS_IN_CACHE = 64  # pairs whose rows stay in the first-level cache while the weight gradient is summed
ROWS_PER_SUM = 4096  # output rows whose weight gradients are summed apart, so that threads share long lists of pairs


@intrinsic(prefer_literal=True)
def _add_rows(typing_context, y, outputs, x, inputs, weight, pair, last, column, count):
    """y[outputs[p], c] += x[inputs[p]] @ weight[:, c]: ``count`` pairs from ``pair``, WIDE bytes c from ``column``.

    Where the list ends before, its ``last`` pair is taken again: it reads the same sums and stores the same result.
    """

    def generate(context, builder, signature, arguments):
        code = VectorCode(context, builder, y.dtype, WIDE)
        arrays = [code.array(t, a) for t, a in zip(signature.args[:5], arguments[:5], strict=True)]
        (y_at, _), (outputs_at, _), (x_at, _), (inputs_at, _), (weight_at, (in_channels, _)) = arrays
        start, last, first = arguments[5:8]
        pairs = code.places(start, count.literal_value)
        pairs = [builder.select(builder.icmp_signed("<", p, last), p, last) for p in pairs]
        targets = [y_at(code.row(outputs_at, p), first) for p in pairs]
        sources = [x_at(code.row(inputs_at, p), ir.Constant(start.type, 0)) for p in pairs]
        totals = [code.variable(code.load(target)) for target in targets]
        with cgutils.for_range(builder, in_channels) as loop:
            weights = code.load(weight_at(loop.index, first))
            for source, total in zip(sources, totals, strict=True):
                code.add_product(total, builder.gep(source, [loop.index]), weights)
        for target, total in zip(targets, totals, strict=True):
            code.store(builder.load(total), target)
        return context.get_dummy_value()

    return types.none(y, outputs, x, inputs, weight, types.intp, types.intp, types.intp, count), generate


@intrinsic
def _add_outer(typing_context, gradient, x, inputs, dy, outputs, start, stop, row, column):
    """gradient[row + r, c] += sum over pairs of x[inputs[p], row + r] * dy[outputs[p], c]: ROWS rows, WIDE bytes."""

    def generate(context, builder, signature, arguments):
        code = VectorCode(context, builder, dy.dtype, WIDE)
        arrays = [code.array(t, a) for t, a in zip(signature.args[:5], arguments[:5], strict=True)]
        (gradient_at, _), (x_at, _), (inputs_at, _), (dy_at, _), (outputs_at, _) = arrays
        begin, end, first_row, first = arguments[5:9]
        rows = [ir.Constant(begin.type, r) for r in range(ROWS)]
        targets = [gradient_at(builder.add(first_row, r), first) for r in rows]
        totals = [code.variable(code.load(target)) for target in targets]
        with cgutils.for_range(builder, end, start=begin) as loop:
            source = x_at(code.row(inputs_at, loop.index), first_row)
            vector = code.load(dy_at(code.row(outputs_at, loop.index), first))
            for r, total in zip(rows, totals, strict=True):
                code.add_product(total, builder.gep(source, [r]), vector)
        for target, total in zip(targets, totals, strict=True):
            code.store(builder.load(total), target)
        return context.get_dummy_value()

    return types.none(gradient, x, inputs, dy, outputs, types.intp, types.intp, types.intp, types.intp), generate


@compiled()
def _convolve(x, weight, inputs, outputs, segments, block_rows, lanes, start, y):
    """y = start (0 if it is empty) + sum over pairs, by blocks of rows; segments[k, b]: first pair of k in block b."""
    for block in prange(segments.shape[1] - 1):
        rows = slice(block * block_rows, (block + 1) * block_rows)
        y[rows] = 0
        for row in range(block * block_rows, min((block + 1) * block_rows, len(start))):
            for column in range(y.shape[1]):  # assigned as arrays, the check of their shapes compiles for seconds
                y[row, column] = start[row, column]
        for k in range(len(weight)):
            stop = segments[k, block + 1]
            for column in range(0, y.shape[1], lanes):
                p = segments[k, block]
                while p + FEW < stop:
                    _add_rows(y, outputs, x, inputs, weight[k], p, stop - 1, column, PAIRS)
                    p += PAIRS
                if p < stop:
                    _add_rows(y, outputs, x, inputs, weight[k], p, stop - 1, column, FEW)


@compiled()
def _weight_gradient(x, dy, inputs, outputs, segments, lanes, partial):
    """partial[chunk, k] = sum over the pairs of offset k in one chunk of the blocks of outer products."""
    chunks, num_offsets, in_channels, out_channels = partial.shape
    blocks = segments.shape[1] - 1
    for task in prange(chunks * num_offsets):
        chunk, k = task // num_offsets, task % num_offsets
        gradient = partial[chunk, k]
        gradient[:] = 0
        last = segments[k, blocks * (chunk + 1) // chunks]
        for start in range(segments[k, blocks * chunk // chunks], last, PAIRS_IN_CACHE):
            stop = min(start + PAIRS_IN_CACHE, last)
            for column in range(0, out_channels, lanes):
                for row in range(0, in_channels, ROWS):
                    _add_outer(gradient, x, inputs, dy, outputs, start, stop, row, column)


@compiled(parallel=False)
def _turned(weight, opposite, turned):
    """turned[k] = weight[k] transposed, columns after the last set to 0; of the opposite offset if so told."""
    for k in range(len(weight)):
        source = weight[len(weight) - 1 - k if opposite else k]
        target = turned[k]
        rows, columns = source.shape
        for j in range(columns):
            for i in range(rows):
                target[j, i] = source[i, j]
            target[j, rows:] = 0


def _lanes(dtype: torch.dtype) -> int:
    return WIDE // dtype.itemsize


def _padded(matrix: Tensor, multiple: int) -> Tensor:
    """Contiguous, with zero columns up to a multiple of some number."""
    missing = -matrix.shape[-1] % multiple
    return F.pad(matrix, (0, missing)) if missing else matrix.contiguous()


def _transposed(weight: Tensor, opposite: bool) -> Tensor:
    """[K, C_out, C_in padded] of a weight [K, C_in, C_out]; the last offset first if ``opposite``."""
    offsets, rows, columns = weight.shape
    turned = weight.new_empty(offsets, columns, rows + -rows % _lanes(weight.dtype))
    _turned(weight.contiguous().numpy(), opposite, turned.numpy())
    return turned


def _product(x: Tensor, weight: Tensor, pairs: KernelMap, columns: int, start: Tensor | None) -> Tensor:
    """``start``, or 0, plus x convolved by a weight whose columns are padded; [V_out, columns]."""
    y, lanes = x.new_empty(pairs.num_outputs, weight.shape[2]), _lanes(x.dtype)
    start = x.new_empty(0, 1) if start is None else _padded(start, lanes)
    segments, block_rows = pairs.blocks
    _convolve(
        x=x.numpy(),
        weight=weight.numpy(),
        inputs=pairs.inputs.numpy(),
        outputs=pairs.outputs.numpy(),
        segments=segments,
        block_rows=block_rows,
        lanes=lanes,
        start=start.numpy(),
        y=y.numpy(),
    )
    return y if columns == y.shape[1] else y[:, :columns].contiguous()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, forward: KernelMap, reverse: KernelMap | None, start: Tensor | None
    ) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.maps = forward, reverse
        return _product(x, _padded(weight, _lanes(x.dtype)), forward, weight.shape[2], start)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, weight = ctx.saved_tensors
        forward, reverse = ctx.maps
        dx = dweight = None
        dy = dy.contiguous()
        if ctx.needs_input_grad[0]:
            turned = _transposed(weight, opposite=reverse is None)
            dx = _product(dy, turned, forward if reverse is None else reverse, weight.shape[1], None)
        if ctx.needs_input_grad[1]:
            lanes = _lanes(dy.dtype)
            rows, columns = _padded(x, ROWS), _padded(dy, lanes)
            segments, _ = forward.blocks
            chunks = -(-forward.num_outputs // ROWS_PER_SUM)
            partial = weight.new_empty(chunks, len(weight), rows.shape[1], columns.shape[1])
            _weight_gradient(
                rows.numpy(),
                columns.numpy(),
                forward.inputs.numpy(),
                forward.outputs.numpy(),
                segments,
                lanes,
                partial.numpy(),
            )
            dweight = (partial.sum(0) if chunks > 1 else partial[0])[:, : x.shape[1], : dy.shape[1]]
        return dx, dweight, None, None, dy if ctx.needs_input_grad[4] else None


def convolve(
    x: Tensor, weight: Tensor, forward: KernelMap, reverse: KernelMap | None, start: Tensor | None = None
) -> Tensor:
    """Sparse convolution of CPU tensors in float32 or float64, with autograd; arguments as in backend.convolve."""
    return _Convolution.apply(x, weight, forward, reverse, start)
