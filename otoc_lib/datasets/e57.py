"""Reader of E57 files (ASTM E2807), which terrestrial scanners write, through pye57 and the libE57Format in it.

That library checks the checksum of every page, and believes the rest of what a file says: so we look first.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.parsers import expat

import numpy as np

from otoc_lib.datasets.scan_colors import GREY
from otoc_lib.datasets.vertices import SPLIT, Vertices, rotation_of
from otoc_lib.errors import OtocError, listed, shown
from otoc_lib.outside import opening

INSTALL = "pip install -e '.[e57]'"
PAGE, PAGE_DATA = 1024, 1020  # bytes of a page, and those before its checksum
MOST_XML = 1 << 26  # bytes
DEEPEST = 50  # of the elements in it: the library goes down by recursion
CHUNK = 1 << 20  # points that are read at a time
SAMPLE = 100_000  # points of a scan that show where it lies
MOST_LISTED = 5  # names of scans in a sentence

CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
COLORS = ("colorRed", "colorGreen", "colorBlue")
INVALID = {CARTESIAN: "cartesianInvalidState", SPHERICAL: "sphericalInvalidState"}
USED = {*CARTESIAN, *SPHERICAL, *COLORS, *INVALID.values(), "isColorInvalid", "intensity"}


@dataclass(frozen=True, eq=False)
class _Station:
    """The valid points of one scan of a file."""

    name: str
    points: np.ndarray  # float64 [N, 3], in the coordinates that the scans of the file share
    colors: np.ndarray | None  # uint8 [N, 3]
    intensity: np.ndarray | None  # float64 [N]
    placed: bool  # whether the file says where it stood
    invalid: int  # points that the scanner marked as none
    unread: tuple[str, ...]


def read_e57(path: Path) -> Vertices:
    """Read an E57 file: all its scans, one after the other, in their common coordinates.

    Returns:
        x, y, z, float64, metres; red, green, blue, uint8, where any scan has colours, else of the intensity, as grey.

    Raises:
        OtocError: naming the file, if it is missing or damaged, or if pye57 is not installed.
    """
    path = Path(path)
    library = _library(path)
    _check_xml(path, _read_xml(path))
    try:
        image = library.ImageFile(str(path), "r")
        try:
            scans = image.root()["data3D"]
            stations = [_read_station(path, library, image, scans[index], index) for index in range(len(scans))]
        finally:
            image.close()
    except (OtocError, MemoryError):
        raise
    except Exception as error:  # whatever the library meets
        raise OtocError(f"{path}: damaged or truncated E57 ({shown(str(error))}); copy it again") from error
    if not stations:
        raise OtocError(f"{path}: holds no scan, perhaps pictures only; export it again")
    return _together(stations)


def _library(path: Path) -> ModuleType:
    try:
        from pye57 import libe57  # an extra: its library is 17 MB, and few scans are in this format
    except ImportError as error:
        raise OtocError(f"{path}: E57 is read by the library pye57, which is not installed; run {INSTALL}") from error
    return libe57


def _read_xml(path: Path) -> bytes:
    """The part of the file that says what is where; its pages end in checksums, which the library compares."""
    with opening(path), open(path, "rb") as file:
        size = path.stat().st_size
        head = file.read(48)
        if len(head) < 48 or head[:8] != b"ASTM-E57":
            raise OtocError(f"{path}: not an E57 file; export it again")
        length, start, xml_length, page = struct.unpack_from("<QQQQ", head, 16)
        if length > size:
            raise OtocError(f"{path}: truncated, {size} of its {length} bytes; copy it again")
        pages = -(-xml_length // PAGE_DATA) + 1
        if page != PAGE or xml_length > MOST_XML or start + xml_length > size:
            raise OtocError(f"{path}: damaged E57, its header names places that it does not have; copy it again")
        first = start - start % PAGE
        file.seek(first)
        data = file.read(pages * PAGE)
    logical = b"".join(data[place : place + PAGE_DATA] for place in range(0, len(data), PAGE))
    return logical[start % PAGE :][:xml_length]


def _check_xml(path: Path, xml: bytes) -> None:
    """Refuse what a scan has no use for: entities, which may name files and grow without end, and deep elements."""
    depth = 0

    def enter(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"elements in {DEEPEST} others")

    def leave(name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: Any) -> None:
        raise ValueError("a document type")

    def declare(version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise ValueError(f"text in {encoding}")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = enter, leave, refuse
    parser.XmlDeclHandler = declare
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last of an encoding
        raise OtocError(f"{path}: damaged E57, its XML part holds {shown(str(error))}; copy it again") from error


def _read_station(path: Path, library: ModuleType, image: Any, scan: Any, index: int) -> _Station:
    points = scan["points"]
    prototype = library.StructureNode(points.prototype())
    names = [prototype.get(i).elementName() for i in range(prototype.childCount())]
    fields = {name: prototype[name] for name in names}
    called = scan["name"].value() if scan.isDefined("name") else f"scan {index}"
    axes = next((axes for axes in (CARTESIAN, SPHERICAL) if fields.keys() >= set(axes)), None)
    if axes is None:
        raise OtocError(
            f"{path}: its scan {shown(called)} has no coordinates, only {', '.join(names)}; export it again"
        )
    bits = sum(_bits(library, node) for node in fields.values())
    if points.childCount() * bits > 8 * path.stat().st_size or (bits == 0 and points.childCount() > 1):
        raise OtocError(f"{path}: damaged E57, it announces more points than it can hold; copy it again")
    columns = _read_columns(library, image, points, [name for name in names if name in USED])
    state = INVALID[axes]
    valid = columns[state] == 0 if state in columns else np.ones(points.childCount(), dtype=bool)
    xyz = np.stack([columns[axis] for axis in axes], axis=1)[valid]
    colors = None
    if columns.keys() >= set(COLORS):
        colors = np.stack([_to_bytes(scan, fields[c], c, columns[c][valid]) for c in COLORS], axis=1)
        if "isColorInvalid" in columns:
            colors[columns["isColorInvalid"][valid] != 0] = GREY
    rotation, translation = _pose(scan)
    return _Station(
        name=str(called),
        points=(xyz if axes == CARTESIAN else _to_cartesian(xyz)) @ rotation.T + translation,
        colors=colors,
        intensity=columns["intensity"][valid] if "intensity" in columns else None,
        placed=scan.isDefined("pose"),
        invalid=int((~valid).sum()),
        unread=tuple(name for name in names if name not in USED),
    )


def _bits(library: ModuleType, node: Any) -> int:
    """Bits that a value of a field takes in the file, at least."""
    if isinstance(node, library.FloatNode):
        return 32 if node.precision() == library.E57_SINGLE else 64
    if isinstance(node, library.ScaledIntegerNode | library.IntegerNode):
        return math.ceil(math.log2(max(node.maximum() - node.minimum() + 1, 1)))
    return 0


def _read_columns(library: ModuleType, image: Any, points: Any, names: list[str]) -> dict[str, np.ndarray]:
    """Columns of a scan, float64 [N]."""
    if points.childCount() == 0:
        return {name: np.empty(0) for name in names}
    chunk = {name: np.empty(min(CHUNK, points.childCount())) for name in names}
    buffers = library.VectorSourceDestBuffer()
    for name, values in chunk.items():  # converted to doubles, and scaled to what they stand for
        buffers.append(library.SourceDestBuffer(image, name, values, len(values), True, True))
    reader = points.reader(buffers)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    while count := reader.read():
        for name, values in chunk.items():
            parts[name].append(values[:count].copy())
    reader.close()
    columns = {name: np.concatenate(several) for name, several in parts.items()}
    if any(len(values) != points.childCount() for values in columns.values()):
        raise ValueError("it holds fewer points than it announces")
    return columns


def _to_bytes(scan: Any, node: Any, name: str, values: np.ndarray) -> np.ndarray:
    """A colour channel as uint8 [N], from the limits that the file names: of the scanner, else of the numbers' type."""
    scaled = hasattr(node, "scaledMinimum")
    low, high = (node.scaledMinimum(), node.scaledMaximum()) if scaled else (node.minimum(), node.maximum())
    if scan.isDefined("colorLimits") and scan["colorLimits"].isDefined(f"{name}Maximum"):
        limits = scan["colorLimits"]
        named = limits[f"{name}Minimum"].value(), limits[f"{name}Maximum"].value()
        if named[0] <= values.min(initial=named[0]) and values.max(initial=named[1]) <= named[1]:
            low, high = named
    if not (math.isfinite(high - low) and 0 < high - low <= 2**32):  # as of a type that may hold anything
        low, high = 0, 255 if values.max(initial=0) > 1 else 1
    if (low, high) == (0, 65535):  # 16 bits: v * 256 and v * 257 both give v, as in other formats
        return np.clip(values // 256, 0, 255).astype(np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _pose(scan: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3, 3] and translation [3] from the scanner's own coordinates to those that all scans share."""
    rotation, translation = np.eye(3), np.zeros(3)
    if scan.isDefined("pose") and scan["pose"].isDefined("rotation"):
        quaternion = np.array([scan["pose"]["rotation"][part].value() for part in "wxyz"], dtype=np.float64)
        length = np.linalg.norm(quaternion)
        if not (math.isfinite(length) and length > 0):
            raise ValueError("the rotation of a pose is none")
        w, x, y, z = quaternion / length
        rotation = rotation_of(x, y, z, w)
    if scan.isDefined("pose") and scan["pose"].isDefined("translation"):
        translation = np.array([scan["pose"]["translation"][axis].value() for axis in "xyz"], dtype=np.float64)
    return rotation, translation


def _to_cartesian(spherical: np.ndarray) -> np.ndarray:
    """x, y, z [N, 3] of range, azimuth (about z, from x) and elevation (above the xy plane), in radians [N, 3]."""
    distance, azimuth, elevation = spherical.T
    flat = distance * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=1)


def _together(stations: list[_Station]) -> Vertices:
    told = []
    points = np.concatenate([station.points for station in stations])
    if len(stations) > 1:
        names = [station.name for station in stations]
        alone = [stations[index].name for index in _outside_the_largest([station.points for station in stations])]
        told.append(
            f"its {len(stations)} scans ({_several(names)}) are one room, in their common coordinates"
            + (f", though {_several(alone)} overlap with no other" if len(alone) == len(names) else "")
            + (f", though {_several(alone)} lie apart from the rest" if 0 < len(alone) < len(names) else "")
            + f"; {SPLIT}"
        )
        if not any(station.placed for station in stations):
            told.append("none of its scans says where it stood: if they do not fit together, register them first")
    invalid = sum(station.invalid for station in stations)
    if invalid:
        told.append(f"{invalid} points that the scanner marked as invalid are left out")
    columns = dict(zip("xyz", np.ascontiguousarray(points.T), strict=True))
    colors = [station.colors for station in stations]
    if any(color is not None for color in colors):
        bare = sum(len(station.points) for station in stations if station.colors is None)
        if bare:
            told.append(f"{bare} points, of scans without colours, are grey")
        whole = [np.full((len(s.points), 3), GREY, np.uint8) if s.colors is None else s.colors for s in stations]
        columns |= dict(zip(("red", "green", "blue"), np.ascontiguousarray(np.concatenate(whole).T), strict=True))
    elif all(station.intensity is not None for station in stations):
        grey = _as_grey(np.concatenate([station.intensity for station in stations]))
        if grey is not None:
            told.append("has no colours; the intensity of its points is shown as grey in their place")
            columns |= dict.fromkeys(("red", "green", "blue"), grey)
    unread = {name for station in stations for name in station.unread}
    parts = tuple((station.name, len(station.points)) for station in stations if len(station.points))
    return Vertices(columns, told=tuple(told), unread=tuple(sorted(unread)), unit="m", parts=parts)


def _several(names: list[str]) -> str:
    return listed(map(shown, names), MOST_LISTED)


def _outside_the_largest(stations: list[np.ndarray]) -> list[int]:
    """Which stations, each points [N, 3], the largest group of overlapping ones has not; all, if none overlap.

    Two overlap if the boxes of nearly all their points do.
    """
    known = [index for index, points in enumerate(stations) if len(points)]
    boxes = {i: np.percentile(stations[i][:: len(stations[i]) // SAMPLE + 1], (1, 99), axis=0) for i in known}
    groups: list[set[int]] = []
    for i in known:
        meeting = [
            g for g in groups if any((boxes[i][0] <= boxes[j][1]).all() & (boxes[j][0] <= boxes[i][1]).all() for j in g)
        ]
        groups = [group for group in groups if group not in meeting] + [{i}.union(*meeting)]
    largest = max(groups, key=len, default=set())
    return [i for i in known if len(largest) < 2 or i not in largest]


def _as_grey(intensity: np.ndarray) -> np.ndarray | None:
    """Intensities [N] as uint8 [N], black to white between their 1st and 99th percentile; None where they are equal."""
    values = np.nan_to_num(intensity, posinf=0.0, neginf=0.0)
    if len(values) == 0 or not (span := np.ptp(np.percentile(values, (1, 99)))) > 0:
        return None
    return np.rint(np.clip((values - np.percentile(values, 1)) / span, 0, 1) * 255).astype(np.uint8)
