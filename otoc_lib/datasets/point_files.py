"""Scans in the formats people have: PLY (mesh or points), LAS/LAZ, and text tables (XYZ, TXT, CSV).

Whatever the format, a scan is points, a colour each, and triangles where the file holds a mesh, all in file order.
"""

import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import laspy
import numpy as np

from otoc_lib.datasets import point_text
from otoc_lib.errors import OtocError
from otoc_lib.jit import compiled

TEXT_FORMATS = (".xyz", ".txt", ".csv")
FORMATS = (".ply", ".las", ".laz", *TEXT_FORMATS)

GREY = 128  # of scans without colours
LARGEST_ROOM = 200.0  # metres; a scan that spans more is probably in millimetres

MOST_PACKED = 1000  # times that LAZ makes points smaller, generously

PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
PLY_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
COLOR_NAMES = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))


@dataclass(frozen=True, eq=False)
class Scan:
    """N points in file order, and the F triangles of a mesh."""

    points: np.ndarray  # float64 [N, 3], in the file's coordinates
    colors: np.ndarray  # uint8 [N, 3] RGB
    faces: np.ndarray | None  # int32 [F, 3] vertex indices; None where the file holds points only


def read_scan(path: Path) -> Scan:
    """Read a scan.

    Args:
        path: .ply (ascii or binary; polygons are cut into triangles), .las or .laz, or .xyz, .txt or .csv with lines
            ``x y z`` or ``x y z r g b``; a first line of names (x, y, z, r or red, ...) may say which columns are
            which. Colours are 0..255, 0..65535 or fractions 0..1.

    Returns:
        Scan. A scan without colours is mid grey, with a warning; one larger than 200 m is warned of.

    Raises:
        OtocError: another format, or the file is missing, empty, truncated, holds other counts than it announces, text
            instead of numbers, NaN, or a face of vertices that are not there; the message names the file (and line).
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise OtocError(f"{path}: not a format this kit reads; convert the scan to one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise OtocError(f"{path}: no such file; check the data root, or copy the file there")
    if path.stat().st_size == 0:
        raise OtocError(f"{path}: is empty (0 bytes); copy it again or leave it out")
    read = {".ply": _read_ply, ".las": _read_las, ".laz": _read_las}.get(path.suffix.lower(), _read_text)
    points, colors, faces = read(path)
    _check_points(path, points)
    if faces is not None and len(faces) and not 0 <= faces.min() <= faces.max() < len(points):
        bad = np.flatnonzero(((faces < 0) | (faces >= len(points))).any(axis=1))[0]
        raise OtocError(f"{path}: a face names vertices {faces[bad].tolist()} of {len(points)}; repair the mesh")
    if colors is None:
        warnings.warn(f"{path}: has no colours, which the network learns from; every point is grey", stacklevel=2)
        colors = np.full(points.shape, GREY, dtype=np.uint8)
    has_faces = faces is not None and len(faces) > 0
    return Scan(points, colors, faces.astype(np.int32) if has_faces else None)


def colors_to_bytes(path: Path, colors: np.ndarray) -> np.ndarray:
    """Colours [N, 3] as uint8, whatever their scale.

    Args:
        path: named in errors.
        colors: integers 0..255 or 0..65535, or floats 0..1, 0..255 or 0..65535. Numbers beyond 255 show the scale of
            16 bits, fractions none of which exceeds 1 that of 0..1.
    """
    low, high = colors.min(initial=0), colors.max(initial=0)
    if not (0 <= low and high <= 65535):  # NaN too
        raise OtocError(f"{path}: colours from {low} to {high}; they must be 0..255, 0..65535 or fractions 0..1")
    if high > 255:
        return (colors.astype(np.float64) // 256).astype(np.uint8)  # 16 bits: v * 256 and v * 257 both give v
    if high <= 1 and colors.dtype.kind == "f":
        colors = colors * 255.0
    return np.rint(colors).astype(np.uint8)


def _check_points(path: Path, points: np.ndarray) -> None:
    if len(points) == 0:
        raise OtocError(f"{path}: holds no points; leave it out or export it again")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if bad.size:
        raise OtocError(
            f"{path}: {bad.size} points have a NaN or infinite coordinate, the first is {bad[0]}; repair it"
        )
    extent = np.ptp(points, axis=0).max()
    if extent > LARGEST_ROOM:
        warnings.warn(
            f"{path}: spans {extent:.0f} m; coordinates must be metres, divide by 1000 if these are millimetres",
            stacklevel=3,
        )


# --- LAS and text


def _read_las(path: Path) -> tuple[np.ndarray, np.ndarray | None, None]:
    _check_las_counts(path)
    try:
        las = laspy.read(path, laz_backend=laspy.LazBackend.Lazrs)  # the parallel one trusts damaged sizes
        points = np.asarray(las.xyz, dtype=np.float64)
        has_colors = {"red", "green", "blue"} <= set(las.point_format.dimension_names)
        colors = np.stack([np.asarray(las[name]) for name in ("red", "green", "blue")], axis=1) if has_colors else None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever the two libraries meet; a panic of lazrs is no Exception
        raise OtocError(f"{path}: damaged or truncated LAS ({error}); copy it again") from error
    if len(points) != las.header.point_count:
        raise OtocError(f"{path}: {len(points)} of the {las.header.point_count} points it announces; copy it again")
    if colors is None or not colors.any():  # programs write zeros where there is no colour
        return points, None, None
    return points, colors_to_bytes(path, colors), None


def _check_las_counts(path: Path) -> None:
    """Refuse counts that the file cannot hold: laspy and lazrs would loop, allocate and abort by them."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        header = file.read(375)  # of version 1.4, the longest
        fits = len(header) >= 227
        if fits:
            header_size, points_start, records = struct.unpack_from("<HII", header, 94)
            point_size, count = struct.unpack_from("<HI", header, 105)
            extended_start = extended = 0
            if header[24:26] >= b"\x01\x04" and len(header) == 375:
                extended_start, extended, count = struct.unpack_from("<QIQ", header, 235)
            is_laz = bool(header[104] & 128)
            fits = header_size + 54 * records <= points_start <= size
            fits &= extended == 0 or extended_start + 60 * extended <= size
            fits &= count * point_size <= (MOST_PACKED if is_laz else 1) * (size - points_start)
        if fits and is_laz and count:
            file.seek(points_start)
            (chunks_start,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
            if chunks_start == -1:  # written without going back: the place is at the file's end
                file.seek(size - 8)
                (chunks_start,) = struct.unpack("<q", file.read(8))
            file.seek(min(max(chunks_start, 0), size))
            _, chunks = struct.unpack("<II", file.read(8).ljust(8, b"\xff"))
            fits = chunks <= count
    if not fits:
        raise OtocError(f"{path}: damaged or truncated LAS (too short for the counts it names); copy it again")


def _read_text(path: Path) -> tuple[np.ndarray, np.ndarray | None, None]:
    table = point_text.read_table(path, header=True)  # [N, K]
    header = point_text.read_header(path)
    if header is None:
        if table.shape[1] not in (3, 6):
            raise OtocError(
                f"{path}, line 1: {table.shape[1]} columns; write x y z or x y z r g b, or name the columns in line 1"
            )
        return table[:, :3], colors_to_bytes(path, table[:, 3:]) if table.shape[1] == 6 else None, None
    names = [name.strip().lower() for name in header]
    missing = [axis for axis in "xyz" if axis not in names]
    if missing or len(names) != table.shape[1]:
        raise OtocError(
            f"{path}, line 1: names {', '.join(header)} for {table.shape[1]} columns; name every column, among them "
            "x, y, z and, for colours, r, g, b"
        )
    points = table[:, [names.index(axis) for axis in "xyz"]]
    channels = next((channels for channels in COLOR_NAMES if set(channels) <= set(names)), None)
    if channels is None:
        return points, None, None
    return points, colors_to_bytes(path, table[:, [names.index(channel) for channel in channels]]), None


# --- PLY


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
    body: np.ndarray  # uint8 or, ascii, float64 [B]

    def size(self, kind: str) -> int:
        """Items of the body that one value takes."""
        return np.dtype(kind).itemsize if self.order else 1

    def take(self, places: np.ndarray, kind: str) -> np.ndarray:
        """The values at some places of the body, both [K]."""
        if not self.order:
            return self.body[places]
        return self.body[places[:, None] + np.arange(self.size(kind))].view(self.order + kind)[:, 0]


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    ply = _open_ply(path)
    vertices: dict[str, np.ndarray] = {}
    faces, place = None, 0
    for element in ply.elements:
        if not element.has_lists:
            columns, place = _ply_columns(ply, element, place)
            vertices = columns if element.name == "vertex" else vertices
        else:
            triangles, place = _ply_triangles(ply, element, place)
            faces = triangles if element.name == "face" else faces
    if place != len(ply.body):
        unit = "bytes" if ply.order else "numbers"
        raise OtocError(f"{path}: {len(ply.body) - place} {unit} more than its header announces; export it again")
    if not {"x", "y", "z"} <= set(vertices):
        raise OtocError(f"{path}: has no vertices with x, y and z; export it again")
    points = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    channels = next((channels for channels in COLOR_NAMES if set(channels) <= set(vertices)), None)
    colors = None
    if channels is not None:
        colors = colors_to_bytes(path, np.stack([vertices[channel] for channel in channels], axis=1))
    return points, colors, faces


def _open_ply(path: Path) -> _Ply:
    data = path.read_bytes()
    end = re.search(rb"[\r\n]end_header[ \t]*(\r\n|\n|\r)", data[: 1 << 20])
    if not re.match(rb"ply[ \t]*[\r\n]", data) or end is None:
        raise OtocError(f"{path}: not a PLY file, or its header is cut off; export it again")
    order, elements = None, []
    for number, line in enumerate(data[: end.start()].decode("ascii", errors="replace").splitlines(), start=1):
        try:
            match line.split():
                case [] | ["ply"] | ["comment" | "obj_info", *_]:
                    pass
                case ["format", name, _]:
                    order = PLY_FORMATS[name]
                case ["element", name, count]:
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
        return _Ply(path, order, elements, data, end.end(), np.frombuffer(data, np.uint8, offset=end.end()))
    try:
        body = np.array(data[end.end() :].split(), dtype=np.float64)
    except ValueError:
        raise _text_fault(path, elements, data, end.end()) from None
    return _Ply(path, order, elements, data, end.end(), body)


def _count(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(word)
    return int(word)


def _with(element: _Element, added: _Property) -> _Element:
    if added.name in [p.name for p in element.properties] or (added.count_kind or "u1").startswith("f"):
        raise ValueError(added.name)
    return _Element(element.name, element.count, (*element.properties, added))


def _ply_columns(ply: _Ply, element: _Element, place: int) -> tuple[dict[str, np.ndarray], int]:
    """The properties of an element without lists, name -> [rows], and where it ends."""
    width = sum(ply.size(p.kind) for p in element.properties)
    end = place + element.count * width
    if end > len(ply.body):
        raise _cut_off(ply, element, (len(ply.body) - place) // width)
    rows = ply.body[place:end].reshape(element.count, width)
    columns, offset = {}, 0
    for p in element.properties:
        stop = offset + ply.size(p.kind)
        column = np.ascontiguousarray(rows[:, offset:stop])
        if ply.order:
            columns[p.name] = column.view(ply.order + p.kind)[:, 0]
        else:
            with np.errstate(invalid="ignore"):  # NaN for an integer becomes a very negative one
                columns[p.name] = column[:, 0].astype(np.float64 if p.kind.startswith("f") else np.int64)
        offset = stop
    return columns, end


def _ply_triangles(ply: _Ply, element: _Element, place: int) -> tuple[np.ndarray | None, int]:
    """The polygons of an element with lists cut into triangles, int64 [F, 3], and where the element ends.

    A polygon of corners 0..n-1 gives the fan (0, 1, 2), (0, 2, 3), ...; None for an element without vertex indices.
    """
    if element.name == "vertex":
        raise OtocError(f"{ply.path}: its vertices have a list property; export it without")
    names = [p.name for p in element.properties]
    chosen = next((names.index(name) for name in ("vertex_indices", "vertex_index") if name in names), -1)
    sizes = np.array([ply.size(p.kind) for p in element.properties], dtype=np.int64)
    counts = np.array([ply.size(p.count_kind) if p.count_kind else 0 for p in element.properties], dtype=np.int64)
    if element.count * int(np.where(counts > 0, counts, sizes).sum()) > len(ply.body) - place:
        raise _cut_off(ply, element, 0)
    starts, lengths, place, row = _walk(ply.body, place, element.count, sizes, counts, chosen, ply.order == ">")
    if row < element.count:
        raise _cut_off(ply, element, row)
    if chosen < 0 or counts[chosen] == 0:
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
                    length += np.int64(body[place + j]) << 8 * (counts[i] - 1 - j if big_endian else j)
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
        f"{ply.path}: ends before {element.name} {row} of the {element.count} its header announces is complete; "
        "copy it again"
    )


def _text_fault(path: Path, elements: list[_Element], data: bytes, start: int) -> OtocError:
    """The first line of an ascii body that is not what the header announces, as an error."""
    number = len(data[:start].splitlines())
    lines = iter(data[start:].splitlines())
    for element in elements:
        for _ in range(element.count):
            words: list[bytes] = []
            while not words:
                number += 1
                line = next(lines, None)
                if line is None:
                    return OtocError(f"{path}, line {number}: ends before all {element.count} {element.name} lines")
                words = line.split()
            try:
                values = [float(word) for word in words]
                width = 0
                for p in element.properties:
                    width += 1 + (int(values[width]) if p.count_kind else 0)
                fault = f"{len(values)} numbers instead of {width}" if width != len(values) else ""
            except (ValueError, IndexError, OverflowError):
                fault = "not the numbers of this element"
            if fault:
                shown = line[:80].decode("ascii", errors="replace")
                return OtocError(f"{path}, line {number}: {fault} for a {element.name}: {shown!r}; repair that line")
    return OtocError(f"{path}: its numbers do not fit the counts of its header; export it again")
