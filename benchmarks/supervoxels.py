"""Super-voxels: time, and what strength and minimum of the geometric partition trade against each other.

Processor seconds, all threads together, stand beside those of the usual alternative in the same run: the mesh
segmentation beside its plain Python twin (on a small room), the search for neighbours beside scipy's. The table of
trade-offs averages over rooms: bundled meshes with points drawn on their triangles and 3 mm of noise, and the bundled
S3DIS-like rooms as they are. The labels of the former follow the mesh's super-voxels, those of the latter the objects.

    python benchmarks/supervoxels.py            everything, about five minutes
    python benchmarks/supervoxels.py --quick    small sizes and one room of each kind
"""

import argparse
import runpy
import statistics
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from otoc_lib.datasets import areas, rooms
from otoc_lib.labels import SCANNET20
from otoc_lib.supervoxels import Partition, segment_mesh, segment_points
from otoc_lib.supervoxels.geometric import (
    NEIGHBOURS,
    SURFACE,
    WEIGHTS,
    cut_pursuit,
    merge_small,
    nearest,
    neighbour_graph,
    surface_features,
    voxel_means,
)
from otoc_lib.supervoxels.quality import partition_quality

SLOW_MESH = Path(__file__).parents[1] / "tests" / "supervoxels" / "slow_mesh.py"
Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]  # points [N, 3], colours [N, 3], labels [N]


def noisy_surface(vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """A floor with furniture-sized steps, 2.5 cm between vertices, 2 mm of noise, vertices and faces shuffled."""
    rng, side = np.random.default_rng(0), int(vertices**0.5)
    y, x = np.mgrid[0:side, 0:side] * 0.025
    z = 0.4 * ((x % 1.5 > 0.7) & (y % 1.3 > 0.6)) + rng.normal(0, 0.002, x.shape)
    index = rng.permutation(side * side).reshape(side, side)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    surface = np.empty((side * side, 3))
    surface[index.ravel()] = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    return surface, rng.permutation(np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))


def drawn_on(room: rooms.Room, count: int) -> Cloud:
    """Points drawn on a room's triangles with 3 mm of noise; a point has the label of the nearest corner."""
    rng, vertices = np.random.default_rng(0), room.vertices.astype(np.float64)
    a, b, c = (vertices[room.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    faces = room.faces[rng.choice(len(area), count, p=area / area.sum())]  # [N, 3]
    weights = rng.dirichlet([1, 1, 1], count)
    points = (vertices[faces] * weights[:, :, None]).sum(axis=1) + rng.normal(0, 0.003, (count, 3))
    colors = (room.colors[faces] * weights[:, :, None]).sum(axis=1).astype(np.uint8)
    return points, colors, SCANNET20.from_file_ids(room.nyu40())[faces[np.arange(count), weights.argmax(axis=1)]]


def side_by_side(clouds: list[Cloud]) -> Cloud:
    """One cloud of several, 20 m apart."""
    points = [points + [20.0 * i, 0, 0] for i, (points, _, _) in enumerate(clouds)]
    return np.concatenate(points), np.concatenate([c for _, c, _ in clouds]), np.concatenate([c for _, _, c in clouds])


def seconds(function: Callable, repeats: int) -> float:
    """Median processor time of some runs after a first one, which compiles."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


def print_times(quick: bool, room: rooms.Room, cloud: Cloud) -> None:
    repeats = 1 if quick else 5
    print("| what | size | seconds | beside | seconds | ratio |\n|---|---|---|---|---|---|")

    vertices, faces = noisy_surface(20_000 if quick else 250_000)
    ours = seconds(lambda: segment_mesh(vertices, faces), repeats)
    print(f"| mesh segmentation | {len(vertices)} vertices, {len(faces)} faces | {ours:.2f} | | | |")
    slow_segments = runpy.run_path(str(SLOW_MESH))["slow_segments"]
    plain_vertices, plain_faces = room.vertices.tolist(), room.faces.tolist()
    ours = seconds(lambda: segment_mesh(room.vertices, room.faces), repeats)
    plain = seconds(lambda: slow_segments(plain_vertices, plain_faces, 0.01, 20), 1)
    size = f"{len(room.vertices)} vertices, {len(room.faces)} faces"
    print(f"| mesh segmentation | {size} | {ours:.3f} | plain Python | {plain:.2f} | {plain / ours:.0f} |")

    points, colors, _ = cloud
    whole = seconds(lambda: segment_points(points, colors, Partition()), min(repeats, 3))
    print(f"| geometric partition | {len(points)} points | {whole:.2f} | | | |")
    _, centres, shades = voxel_means(points, colors, Partition().voxel)
    neighbours, distances = nearest(centres, SURFACE + 1)
    features = np.hstack([surface_features(centres, neighbours), shades]) * WEIGHTS
    graph = neighbour_graph(neighbours, distances)
    pieces = cut_pursuit(features, *graph, Partition().strength)
    steps = {
        "voxel means": lambda: voxel_means(points, colors, Partition().voxel),
        f"{SURFACE + 1} nearest": lambda: nearest(centres, SURFACE + 1),
        "surface features": lambda: surface_features(centres, neighbours),
        f"graph of {NEIGHBOURS} neighbours": lambda: neighbour_graph(neighbours, distances),
        "cut pursuit": lambda: cut_pursuit(features, *graph, Partition().strength),
        "merging": lambda: merge_small(pieces, features, graph[0], Partition().minimum),
    }
    for name, step in steps.items():
        ours, beside = seconds(step, 1), "| | | |"
        if "nearest" in name:
            tree = seconds(lambda: cKDTree(centres).query(centres, SURFACE + 1), 1)
            beside = f"| scipy's cKDTree | {tree:.2f} | {tree / ours:.1f} |"
        print(f"| … {name} | {len(centres)} voxels | {ours:.2f} {beside}")


def print_trade_off(title: str, clouds: list[Cloud], strengths: list[float], minimums: list[int]) -> None:
    print(f"\n{title}: means over {len(clouds)} rooms of {int(np.mean([len(c[0]) for c in clouds]))} points")
    print("| strength | minimum | super-voxels | purity | mixed | boundary recall | p5 | p50 | p95 points |")
    print("|---|---|---|---|---|---|---|---|---|")
    for strength in strengths:
        for minimum in minimums:
            rows = []
            for points, colors, labels in clouds:
                segments = segment_points(points, colors, Partition(strength=strength, minimum=minimum))
                rows.append(astuple(partition_quality(points, segments, labels)))
            count, purity, mixed, recall, *sizes = np.nanmean(rows, axis=0)
            sizes = " | ".join(f"{size:.0f}" for size in sizes)
            print(f"| {strength} | {minimum} | {count:.0f} | {purity:.4f} | {mixed:.3f} | {recall:.3f} | {sizes} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one room of each kind")
    options = parser.parse_args()
    names = [name for name, room in rooms.read_index()["rooms"].items() if room["split"] == "val"]
    names = names[:: len(names) // 4][: 1 if options.quick else 4]
    meshes = [rooms.read(rooms.SOURCE / f"{name}.room.xz") for name in names]
    clouds = [drawn_on(mesh, 60_000 if options.quick else 125_000) for mesh in meshes]
    print_times(options.quick, meshes[0], side_by_side(clouds))

    strengths, minimums = ([0.05], [20]) if options.quick else ([0.02, 0.035, 0.05, 0.08, 0.12], [10, 20, 40])
    print_trade_off("Points on bundled meshes, labels of the mesh's super-voxels", clouds, strengths, minimums)
    names = [name for name in areas.read_index()["rooms"] if name.startswith("Area_5")]
    loaded = [areas.read(areas.packed_path(areas.SOURCE, name)) for name in names[: 1 if options.quick else 4]]
    print_trade_off(
        "S3DIS-like rooms, labels of the objects",
        [(room.points, room.colors, room.labels()) for room in loaded],
        strengths,
        minimums,
    )


if __name__ == "__main__":
    main()
