"""A bundled room as if it were a scan of your own, with its clicks."""

from pathlib import Path

import numpy as np

from otoc_lib.annotation.clicks import simulate_clicks, write_clicks
from otoc_lib.datasets import bundled_rooms, own
from otoc_lib.datasets.bundled_rooms import BundledRoom
from otoc_lib.datasets.labelled_ply import write_ply
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.scene import Scene, densify

CLICKS_FILE = "clicks.csv"
EXAMPLE_ROOM = "scene0010_00"  # a training room with objects of all the classes below

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


def example(destination: Path) -> None:
    """Write a simulated room as if it were a scan of yours: ``room.ply`` without labels, and its ``clicks.csv``.

    The clicks are one point on every object, of the classes EXAMPLE_CLASSES. Refuses a folder that has either.
    """
    destination = Path(destination)
    for name in ("room.ply", CLICKS_FILE):
        if (destination / name).exists():
            raise OtocError(f"{destination / name}: is there already; give another folder for the example")
    room, scene = example_room()
    columns = {name: channel for name, channel in zip(("red", "green", "blue"), room.colors.T, strict=True)}
    write_ply(destination / "room.ply", room.vertices.astype(np.float64), columns, room.faces)
    clicks = {"room": simulate_clicks(scene, per_object=1, seed=0)}
    write_clicks(destination / CLICKS_FILE, clicks, [scene])


def example_room(name: str = EXAMPLE_ROOM) -> tuple[BundledRoom, Scene]:
    """A bundled room, and its true labels as a scene of EXAMPLE_CLASSES."""
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
    classes = own.label_set(list(EXAMPLE_CLASSES))
    return room, Scene("room", coords, room.colors, densify(room.segments), labels, instances, origin, classes)
