"""What the page of curves and the t-SNE page show, as plain data ready for JSON; report.js draws it.

A line is ``{"name", "color", "dash", "x", "y"}``, and where several seeds were run ``{"seeds", "deviation", "low",
"high"}``: their number, and one standard deviation, alone and to each side of the mean. Whatever was not run is left
out.
"""

from typing import Any

import numpy as np

from otoc_lib.calibration import BINS, read_calibration
from otoc_lib.experiments import SHOWN, Row
from otoc_lib.labels import LabelSet
from otoc_lib.reporting import paper
from otoc_lib.reporting.curves import (
    WITHOUT_GRAPH,
    Curve,
    experiments_of,
    label_curves,
    label_statistics_of,
    loss_curves,
    miou_curves,
    relabelling,
)
from otoc_lib.reporting.figures import TSNE_PANELS
from otoc_lib.reporting.row_colors import before_self_training, row_color
from otoc_lib.reporting.runs import MODES, Results, Spread, read_arrays, read_json
from otoc_lib.reporting.tables import VARIANT_NAMES, stale_text
from otoc_lib.scene import Scene

LINE_POINTS = 300  # of a training curve: more than a screen shows
# Of statistics.json, with their headings: what the table of pseudo labels shows.
LABEL_COLUMNS = {
    "covered": "Points labelled",
    "accuracy": "of these right",
    "furniture_covered": "Furniture labelled",
    "furniture_accuracy": "of these right",
    "new": "New: beyond the clicks",
    "new_right": "of these right",
    "new_clutter": "of these clutter",
    "before_new": "New without propagation",
    "before_new_right": "of these right",
    "graph_changed": "Changed by propagation",
    "graph_mended": "of these for the better",
    "graph_spoilt": "of these for the worse",
}
PLAN_POINTS = 500  # of the floor plan that says where in its room a super-voxel lies

Line = dict[str, Any]


def page_of_curves(results: Results, scenes: list[Scene], label_set: LabelSet) -> dict[str, Any]:
    """Everything on the page: charts, and the tables of their numbers.

    scenes: the validation rooms.
    """
    rows = (*SHOWN[results.table], *results.further(results.table))
    experiments = experiments_of(results)
    calibration = calibration_rows(results, (*results.rows(results.table), *_further_modes(results)))
    iteration = {"xlabel": "iteration", "whole": True}
    steps = {"xlabel": "optimizer steps", "xname": "step"}
    shown: dict[str, dict[str, Any]] = {
        "loss": {"lines": loss_curves(results, experiments, "unet"), **steps},
        "relation": {"lines": loss_curves(results, experiments, "relation"), **steps},
        "miou": {"lines": miou_curves(results), **iteration},
        "covered": {"lines": label_curves(results, "covered_percent"), **iteration},
        "right": {"lines": label_curves(results, "accuracy_percent"), **iteration},
        "new": {"lines": label_curves(results, "new_percent", WITHOUT_GRAPH), **iteration},
        "new_right": {"lines": label_curves(results, "new_right_percent", WITHOUT_GRAPH), **iteration},
    }
    return {
        "charts": {
            **{name: {**chart, "lines": [line(curve) for curve in chart["lines"]]} for name, chart in shown.items()},
            "calibration": {
                "lines": [row["line"] for row in calibration],
                "xlabel": "confidence (%)",
                "xrange": [0, 100],
                "yrange": [0, 100],
                "diagonal": True,
                "square": True,
            },
            "confusion": {"names": label_set.names, "matrices": confusion_matrices(results, rows)},
        },
        "calibration": calibration,
        "bins": BINS,
        "pseudo": pseudo_rows(results),
        "label_columns": list(LABEL_COLUMNS.values()),
        "per_class": per_class(results, rows, label_set.colors),
    }


def line(curve: Curve) -> Line:
    """One line of a chart; values that are not finite are left out, and steps where there are too many."""
    kept = np.flatnonzero(np.isfinite(curve.mean))
    kept = kept[np.unique(np.linspace(0, len(kept) - 1, min(LINE_POINTS, len(kept))).astype(int))]
    found = {
        "name": curve.name,
        "color": curve.color,
        "dash": curve.dashed,
        "x": _short(curve.x[kept]),
        "y": _short(curve.mean[kept]),
    }
    if curve.deviation is None:
        return found
    mean, deviation = curve.mean[kept], np.nan_to_num(curve.deviation[kept])
    ends = {"low": _short(mean - deviation), "high": _short(mean + deviation)}
    return {**found, "seeds": curve.seeds, "deviation": _short(deviation), **ends}


def _short(values: np.ndarray) -> list[float | int]:
    return [int(value) if float(value).is_integer() else float(f"{value:.5g}") for value in values]


def _further_modes(results: Results) -> tuple[Row, ...]:
    """What the last networks of the main experiment say before propagation, each by itself and both together."""
    return tuple(
        Row(mode, f"Last iteration, {MODES[mode]}", "", results.main, "last", mode) for mode in ("relation", "product")
    )


def calibration_rows(results: Results, rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Of every row that was run: its reliability diagram (a line, %) and its expected error (%).

    Lines of the first of several iterations are dashed.
    """
    found = []
    for row in rows:
        stage = results.find(row.experiment, results.stage_of(row))
        result = read_calibration(stage, row.mode, results.split) if stage else None
        if result is None:
            continue
        share = 100 * result.count / result.count.sum()
        color, dashed = row_color(results, row.experiment, row.mode), before_self_training(results, row)
        diagram = line(Curve(row.setting, color, 100 * result.confidence, 100 * result.accuracy, dashed=dashed))
        found.append(
            {
                "line": {**diagram, "shares": share[result.count > 0].round(2).tolist()},
                "error": 100 * result.error,
                "confidence": float(np.nansum(result.confidence * share)),
                "accuracy": float(np.nansum(result.accuracy * share)),
            }
        )
    return found


def confusion_matrices(results: Results, rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Of the rows that were run: {name, points}, points by true (first index) and predicted class, validation rooms."""
    return [{"name": row.setting, "points": found["confusion"]} for row, found, _ in _measured(results, rows)]


def per_class(results: Results, rows: tuple[Row, ...], colors: tuple) -> dict[str, Any] | None:
    """IoU of every class on the validation rooms, one column for each row that was run."""
    measured = _measured(results, rows)
    if not measured:
        return None
    points = np.array(measured[-1][1]["confusion"]).sum(axis=1)
    columns = [[None if v is None else 100 * v for v in found["iou"]] for _, found, _ in measured]
    return {
        "columns": [row.setting for row, *_ in measured],
        "rows": [
            {
                "name": name,
                "color": colors[c],
                "share": 100 * points[c] / points.sum(),
                "values": [column[c] for column in columns],
            }
            for c, name in enumerate(measured[-1][2])
        ],
    }


def _measured(results: Results, rows: tuple[Row, ...]) -> list[tuple[Row, dict[str, Any], list[str]]]:
    """The rows that were run, with what metrics.json says of their mode on the shown split, and the classes' names."""
    found = []
    for row in rows:
        metrics = results.metrics(row.experiment, results.stage_of(row))
        modes = metrics["splits"].get(results.split, {}).get("modes", {}) if metrics else {}
        if row.mode in modes:
            found.append((row, modes[row.mode], metrics["classes"]))
    return found


def pseudo_rows(results: Results) -> list[dict[str, Any]]:
    """Label statistics of every variant, and of further experiments that relabel: the expanded clicks, then after each
    iteration."""
    statistics_of = {title: label_statistics_of(results, name) for title, name in relabelling(results).items()}
    variants = {VARIANT_NAMES[column] for column in paper.TABLE3}
    found = {title: known for title, known in statistics_of.items() if title in variants or len(known) > 1}
    return [
        {
            "variant": title + stale_text(statistics["covered_percent"]),
            "iteration": k,
            "cells": _label_cells(statistics),
        }
        for title, by_iteration in found.items()
        for k, statistics in by_iteration.items()
    ]


def _label_cells(statistics: dict[str, Spread]) -> list[str]:
    shares = [_with_deviation(statistics.get(f"{key}_percent"), 1) for key in LABEL_COLUMNS]
    return [
        *(f"{share} %" if share != "–" else share for share in shares),
        _with_deviation(statistics.get("mean_confidence"), 3),
    ]


def _with_deviation(value: Spread | None, decimals: int) -> str:
    if value is None:
        return "–"
    return f"{value.mean:.{decimals}f}" + ("" if value.std is None else f" ± {value.std:.{decimals}f}")


def tsne_points(results: Results, scenes: list[Scene]) -> dict[str, Any] | None:
    """The super-voxels of Figure 6 with their rooms' floor plans; None if that stage is missing.

    Returns ``panels`` ({name, silhouette, x, y}, coordinates 0..1000), ``classes``, ``rooms`` (index per point), ``at``
    ([x, y, z] per point: metres from the room's corner, None without the room) and ``plans`` ({name, size, x, y}).
    """
    stage = results.find(results.main, "tsne")
    if stage is None:
        return None
    arrays, summary = read_arrays(stage, "tsne.safetensors"), read_json(stage, "tsne.json")
    panels = []
    for name, title in TSNE_PANELS.items():
        plane = arrays[name].astype(np.float64)
        plane = 1000 * (plane - plane.min(axis=0)) / np.maximum(np.ptp(plane, axis=0), 1e-9)
        x, y = np.rint(plane).astype(int).T.tolist()
        panels.append({"name": title, "silhouette": summary["silhouette"][name], "x": x, "y": y})
    by_name = {scene.name: scene for scene in scenes}
    plans, places = [], np.full((len(arrays["room"]), 3), np.nan)
    for r, name in enumerate(summary["rooms"]):
        scene = by_name.get(name)
        chosen = np.flatnonzero(arrays["room"] == r)
        if scene is None or (arrays["supervoxel"][chosen] >= scene.num_supervoxels).any():
            plans.append({"name": name, "size": [0, 0], "x": [], "y": []})
            continue
        low, high = scene.coords.min(axis=0), scene.coords.max(axis=0)
        places[chosen] = scene.centroids()[arrays["supervoxel"][chosen]] - low
        plan = np.rint(100 * (scene.coords - low)[:: max(1, scene.num_points // PLAN_POINTS)]).astype(int)  # cm
        x, y = plan[:, :2].T.tolist()
        plans.append({"name": name, "size": np.rint(100 * (high - low)[:2]).astype(int).tolist(), "x": x, "y": y})
    at = [None if np.isnan(place[0]) else [round(float(value), 2) for value in place] for place in places]
    return {
        "panels": panels,
        "classes": arrays["class"].tolist(),
        "rooms": arrays["room"].tolist(),
        "at": at,
        "plans": plans,
    }
