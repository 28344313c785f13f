"""Which clicks deserve a second look: those that a U-Net contradicts which learnt from them, but not by heart.

Networks learn what many examples have in common before they learn single examples (Arpit et al., "A Closer Look at
Memorization in Deep Networks", 2017), so one that stops early still takes a chair for a chair that was clicked as a
table. Trained to the end it knows half of the wrong clicks by heart, and later iterations learn from labels that agree
with them. How early is measured in benchmarks/doubted_clicks.md: after a quarter of the steps.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from otoc_lib.annotation.assist import Doubt, contradicted
from otoc_lib.annotation.clicks import Clicks, click_rows
from otoc_lib.annotation.kept import read_kept, still_kept
from otoc_lib.config import Config, in_project
from otoc_lib.errors import OtocError
from otoc_lib.methods.control import BASELINE
from otoc_lib.methods.stages import Scenes, Stages, clicks_of, predict_rooms
from otoc_lib.scene import Scene

SHARE = 4  # of unet_steps, one in so many
SOURCES = ("simulated", "file")  # of clicks
# By how much a click is contradicted that may be left out unseen. All that are contradicted would take whole classes
# with them, those that are learnt late.
MARGIN = 0.2


@dataclass(frozen=True)
class SecondLook:
    """Clicks, and what a network says of them.

    scenes: the rooms. clicks: by room, all that the network learnt from. doubts: by room, those that it contradicts and
    that nobody kept. seen: by room, the probabilities float32 [M, C] of its super-voxels. kept: how many contradicted
    clicks somebody looked at before and kept.
    """

    scenes: list[Scene]
    clicks: dict[str, Clicks]
    doubts: dict[str, list[Doubt]]
    seen: dict[str, np.ndarray]
    kept: int = 0

    def without(self, margin: float = MARGIN) -> dict[str, Clicks]:
        """The clicks that are not contradicted by more than ``margin``."""
        far = {name: [doubt for doubt in doubts if doubt.margin < -margin] for name, doubts in self.doubts.items()}
        return {name: _without(clicks, far[name]) for name, clicks in self.clicks.items()}

    def rows(self) -> list[tuple[Any, ...]]:
        """Of every click that is contradicted, the most doubtful of all rooms first: scene, vertex, x, y and z in the
        axes, unit and offset of the file, the class clicked, the class seen, and the margin."""
        every = []
        for scene in self.scenes:
            of_point = {row[1]: row for row in click_rows(scene, self.clicks[scene.name])}
            for doubt in self.doubts[scene.name]:
                name, point, x, y, z, clicked, _ = of_point[doubt.point]
                every.append((name, point, x, y, z, clicked, scene.label_set.name_of(doubt.label), doubt.margin))
        return sorted(every, key=lambda row: row[-1])

    def text(self, most: int | None = None) -> str:
        """``rows`` as ``otoc second-look`` prints them; ``most``: lines at most, all with its ``--all``."""
        rows = self.rows()
        clicks, rooms = sum(map(len, self.clicks.values())), len(self.scenes)
        lines = [f"{clicks} clicks in {rooms} room{'s' if rooms > 1 else ''}; the network contradicts {len(rows)}"]
        if self.kept:
            lines[0] += f", beside {self.kept} that you kept in the picker"
        if rows:
            lines += [
                "the most doubtful first; margin: by how much less probable the network finds what was clicked",
                "",
            ]
            cells = [
                ("scene", "vertex", "x", "y", "z", "clicked", "seen as", "margin"),
                *(
                    (name, f"{point}", x, y, z, clicked, seen, f"{margin:.2f}")
                    for name, point, x, y, z, clicked, seen, margin in rows[:most]
                ),
            ]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            sides = "<>>>><<>"
            for row in cells:
                lines.append(
                    "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True))
                )
            if most is not None and most < len(rows):
                lines.append(f"... and {len(rows) - most} more; --all lists them")
        return "\n".join(lines)


def second_look(config: Config, scenes: Scenes, steps: int | None = None) -> SecondLook:
    """Train a U-Net on the clicks of an experiment for a short time, or take the one that is there, and ask it.

    The U-Net is a run of its own, of the profile ``<profile>_second_look``; one that was stopped goes on.

    Args:
        config: the experiment; its method may be any that learns from clicks.
        scenes: its rooms; those of evaluation are not needed.
        steps: of the training; None for a quarter of ``unet_steps``.

    Raises:
        OtocError: the experiment's labels are no clicks.
    """
    if config.source not in SOURCES:
        raise OtocError(
            f"{config.profile}/{config.experiment}: has 'source: {config.source}'; a second look is for clicks, "
            "'source: file' or 'source: simulated'"
        )
    steps = steps or max(1, config.unet_steps // SHARE)
    profile = f"{config.profile}_second_look"
    short = replace(config, profile=profile, method="control", unet_steps=steps, self_train_iterations=1)
    stages = Stages(short, scenes, BASELINE)
    labels = stages.clicks()
    stages.train("unet", 1, labels)
    clicks, seen = dict(clicks_of(labels, scenes.train)), predict_rooms(short, scenes.train)
    every = {room.name: contradicted(room, clicks[room.name], seen[room.name]) for room in scenes.train}
    doubts = _not_kept(config, scenes.train, clicks, every)
    kept = sum(map(len, every.values())) - sum(map(len, doubts.values()))
    return SecondLook(scenes.train, clicks, doubts, seen, kept)


def _not_kept(
    config: Config, scenes: list[Scene], clicks: dict[str, Clicks], doubts: dict[str, list[Doubt]]
) -> dict[str, list[Doubt]]:
    if config.source != "file":
        return doubts
    said = read_kept(in_project(config.clicks_file))
    kept = {room.name: still_kept(said.get(room.name, {}), clicks[room.name], room.label_set) for room in scenes}
    return {name: [doubt for doubt in found if doubt.point not in kept[name]] for name, found in doubts.items()}


def _without(clicks: Clicks, doubts: list[Doubt]) -> Clicks:
    kept = ~np.isin(clicks.points, [doubt.point for doubt in doubts])
    return replace(clicks, points=clicks.points[kept], classes=clicks.classes[kept], objects=clicks.objects[kept])
