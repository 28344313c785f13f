import pytest
from own_scan import CLASSES, POINTS, TRUTH, load, write_ascii

from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.annotation.snap import snap_clicks
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
