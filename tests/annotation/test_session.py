"""A session of labelling without a browser: every click is in the file at once, whatever happens next."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.annotation import session
from otoc_lib.annotation.clicks import expand_clicks, read_clicks, simulate_clicks
from otoc_lib.annotation.session import MOST_CHANGES, NOTHING, PAPER_SECONDS, Session, open_session
from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, NO_CLASS, SCANNET20

CHAIR, TABLE, WALL = (SCANNET20.index(name) for name in ("chair", "table", "wall"))


def saved(path, scenes) -> dict[str, list[tuple[int, int]]]:
    """What clicks.csv holds: room -> (vertex, class) of its clicks, for rooms that have some."""
    found = read_clicks(path, scenes)
    pairs = {name: list(zip(c.points.tolist(), c.classes.tolist(), strict=True)) for name, c in found.items()}
    return {name: clicks for name, clicks in pairs.items() if clicks}


def test_every_click_is_in_the_file_at_once(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    session = Session(rooms, path)
    assert saved(path, rooms) == {}
    session.click("scene0001_00", 5, "chair")
    assert saved(path, rooms) == {"scene0001_00": [(5, CHAIR)]}
    session.apply("scene0001_00", [(9, TABLE)])
    assert saved(path, rooms) == {"scene0001_00": [(5, CHAIR), (9, TABLE)]}
    instances = read_clicks(path, rooms)["scene0001_00"].objects
    assert instances.tolist() == rooms[1].instances[[5, 9]].tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == [".clicks.csv.lock", "clicks.csv"]


def test_undo_takes_back_the_last_click_of_a_room(rooms, tmp_path):
    session = Session(rooms, tmp_path / "clicks.csv")
    for point in (1, 2, 3):
        session.click("scene0000_00", point, "wall")
    session.click("scene0001_00", 4, "wall")
    session.undo("scene0000_00")
    session.undo("scene0002_00")  # there is nothing to undo
    assert saved(session.path, rooms) == {"scene0000_00": [(1, WALL), (2, WALL)], "scene0001_00": [(4, WALL)]}


CHANGES = st.lists(st.tuples(st.integers(0, 6), st.integers(NO_CLASS, 3)), max_size=4)


@given(st.lists(st.tuples(st.integers(0, 1), CHANGES), max_size=12), st.data())
@settings(max_examples=40, deadline=None)
def test_the_file_equals_the_changes_however_often_their_tail_is_repeated(rooms, tmp_path_factory, changes, data):
    """What a browser that heard no answer sends again, in its order, changes nothing."""
    path = tmp_path_factory.mktemp("session") / "clicks.csv"
    session = Session(rooms, path)
    expected: dict[str, dict[int, int]] = {}
    for room, change in changes:
        session.apply(rooms[room].name, change)
        made = expected.setdefault(rooms[room].name, {})
        for point, label in change:
            made.pop(point, None)
            if label != NOTHING:
                made[point] = label
    again = Session(rooms, path)  # of a new kernel
    for room, change in changes[data.draw(st.integers(0, len(changes))) :]:
        again.apply(rooms[room].name, change)
    assert {name: dict(clicks) for name, clicks in saved(path, rooms).items()} == {
        k: v for k, v in expected.items() if v
    }


def test_a_region_of_no_class_is_kept_undone_and_counted(rooms, tmp_path):
    scene, path = rooms[0], tmp_path / "clicks.csv"
    large, other = np.argsort(-np.bincount(scene.supervoxels))[:2].tolist()
    first, second = (int(np.flatnonzero(scene.supervoxels == region)[0]) for region in (large, other))
    session = Session(rooms, path)
    session.click(scene.name, first, "none")
    session.apply(scene.name, [(second, CHAIR)])
    assert saved(path, rooms) == {scene.name: [(first, NO_CLASS), (second, CHAIR)]}
    again = Session(rooms, path)  # of a new kernel
    assert again.labels_of(scene.name) == {large: NO_CLASS, other: CHAIR} and again.resume_at() == 1
    (row,) = again.report()
    sizes = np.bincount(scene.supervoxels)
    assert row["clicks"] == 2 and row["no_class_percent"] == pytest.approx(100 * sizes[large] / scene.num_points)
    assert row["covered_percent"] == pytest.approx(100 * sizes[other] / scene.num_points)
    assert f"| {row['covered_percent']:.1f} % | {row['no_class_percent']:.1f} % |" in again._repr_markdown_()
    again.apply(scene.name, [(first, NOTHING)])  # undo
    assert saved(path, rooms) == {scene.name: [(second, CHAIR)]}
    again.apply(scene.name, [(first, NO_CLASS)])  # redo
    again.apply(scene.name, [(int(np.flatnonzero(scene.supervoxels == large)[1]), TABLE)])
    assert again.mixed(scene.name) == {large: ("none", "table")}
    again.undo(scene.name)
    assert saved(path, rooms) == {scene.name: [(second, CHAIR), (first, NO_CLASS)]}


def test_a_new_session_goes_on_where_the_last_one_stopped(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    first = Session(rooms, path)
    first.apply("scene0000_00", [(3, CHAIR)], seconds=12.25)
    second = Session(rooms, path)
    assert second.resume_at() == 1 and second.seconds_of("scene0000_00") == 12.2
    second.apply("scene0000_00", [(4, TABLE)], seconds=3.0)  # a clock that started again does not take time away
    assert second.seconds_of("scene0000_00") == 12.2
    assert saved(path, rooms) == {"scene0000_00": [(3, CHAIR), (4, TABLE)]}


def test_the_simulated_clicks_can_be_corrected(rooms, tmp_path):
    initial = {scene.name: simulate_clicks(scene, 1, 0) for scene in rooms}
    session = Session(rooms, tmp_path / "clicks.csv", initial)
    name = rooms[0].name
    before = list(zip(initial[name].points.tolist(), initial[name].classes.tolist(), strict=True))
    assert saved(session.path, rooms)[name] == before
    session.apply(name, [(before[0][0], NOTHING), (before[1][0], CHAIR)])
    assert saved(session.path, rooms)[name] == [*before[2:], (before[1][0], CHAIR)]
    again = Session(rooms, session.path, initial)  # what was corrected stays corrected
    assert saved(again.path, rooms)[name] == [*before[2:], (before[1][0], CHAIR)]


def test_rooms_that_are_not_opened_keep_their_clicks_and_seconds(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    everything = Session(rooms, path)
    everything.apply("scene0003_00", [(7, TABLE)], seconds=40)
    some = Session(rooms[:2], path)
    some.apply("scene0000_00", [(1, WALL)], seconds=5)
    assert saved(path, rooms) == {"scene0000_00": [(1, WALL)], "scene0003_00": [(7, TABLE)]}
    assert json.loads(some.seconds_path.read_text()) == {"scene0000_00": 5.0, "scene0003_00": 40.0}


def test_two_classes_in_one_super_voxel_are_named(rooms, tmp_path):
    scene = rooms[0]
    region = int(np.bincount(scene.supervoxels).argmax())
    points = np.flatnonzero(scene.supervoxels == region)
    session = Session(rooms, tmp_path / "clicks.csv")
    session.click(scene.name, int(points[0]), "chair")
    session.click(scene.name, int(points[1]), "chair")
    assert session.mixed(scene.name) == {}
    session.click(scene.name, int(points[2]), "table")
    assert session.mixed(scene.name) == {region: ("chair", "table")}
    assert session.labels_of(scene.name) == {region: CHAIR}


def test_the_class_of_a_super_voxel_is_the_one_that_training_gets(rooms, tmp_path):
    scene = rooms[0]
    clicks = simulate_clicks(scene, 3, 1)
    session = Session(rooms, tmp_path / "clicks.csv", {scene.name: clicks})
    labels = expand_clicks(scene, clicks)
    given = session.labels_of(scene.name)
    assert set(given) == set(scene.supervoxels[clicks.points].tolist())
    for region, label in given.items():
        members = np.flatnonzero(scene.supervoxels == region)
        rest = np.setdiff1d(members, clicks.points)
        assert set(labels[rest].tolist()) <= {label} and label != IGNORE


@pytest.mark.parametrize("change", [(10**6, 0), (-1, 0), (0, 20), (0, -3), (0, IGNORE)])
def test_a_click_on_other_data_is_refused_and_changes_nothing(rooms, tmp_path, change):
    session = Session(rooms, tmp_path / "clicks.csv")
    session.click("scene0000_00", 0, "wall")
    with pytest.raises(OtocError, match="scene0000_00: no vertex"):
        session.apply("scene0000_00", [(1, CHAIR), change])
    assert saved(session.path, rooms) == {"scene0000_00": [(0, WALL)]}
    with pytest.raises(OtocError, match="no room 'attic'"):
        session.apply("attic", [(1, CHAIR)])
    with pytest.raises(OtocError, match="unknown class 'cat'"):
        session.click("scene0000_00", 1, "cat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("scene,point\nscene0000_00,1\n", "line 1: no column x"),
        ("scene,point,x,y,z,class,object\nscene0000_00,1,9,9,9,wall,-1\n", "line 2: .*clicks of other data"),
        ("scene,point,x,y,z,class,object\nscene0000_00,1,0,0\n", "line 2: has nothing in z, class, object"),
    ],
)
def test_a_wrong_file_is_refused_and_left_as_it_is(rooms, tmp_path, content, message):
    path = tmp_path / "clicks.csv"
    path.write_text(content)
    with pytest.raises(OtocError, match=message):
        Session(rooms, path)
    assert path.read_text() == content


@pytest.mark.parametrize(
    "damaged",
    [
        '{"scene0000_00": ',
        "[1]",
        "[" * 100_000,
        *(f'{{"other": {value}}}' for value in ("NaN", "1e400", "-1", '"9"', "null", "9" * 400, "9" * 5000)),
    ],
)
def test_a_damaged_clock_costs_no_click(rooms, tmp_path, damaged):
    session = Session(rooms, tmp_path / "clicks.csv")
    session.apply("scene0000_00", [(1, WALL)], seconds=9)
    session.seconds_path.write_text(damaged)
    with pytest.warns(UserWarning, match="the clocks start again"):
        again = Session(rooms, session.path)
    assert again.seconds_of("scene0000_00") == 0 and len(again.clicks_of("scene0000_00")) == 1
    again.spend("scene0000_00", 5)
    assert Session(rooms, session.path).seconds_of("scene0000_00") == 5


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from conftest import make_room
from otoc_lib.annotation.session import Session
rooms = [make_room(f"scene{{index:04d}}_00", seed=index) for index in range(2)]
session = Session(rooms, {path!r})
for point in range(10**6):
    session.apply("scene0000_00", [(point % 500, 0)])
    print(point, flush=True)
"""


def test_a_killed_kernel_loses_no_click(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    script = KILLED.format(tests=os.path.dirname(os.path.dirname(__file__)), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline() for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    said = int(lines[-1])
    points = {point for point, _ in saved(path, rooms)["scene0000_00"]}
    assert set(range(said + 1)) <= points <= set(range(said + 2))  # one may be saved and not yet said


def test_the_report_stands_beside_the_papers_numbers(rooms, tmp_path):
    session = Session(rooms, tmp_path / "clicks.csv")
    session.apply("scene0002_00", [(0, CHAIR), (300, TABLE)], seconds=75)
    (row,) = session.report()
    assert (row["room"], row["clicks"], row["seconds"]) == ("scene0002_00", 2, 75)
    labels = expand_clicks(rooms[2], session.clicks_of("scene0002_00"))
    assert row["covered_percent"] == pytest.approx(100 * (labels >= 0).mean())
    table = session._repr_markdown_()
    assert f"they are in `{tmp_path / 'clicks.csv'}`" in table
    assert "| scene0002_00 | 2 | 1:15 |" in table and PAPER_SECONDS == 120 and "| *paper* | 19.74 | 2:00 |" in table


def test_where_the_clicks_of_an_experiment_go(rooms, tmp_path, monkeypatch):
    for folder in ("params", "notebooks", "data"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    values = {"profile": "p", "experiment": "e", "data_root": "data/scannet_rooms"}
    assert open_session(config_from(values), rooms).path == tmp_path / "data" / "clicks" / "scannet_rooms.csv"
    values |= {"source": "file", "clicks_file": "mine.csv"}
    session = open_session(config_from(values), rooms, simulated=True)
    assert session.path == tmp_path / "mine.csv" and len(session.labelled) == len(rooms)


def test_a_session_needs_a_room(tmp_path):
    with pytest.raises(OtocError, match="at least one room"):
        Session([], tmp_path / "clicks.csv")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda session: session.apply("attic", [(1, WALL)]),
        lambda session: session.apply(["scene0000_00"], [(1, WALL)]),
        lambda session: session.apply("scene0000_00", [(1, WALL), (2.0, WALL)]),
        lambda session: session.apply("scene0000_00", [(1, True)]),
        lambda session: session.apply("scene0000_00", [(2**63, WALL)]),
        lambda session: session.apply("scene0000_00", [1, WALL]),
        lambda session: session.apply("scene0000_00", [(1, WALL)] * (MOST_CHANGES + 1)),
        lambda session: session.apply("scene0000_00", [(1, WALL)], seconds=float("inf")),
        lambda session: session.apply("scene0000_00", [(1, WALL)], seconds="3"),
        lambda session: session.click("scene0000_00", 1.5, "wall"),
        lambda session: session.click("scene0000_00", "1", "wall"),
        lambda session: session.click("scene0000_00", 1, ["wall"]),
        lambda session: session.spend("scene0000_00", float("nan")),
        lambda session: session.spend("scene0000_00", -1),
        lambda session: session.spend("scene0000_00", 10**400),
    ],
)
def test_what_is_no_click_or_time_is_refused_and_changes_nothing(rooms, tmp_path, wrong):
    session = Session(rooms, tmp_path / "clicks.csv")
    session.apply("scene0000_00", [(np.int64(3), np.int16(CHAIR))], seconds=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OtocError):
        wrong(session)
    assert saved(session.path, rooms) == {"scene0000_00": [(3, CHAIR)]} and session.seconds_of("scene0000_00") == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    session.click("scene0000_00", 4, "table")
    assert saved(session.path, rooms) == {"scene0000_00": [(3, CHAIR), (4, TABLE)]}


@pytest.mark.parametrize(
    "text", ["{", "[1]", "\x00", '{"a": NaN}', '{"a": -1}', '{"a": 1e999}', '{"a": "1"}', f'{{"a": 1{"0" * 400}}}']
)
def test_damaged_clocks_cost_the_times_alone(rooms, tmp_path, text):
    (tmp_path / "clicks.seconds.json").write_text(text)
    with pytest.warns(UserWarning, match="clicks.seconds.json: damaged; the clocks start again"):
        session = Session(rooms, tmp_path / "clicks.csv")
    session.apply("scene0000_00", [(3, CHAIR)], seconds=2)
    assert json.loads(session.seconds_path.read_text()) == {"scene0000_00": 2.0}


def test_clicks_that_were_kept_stay_so_until_their_class_changes(rooms, tmp_path):
    session = Session(rooms, tmp_path / "clicks.csv")
    session.apply("scene0000_00", [(3, CHAIR), (4, TABLE)])
    session.apply("scene0001_00", [(3, NO_CLASS)])
    session.keep("scene0000_00", 3)
    another = Session(rooms, session.path)
    another.keep("scene0001_00", 3)
    session.keep("scene0000_00", 4)
    for opened in (session, Session(rooms, session.path)):
        assert [opened.kept(room.name) for room in rooms[:3]] == [{3, 4}, {3}, set()]
    session.apply("scene0000_00", [(3, WALL), (4, NOTHING)])
    assert session.kept("scene0000_00") == set()
    session.apply("scene0000_00", [(3, CHAIR)])
    assert session.kept("scene0000_00") == {3}  # the class that somebody saw to be right
    for point in (4, 10**9, -1, "3", True, None, [3]):
        with pytest.raises(OtocError, match="scene scene0000_00: no click at vertex .* to be kept"):
            session.keep("scene0000_00", point)
    with pytest.raises(OtocError, match="no room 'x'"):
        session.keep("x", 3)


@pytest.mark.parametrize("text", ["{", "[1]", "\x00", '{"a": [1]}', '{"a": {"3": 1}}', '{"a": "3"}', "null"])
def test_a_damaged_file_of_what_was_kept_costs_no_click(rooms, tmp_path, text):
    (tmp_path / "clicks.kept.json").write_text(text)
    with pytest.warns(UserWarning, match="clicks.kept.json: damaged; the clicks that were kept are asked about again"):
        session = Session(rooms, tmp_path / "clicks.csv")
    session.apply("scene0000_00", [(3, CHAIR)])
    with pytest.warns(UserWarning, match="damaged"):
        session.keep("scene0000_00", 3)
    assert json.loads((tmp_path / "clicks.kept.json").read_text()) == {"scene0000_00": {"3": "chair"}}


def test_sessions_of_several_processes_keep_each_others_rooms(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    one, two = Session(rooms, path), Session(rooms, path)
    first, second = rooms[0].name, rooms[1].name
    one.apply(first, [(3, 1)], seconds=5.0)
    two.apply(second, [(4, 2)], seconds=7.0)
    one.apply(first, [(5, 1)], seconds=9.0)
    kept = Session(rooms, path)
    assert kept.clicks_of(first).points.tolist() == [3, 5] and kept.clicks_of(second).points.tolist() == [4]
    assert kept.seconds_of(first) == 9.0 and kept.seconds_of(second) == 7.0
    assert one.clicks_of(second).points.tolist() == [4]  # it has caught up


def test_a_click_while_another_session_opens_is_not_lost(rooms, tmp_path, monkeypatch):
    path = tmp_path / "clicks.csv"
    one, first, second = Session(rooms, path), rooms[0].name, rooms[1].name
    one.apply(first, [(3, 1)])
    click = threading.Thread(target=one.apply, args=(second, [(4, 2)]))
    read = session.read_clicks_among_others

    def read_and_linger(*arguments):
        found = read(*arguments)
        if not click.ident:
            click.start()
            click.join(0.5)  # it has to wait now; where it does not, it is done long before
        return found

    monkeypatch.setattr(session, "read_clicks_among_others", read_and_linger)
    Session(rooms, path)
    click.join()
    assert saved(path, rooms) == {first: [(3, 1)], second: [(4, 2)]}
    one.apply(second, [(5, 2)])  # and nothing looks changed to the session that clicked


def test_a_room_that_another_session_changed_is_refused_and_stays(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    one, two = Session(rooms, path), Session(rooms, path)
    name = rooms[0].name
    one.apply(name, [(3, 1)])
    before = path.read_bytes()
    with pytest.raises(OtocError, match=rf"clicks\.csv: the clicks of {name} were changed by another program since"):
        two.apply(name, [(4, 2)])
    assert path.read_bytes() == before and not len(two.clicks_of(name))
    two.apply(rooms[1].name, [(4, 2)])  # its other rooms go on
    assert Session(rooms, path).clicks_of(name).points.tolist() == [3]


def test_a_file_that_was_damaged_meanwhile_is_left_as_it_is(rooms, tmp_path):
    path = tmp_path / "clicks.csv"
    session = Session(rooms, path)
    path.write_text("scene;point\n")
    with pytest.raises(OtocError, match=r"clicks\.csv"):
        session.apply(rooms[0].name, [(3, 1)])
    assert path.read_text() == "scene;point\n"
