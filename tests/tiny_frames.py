"""Frames of a made camera in ScanNet's layout, shared by the tests that read them."""

from pathlib import Path

import numpy as np
from PIL import Image


def camera(shape: tuple[int, int], focal: float) -> np.ndarray:
    """Intrinsics [3, 3] of a camera whose middle is that of an image of some (H, W)."""
    return np.array([[focal, 0, (shape[1] - 1) / 2], [0, focal, (shape[0] - 1) / 2], [0, 0, 1]])


def looking_along_x(eye: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A level camera at ``eye`` that looks along x: its right is -y, its down -z."""
    pose = np.eye(4)
    pose[:3] = np.column_stack([(0, -1, 0), (0, 0, -1), (1, 0, 0), eye])
    return pose


def matrix_text(matrix: np.ndarray) -> str:
    """As ScanNet's exporter writes it."""
    whole = np.eye(4)
    whole[: len(matrix), : len(matrix)] = matrix
    return "".join(" ".join(f"{number:f}" for number in row) + "\n" for row in whole)


def write_frame_files(
    folder: Path,
    frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    depth_intrinsic: np.ndarray,
    color_intrinsic: np.ndarray | None = None,
) -> Path:
    """Write the frames of one scene.

    Args:
        folder: of the scene.
        frames: pose [4, 4], depth in metres [H, W] and label ids [H', W'] of each.
        color_intrinsic: None for those of the depth.
    """
    for kind in ("depth", "label-filt", "pose", "intrinsic"):
        (folder / kind).mkdir(parents=True)
    for file, matrix in (("depth", depth_intrinsic), ("color", color_intrinsic)):
        (folder / "intrinsic" / f"intrinsic_{file}.txt").write_text(
            matrix_text(depth_intrinsic if matrix is None else matrix)
        )
    for number, (pose, depth, ids) in enumerate(frames):
        millimetres = np.rint(1000 * np.asarray(depth)).astype(np.uint16)
        Image.fromarray(millimetres).save(folder / "depth" / f"{number}.png")
        Image.fromarray(np.asarray(ids)).save(folder / "label-filt" / f"{number}.png")
        (folder / "pose" / f"{number}.txt").write_text(matrix_text(pose))
    return folder
