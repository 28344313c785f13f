"""How near every super-voxel is to the clicks of each class, along surfaces and by colour: what the clicks themselves
say of what nobody clicked.

A piece of a clicked object hangs together with its click and mostly has its colour. What belongs to nothing that was
clicked is reached over an edge of colour, however sure the networks are of it, and a class that nobody clicked in the
room is reached from nowhere. So clicks and networks err for different reasons, and what both say is right more often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.pooling import pool_mean

if TYPE_CHECKING:
    from otoc_lib.annotation.clicks import Clicks  # which reads this file

CELL = 0.05  # metres: the points of a super-voxel are looked at by the means in cells so wide
TOUCH = 0.1  # metres: super-voxels are neighbours where two such means are no further apart
STEP = 0.001  # of each step between neighbours, beside its colour: among equal colours few steps are nearer


def closeness(scene: Scene, clicks: Clicks, reach: float) -> np.ndarray:
    """exp(-d / reach) of the distances d that ``click_distances`` gives: float32 [M, C], 1 at a click of the class."""
    return np.exp(-click_distances(scene, clicks) / reach).astype(np.float32)


def within(scene: Scene, clicks: Clicks, far: float) -> np.ndarray:
    """The class whose clicks are nearest to every super-voxel, no further than ``far``, int16 [M]: the first of several
    that are equally near, IGNORE where none is."""
    distances = click_distances(scene, clicks)
    return np.where(distances.min(axis=1) <= far, distances.argmin(axis=1), IGNORE).astype(np.int16)


def click_distances(scene: Scene, clicks: Clicks) -> np.ndarray:
    """Length of the shortest path from every super-voxel to a clicked one of each class, float64 [M, C]; infinite where
    there is none; of clicks that others outvote see ``clicks.heard``.

    A path goes from neighbour to neighbour. The step from i to j has the length mean((c_i - c_j)^2) + 0.001, where c is
    the mean RGB of a super-voxel, from 0 to 1.
    """
    supervoxels, count = scene.supervoxels.astype(np.int64), scene.num_supervoxels
    colors = _means(scene.colors / 255, supervoxels, count)  # [M, 3]
    first, second = _neighbours(scene.coords, supervoxels, count).T  # [E]
    lengths = np.square(colors[first] - colors[second]).mean(axis=1) + STEP  # [E]
    graph = csr_array((lengths, (first, second)), shape=(count, count))
    distances = np.full((count, len(scene.label_set)), np.inf)
    for name in np.unique(clicks.classes[clicks.classes >= 0]):
        clicked = np.unique(supervoxels[clicks.points[clicks.classes == name]])
        distances[:, name] = dijkstra(graph, directed=False, indices=clicked, min_only=True)
    return distances


def _neighbours(coords: np.ndarray, supervoxels: np.ndarray, count: int) -> np.ndarray:
    """Pairs of super-voxels that touch, int64 [E, 2], the smaller first and each once."""
    cells = np.floor((coords - coords.min(axis=0)) / CELL).astype(np.int64)  # [N, 3]
    cells = np.unique(np.ravel_multi_index(cells.T, tuple(cells.max(axis=0) + 1)), return_inverse=True)[1]  # [N]
    parts, part_of = np.unique(cells * count + supervoxels, return_inverse=True)  # super-voxels in cells
    near = cKDTree(_means(coords, part_of, len(parts))).query_pairs(TOUCH, output_type="ndarray")
    pairs = np.sort((parts % count)[near], axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _means(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """``pool_mean`` of the values [N, 3] of each of ``count`` groups, float64 [count, 3]."""
    return pool_mean(torch.from_numpy(values.astype(np.float64)), torch.from_numpy(groups), count).numpy()
