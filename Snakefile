# Every table and figure of one profile: snakemake --cores 1 --config profile=rooms
#
# One rule per notebook, one job per params file. This is the only place that knows the order. A notebook that fails is
# kept, traceback and all, where the executed one would be; whatever it finished is reused when it runs again.
# A step on the bundled rooms is too small to fill many cores, so up to four jobs share them; with real data one job at
# a time has all cores and the GPU, unless --config at_once=... says otherwise. On Slurm:
#   snakemake --config profile=scannet --executor slurm --jobs 4 --default-resources slurm_partition=gpu mem_mb=32000

import sys

from otoc_lib.config import load_config
from otoc_lib.errors import OtocError
from otoc_lib.progress import planned_stages

PROFILE = config.get("profile", "rooms")
RUNS, REPORTS = f"runs/{PROFILE}", f"reports/{PROFILE}"
PARAMS = sorted(glob_wildcards(f"params/{PROFILE}/{{experiment}}.yaml").experiment)

# The experiment that the profile's figures show. A profile of S3DIS alone has no "otoc".
MAIN = next((name for name in ("otoc", "s3dis_otoc") if name in PARAMS), None)
if MAIN is None:
    sys.exit(f"error: profile={PROFILE}: params/{PROFILE}/otoc.yaml does not exist; see params/ for the profiles")


def repeats(*experiments):
    """Those of the experiments that have a params file, and their repetitions with other seeds."""
    return [name for name in PARAMS if name.split("_seed")[0] in experiments]


# What starts from the same clicks shares its first U-Net: it is trained by the first name, which the others wait for.
SAME_CLICKS = {
    "otoc": ("control", "unet", "unet_gp"),
    "points20": ("points20_control",),
    "s3dis_otoc": ("s3dis_control",),
    "s3dis_otoc3": ("s3dis_control3",),
}
FIRST = {name: first for first, names in SAME_CLICKS.items() for name in (first, *names) if first in PARAMS}
ABLATIONS = repeats("unet", "unet_gp")
SUPERVISED = repeats("supervised", "s3dis_supervised")

JOBS = {
    "01_annotate": [name for name in PARAMS if name in SAME_CLICKS],
    "02_baseline": [*SUPERVISED, *repeats(*SAME_CLICKS)],
    "03_self_train": [name for name in PARAMS if name not in (*SUPERVISED, *ABLATIONS)],
    "04_ablate": ABLATIONS,
    "05_tsne": [MAIN],
}
DONE = [f"{RUNS}/{name}/{notebook}.done" for notebook, names in JOBS.items() for name in names]
REPORT = f"{RUNS}/{MAIN}/06_report.done"
ALL = [*DONE, REPORT]
FILES = [f"params/{PROFILE}/{name}.yaml" for name in PARAMS]


def origin(notebook, experiment):
    """The experiment, in a list, whose clicks and seed this one shares, if the notebook is run for it; or no one."""
    base, mark, seed = experiment.partition("_seed")
    first = FIRST.get(base)
    return [name for name in (f"{first}{mark}{seed}", first) if name in JOBS[notebook]][:1]


def done(notebook, wildcards):
    """The stamp of a notebook for what the experiment shares its clicks and its seed with, if it shares them."""
    return [f"{RUNS}/{name}/{notebook}.done" for name in origin(notebook, wildcards.experiment)]


# Priority of a job: the training steps of the longest chain of jobs that begins with it. So no long one is left to the
# end, when the other cores have nothing more to do.
try:
    STEPS = {name: planned_stages(load_config(file)) for name, file in zip(PARAMS, FILES)}
except OtocError as error:
    sys.exit(f"error: {error}")


def steps_later(name):
    """Training steps of an experiment after its first U-Net."""
    return sum(STEPS[name].values()) - STEPS[name]["unet_1"]


def steps_on(name):
    """``steps_later``, and those of the longest ablation where they wait for the experiment."""
    waiting = ABLATIONS if name in repeats("otoc", "control") else []
    return steps_later(name) + max(map(steps_later, waiting), default=0)


def steps_ahead(name):
    """Training steps from the first U-Net of an experiment to the end of the longest one that begins with it."""
    users = [other for other in PARAMS if origin("02_baseline", other) == [name]]
    return STEPS[name]["unet_1"] + max(map(steps_on, [name, *users]))


CORES = workflow.cores or 1
AT_ONCE = min(CORES, int(config.get("at_once", 4 if PROFILE in ("rooms", "smoke") else 1)))
THREADS = CORES // AT_ONCE

# What the kernel says goes to the terminal, line by line; everything else is in the executed notebook.
RUN = (
    "python -m otoc_lib.progress left '{rule} {wildcards.experiment}' --at-once {AT_ONCE} --runs runs "
    "--params {FILES} --done {ALL} && mkdir -p $(dirname {log}) && "
    "OMP_NUM_THREADS={threads} NUMBA_NUM_THREADS={threads} "
    "papermill {input.notebook} {log} -f {input.params} --log-level ERROR --no-progress-bar --stderr-file - "
    "2>&1 | python -m otoc_lib.progress relay {wildcards.experiment}"
)


wildcard_constraints:
    experiment="[A-Za-z0-9_-]+",


rule all:
    input:
        REPORT,
    default_target: True


rule annotate:
    name: "01_annotate"
    input:
        notebook="notebooks/01_annotate.ipynb",
        params=f"params/{PROFILE}/{{experiment}}.yaml",
    output:
        touch(f"{RUNS}/{{experiment}}/01_annotate.done"),
    log:
        f"{REPORTS}/notebooks/01_annotate.{{experiment}}.ipynb",
    priority: lambda wildcards: steps_ahead(wildcards.experiment)
    threads: THREADS
    shell:
        RUN


rule baseline:
    name: "02_baseline"
    input:
        lambda wildcards: done("01_annotate", wildcards),
        notebook="notebooks/02_baseline.ipynb",
        params=f"params/{PROFILE}/{{experiment}}.yaml",
    output:
        touch(f"{RUNS}/{{experiment}}/02_baseline.done"),
    log:
        f"{REPORTS}/notebooks/02_baseline.{{experiment}}.ipynb",
    priority: lambda wildcards: steps_ahead(wildcards.experiment)
    threads: THREADS
    shell:
        RUN


rule self_train:
    name: "03_self_train"
    input:
        lambda wildcards: done("02_baseline", wildcards),
        notebook="notebooks/03_self_train.ipynb",
        params=f"params/{PROFILE}/{{experiment}}.yaml",
    output:
        touch(f"{RUNS}/{{experiment}}/03_self_train.done"),
    log:
        f"{REPORTS}/notebooks/03_self_train.{{experiment}}.ipynb",
    priority: lambda wildcards: steps_on(wildcards.experiment)
    threads: THREADS
    shell:
        RUN


# After 03_self_train, so that the table these notebooks show is complete.
rule ablate:
    name: "04_ablate"
    input:
        [f"{RUNS}/{name}/03_self_train.done" for name in repeats("otoc", "control")],
        notebook="notebooks/04_ablate.ipynb",
        params=f"params/{PROFILE}/{{experiment}}.yaml",
    output:
        touch(f"{RUNS}/{{experiment}}/04_ablate.done"),
    log:
        f"{REPORTS}/notebooks/04_ablate.{{experiment}}.ipynb",
    priority: lambda wildcards: steps_later(wildcards.experiment)
    threads: THREADS
    shell:
        RUN


rule tsne:
    name: "05_tsne"
    input:
        f"{RUNS}/{MAIN}/03_self_train.done",
        notebook="notebooks/05_tsne.ipynb",
        params=f"params/{PROFILE}/{{experiment}}.yaml",
    output:
        touch(f"{RUNS}/{{experiment}}/05_tsne.done"),
    log:
        f"{REPORTS}/notebooks/05_tsne.{{experiment}}.ipynb",
    threads: THREADS
    shell:
        RUN


rule report:
    name: "06_report"
    input:
        DONE,
        notebook="notebooks/06_report.ipynb",
        params=f"params/{PROFILE}/{{experiment}}.yaml",
    output:
        touch(f"{RUNS}/{{experiment}}/06_report.done"),
    log:
        f"{REPORTS}/notebooks/06_report.{{experiment}}.ipynb",
    threads: THREADS
    shell:
        RUN
