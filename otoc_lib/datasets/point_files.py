"""Scans in the formats people have: PLY (mesh or points), LAS/LAZ, and text tables (XYZ, TXT, CSV).

Whatever the format, a scan is points, a colour each, and triangles where the file holds a mesh, all in file order. A
format's reader gives its columns as ``Vertices``; what they mean is decided here and in ``scan_columns`` and
``scan_colors``, once for all formats.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets import scan_colors, scan_columns
from otoc_lib.datasets.las import read_las
from otoc_lib.datasets.ply import read_ply
from otoc_lib.datasets.point_text import read_points
from otoc_lib.datasets.vertices import Vertices
from otoc_lib.errors import OtocError
from otoc_lib.outside import opening

READERS: dict[str, Callable[[Path], Vertices]] = {
    ".ply": read_ply,
    **dict.fromkeys((".las", ".laz"), read_las),
    **dict.fromkeys((".xyz", ".txt", ".csv"), read_points),
}
FORMATS = tuple(READERS)

LARGEST_ROOM = 200.0  # metres; a scan that spans more is probably in millimetres
FARTHEST = 1e12  # of any unit; what lies beyond is no coordinate


@dataclass(frozen=True, eq=False)
class Scan:
    """N points in file order, the F triangles of a mesh, and what was decided about them."""

    points: np.ndarray  # float64 [N, 3], in the file's coordinates
    colors: np.ndarray  # uint8 [N, 3] RGB
    faces: np.ndarray | None  # int32 [F, 3] vertex indices; None where the file holds points only
    low: np.ndarray  # float64 [3] the box of the points without strays
    high: np.ndarray
    stray: np.ndarray  # int64 [S] indices of points that lie far from all others
    color_scale: str  # how colours became bytes, such as "16 bits, divided by 256"
    class_name: str | None  # the column that holds a class for each point, as the file spells it
    classes: np.ndarray | None  # [N] its values, numbers or text
    left_out: tuple[str, ...]  # names of the columns that mean nothing to the kit
    told: tuple[str, ...]  # what was left out, changed or guessed; each is warned of, too


def read_scan(path: Path) -> Scan:
    """Read a scan.

    Args:
        path: .ply (ascii or binary; polygons are cut into triangles), .las or .laz, or .xyz, .txt or .csv with lines
            ``x y z`` or ``x y z r g b``; a first line of names (x, y, z, r or red, ...) may say which columns are
            which. Colours are 0..255, 0..65535 or fractions 0..1.

    Returns:
        Scan. Each of its sentences ``told`` is warned of with the file's name.

    Raises:
        OtocError: another format, or the file is missing, empty, truncated, holds other counts than it announces, text
            instead of numbers, NaN, or a face of vertices that are not there; the message names the file (and line).
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise OtocError(f"{path}: not a format this kit reads; convert the scan to one of {', '.join(FORMATS)}")
    with opening(path):
        size = path.stat().st_size
    if size == 0:
        raise OtocError(f"{path}: is empty (0 bytes); copy it again or leave it out")
    scan = interpret(path, READERS[path.suffix.lower()](path))
    for sentence in scan.told:
        warnings.warn(f"{path}: {sentence}", stacklevel=2)
    return scan


def interpret(path: Path, vertices: Vertices) -> Scan:
    """The scan that the columns of a file mean.

    Args:
        path: named in errors.
    """
    meaning = scan_columns.find_columns(path, vertices.columns)
    told = [*vertices.told, *meaning.told]
    points = np.stack([vertices.columns[axis] for axis in meaning.axes], axis=1).astype(np.float64)
    faces = vertices.faces if vertices.faces is not None and len(vertices.faces) else None
    _check_points(path, points, told)
    _check_faces(path, faces, len(points))
    colors, scale = np.full(points.shape, scan_colors.GREY, dtype=np.uint8), "none, every point is grey"
    values = np.stack([vertices.columns[name] for name in meaning.colors], axis=1) if meaning.colors else np.empty(0)
    if values.any():
        colors, scale, changed = scan_colors.to_bytes(path, values)
        told += changed
    else:  # none, or zeros, which programs write where there is no colour
        told.append("has no colours, which the network learns from; every point is grey")
    return Scan(
        points=points,
        colors=colors,
        faces=None if faces is None else faces.astype(np.int32),
        low=points.min(axis=0),
        high=points.max(axis=0),
        stray=np.empty(0, dtype=np.int64),
        color_scale=scale,
        class_name=meaning.classes,
        classes=None if meaning.classes is None else vertices.columns[meaning.classes],
        left_out=(*meaning.left_out, *vertices.unread),
        told=tuple(told),
    )


def _check_faces(path: Path, faces: np.ndarray | None, num_points: int) -> None:
    if faces is not None and not 0 <= faces.min() <= faces.max() < num_points:
        bad = np.flatnonzero(((faces < 0) | (faces >= num_points)).any(axis=1))[0]
        raise OtocError(f"{path}: a face names vertices {faces[bad].tolist()} of {num_points}; repair the mesh")


def _check_points(path: Path, points: np.ndarray, told: list[str]) -> None:
    if len(points) == 0:
        raise OtocError(f"{path}: holds no points; leave it out or export it again")
    bad = np.flatnonzero(~(np.abs(points) < FARTHEST).all(axis=1))
    if bad.size:
        raise OtocError(
            f"{path}: {bad.size} points have a NaN, infinite or absurd coordinate, the first is {bad[0]}; repair it"
        )
    extent = np.ptp(points, axis=0).max()
    if extent > LARGEST_ROOM:
        told.append(f"spans {extent:.0f} m; coordinates must be metres, divide by 1000 if these are millimetres")
