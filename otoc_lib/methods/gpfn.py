"""GPFN in its joint 2D-3D form (Wang et al. 2020): points learn through the images that show them, not from labels.

    p_i = class probabilities of point i, by the 3D U-Net
    o_i = probability that a frame shows point i, by the observer: a second U-Net, on the points as the camera has them
    P_u = sum over the points i in pixel u of p_i o_i / sum o_j
    w_u = 1 - product over them of (1 - o_i): that one of them is what the pixel shows; without a gradient
    L = mean over the pixels u with a class and a point of w_u * cross entropy of P_u
        + ``visibility_weight`` * mean over the points in the image of the binary cross entropy of o_i

The observer learns which points lie within a tolerance of the depth in their pixel, as ``annotation.images.visible``
has it, and is told by the classes too, where several points lie in a pixel. What it says of a frame it has learnt from
all, so a depth that is wrong here and there decides nothing alone. ``method: control`` labels the points once instead,
by what every depth says.

A step sees ``frames_per_step`` frames of each of its rooms, drawn anew every epoch. The observer's voxels are equal
steps of x/z and y/z wide and high and a factor of the distance deep, so what hides a point lies before it along one
axis, however near.

Theirs is a graph network on another backbone, whose code was not found; of the losses the abstract alone is known.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib.annotation.images import DrawnFrames, pixels_of, to_camera, visible
from otoc_lib.config import Config, param
from otoc_lib.datasets.frames import Frame
from otoc_lib.device import choose_device
from otoc_lib.labels import IGNORE
from otoc_lib.methods.method import Iteration, Method
from otoc_lib.methods.pi_model import probabilities
from otoc_lib.methods.stages import Stages, no_labels
from otoc_lib.models.build import IN_CHANNELS, new_unet
from otoc_lib.models.unet import UNet
from otoc_lib.on_demand import OnDemand
from otoc_lib.one_thread import one_thread
from otoc_lib.scene import Scene
from otoc_lib.sparse import SparseTensor
from otoc_lib.training.batches import Batches
from otoc_lib.training.losses import class_weights
from otoc_lib.training.task import WHOLE, CrossEntropy, Shares
from otoc_lib.training.voxels import Batch, Sample, make_batch, training_sample

NEAREST = 0.01  # metres: what is nearer to the camera counts as being there


@dataclass(frozen=True, kw_only=True)
class Parameters(Config):
    trains_once = True
    learns_images = True
    visibility_weight: float = param(1.0, "visibility", low=0, high=10_000)
    visibility_cell: float = param(0.03, "visibility", low=0.001, high=1)  # edge of the observer's voxels in x/z, y/z
    frames_per_step: int = param(1, "visibility", low=1, high=1000, added=True)  # of each room, or all it has


# --- what a frame shows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sight:
    """The K points of a room that lie in a frame's image, sorted by their pixels."""

    points: np.ndarray  # int64 [K]
    pixels: np.ndarray  # int64 [K], row * W + column
    classes: np.ndarray  # int16 [K], that of the pixel, or IGNORE
    shown: np.ndarray  # bool [K], whether the depth says that the pixel shows it
    in_camera: np.ndarray  # float64 [K, 3] metres, x to the right, y down, z away


ZERO = np.zeros(1, np.int64)
STAND_IN = Sight(ZERO, ZERO, ZERO, ZERO > 0, np.array([[0.0, 0.0, 1.0]]))  # a point a metre before the camera


def sight_of(scene: Scene, frame: Frame, tolerance: float) -> Sight:
    """What a frame has of a room; tolerance: metres, see ``visible``."""
    in_camera = to_camera(scene.in_file(scene.coords), frame.pose)
    pixels = pixels_of(in_camera, frame.class_intrinsic, frame.classes.shape)
    measured = pixels_of(in_camera, frame.depth_intrinsic, frame.depth.shape) >= 0
    points = np.flatnonzero((pixels >= 0) & measured)
    points = points[np.argsort(pixels[points], kind="stable")]
    shown, classes = visible(in_camera, frame, tolerance)[points], frame.classes.ravel()[pixels[points]]
    return Sight(points, pixels[points], classes, shown, in_camera[points])


def camera_sample(sight: Sight, cell: float) -> Sample:
    """The points of a sight on voxels of the camera: x/z, y/z and log z in units of ``cell``.

    Features are 1, x/z, y/z and log z; the others are 0, so that the network has the shape of the kit's others.
    """
    x, y, z = sight.in_camera.T
    z = np.maximum(z, NEAREST)
    rays = np.column_stack([x / z, y / z, np.log(z)])  # [K, 3]
    coords, features = rays / cell, np.zeros((len(rays), IN_CHANNELS), np.float32)
    features[:, 0], features[:, 1:4] = 1.0, rays
    nothing = np.zeros(len(rays), np.int32)
    return Sample(coords - coords.min(axis=0), features, nothing + IGNORE, nothing)


@dataclass(frozen=True)
class Seen:
    """What the frames of a batch show: K points of it in U pixels."""

    batch: Batch  # the points, on the voxels of their cameras; a stand-in where no frame has any
    points: Tensor  # int64 [K] among the points of the rooms' batch, those of a pixel beside each other
    shown: Tensor  # float32 [K], 1 where the depth says so
    starts: Tensor  # int64 [U + 1], the first point of every pixel
    classes: Tensor  # int64 [U], class or IGNORE

    def pin_memory(self) -> "Seen":
        return self._mapped(self.batch.pin_memory(), Tensor.pin_memory)

    def to(self, device: torch.device | str) -> "Seen":
        return self._mapped(self.batch.to(device), lambda tensor: tensor.to(device, non_blocking=True))

    def _mapped(self, batch: Batch, change: Callable[[Tensor], Tensor]) -> "Seen":
        points, shown, starts, classes = map(change, (self.points, self.shown, self.starts, self.classes))
        return Seen(batch, points, shown, starts, classes)


def together(sights: list[Sight], first: list[int], cell: float, backend: str) -> Seen:
    """The sights of the rooms of a batch; first: of each, where the points of its room begin among those of all."""
    points = np.concatenate([sight.points + start for sight, start in zip(sights, first, strict=True)])
    new = [np.diff(sight.pixels, prepend=-1) != 0 for sight in sights]  # the first point of each pixel
    starts = np.append(np.flatnonzero(np.concatenate(new)), len(points))
    classes = np.concatenate([sight.classes for sight in sights])[starts[:-1]].astype(np.int64)
    shown = np.concatenate([sight.shown for sight in sights]).astype(np.float32)
    # Several processes normalise their batches together, so that the one whose frames show nothing has a batch as well.
    samples = [camera_sample(sight, cell) for sight in sights if len(sight.points)] or [camera_sample(STAND_IN, cell)]
    return Seen(make_batch(samples, backend), *map(torch.from_numpy, (points, shown, starts, classes)))


class FrameBatches(Batches):
    """The rooms of a step, and what frames of each show, one of them drawn by the seed, the epoch and the room."""

    config: Parameters

    def __init__(self, config: Parameters, scenes: list[Scene], frames: Mapping[str, DrawnFrames], seed: list[int]):
        super().__init__(config, scenes, no_labels(scenes), seed)
        self.frames = frames

    def part(self, step: int, number: int, parts: int) -> list[Any]:
        samples, sights, first, points = [], [], [], 0
        epoch, rooms = self.rooms_of(step, number, parts)
        for index in rooms:
            scene, labels, _ = self.room(index)
            frames = self.frames[scene.name]
            drawn = int(np.random.default_rng([*self.seed, epoch, index, 1]).integers(len(frames)))
            sample = training_sample(scene, labels, self.config, np.random.default_rng([*self.seed, epoch, index]))
            for k in spread(drawn, len(frames), self.config.frames_per_step):
                sight = sight_of(scene, frames[k], frames.tolerance)
                sights.append(sight if sample.kept is None else cropped(sight, sample.kept))
                first.append(points)
            samples.append(sample)
            points += len(sample.labels)
        backend = self.config.sparse_backend
        return [make_batch(samples, backend), together(sights, first, self.config.visibility_cell, backend)]


def spread(drawn: int, count: int, wanted: int) -> list[int]:
    """So many of ``count`` frames, all where there are fewer, at equal distances round the film from the one drawn."""
    wanted = min(wanted, count)
    return [(drawn + k * count // wanted) % count for k in range(wanted)]


def cropped(sight: Sight, kept: np.ndarray) -> Sight:
    """A sight of the points of a room that are left, bool [N], counted among them."""
    left = kept[sight.points]
    cut = {name: values[left] for name, values in vars(sight).items()}
    return replace(sight, **{**cut, "points": (np.cumsum(kept) - 1)[cut["points"]]})


# --- learning ---------------------------------------------------------------------------------------------------------


class UNetAndObserver(nn.Module):
    """A backbone for the points and a U-Net for what cameras see; in evaluation it is the first."""

    def __init__(self, unet: nn.Module, observer: nn.Module):
        super().__init__()
        self.unet: Any = unet
        self.observer: Any = observer

    def forward(self, x: SparseTensor) -> tuple[Tensor, Tensor]:
        return self.unet(x)

    def forward_all_levels(self, x: SparseTensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        return self.unet.forward_all_levels(x)


def pixel_weights(scores: Tensor, pixels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The share of each point in its pixel [K], o_i / sum o_j, and w_u [U] of each pixel, without a gradient.

    Args:
        scores: logits of o, [K]; pixels: int64 [K], ascending, each of ``count``.
    """
    o = torch.sigmoid(scores).clamp(min=torch.finfo(scores.dtype).tiny)
    share = o / o.new_zeros(count).index_add(0, pixels, o).gather(0, pixels)
    unseen = o.new_zeros(count).index_add(0, pixels, functional.softplus(scores.detach()))  # -log of the product
    return share, -torch.expm1(-unseen)


def pixel_cross_entropy(
    p: Tensor, voxels: Tensor, share: Tensor, starts: Tensor, classes: Tensor, weights: Tensor, smoothing: float
) -> Tensor:
    """Mean over the pixels with a class of the cross entropy of the mixture of their points; 0 where there is none.

    Args:
        p: [V, C] of the voxels; voxels: int64 [K], that of each point; share: [K], that of each point in its pixel.
        starts: int64 [U + 1], the first point of every pixel; classes: int64 [U], or IGNORE.
        weights: [2, U]: what a pixel counts for in the mean, and what its loss is multiplied by besides.
    """
    mixed = functional.embedding_bag(
        voxels, p, starts, mode="sum", per_sample_weights=share.to(p.dtype), include_last_offset=True
    )  # [U, C]
    log_p = torch.log(mixed.clamp(min=torch.finfo(p.dtype).tiny))
    losses = -log_p.gather(1, classes.clamp(min=0)[:, None]).squeeze(1)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_p.mean(dim=1)
    counted, seen = weights
    with one_thread():  # sums over a whole tensor
        return (counted * seen * losses).sum() / counted.sum().clamp(min=torch.finfo(p.dtype).tiny)


class Projected(CrossEntropy):
    """Cross entropy in the image, at the coarser levels too if ``coarse_loss``, and the observer's own."""

    config: Parameters
    reads = (*CrossEntropy.reads, "visibility")
    learns_images = True

    @staticmethod
    def build(config: Config, num_classes: int) -> nn.Module:
        unet, size = new_unet(config, num_classes), (config.unet_width, config.unet_levels, config.unet_blocks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            return UNetAndObserver(unet, UNet(IN_CHANNELS, *size, num_classes=1, skip=config.unet_skip))

    def __init__(self, config: Parameters, scenes: list[Scene], labels: Mapping[str, DrawnFrames]):
        super(CrossEntropy, self).__init__(config, scenes, labels)
        pixels = OnDemand(labels, classes_of_pixels)
        self.class_weights = class_weights(config, scenes, pixels).to(choose_device(config))  # [C]

    @property
    def unets(self) -> list[nn.Module]:
        return [self.model.unet]

    def batches(self, scenes: list[Scene], labels: Mapping[str, DrawnFrames], seed: list[int]) -> Batches:
        return FrameBatches(self.config, scenes, labels, seed)

    def loss(self, batches: list[Any], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        batch, seen = batches
        levels = self._levels(batch)
        scores = seen.batch.at_points(self.model.observer(seen.batch.voxels)[1].float()).squeeze(1)  # [K]
        if not len(seen.points):  # no mean is over anything, and every layer has its gradient all the same
            return shares["points"] * 0.0 * torch.stack([logits.sum() for logits in (*levels, scores)]).sum()
        pixels = torch.repeat_interleave(seen.starts.diff())  # [K]
        share, one_is_seen = pixel_weights(scores, pixels, len(seen.classes))
        weights = torch.stack([self._counted(seen), one_is_seen])
        voxels, losses = batch.point_to_voxel[seen.points], []
        for level, logits in enumerate(levels):
            if level:
                voxels = batch.voxels.pyramid.parents(level - 1)[voxels]
            arguments = (voxels, share, seen.starts, seen.classes, weights, self.config.label_smoothing)
            losses.append(pixel_cross_entropy(probabilities(logits), *arguments))
        in_image, *coarse = losses
        if coarse:
            in_image = in_image + self.config.coarse_loss * torch.stack(coarse).mean()
        with one_thread():
            visibility = functional.binary_cross_entropy_with_logits(scores, seen.shown)
        return shares["pixels"] * in_image + shares["points"] * self.config.visibility_weight * visibility

    def _levels(self, batch: Batch) -> list[Tensor]:
        """Logits [V_l, C] of the U-Net at the finest level, and the coarser ones that learn."""
        if not self.config.coarse_loss:
            return [self.model(batch.voxels)[1]]
        _, logits, coarse = self.model.forward_all_levels(batch.voxels)
        return [logits, *coarse]

    def _counted(self, seen: Seen) -> Tensor:
        """The weight [U] of the class of each pixel, 0 without one."""
        return self.class_weights.gather(0, seen.classes.clamp(min=0)) * (seen.classes != IGNORE)

    def counts(self, batches: list[Any]) -> dict[str, Any]:
        seen = batches[1]
        with one_thread():
            return {"pixels": self._counted(seen).sum(), "points": len(seen.points)}


def classes_of_pixels(frames: DrawnFrames) -> np.ndarray:
    """Class or IGNORE of all pixels of the frames of a room, int16."""
    return np.concatenate([frames[k].classes.ravel() for k in range(len(frames))])


def loop(stages: Stages) -> Iterator[Iteration]:
    """Both networks, trained once."""
    networks = stages.train_all(1, stages.clicks(), warm_start={})
    yield Iteration(1, networks, stages.evaluate("evaluate_1", networks))


METHOD = Method("GPFN, joint", loop, networks=lambda config: {"unet": Projected})
