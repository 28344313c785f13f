"""How much memory something takes, for tests that nothing is allocated by a number that a file merely claims."""

import ctypes
import gc
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6, f"took {peak / 1e6:.1f} MB"


def peak(work: Callable[[], object]) -> int:
    """Bytes of the most memory that some work takes at a time, of arrays and tensors alike; what it returns included.

    Tensors are allocated past Python's own count, so the process is watched, which Linux alone allows.
    """
    process = Path("/proc/self")
    try:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (process / "clear_refs").write_text("5")  # the most so far is what is held now
    except OSError:
        pytest.skip("this system does not tell how much memory a process takes at most")

    def held(kind: str) -> int:
        return 1024 * int(re.search(rf"{kind}:\s+(\d+) kB", (process / "status").read_text())[1])

    before = held("VmRSS")
    work()
    return held("VmHWM") - before
