"""Clicks that are mere positions on scans of your own, made where no vertex numbers are at hand."""

import csv
from pathlib import Path

from scipy.spatial import cKDTree

from otoc_lib.annotation.clicks import COLUMNS, ON_STRAY
from otoc_lib.config import Unit
from otoc_lib.csv_table import number, read_rows
from otoc_lib.datasets import own
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.scan_axes import METRES
from otoc_lib.errors import OtocError, listed
from otoc_lib.files import write_aside

FARTHEST_CLICK = 0.1  # metres between a clicked position and the nearest point of its scan


def snap_clicks(root: Path, source: Path, destination: Path, unit: Unit = "auto") -> int:
    """Give clicks that are mere positions the vertex they mean: the nearest one of their scan.

    Args:
        root: folder of the scans.
        source: a CSV with the columns scene, x, y, z (in the scan's coordinates) and class; others are left out.
        destination: the clicks.csv to write, for ``source: file``.
        unit: of the scans' coordinates, see ``scan_axes``: what is too far depends on it.

    Returns:
        The number of clicks written.

    Raises:
        OtocError: naming file and line, for a column or number that is missing, a scan that is not there, a position
            farther than 10 cm from its scan or on a stray point of it, or two clicks on one vertex; for no position
            at all, or where the clicks would be written over them.
    """
    if destination.exists() and destination.samefile(source):
        raise OtocError(f"{destination}: holds the positions themselves; give the clicks another name")
    rows = _read_positions(source)
    if not rows:
        raise OtocError(f"{source}: holds no position; pick one on each object")
    names = [name for name, _, _ in rows.values()]
    scans = own.list_scenes(root, "train")
    written = {}  # line -> row of the file
    for name in dict.fromkeys(names):
        if name not in scans:
            line = next(line for line, row in rows.items() if row[0] == name)
            raise OtocError(
                f"{source}, line {line}: {root} has no scan {name!r}; it has {listed(scans, own.MOST_LISTED)}"
            )
        scan = read_scan(own.scan_file(root, name))
        points, its_unit = scan.points, own.scan_axes(scan, unit=unit).unit
        lines = [line for line, row in rows.items() if row[0] == name]
        distances, nearest = cKDTree(points).query([rows[line][1] for line in lines])
        for k, line in enumerate(lines):
            if distances[k] * METRES[its_unit] > FARTHEST_CLICK:
                raise OtocError(
                    f"{source}, line {line}: lies {distances[k]:.4g} {its_unit} from the nearest point of {name}; pick "
                    "on the scan itself, or say its unit by --unit"
                )
            if nearest[k] in scan.stray:
                raise OtocError(
                    f"{source}, line {line}: its nearest point, {nearest[k]} of {name}, {ON_STRAY}; click another "
                    "point of the object, or delete the line"
                )
            if nearest[k] in nearest[:k]:
                raise OtocError(f"{source}, line {line}: its nearest point is clicked before; keep one of the lines")
            position = (f"{value:.6f}" for value in points[nearest[k]])
            written[line] = (name, nearest[k], *position, rows[line][2], -1)
    with write_aside(destination) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(written[line] for line in rows)
    return len(rows)


def _read_positions(path: Path) -> dict[int, tuple[str, tuple[float, ...], str]]:
    """Line number -> scene, position and class of every click."""
    rows = {}
    for line, row in read_rows(path, ("scene", "x", "y", "z", "class"), numbers=("x", "y", "z"), complete=True):
        try:
            position = tuple(number(row[axis]) for axis in "xyz")
        except ValueError as error:
            raise OtocError(f"{path}, line {line}: {error}; needs a class and numbers x, y, z") from None
        if not row["class"].strip():
            raise OtocError(f"{path}, line {line}: needs a class and numbers x, y, z")
        rows[line] = (row["scene"], position, row["class"])
    return rows
