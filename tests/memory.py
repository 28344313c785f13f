"""How much memory something takes, for tests that nothing is allocated by a number that a file merely claims."""

import ctypes
import gc
import multiprocessing
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest

Result = TypeVar("Result")


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6, f"took {peak / 1e6:.1f} MB"


class _Allocated(ctypes.Structure):
    """What glibc's mallinfo2 says; of its ten numbers, the bytes mapped one by one and those in use otherwise."""

    _fields_ = [(name, ctypes.c_size_t) for name in "arena o s h hblkhd u f uordblks d k".split()]


def peak(work: Callable[[], object]) -> int:
    """Bytes of the most memory that some work holds at a time, of arrays and tensors alike; what it returns included.

    Tensors are allocated past Python's own count, and the system's count of resident pages depends on what else the
    machine does. So the allocator itself is asked, at every call and return; what one call alone needs is not seen.
    """
    try:
        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        pytest.skip("only the C library of GNU, from 2.33, tells how many bytes are allocated")
    mallinfo.restype = _Allocated

    def held() -> int:
        told = mallinfo()
        return told.uordblks + told.hblkhd

    most = 0

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, held())

    gc.collect()
    before, outside = held(), sys.getprofile()
    sys.setprofile(look)
    try:
        result = work()  # noqa: F841 -- held, as it counts
    finally:
        sys.setprofile(outside)
    look()
    return most - before


def in_own_process(work: Callable[..., Result], *arguments: object) -> Result:
    """What a function of a module returns in a new process.

    For work of many calls: ``peak`` asks the allocator at each of them, which goes through all that was freed, ten
    times as much after thousands of tests.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()
