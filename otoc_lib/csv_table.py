"""Tables with named columns, whichever program saved them: CSV and its kin.

Columns lie between commas, semicolons, tabs or bars: between what gives line 1 the columns that are needed, or what a
line ``sep=;`` before it says, as Excel writes and reads it. Names of columns count without case and without the blanks
around them. Text is UTF-8, UTF-16 with a byte order mark, or else, with a warning, Windows-1252.
"""

import csv
import io
import math
import re
import warnings
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError, shown
from otoc_lib.outside import decoded, read_bytes

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
WINDOWS = "cp1252"  # what Excel means by plain CSV in western Europe and America
MOST_COLUMNS = 1000  # of a table; a row costs memory for every name in its header
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"([+-]?\d{1,19})(\.0*)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)

Row = dict[str | None, Any]


def read_rows(
    path: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = (), complete: bool = False
) -> list[tuple[int, Row]]:
    """First line's number and columns of every row of a table whose first line names at least ``columns``.

    Rows without anything in any column are none, and nothing is what empty columns at the end hold.

    Args:
        columns: names in small letters; a row has them under these names, and other columns as line 1 spells them.
        numbers: those of ``columns`` that hold numbers, for ``number``: a decimal comma becomes a point there.
        complete: refuse a row without one of ``columns``, or with more than line 1 names. Else, as in csv.DictReader,
            a short row has None in the columns that it lacks, and a long one has its surplus under None.

    Raises:
        OtocError: naming the line, where a column is missing or there twice, or where the numbers have commas that may
            separate thousands.
    """
    text, first, separators = _decoded(path), 1, "".join(SEPARATORS)
    if said := re.match(r'"?sep=([^"\r\n])"?[;,\t]*(\r\n|\r|\n)', text, re.IGNORECASE):
        text, first, separators = text[said.end() :], 2, said[1]
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if not text.strip():
        raise OtocError(
            f"{path}, line {first}: is empty; it needs names of columns, {', '.join(columns)}, and rows below"
        )
    lines = list(io.StringIO(text, newline=""))
    reader, begun = None, 0  # lines before the row that is read
    try:
        separator = max(separators, key=lambda mark: _fitting(head, mark, columns))
        # Blanks around separators are no part of a column where line 1 has them too; else a name may end in one.
        padded = f"{separator} " in head or f" {separator}" in head
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=padded)
        names = _without_empty_end(next(reader, []))
        _check_names(f"{path}, line {first}", head, names, separator, columns)
        plain = [_plain(name) for name in names]
        for column in columns:
            names[plain.index(column)] = column
        rows, begun = [], reader.line_num
        for cells in reader:
            line, several = begun + first, reader.line_num - begun > 1
            if several and reader.line_num == len(lines) and "".join(lines[begun:]).count('"') % 2:
                raise OtocError(f"{path}, line {line}: a quote is opened there and closed nowhere; repair the line")
            begun = reader.line_num
            cells = [cell.strip() for cell in cells] if padded else cells
            cells = cells[: len(names)] + _without_empty_end(cells[len(names) :])
            if any(cell.strip() for cell in cells):
                row: Row = dict(zip(names, [*cells, *[None] * (len(names) - len(cells))], strict=False))
                row |= {None: cells[len(names) :]} if len(cells) > len(names) else {}
                rows.append((line, row))
    except csv.Error as error:
        raise OtocError(f"{path}, line {first + begun}: no line of a table ({error}); repair it") from error
    if complete:
        _check_complete(path, rows, columns, len(names), separator)
    _points_for_commas(path, rows, numbers, separator)
    return rows


def number(cell: str | None, whole: bool = False) -> float:
    """The finite number that a cell of a table holds, as int if it must be ``whole``; ValueError where it is none.

    A whole one may end in ``.0``, as programs write columns that have gaps.
    """
    text = (cell or "").strip()
    found = (WHOLE if whole else NUMBER).fullmatch(text)
    if not found or not math.isfinite(float(text)):
        raise ValueError(f"{shown(cell)} is no{' whole' if whole else ''} number")
    return int(found[1]) if whole else float(text)


def _decoded(path: Path) -> str:
    data = read_bytes(path)
    try:
        return decoded(path, data)
    except OtocError:
        beyond = re.search(rb"[\x80-\xff]", data)
        if beyond is None or b"\0" in data:  # no text, or UTF-16 whose mark is lost
            raise
        try:
            text = data.decode(WINDOWS)
        except UnicodeDecodeError:
            raise OtocError(f"{path}: not a text file in UTF-8, nor in Windows-1252; save it as UTF-8") from None
    line = len(re.findall(rb"\r\n|\r|\n", data[: beyond.start()])) + 1
    warnings.warn(
        f"{path}, line {line}: not UTF-8; the text is read as Windows-1252, as Excel's plain CSV is. Check names with "
        "letters beyond a to z, or save it as CSV UTF-8",
        stacklevel=3,
    )
    return text


def _plain(name: str) -> str:
    """A column's name as it is compared."""
    return " ".join(name.split()).lower()


def _fitting(head: str, separator: str, columns: tuple[str, ...]) -> tuple[int, int]:
    """How many of ``columns`` a first line names between such separators, and how many columns it has."""
    names = next(csv.reader([head], delimiter=separator, skipinitialspace=True), [])
    return len(set(columns) & {_plain(name) for name in names}), len(names)


def _without_empty_end(cells: list[str]) -> list[str]:
    filled = [place for place, cell in enumerate(cells) if cell.strip()]
    return cells[: filled[-1] + 1] if filled else []


def _check_names(place: str, head: str, names: list[str], separator: str, columns: tuple[str, ...]) -> None:
    found = [_plain(name) for name in names]
    missing = [column for column in columns if column not in found]
    if missing:
        between = SEPARATORS.get(separator, shown(separator)) if len(names) > 1 else "no commas, semicolons or tabs"
        raise OtocError(
            f"{place}: no column {', '.join(missing)} in {shown(head)}, which has {between} between columns; the file "
            f"needs {', '.join(columns)}"
        )
    twice = next((column for column in columns if found.count(column) > 1), None)
    if twice:
        raise OtocError(f"{place}: names the column {twice} twice in {shown(head)}; keep one of them")
    if len(names) > MOST_COLUMNS:
        raise OtocError(f"{place}: names {len(names)} columns; the file needs {', '.join(columns)} alone")


def _check_complete(
    path: Path, rows: list[tuple[int, Row]], columns: tuple[str, ...], width: int, separator: str
) -> None:
    for line, row in rows:
        lacking = [column for column in columns if row[column] is None]
        if lacking:
            raise OtocError(f"{path}, line {line}: has nothing in {', '.join(lacking)}; complete or delete the line")
        if None in row:
            cure = "; with decimal commas, put semicolons between the columns" if separator == "," else ""
            raise OtocError(f"{path}, line {line}: has {width + len(row[None])} columns, line 1 names {width}{cure}")


def _points_for_commas(path: Path, rows: list[tuple[int, Row]], columns: tuple[str, ...], separator: str) -> None:
    """Write decimal commas as points, in place; refuse commas that may separate thousands."""
    commas = [(line, row, column) for line, row in rows for column in columns if "," in (row[column] or "")]
    if not commas:
        return
    line, row, column = commas[0]
    told = f"{path}, line {line}: {column} is {shown(row[column])}"
    point = next(((line, row[column]) for line, row in rows for column in columns if "." in (row[column] or "")), None)
    if point:
        raise OtocError(
            f"{told}, and line {point[0]} holds {shown(point[1])}: commas and points in the numbers of one table; "
            "write decimal points, and nothing between thousands"
        )
    if separator != ";" and all(THOUSANDS.fullmatch(row[column].strip()) for _, row, column in commas):
        raise OtocError(f"{told}: with a decimal comma, or one between thousands? Write decimal points")
    for _, row, column in commas:
        row[column] = row[column].replace(",", ".", 1)
