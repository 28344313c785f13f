"""Sparse 3-D convolution: one layer API, the same parameters, three interchangeable back ends.

``torch`` is the plain PyTorch oracle, ``numba`` the fast CPU kernel, ``spconv`` the CUDA route. A pyramid names the one
that computes on its voxels.
"""

from otoc_lib.sparse import shared_norm
from otoc_lib.sparse.backend import batch_norm
from otoc_lib.sparse.kernel_map import KernelMap
from otoc_lib.sparse.layers import InverseConv3d, SparseLinear, StridedConv3d, SubmanifoldConv3d
from otoc_lib.sparse.maps import Pyramid
from otoc_lib.sparse.tensor import SparseTensor

__all__ = [
    "InverseConv3d",
    "KernelMap",
    "Pyramid",
    "SparseLinear",
    "SparseTensor",
    "StridedConv3d",
    "SubmanifoldConv3d",
    "batch_norm",
    "shared_norm",
]
