"""MinkUNet34 (Choy et al. 2019), the network behind the MinkowskiNet rows of the paper's tables.

A 5x5x5 stem; four levels down, each a strided convolution and 2, 3, 4 and 6 residual blocks; four levels up, each a
transposed convolution, the features of the way down beside it, and 2 blocks. A block is post-activation:

    y = relu(norm2(conv2(relu(norm1(conv1(x))))) + x)

with x through a linear map and a norm where widths differ. At ``unet_width`` 32 the planes are those of the public
code's variant 34C, and narrower ones have the same ratios. Layers have the names of MinkowskiEngine's
examples/minkunet.py and SpatioTemporalSegmentation's models/res16unet.py; ``from_published`` reads their checkpoints.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib.config import MOST_WEIGHTS, Config
from otoc_lib.errors import OtocError
from otoc_lib.models.recompute import recomputed
from otoc_lib.models.unet import BatchNorm, BatchNormReLU
from otoc_lib.one_thread import Linear
from otoc_lib.sparse import InverseConv3d, SparseLinear, SparseTensor, StridedConv3d, SubmanifoldConv3d

# In parts of ``unet_width``: 32, 64, 128, 256 down and 256, 128, 96, 96 up at 32; and the blocks of each.
PLANES = (1, 2, 4, 8, 8, 4, 3, 3)
BLOCKS = (2, 3, 4, 6, 2, 2, 2, 2)
STEM = 5  # side of the first kernel
EPS = 1e-5  # of batch normalisation
WEIGHTS = 37.9e6 / 32**2  # of the whole network, in squares of ``unet_width``

# The layers of each level, in the order in which features pass them; p and s are the stride so far and the layer's own.
DOWN = tuple((f"conv{i}p{2 ** (i - 1)}s2", f"bn{i}", f"block{i}") for i in (1, 2, 3, 4))
UP = tuple((f"convtr{i}p{2 ** (8 - i)}s2", f"bntr{i}", f"block{i + 1}") for i in (4, 5, 6, 7))

COLORS = POSITION = 3  # channels of a voxel


class BasicBlock(nn.Module):
    """Residual block of two 3x3x3 convolutions; a linear map and a norm beside them where the widths differ."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1, self.norm1 = SubmanifoldConv3d(in_channels, out_channels), BatchNormReLU(out_channels, EPS)
        self.conv2, self.norm2 = SubmanifoldConv3d(out_channels, out_channels), BatchNorm(out_channels, EPS)
        linear = (SparseLinear(in_channels, out_channels), BatchNorm(out_channels, EPS))
        self.downsample = nn.Sequential(*(linear if in_channels != out_channels else ()))

    def forward(self, x: SparseTensor) -> SparseTensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return x.with_features(functional.relu(y.features + self.downsample(x).features))


class MinkUNet34(nn.Module):
    """The backbone with an optional linear classifier; with ``recompute`` blocks keep nothing for the backward pass.

    Args:
        in_channels: features per voxel; 6 for colour and position.
        unit: channels of the stem and the first level, 32 in the published one; the features have 3 times as many.
        num_classes: outputs of the classifier, or None for the backbone alone.
        coarse_classes: outputs of further classifiers, one at each coarser level, for training alone; None for none.

    Attributes:
        coarsest, receptive_field: as those of UNet.
    """

    recompute = False

    def __init__(
        self,
        in_channels: int = 6,
        unit: int = 32,
        num_classes: int | None = 20,
        coarse_classes: int | None = None,
    ):
        super().__init__()
        planes = [unit * part for part in PLANES]
        self.width = planes[-1]
        self.coarsest, self.receptive_field = 2 ** len(DOWN), STEM // 2 + _reach()
        self.conv0p1s1, self.bn0 = SubmanifoldConv3d(in_channels, unit, STEM), BatchNormReLU(unit, EPS)
        channels, beside = unit, [unit]  # of the features so far, and of those that wait on each level for the way up
        for (conv, norm, blocks), width, count in zip(DOWN, planes, BLOCKS, strict=False):
            self.add_module(conv, StridedConv3d(channels, channels))
            self.add_module(norm, BatchNormReLU(channels, EPS))
            self.add_module(blocks, _blocks(channels, width, count))
            channels = width
            beside.append(width)
        coarse = [beside.pop()]
        for (conv, norm, blocks), width, count in zip(UP, planes[4:], BLOCKS[4:], strict=True):
            self.add_module(conv, InverseConv3d(channels, width))
            self.add_module(norm, BatchNormReLU(width, EPS))
            self.add_module(blocks, _blocks(width + beside.pop(), width, count))
            channels = width
            coarse.append(width)
        self.classifier = None if num_classes is None else Linear(self.width, num_classes)
        self.coarse = nn.ModuleList()
        if coarse_classes is not None:
            supervised = coarse[-2::-1]  # from the second level on
            self.coarse.extend(Linear(of_level, coarse_classes) for of_level in supervised)

    def forward(self, x: SparseTensor) -> tuple[Tensor, Tensor | None]:
        """Features [V, width] after the last block and logits [V, num_classes] or None, per voxel of ``x``."""
        return self._classified(self._levels(x)[0])

    def forward_all_levels(self, x: SparseTensor) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """As ``forward``, and the logits [V_l, coarse_classes] of the voxels of every coarser level."""
        finest, *coarser = self._levels(x)
        return *self._classified(finest), [c(level.features) for c, level in zip(self.coarse, coarser, strict=True)]

    def _levels(self, x: SparseTensor) -> list[SparseTensor]:
        """The features of all levels on the way up, the finest first."""
        x = self.bn0(self.conv0p1s1(x))
        beside = [x]
        for layers in DOWN:
            strided, normal, residual = map(self.get_submodule, layers)
            x = recomputed(self.recompute, residual, normal(strided(x)))
            beside.append(x)
        found = [beside.pop()]
        for conv, norm, blocks in UP:
            x = self.get_submodule(norm)(self.get_submodule(conv)(x))
            met = x.with_features(torch.cat([x.features, beside.pop().features], 1))
            x = recomputed(self.recompute, self.get_submodule(blocks), met)
            found.insert(0, x)
        return found

    def _classified(self, finest: SparseTensor) -> tuple[Tensor, Tensor | None]:
        return finest.features, None if self.classifier is None else self.classifier(finest.features)


def _reach() -> int:
    """Voxels of the first level that all levels together see; as ``unet._reach``, with the blocks of each level."""
    down, up = BLOCKS[: len(DOWN)], BLOCKS[: len(DOWN) - 1 : -1]  # both from the finest level on
    reach = 2 * down[-1]
    for level in reversed(range(len(UP))):
        own = down[level - 1] if level else 0  # on the first level the stem alone
        reach = 2 * up[level] + 2 * reach + 1 + 2 * own
    return reach


def _blocks(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(BasicBlock(out_channels if i else in_channels, out_channels) for i in range(count)))


def new_backbone(
    config: Config, in_channels: int, num_classes: int | None, coarse_classes: int | None = None
) -> MinkUNet34:
    """The network of a config, untrained; as ``unet.new_backbone``."""
    weights = WEIGHTS * config.unet_width**2
    if weights > MOST_WEIGHTS:
        raise OtocError(
            f"parameter 'unet_width': at {config.unet_width} the backbone minkunet34 has about {weights:.1e} weights, "
            f"more than {MOST_WEIGHTS:.0e}; lower it"
        )
    return MinkUNet34(in_channels, config.unet_width, num_classes, coarse_classes)


# --- public checkpoints -----------------------------------------------------------------------------------------------


def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a MinkUNet34 of ours, of one in the public layout.

    Kernels are [K, C_in, C_out] there too, an offset joins output o with input o + offset, in transposed convolutions
    the other way round, and offsets of a kernel of 2 begin at the voxel itself, all as here. But there the first axis
    runs fastest, k = x + s y + s^2 z for a kernel of side s, and here the last one, k = s^2 x + s y + z. So count
    ``kernel_region::coordinate_at`` of MinkowskiEngine 0.5 and ``RegionIterator::operator++`` of 0.4, as their source
    says; their code was not run.

    A network of colours alone, which it takes as -0.5 to 0.5, becomes one of colours from -1 to 1 and a position, which
    at first it does not look at: its outputs are the same.

    Args:
        state: names such as ``block1.0.conv1.kernel`` and ``bn0.bn.weight``; what is not in that layout is handed on.
    """
    ours = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        if kind == "kernel":
            value = value.t() if value.ndim == 2 else _last_axis_fastest(value)
            kind = "weight"
        if layer == "conv0p1s1" and value.ndim == 3 and value.shape[1] == COLORS:
            value = functional.pad(value / 2, (0, 0, 0, POSITION))  # [K, 6, C_out]
        if layer == "final":
            layer, value = "classifier", value.flatten() if kind == "bias" else value  # [1, C] there
        ours[f"{layer.removesuffix('.bn')}.{kind}"] = value
    return ours


def _last_axis_fastest(kernel: Tensor) -> Tensor:
    """A kernel [K, ...] whose offsets are counted with the first of three axes fastest, with the last one fastest."""
    side = round(len(kernel) ** (1 / 3)) if kernel.ndim == 3 else 0
    if not side or side**3 != len(kernel):  # of no cube, so of no layer here
        return kernel
    return kernel.unflatten(0, (side,) * 3).transpose(0, 2).flatten(0, 2)
