import sys

import numpy as np
import pytest
from scan_formats import AXES, ROUND, e57

from otoc_lib.datasets.e57 import read_e57
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = GENERATOR.uniform(-3, 3, (1300, 3))  # more than a packet
COLORS = GENERATOR.integers(0, 256, (1300, 3), dtype=np.uint8)
CHANNELS = ("colorRed", "colorGreen", "colorBlue")


def columns(points=POINTS, colors=COLORS, **more):
    given = dict(zip(AXES, np.ascontiguousarray(points.T), strict=True)) | more
    return given | (dict(zip(CHANNELS, np.ascontiguousarray(colors.T), strict=True)) if colors is not None else {})


def read(tmp_path, *scans, **more):
    path = tmp_path / "room.e57"
    path.write_bytes(e57(list(scans), **more))
    return read_e57(path)


def stacked(vertices, names):
    return np.stack([vertices.columns[name] for name in names], axis=1)


def test_points_and_colours_in_order(tmp_path):
    vertices = read(tmp_path, {"columns": columns()})
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), COLORS)
    assert (vertices.faces, vertices.told, vertices.unit) == (None, (), "m")


def test_several_scans_are_one_room_in_their_common_coordinates(tmp_path):
    """A quarter turn about z and a shift by map coordinates: (x, y, z) becomes (-y, x, z) and the shift."""
    half = np.sqrt(0.5)
    shift = np.array([512_345.25, 5_412_345.5, 400.0])
    placed = {"columns": columns(), "name": "door", "pose": ((2 * half, 0, 0, 2 * half), shift)}  # not of length 1
    vertices = read(tmp_path, placed, {"columns": columns(colors=None), "name": "window"})
    x, y, z = POINTS.T
    expected = np.concatenate([np.stack([-y, x, z], axis=1) + shift, POINTS])
    np.testing.assert_allclose(stacked(vertices, "xyz"), expected, atol=2e-9)
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue"))[:1300], COLORS)
    assert set(vertices.columns["red"][1300:].tolist()) == {128}
    told = " ".join(vertices.told)
    assert "2 scans ('door', 'window') are one room" in told and "1300 points, of scans without colours" in told


def test_scans_that_stand_nowhere_are_told(tmp_path):
    vertices = read(tmp_path, {"columns": columns()}, {"columns": columns()})
    assert any("none of its scans says where it stood" in sentence for sentence in vertices.told)


@pytest.mark.parametrize("limits", [{}, {"limits": 65535}, {"limits": 255}])
@pytest.mark.parametrize("factor", [256, 257])
def test_colours_of_16_bits(tmp_path, limits, factor):
    """Limits that the colours exceed are not those of the colours."""
    vertices = read(tmp_path, {"columns": columns(colors=COLORS.astype(np.uint16) * np.uint16(factor)), **limits})
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), COLORS)


def test_colours_up_to_a_limit_of_the_scanner(tmp_path):
    vertices = read(tmp_path, {"columns": columns(colors=COLORS.astype(np.uint16) * np.uint16(4)), "limits": 1020})
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), COLORS)


def test_invalid_points_are_left_out_and_invalid_colours_are_grey(tmp_path):
    state, bare = np.zeros(1300, np.uint8), np.zeros(1300, np.uint8)
    state[[3, 9]], bare[5] = (1, 2), 1
    vertices = read(tmp_path, {"columns": columns(cartesianInvalidState=state, isColorInvalid=bare, rowIndex=state)})
    np.testing.assert_array_equal(stacked(vertices, "xyz"), np.delete(POINTS, [3, 9], axis=0))
    colors = COLORS.copy()
    colors[5] = 128
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), np.delete(colors, [3, 9], axis=0))
    assert vertices.told == ("2 points that the scanner marked as invalid are left out",)
    assert vertices.unread == ("rowIndex",)


def test_coordinates_in_steps(tmp_path):
    """Scanners write whole numbers of a tenth of a millimetre, say, and where these begin."""
    raw = np.rint((POINTS + 3) * 10_000).astype(np.uint32)
    scales = dict.fromkeys(AXES, (0.0001, -3.0))
    vertices = read(tmp_path, {"columns": columns(raw, colors=COLORS), "scales": scales})
    np.testing.assert_allclose(stacked(vertices, "xyz"), POINTS, atol=0.00006)
    np.testing.assert_array_equal(stacked(vertices, ("red", "green", "blue")), COLORS)


def test_spherical_coordinates(tmp_path):
    x, y, z = POINTS.T
    ranges = np.linalg.norm(POINTS, axis=1)
    values = (ranges, np.arctan2(y, x), np.arcsin(z / ranges))
    vertices = read(tmp_path, {"columns": dict(zip(ROUND, values, strict=True))})
    np.testing.assert_allclose(stacked(vertices, "xyz"), POINTS, atol=1e-12)


def test_intensity_stands_in_for_colours(tmp_path):
    intensity = np.linspace(0, 1, 1300)
    vertices = read(tmp_path, {"columns": columns(colors=None, intensity=intensity)})
    grey = vertices.columns["red"]
    assert grey[0] == 0 and grey[-1] == 255 and (np.diff(grey.astype(int)) >= 0).all()
    np.testing.assert_array_equal(vertices.columns["blue"], grey)
    assert any("intensity" in sentence for sentence in vertices.told)


def test_a_scan_of_the_format_is_read_as_any_other(tmp_path):
    path = tmp_path / "room.e57"
    path.write_bytes(e57([{"columns": columns()}]))
    np.testing.assert_array_equal(read_scan(path).colors, COLORS)


# --- what is refused


def refusal(tmp_path, data):
    path = tmp_path / "room.e57"
    path.write_bytes(data)
    with pytest.raises(OtocError, match="room.e57: ") as error:
        read_e57(path)
    return str(error.value)


def test_a_missing_library_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pye57", None)
    fault = refusal(tmp_path, e57([{"columns": columns()}]))
    assert "pip install -e '.[e57]'" in fault


def test_damaged_files_are_refused(tmp_path):
    whole = e57([{"columns": columns()}])
    assert "truncated" in refusal(tmp_path, whole[:-1])
    assert "not an E57 file" in refusal(tmp_path, b"x" * 100)
    assert "not an E57 file" in refusal(tmp_path, whole[:40])
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    assert "damaged" in refusal(tmp_path, bytes(flipped))  # a checksum is wrong
    assert "has no coordinates, only colorRed" in refusal(
        tmp_path, e57([{"columns": {"colorRed": np.zeros(3, np.uint8)}}])
    )
    assert "holds no scan" in refusal(tmp_path, e57([]))


@pytest.mark.parametrize("announced", [10**13, 1400])
def test_counts_that_the_file_cannot_hold_are_refused(tmp_path, announced):
    assert "damaged" in refusal(tmp_path, e57([{"columns": columns(), "announced": announced}]))


@pytest.mark.parametrize(
    "head", ['<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>', '<!DOCTYPE a SYSTEM "http://localhost/a.dtd">']
)
def test_entities_are_refused_before_they_are_looked_at(tmp_path, head):
    assert "a document type" in refusal(tmp_path, e57([{"columns": columns()}], xml_head=head))


def test_elements_without_end_are_refused(tmp_path):
    deep = f'<description type="String">{"<a>" * 100}{"</a>" * 100}</description>'
    assert "elements in" in refusal(tmp_path, e57([{"columns": columns(), "name": f"</name>{deep}<name>"}]))
