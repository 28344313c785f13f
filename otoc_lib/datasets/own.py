"""Reader of scans of your own: a folder of scan files and a class list.

Every scan file directly in the folder is a scene without labels, named as the file without its suffix. All of them
are in every split: nothing is held out of scans that have no labels to judge by.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from otoc_lib.config import Config
from otoc_lib.datasets.point_files import FORMATS, read_scan
from otoc_lib.errors import OtocError
from otoc_lib.labels import LabelSet
from otoc_lib.outside import opening
from otoc_lib.palette import distinct_colors
from otoc_lib.scene import Scene, checked_name
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.supervoxels.make import make_supervoxels

READS: tuple[str, ...] = ("partition", "own_classes")

# A mesh in so many pieces that super-voxels hold fewer points than this on average is cut as points instead.
SMALLEST_SUPERVOXELS = 10


def list_scenes(root: Path, split: str) -> list[str]:
    """Names of the scans in ``root``, sorted; the same for every split.

    Raises:
        OtocError: no scan there, or two files of one name but for the suffix.
    """
    return sorted(_scan_files(root))


def scene_files(root: Path, name: str) -> list[Path]:
    """The one file a scan is read from."""
    files = _scan_files(root)
    if name not in files:
        raise OtocError(f"{root}: holds no scan {name!r}; its scans are {', '.join(sorted(files))}")
    return [files[name]]


def read_scene(root: Path, name: str, config: Config) -> Scene:
    """``load_scene`` as an experiment asks for it."""
    return load_scene(root, name, label_set(config.own_classes), Partition.of(config))


def load_scene(root: Path, name: str, label_set: LabelSet, partition: Partition) -> Scene:
    """Read one scan as a scene without labels, centred on the mean of its points. Point order is the file's.

    Args:
        root: folder of the scans.
        name: the file's name without its suffix.
        label_set: see ``label_set``.
        partition: how points without a mesh are cut into super-voxels.
    """
    (path,) = scene_files(root, name)
    scan = read_scan(path)
    origin = scan.points.mean(axis=0)
    centred = scan.points - origin
    try:
        supervoxels = _supervoxels(path, centred, scan.colors, scan.faces, partition)
    except OtocError as error:
        raise OtocError(f"{path}: {error}") from error
    return Scene(
        name=name,
        coords=centred.astype(np.float32),
        colors=scan.colors,
        supervoxels=supervoxels,
        labels=None,
        instances=None,
        origin=origin,
        label_set=label_set,
    )


def label_set(names: Sequence[str]) -> LabelSet:
    """The classes of own scans, in the order of their indices, with colours that differ for any colour vision."""
    names = [" ".join(name.split()) for name in names]
    if len(names) < 2 or not all(names):
        raise OtocError(f"own_classes: {names} must list at least two classes, each with a name")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OtocError(f"own_classes: lists {', '.join(twice)} twice; every class needs a name of its own")
    colors = tuple(tuple(color) for color in distinct_colors(len(names)).tolist())
    return LabelSet("own", tuple(names), tuple(range(len(names))), colors)


def _scan_files(root: Path) -> dict[str, Path]:
    """Name -> file of every scan in the folder."""
    root = Path(root)
    if not os.path.isdir(root):
        raise OtocError(f"data root {root}: no such folder; set it to the folder that holds your scans")
    files: dict[str, Path] = {}
    with opening(root):
        entries = sorted(root.iterdir())
    for path in entries:
        supported = path.suffix.lower() in FORMATS and not path.name.startswith(".")
        if not supported or not os.path.isfile(path) or _holds_clicks(path):
            continue
        if path.stem in files:
            raise OtocError(f"{path}: {files[path.stem].name} has the same name; rename one of the two scans")
        files[checked_name(path.stem, path)] = path
    if not files:
        raise OtocError(f"data root {root}: holds no scan; put files there that end in {', '.join(FORMATS)}")
    return files


def _holds_clicks(path: Path) -> bool:
    """Whether a file is a table of clicks and not of points: its first line names a column "class"."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with open(path, "rb") as file:
            first = file.readline(1000)
    except OSError:  # told when it is read as a scan
        return False
    return b"class" in first.strip().split(b",")


def _supervoxels(
    path: Path, points: np.ndarray, colors: np.ndarray, faces: np.ndarray | None, partition: Partition
) -> np.ndarray:
    """``make_supervoxels`` of a mesh whose triangles may share positions but not vertices, as along texture seams."""
    if faces is not None:
        order = np.lexsort(points.T)
        differs = (np.diff(points[order], axis=0) != 0).any(axis=1)
        first = order[np.flatnonzero(np.concatenate([[True], differs]))]  # [P] a vertex of each position
        position = np.empty(len(points), dtype=np.int64)
        position[order] = np.concatenate([[0], np.cumsum(differs)])
        supervoxels = make_supervoxels(points[first], colors[first], position[faces], partition)[position]
        if len(points) >= SMALLEST_SUPERVOXELS * (supervoxels.max() + 1):
            return supervoxels
        warnings.warn(
            f"{path}: its mesh is in too many pieces for super-voxels; they are cut from points", stacklevel=3
        )
    return make_supervoxels(points, colors, None, partition)
