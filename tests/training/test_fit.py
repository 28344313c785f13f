"""The fit loop: it learns, resumes exactly, and notices divergence before anything is written."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_config, true_labels

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.methods.one_thing_one_click import Contrast
from otoc_lib.training import batches
from otoc_lib.training.checkpoint import load_checkpoint
from otoc_lib.training.fit import LOG_STEPS, fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy


def losses(folder):
    with (folder / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def train(task, config, rooms, labels, schedule, folder, iteration=1, warm_start=None):
    seed = [config.seed, iteration, task.stream]
    made = task(config, rooms, labels)
    fit(config, made, rooms, labels, schedule=schedule, folder=folder, key="k", seed=seed, warm_start=warm_start)


@pytest.mark.parametrize("values", [{"optimizer": "adam"}, {"optimizer": "muon"}, {"coarse_loss": 2}])
def test_both_networks_learn(rooms, tmp_path, values):
    labels = true_labels(rooms)
    for task, name in ((CrossEntropy, "unet"), (Contrast, "relation")):
        train(task, tiny_config(**values), rooms, labels, Schedule(40, 0.01), tmp_path / name)
        history = losses(tmp_path / name)
        assert len(history) == 40 and np.mean(history[-5:]) < 0.6 * np.mean(history[:5])
    prototypes = load_file(tmp_path / "relation" / "weights.safetensors")["prototypes"]
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(20))


@pytest.mark.parametrize("values", [{"optimizer": "adam"}, {"optimizer": "muon", "coarse_loss": 2}])
@pytest.mark.parametrize("task", [CrossEntropy, Contrast])
def test_a_resumed_run_equals_an_uninterrupted_one(rooms, tmp_path, monkeypatch, task, values):
    labels, schedule = true_labels(rooms), Schedule(6, 0.01)
    train(task, tiny_config(**values), rooms, labels, schedule, tmp_path / "whole")

    original = batches.make_batch
    calls = []

    def interrupted(samples, backend):
        calls.append(samples)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(samples, backend)

    monkeypatch.setattr(batches, "make_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(task, tiny_config(checkpoint_seconds=0.0, **values), rooms, labels, schedule, tmp_path / "parts")
    assert (tmp_path / "parts" / "checkpoint").is_file()
    train(task, tiny_config(**values), rooms, labels, schedule, tmp_path / "parts")
    assert len(calls) == 5 + 2  # four steps were done before the interruption, two after it
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not (tmp_path / "parts" / "checkpoint").exists()


def test_the_coarse_loss_is_added_by_its_weight(rooms):
    labels = true_labels(rooms)
    config = tiny_config(coarse_loss=2)
    (batch,) = batches.Batches(config, rooms, labels, [0])[0]
    for task in (CrossEntropy, Contrast):
        found = []
        for weight in (0, 1, 2):  # the heads are there, since the model was built for some weight
            made = task(config, rooms, labels)
            made.config = dataclasses.replace(config, coarse_loss=weight)
            found.append(float(made.loss([batch], 0, torch.Generator().manual_seed(0)).detach()))
        assert found[1] - found[0] > 0.1 and found[2] - found[0] == pytest.approx(2 * (found[1] - found[0]), rel=1e-4)


def test_labels_are_smoothed_by_their_share_at_every_level(rooms):
    labels = true_labels(rooms)
    (batch,) = batches.Batches(tiny_config(), rooms, labels, [0])[0]
    changes = []
    for coarse in (0, 2):
        config = tiny_config(coarse_loss=coarse)
        found = []
        for share in (0.0, 0.2, 0.4):
            made = CrossEntropy(config, rooms, labels)
            made.config = dataclasses.replace(config, label_smoothing=share)
            found.append(float(made.loss([batch], 0, torch.Generator()).detach()))
        changes.append(found[1] - found[0])
        assert abs(found[1] - found[0]) > 1e-3
        assert found[2] - found[0] == pytest.approx(2 * (found[1] - found[0]), rel=1e-3)
    assert abs(changes[1] - changes[0]) > 1e-3  # the finest level is the same network: the others add theirs


def test_a_warm_start_starts_from_the_given_weights(rooms, tmp_path):
    labels = true_labels(rooms)
    train(CrossEntropy, tiny_config(), rooms, labels, Schedule(30, 0.01), tmp_path / "first")
    start = load_file(tmp_path / "first" / "weights.safetensors")
    train(CrossEntropy, tiny_config(), rooms, labels, Schedule(3, 0.0001), tmp_path / "warm", 2, start)
    train(CrossEntropy, tiny_config(), rooms, labels, Schedule(3, 0.0001), tmp_path / "cold", 2)
    assert losses(tmp_path / "warm")[0] < losses(tmp_path / "cold")[0] - 0.3


def test_worker_processes_change_nothing(rooms, tmp_path):
    for workers in (0, 2):
        train(
            CrossEntropy,
            tiny_config(workers=workers),
            rooms,
            true_labels(rooms),
            Schedule(3, 0.01),
            tmp_path / str(workers),
        )
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_training_without_a_label_is_refused(rooms, tmp_path):
    nothing = {room.name: np.full(room.num_points, IGNORE) for room in rooms}
    with pytest.raises(OtocError, match="not one labelled point"):
        train(CrossEntropy, tiny_config(), rooms, nothing, Schedule(1, 0.01), tmp_path)


class Diverging(CrossEntropy):
    """Its loss is NaN from step 3 on."""

    def loss(self, batches, step, generator, shares):
        loss = super().loss(batches, step, generator, shares)
        return loss * float("nan") if step >= 3 else loss


def test_divergence_is_noticed_at_the_next_look_and_writes_nothing(rooms, tmp_path, monkeypatch):
    original, made = batches.make_batch, []
    monkeypatch.setattr(batches, "make_batch", lambda *arguments: made.append(1) or original(*arguments))
    with pytest.raises(OtocError, match="the loss of step 3 is nan"):
        train(Diverging, tiny_config(), rooms, true_labels(rooms), Schedule(10 * LOG_STEPS, 0.01), tmp_path / "late")
    assert len(made) == LOG_STEPS and not list((tmp_path / "late").glob("*"))
    config = tiny_config(checkpoint_seconds=0.0)  # a look after every step: the checkpoint of step 2 is the last one
    with pytest.raises(OtocError, match="the loss of step 3 is nan"):
        train(Diverging, config, rooms, true_labels(rooms), Schedule(10, 0.01), tmp_path / "often")
    state = load_checkpoint(tmp_path / "often" / "checkpoint", "k", torch.device("cpu"))
    assert state["step"] == 3 and all(torch.isfinite(value).all() for value in state["model"].values())
    assert not (tmp_path / "often" / "weights.safetensors").exists()


class Poisoned(CrossEntropy):
    """Its weights break without a word of the loss, as where the last batches have no label."""

    def after_step(self, step):
        with torch.no_grad():
            next(self.model.parameters()).fill_(float("inf"))


def test_weights_that_are_not_finite_are_never_written(rooms, tmp_path):
    for seconds in (0.0, 60.0):
        folder = tmp_path / str(seconds)
        with pytest.raises(OtocError, match="stem.weight holds values that are not finite"):
            config = tiny_config(checkpoint_seconds=seconds)
            train(Poisoned, config, rooms, true_labels(rooms), Schedule(1, 0.01), folder)
        assert not list(folder.glob("*"))


class TwoViews(CrossEntropy):
    """Notes the batches of its steps."""

    views = 2

    def loss(self, batches, step, generator, shares):
        self.seen = [*getattr(self, "seen", []), batches]
        return super().loss(batches[:1], step, generator, shares)


def test_a_second_view_changes_nothing_in_the_first(rooms, tmp_path):
    config, labels, schedule = tiny_config(), true_labels(rooms), Schedule(3, 0.01)
    train(CrossEntropy, config, rooms, labels, schedule, tmp_path / "one")
    train(TwoViews, config, rooms, labels, schedule, tmp_path / "two")
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
