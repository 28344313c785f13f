"""Simulated rooms: furnish, film, fuse, over-segment and label rooms as ScanNet did, from Debian's furniture models.

``simulate_rooms`` makes the whole bundled set again. It needs the ``simulate`` extra (Open3D, trimesh, Pillow) and the
Debian package sweethome3d-furniture, installed or merely unpacked.
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from otoc_lib.datasets.rooms import Room
from otoc_lib.errors import OtocError
from otoc_lib.simulate.catalogue import SYSTEM_ROOT, Catalogue, find_library
from otoc_lib.simulate.plan import make_plan

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


def simulate_room(name: str, seed: int, furniture_root: Path) -> tuple[Room, float, list[str]]:
    """One room by its name: (Room, share of vertices that agree with their super-voxel before snapping, model ids)."""
    import numpy as np

    from otoc_lib.simulate.scan import scan_room

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
    try:
        import open3d  # noqa: F401
        import trimesh  # noqa: F401
        from PIL import Image  # noqa: F401
    except ImportError as error:
        raise OtocError(
            f"simulating rooms needs the extra packages: pip install 'otoc-kit[simulate]' ({error})"
        ) from error
    from otoc_lib.datasets import rooms as packed
    from otoc_lib.simulate.statistics import credits_text, print_statistics, room_statistics
    from otoc_lib.store import write_aside

    furniture_root = Path(furniture_root or SYSTEM_ROOT)
    find_library(furniture_root, "Scopia")
    names = rooms or list(room_names())
    unknown = sorted(set(names) - set(room_names()))
    if unknown:
        raise OtocError(f"rooms: {', '.join(unknown)} not among scene0000_00 .. scene3011_00")
    destination = Path(destination)
    destination.mkdir(parents=True, exist_ok=True)
    done, entries, models = [], {}, set()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(simulate_room, names, [seed] * len(names), [furniture_root] * len(names))
        for name, (room, purity, used) in zip(names, results, strict=True):
            packed.pack(room, destination / f"{name}.room.xz")
            entries[name] = {"split": room_names()[name][0], **room_statistics(room, purity)}
            models.update(used)
            if contact_sheets:
                done.append(room)
            print(f"{name}: {entries[name]['vertices']} vertices", file=sys.stderr, flush=True)
    with write_aside(destination / "index.json") as aside:
        aside.write_text(json.dumps({"seed": seed, "rooms": entries}, indent=0) + "\n", encoding="utf-8")
    with write_aside(destination / "CREDITS") as aside:
        aside.write_text(credits_text(models), encoding="utf-8")
    print_statistics(entries)
    if contact_sheets:
        from otoc_lib.simulate.contact_sheet import write_contact_sheets

        write_contact_sheets(done, destination / "sheets")
