"""Runs a method stage by stage: each is a folder of store.py, so finished ones are reused, also between experiments.

    clicks         clicks.csv and how good the labels are that they expand to; these by room where they come from images
                   or spread along surfaces; subclouds.csv where classes are known without points
    <network>_<k>  weights and loss history of a network in iteration k
    mean_<network>_<k>  weights, where several networks are averaged (``average_networks``)
    evaluate_<k>   predictions of every evaluation room by mode, and their mIoU
    pseudo_<k>     the labels of the next iteration

A stage's work sees the parameters that its key names, and no others (``config.View``).
"""

import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from torch import Tensor
from tqdm import tqdm

from otoc_lib.annotation.clicks import (
    Clicks,
    LabelCounts,
    draw_by_column,
    draw_share,
    expand_clicks,
    expansion_statistics,
    gaps,
    heard,
    label_statistics,
    of_no_class,
    read_clicks,
    read_points,
    refuse_none,
    simulate_clicks,
    spoil_clicks,
    write_clicks,
)
from otoc_lib.annotation.closeness import closeness
from otoc_lib.annotation.images import DrawnFrames, draw_from, label_scene
from otoc_lib.annotation.subclouds import (
    Subclouds,
    cut_subclouds,
    read_subclouds,
    subcloud_statistics,
    write_subclouds,
)
from otoc_lib.calibration import calibration_counts
from otoc_lib.config import Config, View, in_project
from otoc_lib.datasets import frames, load_split
from otoc_lib.datasets.cache import conversion, limits
from otoc_lib.device import choose_device, deterministic
from otoc_lib.errors import OtocError, listed
from otoc_lib.evaluation import check_truth, iou, mean_iou, room_confusion
from otoc_lib.files import holds, metadata_of, read_array, read_notes, write_arrays, write_bytes, write_json
from otoc_lib.labels import IGNORE
from otoc_lib.methods import pseudo_labels
from otoc_lib.methods.method import (
    Iteration,
    Method,
    Networks,
    Scores,
    at_points,
    may_be_labelled,
    supervoxel_nodes,
)
from otoc_lib.methods.several import share_out
from otoc_lib.on_demand import OnDemand
from otoc_lib.propagation.effect import propagation_effect
from otoc_lib.scene import Scene
from otoc_lib.store import Stage, find_stage, read_manifest, run_stage, stage_content, stage_key
from otoc_lib.supervoxels.pooling import pool_mean
from otoc_lib.training.event_files import log_evaluation
from otoc_lib.training.fit import fit
from otoc_lib.training.memory import PREDICTION, telling_out_of_memory
from otoc_lib.training.predict import predict
from otoc_lib.training.task import Labels, Task

# Of what the stages do beside their tasks and methods, which have versions of their own. Raise one where its meaning
# changes: stages that are finished are then made again.
VERSIONS = {"clicks": 2, "train": 1, "mean": 1, "evaluate": 3, "relabel": 2}
SUBCLOUDS = "subclouds.csv"  # of a stage ``clicks``
# Parameters that name a file, of which keys name the hash, and what that file is.
FILES = {"clicks_file": "the clicks file", "initial_weights": "the file of initial weights"}
EVALUATED = "evaluated rooms"  # an input of evaluations of training rooms
CONFUSIONS = "confusions.counts"  # of an evaluation, safetensors: int64 [rooms, C, C] by <split>/<mode>


@dataclass(frozen=True)
class Scenes:
    """The rooms of one experiment."""

    train: list[Scene]
    evaluation: dict[str, list[Scene]]  # split name -> rooms


def load_scenes(config: Config) -> Scenes:
    """Read the training and evaluation rooms that ``config`` asks for."""
    train = load_split(config, "train", config.train_rooms)
    evaluation = {split: load_split(config, split, config.eval_rooms) for split in config.eval_splits}
    return Scenes(train, evaluation)


def method_of(config: Config) -> Method:
    """The method that the config names."""
    return import_module(f"otoc_lib.methods.{config.method}").METHOD


def run_method(config: Config, scenes: Scenes) -> Iterator[Iteration]:
    """The method of an experiment, iteration by iteration; what is finished is reused."""
    stages = Stages(config, scenes)
    return stages.method.loop(stages)


class Stages:
    """What a method's loop is written in: every call makes one stage, or finds it finished.

    Args:
        config: the experiment.
        scenes: its rooms.
        method: what is run on them; None for the one that the config names.
    """

    def __init__(self, config: Config, scenes: Scenes, method: Method | None = None):
        self.config, self.scenes, self.method = config, scenes, method or method_of(config)
        self._told: set[str] = set()  # of the clicks

    def clicks(self) -> Stage:
        """Stage ``clicks``: draw or read the clicks of the training rooms and describe the labels they expand to; or
        take labels from images.

        Sets of classes go to subclouds.csv, and clicks.csv has no click then.
        """
        view = View(self.config, ["clicks"], "stage clicks")
        inputs = {"train": self.fingerprint("train")}
        if self.config.clicks_file:
            inputs["clicks_file"] = self.file_key("clicks_file")
        if self.config.source == "images":
            inputs["images"] = self.images_key()

        def work(folder: Path, key: str) -> None:
            rooms = self.scenes.train
            if view.source == "all":
                statistics = {"scenes": len(rooms), **label_statistics(rooms, _true_labels(rooms))}
            elif view.source in ("scene", "subcloud"):
                radius = np.inf if view.source == "scene" else view.subcloud_radius
                sets = {scene.name: cut_subclouds(scene, radius) for scene in rooms}
                write_clicks(folder / "clicks.csv", {}, rooms)
                write_subclouds(folder / SUBCLOUDS, sets, rooms)
                statistics = {"scenes": len(rooms), **subcloud_statistics(rooms, sets)}
                statistics |= label_statistics(rooms, no_labels(rooms))
            elif view.source == "images":
                used = _write_labels_of_images(view, rooms, self.config, folder)
                labels = OnDemand(_files(folder, rooms), partial(read_array, name="labels"))
                statistics = {"scenes": len(rooms), **used, **label_statistics(rooms, labels)}
            else:
                clicks = _clicks(view, rooms, self.config)
                self._check_unchanged("clicks_file", inputs)
                write_clicks(folder / "clicks.csv", clicks, rooms)
                reached = None
                if view.click_spread is not None:
                    clicks = {name: replace(of_room, far=view.click_spread) for name, of_room in clicks.items()}
                    reached = _write_labels(clicks, rooms, folder)
                statistics = expansion_statistics(rooms, clicks, reached)
            write_json(folder / "statistics.json", statistics)

        stage = self.run(view, "clicks", {"clicks": VERSIONS["clicks"]}, inputs, work)
        if view.source == "file" and "clicks.csv" in stage.files:
            for sentence in gaps(self.scenes.train, clicks_of(stage, self.scenes.train)):
                if sentence not in self._told:
                    warnings.warn(f"{self.config.clicks_file}: {sentence}", stacklevel=2)
                self._told.add(sentence)
        return stage

    def train(self, network: str, iteration: int, labels: Stage, warm_start: Stage | None = None) -> Stage:
        """Stage ``<network>_<iteration>``: train from random weights, the U-Net from ``initial_weights`` if there are
        any, or go on from earlier ones.

        Args:
            network: one of the method's.
            iteration: counted from 1.
            labels: stage whose labels are learnt, ``clicks`` or ``pseudo_<k>``.
            warm_start: stage whose weights it starts from.
        """
        task, name, view = self._training(network, iteration)
        schedule = task.schedule(view, iteration)
        inputs = {"labels": labels.key, "train": self.fingerprint("train")}
        if warm_start:
            inputs["warm_start"] = warm_start.key
        if self._given(network, warm_start):
            inputs["initial_weights"] = self.file_key("initial_weights")
        if self.config.devices > 1 and not self.config.sync_batch_norm:
            inputs["devices"] = str(self.config.devices)  # each normalises its own rooms

        def work(folder: Path, key: str) -> None:
            check_truth(self.scenes.evaluation)  # which would say so after the training
            arguments: dict[str, Any] = {"network": network, "iteration": iteration}
            arguments |= {"labels": labels, "warm_start": warm_start, "inputs": inputs, "folder": folder, "key": key}
            if self.config.devices > 1:
                share_out(self, self.config.devices, name, [], self._train, **arguments)
            else:
                self._train(**arguments)

        code = {"train": VERSIONS["train"], _name_of(task): task.version}
        return self.run(view, name, code, inputs, work, device=self.device_of(view), steps=schedule.steps)

    def _training(self, network: str, iteration: int) -> tuple[type[Task], str, View]:
        """The task of a training, the name of its stage, and what it sees of the config."""
        task, name = self.method.networks(self.config)[network], f"{network}_{iteration}"
        groups = ("network", "training", *task.reads)
        when = "first" if iteration == 1 else "later"
        return task, name, View(self.config, [*groups, *(f"{group}_{when}" for group in groups)], f"stage {name}")

    def _given(self, network: str, warm_start: Stage | None) -> bool:
        """Whether a network starts from ``initial_weights``."""
        return network == "unet" and warm_start is None and self.config.initial_weights is not None

    def _train(
        self,
        network: str,
        iteration: int,
        labels: Stage,
        warm_start: Stage | None,
        inputs: Mapping[str, str],
        folder: Path,
        key: str,
    ) -> None:
        """The work of ``train``, alone or together with other processes."""
        task, name, view = self._training(network, iteration)
        rooms, sets = self.scenes.train, self.subclouds_of(labels)
        if bool(sets) != task.learns_sets:
            known = "sets of classes, without points" if sets else "labels of points"
            raise OtocError(
                f"stage {name}: its labels are {known}, which {_name_of(task)} cannot learn from; run the loop of "
                f"the method {self.config.method!r}, in notebook 03"
            )
        in_use = self.frames_of(labels) if task.learns_images else sets or self.labels_of(labels)
        made = task(view, rooms, in_use)
        if self._given(network, warm_start):
            made.start_from(_file(self.config, "initial_weights"))
            self._check_unchanged("initial_weights", inputs)
        fit(
            view,
            made,
            rooms,
            in_use,
            schedule=task.schedule(view, iteration),
            folder=folder,
            key=key,
            seed=[view.seed, iteration, task.stream],
            warm_start=weights_of(warm_start) if warm_start else None,
        )

    def train_all(self, iteration: int, labels: Stage, warm_start: Mapping[str, Stage]) -> dict[str, Stage]:
        """``train`` of every network of the method, each from where ``warm_start`` has it, by name."""
        names = self.method.networks(self.config)
        return {name: self.train(name, iteration, labels, warm_start=warm_start.get(name)) for name in names}

    def mean_of_last(self, every: Sequence[dict[str, Stage]]) -> dict[str, Stage]:
        """What an iteration predicts by, a network by name: stages ``mean_<network>_<k>``, the mean of the weights of
        the last ``average_networks`` of the k iterations so far, or where that is one, its own networks.

        every: the networks that each iteration trained.
        """
        last = every[-self.config.average_networks :]
        return last[0] if len(last) == 1 else {name: self._mean(name, len(every), last) for name in last[0]}

    def _mean(self, network: str, iteration: int, last: Sequence[dict[str, Stage]]) -> Stage:
        task, networks = self.method.networks(self.config)[network], [of_one[network] for of_one in last]

        def work(folder: Path, key: str) -> None:
            mean = task.mean([weights_of(stage) for stage in networks])
            write_bytes(folder / "weights.safetensors", safetensors.torch.save(mean, metadata_of({"key": key})))

        name = f"mean_{network}_{iteration}"
        code = {"mean": VERSIONS["mean"], _name_of(task): task.version}
        inputs = {f"network {number}": stage.key for number, stage in enumerate(networks)}
        return self.run(View(self.config, [], f"stage {name}"), name, code, inputs, work)

    def evaluate(self, name: str, networks: dict[str, Stage]) -> Stage:
        """Stage ``name``: predict every evaluation room in every mode of the method, and compare it with the truth."""
        view = self.prediction_view(name)
        inputs = {split: self.fingerprint(split) for split in self.config.eval_splits} | _keys(networks)
        if "train" in inputs and self.config.eval_rooms is not None:  # the fingerprint is of train_rooms
            inputs[EVALUATED] = str(self.config.eval_rooms)

        def work(folder: Path, key: str) -> None:
            rooms = [scene for scenes in self.scenes.evaluation.values() for scene in scenes]
            missing = [scene for scene in rooms if not holds(folder / f"{scene.name}.safetensors", key)]
            made = {"networks": networks, "folder": folder, "key": key}
            self._through(missing, self.config.eval_splits, self._predict_rooms, name=name, **made)
            splits, confusions, modes = {}, {}, []
            for split, scenes in self.scenes.evaluation.items():
                paths = _files(folder, scenes)
                calibrations: Any = sum(read_array(path, "calibration") for path in paths.values())
                modes = read_notes(paths[scenes[-1].name])["modes"]
                splits[split], counts = metrics(scenes, OnDemand(paths, _predictions))
                confusions |= {f"{split}/{mode}": counts[mode] for mode in counts}
                for mode, found in splits[split]["modes"].items():
                    found["calibration"] = calibrations[modes.index(mode)].tolist()
            if confusions:
                write_arrays(folder / CONFUSIONS, confusions)
            classes = list(self.scenes.train[0].label_set.names)
            summary = {"classes": classes, "views": view.views, "predicted": modes, "splits": splits}
            write_json(folder / "metrics.json", summary)
            if view.tensorboard:
                number = name.rpartition("_")[2]
                log_evaluation(folder, int(number) if number.isdigit() else 0, splits)

        return self.run(
            view, name, self._code("evaluate", self.method.predict), inputs, work, device=self.device_of(view)
        )

    def relabel(self, iteration: int, networks: dict[str, Stage], clicks: Stage) -> Stage:
        """Stage ``pseudo_<iteration>``: the labels of the next iteration, by the rule that ``pseudo_labels`` names.

        What was clicked keeps its label, and what a click says is of no class gets none: the rule does not see it. The
        rule may look at all rooms, so their scores wait for it on the disk; an interrupted stage predicts none of them
        again. The statistics say how right the labels are, and those that the rule would have made without propagation
        (``before_...``).
        """
        name = f"pseudo_{iteration}"
        view = self._teacher_view(name)

        def work(folder: Path, key: str) -> None:
            rooms, initial, no_class = self.scenes.train, self.kept_of(clicks), self.no_class_of(clicks)
            waiting = [folder / f"{scene.name}.scores" for scene in rooms]
            if not (folder / "statistics.json").is_file():  # written when all labels are
                missing = [scene for scene, path in zip(rooms, waiting, strict=True) if not holds(path, key)]
                made = {"networks": networks, "clicks": clicks, "folder": folder, "key": key}
                self._through(missing, [], self._score_rooms, name=name, **made)
                rule, confidences = getattr(pseudo_labels, view.pseudo_labels), []
                counts = LabelCounts(rooms[0].label_set, beyond=True)
                ruled = _ruled(view, rule, rooms, waiting, "probabilities", initial, no_class)
                for scene, path, labels in zip(rooms, waiting, ruled, strict=True):
                    confidence = _confidence(path)
                    confidences.append(confidence.astype(np.float64).mean())
                    write_arrays(folder / f"{scene.name}.safetensors", {"labels": labels, "confidence": confidence})
                    counts.add(scene, labels, initial[scene.name])
                statistics = counts.percent()
                if read_array(waiting[0], "before") is not None:
                    without = LabelCounts(rooms[0].label_set, beyond=True)
                    ruled = _ruled(view, rule, rooms, waiting, "before", initial, no_class)
                    for scene, labels in zip(rooms, ruled, strict=True):
                        without.add(scene, labels, initial[scene.name])
                    statistics |= {f"before_{key}": value for key, value in without.percent().items()}
                    likeliest = (_likeliest(rooms, waiting, which) for which in ("before", "probabilities"))
                    statistics |= propagation_effect(rooms, *likeliest)
                statistics["mean_confidence"] = float(np.mean(confidences))
                write_json(folder / "statistics.json", statistics)
            for path in waiting:
                path.unlink(missing_ok=True)

        inputs = {"annotation": clicks.key, "train": self.fingerprint("train"), **_keys(networks)}
        return self.run(
            view, name, self._code("relabel", self.method.scores), inputs, work, device=self.device_of(view)
        )

    def _teacher_view(self, name: str) -> View:
        return self.prediction_view(name, "pseudo", config=self.config.teacher)

    def _through(
        self, rooms: list[Scene], splits: list[str], work: Callable[..., None], name: str, **arguments: Any
    ) -> None:
        """Let ``work`` write its file of each of some rooms; with several devices each of them has its share."""
        arguments |= {"rooms": rooms, "name": name}
        devices = min(self.config.devices, len(rooms))
        if devices > 1:
            share_out(self, devices, name, splits, work, **arguments)
        elif rooms:
            work(**arguments)

    def _predict_rooms(self, rooms: list[Scene], name: str, networks: dict[str, Stage], folder: Path, key: str) -> None:
        view = self.prediction_view(name)

        def write(scene: Scene, loaded: Networks) -> None:
            by_mode, further = _predict_labels(view, self.method, scene, loaded)
            notes = {"key": key, "modes": list(by_mode)}  # the file does not keep their order
            write_arrays(folder / f"{scene.name}.safetensors", {**further, **by_mode}, notes)

        self._each(rooms, view, name.replace("_", " "), networks, write)

    def _score_rooms(
        self, rooms: list[Scene], name: str, networks: dict[str, Stage], clicks: Stage, folder: Path, key: str
    ) -> None:
        view = self._teacher_view(name)
        near = {} if view.click_reach is None else clicks_of(clicks, self.scenes.train)

        def write(scene: Scene, loaded: Networks) -> None:
            scores = self.method.scores(view, scene, loaded)
            if near:
                scores = scores.weighted(scene, closeness(scene, heard(scene, near[scene.name]), view.click_reach))
            _save_scores(folder / f"{scene.name}.scores", key, scores)

        self._each(rooms, view, name.replace("pseudo_", "pseudo labels "), networks, write)

    def _each(
        self,
        rooms: list[Scene],
        view: View,
        title: str,
        networks: dict[str, Stage],
        write: Callable[[Scene, Networks], None],
    ) -> None:
        """``write(room, networks)`` for each room, with a bar."""
        loaded = load_networks(view, self.method, rooms[0], networks)
        with deterministic(view):
            for scene in progress(rooms, title, of=rooms):
                with telling_out_of_memory(view, f"predicting {scene.name}", PREDICTION):
                    write(scene, loaded)

    def labels_of(self, stage: Stage) -> Labels:
        """The labels of the training rooms that a stage ``clicks`` or ``pseudo_<k>`` stands for, each made or read when
        it is asked for: those of all rooms are never in memory together."""
        rooms = self.scenes.train
        if stage.name != "clicks" or self.config.click_spread is not None:
            return _labels_in(stage, rooms)
        return self.kept_of(stage)

    def kept_of(self, clicks: Stage) -> Labels:
        """The labels of a stage ``clicks`` that stay through all iterations, as ``labels_of``: all of them, but where
        clicks spread along surfaces, those of what was clicked itself."""
        rooms = self.scenes.train
        if self.config.source == "images":
            return _labels_in(clicks, rooms)
        if self.config.source == "all":
            return _true_labels(rooms)
        return OnDemand(_by_name(rooms), partial(_kept, clicks_of(clicks, rooms)))

    def no_class_of(self, clicks: Stage) -> Mapping[str, np.ndarray]:
        """The points of the training rooms, bool [N], that the clicks of a stage ``clicks`` say are of no class."""
        rooms = self.scenes.train
        if self.config.source != "file":  # only a person says so
            return {scene.name: np.broadcast_to(np.False_, scene.num_points) for scene in rooms}
        return OnDemand(_by_name(rooms), partial(_refused, clicks_of(clicks, rooms)))

    def subclouds_of(self, stage: Stage) -> dict[str, Subclouds]:
        """The balls of the training rooms and the classes in them, of a stage ``clicks``; empty where it has points."""
        if SUBCLOUDS not in stage.files:
            return {}
        stage.check([SUBCLOUDS])
        sets = read_subclouds(stage.path / SUBCLOUDS, self.scenes.train)
        stage.check([SUBCLOUDS])  # another process may have made it anew between
        return sets

    def frames_of(self, stage: Stage) -> dict[str, DrawnFrames]:
        """The labelled frames of the training rooms that a stage ``clicks`` took labels from; its key names them."""
        config = self.config
        if stage.name != "clicks" or config.source != "images":
            raise OtocError(
                f"stage {stage.name}: its labels are not images, and the method {config.method!r} learns from nothing "
                "else; give it the stage clicks of 'source: images'"
            )
        classes = frames.class_table(config, self.scenes.train[0].label_set)
        drawn = (config.images_folder, classes, config.images_share, config.seed)
        return {scene.name: draw_from(scene, *drawn) for scene in self.scenes.train}

    # --- for stages of other kinds, see tsne.py and mprm.py

    run = staticmethod(run_stage)

    def prediction_view(self, name: str, *groups: str, config: Config | None = None) -> View:
        """What a stage that predicts rooms by this method reads, of another config if one is given."""
        read = ["network", "inference", *self.method.reads(self.config), *groups]
        return View(config or self.config, read, f"stage {name}")

    def device_of(self, view: View) -> str:
        """Name of the compute device, for the manifest."""
        return str(choose_device(view))

    def fingerprint(self, split: str) -> str:
        """Hash of the names and arrays of the rooms of a split: other data, other stages."""
        scenes = self.scenes.train if split == "train" else self.scenes.evaluation[split]
        return fingerprint_of(scene.fingerprint for scene in scenes)

    def file_key(self, name: str) -> str:
        """Hash of what the file holds that a parameter names, one of ``FILES``."""
        path = _file(self.config, name)
        if not path.is_file():
            raise OtocError(f"{path}: no such file; set {name} to {FILES[name]}, from the project's root")
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def _check_unchanged(self, name: str, inputs: Mapping[str, str]) -> None:
        """That a file is still what a stage's key says, after it was read: the picker writes at every click."""
        if name in inputs and self.file_key(name) != inputs[name]:
            raise OtocError(f"{_file(self.config, name)}: was changed while it was read; run the same again")

    def images_key(self) -> str:
        """Hash of what the folder of frames holds."""
        return frames.content_key(self.config)

    def _code(self, kind: str, function: Callable) -> dict[str, int]:
        """Versions of a kind of stage, and of the method's function that does its work."""
        return {kind: VERSIONS[kind], _name_of(function): self.method.version}


@dataclass(frozen=True)
class PlannedStage:
    """A stage that would be run. Two of equal name and key are one: it is made once and reused."""

    name: str
    key: str
    steps: int  # of an optimizer, 0 where nothing is trained


class Plan(Stages):
    """Stages that make nothing and note what would be made: running a method's loop on it plans an experiment.

    Args:
        config: the experiment.
        method: as in ``Stages``.
        fingerprints: of the rooms, by split; the keys are then those of the stages. The names in ``FILES``, and
            "images", stand in it for the hashes of those files and of the frames, which are read else. Without them it
            needs no data, and its keys hold instead what decides which rooms they are.

    ``contents`` says what the key of each stage hashes, by its name.
    """

    def __init__(
        self, config: Config, method: Method | None = None, fingerprints: Mapping[str, str | None] | None = None
    ):
        super().__init__(config, Scenes([], {}), method)
        self.fingerprints = fingerprints
        self.stages: list[PlannedStage] = []
        self.contents: dict[str, dict[str, Any]] = {}

    def run(
        self,
        view: View,
        name: str,
        code: dict[str, int],
        inputs: dict[str, str],
        work: Callable[[Path, str], None],
        *,
        device: str = "cpu",
        steps: int = 0,
    ) -> Stage:
        content = stage_content(view, name, code, inputs)
        key = stage_key(content)
        self.contents[name] = content
        self.stages.append(PlannedStage(name, key, steps))
        return Stage(name, Path(name), key, reused=False)  # of no project: there need be none

    def device_of(self, view: View) -> str:
        return view.device  # which this machine may lack

    def fingerprint(self, split: str) -> str:
        if self.fingerprints is not None:
            return self.fingerprints[split]
        data = self.config.digest_of(["dataset", "data_root"]) | conversion(self.config).digest
        return json.dumps([split, *limits(self.config, split), data])

    def file_key(self, name: str) -> str:
        if self.fingerprints is None:
            return str(_file(self.config, name))
        return self.fingerprints.get(name) or super().file_key(name)

    def images_key(self) -> str:
        if self.fingerprints is None:
            return str(self.config.images_root)
        return self.fingerprints.get("images") or super().images_key()


def fingerprint_of(scenes: Iterable[str]) -> str:
    """Fingerprint of a split, of those of its scenes."""
    return hashlib.blake2b("".join(scenes).encode(), digest_size=8).hexdigest()


def _name_of(code: Callable) -> str:
    """A class or function by its full name: a copy in another file is another one."""
    return f"{code.__module__}.{code.__qualname__}"


# --- networks and labels ----------------------------------------------------------------------------------------------


def weights_of(stage: Stage) -> dict[str, Tensor]:
    """The state dict that a training left."""
    return safetensors.torch.load(stage.read("weights.safetensors"))


def clicks_of(stage: Stage, scenes: list[Scene]) -> Mapping[str, Clicks]:
    """Clicks of some rooms by scene name, of a stage ``clicks``. Points that images label are clicks of their own, made
    when they are asked for."""
    statistics = json.loads(stage.read("statistics.json"))
    if "frames_used" in statistics:
        return OnDemand(_files(Path(), scenes), partial(_labelled, stage))
    spread, far = statistics.get("spread", True), statistics.get("far")
    stage.check(["clicks.csv"])
    clicks = read_clicks(stage.path / "clicks.csv", scenes)
    stage.check(["clicks.csv"])  # another process may have made it anew between
    return {name: replace(of_room, spread=spread, far=far) for name, of_room in clicks.items()}


def _labels_in(stage: Stage, scenes: list[Scene]) -> Labels:
    """The labels of some rooms that a stage keeps by room."""
    return OnDemand(_files(Path(), scenes), partial(_read_labels, stage))


def _read_labels(stage: Stage, file: Path) -> np.ndarray:
    return safetensors.numpy.load(stage.read(file.name))["labels"]


def _labelled(stage: Stage, file: Path) -> Clicks:
    """The labelled points of a room as clicks that do not spread."""
    labels = _read_labels(stage, file)
    points = np.flatnonzero(labels != IGNORE)
    return Clicks(points, labels[points], np.full(len(points), -1), spread=False)


def load_networks(config: Config, method: Method, scene: Scene, networks: dict[str, Stage]) -> Networks:
    """The trained networks of one iteration, for the classes of ``scene``, on the compute device, in eval mode."""
    return networks_of(config, method, len(scene.label_set), networks)


def networks_of(config: Config, method: Method, num_classes: int, networks: dict[str, Stage]) -> Networks:
    """``load_networks`` by the number of classes."""
    device, tasks, loaded = choose_device(config), method.networks(config), {}
    for name, stage in networks.items():
        model = tasks[name].build(config, num_classes)
        model.load_state_dict(weights_of(stage))
        loaded[name] = model.to(device).eval()
    return loaded


def predict_rooms(config: Config, scenes: list[Scene]) -> dict[str, np.ndarray]:
    """Probabilities float32 [M, C] of each room's super-voxels by the last finished U-Net of an experiment.

    For the picker, whose rooms it colours and asks about. The clicks may be others than those it learnt from: they
    become so with the first click.

    Args:
        config: the experiment.
        scenes: its training rooms.

    Raises:
        OtocError: it has trained none, or none with these parameters on these rooms.
    """
    method, rooms = method_of(config), fingerprint_of(scene.fingerprint for scene in scenes)
    planned = Plan(config, method, {**dict.fromkeys(config.eval_splits, ""), "train": rooms})  # which no U-Net sees
    list(method.loop(planned))
    names = [f"unet_{k}" for k in reversed(config.iterations)]
    found = [find_stage(config.runs_folder, config.profile, config.run_name, name) for name in names]
    stage = next((stage for stage in found if stage is not None and _learnt_as(planned.contents, stage)), None)
    if stage is None:
        stale = "its U-Net was trained on other rooms, or with other parameters than they are now"
        why = stale if any(found) else "no U-Net is trained yet"
        raise OtocError(f"{config.profile}/{config.experiment}: {why}; run notebook 02 first")
    networks = load_networks(config, method, scenes[0], {"unet": stage})
    made = {}
    for scene in scenes:
        probabilities = predict(config, scene, networks["unet"], None).probabilities
        supervoxels = supervoxel_nodes(scene).to(probabilities.device)
        made[scene.name] = pool_mean(probabilities, supervoxels, scene.num_supervoxels).cpu().numpy()
    return made


def _learnt_as(planned: dict[str, dict[str, Any]], stage: Stage) -> bool:
    """Whether a network was trained by the code, with the parameters and on the rooms that are planned for it."""
    content, made = planned.get(stage.name), read_manifest(stage.path)
    if content is None:  # an iteration that the method, or the params file, has no more
        return False
    same = all(content[name] == made[name] for name in ("code", "parameters"))
    return same and content["inputs"]["train"] == made["inputs"]["train"]


def _keys(networks: dict[str, Stage]) -> dict[str, str]:
    return {name: stage.key for name, stage in networks.items()}


def _file(config: Config, name: str) -> Path:
    return in_project(getattr(config, name))


def _by_name(scenes: list[Scene]) -> dict[str, Scene]:
    return {scene.name: scene for scene in scenes}


def _files(folder: Path, scenes: list[Scene]) -> dict[str, Path]:
    """The file of every room in the folder of a stage, by the room's name."""
    return {scene.name: folder / f"{scene.name}.safetensors" for scene in scenes}


def _kept(clicks: Mapping[str, Clicks], scene: Scene) -> np.ndarray:
    return expand_clicks(scene, clicks[scene.name].own)


def _refused(clicks: Mapping[str, Clicks], scene: Scene) -> np.ndarray:
    return of_no_class(scene, clicks[scene.name])


def _clicks(view: Config, scenes: list[Scene], config: Config) -> dict[str, Clicks]:
    if view.source == "file":
        clicks = read_clicks(_file(config, "clicks_file"), scenes)
        refuse_none(_file(config, "clicks_file"), clicks)
        return clicks
    if view.source == "points20":
        return read_points(_file(config, "clicks_file"), scenes)
    share, by_column = view.points_share, view.points_per_class_column
    if view.source == "points":
        if share is None:
            return {scene.name: draw_by_column(scene, by_column, view.seed) for scene in scenes}
        return {scene.name: draw_share(scene, share, view.seed) for scene in scenes}
    clicks = {scene.name: simulate_clicks(scene, view.clicks_per_object, view.seed) for scene in scenes}
    shares = view.clicks_wrong, view.clicks_forgotten
    return {scene.name: spoil_clicks(scene, clicks[scene.name], *shares, view.seed) for scene in scenes}


def _write_labels(clicks: dict[str, Clicks], scenes: list[Scene], folder: Path) -> Labels:
    """Write the labels that clicks expand to, a file a room, which takes too long to be done at every step."""
    files = _files(folder, scenes)
    for scene in progress(scenes, "labels that spread", of=scenes):
        write_arrays(files[scene.name], {"labels": expand_clicks(scene, clicks[scene.name])})
    return OnDemand(files, partial(read_array, name="labels"))


def no_labels(scenes: list[Scene]) -> Labels:
    """Labels of rooms in which no point has one."""
    return {scene.name: np.broadcast_to(np.int16(IGNORE), scene.num_points) for scene in scenes}


def _write_labels_of_images(view: Config, scenes: list[Scene], config: Config, folder: Path) -> dict[str, int]:
    """Write the labels that the frames of the scenes give their points, a file a room; how many frames there were."""
    classes, used = frames.class_table(config, scenes[0].label_set), {"frames_used": 0, "frames_skipped": 0}
    for scene in progress(scenes, "labels of images", of=scenes):
        labels, found = label_scene(scene, config.images_folder, classes, view.images_share, view.seed)
        write_arrays(folder / f"{scene.name}.safetensors", {"labels": labels})
        used = {name: count + found[name] for name, count in used.items()}
    return used


def _true_labels(scenes: list[Scene]) -> Labels:
    unlabelled = [scene.name for scene in scenes if scene.labels is None]
    if unlabelled:
        raise OtocError(f"source: all: {listed(unlabelled, most=5)} have no labels to train on; give clicks instead")
    return OnDemand(_by_name(scenes), attrgetter("labels"))  # which other processes map, too


# --- predictions ------------------------------------------------------------------------------------------------------


def _predict_labels(
    view: Config, method: Method, scene: Scene, networks: Networks
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Class per point, int16 [N], in each mode; and beside them ``confidence``, float16 [N], of ``full``, else of the
    first mode, and ``calibration``, float64 [modes, 3, B], the ``calibration_counts`` of the labelled points."""
    modes = method.predict(view, scene, networks)
    labels = {mode: scores.labels() for mode, scores in modes.items()}
    trusted = modes["full"] if "full" in modes else next(iter(modes.values()))
    truth = np.full(scene.num_points, IGNORE) if scene.labels is None else scene.labels
    known, calibrations = truth != IGNORE, []
    for mode, scores in modes.items():
        calibrations.append(calibration_counts(scores.confidence()[known], (labels[mode] == truth)[known]))
    confidence = trusted.confidence().astype(np.float16)
    return labels, {"confidence": confidence, "calibration": np.stack(calibrations)}


def metrics(
    scenes: list[Scene], predictions: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """How right the predictions of some rooms are, by mode.

    Rooms without labels cannot be judged: where there is one, ``modes`` and the confusion matrices are empty.

    Args:
        predictions: scene name -> mode -> class of every point, integers [N]; each room is asked for once.

    Returns:
        mIoU, IoU by class and confusion of each mode over all rooms, and the mIoU of each room, ready for JSON; the
        confusion matrices of the R rooms by mode, int64 [R, C, C].
    """
    modes, per_room, found = {}, {scene.name: {} for scene in scenes}, {}
    for scene in scenes if all(scene.labels is not None for scene in scenes) else ():
        for mode, prediction in predictions[scene.name].items():
            confusion = room_confusion(scene, prediction)
            found.setdefault(mode, []).append(confusion)
            per_room[scene.name][mode] = mean_iou(confusion)
    confusions = {mode: np.stack(by_room) for mode, by_room in found.items()}
    for mode, by_room in confusions.items():
        total = by_room.sum(axis=0)
        values = [None if np.isnan(value) else float(value) for value in iou(total)]
        modes[mode] = {"miou": mean_iou(total), "iou": values, "confusion": total.tolist()}
    return {"rooms": list(per_room), "modes": modes, "per_room": per_room}, confusions


class _Probabilities(Sequence):
    """Probabilities [K, C] of the nodes that a rule may label, of the rooms whose scores wait, read when asked for.

    which: "probabilities", or "before", those before propagation. no_class: scene name -> bool [N].
    """

    def __init__(self, rooms: list[Scene], waiting: list[Path], which: str, no_class: Mapping[str, np.ndarray]):
        self.rooms, self.waiting, self.which, self.no_class = rooms, waiting, which, no_class

    def __len__(self) -> int:
        return len(self.waiting)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # of one room; nothing asks for slices
        return read_array(self.waiting[index], self.which)[self.allowed(index)]

    def allowed(self, index: int) -> np.ndarray:
        """Which nodes of a room are in, bool [K]."""
        path, no_class = self.waiting[index], self.no_class[self.rooms[index].name]
        return may_be_labelled(_rows(path, self.which), read_array(path, "nodes"), no_class)


def _save_scores(path: Path, key: str, scores: Scores) -> None:
    optional = {"nodes": scores.nodes, "before": scores.before}
    arrays = {name: tensor.cpu().numpy() for name, tensor in optional.items() if tensor is not None}
    if "nodes" in arrays:
        arrays["nodes"] = arrays["nodes"].astype(np.int32)
    write_arrays(path, {"probabilities": scores.probabilities.cpu().numpy(), **arrays}, {"key": key})


def _nodes(path: Path) -> np.ndarray | slice:
    """The node of every point of a room whose scores wait."""
    nodes = read_array(path, "nodes")
    return slice(None) if nodes is None else nodes


def _ruled(
    view: Config,
    rule: Callable,
    rooms: list[Scene],
    waiting: list[Path],
    which: str,
    initial: Labels,
    no_class: Mapping[str, np.ndarray],
) -> Iterator[np.ndarray]:
    """What a rule makes of the scores of all rooms, at the points of one room after the other, int16 [N]; what was
    clicked keeps its label, and points that are of no class, bool [N] by scene name, have none."""
    scores = _Probabilities(rooms, waiting, which, no_class)
    for index, (scene, of_nodes) in enumerate(zip(rooms, rule(view, scores), strict=True)):
        clicked, nodes = initial[scene.name], read_array(waiting[index], "nodes")
        ruled = at_points(of_nodes, scores.allowed(index), nodes, no_class[scene.name])
        yield np.where(clicked != IGNORE, clicked, ruled).astype(np.int16)


def _likeliest(rooms: list[Scene], waiting: list[Path], which: str) -> Labels:
    """The likeliest class of every point by the scores of all rooms."""
    paths = {scene.name: path for scene, path in zip(rooms, waiting, strict=True)}
    return OnDemand(paths, lambda path: read_array(path, which).argmax(axis=1).astype(np.int16)[_nodes(path)])


def _confidence(path: Path) -> np.ndarray:
    """The probability of the likeliest class at the points of a room whose scores wait, float16 [N]."""
    return read_array(path, "probabilities").max(axis=1)[_nodes(path)].astype(np.float16)


def _predictions(path: Path) -> dict[str, np.ndarray]:
    """Mode -> predicted classes int16 [N] of a room, in the order that the method gave them."""
    return {mode: read_array(path, mode) for mode in read_notes(path)["modes"]}


def _rows(path: Path, name: str) -> int:
    """Rows of an array of a file that is not read."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.get_slice(name).get_shape()[0]


def progress(rooms: list, title: str, of: list) -> Iterable:
    """Those of the rooms ``of`` that are still to do, with a bar on stderr."""
    return tqdm(
        rooms, title, len(of), initial=len(of) - len(rooms), unit="room", file=sys.stderr, mininterval=5.0,
        dynamic_ncols=True,
    )  # fmt: skip
