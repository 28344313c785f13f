"""The Snakefile on a real Slurm of one node: a job asks for what its params file says; warned, killed, and put back
into the queue it goes on to the bits of a run that was left alone."""

import contextlib
import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from dying import contents
from slurm import Slurm, missing
from tiny_project import environment, write_project

from otoc_lib.store import BEGUN
from otoc_lib.training.checkpoint import load_checkpoint

PLUGIN = "snakemake_executor_plugin_slurm"
PATIENCE = 900  # seconds
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
STEPS = 2500  # the best part of a minute: time to stop it on its way
# Checkpoints are saved at signals alone.
CHANGES = {
    "variant": "unet_gp",
    "unet_steps": STEPS,
    "checkpoint_seconds": 1.0e9,
    "workers": 1,
    "propagation_memory": 2.0,
}
STAMP = "runs/tiny/unet_gp/04_ablate.done"  # of the job that trains; the report's is of no interest here
BAR = re.compile(r"unet_gp · UNet: .* (\d+)/" + str(STEPS))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing()), reason=f"no Slurm: {', '.join(missing())} not found; apt-get install slurm-wlm"
    ),
    pytest.mark.skipif(not importlib.util.find_spec(PLUGIN), reason="no Slurm executor: pip install -e '.[cluster]'"),
]


@pytest.fixture
def slurm(tmp_path):
    with Slurm(tmp_path / "slurm") as found:
        yield found


def snakemake(project: Path, given: dict[str, str], *options: str) -> subprocess.Popen:
    command = ["snakemake", STAMP, "--nolock", "--config", "profile=tiny", *options]
    log = (project / "said.log").open("a")
    return subprocess.Popen(
        command, cwd=project, env=environment() | ONE_THREAD | given, stdout=log, stderr=log, start_new_session=True
    )


def on_slurm(project: Path, slurm: Slurm) -> subprocess.Popen:
    """By the Snakemake of this environment, through the programs of that Slurm."""
    path = f"{slurm.folder / 'bin'}:{environment()['PATH']}:{slurm.environment['PATH']}"
    asks = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
    options = ["--executor", "slurm", "--jobs", "1", "--retries", "1", "--slurm-keep-successful-logs", *asks]
    return snakemake(project, slurm.environment | {"PATH": path}, *options)


def wait_for(what: str, happened, project: Path, process: subprocess.Popen):
    """What ``happened`` returns, once it is something; the log where it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happened()):
        logs = [(project / "said.log").read_text(), *(path.read_text() for path in slurm_logs(project))]
        assert process.poll() is None and time.monotonic() < deadline, f"{what} did not come:\n" + "\n".join(logs)
        time.sleep(0.2)
    return found


def slurm_logs(project: Path) -> list[Path]:
    """The logs of the jobs, in the order in which they were submitted."""
    return sorted(project.glob(".snakemake/slurm_logs/rule_04_ablate/unet_gp/*.log"), key=lambda path: int(path.stem))


def steps_shown(log: Path) -> list[int]:
    """The steps at which the bar of the first training stood when the log was told."""
    return [int(step) for step in BAR.findall(log.read_text())]


def saved_in(part: Path) -> dict:
    """The checkpoint of a training that is under way."""
    return load_checkpoint(part / "checkpoint", json.loads((part / BEGUN).read_text())["key"], torch.device("cpu"))


def started_again(slurm: Slurm, job: str) -> bool:
    """Whether a job that was put back runs. Told to start at once, or it is held back for half a minute."""
    slurm.says("scontrol", "update", f"JobId={job}", "StartTime=now")  # refused once it runs
    now = slurm.job(job)
    return now["Restarts"] == "1" and now["JobState"] != "PENDING"


@contextlib.contextmanager
def stopped_at_the_end(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def stack(slurm):
    """Closed before Slurm stops."""
    with contextlib.ExitStack() as found:
        yield found


def test_a_job_that_is_warned_killed_and_put_back_into_the_queue_goes_on_to_the_same_bits(
    slurm, stack, rooms, tmp_path
):
    project, alone = tmp_path / "project", tmp_path / "alone"
    for folder in (project, alone):
        write_project(folder, rooms, {"unet_gp": CHANGES})
    undisturbed = stack.enter_context(stopped_at_the_end(snakemake(alone, {}, "--cores", "1")))
    run = stack.enter_context(stopped_at_the_end(on_slurm(project, slurm)))
    part = project / "runs/tiny/unet_gp/unet_1.part"

    (first,) = wait_for("the job", lambda: slurm_logs(project), project, run)
    wait_for("its training", lambda: steps_shown(first), project, run)
    job = slurm.job(first.stem)
    # Two processes; 6000 + 2500 + 2048 MB; ten minutes and twice 2502 steps of 0.6 s and five stages of 30 min.
    asked = dict(word.split("=") for word in job["TRES"].split(","))
    assert (asked["cpu"], asked["mem"], job["TimeLimit"]) == ("2", "10548M", "06:01:00")
    assert job["TresPerJob"] in ("gres:gpu:1", "gres/gpu:1")
    slurm.tell("scancel", "--signal=USR1", first.stem)  # as Slurm does before the time is up: it saves and goes on
    wait_for("a checkpoint", (part / "checkpoint").exists, project, run)
    shown = steps_shown(first)
    wait_for("a later step", lambda: steps_shown(first) > shown, project, run)
    assert slurm.job(first.stem)["JobState"] == "RUNNING"

    kernels = [one for one in psutil.process_iter(["cmdline"]) if "ipykernel_launcher" in (one.info["cmdline"] or ())]
    for kernel in kernels:
        with contextlib.suppress(psutil.NoSuchProcess):
            if kernel.cwd() == str(project):
                kernel.kill()  # scancel would warn it
    second = wait_for("another job", lambda: slurm_logs(project)[1:], project, run)[0]
    assert slurm.job(first.stem)["JobState"] == "FAILED"
    wait_for("its training", lambda: len(steps_shown(second)) > 1, project, run)
    warned = saved_in(part)
    assert 0 < warned["step"] <= steps_shown(second)[0], "it did not begin where the first one had saved"

    shown, earlier = steps_shown(second), (part / "checkpoint").stat().st_mtime_ns
    slurm.tell("scontrol", "requeue", second.stem)  # SIGTERM: it saves and stops
    wait_for("what it saves", lambda: (part / "checkpoint").stat().st_mtime_ns != earlier, project, run)
    stopped = saved_in(part)
    assert shown[0] < shown[-1] <= stopped["step"] < STEPS, f"{shown}, {stopped['step']}"
    wait_for("its second start", lambda: started_again(slurm, second.stem), project, run)
    assert run.wait(PATIENCE) == 0, (project / "said.log").read_text() + second.read_text()
    with (project / "runs/tiny/unet_gp/unet_1/history.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    for saved in (warned, stopped):
        assert seconds[: saved["step"]] == [record[3] for record in saved["history"]]  # they were not trained again
    assert "DUE TO JOB REQUEUE" in second.read_text() and slurm_logs(project) == [first, second]

    assert undisturbed.wait(PATIENCE) == 0, (alone / "said.log").read_text()
    assert contents(project) == contents(alone)
