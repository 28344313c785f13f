"""The data path and the losses point by point, in plain NumPy, SciPy and PyTorch: oracles of the fast forms."""

import numpy as np
import torch
from scipy.ndimage import map_coordinates, uniform_filter1d
from torch.nn import functional

from otoc_lib.labels import IGNORE
from otoc_lib.models.relation import sample_supervoxels
from otoc_lib.propagation.pooling import majority_labels, plain_pool_mean
from otoc_lib.training import augmentation


def elastic(coords, granularity, magnitude, generator, dtype=np.float32):
    """Six box filters over Gaussian noise, interpolated by SciPy; the field is kept in ``dtype``."""
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


def training_coords(scene, config, generator):
    """Augmented coordinates in voxels, starting at 0, before the crop."""
    coords = scene.coords.astype(np.float64) @ augmentation.random_matrix(config, generator) / config.voxel_size
    for granularity, magnitude in zip(config.elastic_granularity, config.elastic_magnitude, strict=True):
        coords = elastic(coords, granularity, magnitude, generator)
    return coords - coords.min(axis=0), coords * config.voxel_size, generator.standard_normal(3) * config.color_shift


def voxelise(samples):
    """Cells int32 (V, 4), mean features float32 (V, 6) and the voxel of every point, by sorting all points."""
    grids = [np.floor(sample.coords).astype(np.int64) for sample in samples]
    rooms = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
    cells, voxels = np.unique(np.column_stack([rooms, np.concatenate(grids)]), axis=0, return_inverse=True)
    features, counts = np.concatenate([sample.features for sample in samples]), np.bincount(voxels)
    means = np.stack([np.bincount(voxels, weights=column) / counts for column in features.T], axis=1)
    return cells.astype(np.int32), means.astype(np.float32), voxels


def points_of(samples):
    """Labels and super-voxels of all points, int64 [P], the latter counted through the rooms."""
    supervoxels, first = [], 0
    for sample in samples:
        supervoxels.append(sample.supervoxels.astype(np.int64) + first)
        first += int(sample.supervoxels.max()) + 1
    labels = np.concatenate([sample.labels for sample in samples]).astype(np.int64)
    return torch.from_numpy(labels), torch.from_numpy(np.concatenate(supervoxels))


def point_cross_entropy(logits, labels, weights):
    """Cross entropy of the logits [P, C] of points, as PyTorch has it."""
    return functional.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE)


def relation_loss(model, embeddings, labels, supervoxels, per_class, generator):
    """Pool the embeddings [P, D] of all points to all super-voxels, then draw."""
    size = int(supervoxels.max()) + 1
    pooled = functional.normalize(plain_pool_mean(embeddings, supervoxels, size), dim=1)
    classes = majority_labels(labels, supervoxels, size, len(model.prototypes))
    labelled = torch.nonzero(classes != IGNORE).squeeze(1)
    drawn = labelled[sample_supervoxels(classes[labelled], per_class, generator)]
    loss = functional.cross_entropy(model.logits(pooled[drawn]), classes[drawn])
    model.update_prototypes(pooled[drawn].detach(), classes[drawn])
    return loss
