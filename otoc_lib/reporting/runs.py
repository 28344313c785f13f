"""What the finished stages under ``runs/`` measured, as plain data; None for whatever has not been run."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from otoc_lib.config import Config
from otoc_lib.datasets import load_split
from otoc_lib.datasets.scannet_benchmark import export_benchmark
from otoc_lib.errors import OtocError
from otoc_lib.store import MANIFEST, find_stage


@dataclass(frozen=True)
class Measurement:
    """The mIoU of one row of a table, in percent: its value for every seed, and what it was measured on."""

    by_seed: dict[int, float]
    views: int
    rooms: int

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_seed.values())))

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds, None for one seed."""
        return float(np.std(list(self.by_seed.values()), ddof=1)) if len(self.by_seed) > 1 else None


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OtocError(f"{path}: cannot be read ({error}); delete its folder and run that stage again") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise OtocError(f"{path}: cannot be read ({error}); delete its folder and run that stage again") from error


def repeats(runs: Path, profile: str, experiment: str) -> list[str]:
    """The experiment and its repetitions with other seeds, which are named ``<experiment>_seed<number>``."""
    return [experiment, *sorted(path.name for path in (runs / profile).glob(f"{experiment}_seed*") if path.is_dir())]


def read_metrics(runs: Path, profile: str, experiment: str, stage_name: str) -> dict[str, Any] | None:
    """metrics.json of ``evaluate_baseline`` or ``evaluate_<iteration>``."""
    stage = find_stage(runs, profile, experiment, stage_name)
    return read_json(stage / "metrics.json") if stage else None


def measure(
    runs: Path, profile: str, experiment: str, stage_name: str, mode: str, split: str = "val"
) -> Measurement | None:
    """The mIoU over all rooms of a split, for every seed it was run with; None if it was not.

    stage_name: ``evaluate_baseline`` or ``evaluate_<iteration>``.
    mode: "point" (U-Net alone), "sv" (averaged in super-voxels) or "full" (after propagation).
    """
    by_seed, views, rooms = {}, 0, 0
    for name in repeats(runs, profile, experiment):
        stage = find_stage(runs, profile, name, stage_name)
        metrics = read_json(stage / "metrics.json") if stage else None
        if metrics is None or mode not in metrics["splits"].get(split, {}).get("modes", {}):
            continue
        by_seed[read_json(stage / MANIFEST)["seed"]] = 100 * metrics["splits"][split]["modes"][mode]["miou"]
        views, rooms = metrics["views"], len(metrics["splits"][split]["rooms"])
    return Measurement(by_seed, views, rooms) if by_seed else None


def read_statistics(runs: Path, profile: str, experiment: str, stage_name: str) -> dict[str, Any] | None:
    """statistics.json of ``clicks`` or ``pseudo_<iteration>``."""
    stage = find_stage(runs, profile, experiment, stage_name)
    return read_json(stage / "statistics.json") if stage else None


def read_history(runs: Path, profile: str, experiment: str, stage_name: str) -> dict[str, np.ndarray] | None:
    """Columns of history.csv of ``unet_<iteration>`` or ``relation_<iteration>``, float64 [steps] each."""
    stage = find_stage(runs, profile, experiment, stage_name)
    if stage is None:
        return None
    path = stage / "history.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else None
    except (OSError, ValueError, TypeError) as error:
        raise OtocError(f"{path}: cannot be read ({error}); delete its folder and run that stage again") from error


def finished_stages(runs: Path, profile: str) -> Iterator[dict[str, Any]]:
    """Manifest of every stage that was made (not reused) in a profile, by experiment and time, with ``experiment``."""
    found = []
    for path in sorted((runs / profile).glob(f"*/*/{MANIFEST}")):
        manifest = read_json(path)
        if "reused_from" not in manifest:
            found.append({**manifest, "experiment": path.parent.parent.name})
    yield from sorted(found, key=lambda manifest: (manifest["experiment"], manifest["finished"]))


def export_predictions(config: Config, split: str, mode: str, path: Path) -> None:
    """Write the last predictions of a finished experiment on a split as the ScanNet benchmark takes them.

    mode: "point", "sv" or "full", as in ``measure``. OtocError if the experiment has not evaluated that split, or
    another list of scenes than the split holds now.
    """
    experiment, stage_name = config.experiment, f"evaluate_{config.self_train_iterations}"
    if config.source == "all":
        stage_name = "evaluate_baseline"
    stage = find_stage(config.run_folder.parents[1], config.profile, experiment, stage_name)
    evaluated = read_json(stage / "metrics.json")["splits"] if stage else {}
    if split not in evaluated:
        raise OtocError(
            f"{config.run_folder / stage_name}: holds no predictions of the split {split!r}; add it to eval_splits and "
            "run the experiment"
        )
    scenes = load_split(config, split)
    missing = sorted({scene.name for scene in scenes} - set(evaluated[split]["rooms"]))
    if missing:
        raise OtocError(f"{stage}: has no prediction of {', '.join(missing[:5])}; run without 'eval_rooms'")
    predictions = {scene.name: read_arrays(stage / f"{scene.name}.safetensors") for scene in scenes}
    if any(mode not in arrays for arrays in predictions.values()):
        raise OtocError(f"{stage}: has no predictions of mode {mode!r}; variant {config.variant!r} makes none")
    export_benchmark(
        {name: arrays[mode] for name, arrays in predictions.items()},
        {scene.name: scene.num_points for scene in scenes},
        path,
    )
