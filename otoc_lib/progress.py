"""What ``make reproduce`` says while several notebooks run at once: ``python -m otoc_lib.progress left | relay``.

``left`` prints one line before each notebook: how much is still to do. The seconds of finished stages, by training step
for networks and by stage for the rest, are applied to the stages that the params files still ask for.
``relay`` gives every line of a notebook's progress the name of its experiment, and a bar one line now and then.
"""

import argparse
import codecs
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from otoc_lib.config import Config, load_config
from otoc_lib.store import MANIFEST, find_stage

STEP_PARAMETERS = ("unet_steps", "unet_steps_later", "relation_steps", "relation_steps_later")


def planned_stages(config: Config) -> dict[str, int]:
    """Every stage of an experiment with its training steps, 0 where nothing is trained."""
    if config.source == "all":
        return {"clicks": 0, "unet_1": config.unet_steps, "evaluate_baseline": 0}
    relation = config.variant == "unet_rel_gp"
    stages = {"clicks": 0, **({"evaluate_baseline": 0, "tsne": 0} if relation else {})}
    for k in config.iterations:
        stages[f"unet_{k}"] = config.unet_steps if k == 1 else config.unet_steps_later
        if relation:
            stages[f"relation_{k}"] = config.relation_steps if k == 1 else config.relation_steps_later
        stages[f"evaluate_{k}"] = 0
        if config.variant != "control":
            stages[f"pseudo_{k}"] = 0
    return stages


def seconds_left(runs: Path, configs: list[Config]) -> float | None:
    """Seconds that the unfinished stages of some experiments will take; None while no training is finished.

    Experiments on the same clicks share their first U-Net, which counts once.
    """
    pending, finished = {}, set()
    for config in configs:
        for name, steps in planned_stages(config).items():
            stage = name, (config.source, config.seed) if name == "unet_1" else config.experiment
            if find_stage(runs, config.profile, config.experiment, name):
                finished.add(stage)
            else:
                pending[stage] = steps
    pending = {stage: steps for stage, steps in pending.items() if stage not in finished}
    if not pending:
        return 0.0
    rates = _rates(runs, {config.profile for config in configs})
    if "unet" not in rates:
        return None
    rates.setdefault("relation", rates["unet"])
    return sum(rates.get(_kind(name), 0.0) * max(steps, 1) for (name, _), steps in pending.items())


def _rates(runs: Path, profiles: set[str]) -> dict[str, float]:
    """Kind of stage -> seconds a training step ("unet", "relation") or a stage (all others)."""
    seconds, units = defaultdict(float), defaultdict(int)
    for profile in profiles:
        for path in sorted((runs / profile).glob(f"*/*/{MANIFEST}")):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if "reused_from" in manifest:
                continue
            steps = [manifest["parameters"][name] for name in STEP_PARAMETERS if name in manifest["parameters"]]
            seconds[_kind(manifest["stage"])] += manifest["seconds"]
            units[_kind(manifest["stage"])] += steps[0] if steps else 1
    return {kind: seconds[kind] / units[kind] for kind in seconds}


def _kind(stage: str) -> str:
    return stage.split("_")[0]


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
            if text.strip() and "without encryption" not in text:  # the kernel speaks to this machine alone
                shown = time.monotonic() if moving else shown
                yield f"{title} · {text}"
    if waiting.strip():
        yield f"{title} · {waiting}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m otoc_lib.progress", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    left = commands.add_parser("left", help="one line: what is left to do")
    left.add_argument("title", help="what is about to run")
    left.add_argument("--at-once", type=int, default=1, help="notebooks that run at the same time")
    left.add_argument("--runs", type=Path, default=Path("runs"))
    left.add_argument("--params", type=Path, nargs="+", required=True, help="every params file that will be run")
    left.add_argument("--done", type=Path, nargs="+", required=True, help="files that appear as notebooks finish")
    commands.add_parser("relay", help="pass standard input on, line by line").add_argument("title")
    options = parser.parse_args(arguments)
    if options.command == "relay":
        for text in relay(sys.stdin.fileno(), options.title):
            print(text, flush=True)
        return
    notebooks = sum(not path.exists() for path in options.done)
    seconds = seconds_left(options.runs, [load_config(path) for path in options.params])
    seconds = seconds and seconds / min(options.at_once, max(notebooks, 1))
    print(line(options.title, notebooks, seconds), flush=True)


if __name__ == "__main__":
    main()
