"""Algorithm 1 of the paper, read top to bottom.

    clicks -> initial labels
    repeat:  train the 3D U-Net Theta (and the relation net R) on the labels in use
             predict every training room, combine Theta and R, propagate over the super-voxel graph
             keep what is confident as the labels of the next iteration; clicks always keep theirs

``variant`` leaves parts out, for Table 3: ``unet`` labels points by the U-Net alone, ``unet_gp`` propagates over colour
and position, ``unet_rel_gp`` is the whole method.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib import processes
from otoc_lib.config import Config
from otoc_lib.device import choose_device
from otoc_lib.methods.method import Iteration, Method, Networks, Scores, supervoxel_nodes, unet_modes
from otoc_lib.methods.stages import Stages
from otoc_lib.models.build import new_relation_net
from otoc_lib.propagation import combine, propagate_graph
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.pooling import pool_mean
from otoc_lib.training.losses import class_weights, coarse_loss, labelled_weight, relation_loss
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.predict import Prediction, predict
from otoc_lib.training.task import WHOLE, CrossEntropy, Labels, Shares, Task
from otoc_lib.training.voxels import Batch


def loop(stages: Stages) -> Iterator[Iteration]:
    """Algorithm 1. Yields after every iteration, so that a caller can look at it before the next one starts."""
    clicks = stages.clicks()
    labels, trained, every = clicks, {}, []
    for number in stages.config.iterations:
        trained = stages.train_all(number, labels, warm_start=trained)
        every.append(trained)
        shown = stages.mean_of_last(every)
        evaluation = stages.evaluate(f"evaluate_{number}", shown)
        labels = stages.relabel(number, trained, clicks)
        yield Iteration(number, shown, evaluation, labels)


# --- what is trained --------------------------------------------------------------------------------------------------


class Contrast(Task):
    """The relation net: contrast of labelled super-voxels with the prototypes of the classes (eqs. 6 and 7), and cross
    entropy at the coarser levels of its backbone if ``coarse_loss``."""

    reads = ("relation",)
    stream = 1

    @staticmethod
    def build(config: Config, num_classes: int) -> nn.Module:
        return new_relation_net(config, num_classes)

    @staticmethod
    def schedule(config: Config, iteration: int) -> Schedule:
        if iteration == 1:
            return Schedule(config.relation_steps, config.learning_rate)
        return Schedule(config.relation_steps_later, config.learning_rate_later)

    def __init__(self, config: Config, scenes: list[Scene], labels: Labels):
        super().__init__(config, scenes, labels)
        self.class_weights = class_weights(config, scenes, labels).to(choose_device(config))  # [C]
        self.sampled: list[tuple[Tensor, Tensor]] = []  # of the parts of a step

    @staticmethod
    def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        mean = Task.mean(states)
        return mean | {"prototypes": functional.normalize(mean["prototypes"], dim=1)}

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        (batch,) = batches
        if self.config.coarse_loss:
            embeddings, coarse = self.model.forward_all_levels(batch.voxels)  # [V, D]
        else:
            embeddings, coarse = self.model(batch.voxels), []
        loss, sampled = relation_loss(self.model, embeddings, batch, self.config.relation_samples, generator)
        nothing = embeddings.new_zeros(0, embeddings.shape[1]), batch.point_to_voxel[:0]
        self.sampled.append(sampled or nothing)
        return loss + shares["labelled"] * coarse_loss(self.config, coarse, batch, self.class_weights)

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        return {"labelled": labelled_weight(batches[0].labels, self.class_weights)}

    def survey(self, parts: Sequence[list[Batch]]) -> list[Shares]:
        """The shares, and in every batch the super-voxels of all, in the order that they have in one batch."""
        labels = [processes.joined(batch.supervoxels.labels) for (batch,) in parts]
        whole, before = torch.cat([of_all for of_all, _ in labels]), 0
        for (batch,), (of_all, own) in zip(parts, labels, strict=True):
            batch.whole = whole, before + own
            before += len(of_all)
        return super().survey(parts)

    def after_step(self, step: int) -> None:
        """Move the prototypes towards the super-voxels of this step; a step without labels leaves them alone."""
        embeddings, classes = (torch.cat(values) for values in zip(*self.sampled, strict=True))
        self.model.update_prototypes(embeddings.to(self.model.prototypes.dtype), classes)
        self.sampled = []


def networks(config: Config) -> dict[str, type[Task]]:
    """The U-Net and, in the whole method, the relation net."""
    return {"unet": CrossEntropy, **({"relation": Contrast} if config.variant == "unet_rel_gp" else {})}


# --- how it predicts --------------------------------------------------------------------------------------------------


def propagate(config: Config, scene: Scene, prediction: Prediction) -> Tensor:
    """Class probabilities Q [M, C] of the super-voxels after combination and mean field (eqs. 2-5).

    ``unet_gp`` propagates the U-Net's probabilities over colour and position; ``unet_rel_gp`` propagates the product
    with the relation net's over colour, position and both networks' features.
    """
    return propagate_graph(
        unary(config, scene, prediction),
        pairwise_features(config, scene, prediction),
        bandwidth=config.bandwidth,
        weight=config.pairwise_weight,
        scaling=config.pairwise_scaling,
        steps=config.mean_field_steps,
        tolerance=config.mean_field_tolerance,
        storage=config.propagation,
        memory=config.propagation_memory,
    )


def unary(config: Config, scene: Scene, prediction: Prediction) -> Tensor:
    """Class probabilities P [M, C] before propagation: the U-Net's, pooled (eq. 2), times the relation net's."""
    pooled = pool_mean(prediction.probabilities, *_supervoxels(scene, prediction))  # [M, C]
    if config.variant == "unet_gp":
        return pooled
    return combine(pooled, prediction.relation_probabilities, config.relation_power)


def pairwise_features(config: Config, scene: Scene, prediction: Prediction) -> list[Tensor]:
    """Blocks of features [M, D] of the super-voxels that the kernel compares (eq. 5): colour, position, u and f."""
    blocks = hand_made_features(scene, prediction)
    if config.variant == "unet_gp":
        return blocks
    return [*blocks, prediction.features, prediction.relation_features]


def hand_made_features(scene: Scene, prediction: Prediction) -> list[Tensor]:
    """Mean colour, from -1 to 1, and position, metres, of every super-voxel, [M, 3] each."""
    device = prediction.probabilities.device
    colors = torch.from_numpy(scene.colors / np.float32(127.5) - 1).to(device)  # [N, 3]
    coords = torch.from_numpy(scene.coords.copy()).to(device)  # [N, 3]
    return [pool_mean(values, *_supervoxels(scene, prediction)) for values in (colors, coords)]


def _supervoxels(scene: Scene, prediction: Prediction) -> tuple[Tensor, int]:
    return supervoxel_nodes(scene).to(prediction.probabilities.device), scene.num_supervoxels


def predict_modes(config: Config, scene: Scene, trained: Networks) -> dict[str, Scores]:
    """``point``: the U-Net alone (the paper's dagger); ``sv``: averaged in super-voxels, nothing else; where a variant
    has them, ``relation``: the relation net alone, ``product``: of the two, before propagation, and ``full``: after it.
    """
    prediction = predict(config, scene, trained["unet"], trained.get("relation"))
    modes = unet_modes(scene, prediction.probabilities)
    of_supervoxels = {}  # [M, C]
    if config.variant == "unet_rel_gp":
        of_supervoxels["relation"] = prediction.relation_probabilities
        of_supervoxels["product"] = unary(config, scene, prediction)
    if config.variant != "unet":
        of_supervoxels["full"] = propagate(config, scene, prediction)
    nodes = supervoxel_nodes(scene)
    return modes | {mode: Scores(values, nodes) for mode, values in of_supervoxels.items()}


# --- how it relabels --------------------------------------------------------------------------------------------------


def scores(config: Config, scene: Scene, trained: Networks) -> Scores:
    """What becomes labels: probabilities of the points by the U-Net alone, or of the super-voxels after propagation."""
    prediction = predict(config, scene, trained["unet"], trained.get("relation"))
    return scores_of(config, scene, prediction)


def scores_of(config: Config, scene: Scene, prediction: Prediction) -> Scores:
    """``scores`` of a room that is predicted already."""
    if config.variant == "unet":
        return Scores(prediction.probabilities, None)
    before = unary(config, scene, prediction)
    return Scores(propagate(config, scene, prediction), supervoxel_nodes(scene), before)


def reads(config: Config) -> tuple[str, ...]:
    """Groups of parameters that prediction reads, beside the network's and the views'."""
    parts = {"unet": (), "unet_gp": ("graph",), "unet_rel_gp": ("graph", "relation", "combination")}
    return ("variant", *parts[config.variant])


METHOD = Method(
    title="One Thing One Click",
    loop=loop,
    networks=networks,
    predict=predict_modes,
    modes=("point", "sv", "full"),
    scores=scores,
    reads=reads,
    version=2,
)
