"""A room that is clicked, as a strip of pictures and as ten seconds of film: README's, of a bundled training room.

python -m otoc_lib.reporting.clicking docs/pictures/clicking.png docs/pictures/clicking.gif
"""

import argparse
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

from otoc_lib.annotation.clicks import Clicks, expand_clicks, simulate_clicks
from otoc_lib.annotation.example import EXAMPLE_CLASSES, example_room
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE, SCANNET20, LabelSet
from otoc_lib.reporting.figures import INK, UNLABELLED, Panel, draw_panels, percent, reduce_colors, room_view, to_png
from otoc_lib.reporting.splat import RoomView
from otoc_lib.scene import Scene

ROOM = "scene0003_00"
SIZE = (330, 290)  # pixels of a picture
SHARES = (0.2, 0.6)  # of the clicks, in the pictures between the first and the last
FILM_SIZE = (495, 435)
SECONDS, SECONDS_BEFORE, SECONDS_AFTER = 10.0, 0.8, 1.8  # of the film; of its first picture and its last
# A pointer, its tip at the origin: pixels to the right and down.
ARROW = np.array([(0, 0), (0, 17), (4, 13), (7, 19.5), (10, 18), (7, 12), (12, 12)])


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
        panels.append(_after(scene, some, SIZE, f"{len(some)} clicks"))
    panels.append(_labels_alone(scene, clicks, SIZE))
    return draw_panels([list(panels)], scene.label_set)


def film(scene: Scene, clicks: Clicks) -> Iterator[tuple[Figure, float]]:
    """Pictures with their seconds: the room; for every click what the pointer is on, outlined, and what the click
    labels; then the labels of all. Clicks on walls that hide the room have no picture of their own."""
    view = room_view(scene, *FILM_SIZE)
    in_sight = np.flatnonzero(view.kept[clicks.points]).tolist()
    seconds = (SECONDS - SECONDS_BEFORE - SECONDS_AFTER) / (2 * len(in_sight))
    yield _draw(scene, _after(scene, first(clicks, 0), FILM_SIZE, "a scan")), SECONDS_BEFORE
    for place in in_sight:
        title = f"click {place + 1}: {scene.label_set.names[clicks.classes[place]]}"
        before, after = (_after(scene, first(clicks, count), FILM_SIZE, title) for count in (place, place + 1))
        point = clicks.points[place]
        yield _point_at(_draw(scene, before), view, point, scene.supervoxels == scene.supervoxels[point]), seconds
        yield _point_at(_draw(scene, after), view, point), seconds
    yield _draw(scene, _labels_alone(scene, clicks, FILM_SIZE)), SECONDS_AFTER


def _draw(scene: Scene, panel: Panel) -> Figure:
    return draw_panels([[panel]], scene.label_set)


def _point_at(figure: Figure, view: RoomView, point: int, outlined: np.ndarray | None = None) -> Figure:
    """The pointer on a point of a picture, and a line around some of the points (bool [N])."""
    (axes,) = figure.axes
    if outlined is not None:
        shape = view.paint(np.where(outlined, 0, 255).astype(np.uint8)[:, None].repeat(3, axis=1))[:, :, 0]
        for width, color in ((3.2, "white"), (1.6, INK)):
            axes.contour(shape, levels=[128], colors=color, linewidths=width, zorder=5)
    tip = view.locate(np.array([point]))[0]
    axes.add_patch(Polygon(tip + ARROW, facecolor="white", edgecolor=INK, linewidth=1, zorder=6))
    return figure


def to_gif(pictures: Iterable[tuple[Figure, float]], label_set: LabelSet) -> bytes:
    """The film as an animated GIF that goes on and on, in one set of 256 colours."""
    drawn, durations = [], []
    for figure, seconds in pictures:
        pixels = io.BytesIO()
        figure.savefig(pixels, format="png", pil_kwargs={"compress_level": 0})
        drawn.append(np.asarray(Image.open(pixels).convert("RGB")))
        durations.append(round(1000 * seconds))
    height, width, _ = drawn[0].shape
    reduced = reduce_colors(Image.fromarray(np.concatenate(drawn)), label_set)
    frames = [reduced.crop((0, place * height, width, (place + 1) * height)) for place in range(len(drawn))]
    written = io.BytesIO()
    frames[0].save(written, "gif", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return written.getvalue()


def _after(scene: Scene, clicks: Clicks, size: tuple[int, int], title: str) -> Panel:
    """The room after some clicks: their classes on their super-voxels, elsewhere the scan's colours."""
    labels = expand_clicks(scene, clicks) if len(clicks) else np.full(scene.num_points, IGNORE)
    known = (labels != IGNORE)[:, None]
    colors = np.where(known, scene.label_set.paint(labels), scene.colors).astype(np.uint8)
    return Panel(room_view(scene, *size), colors, title, _covered(labels), clicks)


def _labels_alone(scene: Scene, clicks: Clicks, size: tuple[int, int]) -> Panel:
    labels = expand_clicks(scene, clicks)
    known = (labels != IGNORE)[:, None]
    colors = np.where(known, scene.label_set.paint(labels), np.array(UNLABELLED)).astype(np.uint8)
    title = f"the labels of {len(clicks)} clicks, one an object"
    return Panel(room_view(scene, *size), colors, title, _covered(labels))


def first(clicks: Clicks, count: int) -> Clicks:
    """The first ``count`` clicks."""
    taken = (array[:count] for array in (clicks.points, clicks.classes, clicks.objects))
    points, classes, objects = taken
    return replace(clicks, points=points, classes=classes, objects=objects)


def _covered(labels: np.ndarray) -> str:
    return f"{percent(100 * float((labels != IGNORE).mean()))} of the points have a label"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path, help=".gif for the film, another picture for the strip")
    for path in parser.parse_args().pictures:
        room, clicks = clicked_room()
        drawn = to_gif(film(room, clicks), room.label_set) if path.suffix == ".gif" else to_png(strip(room, clicks))
        with write_aside(path) as aside:
            aside.write_bytes(drawn)
