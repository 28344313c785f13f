"""``otoc run``: executed notebooks beside the others, progress, one clean error, and what an interrupt leaves."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import papermill
import psutil
import pytest
from tiny_project import environment

from otoc_lib.__main__ import main
from otoc_lib.lock import holder
from otoc_lib.notebooks import execute, keep_last_states

RUN = [sys.executable, "-m", "otoc_lib", "run"]
PATIENCE = 300  # seconds


def run(project, *arguments, file="supervised"):
    command = [*RUN, f"params/tiny/{file}.yaml", *arguments]
    return subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True)


def test_of_a_bar_the_last_state_is_kept(tmp_path):
    def stream(name, text):
        return {"output_type": "stream", "name": name, "text": text}

    picture = {"output_type": "display_data", "data": {"text/plain": "a room"}, "metadata": {}}
    said = [
        stream("stderr", ["\r", "a: 0%"]),
        stream("stderr", "\ra: 50%"),
        stream("stderr", ["\ra: 100%\n", "\rb: 0%"]),
    ]
    outputs = [*said, stream("stderr", "\rb: 100%\r"), stream("stdout", "one\ntwo\n"), picture, stream("stderr", "c")]
    cells = [{"cell_type": "markdown", "source": ["x"]}, {"cell_type": "code", "source": [], "outputs": outputs}]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}))
    keep_last_states(path)
    words, code = json.loads(path.read_text())["cells"]
    assert words == cells[0]
    bars = stream("stderr", "a: 100%\nb: 100%")
    assert code["outputs"] == [bars, stream("stdout", "one\ntwo\n"), picture, stream("stderr", "c")]


@pytest.mark.slow
def test_its_notebooks_are_run_and_kept_beside_the_others(project):
    done = run(project, "-p", "seed", "7")
    assert done.returncode == 0, done.stderr
    executed = "reports/tiny/notebooks/02_baseline.supervised_seed7.ipynb"
    said = done.stdout.splitlines()
    assert said[0].startswith("02_baseline supervised_seed7 · 1 notebook left · ")
    assert said[1:] == [f"02_baseline supervised_seed7 · done: {executed}"] and (project / executed).is_file()
    assert (project / "runs/tiny/supervised_seed7/evaluate_baseline/metrics.json").is_file()
    # The kernel's bars with their time left, and nothing of papermill's.
    kept = (project / executed).read_text()
    assert "UNet: 100%" in kept and "UNet:   0%" not in kept and "\\r" not in kept  # of bars what they showed last
    assert str(project) not in kept and f'"output_path": "{executed}"' in kept  # nothing of this machine
    assert "UNet: 100%" in done.stderr and "unknown parameter" not in done.stderr and "WARNING" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("notebook", "stage"), [("02", "evaluate_baseline"), ("03", "evaluate_2")])
def test_training_rooms_that_are_left_out_judge_instead_of_validation_rooms(project, notebook, stage):
    held_out = ("-p", "seed=5", "-p", "train_rooms=1", "-p", "eval_splits=[held_out]")
    done = run(project, *held_out, "--notebook", notebook, file="otoc")
    assert done.returncode == 0, done.stderr
    (judged,) = json.loads((project / "runs/tiny/otoc_seed5" / stage / "metrics.json").read_text())["splits"].items()
    names = (project / "data/rooms/splits/scannetv2_train.txt").read_text().split()
    assert judged[0] == "held_out" and judged[1]["rooms"] == names[1:]


@pytest.mark.slow
def test_a_notebook_that_fails_ends_in_its_one_line(project):
    done = run(project, "-p", "seed=9", "-p", "data_root=nowhere")
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ") and "nowhere" in error and "Traceback" not in done.stderr
    executed = project / "reports/tiny/notebooks/02_baseline.supervised_seed9.ipynb"
    assert "OtocError" in executed.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "everyone"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_an_interrupt_reaches_the_kernel_which_saves_what_it_has(project, number, everyone):
    """everyone: the kernel and its worker get the signal as well, as on a cluster; a step takes a while."""
    part = project / "runs/tiny/supervised_seed8/unet_1.part"
    shutil.rmtree(part, ignore_errors=True)
    long = ("-p", "seed=8", "-p", "unet_steps=1000000", "-p", "checkpoint_seconds=100000")
    slow = ("-p", "workers=1", "-p", "unet_width=32", "-p", "voxel_size=0.04", "-p", "batch_size=2") if everyone else ()
    process = subprocess.Popen(
        [*RUN, "params/tiny/supervised.yaml", *long, *slow],
        cwd=project,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    said = ""
    while not re.search(r" [1-9]\d*/1000000", said):  # it trains
        assert time.monotonic() < deadline
        said += process.stderr.read(1)
    told = psutil.Process(process.pid).children(recursive=True) if everyone else []
    for one in (*told, process):
        one.send_signal(number)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped; the same command goes on from what is finished" and "Trace" not in said
    assert (part / "checkpoint").is_file()
    while holder(project / "runs/tiny/.locks/supervised_seed8.unet_1"):  # until the kernel is gone
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_parameters_are_checked_before_a_kernel_starts(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    monkeypatch.setattr(papermill, "execute_notebook", None)
    assert main(["run", "params/tiny/otoc.yaml", "-p", "unet_widht=8"]) == 2
    assert "-p unet_widht: unknown parameter 'unet_widht'; did you mean 'unet_width'?" in capsys.readouterr().err


@pytest.mark.slow
def test_a_kernel_that_dies_is_told(project):
    root = project.parent / "dying"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("runs", "reports", ".snakemake"))
    notebook = json.loads((root / "notebooks/06_report.ipynb").read_text())
    notebook["cells"][1]["source"] = ["import os\n", "os._exit(1)"]
    (root / "notebooks/06_report.ipynb").write_text(json.dumps(notebook))
    done = run(root, "--notebook", "06")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "06_report: its kernel died" in done.stderr and "goes on from what is finished" in done.stderr


def test_other_errors_are_named_with_the_notebook_that_holds_the_traceback(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    said = iter([("ValueError", "shapes differ"), ("KeyboardInterrupt", "")])

    def fail(*_, **__):
        raise papermill.PapermillExecutionError(4, 3, "", *next(said), [])

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    assert main(["run", "params/tiny/otoc.yaml", "--notebook", "05"]) == 2
    error = capsys.readouterr().err
    assert "05_tsne stopped in cell [3] with ValueError: shapes differ; its traceback is in reports/tiny/note" in error
    with pytest.raises(KeyboardInterrupt):
        execute("05_tsne", project / "params/tiny/otoc.yaml", {})


def test_each_notebook_is_run_in_order_for_every_seed(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    ran = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda path, out, values, **_: ran.append((out.name, values)))
    assert main(["run", "params/tiny/otoc.yaml", "-p", "seeds=[0, 4]", "-p", "views=2"]) == 0
    assert [name for name, _ in ran] == [
        *("01_annotate.otoc.ipynb", "02_baseline.otoc.ipynb", "02_baseline.otoc_seed4.ipynb"),
        *("03_self_train.otoc.ipynb", "03_self_train.otoc_seed4.ipynb"),
    ]
    assert all(values["views"] == 2 and values["unet_width"] == 4 for _, values in ran)
    assert capsys.readouterr().out.splitlines()[0].startswith("01_annotate otoc · 5 notebooks left · ")
    ran.clear()
    assert main(["run", "params/tiny/unet.yaml", "-p", "seed", "4"]) == 0
    assert main(["run", "params/tiny/otoc.yaml", "--notebook", "06", "--notebook", "notebooks/05_tsne.ipynb"]) == 0
    assert [name for name, _ in ran] == ["04_ablate.unet_seed4.ipynb", "06_report.otoc.ipynb", "05_tsne.otoc.ipynb"]
    assert json.dumps(ran[0][1])  # plain values, which papermill writes into a cell
