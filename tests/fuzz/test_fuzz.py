"""Readers of files from outside raise OtocError alone; ``make fuzz`` asks at length what is asked here in a minute."""

import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from examine import examine, minimise, quiet
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import LARGEST, mutate
from targets import TARGETS

from otoc_lib.errors import OtocError

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1.5  # for every reader; a slow machine reads fewer files


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(tmp_path, name):
    for seed in TARGETS[name].seeds():
        assert len(seed) < 10_000
        with quiet(measured=False):
            TARGETS[name].read(tmp_path, seed)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_files_that_once_broke_a_reader_break_none(tmp_path, path):
    target = TARGETS[path.parent.name]
    target.read(tmp_path, target.seeds()[0])  # compiles what is compiled, which takes memory of its own
    with quiet():
        finding = examine(target.read, tmp_path, path.read_bytes())
    assert finding is None, finding.text


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_break_no_reader(tmp_path, name):
    """The same files every time, as many as there is time for."""
    target = TARGETS[name]
    seeds = target.seeds()
    with quiet(measured=False):
        for seed in seeds:
            target.read(tmp_path, seed)  # compiles what is compiled
    random, end = Random(name), time.monotonic() + SECONDS
    with quiet():
        while time.monotonic() < end:
            data = mutate(random.choice(seeds), random, seeds)
            finding = examine(target.read, tmp_path, data)
            assert finding is None, f"{finding.text}\nby the file {data!r}"


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
    with quiet():
        finding = examine(read, tmp_path, data)
    assert (finding and finding.kind) == kind


def test_a_broken_file_is_made_as_small_as_it_can_be():
    assert minimise(bytes(1000) + b"ab" + bytes(500) + b"c", lambda data: b"a" in data and b"c" in data) == b"ac"


@given(st.binary(max_size=100), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_changes_can_be_made_to_anything(data, random):
    assert len(mutate(data, random)) <= LARGEST
