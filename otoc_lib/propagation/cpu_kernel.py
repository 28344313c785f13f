"""The mean field of one room on the CPU, compiled by numba: kernel, products and updates, for float32 and float64.

Super-voxels are taken in blocks of TILE, and everything lies by blocks: features [n, D, TILE], marginals [n, C, TILE],
the kernel in tiles [TILE, TILE]. K is symmetric, so block b keeps (or computes anew in every step) only its tiles with
the blocks b, b + 1, ... b + n // 2, counted in a circle: its strip. In a step each block computes its own marginals,
from its strip and from the tiles that half of the other blocks keep for it: all blocks have the same work, and neither
the number of threads nor where a tile comes from changes a bit of the result. Products keep their sums in vector
registers, and exponentials are taken there before a tile is stored. All logarithms are to base 2.
"""

import math

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from otoc_lib.jit import compiled
from otoc_lib.propagation.graph import Scaling, per_row_sum
from otoc_lib.propagation.tiles import reserve
from otoc_lib.vector_code import VECTOR_BYTES, VectorCode

TILE = 64
ROWS = 4  # of a tile, whose sums are in registers at a time
WIDE = max(VECTOR_BYTES, 32)  # bytes of a vector: one takes the sums of ROWS vectors, in float64 too
SPAN = 4 if WIDE == 64 else 2  # vectors of columns likewise: 32 registers or 16
CLASSES = 5 if WIDE == 64 else 3  # likewise, with the ROWS numbers of a strip
STRETCH = 8  # tiles of a strip that are multiplied at a time: their marginals stay in the first-level cache
LOG2_E = math.log2(math.e)
FAR = 1e4  # |x|^2 / 2 beyond the graph: 2 ** -FAR is 0

_per_row_sum = compiled(parallel=False)(per_row_sum)


def stored_elements(size: int) -> int:
    """Numbers in the strips of all blocks: about size ** 2 / 2."""
    blocks = -(-size // TILE)
    return blocks * (blocks // 2 + 1) * TILE**2


def _exp2(code, exponent):
    """2 ** exponent of a vector: that of the nearest integer times a polynomial; 0 where that is subnormal."""
    builder, single = code.builder, code.bytes == 4
    fraction_bits, lowest, degree = (23, -126, 6) if single else (52, -1022, 12)
    integers = ir.VectorType(ir.IntType(8 * code.bytes), code.type.count)
    interval = np.polynomial.chebyshev.Chebyshev.interpolate(np.exp2, degree, domain=[-0.5, 0.5])
    coefficients = interval.convert(kind=np.polynomial.Polynomial).coef[::-1]

    lowest, to_integer = code.constant(lowest), code.constant(1.5 * 2**fraction_bits)  # adding this rounds
    normal = builder.fcmp_ordered(">", exponent, lowest)
    exponent = builder.select(normal, exponent, lowest)
    shifted = builder.fadd(exponent, to_integer)
    rest = builder.fsub(exponent, builder.fsub(shifted, to_integer))
    power = code.constant(coefficients[0])
    for coefficient in coefficients[1:]:
        power = code.fused(power, rest, code.constant(coefficient))
    scale = builder.shl(builder.bitcast(shifted, integers), ir.Constant(integers, [fraction_bits] * integers.count))
    result = builder.bitcast(builder.add(builder.bitcast(power, integers), scale), code.type)
    return builder.select(normal, result, code.constant(0.0))


@intrinsic
def _fill(typing_context, tile, x, half_norms, a, b, row, column):
    """tile[i, j] = 2 ** min(x[a, :, i].x[b, :, j] - |x[a, :, i]|^2/2 - |x[b, :, j]|^2/2, 0), ROWS x SPAN vectors."""

    def generate(context, builder, signature, arguments):
        code = VectorCode(context, builder, tile.dtype, WIDE)
        arrays = [code.array(t, v) for t, v in zip(signature.args[:3], arguments[:3], strict=True)]
        (tile_at, _), (x_at, (_, width, _)), (norm_at, _) = arrays
        block_a, block_b, first_row, first = arguments[3:]
        rows = code.places(first_row, ROWS)
        columns = code.places(first, SPAN, code.type.count)
        totals = [[code.variable(code.constant(0.0)) for _ in columns] for _ in rows]
        with cgutils.for_range(builder, width) as loop:
            vectors = [code.load(x_at(block_b, loop.index, j)) for j in columns]
            for i, of_row in zip(rows, totals, strict=True):
                for vector, total in zip(vectors, of_row, strict=True):
                    code.add_product(total, x_at(block_a, loop.index, i), vector)
        for i, of_row in zip(rows, totals, strict=True):
            norm = code.splat(builder.load(norm_at(block_a, i)))
            for j, total in zip(columns, of_row, strict=True):
                norms = builder.fadd(norm, code.load(norm_at(block_b, j)))  # added first: K is symmetric to the bit
                exponent = builder.fsub(builder.load(total), norms)
                zero = code.constant(0.0)
                exponent = builder.select(builder.fcmp_ordered("<", exponent, zero), exponent, zero)
                code.store(_exp2(code, exponent), tile_at(i, j))
        return context.get_dummy_value()

    return types.none(tile, x, half_norms, *[types.intp] * 4), generate


@intrinsic(prefer_literal=True)
def _add_tile(typing_context, product, values, block, tile, row, column, count):
    """product[c, j] += sum over i of values[block, c, i] tile[i, j]: ``count`` classes from ``row``, SPAN vectors j."""

    def generate(context, builder, signature, arguments):
        code = VectorCode(context, builder, product.dtype, WIDE)
        (product_at, _), (values_at, _), (tile_at, _) = [code.array(signature.args[i], arguments[i]) for i in (0, 1, 3)]
        block, first_row, first = arguments[2], arguments[4], arguments[5]
        rows = code.places(first_row, count.literal_value)
        columns = code.places(first, SPAN, code.type.count)
        totals = [[code.variable(code.load(product_at(c, j))) for j in columns] for c in rows]
        with cgutils.for_range(builder, ir.Constant(first.type, TILE)) as loop:
            vectors = [code.load(tile_at(loop.index, j)) for j in columns]
            for c, of_row in zip(rows, totals, strict=True):
                for vector, total in zip(vectors, of_row, strict=True):
                    code.add_product(total, values_at(block, c, loop.index), vector)
        for c, of_row in zip(rows, totals, strict=True):
            for j, total in zip(columns, of_row, strict=True):
                code.store(builder.load(total), product_at(c, j))
        return context.get_dummy_value()

    return types.none(product, values, types.intp, tile, types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)
def _add_strip(typing_context, product, values, block, strip, start, stop, row, column, count):
    """product[c, i] += sum over k = start..stop-1 and j of values[(block + k) % n, c, j] strip[k, i, j].

    ``count`` classes c from ``row``, ROWS numbers i from ``column``; lanes run along j and are summed in the end.
    """

    def generate(context, builder, signature, arguments):
        code = VectorCode(context, builder, product.dtype, WIDE)
        (product_at, _), (values_at, (blocks, *_)), (strip_at, _) = [
            code.array(signature.args[i], arguments[i]) for i in (0, 1, 3)
        ]
        block, (begin, end, first_row, first) = arguments[2], arguments[4:8]
        rows = code.places(first_row, count.literal_value)
        columns = code.places(first, ROWS)
        totals = [[code.variable(code.constant(0.0)) for _ in columns] for _ in rows]
        with cgutils.for_range(builder, end, start=begin) as tiles:
            other = builder.add(block, tiles.index)
            other = builder.select(builder.icmp_signed("<", other, blocks), other, builder.sub(other, blocks))
            for step in range(TILE // code.type.count):
                j = ir.Constant(first.type, step * code.type.count)
                vectors = [code.load(strip_at(tiles.index, i, j)) for i in columns]
                for c, of_row in zip(rows, totals, strict=True):
                    value = code.load(values_at(other, c, j))
                    for vector, total in zip(vectors, of_row, strict=True):
                        code.add_to(total, value, vector)
        for c, of_row in zip(rows, totals, strict=True):
            sums = code.lane_sums([builder.load(total) for total in of_row])
            target = builder.bitcast(product_at(c, first), sums.type.as_pointer())
            before = builder.load(target, align=code.bytes)
            builder.store(builder.fadd(before, sums), target, align=code.bytes)
        return context.get_dummy_value()

    return types.none(product, values, types.intp, strip, *[types.intp] * 4, count), generate


@intrinsic
def _raise_two(typing_context, values, row, column):
    """values[row, j] = 2 ** values[row, j], one vector j from ``column``."""

    def generate(context, builder, signature, arguments):
        code = VectorCode(context, builder, values.dtype, WIDE)
        at, _ = code.array(signature.args[0], arguments[0])
        pointer = at(*arguments[1:])
        code.store(_exp2(code, code.load(pointer)), pointer)
        return context.get_dummy_value()

    return types.none(values, types.intp, types.intp), generate


@compiled(parallel=False)
def _pack(block, bandwidth, x, half_norms, first):
    """Standardise a block of features [M, D_b] as ``graph.standardise`` does, into x [n, D, TILE] from row ``first``.

    Half of the squared norms is added to ``half_norms`` [n, TILE]. Numbers that are not finite, or too large to be
    squared, make all NaN.
    """
    size, width = block.shape
    mean = np.zeros(width)
    for i in range(size):
        for d in range(width):
            mean[d] += block[i, d]
    length = 0.0
    for d in range(width):
        mean[d] /= size
        length += mean[d] * mean[d]
    squares = np.zeros(width)
    for i in range(size):
        for d in range(width):
            centred = block[i, d] - mean[d]
            squares[d] += centred * centred
    total = 0.0
    for d in range(width):
        total += squares[d]
    spread = math.sqrt(total / size)
    if not math.isfinite(spread):
        factor = math.nan
    elif spread <= 4 * np.finfo(block.dtype).eps * math.sqrt(length):
        factor = 0.0
    else:
        factor = bandwidth / spread
    half = x.dtype.type(0.5)
    for b in range(len(x)):
        start = b * TILE
        for d in range(width):
            for j in range(min(TILE, size - start)):
                x[b, first + d, j] = (block[start + j, d] - mean[d]) * factor
            for j in range(TILE):
                half_norms[b, j] += x[b, first + d, j] * x[b, first + d, j] * half


@compiled(parallel=False)
def _fill_tile(tile, x, half_norms, a, b):
    lanes = WIDE // tile.itemsize
    for column in range(0, TILE, SPAN * lanes):
        for row in range(0, TILE, ROWS):
            _fill(tile, x, half_norms, a, b, row, column)
    if a == b:
        for i in range(TILE):
            tile[i, i] = 0


@compiled(parallel=False)
def _share(strip, k, blocks):
    """Sum of tile k of a strip, taken twice where no other strip holds its mirror image."""
    columns = np.zeros(TILE, strip.dtype)
    for i in range(TILE):
        for j in range(TILE):
            columns[j] += strip[k, i, j]
    total = 0.0
    for j in range(TILE):
        total += columns[j]
    return 2 * total if 0 < k and 2 * k < blocks else total


@compiled(parallel=False)
def _multiply_tile(product, values, block, tile):
    """Five classes at a time, for 20 vectors of sums are in registers then; those left by threes and ones."""
    classes, lanes = len(product), WIDE // tile.itemsize
    for column in range(0, TILE, SPAN * lanes):
        c = 0
        while c + 5 <= classes:
            _add_tile(product, values, block, tile, c, column, 5)
            c += 5
        if c + 3 <= classes:
            _add_tile(product, values, block, tile, c, column, 3)
            c += 3
        while c < classes:
            _add_tile(product, values, block, tile, c, column, 1)
            c += 1


@compiled(parallel=False)
def _multiply_strip(product, values, block, strip):
    """As ``_multiply_tile``, after product is set to 0."""
    classes = len(product)
    for c in range(classes):
        for j in range(TILE):
            product[c, j] = 0
    for start in range(0, len(strip), STRETCH):
        stop = min(start + STRETCH, len(strip))
        c = 0
        while c + CLASSES <= classes:
            for column in range(0, TILE, ROWS):
                _add_strip(product, values, block, strip, start, stop, c, column, CLASSES)
            c += CLASSES
        if c + 3 <= classes:
            for column in range(0, TILE, ROWS):
                _add_strip(product, values, block, strip, start, stop, c, column, 3)
            c += 3
        while c < classes:
            for column in range(0, TILE, ROWS):
                _add_strip(product, values, block, strip, start, stop, c, column, 1)
            c += 1


@compiled(parallel=False)
def _soften(log_unary, product, weight, before):
    """product = softmax over classes of log_unary + weight product; the largest change against ``before``."""
    classes, lanes = len(product), WIDE // product.itemsize
    highest = np.full(TILE, -np.inf, product.dtype)
    total = np.zeros(TILE, product.dtype)
    moved = np.zeros(TILE, product.dtype)
    for c in range(classes):
        for j in range(TILE):
            score = log_unary[c, j] + weight * product[c, j]
            product[c, j] = score
            highest[j] = score if score > highest[j] else highest[j]
    for c in range(classes):
        for j in range(TILE):
            product[c, j] -= highest[j]
        for j in range(0, TILE, lanes):
            _raise_two(product, c, j)
        for j in range(TILE):
            total[j] += product[c, j]
    for j in range(TILE):
        total[j] = 1 / total[j]
    for c in range(classes):
        for j in range(TILE):
            product[c, j] *= total[j]
            change = abs(product[c, j] - before[c, j])
            moved[j] = change if change > moved[j] else moved[j]
    largest = moved[0]
    for j in range(TILE):
        largest = max(largest, moved[j])
    return largest


@compiled(parallel=False)
def _start(blocks, x, half_norms, logs, log_unary, tiles, stored, summed, sums, marginals):
    """The marginals of some blocks before the first step, and their strips where those are stored or to be summed."""
    for b in range(*blocks):
        for j in range(min(TILE, len(logs) - b * TILE)):
            for c in range(logs.shape[1]):
                log_unary[b, c, j] = logs[b * TILE + j, c]
        _soften(log_unary[b], marginals[b], marginals.dtype.type(0), marginals[b])
        if stored or summed:
            strip = tiles[b if stored else 0, : len(x) // 2 + 1]
            for k in range(len(strip)):
                _fill_tile(strip[k], x, half_norms, b, (b + k) % len(x))
                sums[b] += _share(strip, k, len(x)) if summed else 0


@compiled(parallel=False)
def _advance(blocks, x, half_norms, log_unary, tiles, stored, weight, before, after, moved):
    """One step of some blocks, and how far each moved."""
    n = len(x)
    for b in range(*blocks):
        own = tiles[b if stored else 0]
        strip = own[: n // 2 + 1]
        if not stored:
            for k in range(len(strip)):
                _fill_tile(strip[k], x, half_norms, b, (b + k) % n)
        _multiply_strip(after[b], before, b, strip)
        for k in range(1, (n + 1) // 2):
            other = (b - k + n) % n
            tile = tiles[other, k] if stored else own[n // 2 + 1]
            if not stored:
                _fill_tile(tile, x, half_norms, other, b)
            _multiply_tile(after[b], before, other, tile)
        moved[b] = _soften(log_unary[b], after[b], weight, before[b])


@compiled(parallel=False)
def _part(task, tasks, blocks):
    """First block of a task, and the first of the next."""
    task, tasks = np.int64(task), np.int64(tasks)
    return task * blocks // tasks, (task + 1) * blocks // tasks


@compiled(parallel=False)
def _scaled(weight, sums, size):
    """``per_row_sum`` of the sums of the blocks."""
    total = 0.0
    for part in sums:
        total += part
    return _per_row_sum(weight, total / size)


@compiled(parallel=False)
def _all_below(moved, tolerance):
    for distance in moved:
        if distance >= tolerance:
            return False
    return True


@compiled(parallel=False)
def _unpack(marginals, rows):
    for i in range(len(rows)):
        for c in range(rows.shape[1]):
            rows[i, c] = marginals[i // TILE, c, i % TILE]


@compiled()
def _propagate(
    x, half_norms, logs, log_unary, tiles, stored, weight, summed, steps, tolerance, tasks, sums, moved, marginals
):
    """Fill marginals [2, n, C, TILE]; the returned one is the result. ``tiles`` [.., .., TILE, TILE] is room for K.

    Round 0 is what comes before the first step. ``sums`` [n] and ``moved`` [n] are for what the blocks report.
    """
    n = len(x)
    for step in range(steps + 1):
        now = step % 2
        factor = x.dtype.type(weight)
        for task in prange(tasks):
            part, own = _part(task, tasks, n), tiles if stored else tiles[task : task + 1]
            if step == 0:
                _start(part, x, half_norms, logs, log_unary, own, stored, summed, sums, marginals[now])
            else:
                before, after = marginals[1 - now], marginals[now]
                _advance(part, x, half_norms, log_unary, own, stored, factor, before, after, moved)
        if step == 0 and summed:
            weight = _scaled(weight, sums, len(logs))
        if step > 0 and _all_below(moved, tolerance):
            return now
    return steps % 2


def packed_features(blocks: list[Tensor], bandwidth: float) -> tuple[Tensor, Tensor]:
    """The standardised blocks, each [M, D_b], side by side and times bandwidth * sqrt(log2 e).

    Returns:
        x [n, D, TILE] and |x|^2 / 2 [n, TILE]; NaN where a block holds such or infinite values.
    """
    size = len(blocks[0])
    n = -(-size // TILE)
    x = blocks[0].new_zeros(n, sum(block.shape[1] for block in blocks), TILE)
    half_norms = x.new_zeros(n, TILE)
    half_norms.view(-1)[size:] = FAR
    first = 0
    for block in blocks:
        _pack(block.detach().contiguous().numpy(), bandwidth * math.sqrt(LOG2_E), x.numpy(), half_norms.numpy(), first)
        first += block.shape[1]
    return x, half_norms


def packed_mean_field(
    unary: Tensor,
    x: Tensor,
    half_norms: Tensor,
    weight: float,
    scaling: Scaling,
    steps: int,
    tolerance: float,
    stored: bool,
) -> Tensor:
    """As ``graph.mean_field``, of packed features.

    Args:
        unary: [M, C], float32 or float64 on the CPU, as x [n, D, TILE] and half_norms [n, TILE].
        weight, scaling, steps, tolerance: as for ``graph.mean_field``.
        stored: keep the kernel, ``stored_elements(M)`` numbers; else compute it anew in every step.

    Returns:
        Q [M, C]; the same bits whether stored or not.

    Raises:
        OtocError: the kernel does not fit into memory.
    """
    (size, classes), n = unary.shape, len(x)
    tasks = min(numba.get_num_threads(), n)
    tiles = (n, n // 2 + 1) if stored else (tasks, n // 2 + 2)
    marginals = x.new_zeros(2, n, classes, TILE)
    last = _propagate(
        x=x.numpy(),
        half_norms=half_norms.numpy(),
        logs=unary.detach().clamp_min(torch.finfo(unary.dtype).tiny).log2_().contiguous().numpy(),
        log_unary=x.new_zeros(n, classes, TILE).numpy(),
        tiles=reserve(x, (*tiles, TILE, TILE), size).numpy(),
        stored=stored,
        weight=weight * LOG2_E,
        summed=scaling == "row_sum",
        steps=steps,
        tolerance=tolerance,
        tasks=tasks,
        sums=np.zeros(n),
        moved=np.zeros(n),
        marginals=marginals.numpy(),
    )
    rows = torch.empty_like(unary, memory_format=torch.contiguous_format)
    _unpack(marginals[last].numpy(), rows.numpy())
    return rows
