"""The 3D U-Net of submanifold sparse convolutions (Graham et al. 2018) in the form PointGroup and the paper use.

A file of models/ that defines ``new_backbone``, as this one does at its end, is a backbone that ``backbone`` can name.
"""

from typing import Any

import torch
from torch import Tensor, nn

from otoc_lib import processes
from otoc_lib.config import Config
from otoc_lib.models.recompute import computing_again, recomputed
from otoc_lib.one_thread import Linear
from otoc_lib.sparse import (
    InverseConv3d,
    SparseLinear,
    SparseTensor,
    StridedConv3d,
    SubmanifoldConv3d,
    batch_norm,
    shared_norm,
)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the voxels of the batch; [V, C] to [V, C].

    A single voxel has no variance: a coarse level that holds one in the whole batch uses the running statistics.
    Where several processes train, the batch is that of all of them if ``shared``, and of each by itself if not.
    """

    relu = False
    shared = True
    running_mean: Tensor  # it tracks them, with a momentum
    running_var: Tensor
    momentum: float

    def __init__(self, channels: int, eps: float = 1e-4):
        super().__init__(channels, eps=eps, momentum=0.1)

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]  # of voxels, torch's of rows
        return x.with_features(self.of_rows(x.features, x.pyramid.backend))

    def of_rows(self, x: Tensor, backend: str) -> Tensor:
        """The same of any rows [N, C]."""
        options: dict[str, Any] = {"running_mean": self.running_mean, "running_variance": self.running_var}
        options["momentum"] = 0.0 if computing_again() else self.momentum  # it has followed these rows already
        options |= {"eps": self.eps, "relu": self.relu}
        if self.training and self.shared and processes.count() > 1:
            return shared_norm.batch_norm(x, weight=self.weight, bias=self.bias, **options)
        of_batch = self.training and len(x) > 1
        return batch_norm(x, weight=self.weight, bias=self.bias, of_batch=of_batch, backend=backend, **options)


class BatchNormReLU(BatchNorm):
    """Batch normalisation, then ReLU."""

    relu = True


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3x3x3 convolutions; a linear skip where the widths differ."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else SparseLinear(in_channels, out_channels)
        self.body = nn.Sequential(
            BatchNormReLU(in_channels),
            SubmanifoldConv3d(in_channels, out_channels),
            BatchNormReLU(out_channels),
            SubmanifoldConv3d(out_channels, out_channels),
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        *first, last = self.body
        y = x
        for module in first:
            y = module(y)
        return last(y, start=self.skip(x).features)


class UNetLevel(nn.Module):
    """Blocks at one resolution around everything coarser: blocks, down, the coarser levels, up, skip, blocks.

    ``channels`` lists the widths of this and all coarser levels. [V, C] with C = channels[0] to the features of all of
    them, the finest first. With ``recompute`` the blocks keep nothing for the backward pass.
    """

    recompute = False

    def __init__(self, channels: list[int], blocks: int, skip: str = "concat"):
        super().__init__()
        width, *coarser = channels
        self.skip = skip
        met = width if skip == "add" else 2 * width
        self.head = nn.Sequential(*(ResidualBlock(width, width) for _ in range(blocks)))
        self.coarser = None
        if coarser:
            self.down = nn.Sequential(BatchNormReLU(width), StridedConv3d(width, coarser[0]))
            self.coarser = UNetLevel(coarser, blocks, skip)
            self.up = nn.Sequential(BatchNormReLU(coarser[0]), InverseConv3d(coarser[0], width))
            self.tail = nn.Sequential(*(ResidualBlock(width if i else met, width) for i in range(blocks)))

    def forward(self, x: SparseTensor) -> list[SparseTensor]:
        x = recomputed(self.recompute, self.head, x)
        if self.coarser is None:
            return [x]
        coarser = self.coarser(self.down(x))
        y = self.up(coarser[0])
        met = x.features + y.features if self.skip == "add" else torch.cat([x.features, y.features], 1)
        return [recomputed(self.recompute, self.tail, x.with_features(met)), *coarser]


def _reach(levels: int, blocks: int) -> int:
    """How far, in voxels of its own, a UNetLevel sees that ends ``levels`` coarser ones, itself counted.

    A block sees 2 voxels, of two convolutions. What r voxels of the next level see is 2 r + 1 of this one, since a
    voxel may lie at either end of the one that holds it.
    """
    return 2 * blocks if levels == 1 else 4 * blocks + 2 * _reach(levels - 1, blocks) + 1


class CoarseClassifier(nn.Module):
    """Logits of the voxels of one coarser level: [V, C] to [V, num_classes]."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.norm = BatchNormReLU(channels)
        self.classifier = Linear(channels, num_classes)

    def forward(self, x: SparseTensor) -> Tensor:
        return self.classifier(self.norm(x).features)


class UNet(nn.Module):
    """3D U-Net backbone with an optional linear classifier.

    Args:
        in_channels: features per voxel; 6 for colour and position.
        width: channels m of the finest level; level l (from 1) has l * m.
        levels: resolutions, each half of the one before.
        blocks: residual blocks per level on each side.
        num_classes: outputs of the classifier, or None for the backbone alone.
        coarse_classes: outputs of further classifiers, one at each coarser level, for training alone; None for none.
        skip: ``concat`` or ``add``, how a level's own features meet those from the coarser levels.

    Attributes:
        coarsest: voxels of the input along a voxel of the coarsest level.
        receptive_field: voxels along any axis beyond which nothing of the input changes an output in eval mode.
    """

    def __init__(
        self,
        in_channels: int = 6,
        width: int = 32,
        levels: int = 7,
        blocks: int = 2,
        num_classes: int | None = 20,
        coarse_classes: int | None = None,
        skip: str = "concat",
    ):
        super().__init__()
        channels = [width * (level + 1) for level in range(levels)]
        self.width = width
        self.stem = SubmanifoldConv3d(in_channels, width)
        self.pyramid = UNetLevel(channels, blocks, skip)
        self.norm = BatchNormReLU(width)
        self.classifier = None if num_classes is None else Linear(width, num_classes)
        self.coarsest = 2 ** (levels - 1)
        self.receptive_field = 1 + _reach(levels, blocks)  # the first 1 of the stem
        self.coarse = nn.ModuleList()
        if coarse_classes is not None:
            self.coarse.extend(CoarseClassifier(of_level, coarse_classes) for of_level in channels[1:])

    def forward(self, x: SparseTensor) -> tuple[Tensor, Tensor | None]:
        """Features [V, width] after the last BN-ReLU and logits [V, num_classes] or None, per voxel of ``x``."""
        return self._classified(self.pyramid(self.stem(x))[0])

    def forward_all_levels(self, x: SparseTensor) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """As ``forward``, and the logits [V_l, coarse_classes] of the voxels of every coarser level."""
        finest, *coarser = self.pyramid(self.stem(x))
        return *self._classified(finest), [c(of_level) for c, of_level in zip(self.coarse, coarser, strict=True)]

    def _classified(self, finest: SparseTensor) -> tuple[Tensor, Tensor | None]:
        features = self.norm(finest).features
        return features, None if self.classifier is None else self.classifier(features)


def new_backbone(config: Config, in_channels: int, num_classes: int | None, coarse_classes: int | None = None) -> UNet:
    """The network of a config, untrained: it maps a SparseTensor of ``in_channels`` features a voxel to features
    [V, width] and to logits [V, num_classes], or None without classes. ``coarse_classes`` as for UNet."""
    size = config.unet_width, config.unet_levels, config.unet_blocks
    return UNet(in_channels, *size, num_classes, coarse_classes, config.unet_skip)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable numbers in a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
