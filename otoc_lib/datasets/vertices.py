"""What any format's reader gives: the columns of a scan's points as its file holds them, and the triangles.

What the columns mean is decided once for all formats, by ``scan_columns``, ``scan_colors`` and ``point_files``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from otoc_lib.errors import first_of

T = TypeVar("T")

MOST_FAULTS = 5  # lines of a file that are named
SPLIT = "otoc split-scans makes a file, and so a room, of each"  # what to do if several scans are no one room


@dataclass(frozen=True, eq=False)
class Vertices:
    """N points and F triangles.

    A table without names has the columns "column 1", "column 2", ..., see ``unnamed``: which of them is what is found
    out from their numbers.
    """

    columns: dict[str, np.ndarray]  # name as the file spells it -> [N], numbers in the file's type and scale, or text
    faces: np.ndarray | None = None  # int [F, 3] vertex indices, unchecked; None where the file holds points only
    told: tuple[str, ...] = ()  # what was decided or left out on reading, one sentence each, without the file's name
    unread: tuple[str, ...] = ()  # names of columns that were left in the file, since they mean nothing to the kit
    # Where else the file holds colours and how to bring them to its points, as a sentence; told if these have none.
    elsewhere: str = ""
    up: str | None = None  # the axis that points up, where the format or the file says so
    unit: str | None = None  # of the coordinates, likewise: m, ft, ...
    # Name and number of points of each scan of a file that holds several, one after the other; else nothing.
    parts: tuple[tuple[str, int], ...] = ()
    # Lines that cannot be read: number and fault of the first MOST_FAULTS, and how many there are. Their points are
    # missing above, and the scan is refused, but only once it is known what else is wrong with it.
    faults: tuple[tuple[int, str], ...] = ()
    num_faults: int = 0

    def lines_at_fault(self, path: Path) -> list[str]:
        """A message for each of the ``faults``, and one for how many more there are."""
        messages = [f"{path}, line {line}: {text}" for line, text in self.faults]
        return first_of(messages, MOST_FAULTS, path, self.num_faults)


def unnamed(columns: Iterable[T]) -> dict[str, T]:
    """What stands for the columns of a table without a header, such as arrays [N], under the names that say so."""
    return {f"column {number}": column for number, column in enumerate(columns, start=1)}


def is_unnamed(columns: dict[str, np.ndarray]) -> bool:
    """Whether the columns are those of a table without a header."""
    return bool(columns) and list(columns) == list(unnamed(columns.values()))


def rotation_of(x: float, y: float, z: float, w: float) -> np.ndarray:
    """The rotation, float64 [3, 3], of a quaternion of length 1 whose real part is w."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
