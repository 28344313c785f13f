"""Making a whole set of rooms, several at a time: what the two simulators share."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from room_factory.catalogue import SYSTEM_ROOT, find_library


def choose_rooms(rooms: list[str] | None, known: Iterable[str]) -> list[str]:
    """The rooms asked for, all where none are; OtocError for a name that is not known."""
    known = list(known)
    unknown = sorted(set(rooms or ()) - set(known))
    if unknown:
        raise OtocError(f"rooms: {', '.join(unknown)} not among {known[0]} .. {known[-1]}")
    return rooms or known


def find_furniture(root: Path | None) -> Path:
    """Where the furniture lies (by default where apt installs it); OtocError if it or the extra is missing."""
    try:
        import open3d  # noqa: F401
        import trimesh  # noqa: F401
        from PIL import Image  # noqa: F401
    except ImportError as error:
        raise OtocError(
            f"simulating rooms needs the extra packages: pip install 'otoc-kit[room-factory]' ({error})"
        ) from error
    root = Path(root or SYSTEM_ROOT)
    find_library(root, "Scopia")
    return root


def produce(simulate_room: Callable, names: list[str], seed: int, furniture_root: Path, workers: int) -> Iterator[Any]:
    """``simulate_room(name, seed, furniture_root)`` of every name in turn, from so many processes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(simulate_room, names, [seed] * len(names), [furniture_root] * len(names))


def write_index(destination: Path, seed: int, entries: dict[str, dict], credits_text: str) -> None:
    """index.json and CREDITS of a set."""
    with write_aside(destination / "index.json") as aside:
        aside.write_text(json.dumps({"seed": seed, "rooms": entries}, indent=0) + "\n", encoding="utf-8")
    with write_aside(destination / "CREDITS") as aside:
        aside.write_text(credits_text, encoding="utf-8")
