"""The loops over points of the data path, compiled by numba; reference.py holds their twins.

All of them run on one thread and without the interpreter's lock, so that the workers of a data loader may call them
and no result depends on the number of threads.
"""

import numpy as np

from otoc_lib.jit import compiled


@compiled(parallel=False)
def transform(coords, matrix, voxel_size):
    """coords @ matrix / voxel_size: float32 (N, 3) in metres to float64 (N, 3) in voxels."""
    moved = np.empty(coords.shape)
    for i in range(len(coords)):
        x, y, z = np.float64(coords[i, 0]), np.float64(coords[i, 1]), np.float64(coords[i, 2])
        for d in range(3):
            moved[i, d] = (x * matrix[0, d] + y * matrix[1, d] + z * matrix[2, d]) / voxel_size
    return moved


@compiled(parallel=False)
def bounds(coords):
    """Smallest and largest coordinates, float64 (3,) each, of (N, 3)."""
    low, high = coords[0].copy(), coords[0].copy()
    for i in range(1, len(coords)):
        for d in range(3):
            low[d] = min(low[d], coords[i, d])
            high[d] = max(high[d], coords[i, d])
    return low, high


@compiled(parallel=False)
def displace(coords, low, spacing, fields, magnitude):
    """coords + magnitude * fields, interpolated linearly between the nodes of a grid; float64 (N, 3).

    Node (1, 1, 1) of ``fields``, float32 (X, Y, Z, 3), lies at ``low``; nodes are ``spacing`` apart. All points lie
    inside the grid. The displacement itself is float32, as that of scipy's interpolation of float32 fields.
    """
    moved = np.empty(coords.shape)
    cell = np.empty(3, np.int64)
    weights = np.empty((3, 2))
    for i in range(len(coords)):
        for d in range(3):
            where = (coords[i, d] - low[d]) / spacing + 1.0
            cell[d] = np.int64(where)
            weights[d, 1] = where - cell[d]
            weights[d, 0] = 1.0 - weights[d, 1]
        x, y, z = 0.0, 0.0, 0.0
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    weight = weights[0, a] * weights[1, b] * weights[2, c]
                    node = fields[cell[0] + a, cell[1] + b, cell[2] + c]
                    x += weight * node[0]
                    y += weight * node[1]
                    z += weight * node[2]
        moved[i, 0] = coords[i, 0] + magnitude * np.float32(x)
        moved[i, 1] = coords[i, 1] + magnitude * np.float32(y)
        moved[i, 2] = coords[i, 2] + magnitude * np.float32(z)
    return moved


@compiled(parallel=False)
def inside(coords, start, stop):
    """Whether each point of (N, 3) lies in the box start <= point < stop; bool (N,)."""
    keep = np.empty(len(coords), np.bool_)
    for i in range(len(coords)):
        within = True
        for d in range(3):
            within &= (coords[i, d] >= start[d]) & (coords[i, d] < stop[d])
        keep[i] = within
    return keep


@compiled(parallel=False)
def features(coords, low, colors, palette, voxel_size):
    """Colour and position in metres of every point, float32 (N, 6); the coordinates are then shifted to start at 0.

    ``palette`` float32 (256, 3) holds the feature of every value of every channel; coords are in voxels, ``low`` their
    smallest.
    """
    table = np.empty((len(coords), 6), np.float32)
    for i in range(len(coords)):
        for d in range(3):
            table[i, d] = palette[colors[i, d], d]
            table[i, 3 + d] = coords[i, d] * voxel_size
            coords[i, d] -= low[d]
    return table


@compiled(parallel=False)
def _count_ones(bits):
    """Bits that are set in a uint64; LLVM knows this form and makes it one instruction."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled(parallel=False)
def number_voxels(coords, shape):
    """Number the occupied cells of a grid in lexicographic order: the cell of every point, int64 (N,), and how many.

    One bit a cell says which are occupied; the number of a cell is the count of bits before its own.
    """
    one, low_bits = np.uint64(1), np.int64(63)
    voxels = np.empty(len(coords), np.int64)
    words = np.zeros((shape[0] * shape[1] * shape[2] + low_bits) >> 6, np.uint64)
    for i in range(len(coords)):
        x, y, z = np.int64(coords[i, 0]), np.int64(coords[i, 1]), np.int64(coords[i, 2])  # floor: none is negative
        cell = (x * shape[1] + y) * shape[2] + z
        voxels[i] = cell
        words[cell >> 6] |= one << np.uint64(cell & low_bits)
    before = np.empty(len(words), np.int32)
    count = 0
    for word in range(len(words)):
        before[word] = count
        count += _count_ones(words[word])
    for i in range(len(coords)):
        word, bit = voxels[i] >> 6, np.uint64(voxels[i] & low_bits)
        voxels[i] = before[word] + _count_ones(words[word] & ((one << bit) - one))
    return voxels, count


@compiled(parallel=False)
def average(coords, table, voxels, count, room):
    """Cells int32 (V, 4) (room, x, y, z) and mean features float32 (V, D), summed in float64 in the order of points."""
    width = table.shape[1]
    cells = np.empty((count, 4), np.int32)
    sums = np.zeros((count, width))
    points = np.zeros(count, np.int64)
    for i in range(len(coords)):
        voxel = voxels[i]
        cells[voxel, 0] = room
        for d in range(3):
            cells[voxel, 1 + d] = np.int32(coords[i, d])
        points[voxel] += 1
        for d in range(width):
            sums[voxel, d] += table[i, d]
    means = np.empty((count, width), np.float32)
    for voxel in range(count):
        for d in range(width):
            means[voxel, d] = sums[voxel, d] / points[voxel]
    return cells, means


@compiled(parallel=False)
def distinct_pairs(groups, num_groups, values, num_values):
    """The distinct (group, value) of points and how many points share each; a negative group leaves a point out.

    Args:
        groups: int (N,), below ``num_groups``; values: int (N,), 0..num_values-1 where the group is not negative.

    Returns:
        Values int64 [K] of the pairs, sorted by group and within one by first appearance; their points, float32 [K];
        and the first pair of every group, int64 [num_groups + 1].
    """
    ends = np.zeros(num_groups + 1, np.int64)
    for group in groups:
        if group >= 0:
            ends[group + 1] += 1
    for group in range(num_groups):
        ends[group + 1] += ends[group]
    place = ends[:-1].copy()
    members = np.empty(ends[-1], np.int64)  # values of the points, sorted by group
    for i in range(len(groups)):
        if groups[i] >= 0:
            members[place[groups[i]]] = values[i]
            place[groups[i]] += 1
    pair_of = np.full(num_values, -1, np.int64)  # last pair of a value: of this group unless it is below ``first``
    pairs = np.empty(len(members), np.int64)
    points = np.empty(len(members), np.float32)
    starts = np.zeros(num_groups + 1, np.int64)
    count = 0
    for group in range(num_groups):
        first = count
        for k in range(ends[group], ends[group + 1]):
            value = members[k]
            if pair_of[value] < first:
                pair_of[value] = count
                pairs[count], points[count] = value, 0
                count += 1
            points[pair_of[value]] += 1
        starts[group + 1] = count
    return pairs[:count].copy(), points[:count].copy(), starts
