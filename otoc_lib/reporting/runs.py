"""What the finished stages under ``runs/`` measured, as plain data; None for whatever was not run."""

import csv
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from otoc_lib.annotation.clicks import Clicks, read_clicks
from otoc_lib.config import Config, project_root
from otoc_lib.datasets import load_split
from otoc_lib.datasets.scannet_benchmark import export_benchmark
from otoc_lib.errors import OtocError
from otoc_lib.experiments import BASELINE, LISTED, MAIN, Experiment, Row, main_experiment, read_profile, rows_of
from otoc_lib.methods.stages import CONFUSIONS
from otoc_lib.scene import Scene
from otoc_lib.store import MANIFEST, find_stage, finished_manifests

MODES = {"point": "U-Net alone", "sv": "super-voxel mean", "full": "after propagation"}  # a method may have others


@dataclass(frozen=True)
class Spread:
    """A number for every seed that it was measured with."""

    by_seed: dict[int, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_seed.values())))

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds, None for one seed."""
        return float(np.std(list(self.by_seed.values()), ddof=1)) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Measurement(Spread):
    """The mIoU of one row of a table, in percent, and what it was measured on."""

    views: int
    rooms: int


@dataclass(frozen=True)
class Results:
    """The finished stages of one profile, as plain data; None for whatever was not run.

    Where one seed has to stand for all, as in pictures of rooms, it is the one that ``shown_seed`` says.

    Args:
        runs: folder that holds one folder a profile.
        profile: name of that folder.
        iterations: the last one of Algorithm 1, for the experiments of the lists.
        experiments: of the profile's params files; () where they are unknown.
        seed: the one to show; None for the first that an experiment was run with.
    """

    runs: Path
    profile: str
    iterations: int
    experiments: tuple[Experiment, ...] = ()
    seed: int | None = None

    @property
    def folder(self) -> Path:
        """The folder of the profile's runs."""
        return Path(self.runs) / self.profile

    # --- rows and experiments

    def rows(self, table: str) -> tuple[Row, ...]:
        """The rows of "table2" or "table4", those of further experiments last."""
        return rows_of(table, self.experiments)

    def further(self, table: str) -> tuple[Row, ...]:
        """The rows of "table2" or "table4" that are in no list of experiments.py."""
        return self.rows(table)[len(LISTED[table]) :]

    @property
    def main(self) -> str:
        """The experiment that figures show: the whole method, or what a profile without it has run."""
        further = [row.experiment for table in LISTED for row in self.further(table)]
        ran = [name for name in (*MAIN, *further) if self.seeds(name)]
        return main_experiment(ran) or next(iter(ran), MAIN[0])

    @property
    def table(self) -> str:
        """The table that a report is about: Table 4 where S3DIS alone was run."""
        return "table4" if self.main == "s3dis_otoc" else "table2"

    def row(self, name: str, table: str | None = None) -> Row:
        """A row by its name, by default of the table that a report is about."""
        return next(row for row in self.rows(table or self.table) if row.row == name)

    def known(self, experiment: str) -> Experiment | None:
        """What the params file of an experiment says, None without one."""
        return next((known for known in self.experiments if known.name == experiment), None)

    def iterations_of(self, experiment: str) -> int:
        """The last iteration of an experiment."""
        known = self.known(experiment)
        return known.config.self_train_iterations if known else self.iterations

    def stage_of(self, row: Row) -> str:
        """Name of the evaluation stage that a row shows."""
        return self.last_evaluation(row.experiment) if row.last else BASELINE

    def last_evaluation(self, experiment: str) -> str:
        """Name of the last evaluation stage of an experiment."""
        known = self.known(experiment)
        return known.last_evaluation if known else f"evaluate_{self.iterations}"

    # --- seeds and stages

    def seeds(self, experiment: str) -> dict[int, str]:
        """Seed -> name of the run's folder, for every seed that an experiment was run with, in their order."""
        pattern = re.compile(re.escape(experiment) + r"(?:_seed([1-9]\d*))?")
        folders = [path.name for path in self.folder.glob(f"{experiment}*") if path.is_dir()]
        found = {int(match[1] or 0): name for name in folders if (match := pattern.fullmatch(name))}
        return dict(sorted(found.items()))

    def shown_seed(self, experiment: str) -> int | None:
        """The seed that stands for an experiment where only one can: ``seed`` if that was run, else its first."""
        found = self.seeds(experiment)
        return self.seed if self.seed in found else next(iter(found), None)

    def find(self, experiment: str, stage: str, seed: int | None = None) -> Path | None:
        """Folder of a finished stage of the given seed, by default the shown one.

        A stage of another seed than its run's folder says is not counted: it would pass for a repeat.
        """
        seed = self.shown_seed(experiment) if seed is None else seed
        run = self.seeds(experiment).get(seed)
        found = find_stage(self.runs, self.profile, run, stage) if run else None
        return found.path if found and read_json(found.path / MANIFEST)["seed"] == seed else None

    def finished(self) -> list[dict[str, Any]]:
        """Manifest of every stage that was made (not reused), by run and time, with the run's name as ``run``."""
        found = [{**manifest, "run": run} for run, manifest in finished_manifests(self.folder)]
        return sorted(found, key=lambda manifest: (manifest["run"], manifest["finished"]))

    # --- what evaluations measured

    def metrics(self, experiment: str, stage: str, seed: int | None = None) -> dict[str, Any] | None:
        """metrics.json of an evaluation stage."""
        folder = self.find(experiment, stage, seed)
        return read_json(folder / "metrics.json") if folder else None

    def measure(self, row: Row, split: str = "val") -> Measurement | None:
        """The mIoU of a row over all rooms of a split, for every seed that it was run with."""
        return self.measure_stage(row.experiment, self.stage_of(row), row.mode, split)

    def measure_stage(self, experiment: str, stage: str, mode: str, split: str = "val") -> Measurement | None:
        """``measure`` of any evaluation stage in any of its modes."""
        by_seed, views, rooms = {}, 0, 0
        for seed in self.seeds(experiment):
            metrics = self.metrics(experiment, stage, seed)
            if metrics and mode in metrics["splits"].get(split, {}).get("modes", {}):
                by_seed[seed] = 100 * metrics["splits"][split]["modes"][mode]["miou"]
                views, rooms = metrics["views"], len(metrics["splits"][split]["rooms"])
        return Measurement(by_seed, views, rooms) if by_seed else None

    def room_scores(self, row: Row, split: str = "val") -> dict[int, dict[str, float]]:
        """Seed -> room -> mIoU in percent."""
        found = {}
        for seed in self.seeds(row.experiment):
            metrics = self.metrics(row.experiment, self.stage_of(row), seed)
            per_room = metrics["splits"].get(split, {}).get("per_room", {}) if metrics else {}
            scores = {name: 100 * modes[row.mode] for name, modes in per_room.items() if row.mode in modes}
            if scores:
                found[seed] = scores
        return found

    def confusions(self, row: Row, split: str = "val") -> dict[int, dict[str, np.ndarray]]:
        """Seed -> room -> confusion matrix int64 [C, C], for the seeds whose evaluation kept them."""
        folders = {seed: self.find(row.experiment, self.stage_of(row), seed) for seed in self.seeds(row.experiment)}
        found = {seed: read_confusions(folder, split, row.mode) for seed, folder in folders.items() if folder}
        return {seed: rooms for seed, rooms in found.items() if rooms}

    # --- what training and relabelling left

    def statistics(self, experiment: str, stage: str) -> dict[str, Spread]:
        """The numbers of statistics.json of ``clicks`` or ``pseudo_<iteration>``, by name; empty if it was not run.

        What some seed does not know, such as the accuracy in rooms without labels, is left out.
        """
        folders = {seed: self.find(experiment, stage, seed) for seed in self.seeds(experiment)}
        found = {seed: read_json(folder / "statistics.json") for seed, folder in folders.items() if folder}
        names = dict.fromkeys(name for statistics in found.values() for name in statistics)
        values = {name: {seed: statistics.get(name) for seed, statistics in found.items()} for name in names}
        return {
            name: Spread(by_seed)
            for name, by_seed in values.items()
            if all(isinstance(value, (int, float)) for value in by_seed.values())
        }

    def history(self, experiment: str, stage: str, seed: int | None = None) -> dict[str, np.ndarray] | None:
        """Columns of history.csv of ``<network>_<iteration>``, float64 [steps] each."""
        folder = self.find(experiment, stage, seed)
        return _read_history(folder / "history.csv") if folder else None

    # --- what was made in rooms, with the seed that is shown

    def prediction(self, experiment: str, stage: str, scene: Scene) -> dict[str, np.ndarray]:
        """Mode -> predicted classes int16 [N] of one room; empty if it was not evaluated."""
        arrays = self._arrays_of(experiment, stage, scene)
        return {name: array for name, array in arrays.items() if name != "confidence"}

    def pseudo_labels(self, experiment: str, iteration: int, scene: Scene) -> np.ndarray | None:
        """Pseudo labels int16 [N] made after an iteration."""
        return self._arrays_of(experiment, f"pseudo_{iteration}", scene).get("labels")

    def confidence(self, experiment: str, stage: str, scene: Scene) -> np.ndarray | None:
        """Confidence float16 [N] of an evaluation, in the mode that ``last_mode`` names, or of pseudo labels."""
        return self._arrays_of(experiment, stage, scene).get("confidence")

    def clicks(self, experiment: str, scenes: list[Scene]) -> dict[str, Clicks]:
        """Clicks of the training rooms by scene name; empty if the stage is missing."""
        folder = self.find(experiment, "clicks")
        return read_clicks(folder / "clicks.csv", scenes) if folder else {}

    def _arrays_of(self, experiment: str, stage: str, scene: Scene) -> dict[str, np.ndarray]:
        folder = self.find(experiment, stage)
        path = folder / f"{scene.name}.safetensors" if folder else None
        return read_arrays(path) if path is not None and path.is_file() else {}


def results_of(config: Config) -> Results:
    """The results of a notebook's profile; its own seed is the one that is shown.

    A params file beside the notebook's own that is wrong does not stop it: a warning says so, and the rows of methods
    of one's own are left out but for the notebook's.
    """
    params = project_root() / "params"
    try:
        found = {known.name: known for known in read_profile(params, config.profile)}
    except OtocError as error:
        warnings.warn(f"{error}; rows of further experiments are left out until it is mended", stacklevel=2)
        found = {}
    # As the notebook runs it, with what papermill changed.
    files = found[config.experiment].files if config.experiment in found else ()
    found[config.experiment] = Experiment(config.experiment, config, files)
    return Results(
        config.runs_folder, config.profile, config.self_train_iterations, tuple(found.values()), seed=config.seed
    )


def last_mode(evaluation: Path) -> str:
    """The mode of inference that stands for an evaluation stage: propagation where it has one, else its first."""
    modes = read_json(evaluation / "metrics.json")["predicted"]
    return "full" if "full" in modes else modes[0]


# --- files ------------------------------------------------------------------------------------------------------------


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


def read_confusions(evaluation: Path, split: str, mode: str) -> dict[str, np.ndarray]:
    """Room -> confusion matrix int64 [C, C] of an evaluation stage; empty where it kept none."""
    path = evaluation / CONFUSIONS
    counts = read_arrays(path).get(f"{split}/{mode}") if path.is_file() else None
    if counts is None:
        return {}
    rooms = read_json(evaluation / "metrics.json")["splits"][split]["rooms"]
    if len(rooms) != len(counts):
        raise OtocError(
            f"{path}: holds {len(counts)} rooms of {split}, but metrics.json {len(rooms)}; delete their folder and "
            "run that stage again"
        )
    return dict(zip(rooms, counts, strict=True))


def _read_history(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else None
    except (OSError, ValueError, TypeError) as error:
        raise OtocError(f"{path}: cannot be read ({error}); delete its folder and run that stage again") from error


# --- submissions ------------------------------------------------------------------------------------------------------


def export_predictions(config: Config, split: str, mode: str, path: Path) -> None:
    """Write the last predictions of a finished run on a split as the ScanNet benchmark takes them.

    mode: of the method, such as "full". OtocError if the run has not evaluated that split, or another list of scenes
    than the split holds now.
    """
    stage_name = Experiment(config.experiment, config, ()).last_evaluation
    found = find_stage(config.runs_folder, config.profile, config.run_name, stage_name)
    stage = found.path if found else None
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
    modes = sorted({name for arrays in predictions.values() for name in arrays} - {"confidence"})
    if mode not in modes:
        raise OtocError(f"{stage}: has no predictions of mode {mode!r}; it has {', '.join(modes)}")
    export_benchmark(
        {name: arrays[mode] for name, arrays in predictions.items()},
        {scene.name: scene.num_points for scene in scenes},
        path,
    )
