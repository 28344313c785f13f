"""Mean field over a room's complete graph: time and memory of each path, beside bare arithmetic and the authors' way.

Graphs of M super-voxels with the four blocks of the paper (3 + 3 + 32 + 32 features), 20 classes, 10 steps. "bare" is
one M x 70 x M product, exp of M^2 numbers and ten M x M x 20 products of PyTorch, and nothing else. The sides take
turns, medians. Memory is what the process's peak resident size (VmHWM, Linux) grows by, over inputs and warm-up, in a
process of its own.

    python benchmarks/propagation.py            M = 500 to 6000, about a minute
    python benchmarks/propagation.py --quick    M = 500 and 1500
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from otoc_lib.propagation import propagate_graph
from otoc_lib.propagation.graph import stack_blocks
from otoc_lib.propagation.tiles import dense_kernel, tile_size

WIDTHS, CLASSES, STEPS = (3, 3, 32, 32), 20, 10
BANDWIDTH, WEIGHT = 2.0, 3.0
AUTHORS_SIZE = 1500  # three M x M x 76 tensors take 2 GB there


def graph(size: int) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(size)
    unary = torch.softmax(2 * torch.randn(size, CLASSES, generator=generator), dim=1)  # [M, C]
    return unary, [torch.randn(size, width, generator=generator) for width in WIDTHS]


def propagate(unary: Tensor, blocks: list[Tensor], path: str) -> Tensor:
    """All ten steps: a tolerance of zero never stops earlier."""
    return propagate_graph(unary, blocks, BANDWIDTH, WEIGHT, "row_sum", STEPS, 0.0, path)


def bare(unary: Tensor, features: Tensor) -> None:
    kernel = (features @ features.T).exp_()
    for _ in range(STEPS):
        kernel @ unary


def authors_kernel(blocks: list[Tensor]) -> Tensor:
    """Every pair's difference written out: 76 columns, for colour and position count twice; self-pairs included."""
    color, position, unet, relation = blocks
    features = torch.cat([color, position, relation, color, position, unet / 3], dim=1)  # [M, 76]
    size = len(features)
    rows = features[:, None].repeat(1, size, 1)  # [M, M, 76]
    columns = features[None].repeat(size, 1, 1)  # [M, M, 76]
    return (rows - columns).square_().sum(2).mul_(-0.5).exp_()  # [M, M]


def authors_way(unary: Tensor, blocks: list[Tensor]) -> Tensor:
    kernel = authors_kernel(blocks)
    log_unary, marginals = unary.log(), unary
    for _ in range(STEPS):
        marginals = torch.softmax(log_unary + 100 / len(unary) * (kernel @ marginals), dim=1)
    return marginals


def in_turn(sides: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median milliseconds of each side."""
    times = {side: [] for side in sides}
    for turn in range(turns + 1):
        for side, work in sides.items():
            start = time.perf_counter()
            work()
            if turn:
                times[side].append(1000 * (time.perf_counter() - start))
    return {side: statistics.median(all_turns) for side, all_turns in times.items()}


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

    print("## Mean field over the super-voxel graph\n")
    print(f"D = {sum(WIDTHS)}, C = {CLASSES}, {STEPS} steps, {torch.get_num_threads()} threads, float32.\n")
    print("| M | bare, ms | dense, ms | dense / bare | chunked, ms | chunked / bare | largest difference |")
    print("|---|---|---|---|---|---|---|")
    sizes = (500, 1500) if options.quick else (500, 1500, 3000, 6000)
    for size in sizes:
        unary, blocks = graph(size)
        features = stack_blocks(blocks, BANDWIDTH)
        sides = {
            "bare": lambda unary=unary, features=features: bare(unary, features),
            "dense": lambda unary=unary, blocks=blocks: propagate(unary, blocks, "dense"),
            "chunked": lambda unary=unary, blocks=blocks: propagate(unary, blocks, "chunked"),
        }
        took = in_turn(sides, 31 if size <= 1500 else 7)
        differ = (sides["dense"]() - sides["chunked"]()).abs().max()
        print(
            f"| {size} | {took['bare']:.2f} | {took['dense']:.2f} | {took['dense'] / took['bare']:.2f} "
            f"| {took['chunked']:.2f} | {took['chunked'] / took['bare']:.2f} | {differ:.0e} |"
        )

    print("\nPeak memory, beside the full kernel's 4 M^2 bytes:\n")
    print("| M | 4 M^2, MB | dense, MB | dense / 4 M^2 | chunked, MB |\n|---|---|---|---|---|")
    for size in sizes if options.quick else (1500, 3000, 6000, 12000):
        full = 4 * size**2
        dense, chunked = peak("dense", size), peak("chunked", size)
        print(f"| {size} | {full / 1e6:.1f} | {dense / 1e6:.1f} | {dense / full:.2f} | {chunked / 1e6:.1f} |")

    size = sizes[0] if options.quick else AUTHORS_SIZE
    unary, blocks = graph(size)
    kernels = {
        "authors": lambda: authors_kernel(blocks),
        "dense": lambda: dense_kernel(stack_blocks(blocks, BANDWIDTH), tile_size(unary.device)),
    }
    wholes = {"authors": lambda: authors_way(unary, blocks), "dense": lambda: propagate(unary, blocks, "dense")}
    print(f"\nBeside the authors' way (three M x M x 76 tensors), M = {size}:\n")
    print("| | authors' way | dense | ratio |\n|---|---|---|---|")
    for name, sides in (("kernel", kernels), (f"kernel and {STEPS} steps", wholes)):
        took = in_turn(sides, 5)
        print(f"| {name}, ms | {took['authors']:.1f} | {took['dense']:.2f} | {took['authors'] / took['dense']:.0f} x |")
    theirs, ours = peak("authors", size), peak("dense", size)
    print(f"| peak memory, MB | {theirs / 1e6:.0f} | {ours / 1e6:.1f} | {theirs / ours:.0f} x |")


if __name__ == "__main__":
    main()
