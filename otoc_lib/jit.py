"""Numba compilation with an on-disk cache where one can be written, and without where none can."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(parallel: bool = True) -> Callable[[Callable], Callable]:
    """Decorator: compile a function on its first call; later processes load it from the cache."""
    options: dict[str, Any] = {"nogil": True, "fastmath": False, "parallel": parallel, "error_model": "numpy"}

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
            return numba.njit(**options)(function)

    return decorate
