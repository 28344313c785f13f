import csv
import io
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otoc_lib.csv_table import MOST_COLUMNS, number, read_rows
from otoc_lib.errors import OtocError


def write(folder, text, encoding="utf-8"):
    path = folder / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def test_rows_with_the_numbers_of_their_lines(tmp_path):
    path = write(tmp_path, 'a,b,c\n1,2,3\n\n4,"5\n5",6\n7,8\n9,10,11,12\n')
    assert read_rows(path, ("c", "a")) == [
        (2, {"a": "1", "b": "2", "c": "3"}),
        (4, {"a": "4", "b": "5\n5", "c": "6"}),
        (6, {"a": "7", "b": "8", "c": None}),
        (7, {"a": "9", "b": "10", "c": "11", None: ["12"]}),
    ]


SAVED = {  # by which program
    "as it should be": "scene,x,class\nroom,1.5,big chair\nhall,-2,wall\n",
    "Excel, German": "scene;x;class\r\nroom;1,5;big chair\r\nhall;-2;wall\r\n",
    "Excel, with its hint": "sep=;\r\nscene;x;class\r\nroom;1.5;big chair\r\nhall;-2;wall\r\n",
    "Excel, with its hint in columns": '"sep=|"\nscene|x|class\nroom|1.5|big chair\nhall|-2|wall\n',
    "Excel, tabs": "scene\tx\tclass\r\nroom\t1.5\tbig chair\r\nhall\t-2\twall\r\n",
    "Excel, tabs, German": "scene\tx\tclass\r\nroom\t1,5\tbig chair\r\nhall\t-2\twall\r\n",
    "columns and rows that were emptied": "scene,x,class,,\nroom,1.5,big chair,,\n,,,,\nhall,-2,wall,,\n,,,,\n\n",
    "empty columns behind the names'": "scene,x,class\nroom,1.5,big chair,,\nhall,-2,wall, \n",
    "blanks behind commas": "scene, x, class\nroom, 1.5, big chair\nhall, -2, wall\n",
    "quotes behind blanks": 'scene, x, class\n"room", 1.5, "big chair"\nhall, -2, wall\n',
    "all in quotes": '"scene","x","class"\n"room","1.5","big chair"\n"hall","-2","wall"\n',
    "decimal commas in quotes": '"scene","x","class"\n"room","1,5","big chair"\n"hall","-2","wall"\n',
    "old Macintosh": "scene,x,class\rroom,1.5,big chair\rhall,-2,wall\r",
    "bars": "scene|x|class\nroom|1.5|big chair\nhall|-2|wall",
    "other columns between": "class;note;Scene;X\nbig chair;a, b;room;1,5\nwall;;hall;-2\n",
    "capitals": "SCENE,X,Class\nroom,1.5,big chair\nhall,-2,wall\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", SAVED.values(), ids=SAVED)
def test_one_table_saved_by_many_programs(tmp_path, text, encoding):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = read_rows(write(tmp_path, text, encoding), ("scene", "x", "class"), numbers=("x",), complete=True)
    kept = [(row["scene"].strip(), number(row["x"]), row["class"].strip()) for _, row in rows]
    assert kept == [("room", 1.5, "big chair"), ("hall", -2.0, "wall")]
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for (line, _), name in zip(rows, ("room", "hall"), strict=True):
        assert name in lines[line - 1]


def test_text_of_windows_is_read_and_told(tmp_path):
    path = write(tmp_path, "scene;class\nroom;wall\nroom;Tür\n", "cp1252")
    with pytest.warns(UserWarning, match="a.csv, line 3: not UTF-8; the text is read as Windows-1252"):
        assert [row["class"] for _, row in read_rows(path, ("scene", "class"))] == ["wall", "Tür"]


def test_a_row_of_several_lines_has_the_number_of_its_first(tmp_path):
    path = write(tmp_path, 'a,b,notes\n1,2,"one\ntwo"\n3,4,five inches 5"\n5,6,"the\r\nlast"\n')
    rows = read_rows(path, ("a", "b"))
    assert [(line, row["a"], row["notes"]) for line, row in rows] == [
        (2, "1", "one\ntwo"),
        (4, "3", 'five inches 5"'),
        (5, "5", "the\r\nlast"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: is empty; it needs names of columns, a, b, and rows below"),
        ("sep=;\n \n", "line 2: is empty; it needs names of columns, a, b"),
        ("a,c\n", "line 1: no column b in 'a,c', which has commas between columns; the file needs a, b"),
        ("a;c\n", "line 1: no column b in 'a;c', which has semicolons between"),
        ("a b\n1 2\n", "line 1: no column a, b in 'a b', which has no commas, semicolons or tabs"),
        ("sep=,\na;b\n1;2\n", "line 2: no column a, b in 'a;b', which has no commas"),
        ("a,b,A\n1,2,3\n", "line 1: names the column a twice in 'a,b,A'; keep one"),
        ("a,b\n1," + "x" * 200_000, "line 2: no line of a table .field larger"),
        ("a,b," + "x" * 200_000, "line 1: no line of a table .field larger"),
        ('a,b\n1,2\n"3,4\n' + "5,6\n" * 40_000, "line 3: no line of a table .field larger"),
        ('a,b\n1,2\n"3,4\n5,6\n', "line 3: a quote is opened there and closed nowhere; repair the line"),
        ('a,b\n1,"2\n3,4\n', "line 2: a quote is opened there and closed nowhere"),
        ('"a,b\n1,2\n', "line 1: no column a, b in '\"a,b', which has no commas"),
        ('a,b\n"1,2\n3,4\n5",6,7\n', "line 2: has 3 columns"),
        ("a,b" + ",x" * MOST_COLUMNS, f"line 1: names {MOST_COLUMNS + 2} columns"),  # a row costs memory for each
        ("a,b\n1\n", "line 2: has nothing in b; complete or delete the line"),
        ("a,b\n1,2,3\n", "line 2: has 3 columns, line 1 names 2; with decimal commas, put semicolons between"),
        ("a;b\n1;2;3\n", "line 2: has 3 columns, line 1 names 2$"),
        ("a;b\n1.5;2\n3;4,5\n", "line 3: b is '4,5', and line 2 holds '1.5': commas and points in"),
        ("a;b\n1.234,5;2\n", "line 2: a is '1.234,5', and line 2 holds '1.234,5': commas and points in"),
        ('a,b\n"1,234",2\n', "line 2: a is '1,234': with a decimal comma, or one between thousands"),
        ("a\tb\n7\t1,234,567\n", "line 2: b is '1,234,567': with a decimal comma, or one between thousands"),
    ],
)
def test_what_is_no_table_is_refused_by_line(tmp_path, text, words):
    with pytest.raises(OtocError, match=f"a.csv, {words}"):
        read_rows(write(tmp_path, text), ("a", "b"), numbers=("a", "b"), complete=True)


@pytest.mark.parametrize("data", [b"a,b\n\xff,\0\n", "a;b\n1;ü\n".encode("utf-16-le"), b"a,b\n1,\x81\n"])
def test_what_is_no_text_is_refused(tmp_path, data):
    with pytest.raises(OtocError, match="a.csv: not a text file in UTF-8|a.csv, line 1: (no column|is empty)"):
        read_rows(write(tmp_path, data), ("a", "b"))


@given(
    rows=st.lists(st.tuples(st.text('abc ;,|\t"\u00e9', min_size=1), st.floats(-1e6, 1e6)), max_size=6),
    separator=st.sampled_from(",;\t|"),
    comma=st.booleans(),
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows, separator, comma):
    if any(not name.strip() for name, _ in rows):
        return
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator)
    writer.writerow(["Name", "X"])
    for name, x in rows:
        cell = f"{x:.4f}"
        writer.writerow([name, cell.replace(".", ",") if comma else cell])
    path = write(tmp_path_factory.getbasetemp(), file.getvalue())
    found = read_rows(path, ("name", "x"), numbers=("x",), complete=True)
    assert [(row["name"], number(row["x"])) for _, row in found] == [(name, float(f"{x:.4f}")) for name, x in rows]


@pytest.mark.parametrize(
    ("cell", "value"), [("7", 7), (" -1 ", -1), ("+3.0", 3), ("20088.", 20088), ("9" * 19, int("9" * 19))]
)
def test_whole_numbers(cell, value):
    found = number(cell, whole=True)
    assert found == value and type(found) is int


@pytest.mark.parametrize("cell", [None, "", "1.5", "1e3", "1_000", "x", "9" * 20, "\u0663", "nan", "1,0"])
def test_what_is_no_whole_number(cell):
    with pytest.raises(ValueError, match="is no whole number"):
        number(cell, whole=True)


@pytest.mark.parametrize("cell", [None, "", "nan", "inf", "1_0", "1,5", "0x10", "1e999", "1 2", "\u0663"])
def test_what_is_no_number(cell):
    with pytest.raises(ValueError, match="is no number"):
        number(cell)
    assert number(" -1.5e-3 ") == -0.0015 and number(".5") == 0.5 and number("5.") == 5.0
