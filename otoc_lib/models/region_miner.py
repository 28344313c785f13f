"""The classification network of Wei et al. (2020): what a room holds, from four maps that say where.

X [V, f] are the features of the voxels of one room, or ball, after the U-Net's way down; each path makes a map [V, C]:

    plain       X W
    spatial     (Y + a softmax(q k^T) v) W, with Y = X R, and q, k, v linear in Y: every voxel looks at all
    channel     (X + b X softmax(m - E)^T) W, E = X^T X and m the largest of each row: channels that differ support
    point-wise  [X, (q k^T / V) v] W, with q, k, v linear in X: what a voxel gathers stands beside what it is

The gates a and b are learnt from 0 on; in code they stand at W, so that their gradient is no sum over all voxels. The
mean of a map over the voxels is the logit of its classes.
"""

import torch
from torch import Tensor, nn

from otoc_lib.errors import OtocError
from otoc_lib.models.recompute import recomputed
from otoc_lib.models.unet import BatchNormReLU, ResidualBlock
from otoc_lib.one_thread import Linear, linear, softmax
from otoc_lib.sparse import SparseTensor, StridedConv3d, SubmanifoldConv3d

MOST_VOXELS = 1 << 14  # of one room or ball: each is compared with each, 1 GB for a matrix


class Encoder(nn.Module):
    """The way down of ``unet.UNet``: residual blocks at each of ``levels`` resolutions, [V, in_channels] of the finest
    to [V', levels * width] of the coarsest. With ``recompute`` its blocks keep nothing for the backward pass."""

    recompute = False

    def __init__(self, in_channels: int, width: int, levels: int, blocks: int):
        super().__init__()
        self.width = width * levels
        modules: list[nn.Module] = [SubmanifoldConv3d(in_channels, width)]
        for level in range(1, levels + 1):
            if level > 1:
                modules += [BatchNormReLU(width * (level - 1)), StridedConv3d(width * (level - 1), width * level)]
            modules += [ResidualBlock(width * level, width * level) for _ in range(blocks)]
        self.body = nn.Sequential(*modules, BatchNormReLU(self.width))

    def forward(self, x: SparseTensor) -> SparseTensor:
        for module in self.body:
            x = recomputed(self.recompute and isinstance(module, ResidualBlock), module, x)
        return x


class SpatialAttention(nn.Module):
    """The spatial path, [V, f] to [V, C]."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        width = max(16, channels // 4)
        self.reduce = Linear(channels, width)
        self.query, self.key = (Linear(width, max(4, width // 8)) for _ in range(2))
        self.value = Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(1))
        self.classify = Linear(width, num_classes)

    def attention(self, reduced: Tensor) -> Tensor:
        """softmax(q k^T) [V, V] of Y [V, D]."""
        return softmax(linear(self.query(reduced), self.key(reduced)))

    def forward(self, features: Tensor) -> Tensor:
        reduced = self.reduce(features)
        gathered = linear(self.attention(reduced), self.value(reduced).t())
        return self.classify(reduced) + linear(gathered, self.gate * self.classify.weight)


class ChannelAttention(nn.Module):
    """The channel path, [V, f] to [V, C]."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))
        self.classify = Linear(channels, num_classes)

    @staticmethod
    def attention(features: Tensor) -> Tensor:
        """softmax(m - E) [f, f] of X [V, f]."""
        energy = linear(features.t(), features.t())
        return softmax(energy.amax(dim=1, keepdim=True) - energy)

    def forward(self, features: Tensor) -> Tensor:
        supported = linear(features, self.attention(features))
        return self.classify(features) + linear(supported, self.gate * self.classify.weight)


class PointwiseAttention(nn.Module):
    """The point-wise path, [V, f] to [V, C]."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.query, self.key = (Linear(channels, max(4, channels // 8)) for _ in range(2))
        self.value = Linear(channels, channels)
        self.classify = Linear(2 * channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        attention = linear(self.query(features), self.key(features)) / len(features)  # [V, V]
        gathered = linear(attention, self.value(features).t())
        return self.classify(torch.cat([features, gathered], dim=1))


class RegionMiner(nn.Module):
    """Encoder and paths.

    Args:
        in_channels: features per voxel.
        width, levels, blocks: of the encoder.
        num_classes: C.
        paths: P, the first so many of the four.
    """

    def __init__(self, in_channels: int, width: int, levels: int, blocks: int, num_classes: int, paths: int = 4):
        super().__init__()
        self.levels = levels
        self.encoder = Encoder(in_channels, width, levels, blocks)
        channels = self.encoder.width
        kinds = (Linear, SpatialAttention, ChannelAttention, PointwiseAttention)
        self.paths = nn.ModuleList([kind(channels, num_classes) for kind in kinds[:paths]])

    def forward(self, x: SparseTensor) -> list[Tensor]:
        """The maps [P, V_r, C] of each room r of the batch, over its voxels at the coarsest level in their order.

        Raises OtocError where a room has more than MOST_VOXELS there.
        """
        coarse = self.encoder(x)
        sizes = torch.bincount(coarse.coords[:, 0].long(), minlength=x.batch_size).tolist()
        if max(sizes) > MOST_VOXELS:
            raise OtocError(
                f"parameter 'map_voxel': a ball has {max(sizes)} voxels of that size, too many to compare each with "
                "each; raise it, or lower 'subcloud_radius'"
            )
        return [torch.stack([path(room) for path in self.paths]) for room in coarse.features.split(sizes)]
