"""The bundled simulated areas: a compact file a room in ``data/rooms_s3dis``, unpacked into an official S3DIS tree.

The points of one annotated object follow each other, along a Morton curve, and the objects stand in the order
of their files' names: the order in which the reader of S3DIS gives a room back.
"""

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from otoc_lib.datasets.packing import (
    color_planes,
    new_tree,
    planes,
    read_packed,
    read_packed_index,
    whole,
    whole_colors,
    write_packed,
)
from otoc_lib.datasets.s3dis import write_room
from otoc_lib.errors import OtocError, shown
from otoc_lib.labels import S3DIS13
from otoc_lib.outside import opening
from otoc_lib.scene import checked_name

SOURCE = Path(__file__).parents[2] / "data" / "rooms_s3dis"
FORMAT = "otoc-area-room-1"
STEPS = 500  # lattice points a metre; every point lies on multiples of 2 mm
FARTHEST = 10**9  # steps; no area is that large
DONE = "rooms_s3dis.json"  # the manifest of an unpacked tree, written last


@dataclass(frozen=True)
class BundledAreaRoom:
    """One scanned room of N points; the points of object 0 come first, then those of object 1, and so on."""

    name: str  # "Area_1/office_1"
    points: np.ndarray  # float64 [N, 3] metres, multiples of 2 mm: the closest doubles to them
    colors: np.ndarray  # uint8 [N, 3], in steps of 4
    objects: tuple[tuple[str, int], ...]  # (name of its annotation file, "chair_2", number of points), sorted by file

    def __post_init__(self) -> None:
        _check_name(self.name)

    def labels(self) -> np.ndarray:
        """Class index in S3DIS13 of every point, int16 [N]."""
        classes = [S3DIS13.index(name.split("_")[0]) for name, _ in self.objects]
        return np.repeat(np.array(classes, np.int16), [count for _, count in self.objects])

    def instances(self) -> np.ndarray:
        """Object of every point, int32 [N]."""
        return np.repeat(np.arange(len(self.objects), dtype=np.int32), [count for _, count in self.objects])


def assemble(
    name: str, points: np.ndarray, colors: np.ndarray, labels: np.ndarray, instances: np.ndarray
) -> BundledAreaRoom:
    """A room from points in any order: snaps them to the lattice, sorts objects and points, drops doubled points.

    Args:
        name: "Area_1/office_1".
        points: float [N, 3] metres.
        colors: uint8 [N, 3]; brought to steps of 4.
        labels: int [N], class index in S3DIS13, the same throughout an object.
        instances: int [N], object of every point.
    """
    steps = np.rint(np.asarray(points, np.float64) * STEPS).astype(np.int64)
    steps, first = np.unique(steps, axis=0, return_index=True)
    labels, instances = np.asarray(labels)[first], np.asarray(instances)[first]
    colors = np.asarray(colors)[first] // 4 * 4
    ids, start, instances = np.unique(instances, return_index=True, return_inverse=True)
    classes = labels[start]
    number = [int((classes[:i] == classes[i]).sum()) + 1 for i in range(len(ids))]
    files = [f"{S3DIS13.names[c]}_{i}" for c, i in zip(classes, number, strict=True)]
    by_file = sorted(range(len(ids)), key=lambda i: _file(files[i]))
    rank = np.empty(len(ids), np.int64)
    rank[by_file] = np.arange(len(ids))
    order = np.lexsort((_morton(steps - steps.min(axis=0)), rank[instances]))
    counts = np.bincount(rank[instances], minlength=len(ids))
    objects = tuple((files[i], int(count)) for i, count in zip(by_file, counts, strict=True))
    return BundledAreaRoom(name, steps[order] / STEPS, colors[order].astype(np.uint8), objects)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"Area_\d+/[^/]+", str(name)):
        raise OtocError(f"packed room: {shown(name)} is not Area_<k>/<room>; rename it")
    checked_name(name.replace("/", "_"), "packed room")


def _file(annotation: str) -> str:
    return f"{annotation}.txt"


def _morton(cells: np.ndarray) -> np.ndarray:
    """Place of cells, int64 [N, 3] in 0..2^16-1, along the curve that visits neighbours together, int64 [N]."""
    code = np.zeros(len(cells), np.int64)
    for bit in range(16):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


# --- packing


def pack(room: BundledAreaRoom, path: Path) -> None:
    """Write a room to a compact file."""
    steps = np.rint(room.points * STEPS).astype(np.int64)
    if not np.array_equal(steps / STEPS, room.points) or (room.colors % 4).any():
        raise OtocError(f"{room.name}: only points in steps of 2 mm and colours in steps of 4 can be packed")
    files = [_file(name) for name, _ in room.objects]
    if files != sorted(files) or sum(count for _, count in room.objects) != len(room.points):
        raise OtocError(f"{room.name}: objects must be sorted by their files' names and hold every point")
    arrays = {"points": planes(np.diff(steps, axis=0, prepend=0)), "colors": color_planes(room.colors)}
    write_packed(path, arrays, {"format": FORMAT, "name": room.name, "objects": json.dumps(room.objects)})


def read(path: Path) -> BundledAreaRoom:
    """Read a packed room; OtocError naming the file if it is missing, truncated or something else."""
    return read_packed(path, FORMAT, _build)


def _build(arrays: dict[str, np.ndarray], header: dict[str, str]) -> BundledAreaRoom:
    """The room of a packed file; ValueError or KeyError for what could not be written as S3DIS' files."""
    steps, colors = np.cumsum(whole(arrays["points"], 3), axis=0), whole_colors(arrays["colors"])
    objects = tuple((name, count) for name, count in json.loads(header["objects"]))
    for name, count in objects:
        if not re.fullmatch(r"[a-z]+_[1-9]\d{,3}", name) or name.split("_")[0] not in S3DIS13.names:
            raise ValueError(f"no annotation file is called {name!r}")
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} has {count} points")
    if not len(steps) == len(colors) == sum(count for _, count in objects):
        raise ValueError("its objects do not hold as many points as it has")
    if len(set(objects)) < len(objects) or (np.abs(steps) > FARTHEST).any():
        raise ValueError("its points cannot be those of a room, or an object is listed twice")
    return BundledAreaRoom(header["name"], steps / STEPS, colors, objects)


def packed_path(folder: Path, name: str) -> Path:
    """The compact file of a room: ``<folder>/Area_1_office_1.room.xz`` for "Area_1/office_1"."""
    return Path(folder) / f"{name.replace('/', '_')}.room.xz"


def read_index(source: Path = SOURCE) -> dict:
    """The list of the packed rooms: {"seed", "rooms": {"Area_1/office_1": {counts...}}}."""
    return read_packed_index(source, "the packed areas, data/rooms_s3dis", _check_index)


def _check_index(index: dict) -> None:
    for name in index["rooms"]:
        _check_name(name)


# --- the official tree


def write_area_room(room: BundledAreaRoom, root: Path) -> None:
    """Write one room as S3DIS' text files into ``root/<area>/<room>/``; reading them gives its order of points back."""
    # objects of a class are numbered in the order of their instance ids
    ids = [S3DIS13.index(name.split("_")[0]) * 10_000 + int(name.split("_")[1]) for name, _ in room.objects]
    write_room(Path(root) / room.name, room.points, room.colors, room.labels(), np.array(ids)[room.instances()])


def unpack(destination: Path, source: Path = SOURCE) -> None:
    """Write the packed rooms of ``source`` as the official S3DIS tree: Area_k/<room>/, and CREDITS.

    Does nothing if ``destination`` already holds exactly these rooms; replaces an older set of rooms; refuses a
    folder that holds anything else. The tree is written beside ``destination`` and renamed.
    """
    destination, index = Path(destination), read_index(source)
    with new_tree(destination, DONE, json.dumps(index)) as tree:
        if tree is None:
            return
        for name in tqdm(index["rooms"], desc="unpacking areas", unit="room", file=sys.stderr):
            (tree / name).parent.mkdir(exist_ok=True)
            write_area_room(read(packed_path(source, name)), tree)
        with opening(Path(source) / "CREDITS"):
            shutil.copyfile(Path(source) / "CREDITS", tree / "CREDITS")
