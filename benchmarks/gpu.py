"""Everything that is measured on a CUDA GPU, in one call of at most eight minutes and without any data.

    python benchmarks/gpu.py --price 2.5 --out gpu.md     with the cost of the schedule at 2.5 (of any money) an hour
    python benchmarks/gpu.py --device cpu --quick         the same code with tiny sizes, to see that it works

Seven parts share the time: equality with float64, the training step at the paper's size, the mean field, a profile of
the step, mIoU at each precision, deterministic algorithms, training on several GPUs. A part stops when its share is
spent, and says so; what it leaves goes to the next.
Every number is a median. Sides take turns, in blocks, so that none runs in the memory another has left behind.
"""

import argparse
import collections
import csv
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from otoc_lib.config import Config, config_from, load_config
from otoc_lib.datasets import load_split
from otoc_lib.device import deterministic
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import evaluate_rooms, mean_iou
from otoc_lib.labels import SCANNET20
from otoc_lib.models.build import new_unet
from otoc_lib.models.unet import UNet
from otoc_lib.propagation import propagate_graph
from otoc_lib.scene import Scene, densify
from otoc_lib.sparse import (
    InverseConv3d,
    SparseTensor,
    StridedConv3d,
    SubmanifoldConv3d,
    spconv_conv,
)
from otoc_lib.training.fit import fit
from otoc_lib.training.launch import launch, work_together
from otoc_lib.training.losses import point_cross_entropy
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.predict import predict
from otoc_lib.training.task import CrossEntropy
from otoc_lib.training.voxels import Batch, make_batch, training_sample

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
STORAGES = ("dense", "chunked", "triton")
SYNCHRONISATIONS = (
    *("aten::item", "aten::_local_scalar_dense"),
    *("cudaStreamSynchronize", "cudaEventSynchronize", "cudaDeviceSynchronize"),
)
CLASSES = len(SCANNET20)


@dataclass
class Bench:
    """What every part needs: where to compute, at which size, where to print, and when to stop."""

    device: torch.device
    quick: bool
    price: float | None
    file: Path | None
    deadline: float = 0.0  # of the part in progress, as time.perf_counter counts
    targets: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # what failed though it should not have

    def say(self, *lines: str) -> None:
        """Print Markdown at once, to stdout and to the file: what is measured survives whatever comes later."""
        for line in lines:
            print(line, flush=True)
        if self.file:
            with self.file.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)

    def target(self, wanted: str, measured: str, met: bool | None) -> None:
        self.targets.append(f"| {wanted} | {measured} | {'not measured' if met is None else 'yes' if met else 'no'} |")

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.perf_counter()

    @property
    def backends(self) -> list[str]:
        """On CUDA spconv, where it is installed, and plain PyTorch; on the CPU what it chooses itself instead."""
        fast = ["spconv"] * spconv_conv.available() if self.cuda else ["auto"]
        return [*fast, "torch"]

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def clear(self) -> None:
        if self.cuda:
            torch.cuda.empty_cache()


@dataclass
class Side:
    """Seconds of the runs of one side and the most memory that was allocated in them, or why there are none."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0  # bytes
    failure: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def take_turns(bench: Bench, sides: dict, rounds: int, block: int, done: Callable = lambda side: None) -> dict:
    """Run blocks of every side in turn: a run that is not counted, then ``block`` that are.

    Out of memory, a storage that cannot run here, or any other error ends a side and becomes its ``failure``; the
    others go on. No run starts after the deadline; a side that was never reached says so.

    Returns:
        Side by name.
    """
    measured = {name: Side() for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            side = measured[name]
            bench.clear()
            for run in range(1 + block):
                if side.failure or bench.seconds_left < 0:
                    break
                _measure_once(bench, name, side, work, counted=run > 0)
            done(name)
    for side in measured.values():
        if not side.seconds and not side.failure:
            side.failure = "not measured: the time was spent"
    return measured


def _measure_once(bench: Bench, name: object, side: Side, work: Callable, counted: bool) -> None:
    bench.synchronize()
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats(bench.device)
    start = time.perf_counter()
    try:
        work()
        bench.synchronize()
    except torch.OutOfMemoryError:
        side.failure = "out of memory"
    except OtocError as error:
        side.failure = str(error).replace("|", "/")
    except Exception as error:
        side.failure = f"**failed**: {one_line(error)}"
        bench.broken.append(str(name))
        traceback.print_exc()
    else:
        if counted:
            side.seconds.append(time.perf_counter() - start)
            side.peak = max(side.peak, torch.cuda.max_memory_allocated(bench.device) if bench.cuda else 0)


def one_line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".replace("|", "/")


def gibibytes(bench: Bench, count: int) -> str:
    return f"{count / 2**30:.2f}" if bench.cuda else "not measured"


def table(*header: str) -> list[str]:
    return ["", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]


# --- rooms, networks and steps ----------------------------------------------------------------------------------------


def simulated_room(points: int, seed: int) -> Scene:
    """A large furnished room, points about 3 cm apart as in ScanNet, 5 mm of noise, a class a box."""
    rng = np.random.default_rng(seed)
    scale = (points / 250_000) ** 0.5  # the floor of a smaller room is smaller
    corners = rng.uniform([0, 0, 0], [7 * scale, 5 * scale, 0.2], (16, 3))
    boxes = np.concatenate([corners, corners + rng.uniform(0.3, 1.4, (16, 3))], 1)  # low corner, high corner [B, 6]
    boxes = np.concatenate([[[0, 0, 0, 8 * scale, 6 * scale, 2.6]], boxes])
    size = boxes[:, 3:] - boxes[:, :3]
    area = size.prod(1, keepdims=True) / size  # of the faces across each axis [B, 3]
    face = rng.choice(area.size, points, p=area.ravel() / area.sum())
    box, axis = np.divmod(face, 3)
    coords = boxes[box, :3] + rng.random((points, 3)) * size[box]
    coords[np.arange(points), axis] = boxes[box, axis + 3 * rng.integers(2, size=points)]
    coords += rng.normal(0, 0.005, coords.shape)
    cells = np.floor(coords / 0.5).astype(int) + 8
    return Scene(
        name=f"scene{seed:04d}_00",
        coords=(coords - coords.mean(0)).astype(np.float32),
        colors=rng.integers(0, 256, (points, 3), dtype=np.uint8),
        supervoxels=densify(((box * 64 + cells[:, 0]) * 64 + cells[:, 1]) * 64 + cells[:, 2]),
        labels=(box % CLASSES).astype(np.int16),
        instances=densify(box),
        origin=np.zeros(3),
        label_set=SCANNET20,
    )


def training_batch(config: Config, points: int) -> Batch:
    """One batch of simulated rooms, augmented as in training, on the CPU."""
    scenes = [simulated_room(points, seed) for seed in range(config.batch_size)]
    generators = [np.random.default_rng([config.seed, number]) for number in range(len(scenes))]
    return make_batch([training_sample(s, s.labels, config, g) for s, g in zip(scenes, generators, strict=True)])


def paper_config(bench: Bench) -> Config:
    """The paper's settings, which are the defaults; a tiny network for the quick run."""
    tiny = {"unet_width": 8, "unet_levels": 3, "unet_blocks": 1, "batch_size": 2, "voxel_size": 0.1}
    return config_from({"profile": "benchmark", "experiment": "gpu", **(tiny if bench.quick else {})})


def paper_step(bench: Bench, config: Config) -> tuple[Batch, UNet, Callable]:
    """A batch, a U-Net and ``step(backend, precision)``: one whole training step as fit() makes it.

    The copy to the device, the kernel maps, forward, backward and Adam are all in the step; drawing the batch is not.
    """
    host = training_batch(config, 3_000 if bench.quick else 250_000)
    host = host.pin_memory() if bench.cuda else host
    model = new_unet(config, CLASSES).to(bench.device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    scalers = {name: torch.amp.GradScaler(bench.device.type, enabled=name == "float16") for name in PRECISIONS}
    weights = torch.ones(CLASSES, device=bench.device)

    def step(backend: str, precision: str) -> None:
        batch = on_device(host, bench.device, backend)
        mixed = precision != "float32"
        with torch.autocast(bench.device.type, dtype=PRECISIONS[precision], enabled=mixed):
            _, logits = model(batch.voxels)
            loss = point_cross_entropy(logits, batch.labels, weights)
        optimizer.zero_grad(set_to_none=True)
        scaler = scalers[precision]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return host, model, step


def on_device(host: Batch, device: torch.device, backend: str) -> Batch:
    """A copy of the batch on the device for a back end, without kernel maps: every step builds its own."""
    return replace(host, backend=backend).to(device)


def convolution_operations(model: nn.Module, voxels: SparseTensor) -> int:
    """Multiplications and additions in all sparse convolutions of one step, forward and backward."""
    total = 0

    def count(module: nn.Module, inputs: tuple[SparseTensor], _: SparseTensor) -> None:
        nonlocal total
        x = inputs[0]
        match module:
            case SubmanifoldConv3d():
                pairs = x.pyramid.submanifold(x.level, module.kernel_size)
            case StridedConv3d():
                pairs = x.pyramid.down(x.level)
            case _:
                pairs = x.pyramid.up(x.level)
        total += 3 * 2 * len(pairs.inputs) * module.weight.shape[1] * module.weight.shape[2]

    kinds = (SubmanifoldConv3d, StridedConv3d, InverseConv3d)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model(voxels)
    for hook in hooks:
        hook.remove()
    return total


def product_rate(bench: Bench, dtype: torch.dtype) -> float:
    """Operations a second of a large square matrix product: what the machine gives at best."""
    size = 256 if bench.quick else 8192
    a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
    side = take_turns(bench, {"product": lambda: a @ b}, rounds=1, block=5)["product"]
    return 2 * size**3 / side.median if side.seconds else float("nan")


# --- part 1: equality -------------------------------------------------------------------------------------------------


def equality(bench: Bench) -> None:
    """Outputs and gradients of the U-Net on small inputs beside plain PyTorch in float64 on the CPU.

    Medians over draws: where an input of a ReLU is within rounding of zero, one draw's gradients may differ rightly.
    """
    draws = range(3 if bench.quick else 5)
    errors = {backend: [] for backend in bench.backends}  # (of the logits, of the gradients) of every draw
    for seed in draws:
        tiny = {"unet_width": 8, "unet_levels": 3, "batch_size": 2, "voxel_size": 0.1, "seed": seed}
        config = replace(paper_config(bench), **tiny)
        host = training_batch(config, 1_000)
        probe = torch.randn(len(host.features), CLASSES, generator=torch.Generator().manual_seed(seed))
        true = _logits_and_gradients(config, host, probe.double(), torch.device("cpu"), "torch")
        for backend, found in errors.items():
            ours = _logits_and_gradients(config, host, probe, bench.device, backend)
            found.append([relative(value, wanted) for value, wanted in zip(ours, true, strict=True)])
    medians = {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in errors.items()}
    bench.say(*table("back end", "logits", "gradients"))
    bench.say(*(f"| {name} | {logits:.1e} | {gradients:.1e} |" for name, (logits, gradients) in medians.items()))
    bench.say("", f"Norm of the difference over the norm, float32; medians of {len(draws)} draws.")
    if bench.cuda and "spconv" not in bench.backends:
        bench.say("spconv is not installed (`pip install 'otoc-kit[cuda]'`): plain PyTorch stands alone below.")
    worst = max(max(pair) for pair in medians.values())
    measured = f"{worst:.1e}" + ("" if bench.cuda else " on the CPU")
    bench.target("sparse convolution equals float64 to 1e-4, outputs and gradients", measured, worst < 1e-4)


def _logits_and_gradients(
    config: Config, host: Batch, probe: Tensor, device: torch.device, backend: str
) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of their product with ``probe``, in its precision; returned as float64 on the CPU."""
    model = new_unet(config, CLASSES).to(device, probe.dtype).train()
    voxels = on_device(host, device, backend).voxels
    logits = model(voxels.with_features(voxels.features.to(probe.dtype)))[1]
    gradients = torch.autograd.grad((logits * probe.to(device)).sum(), list(model.parameters()))
    return logits.detach().cpu().double(), torch.cat([gradient.flatten().cpu().double() for gradient in gradients])


def relative(value: Tensor, true: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((value - true).norm() / true.norm())


# --- part 2: the training step ----------------------------------------------------------------------------------------


def training(bench: Bench) -> None:
    """The training step at the paper's size, and what the whole ScanNet schedule takes at that rate."""
    config = paper_config(bench)
    host, model, step = paper_step(bench, config)
    points = len(host.point_to_voxel)
    peaks = {name: product_rate(bench, dtype) for name, dtype in PRECISIONS.items()}
    names = [(backend, precision) for precision in PRECISIONS for backend in bench.backends]
    sides = {name: lambda name=name: step(*name) for name in names}
    measured = take_turns(bench, sides, rounds=1 if bench.quick else 3, block=1 if bench.quick else 3, done=progress)
    operations = convolution_operations(model, on_device(host, bench.device, "auto").voxels)

    later = config.self_train_iterations - 1
    unet_steps = config.unet_steps + later * config.unet_steps_later
    all_steps = unet_steps + config.relation_steps + later * config.relation_steps_later
    bench.say(
        "",
        f"{config.batch_size} rooms, {points} points, {len(host.features)} voxels of {config.voxel_size * 100:g} cm, "
        f"width {config.unet_width}, {config.unet_levels} levels; {operations / 1e12:.3g} T operations in convolutions",
        *table(
            *("back end", "precision", "ms a step", "points a second", "peak GiB", "T operations/s", "of a GEMM's"),
            *("hours, U-Net", "hours, both nets"),
            *(["cost, both nets"] if bench.price is not None else []),
        ),
    )
    for (backend, precision), side in measured.items():
        if side.failure:
            bench.say(f"| {backend} | {precision} | {side.failure} |" + " |" * (6 + (bench.price is not None)))
            continue
        hours, rate = side.median / 3600, operations / side.median
        cost = f" {hours * all_steps * bench.price:.0f} |" if bench.price is not None else ""
        bench.say(
            f"| {backend} | {precision} | {1000 * side.median:.1f} | {points / side.median:.3g} "
            f"| {gibibytes(bench, side.peak)} | {rate / 1e12:.3g} | {100 * rate / peaks[precision]:.0f} % "
            f"| {hours * unet_steps:.1f} | {hours * all_steps:.1f} |{cost}"
        )
    rates = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in peaks.items())
    bench.say(
        "",
        f"The full ScanNet schedule is {unet_steps} steps of the U-Net and {all_steps} of both nets; the relation net, "
        "the same backbone, is taken to be as slow. Every batch is taken to be at the cap of points, which most are "
        "not: an upper bound. Validation and pseudo labels come on top. The authors' networks took 7-10 days (170-240 "
        f"hours) on one GTX 1080. T operations a second of a large matrix product: {rates}.",
    )
    finished = {name: side.median for name, side in measured.items() if side.seconds}
    if finished:
        best = min(finished, key=finished.get)
        hours = finished[best] / 3600 * all_steps
        known = bench.cuda and not bench.quick
        bench.target(
            "the full ScanNet schedule in less than the authors' 7 days",
            f"{hours:.0f} hours ({' '.join(best)})" if known else "needs a GPU and the full size",
            hours < 7 * 24 if known else None,
        )
    if {("spconv", "float32"), ("torch", "float32")} <= finished.keys():
        ratio = finished["torch", "float32"] / finished["spconv", "float32"]
        bench.say("", f"Plain PyTorch takes {ratio:.2f} times the time of spconv in float32.")


def progress(name: object) -> None:
    print(f"measured {name}", file=sys.stderr, flush=True)


# --- part 3: mean field -----------------------------------------------------------------------------------------------


def mean_fields(bench: Bench) -> None:
    """Every storage of the mean field at growing M: time, peak memory, and equality with float64 at the smallest M."""
    sizes = (50, 200) if bench.quick else (2_000, 10_000, 50_000, 200_000)
    steps = 10
    bench.say("", f"{steps} steps, blocks of 3, 3, 32 and 32 features, {CLASSES} classes, float32.")
    bench.say(*table("M", "storage", "ms", "peak GiB", "largest difference to float64"))
    worst = {}
    for size in sizes:
        unary, blocks = simulated_graph(size)
        oracle = mean_field_oracle(unary, blocks, 2.0, 3.0, steps) if size == sizes[0] else None
        unary, blocks = unary.float().to(bench.device), [block.float().to(bench.device) for block in blocks]
        last = {}

        def run(storage: str, unary: Tensor = unary, blocks: list[Tensor] = blocks, last: dict = last) -> None:
            # The tolerance is 0, so that each makes every step; the storage is forced, so memory decides nothing.
            last[storage] = propagate_graph(
                unary, blocks, bandwidth=2.0, weight=3.0, scaling="row_sum", steps=steps, tolerance=0.0, storage=storage
            )

        sides = {storage: lambda storage=storage: run(storage) for storage in STORAGES}
        for storage, side in take_turns(bench, sides, rounds=1, block=3 if size <= 50_000 else 1).items():
            if side.failure:
                bench.say(f"| {size} | {storage} | {side.failure} | | |")
                continue
            error = ""
            if oracle is not None:
                worst[storage] = float((last[storage].double().cpu() - oracle).abs().max())
                error = f"{worst[storage]:.1e}"
            bench.say(f"| {size} | {storage} | {1000 * side.median:.1f} | {gibibytes(bench, side.peak)} | {error} |")
    for storage in STORAGES:
        known = storage in worst
        bench.target(
            f"mean field, {storage}: equals float64 to 1e-4",
            f"{worst[storage]:.1e}" + ("" if bench.cuda else " on the CPU") if known else "did not run here",
            worst[storage] < 1e-4 if known else None,
        )


def simulated_graph(size: int) -> tuple[Tensor, list[Tensor]]:
    """Unary [M, C] and blocks [M, 3], [M, 3], [M, 32], [M, 32], float64: noisy copies of a class's own features."""
    generator = torch.Generator().manual_seed(size)
    classes = torch.randint(CLASSES, (size,), generator=generator)
    blocks = []
    for width in (3, 3, 32, 32):
        centres = torch.randn(CLASSES, width, generator=generator, dtype=torch.float64)
        blocks.append(centres[classes] + 0.5 * torch.randn(size, width, generator=generator, dtype=torch.float64))
    logits = torch.randn(size, CLASSES, generator=generator, dtype=torch.float64)
    logits[torch.arange(size), classes] += 1.0
    return torch.softmax(logits, dim=1), blocks


def mean_field_oracle(unary: Tensor, blocks: list[Tensor], bandwidth: float, weight: float, steps: int) -> Tensor:
    """Eqs. 3 and 5 as they are written, in float64 on the CPU: distances by differences, the kernel stored."""
    energy = torch.zeros(len(unary), len(unary), dtype=torch.float64)
    for block in blocks:
        centred = block - block.mean(0)
        scaled = bandwidth * centred / centred.square().sum(1).mean().sqrt()
        energy += torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist").square()
    kernel = torch.exp(-0.5 * energy).fill_diagonal_(0)
    kernel *= weight / kernel.sum(1).mean()
    marginals = unary
    for _ in range(steps):
        marginals = torch.softmax(unary.log() + kernel @ marginals, dim=1)
    return marginals


# --- part 4: profile --------------------------------------------------------------------------------------------------


def profile(bench: Bench) -> None:
    """Where one training step's time goes, and where the host waits for the device."""
    _, _, step = paper_step(bench, paper_config(bench))
    backend = bench.backends[0]
    step(backend, "float32")  # compiles and warms up
    bench.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] * bench.cuda
    with torch.profiler.profile(activities=activities) as profiler:
        step(backend, "float32")
        bench.synchronize()
    events = profiler.key_averages()

    on_host = torch.autograd.DeviceType.CPU
    operators = [event for event in events if event.device_type == on_host]
    kernels = [event for event in events if event.device_type != on_host]  # launched by the operators, named apart

    def own_time(event: object) -> float:  # microseconds
        return event.self_device_time_total if bench.cuda else event.self_cpu_time_total

    total = sum(own_time(event) for event in (kernels if bench.cuda else operators))
    kind = "device" if bench.cuda else "processor"
    bench.say("", f"One step of {backend}, float32; {kind} time {total / 1000:.1f} ms.")
    for title, listed in (("operator", operators), ("kernel", kernels)):
        if listed:
            bench.say(*table(title, "calls", "ms of its own", "share"))
        for event in sorted(listed, key=own_time, reverse=True)[:12]:
            key, time_spent = event.key.replace("|", "/")[:90], own_time(event)
            bench.say(f"| `{key}` | {event.count} | {time_spent / 1000:.2f} | {100 * time_spent / total:.1f} % |")

    counts = {name: sum(event.count for event in events if event.key == name) for name in SYNCHRONISATIONS}
    bench.say(*table("synchronisation", "calls in one step"), *(f"| `{name}` | {n} |" for name, n in counts.items()))
    if bench.cuda:
        bench.say("", "Lines of Python at which torch waits for the device:")
        bench.say(*table("line", "waits in one step"))
        for line, count in waiting_lines(lambda: step(backend, "float32")):
            bench.say(f"| `{line}` | {count} |")
    waits = counts["cudaStreamSynchronize"]
    bench.target(
        "no hidden synchronisation in the training step",
        f"{waits} calls of cudaStreamSynchronize" if bench.cuda else "needs a GPU",
        waits == 0 if bench.cuda else None,
    )


def waiting_lines(work: Callable) -> list[tuple[str, int]]:
    """File and line of every wait for the device that torch itself knows of, most frequent first."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = (
        f"{'/'.join(Path(warning.filename).parts[-3:])}:{warning.lineno}"
        for warning in caught
        if "called a synchronizing" in str(warning.message)
    )
    return collections.Counter(places).most_common()


# --- part 5: precision and mIoU ---------------------------------------------------------------------------------------


def precision(bench: Bench) -> None:
    """The same short training on bundled rooms at each precision, and its mIoU."""
    if not (ROOT / "data/scannet_rooms/rooms.json").is_file():
        bench.say("", "Skipped: the bundled rooms are not unpacked.")
        bench.say("`otoc rooms unpack data/scannet_rooms` unpacks them.")
        bench.target("mIoU of bfloat16 and float16 within 1 point of float32's", "skipped", None)
        return
    train_rooms, eval_rooms, voxel = (2, 1, 0.2) if bench.quick else (32, 12, 0.05)
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            ROOT / "params/rooms/supervised.yaml",
            data_root=str(ROOT / "data/scannet_rooms"),
            cache_root=str(Path(folder) / "cache"),
            device=str(bench.device),
            voxel_size=voxel,
            **({"unet_width": 8, "unet_levels": 3, "unet_blocks": 1, "batch_size": 2} if bench.quick else {}),
        )
        train, val = load_split(config, "train", train_rooms), load_split(config, "val", eval_rooms)
        names = [name for name in PRECISIONS if bench.cuda or name != "float16"]
        trial = 2 if bench.quick else 10
        start = time.perf_counter()
        for name in names:  # compiles, warms up, and tells how many steps there is time for
            train_and_judge(replace(config, precision=name), train, val[:1], trial, Path(folder) / f"trial_{name}")
        each = (time.perf_counter() - start) / len(names) / trial
        steps = min(2 if bench.quick else 600, int(bench.seconds_left / len(names) / each))
        if steps < trial:
            bench.say("", f"Stopped: the time that was left is enough for {steps} steps only.")
            bench.target("mIoU of bfloat16 and float16 within 1 point of float32's", "no time", None)
            return
        bench.say("", f"{len(train)} training and {len(val)} validation rooms, every label, {steps} steps, one seed.")
        bench.say(*table("precision", "seconds", "mIoU %"))
        miou = {}
        for name in names:
            start = time.perf_counter()
            result = train_and_judge(replace(config, precision=name), train, val, steps, Path(folder) / name)
            miou[name] = 100 * result
            bench.say(f"| {name} | {time.perf_counter() - start:.1f} | {miou[name]:.2f} |")
    gap = max(miou["float32"] - value for value in miou.values())
    known = bench.cuda and not bench.quick
    bench.target(
        f"mIoU of bfloat16 and float16 within 1 point of float32's after {steps} steps",
        f"at most {gap:.2f} points less" if known else "needs a GPU and the full size",
        gap < 1 if known else None,
    )


def train_and_judge(config: Config, train: list[Scene], val: list[Scene], steps: int, folder: Path) -> float:
    """mIoU, 0..1, of a U-Net after so many steps on every label."""
    folder.mkdir()
    labels = {scene.name: scene.labels for scene in train}
    schedule = Schedule(steps, config.learning_rate)
    task = CrossEntropy(config, train, labels)
    fit(config, task, train, labels, schedule=schedule, folder=folder, key="", seed=[config.seed, 1, task.stream])
    model = new_unet(config, len(train[0].label_set))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    model.to(config.device).eval()
    predicted = {scene.name: predict(config, scene, model, None).probabilities.argmax(1).cpu().numpy() for scene in val}
    return mean_iou(evaluate_rooms(val, predicted)[0])


# --- part 6: determinism ----------------------------------------------------------------------------------------------


def determinism(bench: Bench) -> None:
    """What deterministic algorithms cost a training step, and whether two trainings then agree to the bit."""
    sides, same = {}, {}
    rooms = [simulated_room(2_000 if bench.quick else 50_000, seed) for seed in range(4)]
    for asked in (False, True):
        config = replace(paper_config(bench), deterministic=asked, device=str(bench.device))
        _, _, step = paper_step(bench, config)

        def run(config: Config = config, step: Callable = step) -> None:
            with deterministic(config):
                step(bench.backends[0], "float32")

        sides[asked] = run
    measured = take_turns(bench, sides, rounds=2, block=1 if bench.quick else 3)
    bench.say(*table("deterministic", "ms a step", "two trainings of 10 steps agree to the bit"))
    for asked, side in measured.items():
        small = {
            "elastic_granularity": [],
            "elastic_magnitude": [],
            "unet_width": 8,
            "batch_size": 4,
            "voxel_size": 0.1,
        }
        config = replace(paper_config(bench), deterministic=asked, device=str(bench.device), **small)
        states = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                train_rooms(config, rooms, 10, Path(folder))
                states.append((Path(folder) / "weights.safetensors").read_bytes())
        same[asked] = states[0] == states[1]
        time_spent = side.failure or f"{1000 * side.median:.1f}"
        bench.say(f"| {str(asked).lower()} | {time_spent} | {'yes' if same[asked] else 'no'} |")
    bench.target("deterministic: true trains the same bits twice", "yes" if same[True] else "no", same[True])


def train_rooms(config: Config, rooms: list[Scene], steps: int, folder: Path) -> None:
    """Train a U-Net on every label of some rooms, and leave weights and history in a folder."""
    labels = {scene.name: scene.labels for scene in rooms}
    task, schedule = CrossEntropy(config, rooms, labels), Schedule(steps, config.learning_rate)
    fit(config, task, rooms, labels, schedule=schedule, folder=folder, key="", seed=[config.seed, 1, task.stream])


# --- part 7: several GPUs ---------------------------------------------------------------------------------------------


def several_gpus(bench: Bench) -> None:
    """Training steps of four rooms a GPU on one, two, four GPUs and so on, batches made by four workers each."""
    found = torch.cuda.device_count() if bench.cuda else 0
    if found < 2:
        bench.say("", f"Skipped: it needs two GPUs, and this machine has {found}.")
        bench.target("two GPUs train 1.8 times as many rooms a second as one", "needs two GPUs", None)
        return
    rates: dict[int, float] = {}
    bench.say(*table("GPUs", "rooms a step", "ms a step", "rooms a second"))
    for devices in [2**power for power in range(found.bit_length()) if 2**power <= found]:
        if bench.seconds_left < 0:
            bench.say("", "Stopped: the time was spent.")
            break
        rooms = 4 * devices
        seconds = shared_step(bench, devices, rooms, 5 if bench.quick else 20)
        rates[devices] = rooms / seconds
        bench.say(f"| {devices} | {rooms} | {1000 * seconds:.1f} | {rates[devices]:.2f} |")
    known = {1, 2} <= rates.keys() and not bench.quick
    bench.target(
        "two GPUs train 1.8 times as many rooms a second as one",
        f"{rates[2] / rates[1]:.2f} times" if known else "needs the full size",
        rates[2] / rates[1] >= 1.8 if known else None,
    )


def shared_step(bench: Bench, devices: int, rooms: int, steps: int) -> float:
    """Median seconds of a training step of so many rooms that so many processes share, its batches included."""
    with tempfile.TemporaryDirectory() as folder, _importable():
        job = {"folder": folder, "quick": bench.quick, "device": bench.device.type, "rooms": rooms, "steps": steps}
        launch("benchmarks.gpu", job, devices, f"{devices} GPUs", on_cuda=bench.cuda)
        with (Path(folder) / "history.csv").open(encoding="utf-8") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return statistics.median(after - before for before, after in zip(seconds[2:-1], seconds[3:], strict=True))


@contextmanager
def _importable() -> Iterator[None]:
    """Let other processes find this file as a module, from wherever it was started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def share(job: dict) -> None:
    """One of the processes of ``shared_step``."""
    bench = Bench(torch.device(job["device"]), job["quick"], None, None)
    workers = 0 if job["quick"] else 4
    values = {"batch_size": job["rooms"], "device": job["device"], "workers": workers, "tensorboard": False}
    config = replace(paper_config(bench), **values)
    rooms = [simulated_room(2_000 if bench.quick else 250_000, seed) for seed in range(job["rooms"])]
    train_rooms(config, rooms, job["steps"], Path(job["folder"]))


# --- all of it --------------------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[Callable[[Bench], None], float]] = {  # title: (function, share of the time)
    "Equality with float64": (equality, 0.05),
    "Training step at the paper's size": (training, 0.35),
    "Mean field": (mean_fields, 0.15),
    "Profile of the training step": (profile, 0.10),
    "Precision and mIoU": (precision, 0.20),
    "Deterministic algorithms": (determinism, 0.05),
    "Several GPUs": (several_gpus, 0.10),
}


@contextmanager
def reported(bench: Bench, title: str) -> Iterator[None]:
    """A part that breaks says so and does not take the others with it: time on a GPU is dear."""
    bench.say("", f"### {title}")
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        bench.broken.append(title)
        bench.say("", f"**Failed**: {one_line(error)}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to test the script itself")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs")
    parser.add_argument("--minutes", type=float, default=7.5, help="time for all parts together")
    parser.add_argument("--price", type=float, help="of an hour of this machine, for the cost of the schedule")
    parser.add_argument("--out", type=Path, help="also write the report there, as it grows")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu.py needs a CUDA GPU and a torch built for it; --device cpu --quick tries it out", file=sys.stderr)
        return 2
    if options.out:
        options.out.write_text("", encoding="utf-8")
    bench = Bench(device, options.quick, options.price, options.out)
    bench.say("## GPU" if bench.cuda else "## GPU (on the CPU: shows that the script works, measures nothing)")
    if bench.cuda:
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        bench.say("", f"{torch.cuda.get_device_name(device)}, {total:.0f} GiB, CUDA {torch.version.cuda}.")

    end = time.perf_counter() + 60 * options.minutes
    shares = [share for _, share in PARTS.values()]
    for number, (title, (part, share)) in enumerate(PARTS.items()):
        now = time.perf_counter()
        bench.deadline = now + (end - now) * share / sum(shares[number:])
        with reported(bench, title):
            part(bench)
        bench.clear()
        if bench.seconds_left < 0:
            bench.say("", f"This part's share of the time was spent ({time.perf_counter() - now:.0f} s).")
    bench.say("", "### Targets", *table("target", "measured", "met"), *bench.targets)
    return 1 if bench.broken else 0


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:  # started by shared_step
        work_together(share)
    else:
        sys.exit(main())
