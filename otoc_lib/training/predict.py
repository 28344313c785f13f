"""Inference of the two networks on whole rooms, averaged over views; tile by tile on scans larger than rooms."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from otoc_lib.config import Config
from otoc_lib.models.relation import RelationNet
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.pooling import pool_mean
from otoc_lib.tiling import AT_ONCE, Tiling, tiling
from otoc_lib.training import augmentation, kernels
from otoc_lib.training.losses import widened
from otoc_lib.training.voxels import Batch, inference_sample, make_batch, tile_sample


@dataclass(frozen=True)
class Prediction:
    """What the two networks say of one room, on the compute device."""

    probabilities: Tensor  # [N, C] softmax of the U-Net, mean over views
    features: Tensor  # [M, m] U-Net features u, pooled
    relation_probabilities: Tensor | None  # [M, C] P_R
    relation_features: Tensor | None  # [M, D] unit rows f


@torch.inference_mode()
def predict(config: Config, scene: Scene, unet: nn.Module, relation: RelationNet | None) -> Prediction:
    """Predict one room; both networks see the same views. The networks must be on one device, in eval mode.

    A scan wider than ``tile_metres`` goes through the networks tile by tile, and what they say is joined before it is
    pooled. A point farther than ``reach`` from the border of its tile gets what it gets in the whole scan; every point
    is at least half of what two tiles share from it.
    """
    tiles = tiling(scene.coords, config.tile_metres, config.tile_overlap)
    if len(tiles) > 1:
        return _predict_tiles(config, scene, tiles, unet, relation)
    device = next(unet.parameters()).device
    probabilities, features, relation_probabilities, relation_features = [], [], [], []
    for view in range(config.views):
        batch = view_batch(config, scene, view).to(device)
        voxel_features, voxel_probabilities = _of_voxels(unet, batch)
        probabilities.append(batch.at_points(voxel_probabilities))
        features.append(batch.supervoxels.pool(voxel_features.float()))
        if relation is not None:
            embeddings = batch.supervoxels.pool(relation(batch.voxels).float())
            relation_features.append(functional.normalize(embeddings, dim=1))
            relation_probabilities.append(functional.softmax(relation.logits(relation_features[-1]), dim=1))
    return Prediction(
        torch.stack(probabilities).mean(0),
        torch.stack(features).mean(0),
        torch.stack(relation_probabilities).mean(0) if relation is not None else None,
        functional.normalize(torch.stack(relation_features).mean(0), dim=1) if relation is not None else None,
    )


def _of_voxels(unet: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Features [V, m] and class probabilities [V, C] of the voxels of a batch."""
    features, logits = unet(batch.voxels)
    probabilities = functional.softmax(widened(logits.float()), dim=1)[:, : logits.shape[1]]
    return features, probabilities.contiguous()


def view_batch(config: Config, scene: Scene, view: int) -> Batch:
    """View number ``view`` of a room as a batch of one; the same for every network, iteration and run of a seed."""
    return make_batch([inference_sample(scene, config, _generator(config, scene, view))], config.sparse_backend)


def _generator(config: Config, scene: Scene, view: int) -> np.random.Generator:
    name = np.frombuffer(scene.name.encode(), dtype=np.uint8)
    return np.random.default_rng([config.seed, view, *name.tolist()])


# --- tiles ------------------------------------------------------------------------------------------------------------


def reach(config: Config, network: nn.Module) -> float | None:
    """Metres from the border of a tile beyond which nothing of a prediction changes; None where there is no such
    length, since a network looks at the whole of its input."""
    field = _attribute(network, "receptive_field")
    if field is None:
        return None
    # One voxel more: the border cuts through some. In a turned view the field is the corner of a square away.
    slanted = config.rotate and (config.rotation_step == 0 or config.rotation_step % 90 != 0)
    return (field + 1) * config.voxel_size * (2**0.5 if slanted else 1.0)


def _attribute(network: nn.Module, name: str) -> int | None:
    """What a backbone, or the one within a network, says of itself."""
    return next((value for part in network.modules() if isinstance(value := getattr(part, name, None), int)), None)


def view_of(config: Config, scene: Scene, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Of view number ``view`` of a scan: its matrix, float64 (3, 3), and its smallest coordinates in voxels, (3,)."""
    matrix = augmentation.view_matrix(config, _generator(config, scene, view))
    parts = (scene.coords[start : start + AT_ONCE] for start in range(0, scene.num_points, AT_ONCE))
    lows = [kernels.bounds(kernels.transform(part, matrix, config.voxel_size))[0] for part in parts]
    return matrix, np.min(lows, axis=0)


def _predict_tiles(
    config: Config, scene: Scene, tiles: Tiling, unet: nn.Module, relation: RelationNet | None
) -> Prediction:
    """``predict`` with one tile in memory at a time, beside the class probabilities of all points."""
    device, coarsest = next(unet.parameters()).device, _attribute(unet, "coarsest") or 1
    views = [view_of(config, scene, view) for view in range(config.views)]
    features, embeddings = _Means(scene), [_Means(scene) for _ in views]
    probabilities: Tensor | None = None
    for tile in tqdm(tiles, f"{scene.name}: tiles", len(tiles), leave=False, unit="tile", dynamic_ncols=True):
        part, core = scene.part(tile.points), torch.from_numpy(np.flatnonzero(tile.core))
        points, mean = tile.points[tile.core], torch.zeros((), device=device)
        for (matrix, low), of_view in zip(views, embeddings, strict=True):
            batch = make_batch([tile_sample(part, config, matrix, low, coarsest)], config.sparse_backend).to(device)
            inside = batch.point_to_voxel[core.to(device)]
            voxel_features, voxel_probabilities = _of_voxels(unet, batch)
            mean = mean + functional.embedding(inside, voxel_probabilities) / len(views)  # [P, C]
            features.add(points, functional.embedding(inside, voxel_features))
            if relation is not None:
                of_view.add(points, functional.embedding(inside, relation(batch.voxels)))
        if probabilities is None:
            probabilities = torch.empty(scene.num_points, mean.shape[1], device=device)
        probabilities[torch.from_numpy(points).to(device)] = mean
    assert probabilities is not None  # there are several tiles
    pooled = features.of_supervoxels()
    if relation is None:
        return Prediction(probabilities, pooled, None, None)
    units = torch.stack([functional.normalize(of_view.of_supervoxels(), dim=1) for of_view in embeddings])  # [V, M, D]
    of_classes = torch.stack([functional.softmax(relation.logits(unit), dim=1) for unit in units]).mean(0)
    return Prediction(probabilities, pooled, of_classes, functional.normalize(units.mean(0), dim=1))


class _Means:
    """Means over the points of super-voxels that come a tile at a time; summed in float64."""

    def __init__(self, scene: Scene):
        self.scene, self.counts = scene, torch.zeros(scene.num_supervoxels, dtype=torch.float64)
        self.sums: Tensor | None = None  # [M, D]

    def add(self, points: np.ndarray, values: Tensor) -> None:
        """Values [P, D] of some points, int64 [P]."""
        present, nodes, sizes = np.unique(self.scene.supervoxels[points], return_inverse=True, return_counts=True)
        means = pool_mean(values.double(), torch.from_numpy(nodes).to(values.device), len(present)).cpu()
        if self.sums is None:
            self.sums = torch.zeros(len(self.counts), means.shape[1], dtype=torch.float64)
            self.like = values.new_empty(0)
        rows, counts = torch.from_numpy(present.astype(np.int64)), torch.from_numpy(sizes).double()
        self.sums[rows] += means * counts[:, None]
        self.counts[rows] += counts

    def of_supervoxels(self) -> Tensor:
        """[M, D] in float32, on the device of the values."""
        assert self.sums is not None  # every scan has points
        return (self.sums / self.counts[:, None]).float().to(self.like.device)
