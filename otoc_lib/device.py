"""The device to compute on."""

import contextlib
import os
from collections.abc import Iterator

import torch

from otoc_lib import processes
from otoc_lib.config import Config
from otoc_lib.errors import OtocError


def choose_device(config: Config) -> torch.device:
    """The device to compute on; ``auto`` prefers CUDA. Of several processes each has a GPU of its own.

    Raises OtocError where this machine lacks it, or cannot run the sparse back end on it.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(("cuda" if found else "cpu") if config.device == "auto" else config.device)
    if device.type == "cuda" and (device.index or 0) >= found:
        there = "".join(f", cuda:{index}" for index in range(found))
        has = f"this machine has {found} CUDA devices"
        raise OtocError(f"parameter 'device': {config.device}, but {has}; use auto, cpu{there}")
    if device.type == "cuda" and config.sparse_backend == "numba":
        raise OtocError("parameter 'sparse_backend': numba does not run on CUDA; use auto, torch or spconv")
    if device.type == "cuda" and processes.count() > 1:
        return torch.device("cuda", processes.place())
    return device


def check_devices(config: Config) -> None:
    """Raise OtocError where ``devices`` asks for more GPUs than there are, or without GPUs for more processors."""
    on_cuda = choose_device(config).type == "cuda"
    found = torch.cuda.device_count() if on_cuda else processes.processors()
    if config.devices > found:
        kind = "CUDA devices" if on_cuda else "processors, and computes on them (device: cpu, or auto without a GPU)"
        raise OtocError(f"parameter 'devices': {config.devices}, but this machine has {found} {kind}; lower it")


@contextlib.contextmanager
def deterministic(config: Config) -> Iterator[None]:
    """With ``deterministic``, let PyTorch compute the same bits each time, also on CUDA; it warns where it cannot.

    On the CPU the kit does so anyway. cuBLAS must know before it is first used: the variable stays set.
    """
    if not config.deterministic:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
