"""How far a profile is: every stage of every experiment and seed, as plain data and as text.

done     finished and current
running  a process holds its lock
failed   begun, and left by its process; or its notebook stopped before it
stale    finished, and not what the params file, the code, the clicks and the rooms give now
waiting  not begun
"""

import contextlib
import difflib
import json
import textwrap
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from otoc_lib.config import project_root
from otoc_lib.current import Runs
from otoc_lib.errors import OtocError
from otoc_lib.experiments import Experiment, main_experiment, read_what_is_right
from otoc_lib.lock import holder
from otoc_lib.notebooks import executed_path
from otoc_lib.reporting.runs import last_mode, read_history, read_json
from otoc_lib.store import BEGUN, LOCKS, MANIFEST, Stage, read_manifest

WIDTH = 100  # columns of the text
MOST = (28, 24, 7, 6, 24)  # of them for each column of the table, two between
STATES = ("done", "running", "failed", "stale", "waiting")


@dataclass(frozen=True)
class StageStatus:
    """One stage: seconds since it was finished, begun or left, None where it is not there; its last metric by name; and
    who makes it or why it is failed or stale."""

    experiment: str
    seed: int
    run: str
    stage: str
    state: str
    seconds: float | None = None
    metric: dict[str, Any] = field(default_factory=dict)
    why: str = ""


def profile_status(profile: str) -> dict[str, Any]:
    """The stages of a profile, ready for JSON, and what is wrong with its params files by experiment.

    Raises OtocError if there is no such profile.
    """
    params = project_root() / "params"
    experiments, wrong = read_what_is_right(params, profile)
    if not experiments and not wrong:
        profiles = sorted(path.name for path in params.glob("*/"))
        close = difflib.get_close_matches(profile, profiles, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(profiles)}"
        raise OtocError(f"profile {profile!r}: params/{profile} holds no params files; {advice}")
    roots = dict.fromkeys(experiment.config.runs_folder for experiment in experiments)
    held = {root: Runs(root, profile, experiments, wrong) for root in roots}
    found = []
    for experiment in experiments:
        runs = held[experiment.config.runs_folder]
        for seed in sorted({*experiment.seeds, *runs.seeds(experiment.name)}):
            notebooks = list(experiment.notebooks)
            main = experiment.name == main_experiment(other.name for other in experiments)
            if main and seed == experiment.seeds[0]:
                notebooks.append("05_tsne")
            found += _of_run(runs, replace(experiment, config=replace(experiment.config, seed=seed)), notebooks)
    listed = {(status.run, status.stage) for status in found}
    for runs in held.values():  # what was run by params files that are gone, wrong or changed
        with contextlib.suppress(OtocError):  # a damaged stage, which is told above
            for stale in runs.stale():
                left = [stage for stage in stale.stages if (stale.run, stage) not in listed]
                found += [StageStatus(stale.experiment, 0, stale.run, name, "stale", why=stale.why) for name in left]
    return {"profile": profile, "stages": [asdict(status) for status in found], "wrong": wrong}


def _of_run(runs: Runs, experiment: Experiment, notebooks: list[str]) -> list[StageStatus]:
    """The stages of an experiment with the seed of its config, in the order of its notebooks."""
    found, config, planned = {}, experiment.config, runs.planned(experiment.name, experiment.config.seed)
    for notebook in notebooks:
        stopped = False  # a notebook stops once
        for stage in planned.get(notebook, {}):
            if stage in found:
                continue
            status = _of_stage(runs, experiment, stage)
            if status.state in ("waiting", "failed") and not stopped:
                stopped = True
                status = _with_error(status, executed_path(notebook, config))
            found[stage] = status
    return list(found.values())


def _of_stage(runs: Runs, experiment: Experiment, stage: str) -> StageStatus:
    config = experiment.config
    run, folder = config.run_name, config.run_folder / stage
    status = StageStatus(experiment.name, config.seed, run, stage, "waiting")
    try:
        state = runs.state(experiment.name, stage, config.seed)
        if state.stage:
            return replace(status, state="done", seconds=_finished(state.stage.path), metric=_metric(state.stage))
        if held := holder(runs.folder / LOCKS / f"{run}.{stage}"):
            who, since = held
            return replace(status, state="running", seconds=_since(since), why=f"by {who}")
        part = folder.with_name(f"{stage}.part")
        if part.is_dir():
            return replace(status, state="failed", seconds=_age(part / BEGUN), why="stopped on the way")
        if state.why:
            return replace(status, state="stale", seconds=_finished(folder), why=state.why)
    except OtocError as error:  # a damaged file
        return replace(status, state="failed", seconds=_age(folder / MANIFEST), why=str(error))
    return status


def _with_error(status: StageStatus, executed: Path) -> StageStatus:
    """The status of a stage at which its notebook stopped, with the error that the executed notebook holds."""
    try:
        cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
        errors = [out for cell in cells for out in cell.get("outputs", []) if out["output_type"] == "error"]
        said = [out["evalue"] if out["ename"] == "OtocError" else f"{out['ename']} {out['evalue']}" for out in errors]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return status
    if not said:
        return status
    return replace(status, state="failed", seconds=status.seconds or _age(executed), why=said[0].strip())


def _metric(stage: Stage) -> dict[str, Any]:
    """The last thing that a finished stage measured, in percent or as a loss; empty where it measures nothing."""
    if "metrics.json" in stage.files:
        splits, mode = read_json(stage, "metrics.json")["splits"], last_mode(stage)
        measured = splits.get("val", next(iter(splits.values())))["modes"].get(mode)
        return {"mIoU": 100 * measured["miou"], "mode": mode} if measured else {}
    if "history.csv" in stage.files and (history := read_history(stage)):
        return {"loss": float(history["loss"][-1])}
    if "statistics.json" in stage.files:
        covered = read_json(stage, "statistics.json").get("covered_percent")
        return {"labelled": covered} if covered is not None else {}
    return {}


def _finished(folder: Path) -> float | None:
    manifest = read_manifest(folder)
    return _since(manifest.get("finished", "")) if manifest else None


def _since(moment: str) -> float | None:
    """Seconds since a moment in ISO's form."""
    try:
        return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return None


def _age(path: Path) -> float | None:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None


# --- text -------------------------------------------------------------------------------------------------------------


def as_text(found: dict[str, Any]) -> str:
    """What ``profile_status`` gives, as a table of at most ``WIDTH`` columns; a run is named at its first stage."""
    rows, before, why = [], "", ""
    for status in found["stages"]:
        run = "" if status["run"] == before else status["run"]
        cells = (run, status["stage"], status["state"], _shown_age(status["seconds"]), _shown_metric(status["metric"]))
        rows.append((cells, status["why"] if run or status["why"] != why else ""))  # said once where it is of several
        before, why = status["run"], status["why"]
    header = ("run", "stage", "state", "age", "last metric")
    widths = [min(most, max(len(cells[i]) for cells, _ in [(header, ""), *rows])) for i, most in enumerate(MOST)]
    lines = []
    for cells, why in [(header, ""), *rows]:
        text = "  ".join(f"{cell[:width]:{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(text.rstrip())
        lines += textwrap.wrap(why, WIDTH, initial_indent="    ", subsequent_indent="    ")
    for error in found["wrong"].values():
        lines += textwrap.wrap(error, WIDTH, subsequent_indent="    ")
    counts = Counter(status["state"] for status in found["stages"])
    counted = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return "\n".join([*lines, "", f"{found['profile']}: {counted or 'no stages'}"])


def _shown_age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _shown_metric(metric: dict[str, Any]) -> str:
    match metric:
        case {"mIoU": value, "mode": mode}:
            return f"mIoU {value:.1f} ({mode})"
        case {"loss": value}:
            return f"loss {value:.3f}"
        case {"labelled": value}:
            return f"labelled {value:.1f} %"
    return "-"
