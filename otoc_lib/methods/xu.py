"""Weak supervision by Xu and Lee (2020): what unlabelled points can be asked for, and predictions smoothed afterwards.

    L = cross entropy of the labelled points
        + [step >= weak_from * steps] (siamese * L_siam + multiple_instance * L_mil + smoothness * L_smo)

    L_siam  mean over the points of |p_i - p~_i|^2, the probabilities in two views; the gradient flows through both
    L_mil   mean over columns b of the batch and classes c of BCE(sigmoid(max_{i in b} z_ic), Y_bc), Y_bc = 1 where any
            point of class c lies in column b of a metre by a metre; of columns that a crop has cut nothing is asked
    L_smo   mean over neighbours i, k of w_ik mean_c (p_ic - p_kc)^2,
            w_ik = exp(-(|x_i - x_k|^2 + |rgb_i - rgb_k|^2) / 0.1)

The labels of the columns are taken from all points, as the authors do: that is more supervision than the labelled
points have. Neighbours are the 26 voxels around a voxel, where theirs are ten points, most of them in the voxel. In
their released code the weak terms never begin (the epoch is a number read when the graph is built) and both views are
one array; here they are what the paper says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from otoc_lib.annotation.clicks import columns
from otoc_lib.config import Config, param
from otoc_lib.errors import OtocError, listed
from otoc_lib.labels import IGNORE
from otoc_lib.methods import pi_model
from otoc_lib.methods.method import Method, Networks, Scores, unet_modes
from otoc_lib.methods.pi_model import probabilities, squared_distance
from otoc_lib.on_demand import OnDemand
from otoc_lib.propagation.label_propagation import propagate_labels
from otoc_lib.scene import Scene
from otoc_lib.training.predict import predict
from otoc_lib.training.task import WHOLE, CrossEntropy, Labels, Shares
from otoc_lib.training.voxels import Batch

KERNEL = 0.1  # of the smoothness, squared metres and squared colours from 0 to 1


@dataclass(frozen=True, kw_only=True)
class Parameters(Config):
    trains_once = True
    siamese: float = param(10.0, "weak", low=0, high=10_000)
    multiple_instance: float = param(1.0, "weak", low=0, high=10_000)
    smoothness: float = param(1.0, "weak", low=0, high=10_000)
    weak_from: float = param(0.5, "weak", low=0, high=1)  # share of the steps that the cross entropy has to itself


# --- the columns ------------------------------------------------------------------------------------------------------


def columns_of(scenes: list[Scene]) -> tuple[Mapping[str, np.ndarray], Tensor, Tensor]:
    """The column of every point and what lies in each.

    Returns:
        Scene name -> int64 [N], numbers counted through the scenes, made when they are asked for; whether each class
        has a point in each column, float32 [B, C]; and how many points each column has, int64 [B].
    """
    found, present, sizes, count = {}, [], [], 0
    for scene in scenes:
        places = _places(scene)
        occupied, column, size = np.unique(places, return_inverse=True, return_counts=True)
        holds = np.zeros((len(occupied), len(scene.label_set)), dtype=np.float32)
        if scene.labels is not None:
            known = scene.labels >= 0
            holds[column[known], scene.labels[known]] = 1
        present.append(holds)
        sizes.append(size)
        found[scene.name] = (scene, occupied, count)
        count += len(occupied)
    of_all = torch.from_numpy(np.concatenate(present)), torch.from_numpy(np.concatenate(sizes))
    return OnDemand(found, _numbered), *of_all


def _places(scene: Scene) -> np.ndarray:
    """The column of every point, int64 [N], in the order of x, then y."""
    x, y = columns(scene).T
    return x * (y.max() + 1) + y


def _numbered(known: tuple[Scene, np.ndarray, int]) -> np.ndarray:
    """Number of the column of every point, int64 [N], of a scene, its columns that hold one, and the first's number."""
    scene, occupied, first = known
    return np.searchsorted(occupied, _places(scene)) + first


def whole_columns(batch: Batch, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The columns in the rooms and tiles of the batch, int64 [B'], where each of its points is among them, int64 [P],
    and which of them no crop and no tile has cut, bool [B']; sizes: points of all columns, int64 [B]."""
    room = batch.coords[batch.point_to_voxel, 0].long()  # [P]; tiles of one scan share its columns
    both, place, points = torch.unique(batch.groups * batch.batch_size + room, return_inverse=True, return_counts=True)
    seen = torch.div(both, batch.batch_size, rounding_mode="floor")
    return seen, place, points >= sizes[seen]


def multiple_instance_loss(logits: Tensor, batch: Batch, present: Tensor, sizes: Tensor) -> Tensor:
    """L_mil: logits [V, C] of the voxels; present [B, C] and sizes [B] of all columns, of which those count that lie in
    the batch as a whole; 0 without any."""
    seen, place, whole = whole_columns(batch, sizes)
    if not whole.any():
        return logits.sum() * 0.0
    pairs = torch.unique(place * len(logits) + batch.point_to_voxel)  # a voxel may lie in two columns
    column = torch.div(pairs, len(logits), rounding_mode="floor")
    values = functional.embedding(pairs % len(logits), logits)  # [K, C]
    lowest = values.new_full((len(seen), logits.shape[1]), -torch.inf)
    best = lowest.scatter_reduce(0, column[:, None].expand_as(values), values, "amax")  # [B', C]
    return functional.binary_cross_entropy_with_logits(best[whole], present[seen[whole]].to(best.dtype))


# --- the neighbours ---------------------------------------------------------------------------------------------------


def neighbours(batch: Batch) -> tuple[Tensor, Tensor]:
    """The pairs of neighbouring voxels, int64 [K] each: every pair once, none with itself."""
    pairs = batch.voxels.pyramid.submanifold(0, 3)
    first, second = pairs.inputs.long(), pairs.outputs.long()
    apart = first < second
    return first[apart], second[apart]


def smoothness_loss(p: Tensor, batch: Batch, voxel_size: float) -> Tensor:
    """L_smo of the probabilities p [V, C] of the voxels; a voxel without a neighbour counts for nothing."""
    first, second = neighbours(batch)
    if len(first) == 0:
        return p.sum() * 0.0
    places = batch.coords[:, 1:].to(p.dtype) * voxel_size  # [V, 3] metres
    colors = batch.features[:, :3].to(p.dtype) / 2  # from -1..1: differences of colours from 0 to 1
    distances = (places[first] - places[second]).square().sum(1) + (colors[first] - colors[second]).square().sum(1)
    differences = (functional.embedding(first, p) - functional.embedding(second, p)).square().mean(1)
    return (torch.exp(-distances / KERNEL) * differences).mean()


# --- the task ---------------------------------------------------------------------------------------------------------


class Weak(CrossEntropy):
    """Cross entropy in the first view and, later, the three weak terms."""

    config: Parameters
    reads = (*CrossEntropy.reads, "weak")
    views = 2

    def __init__(self, config: Config, scenes: list[Scene], labels: Labels):
        super().__init__(config, scenes, labels)
        unknown = [scene.name for scene in scenes if scene.labels is None or (scene.labels == IGNORE).all()]
        if unknown and self.config.multiple_instance:
            raise OtocError(
                f"method: xu: {listed(unknown, most=5)} have no true labels, which say what lies in a column; set "
                "multiple_instance: 0 to learn without columns"
            )
        self.groups, self.present, self.sizes = columns_of(scenes)

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        first, second = batches
        loss, logits = self.loss_and_logits(first)
        loss = shares["labelled"] * loss
        config = self.config
        if step < config.weak_from * self.schedule(config, 1).steps:
            return loss
        p = probabilities(logits)
        if config.siamese:
            other = probabilities(self.model(second.voxels)[1])
            loss = loss + shares["points"] * config.siamese * squared_distance(first, p, second, other)
        if config.multiple_instance:
            known = self.present.to(logits.device), self.sizes.to(logits.device)
            of_columns = multiple_instance_loss(logits.float(), first, *known)
            loss = loss + shares["columns"] * config.multiple_instance * of_columns
        if config.smoothness:
            loss = loss + shares["neighbours"] * config.smoothness * smoothness_loss(p, first, config.voxel_size)
        return loss

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        first = batches[0]
        return {
            **super().counts(batches),
            "points": len(first.point_to_voxel),
            "columns": int(whole_columns(first, self.sizes.to(first.groups.device))[2].sum()),
            "neighbours": len(neighbours(first)[0]),
        }


def predict_modes(config: Config, scene: Scene, networks: Networks) -> dict[str, Scores]:
    """``point`` and ``sv`` of the network, and ``propagated``, its probabilities smoothed over the points."""
    modes = unet_modes(scene, predict(config, scene, networks["unet"], None).probabilities)
    return {**modes, "propagated": Scores(propagate_labels(scene, modes["point"].probabilities), None)}


METHOD = Method(
    "Xu and Lee",
    pi_model.loop,
    networks=lambda config: {"unet": Weak},
    predict=predict_modes,
    modes=("point", "sv", "propagated"),
)
