"""Reader of PCD files (Point Cloud Library): ascii, binary and compressed, with packed colours.

https://pointclouds.org/documentation/tutorials/pcd_file_format.html. No count in a header is believed before the file
is known to be long enough for it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets import point_text
from otoc_lib.datasets.vertices import Vertices
from otoc_lib.errors import OtocError, shown
from otoc_lib.jit import compiled

LONGEST_HEADER = 1 << 16  # bytes
MOST_PACKED = 100  # times that LZF makes bytes fewer, at most: of 264 it makes 3
PADDING = "_"  # a field that means nothing
PACKED = ("rgb", "rgba")  # blue, green, red in the bytes of one number, the least first
KEYS = ("VERSION", "FIELDS", "COLUMNS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
TYPES = {("F", 4), ("F", 8), *((kind, size) for kind in "UI" for size in (1, 2, 4, 8))}
NOWHERE = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]  # the viewpoint of points in coordinates of the world


@dataclass(frozen=True)
class _Header:
    names: list[str]  # of the fields
    kinds: list[np.dtype]
    counts: list[int]  # values of each field
    points: int
    data: str  # ascii, binary or binary_compressed
    start: int  # of what follows the header
    viewpoint: list[float]


def read_pcd(path: Path) -> Vertices:
    """Read a PCD file.

    Returns:
        The fields as columns of their types (float64 where a text file holds fractions), packed colours as red, green
        and blue, uint8. Points without a position, which PCD marks by NaN, are left out, and told.

    Raises:
        OtocError: naming the file (and line), if it is missing, damaged, or holds other counts than it announces.
    """
    path = Path(path)
    data = point_text.read_bytes(path)[:-1]
    header = _read_header(path, data[:LONGEST_HEADER].tobytes())
    if sum(header.counts) > len(data):
        raise _short(path, header, 0)
    row = sum(kind.itemsize * count for kind, count in zip(header.kinds, header.counts, strict=True))
    there = len(data) - header.start
    most = {"ascii": there, "binary": there // max(row, 1), "binary_compressed": MOST_PACKED * there}[header.data]
    if header.points > most:
        raise _short(path, header, min(most, there // max(row, 1)))
    body = data[header.start :]
    if header.data == "ascii":
        columns = _from_text(path, header, data)
    elif header.data == "binary":
        table = body[: header.points * row].reshape(header.points, row) if row else np.empty((header.points, 0), "u1")
        ends = np.cumsum([kind.itemsize * count for kind, count in zip(header.kinds, header.counts, strict=True)])
        parts = np.split(table, ends[:-1], axis=1)
        columns = [np.ascontiguousarray(part).view(kind) for part, kind in zip(parts, header.kinds, strict=True)]
    else:
        columns = _from_compressed(path, header, body, row)
    named = {
        name: column[:, 0]
        for name, column, count in zip(header.names, columns, header.counts, strict=True)
        if name != PADDING and count == 1
    }
    several = tuple(n for n, count in zip(header.names, header.counts, strict=True) if count != 1 and n != PADDING)
    told = []
    for name in [name for name in named if name.lower() in PACKED]:
        named |= _unpacked(path, name, named.pop(name))
    if header.viewpoint != NOWHERE:
        told.append("names a viewpoint of its sensor, which is not applied: coordinates are taken as they are")
    return Vertices(_without_nan(named, told), told=tuple(told), unread=several)


def _read_header(path: Path, head: bytes) -> _Header:
    entries: dict[str, list[str]] = {}
    place = 0
    for number, line in enumerate(head.splitlines(keepends=True), start=1):
        place += len(line)
        words = line.decode("ascii", "replace").split("#")[0].split()
        if not words:
            continue
        if words[0].upper() not in KEYS:
            if not entries:
                raise OtocError(f"{path}: not a PCD file; export it again")
            raise OtocError(f"{path}, line {number}: {shown(words[0])} is no line of a PCD header; export it again")
        entries["FIELDS" if words[0].upper() == "COLUMNS" else words[0].upper()] = words[1:]
        if words[0].upper() == "DATA":
            break
    else:
        raise OtocError(f"{path}: not a PCD file, or truncated: its header has no line DATA; copy it again")
    try:
        names = entries["FIELDS"]
        sizes = _numbers(entries.get("SIZE", ["4"] * len(names)), len(names))
        counts = _numbers(entries.get("COUNT", ["1"] * len(names)), len(names))
        kinds = list(zip((word.upper() for word in entries.get("TYPE", ["F"] * len(names))), sizes, strict=True))
        if not set(kinds) <= TYPES:
            raise ValueError(f"its types and sizes {shown(kinds)} are not those of PCD")
        twice = {name for name in names if names.count(name) > 1 and name != PADDING}
        if twice:
            raise ValueError(f"it names {shown(min(twice))} twice")
        width = _numbers(entries.get("WIDTH", entries.get("POINTS", [])), 1)[0]
        area = width * _numbers(entries.get("HEIGHT", ["1"]), 1)[0]
        points = _numbers(entries.get("POINTS", [str(area)]), 1)[0]
        if points != area:
            raise ValueError(f"it names {shown(points)} points and a width and height of {shown(area)}")
        data = entries["DATA"][0].lower()
        if data not in ("ascii", "binary", "binary_compressed"):
            raise ValueError(f"its data are {shown(data)}")
        viewpoint = [float(word) for word in entries.get("VIEWPOINT", map(str, NOWHERE))]
    except (KeyError, IndexError, ValueError) as error:
        fault = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise OtocError(f"{path}: damaged header of a PCD file ({fault}); export it again") from None
    types = [np.dtype(f"<{kind.replace('U', 'u').replace('I', 'i').replace('F', 'f')}{size}") for kind, size in kinds]
    return _Header(names, types, counts, points, data, place, viewpoint)


def _numbers(words: list[str], count: int) -> list[int]:
    if len(words) != count or not all(word.isdecimal() and len(word) < 16 for word in words):
        raise ValueError(f"{shown(' '.join(words))} are not {count} whole numbers")
    return [int(word) for word in words]


def _from_text(path: Path, header: _Header, data: np.ndarray) -> list[np.ndarray]:
    """The values of each field, [N, count], of the lines behind the header."""
    text = data.copy()
    head = text[: header.start]
    head[(head != ord("\n")) & (head != ord("\r"))] = ord(" ")  # so that lines keep their numbers
    nothing = _zero_nan(text)
    table = point_text.parse_table(np.append(text, np.uint8(ord("\n"))), path, sum(header.counts))
    if len(table) != header.points:
        raise _short(path, header, len(table))
    flat = table.reshape(-1)
    flat[nothing] = np.nan
    columns = []
    for part, name, kind in zip(
        np.split(table, np.cumsum(header.counts)[:-1], axis=1), header.names, header.kinds, strict=True
    ):
        if kind.kind != "f":
            limits = np.iinfo(kind)
            if not ((part >= limits.min) & (part <= limits.max) & (part == np.rint(part))).all():
                raise OtocError(f"{path}: {shown(name)} holds a number that its type {kind} does not; export it again")
            part = part.astype(kind)
        elif name.lower() in PACKED:
            part = part.astype(kind)
        columns.append(part)
    return columns


@compiled(parallel=False)
def _zero_nan(text):
    """Write zeros over every word ``nan``; returns which of the numbers they are, int64 [K]."""
    which = np.empty(len(text) // 4 + 1, np.int64)
    found, numbers, inside, size = 0, 0, False, len(text)
    for i in range(size):
        separates = text[i] <= 32
        if not separates and not inside:
            numbers += 1
            first = i + (text[i] == 45 or text[i] == 43)  # a sign, which some programs write
            if first + 2 < size and (text[first] | 32) == 110 and (text[first + 1] | 32) == 97:
                if (text[first + 2] | 32) == 110 and (first + 3 == size or text[first + 3] <= 32):
                    for j in range(i, first + 3):
                        text[j] = 48
                    which[found] = numbers - 1
                    found += 1
        inside = not separates
    return which[:found]


def _from_compressed(path: Path, header: _Header, body: np.ndarray, row: int) -> list[np.ndarray]:
    """The values of each field, [N, count]: unpacked, they lie one field after the other."""
    if len(body) < 8:
        raise _short(path, header, 0)
    packed, size = body[:8].view("<u4").tolist()
    if size != header.points * row or packed > len(body) - 8:
        raise OtocError(f"{path}: damaged or truncated PCD, its parts have other sizes than it says; copy it again")
    whole = np.empty(size, dtype=np.uint8)
    if _unpack(body[8 : 8 + packed], whole) != size:
        raise OtocError(f"{path}: damaged PCD, what it holds cannot be unpacked; copy it again")
    columns, place = [], 0
    for kind, count in zip(header.kinds, header.counts, strict=True):
        end = place + header.points * kind.itemsize * count
        columns.append(whole[place:end].view(kind).reshape(header.points, count))
        place = end
    return columns


@compiled(parallel=False)
def _unpack(packed, whole):
    """LZF [Lehmann 2000]: bytes as they are, or copies of what was unpacked before. Returns how many, or -1."""
    position = out = 0
    while position < len(packed):
        control = np.int64(packed[position])
        position += 1
        if control < 32:  # so many bytes and one follow
            control += 1
            if position + control > len(packed) or out + control > len(whole):
                return -1
            for _ in range(control):
                whole[out] = packed[position]
                out += 1
                position += 1
            continue
        length = control >> 5
        if length == 7:
            if position >= len(packed):
                return -1
            length += np.int64(packed[position])
            position += 1
        if position >= len(packed):
            return -1
        source = out - ((control & 31) << 8) - np.int64(packed[position]) - 1
        position += 1
        length += 2
        if source < 0 or out + length > len(whole):
            return -1
        for i in range(length):
            whole[out + i] = whole[source + i]
        out += length  # type: ignore[assignment]  # numba's
    return out


def _unpacked(path: Path, name: str, packed: np.ndarray) -> dict[str, np.ndarray]:
    """Red, green and blue, uint8 [N], of colours packed into numbers of four bytes."""
    if packed.dtype.kind == "f" and packed.dtype.itemsize == 8 or packed.dtype.itemsize not in (4, 8):
        raise OtocError(f"{path}: {name} is no number of four bytes, so it holds no colours; export it again")
    bits = packed.view("<u4") if packed.dtype.itemsize == 4 else packed.astype("<u4")
    return {
        channel: ((bits >> shift) & 255).astype(np.uint8) for channel, shift in (("red", 16), ("green", 8), ("blue", 0))
    }


def _without_nan(columns: dict[str, np.ndarray], told: list[str]) -> dict[str, np.ndarray]:
    """The points that have a position: organized clouds, an image of depths, hold NaN where nothing was seen."""
    axes = [column for name, column in columns.items() if name.lower() in ("x", "y", "z") and column.dtype.kind == "f"]
    if not axes:
        return columns
    there = ~np.isnan(np.stack(axes)).any(axis=0)
    if there.all() or not there.any():
        return columns
    told.append(
        f"{(~there).sum()} of its {len(there)} points have no position (NaN, as PCD marks them) and are left out"
    )
    return {name: column[there] for name, column in columns.items()}


def _short(path: Path, header: _Header, found: int) -> OtocError:
    announced = shown(header.points)
    return OtocError(f"{path}: truncated or damaged PCD, {found} of the {announced} points it announces; copy it again")
