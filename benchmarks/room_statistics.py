"""How close the simulated rooms come to ScanNet: one table of statistics and one number.

    python benchmarks/room_statistics.py [DIR [DIR]] [--split train]

DIR is a folder of packed rooms (data/rooms if none is given); two folders stand side by side, for example an older
set and a newer one. The last row is the mean absolute log ratio over all rows above: 0 is equal, 0.69 a factor of two.
"""

import argparse
from pathlib import Path

from otoc_lib.datasets.rooms import SOURCE, SPLITS, read, read_index
from otoc_lib.simulate.statistics import SCANNET, compare_rooms, distance_to_scannet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[SOURCE], metavar="DIR")
    parser.add_argument("--split", choices=SPLITS, default="train")
    options = parser.parse_args()
    columns = []
    for folder in options.folders:
        names = [name for name, room in read_index(folder)["rooms"].items() if room["split"] == options.split]
        columns.append(compare_rooms(read(folder / f"{name}.room.xz") for name in names))
        print(f"{folder}: {len(names)} {options.split} rooms")
    print(f"{'':40}{'ScanNet':>10}" + "".join(f"{folder.name:>16}" for folder in options.folders))
    for name, value in SCANNET.items():
        print(f"{name:40}{value:10.2f}" + "".join(f"{column[name]:16.2f}" for column in columns))
    distances = "".join(f"{distance_to_scannet(column):16.3f}" for column in columns)
    print(f"{'mean absolute log ratio':40}{0:10.3f}{distances}")


if __name__ == "__main__":
    main()
