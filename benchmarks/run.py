"""Every benchmark, one after the other, each in a process of its own; what they print becomes benchmarks/RESULTS.md.

    python benchmarks/run.py                          all of them, at most ten minutes on two cores
    python benchmarks/run.py --quick --out FILE       small sizes, about a minute: shows that they run, no more
    python benchmarks/run.py benchmarks/cache.py      one of them; --out says where to, RESULTS.md stays as it is

A benchmark prints Markdown: ``## Title``, tables, and, where it answers a target, a last table headed
``| target | measured | met |``, whose rows are repeated at the head of the results. One that fails is reported in its
section and makes the exit status 1; the others still run. With a CUDA GPU, gpu.py runs too.
"""

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from otoc_lib.files import write_aside

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "RESULTS.md"
BENCHMARKS = (
    *("sparse_conv", "sparse_conv --instructions avx2", "profile_step", "propagation", "data_path"),
    *("supervoxels", "predict", "cache", "point_text", "room_statistics", "convergence"),
)
TARGETS = "| target | measured | met |"
SECONDS = 240  # after which one benchmark is given up
GPU_SECONDS = 600
LAST_LINES = 20  # of one that failed

NO_GPU = """\
## GPU

Not measured on this machine: it has no CUDA GPU. `python benchmarks/gpu.py` gives the whole table on one that has, in
at most eight minutes. What it gave elsewhere:

"""
ELSEWHERE = FOLDER / "gpu.md"  # what gpu.py printed on a GPU, kept by hand below the versions of that machine


@dataclass(frozen=True)
class Section:
    """What one benchmark gave: Markdown, and the rows of its table of targets."""

    name: str
    text: str
    targets: list[str]
    failed: bool


def run_benchmark(script: Path, options: list[str], seconds: float) -> Section:
    """Run one benchmark from the project's root and wait so long for it; a failure becomes a section that says so."""
    start = time.perf_counter()
    command = [sys.executable, str(script), *options]
    try:
        done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, timeout=seconds)
        status, printed, complaints = f"exit status {done.returncode}", done.stdout, done.stderr
        failed = done.returncode != 0 or not printed.strip()
    except subprocess.TimeoutExpired as error:
        status, failed = f"given up after {seconds:.0f} s", True
        printed, complaints = (_text(stream) for stream in (error.stdout, error.stderr))
    took = f"`{' '.join([script.name, *options])}`: {time.perf_counter() - start:.0f} s"
    if not failed:
        return Section(script.stem, f"{printed.strip()}\n\n{took}\n", target_rows(printed), failed=False)
    lines = "\n".join((printed + complaints).strip().splitlines()[-LAST_LINES:]).replace(f"{FOLDER.parent}{os.sep}", "")
    text = f"## {script.stem}\n\n**Failed** ({status}); its last lines:\n\n```\n{lines}\n```\n\n{took}\n"
    return Section(script.stem, text, [], failed=True)


def _text(stream: bytes | str | None) -> str:
    return stream.decode(errors="replace") if isinstance(stream, bytes) else stream or ""


def target_rows(printed: str) -> list[str]:
    """Rows of the last table of targets in what a benchmark printed, each ``| target | measured | met |``."""
    lines = [line.strip() for line in printed.splitlines()]
    if TARGETS not in lines:
        return []
    rows = []
    for line in lines[len(lines) - lines[::-1].index(TARGETS) + 1 :]:  # after the heading and the rule below it
        if not line.startswith("|"):
            break
        rows.append(line)
    return rows


def results(sections: Iterable[Section], seconds: float, quick: bool) -> str:
    """The whole of RESULTS.md."""
    sections = list(sections)
    head = [
        "# Benchmarks\n",
        "Made by `benchmarks/run.py`; do not edit. Sides are measured in turn in one process, times are medians: read",
        "the ratios within a table, times move with whatever else the machine does.\n",
        *machine(),
        f"- all of it took {seconds / 60:.1f} minutes\n",
    ]
    if quick:
        head.append("**Made with `--quick`: small sizes, few repeats. It shows that the benchmarks run, no more.**\n")
    summary = [f"| {s.name} {row}" for s in sections for row in s.targets]
    summary += [f"| {s.name} | | | failed |" for s in sections if s.failed]
    if summary:
        head += ["## Targets\n", f"| benchmark {TARGETS}", "|---|---|---|---|", *summary, ""]
    return "\n".join([*head, *(section.text for section in sections)])


def machine() -> list[str]:
    """Date, machine and versions as Markdown list items; nothing that names the host."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # only Linux has this file
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    system = platform.system()
    with contextlib.suppress(OSError):
        system = f"{platform.freedesktop_os_release()['PRETTY_NAME']} ({system})"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "numpy", "numba", "scipy", "spconv"))
    return [
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- {model}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, GPU: {gpu}; {system}",
        f"- Python {platform.python_version()}, {versions}",
    ]


def _version(name: str) -> str:
    for package in (name, f"{name}-cu126"):  # spconv's CUDA build is a package of its own
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    return "not installed"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", type=Path, metavar="SCRIPT", help="only these; needs --out")
    parser.add_argument("--quick", action="store_true", help="pass --quick on to every benchmark; needs --out")
    parser.add_argument("--out", type=Path, help="file to write; benchmarks/RESULTS.md if all of them run in full")
    options = parser.parse_args(argv)
    if options.out is None and (options.scripts or options.quick):
        parser.error("RESULTS.md holds full runs of every benchmark only: say with --out where this one goes")

    start = time.perf_counter()
    has_gpu = torch.cuda.is_available()
    lines = BENCHMARKS if not has_gpu else (*BENCHMARKS, "gpu")
    commands = [(FOLDER / f"{name}.py", flags) for name, *flags in map(str.split, lines)]
    if options.scripts:
        commands = [(script.resolve(), []) for script in options.scripts]
    sections = []
    for number, (script, flags) in enumerate(commands, 1):
        name = " ".join([script.name, *flags])
        print(f"[{number}/{len(commands)}] {name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.perf_counter()
        seconds = GPU_SECONDS if script.stem == "gpu" else SECONDS
        sections.append(run_benchmark(script, [*flags, *["--quick"] * options.quick], seconds))
        verdict = "FAILED after" if sections[-1].failed else "done in"
        print(f"{verdict} {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    text = results(sections, time.perf_counter() - start, options.quick)
    out = options.out or RESULTS
    with write_aside(out) as aside:
        elsewhere = "" if has_gpu or options.scripts else f"\n{NO_GPU}{ELSEWHERE.read_text(encoding='utf-8')}"
        aside.write_text(text + elsewhere, encoding="utf-8")
    print(f"The results are in {out}", file=sys.stderr)
    return 1 if any(section.failed for section in sections) else 0


if __name__ == "__main__":
    sys.exit(main())
