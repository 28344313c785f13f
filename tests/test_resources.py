"""What jobs ask of a cluster: by hand for one of each kind, and for every params file that is there."""

from dataclasses import replace
from pathlib import Path

import pytest

from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.experiments import Job, plan_jobs, read_profile
from otoc_lib.methods.stages import PlannedStage
from otoc_lib.resources import Rates, gpus, memory_mb, minutes, parse_rates, processors

ROOT = Path(__file__).parents[1]


def config_with(profile: str = "scannet", **values):
    return config_from({"profile": profile, "experiment": "otoc", **values})


def job_of(**stages: int) -> Job:
    """One that makes stages of so many steps."""
    makes = tuple(PlannedStage(name, name, steps) for name, steps in stages.items())
    return Job("03_self_train", "otoc", "otoc", 0, (), makes, (), ())


def test_minutes_are_twice_what_the_steps_and_the_other_stages_should_take():
    job = job_of(unet_1=153_600, evaluate_1=0, pseudo_1=0)
    # 153,600 steps of 0.6 s are 1536 minutes; two stages of 30 minutes; 10 to start
    assert minutes(job, config_with(), Rates()) == 10 + 2 * (1536 + 60)
    assert minutes(job, config_with(), Rates(step_seconds=0.3)) == 10 + 2 * (768 + 60)
    assert minutes(job, config_with(), Rates(max_minutes=1440)) == 1440
    assert minutes(job_of(), config_with(), Rates(max_minutes=1440)) == 10
    # the bundled rooms: steps of 0.2 s, stages of 5 minutes
    assert minutes(job_of(unet_1=600, evaluate_1=0), config_with("rooms"), Rates()) == 10 + 2 * (2 + 5)


def test_a_gpu_is_asked_for_where_one_is_used():
    training, clicks, report = job_of(unet_1=10), job_of(clicks=0), job_of()
    assert [gpus(job, config_with()) for job in (training, clicks, report)] == [1, None, None]
    assert gpus(job_of(evaluate_1=0), config_with()) == gpus(training, config_with(device="cuda")) == 1
    assert gpus(training, config_with(device="cpu")) is None
    assert gpus(training, config_with("rooms")) is None and gpus(training, config_with("rooms", device="cuda")) == 1


def test_several_gpus_take_as_many_processes():
    config = config_with(devices=8, batch_size=8, workers=4, propagation_memory=4.0)
    assert (gpus(job_of(unet_1=10), config), processors(config)) == (8, 40)
    assert memory_mb(config) == 8 * (6000 + 4 * 2500) + 4096


def test_memory_grows_with_the_workers_and_the_kernel():
    assert memory_mb(config_with(workers=0, propagation_memory=0.0)) == 6000
    assert memory_mb(config_with(workers=3, propagation_memory=1.5)) == 6000 + 7500 + 1536
    assert processors(config_with(workers=0)) == 1 and processors(config_with(workers=3)) == 4


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"step_seconds": "fast"}, "step_seconds='fast': write a number above 0"),
        ({"step_seconds": 0}, "step_seconds=0: "),
        ({"step_seconds": float("nan")}, "step_seconds=nan: "),
        ({"step_seconds": True}, "step_seconds=True: "),
        ({"max_minutes": -5}, "max_minutes=-5: write a whole number above 0"),
        ({"max_minutes": 1.5}, "max_minutes=1.5: "),
        ({"max_minutes": "1-00:00"}, "max_minutes='1-00:00': "),
    ],
)
def test_rates_that_are_none_are_refused(given, word):
    with pytest.raises(OtocError) as refusal:
        parse_rates(given)
    assert str(refusal.value).startswith(word)


def test_rates_are_those_that_are_given():
    assert parse_rates({"profile": "scannet"}) == Rates()
    assert parse_rates({"step_seconds": 1, "max_minutes": 1440}) == Rates(1, 1440)


@pytest.mark.parametrize("profile", sorted(path.name for path in (ROOT / "params").iterdir() if path.name != "own"))
def test_every_job_of_every_profile_asks_for_something_that_exists(profile):
    configs = {experiment.name: experiment.config for experiment in read_profile(ROOT / "params", profile)}
    real = profile in ("scannet", "s3dis")
    for job in plan_jobs(ROOT / "params", profile):
        config = configs[job.experiment]
        trains = any(stage.steps for stage in job.makes)
        assert (gpus(job, config) == 1) == (real and any(stage.name != "clicks" for stage in job.makes))
        assert not trains or minutes(job, config, Rates()) > minutes(replace(job, makes=()), config, Rates())
        assert 6000 <= memory_mb(config) < 64_000 and 1 <= processors(config) <= 8
