"""The fit loop: it learns and resumes exactly."""

import csv

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_config, true_labels

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.training import batches
from otoc_lib.training.fit import train_relation, train_unet
from otoc_lib.training.optimizers import Schedule


def losses(folder):
    with (folder / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_both_networks_learn(rooms, tmp_path, optimizer):
    labels = true_labels(rooms)
    for train, name in ((train_unet, "unet"), (train_relation, "relation")):
        train(tiny_config(optimizer=optimizer), rooms, labels, Schedule(40, 0.01), tmp_path / name)
        history = losses(tmp_path / name)
        assert len(history) == 40 and np.mean(history[-5:]) < 0.6 * np.mean(history[:5])
    prototypes = load_file(tmp_path / "relation" / "weights.safetensors")["prototypes"]
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(20))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("train", [train_unet, train_relation])
def test_a_resumed_run_equals_an_uninterrupted_one(rooms, tmp_path, monkeypatch, train, optimizer):
    labels, schedule = true_labels(rooms), Schedule(6, 0.01)
    train(tiny_config(optimizer=optimizer), rooms, labels, schedule, tmp_path / "whole")

    original = batches.make_batch
    calls = []

    def interrupted(samples, backend):
        calls.append(samples)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(samples, backend)

    monkeypatch.setattr(batches, "make_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(checkpoint_seconds=0.0, optimizer=optimizer), rooms, labels, schedule, tmp_path / "parts")
    assert (tmp_path / "parts" / "checkpoint.pt").is_file()
    train(tiny_config(optimizer=optimizer), rooms, labels, schedule, tmp_path / "parts")
    assert len(calls) == 5 + 2  # four steps were done before the interruption, two after it
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_a_warm_start_starts_from_the_given_weights(rooms, tmp_path):
    labels = true_labels(rooms)
    train_unet(tiny_config(), rooms, labels, Schedule(30, 0.01), tmp_path / "first")
    start = tmp_path / "first" / "weights.safetensors"
    train_unet(tiny_config(), rooms, labels, Schedule(3, 0.0001), tmp_path / "warm", 2, start)
    train_unet(tiny_config(), rooms, labels, Schedule(3, 0.0001), tmp_path / "cold", 2)
    assert losses(tmp_path / "warm")[0] < losses(tmp_path / "cold")[0] - 0.3


def test_worker_processes_change_nothing(rooms, tmp_path):
    for workers in (0, 2):
        train_unet(tiny_config(workers=workers), rooms, true_labels(rooms), Schedule(3, 0.01), tmp_path / str(workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_training_without_a_label_is_refused(rooms, tmp_path):
    nothing = {room.name: np.full(room.num_points, IGNORE) for room in rooms}
    with pytest.raises(OtocError, match="not one labelled point"):
        train_unet(tiny_config(), rooms, nothing, Schedule(1, 0.01), tmp_path)
