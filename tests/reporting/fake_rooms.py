"""Small furnished boxes and made-up runs on them, for the tests of the report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from otoc_lib.annotation.clicks import (
    Clicks,
    expand_clicks,
    expansion_statistics,
    label_statistics,
    simulate_clicks,
    write_clicks,
)
from otoc_lib.calibration import calibration_counts
from otoc_lib.config import config_from
from otoc_lib.evaluation import iou, mean_iou, room_confusions
from otoc_lib.experiments import BASELINE, Experiment, current_stages
from otoc_lib.files import checksum
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.methods.stages import CONFUSIONS, fingerprint_of
from otoc_lib.reporting.runs import Results
from otoc_lib.scene import Scene, densify
from otoc_lib.store import stage_key

PALETTE = np.random.default_rng(7).integers(70, 220, (20, 3))


def _rectangle(corner: tuple, side_a: tuple, side_b: tuple, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Jittered grid of points [K, 3] on the parallelogram corner + s * side_a + t * side_b."""
    a, b = np.array(side_a, float), np.array(side_b, float)
    s, t = np.meshgrid(
        np.arange(0, 1, spacing / np.linalg.norm(a)), np.arange(0, 1, spacing / np.linalg.norm(b)), indexing="ij"
    )
    points = np.array(corner, float) + s.reshape(-1, 1) * a + t.reshape(-1, 1) * b
    return points + rng.normal(0, spacing / 12, points.shape)


def _box(x: float, y: float, w: float, d: float, h: float, spacing: float, rng: np.random.Generator) -> np.ndarray:
    faces = [
        ((x, y, h), (w, 0, 0), (0, d, 0)),
        ((x, y, 0), (w, 0, 0), (0, 0, h)),
        ((x, y + d, 0), (w, 0, 0), (0, 0, h)),
        ((x, y, 0), (0, d, 0), (0, 0, h)),
        ((x + w, y, 0), (0, d, 0), (0, 0, h)),
    ]
    return np.concatenate([_rectangle(*face, spacing, rng) for face in faces])


def make_room(name: str, seed: int, spacing: float = 0.06, turn: float = 0.0) -> Scene:
    """A 4 x 3.4 m room with two visible kinds of surface besides its furniture; super-voxels are 0.3 m cells."""
    rng = np.random.default_rng(seed)
    parts = [
        (_rectangle((0, 0, 0), (4, 0, 0), (0, 3.4, 0), spacing, rng), 1),
        (_rectangle((0, 0, 0), (4, 0, 0), (0, 0, 2.5), spacing, rng), 0),
        (_rectangle((0, 3.4, 0), (4, 0, 0), (0, 0, 2.5), spacing, rng), 0),
        (_rectangle((0, 0, 0), (0, 3.4, 0), (0, 0, 2.5), spacing, rng), 0),
        (_rectangle((4, 0, 0), (0, 3.4, 0), (0, 0, 2.5), spacing, rng), 0),
        (_rectangle((1.2, 3.37, 1.2), (1.1, 0, 0), (0, 0, 0.8), spacing, rng), 8),
    ]
    for x, y in ((0.2, 0.3), (1.6, 0.2), (3.0, 0.3), (0.2, 1.7), (1.7, 1.7), (3.0, 1.9)):
        w, d, h = rng.uniform((0.4, 0.4, 0.4), (1.0, 1.1, 1.3))
        parts.append((_box(x, y, w, d, h, spacing, rng), int(rng.choice([2, 3, 4, 5, 6, 9, 12, 14, 19]))))
    coords = np.concatenate([points for points, _ in parts])
    labels = np.concatenate([np.full(len(points), label) for points, label in parts])
    instances = np.concatenate([np.full(len(points), i) for i, (points, _) in enumerate(parts)])
    cells = densify(np.ravel_multi_index((np.floor(coords / 0.3).astype(int) + 1).T, (40, 40, 40)) * 50 + instances)
    colors = np.clip(PALETTE[labels] + rng.normal(0, 9, coords.shape), 0, 255)
    coords = coords - coords.mean(axis=0)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return Scene(
        name=name,
        coords=(coords @ rotation.T).astype(np.float32),
        colors=colors.astype(np.uint8),
        supervoxels=cells,
        labels=labels.astype(np.int16),
        instances=instances.astype(np.int32),
        origin=np.zeros(3),
        label_set=SCANNET20,
    )


ITERATIONS = 3
SPLITS = {"train": 3, "val": 4, "val_novel": 2}
KINDS = {
    "supervised": {"source": "all", "method": "control", "self_train_iterations": 1, "variant": "unet_gp"},
    "otoc": {},
    "unet": {"variant": "unet"},
    "control": {"method": "control"},
}


def params_of(name: str, like: str = "otoc", **values) -> dict:
    """What the params file of an experiment of the runs below says; its rooms are on no disk.

    like: one of KINDS.
    """
    base = {"profile": "rooms", "experiment": name, "data_root": "nowhere", "eval_splits": ["val", "val_novel"]}
    return {**base, "self_train_iterations": ITERATIONS, **KINDS[like], **values}


def known(name: str, like: str = "otoc", **values) -> Experiment:
    return Experiment(name, config_from(params_of(name, like, **values)), ())


def write_params(params: Path, name: str, like: str = "otoc", **values) -> None:
    path = params / "rooms" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(params_of(name, like, **values)), encoding="utf-8")


EXPERIMENTS = tuple(known(name, name) for name in KINDS)


def results_in(
    runs: Path, profile: str = "rooms", experiments: tuple[Experiment, ...] = EXPERIMENTS, **given
) -> Results:
    """The results under a folder of runs, by default of the experiments that ``make_runs`` makes."""
    return Results(runs, profile, ITERATIONS, experiments, **given)


def make_scenes(spacing: float = 0.08) -> dict[str, list[Scene]]:
    return {
        split: [make_room(f"scene{1000 * s}_{i:02d}", 10 * s + i, spacing, turn=0.2 * i) for i in range(count)]
        for s, (split, count) in enumerate(SPLITS.items())
    }


def predict(scene: Scene, right: float, seed: int, per_supervoxel: bool) -> np.ndarray:
    """Labels, int16 [N], that are right in about a fraction ``right`` of the points or super-voxels."""
    rng = np.random.default_rng(seed)
    guess = rng.integers(0, len(scene.label_set), scene.num_points).astype(np.int16)
    if per_supervoxel:
        ids = scene.supervoxels
        return np.where(rng.random(ids.max() + 1)[ids] < right, scene.labels, guess[ids]).astype(np.int16)
    return np.where(rng.random(scene.num_points) < right, scene.labels, guess).astype(np.int16)


def _write_manifest(folder: Path, content: dict, seed: int, seconds: float) -> None:
    manifest = {
        **content,
        "key": stage_key(content),
        "versions": {"otoc_lib": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "seed": seed,
        "steps": 200 if folder.name.startswith(("unet_", "relation_")) else 0,
        "seconds": seconds,
        "device": "cpu",
        "finished": "2026-11-22T23:00:00+00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sign(folder)


def sign(stage: Path) -> None:
    """Note the checksums of a stage's files, as if it had written what they hold."""
    path = stage / "manifest.json"
    files = {file.name: checksum(file) for file in sorted(stage.iterdir()) if file != path}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": files}))


def _write_evaluation(folder: Path, scenes: dict[str, list[Scene]], right: dict[str, float], seed: int) -> None:
    splits, confusions = {}, {}
    for split in (split for split in scenes if split != "train"):
        modes, per_room = {}, {scene.name: {} for scene in scenes[split]}
        arrays = {scene.name: {"confidence": np.ones(scene.num_points, np.float16)} for scene in scenes[split]}
        for mode, share in right.items():
            for i, scene in enumerate(scenes[split]):
                arrays[scene.name][mode] = predict(scene, share - 0.06 * i, seed + i, mode != "point")
            chosen = {name: saved[mode] for name, saved in arrays.items()}
            counts = confusions[f"{split}/{mode}"] = room_confusions(scenes[split], chosen)
            confusion = counts.sum(axis=0)
            per_class = [None if np.isnan(value) else float(value) for value in iou(confusion)]
            modes[mode] = {"miou": mean_iou(confusion), "iou": per_class, "confusion": confusion.tolist()}
            modes[mode]["calibration"] = sum(
                _always_sure(scene, chosen[scene.name]) for scene in scenes[split]
            ).tolist()
            for scene, count in zip(scenes[split], counts, strict=True):
                per_room[scene.name][mode] = mean_iou(count)
        splits[split] = {"rooms": list(per_room), "modes": modes, "per_room": per_room}
        for name, saved in arrays.items():
            save_file(saved, folder / f"{name}.safetensors")
    save_file(confusions, folder / CONFUSIONS)
    metrics = {"classes": list(SCANNET20.names), "views": 1, "predicted": list(right), "splits": splits}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def _always_sure(scene: Scene, predicted: np.ndarray) -> np.ndarray:
    known = scene.labels >= 0
    return calibration_counts(np.ones(int(known.sum())), (predicted == scene.labels)[known])


def make_experiment(
    runs: Path,
    experiment: Experiment,
    scenes: dict[str, list[Scene]],
    start: float,
    modes: tuple,
    seed: int = 0,
    tsne: bool = False,
) -> None:
    """Every stage of one run, made up but consistent: statistics and metrics are those of the arrays.

    The keys are those of the experiment on these scenes.
    """
    config = replace(experiment.config, seed=seed)
    folder = runs / "rooms" / config.run_name
    fingerprints = {split: fingerprint_of(scene.fingerprint for scene in found) for split, found in scenes.items()}
    contents = {name: c for stages in current_stages(config, fingerprints).values() for name, c in stages.items()}
    rng = np.random.default_rng(seed)
    clicks = {scene.name: simulate_clicks(scene, 1, seed) for scene in scenes["train"]}
    bonus = {"point": 0.0, "sv": 0.05, "relation": 0.06, "full": 0.08}
    for name, content in contents.items():
        kind, _, k = name.partition("_")
        k = int(k) if k.isdigit() else 1
        share, made = start + 0.07 * k, folder / name
        if kind == "tsne" and not tsne:
            continue
        made.mkdir(parents=True)
        match kind:
            case "clicks":
                write_clicks(made / "clicks.csv", clicks, scenes["train"])
                statistics = expansion_statistics(scenes["train"], clicks)
                (made / "statistics.json").write_text(json.dumps(statistics))
            case "unet" | "relation" | "maps":
                steps = np.arange(0, 200, 5)
                loss = 2.5 * np.exp(-steps / 60) / k + 0.3 + rng.normal(0, 0.03, len(steps))
                lines = [f"{s},{v:.4f},0.01,{s * 0.2:.2f}" for s, v in zip(steps, loss, strict=True)]
                (made / "history.csv").write_text("\n".join(["step,loss,lr,seconds", *lines]))
            case "evaluate" if name == BASELINE:
                shares = {"point": share, "sv": share + 0.05}
                shares |= {"full": share + 0.06} if config.variant == "unet_gp" else {}
                _write_evaluation(made, scenes, shares, seed + 31)
            case "evaluate":
                _write_evaluation(made, scenes, {mode: share + bonus[mode] for mode in modes}, seed + 31 * k)
            case "pseudo":
                _write_pseudo_labels(made, scenes["train"], clicks, k, share + 0.2, seed)
            case "tsne":
                _write_tsne(made)
        seconds = {"clicks": 0.5, "evaluate": 8.0, "pseudo": 3.0, "tsne": 12.0}
        _write_manifest(made, content, seed, seconds.get(kind, 40.0))  # of networks


def _write_pseudo_labels(
    folder: Path, rooms: list[Scene], clicks: dict[str, Clicks], iteration: int, right: float, seed: int
) -> None:
    rng, labels = np.random.default_rng([seed, iteration]), {}
    for i, scene in enumerate(rooms):
        pseudo = predict(scene, right, seed + i, per_supervoxel=True)
        unsure = rng.random(scene.num_supervoxels)[scene.supervoxels] > 0.4 + 0.15 * iteration
        pseudo = np.where(unsure, IGNORE, pseudo).astype(np.int16)
        start_labels = expand_clicks(scene, clicks[scene.name])
        labels[scene.name] = np.where(start_labels != IGNORE, start_labels, pseudo).astype(np.int16)
        confidence = np.full(scene.num_points, 0.9, np.float16)
        save_file({"labels": labels[scene.name], "confidence": confidence}, folder / f"{scene.name}.safetensors")
    initial = {scene.name: expand_clicks(scene, clicks[scene.name]) for scene in rooms}
    statistics = {**label_statistics(rooms, labels, initial), "mean_confidence": 0.8 + 0.03 * iteration}
    (folder / "statistics.json").write_text(json.dumps(statistics))


def _write_tsne(folder: Path) -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(20), 40).astype(np.int16)
    arrays = {"class": classes, "room": np.zeros(800, np.int32), "supervoxel": np.arange(800, dtype=np.int32) % 60}
    for name, spread in (("coordinates", 2.0), ("colors", 1.0), ("relation", 0.25)):
        centers = rng.normal(0, 1, (20, 2))
        arrays[name] = (centers[classes] + rng.normal(0, spread, (800, 2))).astype(np.float32)
    save_file(arrays, folder / "tsne.safetensors")
    scores = {"coordinates": -0.21, "colors": -0.08, "relation": 0.34}
    (folder / "tsne.json").write_text(json.dumps({"silhouette": scores, "rooms": ["scene1000_00"]}))


def make_runs(runs: Path, scenes: dict[str, list[Scene]]) -> None:
    """Runs of the profile ``rooms``: everything but ``unet_gp``, which stays "not run"."""
    supervised, otoc, unet, control = EXPERIMENTS
    make_experiment(runs, supervised, scenes, 0.7, ("point", "sv"))
    make_experiment(runs, otoc, scenes, 0.5, ("point", "sv", "full"), tsne=True)
    make_experiment(runs, otoc, scenes, 0.48, ("point", "sv", "full"), seed=1)
    make_experiment(runs, unet, scenes, 0.45, ("point", "sv", "full"))
    make_experiment(runs, control, scenes, 0.47, ("point", "sv", "full"))
