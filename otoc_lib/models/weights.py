"""Weights from a file that an untrained network starts from: own ones, or a public checkpoint of MinkUNet34."""

import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from otoc_lib.errors import OtocError, shown
from otoc_lib.models.minkunet34 import from_published
from otoc_lib.outside import read_bytes
from otoc_lib.torch_files import load_torch

CLASSIFIERS = ("classifier", "coarse")  # the layers that know the classes, which may be others
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COUNTER = "num_batches_tracked"  # of batch normalisation, which nothing here reads
SAME_NETWORK = "set backbone, unet_width, unet_levels, unet_blocks and unet_skip as that network has them"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The layers in a file, by name: floats of any shape, on the CPU.

    Args:
        path: a ``weights.safetensors``; or what torch.save wrote of a state dict, or of a dict with one as
            ``state_dict``. Nothing in it is executed.

    Raises:
        OtocError: naming the file, and the layer if it is one's fault.
    """
    found: Any
    path = Path(path)
    if path.suffix == ".safetensors":
        data = read_bytes(path)
        try:
            found = safetensors.torch.load(data)
        except Exception as error:  # a damaged header may raise nearly anything
            raise OtocError(
                f"{path}: damaged or no safetensors file ({type(error).__name__}); copy it again"
            ) from error
    else:
        cure = "copy it again, or save nothing but its state_dict"
        found = load_torch(path, "a checkpoint of torch.save", cure)
        if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
            found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise OtocError(f"{path}: holds no layers by name; give a state dict, or a dict with one as state_dict")
    size = 0
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise OtocError(f"{path}: {shown(name)} is no layer of numbers; save nothing but the state_dict")
        size += value.numel() * value.element_size()
    if size > path.stat().st_size:  # a tensor may name one number again and again
        raise OtocError(f"{path}: its layers have more numbers than it holds; copy it again")
    found = {name: value for name, value in found.items() if not name.endswith(COUNTER)}
    for name, value in found.items():
        if value.dtype not in FLOATS or not bool(value.isfinite().all()):
            raise OtocError(f"{path}: the layer {shown(name)} does not hold finite floats; give other weights")
    return found


def initial_state(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The state of an untrained network once it has the weights of a file.

    Classifiers are left as they are where the file has none, or those of another number of classes, and a warning says
    so. Every other layer must be in the file, in the same shape, and no further ones.

    Args:
        path: as for ``read_weights``; a MinkUNet34 in the public layout is turned into ours (``from_published``).
        network: it stays as it is.

    Raises:
        OtocError: naming the file, the first layer that does not fit, and both shapes.
    """
    found, state = read_weights(path), network.state_dict()
    if any(name.endswith(".kernel") for name in found):
        found = from_published(found)
    own = {name: value for name, value in state.items() if not name.endswith(COUNTER)}
    fitting = {name for name, value in own.items() if name in found and found[name].shape == value.shape}
    left = [name for name in own if name not in fitting]
    wrong = [name for name in left if name.split(".")[0] not in CLASSIFIERS]
    if wrong:
        raise OtocError(f"{path}: {_fault(wrong[0], found, own)}")
    further = [name for name in found if name not in own and name.split(".")[0] not in CLASSIFIERS]
    if further:
        raise OtocError(f"{path}: holds the layer {shown(further[0])}, which the network lacks; {SAME_NETWORK}")
    if left:
        layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in left))
        warnings.warn(f"{path}: has no weights for {layers} of these classes; they start untrained", stacklevel=2)
    return {name: found[name].to(value.dtype) if name in fitting else value for name, value in state.items()}


def _fault(name: str, found: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """What is wrong with a layer, and the cure."""
    here = list(own[name].shape)
    if name not in found:
        return f"holds no layer {name}, which is {here} in the network; {SAME_NETWORK}"
    there = list(found[name].shape)
    text = f"the layer {name} is {there} in the file and {here} in the network"
    if name == next(iter(own)) and len(there) == len(here) == 3 and there[1] != here[1]:
        return (
            f"{text}: it takes {there[1]} numbers a voxel there, and here {here[1]}, colour and position; give weights "
            "of a network that takes as many"
        )
    return f"{text}; {SAME_NETWORK}"
