"""Activation checkpointing: parts of a network that keep nothing for the backward pass and are computed again in it.

A module whose class has an attribute ``recompute`` takes part; ``recompute_activations`` sets it in all of a network.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from otoc_lib.errors import OtocError

_this_thread = threading.local()  # the backward pass has threads of its own on GPUs


def computing_again() -> bool:
    """Whether what is computed now was computed before: batch normalisation then follows no statistics."""
    return getattr(_this_thread, "again", False)


@contextlib.contextmanager
def _again() -> Iterator[None]:
    _this_thread.again = True
    try:
        yield
    finally:
        _this_thread.again = False


def recomputed(on: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``; if ``on``, what it needs for its gradient is computed again when that is asked for."""
    if not on or not torch.is_grad_enabled():
        return function(*arguments)
    # Nothing here is drawn at random, so no state of a generator has to be kept.
    contexts = lambda: (contextlib.nullcontext(), _again())  # noqa: E731
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


def recompute_activations(network: nn.Module) -> None:
    """Let all parts of a network that can be computed again be so; OtocError where there is none."""
    parts = [module for module in network.modules() if hasattr(module, "recompute")]
    if not parts:
        raise OtocError(
            f"parameter 'checkpoint_activations': no part of {type(network).__name__} can be computed again; set it to "
            "false"
        )
    for module in parts:
        module.recompute = True  # type: ignore[assignment]  # torch takes attributes of modules for tensors
