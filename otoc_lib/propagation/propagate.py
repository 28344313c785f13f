"""Propagation of one room's graph, and the choice of how its kernel is kept.

dense     one of each pair of symmetric tiles of the kernel is computed once and stored: 2 M^2 bytes in float32.
chunked   the same tiles, computed anew in every step; memory grows with M only. Any device.
triton    one fused kernel that computes exponents and products tile by tile in registers. CUDA.

The CPU has its own compiled form of dense and chunked; on a GPU they are products of PyTorch.
"""

import importlib.util
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.propagation.cpu_kernel import packed_features, packed_mean_field, stored_elements
from otoc_lib.propagation.graph import Scaling, check_scaling, mean_field, stack_blocks
from otoc_lib.propagation.tiles import GIB, TILE, chunked_kernel, dense_elements, dense_kernel

Kept = Literal["dense", "chunked", "triton"]
Storage = Literal["auto", "dense", "chunked", "triton"]


@torch.no_grad()
def propagate_graph(
    unary: Tensor,
    blocks: list[Tensor],
    *,
    bandwidth: float,
    weight: float,
    scaling: Scaling = "row_sum",
    steps: int = 10,
    tolerance: float = 1.0e-3,
    storage: Storage = "auto",
    memory: float = 4.0,
) -> Tensor:
    """Mean field (eq. 3) over the complete graph of one room's super-voxels (eq. 5).

    Args:
        unary: class probabilities P [M, C]. Its dtype, float32 at least, is that of the computation.
        blocks: features of the super-voxels, each [M, D_b], as for ``pairwise_kernel``.
        bandwidth: as for ``pairwise_kernel``.
        weight, scaling, steps, tolerance: as for ``mean_field``.
        storage: how the kernel is kept, see above. ``auto`` stores it where it fits into ``memory``; beyond, it
            takes the fused kernel where that runs, else chunks.
        memory: GiB that ``auto`` may spend on a stored kernel.

    Returns:
        Q [M, C], rows sum to one; equal for every storage up to rounding.

    Raises:
        OtocError: an unknown scaling or storage, or one that cannot run here; blocks that do not fit the unary; NaN or
            infinite values.
    """
    dtype = torch.promote_types(unary.dtype, torch.float32)
    unary, blocks = unary.to(dtype), [block.to(dtype) for block in blocks]
    _check_shapes(unary, blocks)
    check_scaling(scaling)
    chosen = choose_storage(storage, len(unary), unary.device, memory, unary.element_size())
    if not unary.is_cpu or chosen == "triton":
        return propagate_by_products(unary, blocks, bandwidth, weight, scaling, steps, tolerance, chosen)
    x, half_norms = packed_features(blocks, bandwidth)
    _check_finite(unary, blocks, half_norms)
    return packed_mean_field(
        unary,
        x,
        half_norms,
        weight=weight,
        scaling=scaling,
        steps=steps,
        tolerance=tolerance,
        stored=chosen == "dense",
    )


def propagate_by_products(
    unary: Tensor,
    blocks: list[Tensor],
    bandwidth: float,
    weight: float,
    scaling: Scaling,
    steps: int,
    tolerance: float,
    storage: Kept,
) -> Tensor:
    """What ``propagate_graph`` does on a GPU; it runs on any device that ``storage`` runs on.

    Args:
        unary, blocks: of one dtype, float32 or float64, and of shapes that fit.
    """
    with _full_precision(unary.device):
        features = stack_blocks(blocks, bandwidth)  # [M, D]
        _check_finite(unary, blocks, features)
        match storage:
            case "dense":
                multiply = dense_kernel(features, TILE)
            case "chunked":
                multiply = chunked_kernel(features, TILE)
            case "triton":
                from otoc_lib.propagation.triton_kernel import triton_kernel

                multiply = triton_kernel(features)
        return mean_field(unary, multiply, weight, scaling, steps, tolerance)


def choose_storage(storage: Storage, size: int, device: torch.device, memory: float, itemsize: int = 4) -> Kept:
    """What ``storage`` stands for on this device; OtocError where it cannot run.

    Args:
        storage, memory: as for ``propagate_graph``.
        size: number of super-voxels.
        itemsize: bytes of one entry of the kernel.
    """
    if storage not in get_args(Storage):
        raise OtocError(f"propagation: {storage!r} is unknown; choose {', '.join(get_args(Storage))}")
    if storage == "triton" and (obstacle := triton_obstacle(device)):
        raise OtocError(f"propagation: triton {obstacle}; choose auto or chunked")
    if storage != "auto":
        return storage
    elements = stored_elements(size) if device.type == "cpu" else dense_elements(size, TILE)
    if elements * itemsize <= memory * GIB:
        return "dense"
    return "triton" if device.type == "cuda" and not triton_obstacle(device) else "chunked"


def triton_obstacle(device: torch.device) -> str | None:
    """Why the Triton kernel cannot run on this device, or None."""
    if importlib.util.find_spec("triton") is None:
        return "is not installed"
    if device.type == "cuda":
        return "needs a GPU of compute capability 8.0" if torch.cuda.get_device_capability(device) < (8, 0) else None
    return None if os.environ.get("TRITON_INTERPRET") == "1" else f"needs a CUDA GPU, not {device.type}"


def _check_shapes(unary: Tensor, blocks: list[Tensor]) -> None:
    if blocks and all(values.ndim == 2 and len(values) == len(unary) for values in (unary, *blocks)):
        return
    for name, values in _named(unary, blocks).items():
        if values.ndim != 2 or len(values) != len(unary):
            raise OtocError(
                f"propagation: {name} has shape {tuple(values.shape)}; one row for each of {len(unary)} "
                "super-voxels is needed"
            )
    raise OtocError("propagation needs at least one block of features")


def _check_finite(unary: Tensor, blocks: list[Tensor], derived: Tensor) -> None:
    """Sums of the unary and of what was made of the blocks tell; only if they are not finite is the culprit sought."""
    if math.isfinite(float(unary.sum()) + float(derived.sum())):
        return
    for name, values in _named(unary, blocks).items():
        if bad := int((~values.isfinite()).any(dim=1).sum()):
            raise OtocError(
                f"propagation: {name} holds NaN or infinite values in {bad} of {len(unary)} super-voxels; "
                "networks whose training diverged write such"
            )
    raise OtocError("propagation: features too large to be squared")


def _named(unary: Tensor, blocks: list[Tensor]) -> dict[str, Tensor]:
    order = "colour, position, U-Net feature, relation feature"
    numbered = {f"feature block {n} of {len(blocks)} ({order})": block for n, block in enumerate(blocks, start=1)}
    return {"class probabilities": unary} | numbered


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32: an exponent is a small difference of large numbers."""
    matmul = torch.backends.cuda.matmul
    name, exact = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    before = getattr(matmul, name)
    setattr(matmul, name, exact)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        setattr(matmul, name, before)
