"""Scans of one's own from above and from the side, on one sheet: most of what is wrong with a scan is seen at once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from otoc_lib.datasets.scan_views import ScanViews
from otoc_lib.files import write_bytes
from otoc_lib.reporting.figures import INK, MUTED, RULE, to_png

MOST_SCANS = 20  # on one sheet
NAMES = "xyz"


def draw_scans(views: Sequence[ScanViews]) -> Figure:
    """A row for each scan: from above, and from the side, in metres with z up; the first MOST_SCANS of them."""
    shown = views[:MOST_SCANS]
    figure = Figure(figsize=(8.4, 0.3 + 3.1 * len(shown)), dpi=100, facecolor="white", layout="constrained")
    for axes, view in zip(figure.subplots(len(shown), 2, squeeze=False), shown, strict=True):
        far = NAMES[1 - view.along]
        _draw(axes[0], view.top, view, (0, 1), f"{view.name} from above")
        _draw(axes[1], view.side, view, (view.along, 2), f"from the side, the half of larger {far}")
    if len(views) > len(shown):
        figure.supxlabel(f"and {len(views) - len(shown)} more scans", size=8, color=MUTED)
    return figure


def write_scans(path: Path, views: Sequence[ScanViews]) -> None:
    """``draw_scans`` as a PNG."""
    write_bytes(path, to_png(draw_scans(views)))


def _draw(axes: Axes, picture: np.ndarray, view: ScanViews, shown: tuple[int, int], title: str) -> None:
    (left, right), (bottom, top) = ((view.low[axis], view.high[axis]) for axis in shown)
    wide, high = max(right - left, 1e-9), max(top - bottom, 1e-9)
    axes.imshow(picture, extent=(left, left + wide, bottom, bottom + high), interpolation="none")
    axes.set_title(title, size=9, color=INK)
    axes.set_xlabel(NAMES[shown[0]], size=8, color=MUTED)
    axes.set_ylabel(NAMES[shown[1]], size=8, color=MUTED, rotation=0)
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.ticklabel_format(useOffset=False)
    axes.spines[:].set_color(RULE)
