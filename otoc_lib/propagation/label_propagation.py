"""Predictions smoothed over the points of a room after the network (Xu and Lee 2020, section 3.5).

    Y = (L + diag(w) + 1e-5 I)^-1 diag(w) P,    L = D^-1/2 (D - W) D^-1/2

P [N, C] are the probabilities and w_i = 1 - H(p_i) / log C how sure each is. W joins a point with itself and with its
``NEIGHBOURS`` nearest ones by exp(-|x - x'|^2 / (2 s^2)) exp(-10 |rgb - rgb'|^2), colours from 0 to 1; s is the median
distance of neighbours, since the authors' scale, in blocks of a metre, joins nothing at the spacing of scans. Theirs is
a dense matrix for each block; a whole room is a sparse system, which conjugate gradients solve.
"""

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree
from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.scene import Scene

NEIGHBOURS = 10
COLOR_SCALE = 10.0
LEAST_SURE = 0.01  # w of a point that is not sure at all: keeps the system well conditioned
TOLERANCE = 1e-8  # of the residual
RIDGE = 1e-5


def propagate_labels(scene: Scene, probabilities: Tensor) -> Tensor:
    """Y of the points of a room, float32 [N, C] on the CPU, rows sum to one. probabilities: P [N, C]."""
    p = probabilities.double().cpu().numpy()
    similarities = similarity(scene.coords.astype(np.float64), scene.colors / 255.0)
    return torch.from_numpy(smoothed(similarities, p).astype(np.float32))


def similarity(coords: np.ndarray, colors: np.ndarray) -> csr_matrix:
    """W, symmetric, float64 [N, N] with ones on the diagonal.

    Args:
        coords: float64 [N, 3], metres; colors: float64 [N, 3] from 0 to 1.
    """
    count = len(coords)
    distances, neighbours = cKDTree(coords).query(coords, k=min(NEIGHBOURS + 1, count))
    distances, neighbours = distances.reshape(count, -1), neighbours.reshape(count, -1)
    rows = np.repeat(np.arange(count), neighbours.shape[1])
    columns, far = neighbours.ravel(), distances.ravel()
    others = columns != rows
    rows, columns, far = rows[others], columns[others], far[others]
    scale = float(np.median(far[far > 0])) if (far > 0).any() else 1.0
    weights = np.exp(-0.5 * (far / scale) ** 2 - COLOR_SCALE * np.square(colors[rows] - colors[columns]).sum(axis=1))
    joined = coo_matrix((weights, (rows, columns)), (count, count)).tocsr()
    return (joined.maximum(joined.T) + diags(np.ones(count))).tocsr()


def smoothed(similarities: csr_matrix, p: np.ndarray) -> np.ndarray:
    """Y [N, C] with rows that sum to one, of W [N, N] and P [N, C]; OtocError where conjugate gradients find none."""
    degree = np.asarray(similarities.sum(axis=1)).ravel()
    half = diags(1 / np.sqrt(degree))
    laplacian = half @ (diags(degree) - similarities) @ half
    sure = certainty(p)
    system = (laplacian + diags(sure + RIDGE)).tocsr()
    preconditioner = diags(1 / system.diagonal())
    columns = []
    for right, start in zip((sure[:, None] * p).T, p.T, strict=True):
        column, failed = cg(system, right, x0=start, rtol=TOLERANCE, maxiter=10 * len(p) + 100, M=preconditioner)
        if failed:
            raise OtocError("label propagation: no solution was found; are the probabilities finite?")
        columns.append(column)
    y = np.maximum(np.stack(columns, axis=1), 0)
    return y / y.sum(axis=1, keepdims=True)


def certainty(p: np.ndarray) -> np.ndarray:
    """w [N]: 1 for one class, ``LEAST_SURE`` where all of the C classes are as likely."""
    entropy = -np.sum(p * np.log(np.maximum(p, np.finfo(p.dtype).tiny)), axis=1)
    return np.maximum(1 - entropy / np.log(p.shape[1]), LEAST_SURE)
