"""Small rooms that tests share, and one thread for each process."""

import os

# Tests run in more processes than cores. Threads on top of these wait spinning for one another, up to a third of the
# processor time where networks are computed; what tests threads says how many.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import pytest
from debian import PACKAGES, missing_packages
from tiny import make_room

from otoc_lib.scene import Scene

numba.set_num_threads(1)


@pytest.fixture(scope="session")
def rooms() -> list[Scene]:
    return [make_room(f"scene{index:04d}_00", seed=index) for index in range(4)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After all tests: what they skipped for want of."""
    if missing := missing_packages(PACKAGES):
        packages = " ".join(missing)
        terminalreporter.write_line(f"Missing, so that some tests are skipped: apt-get install {packages}", yellow=True)
