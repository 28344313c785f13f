"""What columns mean, by their names in every format, and by their numbers where there are no names."""

import numpy as np
import pytest
from scan_files import FORMATS, table, write_scan

from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.scan_colors import GREY
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = np.round(GENERATOR.uniform(0, 3, (200, 3)), 3)
COLORS = GENERATOR.integers(0, 256, (200, 3), dtype=np.uint8)
NORMALS = GENERATOR.normal(size=(200, 3))
NORMALS = np.round(NORMALS / np.linalg.norm(NORMALS, axis=1, keepdims=True), 4)
BYTE = GENERATOR.integers(0, 256, (200, 1))
LEICA = GENERATOR.integers(-2048, 2048, (200, 1))
SHARE = np.round(GENERATOR.uniform(0, 1, (200, 1)), 4)
CLASS = GENERATOR.integers(1, 8, 200)
NAMED = [name for name in FORMATS if ".la" not in name]  # LAS has names of its own


def write_rows(path, *parts):
    rows = np.concatenate([POINTS, *parts], axis=1).tolist()
    path.write_text("".join(" ".join(f"{value:.10g}" for value in row) + "\n" for row in rows))
    return path


# --- by names


@pytest.mark.parametrize(
    "names",
    ["X Y Z R G B", "x Y z Red GREEN bLuE", "X[m] Y[m] Z[m] red(0-255) green(0-255) blue(0-255)"]
    + ["easting northing elevation r g b", "cartesianX cartesianY cartesianZ colorRed colorGreen colorBlue"]
    + ["scalar_x scalar_Y  sf_z  Scalar_R scalar_g SCALAR_B"]
    + ["POINT_X POINT_Y POINT_Z scalar_R scalar_G scalar_B", "Points_0 Points_1 Points_2 RGB_0 RGB_1 RGB_2"],
)
@pytest.mark.parametrize("name", NAMED)
def test_names_are_compared_without_case_and_units(tmp_path, name, names):
    columns = dict(zip(names.split(), table(POINTS, COLORS).values(), strict=True))
    scan = read_scan(write_scan(tmp_path / name, columns))
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert scan.told == () and scan.left_out == ()


@pytest.mark.parametrize("name", NAMED)
def test_floats_of_cloud_compare(tmp_path, name):
    columns = table(POINTS) | {f"{c}f": COLORS[:, i] / 255 for i, c in enumerate("RGB")}
    np.testing.assert_array_equal(read_scan(write_scan(tmp_path / name, columns)).colors, COLORS)


@pytest.mark.parametrize("name", NAMED)
def test_of_two_spellings_one_is_used_and_told(tmp_path, name):
    columns = table(POINTS) | {"R": COLORS[:, 0], "g": COLORS[:, 1], "b": COLORS[:, 2], "r": COLORS[:, 1]}
    with pytest.warns(UserWarning, match="has columns r and R; r is used"):
        scan = read_scan(write_scan(tmp_path / name, columns))
    np.testing.assert_array_equal(scan.colors, COLORS[:, [1, 1, 2]])
    assert scan.left_out == ("R",)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_colour_is_said(tmp_path, name):
    columns = table(POINTS) | {"red": COLORS[:, 0], "green": COLORS[:, 1], "intensity": COLORS[:, 2]}
    with pytest.warns(UserWarning, match="names red, green, but no three columns that make a colour"):
        scan = read_scan(write_scan(tmp_path / name, columns))
    assert (scan.colors == GREY).all() and scan.left_out == ("red", "green", "intensity")


@pytest.mark.parametrize("name", NAMED)
def test_coordinates_that_are_not_there(tmp_path, name):
    columns = {"lat": POINTS[:, 0], "lon": POINTS[:, 1], "height": POINTS[:, 2]}
    with pytest.raises(OtocError, match=f"{name}.*lat, lon, height"):
        read_scan(write_scan(tmp_path / name, columns))


@pytest.mark.parametrize("column", ["class", "Label", "classification", "scalar_Classification", "Semantic"])
@pytest.mark.parametrize("name", NAMED)
def test_a_class_column_is_kept_as_it_is(tmp_path, name, column):
    columns = table(POINTS, COLORS) | {column: CLASS.astype(np.int32), "time": POINTS[:, 0]}
    scan = read_scan(write_scan(tmp_path / name, columns))
    assert scan.class_name == column and scan.left_out == ("time",)
    np.testing.assert_array_equal(scan.classes, CLASS)


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_the_classes_of_las(tmp_path, suffix):
    columns = table(POINTS, COLORS.astype(np.uint16) * 256)
    scan = read_scan(write_scan(tmp_path / f"a.{suffix}", columns | {"classification": CLASS}))
    assert scan.class_name == "classification"
    np.testing.assert_array_equal(scan.classes, CLASS)
    scan = read_scan(write_scan(tmp_path / f"b.{suffix}", columns | {"classification": CLASS % 2}))  # never classified
    assert scan.class_name is None and "intensity" in scan.left_out


def test_a_scan_labelled_by_the_kit_has_its_own_colours(tmp_path):
    paint = {"red": COLORS[:, 2], "green": COLORS[:, 2], "blue": COLORS[:, 2], "label": CLASS.astype(np.int32)}
    paint |= {f"scan_{name}": COLORS[:, i] for i, name in enumerate(("red", "green", "blue"))}
    scan = read_scan(write_scan(tmp_path / "little.ply", table(POINTS) | paint))
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert scan.class_name == "label"


# --- coordinates that have lost digits


@pytest.mark.parametrize("name", ["ascii.ply", "little.ply", "scan.xyz"])
def test_steps_that_single_precision_leaves_are_told(tmp_path, name):
    points = (POINTS + [0, 5_412_345, 0]).astype(np.float32)
    if name == "scan.xyz":
        points = points.astype(np.float64)  # as somebody converts it
    with pytest.warns(
        UserWarning, match=f"{name}: y lies near 5412348 and has steps of 0.5 of the file's units.*double precision"
    ):
        scan = read_scan(write_scan(tmp_path / name, table(points, COLORS)))
    assert len(scan.told) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_map_coordinates_in_double_precision_are_fine(tmp_path, name):
    points = POINTS + [500_000, 5_412_345, 100]
    scan = read_scan(write_scan(tmp_path / name, table(points, COLORS.astype(np.uint16))))
    np.testing.assert_allclose(scan.points, points, atol=1e-6)
    assert scan.told == ()


def test_single_precision_near_the_origin_and_in_millimetres_is_fine(tmp_path):
    for points in (POINTS, POINTS * 40, POINTS * 30_000):
        scan = read_scan(write_scan(tmp_path / "little.ply", table(points.astype(np.float32), COLORS)))
        assert not any("steps" in sentence for sentence in scan.told)


def test_a_las_of_coarse_steps(tmp_path):
    import laspy

    las = laspy.create(point_format=2, file_version="1.2")
    las.header.scales = [0.001, 0.001, 0.5]
    las.x, las.y, las.z = POINTS.T
    las.red = las.green = las.blue = COLORS[:, 0]
    las.write(str(tmp_path / "a.las"))
    with pytest.warns(UserWarning, match="a.las: its coordinates are stored in steps of 0.5 m; export it with a scale"):
        read_scan(tmp_path / "a.las")


# --- by numbers


@pytest.mark.parametrize("normals", [NORMALS, np.abs(NORMALS), np.eye(3)[np.arange(200) % 3], -np.eye(3)[CLASS % 3]])
def test_rows_of_unit_length_are_normals(tmp_path, normals):
    with pytest.warns(UserWarning, match="columns 4 to 6 have the length 1: they are taken for normals"):
        scan = read_scan(write_rows(tmp_path / "a.xyz", normals))
    assert (scan.colors == GREY).all() and scan.left_out == ("column 4", "column 5", "column 6")
    np.testing.assert_array_equal(scan.points, POINTS)


def test_normals_that_are_missing_here_and_there_are_normals(tmp_path):
    normals = np.where(np.arange(200)[:, None] % 5 == 0, 0, NORMALS)
    with pytest.warns(UserWarning, match="columns 4 to 6 have the length 1"):
        assert (read_scan(write_rows(tmp_path / "a.xyz", normals)).colors == GREY).all()


@pytest.mark.parametrize(
    "parts, left_out",
    [
        ((COLORS,), ""),
        ((LEICA, COLORS), "4"),
        ((SHARE, COLORS), "4"),
        ((COLORS, SHARE), "7"),
        ((COLORS, LEICA), "7"),
        ((COLORS, np.full((200, 1), 255)), "7"),
        ((COLORS, NORMALS), "7 8 9"),
        ((NORMALS, COLORS), "4 5 6"),
        ((SHARE, COLORS, NORMALS), "4 7+1 8+1 9+1"),
        ((COLORS / 255, LEICA), "7"),
    ],
)
def test_columns_that_can_mean_one_thing_alone(tmp_path, parts, left_out):
    path = write_rows(tmp_path / "a.txt", *parts)
    with pytest.warns(UserWarning) if left_out else pytest.MonkeyPatch.context():
        scan = read_scan(path)
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert scan.left_out == tuple(f"column {sum(map(int, place.split('+')))}" for place in left_out.split())


@pytest.mark.parametrize(
    "parts, places",
    [
        ((BYTE, COLORS), "columns 4 to 6 or columns 5 to 7"),
        ((COLORS, CLASS[:, None]), "columns 4 to 6 or columns 5 to 7"),
        ((SHARE, COLORS / 255), "columns 4 to 6 or columns 5 to 7"),
        ((NORMALS, BYTE, COLORS), "columns 7 to 9 or columns 8 to 10"),
    ],
)
def test_columns_that_may_mean_two_things_are_refused_with_the_cure(tmp_path, parts, places):
    path = write_rows(tmp_path / "a.txt", *parts)
    with pytest.raises(
        OtocError, match=f"a.txt: its {3 + sum(p.shape[1] for p in parts)} columns .*{places}; write the"
    ):
        read_scan(path)
    names = "x y z" + "".join({1: " i", 3: " r g b"}[p.shape[1]] for p in parts if p is not NORMALS)
    names = names.replace("x y z", "x y z nx ny nz") if parts[0] is NORMALS else names
    path.write_text(names + "\n" + path.read_text())
    np.testing.assert_array_equal(read_scan(path).colors, COLORS)


def test_single_columns_are_left_out_and_told(tmp_path):
    for parts, words in (
        ((SHARE,), "column 4 without a name is"),
        ((SHARE, LEICA), "column 4, column 5 without a name are"),
    ):
        with pytest.warns(UserWarning, match=f"a.xyz: {words} left out"):
            assert (read_scan(write_rows(tmp_path / "a.xyz", *parts)).colors == GREY).all()


def test_a_first_column_that_counts_the_points_is_none_of_them(tmp_path):
    rows = np.concatenate([np.arange(200)[:, None], POINTS, COLORS], axis=1)
    np.savetxt(tmp_path / "a.txt", rows, fmt="%.3f")
    with pytest.warns(UserWarning, match="column 1 counts the points and is left out"):
        scan = read_scan(tmp_path / "a.txt")
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
