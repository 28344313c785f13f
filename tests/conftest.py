"""Small rooms that tests share."""

import pytest
from tiny import make_room

from otoc_lib.scene import Scene


@pytest.fixture(scope="session")
def rooms() -> list[Scene]:
    return [make_room(f"scene{index:04d}_00", seed=index) for index in range(4)]
