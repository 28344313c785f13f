"""Readers of files from outside raise OtocError alone; ``make fuzz`` asks at length what is asked here in a minute."""

import time
from pathlib import Path

import numpy as np
import pytest
from examine import examine, minimise, traced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import LARGEST, mutate
from targets import TARGETS

from otoc_lib.errors import OtocError

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1.5  # of every reader; a slow machine reads fewer files


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(tmp_path, name):
    for seed in TARGETS[name].seeds():
        assert len(seed) < 10_000
        with traced():
            TARGETS[name].read(tmp_path, seed)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_files_that_once_broke_a_reader_break_none(tmp_path, path):
    target = TARGETS[path.parent.name]
    target.read(tmp_path, target.seeds()[0])  # compiles what is compiled, which takes memory of its own
    with traced():
        finding = examine(target.read, tmp_path, path.read_bytes())
    assert finding is None, finding.text


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_break_no_reader(tmp_path, name):
    target, found = TARGETS[name], []
    seeds = target.seeds()
    for seed in seeds:
        target.read(tmp_path, seed)
    end = time.monotonic() + SECONDS

    # Derandomised, so that a failure comes again; generated, so that hypothesis says which file it was.
    @settings(derandomize=True, max_examples=2000, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(st.builds(mutate, st.sampled_from(seeds), st.randoms(use_true_random=False), st.just(seeds)))
    def check(data):
        if time.monotonic() > end and not found:
            return
        finding = examine(target.read, tmp_path, data)
        found.extend([finding] if finding else [])
        assert finding is None, finding.text

    with traced():
        check()


# --- the fuzzer itself


def allocate(folder, data):
    np.empty(int.from_bytes(data, "little"))


def fail(folder, data):
    raise KeyError(data)


def fail_quietly(folder, data):
    raise OtocError("something is wrong")


def hide(folder, data):
    try:
        raise MemoryError
    except MemoryError as error:
        raise OtocError(f"{folder}: damaged") from error


def refuse(folder, data):
    raise OtocError(f"{folder}: damaged; copy it again")


@pytest.mark.parametrize(
    ("read", "data", "kind"),
    [
        (allocate, b"\0\0\0\1", "allocates"),
        (allocate, b"\1", None),
        (fail, b"", "KeyError_elsewhere"),
        (fail_quietly, b"", "names_no_file"),
        (hide, b"", "allocates"),
        (refuse, b"", None),
    ],
)
def test_what_a_finding_is(tmp_path, read, data, kind):
    with traced():
        finding = examine(read, tmp_path, data)
    assert (finding and finding.kind) == kind


def test_a_broken_file_is_made_as_small_as_it_can_be():
    assert minimise(bytes(1000) + b"ab" + bytes(500) + b"c", lambda data: b"a" in data and b"c" in data) == b"ac"


@given(st.binary(max_size=100), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_changes_can_be_made_to_anything(data, random):
    assert len(mutate(data, random)) <= LARGEST
