"""How close the simulated rooms come to ScanNet: one table of statistics and one number.

    python benchmarks/room_statistics.py [DIR [DIR]] [--split train] [--quick]

DIR is a folder of packed rooms (data/rooms if none is given); two folders stand side by side, for example an older
set and a newer one. The last row is the mean absolute log ratio over all rows above: 0 is equal, 0.69 a factor of two.
"""

import argparse
from pathlib import Path

from otoc_lib.datasets.bundled_rooms import SOURCE, SPLITS, read, read_index
from room_factory.statistics import SCANNET, compare_rooms, distance_to_scannet


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[SOURCE], metavar="DIR")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--quick", action="store_true", help="only the first 8 rooms")
    options = parser.parse_args(argv)
    print("## Simulated rooms beside ScanNet\n")
    columns = []
    for folder in options.folders:
        names = [name for name, room in read_index(folder)["rooms"].items() if room["split"] == options.split]
        names = names[: 8 if options.quick else None]
        columns.append(compare_rooms(read(folder / f"{name}.room.xz") for name in names))
        print(f"{folder.name}: {len(names)} {options.split} rooms.\n")
    print(_row("", "ScanNet", *(folder.name for folder in options.folders)))
    print("|---|" + "---|" * (1 + len(columns)))
    for name, value in SCANNET.items():
        print(_row(name, *(f"{number:.2f}" for number in (value, *(column[name] for column in columns)))))
    distances = (f"{distance_to_scannet(column):.3f}" for column in columns)
    print(_row("mean absolute log ratio", "0", *distances))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
