"""Kernel maps on the CPU: linear walks over sorted voxels, compiled by numba.

The plain twins in maps.py search every neighbour by bisection. These functions run on one thread and without the
interpreter's lock, so a data loader's workers may call them.
"""

import numpy as np

from otoc_lib.sparse.jit import compiled


@compiled(parallel=False)
def neighbours(keys, order, shifts):
    """Table int32 [K, V] of the row whose key is shifts[k] higher, -1 where there is none.

    ``keys`` ascend, keys[i] belongs to row order[i], and ``shifts`` ascend symmetrically around 0. A sorted list
    shifted by a constant stays sorted: one walk along both finds the pairs of an offset and of its opposite.
    """
    offsets, voxels = len(shifts), len(keys)
    table = np.full((offsets, voxels), -1, np.int32)
    for k in range(offsets // 2 + 1):
        j = 0
        for i in range(voxels):
            wanted = keys[i] + shifts[k]  # not above keys[i], so that j never passes i
            while keys[j] < wanted:
                j += 1
            if keys[j] == wanted:
                table[k, order[i]] = order[j]
                table[offsets - 1 - k, order[j]] = order[i]
    return table


@compiled(parallel=False)
def halve(keys, order, slots):
    """Tables down int32 [8, V_coarse] of children, up int32 [8, V] of parents, and the coarse keys [V_coarse].

    ``keys`` are the coarse cells of the fine voxels in ascending order, keys[i] that of row order[i]; ``slots`` [V]
    says which of the 8 cells of its parent each row is.
    """
    voxels = len(keys)
    coarse = 1
    for i in range(1, voxels):
        coarse += keys[i] != keys[i - 1]
    down = np.full((8, coarse), -1, np.int32)
    up = np.full((8, voxels), -1, np.int32)
    coarse_keys = np.empty(coarse, np.int64)
    parent = -1
    for i in range(voxels):
        if i == 0 or keys[i] != keys[i - 1]:
            parent += 1
            coarse_keys[parent] = keys[i]
        row = order[i]
        down[slots[row], parent] = row
        up[slots[row], row] = parent
    return down, up, coarse_keys


@compiled(parallel=False)
def pairs(table):
    """The entries of a table [K, V_out] as pairs: inputs [P], outputs [P] (int32) and starts [K + 1]."""
    offsets, voxels = table.shape
    starts = np.zeros(offsets + 1, np.int64)
    for k in range(offsets):
        count = 0
        for row in range(voxels):
            count += table[k, row] >= 0
        starts[k + 1] = starts[k] + count
    inputs = np.empty(starts[-1], np.int32)
    outputs = np.empty(starts[-1], np.int32)
    for k in range(offsets):
        p = starts[k]
        for row in range(voxels):
            if table[k, row] >= 0:
                inputs[p], outputs[p] = table[k, row], row
                p += 1
    return inputs, outputs, starts
