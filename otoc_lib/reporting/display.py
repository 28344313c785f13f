"""What the notebooks show after each step: figures as small PNGs, tables as Markdown."""

from IPython.display import Image, Markdown
from matplotlib.figure import Figure

from otoc_lib.reporting.figures import percent, to_png
from otoc_lib.reporting.runs import read_json
from otoc_lib.reporting.tables import Table, to_markdown
from otoc_lib.self_training import Iteration
from otoc_lib.store import Stage


def show(figure: Figure) -> Image:
    """The figure as a picture of 256 colours, so that executed notebooks stay small."""
    return Image(to_png(figure))


def show_table(table: Table) -> Markdown:
    return Markdown(to_markdown(table))


def label_table(stages: dict[str, Stage]) -> Markdown:
    """Coverage and accuracy of the labels of stages ``clicks`` and ``pseudo_k``; name of the row -> stage."""
    keys = ("covered_percent", "accuracy_percent", "furniture_covered_percent", "furniture_accuracy_percent")
    columns = ("labels", "points labelled", "of these right", "furniture labelled", "of these right")
    rows = []
    for name, stage in stages.items():
        statistics = read_json(stage.path / "statistics.json")
        rows.append([name, *(percent(statistics[key]) for key in keys)])
    return _markdown(columns, rows)


def miou_table(evaluations: dict[str, Stage]) -> Markdown:
    """mIoU of evaluation stages by split and mode of inference; name of the row -> stage."""
    rows, modes = [], ("point", "sv", "full")
    for name, stage in evaluations.items():
        for split, found in read_json(stage.path / "metrics.json")["splits"].items():
            values = (found["modes"].get(mode) for mode in modes)
            scores = ["-" if value is None else f"{100 * value['miou']:.2f}" for value in values]
            rows.append([name, split, str(len(found["rooms"])), *scores])
    columns = ("mIoU (%) of", "split", "rooms", "U-Net alone", "super-voxel mean", "after propagation")
    return _markdown(columns, rows)


def class_table(evaluation: Stage, mode: str, split: str = "val") -> Markdown:
    """IoU of every class that the rooms of a split hold, the best first."""
    metrics = read_json(evaluation.path / "metrics.json")
    values = zip(metrics["splits"][split]["modes"][mode]["iou"], metrics["classes"], strict=True)
    present = sorted(((value, name) for value, name in values if value is not None), reverse=True)
    return _markdown(("class", "IoU (%)"), [[name, f"{100 * value:.1f}"] for value, name in present])


def iteration_table(iterations: list[Iteration]) -> Markdown:
    """mIoU after every iteration of Algorithm 1, by split and mode."""
    return miou_table({f"iteration {done.number}": done.evaluation for done in iterations})


def _markdown(columns: tuple[str, ...], rows: list[list[str]]) -> Markdown:
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return Markdown("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
