"""Which rooms stand for an evaluation, and the strip of pictures of each of them, the worst first.

Rooms without true labels are never called best or worst: nobody knows.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from otoc_lib.files import write_aside
from otoc_lib.reporting.figures import room_strip
from otoc_lib.reporting.runs import Results, last_mode
from otoc_lib.scene import Scene

MOST_ROOMS = 60  # the worst ones, where there are more


def rooms_by_score(
    results: Results, experiment: str, stage_name: str, split: str, scenes: list[Scene]
) -> list[tuple[Scene, float]]:
    """Rooms of a split that an evaluation stage holds, with their mIoU in percent by its last mode, the worst first.

    Rooms without labels have no mIoU: they come last, with NaN, in their own order.
    """
    stage = results.find(experiment, stage_name)
    if stage is None:
        return []
    per_room = results.metrics(experiment, stage_name)["splits"].get(split, {}).get("per_room", {})
    mode = last_mode(stage)
    scored = [(scene, 100 * per_room[scene.name].get(mode, np.nan)) for scene in scenes if scene.name in per_room]
    return in_order(scored)


def in_order(scored: list[tuple[Scene, float]]) -> list[tuple[Scene, float]]:
    """Rooms and their mIoU, NaN where it is unknown: the worst first, then those that nobody can judge."""
    return sorted(scored, key=lambda pair: (np.isnan(pair[1]), 0.0 if np.isnan(pair[1]) else pair[1]))


def best_median_worst(
    results: Results, experiment: str, stage_name: str, split: str, scenes: list[Scene]
) -> dict[str, Scene]:
    """Three rooms that stand for an evaluation, two or one where there are no more; empty if it was not run.

    By "best", "median" and "worst"; by their names where no room has true labels.
    """
    found = rooms_by_score(results, experiment, stage_name, split, scenes)
    scored = [scene for scene, score in found if not np.isnan(score)]
    if not scored:
        return {scene.name: scene for scene, _ in found[:3]}
    places = ("best",) if len(scored) == 1 else ("best", "worst") if len(scored) == 2 else ("best", "median", "worst")
    ranks = {"best": -1, "median": len(scored) // 2, "worst": 0}
    return {place: scored[ranks[place]] for place in places}


def telling_rooms(scenes: list[Scene]) -> list[Scene]:
    """Rooms with the widest choice of classes first: they show most."""
    return sorted(scenes, key=lambda room: 0 if room.labels is None else -len(np.unique(room.labels)))


def draw_gallery(results: Results, folder: Path, scenes_by_split: dict[str, list[Scene]]) -> list[dict[str, Any]]:
    """One strip per evaluated room, the worst first; returns name, split and mIoU of each."""
    stage = results.last_evaluation(results.main)
    scored = [
        (score, split, room)
        for split, scenes in scenes_by_split.items()
        for room, score in rooms_by_score(results, results.main, stage, split, scenes)
    ]
    strips = []
    chosen = sorted(scored, key=lambda item: (np.isnan(item[0]), item[0]))[:MOST_ROOMS]  # unjudged ones last
    for score, split, room in tqdm(chosen, desc="room pictures", unit="room", mininterval=5.0):
        with write_aside(folder / f"{room.name}.jpg") as aside:
            strip = room_strip(results, room, results.main)
            strip.save(aside, format="jpeg", quality=85, optimize=True)
        strips.append({"name": room.name, "split": split, "score": score})
    return strips


def score_text(score: float) -> str:
    return "" if np.isnan(score) else f"{score:.1f} mIoU"
