"""Which input voxel meets which output voxel under which kernel offset.

A ``Pyramid`` holds the occupied voxels of one batch at every resolution and builds, once and on demand, the kernel maps
within a level (submanifold convolution) and between neighbouring levels (strided and inverse convolution). Every
SparseTensor of the batch shares it; a training loop that meets the same grid again can hand the same pyramid in.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.sparse import cpu_maps
from otoc_lib.sparse.backend import check_backend
from otoc_lib.sparse.kernel_map import KernelMap


@dataclass(frozen=True)
class Level:
    """The occupied voxels of one resolution."""

    coords: Tensor  # int32 [V, 4] (batch, x, y, z)
    spatial_shape: tuple[int, int, int]
    order: Tensor  # int64 [V] rows in lexicographic order of their coordinates


class Pyramid:
    """Occupied voxels of a batch at every resolution, with the kernel maps that join them.

    Args:
        coords: integer [V, 4], one row (batch, x, y, z) per occupied voxel, in any order, no two alike.
        spatial_shape: cells along x, y, z; coordinates lie in 0..size-1. Need not be even: a coarser level has
            ceil(size / 2) cells, so that nothing is lost at the far border.
        batch_size: rooms in the batch; voxels of different rooms never meet.
        backend: what computes on these voxels, ``auto``, ``numba``, ``spconv`` or ``torch``; see backend.backend_for.

    Raises:
        OtocError: no voxel, a wrong shape or type, a voxel outside the grid, two voxels in one cell, an unknown back
            end, or spconv where it is not installed.
    """

    def __init__(self, coords: Tensor, spatial_shape: tuple[int, int, int], batch_size: int, backend: str = "auto"):
        check_backend(backend)
        nx, ny, nz = (int(s) for s in spatial_shape)
        spatial_shape = nx, ny, nz
        _check_voxels(coords, spatial_shape, batch_size)
        coords = coords.int().contiguous()
        keys, order = _sorted(_cells(coords, spatial_shape, margin=0))
        if bool((keys[1:] == keys[:-1]).any()):
            row = int(order[1:][keys[1:] == keys[:-1]][0])
            raise OtocError(f"coords: two voxels in the same cell {coords[row].tolist()}; merge them before")
        self.batch_size = batch_size
        self.backend = backend
        self._levels = [Level(coords, spatial_shape, order)]
        self._submanifold: dict[tuple[int, int], KernelMap] = {}
        self._strided: list[tuple[KernelMap, KernelMap]] = []

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

    def parents(self, level: int) -> Tensor:
        """The row at ``level + 1`` of the voxel that holds each voxel of ``level``; int64 [V]."""
        down = self.down(level)
        parents = torch.empty(down.num_inputs, dtype=torch.int64, device=down.inputs.device)
        parents[down.inputs.long()] = down.outputs.long()
        return parents


def _check_voxels(coords: Tensor, spatial_shape: tuple[int, ...], batch_size: int) -> None:
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.is_floating_point():
        raise OtocError(f"coords: expected integers [V, 4] (batch, x, y, z), got {coords.dtype} {tuple(coords.shape)}")
    if len(coords) == 0:
        raise OtocError("coords: the batch has no voxel; leave empty rooms out")
    if len(spatial_shape) != 3 or min(spatial_shape) < 1 or batch_size < 1:
        raise OtocError(f"spatial_shape {spatial_shape} (3 sizes) and batch_size {batch_size} must be positive")
    low, high = coords.amin(0).tolist(), coords.amax(0).tolist()
    if min(low) < 0 or any(h >= s for h, s in zip(high, (batch_size, *spatial_shape), strict=True)):
        raise OtocError(
            f"coords: voxels {low} .. {high} leave the grid of {batch_size} rooms of {spatial_shape} cells; "
            "shift them to start at 0 or enlarge spatial_shape"
        )


def _cells(coords: Tensor, spatial_shape: tuple[int, ...], margin: int) -> Tensor:
    """Cell number, int64 [V], of (batch, x, y, z) in a grid with ``margin`` empty cells all around every room.

    An offset of at most ``margin`` cells added to a number never wraps into another occupied row, layer or room.
    """
    return (_compiled_cells if coords.is_cpu else _plain_cells)(coords, spatial_shape, margin)


def _compiled_cells(coords: Tensor, spatial_shape: tuple[int, ...], margin: int) -> Tensor:
    return torch.from_numpy(cpu_maps.cells(coords.numpy(), spatial_shape, margin))


def _plain_cells(coords: Tensor, spatial_shape: tuple[int, ...], margin: int) -> Tensor:
    """Plain twin of cpu_maps.cells."""
    nx, ny, nz = (size + 2 * margin for size in spatial_shape)
    b, x, y, z = coords.long().unbind(1)
    return ((b * nx + x + margin) * ny + y + margin) * nz + z + margin


def _sorted(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keys in ascending order, and their rows; a batch that comes sorted is taken as it is."""
    if keys.is_cpu and bool((keys[1:] > keys[:-1]).all()):
        return keys, torch.arange(len(keys))
    return torch.sort(keys)


def _neighbours(level: Level, kernel_size: int) -> KernelMap:
    radius = kernel_size // 2
    _, ny, nz = (size + 2 * radius for size in level.spatial_shape)
    keys = _cells(level.coords, level.spatial_shape, radius)[level.order]
    find = _compiled_neighbour_pairs if keys.is_cpu else _neighbour_pairs
    inputs, outputs, starts = find(keys, level.order, radius, ny, nz)
    return KernelMap(inputs, outputs, tuple(starts.tolist()), len(keys), len(keys))


def _compiled_neighbour_pairs(
    keys: Tensor, order: Tensor, radius: int, ny: int, nz: int
) -> tuple[Tensor, Tensor, Tensor]:
    inputs, outputs, starts = map(torch.from_numpy, cpu_maps.neighbours(keys.numpy(), order.numpy(), radius, ny, nz))
    return inputs, outputs, starts


def _neighbour_pairs(keys: Tensor, order: Tensor, radius: int, ny: int, nz: int) -> tuple[Tensor, Tensor, Tensor]:
    """Plain twin of cpu_maps.neighbours."""
    step = torch.arange(-radius, radius + 1, device=keys.device)
    shifts = (step[:, None, None] * ny * nz + step[:, None] * nz + step).flatten()  # [K] ascending
    wanted = keys + shifts[:, None]  # [K, V]
    position = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    table = torch.empty_like(wanted, dtype=torch.int32)
    table[:, order] = torch.where(keys[position] == wanted, order[position], -1).int()
    return _pairs(table)


def _halve(level: Level) -> tuple[Level, KernelMap, KernelMap]:
    """Next coarser level, its voxels sorted, and the maps down to it and up from it."""
    nx, ny, nz = ((size + 1) // 2 for size in level.spatial_shape)
    shape = nx, ny, nz
    coords, down, up, ends = (_compiled_halves if level.coords.is_cpu else _halves)(level.coords, shape)
    fine, coarse, starts = len(level.coords), len(coords), tuple(ends.tolist())
    order = torch.arange(coarse, device=coords.device)
    to_coarse = KernelMap(down[0], down[1], starts, fine, coarse)
    return Level(coords, shape, order), to_coarse, KernelMap(up[0], up[1], starts, coarse, fine)


def _compiled_halves(coords: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    numbers, slots = cpu_maps.parents(coords.numpy(), shape)
    order = np.argsort(numbers, kind="stable")  # which merges runs: sorted voxels consist of long ones
    coarse, down, up, starts = map(torch.from_numpy, cpu_maps.halve(coords.numpy(), numbers, slots, order))
    return coarse, down, up, starts


def _halves(coords: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Plain twin of cpu_maps.halve: coarse coordinates, pairs down and up (inputs, outputs) [2, V], starts [9]."""
    parity = coords[:, 1:] % 2
    slots = (4 * parity[:, 0] + 2 * parity[:, 1] + parity[:, 2]).long()
    numbers = _plain_cells(coords // torch.tensor([1, 2, 2, 2], device=coords.device), shape, margin=0)
    numbers, parents = torch.unique(numbers, return_inverse=True)  # sorted
    rows = torch.arange(len(coords), device=coords.device)
    down = torch.full((8, len(numbers)), -1, dtype=torch.int32, device=coords.device)
    up = torch.full((8, len(coords)), -1, dtype=torch.int32, device=coords.device)
    down[slots, parents] = rows.int()
    up[slots, rows] = parents.int()
    *pairs_down, starts = _pairs(down)
    *pairs_up, _ = _pairs(up)
    x, z = numbers // shape[2], numbers % shape[2]
    x, y = x // shape[1], x % shape[1]
    b, x = x // shape[0], x % shape[0]
    return torch.stack([b, x, y, z], 1).int(), torch.stack(pairs_down), torch.stack(pairs_up), starts


def _pairs(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs [P], outputs [P] and starts [K + 1] of a table [K, V_out] of input rows, -1 where there is none."""
    offsets, outputs = torch.nonzero(table >= 0, as_tuple=True)
    starts = torch.searchsorted(offsets, torch.arange(len(table) + 1, device=table.device))
    return table[offsets, outputs], outputs.int(), starts
