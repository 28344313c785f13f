"""The pairwise kernel in square tiles of plain PyTorch: stored ("dense"), or computed anew each time ("chunked").

For GPUs; ``cpu_kernel`` holds the CPU's own form of the same.

K is symmetric, so both only hold tiles of its upper triangle and use each twice: half the memory and half the exponents
of the full matrix.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.propagation.graph import Multiply

Tile = tuple[slice, slice, Tensor]  # rows, columns, K[rows, columns]
GIB = 2**30
TILE = 8192  # rows: a GPU needs products of this size (256 MB) to be busy


def dense_elements(size: int, tile: int) -> int:
    """Numbers that the stored tiles of ``size`` super-voxels hold: about size ** 2 / 2."""
    return sum(min(tile, size - start) * (size - start) for start in range(0, size, tile))


def reserve(like: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """Memory for the kernel of ``size`` super-voxels; OtocError where it does not suffice."""
    try:
        return like.new_empty(shape)
    except RuntimeError as problem:  # CUDA's OutOfMemoryError is one too
        raise OtocError(
            f"propagation: dense needs {math.prod(shape) * like.element_size() / GIB:.1f} GiB for {size} "
            "super-voxels, more than there is; choose auto or chunked"
        ) from problem


def dense_kernel(features: Tensor, tile: int) -> Multiply:
    """V [C, M] -> V K of the stored kernel of features x [M, D]; OtocError where memory does not suffice."""
    storage = reserve(features, (dense_elements(len(features), tile),), len(features))
    kept = list(_tiles(features, tile, storage, keep=True))
    if len(kept) == 1:  # a small graph is one tile, and that the whole kernel
        return lambda values: values @ kept[0][2]
    return lambda values: multiply(kept, values)


def chunked_kernel(features: Tensor, tile: int) -> Multiply:
    """V [C, M] -> V K of features x [M, D] with one tile in memory at a time: O(M (D + C)) beside it."""
    storage = features.new_empty(min(tile, len(features)) ** 2)
    return lambda values: multiply(_tiles(features, tile, storage, keep=False), values)


def multiply(tiles: Iterable[Tile], values: Tensor) -> Tensor:
    """V K [C, M] from the upper triangle of K: a tile off the diagonal also stands for its mirror image."""
    product = torch.zeros_like(values)
    for rows, columns, kernel in tiles:
        product[:, columns].addmm_(values[:, rows], kernel)
        if rows != columns:
            product[:, rows].addmm_(values[:, columns], kernel.T)
    return product


def _tiles(features: Tensor, size: int, storage: Tensor, keep: bool) -> Iterator[Tile]:
    """Tiles of the upper triangle, laid one after the other into ``storage``, or one over the other."""
    half_norms = 0.5 * features.square().sum(1, keepdim=True)  # [M, 1]
    ones = torch.ones_like(half_norms)
    # [a, -|a|^2/2, 1] . [b, 1, -|b|^2/2] = -1/2 |a - b|^2: the exponents are one matrix product
    left = torch.cat([features, -half_norms, ones], dim=1)  # [M, D + 2]
    right = torch.cat([features, ones, -half_norms], dim=1)
    used = 0
    for top in range(0, len(features), size):
        for start in range(top, len(features), size):
            rows, columns = slice(top, top + size), slice(start, start + size)
            a, b = left[rows], right[columns]
            kernel = storage[used : used + len(a) * len(b)].view(len(a), len(b))
            torch.mm(a, b.T, out=kernel).clamp_(max=0).exp_()
            if top == start:
                kernel.fill_diagonal_(0)
            yield rows, columns, kernel
            used += kernel.numel() if keep else 0
