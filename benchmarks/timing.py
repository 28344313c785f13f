"""What the benchmarks share: the sides of a comparison timed in turn, and the table of targets that run.py collects."""

import statistics
import time
from collections.abc import Callable, Iterable

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
