"""Tiny experiments in a folder of their own, for the tests of methods and stages."""

from pathlib import Path

import numpy as np
import pytest
from tiny_experiment import tiny_experiment

from otoc_lib.datasets.bundled_frames import write_frames
from otoc_lib.methods.stages import Scenes, run_method
from otoc_lib.scene import Scene

TABLE = "id\traw_category\tnyu40id\tnyu40class\n" + "".join(f"{i}\tc{i}\t{i}\tc{i}\n" for i in range(1, 41))


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
def frames(scenes, folder) -> Path:
    """Frames of the training rooms, and the label table of their ids, which are NYU40's own."""
    (folder / "rooms").mkdir()
    (folder / "rooms" / "scannetv2-labels.combined.tsv").write_text(TABLE)
    for scene in scenes.train:
        ids = scene.label_set.to_file_ids(scene.labels).astype(np.uint16)
        where = folder / "frames" / scene.name
        write_frames(where, scene.name, scene.coords + scene.origin, scene.colors, ids, 0)
    return folder / "frames"


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
