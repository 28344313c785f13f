"""The targets of benchmarks/convergence.py: what a curve shows, what it does not, and what was not run."""

import importlib.util
from pathlib import Path

import pytest

from otoc_lib.reporting.convergence import Run

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
