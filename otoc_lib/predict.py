"""``otoc predict``: a finished run labels scans that it never saw, of any format, and writes them as PLY or LAS.

Everything comes from the run's own folder: its stages' manifests name the parameters, the classes and the networks. A
scan gets the super-voxels of a scan of one's own and the views of an evaluation. One far wider than a room is cut into
tiles (otoc_lib/tiling.py) with a parameter of its own where the run has none.
"""

import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn
from tqdm import tqdm

from otoc_lib.calibration import at_temperature, read_calibration, temperature_of
from otoc_lib.config import Config, Unit, UpAxis, config_from, names_in, project_root
from otoc_lib.current import Runs
from otoc_lib.datasets import labelled_las, labelled_ply, own
from otoc_lib.datasets.cache import may_be_trained_on
from otoc_lib.datasets.point_files import read_scan, scan_name
from otoc_lib.errors import OtocError
from otoc_lib.experiments import Experiment, read_experiment, read_what_is_right
from otoc_lib.labels import LABEL_SETS, LabelSet
from otoc_lib.methods.control import BASELINE, train_baseline
from otoc_lib.methods.method import Method, Networks, Scores, predict_unet
from otoc_lib.methods.stages import FILES, Plan, method_of, networks_of
from otoc_lib.outside import opening
from otoc_lib.reporting.runs import last_mode, read_json
from otoc_lib.scene import Scene, checked_name
from otoc_lib.store import MANIFEST, Stage, find_stage, read_manifest, stages_in
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.training.predict import reach

Format = Literal["ply", "las", "same"]
LAS = (".las", ".laz")
OF_UNET = ("point", "sv")  # modes that need no other network, and that every method gives alike

TILE = 600  # voxels along the side of a tile where the run names none: some million voxels in a furnished storey
MOST_OVERLAP = 0.5


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    name: profile/run. config: every parameter that it was made with, but those of the machine. method: how it
    predicts. networks: its last ones, by name. evaluation: its last. modes: what that evaluated, in order. label_set:
    its classes.
    """

    name: str
    config: Config
    method: Method
    networks: dict[str, Stage]
    evaluation: Stage
    modes: tuple[str, ...]
    label_set: LabelSet


# --- the run ----------------------------------------------------------------------------------------------------------


def open_run(folder: Path) -> TrainedRun:
    """What a run's folder, runs/<profile>/<run>, holds.

    Raises:
        OtocError: no run, one that is not finished, or damaged; networks that are not those of its evaluation; classes
            or parameters that nothing tells.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise OtocError(f"{folder}: no such folder; give that of a run, runs/<profile>/<run>")
    if not stages_in(folder):
        raise OtocError(f"{folder}: holds no finished stage of a run; give the folder of one, runs/<profile>/<run>")
    config = _config_of(folder)
    method, networks, evaluation = _last(config)
    wanted = dict.fromkeys((*networks.values(), evaluation))
    found = {name: stage for name in wanted if (stage := _stage(folder, name)) is not None}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise OtocError(
            f"{folder}: the run is not finished, it lacks {', '.join(missing)}; finish it by otoc run "
            f"params/{config.profile}/{config.experiment}.yaml"
        )
    inputs = _manifest(found[evaluation].path)["inputs"]
    stages = {name: found[stage] for name, stage in networks.items()}
    for name, stage in stages.items():
        if inputs.get(name) != stage.key:
            raise OtocError(f"{stage.path}: was made anew after {evaluation}, which judges others; run it again")
        stage.check(["weights.safetensors"])
    metrics = read_json(found[evaluation], "metrics.json")
    return TrainedRun(
        name=f"{folder.parent.name}/{folder.name}",
        config=config,
        method=method,
        networks=stages,
        evaluation=found[evaluation],
        modes=tuple(metrics["predicted"]),
        label_set=_label_set(config, metrics["classes"], folder / evaluation),
    )


def _stage(folder: Path, name: str) -> Stage | None:
    return find_stage(folder.parents[1], folder.parent.name, folder.name, name)


def _manifest(stage: Path) -> dict[str, Any]:
    """The manifest of a stage that was there a moment ago."""
    manifest = read_manifest(stage)
    if manifest is None:
        raise OtocError(
            f"{stage}: was there a moment ago; another process makes it anew, so try again once that is done"
        )
    return manifest


def _config_of(folder: Path) -> Config:
    """The parameters of a run, as the manifest of its last evaluation notes them, or else that of any stage."""
    names = sorted(stages_in(folder), key=_lateness)
    manifest = _manifest(folder / names[-1])
    if isinstance(manifest.get("config"), dict):
        config = config_from(manifest["config"], str(folder / names[-1] / MANIFEST))
    else:
        config = _config_by_file(folder)
    machine = names_in(type(config), ["machine"])
    defaults: dict[str, Any] = {field.name: field.default for field in fields(config) if field.name in machine}
    return replace(config, **defaults)


def _lateness(stage: str) -> tuple[bool, int]:
    kind, _, number = stage.rpartition("_")
    return kind == "evaluate", int(number) if number.isdigit() else 0


def _config_by_file(folder: Path) -> Config:
    """The parameters of a run whose manifests do not note all of them: those of its params file, if that is current."""
    profile = folder.parent.name
    experiments, wrong = read_what_is_right(project_root() / "params", profile)
    held, why = Runs(folder.parents[1], profile, experiments, wrong), "there is no params file of it"
    if found := held.find(folder.name):
        experiment, seed = found
        state = held.state(experiment.name, experiment.last_evaluation, seed)
        if not state.why:  # current, or not finished, as is told next
            return replace(experiment.config, seed=seed)
        why = f"its params file is not current: {state.why}"
    raise OtocError(
        f"{folder}: an older version of the kit made it, which did not note every parameter, and {why}; run it again"
    )


def _last(config: Config) -> tuple[Method, dict[str, str], str]:
    """How a finished run predicts: its method, the stages of its last networks by name, and of its last evaluation."""
    unseen = dict.fromkeys(("train", *config.eval_splits, *FILES, "images"), "?")  # keys do not matter here
    if Experiment(config.experiment, config, ()).notebooks == ("02_baseline",):
        unet, evaluation = train_baseline(Plan(config, BASELINE, unseen))
        return BASELINE, {"unet": unet.name}, evaluation.name
    method = method_of(config)
    plan = Plan(config, method, unseen)
    *_, last = method.loop(plan)
    judged = plan.contents[last.evaluation.name]["inputs"]  # others only helped to train
    return method, {name: stage.name for name, stage in last.networks.items() if name in judged}, last.evaluation.name


def _label_set(config: Config, names: Sequence[str], evaluation: Path) -> LabelSet:
    known = [*LABEL_SETS.values(), *([own.label_set(config.own_classes)] if config.own_classes else [])]
    for label_set in reversed(known):  # a list of one's own has colours of its own
        if list(label_set.names) == list(names):
            return label_set
    raise OtocError(
        f"{evaluation}: its classes are unclear: it has judged {', '.join(map(str, names))}, which is no list that the "
        "kit or the run's own_classes name; run it again"
    )


def _tell_changes(run: TrainedRun) -> None:
    """Warn where the params file now says something else of what prediction reads."""
    try:
        path = project_root() / "params" / run.config.profile / f"{run.config.experiment}.yaml"
        now = read_experiment(path).config if path.is_file() else run.config
    except OtocError:  # outside a project, or a file that is wrong now: the run does not need it
        return
    groups = ["network", "inference", "partition", "own_classes", *run.method.reads(run.config)]
    names = [name for name in names_in(type(run.config), groups) if name != "seed"]
    changed = [name for name in names if getattr(now, name, None) != getattr(run.config, name)]
    if changed:
        said = "; ".join(f"{name} was {getattr(run.config, name)}" for name in changed)
        warnings.warn(
            f"{path}: has changed since the run was made ({said}); the run's own values are used", stacklevel=3
        )


# --- confidence -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trust:
    """How confidences are made of probabilities: by a temperature, or as they are (None); ``words`` say so."""

    temperature: float | None
    words: str

    def of(self, confidence: np.ndarray) -> np.ndarray:
        """Confidences float32 [N] of the probabilities [N] of the likeliest classes."""
        return confidence if self.temperature is None else at_temperature(confidence, self.temperature)


def trust_of(run: TrainedRun, mode: str) -> Trust:
    """By the first evaluated split whose rooms have labels and were not trained on."""
    metrics = read_json(run.evaluation, "metrics.json")
    for split in (split for split in metrics["splits"] if not may_be_trained_on(run.config, split)):
        calibration = read_calibration(run.evaluation, mode, split)
        if calibration is not None:
            temperature, rooms = temperature_of(calibration), len(metrics["splits"][split]["rooms"])
            views = f"{metrics['views']} view{'s' if metrics['views'] > 1 else ''}"
            on = f"{rooms} room{'s' if rooms > 1 else ''} of {split}"
            words = f"calibrated on {on} ({views}, temperature {temperature:.3g})"
            return Trust(temperature, words)
    return Trust(None, "raw (not calibrated: the run has judged no labelled room that it did not train on)")


# --- scans ------------------------------------------------------------------------------------------------------------


def scans_in(paths: Iterable[Path]) -> dict[str, Path]:
    """Name -> file of scans: files as they are, and of folders those that a reader takes.

    Raises OtocError for a path that is not there, a folder without scans, or two scans of one name.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if os.path.isdir(path):
            files = {name: own.scan_file(path, name) for name in own.list_scenes(path, "train")}
        elif os.path.isfile(path):
            files = {checked_name(scan_name(path), path): path}
        else:
            raise OtocError(f"{path}: no such scan or folder; check its name")
        for name, file in files.items():
            if _is_ours(file):
                raise OtocError(
                    f"{file}: otoc predict wrote it, so its colours are those of classes; give the scan it was made of"
                )
            if name in found and not os.path.samefile(found[name], file):
                raise OtocError(f"{file}: {found[name]} has the same name, which the labelled scan gets; rename one")
            found[name] = file
    return found


def _outputs(scans: dict[str, Path], out: Path, form: Format) -> dict[str, Path]:
    """Name -> file to write; OtocError where it would lie among the scans, or over a file that is none of ours."""
    if out.exists() and not out.is_dir():
        raise OtocError(f"--out {out}: is a file; give a folder")
    files = {}
    for name, path in scans.items():
        other = ".las" if form == "las" else ".ply"  # of what is no LAS
        suffix = path.suffix.lower() if form != "ply" and path.suffix.lower() in LAS else other
        files[name] = out / f"{name}{suffix}"
        if out.exists() and os.path.samefile(out, path.parent):
            raise OtocError(
                f"--out {out}: {path} lies there, which could be overwritten, and what is written would pass for "
                "another scan; give a folder of its own"
            )
        if files[name].exists() and not _is_ours(files[name]):
            raise OtocError(f"{files[name]}: is there already and was not written by otoc predict; give another --out")
    return files


def _is_ours(path: Path) -> bool:
    """Whether ``otoc predict`` wrote a file, as both formats note in their first lines."""
    with opening(path), path.open("rb") as file:
        head = file.read(4096)
    return head.startswith((b"ply", b"LASF")) and labelled_las.SOFTWARE.encode() in head


@dataclass(frozen=True)
class Labeller:
    """A run's networks, loaded, and how they label a scan."""

    run: TrainedRun
    config: Config
    mode: str
    networks: Networks
    trust: Trust

    def scene(self, path: Path, name: str) -> Scene:
        """A scan with its super-voxels, made as those of scans of one's own."""
        scan = read_scan(path)
        axes = own.known_axes(path, scan, self.config.up_axis, self.config.unit)
        return own.scene_of(path, scan, axes, name, self.run.label_set, Partition.of(self.config))

    def scores(self, scene: Scene) -> Scores:
        """Class probabilities of a scan in the mode."""
        predicts = predict_unet if self.mode in OF_UNET else self.run.method.predict
        return predicts(self.config, scene, self.networks)[self.mode]


def labeller(
    folder: Path,
    mode: str | None = None,
    views: int | None = None,
    up_axis: UpAxis | None = None,
    unit: Unit | None = None,
) -> Labeller:
    """Of a finished run.

    Args:
        mode: of its method; None for ``full`` where it has that, else its first one.
        views: to average; None for as many as it was evaluated with.
        up_axis, unit: of the scans, see ``scan_axes``; None for what the run's own parameters say.
    """
    run = open_run(folder)
    mode = mode or last_mode(run.evaluation)
    if mode not in run.modes:
        raise OtocError(f"--mode {mode}: {run.name} does not predict it; it has {', '.join(run.modes)}")
    _tell_changes(run)
    used = {"unet": run.networks["unet"]} if mode in OF_UNET else run.networks
    networks = networks_of(run.config, run.method, len(run.label_set), used)
    scans: dict[str, Any] = {"up_axis": up_axis or run.config.up_axis, "unit": unit or run.config.unit}
    config = tiled(replace(run.config, views=views or run.config.views, **scans), networks["unet"])
    return Labeller(run, config, mode, networks, trust_of(run, mode))


def tiled(config: Config, unet: nn.Module) -> Config:
    """The same with tiles. Of neighbours each holds what the other's core looks at, where half a tile is enough."""
    if config.tile_metres is not None:
        return config
    side, sight = TILE * config.voxel_size, reach(config, unet)
    wanted = 0.25 if sight is None else 2 * sight / side
    return replace(config, tile_metres=side, tile_overlap=wanted if wanted <= MOST_OVERLAP else 0.25)


def label_scans(
    folder: Path,
    paths: Iterable[Path],
    out: Path,
    *,
    mode: str | None = None,
    form: Format = "same",
    views: int | None = None,
    up_axis: UpAxis | None = None,
    unit: Unit | None = None,
) -> list[Path]:
    """Label scans by a finished run, and write each to a folder, named as the scan; progress goes to stderr.

    A scan that cannot be read does not keep the others from being labelled.

    Args:
        folder: of the run, runs/<profile>/<run>.
        paths: of scans, or of folders of them.
        out: folder to write to, not one of theirs.
        mode, views, up_axis, unit: as for ``labeller``.
        form: "ply", "las", or "same": LAS for LAS, LAZ for LAZ, PLY for every other format.

    Returns:
        The files written.

    Raises:
        OtocError: see ``open_run``, ``scans_in``; an output that would overwrite what was not written by this; or the
            scans that could not be read, once all others are written.
    """
    out, scans = Path(out), scans_in(paths)
    files = _outputs(scans, out, form)
    with_run = labeller(folder, mode, views, up_axis, unit)
    written, failures = [], []
    bar = tqdm(scans.items(), f"labelling by {with_run.run.name}", unit="scan", file=sys.stderr, dynamic_ncols=True)
    for name, path in bar:
        try:
            line = _label(with_run, path, name, files[name], bar)
        except OtocError as error:
            failures.append(str(error))
            continue
        written.append(files[name])
        bar.write(line, file=sys.stdout)
    if len(failures) == 1 == len(scans):
        raise OtocError(failures[0])
    if failures:
        listed = "\n  ".join(failures)
        raise OtocError(f"{len(failures)} of {len(scans)} scans are not labelled, the others are in {out}:\n  {listed}")
    return written


def _label(with_run: Labeller, path: Path, name: str, file: Path, bar: Any) -> str:
    """Label one scan and write it; a line about it."""
    started, config = time.perf_counter(), with_run.config
    bar.set_postfix_str(f"{name}: reading")
    scene = with_run.scene(path, name)
    assert config.tile_metres is not None  # see ``tiled``
    wide = float(np.ptp(scene.coords[:, :2], axis=0).max())
    if wide > config.tile_metres and config.input_position == "xyz" and with_run.run.config.tile_metres is None:
        warnings.warn(
            f"{path}: is {wide:.0f} m wide, and this network also looks at x and y, which it knows from rooms alone; "
            "train one with input_position: height for scans larger than rooms",
            stacklevel=3,
        )
    bar.set_postfix_str(f"{name}: predicting")
    scores = with_run.scores(scene)
    labels, confidence = scores.labels(), with_run.trust.of(scores.confidence())
    bar.set_postfix_str(f"{name}: writing")
    views = f"{config.views} view{'s' if config.views > 1 else ''}"
    comments = [
        f"labelled by {labelled_las.SOFTWARE}, run {with_run.run.name}, mode {with_run.mode}, {views}",
        f"confidence is {with_run.trust.words}",
    ]
    export = labelled_las.export_labels if file.suffix in LAS else labelled_ply.export_labels
    export(path, labels, confidence, scene.label_set, file, comments)
    shares = np.bincount(labels, minlength=len(scene.label_set)) / len(labels)
    most = [f"{scene.label_set.names[k]} {100 * shares[k]:.0f} %" for k in np.argsort(-shares)[:3] if shares[k] > 0]
    return (
        f"{path} -> {file}: {scene.num_points} points in {scene.num_supervoxels} super-voxels, {', '.join(most)}; mean "
        f"confidence {confidence.mean():.2f}, {with_run.trust.words}; {time.perf_counter() - started:.0f} s"
    )
