"""Speed of reading and writing points as text, in megabytes of text a second, one thread.

One file in the form of S3DIS (``x y z r g b``, three decimals) is read by every side in turn, several times; medians.
Read the ratios: times move with whatever else the machine does, those of the processor less than those of the clock.
The last row of each half is a whole room of the official layout.

    python benchmarks/point_text.py            1 000 000 points
    python benchmarks/point_text.py --quick    100 000 points, a few seconds
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from timing import in_turn

from otoc_lib.datasets.point_text import format_points, read_table
from otoc_lib.datasets.s3dis import read_room, write_room

OBJECTS = 36  # of a room, as many as S3DIS has on average


def random_points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on the 1 mm lattice, float64 [N, 3], and colours, uint8 [N, 3]."""
    rng = np.random.default_rng(0)
    return np.rint(rng.uniform(-30, 30, (count, 3)) * 1000) / 1000, rng.integers(0, 256, (count, 3)).astype(np.uint8)


def savetxt(path: Path, points: np.ndarray, colors: np.ndarray) -> None:
    np.savetxt(path, np.concatenate([points, colors], axis=1), fmt=["%.3f"] * 3 + ["%d"] * 3)


def fromstring(path: Path) -> np.ndarray:
    return np.fromstring(path.read_text(), sep=" ").reshape(-1, 6)


def split_and_float(path: Path) -> np.ndarray:
    return np.array(path.read_text().split(), dtype=np.float64).reshape(-1, 6)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 000 points")
    count, repeats = (100_000, 3) if parser.parse_args(argv).quick else (1_000_000, 3)
    points, colors = random_points(count)
    instances = np.random.default_rng(1).integers(0, OBJECTS, count)
    labels = (instances % 13).astype(np.int16)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path, copy = root / "points.txt", root / "copy.txt"
        path.write_bytes(format_points(points, colors))
        write_room(root / "Area_1" / "office_1", points, colors, labels, instances)
        rooms = iter(range(2, 1000))
        plain = np.concatenate([points, colors], axis=1)
        for read in (read_table, np.loadtxt, fromstring, split_and_float):
            assert (read(path) == plain).all(), read.__name__

        megabytes = path.stat().st_size / 1e6
        reading = in_turn(
            {
                "read_table": lambda: read_table(path, columns=6),
                "np.loadtxt": lambda: np.loadtxt(path),
                "np.fromstring": lambda: fromstring(path),
                "split, np.array": lambda: split_and_float(path),
                "read_room (36 objects)": lambda: read_room(root, "Area_1_office_1"),
            },
            repeats,
        )
        writing = in_turn(
            {
                "format_points": lambda: copy.write_bytes(format_points(points, colors)),
                "np.savetxt": lambda: savetxt(copy, points, colors),
                "write_room (all points twice)": lambda: write_room(
                    root / "Area_1" / f"office_{next(rooms)}", points, colors, labels, instances
                ),
            },
            repeats,
        )
    print(f"## Points as text\n\n{count} points, {megabytes:.0f} MB of text; medians of {repeats}.\n")
    print("| side | MB/s by the clock | MB/s of processor time | processor time a MB / ours |")
    print("|---|---|---|---|")
    for seconds, ours in ((reading, "read_table"), (writing, "format_points")):
        for side, (clock, processor) in seconds.items():
            size = 2 * megabytes if side.startswith("write_room") else megabytes  # a room's file and its objects'
            ratio = processor / size / (seconds[ours][1] / megabytes)
            print(f"| {side} | {size / clock:.0f} | {size / processor:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
