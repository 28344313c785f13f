"""What a job asks of a cluster: GPUs, processors, memory and minutes, from its params file and the steps that it plans.

The rates are documented guesses on the safe side: a job that asked for too little is stopped by the cluster, and goes
on from its last checkpoint when it runs again. docs/cluster.md says how to give other values.
"""

import math
from dataclasses import dataclass
from typing import Any

from otoc_lib.config import Config
from otoc_lib.errors import OtocError, shown
from otoc_lib.experiments import SIMULATED, Job

# Seconds of a training step, and minutes of a stage without steps, such as the evaluation of 312 rooms. At the paper's
# size a step took 0.53 s at most, on one H200 (benchmarks/gpu.md); on the bundled rooms 0.14 s, on two cores of a CPU.
STEP_SECONDS, STAGE_MINUTES = 0.6, 30
SIMULATED_STEP_SECONDS, SIMULATED_STAGE_MINUTES = 0.2, 5
SAFETY = 2  # times what is expected
START_MINUTES = 10  # of a job: a kernel, the scenes
BASE_MB, WORKER_MB = 6000, 2500  # of a process that trains, scenes mapped; of one that loads and augments


@dataclass(frozen=True)
class Rates:
    """What a user of the cluster knows better: seconds of a training step, and the most minutes that a job may ask for;
    one that needs more is submitted again, and goes on (``--retries``). None: as above, no limit."""

    step_seconds: float | None = None
    max_minutes: int | None = None


def parse_rates(given: dict[str, Any]) -> Rates:
    """From Snakemake's ``--config``; OtocError for what is no positive number."""
    kinds = {"step_seconds": ((int, float), "a number", "0.6"), "max_minutes": ((int,), "a whole number", "1440")}
    for name, (types, kind, example) in kinds.items():
        value = given.get(name)
        if value is not None and not (type(value) in types and math.isfinite(value) and value > 0):
            raise OtocError(f"{name}={shown(value)}: write {kind} above 0, such as {name}={example}")
    return Rates(given.get("step_seconds"), given.get("max_minutes"))


def gpus(job: Job, config: Config) -> int | None:
    """How many GPUs a job asks for; None: it trains and predicts nothing, or not on a GPU, or on bundled rooms."""
    works = any(stage.name != "clicks" for stage in job.makes)
    wants = config.device.startswith("cuda") or (config.device == "auto" and config.profile not in SIMULATED)
    return config.devices if works and wants else None


def processors(config: Config) -> int:
    """One for every process of a job: those that train, and their workers."""
    return config.devices * (1 + config.workers)


def memory_mb(config: Config) -> int:
    """Memory of a job in MB. The kernel of a large room may need ``propagation_memory``, where there is no GPU."""
    processes = config.devices * (BASE_MB + config.workers * WORKER_MB)
    return processes + math.ceil(config.propagation_memory * 1024)


def minutes(job: Job, config: Config, rates: Rates) -> int:
    """How long a job may take: ``SAFETY`` times what its stages should, several GPUs taken to be no faster than one."""
    simulated = config.profile in SIMULATED
    step = rates.step_seconds or (SIMULATED_STEP_SECONDS if simulated else STEP_SECONDS)
    stage = SIMULATED_STAGE_MINUTES if simulated else STAGE_MINUTES
    expected = sum(planned.steps * step / 60 if planned.steps else stage for planned in job.makes)
    asked = START_MINUTES + math.ceil(SAFETY * expected)
    return min(asked, rates.max_minutes or asked)
