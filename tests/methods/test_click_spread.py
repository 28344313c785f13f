"""Clicks whose labels spread along surfaces before any network (``click_spread``): learnt, shown, and not kept."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_experiment import tiny_experiment

from otoc_lib.annotation.clicks import expand_clicks, read_clicks, write_clicks
from otoc_lib.labels import IGNORE
from otoc_lib.methods.stages import Stages, clicks_of
from otoc_lib.reporting.runs import read_json
from otoc_lib.store import read_manifest

FAR = 0.02


@pytest.fixture(scope="module")
def spread(scenes):
    stages = Stages(tiny_experiment("spread", click_spread=FAR), scenes)
    return stages, stages.clicks()


def test_networks_learn_the_labels_that_clicks_spread_to(spread, finished, scenes):
    stages, clicks = spread
    plain = Stages(tiny_experiment(), scenes)
    assert (clicks.path / "clicks.csv").read_bytes() == (plain.clicks().path / "clicks.csv").read_bytes()
    drawn = read_clicks(clicks.path / "clicks.csv", scenes.train)
    labels, kept = stages.labels_of(clicks), stages.kept_of(clicks)
    for scene in scenes.train:
        reached = expand_clicks(scene, replace(drawn[scene.name], far=FAR))
        np.testing.assert_array_equal(labels[scene.name], reached)
        np.testing.assert_array_equal(kept[scene.name], expand_clicks(scene, drawn[scene.name]))
        # who shows the clicks of the stage shows the same labels
        np.testing.assert_array_equal(expand_clicks(scene, clicks_of(clicks, scenes.train)[scene.name]), reached)
    statistics, before = read_json(clicks, "statistics.json"), read_json(plain.clicks(), "statistics.json")
    assert statistics["covered_percent"] > before["covered_percent"] + 1
    assert statistics["far"] == FAR and statistics["new_percent"] > 1
    assert stages.train("unet", 1, clicks).key != finished[0].unet.key


def test_pseudo_labels_keep_what_was_clicked_and_nothing_that_only_spread(spread, finished, scenes):
    """The same networks make the same labels of both: where labels spread, networks may contradict them later."""
    stages, clicks = spread
    plain = Stages(tiny_experiment(), scenes)
    first, networks = stages.labels_of(clicks), finished[0].networks
    made, expected = (own.labels_of(own.relabel(1, networks, own.clicks())) for own in (stages, plain))
    contradicted = 0
    for scene in scenes.train:
        np.testing.assert_array_equal(made[scene.name], expected[scene.name])
        contradicted += ((first[scene.name] != IGNORE) & (made[scene.name] != first[scene.name])).sum()
    assert contradicted > 0


def test_every_iteration_of_the_control_learns_them(spread, scenes):
    stages, clicks = spread
    control = Stages(tiny_experiment("spread_control", click_spread=FAR, method="control"), scenes)
    assert control.clicks().key == clicks.key
    labels = control.labels_of(control.clicks())
    assert all(np.array_equal(of_room, labels[name]) for name, of_room in stages.labels_of(clicks).items())
    first, second = list(control.method.loop(control))
    assert first.unet.key == stages.train("unet", 1, clicks).key and second.unet.key != first.unet.key


def test_a_key_without_it_names_no_such_parameter(finished, scenes, spread):
    plain = Stages(tiny_experiment(), scenes).clicks()
    assert "click_spread" not in read_manifest(plain.path)["parameters"]
    assert read_manifest(spread[1].path)["parameters"]["click_spread"] == FAR
    assert sorted(plain.files) == ["clicks.csv", "statistics.json"]


@pytest.mark.filterwarnings("ignore:.*no click of")
def test_clicks_of_a_person_spread_too(scenes, spread, tmp_path):
    clicks = clicks_of(spread[1], scenes.train)
    write_clicks(tmp_path / "own.csv", clicks, scenes.train)
    values = {"source": "file", "clicks_file": str(tmp_path / "own.csv"), "click_spread": FAR}
    own = Stages(tiny_experiment("spread_own", **values), scenes)
    labels = own.labels_of(own.clicks())
    assert all(np.array_equal(of_room, labels[name]) for name, of_room in spread[0].labels_of(spread[1]).items())
