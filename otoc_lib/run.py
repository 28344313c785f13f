"""Runs one experiment: its notebooks in their order, with a line before each that says how much is left."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from otoc_lib.config import changed_config
from otoc_lib.errors import OtocError, shown
from otoc_lib.experiments import NOTEBOOKS, plan_entries, plan_experiment, read_experiment, warn_of_idle
from otoc_lib.notebooks import execute
from otoc_lib.progress import line, seconds_left
from otoc_lib.training.event_files import check_tensorboard


def run_experiment(path: Path, changes: Mapping[str, Any], words: Sequence[str] = ()) -> None:
    """Run the notebooks of a params file, for each of its seeds or for that of ``changes``.

    Args:
        changes: other values of some parameters, by name.
        words: the notebooks to run, such as "03" or "03_self_train"; none for those of the experiment itself.

    Raises:
        OtocError: before anything runs, for a wrong file, parameter or notebook; or what a notebook stopped with.
    """
    config = changed_config(path, changes)
    for name in sorted({"experiment", "profile"} & changes.keys()):
        raise OtocError(
            f"-p {name}: results without a params file are shown nowhere; copy {path.name}, and name profile and "
            "experiment in the copy"
        )
    if config.tensorboard:
        check_tensorboard()
    if "seed" in changes:
        config = replace(config, seeds=[])
    experiment = replace(read_experiment(path), config=config)
    warn_of_idle(config, path, changes)
    jobs = plan_experiment(experiment, [notebook_named(word) for word in words])
    entries, runs = plan_entries(jobs), config.runs_folder / config.profile
    runs.mkdir(parents=True, exist_ok=True)  # what hinders it is told now, and not by a kernel
    for place, job in enumerate(jobs):
        left = entries[place:]
        print(line(f"{job.notebook} {job.run}", len(left), seconds_left(runs, left)), flush=True)
        out = execute(job.notebook, path, {**changes, "seed": job.seed})
        print(f"{job.notebook} {job.run} · done: {os.path.relpath(out)}", flush=True)


def notebook_named(word: str) -> str:
    """The notebook that ``03``, ``03_self_train`` or its path means."""
    stem = Path(word).stem
    found = [name for name in NOTEBOOKS if name == stem or name.startswith(f"{stem}_")]
    if not found:
        close = difflib.get_close_matches(stem, NOTEBOOKS, n=1, cutoff=0.4)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(NOTEBOOKS)}"
        raise OtocError(f"--notebook {shown(word)}: no such notebook; {advice}")
    return found[0]
