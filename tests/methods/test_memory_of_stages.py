"""What a stage keeps of a room is its counts: memory does not grow by the points of a room, however many there are.

Rooms are mapped, so that only what is made of them is counted. Networks are replaced by what is true: they have a room
at a time, whatever the number of rooms.
"""

import gc
import itertools
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import make_room
from tiny_experiment import tiny_experiment

from otoc_lib import tsne
from otoc_lib.annotation.clicks import Clicks, count_classes, gaps, simulate_clicks, write_clicks
from otoc_lib.errors import OtocError
from otoc_lib.labels import NO_CLASS
from otoc_lib.methods.method import Iteration, Method, Scores
from otoc_lib.methods.stages import Scenes, Stages, clicks_of
from otoc_lib.methods.xu import columns_of
from otoc_lib.reporting.runs import export_evaluation
from otoc_lib.scene import Scene
from otoc_lib.store import Stage
from otoc_lib.training.batches import Batches
from otoc_lib.training.predict import Prediction

CONTROL = {"method": "control"}
FEW, MANY = 4, 20
numbers = itertools.count()
A_POINT = 0.5  # bytes a point and room that a stage may keep; a label takes 2


def probabilities(scene: Scene) -> torch.Tensor:
    """Of the points, those of their true class; of points without one, all alike."""
    classes = len(scene.label_set)
    sure = np.full((scene.num_points, classes), 0.2 / (classes - 1), np.float32)
    known = np.flatnonzero(scene.labels >= 0)
    sure[known, scene.labels[known]] = 0.8
    return torch.from_numpy(sure)


def predict(config, scene, networks):
    of_points = probabilities(scene)
    return {"point": Scores(of_points, None), "full": Scores(of_points, None, of_points)}


def scores(config, scene, networks):
    of_points = probabilities(scene)
    return Scores(of_points, None, of_points)


TOLD = Method("What is true", lambda stages: iter(()), predict=predict, scores=scores)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory) -> list[Scene]:
    folder, room = tmp_path_factory.mktemp("rooms"), make_room("room", 0, boxes=6, spacing=0.02)
    paths = [folder / f"scene{number:04}_00.safetensors" for number in range(MANY)]
    for path in paths:
        replace(room, name=path.stem).save(path)
    return [Scene.load(path) for path in paths]


@pytest.fixture
def checked(mapped):
    """Calls ``work(stages)`` for few and for many rooms and compares the most memory that each takes."""

    def compare(work, before=lambda stages: None, **values):
        def run(count: int) -> int:
            number = next(numbers)  # of a profile: stages of another one are not reused
            config = tiny_experiment(profile=f"memory{number}", **values)
            stages = Stages(config, Scenes(mapped[:count], {"val": mapped[:count]}), TOLD)
            made = before(stages)
            gc.collect()
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            work(stages) if made is None else work(stages, made)
            return tracemalloc.get_traced_memory()[1] - held

        run(FEW)  # imports and compiles
        tracemalloc.start()
        try:
            few, many = run(FEW), run(MANY)
        finally:
            tracemalloc.stop()
        grown = (many - few) / (MANY - FEW) / mapped[0].num_points
        assert grown < A_POINT, f"{grown:.2f} bytes a point and room"

    return compare


def clicks_file(path, scenes) -> str:
    """Simulated clicks and one more in each room that says none of the classes."""
    clicks = {}
    for scene in scenes:
        drawn = simulate_clicks(scene, 1, 0)
        free = int(np.setdiff1d(np.arange(scene.num_points), drawn.points)[0])
        clicks[scene.name] = Clicks([*drawn.points, free], [*drawn.classes, NO_CLASS], [*drawn.objects, -1])
    write_clicks(path, clicks, scenes)
    return str(path)


@pytest.mark.parametrize("method", [{}, {"source": "all", **CONTROL}, {"source": "scene", "method": "mprm"}])
def test_clicks(checked, method):
    checked(Stages.clicks, **method)


@pytest.mark.filterwarnings("ignore:.*no click")  # the file speaks of the few rooms alone
@pytest.mark.parametrize("rule", [{}, {"pseudo_labels": "quantile", "pseudo_share": 0.5}])
@pytest.mark.parametrize("source", ["simulated", "file"])
def test_pseudo_labels(checked, mapped, tmp_path, source, rule):
    file = (
        {"source": "file", "clicks_file": clicks_file(tmp_path / "clicks.csv", mapped[:FEW])}
        if source == "file"
        else {}
    )
    checked(lambda stages, clicks: stages.relabel(1, {}, clicks), Stages.clicks, threshold=0.5, **file, **rule)


def test_evaluation(checked):
    checked(lambda stages: stages.evaluate("evaluate_1", {}))


@pytest.mark.parametrize("learns", ["clicks", "every label", "pseudo labels"])
def test_training(checked, learns):
    def labels(stages: Stages) -> Stage:
        clicks = stages.clicks()
        return stages.relabel(1, {}, clicks) if learns == "pseudo labels" else clicks

    source = {"source": "all", **CONTROL} if learns == "every label" else {}
    checked(lambda stages, learnt: stages.train("unet", 1, learnt), labels, unet_steps=2, threshold=0.5, **source)


def test_columns_of_all_rooms(checked):
    checked(lambda stages: dict.fromkeys(columns_of(stages.scenes.train)[0]))


def test_displays_of_clicks(checked):
    def show(stages, stage):
        rooms = stages.scenes.train
        count_classes(rooms, clicks_of(stage, rooms))
        gaps(rooms, clicks_of(stage, rooms))

    checked(show, Stages.clicks)


def test_submission(checked, tmp_path):
    path = tmp_path / "submission.zip"
    checked(
        lambda stages, stage: export_evaluation(stage, stages.scenes.evaluation["val"], "val", "full", path),
        lambda stages: stages.evaluate("evaluate_1", {}),
    )
    assert path.is_file()


def test_tsne(checked, monkeypatch):
    def described(config, scene, unet, relation):
        size = scene.num_supervoxels
        features = torch.from_numpy(
            np.random.default_rng(0).normal(size=(size, scene.num_points // 16)).astype(np.float32)
        )
        return Prediction(torch.empty(0), torch.empty(0), None, features)

    monkeypatch.setattr(tsne, "predict", described)
    monkeypatch.setattr(tsne, "load_networks", lambda *arguments: {"unet": None, "relation": None})
    monkeypatch.setattr(tsne, "embed", lambda features, seed: features[:, :2].astype(np.float32))

    def done(stages):
        stage = stages.clicks()
        return Iteration(1, {"unet": stage, "relation": stage}, stage)

    checked(tsne.tsne_stage, done, tsne_supervoxels=3)


# --- other processes --------------------------------------------------------------------------------------------------


def test_a_mapped_room_is_sent_as_its_file(mapped):
    room = mapped[0]
    sent = pickle.dumps(room)
    assert len(sent) < 5_000 < room.coords.nbytes
    again = pickle.loads(sent)
    assert again.fingerprint == room.fingerprint and again.label_set == room.label_set
    assert again.file == room.file and not again.coords.flags.writeable
    colors = tuple((shade, 0, 0) for shade in range(len(room.label_set)))
    other = pickle.loads(pickle.dumps(room.recoloured(replace(room.label_set, colors=colors))))
    assert other.label_set.colors == colors and other.file == room.file
    assert room.part(np.arange(5)).file is None


def test_a_room_that_was_made_anew_meanwhile_is_refused(tmp_path):
    path = tmp_path / "scene0000_00.safetensors"
    make_room("scene0000_00", 0).save(path)
    sent = pickle.dumps(Scene.load(path))
    make_room("scene0000_00", 1).save(path)
    with pytest.raises(OtocError, match="was made anew while another process used it"):
        pickle.loads(sent)
    path.unlink()
    with pytest.raises(OtocError, match="scene0000_00.safetensors: no such file"):
        pickle.loads(sent)


def test_a_room_in_memory_is_sent_whole_and_stays_read_only():
    room = make_room("room", 0)
    again = pickle.loads(pickle.dumps(room))
    assert again.fingerprint == room.fingerprint and again.file is None and not again.labels.flags.writeable


@pytest.mark.parametrize("source", ["simulated", "all"])
@pytest.mark.parametrize("tile_metres", [None, 1.5])
def test_workers_get_files_and_make_the_same_batches(mapped, source, tile_metres):
    """What a worker that is not forked gets, as on macOS and Windows, is small, and so is the sampler's part."""
    config = tiny_experiment(f"workers_{source}", source=source, tile_metres=tile_metres, **CONTROL)
    stages = Stages(config, Scenes(mapped[:FEW], {"val": mapped[:1]}))
    batches = Batches(config, mapped[:FEW], stages.labels_of(stages.clicks()), [0, 1, 0])
    sent = pickle.dumps(batches)
    assert len(sent) < 40_000
    (here,), (there,) = batches[0], pickle.loads(sent)[0]
    assert torch.equal(here.features, there.features) and torch.equal(here.labels.classes, there.labels.classes)
    assert len(here.labels.classes) > 0
