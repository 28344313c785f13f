"""What ``make reproduce`` says while several notebooks run at once: ``python -m otoc_lib.progress left | relay``.

``left`` prints one line before each notebook: how much of the plan is still to do. The seconds of finished stages, by
training step for networks and by stage for the rest, are applied to the stages that the plan still lacks.
``relay`` gives every line of a notebook's progress the name of its experiment, and a bar one line now and then.
"""

import argparse
import codecs
import contextlib
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError
from otoc_lib.store import find_stage, finished_manifests

PLAN = "plan.json"  # in the runs folder of a profile; experiments.write_plan makes it


def unfinished(runs: Path, plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stages of a plan that none of the runs that need them has finished: stage, steps and runs of each.

    runs: the folder of the profile's runs.
    """
    return [
        stage
        for job in plan
        for stage in job["makes"]
        if not any(_is_there(runs, run, stage["stage"]) for run in stage["runs"])
    ]


def _is_there(runs: Path, run: str, stage: str) -> bool:
    with contextlib.suppress(OtocError):  # a damaged one is made anew
        return find_stage(runs.parent, runs.name, run, stage) is not None
    return False


def seconds_left(runs: Path, plan: list[dict[str, Any]]) -> float | None:
    """Seconds that the unfinished stages of a plan will take; None while no training is finished."""
    pending = unfinished(runs, plan)
    if not pending:
        return 0.0
    rates = _rates(runs)
    per_step = [rate for kind, rate in rates.items() if kind.endswith("/step")]
    if not per_step:
        return None
    for stage in pending:  # a network of which none is trained yet takes as long a step as the others
        if stage["steps"]:
            rates.setdefault(_kind(stage["stage"], stage["steps"]), sum(per_step) / len(per_step))
    return sum(rates.get(_kind(s["stage"], s["steps"]), 0.0) * max(s["steps"], 1) for s in pending)


def _rates(runs: Path) -> dict[str, float]:
    """Kind of stage -> seconds a training step, or a stage where nothing is trained."""
    seconds, units = defaultdict(float), defaultdict(int)
    with contextlib.suppress(OtocError):  # those before a damaged one tell, too
        for _, manifest in finished_manifests(runs):
            trained = manifest.get("steps", 0)
            kind = _kind(manifest["stage"], trained)
            seconds[kind] += manifest["seconds"]
            units[kind] += trained or 1
    return {kind: seconds[kind] / units[kind] for kind in seconds}


def _kind(stage: str, steps: int) -> str:
    return stage.split("_")[0] + ("/step" if steps else "")


def line(title: str, left: int, seconds: float | None) -> str:
    """``03_self_train otoc · 5 notebooks left · about 12 min``"""
    if seconds is None:
        time = "time left is known once the first network is trained"
    else:
        time = f"about {max(1, round(seconds / 60))} min of training and evaluation" if seconds else "nothing to train"
    return f"{title} · {left} notebook{'' if left == 1 else 's'} left · {time}"


def relay(descriptor: int, title: str, seconds: float = 10.0) -> Iterator[str]:
    """Lines ``title · text`` of what is written to a file descriptor.

    Whole lines come at once. A bar, which ends in a carriage return each time it moves, comes when ``seconds`` have
    passed since the last one, and when it is finished.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    waiting, shown = "", -float("inf")
    while data := os.read(descriptor, 65536):
        *pieces, waiting = re.split(r"(?<=[\r\n])", waiting + decode(data))
        for piece in pieces:
            moving = piece.endswith("\r")
            if moving and time.monotonic() - shown < seconds:
                continue
            text = piece.strip("\r\n")
            if text.strip():
                shown = time.monotonic() if moving else shown
                yield f"{title} · {text}"
    if waiting.strip():
        yield f"{title} · {waiting}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m otoc_lib.progress", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    left = commands.add_parser("left", help="one line: what is left to do")
    left.add_argument("title", help="what is about to run")
    left.add_argument("runs", type=Path, help=f"the runs folder of the profile, with {PLAN} in it")
    left.add_argument("--at-once", type=int, default=1, help="notebooks that run at the same time")
    commands.add_parser("relay", help="pass standard input on, line by line").add_argument("title")
    options = parser.parse_args(arguments)
    if options.command == "relay":
        for text in relay(sys.stdin.fileno(), options.title):
            print(text, flush=True)
        return
    plan = json.loads((options.runs / PLAN).read_text(encoding="utf-8"))
    notebooks = sum(not (options.runs / job["run"] / f"{job['notebook']}.done").exists() for job in plan)
    seconds = seconds_left(options.runs, plan)
    seconds = seconds and seconds / min(options.at_once, max(notebooks, 1))
    print(line(options.title, notebooks, seconds), flush=True)


if __name__ == "__main__":
    main()
