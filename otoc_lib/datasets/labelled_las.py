"""Scans with a label at every point, as LAS and LAZ files."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import laspy
import numpy as np
from laspy.vlrs.vlrlist import VLRList

from otoc_lib.datasets.labelled_ply import check_labels, class_lines
from otoc_lib.datasets.las import ExtendedRecord, extended_records
from otoc_lib.datasets.point_files import UNKNOWN_UNIT, read_again
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.labels import LabelSet

CHANNELS = ("red", "green", "blue")
WITH_COLORS = {0: 2, 1: 3, 4: 5, 6: 7, 9: 10}  # point formats without colours -> the same with
OLDEST = laspy.header.Version(1, 2)  # that knows colours
PLAIN = 7  # point format of scans that came in another file
STEP = 1e-4  # metres, of their coordinates
AT_ONCE = 1 << 20  # points that are written at a time
SOFTWARE = "otoc predict"
OURS = "otoc"  # user of the record that says what labels mean
COPC = "copc"  # user of the records of an octree of the points, as a cloud-optimized file has them in its order
WAVEFORMS = ("LASF_Spec", 65535)  # user and number of the record that holds them
OWN = {*CHANNELS, "label", "confidence", *(f"scan_{channel}" for channel in CHANNELS)}
EXTRA = (("label", np.int32), ("confidence", np.float32), *((f"scan_{channel}", np.uint8) for channel in CHANNELS))


def export_labels(
    scan_path: Path,
    labels: np.ndarray,
    confidence: np.ndarray,
    label_set: LabelSet,
    out_path: Path,
    comments: Sequence[str] = (),
) -> None:
    """Write a scan as LAS or LAZ with a label at every point, in the order of the input.

    Colours are those of the classes, and the extra dimensions ``label``, ``confidence`` and ``scan_red``,
    ``scan_green``, ``scan_blue`` (of the input) are added. What else a LAS or LAZ input holds is kept as it is: its
    whole numbers with their scale and offset, so that coordinates are exact, its own classification, and its header
    with the coordinate system, also in records after the points. Coordinates of other inputs are rounded to a tenth of
    a millimetre.

    Args:
        scan_path: the scan that was labelled, of any format.
        labels, confidence, label_set, comments: as for ``labelled_ply.export_labels``; comments and classes go to a
            record of text in the header (user ``otoc``).
        out_path: file to write, .las or .laz.
    """
    scan = read_again(scan_path)  # which has looked at what a LAS file claims
    check_labels(scan_path, len(scan.points), labels, confidence, label_set)
    columns = {"label": labels.astype(np.int32), "confidence": confidence.astype(np.float32)}
    columns |= {
        name: channel.astype(np.uint16) * 257 for name, channel in zip(CHANNELS, label_set.paint(labels).T, strict=True)
    }
    columns |= {f"scan_{name}": channel for name, channel in zip(CHANNELS, scan.colors.T, strict=True)}
    notes = "\n".join([*comments, *class_lines(label_set)])
    try:
        _write(scan_path, scan.points, columns, notes, out_path)
    except (laspy.LaspyException, UnicodeError, NotImplementedError) as error:  # what laspy reads and does not write
        raise OtocError(f"{scan_path}: cannot be written as LAS ({error}); write --format ply") from error


def _write(scan_path: Path, points: np.ndarray, columns: dict[str, np.ndarray], notes: str, out_path: Path) -> None:
    """Write the points of a scan with columns [N] that are added, and notes in the header."""
    is_las = scan_path.suffix.lower() in (".las", ".laz")
    header = _header_of(scan_path) if is_las else _new_header(scan_path, points)
    header.vlrs.append(laspy.VLR(OURS, 1, "labels", notes.encode()))
    parts = _parts_of(scan_path, header) if is_las else _new_parts(points, header)
    extended = _extended_of(scan_path) if is_las else _Records()
    compressed = out_path.suffix.lower() == ".laz"
    with write_aside(out_path) as aside, aside.open("wb") as file:
        given = {"header": header, "do_compress": compressed, "encoding_errors": "replace"}  # bytes stay as they are
        with laspy.open(file, "w", closefd=False, **given) as las:
            done = 0
            for part in parts:
                for name, column in columns.items():
                    part[name] = column[done : done + len(part)]
                done += len(part)
                las.write_points(part)
            if extended:
                las.write_evlrs(extended)
            waveforms = _start_of_waveforms(las.header, extended)
            las.header.start_of_waveform_data_packet_record = waveforms
            las.header.global_encoding.waveform_data_packets_internal = waveforms > 0


def _header_of(path: Path) -> laspy.LasHeader:
    """Header of a LAS file for its points with labels and colours."""
    with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as las:
        header = copy.deepcopy(las.header)
    if any(vlr.user_id == COPC for vlr in header.vlrs):
        warnings.warn(f"{path}: what is written is no cloud-optimized file (COPC), but plain LAS or LAZ", stacklevel=3)
        header.vlrs = VLRList([vlr for vlr in header.vlrs if vlr.user_id != COPC])
    if header.start_of_waveform_data_packet_record and not header.number_of_evlrs:  # as in LAS 1.3
        warnings.warn(f"{path}: the waveforms after its points are left out of what is written", stacklevel=3)
    known = set(header.point_format.extra_dimension_names)
    if taken := [name for name, _ in EXTRA if name in known]:
        warnings.warn(f"{path}: its dimensions {', '.join(taken)} give way to ours of that name", stacklevel=3)
        header.remove_extra_dims(taken)
    colored = laspy.PointFormat(WITH_COLORS.get(header.point_format.id, header.point_format.id))
    colored.dimensions.extend(header.point_format.extra_dimensions)
    header.set_version_and_point_format(max(header.version, OLDEST), colored)
    return _labelled(header)


class _Records(list[ExtendedRecord]):
    """Records after the points as laspy writes them, byte for byte: its own refuse names beyond ASCII."""

    def write_to(self, stream: BinaryIO, as_extended: bool) -> None:
        for record in self:
            stream.write(record.data)


def _extended_of(path: Path) -> _Records:
    """The records after the points of a LAS file that hold for its points with labels, too."""
    with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as las:
        try:
            return _Records(record for record in extended_records(path, las.header) if record.user != COPC)
        except OtocError:  # told when the scan was read
            return _Records()


def _start_of_waveforms(header: laspy.LasHeader, extended: _Records) -> int:
    """Where the record of waveforms begins in a file that is written; 0 where there is none."""
    place = header.start_of_first_evlr
    for record in extended:
        if (record.user, record.number) == WAVEFORMS:
            return place
        place += len(record.data)
    return 0


def _new_header(path: Path, points: np.ndarray) -> laspy.LasHeader:
    header = laspy.LasHeader(version="1.4", point_format=PLAIN)
    header.scales, header.offsets = np.full(3, STEP), np.floor(points.min(axis=0))
    if np.ptp(points, axis=0).max() / STEP >= 2**31:
        extent = f"{np.ptp(points, axis=0).max():.3g} {UNKNOWN_UNIT}"
        raise OtocError(f"{path}: spans {extent}, too much for LAS; write --format ply")
    return _labelled(header)


def _labelled(header: laspy.LasHeader) -> laspy.LasHeader:
    header.add_extra_dims([laspy.ExtraBytesParams(name, np.dtype(kind)) for name, kind in EXTRA])
    header.vlrs = VLRList([vlr for vlr in header.vlrs if vlr.user_id != OURS])
    header.generating_software = SOFTWARE
    return header


def _parts_of(path: Path, header: laspy.LasHeader) -> Iterator[laspy.ScaleAwarePointRecord]:
    """The points of a LAS file, with what they hold, some at a time."""
    with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as las:
        for chunk in las.chunk_iterator(AT_ONCE):
            part = laspy.ScaleAwarePointRecord.zeros(len(chunk), header=header)
            for name in chunk.array.dtype.names:  # whole numbers and bits, without their scales
                if name in part.array.dtype.names and name not in OWN:
                    part.array[name] = chunk.array[name]
            yield part


def _new_parts(points: np.ndarray, header: laspy.LasHeader) -> Iterator[laspy.ScaleAwarePointRecord]:
    for start in range(0, len(points), AT_ONCE):
        chunk = points[start : start + AT_ONCE]
        part = laspy.ScaleAwarePointRecord.zeros(len(chunk), header=header)
        part.x, part.y, part.z = chunk.T
        yield part
