"""A rehearsal at ScanNet's size: time, memory and disk of every stage, with as many rooms as ScanNet has.

It holds no room of ScanNet: a few wavy sheets (cache.py) in the official layout, linked under the official names of the
1201 training and 312 validation scenes. Preparing and one iteration of self-training and a half (clicks, unet_1,
relation_1, evaluate_1, pseudo_1, unet_2, relation_2, evaluate_2), t-SNE, the report and `otoc status` run on them with
networks so small, voxels so coarse and so few steps that a CPU finishes. Every stage is a process of its own, watched
from outside with its workers.

    python benchmarks/rehearsal.py                  1201 + 312 rooms of 150 000 points; 10 GB, half an hour on one core
    python benchmarks/rehearsal.py --scenes 120     120 training rooms and 31 validation rooms
    python benchmarks/rehearsal.py --quick          8 + 2 rooms of 20 000 points, about a minute
    python benchmarks/rehearsal.py --doctor         `otoc doctor` on the files as well
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cache import wavy_room

from otoc_lib.config import Config, load_config
from otoc_lib.datasets import bundled_rooms, scannet
from otoc_lib.experiments import plan
from otoc_lib.files import write_json
from otoc_lib.methods.stages import Stages, load_scenes
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.models.unet import count_parameters
from otoc_lib.store import Stage

HERE = Path(__file__).resolve()
PAPER = HERE.parents[1] / "params" / "scannet" / "otoc.yaml"
SCENES, HELD_OUT = 1201, 312  # of ScanNet: training and validation
BASES = 8  # rooms that all others are links of
STAGES = ("clicks", "unet_1", "relation_1", "evaluate_1", "pseudo_1", "unet_2", "relation_2", "evaluate_2")
FILES = ("_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json", "_vh_clean_2.labels.ply", ".aggregation.json")

# Where it differs from the paper's settings: sizes that a CPU trains, and few steps.
PARAMS = """\
# python benchmarks/rehearsal.py
# The whole method with small networks and few steps, on as many rooms as ScanNet has.
# What it predicts means nothing.
profile: rehearsal
experiment: otoc
data_root: data
cache_root: cache
eval_splits: [val]
voxel_size: 0.1
unet_width: 8
unet_levels: 4
unet_blocks: 1
unet_steps: {steps}
unet_steps_later: {steps}
relation_steps: {steps}
relation_steps_later: {steps}
self_train_iterations: 2
threshold: 0.05
tsne_supervoxels: 10
device: cpu
workers: 1
"""


# --- the rooms --------------------------------------------------------------------------------------------------------


def write_project(folder: Path, train: int, val: int, vertices: int, steps: int) -> None:
    """A project with its params file and so many rooms in the official layout, links of a few."""
    for name in ("notebooks", "params/rehearsal", "data/splits", "data/scans"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "params" / "rehearsal" / "otoc.yaml").write_text(PARAMS.format(steps=steps), encoding="utf-8")
    bases = [f"base{number}" for number in range(BASES)]
    for number, base in enumerate(bases):  # of different sizes, by up to a fifth more or less than asked for
        room = wavy_room(base, round(vertices * (0.8 + 0.4 * number / (BASES - 1))))
        bundled_rooms.write_scan(room, folder / "bases")
    for split, count in (("train", train), ("val", val)):
        official = (scannet.OFFICIAL_LISTS / f"scannetv2_{split}.txt").read_text(encoding="utf-8").split()
        names = official[:count]
        for number, name in enumerate(names):
            scan, base = folder / "data" / "scans" / name, bases[number % BASES]
            scan.mkdir()
            for suffix in FILES:
                os.link(folder / "bases" / base / f"{base}{suffix}", scan / f"{name}{suffix}")
        (folder / "data" / "splits" / f"scannetv2_{split}.txt").write_text("".join(f"{name}\n" for name in names))
    table = folder / "data" / "scannetv2-labels.combined.tsv"
    table.write_text(bundled_rooms.label_table(), encoding="utf-8")


# --- what a process of its own does -----------------------------------------------------------------------------------


class Reached(Exception):
    """The stage that was asked for is made."""


class UpTo(Stages):
    """Stages until one of them is made; those before it are there already and are found."""

    last = ""

    def run(self, view, name, *arguments, **about) -> Stage:  # type: ignore[override]
        stage = super().run(view, name, *arguments, **about)
        if name == self.last:
            raise Reached
        return stage


def make(part: str, config: Config) -> dict[str, float]:
    """Make one stage, t-SNE or the report, in the current folder; seconds that opening the rooms took."""
    started = time.perf_counter()
    scenes = load_scenes(config)
    opened = time.perf_counter() - started
    if part == "report":
        from otoc_lib.reporting.runs import results_of
        from otoc_lib.reporting.site import build_report

        rooms = {"train": scenes.train, **scenes.evaluation}
        build_report(results_of(config), config.report_folder.parent, rooms)
        return {"opened": opened}
    stages = UpTo(config, scenes)
    if part == "tsne":
        from otoc_lib.methods.method import Iteration
        from otoc_lib.tsne import tsne_stage

        clicks = stages.clicks()
        networks = stages.train_all(1, clicks, warm_start={})
        tsne_stage(stages, Iteration(1, networks, stages.evaluate("evaluate_1", networks)))
        return {"opened": opened}
    stages.last = part
    try:
        for _ in stages.method.loop(stages):
            pass
    except Reached:
        return {"opened": opened}
    raise SystemExit(f"the method has no stage {part}")


# --- watching it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One part: seconds by the clock and of the processor, those of opening the rooms, and megabytes.

    own, mapped: at most at a time, of the process and its workers together: what it allocated, and the pages of files
    that it mapped, which the system takes back where memory is short. None where the system does not tell.
    """

    part: str
    seconds: float
    processor: float
    opened: float
    own: float | None
    mapped: float | None
    written: float
    files: int


def measure(part: str, command: list[str], folder: Path, interval: float) -> Measured:
    """Run a command in the project's folder and watch it."""
    before, spent, start = _size(folder), os.times(), time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with _watching(process.pid, interval) as most:
        printed, complaints = process.communicate()
    seconds, now, after = time.perf_counter() - start, os.times(), _size(folder)
    if process.returncode:
        raise SystemExit(f"{part}: exit status {process.returncode}\n{printed}{complaints[-4000:]}")
    processor = now.children_user + now.children_system - spent.children_user - spent.children_system
    found = re.search(r'^\{"opened": ([\d.e-]+)\}$', printed, flags=re.MULTILINE)
    opened = float(found[1]) if found else 0.0
    written, files = after[0] - before[0], after[1] - before[1]
    return Measured(part, seconds, processor, opened, most.get("own"), most.get("mapped"), written / 1e6, files)


@contextmanager
def _watching(process: int, interval: float) -> Iterator[dict[str, float]]:
    """Look at a process and its children again and again; the most that was seen, in megabytes."""
    most: dict[str, float] = {}
    over = threading.Event()

    def watch() -> None:
        took = 0.0
        while not over.wait(max(interval, 30 * took)):  # a look at gigabytes of mapped files takes long
            started = time.thread_time()
            for kind, megabytes in _memory(process).items():
                most[kind] = max(most.get(kind, 0.0), megabytes)
            took = time.thread_time() - started

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _memory(process: int) -> dict[str, float]:
    """Megabytes that a process and its descendants hold: shared pages are counted once. Only Linux tells."""
    found, waiting = {"own": 0.0, "mapped": 0.0}, [process]
    while waiting:
        place = Path("/proc") / str(waiting.pop())
        try:
            text = (place / "smaps_rollup").read_text(encoding="ascii")
            for thread in (place / "task").iterdir():
                waiting += map(int, (thread / "children").read_text(encoding="ascii").split())
        except (OSError, ProcessLookupError):  # it has ended meanwhile, or this is another system
            continue
        sizes = {kind: int(size) / 1024 for kind, size in re.findall(r"^(\w+): +(\d+) kB", text, flags=re.MULTILINE)}
        found["own"] += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
        found["mapped"] += sizes["Pss_File"]
    return found if found["mapped"] else {}


def _size(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files of a folder that the kit writes: caches, runs and reports."""
    files = [path for name in ("cache", "runs", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


# --- the tables -------------------------------------------------------------------------------------------------------


def print_measured(found: list[Measured]) -> None:
    print(
        "| part | s by the clock | s of processor | of it opening rooms, s | own memory, MB | mapped, MB | disk, MB |"
    )
    print("|---|---|---|---|---|---|---|")
    for m in found:
        own, mapped = (("not measured" if size is None else f"{size:.0f}") for size in (m.own, m.mapped))
        opened = f"{m.opened:.1f}" if m.opened else "-"
        print(f"| {m.part} | {m.seconds:.1f} | {m.processor:.1f} | {opened} | {own} | {mapped} | {m.written:.0f} |")


def print_extrapolated(found: list[Measured], steps: int) -> None:
    """What the paper's schedule takes at the rehearsal's sizes: every kind of stage as often as params/scannet asks.

    In seconds of the processor, which say the same on a machine that is busy. A step is the second training, for which
    all is compiled, by its steps, its start included: a bound from above.
    """
    paper, by_part = load_config(PAPER), {measured.part: measured for measured in found}
    planned = plan("03_self_train", paper).stages
    print("| part | at the paper's schedule | once, s of processor | hours of one core | disk, GB |")
    print("|---|---|---|---|---|")
    total = disk = 0.0
    for kind in ("prepare", "clicks", "unet", "relation", "evaluate", "pseudo"):
        stages = [stage for stage in planned if stage.name.rpartition("_")[0] == kind]
        if kind in ("unet", "relation"):
            times, once = sum(stage.steps for stage in stages), by_part[f"{kind}_2"].processor / steps
            what = f"{times} steps in {len(stages)} stages"
            network = new_unet(paper, 20) if kind == "unet" else new_relation_net(paper, 20)
            gigabytes = len(stages) * 4 * count_parameters(network) / 1e9
        else:
            first = by_part[kind if kind in by_part else f"{kind}_1"]
            times, once = max(len(stages), 1), first.processor
            what, gigabytes = f"{times} times", times * first.written / 1e3
        total, disk = total + times * once / 3600, disk + gigabytes
        print(f"| {kind} | {what} | {once:.3g} | {times * once / 3600:.2f} | {gigabytes:.2f} |")
    print(f"| all | | | {total:.1f} | {disk:.1f} |")


def rehearse(folder: Path, train: int, val: int, vertices: int, steps: int, with_doctor: bool) -> None:
    """Measure part after part; what is noted in the folder was measured by a call that was interrupted."""
    notes = folder / "measured.json"
    if not notes.exists():
        write_project(folder, train, val, vertices, steps)
        write_json(notes, [])
    known = {of_part["part"]: Measured(**of_part) for of_part in json.loads(notes.read_text(encoding="utf-8"))}
    script, kit = [sys.executable, str(HERE)], [sys.executable, "-m", "otoc_lib"]
    commands = {"prepare": [*kit, "prepare", "params/rehearsal/otoc.yaml", "--workers", "1"]}
    commands |= {name: [*script, "--part", name] for name in (*STAGES, "tsne", "report")}
    commands["status"] = [*kit, "status", "rehearsal"]
    if with_doctor:
        commands["doctor"] = [*kit, "doctor", "data", "--workers", "1"]
    for part, command in commands.items():
        if part not in known:
            known[part] = measure(part, command, folder, interval=0.1 if train < 50 else 0.5)
            write_json(notes, [asdict(measured) for measured in known.values()])
            print(f"{part}: {known[part].seconds:.0f} s", file=sys.stderr, flush=True)
    found = list(known.values())
    print(
        f"## Rehearsal\n\n{train} training and {val} validation rooms of about {vertices} points, {steps} steps a "
        f"network: {sum(measured.seconds for measured in found) / 60:.1f} minutes by the clock, "
        f"{sum(measured.processor for measured in found) / 60:.1f} of one core.\n"
    )
    print_measured(found)
    print(
        "\nOwn memory is what the process and its worker allocated at most; mapped are pages of files, which the "
        "system takes back where memory is short. Every stage opens all rooms anew.\n\nThe paper's schedule, with the "
        "networks and voxels of this rehearsal, on this machine (steps: at most; disk of the networks: the paper's):\n"
    )
    print_extrapolated(found, steps)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 + 2 rooms of 20 000 points")
    parser.add_argument("--scenes", type=int, metavar="N", help=f"training rooms, at most {SCENES}")
    parser.add_argument(
        "--folder", type=Path, help="for the files, removed at the end; an interrupted call goes on in it"
    )
    parser.add_argument("--doctor", action="store_true", help="run otoc doctor as well")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # in a process of its own, in the project's folder
    options = parser.parse_args(argv)
    if options.part:
        print(json.dumps(make(options.part, load_config(Path("params/rehearsal/otoc.yaml")))))
        return
    train, vertices, steps = (8, 20_000, 4) if options.quick else (SCENES, 150_000, 20)
    train = train if options.scenes is None else options.scenes
    if not 4 <= train <= SCENES:
        parser.error(f"--scenes {train}: from 4 to {SCENES}")
    val = max(2, round(train * HELD_OUT / SCENES))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(HERE.parents[1]), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    )
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        rehearse(options.folder.resolve(), train, val, vertices, steps, options.doctor)
        shutil.rmtree(options.folder)  # not where it was interrupted: the same call goes on then
        return
    with tempfile.TemporaryDirectory() as folder:
        rehearse(Path(folder).resolve(), train, val, vertices, steps, options.doctor)


if __name__ == "__main__":
    main()
