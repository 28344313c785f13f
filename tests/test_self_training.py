"""Algorithm 1 on tiny rooms: its rules by hand-made predictions, its stages by running them."""

import csv
import json

import numpy as np
import pytest
import torch
from tiny import TINY

from otoc_lib import self_training
from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.reporting.runs import read_json
from otoc_lib.self_training import Rooms, propagate, pseudo_labels
from otoc_lib.training.predict import Prediction, predict

STEPS = {
    "unet_steps": 30,
    "unet_steps_later": 4,
    "relation_steps": 15,
    "relation_steps_later": 4,
    "self_train_iterations": 2,
    "threshold": 0.5,
}


def config(experiment="otoc", **values):
    return config_from({**TINY, **STEPS, "experiment": experiment, **values})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    (root / "notebooks").mkdir()
    (root / "params").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def split(rooms):
    return Rooms(train=rooms[:3], evaluation={"val": rooms[3:]})


@pytest.fixture(scope="module")
def finished(checkout, split):
    return list(self_training.self_train(config(), split))


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


@pytest.mark.parametrize("variant", ["unet", "unet_gp", "unet_rel_gp"])
def test_pseudo_labels_keep_what_is_confident_and_clicks_always_win(rooms, variant):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    initial = np.full(scene.num_points, IGNORE, dtype=np.int16)
    clicked = scene.supervoxels == 5
    initial[clicked] = 13
    if variant == "unet":
        q = prediction.probabilities.numpy()
    else:
        q = propagate(config(variant=variant), scene, prediction).numpy()[scene.supervoxels]
    threshold = float(np.median(q.max(axis=1)))
    labels, confidence = pseudo_labels(config(variant=variant, threshold=threshold), scene, initial, prediction)
    assert (labels[clicked] == 13).all()
    sure = q.max(axis=1) >= threshold
    assert 0.3 < sure[~clicked].mean() < 0.7  # the test can tell
    np.testing.assert_array_equal(labels[~clicked & sure], q.argmax(axis=1)[~clicked & sure])
    assert (labels[~clicked & ~sure] == IGNORE).all()
    np.testing.assert_allclose(confidence, q.max(axis=1), atol=1e-3)


def test_the_threshold_decides_how_much_is_labelled(rooms):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    initial = np.full(scene.num_points, IGNORE, dtype=np.int16)
    counts = [
        (pseudo_labels(config(variant="unet", threshold=t), scene, initial, prediction)[0] != IGNORE).sum()
        for t in (0.0, 0.5, 0.9, 1.0)
    ]
    assert counts[0] == scene.num_points and counts == sorted(counts, reverse=True) and counts[-1] < counts[1]


def test_variants_propagate_over_their_own_features(rooms):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    other = random_prediction(rooms[0], seed=1)
    swapped = Prediction(
        prediction.probabilities, other.features, other.relation_probabilities, other.relation_features
    )
    gp, rel = config(variant="unet_gp"), config(variant="unet_rel_gp")
    assert torch.equal(propagate(gp, scene, prediction), propagate(gp, scene, swapped))
    assert not torch.allclose(propagate(rel, scene, prediction), propagate(rel, scene, swapped))
    for name, value in {"relation_power": 0.2, "bandwidth": 5.0, "pairwise_weight": 8.0, "mean_field_steps": 1}.items():
        changed = propagate(config(variant="unet_rel_gp", **{name: value}), scene, prediction)
        assert not torch.allclose(propagate(rel, scene, prediction), changed), name
    literal = propagate(config(variant="unet_rel_gp", pairwise_scaling="literal"), scene, prediction)
    assert not torch.allclose(propagate(rel, scene, prediction), literal)


def test_how_the_kernel_is_kept_changes_nothing_and_can_be_forced(rooms, monkeypatch):
    scene, prediction = rooms[0], random_prediction(rooms[0])
    expected = propagate(config(), scene, prediction)
    forced = propagate(config(propagation="chunked"), scene, prediction)
    small = propagate(config(propagation_memory=1e-9), scene, prediction)
    assert torch.equal(forced, small) and (forced - expected).abs().max() < 1e-5
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(OtocError, match="propagation: triton"):
        propagate(config(propagation="triton"), scene, prediction)


# --- stages -----------------------------------------------------------------------------------------------------------


def test_the_loop_leaves_every_artefact(finished, split, checkout):
    assert [iteration.number for iteration in finished] == [1, 2]
    folder = checkout / "runs" / "p" / "otoc"
    stages = sorted(path.name for path in folder.iterdir())
    kinds = ("evaluate", "pseudo", "relation", "unet")
    assert stages == sorted(["clicks", *(f"{kind}_{number}" for kind in kinds for number in (1, 2))])
    with (folder / "clicks" / "clicks.csv").open() as file:
        clicks = list(csv.DictReader(file))
    objects = sum(scene.num_objects for scene in split.train)
    assert len(clicks) == objects  # one thing, one click

    metrics = read_json(folder / "evaluate_2" / "metrics.json")
    assert set(metrics["splits"]["val"]["modes"]) == {"point", "sv", "full"}
    truth = split.evaluation["val"][0]
    saved = self_training.load_arrays(folder / "evaluate_2" / f"{truth.name}.safetensors")
    for mode, values in metrics["splits"]["val"]["modes"].items():
        confusion = np.zeros((20, 20), dtype=int)
        known = truth.labels != IGNORE
        np.add.at(confusion, (truth.labels[known], saved[mode][known]), 1)
        assert values["confusion"] == confusion.tolist()
        present = confusion.sum(1) > 0
        hit = np.diag(confusion)
        by_hand = (hit / np.maximum(confusion.sum(0) + confusion.sum(1) - hit, 1))[present].mean()
        assert values["miou"] == pytest.approx(by_hand)
    assert not list(folder.rglob("*.part"))


def test_pseudo_labels_cover_more_than_the_clicks_and_feed_the_next_iteration(finished):
    first, second = finished
    clicks = json.loads((first.unet.path.parent / "clicks" / "statistics.json").read_text())
    pseudo = json.loads((first.pseudo.path / "statistics.json").read_text())
    assert pseudo["covered_percent"] > clicks["covered_percent"]
    manifest = json.loads((second.unet.path / "manifest.json").read_text())
    assert manifest["inputs"]["labels"] == first.pseudo.key and manifest["inputs"]["start"] == first.unet.key


def test_running_again_computes_nothing(finished, split, monkeypatch):
    monkeypatch.setattr(self_training, "train_unet", None)
    monkeypatch.setattr(self_training, "predict", None)
    again = list(self_training.self_train(config(), split))
    assert all(stage.reused for i in again for stage in (i.unet, i.relation, i.pseudo, i.evaluation))


def test_experiments_share_what_they_have_in_common(finished, split):
    unet, gp = (next(iter(self_training.self_train(config(v, variant=v), split))) for v in ("unet", "unet_gp"))
    assert unet.unet.reused and unet.unet.path == gp.unet.path == finished[0].unet.path
    assert not unet.pseudo.reused and not gp.pseudo.reused and unet.relation is gp.relation is None


def test_the_control_restarts_as_often_on_the_clicks_alone(finished, split):
    control = list(self_training.self_train(config("control", variant="control"), split))
    assert control[0].unet.path == finished[0].unet.path and all(i.pseudo is None for i in control)
    manifests = [json.loads((i.unet.path / "manifest.json").read_text()) for i in (control[1], finished[1])]
    assert manifests[0]["parameters"] == manifests[1]["parameters"]  # equal steps, rates and restarts
    assert manifests[0]["inputs"]["start"] == manifests[1]["inputs"]["start"]
    assert manifests[0]["inputs"]["labels"] != manifests[1]["inputs"]["labels"]
    assert set(read_json(control[1].evaluation.path / "metrics.json")["splits"]["val"]["modes"]) == {"point", "sv"}


def test_the_baseline_shares_its_network_and_full_supervision_uses_every_label(finished, split):
    unet, evaluation = self_training.train_baseline(config(), split)
    assert unet.path == finished[0].unet.path
    full = config("supervised", source="all", variant="control")
    labels = self_training.initial_labels(full, split, self_training.annotate(full, split))
    assert all(np.array_equal(labels[scene.name], scene.labels) for scene in split.train)
    assert "full" not in read_json(evaluation.path / "metrics.json")["splits"]["val"]["modes"]


def test_a_users_own_clicks_are_read(finished, split, checkout):
    path = checkout / "runs" / "p" / "otoc" / "clicks" / "clicks.csv"
    own = config("own", source="file", clicks_file=str(path))
    drawn = self_training.initial_labels(config(), split, self_training.annotate(config(), split))
    read = self_training.initial_labels(own, split, self_training.annotate(own, split))
    assert all(np.array_equal(drawn[name], read[name]) for name in drawn)


def test_a_missing_clicks_file_is_named(split):
    with pytest.raises(OtocError, match=r"mine\.csv: no such file"):
        self_training.annotate(config("own", source="file", clicks_file="mine.csv"), split)


def test_views_are_averaged_and_repeatable(finished, split):
    scene = split.evaluation["val"][0]
    networks = self_training.load_networks(config(), scene, finished[1].unet, finished[1].relation)
    single, again = (predict(config(), scene, *networks) for _ in range(2))
    three = predict(config(views=3), scene, *networks)
    assert torch.equal(single.probabilities, again.probabilities)
    assert not torch.equal(single.probabilities, three.probabilities)
    for prediction in (single, three):
        ones = torch.ones(scene.num_points)
        torch.testing.assert_close(prediction.probabilities.sum(1), ones, atol=1e-4, rtol=0)
        assert prediction.features.shape == (scene.num_supervoxels, 8)
        norms = prediction.relation_features.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-4, rtol=0)
