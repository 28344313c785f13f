"""Which column of a scan is what, for every format: coordinates, colours, the class.

Names are compared without case, and without what programs add to them: "X", "//X", "x [m]" and "scalar_x" are x. The
columns of a table without names are told apart by their numbers, or refused where that stays unclear.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets.vertices import is_unnamed
from otoc_lib.errors import OtocError, listed

AXES = (
    *(("x", "y", "z"), ("cartesianx", "cartesiany", "cartesianz"), ("easting", "northing", "elevation")),
    *(("point_x", "point_y", "point_z"), ("points_0", "points_1", "points_2"), ("points:0", "points:1", "points:2")),
    *(("pos_x", "pos_y", "pos_z"), ("x_coord", "y_coord", "z_coord"), ("px", "py", "pz")),
)
# The first that is there: a scan that this kit has labelled holds the colours of its classes as red, green, blue.
CHANNELS = (
    *(("scan_red", "scan_green", "scan_blue"), ("red", "green", "blue"), ("r", "g", "b")),
    *(("diffuse_red", "diffuse_green", "diffuse_blue"), ("rf", "gf", "bf")),
    *(("colorred", "colorgreen", "colorblue"), ("color_red", "color_green", "color_blue")),
    *(("color_r", "color_g", "color_b"), ("rgb_0", "rgb_1", "rgb_2"), ("rgb:0", "rgb:1", "rgb:2")),
    ("ambient_red", "ambient_green", "ambient_blue"),
)
SPLATS = ("f_dc_0", "f_dc_1", "f_dc_2")  # spherical harmonics of Gaussian splats
PACKED = ("rgb", "rgba", "argb", "packed_rgb", "rgb_packed", "packed_color")  # three channels in one number
CLASSES = (
    *("class", "classes", "class_name", "class_id", "label", "labels", "label_id", "classification"),
    *("category", "category_id", "semantic", "semantics", "semantic_label", "semantic_class", "segmentation"),
)
MEANT = {name for group in (*AXES, *CHANNELS, SPLATS, PACKED, CLASSES) for name in group}

SAMPLE = 10_000  # rows by whose numbers columns without names are told apart
UNIT = 0.02  # that the length of a normal may differ from 1
MOST_SHOWN = 12  # names in a message


@dataclass(frozen=True)
class Meaning:
    """Names, as the file spells them, of the columns that are used."""

    axes: tuple[str, ...]  # x, y, z
    channels: tuple[str, ...] = ()  # red, green, blue
    splats: tuple[str, ...] = ()  # three harmonics; in place of channels
    packed: str | None = None  # all three channels; in place of channels
    classes: str | None = None
    left_out: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns whose every value has to be a number."""
        return (*self.axes, *self.channels, *self.splats, *([self.packed] if self.packed else []))


def plain_name(name: str) -> str:
    """A column's name as names are compared."""
    name = re.sub(r"[\[(].*?[\])]", "", name.strip().strip("\"'").lstrip("#/")).strip().lower()
    return re.sub(r"^(scalar|sf|vertex)_", "", re.sub(r"\s+", "_", name))


def is_meant(name: str) -> bool:
    """Whether a column of that name may mean something to the kit; the others need not be read."""
    return plain_name(name) in MEANT


def find_columns(path: Path, columns: dict[str, np.ndarray]) -> Meaning:
    """Which column of a scan is what.

    Raises:
        OtocError: there are no coordinates, or it stays unclear which columns are what.
    """
    return _by_numbers(path, columns) if is_unnamed(columns) else _by_names(path, columns)


# --- by names


def _by_names(path: Path, columns: dict[str, np.ndarray]) -> Meaning:
    numeric = [name for name, values in columns.items() if values.dtype.kind in "fiub"]
    spelled, told = _spellings(numeric)
    axes = _first(spelled, AXES)
    if not axes:
        raise OtocError(f"{path}: has no vertices with x, y and z; its columns are {_listed(columns)}")
    channels = _first(spelled, CHANNELS)
    splats = () if channels else _first(spelled, (SPLATS,))
    packed = None if channels or splats else next((spelled[name] for name in PACKED if name in spelled), None)
    if splats:
        told.append("its points are Gaussian splats, coloured by f_dc_0 to f_dc_2; they need not lie on surfaces")
    if not (channels or splats or packed):
        parts = [spelled[name] for name in spelled if any(name in group for group in (*CHANNELS, SPLATS))]
        if parts:
            told.append(f"names {_listed(parts)}, but no three columns that make a colour")
    anything, _ = _spellings(columns)  # a class may be text
    classes = next((anything[name] for name in CLASSES if name in anything), None)
    used = {*axes, *channels, *splats, packed, classes}
    left_out = tuple(name for name in columns if name not in used)
    return Meaning(axes, channels, splats, packed, classes, left_out, tuple(told))


def _spellings(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Plain name -> the file's; of several that differ by case or prefix alone the plainest, which is told."""
    spelled: dict[str, str] = {}
    told = []
    for name in sorted(names, key=lambda name: (name != plain_name(name), len(name))):
        kept = spelled.setdefault(plain_name(name), name)
        if kept != name and plain_name(name) in MEANT:
            told.append(f"has columns {kept} and {name}; {kept} is used")
    return spelled, told


def _first(spelled: dict[str, str], groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The first group of names that is there as a whole, as the file spells it."""
    return next((tuple(spelled[name] for name in group) for group in groups if set(group) <= spelled.keys()), ())


def _listed(names: Iterable[str]) -> str:
    return listed(names, MOST_SHOWN) or "none"


# --- by numbers


def _by_numbers(path: Path, columns: dict[str, np.ndarray]) -> Meaning:
    """The columns of a table without names: x y z, then colours, normals, a class as text, and single numbers."""
    names = tuple(columns)
    sample = {name: values[:: max(1, len(values) // SAMPLE)] for name, values in columns.items()}
    told = []
    first = 0
    if len(names) > 3 and _counts_rows(columns[names[0]]):
        first = 1
        told.append("column 1 counts the points and is left out")
    axes, rest = names[first : first + 3], names[first + 3 :]
    if len(axes) < 3:
        raise OtocError(f"{path}: {len(names)} columns; write x y z or x y z r g b in each line")
    texts = [name for name in rest if columns[name].dtype.kind not in "fiub"]
    triples = [rest[i : i + 3] for i in range(len(rest) - 2) if not set(texts) & {*rest[i : i + 3]}]
    normals = _apart(triple for triple in triples if _are_normals(*(sample[name] for name in triple)))
    free = [triple for triple in triples if not any({*triple} & {*other} for other in normals)]
    if len(rest) - len(texts) == 3:
        colors = free  # whatever they hold: refused, if they are none, by what they are
    else:
        colors = [triple for triple in free if _are_colors(*(sample[name] for name in triple))]
    if len(colors) > 1:
        may = " or ".join(f"columns {_places(names, triple)}" for triple in colors)
        raise OtocError(
            f"{path}: its {len(names)} columns have no names, and the colours may be {may}; write the names as the "
            f"first line, such as '{_example(len(names))}'"
        )
    if normals:
        told += [
            f"columns {_places(names, triple)} have the length 1: they are taken for normals" for triple in normals
        ]
    channels = colors[0] if colors else ()
    classes = texts[0] if texts else None
    used = {*axes, *channels, classes, *(name for triple in normals for name in triple)}
    left_out = tuple(name for name in names if name not in {*axes, *channels, classes})
    if classes:
        told.append(f"{classes} without a name holds text, which is taken for the class")
    unknown = [name for name in names[first:] if name not in used]
    if unknown:
        told.append(f"{_listed(unknown)} without a name {'is' if len(unknown) == 1 else 'are'} left out")
    return Meaning(axes, channels, classes=classes, left_out=left_out, told=tuple(told))


def _counts_rows(values: np.ndarray) -> bool:
    return (
        len(values) >= 10 and values.dtype.kind in "fiu" and bool((np.diff(values) == 1).all()) and values[0] in (0, 1)
    )


def _are_normals(*columns: np.ndarray) -> bool:
    """Whether rows have the length 1, but for those of zeros, which stand for no normal."""
    lengths = np.sqrt(sum(column.astype(np.float64) ** 2 for column in columns))
    lengths = lengths[lengths > 0]
    return 2 * lengths.size >= len(columns[0]) and bool((np.abs(lengths - 1) < UNIT).mean() > 0.99)


def _are_colors(*columns: np.ndarray) -> bool:
    """Whether each of three columns is what a channel is: not constant, and whole in 0..255 or all in 0..1."""
    values = np.stack(columns)
    ranges = values.min(axis=1), np.quantile(values, 0.99, axis=1)
    if values.shape[1] > 1 and (np.ptp(values, axis=1) == 0).any() or not (ranges[0] >= 0).all():
        return False
    whole = (values == np.rint(values)).all(axis=1)
    return bool((whole & (ranges[1] <= 65535)).all() or (~whole & (ranges[1] <= 1)).all())


def _apart(triples: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those of the triples that do not overlap with one before."""
    kept: list[tuple[str, ...]] = []
    for triple in triples:
        if not any({*triple} & {*other} for other in kept):
            kept.append(triple)
    return kept


def _places(names: tuple[str, ...], triple: tuple[str, ...]) -> str:
    first = names.index(triple[0]) + 1
    return f"{first} to {first + 2}"


def _example(count: int) -> str:
    names = {6: "x y z r g b", 7: "x y z intensity r g b", 9: "x y z r g b nx ny nz"}
    return names.get(count, " ".join(["x y z r g b", *(f"other{i}" for i in range(1, count - 5))]))
