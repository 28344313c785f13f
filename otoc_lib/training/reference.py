"""The data path and the losses point by point, in plain NumPy, SciPy and PyTorch: slow twins of the fast forms.

Tests and benchmarks compare the two; nothing else uses them.
"""

import numpy as np
import torch
from scipy.ndimage import map_coordinates, uniform_filter1d
from torch import Tensor
from torch.nn import functional

from otoc_lib.config import Config
from otoc_lib.labels import IGNORE
from otoc_lib.models.relation import RelationNet, sample_supervoxels
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.pooling import majority_labels, plain_pool_mean
from otoc_lib.training import augmentation
from otoc_lib.training.voxels import Sample


def elastic(
    coords: np.ndarray, granularity: float, magnitude: float, generator: np.random.Generator, dtype: type = np.float32
) -> np.ndarray:
    """Twin of augmentation.elastic: SciPy interpolates the fields, kept in ``dtype``, one after the other."""
    low = coords.min(axis=0)
    spacing = 2 * granularity
    shape = np.ceil((coords.max(axis=0) - low) / spacing).astype(int) + 4
    where = ((coords - low) / spacing + 1.0).T
    moved = np.empty(coords.shape)
    for axis in range(3):
        noise = generator.standard_normal(shape).astype(dtype)
        for _ in range(2):
            for direction in range(3):
                noise = uniform_filter1d(noise, size=3, axis=direction, mode="constant")
        moved[:, axis] = coords[:, axis] + dtype(magnitude) * map_coordinates(noise, where, order=1)
    return moved


def training_sample(scene: Scene, labels: np.ndarray, config: Config, generator: np.random.Generator) -> Sample:
    """Twin of voxels.training_sample for rooms that need no crop."""
    coords = scene.coords.astype(np.float64) @ augmentation.random_matrix(config, generator) / config.voxel_size
    for granularity, magnitude in zip(config.elastic_granularity, config.elastic_magnitude, strict=True):
        coords = elastic(coords, granularity, magnitude, generator)
    rgb = scene.colors / 127.5 - 1.0 + config.color_shift * generator.standard_normal(3)
    known = [0, 0, 1] if config.input_position == "height" else [1, 1, 1]
    features = np.concatenate([rgb, known * coords * config.voxel_size], axis=1).astype(np.float32)
    return Sample(coords - coords.min(axis=0), features, labels.astype(np.int32), scene.supervoxels)


def voxelise(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells int32 (V, 4), mean features float32 (V, 6) and the voxel of every point, by sorting all points."""
    grids = [np.floor(sample.coords).astype(np.int64) for sample in samples]
    shape = np.max([grid.max(axis=0) + 1 for grid in grids], axis=0)
    keys = [np.ravel_multi_index((np.full(len(g), i), *g.T), (len(grids), *shape)) for i, g in enumerate(grids)]
    occupied, voxels = np.unique(np.concatenate(keys), return_inverse=True)
    cells = np.stack(np.unravel_index(occupied, (len(grids), *shape)), axis=1)
    features, counts = np.concatenate([sample.features for sample in samples]), np.bincount(voxels)
    means = np.stack([np.bincount(voxels, weights=column) / counts for column in features.T], axis=1)
    return cells.astype(np.int32), means.astype(np.float32), voxels


def points_of(samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Labels and super-voxels of all points, int64 [P], the latter counted through the rooms."""
    supervoxels, first = [], 0
    for sample in samples:
        supervoxels.append(sample.supervoxels.astype(np.int64) + first)
        first += int(sample.supervoxels.max()) + 1
    labels = np.concatenate([sample.labels for sample in samples]).astype(np.int64)
    return torch.from_numpy(labels), torch.from_numpy(np.concatenate(supervoxels))


def point_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Twin of losses.point_cross_entropy: of the logits [P, C] of all points, as PyTorch has it but for the weight of
    what smoothing takes from a label, which stays that of its class."""
    known = labels != IGNORE
    losses = functional.cross_entropy(logits[known], labels[known], reduction="none", label_smoothing=smoothing)
    weight = weights[labels[known]]
    return (weight * losses).sum() / weight.sum()


def relation_loss(
    model: RelationNet,
    embeddings: Tensor,
    labels: Tensor,
    supervoxels: Tensor,
    per_class: int,
    generator: torch.Generator,
) -> Tensor:
    """Twin of losses.relation_loss: pool the embeddings [P, D] of all points to all super-voxels, then draw."""
    size = int(supervoxels.max()) + 1
    pooled = functional.normalize(plain_pool_mean(embeddings, supervoxels, size), dim=1)
    classes = majority_labels(labels, supervoxels, size, len(model.prototypes))
    labelled = torch.nonzero(classes != IGNORE).squeeze(1)
    drawn = labelled[sample_supervoxels(classes[labelled], per_class, generator)]
    loss = functional.cross_entropy(model.logits(pooled[drawn]), classes[drawn])
    model.update_prototypes(pooled[drawn].detach(), classes[drawn])
    return loss
