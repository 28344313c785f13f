"""Algorithm 1 of the paper, read top to bottom.

    clicks -> initial labels
    repeat:  train the 3D U-Net Theta (and the relation net R) on the labels in use
             predict every training room, combine Theta and R, propagate over the super-voxel graph
             keep what is confident as the labels of the next iteration; clicks always keep theirs

Every step is a stage of store.py: finished ones are reused, also between experiments that share them.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from otoc_lib.annotation.clicks import (
    Clicks,
    expand_clicks,
    expansion_statistics,
    label_statistics,
    read_clicks,
    read_points,
    simulate_clicks,
    write_clicks,
)
from otoc_lib.config import Config, project_root
from otoc_lib.datasets import load_split
from otoc_lib.device import choose_device
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import evaluate_rooms, iou, mean_iou
from otoc_lib.files import write_aside, write_json
from otoc_lib.labels import IGNORE
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.models.relation import RelationNet
from otoc_lib.models.unet import UNet
from otoc_lib.propagation import combine, propagate_graph
from otoc_lib.scene import Scene
from otoc_lib.store import Stage, run_stage
from otoc_lib.supervoxels.pooling import pool_mean
from otoc_lib.training.fit import train_relation, train_unet
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.predict import Prediction, predict

Labels = dict[str, np.ndarray]  # scene name -> int16 (N,), class index or IGNORE

# What the result of each kind of stage depends on, besides its inputs.
_ANNOTATION = ("source", "clicks_per_object", "seed")
_NETWORK = ("seed", "voxel_size", "unet_width", "unet_levels", "unet_blocks", "precision")
_TRAINING = (
    *_NETWORK,
    *("batch_size", "max_points", "optimizer", "schedule", "halve_every", "class_weights"),
    *("jitter", "flip", "rotate", "scale_range", "elastic_granularity", "elastic_magnitude", "color_shift"),
)
_RELATION = ("relation_dim", "relation_samples", "temperature", "prototype_momentum")
_INFERENCE = (*_NETWORK, "views", "flip", "rotate", "variant")
_PROPAGATION = ("bandwidth", "pairwise_weight", "pairwise_scaling", "mean_field_steps", "mean_field_tolerance")


@dataclass(frozen=True)
class Rooms:
    """The rooms of one experiment."""

    train: list[Scene]
    evaluation: dict[str, list[Scene]]  # split name -> rooms


@dataclass(frozen=True)
class Iteration:
    """The finished stages of one pass through the loop of Algorithm 1."""

    number: int
    unet: Stage
    relation: Stage | None
    pseudo: Stage | None
    evaluation: Stage


def load_rooms(config: Config) -> Rooms:
    """Read the training and evaluation rooms that ``config`` asks for."""
    train = load_split(config, "train", config.train_rooms)
    evaluation = {split: load_split(config, split, config.eval_rooms) for split in config.eval_splits}
    return Rooms(train, evaluation)


def self_train(config: Config, rooms: Rooms) -> Iterator[Iteration]:
    """Algorithm 1. Yields after every iteration, so that a caller can look at it before the next one starts.

    With ``variant: control`` the labels stay the initial ones: equal steps and restarts, no self-training.
    """
    annotation = annotate(config, rooms)
    initial = initial_labels(config, rooms, annotation)
    labels, labels_key = initial, annotation.key
    unet: Stage | None = None
    relation: Stage | None = None
    for number in config.iterations:
        unet = _train_stage(config, rooms, "unet", labels, labels_key, number, unet)
        if uses_relation(config):
            relation = _train_stage(config, rooms, "relation", labels, labels_key, number, relation)
        evaluation = _evaluate_stage(config, rooms, unet, relation, number)
        pseudo = None
        if config.variant != "control":
            pseudo = _pseudo_label_stage(config, rooms, initial, annotation, unet, relation, number)
            labels, labels_key = read_labels(pseudo.path, rooms.train), pseudo.key
        yield Iteration(number, unet, relation, pseudo, evaluation)


def train_baseline(config: Config, rooms: Rooms) -> tuple[Stage, Stage]:
    """The U-Net of the first iteration alone and its evaluation without propagation: rows "*" of the paper's tables."""
    annotation = annotate(config, rooms)
    labels = initial_labels(config, rooms, annotation)
    unet = _train_stage(config, rooms, "unet", labels, annotation.key, 1, None)
    return unet, _evaluate_stage(replace(config, variant="control"), rooms, unet, None, 1, name="evaluate_baseline")


# --- labels -----------------------------------------------------------------------------------------------------------


def annotate(config: Config, rooms: Rooms) -> Stage:
    """Stage ``clicks``: draw or read the clicks of the training rooms and describe the labels they expand to."""
    inputs = {"train": fingerprint(rooms.train)}
    if config.clicks_file:
        inputs["clicks_file"] = hashlib.sha256(_clicks_file(config).read_bytes()).hexdigest()[:16]

    def work(folder: Path) -> None:
        if config.source == "all":
            labels = _true_labels(rooms.train)
            statistics = {"scenes": len(rooms.train), **label_statistics(rooms.train, labels)}
        else:
            clicks = _clicks(config, rooms.train)
            write_clicks(folder / "clicks.csv", clicks, rooms.train)
            statistics = expansion_statistics(rooms.train, clicks)
        write_json(folder / "statistics.json", statistics)

    return run_stage(config, "clicks", _ANNOTATION, inputs, work)


def initial_labels(config: Config, rooms: Rooms, annotation: Stage) -> Labels:
    """The labels of the first iteration: the super-voxel of each click takes its class (or every label, if asked)."""
    if config.source == "all":
        return _true_labels(rooms.train)
    clicks = read_clicks(annotation.path / "clicks.csv", rooms.train)
    return {scene.name: expand_clicks(scene, clicks[scene.name]) for scene in rooms.train}


def _clicks(config: Config, scenes: list[Scene]) -> dict[str, Clicks]:
    if config.source == "file":
        return read_clicks(_clicks_file(config), scenes)
    if config.source == "points20":
        return read_points(_clicks_file(config), scenes)
    return {scene.name: simulate_clicks(scene, config.clicks_per_object, config.seed) for scene in scenes}


def _clicks_file(config: Config) -> Path:
    path = project_root() / config.clicks_file
    if not path.is_file():
        raise OtocError(f"{path}: no such file; set clicks_file to the file with the clicks, from the project's root")
    return path


def _true_labels(scenes: list[Scene]) -> Labels:
    unlabelled = [scene.name for scene in scenes if scene.labels is None]
    if unlabelled:
        raise OtocError(f"source: all: {', '.join(unlabelled)} have no labels to train on; give clicks instead")
    return {scene.name: scene.labels for scene in scenes}


def read_labels(folder: Path, scenes: list[Scene]) -> Labels:
    """Pseudo labels of a finished ``pseudo_k`` stage."""
    return {scene.name: load_arrays(folder / f"{scene.name}.safetensors")["labels"] for scene in scenes}


# --- networks ---------------------------------------------------------------------------------------------------------


def uses_relation(config: Config) -> bool:
    return config.variant == "unet_rel_gp"


def _train_stage(
    config: Config,
    rooms: Rooms,
    network: Literal["unet", "relation"],
    labels: Labels,
    labels_key: str,
    number: int,
    start: Stage | None,
) -> Stage:
    """Stage ``unet_k`` or ``relation_k``: train from random weights (``start`` None) or go on from earlier ones."""
    later = "" if number == 1 else "_later"
    steps, rate = f"{network}_steps{later}", f"learning_rate{later}"
    train, own_parameters = (train_unet, ()) if network == "unet" else (train_relation, _RELATION)
    schedule = Schedule(getattr(config, steps), getattr(config, rate))
    return run_stage(
        config,
        f"{network}_{number}",
        (*_TRAINING, *own_parameters, steps, rate),
        {"labels": labels_key, "train": fingerprint(rooms.train), **({"start": start.key} if start else {})},
        lambda folder: train(config, rooms.train, labels, schedule, folder, number, _weights(start)),
        str(choose_device(config)),
    )


def _weights(stage: Stage | None) -> Path | None:
    return stage.path / "weights.safetensors" if stage else None


def load_networks(config: Config, scene: Scene, unet: Stage, relation: Stage | None) -> tuple[UNet, RelationNet | None]:
    """The trained networks of one iteration, on the compute device, in eval mode."""
    device = choose_device(config)
    unet_model = new_unet(config, len(scene.label_set))
    unet_model.load_state_dict(load_file(_weights(unet)))
    relation_model = None
    if relation is not None:
        relation_model = new_relation_net(config, len(scene.label_set))
        relation_model.load_state_dict(load_file(_weights(relation)))
        relation_model.to(device).eval()
    return unet_model.to(device).eval(), relation_model


# --- propagation and pseudo labels ------------------------------------------------------------------------------------


def propagate(config: Config, scene: Scene, prediction: Prediction) -> Tensor:
    """Class probabilities Q [M, C] of the super-voxels after combination and mean field (eqs. 2-5).

    ``unet_gp`` propagates the U-Net's probabilities over colour and position; ``unet_rel_gp`` propagates the product
    with the relation net's over colour, position and both networks' features.
    """
    device = prediction.probabilities.device
    supervoxels = torch.from_numpy(scene.supervoxels.astype(np.int64)).to(device)
    size = scene.num_supervoxels
    colors = torch.from_numpy(scene.colors / np.float32(127.5) - 1).to(device)  # [N, 3]
    coords = torch.from_numpy(scene.coords.copy()).to(device)  # [N, 3]
    blocks = [pool_mean(colors, supervoxels, size), pool_mean(coords, supervoxels, size)]
    unary = pool_mean(prediction.probabilities, supervoxels, size)  # [M, C]
    if uses_relation(config):
        unary = combine(unary, prediction.relation_probabilities, config.relation_power)
        blocks += [prediction.features, prediction.relation_features]
    return propagate_graph(
        unary,
        blocks,
        bandwidth=config.bandwidth,
        weight=config.pairwise_weight,
        scaling=config.pairwise_scaling,
        steps=config.mean_field_steps,
        tolerance=config.mean_field_tolerance,
        storage=config.propagation,
        memory=config.propagation_memory,
    )


def pseudo_labels(
    config: Config, scene: Scene, initial: np.ndarray, prediction: Prediction
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the next iteration: the best class where exp(-C) >= threshold (eq. 8), and every clicked label.

    Args:
        initial: int (N,), the clicks' own expanded labels, which always win.

    Returns:
        labels int16 (N,) with IGNORE; confidence float16 (N,), the probability of the best class.
    """
    if config.variant == "unet":
        confidence, label = prediction.probabilities.cpu().max(dim=1)  # [N]
    else:
        supervoxels = torch.from_numpy(scene.supervoxels.astype(np.int64))
        confidence, label = propagate(config, scene, prediction).cpu()[supervoxels].max(dim=1)  # [N]
    labels = np.where(confidence.numpy() >= config.threshold, label.numpy(), IGNORE).astype(np.int16)
    return np.where(initial != IGNORE, initial, labels).astype(np.int16), confidence.numpy().astype(np.float16)


def _pseudo_label_stage(
    config: Config,
    rooms: Rooms,
    initial: Labels,
    annotation: Stage,
    unet: Stage,
    relation: Stage | None,
    number: int,
) -> Stage:
    def work(folder: Path) -> None:
        networks = load_networks(config, rooms.train[0], unet, relation)
        labels, confidences = {}, []
        for scene in _progress(rooms.train, f"pseudo labels {number}"):
            label, confidence = pseudo_labels(config, scene, initial[scene.name], predict(config, scene, *networks))
            labels[scene.name] = label
            confidences.append(confidence.astype(np.float64).mean())
            _save_arrays(folder / f"{scene.name}.safetensors", labels=label, confidence=confidence)
        statistics = {**label_statistics(rooms.train, labels), "mean_confidence": float(np.mean(confidences))}
        write_json(folder / "statistics.json", statistics)

    inputs = {"annotation": annotation.key, **_network_keys(unet, relation)}
    parameters = (*_INFERENCE, *_propagation_parameters(config), "threshold")
    return run_stage(config, f"pseudo_{number}", parameters, inputs, work, str(choose_device(config)))


def _propagation_parameters(config: Config) -> tuple[str, ...]:
    if config.variant in ("unet", "control"):
        return ()
    return (*_PROPAGATION, *_RELATION, "relation_power") if uses_relation(config) else _PROPAGATION


def _network_keys(unet: Stage, relation: Stage | None) -> dict[str, str]:
    return {"unet": unet.key, **({"relation": relation.key} if relation else {})}


# --- evaluation -------------------------------------------------------------------------------------------------------


def _evaluate_stage(
    config: Config, rooms: Rooms, unet: Stage, relation: Stage | None, number: int, name: str | None = None
) -> Stage:
    def work(folder: Path) -> None:
        networks = load_networks(config, rooms.train[0], unet, relation)
        classes = list(rooms.train[0].label_set.names)
        splits, predicted = {}, []
        for split, scenes in rooms.evaluation.items():
            predictions = {}
            for scene in _progress(scenes, f"evaluate {split}, iteration {number}"):
                predictions[scene.name], confidence = _predict_labels(config, scene, predict(config, scene, *networks))
                _save_arrays(folder / f"{scene.name}.safetensors", confidence=confidence, **predictions[scene.name])
            splits[split] = metrics(scenes, predictions)
            predicted = list(predictions[scenes[-1].name])
        summary = {"classes": classes, "views": config.views, "predicted": predicted, "splits": splits}
        write_json(folder / "metrics.json", summary)

    inputs = {split: fingerprint(scenes) for split, scenes in rooms.evaluation.items()} | _network_keys(unet, relation)
    parameters = (*_INFERENCE, *_propagation_parameters(config))
    return run_stage(config, name or f"evaluate_{number}", parameters, inputs, work, str(choose_device(config)))


def _predict_labels(config: Config, scene: Scene, prediction: Prediction) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Class per point, int16 (N,), in each mode, and the confidence float16 (N,) of the last mode.

    ``point``: the U-Net alone (the paper's dagger); ``sv``: its probabilities averaged in super-voxels, nothing else
    (the control of everything that works on super-voxels); ``full``: after propagation, where the variant has one.
    """
    supervoxels = torch.from_numpy(scene.supervoxels.astype(np.int64))
    probabilities = prediction.probabilities.cpu()
    modes = {"point": probabilities, "sv": pool_mean(probabilities, supervoxels, scene.num_supervoxels)[supervoxels]}
    if config.variant in ("unet_gp", "unet_rel_gp"):
        modes["full"] = propagate(config, scene, prediction).cpu()[supervoxels]
    labels = {mode: values.argmax(dim=1).numpy().astype(np.int16) for mode, values in modes.items()}
    last = modes["full"] if "full" in modes else probabilities
    return labels, last.max(dim=1).values.numpy().astype(np.float16)


def metrics(scenes: list[Scene], predictions: dict[str, dict[str, np.ndarray]]) -> dict:
    """mIoU, per class IoU and confusion of each mode over all rooms, and the mIoU of each room, ready for JSON.

    Rooms without labels cannot be judged: where there is one, ``modes`` is empty.
    """
    modes, per_room = {}, {scene.name: {} for scene in scenes}
    judged = all(scene.labels is not None for scene in scenes)
    for mode in predictions[scenes[0].name] if judged else ():
        total, room_mious = evaluate_rooms(scenes, {name: modes_of[mode] for name, modes_of in predictions.items()})
        values = [None if np.isnan(value) else float(value) for value in iou(total)]
        modes[mode] = {"miou": float(mean_iou(total)), "iou": values, "confusion": total.tolist()}
        for name, value in room_mious.items():
            per_room[name][mode] = float(value)
    return {"rooms": [scene.name for scene in scenes], "modes": modes, "per_room": per_room}


# --- helpers ----------------------------------------------------------------------------------------------------------


def fingerprint(scenes: Iterable[Scene]) -> str:
    """Hash of the rooms' names and arrays: other data, other stages."""
    return hashlib.blake2b("".join(scene.fingerprint for scene in scenes).encode(), digest_size=8).hexdigest()


def _progress(scenes: list[Scene], title: str) -> Iterable[Scene]:
    return tqdm(scenes, desc=title, unit="room", file=sys.stderr, mininterval=5.0, dynamic_ncols=True)


def _save_arrays(path: Path, **arrays: np.ndarray) -> None:
    with write_aside(path) as aside:
        save_arrays(arrays, aside)
