"""Pseudo labels weighed by the clicks' nearness (``click_reach``): in every variant, by every rule, in several
processes, and not at all where it is off."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_experiment import tiny_experiment

from otoc_lib.annotation.clicks import Clicks, write_clicks
from otoc_lib.annotation.closeness import closeness
from otoc_lib.labels import IGNORE
from otoc_lib.methods import pseudo_labels
from otoc_lib.methods.stages import Stages, clicks_of, load_networks


def networks_of(finished, variant):
    return {"unet": finished[0].unet} | ({"relation": finished[0].relation} if variant == "unet_rel_gp" else {})


def relabelled(name, scenes, networks, **values):
    stages = Stages(tiny_experiment(name, **values), scenes)
    clicks = stages.clicks()
    stage = stages.relabel(1, networks, clicks)
    return stages, clicks_of(clicks, scenes.train), stages.labels_of(stage), stage


@pytest.mark.parametrize("variant", ["unet", "unet_gp", "unet_rel_gp"])
def test_labels_are_those_of_confidence_times_closeness(finished, scenes, variant):
    networks, values = networks_of(finished, variant), {"variant": variant, "click_reach": 0.05, "threshold": 0.2}
    stages, clicks, labels, stage = relabelled(f"near_{variant}", scenes, networks, **values)
    view = stages._teacher_view("pseudo_1")
    loaded, differ = load_networks(view, stages.method, scenes.train[0], networks), 0
    for scene in scenes.train:
        near = closeness(scene, clicks[scene.name], 0.05)[scene.supervoxels]  # [N, C]
        plain = stages.method.scores(view, scene, loaded).at_points().numpy()
        weighed = plain * near
        expected = np.where(weighed.max(axis=1) >= np.float32(0.2), weighed.argmax(axis=1), IGNORE)
        initial = stages.labels_of(stages.clicks())[scene.name]
        expected = np.where(initial != IGNORE, initial, expected)
        np.testing.assert_array_equal(labels[scene.name], expected)
        differ += ((plain.max(axis=1) >= 0.2) & (expected == IGNORE)).sum()
        saved = load_file(stage.path / f"{scene.name}.safetensors")["confidence"]
        np.testing.assert_allclose(saved, weighed.max(axis=1), atol=1e-3)
    assert differ > 20  # the clicks were heard


@pytest.mark.filterwarnings("ignore:.*no click of")
@pytest.mark.parametrize("rule", [{}, {"pseudo_labels": "quantile", "pseudo_share": 1.0}])
def test_what_no_click_reaches_has_no_label_even_without_a_threshold(finished, scenes, tmp_path, rule):
    """A class that nobody clicked in a room is nowhere in it, and a room without clicks has no label at all."""
    silent, heard = scenes.train[0], scenes.train[1:]
    drawn = clicks_of(Stages(tiny_experiment(), scenes).clicks(), scenes.train)
    given = {scene.name: drawn[scene.name] for scene in heard} | {silent.name: Clicks([], [], [])}
    write_clicks(tmp_path / "some.csv", given, scenes.train)
    values = {"source": "file", "clicks_file": str(tmp_path / "some.csv"), "click_reach": 10.0, "threshold": 0.0}
    with pytest.warns(UserWarning, match=silent.name):
        _, _, labels, _ = relabelled(
            f"some_{len(rule)}", scenes, networks_of(finished, "unet_rel_gp"), **values, **rule
        )
    assert (labels[silent.name] == IGNORE).all()
    for scene in heard:
        clicked = np.unique(given[scene.name].classes)
        found = np.unique(labels[scene.name])
        assert set(found) <= {IGNORE, *clicked} and (labels[scene.name] != IGNORE).mean() > 0.5


def test_without_it_the_labels_are_the_networks_own(finished, scenes):
    """The key of a run that does not use it names no such parameter, so finished runs stay current."""
    stages, _, _, stage = relabelled("otoc", scenes, finished[0].networks)
    assert stage.reused and stage.key == finished[0].pseudo.key
    assert "click_reach" not in json.loads((stage.path / "manifest.json").read_text())["parameters"]
    _, _, _, other = relabelled("near_key", scenes, finished[0].networks, click_reach=0.05)
    manifest = json.loads((other.path / "manifest.json").read_text())
    assert other.key != stage.key and manifest["parameters"]["click_reach"] == 0.05


def test_a_rule_labels_nothing_where_all_is_zero():
    zero = [np.zeros((3, 4), np.float32)]
    for rule, values in (("threshold", {}), ("quantile", {"pseudo_labels": "quantile", "pseudo_share": 1.0})):
        (labels,) = getattr(pseudo_labels, rule)(tiny_experiment(threshold=0.0, **values), zero)
        assert labels.tolist() == [IGNORE] * 3
