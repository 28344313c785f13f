"""Scans of your own: a folder of scan files, a class list, and a clicks.csv.

Every scan file directly in the folder is a scene without labels, named as the file without its suffix. All of them
are in every split: nothing is held out of scans that have no labels to judge by.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from otoc_lib.annotation import clicks as click_files
from otoc_lib.datasets import bundled_rooms
from otoc_lib.datasets.point_files import FORMATS, read_scan
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE, SCANNET20, LabelSet
from otoc_lib.palette import distinct_colors
from otoc_lib.scene import Scene, densify
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.supervoxels.make import make_supervoxels

CLICKS_FILE = "clicks.csv"
FARTHEST_CLICK = 0.1  # metres between a clicked position and the nearest point of its scan

# A mesh in so many pieces that super-voxels hold fewer points than this on average is cut as points instead.
SMALLEST_SUPERVOXELS = 10

# The example's own classes, and which of them an object of the simulated room belongs to.
EXAMPLE_CLASSES = {
    "wall": ("wall",),
    "floor": ("floor",),
    "opening": ("door", "window"),
    "seat": ("chair", "sofa", "toilet"),
    "bed": ("bed",),
    "table": ("table", "desk", "counter"),
    "storage": ("cabinet", "bookshelf", "refrigerator"),
    "other": ("picture", "curtain", "shower curtain", "sink", "bathtub", "otherfurniture"),
}


# --- scenes


def list_scenes(root: Path, split: str) -> list[str]:
    """Names of the scans in ``root``, sorted; the same for every split.

    Raises:
        OtocError: no scan there, or two files of one name but for the suffix.
    """
    return sorted(_scan_files(root))


def scene_files(root: Path, name: str) -> list[Path]:
    """The one file a scan is read from."""
    files = _scan_files(root)
    if name not in files:
        raise OtocError(f"{root}: holds no scan {name!r}; its scans are {', '.join(sorted(files))}")
    return [files[name]]


def load_scene(root: Path, name: str, label_set: LabelSet, partition: Partition) -> Scene:
    """Read one scan as a scene without labels, centred on the mean of its points. Point order is the file's.

    Args:
        root: folder of the scans.
        name: the file's name without its suffix.
        label_set: see ``label_set``.
        partition: how points without a mesh are cut into super-voxels.
    """
    (path,) = scene_files(root, name)
    scan = read_scan(path)
    origin = scan.points.mean(axis=0)
    centred = scan.points - origin
    return Scene(
        name=name,
        coords=centred.astype(np.float32),
        colors=scan.colors,
        supervoxels=_supervoxels(path, centred, scan.colors, scan.faces, partition),
        labels=None,
        instances=None,
        origin=origin,
        label_set=label_set,
    )


def label_set(names: Sequence[str]) -> LabelSet:
    """The classes of own scans, in the order of their indices, with colours that differ for any colour vision."""
    names = [" ".join(name.split()) for name in names]
    if len(names) < 2 or not all(names):
        raise OtocError(f"own_classes: {names} must list at least two classes, each with a name")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OtocError(f"own_classes: lists {', '.join(twice)} twice; every class needs a name of its own")
    colors = tuple(tuple(color) for color in distinct_colors(len(names)).tolist())
    return LabelSet("own", tuple(names), tuple(range(len(names))), colors)


def _scan_files(root: Path) -> dict[str, Path]:
    """Name -> file of every scan in the folder."""
    root = Path(root)
    if not root.is_dir():
        raise OtocError(f"data root {root}: no such folder; set it to the folder that holds your scans")
    files: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        supported = path.suffix.lower() in FORMATS and not path.name.startswith(".")
        if not supported or not path.is_file() or _holds_clicks(path):
            continue
        if path.stem in files:
            raise OtocError(f"{path}: {files[path.stem].name} has the same name; rename one of the two scans")
        files[path.stem] = path
    if not files:
        raise OtocError(f"data root {root}: holds no scan; put files there that end in {', '.join(FORMATS)}")
    return files


def _holds_clicks(path: Path) -> bool:
    """Whether a file is a table of clicks and not of points: its first line names a column "class"."""
    if path.suffix.lower() != ".csv":
        return False
    with open(path, "rb") as file:
        first = file.readline(1000)
    return b"class" in first.strip().split(b",")


def _supervoxels(
    path: Path, points: np.ndarray, colors: np.ndarray, faces: np.ndarray | None, partition: Partition
) -> np.ndarray:
    """``make_supervoxels`` of a mesh whose triangles may share positions but not vertices, as along texture seams."""
    if faces is not None:
        order = np.lexsort(points.T)
        differs = (np.diff(points[order], axis=0) != 0).any(axis=1)
        first = order[np.flatnonzero(np.concatenate([[True], differs]))]  # [P] a vertex of each position
        position = np.empty(len(points), dtype=np.int64)
        position[order] = np.concatenate([[0], np.cumsum(differs)])
        supervoxels = make_supervoxels(points[first], colors[first], position[faces], partition)[position]
        if len(points) >= SMALLEST_SUPERVOXELS * (supervoxels.max() + 1):
            return supervoxels
        warnings.warn(
            f"{path}: its mesh is in too many pieces for super-voxels; they are cut from points", stacklevel=3
        )
    return make_supervoxels(points, colors, None, partition)


# --- clicks


def snap_clicks(root: Path, source: Path, destination: Path) -> int:
    """Give clicks that are mere positions the vertex they mean: the nearest one of their scan.

    Args:
        root: folder of the scans.
        source: a CSV with the columns scene, x, y, z (in the scan's coordinates) and class; others are left out.
        destination: the clicks.csv to write, for ``source: file``.

    Returns:
        The number of clicks written.

    Raises:
        OtocError: naming file and line, for a column or number that is missing, a scan that is not there, a position
            farther than 10 cm from its scan, or two clicks on one vertex.
    """
    rows = _read_positions(source)
    names = [name for name, _, _ in rows.values()]
    files = _scan_files(root)
    written = {}  # line -> row of the file
    for name in dict.fromkeys(names):
        if name not in files:
            line = next(line for line, row in rows.items() if row[0] == name)
            raise OtocError(f"{source}, line {line}: {root} has no scan {name!r}; it has {', '.join(sorted(files))}")
        points = read_scan(files[name]).points
        lines = [line for line, row in rows.items() if row[0] == name]
        distances, nearest = cKDTree(points).query([rows[line][1] for line in lines])
        for k, line in enumerate(lines):
            if distances[k] > FARTHEST_CLICK:
                raise OtocError(f"{source}, line {line}: lies {distances[k]:.2f} m from the nearest point of {name}")
            if nearest[k] in nearest[:k]:
                raise OtocError(f"{source}, line {line}: its nearest point is clicked before; keep one of the lines")
            position = (f"{value:.6f}" for value in points[nearest[k]])
            written[line] = (name, nearest[k], *position, rows[line][2], -1)
    with write_aside(destination) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(click_files.COLUMNS)
        writer.writerows(written[line] for line in rows)
    return len(rows)


def _read_positions(path: Path) -> dict[int, tuple[str, tuple[float, ...], str]]:
    """Line number -> scene, position and class of every click."""
    rows = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("scene", "x", "y", "z", "class") if name not in (reader.fieldnames or ())]
            if missing:
                raise OtocError(f"{path}, line 1: no column {', '.join(missing)}; it needs scene, x, y, z and class")
            for row in reader:
                try:
                    position = tuple(float(row[axis]) for axis in "xyz")
                    if not np.isfinite(position).all() or not row["class"]:
                        raise ValueError
                except (TypeError, ValueError):
                    raise OtocError(f"{path}, line {reader.line_num}: needs a class and numbers x, y, z") from None
                rows[reader.line_num] = (row["scene"], position, row["class"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OtocError(f"{path}: cannot be read as a table of clicks ({error})") from error
    return rows


# --- the example


def example(destination: Path) -> None:
    """Write a simulated room as if it were a scan of yours: ``room.ply`` without labels, and its ``clicks.csv``.

    The clicks are one point on every object, of the classes EXAMPLE_CLASSES. Refuses a folder that has either.
    """
    from otoc_lib.datasets.labelled_ply import write_ply

    destination = Path(destination)
    for name in ("room.ply", CLICKS_FILE):
        if (destination / name).exists():
            raise OtocError(f"{destination / name}: is there already; give another folder for the example")
    room, scene = example_room()
    columns = {name: channel for name, channel in zip(("red", "green", "blue"), room.colors.T, strict=True)}
    write_ply(destination / "room.ply", room.vertices.astype(np.float64), columns, room.faces)
    clicks = {"room": click_files.simulate_clicks(scene, per_object=1, seed=0)}
    click_files.write_clicks(destination / CLICKS_FILE, clicks, [scene])


def example_room() -> tuple[bundled_rooms.BundledRoom, Scene]:
    """The room of the example, the first training room, and its true labels as a scene of EXAMPLE_CLASSES."""
    index = bundled_rooms.read_index()["rooms"]
    name = next(name for name, room in index.items() if room["split"] == "train")
    room = bundled_rooms.read(bundled_rooms.SOURCE / f"{name}.room.xz")
    own_class = np.full(len(SCANNET20), IGNORE, dtype=np.int16)
    for label, names in enumerate(EXAMPLE_CLASSES.values()):
        own_class[[SCANNET20.index(name) for name in names]] = label
    scannet = SCANNET20.from_file_ids(room.nyu40())
    labels = np.where(scannet >= 0, own_class[np.maximum(scannet, 0)], np.int16(IGNORE)).astype(np.int16)
    owner = np.full(len(labels), -1)
    for number, (_, segments) in enumerate(room.objects):
        owner[np.isin(room.segments, segments)] = number
    owner[labels < 0] = -1
    instances = np.full(len(labels), -1, dtype=np.int32)
    instances[owner >= 0] = densify(owner[owner >= 0])
    origin = room.vertices.mean(axis=0, dtype=np.float64)
    coords = (room.vertices - origin).astype(np.float32)
    classes = label_set(list(EXAMPLE_CLASSES))
    return room, Scene("room", coords, room.colors, densify(room.segments), labels, instances, origin, classes)
