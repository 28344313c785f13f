"""Pi Model and Mean Teacher: their formulas against hand-computed and brute-force values, and that both train."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_config
from tiny_experiment import tiny_experiment

from otoc_lib.methods.mean_teacher import StudentAndTeacher, Taught
from otoc_lib.methods.pi_model import TwoViews, consistency_weight, ramp, squared_distance
from otoc_lib.methods.stages import Stages, method_of, run_method
from otoc_lib.models.build import new_unet
from otoc_lib.reporting.runs import read_json
from otoc_lib.training.batches import Batches
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy
from otoc_lib.training.voxels import make_batch, training_sample


def config_with(method="pi_model", **values):
    return tiny_config(method=method, **values)


def test_student_and_teacher_both_start_from_given_weights(rooms, tmp_path):
    config = config_with("mean_teacher")
    labels = {room.name: room.labels for room in rooms[:1]}
    given = new_unet(replace(config, seed=7), 20)
    save_file(given.state_dict(), tmp_path / "w.safetensors")
    task = Taught(config, rooms[:1], labels)
    task.start_from(tmp_path / "w.safetensors")
    for network in (task.model.student, task.model.teacher):
        state = network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in given.state_dict().items())
    assert not any(p.requires_grad for p in task.model.teacher.parameters())


def two_views(room, labels, seeds=(1, 2), **values):
    """Batches of one room, augmented by each of the seeds."""
    config = tiny_config(**values)
    samples = [training_sample(room, labels, config, np.random.default_rng(seed)) for seed in seeds]
    return [make_batch([sample], "torch") for sample in samples]


def random_rows(count, seed, dtype=torch.float64):
    return torch.softmax(torch.randn(count, 20, dtype=dtype, generator=torch.Generator().manual_seed(seed)), 1)


# --- the weight -------------------------------------------------------------------------------------------------------


def test_the_weight_rises_over_a_part_of_the_steps_and_stays():
    assert [ramp(t) for t in (0, 0.5, 1, 7)] == pytest.approx([math.exp(-5), math.exp(-1.25), 1, 1])
    config = config_with(consistency=4.0, consistency_ramp=0.5)
    weights = [consistency_weight(config, step, 100) for step in range(100)]
    assert weights[0] == pytest.approx(4 * math.exp(-5)) and weights[25] == pytest.approx(4 * math.exp(-1.25))
    assert weights == sorted(weights) and set(weights[50:]) == {4.0}
    assert consistency_weight(replace(config, consistency_ramp=0.0), 0, 100) == 4.0


# --- the distance -----------------------------------------------------------------------------------------------------


def test_the_distance_of_two_points_and_its_gradient_are_those_worked_out_by_hand():
    first = SimpleNamespace(point_to_voxel=torch.tensor([0]))
    logits = [torch.tensor([[z, 0.0]], dtype=torch.float64, requires_grad=True) for z in (0.4, -1.1)]
    a, b = (float(torch.sigmoid(z[0, 0].detach())) for z in logits)
    p, q = (torch.softmax(z, 1) for z in logits)
    distance = squared_distance(first, p, first, q)
    assert float(distance.detach()) == pytest.approx(2 * (a - b) ** 2)
    distance.backward()  # through both: neither view is a target
    assert float(logits[0].grad[0, 0]) == pytest.approx(4 * (a - b) * a * (1 - a))
    assert float(logits[1].grad[0, 0]) == pytest.approx(-4 * (a - b) * b * (1 - b))


def test_pairs_of_voxels_give_what_the_points_give(rooms):
    first, second = two_views(rooms[0], rooms[0].labels)
    p, q = random_rows(len(first.features), 0), random_rows(len(second.features), 1)
    by_points = (first.at_points(p) - second.at_points(q)).square().sum(1).mean()
    assert float(squared_distance(first, p, second, q)) == pytest.approx(float(by_points), rel=1e-12)
    assert float(squared_distance(first, p, first, p)) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_points_does_not_matter(rooms, seed):
    first, second = two_views(rooms[0], rooms[0].labels)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(first.point_to_voxel)))
    p, q = random_rows(len(first.features), 0), random_rows(len(second.features), 1)
    turned = [replace(batch, point_to_voxel=batch.point_to_voxel[order]) for batch in (first, second)]
    assert squared_distance(turned[0], p, turned[1], q) == squared_distance(first, p, second, q)


# --- Pi Model ---------------------------------------------------------------------------------------------------------


def task_on(kind, rooms, labels=None, method="pi_model", **values):
    labels = labels or {room.name: room.labels for room in rooms}
    config = config_with(method, **values)
    batches = Batches(config, rooms, labels, [config.seed, 1, 0], views=2)
    return kind(config, rooms, labels), batches[0]


def test_the_loss_is_cross_entropy_and_the_weighted_distance(rooms):
    task, views = task_on(TwoViews, rooms[:2], consistency=3.0, consistency_ramp=0.0, unet_steps=10)
    task.model.train()
    loss = task.loss(views, 5, torch.Generator())
    again = task_on(TwoViews, rooms[:2])[0]
    again.model.train()
    alone = CrossEntropy.loss(again, views[:1], 5, torch.Generator())
    p, q = (torch.softmax(again.model(batch.voxels)[1], 1) for batch in views)
    by_points = (views[0].at_points(p) - views[1].at_points(q)).square().sum(1).mean()
    expected = float((alone + 3 * by_points).detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5) and float(by_points.detach()) > 1e-6


def test_a_room_without_labels_still_teaches_consistency(rooms):
    nothing = {room.name: np.full(room.num_points, -100, np.int16) for room in rooms[:2]}
    task, views = task_on(TwoViews, rooms[:2], {rooms[0].name: rooms[0].labels, rooms[1].name: rooms[1].labels})
    task_views = Batches(task.config, rooms[:2], nothing, [0, 1, 0], views=2)[0]
    loss = task.loss(task_views, 29, torch.Generator())
    loss.backward()
    assert 0 < float(loss) < 100 and float(task.model.stem.weight.grad.abs().sum()) > 0


def test_without_weight_it_is_the_network_of_its_baseline(rooms, tmp_path):
    labels = {room.name: room.labels for room in rooms[:2]}
    for name, kind, method in (("plain", CrossEntropy, "control"), ("pi", TwoViews, "pi_model"),
                               ("mt", Taught, "mean_teacher")):  # fmt: skip
        weight = {} if method == "control" else {"consistency": 0.0}
        config = config_with(method, **weight)
        task = kind(config, rooms[:2], labels)
        fit(config, task, rooms[:2], labels, schedule=Schedule(4, 0.01), folder=tmp_path / name, key="k", seed=[0, 1])
    losses = [
        [line.split(",")[1] for line in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("plain", "pi", "mt")
    ]
    assert losses[0] == losses[1] == losses[2]


# --- Mean Teacher -----------------------------------------------------------------------------------------------------


def small(value):
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(layer.weight, value)
    return layer


def test_the_teacher_follows_a_student_that_stands_still():
    pair = StudentAndTeacher(small(0.0))
    torch.nn.init.constant_(pair.student.weight, 1.0)
    for _ in range(7):
        pair.average(0.9)
    assert float(pair.teacher.weight) == pytest.approx(1 - 0.9**7)
    pair.average(1.0)
    assert float(pair.teacher.weight) == pytest.approx(1 - 0.9**7)
    pair.average(0.0)
    assert float(pair.teacher.weight) == 1.0


def test_at_first_the_teacher_is_the_mean_of_all_students_there_were():
    task = object.__new__(Taught)
    task.config, task.model = config_with("mean_teacher", teacher_decay=1.0), StudentAndTeacher(small(5.0))
    values = [5.0]
    for step in range(6):
        values.append(float(step**2))
        torch.nn.init.constant_(task.model.student.weight, values[-1])
        task.after_step(step)
        assert float(task.model.teacher.weight) == pytest.approx(np.mean(values))
    task.config = replace(task.config, teacher_decay=0.25)  # from then on a constant share
    before = float(task.model.teacher.weight)
    task.after_step(6)
    assert float(task.model.teacher.weight) == pytest.approx(0.25 * before + 0.75 * values[-1])


def test_the_teacher_is_no_part_of_the_gradient(rooms):
    task, views = task_on(Taught, rooms[:2], method="mean_teacher", consistency=3.0, consistency_ramp=0.0)
    task.model.train()
    loss = task.loss(views, 0, torch.Generator())
    loss.backward()
    assert all(weight.grad is None and not weight.requires_grad for weight in task.model.teacher.parameters())
    again = task_on(Taught, rooms[:2], method="mean_teacher", consistency=3.0, consistency_ramp=0.0)[0]
    again.model.train()
    with torch.no_grad():
        said = torch.softmax(again.model.teacher(views[1].voxels)[1], 1)
    alone, logits = again.loss_and_logits(views[0])
    distance = (views[0].at_points(torch.softmax(logits, 1)) - views[1].at_points(said)).square().sum(1).mean()
    (alone + 3 * distance).backward()
    for found, expected in zip(task.model.student.parameters(), again.model.student.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-6)


def test_teacher_and_student_that_are_one_agree_on_one_view(rooms):
    task, views = task_on(Taught, rooms[:2], method="mean_teacher", consistency=3.0, consistency_ramp=0.0)
    task.model.train()
    both = task.loss([views[0], views[0]], 0, torch.Generator())
    alone = task.loss_and_logits(views[0])[0]
    assert float(both) == pytest.approx(float(alone), rel=1e-6)


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pi_model", "mean_teacher"])
def test_a_run_trains_once_and_evaluates_what_the_authors_do(scenes, method):
    config = tiny_experiment(method, method=method, source="points", points_share=0.05, unet_steps=6)
    (iteration,) = run_method(config, scenes)
    assert iteration.pseudo is None and iteration.relation is None
    modes = read_json(iteration.evaluation, "metrics.json")["splits"]["val"]["modes"]
    assert list(modes) == (["point", "sv"] if method == "pi_model" else ["point", "sv", "student"])
    assert method_of(config).modes == ("point", "sv")
    again = run_method(config, scenes)
    assert next(again).unet.reused
    stages = Stages(replace(config, consistency=1.0), scenes)
    assert stages.train("unet", 1, stages.clicks()).key != iteration.unet.key
