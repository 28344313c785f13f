import gzip
import warnings

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.scan_colors import GREY, to_bytes
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = np.round(GENERATOR.uniform(-3, 3, (12, 3)), 3)
COLORS = GENERATOR.integers(0, 256, (12, 3), dtype=np.uint8)
COLORS_16 = COLORS.astype(np.uint16) * 257
POLYGONS = ([0, 1, 2], [2, 3, 4, 5], [6, 7, 8, 9, 10])
TRIANGLES = [(0, 1, 2), (2, 3, 4), (2, 4, 5), (6, 7, 8), (6, 8, 9), (6, 9, 10)]
PLY_KINDS = {"ascii": (True, "="), "little": (False, "<"), "big": (False, ">")}


def write_ply(path, text=False, order="<", points=POINTS, colors=COLORS, polygons=POLYGONS, coordinate="f8"):
    """A PLY by plyfile, with normals between what the reader looks for, and with polygons if there are any."""
    kinds = [(name, coordinate) for name in ("x", "nx", "y", "z")]
    if colors is not None:
        kinds += [(name, colors.dtype.str[1:]) for name in ("red", "green", "blue")]
    table = np.zeros(len(points), kinds)
    for i, axis in enumerate("xyz"):
        table[axis] = points[:, i]
    for i, channel in enumerate(("red", "green", "blue") if colors is not None else ()):
        table[channel] = colors[:, i]
    elements = [PlyElement.describe(table, "vertex", comments=["made for a test"])]
    if polygons:
        faces = np.empty(len(polygons), [("flags", "i4"), ("vertex_indices", "O"), ("weights", "O")])
        faces["flags"] = 7
        for i, corners in enumerate(polygons):
            faces["vertex_indices"][i] = np.array(corners, "i4")
            faces["weights"][i] = np.arange(i, dtype="f4")
        lists = {"vertex_indices": "i4", "weights": "f4"}
        elements.append(PlyElement.describe(faces, "face", val_types=lists, len_types={"weights": "u2"}))
    PlyData(elements, text=text, byte_order=order).write(str(path))
    return path


def write_las(path, points=POINTS, colors=COLORS_16):
    header = laspy.LasHeader(point_format=2 if colors is not None else 0, version="1.2")
    header.scales, header.offsets = [0.001] * 3, np.floor(points.min(axis=0))
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.T
    if colors is not None:
        las.red, las.green, las.blue = colors.T
    las.write(str(path))
    return path


def write_text(path, points=POINTS, colors=COLORS, header="", separator=" "):
    rows = points if colors is None else np.concatenate([points, colors], axis=1)
    lines = [separator.join(f"{value:.6g}" for value in row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in ([header] if header else []) + lines))
    return path


# --- what is read


@pytest.mark.parametrize("kind", PLY_KINDS)
def test_ply_keeps_vertices_in_order_and_cuts_polygons_into_fans(tmp_path, kind):
    scan = read_scan(write_ply(tmp_path / "room.ply", *PLY_KINDS[kind]))
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert scan.faces.dtype == np.int32 and list(map(tuple, scan.faces.tolist())) == TRIANGLES


@settings(max_examples=30, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(PLY_KINDS)), coordinate=st.sampled_from(["f4", "f8"]))
def test_any_mesh_is_read_as_plyfile_wrote_it(tmp_path_factory, data, kind, coordinate):
    count = data.draw(st.integers(1, 20))
    points = np.random.default_rng(count).normal(size=(count, 3)).astype(coordinate)
    colors = data.draw(st.sampled_from([None, "u1", "u2", "f4"]))
    if colors is not None:
        scale = {"u1": 255, "u2": 65535, "f4": 1}[colors]
        colors = (np.linspace(0, 1, count * 3).reshape(-1, 3) * scale).astype(colors)
    polygons = data.draw(st.lists(st.lists(st.integers(0, count - 1), max_size=6), max_size=8))
    path = tmp_path_factory.mktemp("ply") / "room.ply"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no colours
        scan = read_scan(write_ply(path, *PLY_KINDS[kind], points, colors, polygons, coordinate))
    np.testing.assert_array_equal(scan.points, points.astype(np.float64))
    fans = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    assert [tuple(face) for face in (scan.faces if scan.faces is not None else np.empty((0, 3))).tolist()] == fans


def test_ply_of_points_has_no_faces(tmp_path):
    assert read_scan(write_ply(tmp_path / "room.ply", polygons=())).faces is None


def test_ply_with_windows_line_ends_and_other_names(tmp_path):
    path = tmp_path / "room.ply"
    header = "ply\r\nformat ascii 1.0\r\nobj_info x\r\nelement vertex 2\r\nproperty float x\r\nproperty float y\r\n"
    header += "property float z\r\nproperty uchar r\r\nproperty uchar g\r\nproperty uchar b\r\nelement face 0\r\n"
    header += "property list uchar uint vertex_index\r\nend_header\r\n"
    path.write_bytes((header + "1 2 3 0 1 1\r\n4 5 6 1 0 1\r\n").encode())
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.points, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(scan.colors, [[0, 1, 1], [1, 0, 1]])  # bytes by the header: no fractions


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("scale", [1, 256, 257])
def test_las_and_laz(tmp_path, suffix, scale):
    points = POINTS + [512_345.0, 5_412_345.0, 400.0]
    scan = read_scan(write_las(tmp_path / f"room{suffix}", points, COLORS.astype(np.uint16) * scale))
    np.testing.assert_allclose(scan.points, points, atol=0.0005 + 1e-6)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert scan.faces is None


@pytest.mark.parametrize("suffix", [".xyz", ".txt", ".csv"])
@pytest.mark.parametrize("separator", [" ", ",", "\t", ", "])
@pytest.mark.parametrize("header", ["", "x y z r g b", "//X,Y,Z,Red,Green,Blue"])
def test_text(tmp_path, suffix, separator, header):
    scan = read_scan(write_text(tmp_path / f"room{suffix}", header=header, separator=separator))
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)


def test_a_header_says_which_column_is_which(tmp_path):
    (tmp_path / "room.csv").write_text("intensity,b,g,r,z,y,x\n9,1,2,3,4,5,6\n9,10,20,30,40,50,60\n")
    scan = read_scan(tmp_path / "room.csv")
    np.testing.assert_array_equal(scan.points, [[6, 5, 4], [60, 50, 40]])
    np.testing.assert_array_equal(scan.colors, [[3, 2, 1], [30, 20, 10]])


@pytest.mark.parametrize("scale", [1, 255, 65535])
def test_colours_of_any_scale_become_bytes(tmp_path, scale):
    shares = COLORS / 255
    np.testing.assert_allclose(to_bytes(tmp_path, shares * scale)[0], COLORS, atol=1)


def test_scans_without_colours_are_grey_with_a_warning(tmp_path):
    black = np.zeros((12, 3), dtype=np.uint16)
    for path in (
        write_ply(tmp_path / "room.ply", colors=None),
        write_las(tmp_path / "room.las", colors=None),
        write_las(tmp_path / "black.las", colors=black),
        write_text(tmp_path / "room.xyz", colors=None),
    ):
        with pytest.warns(UserWarning, match=f"{path.name}: has no colours"):
            assert (read_scan(path).colors == GREY).all()


@pytest.mark.parametrize(
    "kind", ["room.ply.gz", "room.PLY.GZ", "room.las.gz", "room.laz.gz", "room.xyz.gz", "a.csv.gz"]
)
def test_scans_that_gzip_has_packed(tmp_path, kind):
    plain = tmp_path / kind[:-3].lower()
    if ".ply" in kind.lower():
        write_ply(plain)
    elif ".la" in kind:
        write_las(plain)
    else:
        write_text(plain)
    (tmp_path / kind).write_bytes(gzip.compress(plain.read_bytes()))
    packed, scan = read_scan(tmp_path / kind), read_scan(plain)
    for field in ("points", "colors", "faces"):
        np.testing.assert_array_equal(getattr(packed, field), getattr(scan, field))


def test_each_sentence_is_warned_of_once_with_the_name_of_the_file(tmp_path):
    path = tmp_path / "a.xyz.gz"
    path.write_bytes(gzip.compress(b"1,5 2,5 3,5\n2,5 3,5 4,5\n"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = read_scan(path)
    assert [str(warning.message) for warning in caught] == [f"{path}: {sentence}" for sentence in scan.told]
    assert len(scan.told) == 2


# --- what is refused


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("a.ply.gz", gzip.compress(b"ply\n" * 1000, mtime=0)[:40], "damaged or truncated gzip"),
        ("a.ply.gz", b"ply\n", "damaged or truncated gzip"),
        ("a.ply.gz", gzip.compress(b"plate\n", mtime=0), "not a PLY file"),
        ("a.xyz.gz", gzip.compress(b"1 2 3\n4 x 6\n", mtime=0), "line 2: 'x' is no number"),
        ("a.xyz.gz", gzip.compress(b"0" * 10**7, mtime=0), "holds more than 200 times its size; unpack it by hand"),
        ("a.xyz.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.ptx", b"1\n2\n", r"\.ptx is not a format this kit reads; open it in CloudCompare .* \.ply, \.las"),
        ("a.rcp", b"x", "ReCap"),
        ("a.USDZ", b"x", "export it from the scanning app as"),
        ("a.tar.gz", b"x", "unpack it"),
        ("a.gz", b"x", "is not a format"),
        ("a.jpg", b"x", "is no scan"),
    ],
)
def test_what_cannot_be_unpacked_or_read_is_named_with_the_cure(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(OtocError, match=f"{name}[:,] .*{words}"):
        read_scan(tmp_path / name)


HEADER = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\n"


@pytest.mark.parametrize(
    "body, words",
    [
        (HEADER + "end_header\n1 2 3\n4 five 6\n", ["line 9", "vertex", "4 five 6"]),
        (HEADER + "end_header\n1 2 3\n4 5\n", ["line 9", "2 numbers instead of 3"]),
        (HEADER + "end_header\n1 2 3\n", ["line 9", "ends before all 2 vertex lines"]),
        (HEADER + "end_header\n1 2 3\n4 5 6\n7 8 9\n", ["3 numbers more"]),
        (HEADER + "end_header\n1 2 3\n4 5 nan\n", ["1 points", "NaN", "first is point 1"]),
        (HEADER + FACE + "end_header\n1 2 3\n4 5 6\n3 0 1 2\n", ["a face names vertices [0, 1, 2] of 2"]),
        (HEADER + FACE + "end_header\n1 2 3\n4 5 6\n3 0 1 -1\n", ["a face names vertices [0, 1, -1] of 2"]),
        (HEADER + FACE + "end_header\n1 2 3\n4 5 6\n3 0 1 0.5\n", ["by a fraction"]),
        (HEADER + FACE + "end_header\n1 2 3\n4 5 6\n4 0 1 0\n", ["line 12", "face", "4 0 1 0"]),
        (HEADER + FACE + "end_header\n1 2 3\n4 5 6\n-3 0 1 0\n", ["line 12", "-3 0 1 0"]),
        (HEADER.replace("element vertex 2", "element vertex two") + "end_header\n", ["line 3", "element vertex two"]),
        (HEADER.replace("vertex 2", "vertex 0") + "end_header\n", ["holds no points"]),
        (HEADER.replace("vertex 2", f"vertex {10**15}") + "end_header\n1 2 3\n", ["ends before"]),
        (HEADER.replace("float z", "float y") + "end_header\n", ["line 6", "property float y"]),
        (HEADER.replace("float z", "float w") + "end_header\n1 2 3\n4 5 6\n", ["no vertices with x, y and z"]),
        (HEADER.replace("float z", "real z") + "end_header\n", ["line 6", "property real z"]),
        (HEADER.replace("format ascii 1.0\n", "") + "end_header\n", ["no format"]),
        (HEADER, ["header is cut off"]),
        ("plate\n", ["not a PLY file"]),
        ("", ["is empty"]),
    ],
)
def test_a_damaged_ascii_ply_is_refused_by_file_and_line(tmp_path, body, words):
    path = tmp_path / "room.ply"
    path.write_text(body)
    with pytest.raises(OtocError) as error:
        read_scan(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["ascii", "little", "big", ".las", ".laz"]))
def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path_factory, share, kind):
    folder = tmp_path_factory.mktemp("cut")
    path = write_las(folder / f"room{kind}") if kind[0] == "." else write_ply(folder / "room.ply", *PLY_KINDS[kind])
    data = path.read_bytes().rstrip(b"\n") if kind == "ascii" else path.read_bytes()
    cut = data[: int(share * len(data))]
    if kind == "ascii" and data[len(cut) :].strip().isdigit():
        return  # the last number has lost digits, which no reader can see
    path.write_bytes(cut)
    with pytest.raises(OtocError, match=path.name):
        read_scan(path)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), kind=st.sampled_from(["little", ".las", ".laz"]))
def test_a_changed_byte_never_breaks_the_reader_itself(tmp_path_factory, position, value, kind):
    folder = tmp_path_factory.mktemp("byte")
    path = write_las(folder / f"room{kind}") if kind[0] == "." else write_ply(folder / "room.ply", *PLY_KINDS[kind])
    data = bytearray(path.read_bytes())
    data[position % len(data)] = value
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            assert len(read_scan(path).points) > 0
        except OtocError as error:
            assert path.name in str(error)


def test_a_binary_ply_with_bytes_left_over_is_refused(tmp_path):
    path = write_ply(tmp_path / "room.ply")
    path.write_bytes(path.read_bytes() + b"123")
    with pytest.raises(OtocError, match="3 bytes more than its header announces"):
        read_scan(path)


@pytest.mark.parametrize(
    "name, body, words",
    [
        ("a.xyz", "1 2 3\n4 x 6\n", ["a.xyz, line 2", "4 x 6"]),
        ("a.xyz", "1 2 3\n4 5\n", ["a.xyz, line 2"]),
        ("a.xyz", "1 2 3\n4 5 nan\n", ["a.xyz, line 2"]),
        ("a.txt", "1 2\n3 4\n", ["a.txt", "2 columns; write x y z"]),
        ("a.txt", "1 2 3 0.5 -0.1 0\n", ["a.txt", "colours from -0.1"]),
        ("a.csv", "x,y,height\n1,2,3\n", ["a.csv, line 1", "names x, y, height for 3 columns"]),
        ("a.csv", "x,y,z\n1,2,3,4\n", ["a.csv, line 1"]),
        ("a.xyz", "", ["is empty"]),
        ("a.xyz", "1 2 3\n1e300 5 6\n", ["a.xyz: spans 1e+300 of the file's units, point 1 lies at (1e+300, 5, 6)"]),
        ("a.las", "no LAS at all", ["a.las", "damaged or truncated LAS"]),
        ("a.stl", "solid a", ["a.stl", ".ply, .las, .laz"]),
    ],
)
def test_other_bad_files_are_refused(tmp_path, name, body, words):
    (tmp_path / name).write_text(body)
    with pytest.raises(OtocError) as error:
        read_scan(tmp_path / name)
    for word in words:
        assert word in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OtocError, match="nowhere.ply: no such file"):
        read_scan(tmp_path / "nowhere.ply")
