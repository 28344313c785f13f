"""reports/<profile>/index.html: tables, figures and their origin, on one page that needs no network."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from otoc_lib.errors import OtocError
from otoc_lib.reporting import figures
from otoc_lib.reporting.findings import findings
from otoc_lib.reporting.runs import Measurement, finished_stages, read_metrics, read_statistics
from otoc_lib.reporting.tables import (
    BASELINE,
    METHOD_ROWS,
    NOT_RUN,
    S3DIS_ROWS,
    TABLE2_ROWS,
    TABLE4_ROWS,
    VARIANT_NAMES,
    VARIANTS,
    MethodRow,
    Table,
    make_tables,
    with_deviation,
    write_table,
)
from otoc_lib.scene import Scene
from otoc_lib.store import write_aside

SIMULATED = ("smoke", "rooms")  # profiles that run on the bundled rooms
AREAS_NAME = "simulated areas, Area 5"
DATA_NAMES = {"scannet": "ScanNet-v2, validation", "s3dis": "S3DIS, Area 5", "own": "own scans, validation"}
VARIANT_EXPERIMENTS = ("unet", "unet_gp")
GALLERY = 24  # rooms shown at most, the worst first


@dataclass(frozen=True)
class Picture:
    """A figure of the page: file name without suffix, title and caption."""

    name: str
    title: str
    caption: str


def build_report(
    runs: Path,
    reports: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    params: Path | None = None,
) -> Path:
    """Write tables, figures and index.html of a profile from its finished stages; whatever is missing is "not run".

    Args:
        runs, reports: the folders that hold one folder per profile.
        scenes_by_split: the rooms that were trained on ("train") and evaluated ("val", "val_novel").
        iterations: the last iteration of Algorithm 1.
        params: the folder of params files that the page links to; no links if None.

    Returns:
        The path of index.html.
    """
    if not (runs / profile).is_dir():
        raise OtocError(f"{runs / profile}: nothing has been run for this profile; run its notebooks first")
    folder = reports / profile
    # A profile of S3DIS alone has no experiment "otoc": then Table 4 is what its page is about.
    rows, all_rows = (METHOD_ROWS, TABLE2_ROWS)
    if not (runs / profile / "otoc").is_dir():
        rows, all_rows = (S3DIS_ROWS, TABLE4_ROWS)
    tables = make_tables(runs, profile, iterations)
    for table in tables:
        write_table(table, folder / "tables")
    pictures = draw_figures(runs, folder / "figures", profile, scenes_by_split, iterations, rows)
    gallery = draw_gallery(
        runs, folder / "figures" / "rooms", profile, scenes_by_split, iterations, experiment_of(rows, "otoc_full")
    )
    stages = list(finished_stages(runs, profile))
    page = _template().render(
        profile=profile,
        simulated=profile in SIMULATED,
        data_name=data_name(profile),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cards=_cards(runs, profile, iterations, all_rows),
        findings=findings(runs, profile, iterations, all_rows),
        findings_s3dis=[] if rows is S3DIS_ROWS else _findings_if_run(runs, profile, iterations),
        tables=[_table_context(table) for table in tables],
        runs=_run_rows(folder, profile, params, stages),
        pictures=pictures,
        gallery=gallery,
        rooms={split: len(scenes) for split, scenes in scenes_by_split.items()},
        per_class=_per_class(runs, profile, iterations, scenes_by_split["train"][0].label_set.colors, rows),
        pseudo=_pseudo_rows(runs, profile, iterations),
        stages=stages,
        total_minutes=sum(stage["seconds"] for stage in stages) / 60,
        versions=stages[-1]["versions"] if stages else {},
    )
    with write_aside(folder / "index.html") as aside:
        aside.write_text(page, encoding="utf-8")
    return folder / "index.html"


def experiment_of(rows: tuple[MethodRow, ...], row: str) -> str:
    return next(method.experiment for method in rows if method.row == row)


def _findings_if_run(runs: Path, profile: str, iterations: int) -> list[str]:
    """What Table 4 shows, where any of it was run."""
    run = _measured(runs, profile, iterations, TABLE4_ROWS)
    return findings(runs, profile, iterations, TABLE4_ROWS) if run else []


def _measured(runs: Path, profile: str, iterations: int, rows: tuple[MethodRow, ...]) -> dict[str, Measurement]:
    """The results of those of the rows that were run, by row."""
    return {m.row: result for m in rows if (result := m.measure(runs, profile, iterations))}


def data_name(profile: str) -> str:
    return "simulated rooms, validation" if profile in SIMULATED else DATA_NAMES.get(profile, f"{profile}, validation")


def draw_figures(
    runs: Path,
    folder: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    method_rows: tuple[MethodRow, ...] = METHOD_ROWS,
) -> list[Picture]:
    """Draw every figure whose stages are finished into ``folder``; returns what was drawn, in the page's order.

    method_rows: METHOD_ROWS, or S3DIS_ROWS; they name the experiments to show.
    """
    train, last = scenes_by_split["train"], f"evaluate_{iterations}"
    own, supervised = experiment_of(method_rows, "otoc_full"), experiment_of(method_rows, "supervised")
    places = best_median_worst(runs, profile, own, last, scenes_by_split.get("val", []))
    clicks = figures.read_clicks_of(runs, profile, own, train)
    ours = {data_name(profile): _measured(runs, profile, iterations, method_rows)}
    if method_rows is METHOD_ROWS and (areas := _measured(runs, profile, iterations, S3DIS_ROWS)):
        ours[AREAS_NAME] = areas
    # The training rooms with the widest choice of classes show most.
    shown = sorted(train, key=lambda room: 0 if room.labels is None else -len(np.unique(room.labels)))[:2]
    pictures = []

    def add(figure: Figure | None, name: str, title: str, caption: str) -> None:
        if figure is not None:
            figures.save(figure, folder, name)
            pictures.append(Picture(name, title, caption))

    add(
        figures.figure1(ours),
        "figure1",
        "Figure 1. mIoU by annotation",
        "Above the paper's bars on ScanNet and S3DIS; below ours on other rooms: heights compare only within a panel. "
        "Ours: 1T1C, 1T3C and the super-voxel mean are judged on super-voxels, the other bars are U-Nets alone.",
    )
    if clicks and places:
        add(
            figures.figure2(
                runs, profile, iterations, shown[0], clicks[shown[0].name], places.get("median", places["best"]), own
            ),
            "figure2",
            "Figure 2. From one click per object to labels",
            "Above, a training room: the clicks, the super-voxels they fall into, the labels that self-training makes "
            "of them. Below, the validation room of median mIoU (the best of two), whose labels were never used.",
        )
    if clicks:
        add(
            figures.figure4(runs, profile, iterations, shown, clicks, own),
            "figure4",
            "Figure 4. Pseudo labels by iteration",
            "Grey is unlabelled. Coverage is the share of points with a label, then the share of those that is right.",
        )
    if places:
        methods = {
            "One Thing One Click": (own, last, "full"),
            "fully supervised": (supervised, BASELINE, "point"),
        }
        add(
            figures.figure5(runs, profile, places, methods),
            "figure5",
            "Figure 5. Validation rooms",
            "The best, median and worst room by mIoU of One Thing One Click. Wrong points are red.",
        )
    add(
        figures.figure6(runs, profile, train[0].label_set, own),
        "figure6",
        "Figure 6. t-SNE of super-voxel features",
        "Each mark is a super-voxel of a validation room. The silhouette score says how well its class keeps together "
        "in the plane, from -1 to 1.",
    )
    add(
        figures.learning_curves(runs, profile, iterations, (*_experiments(method_rows), *VARIANT_EXPERIMENTS)),
        "learning_curves",
        "Learning curves",
        "Vertical lines separate the iterations. The control trains on the clicks alone for as many steps, with the "
        "same restarts.",
    )
    add(
        figures.pseudo_label_curves(runs, profile, iterations),
        "pseudo_labels",
        "Pseudo labels",
        "How many points carry a label, and how many of these labels are right. Dashed: without wall and floor.",
    )
    return pictures


def rooms_by_score(
    runs: Path, profile: str, experiment: str, stage_name: str, split: str, scenes: list[Scene]
) -> list[tuple[Scene, float]]:
    """Rooms of a split that an evaluation stage holds, with their mIoU in percent by its last mode, the worst first.

    Rooms without labels have no mIoU: they come first, with NaN.
    """
    metrics = read_metrics(runs, profile, experiment, stage_name)
    per_room = metrics["splits"].get(split, {}).get("per_room", {}) if metrics else {}
    scored = []
    for scene in scenes:
        if scene.name in per_room:
            modes = per_room[scene.name]
            scored.append((scene, 100 * modes.get("full", modes.get("point", np.nan))))
    return sorted(scored, key=lambda pair: -1.0 if np.isnan(pair[1]) else pair[1])


def best_median_worst(
    runs: Path, profile: str, experiment: str, stage_name: str, scenes: list[Scene], split: str = "val"
) -> dict[str, Scene]:
    """Three rooms that stand for an evaluation, two or one where there are no more; empty if it was not run."""
    scored = [scene for scene, _ in rooms_by_score(runs, profile, experiment, stage_name, split, scenes)]
    places = ("best",) if len(scored) == 1 else ("best", "worst") if len(scored) == 2 else ("best", "median", "worst")
    ranks = {"best": -1, "median": len(scored) // 2, "worst": 0}
    return {place: scored[ranks[place]] for place in places} if scored else {}


def draw_gallery(
    runs: Path,
    folder: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    experiment: str = "otoc",
) -> list[dict[str, Any]]:
    """One strip per validation room, the worst first; returns file, name, split and mIoU of each."""
    scored = [
        (score, split, room)
        for split, scenes in scenes_by_split.items()
        for room, score in rooms_by_score(runs, profile, experiment, f"evaluate_{iterations}", split, scenes)
    ]
    strips = []
    chosen = sorted(scored, key=lambda item: item[0])[:GALLERY]
    for score, split, room in tqdm(chosen, desc="room pictures", unit="room", mininterval=5.0):
        with write_aside(folder / f"{room.name}.jpg") as aside:
            strip = figures.room_strip(runs, profile, iterations, room, experiment)
            strip.save(aside, format="jpeg", quality=85, optimize=True)
        strips.append({"name": room.name, "split": split, "score": score})
    return strips


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html")


def _cards(runs: Path, profile: str, iterations: int, method_rows: tuple[MethodRow, ...]) -> list[dict[str, str]]:
    """The numbers at the top of the page: first those of U-Nets alone, then those on super-voxels."""
    names = {
        "otoc_dagger": "One Thing One Click†, U-Net alone",
        "otoc_control": "clicks only, as many steps, U-Net alone",
        "supervised": "fully supervised, U-Net alone",
        "otoc_full": "One Thing One Click, on super-voxels",
        "otoc_control_sv": "clicks only, as many steps, on super-voxels",
        "supervised_sv": "fully supervised, on super-voxels",
    }
    rows = {m.row: m.measure(runs, profile, iterations) for m in method_rows}
    return [
        {"label": label, "value": with_deviation(rows[row]), "seeds": _seeds(rows[row])} for row, label in names.items()
    ]


def _seeds(result: Measurement | None) -> str:
    if result is None:
        return ""
    counts = {"seed": len(result.by_seed), "room": result.rooms, "view": result.views}
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items())


def _table_context(table: Table) -> dict[str, Any]:
    methods = {"table2": TABLE2_ROWS, "table4": TABLE4_ROWS}.get(table.name, ())
    experiments = {m.row: m.experiment for m in methods}
    rows = [
        {
            "cells": cells,
            "run": experiments.get(key.split("@")[0], ""),
            "novel": "@" in key,
            "strong": key.split("@")[0] in ("otoc_full", "otoc3_full", "data_efficient_full"),
        }
        for key, cells in zip(table.keys, table.rows, strict=True)
    ]
    # Where nothing was run, the columns that describe our runs are empty: leave them out.
    run = table.name == "table3" or any(NOT_RUN not in row for row in table.rows)
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": table.columns if run else table.columns[:4],
        "linked": run and bool(experiments),
        "rows": rows,
    }


def _run_rows(folder: Path, profile: str, params: Path | None, stages: list[dict]) -> list[dict[str, Any]]:
    """For every experiment: its params file, the command that file opens with, executed notebooks, and the cost."""
    rows = []
    known = _experiments(TABLE2_ROWS), VARIANT_EXPERIMENTS, _experiments(TABLE4_ROWS)
    known = [name for names in known for name in names]
    repeated = sorted({stage["experiment"] for stage in stages} - set(known))
    for experiment in (*known, *repeated):
        own = [stage for stage in stages if stage["experiment"] == experiment]
        file = params / profile / f"{experiment}.yaml" if params else None
        executed = sorted((folder / "notebooks").glob(f"*.{experiment}.ipynb"))
        first = file.read_text(encoding="utf-8").split("\n", 1)[0] if file and file.is_file() else ""
        rows.append(
            {
                "experiment": experiment,
                "params": Path(os.path.relpath(file, folder)).as_posix() if file and file.is_file() else "",
                "notebooks": [f"notebooks/{path.name}" for path in executed],
                "command": first.removeprefix("#").strip() if first.startswith("#") else "",
                "minutes": sum(stage["seconds"] for stage in own) / 60,
                "finished": max((stage["finished"][:16].replace("T", " ") for stage in own), default=""),
                "devices": sorted({stage["device"] for stage in own}),
                "seeds": sorted({stage["seed"] for stage in own}),
            }
        )
    return rows


def _experiments(rows: tuple[MethodRow, ...]) -> tuple[str, ...]:
    """The experiments of some rows, each once, in their order."""
    return tuple(dict.fromkeys(method.experiment for method in rows))


def _per_class(
    runs: Path, profile: str, iterations: int, colors: tuple, method_rows: tuple[MethodRow, ...]
) -> dict[str, Any] | None:
    """IoU of every class on the validation rooms, one column for each row of Table 2 that was run."""
    columns, share, names = {}, None, []
    for method in method_rows:
        metrics = read_metrics(runs, profile, method.experiment, method.stage(iterations))
        modes = metrics["splits"].get("val", {}).get("modes", {}) if metrics else {}
        if method.mode in modes:
            names = metrics["classes"]
            confusion = np.array(modes[method.mode]["confusion"])
            share = 100 * confusion.sum(axis=1) / confusion.sum()
            columns[method.setting] = [None if v is None else 100 * v for v in modes[method.mode]["iou"]]
    if not columns:
        return None
    rows = [
        {
            "name": name,
            "color": colors[c],
            "share": share[c],
            "values": [column[c] for column in columns.values()],
        }
        for c, name in enumerate(names)
    ]
    return {"columns": list(columns), "rows": rows}


def _pseudo_rows(runs: Path, profile: str, iterations: int) -> list[dict[str, Any]]:
    """Label statistics of every variant: the expanded clicks, then after each iteration."""
    rows = []
    for column in ("unet", "unet_gp", "unet_rel_gp"):
        for k in range(iterations + 1):
            statistics = read_statistics(runs, profile, VARIANTS[column][0], f"pseudo_{k}" if k else "clicks")
            if statistics:
                rows.append({"variant": VARIANT_NAMES[column], "iteration": k, "statistics": statistics})
    return rows
