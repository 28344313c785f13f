"""Pi Model (Laine and Aila 2017): a network should say the same of two views of a room.

    L = cross entropy of the labelled points + w(t) * mean over all points i of |p_i - p~_i|^2

p and p~ [P, C] are the probabilities of the same points in two views, augmented apart; the gradient flows through both,
the labels are learnt in the first. w(t) rises as w * exp(-5 (1 - t)^2) over the first part of the training and stays.

Theirs, in code: both terms are means over all samples and w is 100, for the mean over the classes as well, times the
share of samples that have a label. Here the cross entropy is a mean over the labelled points, so that share is in it
already, and 100 / 10 classes make the w of 10. Their dropout and input noise are the network's and the augmentation's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from otoc_lib.config import Config, param
from otoc_lib.methods.method import Iteration, Method
from otoc_lib.methods.stages import Stages
from otoc_lib.training.losses import widened
from otoc_lib.training.task import WHOLE, CrossEntropy, Shares
from otoc_lib.training.voxels import Batch


@dataclass(frozen=True, kw_only=True)
class Parameters(Config):
    trains_once = True
    consistency: float = param(10.0, "consistency", low=0, high=10_000)  # w
    consistency_ramp: float = param(0.3, "consistency", low=0, high=1)  # share of the steps over which it rises


def ramp(progress: float) -> float:
    """exp(-5 (1 - t)^2) for t from 0 to 1, and 1 beyond."""
    return math.exp(-5 * (1 - min(progress, 1.0)) ** 2)


def consistency_weight(config: Parameters, step: int, steps: int) -> float:
    """w(t) of a step, counted from 0, of so many."""
    rising = config.consistency_ramp * steps
    return config.consistency * (ramp(step / rising) if rising else 1.0)


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of logits [V, C], in float32."""
    return functional.softmax(widened(logits.float()), dim=1)[:, : logits.shape[1]].contiguous()


def squared_distance(first: Batch, p: Tensor, second: Batch, q: Tensor) -> Tensor:
    """Mean over the points of |p_i - q_i|^2, with p and q [V, C] those of the voxels of two views of the same points.

    Points that share their voxel in both views differ alike: each pair of voxels is computed once.
    """
    voxels = torch.stack([first.point_to_voxel, second.point_to_voxel])  # [2, P]
    pairs, points = torch.unique(voxels[0] * len(q) + voxels[1], return_counts=True)
    a = functional.embedding(torch.div(pairs, len(q), rounding_mode="floor"), p)  # [K, C]
    b = functional.embedding(pairs % len(q), q)
    return ((a - b).square().sum(dim=1) * points).sum() / points.sum()


class TwoViews(CrossEntropy):
    """Cross entropy in the first view, and the distance of both."""

    config: Parameters
    reads = (*CrossEntropy.reads, "consistency")
    views = 2

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        first, second = batches
        loss, logits = self.loss_and_logits(first)
        loss = shares["labelled"] * loss
        weight = consistency_weight(self.config, step, self.schedule(self.config, 1).steps)
        if not weight:
            return loss
        other = self.model(second.voxels)[1]
        distance = squared_distance(first, probabilities(logits), second, probabilities(other))
        return loss + shares["points"] * weight * distance

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        return {**super().counts(batches), "points": len(batches[0].point_to_voxel)}


def loop(stages: Stages) -> Iterator[Iteration]:
    """One network, trained once."""
    networks = stages.train_all(1, stages.clicks(), warm_start={})
    yield Iteration(1, networks, stages.evaluate("evaluate_1", networks))


METHOD = Method("Pi Model", loop, networks=lambda config: {"unet": TwoViews})
