"""The compiled parser against ``float()``, bit by bit, and its errors against the line that was damaged."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import at_most

from otoc_lib.datasets.point_text import count_rows, format_points, line_of_row, read_table
from otoc_lib.errors import OtocError

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
    st.from_regex(r"[+-]?([0-9]{1,25}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n \t\n", "\r\n\r\n"])
SEPARATORS = st.sampled_from([" ", "  ", "\t", " \t ", ",", ", ", " ,"])


def bits(table) -> np.ndarray:
    """Doubles as integers, so that -0 is not 0."""
    return np.asarray(table, dtype=np.float64).view(np.int64)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), columns=st.integers(1, 7), rows=st.integers(1, 8))
def test_every_number_is_the_one_that_python_reads(tmp_path_factory, data, columns, rows):
    tokens = data.draw(st.lists(NUMBERS, min_size=rows * columns, max_size=rows * columns))
    separators = data.draw(st.lists(SEPARATORS, min_size=rows * columns, max_size=rows * columns))
    ends = data.draw(st.lists(LINE_ENDS, min_size=rows, max_size=rows))
    blanks = data.draw(st.sampled_from(["", " ", "\t "]))
    lines = []
    for row in range(rows):
        line = tokens[row * columns]
        for column in range(1, columns):
            line += separators[row * columns + column] + tokens[row * columns + column]
        lines.append(blanks + line + blanks)
    text = "".join(line + end for line, end in zip(lines, ends, strict=True))
    if data.draw(st.booleans()):
        text = text.rstrip("\r\n")
    path = tmp_path_factory.mktemp("table") / "points.txt"
    path.write_bytes(text.encode())
    plain = np.array([float(token) for token in tokens]).reshape(rows, columns)
    if not np.isfinite(plain).all():
        with pytest.raises(OtocError, match="beyond the range of a double"):
            read_table(path)
        return
    np.testing.assert_array_equal(bits(read_table(path, columns)), bits(plain))
    np.testing.assert_array_equal(bits(read_table(path)), bits(plain))
    assert count_rows(path) == rows


@pytest.mark.parametrize(
    "token",
    [
        "9007199254740992",
        "9007199254740993",
        "18446744073709551616",
        "184467440737095516160",
        "1e22",
        "1e23",
        "8.5e-23",
        "0.1e-21",
        "123456789012345678e-40",
        "2.2250738585072011e-308",
        "5e-324",
        "2e-324",
        "-0",
        "+.5",
        "7.",
        "0" * 60 + "1",
        "0." + "0" * 60 + "1",
        "1" + "0" * 60 + "e-60",
        "1.7976931348623157e308",
    ],
)
def test_numbers_at_the_edges_of_the_fast_path(tmp_path, token):
    path = tmp_path / "points.txt"
    path.write_text(f"1 {token}\n")
    assert bits(read_table(path))[0, 1] == bits([float(token)])[0]


def test_many_numbers_with_seventeen_digits(tmp_path):
    table = np.random.default_rng(0).normal(size=(2000, 3)) * 10.0 ** np.arange(-3, 3, 2)
    path = tmp_path / "points.txt"
    np.savetxt(path, table)
    np.testing.assert_array_equal(bits(read_table(path)), bits(np.loadtxt(path)))
    np.testing.assert_array_equal(read_table(path), table)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("1 2 3\n4 5\n6 7 8\n", 2, r"2 columns where 3 are needed: '4 5'"),
        ("1 2 3\r\n\r\n4 5 6 7\r\n", 3, r"4 columns where 3 are needed: '4 5 6 7'"),
        ("1 2 3\r4 x5 6\r", 2, r"'x5' is no number: '4 x5 6'"),
        ("1 2 3\n4 5x 6", 2, r"'5x' is no number"),
        ("1 2 3\n4 5\x0016 6\n", 2, r"'5\\x0016' is no number"),
        ("1 2 3\n1.2.3 4 5\n", 2, r"'1.2.3' is no number"),
        ("1 2 3\n1e 4 5\n", 2, r"'1e' is no number"),
        ("1 2 3\n- 4 5\n", 2, r"'-' is no number"),
        ("1 2 3\n0x10 4 5\n", 2, r"'0x10' is no number"),
        ("1 2 3\n4 ٣ 5\n", 2, r"is no number"),
        ("1 2 3\n\n\n4 NaN 6\n", 4, r"holds 'NaN'"),
        ("1 2 3\n4 5 -inf\n", 2, r"holds '-inf'"),
        ("1 2 3\n4 1e999 6\n", 2, r"'1e999' is beyond the range of a double"),
        ("1,2,3\n4,,6\n", 2, r"two separators"),
        ("1,2,3\n4,5,6,\n", 2, r"two separators"),
        (",1,2\n", 1, r"two separators"),
        ("1 2 3\n4 5", 2, r"ends in the middle of a line, after 2 of 3 columns: '4 5'; it is truncated"),
        ("1 2 3\n4 5 -", 2, r"'-' is no number"),
    ],
)
def test_a_bad_line_is_named_with_its_text(tmp_path, text, line, says):
    path = tmp_path / "points.txt"
    path.write_bytes(text.encode())
    with pytest.raises(OtocError, match=says) as caught:
        read_table(path, columns=3)
    assert str(caught.value).startswith(f"{path}, line {line}: ")


@pytest.mark.parametrize(("content", "says"), [(b"", "empty .0 bytes."), (b" \n\r\n\t", "holds no numbers")])
def test_a_file_without_numbers(tmp_path, content, says):
    path = tmp_path / "points.txt"
    path.write_bytes(content)
    with pytest.raises(OtocError, match=says) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(OtocError, match="points.txt: no such file"):
        read_table(tmp_path / "points.txt")
    with pytest.raises(OtocError, match="cannot be read"):
        read_table(tmp_path)


def test_a_long_line_is_shown_in_part(tmp_path):
    path = tmp_path / "points.txt"
    path.write_text("1 " * 5000 + "x")
    with pytest.raises(OtocError) as caught:
        read_table(path)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_a_byte_order_mark_is_no_number(tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes("\ufeff1,2,3\r\n\r\n4,5,6\r\n".encode())
    np.testing.assert_array_equal(read_table(path), [[1, 2, 3], [4, 5, 6]])
    assert line_of_row(path, 1) == (3, "'4,5,6'")


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60) | st.text("0123456789.,-+eE \t\n\r", max_size=60).map(str.encode))
def test_any_bytes_are_read_as_numpy_reads_them_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("table") / "points.txt"
    path.write_bytes(content)
    try:
        table = read_table(path)
    except OtocError as error:
        assert str(path) in str(error)
        return
    lines = [line.replace(b",", b" ").split() for line in content.replace(b"\r", b"\n").split(b"\n")]
    np.testing.assert_array_equal(table, [[float(token) for token in line] for line in lines if line])


@settings(max_examples=100, deadline=None)
@given(
    millimetres=st.lists(
        st.tuples(*[st.integers(-(10**9), 10**9) | st.integers(-1500, 1500)] * 3, *[st.integers(0, 255)] * 3),
        min_size=1,
        max_size=20,
    )
)
def test_formatted_points_are_what_python_prints_and_come_back_exactly(tmp_path_factory, millimetres):
    table = np.array(millimetres)
    points, colors = table[:, :3] / 1000, table[:, 3:].astype(np.uint8)
    text = format_points(points, colors)
    plain = "".join(
        "{:.3f} {:.3f} {:.3f} {} {} {}\n".format(*point, *color)
        for point, color in zip((points + 0.0).tolist(), colors.tolist(), strict=True)
    )
    assert text.decode() == plain
    path = tmp_path_factory.mktemp("table") / "points.txt"
    path.write_bytes(text)
    np.testing.assert_array_equal(read_table(path, 6), np.concatenate([points, colors], axis=1))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e10])
def test_points_that_have_no_place_in_a_file(bad):
    with pytest.raises(OtocError, match="points: hold NaN, infinity"):
        format_points(np.array([[0, bad, 0]]), np.zeros((1, 3), dtype=np.uint8))


def test_the_columns_of_the_first_line_take_no_memory_for_the_others(tmp_path):
    (tmp_path / "a.xyz").write_text("1 " * 4000 + "\n" + "\n1" * 100_000)
    with pytest.raises(OtocError, match="a.xyz, line 3: 1 columns where 4000 are needed"):
        read_table(tmp_path / "a.xyz")  # compiles what is compiled
    with at_most(megabytes=5), pytest.raises(OtocError):
        read_table(tmp_path / "a.xyz")
