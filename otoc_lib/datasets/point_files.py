"""Scans in the formats people have: PLY (mesh or points), LAS/LAZ, and text tables (XYZ, TXT, CSV).

Whatever the format, a scan is points, a colour each, and triangles where the file holds a mesh, all in file order.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets import point_text
from otoc_lib.datasets.las import read_las
from otoc_lib.datasets.ply import read_ply
from otoc_lib.errors import OtocError
from otoc_lib.outside import opening

TEXT_FORMATS = (".xyz", ".txt", ".csv")
FORMATS = (".ply", ".las", ".laz", *TEXT_FORMATS)

GREY = 128  # of scans without colours
LARGEST_ROOM = 200.0  # metres; a scan that spans more is probably in millimetres
FARTHEST = 1e12  # of any unit; what lies beyond is no coordinate


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
    with opening(path):
        size = path.stat().st_size
    if size == 0:
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
    bad = np.flatnonzero(~(np.abs(points) < FARTHEST).all(axis=1))
    if bad.size:
        raise OtocError(
            f"{path}: {bad.size} points have a NaN, infinite or absurd coordinate, the first is {bad[0]}; repair it"
        )
    extent = np.ptp(points, axis=0).max()
    if extent > LARGEST_ROOM:
        warnings.warn(
            f"{path}: spans {extent:.0f} m; coordinates must be metres, divide by 1000 if these are millimetres",
            stacklevel=3,
        )


# --- the formats


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    vertices, faces = read_ply(path)
    if not {"x", "y", "z"} <= set(vertices):
        raise OtocError(f"{path}: has no vertices with x, y and z; export it again")
    points = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    channels = next((channels for channels in COLOR_NAMES if set(channels) <= set(vertices)), None)
    colors = None
    if channels is not None:
        colors = colors_to_bytes(path, np.stack([vertices[channel] for channel in channels], axis=1))
    return points, colors, faces


def _read_las(path: Path) -> tuple[np.ndarray, np.ndarray | None, None]:
    points, colors = read_las(path)
    if not colors.any():  # none, or zeros, which programs write where there is no colour
        return points, None, None
    return points, colors_to_bytes(path, colors), None


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
