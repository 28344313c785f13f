# Every table and figure of one profile: snakemake --cores 1 --config profile=rooms
#
# One rule a notebook, one job an experiment and seed; otoc_lib/experiments.py says which, and what waits for what. A notebook
# that fails is kept, traceback and all, where the executed one would be; whatever it finished is reused when it runs again.
# A step on the bundled rooms is too small to fill many cores, so up to four jobs share them; with real data one job at a
# time has all cores and the GPU, unless --config at_once=... says otherwise. Several seeds: --config seeds=0,1,2.
# On Slurm:
#   snakemake --config profile=scannet --executor slurm --jobs 4 --default-resources slurm_partition=gpu mem_mb=32000

import sys

from otoc_lib.current import remove_stale_stamps
from otoc_lib.errors import OtocError
from otoc_lib.experiments import NOTEBOOKS, SIMULATED, parse_seeds, plan_jobs, write_plan
from otoc_lib.progress import PLAN

PROFILE = config.get("profile", "rooms")
RUNS, REPORTS = f"runs/{PROFILE}", f"reports/{PROFILE}"


def stamp(notebook, run):
    return f"{RUNS}/{run}/{notebook}.done"


# A stamp says that a job has run; whether its stages are there still, and current, their keys say.
try:
    SEEDS = parse_seeds(config.get("seeds"))
    JOBS = {job.name: job for job in plan_jobs("params", PROFILE, SEEDS)}
    STALE = remove_stale_stamps(JOBS.values(), "params", PROFILE, SEEDS, stamp) if workflow.is_main_process else []
except OtocError as error:
    sys.exit(f"error: {error}")
print(*(f"to run again: {line}" for line in STALE), sep="\n", end="\n" if STALE else "", file=sys.stderr)

CORES = workflow.cores or 1
AT_ONCE = min(CORES, int(config.get("at_once", 4 if PROFILE in SIMULATED else 1)))

# Labelled frames that the kit makes itself, for the jobs that need them: folder -> layout of the rooms.
FRAMES = {"data/scannet_frames": "scannet", "data/s3dis_frames": "s3dis"}
PACKED = {"scannet": "data/rooms", "s3dis": "data/rooms_s3dis"}


def before(job):
    """Stamps of what a job waits for."""
    frames = [f"{RUNS}/{FRAMES[job.images]}_frames.done"] if job.images in FRAMES else []
    return [stamp(*name) for name in job.after] + frames


# What the kernel says goes to the terminal, line by line; everything else is in the executed notebook.
RUN = (
    "python -m otoc_lib.progress left '{rule} {wildcards.run}' {RUNS} --at-once {AT_ONCE} && "
    "OMP_NUM_THREADS={threads} NUMBA_NUM_THREADS={threads} "
    "python -m otoc_lib.notebooks run {rule} {input.params[0]} {params.seed} 2>&1 "
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
            f"{REPORTS}/notebooks/{NOTEBOOK}.{{run}}.ipynb",
        params:
            seed=lambda wildcards, notebook=NOTEBOOK: JOBS[notebook, wildcards.run].seed,
            stages=lambda wildcards, notebook=NOTEBOOK: JOBS[notebook, wildcards.run].digest,  # another, and it runs again
        priority: lambda wildcards, notebook=NOTEBOOK: JOBS[notebook, wildcards.run].chain
        threads: CORES // AT_ONCE
        shell:
            RUN
