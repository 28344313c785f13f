"""Labelling a scan by a trained run: seconds of every step, points a second, peak memory, and tiles beside the whole.

The scan is a storey: bundled rooms side by side, with points drawn on their triangles, in a PLY file. The networks have
the size of the rooms profile and random weights, which take as long as trained ones. Networks and propagation are timed
as plain evaluation runs them, then in tiles; with one view and with four.

    python benchmarks/predict.py                     half a million points
    python benchmarks/predict.py --points 20000000   a floor, tile by tile alone; minutes
    python benchmarks/predict.py --quick             a small scan
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from supervoxels import drawn_on
from timing import peak_memory, print_targets

from otoc_lib import predict
from otoc_lib.config import Config, load_config
from otoc_lib.datasets import bundled_rooms, labelled_ply
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.labels import SCANNET20
from otoc_lib.methods import one_thing_one_click
from otoc_lib.methods.method import Networks
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.supervoxels.make import make_supervoxels
from otoc_lib.tiling import tiling

PARAMS = Path(__file__).parents[1] / "params" / "rooms" / "otoc.yaml"
ROOM = 125_000  # points of a room
PITCH = 8.0  # metres from a room to the next
SECONDS = 60  # for half a million points
WHOLE = 2_000_000  # points up to which the whole is predicted too
NARROW = 8.0  # metres: tiles that cut even a few rooms


def storey(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 [N, 3] and colours uint8 [N, 3] of rooms in a square, each of ``ROOM`` points at most."""
    index = [name for name, room in bundled_rooms.read_index()["rooms"].items() if room["split"] == "val"]
    rooms = [bundled_rooms.read(bundled_rooms.SOURCE / f"{name}.room.xz") for name in index[:4]]
    copies = max(-(-count // ROOM), 4)
    drawn = [drawn_on(room, min(ROOM, -(-count // copies)))[:2] for room in rooms[:copies]]
    side = int(np.ceil(copies**0.5))
    places = [PITCH * np.array([number % side, number // side, 0]) for number in range(copies)]
    points = [drawn[number % len(drawn)][0] + place for number, place in enumerate(places)]
    colors = [drawn[number % len(drawn)][1] for number in range(copies)]
    return np.concatenate(points)[:count], np.concatenate(colors)[:count]


def timed(work: Callable) -> tuple[float, float | None, object]:
    """Seconds, peak memory in MB (None where the system does not tell), and what the work gave."""
    memory, started = peak_memory(), time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    return seconds, memory(), found


def scene_of(path: Path, config: Config) -> tuple[Scene, dict[str, tuple[float, float | None]]]:
    """The scan with its super-voxels, as ``own.read_file`` makes it, and what the two steps took."""
    *read, scan = timed(lambda: read_scan(path))
    origin = scan.points.mean(axis=0)
    centred = scan.points - origin
    *cut, supervoxels = timed(lambda: make_supervoxels(centred, scan.colors, scan.faces, Partition.of(config)))
    coords = centred.astype(np.float32)
    scene = Scene("storey", coords, scan.colors, supervoxels, None, None, origin, SCANNET20)
    return scene, {"reading": tuple(read), "super-voxels": tuple(cut)}


def prediction(config: Config, scene: Scene, networks: Networks) -> dict:
    return one_thing_one_click.predict_modes(config, scene, networks)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--quick", action="store_true", help="40 000 points")
    options = parser.parse_args(argv)
    count = 40_000 if options.quick else options.points

    rooms = load_config(PARAMS)
    unet, relation = new_unet(rooms, len(SCANNET20)).eval(), new_relation_net(rooms, len(SCANNET20)).eval()
    networks = {"unet": unet, "relation": relation}
    config = predict.tiled(rooms, unet)
    prediction(config, Scene("warm", *warm_arrays(), None, None, np.zeros(3), SCANNET20), networks)  # compiles

    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "storey.ply", Path(folder) / "labelled.ply"
        points, colors = storey(count)
        labelled_ply.write_ply(path, points, dict(zip(("red", "green", "blue"), colors.T, strict=True)), None)
        del points, colors
        scene, steps = scene_of(path, config)
        *both, modes = timed(lambda: prediction(config, scene, networks))
        labels, confidence = modes["full"].labels(), modes["full"].confidence()
        del modes
        export = lambda: labelled_ply.export_labels(path, labels, confidence, SCANNET20, out)  # noqa: E731
        steps |= {"networks and propagation": tuple(both), "writing": timed(export)[:2]}
    tiles = len(tiling(scene.coords, config.tile_metres, config.tile_overlap))
    wide = " x ".join(f"{side:.0f}" for side in np.ptp(scene.coords[:, :2], axis=0))
    print("## Labelling a scan by a trained run\n")
    print(
        f"{scene.num_points} points of {wide} m in {scene.num_supervoxels} super-voxels, in {tiles} tiles of "
        f"{config.tile_metres:.0f} m; peak memory beside what was held before.\n"
    )
    print("| step | seconds | points/s | peak MB |\n|---|---|---|---|")
    for name, (seconds, memory) in steps.items():
        print(f"| {name} | {seconds:.2f} | {scene.num_points / seconds:.0f} | {_megabytes(memory)} |")
    total = sum(seconds for seconds, _ in steps.values())
    print(f"| all | {total:.2f} | {scene.num_points / total:.0f} | |")

    if scene.num_points <= WHOLE:
        print_beside(replace(rooms, tile_metres=None), scene, networks)
    met = total <= SECONDS if count == 500_000 else None
    words = f"500 000 points by the whole method in at most {SECONDS} s on two cores"
    print_targets([(words, f"{total:.1f} s for {scene.num_points} points", met)])


def print_beside(whole: Config, scene: Scene, networks: Networks) -> None:
    """Networks and propagation of the whole scan, as plain evaluation runs them, beside tiles and more views."""
    narrow = replace(whole, tile_metres=NARROW)
    alone = {"unet": networks["unet"]}
    sides = {
        "the whole at once, 1 view": lambda: prediction(whole, scene, networks),
        f"in {len(tiling(scene.coords, NARROW, narrow.tile_overlap))} tiles of {NARROW:.0f} m": lambda: prediction(
            narrow, scene, networks
        ),
        "the whole at once, 4 views": lambda: prediction(replace(whole, views=4), scene, networks),
        "the U-Net alone, 1 view": lambda: predict.predict_unet(whole, scene, alone),
    }
    print("\n| networks and propagation | seconds | ratio | peak MB |\n|---|---|---|---|")
    first = None
    for name, work in sides.items():
        seconds, memory, _ = timed(work)
        first = first or seconds
        print(f"| {name} | {seconds:.2f} | {seconds / first:.2f} | {_megabytes(memory)} |")


def warm_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 3, (3000, 3)).astype(np.float32)
    return coords, rng.integers(0, 255, (3000, 3)).astype(np.uint8), np.arange(3000, dtype=np.int32) // 100


def _megabytes(memory: float | None) -> str:
    return "not known" if memory is None else f"{memory:.0f}"


if __name__ == "__main__":
    with torch.inference_mode():
        main()
