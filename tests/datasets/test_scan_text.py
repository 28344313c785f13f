"""Text as programs write it, beside plain tables: read as meant, or refused by what is wrong with the file."""

import gzip
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.scan_text import first_names, holds_points, read_text
from otoc_lib.errors import OtocError, messages_of

POINTS = [[1.23, 4.56, 0.78], [-1.5, 2.5, 30.25]]
COLORS = [[255, 0, 3], [1, 2, 3]]


def read(tmp_path, text, name="a.txt"):
    """The scan, and what it tells but for missing colours."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scan = read_scan(path)
    return scan, [sentence for sentence in scan.told if not sentence.startswith("has no colours")]


def refusal(tmp_path, text, name="a.txt"):
    with pytest.raises(OtocError) as caught:
        read(tmp_path, text, name)
    assert str(caught.value).startswith(str(tmp_path / name))
    return str(caught.value).removeprefix(str(tmp_path / name))


# --- decimal commas


@pytest.mark.parametrize("name", ["a.txt", "a.xyz", "a.csv", "a.asc", "a.pts"])
@pytest.mark.parametrize("mark", [" ", "\t", "  ", ";", "; ", "|"])
@pytest.mark.parametrize("header", ["", "x{}y{}z{}r{}g{}b\n"])
def test_decimal_commas_are_read_as_points(tmp_path, name, mark, header):
    rows = "".join(
        mark.join([*(str(v).replace(".", ",") for v in p), *map(str, c)]) + "\n"
        for p, c in zip(POINTS, COLORS, strict=True)
    )
    scan, told = read(tmp_path, header.format(*[mark] * 5) + rows, name)
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert told == ["its numbers have decimal commas, and are read so"]


def test_decimal_commas_that_begin_late(tmp_path):
    scan, told = read(tmp_path, "1 2 3\n" * 1000 + "1,5 2 3,25\n")
    np.testing.assert_array_equal(scan.points[-2:], [[1, 2, 3], [1.5, 2, 3.25]])
    assert told == ["its numbers have decimal commas, and are read so"]


def test_quoted_decimal_commas_between_commas(tmp_path):
    scan, told = read(tmp_path, '"1,23","4,56","0,78"\n"-1,5","2,5","30,25"\n')
    np.testing.assert_array_equal(scan.points, POINTS)
    assert told == ["its numbers have decimal commas, and are read so"]


@pytest.mark.parametrize(
    "line", ["1.0 2.0 3.0,255 0 0", "1 2 3,255 0 0", "1,2 3.5 4,1", "1.234,56 2,5 3,5", "1.5;2,5;3.5", "1,2 3,4,5 6"]
)
def test_a_comma_of_unclear_meaning_is_refused(tmp_path, line):
    message = refusal(tmp_path, "# made by hand\n" + f"{line}\n" * 3)
    assert message.startswith(", line 2: commas") and "decimal comma" in message and ascii(line) in message


def test_commas_with_blanks_around_them_are_separators(tmp_path):
    scan, told = read(tmp_path, "1.23, 4.56 ,0.78\n-1.5 , 2.5, 30.25\n")
    np.testing.assert_array_equal(scan.points, POINTS)
    assert told == []


# --- other separators, quotes, comments, counts


PLAIN = "1.23 4.56 0.78 255 0 3\n-1.5 2.5 30.25 1 2 3\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(" ", ";"),
        PLAIN.replace(" ", "; "),
        PLAIN.replace(" ", " | "),
        PLAIN.replace(" ", ",").replace("\n", ",\n"),
        PLAIN.replace(" ", ";").replace("\n", ";\n"),
        PLAIN.replace("\n", " ;\n"),
        PLAIN.replace("\n", "\t \n"),
        PLAIN.replace(" ", ",").replace("\n", " , \r\n"),
        '"' + PLAIN.strip().replace(" ", '" "').replace("\n", '"\n"') + '"',
        '"' + PLAIN.strip().replace(" ", '","').replace("\n", '"\n"') + '"\n',
        "'" + PLAIN.strip().replace(" ", "';'").replace("\n", "'\n'") + "'\n",
        "# one\n# two\n\n# three of it\n" + PLAIN,
        "// one\n// x y z are metres\n" + PLAIN,
        "; one\n% two\n# X Y Z R G B\n" + PLAIN.replace("\n", "\n# between\n\n"),
        "2\n" + PLAIN,
        "# a count follows\n2\r\n" + PLAIN.replace("\n", "\r\n"),
        "//X Y Z R G B\n2\n" + PLAIN,
        "//X,Y,Z,R,G,B\n" + PLAIN.replace(" ", ","),
        '"X";"Y";"Z";"R";"G";"B"\n' + PLAIN.replace(" ", ";"),
        "X ; Y ; Z ; R ; G ; B\n" + PLAIN.replace(" ", ";"),
        PLAIN.replace("\n", "\r"),
        "x,y,z,r,g,b,,\n" + PLAIN.replace(" ", ",").replace("\n", ",,\n") + ",,,,,,,\n , ,\n",
        PLAIN.replace(" ", ";") + ";;;;;\n",
        ("\ufeff" + PLAIN).encode(),
        PLAIN.encode("utf-16"),
        ("x\ty\tz\tr\tg\tb\r\n" + PLAIN.replace(" ", "\t")).encode("utf-16-le").join([b"\xff\xfe", b""]),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.pts"])
def test_the_same_points_written_in_many_ways(tmp_path, text, name):
    scan, told = read(tmp_path, text, name)
    np.testing.assert_array_equal(scan.points, POINTS)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert told == []


@settings(max_examples=100, deadline=None)
@given(data=st.data(), columns=st.integers(3, 8), rows=st.integers(1, 6))
def test_however_it_is_written_the_numbers_are_those_of_the_plain_table(tmp_path_factory, data, columns, rows):
    """Quotes, comments, blank lines, separators at the end, decimal commas, columns of text: all at once."""
    mark = data.draw(st.sampled_from([";", "|", "\t", " ; ", " "]))
    comma = data.draw(st.booleans())
    number = st.decimals(-1000, 1000, places=3).map(str) | st.floats(-1e6, 1e6, allow_nan=False).map(repr)
    table = [[data.draw(number) for _ in range(columns)] for _ in range(rows)]
    names = ["x", "y", "z", *(f"other{i}" for i in range(columns - 3)), "class"]
    classes = [data.draw(st.sampled_from(["wall", "door frame" if mark != " " else "door", "", "3"])) for _ in table]
    if mark == " ":
        classes = [word or '""' for word in classes]
    lines = [mark.join(names)]
    for row, word in zip(table, classes, strict=True):
        cells = [cell.replace(".", ",") if comma else cell for cell in row]
        quoted = [f'"{cell}"' if data.draw(st.booleans()) else cell for cell in cells]
        lines += data.draw(st.lists(st.sampled_from(["", "# note; 1 2 3", "  // x, y"]), max_size=2))
        lines.append(
            mark.join([*quoted, word]) + data.draw(st.sampled_from(["", " ", mark.strip()] if mark.strip() else [""]))
        )
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(end.join([*lines, ""]).encode())
    found = read_text(path).columns
    plain = np.array([[float(cell) for cell in row] for row in table])
    np.testing.assert_array_equal(np.stack([found[name] for name in "xyz"], axis=1), plain[:, :3])
    words = [word.replace('""', "") for word in classes]
    if found["class"].dtype.kind == "f":
        np.testing.assert_array_equal(found["class"], [float(word) if word else np.nan for word in words])
    else:
        assert found["class"].tolist() == words


def test_leica_writes_the_intensity_before_the_colours(tmp_path):
    rows = "1 2 3 -1024 10 20 30\n4 5 6 200 40 50 60\n"
    scan, told = read(tmp_path, "2\n" + rows, "a.pts")
    assert scan.points.tolist() == [[1, 2, 3], [4, 5, 6]] and scan.colors.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert scan.left_out == ("intensity",) and told == []
    scan, told = read(tmp_path, "2\n1 2 3 100\n4 5 6 120\n", "a.pts")
    assert scan.points.tolist() == [[1, 2, 3], [4, 5, 6]] and scan.left_out == ("intensity",)
    scan, told = read(tmp_path, "2\n" + rows + "1\n7 8 9 7 1 2 3\n", "a.pts")
    assert scan.points[2].tolist() == [7, 8, 9] and len(told) == 1
    assert told[0].startswith("holds 2 scans one after the other, read as one; otoc split-scans")


def test_counts_that_are_not_those_of_the_points(tmp_path):
    assert refusal(tmp_path, "3\n" + PLAIN) == ": 2 of the 3 points it announces; copy it again"
    assert refusal(tmp_path, "2\n" + PLAIN + "3\n" + PLAIN) == ": 4 of the 5 points it announces; copy it again"
    assert read(tmp_path, "1\n" + PLAIN)[1] == ["announces 1 points and holds 2; all are read"]


# --- columns that are not needed


@pytest.mark.parametrize("waste", ["nan", "NaN", "-nan(ind)", "1.#QNAN", "", "-", "n/a", "inf", "no number", "1e999"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_a_column_holds_that_is_not_used_does_not_matter(tmp_path, waste, mark):
    rows = ["x y z note r g b".split(), "1 2 3 7 10 20 30".split(), ["4", "5", "6", waste, "40", "50", "60"]]
    scan, told = read(tmp_path, "".join(mark.join(row) + "\n" for row in rows), "a.csv")
    assert scan.points.tolist() == [[1, 2, 3], [4, 5, 6]] and scan.colors.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert scan.left_out == ("note",) and told == []


@pytest.mark.parametrize("waste", ["nan", "", "null"])
def test_a_column_without_a_name_may_lack_numbers(tmp_path, waste):
    rows = [f"{i / 2},{i % 7},{i % 3},{waste if i == 3 else -i / 8},{i},{255 - i},{3 * i % 256}\n" for i in range(40)]
    scan, told = read(tmp_path, "".join(rows), "a.csv")
    assert scan.colors[3].tolist() == [3, 252, 9] and told == ["column 4 without a name is left out"]


def test_classes_as_text_are_a_column_of_the_scan(tmp_path):
    scan, told = read(tmp_path, "x,y,z,r,g,b,class\n1,2,3,1,2,3,chair\n4,5,6,7,8,9,office table\n", "room.csv")
    assert scan.class_name == "class" and scan.classes.tolist() == ["chair", "office table"] and told == []
    scan, told = read(tmp_path, "1 2 3 chair\n4 5 6 table\n")
    assert scan.class_name == "column 4" and scan.classes.tolist() == ["chair", "table"]
    assert told == ["column 4 without a name holds text, which is taken for the class"]
    scan, told = read(tmp_path, "x,y,z,class\n1,2,3,5\n4,5,6,sofa\n")
    assert scan.classes.tolist() == ["5", "sofa"]
    scan, told = read(tmp_path, "x,y,z,class,note\n1,2,3,5,a\n4,5,6,,b\n")
    np.testing.assert_array_equal(scan.classes, [5, np.nan])


@pytest.mark.parametrize(
    "text, says",
    [
        ("x,y,z,r,g,b,q\n1,2,3,1,2,3,t\n4,5,6,7,8,nan,t\n", ", line 3: holds 'nan': '4,5,6,7,8,nan,t'"),
        ("x,y,z,r,g,b,q\n1,2,3,#ff,2,3,t\n", ", line 2: '#ff' is no number: '1,2,3,#ff,2,3,t'"),
        ("//X Y Z R G B\n1 2 3 4 5 6 7\n", ", line 1: names X, Y, Z, R, G, B for 7 columns; name every column"),
        ("x;y;z\n1;2;3\n\n# four\n4;;6\n", ", line 5: holds 'nothing': '4;;6'"),
        ("# a\n# b\n1;2;3\n4;five;6\n", ", line 4: 'five' is no number: '4;five;6'"),
        ("1;2;3\n4;5\n6;7;8\n", ", line 2: 2 columns where 3 are needed: '4;5'"),
        ("1;2;3\n4;5;6;7\n", ", line 2: 4 columns where 3 are needed: '4;5;6;7'"),
        ("1|2|3\n4|5", ", line 2: the file ends in the middle of a line, after 2 of 3 columns: '4|5'"),
        ("1;2;3\n4;5;1e999\n", ", line 2: '1e999' is beyond the range of a double"),
        ("1 2 3\n4 x 6\n", ", line 2: 'x' is no number: '4 x 6'"),
        (
            "1.234,5;2,5;3,5\n",
            ", line 1: '1.234,5' is no number: '1.234,5;2,5;3,5'; export it without signs between the thousands",
        ),
        (
            'x,y,z\n1,2,3\n"1,234.5",2,3\n',
            """, line 3: '1,234.5' is no number: '"1,234.5",2,3'; export it without signs between the thousands""",
        ),
        ("x;y;z\n1;2;3\n1'234'567;2;3\n", """, line 3: "1'234'567" is no number: "1'234'567;2;3"; export it"""),
        ("1 2 3 4 5 6\n4 5 6 7 x 9\n", ", line 2: 'x' is no number: '4 5 6 7 x 9'"),
        ("x,y\n1,2,3\n", ", line 1: names x, y for 3 columns; name every column"),
        ("title\nx,y,z\n1,2,3,4\n", ", line 2: names x, y, z for 4 columns; name every column"),
        ("only words here\nand there\n", ", line 1: no line of the file holds numbers, such as 1.5"),
        ("7\n", ": 1 columns; write x y z"),
    ],
)
def test_a_line_that_is_at_fault_is_named_as_it_stands_in_the_file(tmp_path, text, says):
    assert refusal(tmp_path, text).startswith(says)


def test_a_title_is_left_out_and_told(tmp_path):
    scan, told = read(tmp_path, "Scan of the hall\nx y z r g b\n" + PLAIN)
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert told == ["line 1 is no line of points and left out: 'Scan of the hall'"]


def test_excel_says_which_separator_it_has_taken(tmp_path):
    scan, told = read(tmp_path, "sep=;\n" + "X [m];Y [m];Z [m];R;G;B\n" + PLAIN.replace(" ", ";"), "a.csv")
    np.testing.assert_array_equal(scan.colors, COLORS)
    assert told == []


def test_names_twice_or_missing_are_told_apart(tmp_path):
    vertices = read_text(tmp_path.joinpath("a.csv").write_text("x,y,z,q,q,\n1,2,3,4,5,6\n") and tmp_path / "a.csv")
    assert list(vertices.columns) == ["x", "y", "z", "q", "q (column 5)", " (column 6)"]


@pytest.mark.parametrize(
    "text, has_points",
    [
        ("MIT License\n\nCopyright 2021\n1. You may\n", False),
        ("scanned on 3 May 2021\n", False),
        ("# x y z\n1 2 3\n", True),
        ("12\n1,5;2,5;3,5\n", True),
        ("x y z\n", False),
        ("", False),
    ],
)
def test_notes_hold_no_points(tmp_path, text, has_points):
    (tmp_path / "a.txt").write_text(text)
    assert holds_points(tmp_path / "a.txt") == has_points


@pytest.mark.parametrize("line", ["scene,point,x,y,z,class,object", "Scene; X; Y; Z; Class", '"scene"\t"x"\t"class"'])
def test_the_names_of_the_first_line(tmp_path, line):
    (tmp_path / "a.csv").write_text(line + "\nroom,1,2,3,wall\n")
    assert {"scene", "class"} <= first_names(tmp_path / "a.csv")


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=60) | st.text("0123456789.,;|\"'#-+eEnaxyz \t\n\r", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(content)
    try:
        columns = read_text(path).columns
    except OtocError as error:
        assert str(path) in str(error)
        return
    assert len({len(values) for values in columns.values()}) <= 1


# --- several faults of one file


GOOD = [f"{i}.5 {i + 1}.25 0.5 {i} 20 30" for i in range(1, 21)]  # line i holds the i-th


def faults_of(tmp_path, changes, name="a.xyz", lines=GOOD):
    """What is said of a file some of whose lines, by their numbers, are others."""
    lines = list(lines)
    for line, text in changes.items():
        lines[line - 1] = text
    path = tmp_path / name
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(OtocError) as error:
        read_scan(path)
    messages = messages_of(error.value)
    assert all(message.startswith(str(path)) for message in messages)
    return [message.removeprefix(str(path)) for message in messages]


@pytest.mark.parametrize("name", ["a.xyz", "a.xyz.gz"])
def test_a_decimal_comma_and_a_wrong_count_of_columns_are_told_at_once(tmp_path, name):
    first, second = faults_of(tmp_path, {5: "5,5 6.25 0.5 5 20 30", 9: "9.5 10.25 0.5 9 20"}, name)
    assert first.startswith(", line 5: commas between or in numbers, and blanks or points besides: '5,5 6.25 0.5")
    assert second.startswith(", line 9: 5 columns where 6 are needed: '9.5 10.25 0.5 9 20'; repair")


def test_a_line_without_a_place_and_colours_out_of_range_are_told_at_once(tmp_path):
    changes = {3: "3.5 nan 0.5 3 20 30"} | {i: f"{i}.5 1 0.5 -90 20 30" for i in range(8, 19)}
    first, second = faults_of(tmp_path, changes)
    assert first.startswith(", line 3: holds 'nan': '3.5 nan 0.5 3 20 30'")
    assert second.startswith(": colours from -90 to 30; they must be")


@pytest.mark.parametrize("header", [None, "x y z r g b", "# x;y;z;r;g;b"])
def test_so_many_faults_are_named_and_the_others_counted(tmp_path, header):
    lines = [] if header is None else [header]
    mark = ";" if header and ";" in header else " "
    lines += [line.replace(" ", mark) for line in GOOD]
    shift = len(lines) - len(GOOD)
    bad = {
        2: "1 2 3",
        4: "1 2 x 1 2 3",
        5: "- 2 3 1 2 3",
        7: "1 2 3 4 5 6 7",
        11: "1 2 3 1 2 nan",
        12: "1 2",
        13: "a b c d e f",
    }
    said = faults_of(tmp_path, {line + shift: text.replace(" ", mark) for line, text in bad.items()}, lines=lines)
    assert [message.split(":")[0] for message in said[:5]] == [f", line {line + shift}" for line in (2, 4, 5, 7, 11)]
    assert said[5:] == [": 2 more lines that are wrong"]


def test_where_no_line_can_be_read_all_that_is_known_is_told(tmp_path):
    said = faults_of(tmp_path, {}, lines=["x y z", "1 2 inf", "nan 2 3", "4 5 6 7"])
    assert [message.split(":")[0] for message in said] == [", line 2", ", line 3", ", line 4"]


def test_a_million_lines_of_faults_take_no_time(tmp_path):
    said = faults_of(tmp_path, {}, lines=["x y z", "1 2 3"] + ["1 2"] * 300_000 + ["1 2 nan"] * 300_000)
    assert len(said) == 6 and said[5] == ": 599995 more lines that are wrong"


def test_a_point_among_decimal_commas_is_no_number(tmp_path):
    """As where it separates thousands: 1.234 is read as 1234 there."""
    lines = ["x;y;z", *(f"{i},5;2,5;3" for i in range(300))]
    (said,) = faults_of(tmp_path, {290: "1.234;2,5;3"}, lines=lines)
    assert said.startswith(", line 290: '1.234' is no number")
    (said,) = faults_of(tmp_path, {29: "1.234;2,5;3"}, lines=lines)
    assert "commas between or in numbers" in said


def test_a_count_is_compared_with_the_lines_there_are(tmp_path):
    said = faults_of(tmp_path, {3: "1 2 3"}, "a.pts", ["20", *GOOD])
    assert len(said) == 1 and said[0].startswith(", line 3: 3 columns")


# --- further habits of programs


@pytest.mark.parametrize(
    "text",
    [
        "1.23\t4.56  0.78 \t255\t 0  3\t\n-1.5\t2.5\t30.25   1 2 3 \n",  # tabs and blanks, as editors leave them
        "* exported\n! by hand\n1.23 4.56 0.78 255 0 3\n! a second block\n-1.5 2.5 30.25 1 2 3\n",
        "1.23 4.56 0.78 255 0 3\r\n-1.5 2.5 30.25 1 2 3\r\n\x1a",  # DOS ends a text so
    ],
)
def test_habits_that_change_nothing(tmp_path, text):
    scan, told = read(tmp_path, text)
    assert scan.points.tolist() == POINTS and scan.colors.tolist() == COLORS and told == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(1, 2, 3)\n(4, 5, 6)\n", ", line 1: each line is in brackets: '(1, 2, 3)'; export it without them"),
        ("1.5D+00 2.5D+00 3.5D+00\n", ", line 1: no line of the file holds numbers, such as 1.5 or 1.5e0"),
        (
            "scan\n1:2:3\n",
            ", line 2: no line of the file holds numbers, such as 1.5 or 1.5e0, between separators: '1:2:3'",
        ),
        (
            "2\n1\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n1 2 3 0.5\n4 5 6 0.5\n",
            ": seems to be a PTX, which has columns, rows and places of the scanner before its points; open it in",
        ),
    ],
)
def test_a_trait_of_the_whole_file_is_named_as_one(tmp_path, text, says):
    assert refusal(tmp_path, text, "a.xyz").startswith(says)


@pytest.mark.parametrize("name", ["color", "rgb"])  # which may also hold numbers
def test_colours_as_text_are_named_with_the_cure(tmp_path, name):
    scan, told = read(tmp_path, f"x,y,z,{name}\n1,2,3,#ff0010\n4,5,6,#00ff00\n", "a.csv")
    assert scan.color_scale == "none, every point is grey" and scan.points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert told == [
        f"has its colours as text, '#ff0010' in its column {name}; write them as three columns red, green and blue; "
        "until then every point is grey"
    ]


def test_points_at_one_place_are_no_scan(tmp_path):
    assert refusal(tmp_path, "1 2 3\n" * 12).startswith(": all its 12 points lie at (1, 2, 3); export it again")
