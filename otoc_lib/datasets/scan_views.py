"""Pictures of a scan from above and from the side, made to see at a glance what is wrong with it."""

from dataclasses import dataclass

import numpy as np

from otoc_lib.datasets.point_files import Scan

PIXELS = 420  # along the longer side
PAPER = 255
MOST_POINTS = 2_000_000  # that are drawn, evenly chosen


@dataclass(frozen=True, eq=False)
class ScanViews:
    """Two pictures of one scan, without its strays, in the axes of the file."""

    name: str
    top: np.ndarray  # uint8 [H, W, 3]: x to the right, y upwards, the highest points in front
    side: np.ndarray  # uint8 [H, W, 3]: the longer of x and y to the right, z upwards; the half behind the middle
    low: np.ndarray  # float64 [3] the box
    high: np.ndarray
    along: int  # the axis that the side view has to the right, 0 or 1


def view_scan(name: str, scan: Scan) -> ScanViews:
    """Look at a scan along its third axis, and along the shorter of the others: at the far half alone, so that walls
    hide nothing."""
    chosen = np.arange(0, len(scan.points), max(1, len(scan.points) // MOST_POINTS))
    points, colors = scan.points[chosen], scan.colors[chosen]
    inside = ((points >= scan.low) & (points <= scan.high)).all(axis=1)
    points, colors = points[inside], colors[inside]
    size = scan.high - scan.low
    along = int(size[1] > size[0])
    across = 1 - along
    far = points[:, across] >= (scan.low + size / 2)[across]
    return ScanViews(
        name=name,
        top=_picture(points, colors, (0, 1), points[:, 2], scan.low, size),
        side=_picture(points[far], colors[far], (along, 2), -points[far, across], scan.low, size),
        low=scan.low,
        high=scan.high,
        along=along,
    )


def _picture(
    points: np.ndarray,
    colors: np.ndarray,
    axes: tuple[int, int],
    nearness: np.ndarray,
    low: np.ndarray,
    size: np.ndarray,
) -> np.ndarray:
    """The nearest point of each pixel, uint8 [H, W, 3]."""
    extent = np.maximum(size[list(axes)], 1e-9)
    scale = PIXELS / extent.max()
    width, height = np.maximum(np.ceil(extent * scale), 1).astype(int)
    u, v = ((points[:, axis] - low[axis]) * scale for axis in axes)
    column = np.clip(u.astype(int), 0, width - 1)
    row = np.clip(height - 1 - v.astype(int), 0, height - 1)
    picture = np.full((height, width, 3), PAPER, dtype=np.uint8)
    order = np.argsort(nearness, kind="stable")  # what is written last is in front
    picture[row[order], column[order]] = colors[order]
    return picture
