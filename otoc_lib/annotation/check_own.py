"""Clicks and true labels of scans of one's own, checked before any training: what the doctor needs classes for."""

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from otoc_lib.annotation.clicks import count_classes, gaps, read_clicks, refuse_none
from otoc_lib.config import Unit, UpAxis
from otoc_lib.csv_table import read_rows
from otoc_lib.datasets import own
from otoc_lib.datasets.doctor import Problem, Total
from otoc_lib.datasets.own_truth import read_truth
from otoc_lib.datasets.point_files import Scan, read_again, scan_name
from otoc_lib.errors import Faults, OtocError, messages_of
from otoc_lib.labels import LabelSet
from otoc_lib.scene import Scene


def check_clicks(
    root: Path, path: Path, classes: Sequence[str] | None, up_axis: UpAxis = "auto", unit: Unit = "auto"
) -> tuple[list[Problem], list[Total]]:
    """What is wrong with a table of clicks, line by line, and how many clicks each class has.

    Args:
        root: folder of the scans.
        path: the clicks.csv; without it there are no clicks yet.
        classes: ``own_classes``; None takes those that the table names, so that none can be wrong or missing.
        up_axis, unit: of the scans, see ``scan_axes``.
    """
    place, broken = path.name if path.parent == root else str(path), []
    if not os.path.exists(path):
        return ([Problem(place, "warning", "no clicks yet")] if classes else []), []
    try:
        rows = read_rows(path, ("scene", "class"))
        named = list(dict.fromkeys(row["class"] for _, row in rows if row["class"])) or ["no class"]
        label_set = own.label_set(classes) if classes else LabelSet("own", *_plain(named))
        scenes, broken = _load(root, label_set, up_axis, unit)
        clicks = read_clicks(path, scenes)
        if scenes:
            refuse_none(path, clicks)
    except OtocError as error:
        shown = [message.removeprefix(f"{path}: ").removeprefix(f"{path}, ") for message in messages_of(error)]
        own_fault = [text for text in shown if not any(f"unknown scene {name!r}" in text for name in broken)]
        return [Problem(place, "error", message) for message in own_fault], []
    if not scenes:
        return [], []
    problems = [Problem(place, "warning", sentence) for sentence in gaps(scenes, clicks)]
    counts = [Total(f"clicks: {count.name}", str(count.clicks), "-") for count in count_classes(scenes, clicks)]
    total = sum(len(of_scene) for of_scene in clicks.values())
    return problems, [Total("clicks", str(total), "-"), *counts]


def check_truth(root: Path, classes: Sequence[str], column: str) -> list[Problem]:
    """What is wrong with the true labels that scans bring along, in the column ``own_truth``."""
    problems, label_set = [], own.label_set(classes)
    for path, scan in _scans(root):
        try:
            if scan is not None:
                with warnings.catch_warnings(action="ignore"):
                    read_truth(path, scan, label_set, column)
        except OtocError as error:
            problems.append(Problem(path.name, "error", str(error).removeprefix(f"{path}: ")))
    return problems


def _load(root: Path, label_set: LabelSet, up_axis: UpAxis, unit: Unit) -> tuple[list[Scene], list[str]]:
    """The scans as scenes in one piece, and the names of those that cannot be read, of which the doctor tells."""
    scenes, broken = [], []
    for path, scan in _scans(root):
        name = scan_name(path)
        if scan is None:
            broken.append(name)
            continue
        axes = own.scan_axes(scan, up_axis, unit)
        with warnings.catch_warnings(action="ignore"):  # the doctor has told them
            scenes.append(own.scene_of(path, scan, axes, name, label_set, None))
    return scenes, broken


def _scans(root: Path) -> Iterator[tuple[Path, Scan | None]]:
    """The scans of a folder, None for those that cannot be read, of which the doctor has told."""
    for path in own.survey(root)[0].scans.values():
        yield path, Faults().of(partial(read_again, path))


def _plain(names: list[str]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """A label set of these names, whatever they are."""
    return tuple(names), tuple(range(len(names))), ((0, 0, 0),) * len(names)
