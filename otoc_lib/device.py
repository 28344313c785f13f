"""The device to compute on."""

import torch

from otoc_lib.config import Config
from otoc_lib.errors import OtocError


def choose_device(config: Config) -> torch.device:
    """The device to compute on; ``auto`` prefers CUDA."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(config.device)
    except RuntimeError:
        raise OtocError(f"parameter 'device': {config.device!r} is no torch device; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OtocError("parameter 'device': CUDA was asked for and this machine has none; use device: auto")
    return device
