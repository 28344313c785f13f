"""Mean field over a room's complete graph: time and memory of each path, beside bare arithmetic and the authors' way.

Graphs of M super-voxels with the four blocks of the paper (3 + 3 + 32 + 32 features), 20 classes, 10 steps. "bare" is
one M x 70 x M product, exp of M^2 numbers and ten M x M x 20 products of PyTorch, and nothing else. The authors' way
is what their released code does: M x M x 76 pairs, the pairs' differences and their squares, once, then five steps with
self-pairs and a weight of 100 / M; theirs runs the steps on a GPU, here all is on the CPU. The sides take turns,
medians. Memory is what the process's peak resident size (VmHWM, Linux) grows by, over inputs and warm-up, in a process
of its own.

    python benchmarks/propagation.py            M = 500 to 6000, about a minute
    python benchmarks/propagation.py --quick    M = 200 and 500: that it works
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numba
import torch
from timing import in_turn, print_targets
from torch import Tensor

from otoc_lib.propagation import propagate_graph
from otoc_lib.propagation.graph import stack_blocks

WIDTHS, CLASSES, STEPS = (3, 3, 32, 32), 20, 10
BANDWIDTH, WEIGHT = 2.0, 3.0
AUTHORS_SIZE, AUTHORS_STEPS = 1500, 5  # three M x M x 76 tensors take 2 GB there


def graph(size: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(size)
    unary = torch.softmax(2 * torch.randn(size, CLASSES, generator=generator), dim=1)  # [M, C]
    return unary, [torch.randn(size, width, generator=generator) for width in WIDTHS]


def propagate(unary: Tensor, blocks: list[Tensor], storage: str, steps: int = STEPS) -> Tensor:
    """All steps: a tolerance of zero never stops earlier."""
    return propagate_graph(
        unary,
        blocks,
        bandwidth=BANDWIDTH,
        weight=WEIGHT,
        scaling="row_sum",
        steps=steps,
        tolerance=0.0,
        storage=storage,
    )


def bare(unary: Tensor, features: Tensor) -> None:
    kernel = (features @ features.T).exp_()
    for _ in range(STEPS):
        kernel @ unary


def authors_kernel(blocks: list[Tensor]) -> Tensor:
    """Every pair's difference written out: 76 columns, for colour and position count twice; self-pairs included."""
    color, position, unet, relation = blocks
    features = torch.cat([color, position, relation, color, position, unet / 3], dim=1)  # [M, 76]
    rows = features[:, None].repeat(1, len(features), 1)  # [M, M, 76]
    squares = (rows - rows.transpose(0, 1)).pow(2)  # [M, M, 76], and the differences beside it
    return torch.exp(-0.5 * squares.sum(2))  # [M, M]


def authors_way(unary: Tensor, blocks: list[Tensor], steps: int = AUTHORS_STEPS) -> Tensor:
    kernel = authors_kernel(blocks)
    log_unary, marginals = unary.log(), unary
    for _ in range(steps):
        marginals = torch.softmax(log_unary + kernel @ marginals / len(unary) * 100, dim=1)
    return marginals


def milliseconds(sides: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median milliseconds of each side by the clock."""
    return {side: 1000 * clock for side, (clock, _) in in_turn(sides, turns).items()}


def use_threads(number: int) -> None:
    torch.set_num_threads(number)
    numba.set_num_threads(number)


def print_peak(path: str, size: int) -> None:
    """Bytes by which one propagation raises the peak resident size of this process."""
    unary, blocks = graph(size)
    work = authors_way if path == "authors" else lambda *room: propagate(*room, path)
    work(*graph(64))  # whatever is loaded or allocated once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    work(unary, blocks)
    print(resident("VmHWM") - before)


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def peak(path: str, size: int) -> float:
    """As ``print_peak``, in a process of its own; NaN where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return math.nan
    command = [sys.executable, __file__, "--peak", path, str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("PATH", "M"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak:
        return print_peak(options.peak[0], int(options.peak[1]))

    sizes = (200, 500) if options.quick else (500, 1500, 3000, 6000)
    threads = torch.get_num_threads()
    targets = []
    print("## Mean field over the super-voxel graph\n")
    print(f"D = {sum(WIDTHS)}, C = {CLASSES}, {STEPS} steps, float32.\n")
    print("| threads | M | bare, ms | dense, ms | dense / bare | chunked, ms | chunked / bare | largest difference |")
    print("|---|---|---|---|---|---|---|---|")
    for threads_used, size in [(threads, size) for size in sizes] + [(1, size) for size in sizes if size <= 1500]:
        use_threads(threads_used)
        took, differ = compare_paths(size)
        ratio = took["dense"] / took["bare"]
        print(
            f"| {threads_used} | {size} | {took['bare']:.2f} | {took['dense']:.2f} | {ratio:.2f} "
            f"| {took['chunked']:.2f} | {took['chunked'] / took['bare']:.2f} | {differ:.0e} |"
        )
        words = f"{STEPS} steps at most 1.5 x bare products and exp, M = {size}, {threads_used} thread(s)"
        targets.append((words, f"{ratio:.2f} x", ratio <= 1.5))
        if threads_used == threads:
            targets.append((f"chunked equals dense to 1e-5, M = {size}", f"{differ:.0e}", differ <= 1e-5))
    use_threads(threads)

    print("\nPeak memory, beside the full kernel's 4 M^2 bytes:\n")
    print("| M | 4 M^2, MB | dense, MB | dense / 4 M^2 | chunked, MB |\n|---|---|---|---|---|")
    for size in sizes[:1] if options.quick else (500, 1500, 3000, 6000, 12000):
        full = 4 * size**2
        dense, chunked = peak("dense", size), peak("chunked", size)
        print(f"| {size} | {full / 1e6:.1f} | {dense / 1e6:.1f} | {dense / full:.2f} | {chunked / 1e6:.1f} |")
        words = f"memory of dense at most 1.2 x 4 M^2 bytes, M = {size}"
        targets.append((words, f"{dense / full:.2f} x", None if math.isnan(dense) else dense <= 1.2 * full))

    size = sizes[0] if options.quick else AUTHORS_SIZE
    unary, blocks = graph(size)
    sides = {"kernel": (lambda: authors_kernel(blocks), lambda: propagate(unary, blocks, "dense", 0))} | {
        f"kernel and {steps} steps": (
            lambda steps=steps: authors_way(unary, blocks, steps),
            lambda steps=steps: propagate(unary, blocks, "dense", steps),
        )
        for steps in (AUTHORS_STEPS, STEPS)
    }
    print(f"\nBeside the authors' way (three M x M x 76 tensors, {AUTHORS_STEPS} steps), M = {size}:\n")
    print("| | authors' way | dense | ratio |\n|---|---|---|---|")
    for name, (authors, dense) in sides.items():
        took = milliseconds({"authors": authors, "dense": dense}, 5)
        ratio = took["authors"] / took["dense"]
        print(f"| {name}, ms | {took['authors']:.1f} | {took['dense']:.2f} | {ratio:.0f} x |")
        words = f"at least 100 x faster than the authors' way, {name}, M = {size}"
        if ratio < 100 and name != "kernel":
            words += " (the steps' products are common to both)"
        targets.append((words, f"{ratio:.0f} x", ratio >= 100))
    theirs, ours = peak("authors", size), peak("dense", size)
    print(f"| peak memory, MB | {theirs / 1e6:.0f} | {ours / 1e6:.1f} | {theirs / ours:.0f} x |")

    print_targets(targets)


def compare_paths(size: int) -> tuple[dict[str, float], float]:
    """Median milliseconds of the bare arithmetic and both paths, and the largest difference between these."""
    unary, blocks = graph(size)
    features = stack_blocks(blocks, BANDWIDTH)
    sides = {
        "bare": lambda: bare(unary, features),
        "dense": lambda: propagate(unary, blocks, "dense"),
        "chunked": lambda: propagate(unary, blocks, "chunked"),
    }
    took = milliseconds(sides, 31 if size <= 1500 else 3)
    return took, float((sides["dense"]() - sides["chunked"]()).abs().max())


if __name__ == "__main__":
    main()
