"""Clicks on scans of one's own, checked before any training: the doctor's part that needs to know what a click is."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from otoc_lib.annotation.clicks import count_classes, gaps, read_clicks
from otoc_lib.csv_table import read_rows
from otoc_lib.datasets import own
from otoc_lib.datasets.doctor import Problem, Total
from otoc_lib.errors import OtocError, messages_of
from otoc_lib.labels import LabelSet
from otoc_lib.scene import Scene


def check_clicks(root: Path, path: Path, classes: Sequence[str] | None) -> tuple[list[Problem], list[Total]]:
    """What is wrong with a table of clicks, line by line, and how many clicks each class has.

    Args:
        root: folder of the scans.
        path: the clicks.csv; without it there are no clicks yet.
        classes: ``own_classes``; None takes those that the table names, so that none can be wrong or missing.
    """
    place, broken = path.name if path.parent == root else str(path), []
    if not os.path.exists(path):
        return ([Problem(place, "warning", "no clicks yet")] if classes else []), []
    try:
        rows = read_rows(path, ("scene", "class"))
        named = list(dict.fromkeys((row["class"] or "").strip() for _, row in rows))
        label_set = own.label_set(classes) if classes else LabelSet("own", *_plain(named))
        scenes, broken = _load(root, label_set)
        clicks = read_clicks(path, scenes)
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


def _load(root: Path, label_set: LabelSet) -> tuple[list[Scene], list[str]]:
    """The scans as scenes in one piece, and the names of those that cannot be read, of which the doctor tells."""
    scenes, broken = [], []
    for name in own.survey(root)[0].scans:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the doctor has told them
            try:
                scenes.append(own.load_scene(root, name, label_set, None))
            except OtocError:
                broken.append(name)
    return scenes, broken


def _plain(names: list[str]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """A label set of these names, whatever they are."""
    return tuple(names), tuple(range(len(names))), ((0, 0, 0),) * len(names)
