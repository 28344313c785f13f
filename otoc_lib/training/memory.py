"""What is said where memory does not suffice: which parameters ask for less."""

import contextlib
from collections.abc import Iterator

import torch

from otoc_lib.config import Config
from otoc_lib.errors import OtocError

TRAINING = {  # name -> how to change it for less memory
    "accumulate": "raise it: a step in more pieces",
    "checkpoint_activations": "true: the backward pass computes again what is not kept",
    "precision": "bfloat16: half the size, on GPUs that have it",
    "batch_size": "lower it: fewer rooms a step",
    "max_points": "lower it: larger rooms are cropped",
    "tile_metres": "set it: larger scans are cut into tiles",
    "voxel_size": "raise it: fewer voxels",
}
PREDICTION = {
    "tile_metres": "set or lower it: scans are predicted tile by tile",
    "voxel_size": "raise it: fewer voxels",
}


@contextlib.contextmanager
def telling_out_of_memory(config: Config, what: str, parameters: dict[str, str] = TRAINING) -> Iterator[None]:
    """Turn the errors of PyTorch and Python for want of memory into an OtocError that says what asks for less.

    Args:
        what: needed the memory.
        parameters: those that decide how much, the first to try first; ``TRAINING`` or ``PREDICTION``.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_for_memory(error):
            raise
        cause = (str(error).splitlines() or [type(error).__name__])[0][:300]
        advice = "\n".join(f"  {name} (now {getattr(config, name)}) - {how}" for name, how in parameters.items())
        raise OtocError(f"{what}: out of memory ({cause}); change one of these:\n{advice}") from error


def _is_for_memory(error: Exception) -> bool:
    """Among RuntimeErrors, those of PyTorch's allocator on the CPU have no class of their own."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
