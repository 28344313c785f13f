import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_formats import pcd

from otoc_lib.datasets.pcd import read_pcd
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = np.round(GENERATOR.uniform(-3, 3, (40, 3)), 3).astype("f4")
COLORS = GENERATOR.integers(0, 256, (40, 3), dtype=np.uint8)
KINDS = ("ascii", "binary", "binary_compressed")


def table_of(points=POINTS, colors=COLORS, rgb="u4", coordinate="f4", more=()):
    kinds = [(axis, coordinate) for axis in "xyz"] + ([("rgb", rgb)] if colors is not None else [])
    table = np.zeros(len(points), [*kinds, *more])
    for axis, values in zip("xyz", points.T, strict=True):
        table[axis] = values
    if colors is not None:
        red, green, blue = colors.astype(np.uint32).T
        packed = (red << 16) | (green << 8) | blue
        table["rgb"] = packed.view("f4") if rgb == "f4" else packed
    return table


def read(tmp_path, data):
    path = tmp_path / "room.pcd"
    path.write_bytes(data)
    return read_pcd(path)


def stacked(vertices, names):
    return np.stack([vertices.columns[name] for name in names], axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rgb", ["f4", "u4"])
@pytest.mark.parametrize("coordinate", ["f4", "f8"])
def test_points_and_packed_colours(tmp_path, kind, rgb, coordinate):
    offset = 5_412_345.0 if coordinate == "f8" else 0.0
    points = POINTS.astype("f8") + offset
    more = [("normal", "f4", (3,)), ("ring", "u2"), ("_", "u1", (3,))]  # as programs write beside them
    vertices = read(tmp_path, pcd(table_of(points, rgb=rgb, coordinate=coordinate, more=more), kind))
    np.testing.assert_array_equal(stacked(vertices, "xyz"), points)
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), COLORS)
    assert vertices.unread == ("normal",) and set(vertices.columns) == {*"xyz", "red", "green", "blue", "ring"}
    assert read_scan(tmp_path / "room.pcd").colors.tolist() == COLORS.tolist()


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=600).map(lambda part: (part * 3)[:1200]))
def test_whatever_is_compressed_comes_out(tmp_path_factory, data):
    """By a compressor of the test's own, of bytes with and without repeats."""
    table = np.zeros(max(len(data) // 4, 1), [("x", "u1"), ("y", "u1"), ("z", "u1"), ("label", "u1")])
    table.view("u1")[: len(data) // 4 * 4] = np.frombuffer(data[: len(data) // 4 * 4], "u1")
    vertices = read(tmp_path_factory.mktemp("pcd"), pcd(table, "binary_compressed"))
    for name in table.dtype.names:
        np.testing.assert_array_equal(vertices.columns[name], table[name])


@pytest.mark.parametrize("kind", KINDS)
def test_points_without_a_position_are_left_out_and_told(tmp_path, kind):
    points = POINTS.copy()
    points[[0, 7]], points[20, 1] = np.nan, -np.nan
    vertices = read(tmp_path, pcd(table_of(points), kind, height=4))  # an image of depths
    there = np.setdiff1d(np.arange(40), [0, 7, 20])
    np.testing.assert_array_equal(stacked(vertices, "xyz"), points[there])
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), COLORS[there])
    assert vertices.told == ("3 of its 40 points have no position (NaN, as PCD marks them) and are left out",)


def test_ascii_as_people_write_it(tmp_path):
    """No comments, no COUNT, no HEIGHT, blanks and tabs as it comes, capitals; text after it would be an error."""
    text = (
        b"VERSION .7\r\nFIELDS x y z intensity\r\nSIZE 4 4 4 4\r\nTYPE F F F F\r\nWIDTH 2\r\nPOINTS 2\r\nDATA ascii\r\n"
    )
    vertices = read(tmp_path, text + b"1  2\t3 0.5\r\n -1 NaN 3 nan \r\n")
    assert {name: values.tolist() for name, values in vertices.columns.items()} == {
        "x": [1.0],
        "y": [2.0],
        "z": [3.0],
        "intensity": [0.5],
    }


def test_a_viewpoint_is_told(tmp_path):
    data = pcd(table_of(), "binary").replace(b"VIEWPOINT 0 0 0 1", b"VIEWPOINT 1 2 3 1")
    vertices = read(tmp_path, data)
    assert "viewpoint" in vertices.told[0]
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((b"DATA", b"DATE"), "is no line of a PCD header"),
        ((b"# .PCD v0.7", b"x .PCD v0.7"), "not a PCD file"),
        ((b"DATA binary", b"DATA zipped"), "its data are 'zipped'"),
        ((b"TYPE F", b"TYPE Q"), "its types and sizes"),
        ((b"SIZE 4 4", b"SIZE 4"), "are not 4 whole numbers"),
        ((b"FIELDS x y", b"FIELDS x x"), "names 'x' twice"),
        ((b"POINTS 40", b"POINTS 41"), "41 points and a width and height of 40"),
        ((b"WIDTH 40\nHEIGHT 1", b"WIDTH 4000000000\nHEIGHT 9"), "a width and height"),
        ((b"FIELDS x y z rgb\n", b""), "it lacks 'FIELDS'"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, change, words):
    with pytest.raises(OtocError, match="room.pcd") as error:
        read(tmp_path, pcd(table_of(), "binary").replace(*change))
    assert words in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused(tmp_path, kind):
    whole = pcd(table_of(), kind)
    for size in (10, 150, whole.index(b"DATA") + 3, len(whole) - 30):
        with pytest.raises(OtocError, match="room.pcd"):
            read(tmp_path, whole[:size])


@pytest.mark.parametrize("kind", KINDS)
def test_counts_that_the_file_cannot_hold_are_refused(tmp_path, kind):
    data = pcd(table_of(), kind)
    huge = data.replace(b"WIDTH 40", b"WIDTH 999999999").replace(b"POINTS 40", b"POINTS 999999999")
    with pytest.raises(OtocError, match="room.pcd: truncated or damaged PCD"):
        read(tmp_path, huge)
    with pytest.raises(OtocError, match="room.pcd: "):
        read(tmp_path, data.replace(b"COUNT 1 1 1 1", b"COUNT 1 1 1 99999999999"))


def test_what_cannot_be_unpacked_is_refused(tmp_path):
    data = bytearray(pcd(table_of(), "binary_compressed"))
    data[-200:] = b"\xff" * 200
    with pytest.raises(OtocError, match="room.pcd: damaged PCD, what it holds cannot be unpacked"):
        read(tmp_path, bytes(data))


def test_numbers_that_their_type_does_not_hold_are_refused(tmp_path):
    text = b"VERSION .7\nFIELDS x y z label\nSIZE 4 4 4 1\nTYPE F F F U\nWIDTH 1\nDATA ascii\n1 2 3 256\n"
    with pytest.raises(OtocError, match="room.pcd: 'label' holds a number that its type uint8 does not"):
        read(tmp_path, text)
