"""Sparse convolution by spconv's functional operations, on our kernel maps and our weight layout.

spconv is imported on first use: without it, or without CUDA, everything else works.
"""

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.sparse.kernel_map import KernelMap


@cache
def _functional() -> ModuleType:
    try:
        import spconv.pytorch.functional as functional
        from spconv.pytorch import ops
    except ImportError as error:
        raise OtocError(f"sparse back end spconv cannot be imported ({error}); install otoc-kit[cuda]") from None
    if not torch.cuda.is_available():
        ops.get_current_stream = lambda: 0  # spconv 2.3 asks CUDA for a stream even in its CPU build
    return functional


def available() -> bool:
    """Whether spconv can be imported."""
    try:
        _functional()
    except OtocError:
        return False
    return True


def convolve(x: Tensor, weight: Tensor, forward: KernelMap) -> Tensor:
    """Gather, multiply and scatter by spconv, with autograd; arguments as in backend.convolve.

    On the CPU, spconv's scatter has a data race: call it with torch.set_num_threads(1), as the tests do.
    """
    functional = _functional()
    pairs, counts = forward.padded_pairs
    filters = weight.permute(2, 0, 1).contiguous()[:, :, None, None]  # spconv's [C_out, kx, ky, kz, C_in]
    native = functional.ops.ConvAlgo.Native  # the one algorithm that takes foreign pairs
    return functional.indice_conv(x.contiguous(), filters, pairs, counts, forward.num_outputs, native)
