"""Sparse convolution in plain PyTorch: the oracle of the other back ends, on any device and in any float type."""

import torch
from torch import Tensor

from otoc_lib.sparse.kernel_map import KernelMap


def convolve(x: Tensor, weight: Tensor, forward: KernelMap) -> Tensor:
    """Gather, multiply and add, one kernel offset at a time; [V_in, C_in] and [K, C_in, C_out] to [V_out, C_out]."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    total = torch.promote_types(x.dtype, torch.float32)  # half precision sums up to K products per output
    y = x.new_zeros(forward.num_outputs, weight.shape[2], dtype=total)
    for k, (start, stop) in enumerate(zip(forward.starts[:-1], forward.starts[1:], strict=True)):
        if start < stop:
            product = x.index_select(0, forward.inputs[start:stop]) @ weight[k]
            y = y.index_add(0, forward.outputs[start:stop], product.to(total))
    return y.to(x.dtype)
