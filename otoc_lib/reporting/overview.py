"""The first page of a report: what was run, on what, what came out, and where each number comes from."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otoc_lib.current import command_of
from otoc_lib.experiments import ABLATIONS, LISTED, VARIANTS
from otoc_lib.reporting.findings import findings
from otoc_lib.reporting.runs import NOT_RUN, Results
from otoc_lib.reporting.summary import SELF_TRAINING, summaries
from otoc_lib.reporting.tables import ONLY_QUOTED, VARIANT_NAMES, Table
from otoc_lib.scene import Scene


def overview(
    results: Results, folder: Path, scenes_by_split: dict[str, list[Scene]], tables: list[Table], data_name: str
) -> dict[str, Any]:
    """What the page's template shows.

    Args:
        folder: of the report, which links start from.
        data_name: what was measured on.
    """
    scenes = [scene for scenes in scenes_by_split.values() for scene in scenes]
    stages = results.finished()
    run_rows = _run_rows(results, folder, stages)
    finished = sorted(_time_of(stage) for stage in stages)
    areas = results.table == "table2" and any(
        results.measure(row) or results.absent(row.experiment, results.stage_of(row)) != NOT_RUN
        for row in results.rows("table4")
    )
    return {
        "data_name": data_name,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "summaries": [_table_context(results, table, folder) for table in summaries(results)],
        "findings": findings(results),
        "findings_s3dis": findings(results, "table4") if areas else [],
        "rooms": {split: len(scenes) for split, scenes in scenes_by_split.items()},
        "judged_in_training": results.split if results.shows_trained else None,
        "points": f"{sum(scene.num_points for scene in scenes) / 1e6:.2f} million",
        "classes": scenes[0].label_set.names,
        "iterations": results.iterations,
        "tables": [_table_context(results, table, folder) for table in tables],
        "runs": run_rows,
        "stages": stages,
        "finished_experiments": sum(bool(run["finished"]) for run in run_rows),
        "not_run": [run["experiment"] for run in run_rows if not run["present"]],
        "first": finished[0] if finished else "",
        "last": finished[-1] if finished else "",
        "total_minutes": sum(stage["seconds"] for stage in stages) / 60,
        "devices": sorted({stage["device"] for stage in stages}),
        "seeds": sorted({stage["seed"] for stage in stages}),
        "versions": stages[-1]["versions"] if stages else {},
    }


def _table_context(results: Results, table: Table, folder: Path) -> dict[str, Any]:
    measured = {row.row: row for row in results.rows(table.name)} if table.name in LISTED else {}
    rows = []
    for key, cells in zip(table.keys, table.rows, strict=True):
        name, _, novel = key.partition("@")
        row = measured.get(name)
        link = row and _origin(results, folder, row.experiment, row.notebook)
        strong = name in ("otoc_full", "otoc3_full", "data_efficient_full") or name.endswith(f": {SELF_TRAINING}")
        rows.append({"cells": cells, "link": link, "novel": bool(novel), "strong": strong})
    # Where nothing was run, the columns that describe our runs are empty: leave them out.
    run = table.name == "table3" or any(not {NOT_RUN, ONLY_QUOTED} & set(row) for row in table.rows)
    variants = {}
    for column, (experiment, _) in VARIANTS.items() if table.name == "table3" else ():
        notebook = "04_ablate" if experiment in ABLATIONS else "03_self_train"
        variants[VARIANT_NAMES[column]] = _origin(results, folder, experiment, notebook)
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": table.columns if run else table.columns[:4],
        "run": run,
        "linked": bool(measured),
        "columns_from": list(variants.items()),
        "rows": rows,
    }


def _origin(results: Results, folder: Path, experiment: str, notebook: str) -> dict[str, str]:
    """Links of a row: its params file and executed notebook, as far as they exist, and the command that measures it."""
    params = _params_link(results, folder, experiment)
    executed = f"notebooks/{notebook}.{results.seeds(experiment).get(results.shown_seed(experiment), experiment)}.ipynb"
    return {
        "experiment": experiment,
        "params": params,
        "notebook": executed if (folder / executed).is_file() else "",
        "command": command_of(notebook, results.profile, experiment) if params else "",
    }


def _params_link(results: Results, folder: Path, experiment: str) -> str:
    """From the report's folder to the params file of an experiment; "" without one."""
    known = results.known(experiment)
    return Path(os.path.relpath(known.files[0], folder)).as_posix() if known and known.files else ""


def _run_rows(results: Results, folder: Path, stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every experiment: its params file, the commands that it is run by, executed notebooks, and the cost."""
    columns = [experiment for experiment, _ in VARIANTS.values()]
    listed = [row.experiment for row in LISTED["table2"]], columns, [row.experiment for row in LISTED["table4"]]
    further = [experiment.name for experiment in results.experiments]
    names = list(dict.fromkeys([name for names in (*listed, further) for name in names]))
    runs = {name: list(results.seeds(name).values()) for name in names}
    strays = sorted({stage["run"] for stage in stages} - {run for own in runs.values() for run in own})
    whys = {}
    for stale in results.stale():
        whys.setdefault(stale.experiment, []).append(f"{stale.run}: {stale.why}")
    rows = []
    for experiment, own_runs in (runs | {run: [run] for run in strays}).items():
        own = [stage for stage in stages if stage["run"] in own_runs]
        params, known = _params_link(results, folder, experiment), results.known(experiment)
        executed = [path for run in own_runs or [experiment] for path in (folder / "notebooks").glob(f"*.{run}.ipynb")]
        notebooks = known.notebooks if known and params else ()
        rows.append(
            {
                "experiment": experiment,
                "params": params,
                "notebooks": [f"notebooks/{path.name}" for path in sorted(executed)],
                "commands": [command_of(notebook, results.profile, experiment) for notebook in notebooks],
                "present": bool(own_runs),
                "stale": "; ".join(whys.get(experiment, [])),
                "minutes": sum(stage["seconds"] for stage in own) / 60,
                "finished": max((_time_of(stage) for stage in own), default=""),
                "devices": sorted({stage["device"] for stage in own}),
                "seeds": sorted({stage["seed"] for stage in own}),
            }
        )
    return rows


def _time_of(stage: dict[str, Any]) -> str:
    return stage["finished"][:16].replace("T", " ")
