"""Frames of an RGB-D camera with labelled images, in the layout that ScanNet's exporter writes.

``<root>/<scene>/`` holds of every frame N ``depth/N.png`` (16 bits, millimetres, 0 where nothing was measured),
``label-filt/N.png`` (label ids) and ``pose/N.txt`` (4 x 4, camera to world, metres); and of the camera
``intrinsic/intrinsic_depth.txt`` and ``intrinsic/intrinsic_color.txt`` (4 x 4, pixels). A camera looks along z, with x
to the right and y down; the middle of pixel (0, 0) lies at (0, 0). ``color/N.jpg`` lies beside them and is not read.
"""

import hashlib
import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from otoc_lib.config import Config
from otoc_lib.datasets import scannet
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, LabelSet
from otoc_lib.outside import opening, read_bytes, read_text
from otoc_lib.scene import checked_name

DEPTH, LABELS, POSES, INTRINSICS = "depth", "label-filt", "pose", "intrinsic"
SUFFIXES = {DEPTH: ".png", LABELS: ".png", POSES: ".txt"}  # of what every frame has
DEPTH_INTRINSIC, COLOR_INTRINSIC = "intrinsic_depth.txt", "intrinsic_color.txt"
MILLIMETRES = 1000
NO_LABEL = 65535  # in label images without a label table; 255 in those of a byte a pixel
UNKNOWN = -1  # in a table of classes: an id that no label image should hold
MOST_PIXELS = 1 << 24  # of an image
NOT_RIGID = 0.01  # how far the rows of a rotation may be from unit length and right angles
OFF_CENTRE = 0.1  # of an image's width and height, how far the principal point may be from its middle
LISTED = 3  # frames without a pose that are named


@dataclass(frozen=True)
class Frame:
    """One labelled frame."""

    pose: np.ndarray  # float64 [4, 4], camera to world
    depth: np.ndarray  # float32 [H, W] metres along z, 0 where nothing was measured
    depth_intrinsic: np.ndarray  # float64 [3, 3]
    classes: np.ndarray  # int16 [H', W'], class index or IGNORE
    class_intrinsic: np.ndarray  # float64 [3, 3]


@dataclass(frozen=True)
class FrameFolder:
    """The K frames of one scene whose pose is known, in the order of their numbers."""

    path: Path
    names: tuple[str, ...]
    poses: np.ndarray  # float64 [K, 4, 4]
    skipped: int  # frames without a pose
    depth_intrinsic: np.ndarray  # float64 [3, 3]
    color_intrinsic: np.ndarray  # float64 [3, 3]


def class_table(config: Config, label_set: LabelSet) -> np.ndarray:
    """What the ids in label images stand for: class index, IGNORE, or UNKNOWN, int16 [65536].

    With ScanNet they are the numbers of raw categories in ``scannetv2-labels.combined.tsv``, and 0 is no label; else
    those that the label set has in files, and 65535 or 255 is no label.
    """
    if config.dataset == "scannet":
        raw, nyu40 = scannet.read_category_numbers(config.data_folder)
        none, ids, classes = [0], raw, label_set.from_file_ids(nyu40)
    else:
        none, ids, classes = [NO_LABEL, 255], np.array(label_set.file_ids), np.arange(len(label_set))
    table = np.full(NO_LABEL + 1, UNKNOWN, dtype=np.int16)
    table[none] = IGNORE
    table[ids] = classes
    return table


def open_frames(root: Path, scene: str) -> FrameFolder:
    """Find the frames of a scene, and read where they were taken. Those whose pose has NaN or infinity, as ScanNet's
    tracker writes where it lost its way, are skipped with a warning.

    Raises:
        OtocError: a folder or file is missing or damaged, or no frame has a pose; the message says what to do.
    """
    path = frames_root(root) / checked_name(scene, root)
    if not os.path.isdir(path):
        raise OtocError(
            f"{path}: no such folder; export the frames of {scene} there, or train on fewer rooms (train_rooms)"
        )
    files = {kind: _names(path / kind, suffix) for kind, suffix in SUFFIXES.items()}
    names = sorted(set().union(*files.values()), key=lambda name: (len(name), name))
    if not names:
        raise OtocError(f"{path}: holds no frames; each needs {', '.join(_needed('N'))}")
    for name in names:
        for kind, file in zip(SUFFIXES, _needed(name), strict=True):
            if name not in files[kind]:
                raise OtocError(f"{path / file}: no such file; export it, or delete the rest of frame {name}")
    intrinsics = [_intrinsic(path / INTRINSICS / file) for file in (DEPTH_INTRINSIC, COLOR_INTRINSIC)]
    poses = np.stack([_matrix(path / POSES / f"{name}.txt") for name in names])  # [K, 4, 4]
    known = np.isfinite(poses).all(axis=(1, 2))
    lost = [name for name, is_known in zip(names, known, strict=True) if not is_known]
    if len(lost) == len(names):
        raise OtocError(f"{path / POSES}: no frame has a pose; export the poses again, or leave this room out")
    if lost:
        some = ", ".join(lost[:LISTED]) + (", ..." if len(lost) > LISTED else "")
        warnings.warn(
            f"{path}: {len(lost)} of {len(names)} frames have no pose (NaN or infinity) and are left out: {some}",
            stacklevel=2,
        )
    kept = tuple(name for name, is_known in zip(names, known, strict=True) if is_known)
    for name, pose in zip(kept, poses[known], strict=True):
        _check_rigid(path / POSES / f"{name}.txt", pose)
    return FrameFolder(path, kept, poses[known], len(lost), *intrinsics)


def read_frame(folder: FrameFolder, index: int, classes: np.ndarray) -> Frame:
    """The frame ``names[index]``.

    Args:
        classes: as ``class_table`` gives it.

    Raises:
        OtocError: an image is damaged, holds an unknown id, or is not of the size that the intrinsics are for.
    """
    depth_file, label_file, _ = (folder.path / file for file in _needed(folder.names[index]))
    depth, ids = _read_image(depth_file), _read_image(label_file)
    labels = classes[ids]
    if (labels == UNKNOWN).any():
        raise OtocError(
            f"{label_file}: holds the label id {ids[labels == UNKNOWN][0]}, which is none of the dataset's; give "
            "label images, not those of instances, and the label table of the same release"
        )
    by_size = {COLOR_INTRINSIC: folder.color_intrinsic, DEPTH_INTRINSIC: folder.depth_intrinsic}
    return Frame(
        pose=folder.poses[index],
        depth=depth.astype(np.float32) / MILLIMETRES,
        depth_intrinsic=_fitting(depth_file, depth.shape, {DEPTH_INTRINSIC: folder.depth_intrinsic}),
        classes=labels,
        class_intrinsic=_fitting(label_file, ids.shape, by_size),
    )


def frames_root(root: Path) -> Path:
    """The folder of all frames; OtocError where there is none."""
    if not os.path.isdir(root):
        raise OtocError(
            f"images_root {root}: no such folder; set it to the folder that holds <scene>/{LABELS}, <scene>/{DEPTH}, "
            f"<scene>/{POSES} and <scene>/{INTRINSICS}. otoc rooms film makes those of the bundled rooms"
        )
    return Path(root)


def content_key(config: Config) -> str:
    """Hash of the names and contents of the frames that ``images_root`` holds, and of the label table. A file that has
    not changed is read once by a process."""
    root = frames_root(config.images_folder)
    found = (path for kind in (*SUFFIXES, INTRINSICS) for path in root.glob(f"*/{kind}/[!.]*"))
    files = {path.relative_to(root).as_posix(): path for path in found}
    if config.dataset == "scannet":
        files["label table"] = scannet.categories_file(config.data_folder)
    digest = hashlib.blake2b(digest_size=8)
    for name, path in sorted(files.items()):
        with opening(path):
            stat = path.stat()
        digest.update(f"{name}\n".encode())
        digest.update(_hash_of(path, stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()


@cache
def _hash_of(path: Path, size: int, time: int) -> bytes:
    """Hash of what a file of that size and time of change holds."""
    return hashlib.blake2b(read_bytes(path), digest_size=16).digest()


def _needed(name: str) -> list[str]:
    return [f"{kind}/{name}{suffix}" for kind, suffix in SUFFIXES.items()]


def _names(folder: Path, suffix: str) -> set[str]:
    """Names of the files of one kind in a folder, without the suffix; hidden ones are none."""
    if not os.path.isdir(folder):
        return set()
    with opening(folder):
        return {Path(name).stem for name in os.listdir(folder) if name.endswith(suffix) and name[0] != "."}


def _matrix(path: Path) -> np.ndarray:
    """The numbers of a text file, float64 [4, 4]."""
    words = read_text(path).split()
    try:
        return np.array([float(word) for word in words]).reshape(4, 4)
    except ValueError:
        raise OtocError(f"{path}: does not hold four lines of four numbers; export it again") from None


def _intrinsic(path: Path) -> np.ndarray:
    """The part of a camera's matrix that pixels are computed with, float64 [3, 3]."""
    if not os.path.isfile(path):
        raise OtocError(f"{path}: no such file; export the intrinsics of the camera as well")
    matrix = _matrix(path)[:3, :3]
    if not (np.isfinite(matrix).all() and min(matrix[0, 0], matrix[1, 1]) > 0 and (matrix[2] == (0, 0, 1)).all()):
        raise OtocError(f"{path}: is no matrix of a camera (f 0 c, 0 f c, 0 0 1); export it again")
    return matrix


def _check_rigid(path: Path, pose: np.ndarray) -> None:
    rotation = pose[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        straight = np.abs(rotation.T @ rotation - np.eye(3)).max() <= NOT_RIGID
    if not (straight and (pose[3] == (0, 0, 0, 1)).all() and np.abs(pose).max() < scannet.FARTHEST):
        raise OtocError(f"{path}: is no rotation and shift from camera to world, in metres; export it again")


def _fitting(path: Path, shape: tuple[int, int], intrinsics: dict[str, np.ndarray]) -> np.ndarray:
    """The first of some intrinsics, by their file, whose principal point lies in the middle of an image."""
    height, width = shape
    middle, most = np.array([width - 1, height - 1]) / 2, OFF_CENTRE * np.array([width, height])
    for matrix in intrinsics.values():
        if (np.abs(matrix[:2, 2] - middle) <= most).all():
            return matrix
    centre = " and ".join(f"({matrix[0, 2]:.6g}, {matrix[1, 2]:.6g}) in {file}" for file, matrix in intrinsics.items())
    raise OtocError(
        f"{path}: is {width} x {height} pixels, but the principal point, which lies near the middle, is {centre}; "
        "scale the intrinsics as the images were, or export both again"
    )


def _read_image(path: Path) -> np.ndarray:
    """A PNG of one channel of 8 or 16 bits, uint16 [H, W]."""
    data = read_bytes(path)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            warnings.simplefilter("ignore")
            if image.mode not in ("L", "I;16", "I") or image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.mode}, {image.width} x {image.height}")
            return np.asarray(image).astype(np.uint16)
    except (OSError, ValueError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise OtocError(
            f"{path}: not a PNG image of one channel of 8 or 16 bits, or damaged ({type(error).__name__}); export it "
            "again"
        ) from error
