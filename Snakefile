# Every table and figure of one profile: snakemake --cores 1 --config profile=rooms
#
# One rule a notebook, one job an experiment and seed; otoc_lib/experiments.py says which, and what waits for what. A notebook
# that fails is kept, traceback and all, where the executed one would be; whatever it finished is reused when it runs again.
# A step on the bundled rooms is too small to fill many cores, so up to four jobs share them; with real data one job at a
# time has all cores and the GPU, unless --config at_once=... says otherwise. Several seeds: --config seeds=0,1,2.
# On Slurm or Kubernetes a job asks for the GPUs, processors, memory and minutes that its params file and steps say;
# docs/cluster.md has the commands:
#   snakemake --executor slurm --jobs 4 --config profile=scannet --default-resources slurm_partition=gpu

import shlex
import signal
import sys

from otoc_lib.current import remove_stale_stamps
from otoc_lib.errors import OtocError
from otoc_lib.experiments import NOTEBOOKS, SIMULATED, parse_seeds, plan_jobs, read_profile, write_plan
from otoc_lib.progress import PLAN
from otoc_lib.resources import gpus, memory_mb, minutes, parse_rates, processors

# Slurm's warning goes to every process of a job; the one that trains saves at it, and all others shall go on as well.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

PROFILE = config.get("profile", "rooms")
RUNS, REPORTS = f"runs/{PROFILE}", f"reports/{PROFILE}"


def stamp(notebook, run):
    return f"{RUNS}/{run}/{notebook}.done"


# A stamp says that a job has run; whether its stages are there still, and current, their keys say.
try:
    SEEDS = parse_seeds(config.get("seeds"))
    JOBS = {job.name: job for job in plan_jobs("params", PROFILE, SEEDS)}
    CONFIGS = {experiment.name: experiment.config for experiment in read_profile("params", PROFILE, SEEDS)}
    RATES = parse_rates(config)
    STALE = remove_stale_stamps(JOBS.values(), "params", PROFILE, SEEDS, stamp) if workflow.is_main_process else []
except OtocError as error:
    sys.exit(f"error: {error}")
print(*(f"to run again: {line}" for line in STALE), sep="\n", end="\n" if STALE else "", file=sys.stderr)

CORES = workflow.resource_settings.cores or 1
AT_ONCE = min(CORES, int(config.get("at_once", 4 if PROFILE in SIMULATED else 1)))

# Labelled frames that the kit makes itself, for the jobs that need them: folder -> layout of the rooms.
FRAMES = {"data/scannet_frames": "scannet", "data/s3dis_frames": "s3dis"}
PACKED = {"scannet": "data/rooms", "s3dis": "data/rooms_s3dis"}


def before(job):
    """Stamps of what a job waits for."""
    frames = [f"{RUNS}/{FRAMES[job.images]}_frames.done"] if job.images in FRAMES else []
    return [stamp(*name) for name in job.after] + frames


def of_job(ask, notebook):
    """For a rule: what a function says of a job and its config, of the job that the wildcards name."""

    def answer(wildcards):
        job = JOBS[notebook, wildcards.run]
        return ask(job, CONFIGS[job.experiment])

    return answer


def threads_of(job, config):
    """On this machine a share of its cores; on a cluster one for each process of the job."""
    return processors(config) if workflow.non_local_exec or workflow.remote_exec else CORES // AT_ONCE


# On Kubernetes a job begins with a copy of the sources; the kit with its data and runs is on a volume: --config kit=...
KIT = config.get("kit")
THERE = f"cd {shlex.quote(KIT)} && " if KIT else ""
PARAMS = f"params/{PROFILE}/$(basename {{input.params[0]}})" if KIT else "{input.params[0]}"

# What the kernel says goes to the terminal, line by line; everything else is in the executed notebook.
RUN = (
    f"{THERE}"
    "python -m otoc_lib.progress left '{rule} {wildcards.run}' {RUNS} --at-once {AT_ONCE} && "
    "OMP_NUM_THREADS={threads} NUMBA_NUM_THREADS={threads} "
    f"python -m otoc_lib.notebooks run {{rule}} {PARAMS} {{params.seed}} 2>&1 "
    "| python -m otoc_lib.progress relay {wildcards.run}"
)


wildcard_constraints:
    run="[A-Za-z0-9_-]+",


onstart:
    write_plan(list(JOBS.values()), f"{RUNS}/{PLAN}")


rule all:
    input:
        [stamp(*name) for name in JOBS],
    default_target: True


rule film:
    input:
        lambda wildcards: f"{PACKED[wildcards.layout]}/index.json",
    output:
        touch(f"{RUNS}/{{layout}}_frames.done"),
    wildcard_constraints:
        layout="|".join(PACKED),
    priority: 10**9
    shell:
        f"{THERE}"
        "python -m otoc_lib rooms film --layout {wildcards.layout} data/{wildcards.layout}_frames"


for NOTEBOOK in NOTEBOOKS:

    rule:
        name:
            NOTEBOOK
        input:
            lambda wildcards, notebook=NOTEBOOK: before(JOBS[notebook, wildcards.run]),
            notebook=f"notebooks/{NOTEBOOK}.ipynb",
            params=lambda wildcards, notebook=NOTEBOOK: [str(file) for file in JOBS[notebook, wildcards.run].files],
        output:
            touch(stamp(NOTEBOOK, "{run}")),
        log:
            (local if KIT else str)(f"{REPORTS}/notebooks/{NOTEBOOK}.{{run}}.ipynb"),  # else an empty one is stored over it
        params:
            seed=lambda wildcards, notebook=NOTEBOOK: JOBS[notebook, wildcards.run].seed,
            stages=lambda wildcards, notebook=NOTEBOOK: JOBS[notebook, wildcards.run].digest,  # another, and it runs again
        priority: lambda wildcards, notebook=NOTEBOOK: JOBS[notebook, wildcards.run].chain
        threads: of_job(threads_of, NOTEBOOK)
        resources:
            gpu=of_job(gpus, NOTEBOOK),  # None: not asked for
            gpu_manufacturer=of_job(lambda *job: gpus(*job) and "nvidia", NOTEBOOK),  # Kubernetes wants to know
            scale=of_job(lambda *job: gpus(*job) and 0, NOTEBOOK),  # Kubernetes: what is asked for is the limit, too
            mem_mb=of_job(lambda job, config: memory_mb(config), NOTEBOOK),
            runtime=of_job(lambda *job: minutes(*job, RATES), NOTEBOOK),
            # Slurm: a job that was stopped goes on in the same log; its processes are told two minutes before the end.
            slurm_extra="--open-mode=append --signal=USR1@120",
        shell:
            RUN
