import pytest

from otoc_lib.errors import OtocError
from otoc_lib.outside import MOST_COLUMNS, opening, read_bytes, read_json, read_rows, read_text


def test_what_the_system_refuses_names_the_file(tmp_path):
    with pytest.raises(OtocError, match="nothing: no such file; look elsewhere"):
        with opening(tmp_path / "nothing", missing="look elsewhere"):
            (tmp_path / "nothing").read_bytes()
    with pytest.raises(OtocError, match="secret: cannot be read .Permission denied.; make it a readable file"):
        with opening(tmp_path / "secret"):
            raise PermissionError(13, "Permission denied")
    for read in (read_bytes, read_text, read_json):
        with pytest.raises(OtocError, match=f"{tmp_path.name}: cannot be read .Is a directory"):
            read(tmp_path)
    with pytest.raises(KeyError):  # a fault of ours is not hidden
        with opening(tmp_path):
            raise KeyError("ours")


def test_text_may_begin_with_a_byte_order_mark_and_must_be_utf_8(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert read_text(tmp_path / "a") == "a\r\n"
    (tmp_path / "a").write_bytes(b"caf\xe9")
    with pytest.raises(OtocError, match="a: not a text file in UTF-8"):
        read_text(tmp_path / "a")


def test_json_as_it_was_written(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, -1e3, "NaN", null], "b": 12345678901234567890}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, -1000.0, "NaN", None], "b": 12345678901234567890}


@pytest.mark.parametrize(
    "text", ["", "{", "[NaN]", "[Infinity]", "[-Infinity]", "[1e400]", "[" * 100_000, "9" * 5000, '"\t"', "[1] 2"]
)
def test_what_is_no_json_is_refused_by_file(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(OtocError, match="a.json: damaged or truncated JSON"):
        read_json(tmp_path / "a.json")


def test_rows_with_the_numbers_of_their_lines(tmp_path):
    (tmp_path / "a.csv").write_text('a,b,c\n1,2,3\n\n4,"5\n5",6\n7,8\n9,10,11,12\n')
    assert read_rows(tmp_path / "a.csv", ("c", "a")) == [
        (2, {"a": "1", "b": "2", "c": "3"}),
        (5, {"a": "4", "b": "5\n5", "c": "6"}),
        (6, {"a": "7", "b": "8", "c": None}),
        (7, {"a": "9", "b": "10", "c": "11", None: ["12"]}),
    ]
    (tmp_path / "a.csv").write_text("a\tb\n1\t2\n")
    assert read_rows(tmp_path / "a.csv", ("a",), delimiter="\t") == [(2, {"a": "1", "b": "2"})]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: no column a, b; the file needs a, b"),
        ("a,c\n", "line 1: no column b"),
        ("a,b\n1," + "x" * 200_000, "line 2: no line of a table .field larger"),
        ("a,b," + "x" * 200_000, "line 1: no line of a table .field larger"),
        ("a,b" + ",x" * MOST_COLUMNS, f"line 1: names {MOST_COLUMNS + 2} columns"),  # a row costs memory for each
    ],
)
def test_what_is_no_table_is_refused_by_line(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(OtocError, match=f"a.csv, {words}"):
        read_rows(tmp_path / "a.csv", ("a", "b"))
