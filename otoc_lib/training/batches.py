"""The batches of a training run, and the loader that makes them ahead."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from otoc_lib import processes
from otoc_lib.config import Config
from otoc_lib.errors import OtocError
from otoc_lib.scene import Scene
from otoc_lib.tiling import Tiling, tiling
from otoc_lib.training.voxels import Batch, Sample, make_batch, training_sample
from otoc_lib.training.workers import outlive_signals


class Batches(Dataset):
    """The batches of a step of a training run, one a view: a pure function of the seed and the step, so that a resumed
    run equals one that was never interrupted, whatever the number of worker processes.

    The views of a step hold the same points in the same order, each augmented anew; the first is the same whether or
    not there are others. ``room`` makes rooms of what ``scenes`` lists.
    """

    def __init__(
        self,
        config: Config,
        scenes: Sequence[Any],
        labels: Mapping[str, np.ndarray],
        seed: list[int],
        views: int = 1,
        groups: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.config, self.scenes, self.labels, self.seed, self.views = config, scenes, labels, seed, views
        self.groups = groups or {}
        self.tilings: dict[str, Tiling] = {}
        counts = [(scene, len(self.tiling_of(scene))) for scene in scenes]
        self.rooms: list[tuple[Any, Any, int]] = [  # what scenes lists, how many parts it has, and which of them
            (scene, count, number) for scene, count in counts for number in range(count)
        ]
        self.batch_size = min(config.batch_size, len(self.rooms))
        self.per_epoch = len(self.rooms) // self.batch_size

    def __getitem__(self, step: int) -> list[Batch]:
        return self.part(step, 0, 1)

    def part(self, step: int, number: int, parts: int) -> list[Batch]:
        """Part ``number`` of the batches of a step, one a view: so many equal parts have its rooms in their order."""
        samples: list[list[Sample]] = [[] for _ in range(self.views)]
        epoch, rooms = self.rooms_of(step, number, parts)
        for index in rooms:
            scene, labels, groups = self.room(index)
            for view in range(self.views):
                generator = np.random.default_rng([*self.seed, epoch, index, *([view] if view else [])])
                kept = samples[0][-1].kept if view else None
                samples[view].append(training_sample(scene, labels, self.config, generator, kept, groups))
        return [make_batch(of_view, self.config.sparse_backend) for of_view in samples]

    def rooms_of(self, step: int, number: int, parts: int) -> tuple[int, list[int]]:
        """The epoch of a step, and the places of the rooms of a part of it."""
        epoch, position = divmod(step, self.per_epoch)
        order = np.random.default_rng([*self.seed, epoch]).permutation(len(self.rooms))
        size = self.batch_size // parts
        first = position * self.batch_size + number * size
        return epoch, order[first : first + size].tolist()

    def room(self, index: int) -> tuple[Scene, np.ndarray, np.ndarray | None]:
        """A room by its place, its labels and its groups. Every tile of a scan larger than one is a room of its own."""
        scene, count, number = self.rooms[index]
        labels, groups = self.labels[scene.name], self.groups.get(scene.name)
        if count == 1:
            return scene, labels, groups
        points = self.tiling_of(scene)[number].points
        return scene.part(points), labels[points], None if groups is None else groups[points]

    def tiling_of(self, scene: Scene) -> Tiling:
        if scene.name not in self.tilings:
            self.tilings[scene.name] = tiling(scene.coords, self.config.tile_metres, self.config.tile_overlap)
        return self.tilings[scene.name]

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: it cuts scans anew, since a tiling would bring a copy of the coordinates."""
        return {**self.__dict__, "tilings": {}}


class Parts(Dataset):
    """The parts of the batches of a step that this process trains on, one after the other: ``accumulate`` of them.

    The batch is cut into ``accumulate`` pieces, and each piece is shared out among the processes.

    Raises OtocError where the rooms of a step cannot be divided so.
    """

    def __init__(self, batches: Batches, accumulate: int):
        self.batches, self.parts = batches, accumulate * processes.count()
        self.numbers = [piece * processes.count() + processes.rank() for piece in range(accumulate)]
        if batches.batch_size % self.parts:
            raise OtocError(
                f"parameters 'devices' and 'accumulate': a step has {batches.batch_size} rooms, which cannot be cut "
                f"into {processes.count()} x {accumulate} equal parts; change them, or 'batch_size' (for the balls of "
                "'method: mprm', 'balls_per_step'); where there are fewer rooms than that, a step has all of them"
            )

    def __getitem__(self, step: int) -> list[list[Batch]]:
        return [self.batches.part(step, number, self.parts) for number in self.numbers]


def batch_loader(batches: Dataset, steps: range, workers: int, device: torch.device) -> DataLoader:
    """The items of some steps in order, made ahead by worker processes, or here and now where there are none."""
    pin = device.type == "cuda"
    return DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin, worker_init_fn=outlive_signals
    )
