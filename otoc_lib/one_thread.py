"""Products and sums of PyTorch that the number of CPU threads would change, computed by one thread.

MKL shares out the columns of a thin product among threads, and other columns fall to other instructions; a sum over a
whole tensor is added up from one part a thread. Both are short beside a training step. Our own kernels sum in parts of
fixed size instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever PyTorch computes within is computed by the calling thread alone; takes less than a microsecond."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``functional.linear``, whose result and gradients on the CPU depend on no number of threads.

    Args:
        x: [N, D]; weight: [C, D]; bias: [C].

    Returns:
        [N, C]. Under autocast, and on other devices, it is PyTorch's own.
    """
    if not x.is_cpu or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)


def softmax(x: Tensor) -> Tensor:
    """Softmax of the rows of x [N, D], whose gradient on the CPU depends on no number of threads; else PyTorch's."""
    if not x.is_cpu or torch.is_autocast_enabled("cpu"):
        return functional.softmax(x, dim=1)
    return _Softmax.apply(x)


class Linear(nn.Linear):
    """``nn.Linear`` by ``linear``; [N, D] to [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        with one_thread():
            return functional.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        with one_thread():  # the products that PyTorch's own gradient takes
            return dy @ weight if of_x else None, dy.T @ x if of_weight else None, dy.sum(0) if of_bias else None


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with one_thread():
            y = functional.softmax(x, dim=1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        with one_thread():
            return y * (dy - (y * dy).sum(dim=1, keepdim=True))
