from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.datasets import bundled_areas, bundled_rooms
from otoc_lib.datasets.scan_axes import FEWEST_POINTS, METRES, TURNS, find_axes, guess_up

ROOT = Path(__file__).parents[2]
GENERATOR = np.random.default_rng(0)

# Where x, y and z of a room with z up are in a file with another axis up, by hand: column and sign of each.
IN_FILE = {
    "z": ((0, 1), (1, 1), (2, 1)),
    "y": ((0, 1), (2, 1), (1, -1)),  # x stays, z becomes y, -y becomes z
    "x": ((2, 1), (0, 1), (1, 1)),
    "-z": ((0, 1), (1, -1), (2, -1)),
    "-y": ((0, 1), (2, -1), (1, 1)),
    "-x": ((2, -1), (1, 1), (0, 1)),
}


def in_file(room, up):
    return np.stack([sign * room[:, column] for column, sign in IN_FILE[up]], axis=1)


def plane(corner, one, other, count=4000):
    shares = GENERATOR.random((count, 2))
    return np.array(corner, float) + shares[:, :1] * np.array(one) + shares[:, 1:] * np.array(other)


FLOOR = plane((0, 0, 0), (5, 0, 0), (0, 4, 0), 8000)
WALLS = np.concatenate(
    [plane((0, y, 0), (5, 0, 0), (0, 0, 2.7)) for y in (0, 4)]
    + [plane((x, 0, 0), (0, 4, 0), (0, 0, 2.7)) for x in (0, 5)]
)
TABLE = plane((1, 1, 0.7), (1.5, 0, 0), (0, 0.8, 0), 1500)
ROOM = np.concatenate([FLOOR, WALLS, TABLE])


def turned(points, degrees):
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])


# --- which axis is up


@pytest.mark.parametrize("up", ["z", "y", "x"])
@pytest.mark.parametrize(("degrees", "ceiling"), [(0, False), (25, False), (25, True)])
def test_the_floor_says_which_axis_is_up(up, degrees, ceiling):
    room = turned(np.concatenate([ROOM, FLOOR + [0, 0, 2.7]]) if ceiling else ROOM, degrees)
    axes = find_axes(in_file(room, up))
    assert (axes.up, axes.up_from, axes.unit) == (up, "its floor", "m")
    np.testing.assert_allclose(axes.to_metres(in_file(room, up)), room, atol=1e-12)
    assert len(axes.told) == (up != "z")
    assert all("set up_axis if this is wrong" in sentence for sentence in axes.told)


@pytest.mark.parametrize(
    "points",
    [
        np.concatenate([plane((0, 0, 0), (1.5, 0, 0), (0, 1.5, 0)), plane((0, 0, 0), (1.5, 0, 0), (0, 0, 1.5))]),
        plane((0, 0, 0), (4, 0, 0), (0, 0, 2.5)) + GENERATOR.normal(scale=0.003, size=(4000, 3)),  # one wall
        GENERATOR.normal(size=(4000, 3)),
    ],
    ids=["floor and wall", "a wall", "a cloud"],
)
def test_what_could_be_either_way_is_not_turned(points):
    axes = find_axes(points)
    assert (axes.up, axes.up_from) == ("z", "nothing")
    assert "which axis is up is not sure from its points" in axes.told[0]
    assert axes.to_metres(points) is points


def test_a_box_with_a_ceiling_is_never_turned_the_wrong_way():
    for size in np.random.default_rng(1).uniform([3, 3, 2.3], [6, 6, 3], (8, 3)):
        shell = GENERATOR.random((12_000, 3))
        faces = np.arange(12_000)
        shell[faces, faces % 3] = np.rint(shell[faces, faces % 3])
        for up in "zyx":
            assert find_axes(in_file(shell * size, up)).up in ("z", up)


@pytest.mark.parametrize("up", ["z", "y", "x"])
def test_bundled_rooms_are_turned_right(up):
    rooms = [bundled_rooms.read(path).vertices for path in sorted((ROOT / "data" / "rooms").glob("*.xz"))[:4]]
    areas = sorted((ROOT / "data" / "rooms_s3dis").glob("*.xz"))[:3]
    rooms += [turned(bundled_areas.read(path).points, 25) for path in areas]
    for room in rooms:
        assert find_axes(in_file(room.astype(np.float64), up)).up == up


def test_few_points_say_nothing():
    axes = find_axes(ROOM[: FEWEST_POINTS - 1])
    assert (axes.up, axes.unit, axes.up_from, axes.told) == ("z", "m", "nothing", ())
    assert find_axes(np.zeros((1, 3))).to_file is None
    assert guess_up(np.zeros((1000, 3)))[1] == 0


def test_a_format_that_says_it_is_believed():
    axes = find_axes(in_file(ROOM, "y"), said_up="y", said_unit="m")
    assert (axes.up, axes.up_from, axes.unit_from, len(axes.told)) == ("y", "the format", "the format", 1)
    axes = find_axes(ROOM, said_up="y", said_unit="m")  # written without turning it
    assert axes.up == "y" and "set up_axis: z if the program that wrote it did not turn it" in axes.told[1]


@pytest.mark.parametrize("up", IN_FILE)
def test_what_the_user_says_is_done_without_a_word(up):
    axes = find_axes(in_file(ROOM, up), up_axis=up, unit="m", said_up="y")
    assert (axes.up, axes.up_from, axes.told) == (up, "up_axis", ())
    np.testing.assert_array_equal(axes.to_metres(in_file(ROOM, up)), ROOM)
    back = ROOM if axes.to_file is None else ROOM @ axes.to_file
    np.testing.assert_array_equal(back, in_file(ROOM, up))
    assert np.linalg.det(np.array(TURNS[up])) == 1  # nothing is mirrored


@settings(max_examples=50, deadline=None)
@given(
    up=st.sampled_from(sorted(TURNS)),
    unit=st.sampled_from(sorted(METRES)),
    point=st.lists(st.integers(-(10**10), 10**10), min_size=3, max_size=3),
)
def test_positions_go_there_and_back(up, unit, point):
    """Map coordinates in millimetres."""
    file = np.array([point], dtype=np.float64) / 1000
    axes = find_axes(file, up_axis=up, unit=unit)
    room = axes.to_metres(file)
    np.testing.assert_allclose(np.linalg.norm(room), np.linalg.norm(file) * METRES[unit], rtol=1e-12)
    back = room if axes.to_file is None else room @ axes.to_file
    np.testing.assert_allclose(back, file, rtol=1e-14, atol=0)
    if unit == "m":
        np.testing.assert_array_equal(back, file)


# --- in what unit


@pytest.mark.parametrize("up", ["z", "y"])
@pytest.mark.parametrize("unit", ["m", "mm", "cm", "in"])
def test_the_size_of_a_room_says_its_unit(unit, up):
    room = ROOM * [1, 1, 1]
    axes = find_axes(in_file(room, up) / METRES[unit])
    assert (axes.unit, axes.unit_from) == (unit, "its size")
    np.testing.assert_allclose(axes.to_metres(in_file(room, up) / METRES[unit]), room, atol=1e-9)
    assert sum(f"as a room is in {unit}" in sentence for sentence in axes.told) == (unit != "m")


def test_feet_look_like_a_hall_so_nothing_is_scaled():
    axes = find_axes(ROOM / METRES["ft"])
    assert axes.unit == "m" and " m high if its unit is m; set unit: ft" in axes.told[0]
    assert find_axes(ROOM / METRES["ft"], unit="ft").told == ()


@pytest.mark.parametrize("factor, perhaps", [(1e-3, ""), (8, ", perhaps ft or in"), (1e6, "")])
def test_a_size_of_no_unit_is_told(factor, perhaps):
    axes = find_axes(ROOM * factor)
    assert (axes.unit, axes.unit_from) == ("m", "nothing")
    assert f"its unit is unclear{perhaps}, nothing is scaled; set unit" in axes.told[0]
    assert axes.refused == (axes.told[0] if factor == 1e6 else "")  # the others take no more than a hall does
    assert find_axes(ROOM * factor, unit="m").refused == find_axes(ROOM * factor, said_unit="m").refused == ""


def test_a_room_whose_scan_ends_below_the_ceiling_is_perhaps_in_the_one_unit_that_fits():
    axes = find_axes(ROOM * [1000, 1000, 550])  # 1.5 m high in millimetres
    assert axes.unit == "m" and "its unit is unclear, perhaps mm, nothing is scaled; set unit" in axes.told[-1]


def test_units_that_fit_alike_are_named():
    axes = find_axes(ROOM * [75, 75, 74])  # 200 high: 2 m in centimetres, 5 in inches
    assert axes.unit == "m" and "perhaps cm or in" in axes.told[-1]


def test_a_unit_that_the_file_names_is_told_and_one_that_cannot_be_is_too():
    axes = find_axes(ROOM / METRES["ft"], said_unit="ft")
    assert axes.unit == "ft" and "is in ft by its own word" in axes.told[0]
    axes = find_axes(ROOM * 1000, said_unit="m")
    assert axes.unit == "m" and "spans 5000 m in m; set unit: mm" in axes.told[0]
