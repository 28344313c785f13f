"""Which column of a scan is what, for every format: coordinates, colours, the class.

Names are compared without case, and without what programs add to them: "X", "//X", "x [m]" and "scalar_x" are x.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets.vertices import is_unnamed
from otoc_lib.errors import OtocError

AXES = (("x", "y", "z"), ("cartesianx", "cartesiany", "cartesianz"), ("easting", "northing", "elevation"))
# The first that is there: a scan that this kit has labelled holds the colours of its classes as red, green, blue.
COLORS = (
    *(("scan_red", "scan_green", "scan_blue"), ("red", "green", "blue"), ("r", "g", "b")),
    *(("diffuse_red", "diffuse_green", "diffuse_blue"), ("rf", "gf", "bf")),
    *(("colorred", "colorgreen", "colorblue"), ("color_red", "color_green", "color_blue")),
    ("color_r", "color_g", "color_b"),
)
SPLATS = ("f_dc_0", "f_dc_1", "f_dc_2")
PACKED = ("rgb", "rgba", "packed_rgb", "packed_rgba")  # 0xRRGGBB, with or without alpha above
CLASSES = (
    *("class", "classes", "class_name", "class_id", "label", "labels", "label_id", "classification"),
    *("category", "category_id", "semantic", "semantics", "semantic_label", "semantic_class", "segmentation"),
)
MEANT = {name for group in (*AXES, *COLORS, SPLATS, PACKED, CLASSES) for name in group}


@dataclass(frozen=True)
class Meaning:
    """Names, as the file spells them, of the columns that are used."""

    axes: tuple[str, ...]  # x, y, z
    colors: tuple[str, ...]  # three, or the one that holds all three packed; () without colours
    classes: str | None
    left_out: tuple[str, ...]
    told: tuple[str, ...]


def plain_name(name: str) -> str:
    """A column's name as names are compared."""
    name = re.sub(r"[\[(].*?[\])]", "", name.strip().strip("\"'").lstrip("#/")).strip().lower()
    return re.sub(r"^(scalar|sf|vertex)[_ ]", "", name)


def is_meant(name: str) -> bool:
    """Whether a column of that name may mean something to the kit; the others need not be read."""
    return plain_name(name) in MEANT


def find_columns(path: Path, columns: dict[str, np.ndarray]) -> Meaning:
    """Which column of a scan is what.

    Raises:
        OtocError: there are no coordinates, or it stays unclear which columns are what.
    """
    if is_unnamed(columns):
        return _by_numbers(path, columns)
    spelled: dict[str, str] = {}
    for name in sorted(columns, key=lambda name: name != plain_name(name)):  # of x and X, x
        spelled.setdefault(plain_name(name), name)
    axes = _first_group(spelled, AXES)
    if not axes:
        raise OtocError(
            f"{path}: has no vertices with x, y and z, only {_listed(columns)}; name the columns of the coordinates so"
        )
    colors = _first_group(spelled, COLORS) or _first_group(spelled, (SPLATS,))
    colors = colors or _first_group(spelled, [(name,) for name in PACKED])
    classes = next((spelled[name] for name in CLASSES if name in spelled), None)
    used = {*axes, *colors, classes}
    return Meaning(axes, colors, classes, tuple(name for name in columns if name not in used), ())


def _first_group(spelled: dict[str, str], groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return next((tuple(spelled[name] for name in group) for group in groups if set(group) <= spelled.keys()), ())


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "nothing"


def _by_numbers(path: Path, columns: dict[str, np.ndarray]) -> Meaning:
    names = tuple(columns)
    if len(names) not in (3, 6):
        raise OtocError(
            f"{path}, line 1: {len(names)} columns; write x y z or x y z r g b, or name the columns in line 1"
        )
    return Meaning(names[:3], names[3:], None, (), ())
