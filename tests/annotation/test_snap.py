import numpy as np
import pytest
from own_scan import CLASSES, COLORS, POINTS, TRUTH, load, write_ascii
from scan_files import table, write_scan

from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.annotation.snap import snap_clicks
from otoc_lib.datasets import own
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError
from otoc_lib.labels import NO_CLASS


def write_positions(path, rows, header="scene,x,y,z,class"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_positions_are_snapped_to_the_nearest_vertex(tmp_path):
    write_ascii(tmp_path / "room.ply")
    chosen = [7, 1400, 2222]
    names = [CLASSES.names[TRUTH[point]] for point in chosen]
    rows = [
        ",".join(["room", *map(str, POINTS[point] + 0.004), name]) for point, name in zip(chosen, names, strict=True)
    ]
    written = snap_clicks(tmp_path, write_positions(tmp_path / "picked.csv", rows), tmp_path / "clicks.csv")
    clicks = read_clicks(tmp_path / "clicks.csv", [load(tmp_path)])["room"]
    assert written == 3 and clicks.points.tolist() == chosen and clicks.classes.tolist() == TRUTH[chosen].tolist()


def test_a_position_may_be_of_no_class(tmp_path):
    write_ascii(tmp_path / "room.ply")
    rows = [",".join(["room", *map(str, POINTS[point]), name]) for point, name in ((7, "none"), (1400, "box"))]
    snap_clicks(tmp_path, write_positions(tmp_path / "picked.csv", rows), tmp_path / "clicks.csv")
    clicks = read_clicks(tmp_path / "clicks.csv", [load(tmp_path)])["room"]
    assert clicks.points.tolist() == [7, 1400] and clicks.classes.tolist() == [NO_CLASS, CLASSES.index("box")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_positions_saved_by_excel(tmp_path, encoding):
    write_ascii(tmp_path / "room.ply")
    chosen, path = [7, 1400], tmp_path / "picked.csv"
    rows = [["room", *(f"{value:.3f}".replace(".", ",") for value in POINTS[point]), "box", ""] for point in chosen]
    lines = ["Scene; X; Y; Z; Class;", *map(";".join, rows), ";;;;;", ""]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    assert snap_clicks(tmp_path, path, tmp_path / "clicks.csv") == 2
    clicks = read_clicks(tmp_path / "clicks.csv", [load(tmp_path)])["room"]
    assert clicks.points.tolist() == chosen and clicks.classes.tolist() == [1, 1]


@pytest.mark.parametrize(
    "rows, words",
    [
        (["room,3,-2,9,floor"], "line 2: lies 8.* m from the nearest point of room"),
        (["room,3,-2,0.5,floor", "room,3.001,-2,0.5,box"], "line 3: its nearest point is clicked before"),
        (["room,3,-2,0.5,floor", "hall,3,-2,0.5,box"], "line 3: .* has no scan 'hall'; it has room"),
        (["room,3,x,0.5,floor"], "line 2: 'x' is no number; needs a class and numbers"),
        (["room,3,-2,nan,floor"], "line 2: 'nan' is no number; needs a class and numbers"),
        (["room,3,-2,0.5, "], "line 2: needs a class and numbers"),
        (["room,3,-2,0.5"], "line 2: has nothing in class"),
        (["room,3,0,-2,0,0,5,floor"], "line 2: has 8 columns, line 1 names 5; with decimal commas"),
    ],
)
def test_positions_that_mean_no_click(tmp_path, rows, words):
    write_ascii(tmp_path / "room.ply")
    with pytest.raises(OtocError, match=f"picked.csv, {words}"):
        snap_clicks(tmp_path, write_positions(tmp_path / "picked.csv", rows), tmp_path / "clicks.csv")
    assert not (tmp_path / "clicks.csv").exists()


def test_positions_without_a_column(tmp_path):
    write_ascii(tmp_path / "room.ply")
    path = write_positions(tmp_path / "picked.csv", ["room,1,2,floor"], "scene,x,y,class")
    with pytest.raises(OtocError, match="line 1: no column z"):
        snap_clicks(tmp_path, path, tmp_path / "clicks.csv")


@pytest.mark.filterwarnings("ignore:.*stray point")
@pytest.mark.parametrize("millimetres, unit", [(False, "auto"), (True, "mm")])
@pytest.mark.parametrize("place", [(900.0, 0.5, 0.6), (4.0, -1.5, -4e7), (2.5, 1e5, 0.9)])
def test_a_click_on_a_stray_point_is_refused_as_that(tmp_path, place, millimetres, unit):
    """Such a point counts as lying on the edge of the box, among whatever is there: its click would label that."""
    scale = 1000 if millimetres else 1
    points = POINTS.copy()
    points[5] = place
    write_scan(tmp_path / "room.ply", table(points * scale, COLORS))
    rows = [",".join(["room", *map(repr, (points[point] * scale).tolist()), "floor"]) for point in (7, 5)]
    picked = write_positions(tmp_path / "picked.csv", rows)
    with pytest.raises(OtocError, match="picked.csv, line 3: its nearest point, 5 of room, is a stray .* delete"):
        snap_clicks(tmp_path, picked, tmp_path / "clicks.csv", unit)

    path = write_positions(tmp_path / "clicks.csv", [], "scene,point,x,y,z,class,object")
    lines = [f"room,{point},{row.removeprefix('room,')},-1" for point, row in zip((7, 5), rows, strict=True)]
    path.write_text("\n".join([path.read_text().strip(), *lines]) + "\n")
    scan = read_scan(tmp_path / "room.ply")
    scene = own.scene_of(tmp_path / "room.ply", scan, own.scan_axes(scan, unit=unit), "room", CLASSES, None)
    with pytest.raises(OtocError, match="clicks.csv, line 3: point 5 of room is a stray point, .* delete") as error:
        read_clicks(path, [scene])
    inside = np.clip(place, np.delete(points, 5, 0).min(axis=0), np.delete(points, 5, 0).max(axis=0))
    assert f"{np.linalg.norm(inside - place):.2f} m outside its box" in str(error.value)
    # Of another point these are clicks of other data still.
    path.write_text(path.read_text().replace("room,5,", "room,1800,"))
    with pytest.raises(OtocError, match="line 3: point 1800 of room lies .* clicks of other data"):
        read_clicks(path, [scene])
