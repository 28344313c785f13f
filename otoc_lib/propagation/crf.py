"""A dense conditional random field over the points of a room, for labels that are made from it (Wei et al. 2020).

    Q <- softmax(log(trust P + (1 - trust) / C) + K Q), ``STEPS`` times from Q = softmax of the first term alone
    K  = ``SMOOTHNESS`` N(k_p) + ``APPEARANCE`` N(k_pc),    N(k) = D^-1/2 k D^-1/2, D the sums of the rows of k
    k_p  = exp(-|x - x'|^2 / (2 s_x^2)),    k_pc = exp(-|x - x'|^2 / (2 s_x^2) - |rgb - rgb'|^2 / (2 s_c^2))

It is the mean field of Krähenbühl and Koltun (2011) for Potts' model with the settings of the authors' code. Theirs
approximates the products with K on a lattice; here K is sparse and exact but for pairs beyond ``REACH``, where k_p is
below 0.012. Its nodes are cells of ``CELL``, of which a room has some ten thousand: a kernel three times as wide sees
nothing finer. No node tells itself anything, but its 1 on the diagonal of k counts in D: a node in a colour of its own
is left nearly alone.
"""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.scene import Scene

TRUST = 0.5  # in the probabilities; the rest is shared by all classes
POSITION, COLOR = 0.2, 0.04  # s_x in metres, s_c of colours from 0 to 1
SMOOTHNESS, APPEARANCE = 3.0, 10.0
STEPS = 5
REACH = 3 * POSITION
CELL = 0.07  # metres


def refine(scene: Scene, probabilities: Tensor) -> Tensor:
    """Q of the points of a room, float32 [N, C] on the CPU: all points of a cell share theirs.

    Where no cell that anything is said of has reached in ``STEPS``, rows are zeros.

    Args:
        scene: with colours.
        probabilities: P [N, C]; a row of zeros says nothing.

    Raises:
        OtocError: all points have one colour.
    """
    if (scene.colors == scene.colors[0]).all():
        raise OtocError(
            f"scene {scene.name}: has no colours (all points have the same), and a CRF compares them; set "
            "'mprm_crf: false'"
        )
    cells = np.floor((scene.coords - scene.coords.min(axis=0)) / CELL).astype(np.int64)
    _, node, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    node = node.ravel()

    def means(values: np.ndarray) -> np.ndarray:  # [N, D] to [K, D]
        return np.stack([np.bincount(node, weights=column) for column in values.T], axis=1) / counts[:, None]

    p = means(probabilities.double().cpu().numpy())
    k = kernel(means(scene.coords), means(scene.colors / 255.0))
    q = mean_field(TRUST * p + (1 - TRUST) / p.shape[1], k, STEPS)
    reached = p.any(axis=1)
    for _ in range(STEPS):
        reached = reached | (k @ reached > 0)
    q[~reached] = 0  # they would all be equal, and their first class taken for an answer
    return torch.from_numpy(q.astype(np.float32)[node])


def kernel(coords: np.ndarray, colors: np.ndarray) -> csr_matrix:
    """K, symmetric, float64 [K, K] with zeros on the diagonal.

    Args:
        coords: float64 [K, 3], metres; colors: float64 [K, 3] from 0 to 1.
    """
    first, second = cKDTree(coords).query_pairs(REACH, output_type="ndarray").T
    far = np.square(coords[first] - coords[second]).sum(axis=1) / (2 * POSITION**2)
    other = np.square(colors[first] - colors[second]).sum(axis=1) / (2 * COLOR**2)

    def normalised(weights: np.ndarray) -> np.ndarray:  # N(k) of the pairs
        sums = 1 + (np.bincount(first, weights, len(coords)) + np.bincount(second, weights, len(coords)))
        return weights / np.sqrt(sums[first] * sums[second])

    weights = SMOOTHNESS * normalised(np.exp(-far)) + APPEARANCE * normalised(np.exp(-far - other))
    k = csr_matrix((weights, (first, second)), (len(coords), len(coords)))
    return k + k.T


def mean_field(p: np.ndarray, k: csr_matrix, steps: int) -> np.ndarray:
    """Q [K, C] after so many steps from P [K, C], all above 0, with K [K, K]; rows sum to one.

    Agreement counts where Potts' model makes disagreement cost: for rows of Q that sum to one that is the same.
    """
    log_p = np.log(p)
    q = _softmax(log_p)
    for _ in range(steps):
        q = _softmax(log_p + k @ q)
    return q


def _softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
