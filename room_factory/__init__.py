"""Makes the bundled rooms again: furnish, film, fuse, over-segment and label rooms as ScanNet did.

``simulate_rooms`` makes the whole bundled set, ``areas.simulate_areas`` the one in the manner of S3DIS. They need the
``room-factory`` extra (Open3D, trimesh, Pillow) and Debian's furniture models in its package sweethome3d-furniture,
installed or merely unpacked. The kit never needs this package to run, and imports nothing of it.
"""

import sys
from pathlib import Path

from otoc_lib.datasets.bundled_rooms import BundledRoom
from room_factory.catalogue import Catalogue
from room_factory.plan import make_plan
from room_factory.production import choose_rooms, find_furniture, produce, write_index

ROOMS = {"train": 96, "val": 24, "val_novel": 4, "test": 12}
SEED = 0


def room_names() -> dict[str, tuple[str, int]]:
    """(split, number within it) of every bundled room by its name."""
    return {
        f"scene{1000 * block + number:04d}_00": (split, number)
        for block, (split, count) in enumerate(ROOMS.items())
        for number in range(count)
    }


_catalogues: dict[Path, Catalogue] = {}


def simulate_room(name: str, seed: int, furniture_root: Path) -> tuple[BundledRoom, float, list[str]]:
    """One room by its name, the share of vertices that agree with their super-voxel before snapping, and model ids."""
    import numpy as np

    from room_factory.scan import scan_room

    split, number = room_names()[name]
    catalogue = _catalogues.setdefault(Path(furniture_root), Catalogue(furniture_root))
    plan = make_plan(catalogue, seed, split, number)
    room, purity = scan_room(plan, name, np.random.default_rng([seed, int(name[5:9])]))
    return room, purity, sorted({thing.model for thing in plan.objects if thing.model})


def simulate_rooms(
    destination: Path,
    seed: int = SEED,
    furniture_root: Path | None = None,
    rooms: list[str] | None = None,
    workers: int = 2,
    contact_sheets: bool = True,
) -> None:
    """Make the bundled rooms again: packed rooms, index.json and CREDITS in ``destination``, statistics on stdout.

    ``furniture_root`` is where the Debian package lies (by default where apt installs it). ``rooms`` names some of
    the rooms (all by default); ``contact_sheets`` writes PNG pages into ``destination/sheets``.
    The same seed gives the same plans, labels and counts. OtocError if the extra or the furniture is missing.
    """
    from otoc_lib.datasets.bundled_rooms import pack
    from room_factory.statistics import credits_text, print_statistics, room_statistics

    names, furniture_root = choose_rooms(rooms, room_names()), find_furniture(furniture_root)
    destination = Path(destination)
    destination.mkdir(parents=True, exist_ok=True)
    done, entries, models = [], {}, set()
    results = produce(simulate_room, names, seed, furniture_root, workers)
    for name, (room, purity, used) in zip(names, results, strict=True):
        pack(room, destination / f"{name}.room.xz")
        entries[name] = {"split": room_names()[name][0], **room_statistics(room, purity)}
        models.update(used)
        if contact_sheets:
            done.append(room)
        print(f"{name}: {entries[name]['vertices']} vertices", file=sys.stderr, flush=True)
    write_index(destination, seed, entries, credits_text(models))
    print_statistics(entries)
    if contact_sheets:
        from room_factory.contact_sheet import write_contact_sheets

        write_contact_sheets(done, destination / "sheets")
