"""The losses of the two networks (eqs. 1, 6 and 7), over the voxels of a batch."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from otoc_lib.config import Config
from otoc_lib.labels import IGNORE
from otoc_lib.models.relation import RelationNet, sample_supervoxels
from otoc_lib.one_thread import one_thread
from otoc_lib.scene import Scene
from otoc_lib.training.voxels import Batch, VoxelLabels, send


def point_cross_entropy(logits: Tensor, labels: VoxelLabels, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy over labelled points, weighted by class; 0, not NaN, where a batch has no label.

    Points of one voxel and class have the same loss: it is computed once and counted for each of them.

    Args:
        logits: [V, C] of the voxels; weights: [C] in the precision of the loss.
        smoothing: share of every label that goes to all classes alike (Szegedy et al. 2016).
    """
    count = logits.shape[1]
    log_p = functional.log_softmax(widened(logits.to(weights.dtype)), 1)[:, :count]  # [V, C]
    # gather, since on the CPU its gradient is summed in a fixed order; that of plain indexing is not.
    losses = -log_p.reshape(-1).gather(0, labels.voxels * count + labels.classes)  # [K]
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_p.mean(dim=1).gather(0, labels.voxels)
    weight = labels.points * weights.gather(0, labels.classes)  # [K]
    with one_thread():  # sums over a whole tensor
        return (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def labelled_weight(labels: VoxelLabels, weights: Tensor) -> Tensor:
    """What ``point_cross_entropy`` is a mean over: the labelled points, each with the weight [C] of its class."""
    with one_thread():
        return (labels.points * weights.gather(0, labels.classes)).sum()


def coarse_loss(config: Config, logits: list[Tensor], batch: Batch, weights: Tensor) -> Tensor | float:
    """Deep supervision (Lee et al. 2015): ``coarse_loss`` times the mean cross entropy at the coarser levels.

    A voxel of a level answers for the labels of all points in it, which ``label_smoothing`` smooths.

    Args:
        logits: [V_l, C] of the voxels of each level from the second on; none of them: 0.
        weights: [C], of the classes.
    """
    voxels, losses = batch.labels.voxels, []
    for level, of_level in enumerate(logits):
        voxels = batch.voxels.pyramid.parents(level)[voxels]
        labels = replace(batch.labels, voxels=voxels)
        losses.append(point_cross_entropy(of_level, labels, weights, config.label_smoothing))
    return config.coarse_loss * torch.stack(losses).mean() if losses else 0.0


def widened(logits: Tensor) -> Tensor:
    """Logits [K, C] with at least 16 columns, the new ones -inf, which changes no probability.

    On the CPU, PyTorch's softmax over fewer columns than a vector holds takes ten times as long.
    """
    missing = 16 - logits.shape[1]
    return functional.pad(logits, (0, missing), value=-torch.inf) if missing > 0 else logits


def relation_loss(
    model: RelationNet, embeddings: Tensor, batch: Batch, per_class: int, generator: torch.Generator
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Cross entropy of f.k/tau over super-voxels drawn evenly from the classes present (eq. 6).

    Of a part of a step's batch it is what that adds to the mean over all that are drawn: those from the whole batch,
    of which a part has its own.

    Args:
        embeddings: of the voxels, [V, D], by the model.

    Returns:
        The loss, and what the prototypes follow after the step: embeddings [S, D], detached, and classes int64 [S] of
        the drawn super-voxels. 0 and None where the batch has no label.
    """
    classes = batch.supervoxels.labels
    of_all, first = (classes, 0) if batch.whole is None else batch.whole
    labelled = torch.nonzero(of_all != IGNORE).squeeze(1)
    drawn = labelled[sample_supervoxels(of_all[labelled], per_class, generator)]
    own = drawn[(drawn >= first) & (drawn < first + len(classes))] - first
    if len(own) == 0:
        return embeddings.sum() * 0.0, None
    pooled = batch.supervoxels.pool(embeddings.to(model.prototypes.dtype), own)
    sampled, targets = functional.normalize(pooled, dim=1), send(classes[own], pooled.device)
    loss = functional.cross_entropy(model.logits(sampled), targets)
    return len(own) / len(drawn) * loss, (sampled.detach(), targets)


def class_weights(config: Config, scenes: list[Scene], labels: Mapping[str, np.ndarray]) -> Tensor:
    """Weights of the cross entropy, float32 [C]: ones, or 1/sqrt(frequency) among the labels in use with mean 1."""
    num_classes = len(scenes[0].label_set)
    if config.class_weights == "none":
        return torch.ones(num_classes)
    counts = np.zeros(num_classes)
    for scene in scenes:
        used = labels[scene.name]
        counts += np.bincount(used[used != IGNORE], minlength=num_classes)
    if not counts.any():  # and nothing to weigh
        return torch.ones(num_classes)
    weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0)
    return torch.tensor(weights / weights[counts > 0].mean(), dtype=torch.float32)
