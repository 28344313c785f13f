"""What a first model can do for the annotator: say what it sees, ask where a click would help it most, and which
clicks it contradicts."""

from dataclasses import dataclass

import numpy as np

from otoc_lib.annotation.clicks import Clicks
from otoc_lib.scene import Scene


@dataclass(frozen=True)
class Proposal:
    """A click that the model asks for: a super-voxel, its middle vertex, and the class it would guess."""

    supervoxel: int
    point: int
    label: int


@dataclass(frozen=True)
class Doubt:
    """A click that the model contradicts: its super-voxel, vertex and class, the class that the model takes the
    super-voxel for, and how much less probable than that one the model finds the click's, -1 at the worst."""

    supervoxel: int
    point: int
    given: int
    label: int
    margin: float


def propose(scene: Scene, probabilities: np.ndarray, count: int = 50) -> list[Proposal]:
    """The super-voxels where a click is worth most: many points times how little the model knows of them.

    Args:
        probabilities: float [M, C] of the super-voxels; their entropy, as a share of the largest possible, is what
            the model does not know.
        count: at most so many.

    Returns:
        Proposals, the most useful first. Their points are the vertices nearest to the super-voxels' centroids.
    """
    sizes = np.bincount(scene.supervoxels)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1) / np.log(probabilities.shape[1])
    order = np.argsort(-(sizes * entropy), kind="stable")[:count]
    middle = middle_points(scene)
    return [Proposal(int(j), int(middle[j]), int(probabilities[j].argmax())) for j in order]


def contradicted(scene: Scene, clicks: Clicks, probabilities: np.ndarray) -> list[Doubt]:
    """The clicks whose super-voxel the model takes for another class, the most doubtful first.

    The margin is that of Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", 2020, in
    probabilities and at the end of the training.

    Args:
        clicks: of the scene; those of NO_CLASS are never contradicted, as no model knows that class.
        probabilities: float [M, C] of the super-voxels.
    """
    classed = np.flatnonzero(clicks.classes >= 0)
    points, given = clicks.points[classed], clicks.classes[classed]
    supervoxels = scene.supervoxels[points]
    seen = probabilities[supervoxels]  # [K, C]
    labels, margins = seen.argmax(axis=1), seen[np.arange(len(seen)), given] - seen.max(axis=1)
    order = np.argsort(margins, kind="stable")
    order = order[labels[order] != given[order]]
    columns = (column[order].tolist() for column in (supervoxels, points, given, labels, margins))
    return [Doubt(*row) for row in zip(*columns, strict=True)]


def middle_points(scene: Scene) -> np.ndarray:
    """Vertex of each super-voxel nearest to its centroid, int64 [M]."""
    distances = np.linalg.norm(scene.coords - scene.centroids()[scene.supervoxels], axis=1)  # [N]
    order = np.lexsort((distances, scene.supervoxels))
    return order[np.searchsorted(scene.supervoxels[order], np.arange(scene.num_supervoxels))]
