"""Clicks that say "none of the classes": nothing is learnt there, in no method, by no rule, in no iteration."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_experiment import tiny_experiment

from otoc_lib.annotation.clicks import Clicks, expand_clicks, simulate_clicks, write_clicks
from otoc_lib.labels import IGNORE, NO_CLASS
from otoc_lib.methods import pseudo_labels, stages
from otoc_lib.methods.method import at_points, may_be_labelled
from otoc_lib.methods.stages import Stages, load_networks, run_method
from otoc_lib.reporting.runs import read_json
from otoc_lib.reporting.walkthrough import walk_through


def refused_regions(scene) -> list[int]:
    """The two largest super-voxels without a click of the simulated ones."""
    sizes = np.bincount(scene.supervoxels)
    sizes[scene.supervoxels[simulate_clicks(scene, 1, 0).points]] = 0
    return np.argsort(-sizes)[:2].tolist()


def with_negative_clicks(scene) -> Clicks:
    drawn = simulate_clicks(scene, 1, 0)
    points = [int(np.flatnonzero(scene.supervoxels == region)[0]) for region in refused_regions(scene)]
    return Clicks([*drawn.points, *points], [*drawn.classes, NO_CLASS, NO_CLASS], [*drawn.objects, -1, -1])


@pytest.fixture
def clicks_file(scenes, tmp_path):
    path = tmp_path / "mine.csv"
    write_clicks(path, {scene.name: with_negative_clicks(scene) for scene in scenes.train}, scenes.train)
    return str(path)


def refused(scene) -> np.ndarray:
    return np.isin(scene.supervoxels, refused_regions(scene))


def test_nodes_and_points_of_no_class_by_hand():
    nodes, no_class = np.array([0, 0, 1, 2, 2, 1]), np.array([1, 1, 1, 0, 0, 0], bool)
    allowed = may_be_labelled(4, nodes, no_class)
    assert allowed.tolist() == [False, True, True, True]  # 1 has a point that may have a label, 3 has no point
    found = at_points(np.array([5, 6, 7], np.int16), allowed, nodes, no_class)
    assert found.tolist() == [IGNORE, IGNORE, IGNORE, 6, 6, 5] and found.dtype == np.int16
    assert may_be_labelled(6, None, no_class).tolist() == (~no_class).tolist()
    of_points = at_points(np.array([1, 2, 3], np.int16), ~no_class, None, no_class)
    assert of_points.tolist() == [IGNORE, IGNORE, IGNORE, 1, 2, 3]


@pytest.mark.parametrize("variant", ["unet", "unet_gp", "unet_rel_gp"])
@pytest.mark.parametrize("rule", [{}, {"pseudo_labels": "quantile", "pseudo_share": 1.0}])
def test_no_rule_labels_what_is_of_no_class_and_all_else_as_before(finished, scenes, clicks_file, variant, rule):
    networks = {"unet": finished[0].unet} | ({"relation": finished[0].relation} if variant == "unet_rel_gp" else {})
    values = {"variant": variant, "threshold": 0.0, **rule}
    name = f"none_{variant}_{len(rule)}"
    own = Stages(tiny_experiment(name, source="file", clicks_file=clicks_file, **values), scenes)
    plain = Stages(tiny_experiment(f"{name}_plain", **values), scenes)
    labels = own.labels_of(own.relabel(1, networks, own.clicks()))
    before = plain.labels_of(plain.relabel(1, networks, plain.clicks()))
    for scene in scenes.train:
        where = refused(scene)
        assert where.sum() > 20 and (before[scene.name] != IGNORE).all()  # without the clicks all would have a label
        assert (labels[scene.name][where] == IGNORE).all()
        np.testing.assert_array_equal(labels[scene.name][~where], before[scene.name][~where])


def test_a_rule_does_not_see_what_is_of_no_class(finished, scenes, clicks_file, monkeypatch):
    seen = []

    def watching(config, rooms):
        seen.append([len(probabilities) for probabilities in rooms])
        for probabilities in rooms:
            yield probabilities.argmax(axis=1).astype(np.int16)

    monkeypatch.setattr(pseudo_labels, "watching", watching, raising=False)
    config = tiny_experiment("none_watching", source="file", clicks_file=clicks_file)
    own = Stages(replace(config, pseudo_labels="watching"), scenes)
    own.relabel(1, finished[0].networks, own.clicks())
    assert seen == 2 * [[scene.num_supervoxels - 2 for scene in scenes.train]]  # after propagation and before


def test_it_stays_so_in_every_iteration_and_is_counted(finished, scenes, clicks_file):
    values = {"source": "file", "clicks_file": clicks_file, "threshold": 0.0}
    done = list(run_method(tiny_experiment("none_loop", variant="unet_gp", **values), scenes))
    own = Stages(tiny_experiment("none_loop", variant="unet_gp", **values), scenes)
    assert len(done) == 2
    for scene in scenes.train:
        where = refused(scene)
        assert (own.labels_of(own.clicks())[scene.name][where] == IGNORE).all()
        for iteration in done:  # all else has a label, its neighbours too
            np.testing.assert_array_equal(own.labels_of(iteration.pseudo)[scene.name] == IGNORE, where)
    statistics = read_json(own.clicks(), "statistics.json")
    share = sum(refused(scene).sum() for scene in scenes.train) / sum(scene.num_points for scene in scenes.train)
    assert statistics["no_class_clicks_per_scene"] == 2 and statistics["no_class_percent"] == pytest.approx(100 * share)
    # What is predicted stays a prediction, there as elsewhere.
    assert read_json(done[1].evaluation, "metrics.json")["splits"]["val"]["modes"]["full"]["miou"] > 0


class Trained(Exception):
    """Instead of a training."""


@pytest.mark.parametrize("method", ["one_thing_one_click", "released", "control", "pi_model", "mean_teacher", "xu"])
def test_no_method_learns_a_label_there(scenes, clicks_file, monkeypatch, method):
    given = {}

    def fit(view, task, rooms, labels, **rest):
        given.update(labels)
        raise Trained

    monkeypatch.setattr(stages, "fit", fit)
    config = tiny_experiment(f"none_{method}", method=method, source="file", clicks_file=clicks_file)
    with pytest.raises(Trained):
        next(iter(run_method(config, scenes)))
    for scene in scenes.train:
        np.testing.assert_array_equal(given[scene.name], expand_clicks(scene, with_negative_clicks(scene)))
        assert (given[scene.name][refused(scene)] == IGNORE).all() and (given[scene.name] != IGNORE).any()


@pytest.mark.parametrize("variant", ["unet", "unet_rel_gp"])
def test_the_walk_through_one_room_shows_what_the_loop_makes(finished, scenes, clicks_file, variant):
    config = tiny_experiment(f"none_walk_{variant}", variant=variant, source="file", clicks_file=clicks_file)
    own, scene = Stages(config, scenes), scenes.train[0]
    networks = finished[0].networks if variant == "unet_rel_gp" else {"unet": finished[0].unet}
    made = own.labels_of(own.relabel(1, networks, own.clicks()))[scene.name]
    walk = walk_through(config, scene, with_negative_clicks(scene), load_networks(config, own.method, scene, networks))
    np.testing.assert_array_equal(walk.pseudo, made)
    assert (walk.ruled[refused(scene)] == IGNORE).all() and (walk.ruled != IGNORE).any()
