"""Converting ScanNet rooms for the cache, and opening them from it: times by the clock and of the processor.

The rooms are wavy sheets of as many vertices as asked for, in shuffled order, with super-voxels of about 80 vertices
and 40 objects. Opening is set beside reading the official files; the sides take turns, medians of 50.

    python benchmarks/cache.py                     12 rooms of 150 000 vertices
    python benchmarks/cache.py --rooms 2 --vertices 20000      a few seconds
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from otoc_lib.config import Config, config_from
from otoc_lib.datasets import cache, rooms, scannet
from otoc_lib.scene import ARRAYS, Scene

PATCH = 9  # vertices along one edge of a super-voxel
OBJECTS = 40
TURNS = 50


def wavy_room(name: str, vertices: int) -> rooms.Room:
    """A sheet of about ``vertices`` vertices, 3 cm apart, in shuffled order."""
    rng = np.random.default_rng(list(name.encode()))
    side = round(vertices**0.5)
    row, column = np.divmod(np.arange(side * side), side)
    points = np.column_stack([row * 0.03, column * 0.03, np.sin(row * 0.03)]).astype(np.float32)
    corner = np.flatnonzero((row < side - 1) & (column < side - 1))
    faces = np.concatenate(
        [corner[:, None] + [0, side, 1], corner[:, None] + [side + 1, side, 1]]
    )  # two triangles a square
    order = rng.permutation(len(points))
    segments = (row // PATCH * side + column // PATCH)[order]
    objects = np.array_split(np.unique(segments), OBJECTS)
    categories = list(rooms.CATEGORIES)[:OBJECTS]
    return rooms.Room(
        name=name,
        vertices=points[order],
        faces=np.argsort(order)[faces].astype(np.int32),
        colors=rng.integers(0, 256, (len(points), 3), np.uint8),
        segments=segments.astype(np.int32),
        objects=tuple((category, tuple(ids.tolist())) for category, ids in zip(categories, objects, strict=False)),
    )


def write_rooms(root: Path, count: int, vertices: int) -> list[str]:
    names = [f"scene{number:04}_00" for number in range(count)]
    for name in names:
        rooms.write_scan(wavy_room(name, vertices), root / "scans")
    (root / "scannetv2-labels.combined.tsv").write_text(rooms.label_table(), encoding="utf-8")
    (root / "scannetv2_train.txt").write_text("".join(f"{name}\n" for name in names))
    return names


def config_for(root: Path, cache_root: Path) -> Config:
    names = {"profile": "benchmark", "experiment": "cache", "eval_splits": ["train"]}
    return config_from({**names, "data_root": str(root), "cache_root": str(cache_root)})


def read_whole(scene: Scene) -> None:
    """Touch every value, so that mapped arrays are truly read."""
    for field in ARRAYS:
        getattr(scene, field).sum()


def in_turn(sides: dict[str, Callable]) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each side, by the clock and of the processor."""
    times = {side: [] for side in sides}
    for turn in range(TURNS + 1):
        for side, work in sides.items():
            clock, processor = time.perf_counter(), time.process_time()
            work()
            if turn:  # the first fills the file cache
                times[side].append((1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)))
    return {side: tuple(map(statistics.median, zip(*both, strict=True))) for side, both in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=12)
    parser.add_argument("--vertices", type=int, default=150_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "scannet"
        names = write_rooms(root, options.rooms, options.vertices)
        for workers in (1, 2):
            config = config_for(root, Path(folder) / f"cache{workers}")
            start = time.perf_counter()
            cache.prepare(config, workers=workers)
            seconds = (time.perf_counter() - start) / len(names)
            print(f"prepare, {workers} worker{'s' * (workers > 1)}: {seconds:.3f} s a room")
        sides = in_turn(
            {
                "read the official files": lambda: scannet.load_scene(root, names[0]),
                "open from the cache": lambda: cache.open_scene(config, names[0]),
                "open and read every value": lambda: read_whole(cache.open_scene(config, names[0])),
            }
        )
        slowest = sides["read the official files"]
        for side, (clock, processor) in sides.items():
            ratio = slowest[1] / processor
            print(f"{side:26} {clock:8.2f} ms by the clock {processor:8.2f} ms of processor {ratio:6.1f} x")


if __name__ == "__main__":
    main()
