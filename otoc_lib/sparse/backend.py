"""Choice of the back end and the one operation every back end provides."""

import torch
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.sparse import cpu_conv, spconv_conv, torch_conv
from otoc_lib.sparse.maps import KernelMap

BACKENDS = ("auto", "numba", "spconv", "torch")
_chosen = "auto"


def set_backend(name: str) -> None:
    """Use one back end for every sparse convolution from now on.

    ``auto``: spconv on CUDA where it is installed, the numba kernel for float32 and float64 on the CPU, else torch.

    Raises:
        OtocError: an unknown name, or spconv where it is not installed.
    """
    global _chosen
    if name not in BACKENDS:
        raise OtocError(f"sparse back end {name!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if name == "spconv" and not spconv_conv.available():
        raise OtocError("sparse back end 'spconv' is not installed; install otoc-kit[cuda] or choose another")
    _chosen = name


def backend_for(x: Tensor) -> str:
    """Name of the back end that will convolve a tensor: the chosen one, or what ``auto`` stands for."""
    if _chosen != "auto":
        return _chosen
    if x.is_cuda:
        return "spconv" if spconv_conv.available() else "torch"
    return "numba" if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) else "torch"


def convolve(x: Tensor, weight: Tensor, forward: KernelMap, reverse: KernelMap | None) -> Tensor:
    """Sparse convolution with autograd.

    Args:
        x: float [V_in, C_in].
        weight: float [K, C_in, C_out].
        forward: pairs from input to output voxels.
        reverse: pairs of the opposite direction, for the gradient of x; None for a submanifold map, which is its own
            reverse with the offsets in reverse order.

    Returns:
        float [V_out, C_out].
    """
    match backend_for(x):
        case "spconv":
            return spconv_conv.convolve(x, weight, forward)
        case "numba":
            return cpu_conv.convolve(x, weight, forward, reverse)
        case _:
            return torch_conv.convolve(x, weight, forward)
