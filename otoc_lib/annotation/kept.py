"""Clicks that somebody looked at again and kept, so that nobody is asked about them twice.

They lie beside a clicks.csv, in ``<name>.kept.json``: {"room": {"27878": "storage"}} says that the click at vertex
27878 was right as storage. A click that has another class by now has to be looked at again.
"""

import os
import warnings
from pathlib import Path

from otoc_lib.annotation.clicks import Clicks
from otoc_lib.files import write_json
from otoc_lib.labels import LabelSet
from otoc_lib.outside import read_json

SUFFIX = ".kept.json"


def kept_path(clicks_file: Path) -> Path:
    return clicks_file.with_suffix(SUFFIX)


def read_kept(clicks_file: Path) -> dict[str, dict[str, str]]:
    """By room, the vertex and the class of every click that was kept; a damaged file costs only that they are asked
    about again."""
    path = kept_path(clicks_file)
    if not os.path.exists(path):
        return {}
    try:
        kept = read_json(path)
        if not all(isinstance(name, str) for room in kept.values() for name in room.values()):
            raise ValueError
        return kept
    except (ValueError, AttributeError):  # no JSON, no names, or no dict
        warnings.warn(f"{path}: damaged; the clicks that were kept are asked about again", stacklevel=3)
        return {}


def note_kept(clicks_file: Path, room: str, point: int, name: str) -> None:
    """Add a click; whoever calls it holds the lock of the clicks."""
    kept = read_kept(clicks_file)
    write_json(kept_path(clicks_file), kept | {room: kept.get(room, {}) | {str(point): name}})


def still_kept(kept: dict[str, str], clicks: Clicks, label_set: LabelSet) -> set[int]:
    """The vertices of a room's clicks that were kept with the class which they have."""
    pairs = zip(clicks.points.tolist(), clicks.classes.tolist(), strict=True)
    return {point for point, label in pairs if kept.get(str(point)) == label_set.name_of(label)}
