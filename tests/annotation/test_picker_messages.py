"""The kernel's side of the widget: its messages, without a browser; and what a model proposes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import TINY

from otoc_lib.annotation import picker as picker_module
from otoc_lib.annotation.assist import middle_points, propose
from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.annotation.picker import Picker, disc_size, pack_room, person_present
from otoc_lib.annotation.session import Session
from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.methods import control
from otoc_lib.methods.stages import Scenes, Stages, load_networks, predict_rooms
from otoc_lib.training.predict import predict


@pytest.fixture
def session(rooms, tmp_path) -> Session:
    return Session(rooms, tmp_path / "clicks.csv")


@pytest.fixture
def sent(monkeypatch) -> list:
    """Messages (content, buffers) that pickers send to the browser."""
    messages = []
    monkeypatch.setattr(Picker, "send", lambda self, content, buffers=None: messages.append((content, buffers)))
    return messages


def action(number: int, changes: list, room: str = "scene0000_00", seconds: float = 1.0) -> dict:
    return {"kind": "action", "number": number, "room": room, "changes": changes, "seconds": seconds}


def test_every_action_is_answered_once_it_is_in_the_file(session, rooms, sent):
    picker = Picker(session)
    picker._receive(picker, action(5, [[7, 4]]), [])
    answer, _ = sent.pop()
    assert (answer["kind"], answer["number"], answer["clicks"]) == ("saved", 5, [(7, 4)])
    assert answer["labels"] == [(int(rooms[0].supervoxels[7]), 4)] and answer["warning"] is None
    assert read_clicks(session.path, rooms)["scene0000_00"].points.tolist() == [7]


def test_an_action_that_comes_again_is_answered_again_and_changes_nothing(session, sent):
    picker = Picker(session)
    for message in (action(1, [[7, 4]]), action(2, [[7, -1]]), action(1, [[7, 4]])):
        picker._receive(picker, message, [])
    assert [content["number"] for content, _ in sent] == [1, 2, 1]
    assert len(session.clicks_of("scene0000_00")) == 0


def test_an_action_that_cannot_be_saved_is_not_answered_as_saved(session, sent):
    picker = Picker(session)
    picker._receive(picker, action(1, [[10**7, 4]]), [])
    picker._receive(picker, action(2, [[1, 4]], room="attic"), [])
    session.path.unlink()
    session.path.mkdir()  # nothing can be renamed to a folder
    picker._receive(picker, action(3, [[1, 4]]), [])
    assert [content["kind"] for content, _ in sent] == ["refused", "refused", "error"]


def test_two_classes_in_one_super_voxel_are_warned_of(session, rooms, sent):
    region = np.flatnonzero(rooms[0].supervoxels == np.bincount(rooms[0].supervoxels).argmax())
    picker = Picker(session)
    picker._receive(picker, action(1, [[int(region[0]), 4], [int(region[1]), 6]]), [])
    assert "clicked as chair and table" in sent[-1][0]["warning"]


def test_the_browser_gets_the_room_as_it_is(session, rooms, sent):
    session.apply("scene0000_00", [(3, 1)])
    picker = Picker(session)
    picker._receive(picker, {"kind": "open"}, [])
    message, (positions, colors, regions) = sent.pop()
    scene = rooms[1]  # the first without clicks
    assert (message["kind"], message["name"], message["index"], message["points"]) == (
        *("room", scene.name, 1),
        scene.num_points,
    )
    assert message["rooms"] == [("scene0000_00", 1), *((room.name, 0) for room in rooms[1:])]
    decoded = np.frombuffer(positions, "<u2").reshape(-1, 3) * message["step"] + message["low"]
    assert np.abs(decoded - scene.coords).max() <= max(message["step"]) / 2 + 1e-6  # 0.02 mm in a room of 2.4 m
    np.testing.assert_array_equal(np.frombuffer(colors, np.uint8).reshape(-1, 3), scene.colors)
    np.testing.assert_array_equal(np.frombuffer(regions, "<u4"), scene.supervoxels)
    picker._receive(picker, {"kind": "open", "index": 3}, [])
    assert sent.pop()[0]["name"] == "scene0003_00"
    with pytest.raises(OtocError, match="no room 4"):
        picker.show_room(4)


def test_the_clock_of_a_room_is_kept(session, sent):
    picker = Picker(session)
    picker._receive(picker, {"kind": "clock", "room": "scene0002_00", "seconds": 33.3}, [])
    assert session.seconds_of("scene0002_00") == 33.3 and not sent


def test_no_room_is_part_of_the_saved_state(session):
    """A notebook that shows a picker saves its state: it must stay small."""
    picker = Picker(session)
    state = {name: value for name, value in picker.get_state().items() if name not in ("_esm", "_css")}
    assert len(str(state)) < 2000 and str(session.path) not in str(state)


def test_positions_of_a_flat_room_do_not_divide_by_zero(rooms):
    scene = rooms[0]
    flat = replace(scene, coords=scene.coords * np.float32([1, 1, 0]))
    low, step, (positions, _, _) = pack_room(flat)
    assert np.isfinite(step).all() and (np.frombuffer(positions, "<u2").reshape(-1, 3)[:, 2] == 0).all()
    assert disc_size(np.zeros((1, 3), np.float32)) > 0


@pytest.mark.parametrize("allowed", [True, False])
def test_a_person_is_there_where_questions_can_be_asked(monkeypatch, allowed):
    assert not person_present()  # no notebook at all
    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=allowed))
    monkeypatch.setattr(picker_module, "get_ipython", lambda: shell)
    assert person_present() == allowed


# --- what a model proposes


def test_large_and_uncertain_super_voxels_are_proposed_first(rooms):
    scene = rooms[0]
    sizes = np.bincount(scene.supervoxels)
    probabilities = np.zeros((scene.num_supervoxels, 20), np.float32)
    probabilities[:, 3] = 1.0  # the model is sure of everything but two
    large, small = np.argsort(-sizes)[[0, -1]]
    probabilities[[large, small]] = 0.05
    probabilities[[large, small], 7] += 0.001
    first, second = propose(scene, probabilities, count=2)
    assert (first.supervoxel, first.label, second.supervoxel) == (large, 7, small)
    assert scene.supervoxels[first.point] == large


def test_the_middle_of_a_super_voxel_is_its_point_nearest_to_the_centroid(rooms):
    scene = rooms[0]
    for region, point in enumerate(middle_points(scene)):
        members = np.flatnonzero(scene.supervoxels == region)
        distance = np.linalg.norm(scene.coords[members] - scene.coords[members].astype(np.float64).mean(axis=0), axis=1)
        assert point in members and distance[members == point] <= distance.min() + 1e-6


def test_a_room_with_a_prediction_shows_it(session, rooms, sent):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(20), rooms[0].num_supervoxels)
    picker = Picker(session, {"scene0000_00": probabilities})
    picker.refresh()
    message, (*_, prediction) = sent.pop()
    np.testing.assert_array_equal(np.frombuffer(prediction, np.uint8), probabilities.argmax(axis=1))
    region, point, label = message["proposals"][0]
    assert rooms[0].supervoxels[point] == region and label == probabilities[region].argmax()
    with pytest.raises(OtocError, match="predictions of shape"):
        Picker(session, {"scene0000_00": probabilities[1:]}).refresh()


def test_without_a_trained_network_there_is_nothing_to_assist(rooms, tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OtocError, match="p/e: no U-Net is trained yet"):
        predict_rooms(config_from({"profile": "p", "experiment": "e"}), rooms)


def test_a_finished_u_net_predicts_every_super_voxel(rooms, tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    config = config_from({**TINY, "experiment": "e", "unet_steps": 2, "voxel_size": 0.2})
    unet, _ = control.train_baseline(Stages(config, Scenes(rooms[:2], {"val": rooms[2:3]}), control.METHOD))
    made = predict_rooms(config, rooms[:2])
    networks = load_networks(config, control.METHOD, rooms[0], {"unet": unet})
    for scene in rooms[:2]:
        points = predict(config, scene, networks["unet"], None).probabilities.cpu().numpy()  # [N, C]
        for region in range(0, scene.num_supervoxels, 5):
            expected = points[scene.supervoxels == region].mean(axis=0)
            np.testing.assert_allclose(made[scene.name][region], expected, atol=1e-5)
