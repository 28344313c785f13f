"""Rooms to batches of voxels for the sparse networks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from otoc_lib.config import Config
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene
from otoc_lib.sparse import SparseTensor
from otoc_lib.training import augmentation


@dataclass(frozen=True)
class Sample:
    """One augmented room before it is voxelised; P points are left of it after the crop."""

    coords: np.ndarray  # float64 (P, 3) in voxels, not negative
    features: np.ndarray  # float32 (P, 6): rgb in [-1, 1], augmented xyz in metres
    labels: np.ndarray  # int64 (P,)
    supervoxels: np.ndarray  # int64 (P,), dense among the points that are left


@dataclass
class Batch:
    """Voxels of several rooms; P points in all, super-voxel ids counted through the rooms."""

    voxels: SparseTensor
    point_to_voxel: Tensor  # int64 [P]
    labels: Tensor  # int64 [P]
    supervoxels: Tensor  # int64 [P], 0..S-1
    num_supervoxels: int  # S

    def at_points(self, values: Tensor) -> Tensor:
        """Values of the voxels [V, D] at the points, [P, D].

        As an embedding: on the CPU its gradient is summed in a fixed order, that of plain indexing is not.
        """
        return functional.embedding(self.point_to_voxel, values)

    def to(self, device: torch.device | str) -> "Batch":
        if torch.device(device).type == "cpu":
            return self
        features, coords = self.voxels.features.to(device), self.voxels.coords.to(device)
        voxels = SparseTensor(features, coords, self.voxels.spatial_shape, self.voxels.batch_size)
        points = (tensor.to(device) for tensor in (self.point_to_voxel, self.labels, self.supervoxels))
        return Batch(voxels, *points, self.num_supervoxels)


def training_sample(scene: Scene, labels: np.ndarray, config: Config, generator: np.random.Generator) -> Sample:
    """Augment one room for training; ``labels`` int (N,) are the ones in use, with IGNORE."""
    metres = scene.coords.astype(np.float64) @ augmentation.random_matrix(config, generator)
    coords = metres / config.voxel_size
    for granularity, magnitude in zip(config.elastic_granularity, config.elastic_magnitude, strict=True):
        coords = augmentation.elastic(coords, granularity, magnitude, generator)
    shift = config.color_shift * generator.standard_normal(3)
    sample = _sample(scene, coords, coords * config.voxel_size, shift, labels)
    keep = augmentation.crop(sample.coords, config.max_points, generator)
    if keep.all():
        return sample
    return Sample(
        sample.coords[keep] - sample.coords[keep].min(axis=0),
        sample.features[keep],
        sample.labels[keep],
        np.unique(sample.supervoxels[keep], return_inverse=True)[1],
    )


def inference_sample(scene: Scene, config: Config, generator: np.random.Generator) -> Sample:
    """One test-time view of a whole room, without labels."""
    metres = scene.coords.astype(np.float64) @ augmentation.view_matrix(config, generator)
    labels = np.full(scene.num_points, IGNORE)
    return _sample(scene, metres / config.voxel_size, metres, np.zeros(3), labels)


def _sample(scene: Scene, coords: np.ndarray, metres: np.ndarray, shift: np.ndarray, labels: np.ndarray) -> Sample:
    rgb = scene.colors / 127.5 - 1.0 + shift
    features = np.concatenate([rgb, metres], axis=1).astype(np.float32)
    return Sample(coords - coords.min(axis=0), features, labels.astype(np.int64), scene.supervoxels.astype(np.int64))


def make_batch(samples: list[Sample]) -> Batch:
    """Voxelise rooms together: a voxel's feature is the mean over its points."""
    grids = [np.floor(sample.coords).astype(np.int64) for sample in samples]
    shape = np.max([grid.max(axis=0) + 1 for grid in grids], axis=0)  # (3,)
    keys = [np.ravel_multi_index((np.full(len(g), i), *g.T), (len(grids), *shape)) for i, g in enumerate(grids)]
    occupied, point_to_voxel = np.unique(np.concatenate(keys), return_inverse=True)
    coords = np.stack(np.unravel_index(occupied, (len(grids), *shape)), axis=1).astype(np.int32)  # (V, 4)

    features = np.concatenate([sample.features for sample in samples])
    counts = np.bincount(point_to_voxel, minlength=len(occupied))
    means = np.stack(
        [np.bincount(point_to_voxel, weights=column, minlength=len(occupied)) / counts for column in features.T], axis=1
    ).astype(np.float32)  # (V, 6)

    sizes = [int(sample.supervoxels.max()) + 1 for sample in samples]
    offsets = np.cumsum([0, *sizes[:-1]])
    supervoxels = [sample.supervoxels + offset for sample, offset in zip(samples, offsets, strict=True)]
    return Batch(
        SparseTensor(torch.from_numpy(means), torch.from_numpy(coords), tuple(int(s) for s in shape), len(samples)),
        torch.from_numpy(point_to_voxel),
        torch.from_numpy(np.concatenate([sample.labels for sample in samples])),
        torch.from_numpy(np.concatenate(supervoxels)),
        sum(sizes),
    )
