import sys
from pathlib import Path

import pytest

from otoc_lib.reporting.runs import Results
from otoc_lib.scene import Scene

sys.path.insert(0, str(Path(__file__).parent))  # fake_rooms lies beside the tests

import fake_rooms  # noqa: E402


@pytest.fixture(scope="session")
def scenes() -> dict[str, list[Scene]]:
    return fake_rooms.make_scenes()


@pytest.fixture(scope="session")
def runs(scenes: dict[str, list[Scene]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished runs of the profile "rooms", in which ``unet_gp`` was not run."""
    folder = tmp_path_factory.mktemp("project") / "runs"
    fake_rooms.make_runs(folder, scenes)
    return folder


@pytest.fixture(scope="session")
def results(runs: Path) -> Results:
    """Those runs, with the experiments that they are of."""
    return fake_rooms.results_in(runs)
