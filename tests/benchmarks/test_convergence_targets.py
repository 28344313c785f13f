"""The targets of benchmarks/convergence.py: what a curve shows, what it does not, and what was not run."""

import importlib.util
from pathlib import Path

import pytest
import torch

from otoc_lib.reporting.convergence import Run, read_runs, write_runs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def convergence(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("benchmark_convergence", BENCHMARKS / "convergence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def runs(recipe, *points):
    """Runs on clicks of (seconds, mIoU on points); on super-voxels ten more."""
    return [Run(recipe, "", "clicks", 0, n, seconds, miou, miou + 10) for n, (seconds, miou) in enumerate(points)]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([(100, 60), (200, 70)], [(50, 55), (70, 75)], ("60 of 150 s: 0.40 x", True)),
        ([(100, 60), (200, 70)], [(50, 55), (110, 75)], ("80 of 150 s: 0.53 x", False)),
        ([(100, 60), (200, 62)], [(50, 55), (70, 75)], ("60 s; before not in 200 s: less than 0.30 x", True)),
        ([(100, 60), (200, 62)], [(50, 55), (190, 75)], ("120 s; before not in 200 s: less than 0.60 x", False)),
        ([(100, 66), (200, 70)], [(50, 55), (70, 75)], ("60 s; before in 100 s or less", None)),
        ([(100, 60), (200, 70)], [(50, 55), (70, 60)], ("not reached in 70 s", False)),
        ([(100, 60)], [], ("not run", None)),
    ],
)
def test_a_target_is_judged_by_what_the_curves_show(convergence, before, now, expected):
    found, _ = convergence.targets(convergence.RECIPES, runs("before", *before) + runs("now", *now))
    assert found[1:] == expected


def test_runs_of_other_parameters_do_not_count(convergence):
    (recipe, *name), *_ = convergence.wanted(convergence.RECIPES)
    digest = convergence.digest_of(convergence.config_of(recipe, *name))
    own, other = (Run(recipe.name, key, *name, 1.0, 50.0, 60.0) for key in (digest, "other"))
    assert convergence.current(convergence.RECIPES, [own, other]) == {(recipe.name, *name): own}
    assert convergence.current(convergence.RECIPES, [other]) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without CUDA")
def test_a_gpu_that_is_not_there_is_one_clear_error(convergence, capsys):
    with pytest.raises(SystemExit) as stop:
        convergence.main(["--run", "--device", "cuda"])
    assert stop.value.code == 2 and "this machine has no CUDA GPU" in capsys.readouterr().err


def test_a_run_counts_on_the_device_that_it_was_trained_on(convergence, monkeypatch, tmp_path):
    """What the GPU trained is kept beside the CPU's, and neither stands for the other."""
    (recipe, *name), *_ = convergence.wanted(convergence.RECIPES)
    digest = convergence.digest_of(convergence.config_of(recipe, *name))
    on_cpu, on_gpu = (Run(recipe.name, digest, *name, 1.0, 50.0, 60.0, device) for device in ("CPU", "NVIDIA X1"))
    assert convergence.current(convergence.RECIPES, [on_gpu]) == {}
    assert convergence.current(convergence.RECIPES, [on_cpu, on_gpu], "NVIDIA X1") == {(recipe.name, *name): on_gpu}

    trained = []

    def one_run(recipe, labels, seed, steps, device, rooms):
        trained.append((recipe.name, labels, seed, steps))
        return Run(recipe.name, convergence.digest_of(convergence.config_of(recipe, labels, seed, steps)), labels, seed,
                   steps, 2.0, 51.0, 61.0, "NVIDIA X1")  # fmt: skip

    monkeypatch.setattr(convergence, "one_run", one_run)
    monkeypatch.setattr(convergence, "device_name", lambda device: "NVIDIA X1")
    path = tmp_path / "runs.csv"
    write_runs(path, [on_cpu])
    few = [convergence.Recipe(recipe.name, recipe.values, {"clicks": name[2:], "every point": name[2:]})]
    found = convergence.run_missing(few, path, "cuda")
    assert len(trained) == len(found) == 4 and {run.device for run in found} == {"NVIDIA X1"}
    assert [run for run in read_runs(path) if run.device == "CPU"] == [on_cpu] and len(read_runs(path)) == 5
