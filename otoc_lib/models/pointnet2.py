"""PointNet++ (Qi et al. 2017), single-scale grouping, on the voxels of a batch as its points.

    set abstraction       FPS picks every fourth point; x_i = max over its ball of MLP([p_j - p_i, x_j])
    feature propagation   x_i = MLP([sum_j w_ij x_j / sum_j w_ij, skip]), w_ij = 1 / |p_i - p_j|^2, the 3 nearest

Four levels of each, with the MLPs of the authors' network for ScanNet at ``unet_width`` 32. Theirs samples 1024, 256,
64 and 16 of the 8192 points of a block. Rooms here are whole and of any size, so a level keeps a fourth of its points,
and balls of 3, 6, 12 and 24 voxels grow with the spacing. A ball that holds more than 32 points gives the nearest.
There is no dropout before the classifier: nothing here is drawn at random.

Points are taken in lexicographic order, whatever their order in the batch. Sampling and neighbours are worked out on
the CPU from coordinates in voxels, whole numbers, of which squared distances are exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib.config import Config
from otoc_lib.jit import compiled
from otoc_lib.models.recompute import recomputed
from otoc_lib.models.unet import BatchNormReLU
from otoc_lib.one_thread import Linear
from otoc_lib.sparse import SparseTensor

# Widths of the shared MLPs in parts of ``unet_width``: down, and up from the coarsest level.
ABSTRACTION = ((1, 1, 2), (2, 2, 4), (4, 4, 8), (8, 8, 16))
PROPAGATION = ((8, 8), (8, 8), (8, 4), (4, 4, 4))
KEPT = 4  # one in so many points of a level is a point of the next
RADIUS = 3  # of the balls around the points of the second level, in voxels; twice as large on every further level
BALL = 32  # points of a ball
NEAREST = 3  # points that a finer one is interpolated from


# --- where points are -------------------------------------------------------------------------------------------------


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """Farthest point sampling: the first row, then each time the row that is farthest from all before.

    Args:
        points: float64 [N, 3].
        count: 1 to N. Of rows equally far the first is taken.

    Returns:
        Rows of ``points``, int64 [count], in the order in which they are taken.
    """
    return _farthest(points, count)


@compiled(parallel=False)
def _farthest(points, count):
    taken = np.zeros(count, np.int64)
    nearest = np.full(len(points), np.inf)  # squared distance to what is taken
    for step in range(1, count):
        last, best = points[taken[step - 1]], -1.0
        for i in range(len(points)):
            x, y, z = points[i, 0] - last[0], points[i, 1] - last[1], points[i, 2] - last[2]
            nearest[i] = min(nearest[i], x * x + y * y + z * z)
            if nearest[i] > best:
                best, taken[step] = nearest[i], i
    return taken


def _plain_farthest(points: np.ndarray, count: int) -> np.ndarray:
    """Plain twin of ``_farthest``."""
    taken, nearest = np.zeros(count, np.int64), np.full(len(points), np.inf)
    for step in range(1, count):
        nearest = np.minimum(nearest, np.square(points - points[taken[step - 1]]).sum(1))
        taken[step] = nearest.argmax()
    return taken


def ball_query(points: np.ndarray, centers: np.ndarray, radius: float, count: int) -> np.ndarray:
    """The points nearer than ``radius`` to each center, at most ``count`` of them, the nearest first.

    Args:
        points: float64 [N, 3]; centers: float64 [M, 3], each of them one of the points.

    Returns:
        Rows of ``points``, int64 [M, count]; a ball that holds fewer has its nearest point again for the rest.
    """
    _, rows = cKDTree(points).query(centers, k=np.arange(1, count + 1), distance_upper_bound=radius)
    return np.where(rows == len(points), rows[:, :1], rows)


def inverse_distances(points: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What interpolates from known points: the nearest of them, and weights 1/d^2 that sum to 1.

    Args:
        points: float64 [N, 3]; known: float64 [M, 3].

    Returns:
        Rows of ``known``, int64 [N, NEAREST], and their weights, float64 [N, NEAREST]. Where fewer are known, the last
        of them again with a weight of 0.
    """
    count = min(NEAREST, len(known))
    distances, rows = cKDTree(known).query(points, k=np.arange(1, count + 1))
    weights = 1 / np.maximum(np.square(distances), 1e-10)  # a known point at the same place takes all
    weights /= weights.sum(1, keepdims=True)
    missing = ((0, 0), (0, NEAREST - count))
    return np.pad(rows, missing, "edge"), np.pad(weights, missing)


@dataclass(frozen=True)
class Level:
    """How the M points of a level hang together with the N of the finer one."""

    ball: Tensor  # int64 [M, BALL] rows of the finer level
    offsets: Tensor  # float64 [M, BALL, 3] from the center of the ball, in voxels
    nearest: Tensor  # int64 [N, NEAREST] rows of this level
    weights: Tensor  # float64 [N, NEAREST]


def levels_of(coords: np.ndarray) -> Iterator[Level]:
    """The four coarser levels of the voxels of a batch, integers [V, 4] (room, x, y, z), room after room."""
    rooms = np.split(coords[:, 1:].astype(np.float64), np.flatnonzero(np.diff(coords[:, 0])) + 1)
    for depth in range(len(ABSTRACTION)):
        parts, coarser, fine, coarse = [], [], 0, 0
        for points in rooms:
            centers = points[farthest_points(points, -(-len(points) // KEPT))]
            ball = ball_query(points, centers, RADIUS * 2**depth, BALL)
            nearest, weights = inverse_distances(points, centers)
            parts.append((ball + fine, points[ball] - centers[:, None], nearest + coarse, weights))
            coarser.append(centers)
            fine, coarse = fine + len(points), coarse + len(centers)
        yield Level(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))
        rooms = coarser


# --- the network ------------------------------------------------------------------------------------------------------


class SharedMLP(nn.Module):
    """Linear maps, each with a batch normalisation and a ReLU, of every row alike; [N, C_in] to [N, C_out].

    With ``recompute`` it keeps nothing but its rows for the backward pass.
    """

    recompute = False

    def __init__(self, channels: list[int]):
        super().__init__()
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.linear = nn.ModuleList(Linear(before, after, bias=False) for before, after in pairs)
        self.norm = nn.ModuleList(BatchNormReLU(after) for _, after in pairs)

    def forward(self, x: Tensor, backend: str) -> Tensor:
        return recomputed(self.recompute, self._mapped, x, backend)

    def _mapped(self, x: Tensor, backend: str) -> Tensor:
        for linear, norm in zip(self.linear, self.norm, strict=True):
            x = norm.of_rows(linear(x), backend)  # type: ignore[operator]  # a list of torch forgets the class
        return x


class PointNet2(nn.Module):
    """The backbone with an optional linear classifier.

    Args:
        in_channels: features per voxel; 6 for colour and position.
        unit: channels of the first MLP, 32 in the published one; the features have 4 times as many.
        voxel_size: metres, in which the network is told where the points of a ball lie.
        num_classes: outputs of the classifier, or None for the backbone alone.
    """

    def __init__(self, in_channels: int = 6, unit: int = 32, voxel_size: float = 0.02, num_classes: int | None = 20):
        super().__init__()
        self.voxel_size = voxel_size
        self.down, self.up, channels, beside = nn.ModuleList(), nn.ModuleList(), in_channels, []
        parts: tuple[int, ...]
        for parts in ABSTRACTION:
            widths = [unit * part for part in parts]
            self.down.append(SharedMLP([3 + channels, *widths]))
            beside.append(channels)
            channels = widths[-1]
        for parts in PROPAGATION:
            widths = [unit * part for part in parts]
            self.up.append(SharedMLP([channels + beside.pop(), *widths]))
            channels = widths[-1]
        self.width = channels
        self.head = SharedMLP([channels, channels])
        self.classifier = None if num_classes is None else Linear(channels, num_classes)

    def forward(self, x: SparseTensor) -> tuple[Tensor, Tensor | None]:
        """Features [V, width] after the last ReLU and logits [V, num_classes] or None, per voxel of ``x``."""
        order, backend, device = x.pyramid.level(x.level).order, x.pyramid.backend, x.features.device
        y, passed = x.features[order], []
        for level, mlp in zip(levels_of(x.coords[order].cpu().numpy()), self.down, strict=True):
            passed.append((level, y))
            # embedding: on the CPU its gradient is summed in a fixed order, that of plain indexing is not
            ball = functional.embedding(level.ball.to(device), y)  # [M, BALL, C]
            offsets = (self.voxel_size * level.offsets).to(ball)  # [M, BALL, 3] metres
            y = mlp(torch.cat([offsets, ball], 2).flatten(0, 1), backend)  # [M * BALL, C']
            y = y.unflatten(0, (-1, BALL)).max(1).values  # [M, C']
        for mlp in self.up:
            level, skip = passed.pop()
            weights = level.weights.to(y)
            y = functional.embedding_bag(level.nearest.to(device), y, mode="sum", per_sample_weights=weights)
            y = mlp(torch.cat([y, skip.to(y)], 1), backend)
        y = functional.embedding(torch.argsort(order), self.head(y, backend))  # [V, width], in the order of x
        return y, None if self.classifier is None else self.classifier(y)


def new_backbone(config: Config, in_channels: int, num_classes: int | None) -> PointNet2:
    """The network of a config, untrained; as ``unet.new_backbone``, without classifiers at coarser levels."""
    return PointNet2(in_channels, config.unet_width, config.voxel_size, num_classes)
