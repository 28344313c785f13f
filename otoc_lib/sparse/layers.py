"""Sparse convolution layers without bias; ``weight`` is [K, C_in, C_out] on every back end."""

import math

import torch
from torch import Tensor, nn

from otoc_lib.errors import OtocError
from otoc_lib.sparse.backend import backend_for, convolve
from otoc_lib.sparse.tensor import SparseTensor


class _SparseConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, num_offsets: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_offsets, in_channels, out_channels))
        bound = 1 / math.sqrt(num_offsets * in_channels)  # torch's own choice for a dense convolution of this size
        nn.init.uniform_(self.weight, -bound, bound)

    def extra_repr(self) -> str:
        return "{1}, {2}, offsets={0}".format(*self.weight.shape)


class SubmanifoldConv3d(_SparseConv):
    """Convolution whose output voxels are its input voxels; zero outside them. [V, C_in] to [V, C_out]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise OtocError(f"kernel_size {kernel_size}: a submanifold convolution needs an odd size")
        super().__init__(in_channels, out_channels, kernel_size**3)
        self.kernel_size = kernel_size

    def forward(self, x: SparseTensor, start: Tensor | None = None) -> SparseTensor:
        """Convolution of x, added to ``start`` [V, C_out] where that is given."""
        pairs = x.pyramid.submanifold(x.level, self.kernel_size)
        return x.with_features(convolve(x.features, self.weight, pairs, None, start, backend=x.pyramid.backend))


class SparseLinear(nn.Linear):
    """Linear map of every voxel's features, without bias; [V, C_in] to [V, C_out].

    On the CPU it runs as a convolution of one offset: PyTorch is several times slower at so thin matrices.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, bias=False)

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]  # of voxels, torch's of rows
        backend = x.pyramid.backend
        if backend_for(x.features, backend) != "numba":
            return x.with_features(super().forward(x.features))
        itself = x.pyramid.submanifold(x.level, 1)
        return x.with_features(convolve(x.features, self.weight.t()[None], itself, reverse=None, backend=backend))


class StridedConv3d(_SparseConv):
    """2x2x2 convolution of stride 2: every coarse voxel sees its up to 8 fine ones. [V, C_in] to [V_coarse, C_out]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, num_offsets=8)

    def forward(self, x: SparseTensor) -> SparseTensor:
        down, up = x.pyramid.down(x.level), x.pyramid.up(x.level + 1)
        y = convolve(x.features, self.weight, down, up, backend=x.pyramid.backend)
        return SparseTensor.on(x.pyramid, y, x.level + 1)


class InverseConv3d(_SparseConv):
    """Undoes the StridedConv3d of the level above: back to its input voxels. [V_coarse, C_in] to [V, C_out]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, num_offsets=8)

    def forward(self, x: SparseTensor) -> SparseTensor:
        if x.level == 0:
            raise OtocError("InverseConv3d: the input lies on the finest level; it must come from a StridedConv3d")
        up, down = x.pyramid.up(x.level), x.pyramid.down(x.level - 1)
        y = convolve(x.features, self.weight, up, down, backend=x.pyramid.backend)
        return SparseTensor.on(x.pyramid, y, x.level - 1)
