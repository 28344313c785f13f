"""What the notebooks show after each step: figures as small PNGs, tables as Markdown."""

from pathlib import Path

import numpy as np
from IPython.display import Image, Markdown
from matplotlib.figure import Figure

from otoc_lib.annotation.clicks import Clicks, count_classes, gaps
from otoc_lib.config import Config, project_root
from otoc_lib.datasets import cache, summary
from otoc_lib.labels import NO_CLASS, PAPER_CLICKS, LabelSet
from otoc_lib.methods.method import Iteration
from otoc_lib.methods.stages import SUBCLOUDS, clicks_of
from otoc_lib.reporting.figures import percent, to_png
from otoc_lib.reporting.runs import MODES, Results, in_order_of_modes, read_json
from otoc_lib.reporting.tables import Table, to_markdown
from otoc_lib.scene import Scene
from otoc_lib.store import Stage

ROOM_COUNTS = ("num_points", "num_supervoxels", "num_objects")


def show(figure: Figure | None) -> Image | Markdown:
    """The figure as a picture, smaller and in 256 colours, so that executed notebooks stay small."""
    return Markdown("Not run.") if figure is None else Image(to_png(figure, scale=0.7))


def show_table(table: Table) -> Markdown:
    return Markdown(to_markdown(table))


def show_tables(tables: list[Table]) -> Markdown:
    return Markdown("\n".join(map(to_markdown, tables)) or "Not run.")


def room_table(scenes_by_split: dict[str, list[Scene]]) -> Markdown:
    """How many rooms, points, super-voxels and objects each split holds."""
    rows = []
    for split, scenes in scenes_by_split.items():
        means = [np.mean([getattr(scene, name) for scene in scenes]) for name in ROOM_COUNTS]
        rows.append([split, str(len(scenes)), *(f"{mean:,.1f}" for mean in means)])
    return _markdown(("split", "rooms", "points a room", "super-voxels a room", "objects a room"), rows)


def scan_summaries(config: Config) -> Markdown:
    """What was found, decided and left out of each scan of one's own; of other datasets nothing is to be said."""
    found = [summary.from_json(noted) for noted in cache.summaries(config)]
    if not found:
        return bullets(["These rooms come in the layout of their dataset; `otoc doctor` checks their files."])
    tables = [_markdown((scan.file, ""), [list(row) for row in summary.rows(scan)]).data for scan in found]
    return Markdown("\n\n".join(tables))


def click_table(scenes: list[Scene], clicks: dict[str, Clicks]) -> Markdown:
    """Clicks a room, their share of the points, and beside them the paper's numbers on that dataset."""
    total, points = sum(len(clicks[scene.name]) for scene in scenes), sum(scene.num_points for scene in scenes)
    ours = [f"{total / len(scenes):.2f}", f"{100 * total / points:.3f} %"]
    negative = sum(int((clicks[scene.name].classes == NO_CLASS).sum()) for scene in scenes)
    told = [f"{negative / len(scenes):.2f}", f"{100 * negative / points:.3f} %"]
    published = PAPER_CLICKS.get(scenes[0].label_set.name)
    beside = [["of these, no class", *told]] if negative else []
    beside += [["paper", f"{published:.2f}", "under 0.02 %"]] if published else []
    return _markdown(("", "clicks a room", "share of the points"), [["here", *ours], *beside])


def class_clicks(annotation: Stage, scenes: list[Scene]) -> Markdown:
    """What stage ``clicks`` teaches of every class: clicks, rooms with one, points that they label; and what lacks.

    Where every point, or only a set of classes, is known, that is said instead.
    """
    if SUBCLOUDS in annotation.files:
        return bullets(["Sets of classes are known here, not points."])
    if "clicks.csv" not in annotation.files and "frames_used" not in read_json(annotation, "statistics.json"):
        return bullets(["Every point has its true label here; nobody clicks."])
    clicks = clicks_of(annotation, scenes)
    counts, points = count_classes(scenes, clicks), sum(scene.num_points for scene in scenes)
    rows = [[c.name, str(c.clicks), str(c.scenes), f"{100 * c.labelled / points:.2f} %"] for c in counts]
    clicked, labelled = sum(c.clicks for c in counts), sum(c.labelled for c in counts)
    rooms = sum(len(clicks[scene.name]) > 0 for scene in scenes)
    rows.append(["**all**", str(clicked), f"{rooms} of {len(scenes)}", f"{100 * labelled / points:.2f} %"])
    table = _markdown(("class", "clicks", "rooms with one", "points labelled"), rows).data
    said = (f"**{sentence[0].upper()}{sentence[1:]}.**" for sentence in gaps(scenes, clicks))
    return Markdown("\n\n".join([table, *said]))


def label_table(stages: dict[str, Stage]) -> Markdown:
    """Coverage and accuracy of the labels of stages ``clicks`` and ``pseudo_k``; name of the row -> stage."""
    keys = {
        "covered": "points labelled",
        "accuracy": "of these right",
        "furniture_covered": "furniture labelled",
        "furniture_accuracy": "of these right",
        "new": "new: beyond the clicks",
        "new_right": "of these right, clutter being wrong",
        "graph_changed": "changed by propagation",
        "graph_mended": "of these for the better",
        "graph_spoilt": "of these for the worse",
    }
    rows = []
    for name, stage in stages.items():
        statistics = read_json(stage, "statistics.json")
        rows.append([name, *(percent(statistics.get(f"{key}_percent")) for key in keys)])
    return _markdown(("labels", *keys.values()), rows)


def subcloud_table(stage: Stage) -> Markdown:
    """What the balls of a stage ``clicks`` tell, where classes are known without points."""
    statistics = read_json(stage, "statistics.json")
    shares = {
        "single_class": "of one class",
        "classless": "of none",
        "classes_missed": "classes in no ball",
        "in_balls": "points in a ball",
    }
    row = [f"{statistics[key]:.1f}" for key in ("balls_per_scene", "classes_per_ball")]
    row += [percent(statistics[f"{key}_percent"]) for key in shares]
    return _markdown(("", "balls a room", "classes a ball", *shares.values()), [["here", *row]])


def miou_table(evaluations: dict[str, Stage]) -> Markdown:
    """mIoU of evaluation stages by split and mode of inference; name of the row -> stage."""
    metrics = {name: read_json(stage, "metrics.json") for name, stage in evaluations.items()}
    modes = in_order_of_modes(mode for measured in metrics.values() for mode in measured["predicted"])
    rows = []
    for name, measured in metrics.items():
        for split, found in measured["splits"].items():
            values = (found["modes"].get(mode) for mode in modes)
            scores = ["-" if value is None else f"{100 * value['miou']:.2f}" for value in values]
            rows.append([name, split, str(len(found["rooms"])), *scores])
    return _markdown(("mIoU (%) of", "split", "rooms", *(MODES.get(mode, mode) for mode in modes)), rows)


def class_table(evaluation: Stage, mode: str, split: str) -> Markdown:
    """IoU of every class that the rooms of a split hold or are said to hold, the best first."""
    metrics = read_json(evaluation, "metrics.json")
    if mode not in metrics["splits"][split]["modes"]:
        return Markdown(f"The rooms of {split!r} have no labels to compare with.")
    values = zip(metrics["splits"][split]["modes"][mode]["iou"], metrics["classes"], strict=True)
    present = sorted(((value, name) for value, name in values if value is not None), reverse=True)
    return _markdown(("class", "IoU (%)"), [[name, f"{100 * value:.1f}"] for value, name in present])


def iteration_table(iterations: list[Iteration]) -> Markdown:
    """mIoU after every iteration of a method, by split and mode."""
    return miou_table({f"iteration {done.number}": done.evaluation for done in iterations})


def tsne_table(tsne: Stage, label_set: LabelSet) -> Markdown:
    """How many super-voxels of each class Figure 6 shows."""
    counts = read_json(tsne, "tsne.json")["supervoxels"]
    rows = [[name, str(count)] for name, count in zip(label_set.names, counts, strict=True)]
    return _markdown(("class", "super-voxels"), [*rows, ["all", str(sum(counts))]])


def stale_runs(results: Results) -> Markdown:
    """What is shown nowhere since it is stale, why, and what mends it."""
    said = [f"{run.run} ({', '.join(run.stages)}) is stale: {run.why}; {run.remedy}" for run in results.stale()]
    return bullets([*said, *([results.doubt] if results.doubt else [])] or ["Everything that was run is current."])


def bullets(sentences: list[str]) -> Markdown:
    return Markdown("\n".join(f"- {sentence}" for sentence in sentences))


def file_list(*stages: Stage | None) -> Markdown:
    """The folders of some stages with the number and size of their files, and whether this call made them."""
    rows = []
    for stage in stages:
        if stage is not None:
            rows.append([stage.name, *_folder(stage.path), "reused" if stage.reused else "made now"])
    return _markdown(("stage", "folder", "files", "size", ""), rows)


def written_files(folder: Path, *names: str) -> Markdown:
    """Sub-folders of a report with the number and size of their files."""
    return _markdown(("", "folder", "files", "size"), [[name, *_folder(folder / name)] for name in names])


def shown_path(path: Path) -> str:
    """The path from the project's root; as it is where it lies outside."""
    root = project_root()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _folder(path: Path) -> list[str]:
    files = [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    return [f"`{shown_path(path)}`", str(len(files)), f"{size:.2f} MB"]


def _markdown(columns: tuple[str, ...], rows: list[list[str]]) -> Markdown:
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return Markdown("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
