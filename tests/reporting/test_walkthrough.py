"""The walk of one tiny room: equal to what the stages write, and drawn with what is in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_config

from otoc_lib.annotation.clicks import Clicks, read_clicks
from otoc_lib.labels import IGNORE
from otoc_lib.methods import one_thing_one_click
from otoc_lib.methods.method import Scores
from otoc_lib.methods.stages import Scenes, Stages, load_networks
from otoc_lib.propagation import pairwise_kernel
from otoc_lib.reporting import walkthrough
from otoc_lib.reporting.figures import PANEL, RIGHT, UNLABELLED, WRONG, room_view
from otoc_lib.reporting.walkthrough import BLUE, DARK, ORANGE, choose_room, outcome_colors, walk_through
from otoc_lib.scene import Scene
from otoc_lib.training.predict import predict

FIGURES = {
    "initial": walkthrough.initial_figure,
    "unet": walkthrough.unet_figure,
    "pooled": walkthrough.pooled_figure,
    "unary": walkthrough.unary_figure,
    "similarity": walkthrough.similarity_figure,
    "mean_field": walkthrough.mean_field_figure,
    "pseudo_label": walkthrough.pseudo_label_figure,
}
GRAPH = ("unary", "chosen", "hand_made", "similarity", "propagated", "moves")
CASES = {
    "otoc": {},
    "unet_gp": {"variant": "unet_gp"},
    "unet": {"variant": "unet"},
    "near": {"variant": "unet_gp", "click_reach": 0.5},
    "spread": {"variant": "unet_gp", "click_spread": 0.02},
    "control": {"method": "control"},
}


class Finished:
    """The first iteration of one case, and the walk of its first room: half of the points pass the threshold."""

    def __init__(self, case: str, scenes: list[Scene]):
        self.config = tiny_config(
            experiment=case, unet_steps=30, relation_steps=15, self_train_iterations=1, **CASES[case]
        )
        self.stages = Stages(self.config, Scenes(scenes[:2], {"val": scenes[3:]}))
        self.annotation = self.stages.clicks()
        networks = self.stages.method.networks(self.config)
        self.trained = {name: self.stages.train(name, 1, self.annotation) for name in networks}
        self.scene = scenes[0]
        self.clicks = read_clicks(self.annotation.path / "clicks.csv", scenes[:2])[self.scene.name]
        self.networks = load_networks(self.config, self.stages.method, self.scene, self.trained)
        walk = walk_through(self.config, self.scene, self.clicks, self.networks)
        if walk.confidence is not None:
            self.config = replace(self.config, threshold=float(np.median(walk.confidence)))
        self.stages = Stages(self.config, self.stages.scenes)
        self.walk = walk_through(self.config, self.scene, self.clicks, self.networks)

    def prediction(self):
        return predict(self.config, self.scene, self.networks["unet"], self.networks.get("relation"))


@pytest.fixture(scope="module")
def finished(rooms, tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    (root / "notebooks").mkdir()
    (root / "params").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield {case: Finished(case, rooms) for case in CASES}


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def texts(figure):
    """Everything written in a figure, the pictures' captions and the names in their keys included."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for part in (axes, *axes.child_axes) for text in part.texts]
        found += [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
    return [text.strip() for text in found]


def pixels_of(scene, view):
    """Super-voxel that a pixel shows all over, int [H, W]; -1 where it shows several or none."""
    fine = np.where(view.index < 0, -1, scene.supervoxels[view.index])
    parts = np.stack([fine[i::2, j::2] for i in range(2) for j in range(2)])
    return np.where((parts == parts[0]).all(axis=0), parts[0], -1)


def best_in_sight(scene, view):
    """The super-voxels of most pixels, of one true class (the floor) that is known."""
    pixels = pixels_of(scene, view)
    ids = np.unique(scene.supervoxels[scene.labels == 1])
    return sorted(ids, key=lambda j: (pixels == j).sum(), reverse=True)


def shown(figure, title, scene, view, supervoxel):
    """Colour, without its shade, of a super-voxel in the picture with that title."""
    (axes,) = (axes for axes in figure.axes if axes.get_title() == title)
    mine = np.asarray(axes.images[0].get_array())[pixels_of(scene, view) == supervoxel]
    color = np.median(mine.astype(float), axis=0)
    return color / color.max()


def plain(color):
    return np.divide(color, max(color))


# --- what it holds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["otoc", "unet_gp", "unet", "near"])
def test_its_pseudo_labels_are_those_of_the_stage(finished, case):
    done = finished[case]
    pseudo = done.stages.relabel(1, done.trained, done.annotation)
    np.testing.assert_array_equal(done.walk.pseudo, done.stages.labels_of(pseudo)[done.scene.name])
    assert done.walk.pseudo.dtype == np.int16
    assert 0.1 < np.mean(done.walk.ruled == IGNORE) < 0.9  # the test can tell
    clicked = done.walk.initial != IGNORE
    assert (done.walk.ruled != done.walk.initial)[clicked].any()
    np.testing.assert_array_equal(done.walk.pseudo[clicked], done.walk.initial[clicked])


@pytest.mark.parametrize("case", ["otoc", "unet_gp"])
def test_its_probabilities_are_those_of_the_method(finished, case):
    done, prediction = finished[case], finished[case].prediction()
    for name in ("unary", "propagate"):
        expected = getattr(one_thing_one_click, name)(done.config, done.scene, prediction).numpy()
        np.testing.assert_array_equal(getattr(done.walk, {"propagate": "propagated"}.get(name, name)), expected)
    assert not np.allclose(done.walk.unary, done.walk.propagated, atol=1e-3)
    confidence = done.walk.propagated.max(axis=1)[done.scene.supervoxels]
    np.testing.assert_array_equal(done.walk.confidence, confidence)
    np.testing.assert_array_equal(done.walk.points, prediction.probabilities.numpy())
    by_hand = [done.walk.points[done.scene.supervoxels == j].mean(axis=0) for j in range(done.scene.num_supervoxels)]
    np.testing.assert_allclose(done.walk.pooled, by_hand, atol=1e-5)


def test_the_similarities_are_a_row_of_the_kernel(finished):
    done = finished["otoc"]
    blocks = one_thing_one_click.pairwise_features(done.config, done.scene, done.prediction())
    for found, compared in ((done.walk.hand_made, blocks[:2]), (done.walk.similarity, blocks)):
        expected = pairwise_kernel(compared, done.config.bandwidth)[done.walk.chosen].numpy().copy()
        expected[done.walk.chosen] = 1
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (done.walk.similarity <= done.walk.hand_made + 1e-6).all()  # more features only tell more apart
    gp = finished["unet_gp"].walk
    np.testing.assert_array_equal(gp.similarity, gp.hand_made)


def test_what_a_method_does_not_have_is_none(finished):
    for case, done in finished.items():
        assert (done.walk.relation is None) == (case not in ("otoc", "control"))
        assert {getattr(done.walk, name) is None for name in GRAPH} == {case in ("unet", "control")}
        assert (done.walk.pseudo is None) == (done.walk.confidence is None) == (case == "control")


def test_the_walk_looks_at_as_many_views_as_the_loop_does(finished):
    done = finished["unet_gp"]
    walk = walk_through(replace(done.config, teacher_views=2), done.scene, done.clicks, done.networks)
    two = predict(replace(done.config, views=2), done.scene, done.networks["unet"], None).probabilities
    np.testing.assert_array_equal(walk.points, two.numpy())
    assert (walk.points != done.walk.points).any()


def test_a_method_with_scores_of_its_own_shows_no_graph_but_its_labels(finished, monkeypatch):
    done = finished["otoc"]
    nodes = torch.from_numpy(done.scene.supervoxels.astype(np.int64))
    certain = torch.eye(20)[torch.full((done.scene.num_supervoxels,), 9)]
    own = replace(one_thing_one_click.METHOD, scores=lambda config, scene, networks: Scores(certain, nodes))
    monkeypatch.setattr(walkthrough, "method_of", lambda config: own)
    walk = walk_through(done.config, done.scene, done.clicks, done.networks)
    assert all(getattr(walk, name) is None for name in GRAPH) and walk.relation is not None
    assert (walk.ruled == 9).all() and (walk.pseudo[walk.initial != IGNORE] != 9).any()
    assert len(titles(walkthrough.unary_figure(walk))) == 2 and not titles(walkthrough.mean_field_figure(walk))


def test_the_room_with_most_classes_is_chosen(rooms):
    some = {room.name: Clicks([0, 1, 2], classes, [-1] * 3) for room, classes in zip(rooms, CLASSES, strict=True)}
    assert choose_room(rooms, some) is rooms[1]


CLASSES = ([4, 4, 4], [4, 5, 6], [1, 2, 3], [7, 7, 1])


def test_a_clicked_chair_is_compared_else_other_furniture_else_what_has_no_label(finished):
    done = finished["otoc"]
    place = {label: int(np.flatnonzero(done.scene.labels == label)[0]) for label in np.unique(done.scene.labels)}
    floor = place[1]
    other = next(point for label, point in place.items() if label > 1)
    chosen = lambda points, classes: walk_through(  # noqa: E731
        done.config, done.scene, Clicks(points, classes, [-1] * len(points)), done.networks
    )
    assert chosen([floor, other], [6, 4]).chosen == done.scene.supervoxels[other]
    assert chosen([floor, other], [1, 6]).chosen == done.scene.supervoxels[other]
    walk = chosen([floor], [1])
    assert walk.chosen != done.scene.supervoxels[floor] and "no label yet" in texts(walkthrough.similarity_figure(walk))


# --- how it is drawn --------------------------------------------------------------------------------------------------


def test_every_step_of_the_whole_method_has_its_pictures(finished):
    walk = finished["otoc"].walk
    drawn = {name: titles(figure(walk)) for name, figure in FIGURES.items()}
    assert {name: len(found) for name, found in drawn.items()} == dict.fromkeys(FIGURES, 4)
    assert all(found[-1] == "ground truth" for name, found in drawn.items() if name != "unary")
    assert drawn["initial"][:3] == ["the room", "clicks", "initial labels"]
    assert drawn["mean_field"][:2] == ["before", "after mean field (eq. 3)"]
    bars = {
        name: [axes.get_title() for axes in figure(walk).axes if axes.child_axes] for name, figure in FIGURES.items()
    }
    assert bars["unet"] == bars["pooled"] == ["confidence"] and len(bars["similarity"]) == 2
    (confidence, *_) = walkthrough.pseudo_label_figure(walk).axes
    assert [line.get_xdata()[0] for line in confidence.child_axes[0].lines] == [walk.config.threshold]
    assert f"{len(walk.clicks)} clicks" in texts(walkthrough.initial_figure(walk))


def test_a_method_without_graph_says_so(finished):
    for case, says in (("control", "The method 'Control"), ("unet", "'One Thing One Click' (variant unet)")):
        walk = finished[case].walk
        drawn = {name: figure(walk) for name, figure in FIGURES.items()}
        second = ("unary",) if case == "unet" else ()  # the control has a relation net, whose opinion is shown
        for name in (*second, "similarity", "mean_field"):
            (sentence,) = texts(drawn[name])
            assert not drawn[name].axes and says in sentence and "graph" in sentence
        assert [len(titles(drawn[name])) for name in ("initial", "unet", "pooled")] == [4, 4, 4]
        assert len(titles(drawn["pseudo_label"])) == (0 if case == "control" else 4)
    assert "no pseudo labels" in texts(walkthrough.pseudo_label_figure(finished["control"].walk))[0]
    walk = finished["unet_gp"].walk
    assert titles(walkthrough.unary_figure(walk)) == ["U-Net, pooled", "its cost, −log P (eq. 4)"]
    assert len(titles(walkthrough.similarity_figure(walk))) == 3  # colour and position are all that it compares


def test_what_is_near_to_a_click_has_its_picture_where_labels_depend_on_it(finished):
    walk = finished["near"].walk
    figure = walkthrough.pseudo_label_figure(walk)
    assert titles(figure)[:2] == ["near to a click", "confidence (eq. 8) × nearness"]
    view = room_view(walk.scene, *PANEL)
    chosen, *_ = best_in_sight(walk.scene, view)
    for value in (0.0, 1.0):
        nearness = np.where(np.arange(len(walk.nearness)) == chosen, value, 1 - value)[:, None] * np.eye(20)[[3]]
        drawn = walkthrough.pseudo_label_figure(replace(walk, nearness=nearness))
        found = shown(drawn, "near to a click", walk.scene, view, chosen)
        np.testing.assert_allclose(found, plain(walkthrough.COLORS(value)[:3]), atol=0.06)
    nothing = replace(walk, nearness=np.zeros_like(walk.nearness))
    assert "100.0 % of the points reached by none" in texts(walkthrough.pseudo_label_figure(nothing))
    assert not {"near to a click"} & set(titles(walkthrough.pseudo_label_figure(finished["unet_gp"].walk)))


def test_a_room_without_labels_is_not_judged(finished):
    walk = finished["otoc"].walk
    walk = replace(walk, scene=replace(walk.scene, labels=None, instances=None))
    drawn = {name: figure(walk) for name, figure in FIGURES.items()}
    assert [len(titles(figure)) for figure in drawn.values()] == [3, 2, 2, 4, 3, 3, 2]
    assert not any("right" in text or "wrong" in text for figure in drawn.values() for text in texts(figure))
    assert "changed" in texts(drawn["mean_field"])


def test_a_wrong_label_is_red_and_a_right_one_blue(finished):
    truth = np.array([3, 3, 3, IGNORE, IGNORE], dtype=np.int16)
    labels = np.array([3, 4, IGNORE, 4, IGNORE], dtype=np.int16)
    assert list(map(tuple, outcome_colors(truth, labels))) == [BLUE, WRONG, UNLABELLED, DARK, UNLABELLED]

    walk = finished["otoc"].walk
    view = room_view(walk.scene, *PANEL)
    one, other, *_ = best_in_sight(walk.scene, view)
    pseudo = walk.scene.labels.copy()
    pseudo[walk.scene.supervoxels == one] = 5
    figure = walkthrough.pseudo_label_figure(replace(walk, pseudo=pseudo))
    for supervoxel, color in ((one, WRONG), (other, BLUE)):
        found = shown(figure, "are they right?", walk.scene, view, supervoxel)
        np.testing.assert_allclose(found, plain(color), atol=0.06)


@pytest.mark.parametrize("case", ["otoc", "unet_gp"])
def test_it_says_how_fast_the_mean_field_converges(finished, case):
    done, prediction = finished[case], finished[case].prediction()
    moves, config = done.walk.moves, done.config.teacher
    blocks = one_thing_one_click.pairwise_features(config, done.scene, prediction)
    kernel = pairwise_kernel(blocks, config.bandwidth)
    weight = config.pairwise_weight / kernel.sum(dim=1).mean()
    unary, by_hand = one_thing_one_click.unary(config, done.scene, prediction), []
    q = unary / unary.sum(dim=1, keepdim=True)
    for _ in moves:
        before, q = q, torch.softmax(unary.log() + weight * (kernel @ q), dim=1)
        by_hand.append(float((q - before).abs().max()))
    np.testing.assert_allclose(moves, by_hand, rtol=0.01, atol=1e-5)
    assert (moves[:-1] >= config.mean_field_tolerance).all()
    assert moves[-1] < config.mean_field_tolerance or len(moves) == config.mean_field_steps
    np.testing.assert_allclose(done.walk.propagated, q.numpy(), atol=1e-4)
    assert any(text.endswith(f"{len(moves)} steps") for text in texts(walkthrough.mean_field_figure(done.walk)))


def test_changes_of_the_mean_field_are_right_wrong_or_neither(finished):
    walk = finished["otoc"].walk
    view = room_view(walk.scene, *PANEL)
    ids = best_in_sight(walk.scene, view)[:4]
    before, after = (np.zeros((walk.scene.num_supervoxels, 20), dtype=np.float32) for _ in range(2))
    for probabilities, classes in ((before, (2, 1, 2, 1)), (after, (1, 2, 3, 1))):
        probabilities[:, 0] = 0.5
        probabilities[ids, classes] = 1
    figure = walkthrough.mean_field_figure(replace(walk, unary=before, propagated=after))
    for supervoxel, color in zip(ids, (BLUE, WRONG, ORANGE, RIGHT), strict=True):
        found = shown(figure, "changed their class", walk.scene, view, supervoxel)
        np.testing.assert_allclose(found, plain(color), atol=0.06)
    assert any(text.startswith(f"3 of {walk.scene.num_supervoxels} super-voxels") for text in texts(figure))


def test_values_are_bright_where_they_are_high(finished):
    walk = finished["otoc"].walk
    view = room_view(walk.scene, *PANEL)
    sure, unsure, *_ = best_in_sight(walk.scene, view)
    confidence = np.where(walk.scene.supervoxels == sure, 1.0, 0.0)
    figure = walkthrough.pseudo_label_figure(replace(walk, confidence=confidence))
    for supervoxel, value in ((sure, 1.0), (unsure, 0.0)):
        found = shown(figure, "confidence (eq. 8)", walk.scene, view, supervoxel)
        np.testing.assert_allclose(found, plain(walkthrough.COLORS(value)[:3]), atol=0.06)
