"""Reader of PLY files, text or binary: the columns of the vertices, and the polygons cut into triangles.

No count in a header is believed before the file is known to be long enough for it.
"""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets.scan_columns import CHANNELS, is_meant
from otoc_lib.datasets.vertices import MOST_FAULTS, Vertices
from otoc_lib.errors import OtocError, error_of, first_of
from otoc_lib.jit import compiled
from otoc_lib.outside import read_bytes

PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
PLY_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
LONGEST_HEADER = 1 << 16  # bytes
NO_NUMBER = re.compile(rb"[+-]?(1\.#[A-Za-z]+|nan\(\w*\))")  # as Windows programs write NaN and infinity


@dataclass(frozen=True)
class _Property:
    name: str
    kind: str  # numpy type of the values, such as "f4"
    count_kind: str | None  # of a list: the type of its length


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[_Property, ...]

    @property
    def has_lists(self) -> bool:
        return any(p.count_kind for p in self.properties)


@dataclass(frozen=True)
class _Ply:
    """An opened file. Places in the body count its items: bytes, or numbers where the file is ascii."""

    path: Path
    order: str  # "<" or ">", "" for ascii
    elements: list[_Element]
    data: bytes
    start: int  # of the body in the data
    texture: str  # the image that a comment names, or ""
    body: np.ndarray  # uint8 or, ascii, float64 [B]
    told: tuple[str, ...] = ()

    def size(self, kind: str) -> int:
        """Items of the body that one value takes."""
        return np.dtype(kind).itemsize if self.order else 1

    def take(self, places: np.ndarray, kind: str) -> np.ndarray:
        """The values at some places of the body, both [K]."""
        if not self.order:
            return self.body[places]
        return self.body[places[:, None] + np.arange(self.size(kind))].view(self.order + kind)[:, 0]


def read_ply(path: Path, with_faces: bool = True) -> Vertices:
    """Read a PLY file.

    Args:
        with_faces: give the triangles; without them polygons are stepped over, which is faster.

    Returns:
        Vertices: the properties of the type that the header names (but float64 where a text file names a float, which
        may hold more digits, or a property that means nothing to the kit), none without an element "vertex"; and the
        polygons cut into triangles, int64 [F, 3], None without an element "face", or ``with_faces``.

    Raises:
        OtocError: naming the file (and line), if it is missing, damaged, or holds other counts than it announces.
    """
    ply = _open_ply(Path(path))
    columns: dict[str, np.ndarray] = {}
    faces, place = None, 0
    for element in ply.elements:
        if not element.has_lists:
            values, place = _columns(ply, element, place)
            columns = values if element.name.lower() == "vertex" else columns
        else:
            wanted = with_faces and element.name.lower() == "face"
            triangles, place = _triangles(ply, element, place, wanted)
            faces = triangles if wanted else faces
    if place != len(ply.body):
        unit = "bytes" if ply.order else "numbers"
        raise OtocError(
            f"{path}: damaged PLY, {len(ply.body) - place} {unit} more than its header announces; export it again"
        )
    return Vertices(columns, faces, ply.told, elsewhere=_colors_elsewhere(ply))


def _colors_elsewhere(ply: _Ply) -> str:
    """Where the file holds colours that are none of its vertices', and how to bring them there."""
    for element in ply.elements:
        names = [p.name.lower() for p in element.properties]
        if element.name.lower() != "vertex" and any({*group} <= {*names} for group in CHANNELS):
            return (
                f"has its colours on each {element.name} and none on its points; bring them there, in MeshLab by "
                "Filters > Color Creation and Processing > Transfer Color: Face to Vertex"
            )
        if ply.texture or any("texcoord" in name or "texture" in name for name in names) or {"s", "t"} <= {*names}:
            return (
                f"has its colours in a texture{ply.texture and f' ({ply.texture})'} and none on its points; bring them "
                "there, in MeshLab by Filters > Texture > Transfer Color: Texture to Vertex, in CloudCompare by Edit > "
                "Mesh > Convert texture/material to RGB"
            )
    return ""


def _open_ply(path: Path) -> _Ply:
    data = read_bytes(path)
    end = re.search(rb"[\r\n]end_header[ \t]*(\r\n|\n|\r)", data[:LONGEST_HEADER])
    if not re.match(rb"ply[ \t]*[\r\n]", data) or end is None:
        raise OtocError(f"{path}: not a PLY file, or truncated: its header is cut off; copy it again")
    order, elements, texture = None, [], ""
    for number, line in enumerate(data[: end.start()].decode("ascii", errors="replace").splitlines(), start=1):
        try:
            match line.split():
                case ["comment", "TextureFile", *words]:
                    texture = " ".join(words)[:80]
                case [] | ["ply"] | ["comment" | "obj_info", *_]:
                    pass
                case ["format", name, _]:
                    order = PLY_FORMATS[name]
                case ["element", name, count]:
                    if name in [element.name for element in elements]:
                        raise ValueError(name)
                    elements.append(_Element(name, _count(count), ()))
                case ["property", "list", count_kind, kind, name]:
                    elements.append(_with(elements.pop(), _Property(name, PLY_TYPES[kind], PLY_TYPES[count_kind])))
                case ["property", kind, name]:
                    elements.append(_with(elements.pop(), _Property(name, PLY_TYPES[kind], None)))
                case _:
                    raise ValueError
        except (KeyError, IndexError, ValueError):
            raise OtocError(
                f"{path}, line {number}: {line[:80]!r} is no line of a PLY header; export it again"
            ) from None
    if order is None:
        raise OtocError(f"{path}: its header names no format; export it again")
    if order:
        body = np.frombuffer(data, np.uint8, offset=end.end())
        return _Ply(path, order, elements, data, end.end(), texture, body)
    try:
        body, told = _text_numbers(data[end.end() :])
    except ValueError:
        raise _text_fault(path, elements, data, end.end()) from None
    return _Ply(path, order, elements, data, end.end(), texture, body, told)


def _text_numbers(text: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """The numbers of an ascii body, float64 [B], and what they were read as; ValueError if there are others."""
    try:
        return np.array(text.split(), dtype=np.float64), ()
    except ValueError:
        text = NO_NUMBER.sub(b"nan", text)
        told = ("its numbers have decimal commas, and are read so",) if b"," in text and b"." not in text else ()
        return np.array((text.replace(b",", b".") if told else text).split(), dtype=np.float64), told


def _count(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(word)
    return int(word)


def _with(element: _Element, added: _Property) -> _Element:
    if added.name in [p.name for p in element.properties] or (added.count_kind or "u1").startswith("f"):
        raise ValueError(added.name)
    return _Element(element.name, element.count, (*element.properties, added))


def _columns(ply: _Ply, element: _Element, place: int) -> tuple[dict[str, np.ndarray], int]:
    """The properties of an element without lists, name -> [rows], and where it ends."""
    width = sum(ply.size(p.kind) for p in element.properties)
    if width == 0:  # nothing of each, however many the header names
        return {}, place
    end = place + element.count * width
    if end > len(ply.body):
        raise _cut_off(ply, element, (len(ply.body) - place) // width)
    rows = ply.body[place:end].reshape(element.count, width)
    columns, offset = {}, 0
    wrong: list[tuple[int, _Property]] = []  # the first rows that each type does not hold
    num_wrong = 0
    for p in element.properties:
        stop = offset + ply.size(p.kind)
        column = np.ascontiguousarray(rows[:, offset:stop])
        if ply.order:
            columns[p.name] = column.view(ply.order + p.kind)[:, 0]
        else:
            columns[p.name], bad = _typed(p, column[:, 0])
            wrong += [(row, p) for row in bad[:MOST_FAULTS].tolist()]
            num_wrong += len(bad)
        offset = stop
    if wrong:
        lines = _lines_of_rows(ply, element)
        shown = [
            f"{ply.path}{lines[row] if lines else ''}: {p.name} of {element.name} {row} is {columns[p.name][row]:g}, "
            f"its type holds whole numbers {np.iinfo(p.kind).min}..{np.iinfo(p.kind).max}; repair it, or name the "
            "right type in the header"
            for row, p in sorted(wrong, key=lambda found: found[0])
        ]
        raise error_of(first_of(shown, MOST_FAULTS, ply.path, num_wrong))
    return columns, end


def _typed(p: _Property, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A column of a text file, float64 [rows], as the type that its header names, and the rows that it does not hold,
    int64 [B]: with any, the column is as it was."""
    if p.kind.startswith("f") or not is_meant(p.name):  # what is not used is not judged
        return numbers, np.empty(0, np.int64)
    limits = np.iinfo(p.kind)
    bad = np.flatnonzero(~((numbers >= limits.min) & (numbers <= limits.max) & (numbers == np.rint(numbers))))
    return (numbers if bad.size else numbers.astype(p.kind)), bad


def _lines_of_rows(ply: _Ply, element: _Element) -> list[str]:
    """Where each of an element's rows is in an ascii file, such as ", line 12"; nothing if rows are not one a line."""
    before = itertools.takewhile(lambda other: other.name != element.name, ply.elements)
    start = sum(other.count for other in before)
    first = len(ply.data[: ply.start].splitlines()) + 1
    filled = [number for number, line in enumerate(ply.data[ply.start :].splitlines(), start=first) if line.strip()]
    if len(filled) != sum(other.count for other in ply.elements):
        return []
    return [f", line {number}" for number in filled[start : start + element.count]]


def _triangles(ply: _Ply, element: _Element, place: int, wanted: bool) -> tuple[np.ndarray | None, int]:
    """The polygons of an element with lists cut into triangles, int64 [F, 3], and where the element ends.

    A polygon of corners 0..n-1 gives the fan (0, 1, 2), (0, 2, 3), ...; None if not wanted or without vertex indices.
    """
    if element.name.lower() == "vertex":
        raise OtocError(f"{ply.path}: its vertices have a list property; export it without")
    names = [p.name.lower() for p in element.properties]
    chosen = next((names.index(name) for name in ("vertex_indices", "vertex_index") if name in names), -1)
    sizes = np.array([ply.size(p.kind) for p in element.properties], dtype=np.int64)
    counts = np.array([ply.size(p.count_kind) if p.count_kind else 0 for p in element.properties], dtype=np.int64)
    if element.count * int(np.where(counts > 0, counts, sizes).sum()) > len(ply.body) - place:
        raise _cut_off(ply, element, 0)
    starts, lengths, place, row = _walk(ply.body, place, element.count, sizes, counts, chosen, ply.order == ">")
    if row < element.count:
        raise _cut_off(ply, element, row)
    if not wanted or chosen < 0 or counts[chosen] == 0:
        return None, place
    fans = np.maximum(lengths - 2, 0)  # [rows] triangles of each polygon
    first = np.repeat(starts, fans)  # [F] place of the corner that its triangles share
    step = np.arange(len(first)) - np.repeat(np.cumsum(fans) - fans, fans)  # [F] 0, 1, ... within each polygon
    size, kind = sizes[chosen], element.properties[chosen].kind
    corners = [ply.take(first + size * offset, kind) for offset in (0 * step, step + 1, step + 2)]
    triangles = np.stack(corners, axis=1)
    if triangles.dtype.kind == "f" and (triangles % 1).any():  # NaN and infinity too
        raise OtocError(f"{ply.path}: a face names a vertex by a fraction; repair the mesh")
    return triangles.astype(np.int64), place


@compiled(parallel=False)
def _walk(body, place, count, sizes, counts, chosen, big_endian):
    """Step through rows with lists: places of the first values and lengths of property ``chosen`` of each row, int64
    [rows], where the rows end, and how many rows are complete.

    sizes, counts: items of the body that a value, and the length before a list (0: no list), of each property take.
    """
    starts, lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for row in range(count):
        for i in range(len(sizes)):
            length = 1
            if counts[i] > 0:
                if place + counts[i] > len(body):
                    return starts, lengths, place, row
                length = 0
                for j in range(counts[i]):
                    shift = 8 * (counts[i] - 1 - j if big_endian else j)
                    length += np.int64(body[place + j]) << shift  # type: ignore[assignment]  # numba's
                place += counts[i]
            if length < 0 or length * sizes[i] > len(body) - place:
                return starts, lengths, place, row
            if i == chosen:
                starts[row], lengths[row] = place, length
            place += length * sizes[i]
    return starts, lengths, place, count


def _cut_off(ply: _Ply, element: _Element, row: int) -> OtocError:
    if not ply.order:
        return _text_fault(ply.path, ply.elements, ply.data, ply.start)
    return OtocError(
        f"{ply.path}: truncated, ends before {element.name} {row} of the {_shown(element.count)} its header announces "
        "is complete; copy it again"
    )


def _shown(count: int) -> str:
    """A count as messages show it: a header may name one of thousands of digits."""
    return str(count) if count < 10**18 else "many"


def _text_fault(path: Path, elements: list[_Element], data: bytes, start: int) -> OtocError:
    """The lines of an ascii body that are not what the header announces, as an error."""
    number, faults, num_faults = len(data[:start].splitlines()), [], 0
    lines = iter(data[start:].splitlines())
    for element in elements:
        for _ in range(element.count):
            words: list[bytes] = []
            line: bytes | None = b""
            while not words:
                number += 1
                line = next(lines, None)
                if line is None:
                    ends = f"{path}, line {number}: ends before all {_shown(element.count)} {element.name} lines"
                    return error_of([*first_of(faults, MOST_FAULTS, path, num_faults), ends])
                words = line.split()
            try:
                values = [float(word) for word in words]
                width = 0
                for p in element.properties:
                    width += 1 + (int(values[width]) if p.count_kind else 0)
                fault = f"{len(values)} numbers instead of {width}" if width != len(values) else ""
            except (ValueError, IndexError, OverflowError):
                fault = "not the numbers of this element"
            if fault and num_faults < MOST_FAULTS:
                shown = (line or b"")[:80].decode("ascii", errors="replace")
                faults.append(f"{path}, line {number}: {fault} for a {element.name}: {shown!r}; repair that line")
            num_faults += bool(fault)
    if faults:
        return error_of(first_of(faults, MOST_FAULTS, path, num_faults))
    return OtocError(f"{path}: its numbers do not fit the counts of its header; export it again")
