"""The runs that ``benchmarks/convergence.py`` measures: how good a network is after how many seconds of training."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from otoc_lib.files import write_aside

GOALS = {"clicks": (65.0, 74.5), "every point": (79.0, 87.0)}  # labels -> mIoU in % on points and on super-voxels

CPU = "CPU"


@dataclass(frozen=True)
class Run:
    """One network: seconds that its training took, and mIoU in % on the rooms that judge.

    Seconds are those of one thread of the processor on the CPU, those of the clock on a GPU.
    """

    recipe: str
    digest: str  # of its parameters: a run of others does not count
    labels: str
    seed: int
    steps: int
    seconds: float
    points: float
    supervoxels: float
    device: str = CPU  # or the name of a GPU


def read_runs(path: Path) -> list[Run]:
    """The runs in a CSV file that ``write_runs`` wrote; none where there is no file."""
    if not path.is_file():
        return []
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Run)}
    with path.open(newline="", encoding="utf-8") as file:
        return [Run(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    with write_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Run)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, runs))


def convergence_curve(runs: Iterable[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Means over the seeds: seconds [K], by length, and mIoU [K, 2] on points and on super-voxels."""
    by_steps: dict[int, list[Run]] = {}
    for run in runs:
        by_steps.setdefault(run.steps, []).append(run)
    means = [
        np.mean([(run.seconds, run.points, run.supervoxels) for run in by_steps[steps]], axis=0)
        for steps in sorted(by_steps)
    ]
    table = np.array(means).reshape(-1, 3)
    return table[:, 0], table[:, 1:]


def seconds_to(seconds: np.ndarray, scores: np.ndarray, goals: tuple[float, float]) -> float | None:
    """Where the lines between the points of a curve first reach both goals; None where they never do.

    Args:
        seconds: [K], ascending; a curve that starts above its goals counts from its first point.
        scores: [K, 2] on points and on super-voxels.
    """
    reached = []
    for score, goal in zip(scores.T, goals, strict=True):
        above = np.flatnonzero(score >= goal)
        if not len(above):
            return None
        last = above[0]
        around = slice(max(last - 1, 0), last + 1)
        reached.append(float(np.interp(goal, score[around], seconds[around])))
    return max(reached)
