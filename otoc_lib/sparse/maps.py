"""Which input voxel meets which output voxel under which kernel offset.

A ``Pyramid`` holds the occupied voxels of one batch at every resolution and builds, once and on demand, the kernel maps
within a level (submanifold convolution) and between neighbouring levels (strided and inverse convolution). Every
SparseTensor of the batch shares it; a training loop that meets the same grid again can hand the same pyramid in.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from otoc_lib.errors import OtocError


@dataclass(frozen=True)
class KernelMap:
    """The P pairs of a sparse convolution with K kernel offsets: y[outputs[p]] += x[inputs[p]] @ weight[k(p)].

    Pairs are sorted by offset, then by output row; pair p belongs to offset k where starts[k] <= p < starts[k + 1].
    """

    inputs: Tensor  # int32 [P] rows of the input features
    outputs: Tensor  # int32 [P] rows of the output features, strictly ascending within an offset
    starts: tuple[int, ...]  # K + 1
    num_inputs: int
    num_outputs: int

    @property
    def num_offsets(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def blocks(self) -> tuple[np.ndarray, int]:
        """The pairs cut into blocks of output rows: (segments [K, blocks + 1], rows per block), for the CPU kernels.

        Pairs segments[k, b] <= p < segments[k, b + 1] belong to offset k and output rows b * rows .. (b + 1) * rows.
        """
        rows = min(max(self.num_outputs // 16, 16), 128)
        bounds = np.arange(-(-self.num_outputs // rows) + 1) * rows
        outputs, starts = self.outputs.cpu().numpy(), self.starts
        within = [start + np.searchsorted(outputs[start:stop], bounds) for start, stop in pairwise(starts)]
        return np.stack(within), rows


@dataclass(frozen=True)
class Level:
    """The occupied voxels of one resolution."""

    coords: Tensor  # int32 [V, 4] (batch, x, y, z)
    spatial_shape: tuple[int, int, int]


class Pyramid:
    """Occupied voxels of a batch at every resolution, with the kernel maps that join them.

    Args:
        coords: integer [V, 4], one row (batch, x, y, z) per occupied voxel, in any order, no two alike.
        spatial_shape: cells along x, y, z; coordinates lie in 0..size-1. Need not be even: a coarser level has
            ceil(size / 2) cells, so that nothing is lost at the far border.
        batch_size: rooms in the batch; voxels of different rooms never meet.

    Raises:
        OtocError: no voxel, a wrong shape or type, a voxel outside the grid, or two voxels in one cell.
    """

    def __init__(self, coords: Tensor, spatial_shape: tuple[int, int, int], batch_size: int):
        spatial_shape = tuple(int(s) for s in spatial_shape)
        _check_voxels(coords, spatial_shape, batch_size)
        self.batch_size = batch_size
        self._levels = [Level(coords.int().contiguous(), spatial_shape)]
        self._submanifold: dict[tuple[int, int], KernelMap] = {}
        self._strided: list[tuple[KernelMap, KernelMap]] = []
        _sorted_keys(self._levels[0], margin=0)  # refuses duplicates

    def level(self, index: int) -> Level:
        """Voxels after ``index`` halvings of the grid."""
        while len(self._levels) <= index:
            coarse, down, up = _halve(self._levels[-1])
            self._levels.append(coarse)
            self._strided.append((down, up))
        return self._levels[index]

    def submanifold(self, level: int, kernel_size: int) -> KernelMap:
        """Map of a submanifold convolution: offsets in order x, y, z, z fastest; offset K-1-k is the opposite of k."""
        if (level, kernel_size) not in self._submanifold:
            self._submanifold[level, kernel_size] = _neighbours(self.level(level), kernel_size)
        return self._submanifold[level, kernel_size]

    def down(self, level: int) -> KernelMap:
        """Map of the 2x2x2 stride 2 convolution from ``level`` to ``level + 1``; offset 4 dx + 2 dy + dz."""
        self.level(level + 1)
        return self._strided[level][0]

    def up(self, level: int) -> KernelMap:
        """Map of the inverse convolution from ``level`` to ``level - 1``: the pairs of ``down(level - 1)`` turned."""
        self.level(level)
        return self._strided[level - 1][1]


def _check_voxels(coords: Tensor, spatial_shape: tuple[int, ...], batch_size: int) -> None:
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.is_floating_point():
        raise OtocError(f"coords: expected integers [V, 4] (batch, x, y, z), got {coords.dtype} {tuple(coords.shape)}")
    if len(coords) == 0:
        raise OtocError("coords: the batch has no voxel; leave empty rooms out")
    if len(spatial_shape) != 3 or min(spatial_shape) < 1 or batch_size < 1:
        raise OtocError(
            f"spatial_shape {spatial_shape}, batch_size {batch_size}: expected 3 positive sizes and a positive number"
        )
    low, high = coords.amin(0).tolist(), coords.amax(0).tolist()
    if min(low) < 0 or any(h >= s for h, s in zip(high, (batch_size, *spatial_shape), strict=True)):
        raise OtocError(
            f"coords: voxels {low} .. {high} leave the grid of {batch_size} rooms of {spatial_shape} cells; "
            "shift them to start at 0 or enlarge spatial_shape"
        )


def _sorted_keys(level: Level, margin: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Cell numbers in a grid with ``margin`` empty cells all around, sorted: (keys [V], order [V], strides of x and y).

    Adding an offset of at most ``margin`` cells to a key never wraps into another row, layer or room.
    """
    _, ny, nz = (size + 2 * margin for size in level.spatial_shape)
    nx = level.spatial_shape[0] + 2 * margin
    b, x, y, z = level.coords.long().unbind(1)
    keys, order = torch.sort(((b * nx + x + margin) * ny + y + margin) * nz + z + margin)
    if bool((keys[1:] == keys[:-1]).any()):
        row = int(order[1:][keys[1:] == keys[:-1]][0])
        raise OtocError(f"coords: two voxels in the same cell {level.coords[row].tolist()}; merge them before")
    return keys, order, (ny * nz, nz)


def _neighbours(level: Level, kernel_size: int) -> KernelMap:
    radius = kernel_size // 2
    keys, order, (stride_x, stride_y) = _sorted_keys(level, radius)
    step = torch.arange(-radius, radius + 1, device=keys.device)
    shifts = (step[:, None, None] * stride_x + step[:, None] * stride_y + step).flatten()  # [K]
    wanted = keys + shifts[:, None]  # [K, V]
    position = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    table = torch.full_like(wanted, -1)
    table[:, order] = torch.where(keys[position] == wanted, order[position], -1)
    return _map_of_table(table, len(keys))


def _halve(level: Level) -> tuple[Level, KernelMap, KernelMap]:
    """Next coarser level, its voxels sorted, and the maps down to it and up from it."""
    shape = tuple((size + 1) // 2 for size in level.spatial_shape)
    coords = level.coords.long()
    b, x, y, z = coords.unbind(1)
    keys = ((b * shape[0] + x // 2) * shape[1] + y // 2) * shape[2] + z // 2
    keys, parent = torch.unique(keys, return_inverse=True)  # sorted
    slot = (x % 2) * 4 + (y % 2) * 2 + z % 2
    z, rest = keys % shape[2], keys // shape[2]
    y, rest = rest % shape[1], rest // shape[1]
    coarse = Level(torch.stack([rest // shape[0], rest % shape[0], y, z], 1).int(), shape)
    rows = torch.arange(len(coords), device=keys.device)
    down = keys.new_full((8, len(keys)), -1)
    down[slot, parent] = rows
    up = keys.new_full((8, len(coords)), -1)
    up[slot, rows] = parent
    return coarse, _map_of_table(down, len(coords)), _map_of_table(up, len(keys))


def _map_of_table(table: Tensor, num_inputs: int) -> KernelMap:
    """Pairs of a table [K, V_out] that names the input row of every offset and output row, -1 where there is none."""
    offset, outputs = torch.nonzero(table >= 0, as_tuple=True)
    starts = torch.searchsorted(offset, torch.arange(len(table) + 1, device=table.device))
    return KernelMap(table[offset, outputs].int(), outputs.int(), tuple(starts.tolist()), num_inputs, table.shape[1])
