"""Figures 1, 2, 4, 5 and 6, learning curves and pseudo-label statistics, drawn with matplotlib without a browser.

Every figure is a matplotlib Figure that ``save`` writes as PNG and PDF. Pictures of rooms are reduced to 256 colours:
both files stay small, and no eye sees it.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy.spatial import cKDTree

from otoc_lib.annotation.clicks import Clicks, clicked_labels, label_statistics
from otoc_lib.annotation.subclouds import Subclouds
from otoc_lib.evaluation import confusion_matrix, mean_iou
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE, NO_CLASS, LabelSet
from otoc_lib.methods.stages import weights_of
from otoc_lib.reporting import paper
from otoc_lib.reporting.convergence import CPU, GOALS, Run, convergence_curve
from otoc_lib.reporting.curves import (
    FURNITURE,
    WITHOUT_GRAPH,
    Curve,
    label_curves,
    loss_curves,
    miou_curves,
    smooth,
)
from otoc_lib.reporting.runs import (
    MODES,
    Measurement,
    Results,
    in_order_of_modes,
    last_mode,
    read_arrays,
    read_history,
    read_json,
)
from otoc_lib.reporting.splat import RoomView, view_room
from otoc_lib.reporting.sweeps import SWEPT, SweepLine, sweep_curves
from otoc_lib.scene import Scene
from otoc_lib.store import Stage

PANEL = (320, 280)  # pixels of one room in a figure of several
PIXELS_PER_INCH = 100  # of figures made of panels: one pixel of a panel is one of the PNG
TSNE_PANELS = {"coordinates": "coordinates", "colors": "colours", "relation": "relation network"}  # Figure 6
CHART_DPI = 140
SHADES = (1.0, 0.93, 0.86, 0.79, 0.72, 0.65, 0.58)  # of a class's colour that are kept: surfaces turned away are darker
MOST_SHADES, MOST_KEPT = 150, 240  # of 256 colours: for shades of all classes, and for these where they are many
MANY_CLICKS = 1000  # in a room; more are drawn as specks
WRONG, RIGHT, UNLABELLED = (214, 32, 39), (206, 210, 216), (238, 239, 242)
INK, MUTED, RULE = "#1b2330", "#667085", "#d5d9e0"
PAPER_COLOR, OURS_COLOR = "#a9b4c6", "#2f6fde"


@dataclass(frozen=True)
class Panel:
    """One picture of a room with what is written above and below it; clicks are drawn as dots."""

    view: RoomView
    colors: np.ndarray  # uint8 [N, 3]
    title: str = ""
    caption: str = ""
    clicks: Clicks | None = None


class _ClassFigure(Figure):
    """A figure in the colours of some classes; its PNG keeps them, where other colours are reduced."""

    def __init__(self, label_set: LabelSet, **kwargs: Any):
        super().__init__(**kwargs)
        self.label_set = label_set


def to_png(figure: Figure, scale: float = 1.0) -> bytes:
    """The figure as a PNG file of 256 colours, ``scale`` times its own size."""
    pixels, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(pixels, format="png", dpi=scale * figure.dpi, pil_kwargs={"compress_level": 0})  # read right away
    classes = figure.label_set if isinstance(figure, _ClassFigure) else None
    reduce_colors(Image.open(pixels).convert("RGB"), classes).save(reduced, format="png", optimize=True)
    return reduced.getvalue()


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``<name>.png`` and ``<name>.pdf`` into a folder; returns both paths."""
    with write_aside(folder / f"{name}.png") as aside:
        aside.write_bytes(to_png(figure))
    with write_aside(folder / f"{name}.pdf") as aside:
        figure.savefig(aside, format="pdf", dpi=200, metadata={"CreationDate": None})
    return [folder / f"{name}.png", folder / f"{name}.pdf"]


def reduce_colors(picture: Image.Image, label_set: LabelSet | None = None) -> Image.Image:
    """At most 256 colours: those of the classes exactly, as legends show them, and in the shades that surfaces have, so
    that no two classes come out alike; what is left goes to what else there is."""
    kept = _shades(label_set) if label_set else np.empty((0, 3), dtype=np.uint8)
    quantized = picture.quantize(256 - len(kept), dither=Image.Dither.NONE)
    common = np.array(quantized.getpalette(), dtype=np.uint8).reshape(-1, 3)
    common[(common >= 244).all(axis=1)] = 255  # paper stays white
    palette = np.concatenate([kept, common])
    pixels = np.asarray(picture).reshape(-1, 3)
    packed, place = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    colors = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    nearest = cKDTree(palette).query(colors)[1].astype(np.uint8)  # Pillow's own search is not exact
    reduced = Image.frombytes("P", picture.size, nearest[place].tobytes())
    reduced.putpalette(palette.ravel().tolist())
    return reduced


def _shades(label_set: LabelSet) -> np.ndarray:
    """Colours of classes and darker shades of them, uint8 [K, 3], as many as leave room for other colours."""
    levels = SHADES[: max(1, MOST_SHADES // len(label_set))]
    shades = np.rint(np.multiply.outer(levels, np.array(label_set.colors))).reshape(-1, 3)  # whole ones first
    return shades[:MOST_KEPT].astype(np.uint8)


def error_colors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Red where the prediction is wrong, grey where it is right, pale where there is no truth; uint8 [N, 3]."""
    colors = np.where((truth == prediction)[:, None], RIGHT, WRONG)
    return np.where((truth == IGNORE)[:, None], UNLABELLED, colors).astype(np.uint8)


def draw_panels(rows: list[list[Panel | None]], label_set: LabelSet, row_names: tuple[str, ...] = ()) -> Figure:
    """Pictures of rooms in rows, over a legend of the classes.

    rows: all of one length, None leaves a place empty; a column of None alone is left out. row_names: one per row,
    written upright at the left.
    """
    used = [place for place, panels in enumerate(zip(*rows, strict=True)) if any(panels)]
    rows = [[row[place] for place in used] for row in rows]
    shown = [panel for row in rows for panel in row if panel]
    width, height = shown[0].view.camera.width, shown[0].view.camera.height
    columns, gap, left = len(rows[0]), 10, 28 if row_names else 6
    total_width = left + columns * (width + gap)
    per_line = max(1, min(10, total_width // 112))
    # Pixels above and below every row of pictures, for as many lines of text as there are.
    above = [8 + 15 * max((len(p.title.splitlines()) for p in row if p), default=0) for row in rows]
    below = [6 + 14 * max((len(p.caption.splitlines()) for p in row if p), default=0) for row in rows]
    legend = 20 * -(-len(label_set) // per_line) + 16
    total_height = sum(above) + sum(below) + len(rows) * height + legend
    size = (total_width / PIXELS_PER_INCH, total_height / PIXELS_PER_INCH)
    figure = _ClassFigure(label_set, figsize=size, dpi=PIXELS_PER_INCH, facecolor="white")
    upper = total_height
    for i, row in enumerate(rows):
        upper -= above[i] + height
        for j, panel in enumerate(row):
            if panel is not None:
                box = (left + j * (width + gap), upper, width, height)
                axes = figure.add_axes(tuple(np.divide(box, (total_width, total_height) * 2)))
                _draw_panel(axes, panel, label_set)
        if row_names:
            middle = (upper + height / 2) / total_height
            figure.text(10 / total_width, middle, row_names[i], rotation=90, va="center", size=9, color=MUTED)
        upper -= below[i]
    _draw_legend(figure, label_set, legend / total_height, per_line)
    return figure


def _draw_panel(axes: Axes, panel: Panel, label_set: LabelSet) -> None:
    width, height = panel.view.camera.width, panel.view.camera.height
    picture = reduce_colors(Image.fromarray(panel.view.paint(panel.colors)), label_set).convert("RGB")
    axes.imshow(picture, extent=(0, width, height, 0), interpolation="none")
    axes.axis("off")
    axes.set_title(panel.title, size=8.5, color=INK, pad=3, linespacing=1.3)
    axes.text(width / 2, height + 3, panel.caption, size=8, color=MUTED, ha="center", va="top", linespacing=1.3)
    if panel.clicks is not None:
        shown = panel.clicks.classes[panel.view.kept[panel.clicks.points]]
        u, v = panel.view.locate(panel.clicks.points).T
        if len(panel.clicks) > MANY_CLICKS:
            axes.scatter(u, v, s=2, c=label_set.paint(shown) / 255, linewidths=0, zorder=4)
        else:
            axes.scatter(u, v, s=62, c="white", linewidths=0, zorder=3)
            axes.scatter(u, v, s=38, c=label_set.paint(shown) / 255, edgecolors=INK, linewidths=0.8, zorder=4)
    axes.set(xlim=(0, width), ylim=(height, 0))


def _draw_legend(figure: Figure, label_set: LabelSet, height: float, columns: int) -> None:
    handles = [
        Line2D([], [], linestyle="", marker="s", markersize=7, color=np.divide(color, 255), label=name)
        for name, color in zip(label_set.names, label_set.colors, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(0.5, height / 2),
        ncols=columns,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.2,
    )


def _legend_beside(axes: Axes) -> None:
    """A legend at the right, where it covers no line; none for axes without one."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, labelcolor=INK, handlelength=3
        )


def _plain(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, size=9, color=MUTED)
    axes.set_ylabel(ylabel, size=9, color=MUTED)
    axes.tick_params(labelsize=8, colors=MUTED, length=0)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(RULE)


@lru_cache(maxsize=64)
def room_view(scene: Scene, width: int, height: int) -> RoomView:
    """``view_room`` of a scene, computed once per picture size."""
    return view_room(scene.coords, scene.supervoxels, width, height)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


# The bars of Figure 1: a group of rows that are judged alike -> row -> label. A height tells something within a group.
BARS = {
    "U-Net alone": {
        "otoc_baseline": "initial labels*",
        "otoc_control": "control",
        "otoc_dagger": "1T1C†",
        "supervised": "fully supervised",
    },
    "after propagation": {
        "otoc_first_full": "initial labels",
        "otoc_control_full": "control",
        "otoc_full": "1T1C",
        "otoc3_control_full": "control, 1T3C",
        "otoc3_full": "1T3C",
        "supervised_full": "fully supervised",
    },
}


CROWDED = 10  # bars of a panel; from here on their names stand upright, or they would run into each other
LETTERS = 80  # in the names of a panel, beyond which they stand upright, too
WIDE = 20  # bars of a panel, from which on it has a row of the figure to itself
INITIAL = ("otoc_baseline", "otoc_first_full")  # before self-training: hatched


def figure1(ours: dict[str, dict[str, Measurement]], colors: dict[str, str]) -> Figure:
    """Bars: above the paper's Figure 1 on ScanNet and S3DIS, below ours with whatever was run.

    ours: what it was measured on, for the title -> row of Table 2 or 4 -> result; one or two. Rows of further
    experiments come last, under their names. colors: by row; the paper's bars have them too, and grey without.
    """
    names = {"mprm_scene": "MPRM", "mprm_subcloud": "MPRM", "xu_02": "Xu et al.", "xu_10": "Xu et al."}
    names |= {"otoc_full": "1T1C", "otoc3_full": "1T3C", "supervised": "fully supervised"}
    panels = [
        (
            f"{title} (paper)",
            {"": [(f"{names[r.row]}\n{r.annotation.replace('-level', '')}", r.miou, 0.0, r.row) for r in rows]},
        )
        for title, rows in paper.FIGURE1.items()
    ]
    for title, rows in ours.items():
        known = {row for group in BARS.values() for row in group}
        titles = BARS | {"others": {row: row.replace("_", " ") for row in rows if row not in known}}
        groups = {}
        for group, labels in titles.items():
            for row in (row for row in labels if row in rows):
                seeds = len(rows[row].by_seed)
                label = labels[row].replace(" ", "\n", 1) + (f"\n{seeds} seeds" if seeds > 1 else "")
                groups.setdefault(group, []).append((label, rows[row].mean, rows[row].std or 0.0, row))
        panels.append((f"{title} (ours)", groups))
    below = list(range(2, len(panels)))  # after the paper's two
    most = max(sum(map(len, groups.values())) for _, groups in panels)
    places = [[0, 1], *([[number, number] for number in below] if most >= WIDE else [[*below, -1][:2]])]
    figure = Figure(figsize=(12.6, 4.2 * len(places)), dpi=CHART_DPI, facecolor="white", layout="constrained")
    grid = figure.subplot_mosaic(places, empty_sentinel=-1)
    for number, (title, groups) in enumerate(panels):
        axes = grid[number]
        own, ticks, start = title.endswith("(ours)"), {}, 0.0
        lengths = [max(map(len, label.split("\n"))) + 1 for bars in groups.values() for label, *_ in bars]
        crowded = len(lengths) >= CROWDED or sum(lengths) > LETTERS
        for group, bars in groups.items():
            for place, (label, value, deviation, row) in enumerate(bars):
                x = start + place
                hatch = "////" if row in INITIAL else None
                bar = {"color": colors.get(row, PAPER_COLOR), "hatch": hatch, "edgecolor": "white", "linewidth": 0}
                axes.bar(x, value, width=0.66, yerr=deviation or None, ecolor=INK, capsize=3, **bar)
                text = f"{value:.1f}\n± {deviation:.1f}" if deviation and not crowded else f"{value:.1f}"
                size = 6.5 if crowded else 8.5
                axes.text(x, value + deviation + 2.5, text, ha="center", size=size, linespacing=1.0, color=INK)
                ticks[x] = label.replace("\n", " ", 1) if crowded else label
            if group:
                axes.text(start + (len(bars) - 1) / 2, 125, group, ha="center", size=9, color=MUTED)
            start += len(bars) + 0.5
        axes.set_xticks(list(ticks), list(ticks.values()))
        # 100 and its number; the names of the groups.
        axes.set(ylim=(0, 134 if own else 108), yticks=range(0, 101, 20), xlim=(-0.6, max(4, start - 0.5) - 0.4))
        axes.set_title(title, size=10, color=INK, loc="left")
        _plain(axes, "", "mIoU (%)")
        if crowded:
            axes.tick_params(axis="x", labelsize=7, labelrotation=90)
        if not ticks:
            axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color=MUTED)
    return figure


def figure2(results: Results, train_room: Scene, clicks: Clicks, room: Scene, experiment: str = "otoc") -> Figure:
    """Above: a training room, its clicks, initial and last pseudo labels, truth. Below: a room that is judged."""
    width, height = 420, 370
    seen, unseen = room_view(train_room, width, height), room_view(room, width, height)
    paint = train_room.label_set.paint
    grey = np.full((train_room.num_points, 3), 214, dtype=np.uint8)
    initial = clicked_labels(train_room, clicks)
    pseudo = results.pseudo_labels(experiment, results.iterations, train_room)
    prediction = last_prediction(results, experiment, room)
    known = room.labels is not None
    wrong = 100 * np.mean((prediction != room.labels)[room.labels != IGNORE]) if known else 0.0
    upper = [
        Panel(seen, grey, "clicks, one per object", f"{train_room.name}: {len(clicks)} clicks", clicks),
        Panel(seen, paint(initial), "initial labels", _covered(train_room, initial)),
        Panel(seen, paint(pseudo), f"pseudo labels after iteration {results.iterations}", _covered(train_room, pseudo))
        if pseudo is not None
        else None,
        _truth(seen, train_room, f"{train_room.num_points:,} points"),
    ]
    lower = [
        Panel(unseen, room.colors, "room" if results.shows_trained else "room, never clicked", room.name),
        Panel(unseen, paint(prediction), "prediction"),
        Panel(unseen, error_colors(room.labels, prediction), "errors in red", f"{wrong:.1f} % of the points")
        if known
        else None,
        _truth(unseen, room, f"{room.num_points:,} points"),
    ]
    return draw_panels([upper, lower], room.label_set, ("training room", results.room_shown))


def figure4(results: Results, rooms: list[Scene], clicks: dict[str, Clicks], experiment: str = "otoc") -> Figure:
    """Pseudo labels from iteration to iteration, with coverage and accuracy of the room below and of all above."""
    iterations = results.iterations
    width, height = PANEL if iterations <= 3 else (260, 230)
    names = ["clicks", *(f"pseudo_{k}" for k in range(1, iterations + 1))]
    stages = [results.find(experiment, name) for name in names]  # of the seed that the rooms are of
    overall = [read_json(stage, "statistics.json") if stage else None for stage in stages]
    rows = []
    for room in rooms:
        view = room_view(room, width, height)
        steps = [clicked_labels(room, clicks[room.name])]
        steps += [results.pseudo_labels(experiment, k, room) for k in range(1, iterations + 1)]
        row: list[Panel | None] = []
        for k, (labels, statistics) in enumerate(zip(steps, overall, strict=True)):
            title = "" if rows else ("initial labels" if k == 0 else f"after iteration {k}")
            if title and statistics:
                covered, right = percent(statistics["covered_percent"]), percent(statistics.get("accuracy_percent"))
                title += f"\nall rooms: {covered} covered, {right} right"
            colors = None if labels is None else room.label_set.paint(labels)
            row.append(None if labels is None else Panel(view, colors, title, _covered(room, labels)))
        row.append(_truth(view, room, room.name, "" if rows else "ground truth\n"))
        rows.append(row)
    return draw_panels(rows, rooms[0].label_set)


def figure5(results: Results, rooms: dict[str, Scene], methods: dict[str, tuple[str, str, str]]) -> Figure:
    """Rooms with truth, then the prediction and the error map of each method that was run.

    rooms: what to write beside the room ("best", "median", "worst") -> the room. methods: title -> experiment, stage
    and mode.
    """
    rows = []
    for room in rooms.values():
        view = room_view(room, *PANEL)
        row: list[Panel | None] = [Panel(view, room.colors, "room", room.name), _truth(view, room)]
        for title, (experiment, stage_name, mode) in methods.items():
            found = results.prediction(experiment, stage_name, room)
            if mode not in found:
                continue
            if room.labels is None:
                row.append(Panel(view, room.label_set.paint(found[mode]), title))
                continue
            confusion = confusion_matrix(room.labels, found[mode], len(room.label_set))
            score = f"mIoU {100 * mean_iou(confusion):.1f}"
            wrong = f"{100 * (1 - np.trace(confusion) / confusion.sum()):.1f} % wrong"
            row.append(Panel(view, room.label_set.paint(found[mode]), title, score))
            row.append(Panel(view, error_colors(room.labels, found[mode]), "errors", wrong))
        rows.append([panel and replace(panel, title="" if rows else panel.title) for panel in row])
    return draw_panels(rows, next(iter(rooms.values())).label_set, tuple(rooms))


def annotation_figure(rooms: list[Scene], clicks: dict[str, Clicks]) -> Figure:
    """Rooms, where they were clicked, the labels that the clicks expand to, and the truth."""
    rows = []
    for room in rooms:
        view, paint = room_view(room, *PANEL), room.label_set.paint
        initial = clicked_labels(room, clicks[room.name])
        grey = np.full((room.num_points, 3), 214, dtype=np.uint8)
        row = [
            Panel(view, room.colors, "room", room.name),
            Panel(view, grey, "clicks", f"{len(clicks[room.name])} clicks", clicks[room.name]),
            Panel(view, paint(initial), "initial labels", _covered(room, initial)),
            _truth(view, room, f"{room.num_supervoxels} super-voxels"),
        ]
        rows.append([panel and replace(panel, title="" if rows else panel.title) for panel in row])
    return draw_panels(rows, rooms[0].label_set)


def subcloud_figure(subclouds: dict[str, Subclouds], label_set: LabelSet) -> Figure:
    """How many classes the balls of all rooms hold, and in how many of them each class is."""
    present = np.concatenate([of_room.present for of_room in subclouds.values()])  # [B, C]
    figure = Figure(figsize=(12.6, 3.4), dpi=100, facecolor="white", layout="constrained")
    counts, classes = figure.subplots(1, 2, width_ratios=(1, 2))
    found = 100 * np.bincount(present.sum(axis=1)) / len(present)
    counts.bar(range(len(found)), found, color=OURS_COLOR, width=0.66)
    counts.xaxis.set_major_locator(MaxNLocator(integer=True))
    counts.set_title(f"{len(present):,} balls by their number of classes (%)", size=10, color=INK, loc="left")
    _plain(counts, "classes in a ball", "")
    classes.bar(label_set.names, 100 * present.mean(axis=0), color=OURS_COLOR, width=0.66)
    classes.set_title("balls that hold each class (%)", size=10, color=INK, loc="left")
    _plain(classes, "", "")
    classes.tick_params(axis="x", rotation=90)
    return figure


def _truth(view: RoomView, room: Scene, caption: str = "", title: str = "ground truth") -> Panel | None:
    """The true labels of a room, None where they are unknown."""
    return None if room.labels is None else Panel(view, room.label_set.paint(room.labels), title, caption)


def figure6(results: Results, label_set: LabelSet, experiment: str = "otoc") -> Figure | None:
    """t-SNE of super-voxels by coordinates, colours and relation features; None if that stage is missing."""
    stage = results.find(experiment, "tsne")
    if stage is None:
        return None
    points = read_arrays(stage, "tsne.safetensors")
    silhouette = read_json(stage, "tsne.json")["silhouette"]
    figure = _ClassFigure(label_set, figsize=(12.6, 4.9), dpi=CHART_DPI, facecolor="white")
    for i, (name, title) in enumerate(TSNE_PANELS.items()):
        axes = figure.add_axes((0.01 + 0.33 * i, 0.2, 0.318, 0.73))
        for label in np.unique(points["class"]):
            u, v = points[name][points["class"] == label].T
            marker = ("o", "+")[label % 2]  # neighbouring classes differ in shape too, as in the paper
            style = {"linewidths": 0.8} if marker == "+" else {"edgecolors": "none"}
            color = np.divide(label_set.colors[label], 255)
            axes.scatter(u, v, s=(11, 18)[label % 2], color=color, marker=marker, rasterized=True, **style)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(RULE)
        axes.set_title(f"({'abc'[i]}) {title}", size=10, color=INK)
        axes.set_xlabel(f"silhouette score {silhouette[name]:+.3f}", size=9, color=MUTED)
    _draw_legend(figure, label_set, 0.15, 10)
    return figure


def loss_figure(run: str, training: Stage) -> Figure:
    """Training loss of one network of a run against its steps."""
    figure = Figure(figsize=(7, 3), dpi=100, facecolor="white", layout="constrained")
    axes = figure.subplots()
    history = read_history(training)
    axes.plot(history["step"], history["loss"], color=RULE, linewidth=1)
    axes.plot(history["step"], smooth(history["loss"]), color=OURS_COLOR, linewidth=1.6)
    axes.set_title(f"{run}, {training.name}: training loss and its running mean", size=10, color=INK, loc="left")
    _plain(axes, "optimizer steps", "loss")
    return figure


def learning_curves(results: Results, experiments: tuple[str, ...]) -> Figure:
    """Left: the U-Net's training loss over all iterations. Right: mIoU after each of them.

    Where there are several seeds a line is their mean, in a band of one standard deviation to each side.
    """
    figure = Figure(figsize=(12.6, 3.9), dpi=CHART_DPI, facecolor="white", layout="constrained")
    loss, miou = figure.subplots(1, 2)
    for curve in loss_curves(results, experiments, "unet"):
        _draw_curve(loss, curve, linewidth=1.3)
        for end in curve.breaks:
            loss.axvline(end, color=RULE, linewidth=0.8, zorder=0)
    loss.set_title("training loss of the U-Net (running mean)", size=10, color=INK, loc="left")
    _plain(loss, "optimizer steps", "loss")
    for curve in miou_curves(results):
        _draw_curve(miou, curve, marker="o")
    miou.set_title(f"mIoU of the {results.rooms_shown().lower()} after each iteration", size=10, color=INK, loc="left")
    _plain(miou, "iteration", "mIoU (%)")
    miou.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (loss, miou):
        _legend_beside(axes)
    return figure


def convergence(runs: Iterable[Run]) -> Figure:
    """mIoU against seconds of training on one device: a line a recipe through the means of its lengths, a dot a run."""
    runs = list(runs)
    device = "one thread" if runs[0].device == CPU else runs[0].device
    recipes = list(dict.fromkeys(run.recipe for run in runs))
    between = LinearSegmentedColormap.from_list("recipes", [PAPER_COLOR, OURS_COLOR])  # the last recipe is blue
    colors = [to_hex(between(share)) for share in np.linspace(1, 0, len(recipes))[::-1]]
    figure = Figure(figsize=(10, 6.4), dpi=110, facecolor="white", layout="constrained")
    panels = figure.subplots(len(GOALS), 2)
    for row, (labels, goals) in zip(panels, GOALS.items(), strict=True):
        for column, (axes, judged) in enumerate(zip(row, ("points", "supervoxels"), strict=True)):
            for recipe, color in zip(recipes, colors, strict=True):
                own = [run for run in runs if (run.recipe, run.labels) == (recipe, labels)]
                seconds, scores = convergence_curve(own)
                axes.plot(seconds, scores[:, column], color=color, label=recipe, linewidth=1.6)
                axes.plot([run.seconds for run in own], [getattr(run, judged) for run in own], ".", color=color)
            axes.axhline(goals[column], color=MUTED, linewidth=0.8, linestyle="--")
            title = f"{labels}, mIoU on {'points' if column == 0 else 'super-voxels'} (%)"
            axes.set_title(title, size=10, color=INK, loc="left")
            _plain(axes, f"seconds of {device}", "")
            axes.set_xlim(left=0)
    panels[0, 0].legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def pseudo_label_curves(results: Results) -> Figure:
    """Coverage and accuracy of the labels trained on: initial labels at 0, pseudo labels after each iteration. How many
    of the new ones are right is shown by itself, since the clicks' own are always right and clutter has no class."""
    figure = Figure(figsize=(15.6, 3.7), dpi=CHART_DPI, facecolor="white", layout="constrained")
    panels = (
        ("covered_percent", "points with a label (%)", FURNITURE),
        ("accuracy_percent", "of these, labelled right (%)", FURNITURE),
        ("new_right_percent", "of the new ones, right; clutter is wrong (%)", WITHOUT_GRAPH),
    )
    for axes, (key, title, dashed) in zip(figure.subplots(1, 3), panels, strict=True):
        for curve in label_curves(results, key, dashed):
            _draw_curve(axes, curve, marker="o", label="" if curve.dashed else curve.title)
        axes.set_title(title, size=10, color=INK, loc="left")
        _plain(axes, "iteration (0: the clicks' super-voxels)", "")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_beside(axes)
    return figure


def sweep_figure(results: Results, swept: dict[str, list[SweepLine]]) -> Figure | None:
    """mIoU over the values of every parameter that is swept: above the U-Net alone, below the last mode, between them
    the relation net alone where there is one; no mode that the parameter does not touch. One that was measured at its
    first value alone, which is that of the main experiment, has no panel; None without any."""
    measured = {name: [line for line in lines if line.last or line.control] for name, lines in swept.items()}
    measured = {name: lines for name, lines in measured.items() if len({line.value for line in lines}) > 1}
    if not measured:
        return None
    shown = {name: _shown_modes(lines) for name, lines in measured.items()}
    rows = in_order_of_modes(mode for modes in shown.values() for mode in modes)
    figure = Figure(
        figsize=(4.4 * len(measured) + 1.2, 3.1 * len(rows)), dpi=CHART_DPI, facecolor="white", layout="constrained"
    )
    panels = figure.subplots(len(rows), len(measured), squeeze=False, sharey="row")
    for column, (name, lines) in zip(panels.T, measured.items(), strict=True):
        for axes, mode in zip(column, rows, strict=True):
            if mode not in shown[name]:
                axes.set_axis_off()
                continue
            for curve in sweep_curves(results, lines, mode):
                _draw_curve(axes, curve, marker="o")
            axes.set_title(f"{MODES.get(mode, mode)}, mIoU (%)", size=10, color=INK, loc="left")
            _plain(axes, SWEPT.get(name, name), "")
            values = sorted({line.value for line in lines})
            axes.set_xticks(values, [f"{value:g}" for value in values])
    _legend_beside(next(axes for axes in panels[:, -1] if axes.axison))
    return figure


def _shown_modes(lines: list[SweepLine]) -> list[str]:
    """Of the modes of a curve, those that have a panel."""
    found: dict[str, set[tuple]] = {}
    for line in lines:
        sides = (line.first, line.control, line.ours)
        found.setdefault(line.mode, set()).add(tuple(side and tuple(side.by_seed.items()) for side in sides))
    modes = [mode for mode, values in found.items() if len(values) > 1] or list(found)
    return [mode for mode in modes if mode in (modes[0], "relation", modes[-1])]


def prototype_similarity(results: Results, label_set: LabelSet) -> Figure | None:
    """Cosine similarity of the prototypes of every two classes, after the last iteration; None without a relation net.

    Off the diagonal high values name the classes that the relation net cannot keep apart.
    """
    stage = results.find(results.main, f"relation_{results.iterations_of(results.main)}")
    if stage is None or "weights.safetensors" not in stage.files:
        return None
    prototypes = weights_of(stage)["prototypes"].double().numpy()  # [C, D], unit rows
    figure = Figure(figsize=(7.4, 6.4), dpi=CHART_DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(prototypes @ prototypes.T, vmin=-1, vmax=1, cmap="PuOr_r")
    places = range(len(label_set.names))
    axes.set_xticks(places, label_set.names, rotation=90, size=8)
    axes.set_yticks(places, label_set.names, size=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")
    return figure


def _draw_curve(
    axes: Axes, curve: Curve, linewidth: float = 1.6, marker: str | None = None, label: str | None = None
) -> None:
    """The mean of the seeds, and one standard deviation to each side as a band."""
    label = curve.title if label is None else label or "_unnamed"
    style = {"linestyle": "--" if curve.dashed else "-", "linewidth": linewidth, "marker": marker, "markersize": 4}
    axes.plot(curve.x, curve.mean, color=curve.color, label=label, **style)
    if curve.deviation is not None:
        low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
        axes.fill_between(curve.x, low, high, color=curve.color, alpha=0.18, linewidth=0)


def last_prediction(results: Results, experiment: str, room: Scene) -> np.ndarray:
    """Classes int16 [N] that the last evaluation of an experiment predicts of a room, in its ``last_mode``."""
    stage = results.last_evaluation(experiment)
    return results.prediction(experiment, stage, room)[last_mode(results.find(experiment, stage))]


def room_strip(results: Results, room: Scene, experiment: str = "otoc") -> Image.Image:
    """One room for the gallery: colours, truth, prediction and errors side by side."""
    view = room_view(room, *PANEL)
    prediction = last_prediction(results, experiment, room)
    colors = [room.colors, room.label_set.paint(prediction)]
    if room.labels is not None:
        colors[1:] = [room.label_set.paint(room.labels), colors[1], error_colors(room.labels, prediction)]
    pictures = [view.paint(color) for color in colors]
    strip = Image.fromarray(np.concatenate(pictures, axis=1))
    return strip.resize((strip.width * 3 // 5, strip.height * 3 // 5), Image.Resampling.LANCZOS)


def _covered(scene: Scene, labels: np.ndarray) -> str:
    statistics = label_statistics([scene], {scene.name: labels})
    right = "" if scene.labels is None else f", {percent(statistics['accuracy_percent'])} right"
    none = 100 * np.mean(labels == NO_CLASS)
    refused = f", {percent(none)} of no class" if none else ""
    return f"{percent(statistics['covered_percent'])} covered{right}{refused}"
