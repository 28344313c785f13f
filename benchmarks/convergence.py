"""How good a network is after how many seconds: the recipe of the bundled rooms beside the one before it.

Three of the four rounds of training rooms are fitted; the fourth, every kind of room once, judges: no validation room
is looked at. A recipe is trained from scratch for several lengths, each a whole cycle of its schedule, since nobody
would use a network from the middle of one. On the CPU seconds are those of the processor, one thread a run, two runs
at once; on a GPU those of the clock, one run at a time.

    python benchmarks/convergence.py            the tables of what convergence.csv holds
    python benchmarks/convergence.py --run      train what is missing there first: hours on two cores; goes on where an
                                                earlier call stopped, and draws convergence.png
    python benchmarks/convergence.py --run --device cuda      on a GPU, an hour or more; draws convergence_gpu.png
    python benchmarks/convergence.py --quick    both recipes for a few steps on a few rooms, a minute: that it works
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from timing import THREADS, Target, print_targets
from tqdm import tqdm

from otoc_lib.config import Config, load_config
from otoc_lib.datasets import bundled_rooms, load_split
from otoc_lib.files import write_aside
from otoc_lib.methods.control import BASELINE, train_baseline
from otoc_lib.methods.stages import Plan, Scenes, Stages
from otoc_lib.reporting import figures
from otoc_lib.reporting.convergence import CPU, GOALS, Run, convergence_curve, read_runs, seconds_to, write_runs

FOLDER = Path(__file__).resolve().parent
FILE = FOLDER / "convergence.csv"
FIGURES = {"cpu": FOLDER / "convergence.png", "cuda": FOLDER / "convergence_gpu.png"}
PARAMS = FOLDER.parent / "params/rooms/otoc.yaml"
JUDGES = 24  # training rooms, the last ones
SEEDS = (0, 1)
ROW_ORDER = attrgetter("device", "recipe", "labels", "seed", "steps")
LABELS = {"clicks": "simulated", "every point": "all"}  # -> source


@dataclass(frozen=True)
class Recipe:
    """Parameters over those of params/rooms/otoc.yaml, and the lengths that it is trained for."""

    name: str
    values: dict[str, object]
    steps: dict[str, tuple[int, ...]]  # by labels


# The last, what params/rooms says now, is compared with the first.
RECIPES = [
    Recipe(
        "before",
        {
            "voxel_size": 0.07,
            "unet_width": 16,
            "unet_levels": 5,
            "unet_blocks": 2,
            "unet_skip": "concat",
            "coarse_loss": 0.0,
            "batch_size": 4,
            "optimizer": "muon",
            "learning_rate": 0.01,
            "schedule": "one_cycle",
            "class_weights": "inverse_sqrt",
            "jitter": 0.05,
            "rotate": True,
            "rotation_step": 0.0,
            "label_smoothing": 0.0,
            "input_position": "xyz",
        },
        {"clicks": (1950,), "every point": (1300, 1950)},
    ),
    Recipe("now", {}, {"clicks": (900, 1350, 2025, 3037), "every point": (900, 1200, 1500)}),
]


def wanted(recipes: Iterable[Recipe], seeds: Iterable[int] = SEEDS) -> list[tuple[Recipe, str, int, int]]:
    """Recipe, labels, seed and steps of every run."""
    return [
        (recipe, labels, seed, steps)
        for recipe in recipes
        for labels in LABELS
        for seed in seeds
        for steps in recipe.steps[labels]
    ]


def config_of(recipe: Recipe, labels: str, seed: int, steps: int, **others: object) -> Config:
    """The parameters of a run."""
    values = {**recipe.values, "source": LABELS[labels], "method": "control", "eval_splits": ["val"], **others}
    return load_config(PARAMS, **values, seed=seed, unet_steps=steps)


def digest_of(config: Config) -> str:
    """Stands for all that a run depends on, rooms aside: the key of its stages."""
    _, evaluation = train_baseline(Plan(config, BASELINE, {"train": "", "val": ""}))
    return evaluation.key


def train_and_judge(config: Config, few: bool) -> tuple[float, float, float]:
    """Train the U-Net of a config; its seconds, and mIoU in % on points and on super-voxels."""
    clock = time.process_time if config.device == "cpu" else time.perf_counter
    rooms, judges = load_split(config, "train", 6 if few else None), 2 if few else JUDGES
    fitted, judged = rooms[:-judges], rooms[-judges:]
    stages = Stages(config, Scenes(fitted, {"val": judged}), BASELINE)
    labels = stages.clicks()
    start = clock()
    unet = stages.train("unet", 1, labels)
    seconds = clock() - start
    evaluation = json.loads(stages.evaluate("evaluate_baseline", {"unet": unet}).read("metrics.json"))
    modes = evaluation["splits"]["val"]["modes"]
    return seconds, 100 * modes["point"]["miou"], 100 * modes["sv"]["miou"]


# --- the runs ---------------------------------------------------------------------------------------------------------


def device_name(device: str) -> str:
    """What a row says of where it was trained: "CPU", or the name of the GPU."""
    return CPU if device == "cpu" else torch.cuda.get_device_name(device)


def one_run(recipe: Recipe, labels: str, seed: int, steps: int, device: str, rooms: Path | None) -> Run:
    """A run in a process of its own, with one thread; of a few of the rooms in a folder, if one is given."""
    name = ["--one", recipe.name, labels, str(seed), str(steps), "--device", device]
    name += ["--few", str(rooms)] if rooms else []
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    done = subprocess.run([sys.executable, __file__, *name], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(name)} failed:\n{done.stderr[-2000:]}")
    seconds, points, supervoxels = json.loads(done.stdout)
    digest = digest_of(config_of(recipe, labels, seed, steps))
    found = round(seconds, 1), round(points, 2), round(supervoxels, 2), device_name(device)
    return Run(recipe.name, digest, labels, seed, steps, *found)


def print_one(recipe: Recipe, labels: str, seed: int, steps: int, device: str, rooms: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        places = {"data_root": str(rooms), "cache_root": f"{rooms}_cache"} if rooms else {}
        config = config_of(recipe, labels, seed, steps, device=device, runs_root=folder, **places)
        print(json.dumps(train_and_judge(config, few=rooms is not None)))


def current(recipes: Iterable[Recipe], runs: Iterable[Run], device: str = CPU) -> dict[tuple[str, str, int, int], Run]:
    """The runs of the recipes as they are now on a device, in their order; others are left out."""
    known = {(run.recipe, run.labels, run.seed, run.steps, run.digest): run for run in runs if run.device == device}
    names = [((r.name, *rest), digest_of(config_of(r, *rest))) for r, *rest in wanted(recipes)]
    return {name: known[*name, digest] for name, digest in names if (*name, digest) in known}


def run_missing(recipes: list[Recipe], path: Path, device: str = "cpu", rooms: Path | None = None) -> list[Run]:
    """Train what is not in the file yet, the recipe in use first; each run is written when it is done.

    Returns:
        The runs of the recipes on this device.
    """
    before, here = read_runs(path), device_name(device)
    others = [run for run in before if run.device != here]
    done = current(recipes, before, here)
    seeds = SEEDS[:1] if rooms else SEEDS
    missing = [(r, *rest) for r, *rest in wanted(recipes[::-1], seeds) if (r.name, *rest) not in done]
    pool = ThreadPoolExecutor(2 if device == "cpu" else 1)
    try:
        futures = [pool.submit(one_run, *run, device, rooms) for run in missing]
        for future in tqdm(as_completed(futures), total=len(missing), unit="run", file=sys.stderr):
            run = future.result()
            done[run.recipe, run.labels, run.seed, run.steps] = run
            write_runs(path, sorted([*others, *done.values()], key=ROW_ORDER))
    finally:
        pool.shutdown(cancel_futures=True)  # an error, or Ctrl-C, ends the call after the runs that are under way
    return list(done.values())


# --- what they say ----------------------------------------------------------------------------------------------------


def print_tables(recipes: list[Recipe], runs: list[Run], device: str = CPU) -> None:
    """Every run on a device, the seconds to the goals, and, for the CPU, the targets."""
    seconds = "one thread, two runs at once" if device == CPU else f"the clock on {device}, one run at a time"
    print(f"## Seconds to a converged network{'' if device == CPU else ', GPU'}\n")
    print(
        "The 3D U-Net of params/rooms, fitted to three rounds of training rooms, judged on the fourth. Seconds of "
        f"{seconds}; mIoU in % on points / on super-voxels.\n"
    )
    print("| labels | recipe | steps | seconds | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |")
    print("|---|---|---|---|" + "---|" * len(SEEDS))
    of = {(run.recipe, run.labels, run.seed, run.steps): run for run in runs}
    for labels in LABELS:
        for recipe in recipes:
            for steps in recipe.steps[labels]:
                found = [of.get((recipe.name, labels, seed, steps)) for seed in SEEDS]
                seconds = " / ".join(f"{run.seconds:.0f}" for run in found if run) or "not run"
                scores = [f"{run.points:.1f} / {run.supervoxels:.1f}" if run else "not run" for run in found]
                print(f"| {labels} | {recipe.name} | {steps} | {seconds} | {' | '.join(scores)} |")
    if device == CPU:
        print_targets(targets(recipes, runs))


def targets(recipes: list[Recipe], runs: list[Run]) -> Iterable[Target]:
    """The seconds that the last recipe takes to the goals, as a share of those of the first."""
    for labels, goals in GOALS.items():
        words = f"{labels}: seconds to {goals[0]:g} / {goals[1]:g} at most half of the recipe before"
        curves = [
            convergence_curve(run for run in runs if (run.recipe, run.labels) == (r.name, labels)) for r in recipes
        ]
        if not all(len(seconds) for seconds, _ in curves):
            yield words, "not run", None
            continue
        before, now = (seconds_to(*curve, goals) for curve in (curves[0], curves[-1]))
        shortest, longest = curves[0][0][[0, -1]].tolist()
        if now is None:
            yield words, f"not reached in {curves[-1][0][-1]:.0f} s", False
        elif before is None:
            measured = f"{now:.0f} s; before not in {longest:.0f} s: less than {now / longest:.2f} x"
            yield words, measured, now <= longest / 2
        elif before == shortest:  # when it came there, shorter runs would say
            yield words, f"{now:.0f} s; before in {shortest:.0f} s or less", None
        else:
            yield words, f"{now:.0f} of {before:.0f} s: {now / before:.2f} x", now <= before / 2


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="train what convergence.csv lacks: hours")
    parser.add_argument("--device", default="cpu", choices=list(FIGURES), help="where --run and --quick train")
    parser.add_argument("--quick", action="store_true", help="6 rooms, one seed, 4 steps, nothing is kept: a minute")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--few", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA GPU")
    recipes = [Recipe(r.name, r.values, dict.fromkeys(LABELS, (4,))) for r in RECIPES] if options.quick else RECIPES
    if options.one:
        name, labels, seed, steps = options.one
        recipe = next(r for r in recipes if r.name == name)
        print_one(recipe, labels, int(seed), int(steps), options.device, options.few)
    elif options.quick:
        with tempfile.TemporaryDirectory() as folder:
            bundled_rooms.unpack(Path(folder, "rooms"))
            runs = run_missing(recipes, Path(folder, FILE.name), options.device, Path(folder, "rooms"))
            figures.convergence(runs).savefig(Path(folder, FIGURES[options.device].name))
        print_tables(recipes, runs, device_name(options.device))
    else:
        if options.run:
            runs = run_missing(recipes, FILE, options.device)
            with write_aside(FIGURES[options.device]) as aside:
                figures.convergence(runs).savefig(aside, format="png")
        measured = read_runs(FILE)
        for device in sorted({CPU, *(run.device for run in measured)}):
            print_tables(recipes, list(current(recipes, measured, device).values()), device)
            figure = FIGURES["cpu" if device == CPU else "cuda"]
            print(f"\n![mIoU against seconds]({figure.name})\n" if figure.is_file() else "")


if __name__ == "__main__":
    main()
