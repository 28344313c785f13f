"""Sets of classes of balls: they cover the room, say what is in them alone, and come back from their file."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from otoc_lib.annotation.subclouds import (
    Subclouds,
    cut_subclouds,
    read_subclouds,
    subcloud_statistics,
    write_subclouds,
)
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE


def moved(room):
    return replace(room, origin=np.array([412.3, -7.25, 1e-3]))


@pytest.mark.parametrize("radius", [0.2, 0.37, 0.5, 1.0, 1.3, 2.5, 40.0, np.inf])
def test_the_balls_cover_every_point_whatever_their_radius(rooms, radius):
    for room in (rooms[0], moved(rooms[1])):
        balls = cut_subclouds(room, radius)
        tree = cKDTree(balls.centres)
        distances = tree.query(room.coords + room.origin)[0]
        assert distances.max() <= max(radius * np.sqrt(3) / 2, 0) + 1e-6
        inside = [balls.points(room, ball) for ball in range(len(balls))]
        assert all(len(points) for points in inside)
        assert np.array_equal(np.unique(np.concatenate(inside)), np.arange(room.num_points))


@pytest.mark.parametrize("radius", [0.4, 1.0])
def test_a_ball_holds_the_classes_of_its_points(rooms, radius):
    for room in (rooms[0], moved(rooms[1])):
        balls = cut_subclouds(room, radius)
        near = cKDTree(room.coords + room.origin).query_ball_point(balls.centres, radius)
        for ball, points in enumerate(near):
            assert sorted(points) == balls.points(room, ball).tolist()
            true = set(room.labels[points].tolist()) - {IGNORE}
            assert set(np.flatnonzero(balls.present[ball]).tolist()) == true


def test_without_the_points_of_a_class_no_ball_holds_it(rooms):
    room, floor = rooms[0], 1
    bare = replace(room, labels=np.where(room.labels == floor, IGNORE, room.labels).astype(np.int16))
    full, without = cut_subclouds(room, 0.6), cut_subclouds(bare, 0.6)
    assert full.present[:, floor].any() and not without.present[:, floor].any()
    np.testing.assert_array_equal(np.delete(full.present, floor, 1), np.delete(without.present, floor, 1))


def test_the_room_is_one_ball_of_its_classes(rooms):
    for room in rooms[:2]:
        whole = cut_subclouds(room, np.inf)
        assert len(whole) == 1 and whole.points(room, 0).tolist() == list(range(room.num_points))
        assert np.flatnonzero(whole.present[0]).tolist() == sorted(set(room.labels.tolist()) - {IGNORE})


def test_they_come_back_from_their_file_bit_by_bit(rooms, tmp_path):
    scenes = [rooms[0], moved(rooms[1])]
    for radius in (0.7, np.inf):
        balls = {scene.name: cut_subclouds(scene, radius) for scene in scenes}
        write_subclouds(tmp_path / "subclouds.csv", balls, scenes)
        read = read_subclouds(tmp_path / "subclouds.csv", scenes)
        for name, own in balls.items():
            assert read[name].radius == own.radius
            np.testing.assert_array_equal(read[name].centres, own.centres)
            np.testing.assert_array_equal(read[name].present, own.present)


def test_statistics_of_two_balls_by_hand(rooms):
    room = rooms[0]
    low = room.coords.min(axis=0) - 100.0
    far = np.stack([low, low]).astype(np.float64)  # no point is near
    present = np.zeros((2, 20), dtype=bool)
    present[0, [0, 1]] = True
    found = subcloud_statistics([room], {room.name: Subclouds(far, 1.0, present)})
    classes = len(set(room.labels.tolist()) - {IGNORE})
    assert found["classes_missed_percent"] == pytest.approx(100 * (classes - 2) / classes)
    assert (found["balls_per_scene"], found["classes_per_ball"], found["in_balls_percent"]) == (2.0, 1.0, 0.0)
    assert (found["single_class_percent"], found["classless_percent"]) == (0.0, 50.0)
    covered = subcloud_statistics([room], {room.name: cut_subclouds(room, 0.5)})
    assert covered["in_balls_percent"] == 100 and covered["classes_missed_percent"] == 0
    assert covered["single_class_percent"] > 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("nowhere,0,0,0,1.0,wall", "line 2: not a ball of these rooms"),
        ("{},0,0,0,1.0,wall;ceiling", "line 2: not a ball"),
        ("{},0,0,zero,1.0,wall", "line 2: not a ball"),
        ("{},0,0,0", "line 2: has nothing in radius, classes"),
        ("{0},0,0,0,1.0,wall\n{0},0,0,0,2.0,wall", "not of one radius"),
        ("", "are none"),
    ],
)
def test_a_file_that_is_none_is_named(rooms, tmp_path, row, words):
    path = tmp_path / "subclouds.csv"
    path.write_text("scene,x,y,z,radius,classes\n" + row.format(rooms[0].name) + "\n")
    with pytest.raises(OtocError, match=words) as error:
        read_subclouds(path, rooms[:1])
    assert str(error.value).startswith(str(path))


def test_a_class_whose_name_would_be_read_as_two_is_refused_before_it_is_written(rooms, tmp_path):
    names = ("a", "b", "a;b", *rooms[0].label_set.names[3:])
    room = replace(rooms[0], label_set=replace(rooms[0].label_set, names=names))
    with pytest.raises(OtocError, match=r"the class 'a;b': ';' parts the classes of subclouds\.csv"):
        write_subclouds(tmp_path / "subclouds.csv", {room.name: cut_subclouds(room, 1.0)}, [room])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_cut_is_refused(rooms):
    with pytest.raises(OtocError, match="has no labels to take the classes"):
        cut_subclouds(replace(rooms[0], labels=None), 1.0)
    for radius in (0.0, -1.0, np.nan):
        with pytest.raises(OtocError, match="metres above 0"):
            cut_subclouds(rooms[0], radius)
