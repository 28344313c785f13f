"""What a first model can do for the annotator: say what it sees, and ask where a click would help it most."""

from dataclasses import dataclass

import numpy as np

from otoc_lib.scene import Scene


@dataclass(frozen=True)
class Proposal:
    """A click that the model asks for: a super-voxel, its middle vertex, and the class it would guess."""

    supervoxel: int
    point: int
    label: int


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


def middle_points(scene: Scene) -> np.ndarray:
    """Vertex of each super-voxel nearest to its centroid, int64 [M]."""
    distances = np.linalg.norm(scene.coords - scene.centroids()[scene.supervoxels], axis=1)  # [N]
    order = np.lexsort((distances, scene.supervoxels))
    return order[np.searchsorted(scene.supervoxels[order], np.arange(scene.num_supervoxels))]
