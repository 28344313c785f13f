"""Labels of points from labelled images: every point takes the commonest class of the pixels that show it.

A point is projected into each frame; the pixel shows it if it lies no further from the surface there than a tolerance.
The surface is the frame's depth or, where that was not measured, the nearest point in the pixel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.datasets.frames import Frame, FrameFolder, open_frames, read_frame
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene
from otoc_lib.spacing import point_spacing

LEAST_TOLERANCE, SPACINGS = 0.03, 1.5  # metres, and spacings of the points; the larger counts
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class DrawnFrames:
    """The frames of one scene that are used, K of them in a row, each read when it is asked for."""

    folder: FrameFolder
    drawn: np.ndarray  # int64 [K] of the folder's
    classes: np.ndarray  # int16 [65536], of the ids in label images
    tolerance: float  # metres, see ``visible``

    def __len__(self) -> int:
        return len(self.drawn)

    def __getitem__(self, k: int) -> Frame:
        return read_frame(self.folder, self.drawn[k], self.classes)


def draw_from(scene: Scene, root: Path, classes: np.ndarray, share: float, seed: int) -> DrawnFrames:
    """A share of the frames of a scene; arguments as for ``label_scene``."""
    folder = open_frames(root, scene.name)
    drawn = draw_frames(len(folder.names), share, seed, scene.name)
    tolerance = max(LEAST_TOLERANCE, SPACINGS * point_spacing(scene.coords))
    return DrawnFrames(folder, drawn, classes, tolerance)


def label_scene(
    scene: Scene, root: Path, classes: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Labels of a scene from a share of its frames.

    Args:
        root: folder of the frames, see ``datasets.frames``.
        classes: of the ids in label images, as ``frames.class_table`` gives it.
        share, seed: see ``draw_frames``.

    Returns:
        Class index or IGNORE, int16 [N]; ``frames_used`` and ``frames_skipped``, those without a pose.

    Raises:
        OtocError: the frames are missing or damaged, or show no point of the scene.
    """
    frames = draw_from(scene, root, classes, share, seed)
    labels = label_points(scene.in_file(scene.coords), iter(frames), len(scene.label_set), frames.tolerance)
    if (labels == IGNORE).all():
        raise OtocError(
            f"{frames.folder.path}: no labelled pixel of the {len(frames)} frames drawn shows a point of the scene; "
            "poses must map camera to world in the scan's own coordinates, in metres; of few frames, draw more "
            "(images_share)"
        )
    return labels, {"frames_used": len(frames), "frames_skipped": frames.folder.skipped}


def draw_frames(count: int, share: float, seed: int, name: str) -> np.ndarray:
    """Which of ``count`` frames are used, int64, sorted: max(1, round(share count)) of them, evenly spread.

    Frame i has the number (i g + offset) mod 1, g the golden ratio, and the smallest numbers are drawn: what is drawn
    at one share is drawn at every larger one, and of one in six the next one is 3, 5 or 8 frames later.

    Args:
        share: above 0, at most 1.
        seed: with the scene's name it fixes the offset.
    """
    if not 0 < share <= 1 or seed < 0:
        raise OtocError(f"share ({share}) must be above 0 and at most 1, and seed ({seed}) at least 0")
    offset = np.random.default_rng([seed, *b"frames", *name.encode()]).random()
    return np.sort(np.argsort((np.arange(count) * GOLDEN + offset) % 1)[: max(1, round(share * count))])


def label_points(points: np.ndarray, frames: Iterable[Frame], num_classes: int, tolerance: float) -> np.ndarray:
    """The commonest class of the pixels that show each point, int16 [N]; IGNORE where no pixel with a class does.

    A pixel without a class has no vote. On a tie the class of the nearest camera wins, then the first class.

    Args:
        points: float64 [N, 3] metres, in the coordinates that the poses map to.
        tolerance: metres, see ``visible``.
    """
    votes = np.zeros((len(points), num_classes), np.int32)
    nearest = np.full(votes.shape, np.inf, np.float32)  # metres to the nearest camera that said so
    for frame in frames:
        in_camera = to_camera(points, frame.pose)
        shown = pixels_of(in_camera, frame.class_intrinsic, frame.classes.shape)
        said = frame.classes.ravel()[shown]
        voting = np.flatnonzero((shown >= 0) & (said >= 0) & visible(in_camera, frame, tolerance))
        said = said[voting]
        votes[voting, said] += 1
        distances = np.linalg.norm(in_camera[voting], axis=1).astype(np.float32)
        nearest[voting, said] = np.minimum(nearest[voting, said], distances)
    most = votes.max(axis=1)
    winners = np.where(votes == most[:, None], nearest, np.inf).argmin(axis=1)
    return np.where(most > 0, winners, IGNORE).astype(np.int16)


def to_camera(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Points [N, 3] in the coordinates of a camera whose pose is float64 [4, 4], camera to world."""
    return (points - pose[:3, 3]) @ pose[:3, :3]  # the inverse of a rotation is its transpose


def pixels_of(in_camera: np.ndarray, intrinsic: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixel of each point, row * W + column, int64 [N]; -1 behind the camera and outside of the image.

    Args:
        in_camera: float64 [N, 3], see ``to_camera``; column f x / z + c, rounded, and row likewise.
        intrinsic: float64 [3, 3].
        shape: (H, W) of the image.
    """
    depth = np.where(in_camera[:, 2] > 0, in_camera[:, 2], np.nan)  # NaN lies in no image
    columns, rows = np.rint(in_camera @ intrinsic[:2].T / depth[:, None]).T
    height, width = shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.where(inside, rows * width + columns, -1).astype(np.int64)


def visible(in_camera: np.ndarray, frame: Frame, tolerance: float) -> np.ndarray:
    """Which points [N, 3] of a room, in the camera's coordinates, a frame shows, bool [N]: those within ``tolerance``,
    along z, of the depth in their pixel or, where there is none, of the nearest point in it."""
    pixels = pixels_of(in_camera, frame.depth_intrinsic, frame.depth.shape)
    inside = np.flatnonzero(pixels >= 0)
    pixels, z = pixels[inside], in_camera[inside, 2]
    nearest = np.full(frame.depth.size, np.inf)
    np.minimum.at(nearest, pixels, z)
    measured = frame.depth.ravel()[pixels]
    surface = np.where(measured > 0, measured, nearest[pixels])
    shown = np.zeros(len(in_camera), bool)
    shown[inside[np.abs(z - surface) <= tolerance]] = True
    return shown
