"""Which finished stages are current: their key is what the params file, the code, the clicks and the rooms give now.

``Runs`` holds the runs of a profile against its experiments. Tables and figures show what is current, and say of the
rest why it is stale and what mends it; the Snakefile runs again whose stages are not.

The rooms are looked at in the cache, without loading one. Where they are not there as their files are now, such as on
a machine that only the runs were copied to, what the manifests say of them is taken: that of the last finished stage on
the same rooms, so that runs on different ones are never mixed; and ``doubt`` says so.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from otoc_lib.config import Config, added_defaults, in_project
from otoc_lib.datasets import cache
from otoc_lib.errors import OtocError
from otoc_lib.experiments import BASELINE, Experiment, Job, current_stages, main_experiment, read_profile
from otoc_lib.methods.stages import EVALUATED, FILES, fingerprint_of
from otoc_lib.store import MANIFEST, Stage, find_stage, read_manifest, stage_key, stages_in

# Inputs of stages that are no stages: these, the evaluated splits and ``FILES``.
IMAGES = "images"
UNKNOWN = "unknown"  # in their place, where nothing is known of them
SEED = re.compile(r"_seed([1-9]\d*)$")  # how the name of a repeat's folder ends


@dataclass(frozen=True)
class State:
    """Of a stage of one experiment and seed: itself if it is current, or why it is stale; neither if it was not run."""

    stage: Stage | None = None
    why: str = ""


@dataclass(frozen=True)
class StaleRun:
    """Stages of one run that are shown nowhere: which, why, and what mends it, such as ``run make reproduce``."""

    run: str
    experiment: str
    stages: tuple[str, ...]
    why: str
    remedy: str


class Runs:
    """The runs of a profile beside what its params files say now. Rooms and params are looked at once.

    Args:
        root: folder that holds one folder a profile.
        profile: name of that folder.
        experiments: of the profile.
        wrong: what is wrong with its other params files, by experiment.
    """

    def __init__(
        self, root: Path, profile: str, experiments: Iterable[Experiment], wrong: Mapping[str, str] | None = None
    ):
        self.root, self.profile, self.folder = Path(root), profile, Path(root) / profile
        self.experiments = {experiment.name: experiment for experiment in experiments}
        self.wrong = dict(wrong or {})
        self._splits: dict[tuple, tuple[str | None, bool]] = {}
        self._stages: dict[tuple[str, int], dict[str, dict[str, dict[str, Any]]]] = {}

    def seeds(self, experiment: str) -> dict[int, str]:
        """Seed -> name of the run's folder, for every seed that an experiment was run with, in their order."""
        found = {_seed_of(run): run for run in self._folders if _experiment_of(run) == experiment}
        return dict(sorted(found.items()))

    def find(self, run: str) -> tuple[Experiment, int] | None:
        """The experiment and the seed that a run's folder is of; None where no params file that is right has it."""
        known = self.experiments.get(_experiment_of(run))
        return (known, _seed_of(run)) if known and run in self._folders else None

    def knows(self, run: str) -> bool:
        """Whether a run's params file is known, right or wrong."""
        return _experiment_of(run) in self.experiments.keys() | self.wrong.keys()

    # --- what is current

    def state(self, experiment: str, stage: str, seed: int) -> State:
        """Of a stage of the run with that seed. A stage that the params file does not ask for counts as not run.

        Raises OtocError if a manifest is damaged.
        """
        run = self.seeds(experiment).get(seed)
        if run is None:
            return State()
        found = find_stage(self.root, self.profile, run, stage)
        if experiment not in self.experiments:
            return State(why=self._unreadable(experiment)) if found else State()
        content = self._contents(experiment, seed).get(stage)
        if content is None:
            return State()
        if found is not None and found.key == stage_key(content):
            return State(found)
        if read_manifest(self.folder / run / stage) is None:
            return State(why=self._lost(experiment, seed, stage))
        return State(why=self._why(experiment, seed, stage))

    def keys(self) -> set[str]:
        """The keys that are current of the stages of any experiment, with the seeds that it was run with."""
        return {
            stage_key(content)
            for experiment in self.experiments
            for seed in self.seeds(experiment)
            for content in self._contents(experiment, seed).values()
        }

    def stale(self) -> list[StaleRun]:
        """Everything that lies in the folder of the profile and is shown nowhere, by run."""
        found = []
        for run in self._folders:
            experiment, seed, finished = _experiment_of(run), _seed_of(run), self._finished(run)
            if experiment in self.experiments:
                planned = self._contents(experiment, seed)
                whys = {stage: self.state(experiment, stage, seed).why for stage in planned}
                whys = {stage: why for stage, why in whys.items() if why}
                left = tuple(stage for stage in finished if stage not in planned)
            else:
                whys, left = dict.fromkeys(finished, self._unreadable(experiment)), ()
            if whys:
                remedy, why = self.remedy(experiment, [seed], whys), "; ".join(dict.fromkeys(whys.values()))
                found.append(StaleRun(run, experiment, tuple(whys), why, remedy))
            if left:
                why = f"{self._file(experiment)} asks for no such stage now"
                found.append(StaleRun(run, experiment, left, why, "delete what is not needed"))
        return found

    @property
    def _folders(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as found:
            return sorted(entry.name for entry in found if entry.is_dir() and entry.name[0] != ".")

    def _contents(self, experiment: str, seed: int) -> dict[str, dict[str, Any]]:
        """Stage -> what its key hashes if it is current."""
        return {name: content for stages in self.planned(experiment, seed).values() for name, content in stages.items()}

    def planned(self, experiment: str, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
        """Notebook -> stage -> what its key hashes if it is current, of every notebook that may run the experiment."""
        if (experiment, seed) not in self._stages:
            config = replace(self.experiments[experiment].config, seed=seed)
            self._stages[experiment, seed] = current_stages(config, self._fingerprints(config))
        return self._stages[experiment, seed]

    # --- rooms and clicks

    def unconverted(self, config: Config) -> bool:
        """Whether rooms of an experiment are on this machine, but not in the cache as their files are now."""
        return any(here and not known for known, here in (self._look(config, split) for split in _splits(config)))

    @cached_property
    def doubt(self) -> str:
        """A sentence about the experiments of which nobody knows whether their rooms and labels are still the same."""
        names = [
            name
            for name, experiment in self.experiments.items()
            if self._unknown(experiment.config) and any(self._finished(run) for run in self.seeds(name).values())
        ]
        if not names:
            return ""
        return (
            f"The data of {', '.join(names)} are not at hand on this machine, so it is not known whether they are "
            "still those of the runs; all that is shown was made on the same."
        )

    def _fingerprints(self, config: Config) -> dict[str, str | None]:
        """For the plan of an experiment; of ``FILES`` and of the frames only those that are missing: the plan reads the
        others."""
        found = {split: self._look(config, split)[0] for split in _splits(config)}
        noted = {thing: self._noted.get(self._identity(config, thing), UNKNOWN) for thing in self._unknown(config)}
        return found | noted

    def _unknown(self, config: Config) -> set[str]:
        """The splits, the files and the frames of which only manifests can tell."""
        unknown = {split for split in _splits(config) if self._look(config, split)[0] is None}
        named = {name: getattr(config, name) for name in FILES}
        unknown |= {name for name, path in named.items() if path and not in_project(path).is_file()}
        if config.source == "images" and (cache.TRAIN in unknown or not config.images_folder.is_dir()):
            unknown.add(IMAGES)
        return unknown

    def _look(self, config: Config, split: str) -> tuple[str | None, bool]:
        """Fingerprint of a split, None where it is not known; and whether its files are here."""
        identity = self._identity(config, split)
        if identity not in self._splits:
            scenes = cache.fingerprints(config, split, cache.limits(config, split)[0])
            known = scenes is not None and all(scenes)
            self._splits[identity] = fingerprint_of(filter(None, scenes or [])) if known else None, scenes is not None
        return self._splits[identity]

    @cached_property
    def _noted(self) -> dict[tuple, str]:
        """What the manifests say of rooms and clicks, the last finished one's word."""
        last: dict[tuple, tuple[str, str]] = {}
        for name, experiment in self.experiments.items():
            things = {*_splits(experiment.config), *FILES, IMAGES}
            for run in self.seeds(name).values():
                for stage in self._finished(run):
                    manifest = self._manifest(run, stage) or {}
                    for thing in things & manifest.get("inputs", {}).keys():
                        identity, said = self._identity(experiment.config, thing), manifest["inputs"][thing]
                        last[identity] = max(last.get(identity, ("", "")), (manifest.get("finished", ""), said))
        return {identity: fingerprint for identity, (_, fingerprint) in last.items()}

    @staticmethod
    def _identity(config: Config, thing: str) -> tuple:
        """Equal where two experiments mean the same rooms, the same file or the same frames."""
        if thing in FILES:
            return thing, getattr(config, thing)
        if thing == IMAGES:
            return thing, config.images_root, config.dataset
        return thing, cache.folder(config), *cache.limits(config, thing)

    # --- why it is stale

    def _why(self, experiment: str, seed: int, stage: str) -> str:
        """Why a stage whose folder is there is not current."""
        run, contents = self.seeds(experiment)[seed], self._contents(experiment, seed)
        manifest, content = self._manifest(run, stage), contents[stage]
        if manifest is None:
            return f"{stage} was reused from another run, which lost it or made it anew"
        if whys := _differences(manifest, content, _splits(self.experiments[experiment].config)):
            return "; ".join(whys)
        names = {stage_key(other): name for name, other in contents.items()}
        for name, key in content["inputs"].items():
            if key in names and manifest["inputs"].get(name) != key:
                state = self.state(experiment, names[key], seed)
                whys.append(state.why or f"{names[key]} {'was made anew since' if state.stage else 'is missing'}")
        return "; ".join(dict.fromkeys(whys)) or f"{stage} was made of other stages"

    def _lost(self, experiment: str, seed: int, stage: str) -> str:
        """Why a stage that is not there should be: a notebook has run that makes it. "" if none has."""
        run = self.folder / self.seeds(experiment)[seed]
        for notebook, stages in self.planned(experiment, seed).items():
            if stage in stages:
                later = list(stages)[list(stages).index(stage) + 1 :]
                if (run / f"{notebook}.done").exists() or any((run / name / MANIFEST).exists() for name in later):
                    return f"{stage} is missing"
        return ""

    def _unreadable(self, experiment: str) -> str:
        return self.wrong.get(experiment) or f"{self._file(experiment)} is missing"

    def _file(self, experiment: str) -> str:
        return f"params/{self.profile}/{experiment}.yaml"

    def _finished(self, run: str) -> list[str]:
        """The names of the stages in a run's folder."""
        return stages_in(self.folder / run)

    def _manifest(self, run: str, stage: str) -> dict[str, Any] | None:
        """Of a finished stage, wherever it was made."""
        found = find_stage(self.root, self.profile, run, stage)
        return None if found is None else read_manifest(found.path)

    # --- what mends it

    def remedy(self, experiment: str, seeds: Iterable[int], stages: Iterable[str]) -> str:
        """What makes stages of an experiment current again, in the imperative: ``run make reproduce PROFILE=rooms``."""
        file, known = self._file(experiment), self.experiments.get(experiment)
        if experiment in self.wrong:
            return f"mend {file}"
        if known is None:
            return f"restore {file}, or delete what it made"
        seeds, notebooks = sorted(seeds), list(dict.fromkeys(self._notebook(known, stage) for stage in stages))
        own = (*known.notebooks, *(("05_tsne",) if experiment == main_experiment(self.experiments) else ()))
        if self._by_snakemake and not known.changed and set(notebooks) <= set(own):
            all_seeds = ",".join(map(str, sorted({*known.seeds, *seeds})))
            further = "" if set(seeds) <= set(known.seeds) else f" SEEDS={all_seeds}"
            return f"run make reproduce PROFILE={self.profile}{further}"
        if not known.files:
            return f"run {' and '.join(notebooks)} with the parameters of this notebook"
        commands = [
            command_of(notebook, self.profile, experiment, **dict(known.changed), **({"seed": seed} if seed else {}))
            for seed in seeds
            for notebook in notebooks
        ]
        return f"run {' && '.join(commands)}"

    @cached_property
    def _by_snakemake(self) -> bool:
        readable = not self.wrong and all(experiment.files for experiment in self.experiments.values())
        return readable and main_experiment(self.experiments) is not None

    @staticmethod
    def _notebook(known: Experiment, stage: str) -> str:
        if stage in (BASELINE, "tsne"):
            return {BASELINE: "02_baseline", "tsne": "05_tsne"}[stage]
        return known.notebooks[-1]


def command_of(notebook: str, profile: str, experiment: str, **values: Any) -> str:
    """The command that runs a notebook on an experiment, with other values of some parameters."""
    given = "".join(
        f" -y '{name}: {json.dumps(value)}'" if isinstance(value, list) else f" -p {name} {value}"
        for name, value in values.items()
    )
    return f"papermill notebooks/{notebook}.ipynb OUT.ipynb -f params/{profile}/{experiment}.yaml{given}"


def _experiment_of(run: str) -> str:
    return SEED.sub("", run)


def _seed_of(run: str) -> int:
    match = SEED.search(run)
    return int(match[1]) if match else 0


def _splits(config: Config) -> list[str]:
    return list(dict.fromkeys([cache.TRAIN, *config.eval_splits]))


def _differences(manifest: dict[str, Any], content: dict[str, Any], splits: list[str]) -> list[str]:
    """What a stage was made with that is different now; of its inputs only those that no stage makes."""
    things = {split: f"the rooms of {split} have" for split in splits}
    things |= {name: f"{what} has" for name, what in FILES.items()}
    things |= {IMAGES: "the frames have", EVALUATED: "eval_rooms has"}
    made, now = manifest["parameters"], content["parameters"]
    unnamed = {name: value for name, value in added_defaults().items() if name in made or name in now}
    parameters = _changes(unnamed | made, unnamed | now)
    found = [f"{name} was {old or 'not read'} and is {new or 'not read'}" for name, old, new in parameters]
    for name, old, new in _changes(manifest["code"], content["code"]):
        found.append(f"the code {name} was {f'version {old}' if old else 'not used'} and is {new or 'not used'}")
    for name, old, new in _changes(manifest["inputs"], content["inputs"]):
        if not (old and new):
            found.append(f"{name} is {'an input now' if new else 'no input any more'}")
        elif name in things:
            found.append(f"{things[name]} changed")
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, old and new value as text, "" for none, of all that differs."""
    for name in dict.fromkeys([*old, *new]):
        before, now = (json.dumps(side[name]) if name in side else "" for side in (old, new))
        if before != now:
            yield name, before, now


# --- what is run again ------------------------------------------------------------------------------------------------


def remove_stale_stamps(
    jobs: Iterable[Job], params: Path, profile: str, seeds: list[int] | None, stamp: Callable[[str, str], str]
) -> list[str]:
    """Delete the stamps of jobs of which a stage is missing, stale or damaged, so that Snakemake runs them again.

    Also where rooms are not in the cache as their files are now: only converting them can tell. Files are not read,
    but for those that were written after their stage was finished.

    Args:
        jobs, params, profile, seeds: as ``plan_jobs`` gives and takes them.
        stamp: path of the stamp of a notebook and a run.

    Returns:
        A line for each of them: the job and why.
    """
    experiments = {experiment.name: experiment for experiment in read_profile(params, profile, seeds)}
    roots = {experiment.config.runs_folder for experiment in experiments.values()}
    runs = {root: Runs(root, profile, experiments.values()) for root in roots}
    sound: dict[Path, bool] = {}
    removed = []
    for job in jobs:
        path, config = Path(stamp(*job.name)), experiments[job.experiment].config
        if path.exists() and (why := _unfinished(job, config, runs[config.runs_folder], sound)):
            path.unlink()
            removed.append(f"{' '.join(job.name)}: {why}")
    return removed


def _unfinished(job: Job, config: Config, runs: Runs, sound: dict[Path, bool]) -> str:
    """Why a job must be run again, "" if it need not."""
    if job.needs and runs.unconverted(config):
        return "rooms are not converted as their files are now"
    for name, _ in job.needs:
        try:
            state = runs.state(job.experiment, name, job.seed)
        except OtocError as error:
            return str(error)
        if state.stage is None:
            return state.why or f"{name} is missing"
        if state.stage.path not in sound:
            sound[state.stage.path] = _is_sound(state.stage)
        if not sound[state.stage.path]:
            return f"{name} is damaged"
    return ""


def _is_sound(stage: Stage) -> bool:
    """Whether all files of a stage are there, and unchanged where they were written after its manifest."""
    try:
        finished = (stage.path / MANIFEST).stat().st_mtime_ns
        stage.check([name for name in stage.files if (stage.path / name).stat().st_mtime_ns > finished])
    except (OSError, OtocError):
        return False
    return True
