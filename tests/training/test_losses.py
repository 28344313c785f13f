"""The losses and their gradients equal those over all points, and hand-computed ones."""

import math

import numpy as np
import pytest
import torch
from tiny import tiny_config, true_labels

from otoc_lib.labels import IGNORE
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.training import losses, reference
from otoc_lib.training.voxels import VoxelLabels, make_batch, training_sample


def some_batch(rooms, labels, seed=0):
    """Two rooms in voxels of several points each, in float64, with the samples that they were made of."""
    generator = np.random.default_rng(seed)
    samples = [training_sample(room, labels[room.name], tiny_config(), generator) for room in rooms[:2]]
    batch = make_batch(samples)
    assert len(batch.features) < len(batch.point_to_voxel)
    batch.features = batch.features.double()
    return batch, samples


def some_labels(rooms):
    """True labels of a third of the points, so that voxels and super-voxels hold labelled and other points."""
    generator = np.random.default_rng(7)
    return {room.name: np.where(generator.random(room.num_points) < 0.3, room.labels, IGNORE) for room in rooms}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [true_labels, some_labels])
def test_the_loss_over_pairs_and_its_gradients_equal_those_over_points(rooms, label, smoothing):
    batch, samples = some_batch(rooms, label(rooms))
    net = new_unet(tiny_config(), 20).double()
    weights = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1

    def gradients(loss):
        return loss.detach(), *torch.autograd.grad(loss, list(net.parameters()))

    _, logits = net(batch.voxels)
    fast = gradients(losses.point_cross_entropy(logits, batch.labels, weights, smoothing))
    _, logits = net(batch.voxels)
    labels, _ = reference.points_of(samples)
    slow = gradients(reference.point_cross_entropy(batch.at_points(logits), labels, weights, smoothing))
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_coarse_loss_is_the_mean_over_levels_of_the_loss_of_points_in_the_cells_that_hold_them(rooms, smoothing):
    batch, samples = some_batch(rooms, some_labels(rooms))
    labels, _ = reference.points_of(samples)
    weights = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    voxels = batch.coords[batch.point_to_voxel].numpy()  # (room, x, y, z) of every point
    logits, expected = [], []
    for level in (1, 2):
        cells = {cell: row for row, cell in enumerate(map(tuple, batch.voxels.pyramid.level(level).coords.tolist()))}
        logits.append(torch.randn(len(cells), 20, dtype=torch.float64, requires_grad=True))
        rows = [cells[room, x >> level, y >> level, z >> level] for room, x, y, z in voxels.tolist()]
        expected.append(reference.point_cross_entropy(logits[-1][rows], labels, weights, smoothing))
    config = tiny_config(coarse_loss=3, label_smoothing=smoothing)
    found = losses.coarse_loss(config, logits, batch, weights)
    weighted = 3 * sum(expected) / len(expected)
    torch.testing.assert_close(found, weighted, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(loss, logits) for loss in (found, weighted))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("label", [true_labels, some_labels])
def test_the_relation_loss_of_drawn_supervoxels_equals_that_after_pooling_all_points(rooms, label):
    batch, samples = some_batch(rooms, label(rooms))
    labels, supervoxels = reference.points_of(samples)
    results = []
    for fast in (True, False):
        net = new_relation_net(tiny_config(), 20).double()
        generator = torch.Generator().manual_seed(3)
        if fast:
            loss, sampled = losses.relation_loss(net, net(batch.voxels), batch, 20, generator)
            net.update_prototypes(*sampled)
        else:
            embeddings = batch.at_points(net(batch.voxels))
            loss = reference.relation_loss(net, embeddings, labels, supervoxels, 20, generator)
        draws = torch.rand(1, generator=generator)  # the generators are left alike: the draws were the same
        results.append((loss.detach(), *torch.autograd.grad(loss, list(net.parameters())), net.prototypes, draws))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-13)


def test_the_relation_loss_of_a_batch_without_labels_is_zero_and_there_is_nothing_to_follow(rooms):
    batch, _ = some_batch(rooms, {room.name: np.full(room.num_points, IGNORE) for room in rooms})
    net = new_relation_net(tiny_config(), 20).double()
    loss, sampled = losses.relation_loss(net, net(batch.voxels), batch, 20, torch.Generator())
    loss.backward()
    assert loss.item() == 0 and sampled is None


def test_cross_entropy_counts_labelled_points_only_and_a_batch_without_any_is_zero():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, -5.0]], requires_grad=True)
    labels = VoxelLabels(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([1.0, 3.0]))
    expected = (math.log(1 + math.exp(-2)) + 3 * math.log(1 + math.exp(1))) / 4
    assert losses.point_cross_entropy(logits, labels, torch.ones(2)).item() == pytest.approx(expected)
    nothing = torch.zeros(0, dtype=torch.int64)
    empty = losses.point_cross_entropy(logits, VoxelLabels(nothing, nothing, torch.zeros(0)), torch.ones(2))
    empty.backward()
    assert empty.item() == 0 and torch.equal(logits.grad, torch.zeros(3, 2))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("classes", [2, 13, 16, 20])
def test_cross_entropy_of_any_number_of_classes_equals_that_of_pytorch(classes, smoothing):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(40, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    truth, weights = torch.arange(40) % classes, torch.rand(classes, generator=generator, dtype=torch.float64)
    results = []
    for loss in (
        losses.point_cross_entropy(logits, VoxelLabels(torch.arange(40), truth, torch.ones(40)), weights, smoothing),
        reference.point_cross_entropy(logits, truth, weights, smoothing),
    ):
        results.append((loss.detach(), *torch.autograd.grad(loss, logits)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_class_weights_are_the_inverse_roots_of_the_frequencies(rooms):
    labels = {room.name: np.full(room.num_points, IGNORE, dtype=np.int16) for room in rooms}
    labels[rooms[0].name][:100] = 0
    labels[rooms[0].name][100:125] = 1
    weights = losses.class_weights(tiny_config(class_weights="inverse_sqrt"), rooms, labels)
    assert float(weights[1] / weights[0]) == pytest.approx(2.0)
    assert float(weights[:2].mean()) == pytest.approx(1.0) and float(weights[2:].sum()) == 0
    assert torch.equal(losses.class_weights(tiny_config(), rooms, labels), torch.ones(20))
