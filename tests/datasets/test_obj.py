import gzip

import numpy as np
import pytest
from PIL import Image

from otoc_lib.datasets import own
from otoc_lib.datasets.obj import read_obj
from otoc_lib.datasets.point_files import companions, read_scan
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = np.round(GENERATOR.uniform(-3, 3, (6, 3)), 3)
COLORS = GENERATOR.integers(0, 256, (6, 3), dtype=np.uint8)
RGB = ("red", "green", "blue")
PIXELS = GENERATOR.integers(0, 256, (2, 3, 3), dtype=np.uint8)  # 2 rows of 3
# The middle of each pixel, v from the lower edge as in OBJ: 6 texture coordinates, one for each vertex.
UV = [((column + 0.5) / 3, 1 - (row + 0.5) / 2) for row in range(2) for column in range(3)]


def vertex_lines(colors=None):
    rows = POINTS.tolist() if colors is None else np.concatenate([POINTS, colors], axis=1).tolist()
    return "".join(f"v {' '.join(map(repr, row))}\n" for row in rows)


def textured(faces="f 1/1 2/2 3/3\nf 4/4 5/5 6/6\n", head="mtllib room.mtl\nusemtl paint\n"):
    return head + vertex_lines() + "".join(f"vt {u!r} {v!r}\n" for u, v in UV) + faces


def write(tmp_path, text, mtl="newmtl paint\nKd 1 1 1\nmap_Kd room.png\n", picture=PIXELS):
    path = tmp_path / "room.obj"
    path.write_text(text)
    if mtl is not None:
        (tmp_path / "room.mtl").write_text(mtl)
        Image.fromarray(picture).save(tmp_path / "room.png")
    return path


def read(tmp_path, text, **more):
    return read_obj(write(tmp_path, text, **more))


def stacked(vertices, names=RGB):
    return np.stack([vertices.columns[name] for name in names], axis=1)


@pytest.mark.parametrize("scale", [255, 1])
def test_vertices_with_colours_in_the_order_of_the_file(tmp_path, scale):
    path = write(tmp_path, vertex_lines(COLORS / scale) + "f 4 1 2 3\nf -1 -2 -3\n", mtl=None)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
    np.testing.assert_array_equal(scan.faces, [[3, 0, 1], [3, 1, 2], [5, 4, 3]])


def test_what_stands_between_vertices_and_faces(tmp_path):
    """Comments, groups, normals, a byte order mark, Windows line ends, lines that go on, and lines of a curve."""
    text = "\ufeff# made by hand\r\no thing\r\n\r\ng a b\r\ns off\r\n" + vertex_lines().replace("\n", "\r\n")
    text += "vn 0 0 1\r\n  f 1//1 2//1 \\\r\n 3//1 # a corner\r\nl 1 2\r\ncurv 0 1 1 2\r\nf 6 5 4\r\n"
    (tmp_path / "room.obj").write_bytes(text.encode())
    vertices = read_obj(tmp_path / "room.obj")
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    np.testing.assert_array_equal(vertices.faces, [[0, 1, 2], [5, 4, 3]])
    assert vertices.told == ("its curves and surfaces (curv) are left out; export it as a mesh",)


def test_points_alone(tmp_path):
    vertices = read(tmp_path, vertex_lines(), mtl=None)
    assert vertices.faces is None and list(vertices.columns) == list("xyz")


def test_a_texture_is_sampled_at_the_vertices(tmp_path):
    vertices = read(tmp_path, textured())
    np.testing.assert_array_equal(stacked(vertices), PIXELS.reshape(6, 3))
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    np.testing.assert_array_equal(vertices.faces, [[0, 1, 2], [3, 4, 5]])
    assert vertices.told == ("its colours are those of its textures at the vertices",)


def test_a_vertex_at_a_seam_gets_the_mean_of_its_colours(tmp_path):
    """Vertex 1 has texture coordinate 1 in two faces and 2 in one: each counts once."""
    vertices = read(tmp_path, textured("f 1/1 2/2 3/3\nf 1/1 2/2 4/4\nf 1/2 5/5 6/6\n"))
    pixels = PIXELS.reshape(6, 3).astype(float)
    np.testing.assert_array_equal(stacked(vertices)[0], np.rint((pixels[0] + pixels[1]) / 2))
    np.testing.assert_array_equal(stacked(vertices)[1:], pixels[1:])


def test_several_materials(tmp_path):
    mtl = "newmtl paint\nmap_Kd -s 1 1 1 -clamp on my picture.png\nnewmtl red\nKd 1 0 0.2\nillum 2\n"
    text = textured("usemtl paint\nf 1/1 2/2 3/3\nusemtl red\nf 4/4 5/5 5/5\n", head="mtllib room.mtl\n")
    path = write(tmp_path, text, mtl)
    (tmp_path / "room.png").rename(tmp_path / "my picture.png")
    vertices = read_obj(path)
    np.testing.assert_array_equal(stacked(vertices)[:3], PIXELS.reshape(6, 3)[:3])
    np.testing.assert_array_equal(stacked(vertices)[3:], [[255, 0, 51], [255, 0, 51], [128, 128, 128]])
    told = " ".join(vertices.told)
    assert "1 of its 6 vertices have no colour there" in told and "the options -s -clamp" in told


def test_materials_without_textures(tmp_path):
    text = textured("usemtl a\nf 1 2 3\nusemtl b\nf 4 5 6\n", head="mtllib room.mtl\n")
    vertices = read(tmp_path, text, mtl="newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0 1\n")
    np.testing.assert_array_equal(stacked(vertices), [[255, 0, 0]] * 3 + [[0, 0, 255]] * 3)
    same = read(tmp_path, text, mtl="newmtl a\nKd 0.8 0.8 0.8\nnewmtl b\nKd 0.8 0.8 0.8\n")  # says nothing
    assert "red" not in same.columns


def test_colours_of_vertices_go_before_materials(tmp_path):
    vertices = read(tmp_path, "mtllib room.mtl\nusemtl paint\n" + vertex_lines(COLORS) + "f 1 2 3\n")
    np.testing.assert_array_equal(stacked(vertices), COLORS)
    assert vertices.told == ("its materials are not used, since its vertices have colours",)


def test_the_files_of_a_scan_are_its_materials_and_textures_too(tmp_path):
    path = write(tmp_path, textured())
    assert companions(path) == [tmp_path / "room.mtl", tmp_path / "room.png"]
    assert own.scene_files(tmp_path, "room") == [path, tmp_path / "room.mtl", tmp_path / "room.png"]
    (tmp_path / "room.mtl").unlink()
    assert companions(path) == []


def test_a_packed_scan_has_the_textures_of_its_folder(tmp_path):
    path = write(tmp_path, textured())
    (tmp_path / "packed.obj.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_scan(tmp_path / "packed.obj.gz").colors, PIXELS.reshape(6, 3))


# --- files that a scan names and that are none of its own


@pytest.mark.parametrize(
    "name", ["../room.mtl", "{folder}/room.mtl", "http://127.0.0.1:9/room.mtl", "link.mtl", "no.mtl"]
)
def test_materials_are_read_beside_the_scan_alone(tmp_path, name):
    write(tmp_path, textured())  # the secret
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "link.x").symlink_to(tmp_path / "room.mtl")
    text = textured(head=f"mtllib {name.format('room.mtl', folder=tmp_path)}\nusemtl paint\n")
    vertices = read(folder, text, mtl=None)
    assert "red" not in vertices.columns
    assert "is not in its folder, so its textures are not read" in vertices.told[0]
    assert companions(folder / "room.obj") == []


@pytest.mark.parametrize(
    "name", ["../room.png", "{folder}/room.png", "http://127.0.0.1:9/room.png", "link.png", "no.png"]
)
def test_textures_are_read_beside_the_scan_alone(tmp_path, name):
    write(tmp_path, textured())
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "link.x").symlink_to(tmp_path / "room.png")
    (folder / "room.mtl").write_text(f"newmtl paint\nmap_Kd {name.format('room.png', folder=tmp_path)}\n")
    vertices = read(folder, textured(), mtl=None)
    assert "red" not in vertices.columns
    assert "is not in its folder; put it there" in vertices.told[0]


def test_paths_of_another_machine_mean_the_file_beside_the_scan(tmp_path):
    mtl = "newmtl paint\nmap_Kd C:\\Users\\me\\Scans\\room.png\n"
    vertices = read(tmp_path, textured(head="mtllib textures/../room.mtl\nusemtl paint\n"), mtl=mtl)
    np.testing.assert_array_equal(stacked(vertices), PIXELS.reshape(6, 3))


def test_names_that_differ_by_capitals_alone_mean_the_file_beside_the_scan(tmp_path):
    vertices = read(tmp_path, textured(head="mtllib ROOM.MTL\nusemtl paint\n"), mtl="newmtl paint\nmap_Kd Room.PNG\n")
    np.testing.assert_array_equal(stacked(vertices), PIXELS.reshape(6, 3))
    for name in ("ROOM.png", "rOOM.png"):
        (tmp_path / name).write_bytes((tmp_path / "room.png").read_bytes())
    if len(list(tmp_path.glob("*.png"))) == 3:  # and where several do, none of them
        assert "texture 'Room.PNG' is not in its folder" in read_obj(tmp_path / "room.obj").told[0]


def test_a_damaged_texture_is_refused_by_its_name(tmp_path):
    path = write(tmp_path, textured())
    (tmp_path / "room.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    with pytest.raises(OtocError, match="room.png: no picture, or damaged"):
        read_obj(path)


# --- what is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("f 1 2 3\n", "has no vertices"),
        ("v 1 2\n", "line 1: 2 numbers for a vertex"),
        ("v 1 2 3\nv 1 2\n", "line 2: "),
        ("# a\n\nv 1 2 x\n", "line 3: "),
        ("v 1 2 nan\n", "line 1: "),
        ("v 1 2 3\nhello world\n", "line 2: 'hello world' is no line of an OBJ file"),
        ("v 1 2 3\nf 1 1 2\n", "line 2: a face names vertex"),
        ("v 1 2 3\nf 1/1 1/1 1/1\n", "line 2: a face names vertex or texture coordinate"),
        ("v 1 2 3\nf 1 1 0\n", "line 2: 'f 1 1 0' is no face"),
        ("v 1 2 3\nf 1 1 -2\n", "line 2: 'f 1 1 -2' is no face"),
        ("v 1 2 3\nf 1 1 1.5\n", "line 2: "),
        ("v 1 2 3\nf 1 1 a\n", "line 2: "),
        ("v 1 2 3\nf 1 1 99999999999999999999\n", "line 2: "),
        ("v 1 2 3\nf 1/ 1/-/2 1\n", "line 2: "),
    ],
)
def test_damaged_files_are_refused_by_line(tmp_path, text, words):
    with pytest.raises(OtocError, match="room.obj") as error:
        read(tmp_path, text, mtl=None)
    assert words in str(error.value)
