"""Super-voxels: time, and what strength and minimum of the geometric partition trade against each other.

Processor seconds, all threads together, medians. Where there is a usual alternative, it takes turns with ours: the
mesh segmentation with its plain Python twin (on a small room), the search for neighbours with scipy's. The rest says
where the time goes. The table of trade-offs averages over rooms: bundled meshes with points drawn on their triangles
and 3 mm of noise, and the bundled S3DIS-like rooms as they are. The labels of the former follow the mesh's
super-voxels, those of the latter the objects.

    python benchmarks/supervoxels.py            everything, about a minute
    python benchmarks/supervoxels.py --quick    small sizes and one room of each kind
"""

import argparse
import runpy
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from timing import in_turn

from otoc_lib.datasets import bundled_areas, bundled_rooms
from otoc_lib.labels import SCANNET20
from otoc_lib.supervoxels.geometric import (
    NEIGHBOURS,
    SURFACE,
    WEIGHTS,
    Partition,
    cut_pursuit,
    merge_small,
    nearest,
    neighbour_graph,
    segment_points,
    surface_features,
    voxel_means,
)
from otoc_lib.supervoxels.mesh import segment_mesh
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


def drawn_on(room: bundled_rooms.BundledRoom, count: int) -> Cloud:
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


def seconds(repeats: int, *sides: Callable) -> list[float]:
    """Median processor time of each side, all threads together."""
    return [processor for _, processor in in_turn(dict(enumerate(sides)), repeats).values()]


def print_times(quick: bool, room: bundled_rooms.BundledRoom, cloud: Cloud) -> None:
    repeats = 1 if quick else 3
    print("| what | size | seconds | beside | seconds | ratio |\n|---|---|---|---|---|---|")

    vertices, faces = noisy_surface(20_000 if quick else 250_000)
    (ours,) = seconds(repeats, lambda: segment_mesh(vertices, faces))
    print(f"| mesh segmentation | {len(vertices)} vertices, {len(faces)} faces | {ours:.2f} | | | |")
    slow_segments = runpy.run_path(str(SLOW_MESH))["slow_segments"]
    plain_vertices, plain_faces = room.vertices.tolist(), room.faces.tolist()
    ours, plain = seconds(
        repeats,
        lambda: segment_mesh(room.vertices, room.faces),
        lambda: slow_segments(plain_vertices, plain_faces, 0.01, 20),
    )
    size = f"{len(room.vertices)} vertices, {len(room.faces)} faces"
    print(f"| mesh segmentation | {size} | {ours:.3f} | plain Python | {plain:.2f} | {plain / ours:.0f} |")

    points, colors, _ = cloud
    (whole,) = seconds(repeats, lambda: segment_points(points, colors, Partition()))
    print(f"| geometric partition | {len(points)} points | {whole:.2f} | | | |")
    _, centres, shades = voxel_means(points, colors, Partition().voxel)
    neighbours, distances = nearest(centres, SURFACE + 1)
    features = np.hstack([surface_features(centres, neighbours), shades]) * WEIGHTS
    graph = neighbour_graph(neighbours, distances)
    pieces = cut_pursuit(features, *graph, Partition().strength)
    steps = {
        "voxel means": lambda: voxel_means(points, colors, Partition().voxel),
        "surface features": lambda: surface_features(centres, neighbours),
        f"graph of {NEIGHBOURS} neighbours": lambda: neighbour_graph(neighbours, distances),
        "cut pursuit": lambda: cut_pursuit(features, *graph, Partition().strength),
        "merging": lambda: merge_small(pieces, features, graph[0], Partition().minimum),
    }
    ours, tree = seconds(
        repeats, lambda: nearest(centres, SURFACE + 1), lambda: cKDTree(centres).query(centres, SURFACE + 1)
    )
    size = f"{len(centres)} voxels"
    print(f"| … {SURFACE + 1} nearest | {size} | {ours:.2f} | scipy's cKDTree | {tree:.2f} | {tree / ours:.1f} |")
    for name, step in steps.items():
        print(f"| … {name} | {size} | {seconds(1, step)[0]:.2f} | | | |")


def print_trade_off(title: str, clouds: list[Cloud], settings: list[tuple[float, int]]) -> None:
    points = int(np.mean([len(cloud[0]) for cloud in clouds]))
    print(f"\n### {title}\n\nMeans over {len(clouds)} rooms of {points} points.\n")
    print("| strength | minimum | super-voxels | purity | mixed | boundary recall | p5 | p50 | p95 points |")
    print("|---|---|---|---|---|---|---|---|---|")
    for strength, minimum in settings:
        rows = []
        for points, colors, labels in clouds:
            segments = segment_points(points, colors, Partition(strength=strength, minimum=minimum))
            rows.append(astuple(partition_quality(points, segments, labels)))
        count, purity, mixed, recall, *sizes = np.nanmean(rows, axis=0)
        sizes = " | ".join(f"{size:.0f}" for size in sizes)
        print(f"| {strength} | {minimum} | {count:.0f} | {purity:.4f} | {mixed:.3f} | {recall:.3f} | {sizes} |")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one room of each kind")
    options = parser.parse_args(argv)
    kept = 1 if options.quick else 2
    names = [name for name, room in bundled_rooms.read_index()["rooms"].items() if room["split"] == "val"]
    names = names[:: len(names) // 4][:kept]
    meshes = [bundled_rooms.read(bundled_rooms.SOURCE / f"{name}.room.xz") for name in names]
    clouds = [drawn_on(mesh, 60_000 if options.quick else 125_000) for mesh in meshes]
    print("## Super-voxels\n")
    print_times(options.quick, meshes[0], side_by_side(clouds))

    strengths, minimums = [0.02, 0.05, 0.08, 0.12], [10, 40]
    settings = [(strength, 20) for strength in strengths] + [(0.05, minimum) for minimum in minimums]
    settings = [(0.05, 20)] if options.quick else settings
    print_trade_off("Points on bundled meshes, labels of the mesh's super-voxels", clouds, settings)
    names = [name for name in bundled_areas.read_index()["rooms"] if name.startswith("Area_5")][:kept]
    loaded = [bundled_areas.read(bundled_areas.packed_path(bundled_areas.SOURCE, name)) for name in names]
    clouds = [(room.points, room.colors, room.labels()) for room in loaded]
    print_trade_off("S3DIS-like rooms, labels of the objects", clouds, settings)


if __name__ == "__main__":
    main()
