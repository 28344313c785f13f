"""What benchmarks share: threads, sides of a comparison timed in turn, peak memory, the table of targets for run.py."""

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

# Each says how many threads a pool of torch or numba has.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
Target = tuple[str, str, bool | None]  # words, measured, met; None: not measured


def in_turn(sides: dict[str, Callable], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each side, by the clock and of the processor (all threads of this process together).

    One more turn comes first, which compiles and fills the file cache.
    """
    seconds = {side: [] for side in sides}
    for repeat in range(repeats + 1):
        for side, work in sides.items():
            clock, processor = time.perf_counter(), time.process_time()
            work()
            if repeat:
                seconds[side].append((time.perf_counter() - clock, time.process_time() - processor))
    return {side: tuple(map(statistics.median, zip(*times, strict=True))) for side, times in seconds.items()}


def print_targets(targets: Iterable[Target]) -> None:
    print("\n| target | measured | met |\n|---|---|---|")
    for words, measured, met in targets:
        print(f"| {words} | {measured} | {({True: 'yes', False: 'no', None: 'not measured'})[met]} |")


def peak_memory() -> Callable[[], float | None]:
    """Begins to watch the memory of this process; the result tells by how many MB it was more than now at most, None
    where the system does not tell (only Linux does)."""
    process = Path("/proc/self")

    def held(kind: str) -> int:
        return int(re.search(rf"{kind}:\s+(\d+) kB", (process / "status").read_text(encoding="ascii"))[1])

    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        (process / "clear_refs").write_text("5", encoding="ascii")
        before = held("VmRSS")
    except (OSError, AttributeError):
        return lambda: None
    return lambda: (held("VmHWM") - before) * 1024 / 1e6
