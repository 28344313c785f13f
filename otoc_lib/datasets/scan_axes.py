"""Which way a scan is up and in what unit, for every format: what the file says, else a guess from its floor and size.

Nothing is turned or scaled without a word, and nothing at all where the guess is unsure.
"""

from dataclasses import dataclass

import numpy as np

from otoc_lib.config import Unit, UpAxis

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
# Rotations: the rows are x, y and z of the room (z up, right-handed) in the axes of the file.
TURNS = {
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
}

# The guess. Measured on the 136 bundled rooms (no ceilings) and the 41 bundled areas, these with and without ceilings,
# as they are and turned about the vertical, each with any of its axes up: never wrong, and always right but for those
# that have both a ceiling and walls along the axes, of which it leaves about half undecided.
FEWEST_POINTS = 500  # to guess by
MOST_POINTS = 500_000  # that are looked at
CELLS = 50  # along the middle one of the room's extents,
MOST_CELLS = 2000  # and at most along any
FURNISHED = 0.2  # of the cells inside, from which on what stands there counts in full
FLATTEST = 0.1  # of the middle extent: what is flatter may be a floor as well as a wall
SURE = 0.2  # by how much z must be ahead, so that nothing need be said
SURE_TO_TURN = 0.5  # by how much another axis must be

CEILING = (1.8, 6.0)  # metres: heights that a room has
WIDTH = (1.5, 100.0)  # and how far the larger of its sides may reach
HEIGHT = (0.5, 12.0)  # what may well be metres: part of a room, a hall
LARGEST_ROOM = 200.0  # metres

TURNED = "it is turned for the work, and all that comes out is as the file is"
SCALED = "it is scaled to metres for the work, and all that comes out is as the file is"


@dataclass(frozen=True)
class Axes:
    """How coordinates of a file become metres with z up."""

    up: str  # an axis of the file
    unit: str
    up_from: str  # who says so, for summaries: "up_axis", "the format", "its floor", "nothing"
    unit_from: str
    told: tuple[str, ...]  # what was guessed or stays unsure
    refused: str = ""  # of these the sentence that must be answered before any work: it is far too large for a room

    @property
    def to_file(self) -> np.ndarray | None:
        """float64 [3, 3]: positions in metres, z up, [N, 3] times this are those of the file; None: they are equal."""
        if (self.up, self.unit) == ("z", "m"):
            return None
        return np.array(TURNS[self.up]) / METRES[self.unit]

    def to_metres(self, points: np.ndarray) -> np.ndarray:
        """Positions of the file, float64 [N, 3], in metres, z up."""
        if self.to_file is None:
            return points
        # By columns, since a product of matrices would round every axis by all three.
        turned = [sum(sign * points[:, i] for i, sign in enumerate(row) if sign) for row in TURNS[self.up]]
        return np.stack(turned, axis=1) * METRES[self.unit]


def find_axes(
    points: np.ndarray,
    up_axis: UpAxis = "auto",
    unit: Unit = "auto",
    said_up: str | None = None,
    said_unit: str | None = None,
) -> Axes:
    """Which way a scan is up, and in what unit.

    Args:
        points: float64 [N, 3], in the coordinates of the file, without strays.
        up_axis, unit: what the user says, or "auto".
        said_up, said_unit: what the format or the file says, or None.
    """
    told: list[str] = []
    up: str
    guessed, lead = guess_up(points) if len(points) >= FEWEST_POINTS else ("z", 0.0)
    sure = lead >= (SURE if guessed == "z" else SURE_TO_TURN)
    if up_axis != "auto":
        up, up_from = up_axis, "up_axis"
    elif said_up is not None:
        up, up_from = said_up, "the format"
        told.append(f"{up} is up by its format: {TURNED}")
        if sure and up != guessed:
            told.append(
                f"its floor seems to lie across {guessed} all the same: set up_axis: {guessed} if the program that "
                "wrote it did not turn it"
            )
    elif sure:
        up, up_from = guessed, "its floor"
        if up != "z":
            told.append(f"{up} seems to be up, across its floor: {TURNED}; set up_axis if this is wrong")
    else:
        up, up_from = "z", "nothing"
        if len(points) >= FEWEST_POINTS:
            perhaps = "" if guessed == "z" else f", perhaps {guessed}"
            told.append(
                f"which axis is up is not sure from its points{perhaps}: z is taken, nothing turned; set up_axis if it "
                "is another"
            )
    low, high = _box(points)
    extents = np.abs(np.array(TURNS[up]) @ (high - low))
    found, unit_from, refused = _find_unit(extents, unit, said_unit, len(points) >= FEWEST_POINTS, told)
    return Axes(up, found, up_from, unit_from, tuple(told), refused)


def guess_up(points: np.ndarray) -> tuple[str, float]:
    """The axis of the file that seems to point up, and by how much its score is ahead of the next one's.

    The score of an axis is the sum of what a floor has and a wall has not: the share of the outline that has its lowest
    point in one plane; how much more that is than the share with its highest in one (a room without a ceiling); the
    plane's share of such planes of all axes; and how much more of what stands inside is in the lower half, where
    gravity keeps it, than in the upper.

    Args:
        points: float [N, 3].
    """
    scores = _scores(_cells(points))
    order = np.argsort(-scores, kind="stable")
    low, high = _box(points)
    if (high - low)[order[0]] < FLATTEST * np.median(high - low):
        return "z", 0.0
    return "xyz"[order[0]], float(scores[order[0]] - scores[order[1]])


def _box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the box of nearly all points, float64 [3] each."""
    some = points[:: -(-len(points) // MOST_POINTS)]
    low, high = np.percentile(some, (0.5, 99.5), axis=0)
    return low, high


def _cells(points: np.ndarray) -> np.ndarray:
    """The cells of a grid that hold points, int64 [K, 3] from 0: each counts once, however dense the scan is there."""
    some = points[:: -(-len(points) // MOST_POINTS)]
    low, high = _box(points)
    size = max(np.median(high - low) / CELLS, (high - low).max() / MOST_CELLS)
    if not size > 0:
        return np.empty((0, 3), dtype=np.int64)
    inside = ((some >= low - size) & (some <= high + size)).all(axis=1)
    places = np.floor((some[inside] - low) / size).astype(np.int64) + 1
    width = places.max(axis=0) + 1
    flat = np.unique(np.ravel_multi_index(tuple(places.T), tuple(width)))
    return np.stack(np.unravel_index(flat, tuple(width)), axis=1)


def _scores(cells: np.ndarray) -> np.ndarray:
    """How much each axis looks like the one that is up, float64 [3]."""
    if len(cells) == 0:
        return np.zeros(3)
    size = cells.max(axis=0) + 1
    border = (cells < 3) | (cells >= size - 3)  # floor, ceiling and walls, if they are along the axes
    inside = cells[~border.any(axis=1)]
    furnished = min(len(inside) / (FURNISHED * len(cells)), 1.0)
    scores, areas = np.zeros(3), np.zeros(3)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        column = cells[:, others[0]] * size[others[1]] + cells[:, others[1]]
        order = np.lexsort((cells[:, axis], column))
        starts = np.flatnonzero(np.diff(column[order], prepend=-1))
        ends = np.append(starts[1:], len(order)) - 1
        height = cells[order, axis]
        floor = _share_in_one_plane(height[starts], size[axis])
        ceiling = _share_in_one_plane(size[axis] - 1 - height[ends], size[axis])
        below = np.mean(inside[:, axis] < size[axis] / 2) if len(inside) else 0.5
        scores[axis] = floor + max(floor - ceiling, 0) + furnished * (2 * below - 1)
        areas[axis] = floor * len(starts)
    return scores + areas / areas.sum()


def _share_in_one_plane(heights: np.ndarray, size: int) -> float:
    """The share of the heights that are within one cell of the same one, which is in the lowest quarter."""
    counts = np.bincount(heights, minlength=size + 2)
    near = counts[:-2] + counts[1:-1] + counts[2:]
    return near[: max(2, size // 4)].max() / len(heights)


def _find_unit(
    extents: np.ndarray, unit: Unit, said: str | None, enough: bool, told: list[str]
) -> tuple[str, str, str]:
    """The unit of a scan of some extents, float64 [3], z up, in that unit; who says so; and ``Axes.refused``."""
    height, width = extents[2], extents[:2].max()
    if unit == "auto" and said is None and enough and not _may_be(height, width, HEIGHT, LARGEST_ROOM):
        fitting, possible = (
            [name for name, metres in METRES.items() if _may_be(metres * height, metres * width, heights, WIDTH[1])]
            for heights in (CEILING, HEIGHT)
        )
        size = f"{width:.4g} wide and {height:.4g} high"
        if len(fitting) == 1:
            told.append(f"is {size}, as a room is in {fitting[0]}: {SCALED}; set unit if this is wrong")
            return fitting[0], "its size", ""
        among = f", perhaps {' or '.join(fitting or possible)}" if possible else ""
        large = extents.max() > LARGEST_ROOM
        cure = "set unit, to m if these are metres" if large else "set unit"
        told.append(f"is {size}, which no room is in metres; its unit is unclear{among}, nothing is scaled; {cure}")
        return "m", "nothing", told[-1] if large else ""
    chosen = unit if unit != "auto" else said or "m"
    chosen_from = "unit" if unit != "auto" else "the format" if said else "its size" if enough else "nothing"
    metres = METRES[chosen] * np.array([height, width])
    if metres.max() > LARGEST_ROOM:
        told.append(f"spans {metres.max():.0f} m in {chosen}; set unit: mm or another if that is not its unit")
    elif unit == "auto" and enough and metres[0] > CEILING[1]:
        told.append(f"is {metres[0]:.1f} m high if its unit is {chosen}; set unit: ft or another if it is not")
    if unit == "auto" and chosen != "m":
        told.append(f"is in {chosen} by its own word: {SCALED}")
    return chosen, chosen_from, ""


def _may_be(height: float, width: float, heights: tuple[float, float], widest: float) -> bool:
    return heights[0] <= height <= heights[1] and WIDTH[0] / 3 <= width <= widest
