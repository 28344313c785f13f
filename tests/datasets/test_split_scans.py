"""Several scans in one file: one room, and said so, or a file and so a room of each."""

import gzip

import numpy as np
import pytest
from own_scan import CLASSES, COLORS, POINTS, TRUTH
from plyfile import PlyData
from scan_formats import AXES, e57

from otoc_lib.__main__ import main
from otoc_lib.datasets import own
from otoc_lib.datasets.doctor import diagnose
from otoc_lib.datasets.e57 import read_e57
from otoc_lib.datasets.split_scans import split_scans
from otoc_lib.errors import OtocError

CHANNELS = ("colorRed", "colorGreen", "colorBlue")
UTM = np.array([512_345.25, 5_412_345.5, 400.0])
UNTURNED = (1, 0, 0, 0)


def station(name, shift, points=POINTS, colors=COLORS):
    given = [*np.ascontiguousarray(points.T), *np.ascontiguousarray(colors.T)]
    return {
        "columns": dict(zip((*AXES, *CHANNELS), given, strict=True)),
        "name": name,
        "pose": (UNTURNED, np.asarray(shift, dtype=float)),
    }


def write(path, *stations):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(e57(list(stations)))
    return path


def points_of(path):
    vertex = PlyData.read(str(path))["vertex"]
    return np.stack([vertex[axis] for axis in "xyz"], axis=1), np.stack(
        [vertex[c] for c in ("red", "green", "blue")], axis=1
    )


@pytest.mark.filterwarnings("ignore:.*are one room")
def test_each_station_of_an_e57_becomes_a_room(tmp_path, capsys):
    path = write(
        tmp_path / "in" / "house.e57",
        station("hall", UTM),
        station("k\u00fcche", UTM + [50, 0, 0], POINTS[:900], COLORS[:900]),
    )
    assert main(["split-scans", str(path), str(tmp_path / "own")]) == 0
    first, second = tmp_path / "own" / "house_1.ply", tmp_path / "own" / "house_2.ply"
    assert capsys.readouterr().out.splitlines() == [f"{first}: hall", f"{second}: k\u00fcche"]
    for file, points, colors in (
        (first, POINTS + UTM, COLORS),
        (second, POINTS[:900] + UTM + [50, 0, 0], COLORS[:900]),
    ):
        np.testing.assert_array_equal(points_of(file)[0], points)  # doubles, to the bit
        np.testing.assert_array_equal(points_of(file)[1], colors)
    # Which is all that doctor, training and otoc predict need.
    assert own.list_scenes(tmp_path / "own", "train") == ["house_1", "house_2"]
    diagnosis = diagnose(tmp_path / "own")
    assert diagnosis.ok and [scan.points for scan in diagnosis.scans] == [3600, 900]


@pytest.mark.parametrize(
    ("shifts", "says"),
    [
        ([(0, 0, 0), (1, 1, 0)], "are one room, in their common coordinates; otoc split-scans"),
        ([(0, 0, 0), (50, 0, 0), (1, 0, 0)], "coordinates, though 'b' lie apart from the rest; otoc split-scans"),
        ([(0, 0, 0), (50, 0, 0)], "coordinates, though 'a', 'b' overlap with no other; otoc split-scans"),
        ([(0, 0, 0), (2, 0, 0), (4, 0, 0)], "are one room, in their common coordinates; otoc split-scans"),  # a chain
        ([(0, 0, 9), (50, 0, 0), (0, 1, 9), (51, 0, 0), (52, 1, 0)], "though 'a', 'c' lie apart from the rest; otoc"),
    ],
)
def test_scans_that_do_not_overlap_are_named(tmp_path, shifts, says):
    stations = [station("abcde"[i], shift) for i, shift in enumerate(shifts)]
    (told,) = read_e57(write(tmp_path / "house.e57", *stations)).told
    assert f"its {len(shifts)} scans" in told and says in told


@pytest.mark.filterwarnings("ignore:.*one after the other", "ignore:.*unit is unclear")
@pytest.mark.parametrize("packed", [False, True])
def test_the_scans_of_a_pts_come_apart_with_their_classes(tmp_path, packed):
    table = np.column_stack([POINTS, COLORS, TRUTH])
    lines = [" ".join(map(repr, row)) for row in table.tolist()]
    text = "\n".join(["x y z r g b class", "2000", *lines[:2000], "1600", *lines[2000:]]) + "\n"
    path = tmp_path / ("house.pts.gz" if packed else "house.pts")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    files = list(split_scans(path, tmp_path / "out"))
    assert [file.name for file in files] == ["house_1.ply", "house_2.ply"]
    np.testing.assert_array_equal(np.concatenate([points_of(file)[0] for file in files]), POINTS)
    np.testing.assert_array_equal(np.concatenate([points_of(file)[1] for file in files]), COLORS)
    labels = [own.load_scene(tmp_path / "out", name, CLASSES, None, "class").labels for name in ("house_1", "house_2")]
    assert [len(part) for part in labels] == [2000, 1600]
    np.testing.assert_array_equal(np.concatenate(labels), TRUTH)


@pytest.mark.filterwarnings("ignore:.*are one room")
def test_what_cannot_be_split_destroys_nothing(tmp_path):
    path = write(tmp_path / "in" / "house.e57", station("a", UTM), station("b", UTM))
    with pytest.raises(OtocError, match="in: holds house.e57 itself, so every scan would be there twice"):
        split_scans(path, tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "house_2.ply").write_text("mine")
    with pytest.raises(OtocError, match="house_2.ply: is there already"):
        split_scans(path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["house_2.ply"]
    one = write(tmp_path / "in" / "one.e57", station("a", UTM))
    with pytest.raises(OtocError, match="one.e57: holds one scan"):
        split_scans(one, tmp_path / "out")


@pytest.mark.filterwarnings("ignore")
def test_an_empty_station_is_no_room(tmp_path):
    path = write(
        tmp_path / "house.e57", station("a", UTM), station("b", UTM, POINTS[:0], COLORS[:0]), station("c", UTM)
    )
    files = split_scans(path, tmp_path / "out")
    assert list(files.values()) == ["a", "c"] and [len(points_of(file)[0]) for file in files] == [3600, 3600]
