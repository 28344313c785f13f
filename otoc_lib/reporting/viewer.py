"""Rooms for the 3D viewer of the report: one script a room, since a page opened from a disk may read no other files.

Each ``viewer/<room>.js`` calls ``otocRoom`` with the names of its layers and its points: one byte a point and plane,
compressed, in base64. viewer.js turns it back; ``PLANES`` says in which order.
"""

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from otoc_lib.annotation.clicks import Clicks, expand_clicks
from otoc_lib.experiments import BASELINE
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE
from otoc_lib.reporting.figures import PANEL, room_view
from otoc_lib.reporting.gallery import in_order, rooms_by_score, score_text, telling_rooms
from otoc_lib.reporting.runs import Results
from otoc_lib.scene import Scene

# Low and high bytes of x, y, z in steps of ``step`` metres; red, green, blue; brightness; sides (see splat.py).
PLANES = ("x_low", "x_high", "y_low", "y_high", "z_low", "z_high", "red", "green", "blue", "shade", "sides")
NO_CLASS = 255
MOST_BYTES = 9_000_000  # of all rooms, so that a report can be mailed and committed
TRAINING_ROOMS = 4  # at most
MOST_POINTS = 100_000  # of a room; more are drawn from it at random
FINEST = 0.001  # metres; with colours and brightness in 32 steps, no eye sees it and rooms shrink by a third
LIGHT = np.array([0.35, 0.5, 0.79])  # in the room's axes, mostly from above


@dataclass(frozen=True)
class Layer:
    """What the viewer can colour a room by: classes int [N] with IGNORE, or a confidence 0..1 if ``classes`` is None.

    name: on its button. judged: whether it makes sense to mark where it differs from the truth.
    """

    name: str
    classes: np.ndarray | None
    confidence: np.ndarray | None = None
    judged: bool = True


def bundle_rooms(
    results: Results, folder: Path, scenes_by_split: dict[str, list[Scene]], most_bytes: int = MOST_BYTES
) -> list[dict[str, Any]]:
    """Write rooms until they fill ``most_bytes``: evaluated rooms, the worst and the best of them first, and a few
    training rooms with their pseudo labels.

    Returns:
        Groups {title, evaluated, rooms} with the rooms {name, score} in the order in which they are offered.
    """
    own, train = results.main, scenes_by_split["train"]
    clicks = results.clicks(own, train)
    stage = results.last_evaluation(own)
    scored = [
        pair for split, scenes in scenes_by_split.items() for pair in rooms_by_score(results, own, stage, split, scenes)
    ]
    scored = in_order(scored)
    train = telling_rooms(train)[: TRAINING_ROOMS if clicks else 0]
    judged = [pair for pair in scored if not np.isnan(pair[1])]
    first = [judged[0], judged[-1]] if len(judged) > 1 else scored[:2]
    order = [scene for scene, _ in first] + train + [scene for scene, _ in scored]
    written, size = {}, 0
    for scene in tqdm(list(dict.fromkeys(order)), desc="rooms for the viewer", unit="room", mininterval=5.0):
        if scene in train:
            layers = pseudo_label_layers(results, own, scene, clicks[scene.name])
            packed = pack_room(scene, layers, clicks[scene.name])
        else:
            packed = pack_room(scene, prediction_layers(results, own, results.row("supervised").experiment, scene))
        size += len(packed["data"])
        if written and size > most_bytes:
            break
        written[scene.name] = write_room(folder, packed)
    for stale in set(folder.glob("*.js")) - set(written.values()):
        stale.unlink()
    offered = [(scene.name, score_text(score)) for scene, score in scored if scene.name in written]
    trained = [{"name": scene.name, "score": ""} for scene in train if scene.name in written]
    groups = [
        {
            "title": f"{results.rooms_shown()}, the worst first",
            "evaluated": True,
            "rooms": _rooms(offered, judged=True),
        },
        {"title": "Rooms without true labels", "evaluated": True, "rooms": _rooms(offered, judged=False)},
        {"title": "Training rooms", "evaluated": False, "rooms": trained},
    ]
    return [group for group in groups if group["rooms"]]


def _rooms(offered: list[tuple[str, str]], judged: bool) -> list[dict[str, str]]:
    return [{"name": name, "score": score} for name, score in offered if bool(score) == judged]


def prediction_layers(results: Results, experiment: str, supervised: str, room: Scene) -> list[Layer]:
    """Truth and predictions of a room that is judged, in the order in which they were made, as far as they were."""
    layers = [] if room.labels is None else [Layer("truth", room.labels, judged=False)]

    def add(name: str, made_by: str, stage_name: str, mode: str) -> None:
        found = results.prediction(made_by, stage_name, room)
        if mode in found:
            layers.append(Layer(name, found[mode]))

    last = results.iterations
    add("initial U-Net*", experiment, BASELINE, "point")
    for k in range(1, last):
        add(f"iteration {k}", experiment, f"evaluate_{k}", "full")
    add(f"iteration {last}†", experiment, f"evaluate_{last}", "point")
    add(f"iteration {last}", experiment, f"evaluate_{last}", "full")
    add("fully supervised", supervised, BASELINE, "point")
    return layers + _confidence(results, experiment, f"evaluate_{last}", room)


def pseudo_label_layers(results: Results, experiment: str, room: Scene, clicks: Clicks) -> list[Layer]:
    """Truth, initial labels and the pseudo labels of every iteration of a training room, as far as they were made."""
    layers = [] if room.labels is None else [Layer("truth", room.labels, judged=False)]
    layers.append(Layer("initial labels", expand_clicks(room, clicks)))
    for k in range(1, results.iterations + 1):
        labels = results.pseudo_labels(experiment, k, room)
        if labels is not None:
            layers.append(Layer(f"pseudo labels {k}", labels))
    return layers + _confidence(results, experiment, f"pseudo_{results.iterations}", room)


def _confidence(results: Results, experiment: str, stage_name: str, room: Scene) -> list[Layer]:
    confidence = results.confidence(experiment, stage_name, room)
    return [] if confidence is None else [Layer("confidence", None, confidence, judged=False)]


def pack_room(room: Scene, layers: list[Layer], clicks: Clicks | None = None, seed: int = 0) -> dict[str, Any]:
    """A room and its layers, ready for JSON: ``data`` is base64 of the gzipped planes, PLANES first, then the layers.

    Coordinates are along the walls (room_axes), from the corner ``low`` 0, in steps of ``step`` metres.
    """
    shown = np.arange(room.num_points)
    if room.num_points > MOST_POINTS:
        drawn = np.random.default_rng(seed).choice(room.num_points, MOST_POINTS, replace=False)
        shown = np.unique(np.concatenate([drawn, [] if clicks is None else clicks.points]).astype(np.int64))
    view = room_view(room, *PANEL)
    axes = view.axes
    turned = np.column_stack([room.coords[:, :2] @ axes.T, room.coords[:, 2]]).astype(np.float64)  # [N, 3]
    turned -= turned.min(axis=0)
    step = max(float(turned.max()) / 65535, FINEST)
    light = LIGHT / np.linalg.norm(LIGHT)
    facing = np.abs(view.normals @ np.array([*(light[:2] @ axes), light[2]]))
    steps = np.rint(turned[shown] / step).astype("<u2")  # [K, 3]
    planes = [
        *(plane for axis in steps.T for plane in np.ascontiguousarray(axis).view(np.uint8).reshape(-1, 2).T),
        *(room.colors[shown].T & 0xF8),
        np.rint(255 * (0.62 + 0.38 * facing[shown])).astype(np.uint8) & 0xF8,
        view.sides[shown],
    ]
    for layer in layers:
        if layer.classes is None:
            planes.append(np.rint(255 * layer.confidence[shown].astype(np.float64)).astype(np.uint8))
        else:
            planes.append(np.where(layer.classes == IGNORE, NO_CLASS, layer.classes)[shown].astype(np.uint8))
    raw = np.concatenate([np.ascontiguousarray(plane) for plane in planes]).tobytes()
    return {
        "name": room.name,
        "points": len(shown),
        "all": room.num_points,
        "step": step,
        "spacing": view.spacing,
        "layers": [
            {"name": layer.name, "kind": "values" if layer.classes is None else "classes", "judged": layer.judged}
            for layer in layers
        ],
        "clicks": []
        if clicks is None
        else [[int(i), int(c)] for i, c in zip(np.searchsorted(shown, clicks.points), clicks.classes, strict=True)],
        "data": base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode("ascii"),
    }


def write_room(folder: Path, packed: dict[str, Any]) -> Path:
    """Write ``<folder>/<room>.js``."""
    path = folder / f"{packed['name']}.js"
    with write_aside(path) as aside:
        aside.write_text(f"otocRoom({json.dumps(packed)});\n", encoding="ascii")
    return path
