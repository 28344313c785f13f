"""The one list of what is run: experiments, notebooks, what they share, seeds, and rows of the tables.

An experiment is a file ``params/<profile>/<experiment>.yaml``. The Snakefile runs ``plan_jobs``, progress counts them,
tables and figures show ``rows_of``. A params file that no list here names gets jobs and rows all the same.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from otoc_lib.config import Config, config_of, names_in, read_origins
from otoc_lib.errors import OtocError
from otoc_lib.files import write_json
from otoc_lib.methods import control
from otoc_lib.methods.stages import Plan, PlannedStage, method_of
from otoc_lib.store import stage_key
from otoc_lib.tsne import tsne_stage

NOTEBOOKS = ("01_annotate", "02_baseline", "03_self_train", "04_ablate", "05_tsne", "06_report")
ONCE = ("01_annotate", "05_tsne", "06_report")  # run for the first of several seeds
BASELINE = "evaluate_baseline"  # the U-Net of iteration 1 before any self-training
SIMULATED = ("smoke", "rooms", "study", "sweeps", "trials")  # profiles that run on the bundled rooms
MAIN = ("otoc", "s3dis_otoc", "unet_gp")  # the experiment that a profile's figures show: the first of these that it has


# --- rows of the tables -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row of ours in Table 2 or 4.

    row: its name in files and links. stage: the evaluation stage of the experiment that it shows, or "last". mode: of
    inference. control: the row with the same clicks, steps, restarts and mode and without self-training, "" for none.
    """

    row: str
    setting: str
    annotation: str
    experiment: str
    stage: str
    mode: str
    control: str = ""

    @property
    def notebook(self) -> str:
        """The notebook that measures it."""
        return "02_baseline" if self.stage == BASELINE else "03_self_train"


def _clicked(row: str, setting: str, annotation: str, experiment: str, control: str) -> tuple[Row, ...]:
    """The paper's three rows of one kind of clicks, with our two controls between them."""
    whole, beside = (annotation, experiment), (annotation, control)
    return (
        Row(f"{row}_baseline", f"{setting}* (initial labels)", *whole, BASELINE, "point"),
        Row(f"{row}_control", f"{setting}, control: clicks only, as many steps", *beside, "last", "point"),
        Row(f"{row}_sv", f"{setting}, averaged in super-voxels", *whole, "last", "sv", f"{row}_control_sv"),
        Row(f"{row}_dagger", f"{setting}† (U-Net alone)", *whole, "last", "point", f"{row}_control"),
        Row(f"{row}_full", setting, *whole, "last", "full", f"{row}_control_full"),
    )


def _in_other_modes(row: str, setting: str, annotation: str, experiment: str, control: str) -> tuple[Row, ...]:
    """The same networks, and those of the first iteration, in the modes that the paper does not print. Without them
    averaging in super-voxels, or propagation alone, would pass for a gain of self-training."""
    whole, beside = (annotation, experiment), (annotation, control)
    return (
        Row(f"{row}_baseline_sv", f"{setting}* averaged in super-voxels", *whole, BASELINE, "sv"),
        Row(f"{row}_first_full", f"{setting}, first iteration after propagation", *whole, "evaluate_1", "full"),
        Row(f"{row}_control_sv", f"{setting}, control averaged in super-voxels", *beside, "last", "sv"),
        Row(f"{row}_control_full", f"{setting}, control after propagation", *beside, "last", "full"),
    )


def _supervised(experiment: str) -> Row:
    return Row("supervised", "Fully supervised", "every point", experiment, BASELINE, "point")


def _supervised_in_other_modes(experiment: str) -> tuple[Row, ...]:
    """Full supervision in the modes of the whole method: without them it would look within reach of that."""
    beside = ("every point", experiment, BASELINE)
    return (
        Row("supervised_sv", "Fully supervised, averaged in super-voxels", *beside, "sv"),
        Row("supervised_full", "Fully supervised, after propagation", *beside, "full"),
    )


ONE_CLICK = ("otoc", "One Thing One Click", "one click/object", "otoc", "control")
DATA_EFFICIENT = ("data_efficient", "Data Efficient", "20 points", "points20", "points20_control")
S3DIS_ONE_CLICK = ("otoc", "One Thing One Click", "one click/object", "s3dis_otoc", "s3dis_control")
S3DIS_THREE_CLICKS = ("otoc3", "One Thing Three Clicks", "three clicks/object", "s3dis_otoc3", "s3dis_control3")
SCANNET_ROWS = (_supervised("supervised"), *_clicked(*ONE_CLICK))
S3DIS_ROWS = (_supervised("s3dis_supervised"), *_clicked(*S3DIS_ONE_CLICK), *_clicked(*S3DIS_THREE_CLICKS))
# What figures and charts show of each table.
SHOWN = {"table2": SCANNET_ROWS, "table4": S3DIS_ROWS}
LISTED = {
    "table2": (
        *SCANNET_ROWS,
        *_clicked(*DATA_EFFICIENT),
        *_supervised_in_other_modes("supervised"),
        *_in_other_modes(*ONE_CLICK),
        *_in_other_modes(*DATA_EFFICIENT),
    ),
    "table4": (
        *S3DIS_ROWS,
        *_supervised_in_other_modes("s3dis_supervised"),
        *_in_other_modes(*S3DIS_ONE_CLICK),
        *_in_other_modes(*S3DIS_THREE_CLICKS),
    ),
}
# The columns of Table 3: experiment and mode. All but the first three are not the paper's: three keep the gains honest,
# and the last follows the released code where that differs from the paper.
VARIANTS = {
    "unet": ("unet", "point"),
    "unet_gp": ("unet_gp", "full"),
    "unet_rel_gp": ("otoc", "full"),
    "control": ("control", "full"),
    "control_point": ("control", "point"),
    "sv": ("otoc", "sv"),
    "released": ("released", "full"),
}
ABLATIONS = ("unet", "unet_gp")


def variant_row(column: str, mode: str = "") -> Row:
    """The last iteration of a column of Table 3, by default in the mode that the column shows."""
    experiment, own_mode = VARIANTS[column]
    return Row(column, "", "one click/object", experiment, "last", mode or own_mode)


# Experiments that measure a row which the paper quotes under another name than theirs.
QUOTED = {"minkunet34": "minkowskinet", "s3dis_minkunet34": "minkowskinet32"}


def rows_of(table: str, experiments: Iterable["Experiment"] = ()) -> tuple[Row, ...]:
    """The rows of "table2" or "table4": those of the paper, then those of experiments that are in no list above.

    An experiment of a method of one's own has a row for each mode that the method predicts. On S3DIS it is in Table 4,
    under its name without ``s3dis_``, or what ``QUOTED`` says: where the paper has a row of that name, it is that row.
    Its control is that of an experiment of the profile that learns from the same labels for as long. The points of a
    sweep have a table of their own.
    """
    experiments = list(experiments)
    listed = {row.experiment for rows in LISTED.values() for row in rows} | {name for name, _ in VARIANTS.values()}
    listed |= {name for points in sweeps(experiments).values() for point in points for name in point.experiments}
    own: list[tuple[Row, str]] = []  # and the name of its control
    main = main_experiment(experiment.name for experiment in experiments)
    rooms = next((experiment.config.train_rooms for experiment in experiments if experiment.name == main), None)
    for experiment in experiments:
        on = "table4" if experiment.config.dataset == "s3dis" else "table2"
        if on == table and experiment.name not in listed:
            beside = control_of(experiment, experiments)
            own += [(row, beside) for row in _rows_of_its_own(experiment, rooms)]
    measured = {(row.experiment, row.mode): row.row for row in LISTED[table] if row.stage == "last"}
    measured |= {(row.experiment, row.mode): row.row for row, _ in own}
    further = [replace(row, control=measured.get((beside, row.mode), "")) for row, beside in own]
    taken = {row.row for row in LISTED[table]} & {row.row for row in further}
    if taken:
        raise OtocError(f"params: an experiment would be taken for the row {min(taken)} of {table}; rename its file")
    return (*LISTED[table], *further)


def _rows_of_its_own(experiment: "Experiment", rooms: int | None) -> list[Row]:
    """rooms: training rooms of the main experiment, None for all; other numbers are said."""
    config, name = experiment.config, QUOTED.get(experiment.name, experiment.name.removeprefix("s3dis_"))
    method, rows = method_of(config), []
    by_control = {"all": "Fully supervised", "images": "Labels from images", "points": "The labels alone"}
    learns = by_control.get(config.source, method.title) if config.method == "control" else method.title
    clicks = {1: "one click/object", 3: "three clicks/object"}
    annotation = {
        "simulated": clicks.get(config.clicks_per_object, f"{config.clicks_per_object} clicks/object"),
        "points20": "20 points",
        "points": _points_in_words(config),
        "scene": "scene-level",
        "subcloud": f"subcloud-level, {config.subcloud_radius} m",
        "images": f"{100 * config.images_share:g} % of the images",
        "file": "own clicks",
        "all": "every point",
    }[config.source]
    said = {
        ", spread": config.click_spread is not None,
        f", {100 * config.clicks_wrong:g} % wrong": config.clicks_wrong,
        f", {100 * config.clicks_forgotten:g} % forgotten": config.clicks_forgotten,
        f", {config.train_rooms} rooms": config.train_rooms not in (None, rooms),
    }
    annotation += "".join(words for words, so in said.items() if so)
    stage = BASELINE if experiment.last_evaluation == BASELINE else "last"
    titles = {"point": "", "sv": ", averaged in super-voxels", "full": ", after propagation"}
    without_graph = config.variant == "unet" and "variant" in method.reads(config)
    modes = [mode for mode in method.modes if not (mode == "full" and without_graph)]
    for place, mode in enumerate(modes):
        title = f"{learns} ({name}){titles.get(mode, f', {mode}')}"
        rows.append(Row(f"{name}_{mode}" if place else name, title, annotation, experiment.name, stage, mode))
    return rows


def _points_in_words(config: Config) -> str:
    if config.points_share is not None:
        return f"{100 * config.points_share:g} % of the points"
    count = config.points_per_class_column
    return f"{count} point{'s' if count != 1 else ''}/class and square metre"


# --- experiments ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experiment:
    """A params file and what it says.

    config: with the first of its seeds. files: the params file, and the one that it extends; () where a notebook was
    given its parameters otherwise. changed: what a notebook was given by ``-p`` instead of what the file says.
    """

    name: str
    config: Config
    files: tuple[Path, ...]
    changed: tuple[tuple[str, Any], ...] = ()

    @property
    def seeds(self) -> list[int]:
        return self.config.seeds or [self.config.seed]

    @property
    def notebooks(self) -> tuple[str, ...]:
        """The notebooks that run it, in their order; the report and t-SNE are run once for a profile."""
        config = self.config
        if config.method == "control" and config.source in ("all", "images"):  # trained once, on nearly every point
            return ("02_baseline",)
        if config.method != "one_thing_one_click":
            return ("03_self_train",)
        if config.variant != "unet_rel_gp":
            return ("04_ablate",)
        return ("01_annotate", "02_baseline", "03_self_train")

    @property
    def unet_steps(self) -> int:
        """Steps of the U-Nets that its last evaluation stands on, of all iterations together."""
        stages = {stage.name: stage for notebook in self.notebooks for stage in plan(notebook, self.config).stages}
        return sum(stage.steps for name, stage in stages.items() if name.startswith("unet_"))

    @cached_property
    def last_evaluation(self) -> str:
        """The last evaluation stage that it runs."""
        names = [stage.name for notebook in self.notebooks for stage in plan(notebook, self.config).stages]
        return [name for name in names if name.startswith("evaluate_")][-1]


def read_profile(params: Path, profile: str, seeds: list[int] | None = None) -> list[Experiment]:
    """The experiments of a profile, by name.

    Args:
        params: the folder of params files.
        profile: a folder in it; a file whose name begins with ``_`` is only extended by others, a hidden one is none.
        seeds: instead of those that the files name.

    Raises:
        OtocError: names the file that is wrong.
    """
    found = []
    for path in _files(params, profile):
        experiment = read_experiment(path, seeds)
        twin = next((other.files[0] for other in found if other.name.lower() == path.stem.lower()), None)
        if twin:
            raise OtocError(f"{path}: {twin.name} has the same name but for capitals; rename one of the two")
        found.append(experiment)
    return found


def read_what_is_right(params: Path, profile: str) -> tuple[list[Experiment], dict[str, str]]:
    """``read_profile`` of the files that are right, and of the others what is wrong, by the experiment's name."""
    found, wrong = [], {}
    for path in _files(params, profile):
        try:
            found.append(read_experiment(path))
        except OtocError as error:
            wrong[path.stem] = str(error)
    return found, wrong


def _files(params: Path, profile: str) -> list[Path]:
    return sorted((Path(params) / profile).glob("[!_.]*.yaml"))


def read_experiment(path: Path, seeds: list[int] | None = None) -> Experiment:
    """The experiment of one params file; arguments and errors as in ``read_profile``."""
    profile, origins = path.parent.name, read_origins(path)
    config = config_of(origins, path, **({"seeds": seeds, "seed": seeds[0]} if seeds else {}))
    if (config.profile, config.experiment) != (profile, path.stem):
        raise OtocError(
            f"{path}: names the experiment {config.profile}/{config.experiment}, so it would write over the runs of "
            f"another file; write profile: {profile} and experiment: {path.stem}"
        )
    files = dict.fromkeys([path, *(place for _, place in origins.values())])
    return Experiment(path.stem, config, tuple(files))


NOT_OF_STAGES = {"machine", "own_classes", "axes", "partition"}  # groups of the machine, and of how scans are read


def warn_of_idle(config: Config, path: Path, changes: Iterable[str] = ()) -> None:
    """Warn of parameters that a params file itself, or the command line, sets for nothing: no stage of the experiment
    reads them, as the threshold of a method that makes no pseudo labels.

    What the file inherits may be for other experiments, and a value that is the default says nothing.
    """
    places = {name: str(file) for name, (_, file) in read_origins(path).items() if file == path}
    places |= {name: f"-p {name}" for name in changes}
    by_notebook = current_stages(config, None).values()
    read = {name for stages in by_notebook for content in stages.values() for name in content["parameters"]}
    again = config.trains_once and config.self_train_iterations > 1  # is in no key: it says how many stages there are
    for field in fields(type(config)):
        groups, changed = field.metadata["groups"], getattr(config, field.name) != field.default
        of_stages = (groups and not groups & NOT_OF_STAGES) or (again and field.name == "self_train_iterations")
        if field.name in places and of_stages and changed and field.name not in read:
            warnings.warn(
                f"{places[field.name]}: {field.name!r} changes nothing here: no stage of 'method: {config.method}', "
                f"'variant: {config.variant}', 'source: {config.source}' reads it",
                stacklevel=2,
            )


def parse_seeds(text: str | int | None) -> list[int] | None:
    """``0,1,2``, as the command line gives it, as numbers; None for nothing."""
    if text in (None, ""):
        return None
    try:
        return [int(part) for part in str(text).split(",")]
    except ValueError:
        raise OtocError(f"seeds={text}: write whole numbers with commas between them, such as seeds=0,1,2") from None


def main_experiment(names: Iterable[str]) -> str | None:
    """The experiment that the figures of a profile show."""
    names = set(names)
    return next((name for name in MAIN if name in names), None)


# --- sweeps -----------------------------------------------------------------------------------------------------------

# What is run, where, and how it is shown.
NO_SETTING = {"profile", "experiment", "runs_root", "reports_root", "cache_root", "seed", "seeds", "class_colors"}
NO_SETTING |= set(names_in(Config, ["machine"]))
ENOUGH_VALUES = 3  # for a curve


@dataclass(frozen=True)
class SweepPoint:
    """One value of a parameter, the experiment that has it, and its control, the same on the clicks alone; "": none."""

    value: float
    experiment: str
    control: str

    @property
    def experiments(self) -> tuple[str, ...]:
        return tuple(name for name in (self.experiment, self.control) if name)


def sweeps(experiments: Iterable[Experiment]) -> dict[str, list[SweepPoint]]:
    """Parameter -> its curve: the main experiment and those that differ from it in that one number, by its value. Two
    values are a pair of rows, three a curve."""
    experiments = list(experiments)
    main = main_experiment(experiment.name for experiment in experiments)
    base = next((experiment for experiment in experiments if experiment.name == main), None)
    found: dict[str, list[SweepPoint]] = {}
    if base is None:
        return found
    for experiment in experiments:
        different = _different(base, experiment)
        values = [getattr(experiment.config, name) for name in different]
        if len(different) == 1 and all(_is_number(value) for value in (*values, getattr(base.config, *different))):
            point = SweepPoint(values[0], experiment.name, control_of(experiment, experiments))
            found.setdefault(different[0], []).append(point)
    for name, points in found.items():
        points.append(SweepPoint(getattr(base.config, name), base.name, control_of(base, experiments)))
        points.sort(key=lambda point: point.value)
    return {name: points for name, points in found.items() if len(points) >= ENOUGH_VALUES}


def control_of(experiment: Experiment, experiments: Iterable[Experiment]) -> str:
    """The name of the control of an experiment among others: as many steps on the same labels, "" for none.

    A control may differ from what it stands beside in the numbers that make pseudo labels, which it never does, and in
    the variant of a method that knows none and trains no relation net. One that is trained once is none of more
    iterations. A method may say what stands beside it instead: ``Method.controls``.
    """
    config, method = experiment.config, method_of(experiment.config)
    if config.method == "control":
        return ""
    if method.controls:
        mine = _settings(config)
        other = next((mine | values for values in method.controls if mine != mine | values), None)
        return next((beside.name for beside in experiments if _settings(beside.config) == other), "")
    without = {"method", "teacher_views", *names_in(Config, ["pseudo"])}
    if "variant" not in method.reads(config) and "relation" not in method.networks(config):
        without.add("variant")
    once = experiment.last_evaluation == "evaluate_1"
    controls = (o for o in experiments if o.config.method == "control" and (once or o.last_evaluation != BASELINE))
    return next((other.name for other in controls if not set(_different(experiment, other)) - without), "")


def _different(first: Experiment, second: Experiment) -> list[str]:
    """The settings in which two experiments differ."""
    mine, other = _settings(first.config), _settings(second.config)
    return [field.name for field in fields(Config) if mine.get(field.name) != other.get(field.name)]


def _settings(config: Config) -> dict[str, Any]:
    """What decides its numbers, the parameters of its method included."""
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name not in NO_SETTING}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- jobs -------------------------------------------------------------------------------------------------------------


def plan(notebook: str, config: Config, fingerprints: Mapping[str, str | None] | None = None) -> Plan:
    """The stages that a notebook runs for an experiment, in their order, those that it finds finished included.

    fingerprints: as in ``Plan``.
    """
    planned = Plan(config, control.BASELINE if notebook == "02_baseline" else None, fingerprints)
    match notebook:
        case "01_annotate":
            planned.clicks()
        case "02_baseline":
            control.train_baseline(planned)
        case "03_self_train" | "04_ablate":
            list(planned.method.loop(planned))
        case "05_tsne":
            *_, last = planned.method.loop(planned)
            tsne_stage(planned, last)
    return planned


def current_stages(
    config: Config, fingerprints: Mapping[str, str | None] | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """What the stages of an experiment are made of now: notebook -> stage -> content of its key, in their order.

    Every notebook that may be run on the experiment is there, whether it is one of its own or not. fingerprints: as in
    ``Plan``.
    """
    loop = Experiment(config.experiment, config, ()).notebooks[-1]
    notebooks = ["01_annotate", "02_baseline", "03_self_train" if loop == "02_baseline" else loop]
    if "relation" in method_of(config).networks(config):
        notebooks.append("05_tsne")
    return {notebook: plan(notebook, config, fingerprints).contents for notebook in notebooks}


@dataclass(frozen=True)
class Job:
    """A notebook to run for an experiment with one of its seeds."""

    notebook: str
    experiment: str
    run: str  # name of the run's folder
    seed: int
    files: tuple[Path, ...]  # of the experiment, the params file first
    makes: tuple[PlannedStage, ...]  # what no job before it in the list makes
    needs: tuple[tuple[str, str], ...]  # (name, key) of every stage that it runs or finds
    after: tuple[tuple[str, str], ...]  # (notebook, run) of the jobs that it waits for
    images: str = ""  # folder of the labelled frames that its labels come from
    chain: int = 0  # training steps of the longest chain of jobs that begins with it

    @property
    def name(self) -> tuple[str, str]:
        return self.notebook, self.run

    @property
    def digest(self) -> str:
        """Hash of what it needs: other parameters or another version of the code, another digest."""
        return stage_key({"needs": self.needs})


def plan_jobs(params: Path, profile: str, seeds: list[int] | None = None) -> list[Job]:
    """All jobs of a profile, in an order in which they can be run one after the other.

    A stage that several experiments need, such as the first U-Net of all that start from the same clicks, is made by
    the first of them, and the others wait for it. A scheduler should begin early with what has a long chain: else one
    core ends up with it while the others have nothing left.
    """
    experiments = read_profile(params, profile, seeds)
    main = main_experiment(experiment.name for experiment in experiments)
    if main is None:
        missing = Path(params) / profile / "otoc.yaml"
        raise OtocError(f"profile={profile}: {missing} does not exist; see params/ for the profiles")
    experiments.sort(key=lambda experiment: experiment.name not in MAIN)  # these make what is shared
    jobs, maker = [], {}
    for notebook in NOTEBOOKS[:4]:
        for experiment in experiments:
            for seed in experiment.seeds if notebook in experiment.notebooks else ():
                if notebook not in ONCE or seed == experiment.seeds[0]:
                    jobs.append(_job(notebook, experiment, seed, jobs, maker))
    shown = next(experiment for experiment in experiments if experiment.name == main)
    for notebook in NOTEBOOKS[4:]:
        if notebook != "05_tsne" or shown.config.variant == "unet_rel_gp":
            jobs.append(_job(notebook, shown, shown.seeds[0], jobs, maker))
    return _with_chains(jobs)


def plan_experiment(experiment: Experiment, notebooks: Iterable[str] = ()) -> list[Job]:
    """The jobs of one experiment alone, in their order: by default its own notebooks."""
    jobs, maker = [], {}
    for notebook in notebooks or experiment.notebooks:
        for seed in experiment.seeds[:1] if notebook in ONCE else experiment.seeds:
            jobs.append(_job(notebook, experiment, seed, jobs, maker))
    return jobs


def _job(notebook: str, experiment: Experiment, seed: int, before: list[Job], maker: dict) -> Job:
    """The next job; ``maker`` knows which one makes a stage, by its name and key."""
    config = replace(experiment.config, seed=seed)
    name = (notebook, config.run_name)
    stages = {(stage.name, stage.key): stage for stage in plan(notebook, config).stages}
    makers = [maker.setdefault(identity, name) for identity in stages]
    after = [other for other in makers if other != name]
    if notebook == "04_ablate":  # so that the table which these notebooks show is complete
        rows = {experiment for experiment, _ in VARIANTS.values()}
        after += [
            job.name
            for job in before
            if job.notebook == "03_self_train" and job.seed == seed and job.experiment in rows
        ]
    if notebook == "06_report":
        after = [job.name for job in before]
    makes = tuple(stage for stage, made_by in zip(stages.values(), makers, strict=True) if made_by == name)
    once = tuple(dict.fromkeys(after))
    images = config.images_root or "" if config.source == "images" and stages else ""
    return Job(notebook, experiment.name, config.run_name, seed, experiment.files, makes, tuple(stages), once, images)


def _with_chains(jobs: list[Job]) -> list[Job]:
    chains: dict[tuple[str, str], int] = {}
    for job in reversed(jobs):
        waiting = [chains[other.name] for other in jobs if job.name in other.after]
        chains[job.name] = sum(stage.steps for stage in job.makes) + max(waiting, default=0)
    return [replace(job, chain=chains[job.name]) for job in jobs]


def write_plan(jobs: list[Job], path: Path) -> None:
    """Write what ``progress`` needs to know of some jobs."""
    write_json(path, plan_entries(jobs))


def plan_entries(jobs: list[Job]) -> list[dict[str, Any]]:
    """What ``progress`` needs to know of some jobs: every stage once, and the runs that would hold it."""
    return [
        {
            "notebook": job.notebook,
            "run": job.run,
            "makes": [
                {
                    "stage": stage.name,
                    "steps": stage.steps,
                    "runs": sorted({other.run for other in jobs if (stage.name, stage.key) in other.needs}),
                }
                for stage in job.makes
            ],
        }
        for job in jobs
    ]
