"""What a first model can do for the annotator: say what it sees, and ask where a click would help it most."""

from dataclasses import dataclass

import numpy as np

from otoc_lib.config import Config
from otoc_lib.errors import OtocError
from otoc_lib.scene import Scene
from otoc_lib.store import Stage, find_stage
from otoc_lib.supervoxels.pooling import pool_mean


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


def predict_rooms(config: Config, scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Probabilities float32 [M, C] of each room's super-voxels by the last finished U-Net of an experiment.

    Raises OtocError if the experiment has trained none.
    """
    import torch

    # self_training stands above this package and reads clicks itself.
    from otoc_lib.self_training import load_networks
    from otoc_lib.training.predict import predict

    runs = config.run_folder.parents[1]
    found = [find_stage(runs, config.profile, config.experiment, f"unet_{k}") for k in reversed(config.iterations)]
    folder = next((path for path in found if path is not None), None)
    if folder is None:
        raise OtocError(f"{config.profile}/{config.experiment}: no U-Net is trained yet; run notebook 02 first")
    unet, _ = load_networks(config, scenes[0], Stage(folder.name, folder, "", reused=True), None)
    made = {}
    for scene in scenes:
        probabilities = predict(config, scene, unet, None).probabilities
        supervoxels = torch.from_numpy(scene.supervoxels.astype(np.int64)).to(probabilities.device)
        made[scene.name] = pool_mean(probabilities, supervoxels, scene.num_supervoxels).cpu().numpy()
    return made
