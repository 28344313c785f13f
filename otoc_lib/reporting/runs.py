"""What the current stages under ``runs/`` measured, as plain data; None for whatever was not run or is stale."""

import csv
import io
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.numpy

from otoc_lib.annotation.clicks import Clicks
from otoc_lib.config import Config, names_in, project_root
from otoc_lib.current import Runs, StaleRun
from otoc_lib.datasets import load_split
from otoc_lib.datasets.cache import HELD_OUT, may_be_trained_on
from otoc_lib.datasets.scannet_benchmark import export_benchmark
from otoc_lib.errors import OtocError
from otoc_lib.experiments import (
    LISTED,
    MAIN,
    Experiment,
    Row,
    main_experiment,
    read_profile,
    read_what_is_right,
    rows_of,
)
from otoc_lib.methods.stages import CONFUSIONS, clicks_of
from otoc_lib.on_demand import OnDemand
from otoc_lib.reporting.kept import ARCHIVES, HIDDEN, kept_runs
from otoc_lib.scene import Scene
from otoc_lib.store import Stage, finished_manifests, stages_in

# What modes are called; a method may have others.
MODES = {
    "point": "U-Net alone",
    "sv": "super-voxel mean",
    "relation": "relation net alone",
    "product": "both, before propagation",
    "full": "after propagation",
}

BESIDE = {"confidence", "calibration"}  # what an evaluation keeps of a room beside its predictions by mode
NOT_RUN = "not run"
STUDY, STUDIED = "study", "rooms"  # the profile that measures with several seeds what the other shows with one


@dataclass(frozen=True)
class Spread:
    """A number for every seed of which it is current; ``stale`` are the seeds of which it was measured, but is not."""

    by_seed: dict[int, float]
    stale: tuple[int, ...] = field(default=(), kw_only=True)

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
    names: frozenset[str]  # of the rooms

    @property
    def rooms(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Results:
    """The current stages of one profile, as plain data; None for whatever was not run or is stale (see ``current``).

    Where one seed has to stand for all, as in pictures of rooms, it is the one that ``shown_seed`` says.

    Args:
        runs: folder that holds one folder a profile.
        profile: name of that folder.
        iterations: the last one of Algorithm 1, for the experiments of the lists.
        experiments: of the profile's params files; what was run by others is stale.
        seed: the one to show; None for the first that an experiment was run with.
        wrong: what is wrong with other params files of the profile, by experiment.
        study: the folder of tables with more seeds that stand beside these, None for none.
        archives: the folder of numbers that were kept of runs, here or elsewhere, see ``kept``; None for none.
    """

    runs: Path
    profile: str
    iterations: int
    experiments: tuple[Experiment, ...] = ()
    seed: int | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)
    study: Path | None = None
    archives: Path | None = None

    @cached_property
    def held(self) -> Runs:
        """The runs that are here, beside the params files."""
        return Runs(self.runs, self.profile, self.experiments, self.wrong)

    @cached_property
    def _kept(self) -> tuple[Runs, TemporaryDirectory] | None:
        return kept_runs(self.held, self.archives) if self.archives else None

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
        return self.last_evaluation(row.experiment) if row.stage == "last" else row.stage

    def last_evaluation(self, experiment: str) -> str:
        """Name of the last evaluation stage of an experiment."""
        known = self.known(experiment)
        return known.last_evaluation if known else f"evaluate_{self.iterations}"

    @cached_property
    def split(self) -> str:
        """The split that tables and figures show, that of the main experiment."""
        known = self.known(self.main)
        return known.config.shown_split if known else "val"

    @property
    def shows_trained(self) -> bool:
        """Whether rooms that are shown with their predictions may be trained on, as scans of one's own are."""
        known = self.known(self.main)
        return known is not None and may_be_trained_on(known.config, self.split)

    def rooms_shown(self, usual: str = "Validation rooms") -> str:
        """What is shown, for a title: ``usual`` where that are validation rooms."""
        if self.shows_trained:
            return "Training rooms"
        names = {"val": usual, HELD_OUT: "Held-out training rooms"}
        return names.get(self.split, f"Rooms of {self.split}")

    @property
    def room_shown(self) -> str:
        """One of ``rooms_shown``, within a sentence: ``validation room``."""
        return self.rooms_shown().lower().replace("rooms", "room", 1)

    # --- seeds and stages

    def seeds(self, experiment: str) -> dict[int, str]:
        """Seed -> name of the run, in order, for every seed that was run here or that numbers were kept of."""
        kept = self._kept[0].seeds(experiment) if self._kept else {}
        return dict(sorted({**kept, **self.held.seeds(experiment)}.items()))

    def shown_seed(self, experiment: str) -> int | None:
        """The seed that stands for an experiment where only one can: ``seed`` if that was run, else its first."""
        found = self.held.seeds(experiment) or self.seeds(experiment)
        return self.seed if self.seed in found else next(iter(found), None)

    def find(self, experiment: str, stage: str, seed: int | None = None) -> Stage | None:
        """A stage of the given seed, by default the shown one, if it is current and here, with all its files."""
        seed = self.shown_seed(experiment) if seed is None else seed
        return None if seed is None else self.held.state(experiment, stage, seed).stage

    def numbers(self, experiment: str, stage: str, seed: int | None = None) -> Stage | None:
        """``find``, or what was kept of such a stage: ``kept.NUMBERS`` and nothing else."""
        found = self.find(experiment, stage, seed)
        if found is None and self._kept:
            seed = self.shown_seed(experiment) if seed is None else seed
            found = None if seed is None else self._kept[0].state(experiment, stage, seed).stage
        return found

    def stale_seeds(self, experiment: str, stage: str) -> tuple[int, ...]:
        """The seeds of which a stage was run and is not current."""
        return tuple(
            seed
            for seed in self.held.seeds(experiment)
            if self.held.state(experiment, stage, seed).why and self.numbers(experiment, stage, seed) is None
        )

    def absent(self, experiment: str, stage: str) -> str:
        """What stands where there is no number: ``not run``, or ``stale`` and what mends it."""
        stale = self.stale_seeds(experiment, stage)
        return f"stale: {self.held.remedy(experiment, stale, [stage])}" if stale else NOT_RUN

    def stale(self) -> list[StaleRun]:
        """Everything that was run and is shown nowhere, by run."""
        return self.held.stale()

    @property
    def doubt(self) -> str:
        """What one must know of where numbers come from: of data that are not on this machine, so that nobody knows
        what is current, and of runs of which only numbers are here. "" for nothing."""
        kept = self._kept[0].doubt if self._kept and not self.held.doubt else ""
        return " ".join(sentence for sentence in (self.held.doubt, self._kept_alone, kept) if sentence)

    @cached_property
    def _kept_alone(self) -> str:
        if not self._kept:
            return ""
        kept = self._kept[0]
        alone = [
            run
            for name in kept.experiments
            for seed, run in kept.seeds(name).items()
            if any(
                kept.state(name, stage, seed).stage and not self.find(name, stage, seed)
                for stage in stages_in(kept.folder / run)
            )
        ]
        if not alone:
            return ""
        same = "parameters and code" if kept.doubt else "parameters, code and rooms"
        return (
            f"Of {len(alone)} runs the numbers were kept when they were run ({self.archives.parent.name}/"
            f"{self.archives.name}), with the same {same} as now; pictures show what was run here."
        )

    def finished(self) -> list[dict[str, Any]]:
        """Manifest of every current stage that was made (not reused), by run and time, with its run as ``run``."""
        keys = self.held.keys()
        found = [{**manifest, "run": run} for run, manifest in finished_manifests(self.folder)]
        current = [manifest for manifest in found if manifest["key"] in keys]
        return sorted(current, key=lambda manifest: (manifest["run"], manifest["finished"]))

    # --- what evaluations measured

    def metrics(self, experiment: str, stage: str, seed: int | None = None) -> dict[str, Any] | None:
        """metrics.json of an evaluation stage."""
        found = self.numbers(experiment, stage, seed)
        return read_json(found, "metrics.json") if found else None

    def hidden_score(self, experiment: str, stage: str, mode: str, seed: int) -> float | None:
        """The mIoU on the hidden-label rooms, in percent, that was kept of an evaluation stage."""
        kept = self._kept and self._kept[0].state(experiment, stage, seed).stage
        path = kept and kept.path / HIDDEN
        return json.loads(path.read_text(encoding="utf-8")).get(mode) if path and path.is_file() else None

    def measure(self, row: Row, split: str | None = None) -> Measurement | None:
        """The mIoU of a row over all rooms of a split, by default ``split``, for every seed of which it is current."""
        return self.measure_stage(row.experiment, self.stage_of(row), row.mode, split)

    def measure_stage(self, experiment: str, stage: str, mode: str, split: str | None = None) -> Measurement | None:
        """``measure`` of any evaluation stage in any of its modes."""
        by_seed, views, names, split = {}, 0, frozenset(), split or self.split
        for seed in self.seeds(experiment):
            metrics = self.metrics(experiment, stage, seed)
            if metrics and mode in metrics["splits"].get(split, {}).get("modes", {}):
                by_seed[seed] = 100 * metrics["splits"][split]["modes"][mode]["miou"]
                views, names = metrics["views"], frozenset(metrics["splits"][split]["rooms"])
        return Measurement(by_seed, views, names, stale=self.stale_seeds(experiment, stage)) if by_seed else None

    def room_scores(self, row: Row, split: str | None = None) -> dict[int, dict[str, float]]:
        """Seed -> room -> mIoU in percent."""
        found = {}
        for seed in self.seeds(row.experiment):
            metrics = self.metrics(row.experiment, self.stage_of(row), seed)
            per_room = metrics["splits"].get(split or self.split, {}).get("per_room", {}) if metrics else {}
            scores = {name: 100 * modes[row.mode] for name, modes in per_room.items() if row.mode in modes}
            if scores:
                found[seed] = scores
        return found

    def confusions(self, row: Row, split: str | None = None) -> dict[int, dict[str, np.ndarray]]:
        """Seed -> room -> confusion matrix int64 [C, C], for the seeds whose evaluation kept them."""
        stages = {seed: self.numbers(row.experiment, self.stage_of(row), seed) for seed in self.seeds(row.experiment)}
        found = {seed: read_confusions(stage, split or self.split, row.mode) for seed, stage in stages.items() if stage}
        return {seed: rooms for seed, rooms in found.items() if rooms}

    # --- what training and relabelling left

    def statistics(self, experiment: str, stage: str) -> dict[str, Spread]:
        """The numbers of statistics.json of ``clicks`` or ``pseudo_<iteration>``, by name; empty if it was not run.

        What some seed does not know, such as the accuracy in rooms without labels, is left out.
        """
        stages = {seed: self.numbers(experiment, stage, seed) for seed in self.seeds(experiment)}
        found = {seed: read_json(known, "statistics.json") for seed, known in stages.items() if known}
        names = dict.fromkeys(name for statistics in found.values() for name in statistics)
        values = {name: {seed: statistics.get(name) for seed, statistics in found.items()} for name in names}
        stale = self.stale_seeds(experiment, stage)
        return {
            name: Spread(by_seed, stale=stale)
            for name, by_seed in values.items()
            if all(isinstance(value, (int, float)) for value in by_seed.values())
        }

    def history(self, experiment: str, stage: str, seed: int | None = None) -> dict[str, np.ndarray] | None:
        """Columns of history.csv of ``<network>_<iteration>``, float64 [steps] each."""
        found = self.find(experiment, stage, seed)
        return read_history(found) if found else None

    # --- what was made in rooms, with the seed that is shown

    def prediction(self, experiment: str, stage: str, scene: Scene) -> dict[str, np.ndarray]:
        """Mode -> predicted classes int16 [N] of one room; empty if it was not evaluated."""
        arrays = self._arrays_of(experiment, stage, scene)
        return {name: array for name, array in arrays.items() if name not in BESIDE}

    def pseudo_labels(self, experiment: str, iteration: int, scene: Scene) -> np.ndarray | None:
        """Pseudo labels int16 [N] made after an iteration."""
        return self._arrays_of(experiment, f"pseudo_{iteration}", scene).get("labels")

    def confidence(self, experiment: str, stage: str, scene: Scene) -> np.ndarray | None:
        """Confidence float16 [N] of an evaluation, in the mode that ``last_mode`` names, or of pseudo labels."""
        return self._arrays_of(experiment, stage, scene).get("confidence")

    def clicks(self, experiment: str, scenes: list[Scene]) -> Mapping[str, Clicks]:
        """Clicks of the training rooms by scene name; empty if the stage is missing."""
        found = self.find(experiment, "clicks")
        return clicks_of(found, scenes) if found else {}

    def _arrays_of(self, experiment: str, stage: str, scene: Scene) -> dict[str, np.ndarray]:
        found, name = self.find(experiment, stage), f"{scene.name}.safetensors"
        return read_arrays(found, name) if found and name in found.files else {}


def results_of(config: Config) -> Results:
    """The results of a notebook's profile; its own seed is the one that is shown.

    A params file beside the notebook's own that is wrong does not stop it: a warning says so, and its runs are stale
    until it is mended.
    """
    found, wrong = read_what_is_right(project_root() / "params", config.profile)
    wrong.pop(config.experiment, None)  # the notebook has parameters that are right
    for error in wrong.values():
        warnings.warn(f"{error}; its rows are left out until it is mended", stacklevel=2)
    known = {experiment.name: experiment for experiment in found}
    known[config.experiment] = _as_run(config, known.get(config.experiment))
    study = config.report_folder.with_name(STUDY) / "tables" if config.profile == STUDIED else None
    return Results(
        config.runs_folder,
        config.profile,
        config.self_train_iterations,
        tuple(known.values()),
        config.seed,
        wrong,
        study,
        config.report_folder / ARCHIVES,
    )


def results_of_profile(profile: str) -> Results:
    """The results of a profile as its params files say, its main experiment's seed shown.

    Raises OtocError if it has no params files, or one that is wrong.
    """
    found = {known.name: known for known in read_profile(project_root() / "params", profile)}
    if not found:
        raise OtocError(f"profile {profile!r}: params/{profile} holds no params files; check its name")
    return results_of(found[main_experiment(found) or next(iter(found))].config)


def _as_run(config: Config, known: Experiment | None) -> Experiment:
    """The experiment of a notebook, with what papermill changed of its params file."""
    if known is None:
        return Experiment(config.experiment, config, ())
    by_hand = {"seed", "seeds", "runs_root", "reports_root", "cache_root", *names_in(type(config), ["machine"])}
    names = [field.name for field in fields(config) if field.name not in by_hand]
    before = {name: getattr(known.config, name, None) for name in names}
    changed = tuple((name, getattr(config, name)) for name in names if getattr(config, name) != before[name])
    return replace(known, config=replace(config, seeds=known.seeds), changed=changed)


# --- files of a stage -------------------------------------------------------------------------------------------------
# All raise OtocError, naming the file, if it is not what the stage wrote.


def read_json(stage: Stage, name: str) -> Any:
    return json.loads(stage.read(name))


def read_arrays(stage: Stage, name: str) -> dict[str, np.ndarray]:
    return safetensors.numpy.load(stage.read(name))


def in_order_of_modes(found: Iterable[str]) -> list[str]:
    """Modes, each once, in the order of ``MODES``; those of a method of one's own after them, in their own."""
    found = dict.fromkeys(found)
    return [*(mode for mode in MODES if mode in found), *(mode for mode in found if mode not in MODES)]


def last_mode(*evaluations: Stage) -> str:
    """The mode of inference that stands for evaluation stages side by side: propagation where all of them have it, else
    the first that all have."""
    predicted = [read_json(evaluation, "metrics.json")["predicted"] for evaluation in evaluations]
    shared = [mode for mode in predicted[0] if all(mode in modes for modes in predicted)]
    return "full" if "full" in shared else shared[0]


def read_confusions(evaluation: Stage, split: str, mode: str) -> dict[str, np.ndarray]:
    """Room -> confusion matrix int64 [C, C] of an evaluation stage; empty where it kept none."""
    counts = read_arrays(evaluation, CONFUSIONS).get(f"{split}/{mode}") if CONFUSIONS in evaluation.files else None
    if counts is None:
        return {}
    return dict(zip(read_json(evaluation, "metrics.json")["splits"][split]["rooms"], counts, strict=True))


def read_history(training: Stage) -> dict[str, np.ndarray] | None:
    """Columns of history.csv of ``<network>_<iteration>``, float64 [steps] each."""
    rows = list(csv.DictReader(io.StringIO(training.read("history.csv").decode())))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else None


# --- submissions ------------------------------------------------------------------------------------------------------


def export_predictions(config: Config, split: str, mode: str, path: Path) -> None:
    """Write the last predictions of a finished run on a split as the ScanNet benchmark takes them.

    Args:
        config: of the run, as its params file says.
        mode: of the method, such as "full".

    Raises:
        OtocError: the run has not evaluated that split, or another list of scenes than the split holds now, or its
            evaluation is stale.
    """
    name = Experiment(config.experiment, config, ()).last_evaluation
    if split not in config.eval_splits:
        raise OtocError(
            f"{config.run_folder / name}: holds no predictions of the split {split!r}; add it to eval_splits and run "
            "the experiment"
        )
    scenes, held = load_split(config, split), results_of(config).held
    state = held.state(config.experiment, name, config.seed)
    if state.stage is None:
        remedy = held.remedy(config.experiment, [config.seed], [name])
        raise OtocError(f"{config.run_folder / name}: {f'stale: {state.why}' if state.why else NOT_RUN}; {remedy}")
    if held.doubt:
        warnings.warn(held.doubt, stacklevel=2)
    export_evaluation(state.stage, scenes, split, mode, path)


def export_evaluation(stage: Stage, scenes: list[Scene], split: str, mode: str, path: Path) -> None:
    """``export_predictions`` of an evaluation stage on the scenes of a split."""
    missing = sorted({scene.name for scene in scenes} - set(read_json(stage, "metrics.json")["splits"][split]["rooms"]))
    if missing:
        raise OtocError(f"{stage.path}: has no prediction of {', '.join(missing[:5])}; run without 'eval_rooms'")
    modes = sorted(read_json(stage, "metrics.json")["predicted"])
    if mode not in modes:
        raise OtocError(f"{stage.path}: has no predictions of mode {mode!r}; it has {', '.join(modes)}")
    files = {scene.name: f"{scene.name}.safetensors" for scene in scenes}
    predictions = OnDemand(files, lambda file: read_arrays(stage, file)[mode])
    export_benchmark(predictions, {scene.name: scene.num_points for scene in scenes}, path)
