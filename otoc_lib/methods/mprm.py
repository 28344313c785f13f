"""Multi-path region mining by Wei et al. (2020): which classes are in a ball, or in a room, becomes labels of points.

    sets of classes -> train a classification network on balls: four maps [V, C], whose means are its logits
    every ball of every training room: softmax over the classes that are there of the largest of the four maps
    the mean over the balls around a point -> its likeliest class is its label; ``mprm_crf`` refines them before
    train the 3D U-Net on these labels: what is predicted

With ``mprm_paths: 1`` there is the plain map alone: what the other paths are held against.
With ``source: subcloud`` the balls are those whose classes are known, with ``source: scene`` the ball is the room.

Theirs, in code: classes that are not there get 0 instead of minus infinity, so one of them wins where the maps of those
that are there are negative; labels are a running mean over about a hundred visits, here a mean over all balls around a
point and over ``teacher_views``. Their encoder is KPConv, ours the U-Net's way down; their attention's sizes are shares
of more channels than ours has, so these have a least size here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib.annotation.clicks import label_statistics
from otoc_lib.annotation.subclouds import Subclouds
from otoc_lib.config import Config, param
from otoc_lib.device import choose_device, deterministic
from otoc_lib.files import holds, read_array, write_arrays, write_json
from otoc_lib.labels import IGNORE
from otoc_lib.methods.method import Iteration, Method
from otoc_lib.methods.stages import Stages, load_networks, no_labels, progress
from otoc_lib.models.build import IN_CHANNELS
from otoc_lib.models.region_miner import RegionMiner
from otoc_lib.on_demand import OnDemand
from otoc_lib.propagation import crf
from otoc_lib.propagation.effect import propagation_effect
from otoc_lib.scene import Scene
from otoc_lib.store import Stage
from otoc_lib.training.batches import Batches
from otoc_lib.training.memory import PREDICTION, telling_out_of_memory
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import WHOLE, CrossEntropy, Shares, Task
from otoc_lib.training.voxels import Batch, inference_sample, make_batch

VERSION = 1  # of the stage pseudo_1; raise it where what it makes changes its meaning
TOGETHER = 16  # balls that are predicted at once


@dataclass(frozen=True, kw_only=True)
class Parameters(Config):
    trains_once = True
    learns_sets = True
    # edge of the voxels of the maps, to the nearest halving of the grid; metres
    map_voxel: float = param(0.16, "maps", above=0.0001, high=10)
    mprm_steps: int = param(300_000, "maps_training", low=1, high=10**8)  # of the classification network
    balls_per_step: int = param(10, "maps_training", low=1, high=1024)
    # the first so many paths of plain, spatial, channel, point-wise
    mprm_paths: int = param(4, "maps", low=1, high=4, added=True)
    mprm_crf: bool = param(False, "maps_labels")


def loop(stages: Stages) -> Iterator[Iteration]:
    """Classification network, labels, U-Net."""
    sets = stages.clicks()
    maps = stages.train("maps", 1, sets)
    labels = pseudo_labels(stages, maps, sets)
    unet = stages.train("unet", 1, labels)
    yield Iteration(1, {"maps": maps, "unet": unet}, stages.evaluate("evaluate_1", {"unet": unet}), labels)


# --- balls ------------------------------------------------------------------------------------------------------------


class Balls(Batches):
    """Batches of balls of all rooms, each cut when its turn comes. The groups of their points are the balls' numbers.

    A ball of more than ``max_points`` is thinned evenly: without a part of it, it would not hold what it is said to.
    """

    config: Parameters

    def __init__(self, config: Parameters, scenes: list[Scene], sets: Mapping[str, Subclouds], seed: list[int]):
        super().__init__(config, scenes, {}, seed)
        self.rooms = [(scene, sets[scene.name], ball) for scene in scenes for ball in range(len(sets[scene.name]))]
        self.batch_size = min(config.balls_per_step, len(self.rooms))
        self.per_epoch = len(self.rooms) // self.batch_size

    def room(self, index: int) -> tuple[Scene, np.ndarray, np.ndarray]:
        scene, sets, ball = self.rooms[index]
        points = sets.points(scene, ball)
        points = points[:: ceil(len(points) / self.config.max_points)]
        return scene.part(points), np.full(len(points), IGNORE), np.full(len(points), index)


# --- the classification network ---------------------------------------------------------------------------------------


class RegionMining(Task):
    """Cross entropy of the sigmoid of each path's mean map with what the ball holds: a mean over balls and classes,
    summed over the paths."""

    config: Parameters
    reads = ("maps", "maps_training")
    stream = 2
    learns_sets = True

    @staticmethod
    def build(config: Parameters, num_classes: int) -> nn.Module:
        levels = 1 + max(0, round(log2(config.map_voxel / config.voxel_size)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return RegionMiner(
                IN_CHANNELS, config.unet_width, levels, config.unet_blocks, num_classes, config.mprm_paths
            )

    @staticmethod
    def schedule(config: Parameters, iteration: int) -> Schedule:
        return Schedule(config.mprm_steps, config.learning_rate)

    def __init__(self, config: Parameters, scenes: list[Scene], labels: Mapping[str, Subclouds]):
        super().__init__(config, scenes, labels)
        present = np.concatenate([labels[scene.name].present for scene in scenes])
        self.present = torch.from_numpy(present).float().to(choose_device(config))  # [B, C] of all balls

    def batches(self, scenes: list[Scene], labels: Mapping[str, Subclouds], seed: list[int]) -> Balls:
        return Balls(self.config, scenes, labels, seed)

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        (batch,) = batches
        balls = torch.unique_consecutive(batch.groups)  # [R], in the order of the batch
        logits = torch.stack([maps.mean(dim=1) for maps in self.model(batch.voxels)])  # [R, P, C]
        targets = self.present[balls][:, None].expand_as(logits)
        loss = logits.shape[1] * functional.binary_cross_entropy_with_logits(logits.float(), targets)
        return shares["balls"] * loss

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        return {"balls": batches[0].batch_size}


# --- labels -----------------------------------------------------------------------------------------------------------


def allowed(maps: Tensor, present: Tensor) -> Tensor:
    """Class probabilities [V, C] of the voxels of a ball: softmax of the largest of its maps [P, V, C], without the
    classes that it does not hold; present: bool [C], one of them true."""
    return torch.softmax(maps.float().amax(dim=0).masked_fill(~present, -torch.inf), dim=1)


@torch.inference_mode()
def mine(config: Config, scene: Scene, model: RegionMiner, sets: Subclouds) -> Tensor:
    """Class probabilities of the points of a room, float32 [N, C] on the CPU: means over the balls around each and over
    the views. A point whose balls hold no class has a row of zeros.

    model: on the compute device, in eval mode.
    """
    device, name = next(model.parameters()).device, list(scene.name.encode())
    total = torch.zeros(scene.num_points, sets.present.shape[1])
    visits = torch.zeros(scene.num_points, 1)
    useful = np.flatnonzero(sets.present.any(axis=1)).tolist()
    for start in range(0, len(useful), TOGETHER):
        balls = useful[start : start + TOGETHER]
        points = [sets.points(scene, ball) for ball in balls]
        cut = [scene.part(inside) for inside in points]
        for view in range(config.views):
            seeds = [[config.seed, view, ball, *name] for ball in balls]
            samples = [
                inference_sample(room, config, np.random.default_rng(seed))
                for room, seed in zip(cut, seeds, strict=True)
            ]
            batch = make_batch(samples, config.sparse_backend).to(device)
            pairs = zip(model(batch.voxels), torch.from_numpy(sets.present[balls]).to(device), strict=True)
            of_voxels = torch.cat([allowed(maps, present) for maps, present in pairs])  # [V, C] at the coarsest level
            voxels = batch.point_to_voxel
            for level in range(model.levels - 1):
                voxels = batch.voxels.pyramid.parents(level)[voxels]
            of_points = of_voxels[voxels].cpu().split([len(inside) for inside in points])
            for inside, probabilities in zip(points, of_points, strict=True):
                total[inside] += probabilities
                visits[inside] += 1
    return total / visits.clamp(min=1)


def pseudo_labels(stages: Stages, maps: Stage, sets: Stage) -> Stage:
    """Stage ``pseudo_1``: the likeliest class of every point that ``mine``, and the CRF, find one for.

    An interrupted stage makes no room again. The statistics are those of ``Stages.relabel``; with the CRF also those of
    the labels without it (``before_...``), and what it changes.
    """
    name = "pseudo_1"
    view = stages.prediction_view(name, "maps_labels", config=stages.config.teacher)

    def work(folder: Path, key: str) -> None:
        rooms, known = stages.scenes.train, stages.subclouds_of(sets)
        paths = {scene.name: folder / f"{scene.name}.safetensors" for scene in rooms}
        missing = [scene for scene in rooms if not holds(paths[scene.name], key)]
        loaded = load_networks(view, stages.method, rooms[0], {"maps": maps}) if missing else {}
        for scene in progress(missing, "pseudo labels 1", of=rooms):
            with deterministic(view), telling_out_of_memory(view, f"predicting {scene.name}", PREDICTION):
                found = mine(view, scene, loaded["maps"], known[scene.name])
            steps = {"before": found, "labels": crf.refine(scene, found)} if view.mprm_crf else {"labels": found}
            arrays = {step: likeliest(values) for step, values in steps.items()}
            confidence = steps["labels"].max(dim=1).values.numpy().astype(np.float16)
            write_arrays(paths[scene.name], {**arrays, "confidence": confidence}, {"key": key})
        labels, nothing = OnDemand(paths, partial(read_array, name="labels")), no_labels(rooms)
        statistics = label_statistics(rooms, labels, nothing)
        if view.mprm_crf:
            before = OnDemand(paths, partial(read_array, name="before"))
            without = label_statistics(rooms, before, nothing)
            statistics |= {f"before_{key}": value for key, value in without.items()}
            statistics |= propagation_effect(rooms, before, labels)
        confidences = [read_array(path, "confidence").astype(np.float64).mean() for path in paths.values()]
        write_json(folder / "statistics.json", statistics | {"mean_confidence": float(np.mean(confidences))})

    inputs = {"annotation": sets.key, "maps": maps.key, "train": stages.fingerprint("train")}
    return stages.run(view, name, {f"{__name__}.pseudo_labels": VERSION}, inputs, work, device=stages.device_of(view))


def likeliest(probabilities: Tensor) -> np.ndarray:
    """The likeliest class of each point, int16 [N], of probabilities [N, C]; IGNORE where all are 0."""
    best, classes = probabilities.max(dim=1)
    return np.where(best.numpy() > 0, classes.numpy(), IGNORE).astype(np.int16)


METHOD = Method(
    "Multi-path region mining",
    loop,
    networks=lambda config: {"maps": RegionMining, "unet": CrossEntropy},
    controls=({"mprm_crf": False}, {"mprm_paths": 1}),  # no network learns from sets of classes alone
    reads=lambda config: ("maps",),
)
