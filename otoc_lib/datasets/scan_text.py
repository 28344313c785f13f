"""Reader of scans as text: .xyz, .txt, .csv, .asc, .pts, one point a line.

Plain tables, numbers between blanks or single commas, go through the fast parser of ``point_text`` as they are. What
else a program may write is found out from the first lines, and the points rewritten as a plain table before they are
parsed: other separators, decimal commas, quotes, comments, a separator at each line's end, columns that hold text or
nothing. Line numbers in messages are those of the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from otoc_lib.datasets.other_formats import CLOUD_COMPARE
from otoc_lib.datasets.point_text import (
    MOST_DIGITS,
    byte_order_mark,
    columns_fault,
    parse_table,
    read_bytes,
    text_of_line,
)
from otoc_lib.datasets.scan_columns import AXES, CLASSES, MOST_SHOWN, find_columns, is_meant, plain_name
from otoc_lib.datasets.vertices import MOST_FAULTS, SPLIT, Vertices, unnamed
from otoc_lib.errors import OtocError, error_of
from otoc_lib.jit import compiled
from otoc_lib.outside import opening

HEAD = 1 << 16  # bytes from which the traits of a file are found out
SAMPLE = 200  # lines of points among them
LONGEST_TEXT = 100  # bytes of a class's name
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}([,.' \xa0\u2019\u202f]\d{3})+([,.]\d*)?")  # 1,234.5
NO_THOUSANDS = "export it without signs between the thousands"
NOTHING = re.compile(
    r"[+-]?(nan|inf|infinity|1\.#\w+)(\(\w*\))?|null|none|na|n/a|-|", re.IGNORECASE
)  # what stands where there is no number

BRACKETS = ("(", "[", "{", "<")

HEX_COLOR = re.compile(r"(#|0x)[0-9a-f]{6}([0-9a-f]{2})?", re.IGNORECASE)

LEICA = {  # .pts says what its columns are
    4: ("x", "y", "z", "intensity"),
    7: ("x", "y", "z", "intensity", "red", "green", "blue"),
}

BLANK, LINE_END = ord(" "), ord("\n")


@dataclass(frozen=True)
class _Traits:
    """How a file writes a line of points."""

    separator: int = BLANK  # byte; BLANK: any blanks and tabs
    decimal_comma: bool = False
    quoted: bool = False

    @property
    def is_plain(self) -> bool:
        return chr(self.separator) in " \t," and not self.decimal_comma and not self.quoted

    def split(self, text: str) -> list[str]:
        """The fields of a line, without quotes; one separator at its end counts for nothing."""
        text = _bare_end(text)
        if self.separator == BLANK:
            found = re.findall(r"\"[^\"]*\"?|'[^']*'?|[^ \t]+", text)
        else:
            mark = re.escape(chr(self.separator))
            found = re.findall(rf"(?:^|{mark})[ \t]*(\"[^\"]*\"?|'[^']*'?|[^{mark}]*)", text)
        return [part.strip(" \t").strip("\"'").strip() for part in found]

    def is_number(self, text: str) -> bool:
        return bool(NUMBER.fullmatch(text.replace(",", ".") if self.decimal_comma else text))


@dataclass(frozen=True)
class _Preamble:
    """What comes before the first line of points."""

    start: int  # first byte of that line
    line: int  # its number
    count: int | None  # the number of points that a line announces
    lines: tuple[tuple[int, str], ...]  # number and text of all others


def read_text(path: Path) -> Vertices:
    """Read a scan as text.

    Returns:
        Vertices: the columns that a line before the points names, or unnamed ones. Numbers are float64, NaN where a
        column that is not needed holds none; a column may be text. Of a table that is not plain, columns that mean
        nothing to the kit are left unread.

        Lines that hold another number of columns, or no number where one is needed, are its ``faults``.

    Raises:
        OtocError: the file is missing, empty or truncated, mixes separators, or no line of it can be read; the message
            names the file and the line and shows its text.
    """
    data = _without_end_mark(_in_utf8(read_bytes(path)))
    preamble = _read_preamble(path, data)
    rows = _sample(data, preamble)
    traits = _find_traits(path, rows)
    names, fields, told = _read_names(path, preamble, traits, rows[0][1])
    table: Vertices | None = None
    counts: list[int] = []
    if traits.is_plain and all(map(traits.is_number, fields)):
        try:
            numbers = parse_table(data, path, len(fields), preamble.start, preamble.line)
            table = Vertices(dict(zip(names or unnamed(fields), numbers.T, strict=True)))
        except OtocError as error:  # may be none once the lines are rewritten
            failed = re.match(re.escape(f"{path}, line ") + r"(\d+): ", str(error))
            if failed is None:
                raise
            place = _start_of_line(data, preamble.start, preamble.line, int(failed[1]))
            traits = _find_traits(path, [*rows, *((line, text) for line, text, _ in islice(_lines(data, place), 1))])
            names, fields, told = _read_names(path, preamble, traits, rows[0][1])
    if table is None:
        table, counts = _read_rewritten(path, data, preamble, traits, names, fields)
    columns = table.columns
    if traits.decimal_comma:
        told.append("its numbers have decimal commas, and are read so")
    if counts:
        told.append(f"holds {len(counts) + 1} scans one after the other, read as one; {SPLIT}")
    found = len(next(iter(columns.values())))
    if preamble.count is not None:
        _compare_counts(path, preamble.count + sum(counts), found + table.num_faults, told)
    each = [preamble.count or found - sum(counts), *counts]
    parts = tuple((f"scan {number}", count) for number, count in enumerate(each, start=1) if sum(each) == found)
    if path.suffix.lower() == ".pts" and names is None and len(columns) in LEICA:
        columns = dict(zip(LEICA[len(columns)], columns.values(), strict=True))
    parts = parts if counts else ()
    elsewhere = _colors_as_text(names, fields)
    return replace(table, columns=columns, told=tuple(told), parts=parts, elsewhere=elsewhere)


def _colors_as_text(names: list[str] | None, fields: list[str]) -> str:
    """What to say of a column of colours as web pages write them, by the first line; else nothing."""
    for name, field in zip(names or [""] * len(fields), fields, strict=True):
        if HEX_COLOR.fullmatch(field):
            which = f"its column {name}" if name else "a column"
            return f"has its colours as text, {field!r} in {which}; write them as three columns red, green and blue"
    return ""


def _compare_counts(path: Path, announced: int, found: int, told: list[str]) -> None:
    if found < announced:
        raise OtocError(f"{path}: {found} of the {announced} points it announces; copy it again")
    if found > announced:
        told.append(f"announces {announced} points and holds {found}; all are read")


def holds_points(path: Path) -> bool:
    """Whether a text file has a line of points near its beginning, as a licence or notes have not."""
    rows = (_loosely(text) for _, text, _ in _lines(_read_head(path)) if not _is_comment(text))
    return any(sum(bool(NUMBER.fullmatch(word)) for word in row) >= 3 for row in rows)


def first_names(path: Path) -> set[str]:
    """What the first line of a text file names, as names are compared, if it is a line of names."""
    first = next((text for _, text, _ in _lines(_read_head(path)) if text.strip()), "")
    return {plain_name(word) for word in re.split(r"[,;|\t]", first)}


def _read_head(path: Path) -> np.ndarray:
    with opening(path), open(path, "rb") as file:
        return _in_utf8(np.frombuffer(file.read(HEAD) + b"\n", dtype=np.uint8))


# --- how the file is written


def _in_utf8(data: np.ndarray) -> np.ndarray:
    """Bytes in UTF-8 of a file that a Windows program saved as "Unicode text", in 16 bits a letter."""
    if data[:2].tobytes() not in (b"\xff\xfe", b"\xfe\xff"):
        return data
    text = data[:-1].tobytes().decode("utf-16", errors="replace")
    return np.frombuffer(text.encode() + b"\n", dtype=np.uint8)


def _without_end_mark(data: np.ndarray) -> np.ndarray:
    """Bytes without the Ctrl-Z by which programs of DOS end a text."""
    if len(data) > 1 and data[-2] == 26:
        return np.append(data[:-2], data[-1])
    return data


def _lines(data: np.ndarray, start: int = 0, line: int = 1) -> Iterator[tuple[int, str, int]]:
    """Number, text without blanks around it (but with tabs), and first byte of each line from one on."""
    place, size = max(start, byte_order_mark(data)), HEAD
    while place < len(data):
        head = data[place : place + size].tobytes()
        end = 0
        for match in re.finditer(rb"([^\r\n]*)(\r\n|\n|\r(?!\Z))", head):
            yield line, match[1].decode(errors="replace").strip(" "), place + match.start()
            line, end = line + 1, match.end()
        if not end and place + size >= len(data):
            return  # a last \r
        place, size = (place + end, HEAD) if end else (place, 4 * size)


def _read_preamble(path: Path, data: np.ndarray) -> _Preamble:
    if len(data) == 1:
        raise OtocError(f"{path}: is empty (0 bytes); copy it again or leave it out")
    others: list[tuple[int, str]] = []
    announced = None  # count, number and first byte of its line
    for number, text, start in _lines(data):
        if not text.strip():
            continue
        if _is_comment(text) or not _holds_numbers(text):
            others.append((number, text))
            continue
        fields = _loosely(text)
        if announced is None and len(fields) == 1 and fields[0].isdecimal() and len(fields[0]) < MOST_DIGITS:
            announced = int(fields[0]), number, start
        elif len(fields) == 1 and fields[0].isdecimal() and _is_ptx(data, start, number):
            raise OtocError(
                f"{path}: seems to be a PTX, which has columns, rows and places of the scanner before its points; "
                f"{CLOUD_COMPARE}"
            )
        elif announced is None or len(fields) >= 3:
            return _Preamble(start, number, announced and announced[0], tuple(others))
        else:
            break
    if announced is None:
        if others:
            line, text = next((other for other in others if any(map(str.isdigit, other[1]))), others[0])
            _check_brackets(path, line, text)
            raise OtocError(
                f"{path}, line {line}: no line of the file holds numbers, such as 1.5 or 1.5e0, between separators: "
                f"{ascii(text[:80])}; export it again or leave it out"
            )
        raise OtocError(f"{path}: holds no numbers, only blank lines; copy it again or leave it out")
    return _Preamble(announced[2], announced[1], None, tuple(others))  # a table of one column, or two


def _check_brackets(path: Path, line: int, text: str) -> None:
    if text.strip().startswith(BRACKETS):
        raise OtocError(f"{path}, line {line}: each line is in brackets: {ascii(text[:80])}; export it without them")


def _is_ptx(data: np.ndarray, start: int, line: int) -> bool:
    """Whether a second line of one number is the one of a PTX: a position, three axes and a matrix follow."""
    lines = (text for _, text, _ in _lines(data, start, line) if text.strip())
    return [len(_loosely(text)) for text in islice(lines, 9)] == [1, 3, 3, 3, 3, 4, 4, 4, 4]


def _sample(data: np.ndarray, preamble: _Preamble) -> list[tuple[int, str]]:
    """Numbers and texts of the first lines of points."""
    lines = _lines(data, preamble.start, preamble.line)
    return [(line, text) for line, text, _ in islice(lines, SAMPLE) if text.strip() and not _is_comment(text)]


def _is_comment(text: str) -> bool:
    return text.lstrip().startswith(("#", "//", ";", "%", "!", "*", "sep="))  # the last as Excel has it


def _holds_numbers(text: str) -> bool:
    """Whether a line is one of points: it begins with a number, or three of its fields are some."""
    words = _loosely(text)
    numbers = [bool(NUMBER.fullmatch(word) or NOTHING.fullmatch(word)) for word in words]
    return bool(numbers) and (numbers[0] or sum(numbers) >= 3)


def _loosely(text: str) -> list[str]:
    """Fields of a line between separators of any kind."""
    return [word.strip("\"'") for word in re.split(r"[\s,;|]+", text) if word]


def _find_traits(path: Path, rows: list[tuple[int, str]]) -> _Traits:
    """How lines of points, number and text, are written: all of them, else those of most that agree.

    Raises:
        OtocError: most lines have commas and blanks between their numbers, or commas and points in them.
    """
    try:
        return _common_traits(path, rows)
    except OtocError:
        without_commas = [row for row in rows if "," not in row[1]]
        with_commas_alone = [row for row in rows if not _has_blank_numbers(_bare_end(row[1]))]
        for some in (without_commas, with_commas_alone):
            if 2 * len(some) > len(rows):  # the others are faults of single lines
                return _common_traits(path, some)
        raise


def _common_traits(path: Path, rows: list[tuple[int, str]]) -> _Traits:
    """``_find_traits`` of lines that must all be written in one way."""
    texts = [_bare_end(text) for _, text in rows]
    _check_brackets(path, *rows[0])
    quoted = any('"' in text or "'" in text for text in texts)
    bare = [re.sub(r"\"[^\"]*\"|'[^']*'", "0", text) for text in texts]
    inside = [word.strip("\"'") for text in texts for word in re.findall(r"\"[^\"]*\"|'[^']*'", text)]
    separator = next((mark for mark in ";|" if any(mark in text for text in bare)), None)
    rows_of_tabs = [text.split("\t") for _, text in rows]
    if separator is None and len(rows_of_tabs[0]) >= 3 and all(rows_of_tabs[0][:-1]):
        fields = [field for row in rows_of_tabs for field in row]
        if any(not field or " " in field.strip() for field in fields) and not any(map(_are_numbers, fields)):
            separator = "\t"  # between fields of nothing or of several words
    if separator is None:
        commas, blanks = any("," in text for text in bare), any(re.search(r"[ \t]", text) for text in bare)
        if commas and not (blanks and any(_has_blank_numbers(text) for text in bare)):
            separator = ","
    tables = [re.split(r"[ \t]+" if separator is None else re.escape(separator), text) for text in bare]
    words = [word.strip() for row in tables for word in row] + inside
    # Of numbers with decimal commas more than one column has some; a comma in one alone separates two columns.
    with_comma = {i for row in tables for i, word in enumerate(row) if DECIMAL_COMMA.fullmatch(word.strip())}
    decimal = separator != "," and len(with_comma) > (separator is None)
    decimal = decimal or any(DECIMAL_COMMA.fullmatch(word) for word in inside)
    points = any("." in word and NUMBER.fullmatch(word) for word in words)
    strange = separator is None and any(
        "," in word and word[0] in "+-0123456789" and not DECIMAL_COMMA.fullmatch(word) for word in words
    )
    if (with_comma and separator != "," and not decimal) or (decimal and points) or strange:
        line, text = next(row for row in rows if "," in row[1])
        raise OtocError(f"{path}, line {line}: {_unclear_comma(ascii(text[:80]))}")
    return _Traits(ord(separator) if separator else BLANK, decimal, quoted)


def _unclear_comma(text: str) -> str:
    return (
        f"commas between or in numbers, and blanks or points besides: {text}; it is unclear whether a comma separates "
        "numbers or is a decimal comma. Export it with points in the numbers, and one separator"
    )


def _are_numbers(field: str) -> bool:
    """Whether a part of a line holds several numbers with blanks between them."""
    words = field.split()
    return len(words) > 1 and all(NUMBER.fullmatch(word) for word in words)


def _has_blank_numbers(text: str) -> bool:
    """Whether a part between two commas holds numbers with blanks between them."""
    return any(map(_are_numbers, text.split(",")))


def _bare_end(text: str) -> str:
    """A line without blanks around it and without a separator at its end."""
    return re.sub(r"[ \t]*[,;|]?[ \t]*$", "", text.strip(" \t"))


def _read_names(
    path: Path, preamble: _Preamble, traits: _Traits, first_row: str
) -> tuple[list[str] | None, list[str], list[str]]:
    """Names of the columns, each once, the fields of the first line of points, and sentences about other lines."""
    fields = traits.split(first_row)
    widths = {len(fields)} if _bare_end(first_row) == first_row else {len(fields), len(fields) + 1}
    header, others = None, []
    for line, text in reversed(preamble.lines):
        names = _names_in(text, traits, widths)
        has_axes = any({*group} <= {*map(plain_name, names)} for group in AXES)
        if header is None and has_axes and len(names) in widths:
            header = names
        elif not _is_comment(text) or (header is None and has_axes and all(map(is_meant, names))):
            others.append((line, text, names))
    if header is None and others:
        line, text, names = others[0]
        words = ", ".join(name if name.isprintable() else ascii(name) for name in names[:MOST_SHOWN])
        raise OtocError(
            f"{path}, line {line}: names {words} for {len(fields)} columns; name every column, "
            "among them x, y, z and, for colours, r, g, b"
        )
    told = [f"line {line} is no line of points and left out: {ascii(text[:80])}" for line, text, _ in reversed(others)]
    if header is None:
        return None, fields, told
    names = [name if name and name not in header[:i] else f"{name} (column {i + 1})" for i, name in enumerate(header)]
    return names, fields + [""] * (len(names) - len(fields)), told  # the last of them may hold nothing


def _names_in(text: str, traits: _Traits, widths: set[int]) -> list[str]:
    """The names in a line, as many as one of ``widths`` if any way to split it gives so many."""
    words = text.lstrip("#/%; \t") if _is_comment(text) else text
    names = traits.split(words)
    if len(names) + 1 in widths and len(names) not in widths and _bare_end(words) != words:
        names = [*names, ""]
    loose = _loosely(words)
    return loose if len(names) not in widths and (len(loose) in widths or len(loose) > len(names)) else names


# --- what is no plain table


def _read_rewritten(
    path: Path, data: np.ndarray, preamble: _Preamble, traits: _Traits, names: list[str] | None, fields: list[str]
) -> tuple[Vertices, list[int]]:
    """A table that is not plain, as ``read_text`` gives it, and the counts that further scans have."""
    every = names or list(unnamed(fields))
    wanted = list(range(len(every)))
    if names is not None:  # colours as text are told, and no numbers
        wanted = [i for i, name in enumerate(names) if is_meant(name) and not HEX_COLOR.fullmatch(fields[i])]
    texts = [i for i in wanted if not (traits.is_number(fields[i]) or NOTHING.fullmatch(fields[i]))]
    texts = [i for i in texts if names is None or plain_name(names[i]) in CLASSES]
    if names is None and texts and texts[0] < 3:
        text, word = text_of_line(data, preamble.start), fields[texts[0]]
        cure = NO_THOUSANDS if THOUSANDS.fullmatch(word) else "repair the line, or name the columns in a line before"
        raise OtocError(f"{path}, line {preamble.line}: {ascii(word)} is no number: {text}; {cure}")
    lines = _rewrite_lines(path, data, preamble, traits, len(fields), wanted, texts)
    late = [i for i in wanted if plain_name(every[i]) in CLASSES and _has_words(data, lines.bad[lines.bad[:, 0] == i])]
    if late:  # classes whose first are numbers and later ones names
        texts += late
        lines = _rewrite_lines(path, data, preamble, traits, len(fields), wanted, texts)
    numbers = [i for i in wanted if i not in texts]
    if not numbers:
        raise OtocError(f"{path}, line {preamble.line}: no column holds numbers and is named x, y or z; name these so")
    faults = _wrong_lines(data, lines.wrong[:MOST_FAULTS], len(every), traits)
    num_faults = len(lines.wrong)
    if lines.num_rows:
        table = parse_table(lines.plain, path, len(numbers), 0, preamble.line)
    else:
        table = np.empty((0, len(numbers)))
    place = np.cumsum([i in numbers for i in range(len(every))]) - 1  # in the table, of each column that is a number
    table[lines.bad[:, 1], place[lines.bad[:, 0]]] = np.nan
    columns = {every[i]: table[:, place[i]] for i in numbers} | {every[i]: _words(data, lines.spans) for i in texts[:1]}
    if names is None:  # all of them, so that they keep their numbers
        columns |= {every[i]: np.full(len(table), "") for i in texts[1:]}
    columns = {name: columns[name] for name in every if name in columns}
    if len(lines.bad):
        try:
            needed = [every.index(name) for name in find_columns(path, columns).needed]
        except OtocError as error:
            known = Vertices({}, faults=tuple(faults), num_faults=num_faults)
            raise error_of([*known.lines_at_fault(path), str(error)]) from error
        bad = lines.bad[np.isin(lines.bad[:, 0], needed)]
        bad = bad[np.unique(bad[:, 2], return_index=True)[1]]  # the first of each line
        faults = sorted([*faults, *_no_numbers(data, bad[:MOST_FAULTS], traits)])[:MOST_FAULTS]
        num_faults += len(bad)
        read = np.delete(np.arange(len(table)), bad[:, 1])
        columns = {name: column[read] for name, column in columns.items()}
    unread = tuple(name for name in every if name not in columns)
    found = Vertices(columns, unread=unread, faults=tuple(faults), num_faults=num_faults)
    if faults and len(columns[every[numbers[0]]]) == 0:
        raise error_of(found.lines_at_fault(path))
    return found, lines.counts.tolist()


def _rewrite_lines(
    path: Path, data: np.ndarray, preamble: _Preamble, traits: _Traits, width: int, wanted: list[int], texts: list[int]
) -> "_Lines":
    """``_rewrite`` for the columns that are wanted, as numbers or as ``texts``."""
    numbers = np.array([i in wanted and i not in texts for i in range(width)])
    return _Lines(
        *_rewrite(
            data,
            preamble.start,
            preamble.line,
            traits.separator,
            traits.decimal_comma,
            numbers,
            texts[0] if texts else -1,
        )
    )


def _wrong_lines(data: np.ndarray, wrong: np.ndarray, width: int, traits: _Traits) -> list[tuple[int, str]]:
    """Number and fault of lines that have not as many columns as there are, ``_Lines.wrong``."""
    faults = []
    for line, start, found in wrong.tolist():
        text = text_of_line(data, start)
        is_last = not np.isin(data[start:-1], (10, 13)).any()
        faults.append((line, columns_fault(text, found, width, is_last)))
        if "," in text and traits.separator == BLANK and not traits.decimal_comma:
            faults[-1] = line, _unclear_comma(text)
    return faults


def _no_numbers(data: np.ndarray, bad: np.ndarray, traits: _Traits) -> list[tuple[int, str]]:
    """Number and fault of lines that hold no number in a column that is needed; in others it does not matter."""
    faults = []
    for _, _, line, first, last in bad.tolist():
        word, text = _word(data, first, last), text_of_line(data, _line_start(data, first))
        what = f"holds {word or 'nothing'!r}" if NOTHING.fullmatch(word) else f"{ascii(word)} is no number"
        faults.append((line, f"{what}: {text}; repair or delete the line"))
        if DECIMAL_COMMA.fullmatch(word) and not traits.decimal_comma:
            faults[-1] = line, _unclear_comma(text)
        elif THOUSANDS.fullmatch(word):
            faults[-1] = line, f"{what}: {text}; {NO_THOUSANDS}"
    return faults


def _has_words(data: np.ndarray, bad: np.ndarray) -> bool:
    """Whether one of the rows of ``_Lines.bad`` is about something else than nothing."""
    return any(not NOTHING.fullmatch(word) for word in np.unique(_words(data, bad[:, 3:])).tolist())


def _word(data: np.ndarray, first: int, last: int) -> str:
    return data[first : min(last, first + LONGEST_TEXT)].tobytes().decode(errors="replace")


def _line_start(data: np.ndarray, place: int) -> int:
    before = data[max(0, place - HEAD) : place]
    ends = np.flatnonzero((before == 10) | (before == 13))
    return place - len(before) + (int(ends[-1]) + 1 if ends.size else 0)


def _words(data: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Text [N] between bytes int64 [N, 2], at most LONGEST_TEXT of them."""
    width = max(min(int((spans[:, 1] - spans[:, 0]).max(initial=1)), LONGEST_TEXT), 1)
    words, which = np.unique(_letters(data, spans, width).view(f"S{width}")[:, 0], return_inverse=True)
    return np.array([word.decode(errors="replace") for word in words.tolist()], dtype=np.str_)[which]


@compiled(parallel=False)
def _letters(data, spans, width):
    """Bytes uint8 [N, width] between those of int64 [N, 2], then zeros."""
    letters = np.zeros((len(spans), width), np.uint8)
    for row in range(len(spans)):
        for i in range(min(spans[row, 1] - spans[row, 0], width)):
            letters[row, i] = data[spans[row, 0] + i]
    return letters


@compiled(parallel=False)
def _start_of_line(data, start, line, wanted):
    """First byte of line number ``wanted``; byte ``start`` is the first of line number ``line``."""
    position = start
    while line < wanted and position < len(data):
        if data[position] == 10 or (data[position] == 13 and data[position + 1] != 10):
            line += 1
        position += 1
    return position


@dataclass(frozen=True)
class _Lines:
    """Lines of points, rewritten."""

    plain: np.ndarray  # uint8 bytes of a plain table of the columns that are numbers; 0 for what is none
    bad: np.ndarray  # int64 [B, 5]: column, row, line, first byte and byte after the last of what is no number
    spans: np.ndarray  # int64 [N, 2] first byte and byte after the last of what the text column holds
    counts: np.ndarray  # int64 [C] that further lines of one number hold
    wrong: np.ndarray  # int64 [W, 3]: number, first byte and columns of lines that have another number of columns
    num_rows: int  # without those


@compiled(parallel=False)
def _rewrite(data, start, line, separator, decimal_comma, numbers, text_column):
    """Rewrite lines from byte ``start`` on, the first of number ``line``, as a plain table of the columns that are
    ``numbers``, bool [K]. Lines stay lines: comments and further counts become blank ones.

    Returns what ``_Lines`` holds.
    """
    columns = len(numbers)
    end = len(data)
    out = np.empty(2 * (end - start) + 2, np.uint8)
    size = 0
    bad = np.empty((16, 5), np.int64)
    num_bad = 0
    counts = np.empty(16, np.int64)
    num_counts = 0
    wrong = np.empty((16, 3), np.int64)
    num_wrong = 0
    most = 0
    if text_column >= 0:
        for i in range(start, end):
            most += data[i] == 10 or data[i] == 13
    spans = np.empty((most, 2), np.int64)
    rows = 0
    position = start
    while position < end:
        line_start = position
        while data[position] == 32 or data[position] == 9:
            position += 1
        first_byte = data[position]
        is_comment = first_byte == 35 or first_byte == 37 or (first_byte == 59 and separator != 59)
        is_comment |= first_byte == 33 or first_byte == 42
        is_comment |= first_byte == 47 and data[position + 1] == 47
        stop = position
        while data[stop] != 10 and data[stop] != 13:
            stop += 1
        after = stop + 1
        if data[stop] == 13 and after < end and data[after] == 10:
            after += 1
        tail = stop  # without blanks at the end
        while tail > position and (data[tail - 1] == 32 or data[tail - 1] == 9):
            tail -= 1
        is_empty = True  # as Excel leaves lines below a table: separators alone
        for i in range(position, tail):
            is_empty &= data[i] == 32 or data[i] == 9 or data[i] == 44 or data[i] == 59 or data[i] == 124
            if not is_empty:
                break
        if position < tail and separator == 9:  # tabs at the ends of a line are fields of nothing
            position, tail = line_start, stop
        if not is_empty and not is_comment:
            first_out = size
            num_before = num_bad
            column = 0
            lone = np.int64(0)
            place = position
            open_field = True
            while open_field:
                while place < tail and (data[place] == 32 or (data[place] == 9 and separator != 9)):
                    place += 1
                if place == tail and column >= columns:  # what follows a separator at the line's end
                    break
                first = place
                if place < tail and (data[place] == 34 or data[place] == 39):
                    quote = data[place]
                    first = place + 1
                    place = first
                    while place < tail and data[place] != quote:
                        place += 1
                    last = place
                    place = min(place + 1, tail)
                    while place < tail and (data[place] == 32 or (data[place] == 9 and separator != 9)):
                        place += 1
                    if separator != 32 and place < tail and data[place] != separator:  # letters behind the quote
                        while place < tail and data[place] != separator:
                            place += 1
                        last = place
                elif separator == 32:
                    while place < tail and data[place] != 32 and data[place] != 9:
                        place += 1
                    last = place
                    if (
                        place == tail
                        and last > first
                        and (data[last - 1] == 44 or data[last - 1] == 59 or data[last - 1] == 124)
                    ):
                        last -= 1
                        if last == first:
                            break
                else:
                    while place < tail and data[place] != separator:
                        place += 1
                    last = place
                while last > first and (data[last - 1] == 32 or data[last - 1] == 9):
                    last -= 1
                while first < last and (data[first] == 32 or data[first] == 9):
                    first += 1

                if column == 0:
                    lone = np.int64(-1)
                    if 0 < last - first < 18:
                        lone = np.int64(0)
                        for i in range(first, last):
                            digit = np.int64(data[i]) - 48
                            if digit < 0 or digit > 9:
                                lone = np.int64(-1)
                                break
                            lone = lone * 10 + digit
                if column < columns and numbers[column]:
                    if size > first_out:
                        out[size] = 44
                        size += 1
                    if _is_number(data, first, last, decimal_comma):
                        for i in range(first, last):
                            out[size] = 46 if data[i] == 44 else data[i]
                            size += 1
                    else:
                        out[size] = 48
                        size += 1
                        if num_bad == len(bad):
                            longer = np.empty((2 * num_bad, 5), np.int64)
                            for i in range(num_bad):
                                for j in range(5):
                                    longer[i, j] = bad[i, j]
                            bad = longer
                        bad[num_bad, 0], bad[num_bad, 1], bad[num_bad, 2] = column, rows, line
                        bad[num_bad, 3], bad[num_bad, 4] = first, last
                        num_bad += 1
                if column == text_column:
                    spans[rows, 0], spans[rows, 1] = first, last
                column += 1
                if separator == 32:
                    open_field = place < tail
                else:
                    open_field = place < tail and data[place] == separator
                    place += 1
            if column == 1 and columns >= 3 and lone >= 0:  # the count of a further scan
                size, num_bad = first_out, num_before
                if num_counts == len(counts):
                    more = np.empty(2 * num_counts, np.int64)
                    for i in range(num_counts):
                        more[i] = counts[i]
                    counts = more
                counts[num_counts] = lone
                num_counts += 1
            elif column != columns:
                size, num_bad = first_out, num_before
                if num_wrong == len(wrong):
                    longest = np.empty((2 * num_wrong, 3), np.int64)
                    for i in range(num_wrong):
                        for j in range(3):
                            longest[i, j] = wrong[i, j]
                    wrong = longest
                wrong[num_wrong, 0], wrong[num_wrong, 1], wrong[num_wrong, 2] = line, line_start, column
                num_wrong += 1
            else:
                rows += 1
        out[size] = 10
        size += 1
        line += 1
        position = after
    return out[:size], bad[:num_bad], spans[:rows], counts[:num_counts], wrong[:num_wrong], rows


@compiled(parallel=False)
def _is_number(data, first, last, decimal_comma):
    """Whether bytes are what the parser of plain tables reads as one number."""
    place = first
    if place < last and (data[place] == 43 or data[place] == 45):
        place += 1
    digits = 0
    has_point = False
    while place < last:
        if 48 <= data[place] <= 57:
            digits += 1
        elif not has_point and data[place] == (44 if decimal_comma else 46):
            has_point = True
        else:
            break
        place += 1
    if digits and place < last and (data[place] == 101 or data[place] == 69):
        place += 1
        if place < last and (data[place] == 43 or data[place] == 45):
            place += 1
        begin = place
        while place < last and 48 <= data[place] <= 57:
            place += 1
        return place == last and place > begin
    return digits > 0 and place == last
