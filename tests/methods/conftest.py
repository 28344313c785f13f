"""Tiny experiments in a folder of their own, for the tests of methods and stages."""

from pathlib import Path

import pytest
from tiny_experiment import tiny_experiment

from otoc_lib.methods.stages import Scenes, run_method
from otoc_lib.scene import Scene


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    (root / "notebooks").mkdir()
    (root / "params").mkdir()
    return root


@pytest.fixture(scope="session")
def scenes(rooms: list[Scene]) -> Scenes:
    return Scenes(train=rooms[:3], evaluation={"val": rooms[3:]})


@pytest.fixture(scope="session")
def finished(folder, scenes):
    """The two iterations of the experiment ``otoc``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return list(run_method(tiny_experiment(), scenes))


@pytest.fixture(autouse=True)
def checkout(folder, finished, monkeypatch) -> Path:
    """The folder, in which ``otoc`` was run before anything else: the others reuse its stages, not it theirs."""
    monkeypatch.chdir(folder)
    return folder
