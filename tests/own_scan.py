"""A scan as somebody brings it along: a floor with boxes on it, as a mesh, and the file it lies in."""

from pathlib import Path

import numpy as np

from otoc_lib.datasets import own
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.geometric import Partition


def make_scan(
    seed: int, cells: int = 60, spacing: float = 0.04
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points float64 [N, 3], colours uint8 [N, 3], triangles int32 [F, 3], and the truth int [N]: 0 floor, 1, 2 boxes.

    Two boxes of class 1 and one of class 2 stand on a floor of class 0, each in the colour of its class.
    """
    generator = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
    heights, truth = np.zeros((cells, cells)), np.zeros((cells, cells), dtype=np.int64)
    for corner, label in (((5, 5), 1), ((5, 35), 2), ((35, 20), 1)):
        place = tuple(
            slice(at + shift, at + shift + 15) for at, shift in zip(corner, generator.integers(0, 8, 2), strict=True)
        )
        heights[place], truth[place] = 0.3 * label, label
    points = np.stack([x * spacing, y * spacing, heights], axis=-1).reshape(-1, 3) + [3.0, -2.0, 0.5]
    points += generator.normal(scale=0.001, size=points.shape)
    palette = np.array([(150, 120, 90), (200, 40, 40), (40, 60, 200)])
    colors = np.clip(palette[truth.ravel()] + generator.normal(scale=8, size=points.shape), 0, 255).astype(np.uint8)
    corners = (x[:-1, :-1] * cells + y[:-1, :-1]).ravel()
    faces = np.stack([corners, corners + cells, corners + 1, corners + 1, corners + cells, corners + cells + 1], axis=1)
    return np.round(points, 3), colors, faces.reshape(-1, 3).astype(np.int32), truth.ravel()


CLASSES = own.label_set(["floor", "box", "crate"])
POINTS, COLORS, FACES, TRUTH = make_scan(0)


def write_ascii(
    path: Path, points: np.ndarray = POINTS, colors: np.ndarray = COLORS, faces: np.ndarray = FACES
) -> Path:
    """An ascii PLY; written line by line so that nothing of the kit is in it."""
    lines = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    lines += [f"property double {axis}" for axis in "xyz"] + [f"property uchar {c}" for c in ("red", "green", "blue")]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [
        " ".join(map(repr, [*point, *color])) for point, color in zip(points.tolist(), colors.tolist(), strict=True)
    ]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def load(root: Path, name: str = "room") -> Scene:
    return own.load_scene(root, name, CLASSES, Partition(minimum=5))
