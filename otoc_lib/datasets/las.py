"""Reader of LAS and LAZ files, through laspy and lazrs, which believe what a file says of itself: so we look first."""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import laspy
import lazrs
import numpy as np
from laspy.vlrs.known import GeoKeyDirectoryVlr, WktCoordinateSystemVlr, vlr_factory

from otoc_lib.datasets.scan_columns import is_meant
from otoc_lib.datasets.vertices import Vertices
from otoc_lib.errors import OtocError
from otoc_lib.outside import opening

PROJECTION = "LASF_Projection"  # user of the records that name a coordinate system
LINEAR_UNITS, FEET = 3076, (9002, 9003)  # of GeoTIFF: the key of the unit, and the foot and the US survey foot
MOST_PACKED = 1000  # times that LAZ makes points smaller, generously
COARSEST = 0.01  # metres; larger steps between coordinates are told
BYTES = 1 << 26  # of points that are unpacked at a time

EXTENDED = struct.Struct("<2x16sHQ32x")  # what is before a record after the points: its user, number and length

# Layers that a chunk of compressed points has for an item of these types; extra bytes (14) have one each.
LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}


@dataclass(frozen=True)
class ExtendedRecord:
    """A record that follows the points."""

    user: str
    number: int
    data: bytes  # of the file, as they are, with what is before the record


def read_las(path: Path) -> Vertices:
    """Columns x, y and z, float64, and of the others those that mean something to the kit, in the file's types.

    Raises OtocError naming the file, if it is missing, damaged, or holds fewer points than it announces.
    """
    _check_counts(path)
    chunks: dict[str, list[np.ndarray]] = {}
    try:
        # The parallel reader trusts damaged sizes, as reading of what follows the points does.
        with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as las:
            header = las.header
            if header.are_points_compressed and header.point_count:
                with open(path, "rb") as file:
                    _check_chunks(file, header)
            # Its X, Y and Z are x, y and z before scale and offset.
            stored = [name for name in header.point_format.dimension_names if name not in ("X", "Y", "Z")]
            names = ["x", "y", "z", *filter(is_meant, stored)]
            chunks = {name: [np.empty(0)] for name in names}
            for chunk in las.chunk_iterator(max(BYTES // header.point_format.size, 1)):
                for name in names:
                    chunks[name].append(np.array(chunk[name]))
    except (KeyboardInterrupt, SystemExit):
        raise
    except UnicodeError as error:
        raise OtocError(
            f"{path}: its header names something in letters that LAS has not ({error}); save it again in CloudCompare"
        ) from error
    except BaseException as error:  # whatever the two libraries meet; a panic of lazrs is no Exception
        raise OtocError(f"{path}: damaged or truncated LAS ({error}); copy it again") from error
    columns = {name: np.concatenate(parts[1:] or parts) for name, parts in chunks.items()}
    if len(columns["x"]) != header.point_count:
        raise OtocError(f"{path}: {len(columns['x'])} of the {header.point_count} points it announces; copy it again")
    told: tuple[str, ...] = ()
    try:
        extended = extended_records(path, header, PROJECTION)
        found = (laspy.VLR(PROJECTION, record.number, "", record.data[EXTENDED.size :]) for record in extended)
        systems = [*header.vlrs, *map(vlr_factory, found)]
    except OtocError as error:
        systems, told = header.vlrs, (str(error).removeprefix(f"{path}: "),)
    unit = "ft" if _counts_in_feet(systems) else "m"
    if max(header.scales) > COARSEST:
        step = f"{max(header.scales):g} {unit}"
        told += (f"its coordinates are stored in steps of {step}; export it with a scale of 0.001",)
    if "classification" in columns and (columns["classification"] <= 1).all():  # 0 and 1 stand for unclassified
        del columns["classification"]
    return Vertices(columns, told=told, unread=tuple(name for name in stored if name not in columns), unit=unit)


def extended_records(path: Path, header: laspy.LasHeader, user: str | None = None) -> Iterator[ExtendedRecord]:
    """The records that follow the points, which only LAS 1.4 has: all, or those of one user.

    Raises OtocError where one is longer than what is left of the file: laspy would believe it.
    """
    size = path.stat().st_size
    with opening(path), open(path, "rb") as file:
        place = header.start_of_first_evlr
        for _ in range(header.number_of_evlrs):
            file.seek(min(place, size))
            head = file.read(EXTENDED.size)
            length = EXTENDED.unpack(head)[2] if len(head) == EXTENDED.size else size
            if place + EXTENDED.size + length > size:
                raise OtocError(
                    f"{path}: the records after its points, which may name the coordinate system, are damaged and left "
                    "out; export it again"
                )
            name, number = EXTENDED.unpack(head)[0].split(b"\0")[0].decode("latin-1"), EXTENDED.unpack(head)[1]
            if user in (None, name):
                yield ExtendedRecord(name, number, head + file.read(length))
            place += EXTENDED.size + length


def _counts_in_feet(records: Iterable[object]) -> bool:
    """Whether the coordinate system that records name counts in feet; without one, LAS counts in metres."""
    for record in records:
        if isinstance(record, GeoKeyDirectoryVlr):
            return any(key.id == LINEAR_UNITS and key.value_offset in FEET for key in record.geo_keys)
        if isinstance(record, WktCoordinateSystemVlr):
            units = re.findall(r"(?<!ANGLE)UNIT\s*\[\s*\"([^\"]*)\"", record.string, re.IGNORECASE)
            lengths = [unit.lower() for unit in units if "deg" not in unit.lower() and "rad" not in unit.lower()]
            return bool(lengths) and re.search("foot|feet|ft", lengths[0]) is not None
    return False


def _check_chunks(file: BinaryIO, header: laspy.LasHeader) -> None:
    """Refuse compressed chunks that claim more than they have: lazrs would allocate it, or abort the process.

    A chunk is its first point, then, from point format 6 on, a count and the sizes of its layers, then the rest.
    """
    record = header.vlrs.get("LasZipVlr")[0].record_data
    (num_items,) = struct.unpack_from("<H", record, 32)
    items = [struct.unpack_from("<HHH", record, 34 + 6 * i) for i in range(num_items)]  # type, size, version
    layers = sum(size if kind == 14 else LAYERS[kind] for kind, size, version in items if version >= 3)
    vlr = lazrs.LazVlr(record)
    if vlr.item_size() != header.point_format.size:
        raise ValueError(f"{vlr.item_size()} instead of {header.point_format.size} bytes a point")
    file.seek(header.offset_to_point_data)
    chunks = lazrs.read_chunk_table(file, vlr)  # points and bytes of each
    place = header.offset_to_point_data + 8
    for _, length in chunks:
        if layers:
            file.seek(place + vlr.item_size())
            head = file.read(4 + 4 * layers)
            sizes = struct.unpack_from(f"<{layers}I", head, 4)
            if vlr.item_size() + len(head) + sum(sizes) != length:
                raise ValueError("a chunk has not the size of its layers")
        place += length
    if place > file.seek(0, 2) or sum(count for count, _ in chunks) < header.point_count:
        raise ValueError("its chunks hold less than it announces")


def _check_counts(path: Path) -> None:
    """Refuse counts that the file cannot hold: laspy and lazrs would loop, allocate and abort by them."""
    with opening(path), open(path, "rb") as file:
        size = path.stat().st_size
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
            fits = chunks <= count and chunks * point_size <= size
    if not fits:
        raise OtocError(f"{path}: damaged or truncated LAS (too short for the counts it names); copy it again")
