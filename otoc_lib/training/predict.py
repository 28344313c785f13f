"""Inference of the two networks on whole rooms, averaged over views."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib.config import Config
from otoc_lib.models.relation import RelationNet
from otoc_lib.scene import Scene
from otoc_lib.training.losses import widened
from otoc_lib.training.voxels import Batch, inference_sample, make_batch


@dataclass(frozen=True)
class Prediction:
    """What the two networks say of one room, on the compute device."""

    probabilities: Tensor  # [N, C] softmax of the U-Net, mean over views
    features: Tensor  # [M, m] U-Net features u, pooled
    relation_probabilities: Tensor | None  # [M, C] P_R
    relation_features: Tensor | None  # [M, D] unit rows f


@torch.inference_mode()
def predict(config: Config, scene: Scene, unet: nn.Module, relation: RelationNet | None) -> Prediction:
    """Predict one room; both networks see the same views. The networks must be on one device, in eval mode."""
    device = next(unet.parameters()).device
    probabilities, features, relation_probabilities, relation_features = [], [], [], []
    for view in range(config.views):
        batch = view_batch(config, scene, view).to(device)
        voxel_features, logits = unet(batch.voxels)
        voxel_probabilities = functional.softmax(widened(logits.float()), dim=1)[:, : logits.shape[1]]
        probabilities.append(batch.at_points(voxel_probabilities.contiguous()))
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


def view_batch(config: Config, scene: Scene, view: int) -> Batch:
    """View number ``view`` of a room as a batch of one; the same for every network, iteration and run of a seed."""
    name = np.frombuffer(scene.name.encode(), dtype=np.uint8)
    generator = np.random.default_rng([config.seed, view, *name.tolist()])
    return make_batch([inference_sample(scene, config, generator)], config.sparse_backend)
