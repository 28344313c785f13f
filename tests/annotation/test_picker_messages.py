"""The kernel's side of the widget: its messages, without a browser; and what a model proposes."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TINY

from otoc_lib.annotation import picker as picker_module
from otoc_lib.annotation.assist import middle_points, propose
from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.annotation.picker import Picker, disc_size, pack_room, person_present
from otoc_lib.annotation.session import MOST_CHANGES, Session
from otoc_lib.config import config_from
from otoc_lib.errors import OtocError, shown
from otoc_lib.labels import NO_CLASS
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


HUGE = 10**5000
ROOM = "scene0000_00"


def state_of(session: Session) -> tuple:
    """What a refused message must leave as it was: clicks, clocks and files."""
    files = {path.name: path.read_bytes() for path in session.path.parent.iterdir()}
    clicks = {name: list(zip(c.points.tolist(), c.classes.tolist(), strict=True)) for name, c in session.clicks.items()}
    return clicks, [session.seconds_of(name) for name in clicks], files


@pytest.mark.parametrize(
    "message",
    [
        *(
            None,
            3,
            "open",
            [],
            ["kind", "open"],
            {},
            {"kind": None},
            {"kind": ["open"]},
            {"kind": "close"},
            {"number": 5},
        ),
        *({"kind": "open", "index": index} for index in (-1, 4, 10**9, HUGE, "1", 1.0, True, None, [1], float("nan"))),
        {"kind": "open", "room": ROOM},
        *({"kind": "clock", "room": ROOM, "seconds": s} for s in (-1, "1", True, None, [1], 1e10, HUGE)),
        *({"kind": "clock", "room": ROOM, "seconds": float(s)} for s in ("inf", "-inf", "nan")),
        *({"kind": "clock", "room": room, "seconds": 1} for room in ("attic", 3, None, ["a"], {}, "x" * 10**6)),
        *({"kind": "clock", "room": ROOM}, {"kind": "clock", "seconds": 1}, {"kind": "action"}),
        *({"kind": "keep", "room": ROOM, "point": p} for p in (8, -1, "7", 7.0, True, None, [7], HUGE)),  # 7 is clicked
        *({"kind": "keep", "room": room, "point": 7} for room in ("attic", 3, ["a"])),
    ],
    ids=shown,
)
def test_a_message_that_is_none_is_answered_and_changes_nothing(session, sent, message):
    picker = Picker(session)
    picker._receive(picker, action(1, [[7, 4]]), [])
    before = state_of(session)
    picker._receive(picker, message, [])
    answer, _ = sent.pop()
    assert answer["kind"] in ("error", "refused") and len(answer["text"]) < 1000 and state_of(session) == before
    picker._receive(picker, {"kind": "open"}, [])
    assert (sent[-1][0]["kind"], sent[-1][0]["index"]) == ("room", 0)  # the room that was shown before
    picker._receive(picker, action(2, [[8, 4]]), [])
    assert (sent[-1][0]["kind"], sent[-1][0]["clicks"]) == ("saved", [(7, 4), (8, 4)])


BAD_CHANGES = (
    *(None, 7, "ab", {"7": 4}, [7, 4], [[7]], [[7, 4, 1]], [["7", 4]], [[7, "chair"]], [[None, 4]], [[[7], 4]]),
    *([[1.5, 4]], [[3.0, 4]], [[7, 4.0]], [[True, 4]], [[7, False]], [[-1, 4]], [[2**63, 4]], [[HUGE, 4]]),
    *([[7, 20]], [[7, -3]], [[7, 2**64]], [[8, 4], [7, 20]], [[float("nan"), 4]], [[7, 4]] * (MOST_CHANGES + 1)),
)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"changes": changes} for changes in BAD_CHANGES),
        *({"seconds": seconds} for seconds in (float("inf"), float("nan"), -0.5, "1", True, None, HUGE)),
        *({"room": room} for room in ("attic", "../scene0000_00", 0, None, [ROOM])),
        {"more": 1},
    ],
    ids=shown,
)
def test_an_action_that_is_wrong_anywhere_is_refused_by_its_number_and_changes_nothing(session, sent, wrong):
    picker = Picker(session)
    picker._receive(picker, action(1, [[7, 4]]), [])
    before = state_of(session)
    picker._receive(picker, {**action(5, [[9, 4]]), **wrong}, [])
    answer, _ = sent.pop()
    assert (answer["kind"], answer["number"]) == ("refused", 5) and len(answer["text"]) < 1000
    assert state_of(session) == before
    picker._receive(picker, action(5, [[8, 4]]), [])  # the same number in order: it was not answered as saved
    assert sent[-1][0]["clicks"] == [(7, 4), (8, 4)]


@pytest.mark.parametrize("number", [None, "5", 1.5, True, -1, 2**53, HUGE, [5], float("nan")], ids=shown)
def test_an_action_without_a_usable_number_is_refused(session, sent, number):
    picker = Picker(session)
    before = state_of(session)
    picker._receive(picker, {**action(1, [[7, 4]]), "number": number}, [])
    assert (sent[-1][0]["kind"], sent[-1][0]["number"]) == ("refused", None) and state_of(session) == before


def test_a_fault_of_ours_is_told_and_the_next_action_is_saved(session, sent, monkeypatch):
    picker = Picker(session)
    with monkeypatch.context() as broken:
        broken.setattr(session, "apply", lambda *arguments: 1 // 0)
        picker._receive(picker, action(1, [[7, 4]]), [])
    assert (sent[-1][0]["kind"], sent[-1][0]["number"]) == ("error", 1) and "ZeroDivisionError" in sent[-1][0]["text"]
    picker._receive(picker, action(1, [[7, 4]]), [])
    assert (sent[-1][0]["kind"], sent[-1][0]["clicks"]) == ("saved", [(7, 4)])


def test_a_room_that_cannot_be_sent_is_not_shown_from_then_on(session, rooms, sent):
    picker = Picker(session, {"scene0003_00": np.ones((1, 20)) / 20})
    picker._receive(picker, {"kind": "open", "index": 3}, [])
    assert sent[-1][0]["kind"] == "error" and "predictions of shape" in sent[-1][0]["text"]
    picker._receive(picker, {"kind": "open"}, [])
    assert sent[-1][0]["name"] == rooms[0].name


SCALARS = st.none() | st.booleans() | st.integers(-3, 10) | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
ANYTHING = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["open", "clock", "keep", "action", "saved"]) | VALUES,
        "point": st.integers(0, 30) | VALUES,
        "index": st.integers(-1, 5) | VALUES,
        "room": st.just(ROOM) | VALUES,
        "number": st.integers(0, 9) | VALUES,
        "changes": st.lists(st.lists(st.integers(-3, 30), min_size=2, max_size=2)) | VALUES,
        "seconds": st.floats(0, 100) | VALUES,
    },
)


@given(st.lists(ANYTHING, max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_between_good_messages_they_are_answered_and_saved(rooms, tmp_path_factory, sent, messages):
    session = Session(rooms, tmp_path_factory.mktemp("session") / "clicks.csv")
    picker = Picker(session)
    for number, message in enumerate(messages, start=10**6):
        before = state_of(session)
        del sent[:]
        picker._receive(picker, message, [])
        kinds = [content["kind"] for content, _ in sent]
        if kinds in (["error"], ["refused"]):
            assert state_of(session) == before
        else:  # a clock that was right is not answered
            assert kinds in ([], ["saved"], ["room"]) and isinstance(message, dict)
        if isinstance(message, dict) and message.get("kind") == "action":
            assert kinds in (["saved"], ["refused"]) and sent[0][0]["number"] in (message.get("number"), None)
        json.dumps([content for content, _ in sent], allow_nan=False)  # it can be sent
        picker._receive(picker, action(number, [[int(rooms[0].num_points) - 1, 4]], seconds=0), [])
        content, _ = sent.pop()
        assert (content["kind"], content["number"]) == ("saved", number)
        assert (rooms[0].num_points - 1, 4) in content["clicks"]
    again = Session(rooms, session.path)  # the file is what the session holds
    assert state_of(again)[0] == state_of(session)[0]


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
    assert message["rooms"] == [("scene0000_00", 1, 0), *((room.name, 0, 0) for room in rooms[1:])]
    decoded = np.frombuffer(positions, "<u2").reshape(-1, 3) * message["step"] + message["low"]
    assert np.abs(decoded - scene.coords).max() <= max(message["step"]) / 2 + 1e-6  # 0.02 mm in a room of 2.4 m
    np.testing.assert_array_equal(np.frombuffer(colors, np.uint8).reshape(-1, 3), scene.colors)
    np.testing.assert_array_equal(np.frombuffer(regions, "<u4"), scene.supervoxels)
    picker._receive(picker, {"kind": "open", "index": 3}, [])
    assert sent.pop()[0]["name"] == "scene0003_00"
    for index in (4, -1, 1.0, True, "1", None):
        with pytest.raises(OtocError, match="there is no room"):
            picker.show_room(index)


def test_a_region_of_no_class_is_told_as_such(session, rooms, sent):
    region = np.flatnonzero(rooms[0].supervoxels == np.bincount(rooms[0].supervoxels).argmax())
    picker = Picker(session)
    picker._receive(picker, action(1, [[int(region[0]), NO_CLASS]]), [])
    answer, _ = sent.pop()
    assert answer["clicks"] == [(region[0], NO_CLASS)] and answer["warning"] is None
    assert answer["labels"] == [(rooms[0].supervoxels[region[0]], NO_CLASS)]
    picker.refresh()
    picker._receive(picker, action(2, [[int(region[1]), 4]]), [])
    assert "clicked as none and chair" in sent[-1][0]["warning"]


def test_classes_have_the_colours_of_the_rooms(session, rooms, sent):
    picker = Picker(session)
    picker.refresh()
    classes = sent.pop()[0]["classes"]
    painted = rooms[0].label_set.paint(np.arange(20))  # as figures and labelled scans are
    np.testing.assert_array_equal(classes["colors"], painted)
    assert classes["none"] == NO_CLASS and len(classes["names"]) == 20


def test_the_browser_gets_the_triangles_where_there_are_some(rooms, tmp_path, sent):
    faces = np.array([[0, 1, 2], [2, 1, 3]], np.int32)

    def of_room(name):
        if name == rooms[2].name:
            raise OtocError("scan.ply: no such file")
        return {rooms[0].name: faces, rooms[3].name: faces + rooms[3].num_points}.get(name)

    picker = Picker(Session(rooms, tmp_path / "clicks.csv", faces=of_room))
    picker._send_room(0)
    message, buffers = sent.pop()
    assert message["faces"] == 2 and len(buffers) == 4
    np.testing.assert_array_equal(np.frombuffer(buffers[-1], "<u4").reshape(-1, 3), faces)
    for index, said in (
        (1, "Click each"),
        (2, "Drawn as points: scan.ply: no such file"),
        (3, "Drawn as points: the mesh"),
    ):
        picker._send_room(index)  # no mesh, a file that is gone, and the mesh of other data
        message, buffers = sent.pop()
        assert "faces" not in message and len(buffers) == 3 and said in message["text"]
    picker = Picker(picker.session, {rooms[0].name: np.full((rooms[0].num_supervoxels, 20), 0.05)})
    picker._send_room(0)
    assert len(sent.pop()[1]) == 5  # the prediction before the triangles


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
    region, point, label, given = message["proposals"][0]
    assert rooms[0].supervoxels[point] == region and label == probabilities[region].argmax() and given is None
    with pytest.raises(OtocError, match="predictions of shape"):
        Picker(session, {"scene0000_00": probabilities[1:]}).refresh()


def test_clicks_that_the_model_contradicts_are_asked_about_first_and_counted(session, rooms, sent):
    scene, other = rooms[:2]
    probabilities = np.full((scene.num_supervoxels, 20), 0.02)
    probabilities[:, 3] = 0.62  # the model takes everything for class 3,
    clicked = [int(np.flatnonzero(scene.supervoxels == region)[0]) for region in (2, 5, 6)]
    probabilities[6] = probabilities[6][np.r_[4, 3, 2, 1, 0, 5:20]]  # this one for class 1,
    probabilities[5, 7] = 0.5  # and is less sure of this one
    session.apply(scene.name, [(clicked[0], 9), (clicked[1], 7), (clicked[2], 1)])
    picker = Picker(
        session, {scene.name: probabilities, other.name: np.tile(probabilities[:1], (other.num_supervoxels, 1))}
    )
    session.apply(other.name, [(0, 3), (1, NO_CLASS)])  # agreed with; and no model knows "none"
    picker.show_room(0)
    message, _ = sent.pop()
    assert message["proposals"][:2] == [[2, clicked[0], 3, 9], [5, clicked[1], 3, 7]]
    assert {given for *_, given in message["proposals"][2:]} == {None}
    assert [tuple(room) for room in message["rooms"][:3]] == [
        (scene.name, 3, 2),
        (other.name, 2, 0),
        (rooms[2].name, 0, 0),
    ]


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
    unet, _ = control.train_baseline(Stages(config, Scenes(rooms[:2], {"val": rooms[2:3]}), control.BASELINE))
    made = predict_rooms(config, rooms[:2])
    networks = load_networks(config, control.METHOD, rooms[0], {"unet": unet})
    for scene in rooms[:2]:
        points = predict(config, scene, networks["unet"], None).probabilities.cpu().numpy()  # [N, C]
        for region in range(0, scene.num_supervoxels, 5):
            expected = points[scene.supervoxels == region].mean(axis=0)
            np.testing.assert_allclose(made[scene.name][region], expected, atol=1e-5)


def test_a_u_net_of_other_rooms_or_parameters_is_not_asked(rooms, tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    config = config_from({**TINY, "experiment": "e", "unet_steps": 2, "voxel_size": 0.2})
    control.train_baseline(Stages(config, Scenes(rooms[:2], {"val": rooms[2:3]}), control.BASELINE))
    assert predict_rooms(replace(config, eval_splits=["other"], threshold=0.1), rooms[:2])
    assert predict_rooms(replace(config, clicks_per_object=2), rooms[:2])  # as after a click by hand
    # Of a method of more iterations, which the params file had before, a U-Net of a later one may lie there, too.
    once = config_from({**TINY, "experiment": "e", "unet_steps": 2, "voxel_size": 0.2, "method": "pi_model"})
    shutil.copytree(config.run_folder / "unet_1", config.run_folder / "unet_2")
    with pytest.raises(OtocError, match="p/e: its U-Net was trained on other rooms, or with other parameters"):
        predict_rooms(replace(once, self_train_iterations=2), rooms[:2])
    for other, asked in ((replace(config, unet_steps=3), rooms[:2]), (config, rooms[:1]), (config, rooms[1:3])):
        with pytest.raises(OtocError, match="p/e: its U-Net was trained on other rooms, or with other parameters"):
            predict_rooms(other, asked)
