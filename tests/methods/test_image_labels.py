"""Labels from images as a stage: what it keeps, what its key names, and what is trained on it."""

import shutil

import numpy as np
import pytest
from tiny_experiment import tiny_experiment

from otoc_lib import config as config_module
from otoc_lib.annotation.clicks import label_statistics
from otoc_lib.annotation.images import label_scene
from otoc_lib.datasets.frames import open_frames
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.methods import control, stages
from otoc_lib.methods.stages import Plan, Stages, clicks_of, run_method
from otoc_lib.reporting import display, figures
from otoc_lib.reporting.runs import read_json


def seen(experiment, **values):
    given = {"source": "images", "images_root": "frames", "data_root": "rooms", "method": "control", **values}
    return tiny_experiment(experiment, **given)


def test_the_stage_keeps_the_labels_of_each_room(frames, scenes):
    classes = np.full(65536, IGNORE, np.int16)
    classes[:41] = scenes.train[0].label_set.from_file_ids(np.arange(41))
    made = Stages(seen("seen"), scenes)
    stage = made.clicks()
    labels, statistics = made.labels_of(stage), read_json(stage, "statistics.json")
    for scene in scenes.train:
        expected, _ = label_scene(scene, frames, classes, 1.0, 0)
        np.testing.assert_array_equal(labels[scene.name], expected)
        clicks = clicks_of(stage, scenes.train)[scene.name]
        assert not clicks.spread and clicks.points.tolist() == np.flatnonzero(expected >= 0).tolist()
        np.testing.assert_array_equal(clicks.classes, expected[expected >= 0])
    counted = {name: statistics.pop(name) for name in ("scenes", "frames_used", "frames_skipped")}
    total = sum(len(open_frames(frames, scene.name).names) for scene in scenes.train)
    assert counted == {"scenes": len(scenes.train), "frames_used": total, "frames_skipped": 0}
    assert statistics == label_statistics(scenes.train, labels)
    assert statistics["covered_percent"] > 30 and statistics["accuracy_percent"] > 80


def test_frames_without_a_pose_are_counted(frames, scenes, tmp_path):
    shutil.copytree(frames, tmp_path / "frames")
    for scene in scenes.train[:2]:
        (tmp_path / "frames" / scene.name / "pose" / "0.txt").write_text("-inf " * 16)
    made = Stages(seen("lost", images_root=str(tmp_path / "frames")), scenes)
    with pytest.warns(UserWarning, match="have no pose"):
        statistics = read_json(made.clicks(), "statistics.json")
    assert statistics["frames_skipped"] == 2


def test_networks_learn_from_images_and_self_training_goes_on_from_them(frames, scenes):
    config = seen("seen")
    unet, evaluation = control.train_baseline(Stages(config, scenes, control.BASELINE))
    assert "point" in read_json(evaluation, "metrics.json")["splits"]["val"]["modes"]
    further = seen("further", method="one_thing_one_click", variant="unet", self_train_iterations=1)
    (done,) = run_method(further, scenes)
    assert done.unet.path == unet.path
    made = Stages(further, scenes)
    before, after = made.labels_of(made.clicks()), made.labels_of(done.pseudo)
    assert all((after[name][before[name] >= 0] == before[name][before[name] >= 0]).all() for name in before)


def test_notebooks_can_show_them(frames, scenes):
    clicks = clicks_of(Stages(seen("seen"), scenes).clicks(), scenes.train)
    assert figures.annotation_figure(scenes.train[:1], clicks).axes
    points = sum(scene.num_points for scene in scenes.train)
    share = f"{100 * sum(map(len, clicks.values())) / points:.3f} %"
    assert share in display.click_table(scenes.train, clicks).data


def keys(config):
    planned = Plan(config, fingerprints={"train": "t", "val": "v"})
    list(planned.method.loop(planned))
    return {stage.name: stage.key for stage in planned.stages}


def test_the_key_names_frames_and_share(frames, tmp_path):
    config = seen("seen")
    now = keys(config)
    assert now["clicks"] != keys(seen("seen", images_share=0.5))["clicks"] != keys(seen("seen", seed=1))["clicks"]
    shutil.copytree(frames, tmp_path / "frames")
    moved = seen("seen", images_root=str(tmp_path / "frames"))
    assert keys(moved) == now  # the same frames elsewhere
    pose = tmp_path / "frames" / "scene0000_00" / "pose" / "3.txt"
    pose.write_text(pose.read_text() + "\n")
    assert keys(moved)["clicks"] != now["clicks"] and keys(moved)["unet_1"] != now["unet_1"]
    assert keys(tiny_experiment("clicked", images_root="frames")) == keys(tiny_experiment("clicked"))


def test_without_data_a_plan_needs_no_frames():
    planned = Plan(seen("nowhere", images_root="nowhere"))
    list(planned.method.loop(planned))
    assert planned.stages[0].name == "clicks" and planned.contents["clicks"]["inputs"]["images"] == "nowhere"


def test_frames_that_are_missing_are_named(frames, scenes, tmp_path):
    with pytest.raises(OtocError, match=r"images_root .*nowhere: no such folder; .*rooms film"):
        Stages(seen("gone", images_root="nowhere"), scenes).clicks()
    shutil.copytree(frames, tmp_path / "frames")
    shutil.rmtree(tmp_path / "frames" / scenes.train[1].name)
    with pytest.raises(OtocError, match=f"{scenes.train[1].name}: no such folder; export the frames"):
        Stages(seen("gone", images_root=str(tmp_path / "frames")), scenes).clicks()


def test_the_stage_reads_what_its_key_names(frames, scenes, monkeypatch):
    original = config_module.View.__init__

    def without(view, config, groups, reader):
        original(view, config, groups, reader)
        view.named.remove("images_share")
        view.allowed.discard("images_share")

    monkeypatch.setattr(config_module.View, "__init__", without)
    with pytest.raises(OtocError, match="stage clicks reads the parameter 'images_share'"):
        Stages(seen("unread", images_share=0.4, seed=5), scenes).clicks()


def test_other_sources_read_no_frames(scenes, monkeypatch):
    monkeypatch.setattr(stages.frames, "content_key", None)
    assert Stages(tiny_experiment("plain", images_root="nowhere"), scenes).clicks().key
