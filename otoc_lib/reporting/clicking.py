"""A strip of pictures of a room that is clicked: README's, of a bundled training room.

python -m otoc_lib.reporting.clicking docs/pictures/clicking.png
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from otoc_lib.annotation.clicks import Clicks, expand_clicks, simulate_clicks
from otoc_lib.annotation.example import EXAMPLE_CLASSES, example_room
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.reporting.figures import UNLABELLED, Panel, draw_panels, percent, room_view, to_png
from otoc_lib.scene import Scene

ROOM = "scene0003_00"
SIZE = (330, 290)  # pixels of a picture
SHARES = (0.2, 0.6)  # of the clicks, in the pictures between the first and the last


def clicked_room() -> tuple[Scene, Clicks]:
    """The room of the strip, its classes in the colours of those of ScanNet, and a click on every object."""
    _, room = example_room(ROOM)
    colors = tuple(SCANNET20.colors[SCANNET20.index(names[0])] for names in EXAMPLE_CLASSES.values())
    scene = replace(room, label_set=replace(room.label_set, colors=colors))
    return scene, simulate_clicks(scene, per_object=1, seed=0)


def strip(scene: Scene, clicks: Clicks) -> Figure:
    """The room as it is, after some clicks and after more, and the labels that all of them give.

    A click labels its super-voxel (``expand_clicks``); what has no label keeps the scan's colours.
    """
    view = room_view(scene, *SIZE)
    panels = [Panel(view, scene.colors, "a scan", f"{scene.num_points:,} points, no label")]
    for share in SHARES:
        some = first(clicks, max(1, round(share * len(clicks))))
        labels = expand_clicks(scene, some)
        known = (labels != IGNORE)[:, None]
        colors = np.where(known, scene.label_set.paint(labels), scene.colors).astype(np.uint8)
        panels.append(Panel(view, colors, f"{len(some)} clicks", _covered(labels), some))
    labels = expand_clicks(scene, clicks)
    known = (labels != IGNORE)[:, None]
    colors = np.where(known, scene.label_set.paint(labels), np.array(UNLABELLED)).astype(np.uint8)
    panels.append(Panel(view, colors, f"the labels of {len(clicks)} clicks, one an object", _covered(labels)))
    return draw_panels([list(panels)], scene.label_set)


def first(clicks: Clicks, count: int) -> Clicks:
    """The first ``count`` clicks."""
    taken = (array[:count] for array in (clicks.points, clicks.classes, clicks.objects))
    points, classes, objects = taken
    return replace(clicks, points=points, classes=classes, objects=objects)


def _covered(labels: np.ndarray) -> str:
    return f"{percent(100 * float((labels != IGNORE).mean()))} of the points have a label"


if __name__ == "__main__":
    with write_aside(Path(sys.argv[1])) as aside:
        aside.write_bytes(to_png(strip(*clicked_room())))
