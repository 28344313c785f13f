"""The fit loop: it learns, resumes exactly, and its losses equal hand-computed ones."""

import csv
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY

from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.training import fit, plain
from otoc_lib.training.fit import Schedule
from otoc_lib.training.voxels import VoxelLabels, make_batch, training_sample


def config(**values):
    return config_from({**TINY, "experiment": "e", **values})


def true_labels(rooms):
    return {room.name: room.labels for room in rooms}


def losses(folder):
    with (folder / "history.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_both_networks_learn(rooms, tmp_path, optimizer):
    labels = true_labels(rooms)
    for train, name in ((fit.train_unet, "unet"), (fit.train_relation, "relation")):
        train(config(optimizer=optimizer), rooms, labels, Schedule(40, 0.01), tmp_path / name)
        history = losses(tmp_path / name)
        assert len(history) == 40 and np.mean(history[-5:]) < 0.6 * np.mean(history[:5])
    prototypes = load_file(tmp_path / "relation" / "weights.safetensors")["prototypes"]
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(20))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("train", [fit.train_unet, fit.train_relation])
def test_a_resumed_run_equals_an_uninterrupted_one(rooms, tmp_path, monkeypatch, train, optimizer):
    labels, schedule = true_labels(rooms), Schedule(6, 0.01)
    train(config(optimizer=optimizer), rooms, labels, schedule, tmp_path / "whole")

    original = fit.make_batch
    calls = []

    def interrupted(samples, backend):
        calls.append(samples)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(samples, backend)

    monkeypatch.setattr(fit, "make_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config(checkpoint_seconds=0.0, optimizer=optimizer), rooms, labels, schedule, tmp_path / "parts")
    assert (tmp_path / "parts" / "checkpoint.pt").is_file()
    train(config(optimizer=optimizer), rooms, labels, schedule, tmp_path / "parts")
    assert len(calls) == 5 + 2  # four steps were done before the interruption, two after it
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_a_warm_start_starts_from_the_given_weights(rooms, tmp_path):
    labels = true_labels(rooms)
    fit.train_unet(config(), rooms, labels, Schedule(30, 0.01), tmp_path / "first")
    start = tmp_path / "first" / "weights.safetensors"
    fit.train_unet(config(), rooms, labels, Schedule(3, 0.0001), tmp_path / "warm", 2, start)
    fit.train_unet(config(), rooms, labels, Schedule(3, 0.0001), tmp_path / "cold", 2)
    assert losses(tmp_path / "warm")[0] < losses(tmp_path / "cold")[0] - 0.3


def test_worker_processes_change_nothing(rooms, tmp_path):
    for workers in (0, 2):
        fit.train_unet(config(workers=workers), rooms, true_labels(rooms), Schedule(3, 0.01), tmp_path / str(workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_batches_differ_by_epoch_and_seed_and_cover_every_room(rooms):
    def batch_sizes(seed):
        batches = fit.Batches(config(), rooms, true_labels(rooms), seed)
        return [batches[step] for step in range(4)]

    first = batch_sizes([0, 1, 0])
    assert sum(len(batch.point_to_voxel) for batch in first[:2]) == sum(room.num_points for room in rooms)
    other = batch_sizes([1, 1, 0])
    assert not torch.equal(first[0].voxels.features[:50], first[2].voxels.features[:50])
    assert not torch.equal(first[0].voxels.features[:50], other[0].voxels.features[:50])


def some_batch(rooms, labels, seed=0):
    """Two rooms in voxels of several points each, in float64, with the samples that they were made of."""
    generator = np.random.default_rng(seed)
    samples = [training_sample(room, labels[room.name], config(), generator) for room in rooms[:2]]
    batch = make_batch(samples)
    assert len(batch.features) < len(batch.point_to_voxel)
    batch.features = batch.features.double()
    return batch, samples


def some_labels(rooms):
    """True labels of a third of the points, so that voxels and super-voxels hold labelled and other points."""
    generator = np.random.default_rng(7)
    return {room.name: np.where(generator.random(room.num_points) < 0.3, room.labels, IGNORE) for room in rooms}


@pytest.mark.parametrize("label", [true_labels, some_labels])
def test_the_loss_over_pairs_and_its_gradients_equal_those_over_points(rooms, label):
    batch, samples = some_batch(rooms, label(rooms))
    net = fit.new_unet(config(), rooms[0]).double()
    weights = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1

    def gradients(loss):
        return loss.detach(), *torch.autograd.grad(loss, list(net.parameters()))

    _, logits = net(batch.voxels)
    fast = gradients(fit.point_cross_entropy(logits, batch.labels, weights))
    _, logits = net(batch.voxels)
    labels, _ = plain.points_of(samples)
    slow = gradients(plain.point_cross_entropy(batch.at_points(logits), labels, weights))
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("label", [true_labels, some_labels])
def test_the_relation_loss_of_drawn_supervoxels_equals_that_after_pooling_all_points(rooms, label):
    batch, samples = some_batch(rooms, label(rooms))
    labels, supervoxels = plain.points_of(samples)
    results = []
    for fast in (True, False):
        net = fit.new_relation_net(config(), rooms[0]).double()
        generator = torch.Generator().manual_seed(3)
        if fast:
            loss = fit.relation_loss(net, batch, 20, generator)
        else:
            embeddings = batch.at_points(net(batch.voxels))
            loss = plain.relation_loss(net, embeddings, labels, supervoxels, 20, generator)
        draws = torch.rand(1, generator=generator)  # the generators are left alike: the draws were the same
        results.append((loss.detach(), *torch.autograd.grad(loss, list(net.parameters())), net.prototypes, draws))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-13)


def test_the_relation_loss_of_a_batch_without_labels_is_zero_and_moves_no_prototype(rooms):
    batch, _ = some_batch(rooms, {room.name: np.full(room.num_points, IGNORE) for room in rooms})
    net = fit.new_relation_net(config(), rooms[0]).double()
    before = net.prototypes.clone()
    loss = fit.relation_loss(net, batch, 20, torch.Generator())
    loss.backward()
    assert loss.item() == 0 and torch.equal(net.prototypes, before)


def test_cross_entropy_counts_labelled_points_only_and_a_batch_without_any_is_zero():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, -5.0]], requires_grad=True)
    labels = VoxelLabels(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([1.0, 3.0]))
    expected = (math.log(1 + math.exp(-2)) + 3 * math.log(1 + math.exp(1))) / 4
    assert fit.point_cross_entropy(logits, labels, torch.ones(2)).item() == pytest.approx(expected)
    nothing = torch.zeros(0, dtype=torch.int64)
    empty = fit.point_cross_entropy(logits, VoxelLabels(nothing, nothing, torch.zeros(0)), torch.ones(2))
    empty.backward()
    assert empty.item() == 0 and torch.equal(logits.grad, torch.zeros(3, 2))


@pytest.mark.parametrize("classes", [2, 13, 16, 20])
def test_cross_entropy_of_any_number_of_classes_equals_that_of_pytorch(classes):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(40, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    truth, weights = torch.arange(40) % classes, torch.rand(classes, generator=generator, dtype=torch.float64)
    results = []
    for loss in (
        fit.point_cross_entropy(logits, VoxelLabels(torch.arange(40), truth, torch.ones(40)), weights),
        plain.point_cross_entropy(logits, truth, weights),
    ):
        results.append((loss.detach(), *torch.autograd.grad(loss, logits)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_the_fused_optimizer_takes_the_steps_of_the_plain_one():
    parameters = [torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) for _ in range(2)]
    optimizers = [torch.optim.Adam([p.requires_grad_()], fused=i == 0) for i, p in enumerate(parameters)]
    for step in range(20):
        for parameter, optimizer in zip(parameters, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
            parameter.grad = parameter.detach().sin() + step
            optimizer.step()
    torch.testing.assert_close(*parameters, rtol=1e-12, atol=1e-13)


def test_every_parameter_is_trained_by_one_optimizer(rooms):
    for model in (fit.new_unet(config(), rooms[0]), fit.new_relation_net(config(), rooms[0])):
        for optimizer, kinds in (("adam", ["Adam"]), ("muon", ["Muon", "Adam"])):
            optimizers = fit.new_optimizers(config(optimizer=optimizer), model, 0.01)
            assert [type(each).__name__ for each in optimizers] == kinds
            trained = [p for each in optimizers for group in each.param_groups for p in group["params"]]
            assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))


def test_class_weights_are_the_inverse_roots_of_the_frequencies(rooms):
    labels = {room.name: np.full(room.num_points, IGNORE, dtype=np.int16) for room in rooms}
    labels[rooms[0].name][:100] = 0
    labels[rooms[0].name][100:125] = 1
    weights = fit.class_weights(config(class_weights="inverse_sqrt"), rooms, labels)
    assert float(weights[1] / weights[0]) == pytest.approx(2.0)
    assert float(weights[:2].mean()) == pytest.approx(1.0) and float(weights[2:].sum()) == 0
    assert torch.equal(fit.class_weights(config(), rooms, labels), torch.ones(20))


def test_the_schedules_are_the_documented_ones():
    halving = config(schedule="halving", halve_every=10)
    assert [fit.learning_rate(halving, Schedule(100, 0.01), s) for s in (0, 9, 10, 25)] == [0.01, 0.01, 0.005, 0.0025]
    assert fit.learning_rate(halving, Schedule(1000, 0.01), 999) == 1e-6
    rates = [fit.learning_rate(config(), Schedule(101, 0.01), s) for s in range(101)]
    assert rates[0] == pytest.approx(0.001) and max(rates) == pytest.approx(0.01) and rates[-1] == pytest.approx(1e-5)
    assert np.argmax(rates) == 20


def test_training_without_a_label_or_with_an_unknown_device_is_refused(rooms, tmp_path):
    nothing = {room.name: np.full(room.num_points, IGNORE) for room in rooms}
    with pytest.raises(OtocError, match="not one labelled point"):
        fit.train_unet(config(), rooms, nothing, Schedule(1, 0.01), tmp_path)
    with pytest.raises(OtocError, match="device"):
        fit.choose_device(config(device="tpu9"))
    if not torch.cuda.is_available():
        with pytest.raises(OtocError, match="CUDA"):
            fit.choose_device(config(device="cuda"))
