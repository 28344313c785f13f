"""What the processes that train one network tell each other. A process that is alone is told nothing new.

They are started by ``training/launch.py``, and ``gathered`` is around what they do together. Whatever is given to one
of these functions must be given to it by all of them, in the same order.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed


def count() -> int:
    """How many processes there are, 1 outside of ``gathered``."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0. The first one writes what all have made."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def place() -> int:
    """Which of those on this machine it is, from 0: the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if distributed.is_initialized() else 0


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def gathered(on_cuda: bool) -> Iterator[None]:
    """Wait for the other processes that the launcher has started; within, all of them do the same work together.

    on_cuda: whether tensors on GPUs are exchanged, too; those on the CPU always can be.
    """
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    yield
    distributed.destroy_process_group()  # not after an error, which the others may not share


def total(tensor: Tensor) -> Tensor:
    """The sum of the tensors of all processes, which have one shape and lie on the device of each."""
    if count() > 1:
        tensor = tensor.detach().clone()
        distributed.all_reduce(tensor)
    return tensor


def largest(numbers: Iterable[int]) -> list[int]:
    """The largest of each number among the processes."""
    found = torch.tensor(list(numbers))
    if count() > 1:
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return found.tolist()


def stacked(tensor: Tensor) -> Tensor:
    """The tensors [...] of all processes, which have one shape, in the order of the processes: [processes, ...]."""
    if count() == 1:
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(count())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)


def joined(tensor: Tensor) -> tuple[Tensor, int]:
    """The tensors [n] of all processes one after the other, where n may differ, and where one's own begins in it."""
    sizes = stacked(torch.tensor([len(tensor)], device=tensor.device)).flatten().tolist()
    padded = stacked(torch.cat([tensor, tensor.new_zeros(max(sizes) - len(tensor))]))
    parts = [row[:size] for row, size in zip(padded, sizes, strict=True)]
    return torch.cat(parts), sum(sizes[: rank()])


def add_up_gradients(parameters: Iterable[Tensor]) -> None:
    """Make the gradient of every parameter the sum of those that the processes have for it; one without counts as 0.

    In one message: its time does not hide behind the backward pass, but its order is fixed, and a network may be run
    several times, or by any of its methods, before it.
    """
    if count() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    sums = total(torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None]))
    for parameter, part in zip(trained, sums.split([parameter.numel() for parameter in trained]), strict=True):
        parameter.grad = part.view_as(parameter)


def take_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of the first process."""
    if count() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def wait() -> None:
    """Wait until all are here."""
    largest([0])
