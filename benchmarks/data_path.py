"""What feeds the networks and judges them: loader, augmentation, voxels, losses, pooling, confusion matrix.

    python benchmarks/data_path.py [--quick]

Rooms of 150 000 points at the paper's augmentation and 2 cm voxels; every ratio compares two sides timed in turn in
this run, medians. The plain sides are otoc_lib/training/reference.py and PyTorch's own functions.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from timing import Target, in_turn, print_targets

from otoc_lib.config import config_from
from otoc_lib.evaluation import confusion_matrix
from otoc_lib.labels import SCANNET20
from otoc_lib.models.build import new_relation_net
from otoc_lib.scene import Scene, densify
from otoc_lib.supervoxels.pooling import plain_pool_mean, pool_mean
from otoc_lib.training import losses, reference
from otoc_lib.training.batches import Batches, batch_loader
from otoc_lib.training.voxels import make_batch, training_sample

GPU_STEP = 0.65  # seconds of a step on a GPU of 2026 for 4 rooms, emulated by sleeping


def make_room(index: int, points: int) -> Scene:
    """A room of 6 x 5 x 2.7 m: points on its floor, walls and 40 boxes, super-voxels of 40 cm."""
    generator = np.random.default_rng(index)
    low, size = np.array([[-3.0, -2.5, 0.0]]), np.array([[6.0, 5.0, 2.7]])
    boxes = generator.uniform(0.2, 1.2, (40, 3))
    corners = low + generator.uniform(0, 1, (40, 3)) * (size - boxes) * [1, 1, 0]
    low, size = np.concatenate([low, corners]), np.concatenate([size, boxes])  # (41, 3)
    area = size.prod(axis=1) / size.min(axis=1)
    body = np.sort(generator.choice(41, points, p=area / area.sum()))  # like a mesh: neighbours in space are near
    place = generator.uniform(size=(points, 3))
    axis = generator.integers(3, size=points)
    place[np.arange(points), axis] = generator.integers(2, size=points)  # on a face
    coords = (low[body] + place * size[body]).astype(np.float32)
    cells = np.floor((coords + 4) / 0.4).astype(np.int64)
    order = np.lexsort((coords[:, 2], cells[:, 2], cells[:, 1], cells[:, 0], body))
    coords, body, cells = coords[order], body[order], cells[order]
    return Scene(
        name=f"scene{index:04d}_00",
        coords=coords - coords.mean(axis=0, dtype=np.float32),
        colors=generator.integers(0, 256, (points, 3), dtype=np.uint8),
        supervoxels=densify(((body * 64 + cells[:, 0]) * 64 + cells[:, 1]) * 64 + cells[:, 2]),
        labels=(body % 20).astype(np.int16),
        instances=None,
        origin=np.zeros(3),
        label_set=SCANNET20,
    )


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def loader_table(batches: Batches, steps: int, waits: int) -> list[Target]:
    """Rooms a second of the loader alone, and what a step of GPU_STEP seconds waits for it; targets for 2 workers."""
    cpu = torch.device("cpu")
    print(f"\nLoader: batches of {batches.batch_size} rooms, {batches.config.max_points} points at most.\n")
    row("worker processes", "rooms a second", f"seconds a step of {GPU_STEP} s waits", "share of the step")
    row(*["---"] * 4)
    for workers in (0, 1, 2):
        loader = iter(batch_loader(batches, range(steps + 3), workers, cpu))
        for _ in range(3):  # start the processes
            next(loader)
        start = time.perf_counter()
        for _ in range(steps):
            next(loader)
        rate = steps * batches.batch_size / (time.perf_counter() - start)

        loader = iter(batch_loader(batches, range(waits + 1), workers, cpu))
        next(loader)
        waited = []
        for _ in range(waits):
            time.sleep(GPU_STEP)
            start = time.perf_counter()
            next(loader)
            waited.append(time.perf_counter() - start)
        share = max(waited) / GPU_STEP
        row(workers, f"{rate:.1f}", f"{max(waited):.3f} at most", f"{100 * share:.1f} %")
    return [
        ("rooms a second of 2 loader workers at least 6", f"{rate:.1f}", rate >= 6),
        ("a step waits for 2 loader workers at most 5 % of its time", f"{100 * share:.1f} %", share <= 0.05),
    ]


def parts_table(batches: Batches, repeats: int) -> None:
    """The steps of the data path and the losses, each beside its plain twin, on one thread."""
    config, scenes = batches.config, batches.scenes[: batches.batch_size]

    def samples(make: Callable) -> list:
        return [make(scene, scene.labels, config, np.random.default_rng(i)) for i, scene in enumerate(scenes)]

    made = samples(training_sample)
    batch = make_batch(made)
    labels, supervoxels = reference.points_of(made)
    logits = torch.randn(len(batch.coords), 20, requires_grad=True)
    embeddings = torch.randn(len(batch.coords), 32, requires_grad=True)
    net = new_relation_net(config, len(SCANNET20))
    weights, generator = torch.ones(20), torch.Generator()

    def plain_relation_loss() -> None:
        points = batch.at_points(embeddings)
        reference.relation_loss(net, points, labels, supervoxels, 20, generator).backward()

    parts = {
        "augmentation": (lambda: samples(training_sample), lambda: samples(reference.training_sample)),
        "voxels (and the pairs of the losses)": (lambda: make_batch(made), lambda: reference.voxelise(made)),
        "cross entropy, forward and backward": (
            lambda: losses.point_cross_entropy(logits, batch.labels, weights).backward(),
            lambda: reference.point_cross_entropy(batch.at_points(logits), labels, weights).backward(),
        ),
        "relation loss, forward and backward": (
            lambda: losses.relation_loss(net, embeddings, batch, 20, generator)[0].backward(),
            plain_relation_loss,
        ),
    }
    print(f"\nOne thread, {len(scenes)} rooms: {len(labels)} points, {len(batch.coords)} voxels.\n")
    row("part", "ours ms", "plain ms", "plain / ours")
    row(*["---"] * 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, (ours, twin) in parts.items():
        (seconds, _), (plainly, _) = in_turn({"ours": ours, "plain": twin}, repeats).values()
        row(name, f"{1000 * seconds:.1f}", f"{1000 * plainly:.1f}", f"{plainly / seconds:.1f}")
    torch.set_num_threads(threads)


def pooling_table(repeats: int) -> list[Target]:
    """Pooling of point features to super-voxels beside a copy of them in memory."""
    values, ids = torch.randn(250_000, 32), torch.randint(1500, (250_000,))
    sides = {
        "copy": values.clone,
        "ours": lambda: pool_mean(values, ids, 1500),
        "plain": lambda: plain_pool_mean(values, ids, 1500),
    }
    seconds = {side: clock for side, (clock, _) in in_turn(sides, repeats).items()}
    print("\nPooling of 250 000 points x 32 features, float32, to 1 500 super-voxels in random order.\n")
    row("side", "ms", "of a copy")
    row(*["---"] * 3)
    for side, name in (("copy", "copy in memory"), ("ours", "pool_mean"), ("plain", "plain PyTorch")):
        row(name, f"{1000 * seconds[side]:.1f}", f"{seconds[side] / seconds['copy']:.2f}")
    copies = seconds["ours"] / seconds["copy"]
    return [("pooling at most 3 x a copy in memory", f"{copies:.2f} x", copies <= 3)]


def confusion_table(points: int) -> list[Target]:
    truth, prediction = (np.random.default_rng(i).integers(0, 20, points).astype(np.int16) for i in range(2))
    start = time.perf_counter()
    confusion_matrix(truth, prediction, 20)
    seconds = time.perf_counter() - start
    print(f"\nConfusion matrix of {points / 1e6:.0f} million points: {seconds:.2f} s.")
    return [(f"confusion of {points / 1e6:.0f} million points at most 2 s", f"{seconds:.2f} s", seconds <= 2)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 rooms, few repeats, 10 million points to count")
    options = parser.parse_args(argv)
    config = config_from({"profile": "benchmark", "experiment": "data_path", "unet_width": 4, "unet_levels": 2})
    scenes = [make_room(index, 150_000) for index in range(4 if options.quick else 8)]
    batches = Batches(config, scenes, {scene.name: scene.labels for scene in scenes}, [0])
    batches[0]  # compiles before the worker processes start
    print("## Data path, pooling and evaluation on the CPU\n")
    print(f"Rooms of 150 000 points, voxels of 2 cm, the paper's augmentation; {torch.get_num_threads()} threads.")
    targets = loader_table(batches, *((3, 2) if options.quick else (15, 8)))
    parts_table(batches, 1 if options.quick else 5)
    targets += pooling_table(5 if options.quick else 15)
    targets += confusion_table(10_000_000 if options.quick else 50_000_000)
    print_targets(targets)


if __name__ == "__main__":
    main()
