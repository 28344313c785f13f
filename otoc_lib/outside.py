"""Files from outside: whatever bytes they hold, reading them raises OtocError, naming the file, and nothing else.

Readers ask os.path whether a file is there: it says no where pathlib raises PermissionError.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError

MOST_COLUMNS = 1000  # of a table; a row costs memory for every name in its header


@contextmanager
def opening(path: Path, missing: str = "check the data root, or copy the file there") -> Iterator[None]:
    """Turn what the system says about a file that is opened or listed in the block into OtocError.

    Args:
        missing: what to do about a file that is not there.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise OtocError(f"{path}: no such file; {missing}") from error
    except OSError as error:  # a folder in its place, no permission, a disk that fails
        raise OtocError(f"{path}: cannot be read ({error.strerror or error}); make it a readable file") from error


def read_bytes(path: Path) -> bytes:
    with opening(path):
        return Path(path).read_bytes()


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, with or without a byte order mark; line ends stay as they are."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OtocError(f"{path}: not a text file in UTF-8 ({error}); copy it again") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file; its numbers are finite."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """``read_json`` of text already in memory, from the file ``path``."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:  # a ValueError may also be a number of thousands of digits
        raise OtocError(f"{path}: damaged or truncated JSON ({error}); copy it again") from error


def read_rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[tuple[int, dict[str | None, Any]]]:
    """Line number and columns of every row of a table whose first line names at least ``columns``.

    As in csv.DictReader, a short row has None in the columns that it lacks, and a long one has its surplus under None.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        names = reader.fieldnames or ()
        missing = [column for column in columns if column not in names]
        if missing:
            raise OtocError(f"{path}, line 1: no column {', '.join(missing)}; the file needs {', '.join(columns)}")
        if len(names) > MOST_COLUMNS:
            raise OtocError(f"{path}, line 1: names {len(names)} columns; the file needs {', '.join(columns)} alone")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise OtocError(f"{path}, line {reader.line_num + 1}: no line of a table ({error}); repair it") from error


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is no number of JSON's")
    return number
