"""Pictures of a scan from above and from the side, made to see at a glance what is wrong with it."""

from dataclasses import dataclass

import numpy as np

from otoc_lib.datasets.point_files import Scan
from otoc_lib.datasets.scan_axes import METRES, Axes

PIXELS = 420  # along the longer side
PAPER = (226, 230, 236)  # on which white walls are seen
LARGEST_DOT = 9  # pixels
MOST_POINTS = 2_000_000  # that are drawn, evenly chosen


@dataclass(frozen=True, eq=False)
class ScanViews:
    """Two pictures of one scan, without its strays, in metres and with z up."""

    name: str
    top: np.ndarray  # uint8 [H, W, 3]: x to the right, y upwards, the highest points in front
    side: np.ndarray  # uint8 [H, W, 3]: the longer of x and y to the right, z upwards; the half behind the middle
    low: np.ndarray  # float64 [3] the box
    high: np.ndarray
    along: int  # the axis that the side view has to the right, 0 or 1


def view_scan(name: str, scan: Scan, axes: Axes, spacing: float) -> ScanViews:
    """Look at a scan along its third axis, and along the shorter of the others: at the far half alone, so that walls
    hide nothing.

    Args:
        name: of the scan.
        scan: its points and colours.
        axes: which way it is up, and in what unit.
        spacing: between its points, in its unit; they are drawn so large that surfaces close.
    """
    chosen = np.arange(0, len(scan.points), max(1, len(scan.points) // MOST_POINTS))
    points, colors = scan.points[chosen], scan.colors[chosen]
    inside = ((points >= scan.low) & (points <= scan.high)).all(axis=1)
    points, colors = axes.to_metres(points[inside]), colors[inside]
    corners = axes.to_metres(np.stack([scan.low, scan.high]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = high - low
    along = int(size[1] > size[0])
    across = 1 - along
    far = points[:, across] >= (low + size / 2)[across]
    spacing *= METRES[axes.unit] * max(1.0, len(scan.points) / MOST_POINTS) ** 0.5
    return ScanViews(
        name=name,
        top=_picture(points, colors, (0, 1), points[:, 2], low, size, spacing),
        side=_picture(points[far], colors[far], (along, 2), -points[far, across], low, size, spacing),
        low=low,
        high=high,
        along=along,
    )


def _picture(
    points: np.ndarray,
    colors: np.ndarray,
    axes: tuple[int, int],
    nearness: np.ndarray,
    low: np.ndarray,
    size: np.ndarray,
    spacing: float,
) -> np.ndarray:
    """The nearest point of each pixel, uint8 [H, W, 3]."""
    extent = np.maximum(size[list(axes)], 1e-9)
    scale = PIXELS / extent.max()
    width, height = np.maximum(np.ceil(extent * scale), 1).astype(int)
    dot = int(np.clip(np.ceil(1.5 * spacing * scale), 1, LARGEST_DOT))
    u, v = ((points[:, axis] - low[axis]) * scale for axis in axes)
    order = np.argsort(nearness, kind="stable")  # what is written last is in front
    right, down = (shift.ravel() - dot // 2 for shift in np.meshgrid(np.arange(dot), np.arange(dot)))
    column = np.clip(u[order].astype(int)[:, None] + right, 0, width - 1)  # [N, dot squared]
    row = np.clip(height - 1 - v[order].astype(int)[:, None] + down, 0, height - 1)
    picture = np.full((height, width, 3), PAPER, dtype=np.uint8)
    picture[row.ravel(), column.ravel()] = np.repeat(colors[order], dot**2, axis=0)
    return picture
