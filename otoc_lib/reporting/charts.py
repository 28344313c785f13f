"""What the interactive charts of the report show, as plain data ready for JSON; report.js draws it.

A line is ``{"name", "color", "dash", "x", "y"}``. Whatever was not run is left out.
"""

from pathlib import Path
from typing import Any

import numpy as np

from otoc_lib.reporting import paper
from otoc_lib.reporting.calibration import read_calibration
from otoc_lib.reporting.figures import TSNE_PANELS, VARIANT_COLORS, smooth
from otoc_lib.reporting.runs import read_arrays, read_history, read_json, read_metrics, read_statistics
from otoc_lib.reporting.tables import VARIANT_NAMES, VARIANTS, MethodRow, table3_measurements
from otoc_lib.scene import Scene
from otoc_lib.store import find_stage

OTHER_COLORS = ("#7b61c9", "#c2577f", "#5d8a3c", "#8a6d3b")
LINE_POINTS = 300  # of a training curve: more than a screen shows
PLAN_POINTS = 500  # of the floor plan that says where in its room a super-voxel lies

Line = dict[str, Any]


def line(name: str, x: list, y: list, color: str, dash: bool = False) -> Line:
    """One line of a chart; values that are not finite are left out."""
    known = np.isfinite(np.asarray(y, dtype=np.float64))
    return {
        "name": name,
        "color": color,
        "dash": dash,
        "x": [_short(value) for value in np.asarray(x)[known]],
        "y": [_short(value) for value in np.asarray(y, dtype=np.float64)[known]],
    }


def _short(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(f"{value:.5g}")


def loss_lines(runs: Path, profile: str, iterations: int, experiments: tuple[str, ...], network: str) -> list[Line]:
    """Running mean of the training loss of "unet" or "relation" over the steps of all iterations, an experiment each.

    An experiment whose first iteration is shared starts with the shared one's.
    """
    columns = {experiment: column for column, (experiment, _) in reversed(VARIANTS.items())}
    other = iter(OTHER_COLORS * len(experiments))
    lines = []
    for experiment in experiments:
        steps, values, start = [], [], 0
        for k in range(1, iterations + 1):
            history = read_history(runs, profile, experiment, f"{network}_{k}")
            if history is not None:
                steps.append(history["step"] + start)
                values.append(smooth(history["loss"]))
                start = steps[-1][-1]
        if steps:
            x, y = np.concatenate(steps), np.concatenate(values)
            kept = np.unique(np.linspace(0, len(x) - 1, min(LINE_POINTS, len(x))).astype(int))
            color = VARIANT_COLORS[columns[experiment]] if experiment in columns else next(other)
            lines.append(line(experiment, x[kept], y[kept], color))
    return lines


def miou_lines(runs: Path, profile: str, iterations: int, supervised: MethodRow) -> list[Line]:
    """Validation mIoU (%) of every variant after each iteration, and full supervision across."""
    lines = []
    for column, results in table3_measurements(runs, profile, iterations).items():
        done = [(k, result.mean) for k, result in enumerate(results, start=1) if result]
        if done:
            lines.append(line(VARIANT_NAMES[column], *zip(*done, strict=True), VARIANT_COLORS[column]))
    whole = supervised.measure(runs, profile, iterations)
    if whole and lines:
        lines.append(line("fully supervised", [1, iterations], [whole.mean] * 2, "#7a8699", dash=True))
    return lines


def pseudo_label_lines(runs: Path, profile: str, iterations: int, main: str, key: str) -> list[Line]:
    """``key`` of statistics.json (%) over the iterations, from the clicks' super-voxels at 0; dashed: furniture alone.

    main: the experiment of the whole method, "otoc" or "s3dis_otoc".
    """
    experiments = {column: VARIANTS[column][0] for column in paper.TABLE3} | {"unet_rel_gp": main}
    lines = []
    for column, experiment in experiments.items():
        names = ["clicks", *(f"pseudo_{k}" for k in range(1, iterations + 1))]
        found = [(k, read_statistics(runs, profile, experiment, name)) for k, name in enumerate(names)]
        found = [(k, statistics) for k, statistics in found if statistics]
        if len(found) < 2:
            continue
        for prefix, suffix in (("", ""), ("furniture_", ", furniture")):
            known = [(k, s[prefix + key]) for k, s in found if s.get(prefix + key) is not None]
            if known:
                title = VARIANT_NAMES[column] + suffix
                lines.append(line(title, *zip(*known, strict=True), VARIANT_COLORS[column], dash=bool(prefix)))
    return lines


def calibration_rows(
    runs: Path, profile: str, iterations: int, rows: tuple[MethodRow, ...], scenes: list[Scene]
) -> list[dict[str, Any]]:
    """Of every row whose confidences were saved: its reliability diagram (a line, %) and its expected error (%)."""
    found = []
    for method in rows:
        result = read_calibration(runs, profile, method.experiment, method.stage(iterations), method.mode, scenes)
        if result is None:
            continue
        share = 100 * result.count / result.count.sum()
        color = (*VARIANT_COLORS.values(), *OTHER_COLORS)[len(found) % 9]
        diagram = line(method.setting, 100 * result.confidence, 100 * result.accuracy, color)
        found.append(
            {
                "line": {**diagram, "shares": share[result.count > 0].round(2).tolist()},
                "error": 100 * result.error,
                "confidence": float(np.nansum(result.confidence * share)),
                "accuracy": float(np.nansum(result.accuracy * share)),
            }
        )
    return found


def confusion_matrices(runs: Path, profile: str, iterations: int, rows: tuple[MethodRow, ...]) -> list[dict[str, Any]]:
    """Of the rows that were run: {name, points}, points by true (first index) and predicted class, validation rooms."""
    found = []
    for method in rows:
        metrics = read_metrics(runs, profile, method.experiment, method.stage(iterations))
        modes = metrics["splits"].get("val", {}).get("modes", {}) if metrics else {}
        if method.mode in modes:
            found.append({"name": method.setting, "points": modes[method.mode]["confusion"]})
    return found


def tsne_points(runs: Path, profile: str, experiment: str, scenes: list[Scene]) -> dict[str, Any] | None:
    """The super-voxels of Figure 6 with their rooms' floor plans; None if that stage is missing.

    Returns ``panels`` ({name, silhouette, x, y}, coordinates 0..1000), ``classes``, ``rooms`` (index per point), ``at``
    ([x, y, z] per point: metres from the room's corner, None without the room) and ``plans`` ({name, size, x, y}).
    """
    stage = find_stage(runs, profile, experiment, "tsne")
    if stage is None:
        return None
    arrays, summary = read_arrays(stage / "tsne.safetensors"), read_json(stage / "tsne.json")
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
