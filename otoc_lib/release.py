"""The networks of a finished run as one file to pass on, with their parameters, classes, licence and checksums.

The archive holds ``runs/<profile>/<run>/`` as the kit has it: the stages of the clicks, of every network and of the
last evaluation, with their manifests. Unpacked into a checkout, the run is there again: what reads runs reads this one,
and what was trained is not trained again.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import yaml

from otoc_lib.config import Config, project_root
from otoc_lib.current import Runs
from otoc_lib.errors import OtocError
from otoc_lib.experiments import Experiment, read_what_is_right
from otoc_lib.files import write_bytes, write_zip
from otoc_lib.store import Stage, stages_in

BUNDLED = {"data/scannet_rooms": "rooms", "data/s3dis_rooms": "rooms_s3dis"}  # what is unpacked, and whence

README = """{run}: networks of the One Thing One Click kit, trained from {source}.

Unpack this archive in a checkout of the kit (python -m zipfile -e ARCHIVE .); sha256sum --check SHA256SUMS in this
folder tells whether everything is whole. The networks are the files weights.safetensors, {last} the last; params.yaml
has every parameter, classes.txt the class of every output.

Licence of the weights: {licence}
"""
FREE = """Apache-2.0, as that of the code. They were trained on simulated rooms that derive from furniture models under
CC0 and CC-BY; CREDITS names every author, and goes with the weights."""
BOUND = """that of the data that they were trained on ({data}): its terms say whether and how they may be
passed on. The code is under Apache-2.0."""


def export_weights(run: Path, path: Path) -> str:
    """Pack a finished run, and write ``<path>.sha256`` beside the archive, as sha256sum does.

    Args:
        run: its folder, runs/<profile>/<run>.
        path: the zip to write.

    Returns:
        The SHA-256 of the archive.

    Raises:
        OtocError: no run, one that is not finished, stale or damaged. Nothing is written then.
    """
    run = Path(os.path.abspath(run))
    experiment, config, stages = _current(run)
    for stage in stages:
        stage.check()
    files = dict(_notes(run, experiment, config, stages))
    for stage in stages:
        names = [*stage.files, "manifest.json"]
        files |= {f"{stage.name}/{name}": (stage.path / name).read_bytes() for name in names}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    files["SHA256SUMS"] = sums.encode()
    prefix = f"runs/{run.parent.name}/{run.name}"
    write_zip(path, {f"{prefix}/{name}": data for name, data in files.items()})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_bytes(path.with_name(f"{path.name}.sha256"), f"{digest}  {path.name}\n".encode())
    return digest


def _current(run: Path) -> tuple[Experiment, Config, list[Stage]]:
    """The experiment of a run, its config, and what is packed: the clicks, every network, the last evaluation."""
    if not stages_in(run):
        raise OtocError(f"{run}: holds no finished stage of a run; give the folder of one, runs/<profile>/<run>")
    profile = run.parent.name
    experiments, wrong = read_what_is_right(project_root() / "params", profile)
    held = Runs(run.parents[1], profile, experiments, wrong)
    found = held.find(run.name)
    if found is None:
        raise OtocError(
            f"{run}: no params file of the profile {profile} has this run; there must be one to say what it is"
        )
    experiment, seed = found
    contents = {name: c for stages in held.planned(experiment.name, seed).values() for name, c in stages.items()}
    trained = [name for name, content in contents.items() if {"train", "mean"} & content["code"].keys()]
    packed = []
    for name in ("clicks", *trained, experiment.last_evaluation):
        state = held.state(experiment.name, name, seed)
        if state.stage is None:
            why = f"{name} is stale: {state.why}" if state.why else f"{name} is missing"
            remedy = f"otoc run params/{profile}/{experiment.name}.yaml -p seed={seed}"
            raise OtocError(f"{run}: {why}; finish it by {remedy}")
        packed.append(state.stage)
    return experiment, replace(experiment.config, seed=seed), packed


def _notes(run: Path, experiment: Experiment, config: Config, stages: list[Stage]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files that say what the networks are."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    yield "params.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()
    evaluation = next(stage for stage in stages if stage.name == experiment.last_evaluation)
    classes = json.loads(evaluation.read("metrics.json"))["classes"]
    yield "classes.txt", "".join(f"{index} {name}\n" for index, name in enumerate(classes)).encode()
    bundled = BUNDLED.get(config.data_root)
    if bundled:
        yield "CREDITS", (project_root() / "data" / bundled / "CREDITS").read_bytes()
    trained = [stage.name for stage in stages if stage.name not in ("clicks", evaluation.name)]
    words = {
        "run": f"{run.parent.name}/{run.name}",
        "source": f"the labels '{config.source}' of {config.data_root}",
        "last": " and ".join(name for name in trained if name.rpartition("_")[2] == trained[-1].rpartition("_")[2]),
        "licence": FREE if bundled else BOUND.format(data=config.data_root),
    }
    yield "README.txt", README.format(**words).encode()
