"""Figure 6: super-voxels of the evaluation rooms laid out in the plane by t-SNE of three kinds of features."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from otoc_lib.config import View
from otoc_lib.errors import OtocError
from otoc_lib.files import write_arrays, write_json
from otoc_lib.labels import IGNORE
from otoc_lib.methods.method import Iteration, supervoxel_nodes
from otoc_lib.methods.stages import Stages, load_networks
from otoc_lib.scene import Scene
from otoc_lib.store import Stage
from otoc_lib.supervoxels.pooling import majority_labels, pool_mean
from otoc_lib.training.predict import predict

VERSION = 1  # raise it when the stage changes its meaning
PERPLEXITY = 30.0
FEATURES = ("coordinates", "colors", "relation")


def tsne_stage(stages: Stages, done: Iteration) -> Stage:
    """Stage ``tsne``: embed up to ``tsne_supervoxels`` super-voxels of each class, from the first evaluation split.

    Writes tsne.safetensors (coordinates, colors, relation: float32 [S, 2]; class int16 [S]; room, supervoxel int32
    [S]) and tsne.json (silhouette: score of each embedding by true class, -1..1; supervoxels: how many of each class;
    rooms: names).

    Args:
        stages: of an experiment.
        done: its iteration whose networks are looked at.
    """
    config = stages.config
    if done.relation is None:
        raise OtocError(
            f"{config.method}, variant {config.variant}: trains no relation network to look at; use "
            "'method: one_thing_one_click' with 'variant: unet_rel_gp'"
        )
    view = View(config, ["network", "inference", "variant", "relation", "tsne"], "stage tsne")
    split = config.shown_split

    def work(folder: Path, key: str) -> None:
        from sklearn.metrics import silhouette_score  # takes long to import, and planning the stage does without

        scenes = stages.scenes.evaluation[split]
        networks = load_networks(view, stages.method, scenes[0], done.networks)
        classes = [_classes(scene) for scene in scenes]  # of every super-voxel; features only of those that are drawn
        drawn = draw_per_class(np.concatenate(classes), view.tsne_supervoxels, view.seed)
        check_variety(np.concatenate(classes)[drawn])
        starts = np.cumsum([0, *(len(of_room) for of_room in classes)])
        found = []
        for number, scene in enumerate(tqdm(scenes, desc="super-voxel features", unit="room", mininterval=5.0)):
            chosen = drawn[(drawn >= starts[number]) & (drawn < starts[number + 1])] - starts[number]
            if len(chosen):
                prediction = predict(view, scene, networks["unet"], networks["relation"])
                features = _describe(scene, prediction.relation_features) | {"class": classes[number]}
                of_room = {name: array[chosen] for name, array in features.items()}
                of_room["room"] = np.full(len(chosen), number, dtype=np.int32)
                found.append({**of_room, "supervoxel": chosen.astype(np.int32)})
        points = {name: np.concatenate([of_room[name] for of_room in found]) for name in found[0]}
        for name in tqdm(FEATURES, desc="t-SNE", unit="feature set"):
            points[name] = embed(points[name], view.seed)
        write_arrays(folder / "tsne.safetensors", points)
        counts = np.bincount(points["class"], minlength=len(scenes[0].label_set))
        scores = {name: float(silhouette_score(points[name], points["class"])) for name in FEATURES}
        summary = {"silhouette": scores, "supervoxels": counts.tolist(), "rooms": [scene.name for scene in scenes]}
        write_json(folder / "tsne.json", summary)

    keys = {name: stage.key for name, stage in done.networks.items()}
    inputs = {**keys, split: stages.fingerprint(split)}
    return stages.run(view, "tsne", {"tsne": VERSION}, inputs, work, device=stages.device_of(view))


def draw_per_class(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices, int64 [S], of at most ``count`` members of each class drawn at random; IGNORE is left out."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(classes != IGNORE))
    order = order[np.argsort(classes[order], kind="stable")]
    ordered = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)  # place within its class
    return np.sort(order[rank < count])


def check_variety(classes: np.ndarray) -> None:
    """OtocError unless some super-voxels [S] are of two classes and two are of one: else there is no silhouette."""
    found = len(np.unique(classes))
    if not 1 < found < len(classes):
        raise OtocError(
            f"t-SNE of {len(classes)} super-voxels of {found} classes says nothing of classes: it needs two, and two "
            "super-voxels of one of them; raise 'tsne_supervoxels' or use more rooms"
        )


def embed(features: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of features [S, D] into the plane, float32 [S, 2], started from their principal components."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(features) < 4:
        raise OtocError(f"t-SNE needs at least 4 super-voxels with a true class, not {len(features)}; use more rooms")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    method = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    # It takes a thousand short steps; threads that wait spinning for one another in each of them were measured two to
    # sixty times slower than one, as soon as other programs use the cores.
    with threadpool_limits(1, user_api="openmp"):
        return method.fit_transform(features).astype(np.float32)


def _classes(scene: Scene) -> np.ndarray:
    """Majority class of every super-voxel of a room, int16 [M]; IGNORE where no point has one."""
    labels = torch.from_numpy(scene.labels.astype(np.int64))
    classes = majority_labels(labels, supervoxel_nodes(scene), scene.num_supervoxels, len(scene.label_set))
    return classes.numpy().astype(np.int16)


def _describe(scene: Scene, relation_features: Tensor) -> dict[str, np.ndarray]:
    """Features of the super-voxels of one room, float32 [M, D] each."""
    size, supervoxels = scene.num_supervoxels, supervoxel_nodes(scene)
    return {
        "coordinates": pool_mean(torch.from_numpy(scene.coords.copy()), supervoxels, size).numpy(),
        "colors": pool_mean(torch.from_numpy(scene.colors / np.float32(255)), supervoxels, size).numpy(),
        "relation": relation_features.cpu().numpy(),
    }
