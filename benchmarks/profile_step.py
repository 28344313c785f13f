"""Where the time of one training step of the U-Net goes on the CPU, and how far the convolution is from the peak.

    python benchmarks/profile_step.py                 32 000 voxels, width 16, 5 levels, as a batch of bundled rooms
    python benchmarks/profile_step.py --quick         8 000 voxels
    python benchmarks/profile_step.py --paper-size    time and memory of the paper's network, width 32, 7 levels

The peak is that of torch's float32 matrix product, measured in the same process. Memory is read in a process of its
own, whose peak nothing else has raised.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sparse_conv import room_voxels
from torch import nn
from torch.profiler import ProfilerActivity, profile

from otoc_lib.models.unet import UNet
from otoc_lib.sparse import Pyramid, SparseTensor
from otoc_lib.sparse.backend import convolve

MIB = 2**20
BACKEND = "numba"


def median_seconds(run: Callable, repeats: int) -> float:
    """Median time of ``run`` after one turn that is not counted."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measured_peak(repeats: int) -> float:
    """Floating-point operations a second of torch's product of two float32 matrices: the best of some sizes, warm."""
    speeds = []
    for size in (512, 768, 1024, 1536):
        a = torch.randn(size, size)
        b = torch.empty_like(a)
        for _ in range(3 + repeats):
            start = time.perf_counter()
            torch.mm(a, a, out=b)
            speeds.append(2 * size**3 / (time.perf_counter() - start))
    return max(speeds)


def room(voxels: int) -> torch.Tensor:
    """Voxels int32 [V, 4] (batch, x, y, z) of a made-up room."""
    cells = room_voxels(voxels)
    return torch.from_numpy(np.concatenate([np.zeros((len(cells), 1), np.int32), cells], 1))


def training_step(coords: torch.Tensor, width: int, levels: int) -> Callable:
    """One step: kernel maps, forward, loss, backward."""
    torch.manual_seed(0)
    shape = tuple(coords[:, 1:].amax(0).add(1).tolist())
    features, truth = torch.randn(len(coords), 6), torch.randint(20, (len(coords),))
    net = UNet(width=width, levels=levels)

    def step():
        net.zero_grad()
        voxels = SparseTensor(features, coords, shape, 1, BACKEND)
        nn.functional.cross_entropy(net(voxels)[1], truth).backward()

    return step


def peak_memory(coords: torch.Tensor, width: int, levels: int) -> tuple[int, int]:
    """Peak resident bytes of a process that trains two steps, and how much of it the steps added."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "voxels.npy"), coords.numpy())
        command = [sys.executable, __file__, "--memory", str(Path(folder, "voxels.npy")), str(width), str(levels)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, before = map(int, done.stdout.split())
    return peak, peak - before


def own_peak() -> int:
    """Peak resident bytes of this process; Linux keeps it apart from that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def print_own_memory(file: str, width: int, levels: int) -> None:
    """Peak resident bytes after two steps, and after a tiny step, which loads the libraries and compiled kernels."""
    coords = torch.from_numpy(np.load(file))
    training_step(coords[:1000], 16, 2)()
    before = own_peak()
    step = training_step(coords, width, levels)
    step()
    step()
    print(own_peak(), before)


def print_step_profile(step: Callable, repeats: int) -> None:
    seconds = median_seconds(step, repeats)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            step()
    own = {row.key: row.self_cpu_time_total / 1000 / repeats for row in profiler.key_averages()}
    total = sum(own.values())
    convolution = own["_Convolution"] + own["_ConvolutionBackward"]
    print(f"One step takes {1000 * seconds:.0f} ms; {100 * convolution / total:.0f} % of it is convolution.\n")
    print("| operation | ms | share of the step |\n|---|---|---|")
    for name, milliseconds in sorted(own.items(), key=lambda item: -item[1])[:12]:
        print(f"| `{name}` | {milliseconds:.1f} | {100 * milliseconds / total:.1f} % |")


def print_convolutions(coords: torch.Tensor, width: int, levels: int, repeats: int) -> None:
    """The 3x3x3 convolution between as many channels as the level has; all levels in float32."""
    peak = measured_peak(repeats)
    pyramid = Pyramid(coords, tuple(coords[:, 1:].amax(0).add(1).tolist()), 1, BACKEND)

    def share(seconds: float) -> str:
        speed = 2 * len(pairs.inputs) * channels**2 / seconds
        return f"{speed / 1e9:.0f} ({100 * speed / peak:.0f} %)"

    print(f"\nThe matrix product reaches {peak / 1e9:.0f} GFLOP/s; of the convolution in GFLOP/s (share of it):\n")
    print("| level | voxels | pairs | channels | forward | dX | dW |\n|---|---|---|---|---|---|---|")
    for level in range(levels):
        pairs, channels = pyramid.submanifold(level, 3), width * (level + 1)
        x, weight = torch.randn(pairs.num_inputs, channels), torch.randn(27, channels, channels)
        times = [median_seconds(lambda x=x, w=weight, m=pairs: convolve(x, w, m, None, backend=BACKEND), repeats)]
        for leaf in (x, weight):
            leaf.requires_grad_()
            y = convolve(x, weight, pairs, None, backend=BACKEND)
            dy = torch.ones_like(y)
            times.append(
                median_seconds(
                    lambda y=y, leaf=leaf, dy=dy: torch.autograd.grad(y, leaf, dy, retain_graph=True), repeats
                )
            )
            leaf.requires_grad_(False)
        cells = " | ".join(share(seconds) for seconds in times)
        print(f"| {level + 1} | {pairs.num_inputs} | {len(pairs.inputs)} | {channels} | {cells} |")


def print_size(coords: torch.Tensor, width: int, levels: int, repeats: int) -> None:
    """Prints time and memory of a step."""
    seconds = median_seconds(training_step(coords, width, levels), repeats)
    peak, added = peak_memory(coords, width, levels)
    print("\n| voxels | width | levels | ms a step | voxels a second | peak memory MiB | of it by the step |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {len(coords)} | {width} | {levels} | {1000 * seconds:.0f} | {len(coords) / seconds:.0f} "
        f"| {peak / MIB:.0f} | {added / MIB:.0f} |"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 000 voxels, 3 repeats")
    parser.add_argument(
        "--paper-size", action="store_true", help="only time and memory, 100 000 voxels, m=32, 7 levels"
    )
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory:
        file, width, levels = options.memory
        print_own_memory(file, int(width), int(levels))
        return
    threads = torch.get_num_threads()
    if options.paper_size:
        print(f"## Training step at the paper's size\n\nfloat32, {threads} threads, medians")
        voxels, repeats = (20_000, 1) if options.quick else (100_000, 3)
        print_size(room(voxels), 32, 7, repeats)
        return
    voxels, width, levels, repeats = (8_000, 16, 5, 3) if options.quick else (32_000, 16, 5, 9)
    print(
        f"## Profile of a training step\n\n{voxels} voxels, width {width}, {levels} levels, float32, {threads} threads."
    )
    coords = room(voxels)
    print_step_profile(training_step(coords, width, levels), repeats)
    print_convolutions(coords, width, levels, repeats)
    print_size(coords, width, levels, repeats)
    paper_voxels = 5_000 if options.quick else 50_000
    print(f"\n### The paper's network on {paper_voxels} voxels")
    print_size(room(paper_voxels), 32, 7, 1)


if __name__ == "__main__":
    main()
