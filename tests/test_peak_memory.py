"""The measure of memory that other tests hold the kit to sees what is held, however shortly, and nothing else."""

import numpy as np
import pytest
import torch
from memory import in_own_process, peak

MB = 1_000_000


def twice() -> np.ndarray:
    first = np.zeros(30 * MB, np.uint8)
    second = torch.zeros(20 * MB, dtype=torch.uint8)
    size = len(first) + len(second)
    del first, second
    return np.zeros(size // 5, np.uint8)


def test_the_most_that_is_held_at_a_time_is_seen_to_the_kilobyte():
    assert peak(twice) == pytest.approx(50 * MB, abs=50_000)
    assert peak(lambda: np.zeros(7 * MB, np.uint8)) == pytest.approx(7 * MB, abs=50_000)
    assert peak(lambda: None) < 50_000


def test_what_was_held_and_freed_before_is_not_counted_nor_set_against_it():
    kept = [np.ones(MB, np.uint8) for _ in range(50)]
    kept.clear()  # some of their pages may stay with the process
    assert peak(twice) == pytest.approx(50 * MB, abs=50_000)


def test_another_process_measures_the_same():
    assert in_own_process(peak, twice) == pytest.approx(50 * MB, abs=50_000)
    with pytest.raises(ZeroDivisionError):
        in_own_process(divmod, 1, 0)
