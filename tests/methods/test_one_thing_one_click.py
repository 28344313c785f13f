"""Algorithm 1 on tiny rooms: its rules by hand-made predictions, its loop by running it."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tiny_experiment import tiny_experiment

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.methods import pseudo_labels
from otoc_lib.methods.one_thing_one_click import propagate, scores_of
from otoc_lib.methods.stages import Stages, load_networks
from otoc_lib.reporting.runs import read_json
from otoc_lib.training.predict import Prediction, predict


def random_prediction(scene, seed=0, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda rows, columns: torch.randn(rows, columns, generator=generator)  # noqa: E731
    size = scene.num_supervoxels
    return Prediction(
        torch.softmax(sharpness * draw(scene.num_points, 20), 1),
        draw(size, 8),
        torch.softmax(sharpness * draw(size, 20), 1),
        torch.nn.functional.normalize(draw(size, 32), dim=1),
    )


# --- rules ------------------------------------------------------------------------------------------------------------


def labels_by_threshold(config, scene, prediction):
    """Labels [N] and probabilities [N, C] of the points, by the rule ``threshold`` of one room."""
    scores = scores_of(config, scene, prediction)
    probabilities = scores.probabilities.numpy()
    (labels,) = pseudo_labels.threshold(config, [probabilities])
    nodes = slice(None) if scores.nodes is None else scores.nodes.numpy()
    return labels[nodes], probabilities[nodes]


def test_the_rule_quantile_labels_the_surest_part_of_every_class():
    one_hot = np.eye(3, dtype=np.float32)
    rooms = [
        np.array([0.9, 0.8, 0.7, 0.6])[:, None] * one_hot[[0, 0, 0, 0]],
        np.array([0.5, 0.3, 0.2])[:, None] * one_hot[[0, 1, 1]],
    ]
    rooms = [room.astype(np.float32) for room in rooms]
    config = tiny_experiment(pseudo_labels="quantile", threshold=0.0, pseudo_share=0.5)
    # Of class 0 three of five, of class 1 one of two; class 2 is nowhere the likeliest.
    assert [list(labels) for labels in pseudo_labels.quantile(config, rooms)] == [[0, 0, 0, -100], [-100, 1, -100]]
    all_of_them = replace(config, pseudo_share=1.0, threshold=0.25)
    assert [list(labels) for labels in pseudo_labels.quantile(all_of_them, rooms)] == [[0, 0, 0, 0], [0, 1, -100]]
    ties = [np.full((4, 1), 0.5, np.float32) * one_hot[[1]]]
    assert [list(labels) for labels in pseudo_labels.quantile(config, ties)] == [[1, 1, 1, 1]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1), st.floats(0, 1), st.integers(1, 7))
def test_the_rule_quantile_is_what_sorting_gives(seed, share, threshold, decimals):
    """Counted bit by bit, room by room, since all rooms at once fit no memory; few decimals make ties."""
    generator = np.random.default_rng(seed)
    rooms = [generator.dirichlet(np.full(4, 0.5), generator.integers(0, 30)) for _ in range(3)]
    rooms = [np.round(room, decimals).astype(np.float32) for room in rooms]
    for room in rooms[1:]:
        room[generator.random(len(room)) < 0.5] = 0  # as where no click reaches
    config = tiny_experiment(pseudo_labels="quantile", threshold=threshold, pseudo_share=share)
    together = np.concatenate(rooms)
    classes, sure = together.argmax(axis=1), together.max(axis=1)
    classes[sure == 0] = IGNORE
    expected = np.full(len(together), IGNORE)
    for label in set(classes.tolist()) - {IGNORE}:
        of_class = np.sort(sure[classes == label])
        least = max(np.float32(threshold), of_class[-int(np.ceil(share * len(of_class)))])
        expected[(classes == label) & (sure >= least)] = label
    np.testing.assert_array_equal(np.concatenate(list(pseudo_labels.quantile(config, rooms))), expected)


@pytest.mark.parametrize("variant", ["unet", "unet_gp", "unet_rel_gp"])
def test_pseudo_labels_keep_what_is_confident(rooms, variant):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    config = tiny_experiment(variant=variant)
    if variant == "unet":
        q = prediction.probabilities.numpy()
    else:
        q = propagate(config, scene, prediction).numpy()[scene.supervoxels]
    threshold = float(np.median(q.max(axis=1)))
    labels, probabilities = labels_by_threshold(
        tiny_experiment(variant=variant, threshold=threshold), scene, prediction
    )
    np.testing.assert_array_equal(probabilities, q)
    sure = q.max(axis=1) >= np.float32(threshold)
    assert 0.3 < sure.mean() < 0.7  # the test can tell
    np.testing.assert_array_equal(labels[sure], q.argmax(axis=1)[sure])
    assert (labels[~sure] == IGNORE).all()


def test_the_threshold_decides_how_much_is_labelled(rooms):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    counts = [
        (labels_by_threshold(tiny_experiment(variant="unet", threshold=t), scene, prediction)[0] != IGNORE).sum()
        for t in (0.0, 0.5, 0.9, 1.0)
    ]
    assert counts[0] == scene.num_points and counts == sorted(counts, reverse=True) and counts[-1] < counts[1]


def test_variants_propagate_over_their_own_features(rooms):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    other = random_prediction(rooms[0], seed=1)
    swapped = Prediction(
        prediction.probabilities, other.features, other.relation_probabilities, other.relation_features
    )
    gp, rel = tiny_experiment(variant="unet_gp"), tiny_experiment(variant="unet_rel_gp")
    assert torch.equal(propagate(gp, scene, prediction), propagate(gp, scene, swapped))
    assert not torch.allclose(propagate(rel, scene, prediction), propagate(rel, scene, swapped))
    for name, value in {"relation_power": 0.2, "bandwidth": 5.0, "pairwise_weight": 8.0, "mean_field_steps": 1}.items():
        changed = propagate(tiny_experiment(variant="unet_rel_gp", **{name: value}), scene, prediction)
        assert not torch.allclose(propagate(rel, scene, prediction), changed), name
    literal = propagate(tiny_experiment(variant="unet_rel_gp", pairwise_scaling="literal"), scene, prediction)
    assert not torch.allclose(propagate(rel, scene, prediction), literal)


def test_how_the_kernel_is_kept_changes_nothing_and_can_be_forced(rooms, monkeypatch):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    expected = propagate(tiny_experiment(), scene, prediction)
    forced = propagate(tiny_experiment(propagation="chunked"), scene, prediction)
    small = propagate(tiny_experiment(propagation_memory=1e-9), scene, prediction)
    assert torch.equal(forced, small) and (forced - expected).abs().max() < 1e-5
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(OtocError, match="propagation: triton"):
        propagate(tiny_experiment(propagation="triton"), scene, prediction)


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_the_loop_leaves_every_artefact(finished, scenes, checkout):
    assert [iteration.number for iteration in finished] == [1, 2]
    folder = checkout / "runs" / "p" / "otoc"
    stages = sorted(path.name for path in folder.iterdir())
    kinds = ("evaluate", "pseudo", "relation", "unet")
    assert stages == sorted(["clicks", *(f"{kind}_{number}" for kind in kinds for number in (1, 2))])
    with (folder / "clicks" / "clicks.csv").open() as file:
        clicks = list(csv.DictReader(file))
    objects = sum(scene.num_objects for scene in scenes.train)
    assert len(clicks) == objects  # one thing, one click

    metrics = read_json(finished[1].evaluation, "metrics.json")
    assert set(metrics["splits"]["val"]["modes"]) == {"point", "sv", "relation", "product", "full"}
    truth = scenes.evaluation["val"][0]
    saved = load_file(folder / "evaluate_2" / f"{truth.name}.safetensors")
    for mode, values in metrics["splits"]["val"]["modes"].items():
        confusion = np.zeros((20, 20), dtype=int)
        known = truth.labels != IGNORE
        np.add.at(confusion, (truth.labels[known], saved[mode][known]), 1)
        assert values["confusion"] == confusion.tolist()
        hit = np.diag(confusion)
        union = confusion.sum(0) + confusion.sum(1) - hit
        by_hand = (hit[union > 0] / union[union > 0]).mean()
        assert values["miou"] == pytest.approx(by_hand)
    assert not list(folder.rglob("*.part"))


def test_pseudo_labels_cover_more_than_the_clicks_and_feed_the_next_iteration(finished):
    first, second = finished
    clicks = json.loads((first.unet.path.parent / "clicks" / "statistics.json").read_text())
    pseudo = json.loads((first.pseudo.path / "statistics.json").read_text())
    assert pseudo["covered_percent"] > clicks["covered_percent"]
    assert pseudo["new_percent"] == pytest.approx(pseudo["covered_percent"] - clicks["covered_percent"])
    assert 0 <= pseudo["new_right_percent"] <= 100 - pseudo["new_clutter_percent"] <= 100
    # What the rule makes of the same networks without propagation, and what propagation changes.
    assert pseudo["before_covered_percent"] != pseudo["covered_percent"]
    assert pseudo["graph_changed_percent"] >= 0 and "graph_mended_percent" in pseudo
    manifest = json.loads((second.unet.path / "manifest.json").read_text())
    assert manifest["inputs"]["labels"] == first.pseudo.key and manifest["inputs"]["warm_start"] == first.unet.key


def test_clicked_supervoxels_keep_their_label(finished, scenes):
    stages = Stages(tiny_experiment(), scenes)
    clicked = stages.labels_of(stages.clicks())
    for iteration in finished:
        labels = stages.labels_of(iteration.pseudo)
        for name, initial in clicked.items():
            known = initial != IGNORE
            assert known.any() and np.array_equal(labels[name][known], initial[known])


def test_views_are_averaged_and_repeatable(finished, scenes):
    scene = scenes.evaluation["val"][0]
    stages = Stages(tiny_experiment(), scenes)
    networks = load_networks(tiny_experiment(), stages.method, scene, finished[1].networks)
    single, again = (predict(tiny_experiment(), scene, **networks) for _ in range(2))
    three = predict(tiny_experiment(views=3), scene, **networks)
    assert torch.equal(single.probabilities, again.probabilities)
    assert not torch.equal(single.probabilities, three.probabilities)
    for prediction in (single, three):
        ones = torch.ones(scene.num_points)
        torch.testing.assert_close(prediction.probabilities.sum(1), ones, atol=1e-4, rtol=0)
        assert prediction.features.shape == (scene.num_supervoxels, 8)
        norms = prediction.relation_features.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-4, rtol=0)
