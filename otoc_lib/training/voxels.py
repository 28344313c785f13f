"""Rooms to batches of voxels for the sparse networks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from otoc_lib.config import Config
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene
from otoc_lib.sparse import SparseTensor
from otoc_lib.supervoxels.pooling import majority_labels
from otoc_lib.training import augmentation, kernels

# Largest grid of one room that is numbered by one bit a cell: 128 MiB of bits and 64 MiB of counts.
MOST_CELLS = 1 << 30
LARGEST_BATCH = 2**62  # cells of all its rooms, of which the sparse convolutions number each in 64 bits
LONGEST_SIDE = 2**31 - 8  # voxels: their coordinates have 32 bits


@dataclass(frozen=True)
class Sample:
    """One augmented room before it is voxelised; P points are left of it after the crop."""

    coords: np.ndarray  # float64 (P, 3) in voxels, not negative
    features: np.ndarray  # float32 (P, 6): rgb in [-1, 1], augmented x, y and z in metres, or 0, 0 and z
    labels: np.ndarray  # int32 (P,), class or IGNORE
    supervoxels: np.ndarray  # int32 (P,), dense among the points that are left
    kept: np.ndarray | None = None  # bool (N,), True for the points that are left; None where all are
    groups: np.ndarray | None = None  # int64 (P,), the task's own number for each point; None without any


@dataclass(frozen=True)
class VoxelLabels:
    """The distinct (voxel, class) of the labelled points, sorted by voxel: points of one voxel share its logits, so the
    loss needs each pair only once."""

    voxels: Tensor  # int64 [K] rows of the batch's voxels
    classes: Tensor  # int64 [K]
    points: Tensor  # float32 [K] labelled points of each pair


@dataclass(frozen=True)
class VoxelSupervoxels:
    """The distinct (super-voxel, voxel) of the points, sorted by super-voxel. Always on the CPU, where the relation
    loss draws super-voxels: the device never has to be asked."""

    voxels: Tensor  # int64 [K] rows of the batch's voxels
    shares: Tensor  # float64 [K] part of the super-voxel's points that lie in the voxel
    starts: Tensor  # int64 [S + 1] first pair of every super-voxel
    labels: Tensor  # int64 [S] most frequent label in use, or IGNORE

    def pool(self, values: Tensor, which: Tensor | None = None) -> Tensor:
        """Mean over the points of super-voxels of values of the voxels, differentiable (eq. 2).

        Args:
            values: float [V, D] on any device.
            which: super-voxels to pool, int64 [T] on the CPU, in any order and repeated at will; None: all.

        Returns:
            [T, D] in the dtype of ``values``.
        """
        voxels, shares, starts = self.voxels, self.shares, self.starts
        if which is not None:
            first, lengths = starts[which], starts.diff()[which]
            starts = functional.pad(lengths.cumsum(0), (1, 0))
            pairs = torch.arange(int(starts[-1])) + torch.repeat_interleave(first - starts[:-1], lengths)
            voxels, shares = voxels[pairs], shares[pairs]
        voxels, shares, starts = (send(t, values.device) for t in (voxels, shares.to(values.dtype), starts))
        return functional.embedding_bag(
            voxels, values, starts, mode="sum", per_sample_weights=shares, include_last_offset=True
        )


@dataclass
class Batch:
    """Voxels of several rooms; P points in all, super-voxels counted through the rooms."""

    features: Tensor  # float32 [V, 6], means over the points of each voxel
    coords: Tensor  # int32 [V, 4] (room, x, y, z), in lexicographic order
    spatial_shape: tuple[int, int, int]
    batch_size: int
    point_to_voxel: Tensor  # int64 [P]
    labels: VoxelLabels
    supervoxels: VoxelSupervoxels
    backend: str  # of the sparse convolutions, see sparse.Pyramid
    groups: Tensor | None = None  # int64 [P], the task's own number for each point
    # Of a part of a step's batch, where the task wants it: the labels of the super-voxels of the whole batch, int64 on
    # the CPU, and where those of this part begin among them
    whole: tuple[Tensor, int] | None = None

    @cached_property
    def voxels(self) -> SparseTensor:
        """Input of the networks; made on the device that it is asked for on."""
        return SparseTensor(self.features, self.coords, self.spatial_shape, self.batch_size, self.backend)

    def at_points(self, values: Tensor) -> Tensor:
        """Values of the voxels [V, D] at the points, [P, D].

        As an embedding: on the CPU its gradient is summed in a fixed order, that of plain indexing is not.
        """
        return functional.embedding(self.point_to_voxel, values)

    def pin_memory(self) -> "Batch":
        """A copy in page-locked memory, which goes to a GPU while that computes."""
        return self._mapped(Tensor.pin_memory)

    def to(self, device: torch.device | str) -> "Batch":
        if torch.device(device).type == "cpu":
            return self
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        labels = VoxelLabels(*map(change, (self.labels.voxels, self.labels.classes, self.labels.points)))
        features, coords, points = map(change, (self.features, self.coords, self.point_to_voxel))
        groups = None if self.groups is None else change(self.groups)
        return replace(self, features=features, coords=coords, point_to_voxel=points, labels=labels, groups=groups)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor from the CPU to a device, without waiting for the device."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def training_sample(
    scene: Scene,
    labels: np.ndarray,
    config: Config,
    generator: np.random.Generator,
    kept: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Sample:
    """Augment one room for training.

    Args:
        labels: int (N,), the ones in use, with IGNORE.
        kept: bool (N,), the points that another view was cropped to; None crops a room of more than ``max_points``.
        groups: int (N,), handed on with the points.
    """
    coords = kernels.transform(scene.coords, augmentation.random_matrix(config, generator), config.voxel_size)
    for granularity, magnitude in zip(config.elastic_granularity, config.elastic_magnitude, strict=True):
        try:
            coords = augmentation.elastic(coords, granularity, magnitude, generator)
        except OtocError as error:
            raise OtocError(f"scene {scene.name}: {error}") from error
    shift = config.color_shift * generator.standard_normal(3)
    sample = replace(_sample(scene, coords, config, shift, labels), groups=groups)
    if scene.num_points <= config.max_points:
        return sample
    if kept is None:
        kept = augmentation.crop(sample.coords, config.max_points, generator)
    supervoxels = sample.supervoxels[kept]
    renumbered = np.cumsum(np.bincount(supervoxels) > 0, dtype=np.int32) - 1
    coords = sample.coords[kept]
    return Sample(
        coords - kernels.bounds(coords)[0],
        sample.features[kept],
        sample.labels[kept],
        renumbered[supervoxels],
        kept,
        None if groups is None else groups[kept],
    )


def inference_sample(scene: Scene, config: Config, generator: np.random.Generator) -> Sample:
    """One test-time view of a whole room, without labels."""
    coords = kernels.transform(scene.coords, augmentation.view_matrix(config, generator), config.voxel_size)
    return _sample(scene, coords, config, np.zeros(3), np.full(scene.num_points, IGNORE))


def tile_sample(part: Scene, config: Config, matrix: np.ndarray, low: np.ndarray, coarsest: int) -> Sample:
    """A view of a tile, on the voxels of the whole scan's view.

    Args:
        part: the tile's points.
        matrix: of the view, float64 (3, 3).
        low: smallest coordinates of the whole scan's view, float64 (3,), in voxels.
        coarsest: side in voxels of the cells that must stay whole, those of the network's coarsest level.
    """
    coords = kernels.transform(part.coords, matrix, config.voxel_size)
    sample = _sample(part, coords, config, np.zeros(3), np.full(part.num_points, IGNORE), low)
    coords -= coarsest * np.floor(kernels.bounds(coords)[0] / coarsest)  # exact: whole numbers
    return sample


def _sample(
    scene: Scene,
    coords: np.ndarray,
    config: Config,
    shift: np.ndarray,
    labels: np.ndarray,
    low: np.ndarray | None = None,
) -> Sample:
    """The sample of augmented ``coords`` (N, 3) in voxels, which become the sample's own; counted from ``low``, by
    default from the smallest."""
    palette = (np.arange(256)[:, None] / 127.5 - 1.0 + shift).astype(np.float32)  # (256, 3)
    lowest, high = kernels.bounds(coords)
    if not _fits(np.floor(high - lowest) + 1, 1):
        raise OtocError(f"scene {scene.name}: {_too_fine(high - lowest, 1)}")
    low = lowest if low is None else low
    features = kernels.features(coords, low, scene.colors, palette, config.voxel_size)
    if config.input_position == "height":
        features[:, 3:5] = 0.0  # zeros, so that the network has one shape
    return Sample(coords, features, labels.astype(np.int32), scene.supervoxels)


def make_batch(samples: list[Sample], backend: str = "auto") -> Batch:
    """Voxelise rooms together: a voxel's feature is the mean over its points. ``backend`` as for sparse.Pyramid.

    Raises OtocError where the grid of a room has more voxels than can be numbered.
    """
    sides = [np.floor(kernels.bounds(sample.coords)[1]) + 1 for sample in samples]  # (3,) each
    largest = np.max(sides, axis=0)
    if not _fits(largest, len(samples)):
        raise OtocError(_too_fine(largest, len(samples)))
    shapes = [side.astype(np.int64) for side in sides]
    numbered = [number_voxels(sample.coords, shape) for sample, shape in zip(samples, shapes, strict=True)]
    averaged = [
        kernels.average(sample.coords, sample.features, voxels, count, room)
        for room, (sample, (voxels, count)) in enumerate(zip(samples, numbered, strict=True))
    ]
    coords, features = (np.concatenate(parts) for parts in zip(*averaged, strict=True))
    point_to_voxel = _counted_through([voxels for voxels, _ in numbered], [count for _, count in numbered])

    sizes = [int(sample.supervoxels.max()) + 1 for sample in samples]
    supervoxels = _counted_through([sample.supervoxels for sample in samples], sizes)
    labels = np.concatenate([sample.labels for sample in samples])
    nx, ny, nz = (int(size) for size in np.max(shapes, axis=0))
    return Batch(
        features=torch.from_numpy(features),
        coords=torch.from_numpy(coords),
        spatial_shape=(nx, ny, nz),
        batch_size=len(samples),
        point_to_voxel=torch.from_numpy(point_to_voxel),
        labels=_voxel_labels(labels, point_to_voxel, len(coords)),
        supervoxels=_voxel_supervoxels(supervoxels, sum(sizes), labels, point_to_voxel, len(coords)),
        backend=backend,
        groups=None if samples[0].groups is None else torch.from_numpy(np.concatenate([s.groups for s in samples])),
    )


def _fits(sides: np.ndarray, rooms: int) -> bool:
    """Whether the voxels of so many rooms of that many cells along x, y and z can be numbered."""
    return bool(sides.max() <= LONGEST_SIDE and rooms * (sides + 2).prod() <= LARGEST_BATCH)


def _too_fine(sides: np.ndarray, rooms: int) -> str:
    return (
        f"parameter 'voxel_size': a grid of {' x '.join(f'{side:.0f}' for side in sides)} voxels is too fine for "
        f"{rooms} rooms of this size; raise it, or take out points that lie far off"
    )


def number_voxels(coords: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, int]:
    """Voxel of every point, int64 (P,), numbered in lexicographic order of the occupied cells, and their number.

    Args:
        coords: float64 (P, 3) in voxels, not negative.
        shape: int64 (3,) cells along x, y, z.
    """
    if math.prod(shape.tolist()) <= MOST_CELLS:
        return kernels.number_voxels(coords, shape)
    occupied, voxels = np.unique(
        np.ravel_multi_index(tuple(np.floor(coords).astype(np.int64).T), tuple(shape)), return_inverse=True
    )
    return voxels, len(occupied)


def _counted_through(ids: list[np.ndarray], sizes: list[int]) -> np.ndarray:
    """Ids of several rooms one after the other, int64, each room's raised by the sizes of those before it."""
    offsets = np.cumsum([0, *sizes[:-1]])
    return np.concatenate([part + offset for part, offset in zip(ids, offsets, strict=True)])


def _voxel_labels(labels: np.ndarray, point_to_voxel: np.ndarray, num_voxels: int) -> VoxelLabels:
    labelled_in = np.where(labels == IGNORE, -1, point_to_voxel)
    classes, points, starts = kernels.distinct_pairs(labelled_in, num_voxels, labels, max(int(labels.max()) + 1, 0))
    return VoxelLabels(
        torch.repeat_interleave(torch.from_numpy(starts).diff()),
        torch.from_numpy(classes),
        torch.from_numpy(points),
    )


def _voxel_supervoxels(
    supervoxels: np.ndarray, size: int, labels: np.ndarray, point_to_voxel: np.ndarray, num_voxels: int
) -> VoxelSupervoxels:
    voxels, points, starts = (
        torch.from_numpy(array) for array in kernels.distinct_pairs(supervoxels, size, point_to_voxel, num_voxels)
    )
    total = torch.from_numpy(np.bincount(supervoxels, minlength=size))
    shares = points.double() / torch.repeat_interleave(total, starts.diff())
    classes = max(int(labels.max()) + 1, 1)
    votes = majority_labels(torch.from_numpy(labels), torch.from_numpy(supervoxels), size, classes)
    return VoxelSupervoxels(voxels, shares, starts, votes)
