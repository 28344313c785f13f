"""Choice of the back end and the operations whose way of computing depends on it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.sparse import cpu_conv, cpu_norm, spconv_conv, torch_conv
from otoc_lib.sparse.kernel_map import KernelMap

BACKENDS = ("auto", "numba", "spconv", "torch")


def check_backend(name: str) -> None:
    """OtocError for an unknown name, or spconv where it is not installed."""
    if name not in BACKENDS:
        raise OtocError(f"sparse back end {name!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if name == "spconv" and not spconv_conv.available():
        raise OtocError("sparse back end 'spconv' is not installed; install otoc-kit[cuda] or choose another")


def backend_for(x: Tensor, backend: str) -> str:
    """Name of the back end that convolves a tensor: ``backend``, or what ``auto`` stands for.

    That is spconv on CUDA where it is installed, the numba kernel for float32 and float64 on the CPU, else torch.
    """
    if backend != "auto":
        return backend
    if x.is_cuda:
        return "spconv" if spconv_conv.available() else "torch"
    return "numba" if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) else "torch"


def convolve(
    x: Tensor,
    weight: Tensor,
    forward: KernelMap,
    reverse: KernelMap | None,
    start: Tensor | None = None,
    *,
    backend: str,
) -> Tensor:
    """Sparse convolution with autograd.

    Args:
        x: float [V_in, C_in].
        weight: float [K, C_in, C_out].
        forward: pairs from input to output voxels.
        reverse: pairs of the opposite direction, for the gradient of x; None for a submanifold map, which is its own
            reverse with the offsets in reverse order.
        start: float [V_out, C_out] that the products are added to; None for 0.
        backend: one of BACKENDS, as ``check_backend`` passes it.

    Returns:
        float [V_out, C_out].
    """
    match backend_for(x, backend):
        case "spconv":
            y = spconv_conv.convolve(x, weight, forward)
        case "numba":
            return cpu_conv.convolve(x, weight, forward, reverse, start)
        case _:
            y = torch_conv.convolve(x, weight, forward)
    return y if start is None else y + start


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    of_batch: bool,
    momentum: float,
    eps: float,
    relu: bool,
    *,
    backend: str,
) -> Tensor:
    """F.batch_norm(...), or relu of it, with autograd; float [V, C] to [V, C].

    Args:
        x: float [V, C]; V is at least 2 with ``of_batch``.
        running_mean, running_variance: [C], updated in place with ``of_batch``.
        weight, bias: [C].
        of_batch: normalise by the statistics of x, as in training; else by the running ones.
        momentum: share of the new statistics in the running ones.
        eps: added to the variance.
        relu: whether a ReLU follows.
        backend: one of BACKENDS, as ``check_backend`` passes it.
    """
    arguments = x, running_mean, running_variance, weight, bias, of_batch, momentum, eps
    if backend_for(x, backend) == "numba":
        return cpu_norm.batch_norm(*arguments, relu)
    y = F.batch_norm(*arguments)
    return F.relu(y) if relu else y
