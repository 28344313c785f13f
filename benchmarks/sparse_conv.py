"""Speed of the CPU sparse convolution: one U-Net training step, forward and backward, kernel maps included.

Three sides in one process, in turn, on the same voxels: our numba kernel, spconv's CPU build (its two faults patched)
and plain PyTorch. Read ratios within a row; times move with whatever else the machine does.

    python benchmarks/sparse_conv.py                        the table
    python benchmarks/sparse_conv.py --quick                the smallest row, a few seconds
    python benchmarks/sparse_conv.py --instructions avx2    as on a processor without AVX-512, as most laptops have

torch and numba keep a pool of threads each; how long their idle threads spin is set in otoc_lib/__init__.py.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import llvmlite.binding
import numpy as np
import torch
from timing import Target, print_targets
from torch import nn

from otoc_lib.models.unet import UNet, UNetLevel
from otoc_lib.sparse import InverseConv3d, SparseTensor, StridedConv3d, SubmanifoldConv3d
from otoc_lib.vector_code import VECTOR_BYTES

TITLES = {"native": "Sparse convolution on the CPU", "avx2": "Sparse convolution on the CPU with AVX2"}
GOALS = {"native": {"median": 2.5, "smallest": 1.8}, "avx2": {"median": 2.5, "smallest": 2.2}}


def without_avx512() -> dict[str, str]:
    """Environment in which numba, torch, oneDNN and MKL find no AVX-512, nor AMX; MKL heeds it on Intel alone."""
    features = llvmlite.binding.get_host_cpu_features()
    for name in features:
        if name.startswith(("avx512", "avx10", "amx")):
            features[name] = False
    return {
        "NUMBA_CPU_FEATURES": features.flatten(),
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }


def room_voxels(target: int, seed: int = 0) -> np.ndarray:
    """Voxels (int32 [V, 3], V within about 2 % of ``target``) on the surfaces of a room with furniture."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform([0, 0, 0], [4, 3, 0.2], (15, 3))
    boxes = np.concatenate([corners, corners + rng.uniform(0.3, 1.2, (15, 3))], 1)  # low corner, high corner [B, 6]
    boxes = np.concatenate([[[0, 0, 0, 5, 4, 2.4]], boxes])
    size = boxes[:, 3:] - boxes[:, :3]
    box, axis = rng.integers(len(boxes), size=2_000_000), rng.integers(3, size=2_000_000)
    points = boxes[box, :3] + rng.random((len(box), 3)) * size[box]
    points[np.arange(len(box)), axis] = boxes[box, axis + 3 * rng.integers(2, size=len(box))]
    points[:, :2] += 0.1 * np.sin(points[:, [2]] * 3)  # no surface exactly along the grid
    low, high = 0.01, 0.5
    for _ in range(25):
        voxel = (low + high) / 2
        cells = ((points - points.min(0)) / voxel).astype(np.int64)
        keys = np.unique(cells @ [1 << 40, 1 << 20, 1])
        low, high = (voxel, high) if len(keys) > target else (low, voxel)
        if abs(len(keys) - target) < 0.02 * target:
            break
    return np.stack([keys >> 40, (keys >> 20) & 0xFFFFF, keys & 0xFFFFF], 1).astype(np.int32)


def patched_spconv():
    """spconv as CPU training needs it: no look-up of a CUDA stream, a serial scatter (the parallel one has a race)."""
    import spconv.pytorch as spconv
    import spconv.pytorch.ops as ops

    class SerialScatter:
        def __init__(self, original):
            self._original = original

        def __getattr__(self, name):
            return getattr(self._original, name)

        def scatter_add_cpu(self, *arguments):
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                self._original.scatter_add_cpu(*arguments)
            finally:
                torch.set_num_threads(threads)

    ops.get_current_stream = lambda: 0
    ops.SpconvOps = SerialScatter(ops.SpconvOps)
    return spconv


def spconv_step(spconv, net: UNet, coords: torch.Tensor, shape: tuple[int, ...], levels: int) -> Callable:
    """The same U-Net out of spconv's own modules, with torch's batch normalisation; returns its forward function."""
    padded = [-(-s // 2**levels) * 2**levels for s in shape]  # spconv drops the last slab of an odd size

    class Norm(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = nn.BatchNorm1d(norm.num_features, eps=norm.eps, momentum=norm.momentum)

        def forward(self, x):
            self.norm.train(len(x.features) > 1)
            return x.replace_feature(torch.relu(self.norm(x.features)))

    class Block(nn.Module):
        def __init__(self, block, level):
            super().__init__()
            self.body = nn.Sequential(*(convert(module, level) for module in block.body))
            self.skip = nn.Identity()
            if isinstance(block.skip, nn.Linear):
                self.skip = nn.Linear(block.skip.in_features, block.skip.out_features, bias=False)

        def forward(self, x):
            y = self.body(x)
            return y.replace_feature(y.features + self.skip(x.features))

    class Level(nn.Module):
        def __init__(self, part: UNetLevel, level):
            super().__init__()
            self.head = nn.Sequential(*(Block(block, level) for block in part.head))
            self.coarser = None
            if part.coarser is not None:
                self.down = nn.Sequential(*(convert(module, level) for module in part.down))
                self.coarser = Level(part.coarser, level + 1)
                self.up = nn.Sequential(*(convert(module, level) for module in part.up))
                self.tail = nn.Sequential(*(Block(block, level) for block in part.tail))

        def forward(self, x):
            x = self.head(x)
            if self.coarser is None:
                return x
            y = self.up(self.coarser(self.down(x)))
            return self.tail(y.replace_feature(torch.cat([x.features, y.features], 1)))

    def convert(module, level):
        if isinstance(module, SubmanifoldConv3d):
            _, i, o = module.weight.shape
            new = spconv.SubMConv3d(i, o, 3, padding=1, bias=False, indice_key=f"s{level}", algo=spconv.ConvAlgo.Native)
        elif isinstance(module, StridedConv3d):
            _, i, o = module.weight.shape
            new = spconv.SparseConv3d(i, o, 2, 2, bias=False, indice_key=f"d{level}", algo=spconv.ConvAlgo.Native)
        elif isinstance(module, InverseConv3d):
            _, i, o = module.weight.shape
            new = spconv.SparseInverseConv3d(i, o, 2, bias=False, indice_key=f"d{level}", algo=spconv.ConvAlgo.Native)
        else:
            return Norm(module)
        return new

    stem, body, norm = convert(net.stem, 0), Level(net.pyramid, 0), Norm(net.norm)
    return lambda features: net.classifier(
        norm(body(stem(spconv.SparseConvTensor(features, coords, padded, batch_size=1)))).features
    )


def measure(voxels: int, width: int, levels: int, repeats: int, spconv) -> dict[str, float]:
    """Median seconds of one step of each side; the sides take turns, plain torch, the slowest, in one of them only."""
    cells = room_voxels(voxels)
    coords = torch.from_numpy(np.concatenate([np.zeros((len(cells), 1), np.int32), cells], 1))
    shape = tuple(int(s) + 1 for s in cells.max(0))
    features = torch.randn(len(coords), 6)
    truth = torch.randint(20, (len(coords),))
    net = UNet(width=width, levels=levels)
    with_spconv = spconv_step(spconv, net, coords, shape, levels)

    def ours(backend: str) -> Callable:
        def logits():
            return net(SparseTensor(features, coords, shape, 1, backend))[1]

        return logits

    sides = {"numba": ours("numba"), "spconv": lambda: with_spconv(features), "torch": ours("torch")}
    seconds = {side: [] for side in sides}
    for repeat in range(repeats + 1):
        for side, logits in sides.items():
            if side == "torch" and repeat > 1:
                continue
            start = time.perf_counter()
            nn.functional.cross_entropy(logits(), truth).backward()
            if repeat:  # the first turn compiles and warms up
                seconds[side].append(time.perf_counter() - start)
    return {"voxels": len(coords)} | {side: statistics.median(times) for side, times in seconds.items()}


def goals(instructions: str, ratios: list[float]) -> Iterator[Target]:
    """Rows of the table of targets; without ratios nothing was measured."""
    side = "training step with AVX2" if instructions == "avx2" else "training step"
    for name, of_all in (("median", statistics.median), ("smallest", min)):
        goal, measured = GOALS[instructions][name], of_all(ratios) if ratios else None
        words = f"{side}, patched spconv / ours: {name} of the sizes at least {goal}"
        yield (words, "", None) if measured is None else (words, f"{measured:.2f}", measured >= goal)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 000 voxels, 5 levels, 3 repeats")
    parser.add_argument(
        "--instructions", choices=GOALS, default="native", help="avx2: hide AVX-512 from numba, torch and MKL alike"
    )
    options = parser.parse_args(argv)
    hidden = options.instructions == "avx2"
    if hidden and not llvmlite.binding.get_host_cpu_features().get("avx2"):
        print(f"## {TITLES['avx2']}\n\nNot measured: this processor has no AVX2.")
        print_targets(goals("avx2", []))
        return
    environment = os.environ | (without_avx512() if hidden else {})
    if environment != os.environ:  # it is read when the libraries are loaded: start anew
        os.execve(sys.executable, sys.orig_argv, environment)
    repeats = {5_000: 15, 20_000: 9, 60_000: 5, 150_000: 4}
    rows = [(5_000, 5, 3)] if options.quick else [(v, levels, n) for v, n in repeats.items() for levels in (5, 7)]
    spconv = patched_spconv()
    torch.manual_seed(0)
    print(f"## {TITLES[options.instructions]}\n")
    print(
        f"One training step of the U-Net, kernel maps included; width 16, float32, {torch.get_num_threads()} threads, "
        f"vectors of {VECTOR_BYTES} bytes{' (AVX-512 hidden from numba, torch and MKL)' if hidden else ''}; medians, "
        "sides in turn.\n"
    )
    print("| voxels | levels | ours ms | patched spconv ms | plain torch ms | spconv / ours | torch / ours |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for voxels, levels, turns in rows:
        row = measure(voxels, 16, levels, turns, spconv)
        ours, theirs, plain = (1000 * row[side] for side in ("numba", "spconv", "torch"))
        ratios.append(theirs / ours)
        print(
            f"| {row['voxels']} | {levels} | {ours:.0f} | {theirs:.0f} | {plain:.0f} "
            f"| {theirs / ours:.2f} | {plain / ours:.2f} |",
            flush=True,
        )
    print_targets(goals(options.instructions, ratios))


if __name__ == "__main__":
    main()
