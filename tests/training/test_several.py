"""Several processes that train one network: they follow one process, and one that dies ends them all."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import several
import torch
from safetensors.torch import load_file
from torch.nn import functional

from otoc_lib import processes
from otoc_lib.errors import OtocError
from otoc_lib.training.launch import launch

TESTS = Path(__file__).parents[1]
PYTHONPATH = os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "training")))
MANY = {"coarse_loss": 1, "class_weights": "inverse_sqrt", "label_smoothing": 0.1}
EXACT = {  # with a network in float64; a step of 4 rooms by two processes
    "unet": {"task": "unet", "values": MANY},
    "relation": {"task": "relation", "values": MANY},
    "muon": {"task": "unet", "values": {"optimizer": "muon", "workers": 1}, "steps": 5},
    "relation, half unlabelled": {"task": "relation", "unlabelled": [0, 1, 2], "steps": 5},
    "unet, pieces": {"task": "unet", "values": {"accumulate": 2, **MANY}, "steps": 5},
    "relation, pieces": {"task": "relation", "values": {"accumulate": 2, **MANY}, "steps": 5},
    "unet, computed again": {"task": "unet", "values": {"checkpoint_activations": True}, "steps": 5},
    "teacher": {"task": "teacher", "steps": 5, "rounded": True},
    "views": {"task": "views", "steps": 5, "rounded": True},
    "weak": {"task": "weak", "steps": 5, "rounded": True},
    "images": {"task": "images", "steps": 5, "rounded": True, "values": {"coarse_loss": 1}},
    "maps": {"task": "maps", "steps": 5, "rounded": True},
}  # those "rounded" compute a part of their loss in float32 anyway
SINGLE = {"unet, float32": {"task": "unet", "rate": 1e-4}, "relation, float32": {"task": "relation", "rate": 1e-4}}
BLIND = {"task": "images", "steps": 5, "blind": [0, 1, 2, 3], "values": {"coarse_loss": 1}}
APART = {"task": "unet", "values": {"sync_batch_norm": False}, "steps": 5, "double": True}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A folder with what one process made of every job, and what two made."""
    folder = tmp_path_factory.mktemp("several")
    jobs = {name: {**job, "double": True} for name, job in EXACT.items()} | SINGLE | {"apart": APART, "blind": BLIND}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        lists = {how: [{**job, "folder": str(folder / how / name)} for name, job in jobs.items()] for how in "12"}
        several.work({"jobs": lists["1"]})
        lists["2"].append({"task": "norm", "folder": str(folder)})
        launch("several", {"jobs": lists["2"]}, 2, "the test", on_cuda=False)
    return folder


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


def losses(folder):
    with (folder / "history.csv").open() as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def difference(one, other):
    """Largest of two states, in parts of the largest value of each tensor."""
    return max(float((one[n] - other[n]).abs().max() / one[n].abs().max().clamp(min=1e-3)) for n in one)


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_follow_one_in_double_precision(both, name):
    one, two = losses(both / "1" / name), losses(both / "2" / name)
    assert len(one) == EXACT[name].get("steps", 20) and len(set(one)) > 1
    exact = not EXACT[name].get("rounded")
    np.testing.assert_allclose(two, one, rtol=1e-9 if exact else 1e-6)
    states = [load_file(both / path) for path in (f"1/{name}/state0", f"2/{name}/state0", f"2/{name}/state1")]
    assert difference(states[0], states[1]) < (1e-6 if exact else 1e-2)  # Adam divides small gradients by themselves
    assert all(torch.equal(states[1][n], states[2][n]) for n in states[1])  # the processes are one another's equal
    assert {path.name for path in (both / "2" / name).iterdir()} == {
        "history.csv", "weights.safetensors", "state0", "state1"
    }  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_two_processes_follow_one_in_single_precision(both, name):
    np.testing.assert_allclose(losses(both / "2" / name), losses(both / "1" / name), rtol=1e-4)


def test_a_process_whose_frames_show_nothing_keeps_no_other_waiting(both):
    assert len(losses(both / "2/blind")) == 5 and losses(both / "2/blind").max() > 0
    first, second = (load_file(both / f"2/blind/state{rank}") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    np.testing.assert_allclose(losses(both / "2/blind"), losses(both / "1/blind"), rtol=0.05)  # the stand-in is a voxel


def test_normalised_apart_the_processes_stay_equal_but_do_not_follow_one(both):
    one, two = losses(both / "1/apart"), losses(both / "2/apart")
    assert np.abs(one - two).max() > 1e-3 and np.abs(one - two).max() < 0.5
    first, second = (load_file(both / f"2/apart/state{rank}") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_batch_normalisation_of_all_processes_is_that_of_all_rows(both):
    x, dy, weight, bias, mean, variance = several.tensors_to_normalise()
    for tensor in (x, weight, bias):
        tensor.requires_grad_()
    y = functional.relu(functional.batch_norm(x, mean, variance, weight, bias, True, 0.1, 1e-4))
    dx, dweight, dbias = torch.autograd.grad(y, (x, weight, bias), dy)
    found = [load_file(both / f"norm{rank}") for rank in (0, 1)]
    assert [len(one["y"]) for one in found] == [3, 17]
    joined = {name: torch.cat([one[name] for one in found]) for name in ("y", "dx")}
    sums = {name: found[0][name] + found[1][name] for name in ("dweight", "dbias")}
    for name, value in {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}.items():
        torch.testing.assert_close({**joined, **sums}[name], value.detach(), rtol=1e-9, atol=1e-9)
    for one in found:
        torch.testing.assert_close(one["mean"], mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(one["variance"], variance, rtol=1e-9, atol=0)


def test_alone_a_process_is_told_nothing_new():
    tensor = torch.arange(3)
    assert (processes.count(), processes.rank(), processes.place()) == (1, 0, 0)
    assert processes.total(tensor) is tensor and processes.largest([1, 2]) == [1, 2]
    whole, first = processes.joined(tensor)
    assert torch.equal(whole, tensor) and first == 0


def run(folder, **job):
    job = {"task": "unet", "steps": 6, "folder": str(folder), **job}
    launch("several", {"jobs": [job]}, 2, "stage unet_1", on_cuda=False)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("crash", r"stage unet_1: process 1 of 2 died:\n(.|\n)*several\.py(.|\n)*ZeroDivisionError: on purpose"),
        ("refuse", r"^stage unet_1: this cannot be used; use another$"),
        ("kill", r"stage unet_1: process 1 of 2 was killed by SIGKILL.*goes on from its checkpoint"),
    ],
)
def test_a_process_that_dies_ends_the_others_and_is_named(importable, tmp_path, how, told):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with pytest.raises(OtocError, match=told):
        run(tmp_path, at=2, how=how)
    assert not (tmp_path / "weights.safetensors").exists()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]


def test_a_signal_saves_and_stops_all_and_one_process_goes_on(importable, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "parts", at=2, how="SIGTERM", double=True, rate=1e-4)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["checkpoint"]
    for name in ("parts", "whole"):
        several.train({"task": "unet", "steps": 6, "folder": str(tmp_path / name), "double": True, "rate": 1e-4})
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-9)


def test_they_end_where_who_started_them_is_killed(importable, tmp_path):
    job = {"jobs": [{"task": "unet", "folder": str(tmp_path), "at": 1, "how": "wait"}]}
    code = f"from otoc_lib.training.launch import launch; launch('several', {job!r}, 2, 'it', False)"
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    paths = [tmp_path / f"process{rank}" for rank in (0, 1)]
    try:
        _until(lambda: all(path.exists() and path.read_text() for path in paths), 240)
    finally:
        parent.kill()
        parent.wait()
    numbers = [int(path.read_text()) for path in paths]
    _until(lambda: not any(_is_running(number) for number in numbers), 60)


def _until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _is_running(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
