"""Scans in the formats people have: meshes or points in PLY, OBJ and glTF, points in LAS/LAZ, E57, PCD and text tables.

Whatever the format, a scan is points, a colour each, and triangles where the file holds a mesh, all in file order. A
format's reader gives its columns as ``Vertices``; what they mean is decided here and in ``scan_columns`` and
``scan_colors``, once for all formats.
"""

import gzip
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets import gltf, obj, scan_colors, scan_columns
from otoc_lib.datasets.e57 import read_e57
from otoc_lib.datasets.other_formats import how_to_convert
from otoc_lib.datasets.pcd import read_pcd
from otoc_lib.datasets.ply import read_ply
from otoc_lib.datasets.scan_text import read_text
from otoc_lib.datasets.stray_points import find_strays
from otoc_lib.datasets.vertices import Vertices
from otoc_lib.errors import Faults, OtocError, error_of, messages_of
from otoc_lib.files import telling_full_disks
from otoc_lib.outside import opening


def read_las(path: Path) -> Vertices:
    from otoc_lib.datasets import las  # takes long to import, and most commands do without

    return las.read_las(path)


READERS: dict[str, Callable[..., Vertices]] = {
    ".ply": read_ply,
    **dict.fromkeys((".las", ".laz"), read_las),
    ".e57": read_e57,
    **dict.fromkeys((".glb", ".gltf"), gltf.read_gltf),
    ".obj": obj.read_obj,
    ".pcd": read_pcd,
    **dict.fromkeys((".xyz", ".txt", ".csv", ".asc", ".pts"), read_text),
}
FORMATS = tuple(READERS)
NAMING = {".obj": obj.companions, ".gltf": gltf.companions}  # files that name further ones, to be found in their folder

FARTHEST = 1e12  # of any unit; nothing that is a scan spans more
MOST_PACKED = 200  # times that gzip makes a scan smaller, generously
COARSEST = 0.005  # metres; larger steps between coordinates are told,
UNKNOWN_UNIT = "of the file's units"  # after a length, where the format says none
COARSEST_SHARE = 1e-4  # if they are larger than this share of the scan, too: it may be in millimetres


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
    up: str | None = None  # the axis that points up, where the format or the file says so, see ``scan_axes``
    unit: str | None = None  # of the coordinates, likewise
    parts: tuple[tuple[str, int], ...] = ()  # name and points of each scan of a file of several, one after the other

    def within_box(self) -> np.ndarray:
        """The points, float64 [N, 3], with strays on the edge of the box: what grids, views and means are made of."""
        return np.clip(self.points, self.low, self.high) if self.stray.size else self.points


def read_scan(path: Path) -> Scan:
    """Read a scan.

    Args:
        path: .ply, .obj, .glb or .gltf (polygons are cut into triangles), .las, .laz, .e57, .pcd, .xyz, .txt, .csv,
            .asc or .pts, or one of these packed as .gz. Columns are known by their names in any case, those without
            names by their numbers; colours are 0..255, 0..65535 or fractions 0..1, whichever the bulk of them shows.

    Returns:
        Scan. Each of its sentences ``told`` is warned of with the file's name.

    Raises:
        OtocError: another format, or the file is missing, empty, truncated, holds other counts than it announces, text
            or NaN where numbers are needed, columns or colours of unclear meaning, or a face of vertices that are not
            there; the message names the file (and line).
    """
    path = Path(path)
    suffix = scan_suffix(path)
    if suffix not in READERS:
        raise OtocError(f"{path}: {how_to_convert(path)}; the kit reads {', '.join(FORMATS)}, and .gz of these")
    with opening(path):
        size = path.stat().st_size
    if size == 0:
        raise OtocError(f"{path}: is empty (0 bytes); copy it again or leave it out")
    with _unpacked(path) as file:
        try:
            vertices = READERS[suffix](file, path.parent) if suffix in NAMING else READERS[suffix](file)
        except OtocError as error:
            raise error_of([message.replace(str(file), str(path)) for message in messages_of(error)]) from error
    scan = interpret(path, vertices)
    for sentence in scan.told:
        warnings.warn(f"{path}: {sentence}", stacklevel=2)
    return scan


def read_again(path: Path) -> Scan:
    """``read_scan`` of a scan that was read before: what is told of it was told then."""
    with warnings.catch_warnings(action="ignore"):
        return read_scan(path)


def scan_suffix(path: Path) -> str:
    """What a file's name says of its format: ".ply" of room.PLY and of room.ply.gz."""
    path = Path(path)
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def scan_name(path: Path) -> str:
    """A file's name without what says its format: "room" of room.ply and of room.ply.gz."""
    path = Path(path)
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself or, of a .gz, what is in it, as a file that is gone afterwards."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder) / f"scan{scan_suffix(path)}"
        limit = MOST_PACKED * path.stat().st_size + (1 << 20)
        with opening(path), telling_full_disks(inner), gzip.open(path) as packed, open(inner, "wb") as file:
            try:
                while chunk := packed.read(1 << 20):
                    if file.tell() > limit:
                        raise OtocError(f"{path}: holds more than {MOST_PACKED} times its size; unpack it by hand")
                    file.write(chunk)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise OtocError(f"{path}: damaged or truncated gzip ({error}); copy it again") from error
        yield inner


def companions(path: Path) -> list[Path]:
    """The further files that reading a scan reads: materials, textures and buffers that it names."""
    find = NAMING.get(Path(path).suffix.lower())
    try:
        return [] if find is None else find(Path(path))
    except OtocError:  # told when the scan is read
        return []


def interpret(path: Path, vertices: Vertices) -> Scan:
    """The scan that the columns of a file mean.

    Args:
        path: named in errors.
    """
    columns = vertices.columns
    faults = Faults()  # a file may have several: all are named
    faults.messages += vertices.lines_at_fault(path)
    meaning = faults.of(lambda: scan_columns.find_columns(path, columns))
    if meaning is None:
        raise error_of(faults.messages)
    told = [*vertices.told, *meaning.told]
    axes = np.stack([columns[name] for name in meaning.axes]).astype(np.float64, copy=False)  # [3, N]
    have_places = faults.of(lambda: _check_points(path, axes))
    unit = vertices.unit or UNKNOWN_UNIT
    box = faults.of(lambda: _box(path, axes, unit, told)) if have_places else None
    faces = vertices.faces if vertices.faces is not None and len(vertices.faces) else None
    faults.of(lambda: _check_faces(path, faces, axes.shape[1]))
    colored = faults.of(lambda: _read_colors(path, vertices, meaning, told))
    faults.check()
    assert box is not None and colored is not None  # nothing was refused
    (stray, low, high), (colors, scale) = box, colored
    _tell_coarse(axes, low, high, unit, told)
    return Scan(
        points=np.ascontiguousarray(axes.T),
        colors=colors,
        faces=None if faces is None else faces.astype(np.int32),
        low=low,
        high=high,
        stray=stray,
        color_scale=scale,
        class_name=meaning.classes,
        classes=None if meaning.classes is None else columns[meaning.classes],
        left_out=(*meaning.left_out, *vertices.unread),
        told=tuple(told),
        up=vertices.up,
        unit=vertices.unit,
        parts=vertices.parts,
    )


def _check_points(path: Path, axes: np.ndarray) -> bool:
    """True; refuses a scan without points, and points without a place."""
    if axes.shape[1] == 0:
        raise OtocError(f"{path}: holds no points; leave it out or export it again")
    if not np.isfinite(axes).all():
        bad = np.flatnonzero(~np.isfinite(axes).all(axis=0))
        raise OtocError(
            f"{path}: {bad.size} points have a NaN or infinite coordinate, the first is point {bad[0]}; export it "
            "without points that have no place"
        )
    return True


def _check_faces(path: Path, faces: np.ndarray | None, num_points: int) -> None:
    if faces is not None and not 0 <= faces.min() <= faces.max() < num_points:
        bad = np.flatnonzero(((faces < 0) | (faces >= num_points)).any(axis=1))[0]
        raise OtocError(f"{path}: a face names vertices {faces[bad].tolist()} of {num_points}; repair the mesh")


def _box(path: Path, axes: np.ndarray, unit: str, told: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the stray points, and the box of the others."""
    stray = find_strays(axes)
    inner = np.delete(axes, stray, axis=1) if stray.size else axes
    low, high = inner.min(axis=1), inner.max(axis=1)
    if stray.size:
        first = axes[:, stray[0]]
        away = np.maximum(low - first, first - high).max()
        which = "1 stray point lies" if stray.size == 1 else f"{stray.size} stray points lie"
        told.append(
            f"{which} far from all others, the first is point {stray[0]} at ({_listed(first)}), {away:g} {unit} away; "
            "such points stay in the scan, and count as lying on the edge of its box"
        )
    extent = (high - low).max()
    if extent > FARTHEST:
        index = np.abs(axes).max(axis=0).argmax()
        raise OtocError(
            f"{path}: spans {extent:g} {unit}, point {index} lies at ({_listed(axes[:, index])}); these are no "
            "coordinates of a scan, repair it"
        )
    if extent == 0 and axes.shape[1] >= 10:  # fewer may be an example
        raise OtocError(
            f"{path}: all its {axes.shape[1]} points lie at ({_listed(low)}); export it again, with its coordinates"
        )
    return stray, low, high


def _tell_coarse(axes: np.ndarray, low: np.ndarray, high: np.ndarray, unit: str, told: list[str]) -> None:
    """Tell of coordinates so large that single precision, which they have been through, has left steps in them."""
    extent = (high - low).max()
    for name, axis, largest in zip("xyz", axes, np.maximum(np.abs(low), np.abs(high)), strict=True):
        if np.spacing(np.float32(largest)) < max(COARSEST, COARSEST_SHARE * extent):
            continue
        inside = axis[(axis >= -largest) & (axis <= largest)]  # without strays
        if (inside.astype(np.float32) == inside).all() and len(values := np.unique(inside)) > 1:
            told.append(
                f"{name} lies near {largest:.0f} and has steps of {np.diff(values).min():g} {unit}, as single "
                "precision leaves them; export it in double precision, or shifted to the origin"
            )


def _read_colors(
    path: Path, vertices: Vertices, meaning: scan_columns.Meaning, told: list[str]
) -> tuple[np.ndarray, str]:
    """Colours, uint8 [N, 3], and how they became so."""
    if meaning.packed:
        packed = vertices.columns[meaning.packed]
        if packed.any():  # else zeros, which programs write where there is no colour
            return scan_colors.unpack(path, packed), f"unpacked from {meaning.packed}, as 0xRRGGBB"
    elif meaning.splats or meaning.channels:
        values = np.stack([vertices.columns[name] for name in meaning.splats or meaning.channels], axis=1)
        if meaning.splats:
            return scan_colors.of_splats(path, values), "the first spherical harmonics of splats"
        if values.any():
            colors, scale, changed = scan_colors.to_bytes(path, values)
            told += changed
            return colors, scale
    where = vertices.elsewhere or "has no colours, which the network learns from"
    told.append(f"{where}; {'until then ' if vertices.elsewhere else ''}every point is grey")
    count = len(vertices.columns[meaning.axes[0]])
    return np.full((count, 3), scan_colors.GREY, dtype=np.uint8), "none, every point is grey"


def _listed(point: np.ndarray) -> str:
    return ", ".join(f"{value:.10g}" for value in point)  # map coordinates to the millimetre
