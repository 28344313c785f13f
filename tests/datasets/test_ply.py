import numpy as np
import pytest
from memory import at_most

from otoc_lib.datasets.ply import read_ply
from otoc_lib.errors import OtocError

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


def test_an_element_is_named_once(tmp_path):
    with pytest.raises(OtocError, match="a.ply, line 6: 'element vertex 2'"):
        read_ply(write(tmp_path, HEADER + "element vertex 2\nproperty float x\nend_header\n1 2\n3 4\n5\n6\n"))
