"""Files from outside: whatever bytes they hold, reading them raises OtocError, naming the file, and nothing else.

Readers ask os.path whether a file is there: it says no where pathlib raises PermissionError.
"""

import codecs
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError

JUNK = ("thumbs.db", "desktop.ini", "icon\r")
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def is_junk(path: Path) -> bool:
    """Whether an entry of a folder is hidden, or what file managers leave: some of it is in releases themselves."""
    return path.name.startswith(".") or path.name.lower() in JUNK


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
    """Text of a file in UTF-8, or in UTF-16 where a byte order mark says so; line ends stay as they are."""
    return decoded(path, read_bytes(path))


def decoded(path: Path, data: bytes) -> str:
    """``read_text`` of bytes already in memory, from the file ``path``."""
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise OtocError(f"{path}: not a text file in UTF-8 ({error}); save it as UTF-8, or copy it again") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file; its numbers are finite."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """``read_json`` of text already in memory, from the file ``path``."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:  # a ValueError may also be a number of thousands of digits
        raise OtocError(f"{path}: damaged or truncated JSON ({error}); copy it again") from error


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is no number of JSON's")
    return number
