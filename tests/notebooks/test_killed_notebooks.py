"""Killed through papermill and Snakemake, notebooks go on to the bits of a run that was left alone."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from dying import contents
from tiny_project import environment

PATIENCE = 900  # seconds


def started(project, *command):
    """A command in a session of its own, so that all that it starts can be killed with it."""
    one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    log = (project / "said.log").open("a")
    return subprocess.Popen(
        command, cwd=project, env=environment() | one_thread, stdout=log, stderr=log, start_new_session=True
    )


def papermill(project):
    notebook = ["notebooks/03_self_train.ipynb", "out.ipynb", "-f", "params/tiny/otoc.yaml"]
    return started(project, "papermill", *notebook, "-p", "checkpoint_seconds", "0.0", "--no-progress-bar")


def snakemake(project):
    """Up to self-training, without the pages that follow it."""
    options = ["--config", "profile=tiny", "at_once=1", "--nolock", "--rerun-incomplete", "--quiet", "all", "--"]
    return started(project, "snakemake", "--cores", "1", *options, "runs/tiny/otoc/03_self_train.done")


def of(project, experiment):
    """What the stages of an experiment hold."""
    names = contents(project)
    return {name: digest for name, digest in names.items() if name.startswith(f"tiny/{experiment}/")}


@pytest.fixture(scope="module")
def alone(project, tmp_path_factory):
    """A project of the experiment ``otoc``, and what it leaves where nobody kills it."""
    root = tmp_path_factory.mktemp("killed") / "project"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("runs", "reports", ".snakemake"))
    for path in root.glob("params/tiny/[!_]*.yaml"):
        if path.stem != "otoc":
            path.unlink()
    path = root / "params/tiny/otoc.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"checkpoint_seconds": 0.0}))
    whole = root.parent / "whole"
    shutil.copytree(root, whole)
    assert snakemake(whole).wait(PATIENCE) == 0, (whole / "said.log").read_text()
    return root, of(whole, "otoc")


@pytest.mark.slow
@pytest.mark.parametrize("run", [papermill, snakemake])
def test_killed_on_the_way_they_go_on_to_the_same_bits(alone, tmp_path, run):
    root, whole = alone
    project = tmp_path / "project"
    shutil.copytree(root, project)
    for finished in (1, 4):  # stages, after which it is killed in the next one
        process, deadline = run(project), time.monotonic() + PATIENCE
        while len(list(project.glob("runs/tiny/otoc/*/manifest.json"))) < finished:
            assert process.poll() is None and time.monotonic() < deadline, (project / "said.log").read_text()
            time.sleep(0.02)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)  # the kernels end by themselves, within seconds of their parent
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert run(project).wait(PATIENCE) == 0, (project / "said.log").read_text()
    found = of(project, "otoc")
    assert found and found.items() <= whole.items()
    trained = {name.split("/")[2] for name in found if name.endswith("weights.safetensors")}
    assert trained == {"unet_1", "unet_2", "relation_1", "relation_2"}
