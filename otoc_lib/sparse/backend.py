"""Choice of the back end and the one operation every back end provides."""

from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.sparse import cpu_conv, torch_conv
from otoc_lib.sparse.maps import KernelMap

BACKENDS = ("auto", "torch", "numba")
_chosen = "auto"


def set_backend(name: str) -> None:
    """Use one back end for every sparse convolution from now on.

    ``auto``: spconv on CUDA where it is installed, the numba kernel for float32 and float64 on the CPU, else torch.
    """
    global _chosen
    if name not in BACKENDS:
        raise OtocError(f"sparse back end {name!r} is unknown; choose one of {', '.join(BACKENDS)}")
    _chosen = name


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
    if _chosen == "torch":
        return torch_conv.convolve(x, weight, forward)
    return cpu_conv.convolve(x, weight, forward, reverse)
