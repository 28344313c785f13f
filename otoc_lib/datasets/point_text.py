"""Points as text: tables of numbers, one point a line, read and written by compiled byte loops.

A line holds numbers separated by blanks, tabs or single commas; lines end with \\n, \\r\\n or \\r, mixed at will, and
empty lines do not count. Every number is the correctly rounded double: up to 2^53 times a power of ten up to 10^22,
digits and power are exact doubles and one multiplication or division rounds once [Clinger 1990, "How to read floating
point numbers accurately"]; the few numbers outside that range go through Python's own conversion.
"""

import re
from codecs import BOM_UTF8
from pathlib import Path

import numpy as np

from otoc_lib.errors import OtocError
from otoc_lib.jit import compiled
from otoc_lib.outside import opening

OK, WRONG_COLUMNS, NOT_A_NUMBER = range(3)
EXACT_MANTISSA = np.uint64(2**53)
ZERO, TEN = np.uint8(ord("0")), np.uint8(10)
MOST_DIGITS = 19  # that fit into 64 bits whatever they are
LONGEST_TOKEN = 40  # of numbers that are converted many at a time
POWERS_OF_TEN = np.array([float(10**power) for power in range(23)])  # all exact doubles

# What a byte is to the parser. Digits are 0..9 themselves.
LINE_END, BLANK, COMMA, OTHER = 10, 11, 12, 13
KIND = np.full(256, OTHER, dtype=np.uint8)
KIND[ord("0") : ord("9") + 1] = np.arange(10)
KIND[[ord("\n"), ord("\r")]] = LINE_END
KIND[[ord(" "), ord("\t")]] = BLANK
KIND[ord(",")] = COMMA


def read_table(path: Path, columns: int | None = None) -> np.ndarray:
    """Read a table of numbers.

    Args:
        path: a text file, one point a line.
        columns: how many numbers every line must hold; None takes the number of the first line.

    Returns:
        float64 [N, K], N >= 1, all finite.

    Raises:
        OtocError: the file is missing, empty or truncated, or a line holds another number of columns, something that
            is no number, NaN or infinity; the message names the file and the line and shows its text.
    """
    return parse_table(read_bytes(path), path, columns)


def parse_table(
    data: np.ndarray, path: Path, columns: int | None = None, start: int | None = None, line: int = 1
) -> np.ndarray:
    """``read_table`` of bytes already in memory.

    Args:
        data: uint8 [B + 1], the file's bytes and a final line end, see ``read_bytes``.
        path: named in errors.
        start: the byte to begin at, the first of line number ``line``; None for the first of all.
    """
    if len(data) == 1:
        raise OtocError(f"{path}: is empty (0 bytes); copy it again or leave it out")
    start = byte_order_mark(data) if start is None else start
    if columns is None:
        columns = len(_fields(_line(data, _walk(data, start, line, KIND, 0)[1])))
    columns = max(columns, 1)
    most = len(data) // (2 * columns) + 1  # a number takes two bytes at least: few lines of many columns fit
    table = np.empty((min(_count_line_ends(data), most), columns))
    status, rows, line, line_start, position, slow = _parse(data, start, line, KIND, POWERS_OF_TEN, table)
    if status != OK:
        _refuse(data, path, status, columns, line, line_start, position)
    table = table[:rows]
    if len(table) == 0:
        raise OtocError(f"{path}: holds no numbers, only blank lines; copy it again or leave it out")
    _convert_slowly(data, path, slow, table)
    return table


def read_bytes(path: Path) -> np.ndarray:
    """Bytes of a file, uint8 [B + 1], followed by the line end that the parser needs after the last line."""
    path = Path(path)
    with opening(path), path.open("rb") as file:
        size = path.stat().st_size
        data = np.empty(size + 1, dtype=np.uint8)
        read = file.readinto(memoryview(data.data)[:size])
    data = data[: read + 1]
    data[read] = ord("\n")
    return data


def line_of_row(path: Path, row: int) -> tuple[int, str]:
    """1-based line number and text of row ``row`` (0-based) of a readable table; for messages about its values."""
    data = read_bytes(path)
    line, line_start, _ = _walk(data, byte_order_mark(data), 1, KIND, row)
    return line, text_of_line(data, line_start)


def line_of_byte(data: np.ndarray, position: int) -> tuple[int, str]:
    """1-based number and text of the line that a byte of ``read_bytes`` is in."""
    ends = [match.end() for match in re.finditer(rb"\r\n|\r|\n", data[:position].tobytes())]
    return len(ends) + 1, text_of_line(data, ends[-1] if ends else 0)


def count_rows(path: Path) -> int:
    """Number of lines that are not blank; nothing else about them is checked."""
    return _walk(read_bytes(path), 0, 1, KIND, np.iinfo(np.int64).max)[2]


def format_points(points: np.ndarray, colors: np.ndarray) -> bytes:
    """Lines ``x y z r g b`` with coordinates to the millimetre, as in S3DIS.

    Args:
        points: float [N, 3] metres, finite and below 10^9. Those on the 1 mm lattice are read back exactly.
        colors: uint8 [N, 3].
    """
    millimetres = np.rint(np.asarray(points, dtype=np.float64) * 1000)
    if not (np.abs(millimetres) < 1e12).all():
        raise OtocError("points: hold NaN, infinity or a coordinate beyond 10^9 m; repair them before writing")
    text = np.empty(len(points) * (3 * 15 + 3 * 4), dtype=np.uint8)  # sign, 9 digits, dot, 3 digits, separator
    return text[: _format(millimetres.astype(np.int64), np.ascontiguousarray(colors), text)].tobytes()


@compiled(parallel=False)
def _parse(data, start, line, kind, powers, table):
    """Fill the rows of ``table`` from byte ``start`` on, which is in line number ``line``.

    Returns status, rows filled, and where it stopped: line number, the line's first byte, the byte at fault. ``slow``,
    int64 [S, 3], lists the numbers left to the caller: index into the flat table, first byte, byte after the last.
    """
    columns = table.shape[1]
    flat = table.reshape(-1)
    slow = np.empty((16, 3), dtype=np.int64)
    num_slow = 0
    end = len(data)
    position = line_start = start
    index = column = 0
    while position < end:
        what = kind[data[position]]
        if what == BLANK:
            position += 1
            continue
        if what == LINE_END:
            if column != columns and column != 0:
                return WRONG_COLUMNS, index // columns, line, line_start, position, slow[:num_slow]
            position += 1
            if data[position - 1] == 13 and position < end and data[position] == 10:  # \r\n is one line end
                position += 1
            line += 1
            line_start = position
            column = 0
            continue

        if what == COMMA:  # allowed once between two numbers
            if column == 0:
                return NOT_A_NUMBER, index // columns, line, line_start, position, slow[:num_slow]
            position += 1
            while kind[data[position]] == BLANK:
                position += 1
            what = kind[data[position]]
            if what == COMMA or what == LINE_END:
                return NOT_A_NUMBER, index // columns, line, line_start, position, slow[:num_slow]
        if column == columns:
            return WRONG_COLUMNS, index // columns, line, line_start, position, slow[:num_slow]

        first = position
        byte = data[position]
        negative = byte == 45  # -
        if negative or byte == 43:  # +
            position += 1
        begin = position
        mantissa = np.uint64(0)
        digit = data[position] - ZERO  # wraps around to something large where it is no digit
        while digit < TEN:
            mantissa = mantissa * np.uint64(10) + np.uint64(digit)
            position += 1
            digit = data[position] - ZERO
        digits = position - begin
        fraction = 0
        if data[position] == 46:  # .
            position += 1
            begin = position
            digit = data[position] - ZERO
            while digit < TEN:
                mantissa = mantissa * np.uint64(10) + np.uint64(digit)
                position += 1
                digit = data[position] - ZERO
            fraction = position - begin
            digits += fraction
        exponent = 0
        if data[position] == 101 or data[position] == 69:  # e E
            position += 1
            below = data[position] == 45
            if below or data[position] == 43:
                position += 1
            if kind[data[position]] > 9:  # no digit
                return NOT_A_NUMBER, index // columns, line, line_start, position, slow[:num_slow]
            while kind[data[position]] < 10:
                exponent = min(exponent * 10 + kind[data[position]], 9999)
                position += 1
            if below:
                exponent = -exponent
        what = kind[data[position]]
        if digits == 0 or what == OTHER or what < 10:
            return NOT_A_NUMBER, index // columns, line, line_start, position, slow[:num_slow]

        exponent -= fraction
        if digits <= MOST_DIGITS and mantissa <= EXACT_MANTISSA and -22 <= exponent <= 22:
            value = np.float64(mantissa)
            value = value / powers[-exponent] if exponent < 0 else value * powers[exponent]
            flat[index] = -value if negative else value
        else:
            if num_slow == len(slow):
                longer = np.empty((2 * num_slow, 3), dtype=np.int64)
                for i in range(num_slow):  # assigned as arrays, the check of their shapes compiles for seconds
                    for j in range(3):
                        longer[i, j] = slow[i, j]
                slow = longer
            slow[num_slow, 0], slow[num_slow, 1], slow[num_slow, 2] = index, first, position
            num_slow += 1
        index += 1
        column += 1
    return OK, index // columns, line, line_start, position, slow[:num_slow]


def _convert_slowly(data: np.ndarray, path: Path, slow: np.ndarray, table: np.ndarray) -> None:
    """Fill in the numbers that ``_parse`` left out, through Python's conversion."""
    flat = table.reshape(-1)
    short = slow[:, 2] - slow[:, 1] <= LONGEST_TOKEN
    if short.any():
        spans = slow[short]
        places = spans[:, 1:2] + np.arange(LONGEST_TOKEN)  # [S, LONGEST_TOKEN]
        inside = places < spans[:, 2:]
        tokens = np.where(inside, data[np.minimum(places, len(data) - 1)], np.uint8(0))
        flat[spans[:, 0]] = tokens.view(f"S{LONGEST_TOKEN}")[:, 0].astype(np.float64)
    for index, first, last in slow[~short].tolist():
        flat[index] = float(data[first:last].tobytes())
    infinite = slow[~np.isfinite(flat[slow[:, 0]])]
    if len(infinite):
        position = int(infinite[0, 1])
        line, text = line_of_byte(data, position)
        raise OtocError(
            f"{path}, line {line}: {_token(data, position)} is beyond the range of a double: {text}; repair the line"
        )


@compiled(parallel=False)
def _walk(data, start, line, kind, row):
    """Walk to line ``row`` of the lines that are not blank: its number, first byte, and how many came before it."""
    position = line_start = start
    rows = 0
    blank = True
    while position < len(data):
        what = kind[data[position]]
        position += 1
        if what != LINE_END:
            blank = blank and what == BLANK
            continue
        if not blank:
            if rows == row:
                break
            rows += 1
        if data[position - 1] == 13 and position < len(data) and data[position] == 10:
            position += 1
        line += 1
        line_start = position
        blank = True
    return line, line_start, rows


@compiled(parallel=False)
def _count_line_ends(data):
    count = 0
    for byte in data:
        count += byte == 10 or byte == 13
    return count


@compiled(parallel=False)
def _format(millimetres, colors, text):
    """Write the lines into ``text``; returns how many bytes they take."""
    digits = np.empty(20, dtype=np.uint8)
    position = 0
    for row in range(len(millimetres)):
        for column in range(6):
            if column:
                text[position] = 32
                position += 1
            if column < 3:
                rest = millimetres[row, column]
                if rest < 0:
                    text[position] = 45  # -
                    position += 1
                    rest = -rest
                least = 4  # digits at least: 0.005
            else:
                rest = np.int64(colors[row, column - 3])
                least = 1
            count = 0
            while rest or count < least:
                digits[count] = 48 + rest % 10
                rest //= 10
                count += 1
            while count:
                count -= 1
                text[position] = digits[count]
                position += 1
                if column < 3 and count == 3:
                    text[position] = 46  # .
                    position += 1
        text[position] = 10
        position += 1
    return position


def byte_order_mark(data: np.ndarray) -> int:
    """Length of the mark that Windows programs put before UTF-8 text."""
    return len(BOM_UTF8) if data[: len(BOM_UTF8)].tobytes() == BOM_UTF8 else 0


def _fields(line: str) -> list[str]:
    return re.split(r"[ \t]*,[ \t]*|[ \t]+", line.strip(" \t")) if line.strip(" \t") else []


def _line(data: np.ndarray, line_start: int) -> str:
    """Text of a line without its end."""
    head = data[line_start : line_start + 10_000].tobytes()
    return re.split(rb"[\r\n]", head, maxsplit=1)[0].decode("utf-8", errors="replace")


def text_of_line(data: np.ndarray, line_start: int) -> str:
    """A line as messages show it: control characters escaped, no longer than a terminal's line."""
    text = ascii(_line(data, line_start))
    return text if len(text) <= 100 else text[:100] + "..."


def _token(data: np.ndarray, position: int) -> str:
    """The text around a byte, up to the next separators, as messages show it."""
    separators = rb"[ \t,\r\n]"
    before = re.split(separators, data[max(position - 60, 0) : position].tobytes())[-1]
    after = re.split(separators, data[position : position + 60].tobytes(), maxsplit=1)[0]
    return ascii((before + after).decode("utf-8", errors="replace"))


def _refuse(data: np.ndarray, path: Path, status: int, columns: int, line: int, line_start: int, position: int) -> None:
    """Raise the error about the line that ``_parse`` stopped at."""
    text = text_of_line(data, line_start)
    if status == WRONG_COLUMNS:
        found = len(_fields(_line(data, line_start)))
        raise OtocError(f"{path}, line {line}: {columns_fault(text, found, columns, position == len(data) - 1)}")
    token = _token(data, position)
    if re.fullmatch(r"'[+-]?(nan|inf(inity)?)'", token, re.IGNORECASE):
        raise OtocError(f"{path}, line {line}: holds {token}: {text}; repair or delete the line")
    what = "two separators with no number between them" if token == "''" else f"{token} is no number"
    raise OtocError(f"{path}, line {line}: {what}: {text}; repair the line")


def columns_fault(text: str, found: int, columns: int, is_last: bool) -> str:
    """What is wrong with a line that has another number of columns than are needed, and what to do."""
    if found < columns and is_last:
        return (
            f"the file ends in the middle of a line, after {found} of {columns} columns: {text}; it is truncated, copy "
            "it again"
        )
    return f"{found} columns where {columns} are needed: {text}; repair the line"
