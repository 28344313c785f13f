"""Converting ScanNet rooms for the cache, and opening them from it: times by the clock and of the processor.

The rooms are wavy sheets of as many vertices as asked for, in shuffled order, with super-voxels of about 80 vertices
and 40 objects. Opening is set beside reading the official files, and converting with two workers beside one; the sides
take turns, medians. All files lie in the system's file cache: what is measured is the processor, not the disk.

    python benchmarks/cache.py            8 rooms of 150 000 vertices, about 40 seconds
    python benchmarks/cache.py --quick    2 rooms of 20 000 vertices, a few seconds
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
from timing import in_turn

from otoc_lib.config import Config, config_from
from otoc_lib.datasets import bundled_rooms, cache, scannet
from otoc_lib.scene import ARRAYS, Scene

PATCH = 9  # vertices along one edge of a super-voxel
OBJECTS = 40


def wavy_room(name: str, vertices: int) -> bundled_rooms.BundledRoom:
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
    categories = list(bundled_rooms.CATEGORIES)[:OBJECTS]
    return bundled_rooms.BundledRoom(
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
        bundled_rooms.write_scan(wavy_room(name, vertices), root / "scans")
    (root / "scannetv2-labels.combined.tsv").write_text(bundled_rooms.label_table(), encoding="utf-8")
    (root / "scannetv2_train.txt").write_text("".join(f"{name}\n" for name in names))
    return names


def config_for(root: Path, cache_root: Path) -> Config:
    names = {"profile": "benchmark", "experiment": "cache", "eval_splits": ["train"]}
    return config_from({**names, "data_root": str(root), "cache_root": str(cache_root)})


def read_whole(scene: Scene) -> None:
    """Touch every value, so that mapped arrays are truly read."""
    for field in ARRAYS:
        if (values := getattr(scene, field)) is not None:
            values.sum()


def print_converting(root: Path, folder: Path, rooms_in_all: int, repeats: int) -> None:
    fresh = itertools.count()  # every turn fills a cache of its own

    def prepare(workers: int) -> None:
        cache.prepare(config_for(root, folder / f"cache{next(fresh)}"), workers=workers)

    both = in_turn({"1 worker": lambda: prepare(1), "2 workers": lambda: prepare(2)}, repeats)
    print(f"\nConverting {rooms_in_all} rooms, the start of the workers included; medians of {repeats}:\n")
    print("| side | s a room by the clock | 1 worker / side |\n|---|---|---|")
    for side, (clock, _) in both.items():  # the processor time of the workers is not this process's
        print(f"| {side} | {clock / rooms_in_all:.3f} | {both['1 worker'][0] / clock:.2f} |")


def print_opening(root: Path, cache_root: Path, name: str, repeats: int) -> None:
    config = config_for(root, cache_root)
    cache.prepare(config)
    sides = in_turn(
        {
            "read the official files": lambda: scannet.load_scene(root, name),
            "open from the cache": lambda: cache.open_scene(config, name),
            "open and read every value": lambda: read_whole(cache.open_scene(config, name)),
        },
        repeats,
    )
    slowest = sides["read the official files"]
    print(f"\nOne room; medians of {repeats}:\n")
    print("| side | ms by the clock | ms of processor | processor, official files / side |\n|---|---|---|---|")
    for side, (clock, processor) in sides.items():
        print(f"| {side} | {1000 * clock:.2f} | {1000 * processor:.2f} | {slowest[1] / processor:.1f} |")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rooms of 20 000 vertices")
    quick = parser.parse_args(argv).quick
    count, vertices, repeats = (2, 20_000, 1) if quick else (8, 150_000, 3)
    print(f"## Cache of converted rooms\n\nRooms of {vertices} vertices.")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "scannet"
        names = write_rooms(root, count, vertices)
        print_converting(root, Path(folder), count, repeats)
        print_opening(root, Path(folder) / "cache", names[0], repeats=5 if quick else 20)


if __name__ == "__main__":
    main()
