"""What TensorBoard is told of a training: its history, once each, whatever stopped it."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tiny import tiny_config, true_labels

from otoc_lib.errors import OtocError
from otoc_lib.run import run_experiment
from otoc_lib.training import batches
from otoc_lib.training.event_files import MOST_POINTS, TrainingLog
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy


def scalars(folder):
    """Tag -> (step, value) of every event in the files of a folder, as they lie there."""
    found = {}
    for path in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return found


def history(folder):
    with (folder / "history.csv").open() as file:
        return [(int(row["step"]), float(row["loss"]), float(row["lr"])) for row in csv.DictReader(file)]


def train(config, rooms, folder, steps=6):
    labels = true_labels(rooms)
    schedule = Schedule(steps, 0.01)
    task = CrossEntropy(config, rooms, labels)
    fit(config, task, rooms, labels, schedule=schedule, folder=folder, key="k", seed=[0, 1, 0])


def test_it_is_the_history_and_changes_no_weight(rooms, tmp_path):
    train(tiny_config(), rooms, tmp_path / "without/unet_1.part")
    assert not (tmp_path / "without/tensorboard").exists()
    stage = tmp_path / "with/unet_1.part"
    train(tiny_config(tensorboard=True), rooms, stage)
    found = scalars(tmp_path / "with/tensorboard/unet_1")
    for place, tag in enumerate(("loss", "learning_rate"), start=1):
        assert found[tag] == [(row[0], pytest.approx(row[place], rel=1e-6)) for row in history(stage)]
    assert len(found["steps_per_second"]) >= 5 and all(value > 0 for _, value in found["steps_per_second"])
    assert {path.name for path in stage.iterdir()} == {
        path.name for path in (tmp_path / "without/unet_1.part").iterdir()
    }
    weights = [load_file(tmp_path / name / "unet_1.part/weights.safetensors") for name in ("with", "without")]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[1])


def test_a_resumed_training_has_neither_gap_nor_step_twice(rooms, tmp_path, monkeypatch):
    original, calls = batches.make_batch, []

    def interrupted(samples, backend):
        calls.append(samples)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(samples, backend)

    monkeypatch.setattr(batches, "make_batch", interrupted)
    log = tmp_path / "tensorboard/unet_1"
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(tensorboard=True, checkpoint_seconds=0.0), rooms, tmp_path / "unet_1.part")
    assert [step for step, _ in scalars(log)["loss"]] == [0, 1, 2, 3]  # what a look at a running training shows
    train(tiny_config(tensorboard=True), rooms, tmp_path / "unet_1.part")
    steps = [(step, pytest.approx(loss, rel=1e-6)) for step, loss, _ in history(tmp_path / "unet_1.part")]
    assert len(steps) == 6 and scalars(log)["loss"] == steps


@pytest.mark.parametrize(("steps", "cuts"), [(7, [3]), (5 * MOST_POINTS + 3, [1, 999, 4321])])
def test_points_are_means_however_often_it_is_looked_at(tmp_path, steps, cuts):
    """Against means that are taken by hand, after any interruptions."""
    rng = np.random.default_rng(0)
    records = [(step, float(rng.random()), 0.1 / (step + 1), 0.5 * (step + 1)) for step in range(steps)]
    for end in cuts:  # each is a process that was killed
        TrainingLog(tmp_path / "unet_1.part", steps, 0.0).follow(records[:end])
    log = TrainingLog(tmp_path / "unet_1.part", steps, 0.0)
    for end in (*cuts, steps):
        log.follow(records[:end])
    log.close(records)
    every = max(1, steps // MOST_POINTS)
    groups = [records[first : first + every] for first in range(0, steps, every)]
    found = scalars(tmp_path / "tensorboard/unet_1")
    losses = [(group[-1][0], pytest.approx(np.mean([row[1] for row in group]), rel=1e-6)) for group in groups]
    assert found["loss"] == losses and len(losses) <= MOST_POINTS + 1
    assert found["learning_rate"] == [(group[-1][0], pytest.approx(group[-1][2], rel=1e-6)) for group in groups]
    assert found["steps_per_second"] == [(group[-1][0], pytest.approx(2.0)) for group in groups]


def test_without_the_package_one_error_says_what_to_install(tmp_path, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else known(name))
    executed = []
    monkeypatch.setattr("otoc_lib.run.execute", lambda *arguments: executed.append(arguments))
    with pytest.raises(OtocError, match=r"pip install -e '\.\[tensorboard\]'"):
        run_experiment(Path(__file__).parents[2] / "params/smoke/otoc.yaml", {"tensorboard": True})
    with pytest.raises(OtocError, match="pip install"):
        TrainingLog(tmp_path / "unet_1.part", 1, 0.0)
    assert not executed and not list(tmp_path.iterdir())
