"""reports/<profile>/index.html: tables, figures and their origin, on a few pages that need no network.

Pages are Jinja2 templates in pages/; beside them lie report.css, report.js (charts), viewer.js and a script a room.
They open from a disk as from a server: nothing is fetched, scripts and pictures are relative links.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.reporting import charts, figures, viewer
from otoc_lib.reporting.calibration import BINS
from otoc_lib.reporting.compare import MODES as MODE_NAMES
from otoc_lib.reporting.compare import PAGES, RunComparison, compare_runs, template
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

SIMULATED = ("smoke", "rooms")  # profiles that run on the bundled rooms
AREAS_NAME = "simulated areas, Area 5"
DATA_NAMES = {"scannet": "ScanNet-v2, validation", "s3dis": "S3DIS, Area 5", "own": "own scans, validation"}
VARIANT_EXPERIMENTS = ("unet", "unet_gp")
GALLERY = 60  # rooms shown at most, the worst first
VIEWER_BYTES = 9_000_000  # of all rooms in the 3D viewer, so that a report can be mailed and committed
TRAINING_ROOMS = 4  # in the 3D viewer
FIGURES = {"figure1": "Figure 1", "figure2": "Figure 2", "figure4": "Figure 4", "figure5": "Figure 5"}
FIGURES |= {"figure6": "Figure 6", "learning_curves": "learning curves", "pseudo_labels": "pseudo labels"}
# Where a figure can be explored.
EXPLORE = {"figure2": "viewer", "figure4": "viewer", "figure5": "viewer", "figure6": "tsne"}
EXPLORE |= {"learning_curves": "curves", "pseudo_labels": "curves"}


@dataclass(frozen=True)
class Picture:
    """A figure of the page: file name without suffix, title, caption and its size in pixels."""

    name: str
    title: str
    caption: str
    width: int
    height: int


def build_report(
    runs: Path,
    reports: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    params: Path | None = None,
) -> Path:
    """Write tables, figures and pages of a profile from its finished stages; whatever is missing is "not run".

    Args:
        runs, reports: the folders that hold one folder per profile.
        scenes_by_split: the rooms that were trained on ("train") and evaluated ("val", "val_novel").
        iterations: the last iteration of Algorithm 1.
        params: the folder of params files that the pages link to; no links if None.

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
    own, label_set = experiment_of(rows, "otoc_full"), scenes_by_split["train"][0].label_set
    tables = make_tables(runs, profile, iterations)
    for table in tables:
        write_table(table, folder / "tables")
    pictures = draw_figures(runs, folder / "figures", profile, scenes_by_split, iterations, rows)
    gallery = draw_gallery(runs, folder / "figures" / "rooms", profile, scenes_by_split, iterations, own)
    bundled = bundle_rooms(runs, folder / "viewer", profile, scenes_by_split, iterations, rows)
    stages = list(finished_stages(runs, profile))
    evaluated = [scene for split, scenes in scenes_by_split.items() if split != "train" for scene in scenes]
    offered = sum(len(group["rooms"]) for group in bundled if group["scored"])
    tsne = charts.tsne_points(runs, profile, own, evaluated)

    pages = [("index", "Overview"), ("figures", "Figures"), ("curves", "Curves and classes")]
    pages += [("tsne", "t-SNE")] if tsne else []
    pages += [("viewer", "3D viewer")] if bundled else []
    pages += [("rooms", "Rooms")]
    comparison = _comparison_with_control(runs / profile, rows)
    pages += [("compare", "Beside the control")] if comparison else []
    contexts = {
        "index": _overview(runs, folder, profile, scenes_by_split, iterations, params, tables, stages, all_rows),
        "figures": _figures_page(pictures, dict(pages)),
        "curves": _curves_page(runs, profile, scenes_by_split, iterations, rows, all_rows),
        "tsne": {"tsne": tsne, "linked": [room["name"] for group in bundled for room in group["rooms"]]},
        "viewer": {"groups": bundled, "left_out": len(evaluated) - offered if offered else 0},
        "rooms": _rooms_page(gallery, evaluated, bundled),
        "compare": {"comparison": comparison, "modes": MODE_NAMES},
    }
    shared = {
        "profile": profile,
        "simulated": profile in SIMULATED,
        "names": label_set.names,
        "colors": label_set.colors,
        "pages": [{"file": f"{name}.html", "title": title} for name, title in pages],
        "inline_css": None,
    }
    for name in ("report.css", "report.js", "viewer.js"):
        _write(folder / name, (PAGES / name).read_text(encoding="utf-8"))
    for name, _ in pages:
        page = template(f"{name}.html").render(**shared, current=f"{name}.html", **contexts[name])
        _write(folder / f"{name}.html", page)
    for name in contexts.keys() - dict(pages).keys():  # left by a report of earlier runs
        (folder / f"{name}.html").unlink(missing_ok=True)
    return folder / "index.html"


def _write(path: Path, text: str) -> None:
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


# --- pages ------------------------------------------------------------------------------------------------------------


def _overview(
    runs: Path,
    folder: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    params: Path | None,
    tables: list[Table],
    stages: list[dict],
    all_rows: tuple[MethodRow, ...],
) -> dict[str, Any]:
    """What was run, on what, and what came out."""
    scenes = [scene for scenes in scenes_by_split.values() for scene in scenes]
    run_rows = _run_rows(runs, folder, profile, params, stages)
    finished = sorted(stage["finished"][:16].replace("T", " ") for stage in stages)
    return {
        "data_name": data_name(profile),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cards": _cards(runs, profile, iterations, all_rows),
        "findings": findings(runs, profile, iterations, all_rows),
        "findings_s3dis": [] if all_rows is TABLE4_ROWS else _findings_if_run(runs, profile, iterations),
        "rooms": {split: len(scenes) for split, scenes in scenes_by_split.items()},
        "points": f"{sum(scene.num_points for scene in scenes) / 1e6:.2f} million",
        "classes": scenes[0].label_set.names,
        "iterations": iterations,
        "tables": [_table_context(table, folder, profile, params) for table in tables],
        "runs": run_rows,
        "stages": stages,
        "finished_experiments": len({stage["experiment"] for stage in stages}),
        "not_run": [run["experiment"] for run in run_rows if not run["present"]],
        "first": finished[0] if finished else "",
        "last": finished[-1] if finished else "",
        "total_minutes": sum(stage["seconds"] for stage in stages) / 60,
        "devices": sorted({stage["device"] for stage in stages}),
        "seeds": sorted({stage["seed"] for stage in stages}),
        "versions": stages[-1]["versions"] if stages else {},
    }


def _figures_page(pictures: list[Picture], pages: dict[str, str]) -> dict[str, Any]:
    drawn = [picture.name for picture in pictures]
    shown = []
    for picture in pictures:
        page = EXPLORE.get(picture.name, "")
        link = {"page": f"{page}.html" if page in pages else "", "page_title": pages.get(page, "")}
        shown.append({**vars(picture), **link})
    return {"pictures": shown, "missing": [title for name, title in FIGURES.items() if name not in drawn]}


def _curves_page(
    runs: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    rows: tuple[MethodRow, ...],
    all_rows: tuple[MethodRow, ...],
) -> dict[str, Any]:
    """Interactive charts and the tables of their numbers, over the validation rooms."""
    own = experiment_of(rows, "otoc_full")
    label_set = scenes_by_split["train"][0].label_set
    experiments = (*_experiments(rows), *(VARIANT_EXPERIMENTS if rows is METHOD_ROWS else ()))
    calibration = charts.calibration_rows(runs, profile, iterations, all_rows, scenes_by_split.get("val", []))
    steps = {"xlabel": "optimizer steps", "xname": "step"}
    iteration = {"xlabel": "iteration", "whole": True}
    covered, right = (
        charts.pseudo_label_lines(runs, profile, iterations, own, key)
        for key in ("covered_percent", "accuracy_percent")
    )
    return {
        "charts": {
            "loss": {"lines": charts.loss_lines(runs, profile, iterations, experiments, "unet"), **steps},
            "relation": {"lines": charts.loss_lines(runs, profile, iterations, experiments, "relation"), **steps},
            "miou": {"lines": charts.miou_lines(runs, profile, iterations, rows[0]), **iteration},
            "covered": {"lines": covered, **iteration},
            "right": {"lines": right, **iteration},
            "calibration": {
                "lines": [row["line"] for row in calibration],
                "xlabel": "confidence (%)",
                "xrange": [0, 100],
                "yrange": [0, 100],
                "diagonal": True,
                "square": True,
            },
            "confusion": {
                "names": label_set.names,
                "matrices": charts.confusion_matrices(runs, profile, iterations, rows),
            },
        },
        "calibration": calibration,
        "bins": BINS,
        "pseudo": _pseudo_rows(runs, profile, iterations, own),
        "per_class": _per_class(runs, profile, iterations, label_set.colors, rows),
    }


def _rooms_page(gallery: list[dict[str, Any]], evaluated: list[Scene], bundled: list[dict]) -> dict[str, Any]:
    known = {room["name"] for group in bundled for room in group["rooms"]}
    shown = [{**strip, "score": score_text(strip["score"]), "viewer": strip["name"] in known} for strip in gallery]
    return {"gallery": shown, "more": 0 < len(shown) < len(evaluated)}


def _comparison_with_control(experiments: Path, rows: tuple[MethodRow, ...]) -> RunComparison | None:
    """The control and the whole method side by side, None where they cannot be compared."""
    control, own = (experiments / experiment_of(rows, row) for row in ("otoc_control", "otoc_full"))
    try:
        return compare_runs(control, own)
    except OtocError:  # one of them was not run, or not as far
        return None


def score_text(score: float) -> str:
    return "" if np.isnan(score) else f"{score:.1f} mIoU"


def bundle_rooms(
    runs: Path,
    folder: Path,
    profile: str,
    scenes_by_split: dict[str, list[Scene]],
    iterations: int,
    rows: tuple[MethodRow, ...],
    most_bytes: int = VIEWER_BYTES,
) -> list[dict[str, Any]]:
    """Write rooms for the 3D viewer until they fill ``most_bytes``: evaluated rooms, the worst and the best of them
    first, and a few training rooms with their pseudo labels.

    Returns:
        Groups {title, scored, rooms} with the rooms {name, score} in the order in which they are offered.
    """
    own, supervised = experiment_of(rows, "otoc_full"), experiment_of(rows, "supervised")
    clicks = figures.read_clicks_of(runs, profile, own, scenes_by_split["train"])
    scored = [
        (score, scene)
        for split, scenes in scenes_by_split.items()
        for scene, score in rooms_by_score(runs, profile, own, f"evaluate_{iterations}", split, scenes)
    ]
    scored.sort(key=lambda pair: -1.0 if np.isnan(pair[0]) else pair[0])
    train = telling_rooms(scenes_by_split["train"])[: TRAINING_ROOMS if clicks else 0]
    first = [scored[0], scored[-1]] if len(scored) > 1 else scored
    order = [scene for _, scene in first] + train + [scene for _, scene in scored]
    written, size = {}, 0
    for scene in tqdm(list(dict.fromkeys(order)), desc="rooms for the viewer", unit="room", mininterval=5.0):
        if scene in train:
            layers = viewer.pseudo_label_layers(runs, profile, own, iterations, scene, clicks[scene.name])
            packed = viewer.pack_room(scene, layers, clicks[scene.name])
        else:
            packed = viewer.pack_room(
                scene, viewer.prediction_layers(runs, profile, own, supervised, iterations, scene)
            )
        size += len(packed["data"])
        if written and size > most_bytes:
            break
        written[scene.name] = viewer.write_room(folder, packed)
    for stale in set(folder.glob("*.js")) - set(written.values()):
        stale.unlink()
    groups = [
        {
            "title": "Validation rooms, the worst first",
            "scored": True,
            "rooms": [{"name": s.name, "score": score_text(score)} for score, s in scored if s.name in written],
        },
        {
            "title": "Training rooms",
            "scored": False,
            "rooms": [{"name": scene.name, "score": ""} for scene in train if scene.name in written],
        },
    ]
    return [group for group in groups if group["rooms"]]


def telling_rooms(scenes: list[Scene]) -> list[Scene]:
    """Rooms with the widest choice of classes first: they show most."""
    return sorted(scenes, key=lambda room: 0 if room.labels is None else -len(np.unique(room.labels)))


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
    shown = telling_rooms(train)[:2]
    pictures = []

    def add(figure: Figure | None, name: str, title: str, caption: str) -> None:
        if figure is not None:
            figures.save(figure, folder, name)
            width, height = np.rint(figure.get_size_inches() * figure.dpi).astype(int).tolist()
            pictures.append(Picture(name, title, caption, width, height))

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


def _table_context(table: Table, folder: Path, profile: str, params: Path | None) -> dict[str, Any]:
    methods = {m.row: m for m in {"table2": TABLE2_ROWS, "table4": TABLE4_ROWS}.get(table.name, ())}
    rows = []
    for key, cells in zip(table.keys, table.rows, strict=True):
        row, _, novel = key.partition("@")
        method = methods.get(row)
        link = method and _origin(folder, profile, params, method.experiment, notebook_of(method))
        strong = row in ("otoc_full", "otoc3_full", "data_efficient_full")
        rows.append({"cells": cells, "link": link, "novel": bool(novel), "strong": strong})
    # Where nothing was run, the columns that describe our runs are empty: leave them out.
    run = table.name == "table3" or any(NOT_RUN not in row for row in table.rows)
    variants = {}
    for column, (experiment, _) in VARIANTS.items() if table.name == "table3" else ():
        notebook = "04_ablate" if experiment in VARIANT_EXPERIMENTS else "03_self_train"
        variants[VARIANT_NAMES[column]] = _origin(folder, profile, params, experiment, notebook)
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": table.columns if run else table.columns[:4],
        "linked": bool(methods),
        "columns_from": list(variants.items()),
        "rows": rows,
    }


def notebook_of(method: MethodRow) -> str:
    """The notebook that measures a row of Table 2 or 4."""
    return "03_self_train" if method.last else "02_baseline"


def _origin(folder: Path, profile: str, params: Path | None, experiment: str, notebook: str) -> dict[str, str]:
    """Links of a row: its params file and executed notebook, as far as they exist, and the command that measures it."""
    file = params / profile / f"{experiment}.yaml" if params else None
    known = file is not None and file.is_file()
    executed = f"notebooks/{notebook}.{experiment}.ipynb"
    return {
        "experiment": experiment,
        "params": Path(os.path.relpath(file, folder)).as_posix() if known else "",
        "notebook": executed if (folder / executed).is_file() else "",
        "command": command_of(notebook, profile, experiment) if known else "",
    }


def command_of(notebook: str, profile: str, experiment: str) -> str:
    return f"papermill notebooks/{notebook}.ipynb OUT.ipynb -f params/{profile}/{experiment}.yaml"


def _run_rows(runs: Path, folder: Path, profile: str, params: Path | None, stages: list[dict]) -> list[dict[str, Any]]:
    """For every experiment: its params file, the command that file opens with, executed notebooks, and the cost."""
    rows = []
    known = _experiments(TABLE2_ROWS), VARIANT_EXPERIMENTS, _experiments(TABLE4_ROWS)
    known = [name for names in known for name in names]
    repeated = sorted({stage["experiment"] for stage in stages} - set(known))
    for experiment in (*known, *repeated):
        own = [stage for stage in stages if stage["experiment"] == experiment]
        file = params / profile / f"{experiment}.yaml" if params else None
        executed = sorted((folder / "notebooks").glob(f"*.{experiment}.ipynb"))
        notebooks = _notebooks_of(experiment) if file and file.is_file() else ()
        rows.append(
            {
                "experiment": experiment,
                "params": Path(os.path.relpath(file, folder)).as_posix() if file and file.is_file() else "",
                "notebooks": [f"notebooks/{path.name}" for path in executed],
                "commands": [command_of(notebook, profile, experiment) for notebook in notebooks],
                "present": (runs / profile / experiment).is_dir(),
                "minutes": sum(stage["seconds"] for stage in own) / 60,
                "finished": max((stage["finished"][:16].replace("T", " ") for stage in own), default=""),
                "devices": sorted({stage["device"] for stage in own}),
                "seeds": sorted({stage["seed"] for stage in own}),
            }
        )
    return rows


def _notebooks_of(experiment: str) -> tuple[str, ...]:
    """The notebooks that an experiment runs, in their order."""
    name = experiment.split("_seed")[0]
    if name in VARIANT_EXPERIMENTS:
        return ("04_ablate",)
    methods = [m for m in (*TABLE2_ROWS, *TABLE4_ROWS) if m.experiment == name]
    return tuple(sorted({notebook_of(method) for method in methods})) or ("03_self_train",)


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


def _pseudo_rows(runs: Path, profile: str, iterations: int, main: str) -> list[dict[str, Any]]:
    """Label statistics of every variant: the expanded clicks, then after each iteration."""
    rows = []
    for column in ("unet", "unet_gp", "unet_rel_gp"):
        experiment = main if column == "unet_rel_gp" else VARIANTS[column][0]
        for k in range(iterations + 1):
            statistics = read_statistics(runs, profile, experiment, f"pseudo_{k}" if k else "clicks")
            if statistics:
                rows.append({"variant": VARIANT_NAMES[column], "iteration": k, "statistics": statistics})
    return rows
