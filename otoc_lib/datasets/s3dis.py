"""Reader and writer of S3DIS v1.2 (aligned): one folder a room, one text file an annotated object.

``<root>/Area_<k>/<room>/Annotations/<class>_<i>.txt`` holds the points of one object, a line ``x y z r g b`` each;
``<room>.txt`` beside ``Annotations`` repeats all of them and is not read. What is known to be wrong in the release:

- ``Area_5/hallway_6/Annotations/ceiling_1.txt``, line 180389, has the byte 0 where a blank should be. Bit 5 is lost, as
  it is in ``Area_2/auditorium_1/auditorium_1.txt`` and ``Area_3/hallway_2/hallway_2.txt``, where the byte 16 stands for
  the digit 0; those two files are not read, but copies differ. A control character between two digits that is a blank
  or a digit with bit 5 is mended where its line has six columns then; anything else is an error.
- ``Area_5/office_36/Annotations/wall_3 (1).txt`` is a second copy of wall_3 and is left out.
- ``stairs`` is no benchmark class and counts as clutter.
- ``Area_6/copyRoom_1/copy_Room_1.txt`` is misnamed (not read), and ``.DS_Store``, ``Icon\\r`` lie about.

All but the last two are told as warnings where they are met.
"""

import os
import re
import shutil
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from otoc_lib.config import Config
from otoc_lib.datasets.point_text import format_points, line_of_byte, line_of_row, parse_table, read_bytes
from otoc_lib.errors import Faults, OtocError
from otoc_lib.labels import S3DIS13
from otoc_lib.outside import opening
from otoc_lib.scene import Scene, checked_name
from otoc_lib.supervoxels.geometric import Partition, segment_points

AREAS = tuple(range(1, 7))
TEST_AREA = 5  # the test area of the benchmark
SPLITS = ("train", "val", *(f"area_{area}" for area in AREAS))
READS: tuple[str, ...] = ("partition",)
# Rooms of the release: area -> kind -> how many, numbered from 1; 272 in all.
OFFICIAL_ROOMS = {
    1: {"WC": 1, "conferenceRoom": 2, "copyRoom": 1, "hallway": 8, "office": 31, "pantry": 1},
    2: {"WC": 2, "auditorium": 2, "conferenceRoom": 1, "hallway": 12, "office": 14, "storage": 9},
    3: {"WC": 2, "conferenceRoom": 1, "hallway": 6, "lounge": 2, "office": 10, "storage": 2},
    4: {"WC": 4, "conferenceRoom": 3, "hallway": 14, "lobby": 2, "office": 22, "storage": 4},
    5: {"WC": 2, "conferenceRoom": 3, "hallway": 15, "lobby": 1, "office": 42, "pantry": 1, "storage": 4},
    6: {"conferenceRoom": 1, "copyRoom": 1, "hallway": 6, "lounge": 1, "office": 37, "openspace": 1, "pantry": 1},
}
CLASS_ALIASES = {"stairs": "clutter", "staris": "clutter"}
UNWANTED = "Area_5/office_36/Annotations/wall_3 (1).txt"
MOST_MENDED = 10  # control characters of a file; where there are more, it is not one bit that is lost
LOST_BIT = np.uint8(1 << 5)
LONGEST_LINE = 1000  # bytes on each side of a control character in which its line must end
LARGEST_ROOM = 200.0  # metres; no room comes near it, in millimetres every room exceeds it


@dataclass(frozen=True)
class Room:
    """All raw points of one room, in the order of its annotation files sorted by name."""

    points: np.ndarray  # float64 [N, 3] metres, as in the files
    colors: np.ndarray  # uint8 [N, 3] RGB
    labels: np.ndarray  # int16 [N], class index of S3DIS13
    instances: np.ndarray  # int32 [N], dense 0..K-1, one object a file


def list_scenes(root: Path, split: str) -> list[str]:
    """Names ``Area_<k>_<room>`` of every room of a split, by area, then room, numbers in their natural order.

    Args:
        root: folder that holds ``Area_1`` to ``Area_6``, or some of them.
        split: "train" (every area but 5), "val" (Area 5), or "area_1" to "area_6".
    """
    if split not in SPLITS:
        raise OtocError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    areas = {"train": [area for area in AREAS if area != TEST_AREA], "val": [TEST_AREA]}.get(split)
    areas = areas or [int(split.removeprefix("area_"))]
    root = _root(root)
    names = []
    for area in areas:
        folder = root / f"Area_{area}"
        with opening(folder):
            rooms = [entry.name for entry in folder.iterdir() if _is_room(entry)] if os.path.isdir(folder) else []
        names += [f"Area_{area}_{room}" for room in sorted(rooms, key=_natural)]
    if not names:
        wanted = " or ".join(f"Area_{area}" for area in areas)
        raise OtocError(f"{root}: has no room in {wanted} for split {split!r}; copy the area there")
    return names


def in_training(split: str) -> bool:
    """Whether rooms of a split are in the training split, too: those of single areas other than the test area."""
    return split.startswith("area_") and split != f"area_{TEST_AREA}"


def room_folder(root: Path, name: str) -> Path:
    """Folder of a room: "Area_1_office_1" is ``<root>/Area_1/office_1``."""
    match = re.fullmatch(r"(Area_\d+)_(.+)", checked_name(name, root))
    folder = _root(root) / match[1] / match[2] if match else None
    if folder is None or not os.path.isdir(folder):
        raise OtocError(f"{root}: has no room {name!r}; names look like Area_1_office_1")
    return folder


def scene_files(root: Path, name: str) -> list[Path]:
    """The annotation files of a room, sorted by name."""
    folder = room_folder(root, name)
    annotations = folder / "Annotations"
    if not os.path.isdir(annotations):
        raise OtocError(f"{folder}: has no folder Annotations; copy the room again")
    files = sorted(path for path in annotations.glob("*.txt") if not path.name.startswith("."))
    if not files:
        raise OtocError(f"{annotations}: holds no <class>_<i>.txt; the room is empty, copy it again")
    return files


def read_room(root: Path, name: str) -> Room:
    """Read all points of a room.

    Warns (``warnings.warn``, naming the file) of mended lines, objects left out because they are there twice, colours
    that had to be scaled, and coordinates that look like millimetres.

    Raises:
        OtocError: a file is missing, empty, truncated or damaged, its class is unknown, or a colour is not in 0..255;
            the message names the file and the line, of all files that are damaged.
    """
    files, tables, classes, faults = [], [], [], Faults()
    for path in scene_files(root, name):
        label = faults.of(partial(class_of_file, path))
        if path.as_posix().endswith(UNWANTED):
            warnings.warn(f"{path}: left out, the release holds this object twice", stacklevel=2)
            continue
        table = faults.of(partial(_read_object, path))
        if table is None or label is None:
            continue
        twin = _twin(table, tables)
        if twin is not None and classes[twin] == label:
            warnings.warn(f"{path}: left out, it holds the same points as {files[twin].name}", stacklevel=2)
            continue
        if twin is not None:
            warnings.warn(f"{path}: holds the same points as {files[twin].name} under another class", stacklevel=2)
        files.append(path)
        tables.append(table)
        classes.append(label)

    faults.check()
    if not tables:
        raise OtocError(f"{room_folder(root, name)}: holds no object that counts; the room is empty, copy it again")
    sizes = [len(table) for table in tables]
    points = np.concatenate([table[:, :3] for table in tables])
    extent = [np.ptp(points[:, axis]) for axis in range(3)]  # three times as fast as over axis 0
    if max(extent) > LARGEST_ROOM:
        size = " x ".join(f"{side:.0f}" for side in extent)
        warnings.warn(
            f"{files[0].parent.parent}: the room measures {size} m; the coordinates look like millimetres or "
            "centimetres, and every length of this kit is in metres",
            stacklevel=2,
        )
    return Room(
        points=points,
        colors=_read_colors(files, tables),
        labels=np.repeat(np.array(classes, dtype=np.int16), sizes),
        instances=np.repeat(np.arange(len(files), dtype=np.int32), sizes),
    )


def read_scene(root: Path, name: str, config: Config) -> Scene:
    """``load_scene`` as an experiment asks for it."""
    return load_scene(root, name, Partition.of(config))


def load_scene(root: Path, name: str, partition: Partition) -> Scene:
    """Read one room as a scene, centred on the mean of its points, with a geometric partition as super-voxels.

    Args:
        partition: how points without a mesh are divided.
    """
    room = read_room(root, name)
    origin = room.points.mean(axis=0)
    try:
        supervoxels = segment_points(room.points - origin, room.colors, partition)
    except OtocError as error:
        raise OtocError(f"{room_folder(root, name)}: {error}") from error
    return Scene(
        name=name,
        coords=(room.points - origin).astype(np.float32),
        colors=room.colors,
        supervoxels=supervoxels,
        labels=room.labels,
        instances=room.instances,
        origin=origin,
        label_set=S3DIS13,
    )


def class_of_file(path: Path) -> int:
    """Class index of an annotation file, from the part of its name before the underscore."""
    name = path.stem.split("_")[0]
    name = CLASS_ALIASES.get(name, name)
    if name not in S3DIS13.names:
        raise OtocError(
            f"{path}: {name!r} is none of the classes {', '.join(S3DIS13.names)}; rename the file <class>_<i>.txt"
        )
    return S3DIS13.index(name)


def write_room(folder: Path, points: np.ndarray, colors: np.ndarray, labels: np.ndarray, instances: np.ndarray) -> None:
    """Write a room as the official text files, with coordinates to the millimetre.

    Args:
        folder: ``Area_<k>/<room>``, which must not exist yet; it appears when it is complete.
        points: float [N, 3] metres; those on the 1 mm lattice are read back exactly.
        colors: uint8 [N, 3].
        labels: int [N], class indices of S3DIS13; every object has one class.
        instances: int [N], object of every point, all >= 0.

    The objects of a class are numbered from 1 in the order of their instance ids.
    """
    folder = Path(folder)
    points, colors, labels, instances = (np.asarray(array) for array in (points, colors, labels, instances))
    num_points = len(points)
    shapes = [array.shape for array in (points, colors, labels, instances)]
    if num_points == 0 or shapes != [(num_points, 3), (num_points, 3), (num_points,), (num_points,)]:
        raise OtocError(f"{folder}: points, colors, labels and instances have shapes {shapes}; N >= 1 must agree")
    if colors.dtype != np.uint8:
        raise OtocError(f"{folder}: colors are {colors.dtype}; they must be uint8")
    if instances.min() < 0 or labels.min() < 0 or labels.max() >= len(S3DIS13):
        raise OtocError(f"{folder}: every point needs an object >= 0 and a class 0..{len(S3DIS13) - 1}")
    order = np.argsort(instances, kind="stable")
    starts = np.flatnonzero(np.diff(instances[order], prepend=-1))
    if (labels[order] != np.repeat(labels[order][starts], np.diff(starts, append=num_points))).any():
        raise OtocError(f"{folder}: an object holds points of two classes; give each class its own instance")
    if folder.exists():
        raise OtocError(f"{folder}: exists already; delete it first")

    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "Annotations").mkdir(parents=True)
    (aside / f"{folder.name}.txt").write_bytes(format_points(points, colors))
    counts = [0] * len(S3DIS13)
    for members in np.split(order, starts[1:]):
        label = labels[members[0]]
        counts[label] += 1
        path = aside / "Annotations" / f"{S3DIS13.names[label]}_{counts[label]}.txt"
        path.write_bytes(format_points(points[members], colors[members]))
    aside.rename(folder)


def _read_object(path: Path) -> np.ndarray:
    """The lines of an annotation file, float64 [n, 6]; see the top of this module for what is mended."""
    data = read_bytes(path)
    try:
        return parse_table(data, path, columns=6)
    except OtocError:
        strange = np.flatnonzero((data < 32) & (data != ord("\n")) & (data != ord("\r")) & (data != ord("\t")))
        meant = data[strange] | LOST_BIT
        if not 0 < len(strange) <= MOST_MENDED or not np.isin(meant, list(b" 0123456789")).all():
            raise
        if not all(_between_digits(data, place) for place in strange.tolist()):
            raise
    told = [line_of_byte(data, place) for place in strange.tolist()]
    data[strange] = meant
    for (line, text), place in zip(told, strange.tolist(), strict=True):
        if len(_line_around(data, place).split()) != 6:
            raise OtocError(f"{path}, line {line}: a control character inside a number: {text}; repair it")
    table = parse_table(data, path, columns=6)
    for (line, text), byte in zip(told, meant.tolist(), strict=True):
        what = f"the digit {chr(byte)}" if byte != ord(" ") else "a blank"
        warnings.warn(f"{path}, line {line}: a control character in place of {what}, mended: {text}", stacklevel=3)
    return table


def _line_around(data: np.ndarray, place: int) -> bytes:
    around = data[max(place - LONGEST_LINE, 0) : place + LONGEST_LINE].tobytes()
    before, after = around[: min(place, LONGEST_LINE)], around[min(place, LONGEST_LINE) :]
    return re.split(rb"[\r\n]", before)[-1] + re.split(rb"[\r\n]", after, maxsplit=1)[0]


def _between_digits(data: np.ndarray, position: int) -> bool:
    around = data[[max(position - 1, 0), min(position + 1, len(data) - 1)]]
    return bool(((around >= ord("0")) & (around <= ord("9"))).all())


def _twin(table: np.ndarray, tables: list[np.ndarray]) -> int | None:
    """Index of an earlier object with the very same points."""
    same = (i for i, other in enumerate(tables) if len(other) == len(table) and np.array_equal(other, table))
    return next(same, None)


def _read_colors(files: list[Path], tables: list[np.ndarray]) -> np.ndarray:
    """Colours, uint8 [N, 3]. What their scale is is decided for the room: one dark object may well stay below 1."""
    colors = np.concatenate([table[:, 3:] for table in tables])
    low, high = colors.min(), colors.max()
    if low >= 0 and high <= 255:
        whole = colors.astype(np.uint8)
        if (whole == colors).all():
            return whole
        if high <= 1:
            warnings.warn(f"{files[0].parent}: colours are 0..1, scaled to 0..255", stacklevel=3)
            return np.rint(colors * 255).astype(np.uint8)
    elif low >= 0 and high <= 65535 and (colors % 257 == 0).all():
        warnings.warn(f"{files[0].parent}: colours have 16 bit, scaled to 0..255", stacklevel=3)
        return (colors / 257).astype(np.uint8)
    bad = np.flatnonzero(((colors < 0) | (colors > 255) | (colors != np.rint(colors))).any(axis=1))[0]
    ends = np.cumsum([len(table) for table in tables])
    number = int(np.searchsorted(ends, bad, side="right"))
    line, text = line_of_row(files[number], int(bad - (ends[number] - len(tables[number]))))
    raise OtocError(
        f"{files[number]}, line {line}: a colour is not a whole number 0..255: {text}; repair the line, or scale all "
        "colours of the room"
    )


def _root(root: Path) -> Path:
    root = Path(root)
    if not os.path.isdir(root):
        raise OtocError(f"data root {root}: no such folder; set it to the folder that holds Area_1 to Area_6")
    return root


def _is_room(entry: Path) -> bool:
    return os.path.isdir(entry) and not entry.name.startswith(".")


def _natural(name: str) -> list[str | int]:
    """Sort key with "office_2" before "office_10"."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
