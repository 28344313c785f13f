"""Wrong clicks: how well a second look finds them (otoc_lib/methods/second_look.py), and what it is worth.

Clicks of params/sweeps, some of them of a class drawn at random, train a U-Net for a short time. Those that it
contradicts are looked at by a simulated annotator who says the truth, or left out, and everything is trained anew from
what the clicks are then. The control looks at as many, drawn at random. Which clicks are contradicted is a matter of
the training rooms alone; the validation rooms judge what comes of it.

    python benchmarks/doubted_clicks.py                           one click in ten is wrong
    python benchmarks/doubted_clicks.py --experiment unet_gp --arms given "left out"       none is

Each trains under runs/ what is not there yet, two hours on two cores, and goes on where an earlier call stopped. What
they printed is kept in doubted_clicks.md.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from timing import THREADS

from otoc_lib.annotation.clicks import Clicks, simulate_clicks, write_clicks
from otoc_lib.config import Config
from otoc_lib.evaluation import mean_iou
from otoc_lib.experiments import read_experiment
from otoc_lib.methods.second_look import second_look
from otoc_lib.methods.stages import Scenes, load_scenes, run_method
from otoc_lib.reporting.bootstrap import paired_interval
from otoc_lib.reporting.runs import read_confusions
from otoc_lib.scene import Scene

PARAMS = Path(__file__).resolve().parents[1] / "params/sweeps"
PROFILE = "doubts"
ARMS = {
    "given": "clicks as given",
    "drawn": "as many looked at, drawn at random",
    "contradicted": "contradicted ones looked at",
    "left out": "those contradicted by far left out",
}
MODES = {"point": "U-Net alone", "full": "after propagation"}
FIRST, LAST = "first", "last"
SHARES = (8, 4, 2, 1)  # of the steps, one in so many


@dataclass(frozen=True)
class Review:
    """Clicks looked at again.

    clicks: by room, as they are then. total: clicks of all rooms. wrong: of them, before. looked: how many were looked
    at. found: of these, wrong ones.
    """

    clicks: dict[str, Clicks]
    total: int
    wrong: int
    looked: int
    found: int


def review(arm: str, config: Config, scenes: Scenes) -> Review:
    """The clicks of an experiment after what an arm does to them."""
    found = second_look(config, scenes)
    given, after = found.clicks, found.without() if arm == "left out" else found.without(margin=0)
    looked = {name: ~np.isin(clicks.points, after[name].points) for name, clicks in given.items()}
    if arm == "drawn":
        looked = _drawn(looked, config.seed)
    true = {room.name: _true_classes(room, given[room.name], config) for room in scenes.train}
    if arm == "given":
        after = given
    elif arm != "left out":
        after = {
            name: replace(clicks, classes=np.where(looked[name], true[name], clicks.classes))
            for name, clicks in given.items()
        }
    wrong = {name: true[name] != clicks.classes for name, clicks in given.items()}
    found_wrong = {name: looked[name] & wrong[name] for name in looked}
    counts = (sum(int(of_room.sum()) for of_room in masks.values()) for masks in (wrong, looked, found_wrong))
    return Review(after, sum(map(len, given.values())), *counts)


def _true_classes(room: Scene, clicks: Clicks, config: Config) -> np.ndarray:
    """What the clicks, int16 [K], were before some of them got another class."""
    right = simulate_clicks(room, config.clicks_per_object, config.seed)
    truth = dict(zip(right.points.tolist(), right.classes.tolist(), strict=True))
    return np.array([truth[point] for point in clicks.points.tolist()], dtype=clicks.classes.dtype)


def _drawn(masks: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """As many as the masks have, drawn at random from all rooms."""
    every = np.concatenate(list(masks.values()))
    drawn = np.random.default_rng([seed, *b"drawn"]).permutation(every)
    ends = np.cumsum([len(mask) for mask in masks.values()])[:-1]
    return dict(zip(masks, np.split(drawn, ends), strict=True))


def after_review(arm: str, config: Config, scenes: Scenes) -> tuple[Config, Review]:
    """The same experiment from the clicks that an arm leaves, which are written to a file; and what was found."""
    said = review(arm, config, scenes)
    name = f"{config.experiment}_{arm.replace(' ', '_')}"
    path = config.runs_folder / PROFILE / "clicks" / f"{name}_{config.seed}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clicks(path, said.clicks, scenes.train)
    changes = {"source": "file", "clicks_file": str(path), "clicks_wrong": 0.0}
    return replace(config, profile=PROFILE, experiment=name, **changes), said


Judged = dict[tuple[str, str], np.ndarray]  # (FIRST or LAST, mode) -> confusion matrices by room, int64 [R, C, C]


def judged(config: Config, scenes: Scenes) -> Judged:
    """Run what is missing of an experiment, and judge it."""
    found = {}
    for place, iteration in zip((FIRST, LAST), run_method(config, scenes), strict=True):
        for mode in MODES:
            by_room = read_confusions(iteration.evaluation, "val", mode)
            found[place, mode] = np.stack([by_room[room] for room in sorted(by_room)])
    return found


def looked_at(arm: str, config: Config, scenes: Scenes) -> tuple[Review, Judged]:
    """An arm of an experiment, run and judged."""
    if arm == "given":
        return review(arm, config, scenes), judged(config, scenes)
    config, said = after_review(arm, config, scenes)
    return said, judged(config, scenes)


def early(share: int, config: Config, scenes: Scenes) -> list[float]:
    """How well a U-Net of one in ``share`` of the steps finds wrong clicks: steps, contradicted, of them wrong, of the
    wrong ones contradicted, in %, wrong ones among the tenth and the fifth of all clicks that are the most doubtful, in
    %, and the probability that a wrong click is more doubtful than a right one (ROC AUC)."""
    steps = max(1, config.unet_steps // share)
    found = second_look(replace(config, experiment=f"{config.experiment}_{steps}"), scenes, steps)
    wrong, margins = [], []
    for room in scenes.train:
        clicks = found.clicks[room.name]
        seen = found.seen[room.name][room.supervoxels[clicks.points]]
        of_click = np.eye(seen.shape[1], dtype=bool)[clicks.classes]
        margins.append(seen[of_click] - np.where(of_click, -1, seen).max(axis=1))
        wrong.append(_true_classes(room, clicks, config) != clicks.classes)
    wrong, margins = np.concatenate(wrong), np.concatenate(margins)
    contradicted = sum(map(len, found.doubts.values()))
    wrong_first = wrong[np.argsort(margins)]
    among = [100 * wrong_first[: len(wrong) // part].sum() / wrong.sum() for part in (10, 5)]
    hits = int(wrong[margins < 0].sum())
    shares = (100 * contradicted / len(wrong), 100 * hits / contradicted, 100 * hits / wrong.sum())
    return [steps, *shares, *among, roc_auc_score(wrong, -margins)]


def of_experiment(experiment: str, seed: int, work: Callable, *arguments: object) -> Any:
    """``work(*arguments, config, scenes)`` of an experiment of params/sweeps, in a process of its own."""
    config = read_experiment(PARAMS / f"{experiment}.yaml", [seed]).config
    return work(*arguments, config, load_scenes(config))


# --- tables -----------------------------------------------------------------------------------------------------------


def print_early(found: Mapping[int, list[list[float]]]) -> None:
    """Means over the seeds of what ``early`` says, by share of the steps."""
    print("## Steps after which a U-Net names wrong clicks\n")
    print("Means over the seeds, in %.\n")
    print("| steps | contradicted | of them wrong | of the wrong ones | among the first 10 % | first 20 % | ROC AUC |")
    print("|---|---|---|---|---|---|---|")
    for rows in found.values():
        steps, *shares, auc = np.mean(rows, axis=0)
        print(f"| {steps:.0f} | {' | '.join(f'{share:.0f}' for share in shares)} | {auc:.3f} |")


def print_tables(found: Mapping[tuple[str, int], tuple[Review, Judged]], seeds: list[int]) -> None:
    """What came of every arm and seed."""
    arms = list(dict.fromkeys(arm for arm, _ in found))
    print("\n## Clicks looked at\n")
    print(
        "| seed | clicks | wrong | " + " | ".join(f"{ARMS[arm]}: wrong ones" for arm in arms if arm != "given") + " |"
    )
    print("|---|---|---|" + "---|" * (len(arms) - 1))
    for seed in seeds:
        said = [found[arm, seed][0] for arm in arms if arm != "given"]
        cells = " | ".join(f"{review.found} of {review.looked}" for review in said)
        print(f"| {seed} | {said[0].total} | {said[0].wrong} | {cells} |")

    print("\n## mIoU of what was trained from them\n")
    print(
        "| trained from | iteration | mode | "
        + " | ".join(f"seed {seed}" for seed in seeds)
        + " | mean | over | 95 % |"
    )
    print("|---|---|---|" + "---|" * (len(seeds) + 3))
    for arm in arms:
        control = "drawn" if arm == "contradicted" and "drawn" in arms else "given"
        for (place, mode), _ in found[arm, seeds[0]][1].items():
            side, other = (np.stack([found[name, seed][1][place, mode] for seed in seeds]) for name in (arm, control))
            scores, controls = ([100 * mean_iou(rooms.sum(axis=0)) for rooms in of_seeds] for of_seeds in (side, other))
            cells = " | ".join(f"{score:.1f}" for score in [*scores, np.mean(scores)])
            low, high = paired_interval(side, other)
            gain = f"{ARMS[control]}: {np.mean(scores) - np.mean(controls):+.1f} | {low:+.1f} to {high:+.1f}"
            print(f"| {ARMS[arm]} | {place} | {MODES[mode]} | {cells} | {gain if arm != 'given' else ' | '} |")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="wrong10", help="of params/sweeps (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="with those of given")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, a thread each (default: %(default)s)")
    options = parser.parse_args(argv)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    arms = list(dict.fromkeys(["given", *options.arms]))
    experiment, seeds = options.experiment, options.seeds
    some_wrong = read_experiment(PARAMS / f"{experiment}.yaml").config.clicks_wrong > 0
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        begin = partial(pool.submit, of_experiment, experiment)
        for job in [begin(seed, review, "given") for seed in seeds]:  # its network, once for all arms of a seed
            job.result()
        jobs = {(arm, seed): begin(seed, looked_at, arm) for seed in seeds for arm in arms}
        shares = SHARES if some_wrong else ()
        lengths = {share: [begin(seed, early, share) for seed in seeds] for share in shares}
        if lengths:
            print_early({share: [job.result() for job in of_seeds] for share, of_seeds in lengths.items()})
        print_tables({name: job.result() for name, job in jobs.items()}, seeds)


if __name__ == "__main__":
    main()
