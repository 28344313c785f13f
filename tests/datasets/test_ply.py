import numpy as np
import pytest
from memory import at_most

from otoc_lib.datasets.ply import read_ply
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError, messages_of

HEADER = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty uchar red\n"
FACES = "element face 1\nproperty list uchar int vertex_indices\n"


def write(tmp_path, text):
    path = tmp_path / "a.ply"
    path.write_text(text)
    return path


def test_columns_have_the_types_of_the_header_and_text_keeps_its_digits(tmp_path):
    path = write(tmp_path, HEADER + FACES + "end_header\n0.123456789012 255\n2 0.0\n4 0 1 0 1\n")
    vertices, faces = read_ply(path).columns, read_ply(path).faces
    assert vertices["x"].tolist() == [0.123456789012, 2] and vertices["red"].tolist() == [255, 0]
    assert vertices["red"].dtype == np.uint8 and faces.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert read_ply(path, with_faces=False).faces is None


@pytest.mark.parametrize("value", ["300", "-1", "256", "0.5", "nan", "inf", "1e400", str(2**64)])
def test_a_number_that_its_type_does_not_hold_is_refused(tmp_path, value):
    path = write(tmp_path, HEADER + f"end_header\n1 0\n2 {value}\n")
    with pytest.raises(OtocError, match="a.ply, line 8: red of vertex 1 is .*whole numbers 0..255"):
        read_ply(path)


def test_the_line_of_a_wrong_number_counts_blank_ones_and_other_elements(tmp_path):
    text = HEADER.replace("element vertex", "element odd 2\nproperty int a\nelement vertex")
    with pytest.raises(OtocError, match="a.ply, line 13: red of vertex 1 is 0.57"):
        read_ply(write(tmp_path, text + "end_header\n7\n8\n1 0\n\n2 0.57\n"))
    with pytest.raises(OtocError, match="a.ply: red of vertex 1 is 0.57"):  # rows that share a line
        read_ply(write(tmp_path, HEADER + "end_header\n1 0 2 0.57\n"))


def test_several_wrong_lines_of_an_ascii_file_are_told_at_once(tmp_path):
    header = HEADER.replace("vertex 2", "vertex 9").replace("float x", "int x") + "end_header\n"
    lines = ["1 0", "2 0.5", "3 0 9", "x 1", "4 4", "5", "6 6", "7 7", "8 8"]
    with pytest.raises(OtocError) as error:
        read_ply(write(tmp_path, header + "\n".join(lines) + "\n"))
    first = len(header.splitlines()) + 1
    told = [message.partition(": ")[0].rpartition(", ")[2] for message in messages_of(error.value)]
    assert told == [f"line {first + place}" for place in (2, 3, 5)]  # lines first: values count once they are whole
    for line, wrong in ((2, "3 0"), (3, "3.5 1"), (5, "5 999")):
        lines[line] = wrong
    with pytest.raises(OtocError) as error:
        read_ply(write(tmp_path, header + "\n".join(lines) + "\n"))
    told = [message.partition(": ")[2][:24] for message in messages_of(error.value)]
    assert told == ["red of vertex 1 is 0.5, ", "x of vertex 3 is 3.5, it", "red of vertex 5 is 999, i"[:24]]
    with pytest.raises(OtocError) as error:
        read_ply(write(tmp_path, header + "1 0.5\n" * 9))
    assert len(messages_of(error.value)) == 6 and messages_of(error.value)[5].endswith(": 4 more lines that are wrong")


def test_what_is_not_used_is_not_judged(tmp_path):
    header = HEADER.replace("uchar red", "uchar quality") + "property int flags\nproperty float nx\nend_header\n"
    columns = read_ply(write(tmp_path, header + "1 0.5 nan -nan(ind)\n2 1000 3 1.#QNAN\n")).columns
    assert columns["x"].tolist() == [1, 2] and columns["quality"].tolist() == [0.5, 1000]
    assert np.isnan(columns["nx"]).all()


def test_decimal_commas_are_read_and_told(tmp_path):
    vertices = read_ply(write(tmp_path, HEADER + "end_header\n1,5 0\n-2,25 255\n"))
    assert vertices.columns["x"].tolist() == [1.5, -2.25] and vertices.columns["red"].tolist() == [0, 255]
    assert vertices.told == ("its numbers have decimal commas, and are read so",)
    with pytest.raises(OtocError, match="a.ply, line 8: not the numbers of this element for a vertex: '2.5 1,0'"):
        read_ply(write(tmp_path, HEADER + "end_header\n1 0\n2.5 1,0\n"))


@pytest.mark.parametrize("spelled", ["vertex", "Vertex", "VERTEX"])
def test_elements_and_lists_are_known_in_any_case(tmp_path, spelled):
    text = (HEADER + FACES).replace("element vertex", f"element {spelled}").replace("vertex_indices", "Vertex_Indices")
    vertices = read_ply(write(tmp_path, text + "end_header\n1 2\n2 0\n3 0 1 0\n"))
    assert vertices.columns["x"].tolist() == [1, 2] and vertices.faces.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    "comment, vertex, face, says",
    [
        (
            "",
            "",
            "property uchar red\nproperty uchar green\nproperty uchar blue\n",
            "colours on each face .*Face to Vertex",
        ),
        ("comment TextureFile my room.png\n", "", "", r"colours in a texture \(my room.png\) .*Texture to Vertex"),
        ("", "", "property list uchar float texcoord\n", "colours in a texture and none on its points"),
        ("", "property float s\nproperty float t\n", "", "colours in a texture and none on its points"),
        ("", "property float texture_u\nproperty float texture_v\n", "", "colours in a texture"),
        ("", "", "", "has no colours, which the network learns from"),
    ],
)
def test_colours_that_lie_elsewhere_are_named_with_the_cure(tmp_path, comment, vertex, face, says):
    text = "ply\nformat ascii 1.0\n" + comment + "element vertex 2\n"
    text += "".join(f"property float {axis}\n" for axis in "xyz") + vertex + FACES + face + "end_header\n"
    widths = vertex.count("property")
    rows = ("1 2 3" + " 0" * widths + "\n") * 2
    rows += "3 0 1 0" + {3: " 9 9 9", 1: " 2 0 0", 0: ""}[face.count("property")] + "\n"
    path = write(tmp_path, text + rows)
    with pytest.warns(UserWarning, match=f"a.ply: has .*{says.removeprefix('has ')}.*every point is grey"):
        scan = read_scan(path)
    assert (scan.colors == 128).all()


@pytest.mark.parametrize("count", [300, 2**31, 2**40, 2**63, 2**64, 10**30, "9" * 4000, "9" * 5000])
@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("element", ["vertex 2", "face 1"])
def test_no_count_is_believed_before_the_file_is_long_enough(tmp_path, count, kind, element):
    name, number = element.split()
    text = (HEADER + FACES + "end_header\n1 2\n3 4\n3 0 1 0\n").replace("ascii", kind)
    path = write(tmp_path, text.replace(element, f"{name} {count}"))
    with pytest.raises(OtocError, match="a.ply") as caught:
        read_ply(path)  # compiles what is compiled
    assert len(str(caught.value)) < 500
    with at_most(megabytes=1), pytest.raises(OtocError):
        read_ply(path)


def test_a_file_without_vertices_has_no_coordinates(tmp_path):
    text = "ply\nformat ascii 1.0\nelement point 1\nproperty float x\nend_header\n1\n"
    with pytest.raises(OtocError, match="a.ply: has no vertices with x, y and z; its columns are none"):
        read_scan(write(tmp_path, text))


def test_an_element_is_named_once(tmp_path):
    with pytest.raises(OtocError, match="a.ply, line 6: 'element vertex 2'"):
        read_ply(write(tmp_path, HEADER + "element vertex 2\nproperty float x\nend_header\n1 2\n3 4\n5\n6\n"))
