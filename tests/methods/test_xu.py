"""The terms of Xu and Lee against values worked out by hand, and whole runs with and without them."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import tiny_config
from tiny_experiment import tiny_experiment

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.methods.stages import run_method
from otoc_lib.methods.xu import KERNEL, Weak, columns_of, multiple_instance_loss, smoothness_loss
from otoc_lib.reporting.runs import read_json
from otoc_lib.training.batches import Batches
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy


def batch_of(point_to_voxel, groups, rooms):
    """rooms: that of each voxel, in their order."""
    coords = torch.tensor([[room, 0, 0, 0] for room in rooms])
    points, columns = torch.tensor(point_to_voxel), torch.tensor(groups)
    return SimpleNamespace(point_to_voxel=points, groups=columns, coords=coords, batch_size=rooms[-1] + 1)


# --- columns and what lies in them ------------------------------------------------------------------------------------


def test_columns_are_a_metre_wide_and_know_every_class_in_them(rooms):
    numbers, present, sizes = columns_of(rooms[:2])
    seen = set()
    for room in rooms[:2]:
        own = numbers[room.name]
        assert own.dtype == np.int64 and not seen & set(own.tolist())
        seen |= set(own.tolist())
        for column in np.unique(own):
            points = own == column
            assert np.ptp(room.coords[points, :2], axis=0).max() <= 1
            true = set(room.labels[points].tolist()) - {-100}
            assert true == set(torch.nonzero(present[column]).squeeze(1).tolist())
            assert sizes[column] == np.count_nonzero(points)
    assert seen == set(range(len(present)))


def test_the_loss_of_a_single_point_is_the_cross_entropy_of_its_logits():
    logits, present = torch.tensor([[0.7, -1.2, 3.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    expected = [math.log(1 + math.exp(-0.7)), math.log(1 + math.exp(-1.2)), math.log(1 + math.exp(3.0))]
    loss = multiple_instance_loss(logits, batch_of([0], [0], [0]), present, torch.tensor([1]))
    assert float(loss) == pytest.approx(sum(expected) / 3, rel=1e-6)


def test_the_likeliest_point_of_each_class_alone_is_pulled():
    logits = torch.tensor([[1.0, -2.0], [0.5, 0.3], [4.0, -1.0]], dtype=torch.float64, requires_grad=True)
    present = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    batch = batch_of([0, 1, 1, 2], [1, 1, 1, 2], [0, 0, 0])  # column 1 holds the voxels 0 and 1, column 2 the third
    multiple_instance_loss(logits, batch, present, torch.tensor([9, 3, 1])).backward()
    sigmoid = torch.sigmoid(logits.detach())
    expected = torch.zeros(3, 2, dtype=torch.float64)
    expected[0, 0] = (sigmoid[0, 0] - 1) / 4
    expected[1, 1] = sigmoid[1, 1] / 4
    expected[2] = (sigmoid[2] - torch.tensor([0.0, 1.0])) / 4
    torch.testing.assert_close(logits.grad, expected)


def test_nothing_is_asked_of_a_column_that_a_crop_has_cut():
    """What lies in it may be what is not there any more."""
    logits = torch.tensor([[1.0, -2.0], [0.5, 0.3], [4.0, -1.0]], requires_grad=True)
    present = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    batch = batch_of([0, 1, 1, 2], [1, 1, 1, 2], [0, 0, 0])
    multiple_instance_loss(logits, batch, present, torch.tensor([9, 4, 1])).backward()
    assert not logits.grad[:2].any() and logits.grad[2].all()
    assert float(multiple_instance_loss(logits, batch, present, torch.tensor([9, 4, 2]))) == 0.0


def test_a_column_that_two_tiles_cut_is_not_made_whole_by_what_they_share():
    logits = torch.tensor([[1.0, -2.0], [0.5, 0.3]], requires_grad=True)
    present, halves = torch.tensor([[0.0, 1.0]]), ([0, 0, 0, 1, 1, 1], [0] * 6)  # three of four points, twice
    assert float(multiple_instance_loss(logits, batch_of(*halves, [0, 1]), present, torch.tensor([4]))) == 0.0
    one = multiple_instance_loss(logits[:1], batch_of([0] * 3, [0] * 3, [0]), present, torch.tensor([3]))
    two = multiple_instance_loss(logits[1:], batch_of([0] * 3, [0] * 3, [0]), present, torch.tensor([3]))
    both = multiple_instance_loss(logits, batch_of(*halves, [0, 1]), present, torch.tensor([3]))  # whole in each
    torch.testing.assert_close(both, (one + two) / 2)


def test_rooms_without_true_labels_are_not_taught_that_their_columns_are_empty(rooms):
    labels, config = {room.name: room.labels for room in rooms[:2]}, tiny_config(method="xu")
    for unknown in (None, np.full_like(rooms[1].labels, IGNORE)):
        pair = [rooms[0], replace(rooms[1], labels=unknown)]
        with pytest.raises(OtocError, match=f"{pair[1].name} have no true labels.* set multiple_instance: 0"):
            Weak(config, pair, labels)
        Weak(replace(config, multiple_instance=0.0), pair, labels)


def test_points_carry_their_columns_through_crop_and_batch(rooms):
    numbers, *_ = columns_of(rooms[:2])
    labels = {room.name: room.labels for room in rooms[:2]}
    whole = Batches(tiny_config(), rooms[:2], labels, [0, 1, 0], views=2, groups=numbers)[0]
    for batch in whole:
        assert sorted(batch.groups.tolist()) == sorted(np.concatenate(list(numbers.values())).tolist())
    assert whole[0].groups.tolist() == whole[1].groups.tolist()
    cropped = Batches(tiny_config(max_points=300), rooms[:2], labels, [0, 1, 0], groups=numbers)[0][0]
    assert len(cropped.groups) == len(cropped.point_to_voxel) <= 600
    assert Batches(tiny_config(), rooms[:2], labels, [0, 1, 0])[0][0].groups is None


# --- neighbours -------------------------------------------------------------------------------------------------------


def batch_of_rooms(rooms):
    return Batches(tiny_config(), rooms, {room.name: room.labels for room in rooms}, [0, 1, 0])[0][0]


def test_smoothness_is_the_mean_over_neighbouring_voxels(rooms):
    batch = batch_of_rooms(rooms[:2])
    p = torch.softmax(torch.randn(len(batch.coords), 5, generator=torch.Generator().manual_seed(0)).double(), 1)
    coords, colors = batch.coords.numpy(), batch.features[:, :3].double().numpy()
    places = {tuple(cell): row for row, cell in enumerate(coords.tolist())}
    total, count = 0.0, 0
    steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]
    for cell, row in places.items():
        for step in steps:
            other = places.get((cell[0], *(c + s for c, s in zip(cell[1:], step, strict=True))))
            if other is not None:
                distance = 0.01 * sum(s * s for s in step) + np.sum(((colors[row] - colors[other]) / 2) ** 2)
                total += math.exp(-distance / KERNEL) * float((p[row] - p[other]).square().mean())
                count += 1
    assert float(smoothness_loss(p, batch, 0.1)) == pytest.approx(total / count, rel=1e-6)
    assert float(smoothness_loss(p[:1].expand(len(p), -1).contiguous(), batch, 0.1)) == 0.0


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_terms_begin_together_at_their_step(rooms):
    labels = {room.name: room.labels for room in rooms[:2]}
    config = tiny_config(method="xu", unet_steps=10, siamese=2.0, multiple_instance=0.5, smoothness=3.0)

    def losses(step, **values):
        task = Weak(replace(config, **values), rooms[:2], labels)
        task.model.train()
        views = Batches(config, rooms[:2], labels, [0, 1, 0], 2, task.groups)[0]
        return float(task.loss(views, step, torch.Generator()).detach())

    alone = losses(4)
    terms = [
        losses(5, **{name: 0.0 for name in ("siamese", "multiple_instance", "smoothness") if name != kept}) - alone
        for kept in ("siamese", "multiple_instance", "smoothness")
    ]
    assert alone == losses(9, siamese=0.0, multiple_instance=0.0, smoothness=0.0)
    assert min(terms) > 1e-7 and losses(5) == pytest.approx(alone + sum(terms), rel=1e-5)


def test_before_the_terms_begin_it_is_the_network_of_its_baseline(rooms, tmp_path):
    labels = {room.name: room.labels for room in rooms[:2]}
    found = []
    for kind, values in ((CrossEntropy, {}), (Weak, {"method": "xu", "weak_from": 1.0})):
        config = tiny_config(unet_steps=4, **values)
        folder, task = tmp_path / kind.__name__, kind(config, rooms[:2], labels)
        fit(config, task, rooms[:2], labels, schedule=Schedule(4, 0.01), folder=folder, key="k", seed=[0, 1])
        found.append([line.split(",")[1] for line in (folder / "history.csv").read_text().splitlines()])
    assert found[0] == found[1]


def test_a_run_says_what_propagation_adds(scenes):
    config = tiny_experiment("xu", method="xu", source="points", points_share=0.05, unet_steps=6)
    (iteration,) = run_method(config, scenes)
    modes = read_json(iteration.evaluation, "metrics.json")["splits"]["val"]["modes"]
    assert list(modes) == ["point", "sv", "propagated"]
