"""Kernel maps on the CPU: linear walks over sorted voxels, compiled by numba.

The plain twins in maps.py search every neighbour by bisection. These functions run on one thread and without the
interpreter's lock, so a data loader's workers may call them. Where a pair may or may not be there, it is written
anyway and kept by moving on to the next place: a branch would be guessed wrong every other time.
"""

import numpy as np

from otoc_lib.jit import compiled


@compiled(parallel=False)
def cells(coords, shape, margin):
    """Cell numbers int64 [V], as maps._cells."""
    nx, ny, nz = shape[0] + 2 * margin, shape[1] + 2 * margin, shape[2] + 2 * margin
    numbers = np.empty(len(coords), np.int64)
    for row in range(len(coords)):
        b, x, y, z = coords[row, 0], coords[row, 1] + margin, coords[row, 2] + margin, coords[row, 3] + margin
        numbers[row] = ((b * nx + x) * ny + y) * nz + z
    return numbers


@compiled(parallel=False)
def neighbours(keys, order, radius, ny, nz):
    """Pairs of voxels at most ``radius`` cells apart: inputs [P], outputs [P] (int32) and starts [K + 1].

    ``keys`` ascend, keys[i] is the number of the cell of row order[i] in a grid of rows of ``nz`` and layers of ``ny``
    times ``nz`` cells. A sorted list shifted by a constant stays sorted, so one walk along both finds the pairs of an
    offset; offsets that differ in z alone have their voxels side by side and share the walk. The pairs of the offsets
    after the centre are those before it, turned.
    """
    side, voxels = 2 * radius + 1, len(keys)
    half = side**3 // 2
    before = np.empty((half, 2, voxels), np.int32)  # inputs and outputs of the offsets before the centre
    counts = np.zeros(half, np.int64)
    for column in range(side**2 // 2 + 1):  # (dx, dy) in order; of the last, (0, 0), the dz below 0
        dx, dy = column // side - radius, column % side - radius
        shift = (dx * ny + dy) * nz - radius
        offsets = min(side, half - column * side)
        j = 0
        for i in range(voxels):
            wanted = keys[i] + shift  # below keys[i], so that j and n never pass i
            while keys[j] < wanted:
                j += 1
            n = j
            for k in range(column * side, column * side + offsets):
                found = keys[n] == wanted
                before[k, 0, counts[k]], before[k, 1, counts[k]] = n, i
                counts[k] += found
                n += found
                wanted += 1

    starts = np.zeros(side**3 + 1, np.int64)
    for k in range(side**3):
        starts[k + 1] = starts[k] + (voxels if k == half else counts[min(k, side**3 - 1 - k)])
    inputs = np.empty(starts[-1], np.int32)
    outputs = np.empty(starts[-1], np.int32)
    for k in range(half):
        start, turned = starts[k], starts[side**3 - 1 - k]
        for p in range(counts[k]):  # assigned as arrays, the check of their shapes compiles for seconds
            inputs[start + p] = outputs[turned + p] = before[k, 0, p]
            outputs[start + p] = inputs[turned + p] = before[k, 1, p]
    for i in range(voxels):
        inputs[starts[half] + i] = outputs[starts[half] + i] = i
    if np.any(order[1:] < order[:-1]):
        _to_rows(inputs, outputs, starts, order)
    return inputs, outputs, starts


@compiled(parallel=False)
def _to_rows(inputs, outputs, starts, order):
    """Pairs of positions in a sorted list to pairs of the rows order[position], sorted by output row, in place."""
    source = np.empty(len(order), np.int32)
    for k in range(len(starts) - 1):
        source[:] = -1
        for p in range(starts[k], starts[k + 1]):
            source[order[outputs[p]]] = order[inputs[p]]
        p = starts[k]
        for row in range(len(order)):
            if source[row] >= 0:
                inputs[p], outputs[p] = source[row], row
                p += 1


@compiled(parallel=False)
def parents(coords, shape):
    """Number of the coarse cell, int64 [V], of every fine voxel, and which of its 8 cells it is, int8 [V]."""
    numbers = np.empty(len(coords), np.int64)
    slots = np.empty(len(coords), np.int8)
    for row in range(len(coords)):
        b, x, y, z = np.int64(coords[row, 0]), coords[row, 1], coords[row, 2], coords[row, 3]
        numbers[row] = ((b * shape[0] + x // 2) * shape[1] + y // 2) * shape[2] + z // 2
        slots[row] = x % 2 * 4 + y % 2 * 2 + z % 2
    return numbers, slots


@compiled(parallel=False)
def halve(coords, numbers, slots, order):
    """Coarse coordinates int32 [V_coarse, 4] and the pairs down and up: (inputs, outputs) int32 [V] each, starts [9].

    ``order`` sorts ``numbers`` and keeps the order of equal ones; the coarse voxels come in this order.
    """
    voxels = len(coords)
    starts = np.zeros(9, np.int64)
    for row in range(voxels):
        starts[slots[row] + 1] += 1
    starts = np.cumsum(starts)

    parent = np.empty(voxels, np.int32)
    coarse = np.empty((voxels, 4), np.int32)
    down = np.empty((2, voxels), np.int32)
    place = starts.copy()
    count = 0
    for i in range(voxels):
        row = order[i]
        if i == 0 or numbers[row] != numbers[order[i - 1]]:
            coarse[count, 0] = coords[row, 0]
            for axis in range(1, 4):
                coarse[count, axis] = coords[row, axis] // 2
            count += 1
        parent[row] = count - 1
        p = place[slots[row]]
        down[0, p], down[1, p] = row, count - 1
        place[slots[row]] += 1

    up = np.empty((2, voxels), np.int32)
    place = starts.copy()
    for row in range(voxels):
        p = place[slots[row]]
        up[0, p], up[1, p] = parent[row], row
        place[slots[row]] += 1
    return coarse[:count].copy(), down, up, starts


@compiled(parallel=False)
def cut(outputs, starts, rows, blocks):
    """segments [K, blocks + 1]: the first pair of offset k whose output row is not below b * rows."""
    segments = np.empty((len(starts) - 1, blocks + 1), np.int64)
    for k in range(len(starts) - 1):
        low = starts[k]
        for b in range(blocks + 1):
            high = min(low + rows, starts[k + 1])  # output rows ascend strictly: no block holds more pairs
            while low < high:
                middle = (low + high) // 2
                if outputs[middle] < b * rows:
                    low = middle + 1
                else:
                    high = middle
            segments[k, b] = low
    return segments
