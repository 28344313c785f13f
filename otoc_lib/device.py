"""The device to compute on."""

import torch

from otoc_lib.config import Config
from otoc_lib.errors import OtocError


def choose_device(config: Config) -> torch.device:
    """The device to compute on; ``auto`` prefers CUDA.

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
    return device
