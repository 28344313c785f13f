"""The rules of the authors' released code, where they are not those of the paper; networks and training are the same.

The paper multiplies the two networks' probabilities (eq. 4), propagates with a kernel of equal weights (eq. 5) and
keeps what is sure after that (eq. 8). The released code, of super-voxels j = 1..M with the probabilities U and R [M, C]
of the two networks and the means of colour c, position p and features u and f in them:

    A       = softmax_c(5 U R), then (A - min A) / max(A - min A) over the whole matrix
    K_jj'   = exp(-1/2 (2 |c - c'|^2 + 2 |p - p'|^2 + |f - f'|^2 + 1/9 |u - u'|^2)), with j = j'
    Q       <- softmax_c(log A + 100 / M K Q), five times from Q = A: what is predicted
    labels  = argmax A, without propagation, where the largest of all numbers in U_j and R_j is at least ``threshold``
"""

from typing import Any

import torch
from torch import Tensor

from otoc_lib.config import Config
from otoc_lib.methods import one_thing_one_click
from otoc_lib.methods.method import Method, Networks, Scores, supervoxel_nodes, unet_modes
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.pooling import pool_mean
from otoc_lib.training.predict import predict
from otoc_lib.training.task import CrossEntropy

SHARPNESS = 5.0  # of the softmax of the product
WEIGHTS = (2.0, 2.0, 1 / 9, 1.0)  # of the squared distances in colour, position, u and f
STRENGTH = 100.0  # of the messages, shared among the M super-voxels
STEPS = 5


def flattened_product(unet: Tensor, relation: Tensor) -> Tensor:
    """A [M, C] of the two networks' probabilities [M, C]: its smallest entry is 0 and its largest 1."""
    product = torch.softmax(SHARPNESS * unet * relation, dim=1)
    above = product - product.min()
    return above / above.max().clamp_min(torch.finfo(above.dtype).tiny)


def kernel(blocks: list[Tensor]) -> Tensor:
    """K [M, M] of the super-voxels' colour, position, u and f [M, D_b], with ones on the diagonal."""
    pairs = zip(WEIGHTS, blocks, strict=True)
    exponent: Any = sum(weight * torch.cdist(block, block).square() for weight, block in pairs)
    return torch.exp(-0.5 * exponent)


def propagated(unary: Tensor, similarities: Tensor) -> Tensor:
    """Q [M, C] after five steps from A [M, C] over K [M, M]."""
    q = unary
    for _ in range(STEPS):
        q = torch.softmax(unary.log() + STRENGTH / len(unary) * (similarities @ q), dim=1)
    return q


def label_scores(unet: Tensor, relation: Tensor) -> Tensor:
    """[M, C] with one entry a row: at the class of A, the largest of all numbers that both networks say."""
    sure = torch.maximum(unet.max(dim=1).values, relation.max(dim=1).values)  # [M]
    scores = torch.zeros_like(unet)
    return scores.scatter(1, flattened_product(unet, relation).argmax(dim=1, keepdim=True), sure[:, None])


def predict_modes(config: Config, scene: Scene, trained: Networks) -> dict[str, Scores]:
    """``point`` and ``sv`` of the U-Net, and ``full``, Q."""
    prediction = predict(config, scene, trained["unet"], trained["relation"])
    blocks = one_thing_one_click.hand_made_features(scene, prediction)
    blocks += [prediction.features, prediction.relation_features]
    unary = flattened_product(_pooled(scene, prediction.probabilities), prediction.relation_probabilities)
    full = Scores(propagated(unary, kernel(blocks)), supervoxel_nodes(scene))
    return {**unet_modes(scene, prediction.probabilities), "full": full}


def scores(config: Config, scene: Scene, trained: Networks) -> Scores:
    """What becomes labels, of the super-voxels."""
    prediction = predict(config, scene, trained["unet"], trained["relation"])
    unet = _pooled(scene, prediction.probabilities)
    return Scores(label_scores(unet, prediction.relation_probabilities), supervoxel_nodes(scene))


def _pooled(scene: Scene, probabilities: Tensor) -> Tensor:
    return pool_mean(probabilities, supervoxel_nodes(scene).to(probabilities.device), scene.num_supervoxels)


METHOD = Method(
    title="The released code's rules",
    loop=one_thing_one_click.loop,
    networks=lambda config: {"unet": CrossEntropy, "relation": one_thing_one_click.Contrast},
    predict=predict_modes,
    modes=("point", "sv", "full"),
    scores=scores,
    reads=lambda config: ("relation",),
)
