"""Region mining: balls as rooms, what their classes allow, a toy that is separable, and whole runs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_config
from tiny_experiment import tiny_experiment
from torch import nn

from otoc_lib.annotation.clicks import expand_clicks, label_statistics
from otoc_lib.annotation.subclouds import Subclouds, cut_subclouds
from otoc_lib.config import View
from otoc_lib.errors import OtocError
from otoc_lib.experiments import plan
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.methods import control, mprm
from otoc_lib.methods.mprm import Balls, RegionMining, allowed, likeliest, mine
from otoc_lib.methods.stages import Stages, clicks_of, run_method
from otoc_lib.reporting.runs import read_arrays, read_json
from otoc_lib.scene import Scene
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule

SETS = {"method": "mprm", "source": "subcloud", "subcloud_radius": 0.8, "mprm_steps": 5, "balls_per_step": 4}


def sets_of(rooms, radius=0.8):
    return {room.name: cut_subclouds(room, radius) for room in rooms}


def trained(rooms, sets, folder, steps, **values):
    config = tiny_config(**{**SETS, **values})
    task = RegionMining(config, rooms, sets)
    fit(config, task, rooms, sets, schedule=Schedule(steps, 0.01), folder=folder, key="k", seed=[0, 1, 2])
    return config, task.model.eval()


# --- balls ------------------------------------------------------------------------------------------------------------


def test_every_ball_is_a_room_once_an_epoch(rooms):
    sets = sets_of(rooms[:2])
    batches = Balls(tiny_config(**SETS, jitter=0.0), rooms[:2], sets, [0, 1, 2])
    count = sum(map(len, sets.values()))
    assert batches.batch_size == 4 and batches.per_epoch == count // 4
    seen = []
    for step in range(batches.per_epoch):
        (batch,) = batches[step]
        numbers = torch.unique_consecutive(batch.groups).tolist()
        assert len(numbers) == batch.batch_size == 4
        for place, number in enumerate(numbers):  # slot by slot
            own = batch.groups == number
            assert (batch.coords[batch.point_to_voxel[own], 0] == place).all()
            room, first = (rooms[0], 0) if number < len(sets[rooms[0].name]) else (rooms[1], len(sets[rooms[0].name]))
            assert int(own.sum()) == len(sets[room.name].points(room, number - first))
        assert len(batch.labels.classes) == 0
        seen += numbers
    assert len(seen) == len(set(seen)) > count - 4
    assert not torch.equal(batches[0][0].features, Balls(batches.config, rooms[:2], sets, [1, 1, 2])[0][0].features)


def test_large_balls_are_thinned_all_over(rooms):
    room, whole = rooms[0], sets_of(rooms[:1], np.inf)
    config = tiny_config(**{**SETS, "source": "scene", "subcloud_radius": None, "max_points": 300})
    ball, labels, groups = Balls(config, rooms[:1], whole, [0]).room(0)
    assert 150 <= ball.num_points == len(labels) == len(groups) <= 300 and ball.labels is None
    np.testing.assert_allclose(np.ptp(ball.coords, axis=0), np.ptp(room.coords, axis=0), atol=0.2)


# --- the loss ---------------------------------------------------------------------------------------------------------


class GivenMaps(nn.Module):
    """A network that says what it is told to."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def forward(self, voxels):
        return self.maps


def test_the_loss_by_hand(rooms):
    sets = sets_of(rooms[:2])
    config = tiny_config(**{**SETS, "balls_per_step": 2})
    task = RegionMining(config, rooms[:2], sets)
    batches = Balls(config, rooms[:2], sets, [0, 1, 2])
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(4, size, 20, generator=generator) for size in (3, 7)]
    task.model = GivenMaps(maps)
    present = np.concatenate([sets[room.name].present for room in rooms[:2]])
    total = 0.0
    for number, of_ball in zip(torch.unique_consecutive(batches[0][0].groups).tolist(), maps, strict=True):
        for path in of_ball.mean(dim=1).tolist():
            for z, there in zip(path, present[number].tolist(), strict=True):
                total += math.log(1 + math.exp(-z if there else z)) / (2 * 20)
    assert float(task.loss(batches[0], 0, generator)) == pytest.approx(total, rel=1e-5)


def test_one_path_is_a_loss_of_one_map_and_labels_of_it(rooms):
    sets = sets_of(rooms[:1])
    config = tiny_config(**{**SETS, "mprm_paths": 1})
    task = RegionMining(config, rooms[:1], sets)
    batches = Balls(config, rooms[:1], sets, [0, 1, 2])
    maps = task.model(batches[0][0].voxels)
    assert [ball.shape[0] for ball in maps] == [1] * 4
    present = torch.from_numpy(sets[rooms[0].name].present)[torch.unique_consecutive(batches[0][0].groups)].float()
    logits = torch.stack([ball[0].mean(dim=0) for ball in maps])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, present)
    torch.testing.assert_close(task.loss(batches[0], 0, torch.Generator()), expected)
    found = mine(config, rooms[0], task.model.eval(), sets[rooms[0].name])
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1, atol=1e-5)


# --- what the classes allow -------------------------------------------------------------------------------------------


def test_only_classes_that_are_there_can_win():
    maps = torch.randn(4, 50, 6, generator=torch.Generator().manual_seed(0)) - 5  # all negative
    present = torch.tensor([False, True, False, True, True, False])
    p = allowed(maps, present)
    assert not p[:, ~present].any() and set(p.argmax(dim=1).tolist()) <= {1, 3, 4}
    torch.testing.assert_close(p.sum(dim=1), torch.ones(50))
    best = maps.max(dim=0).values[:, present]
    torch.testing.assert_close(p[:, present], torch.softmax(best, dim=1))
    single = torch.tensor([False, False, True, False, False, False])
    assert (allowed(maps, single)[:, 2] == 1).all()


def test_points_have_the_mean_of_the_balls_around_them(rooms):
    room, sets = rooms[0], sets_of(rooms[:1])[rooms[0].name]
    config = tiny_config(**SETS, views=2)
    model = RegionMining(config, rooms[:1], {room.name: sets}).model.eval()
    found = mine(config, room, model, sets).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    alone = []
    for ball in range(len(sets)):  # each as if there were no other, under its own number
        only = sets.present & (np.arange(len(sets)) == ball)[:, None]
        alone.append(mine(config, room, model, replace(sets, present=only)).numpy())
    alone = np.stack(alone)  # [B, N, C], zeros outside the ball
    counts = (alone.sum(axis=2) > 0).sum(axis=0)
    np.testing.assert_allclose(found, alone.sum(axis=0) / counts[:, None], atol=1e-4)
    possible = np.zeros_like(found, dtype=bool)
    for ball in range(len(sets)):
        possible[sets.points(room, ball)] |= sets.present[ball]
    assert not found[~possible].any()


def test_points_whose_balls_hold_nothing_get_no_label(rooms):
    room = rooms[0]
    middle = room.coords.mean(axis=0).astype(np.float64)
    sets = Subclouds(np.stack([middle, middle + [5, 0, 0]]), 1.0, np.eye(2, 20, dtype=bool) & [[True], [False]])
    config = tiny_config(**SETS)
    labels = likeliest(mine(config, room, RegionMining(config, [room], {room.name: sets}).model.eval(), sets))
    inside = sets.points(room, 0)
    assert (labels[inside] == 0).all() and (np.delete(labels, inside) == IGNORE).all() and labels.dtype == np.int16


def two_colours(seed):
    """A floor four metres long: half of it a red chair, half a blue table, and a grey strip that is nothing between."""
    generator = np.random.default_rng(seed)
    coords = np.column_stack([generator.uniform(-2, 2, 2500), generator.uniform(-0.5, 0.5, 2500), np.zeros(2500)])
    kind = np.where(coords[:, 0] < -0.1, 0, np.where(coords[:, 0] > 0.1, 1, 2))
    if seed % 2:
        coords[:, 0] *= -1
    colors = np.array([[200, 40, 40], [40, 40, 200], [128, 128, 128]])[kind] + generator.normal(0, 10, (2500, 3))
    return Scene(
        name=f"toy{seed}",
        coords=coords.astype(np.float32),
        colors=colors.clip(0, 255).astype(np.uint8),
        supervoxels=np.unique(kind, return_inverse=True)[1].astype(np.int32),
        labels=np.array([4, 6, IGNORE], dtype=np.int16)[kind],
        instances=None,
        origin=np.zeros(3),
        label_set=SCANNET20,
    )


def test_two_colours_are_told_apart_from_the_classes_of_balls(tmp_path):
    toys = [two_colours(seed) for seed in range(4)]
    sets = sets_of(toys)
    held = {tuple(np.flatnonzero(ball)) for of_room in sets.values() for ball in of_room.present}
    assert held >= {(4,), (6,), (4, 6)}
    config, model = trained(toys, sets, tmp_path, 60)
    for toy in toys:
        known = toy.labels >= 0
        labels = likeliest(mine(config, toy, model, sets[toy.name]))
        assert (labels == toy.labels)[known].mean() > 0.95


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(folder, scenes):
    """Region mining from balls, from balls with the CRF, and from rooms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = {}
        for name, values in (
            ("balls", SETS),
            ("refined", {**SETS, "mprm_crf": True}),
            ("whole", {**SETS, "source": "scene", "subcloud_radius": None}),
        ):
            config = tiny_experiment(name, **values)
            (made[name],) = run_method(config, scenes)
        return made


def test_a_run_learns_the_labels_that_it_mines(run, scenes):
    for iteration in run.values():
        assert [stage.name for stage in iteration.networks.values()] == ["maps_1", "unet_1"]
        assert (iteration.pseudo.name, iteration.evaluation.name) == ("pseudo_1", "evaluate_1")
        modes = read_json(iteration.evaluation, "metrics.json")["splits"]["val"]["modes"]
        assert list(modes) == ["point", "sv"]
        inputs = json.loads((iteration.unet.path / "manifest.json").read_text())["inputs"]
        assert inputs["labels"] == iteration.pseudo.key


def test_labels_lie_in_the_sets_and_their_statistics_are_of_them(run, scenes):
    labels = {s.name: read_arrays(run["balls"].pseudo, f"{s.name}.safetensors")["labels"] for s in scenes.train}
    for scene in scenes.train:
        balls = cut_subclouds(scene, 0.8)
        possible = np.zeros((scene.num_points, 20), dtype=bool)
        for ball in range(len(balls)):
            possible[balls.points(scene, ball)] |= balls.present[ball]
        assert possible[np.arange(scene.num_points), labels[scene.name]].all()
    statistics = read_json(run["balls"].pseudo, "statistics.json")
    none = {scene.name: np.full(scene.num_points, IGNORE) for scene in scenes.train}
    expected = label_statistics(scenes.train, labels, none)
    assert {key: statistics[key] for key in expected} == expected
    assert statistics["covered_percent"] == statistics["new_percent"] == 100 and statistics["clutter_percent"] > 0
    assert "before_accuracy_percent" not in statistics and 0 < statistics["mean_confidence"] <= 1


def test_the_crf_refines_the_labels_of_the_same_network(run, scenes):
    plain, refined = run["balls"], run["refined"]
    assert plain.networks["maps"].key == refined.networks["maps"].key and plain.unet.key != refined.unet.key
    statistics = read_json(refined.pseudo, "statistics.json")
    before = read_json(plain.pseudo, "statistics.json")
    assert statistics["before_accuracy_percent"] == before["accuracy_percent"]
    assert statistics["graph_changed_percent"] > 0
    scene = scenes.train[0]
    arrays = read_arrays(refined.pseudo, f"{scene.name}.safetensors")
    unrefined = read_arrays(plain.pseudo, f"{scene.name}.safetensors")["labels"]
    np.testing.assert_array_equal(arrays["before"], unrefined)


def test_the_stage_of_the_sets_says_what_they_are(run, scenes, checkout):
    for name, radius in (("balls", 0.8), ("whole", np.inf)):
        values = SETS if name == "balls" else {**SETS, "source": "scene", "subcloud_radius": None}
        stages = Stages(tiny_experiment(name, **values), scenes)
        stage = stages.clicks()
        assert stage.reused
        read = stages.subclouds_of(stage)
        for scene in scenes.train:
            own = cut_subclouds(scene, radius)
            np.testing.assert_array_equal(read[scene.name].present, own.present)
            np.testing.assert_array_equal(read[scene.name].centres, own.centres)
            clicks = clicks_of(stage, scenes.train)[scene.name]
            assert len(clicks) == 0 and (expand_clicks(scene, clicks) == IGNORE).all()
        statistics = read_json(stage, "statistics.json")
        assert statistics["in_balls_percent"] == 100 and statistics["covered_percent"] == 0
        assert statistics["classes_missed_percent"] == 0
        assert (statistics["balls_per_scene"] == 1) == (name == "whole")


def test_points_cannot_be_learnt_from_sets_nor_sets_from_points(run, scenes, checkout):
    sets = Stages(tiny_experiment("balls", **SETS), scenes, control.BASELINE)  # as notebook 02 would
    with pytest.raises(OtocError, match="stage unet_1: its labels are sets of classes, without points, which .*Cross"):
        control.train_baseline(sets)
    stages = Stages(tiny_experiment("balls", **SETS), scenes)
    with pytest.raises(OtocError, match="stage maps_1: its labels are labels of points, which .*RegionMining"):
        stages.train("maps", 1, run["balls"].pseudo)


def test_an_interrupted_stage_mines_no_room_again(run, scenes, checkout, monkeypatch):
    values = {**SETS, "mprm_crf": True}
    config, calls, original = tiny_experiment("again", **values, seed=3), [], mprm.mine

    def interrupted(view, scene, model, sets):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(scene.name)
        return original(view, scene, model, sets)

    monkeypatch.setattr(mprm, "mine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run_method(config, scenes))
    left = [path.name for path in (config.run_folder / "pseudo_1.part").glob("*.safetensors")]
    assert len(left) == 2
    rest = []
    monkeypatch.setattr(mprm, "mine", lambda *given: rest.append(given[1].name) or original(*given))
    (done,) = run_method(config, scenes)
    assert len(rest) == 1 and not set(rest) & set(calls)
    other = tiny_experiment("straight", **values, seed=3)
    (straight,) = run_method(replace(other, runs_root="elsewhere"), scenes)
    assert straight.pseudo.files == done.pseudo.files


def test_a_room_without_colours_stops_the_crf(run, scenes, checkout):
    grey = [replace(s, colors=np.full((s.num_points, 3), 128, dtype=np.uint8)) for s in scenes.train]
    with pytest.raises(OtocError, match="has no colours"):
        list(run_method(tiny_experiment("grey", **SETS, mprm_crf=True), replace(scenes, train=grey)))


def test_what_changes_a_stage_is_in_its_key():
    def keys(**values):
        config = tiny_experiment("e", **{**SETS, **values})
        return {stage.name: stage.key for stage in plan("03_self_train", config).stages}

    base = keys()
    assert list(base) == ["clicks", "maps_1", "pseudo_1", "unet_1", "evaluate_1"]

    def changed(**values):
        return [name for name, key in keys(**values).items() if key != base[name]]

    assert changed(subcloud_radius=0.9) == list(base)
    assert changed(mprm_steps=6) == changed(balls_per_step=5) == ["maps_1", "pseudo_1", "unet_1", "evaluate_1"]
    assert changed(mprm_crf=True) == ["pseudo_1", "unet_1", "evaluate_1"]
    assert changed(teacher_views=2) == ["pseudo_1", "unet_1", "evaluate_1"]
    assert changed(unet_steps=7) == ["unet_1", "evaluate_1"]


def test_the_maps_lie_near_the_voxels_that_are_asked_for():
    for voxel, asked, levels in ((0.1, 0.16, 2), (0.07, 0.16, 2), (0.02, 0.16, 4), (0.1, 0.02, 1), (0.05, 0.4, 4)):
        model = RegionMining.build(tiny_config(**SETS, voxel_size=voxel, map_voxel=asked), 20)
        assert model.levels == levels


def test_what_the_stage_reads_is_what_its_key_names(rooms):
    config = tiny_experiment("e", **SETS, mprm_crf=True)
    view = Stages(config, None).prediction_view("pseudo_1", "maps_labels", config=config.teacher)
    assert isinstance(view, View)
    with pytest.raises(OtocError, match="reads the parameter 'mprm_steps'"):
        _ = view.mprm_steps
    assert view.mprm_crf
