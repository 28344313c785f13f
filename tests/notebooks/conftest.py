import sys
from pathlib import Path

import pytest
from tiny_project import EXPERIMENTS, ROOT, write_areas, write_project

from otoc_lib.annotation.clicks import write_points
from otoc_lib.scene import Scene

sys.path.insert(0, str(ROOT / "tests" / "methods"))  # dying.py lies beside the tests of methods


@pytest.fixture(scope="session")
def project(rooms: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_project(root, rooms, EXPERIMENTS)
    write_points(root / "data" / "rooms" / "points20", rooms, 20, seed=0)
    write_areas(root / "data" / "areas", rooms[:3])
    return root
