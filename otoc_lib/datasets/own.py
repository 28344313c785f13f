"""Reader of scans of your own: a folder of scan files and a class list.

Every scan file directly in the folder is a scene, named as the file without its suffix, without labels unless
``own_truth`` names a column that holds them. All of them are in every split: nothing is held out of scans that have no
labels to judge by, unless ``train_rooms`` and ``eval_splits: [held_out]`` ask for it. What else lies there is named.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from otoc_lib.config import Config, Unit, UpAxis
from otoc_lib.datasets import summary
from otoc_lib.datasets.other_formats import how_to_convert
from otoc_lib.datasets.own_truth import read_truth
from otoc_lib.datasets.point_files import FORMATS, Scan, companions, read_again, read_scan, scan_name, scan_suffix
from otoc_lib.datasets.scan_axes import Axes, find_axes
from otoc_lib.datasets.scan_text import first_names, holds_points
from otoc_lib.errors import Faults, OtocError, listed, shown
from otoc_lib.labels import NO_CLASS_NAME, LabelSet
from otoc_lib.outside import is_junk, opening
from otoc_lib.palette import distinct_colors
from otoc_lib.scene import Scene, checked_name
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.supervoxels.make import make_supervoxels

READS: tuple[str, ...] = ("partition", "own_classes", "axes")

CLICKS = "clicks.csv"  # a table of clicks by its name
NOTES = (".txt", ".csv", ".asc")  # suffixes of scans that notes and licences have, too
MOST_LISTED = 20  # names in a warning

# A mesh in so many pieces that super-voxels hold fewer points than this on average is cut as points instead.
SMALLEST_SUPERVOXELS = 10


@dataclass(frozen=True)
class Folder:
    """What lies in a folder of scans."""

    scans: dict[str, Path]  # name -> file
    left_out: dict[Path, str]  # whatever else somebody may take for a scan -> why it is none, and what to do


def list_scenes(root: Path, split: str) -> list[str]:
    """Names of the scans in ``root``, sorted; the same for every split. What is left out is warned of.

    Raises:
        OtocError: no scan there, or two files of one name but for the suffix.
    """
    folder = list_folder(root)
    reasons: dict[str, list[str]] = {}
    for path, reason in folder.left_out.items():
        reasons.setdefault(reason, []).append(path.name)
    for reason, names in reasons.items():
        warnings.warn(f"{root}: leaves out {listed(names, MOST_LISTED)}: {reason}", stacklevel=2)
    if not folder.scans:
        what = "; ".join(f"{names[0]}: {reason}" for reason, names in list(reasons.items())[:3])
        raise OtocError(
            f"data root {root}: holds no scan; put files there that end in {', '.join(FORMATS)}{what and f' ({what})'}"
        )
    return sorted(folder.scans)


def in_training(split: str) -> bool:
    """Whether scans of a split are in the training split, too: all are."""
    return True


def scene_files(root: Path, name: str) -> list[Path]:
    """The files a scan is read from: its own, then those that it names, such as textures."""
    path = scan_file(root, name)
    return [path, *companions(path)]


def scan_file(root: Path, name: str) -> Path:
    """The file that holds the points of a scan."""
    scans = list_folder(root).scans
    if name not in scans:
        raise OtocError(f"{root}: holds no scan {name!r}; its scans are {listed(sorted(scans), MOST_LISTED)}")
    return scans[name]


def read_scene(root: Path, name: str, config: Config) -> Scene:
    """``load_scene`` as an experiment asks for it."""
    return read_with_summary(root, name, config)[0]


def read_with_summary(root: Path, name: str, config: Config) -> tuple[Scene, dict[str, Any]]:
    """``read_scene``, and the summary of the scan as JSON can hold it."""
    path, scan, axes = _read(root, name, config)
    scene = scene_of(path, scan, axes, name, label_set(config.own_classes), Partition.of(config), config.own_truth)
    return scene, summary.to_json(summary.summarize(name, path, scan, axes))


def read_summary(root: Path, name: str, config: Config) -> dict[str, Any]:
    """The summary alone."""
    return summary.to_json(summary.summarize(name, *_read(root, name, config)))


def _read(root: Path, name: str, config: Config) -> tuple[Path, Scan, Axes]:
    path = scan_file(root, name)
    scan = read_scan(path)
    return path, scan, known_axes(path, scan, config.up_axis, config.unit)


def load_scene(
    root: Path, name: str, label_set: LabelSet, partition: Partition | None, truth: str | None = None
) -> Scene:
    """Read one scan as a scene, see ``scene_of``; which axis is up, and its unit, are guessed.

    Args:
        root: folder of the scans.
        name: the file's name without its suffix.
    """
    path = scan_file(root, name)
    scan = read_scan(path)
    return scene_of(path, scan, scan_axes(scan), name, label_set, partition, truth)


def scene_of(
    path: Path,
    scan: Scan,
    axes: Axes,
    name: str,
    label_set: LabelSet,
    partition: Partition | None,
    truth: str | None = None,
) -> Scene:
    """A scan that is read as a scene, centred on the mean of its points, without objects. Point order is the file's.

    What is guessed about its axes and unit is warned of; the scene knows the way back, ``Scene.in_file``.

    Args:
        path: its file, named in messages.
        axes: which way it is up, and its unit, see ``scan_axes``.
        name: of the scene.
        label_set: see ``label_set``.
        partition: how points without a mesh are cut into super-voxels; None leaves the scan in one piece, for what asks
            only where its points are.
        truth: the column that holds true labels, see ``own_truth``; None leaves the scene without.
    """
    for sentence in axes.told:
        warnings.warn(f"{path}: {sentence}", stacklevel=3)
    points = axes.to_metres(scan.within_box())
    origin = points.mean(axis=0)
    centred = points - origin
    try:
        whole = np.zeros(len(centred), dtype=np.int32)
        supervoxels = _supervoxels(path, centred, scan.colors, scan.faces, partition) if partition else whole
    except OtocError as error:
        raise OtocError(f"{path}: {error}") from error
    return Scene(
        name=name,
        coords=centred.astype(np.float32),
        colors=scan.colors,
        supervoxels=supervoxels,
        labels=read_truth(path, scan, label_set, truth),
        instances=None,
        origin=origin,
        label_set=label_set,
        axes=axes.to_file,
    )


def read_faces(root: Path, name: str) -> np.ndarray | None:
    """The triangles of a scan, int32 [F, 3] of its points; None where its file holds points only."""
    return read_again(scan_file(root, name)).faces


def scan_axes(scan: Scan, up_axis: UpAxis = "auto", unit: Unit = "auto") -> Axes:
    """Which way a scan is up, and in what unit: what the user says, else its file, else a guess from its points."""
    return find_axes(scan.within_box(), up_axis, unit, scan.up, scan.unit)


def known_axes(path: Path, scan: Scan, up_axis: UpAxis = "auto", unit: Unit = "auto") -> Axes:
    """``scan_axes``; OtocError for a scan far larger than a room whose unit nothing says.

    In metres it would be cut into thousands of tiles, and hours later nobody would know what was learnt.
    """
    axes = scan_axes(scan, up_axis, unit)
    if axes.refused:
        raise OtocError(f"{path}: {axes.refused}")
    return axes


def label_set(names: Sequence[str]) -> LabelSet:
    """The classes of own scans, in the order of their indices, with colours that differ for any colour vision."""
    names = [" ".join(name.split()) for name in names]
    if len(names) < 2 or not all(names):
        raise OtocError(f"own_classes: {shown(names)} must list at least two classes, each with a name")
    if NO_CLASS_NAME in map(str.casefold, names):
        raise OtocError(f"own_classes: {NO_CLASS_NAME!r} in clicks.csv means none of the classes; name it otherwise")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OtocError(f"own_classes: lists {listed(twice, MOST_LISTED)} twice; every class needs a name of its own")
    colors = tuple(tuple(color) for color in distinct_colors(len(names)).tolist())
    return LabelSet("own", tuple(names), tuple(range(len(names))), colors)


def list_folder(root: Path) -> Folder:
    """What lies in a folder of scans.

    Raises:
        OtocError: no such folder, or scans of one name but for the suffix, or of none that can name a scene.
    """
    folder, faults = survey(root)
    faults.check()
    return folder


def survey(root: Path) -> tuple[Folder, Faults]:
    """``list_folder``, and what is wrong with the names of scans, which are left out of it then."""
    root = Path(root)
    if not os.path.isdir(root):
        raise OtocError(f"data root {root}: no such folder; set it to the folder that holds your scans")
    scans: dict[str, Path] = {}
    left_out: dict[Path, str] = {}
    faults = Faults()
    with opening(root):
        entries = sorted(root.iterdir())
    for path in entries:
        name = scan_name(path)
        if is_junk(path) or _is_about_clicks(path):
            continue
        reason = _why_left_out(path)
        if reason:
            left_out[path] = reason
        elif path.name.lower() == CLICKS and os.path.getsize(path) == 0:
            continue  # a table of clicks that has to begin: who reads it tells
        elif path.name.lower() == CLICKS:
            faults.messages.append(
                f"{path}: line 1 names no columns scene and class, so it is no table of clicks; name its columns, or "
                "rename it if it is a scan"
            )
        elif name in scans:
            faults.messages.append(f"{path}: {scans[name].name} has the same name; rename one of the two scans")
        elif faults.of(partial(checked_name, name, path)):
            scans[name] = path
    named = {file for scan in scans.values() for file in _named_by(scan)} if left_out else set()
    named |= {folder for file in named for folder in file.parents}
    # Path.resolve would fail on a link to itself.
    left_out = {path: reason for path, reason in left_out.items() if Path(os.path.realpath(path)) not in named}
    return Folder(scans, left_out), faults


def _named_by(scan: Path) -> tuple[Path, ...]:
    """``companions`` of a scan, looked for once while it does not change: folders are listed often."""
    try:
        stat = scan.stat()
    except OSError:  # told when it is read
        return ()
    return _named_then(scan, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _named_then(scan: Path, size: int, time: int) -> tuple[Path, ...]:
    return tuple(companions(scan))


def _why_left_out(path: Path) -> str:
    """Why an entry of the folder is no scan, and what to do; "" for a scan."""
    if os.path.isdir(path):
        return "a folder, which is not searched; put its scans beside it"
    if not os.path.exists(path) and os.path.islink(path):
        return "a link to what is not there; mend the link"
    if not os.path.isfile(path):
        return "no file that can be read"
    if scan_suffix(path) not in FORMATS:
        return how_to_convert(path)
    if path.suffix.lower() in NOTES and _holds(path) == "notes":
        return "text without a line of points"
    return ""


def _is_about_clicks(path: Path) -> bool:
    """Whether a file is a table of clicks, or holds the seconds that they took or which of them were kept."""
    if path.name.lower().endswith((".seconds.json", ".kept.json")):
        return True
    return path.suffix.lower() == ".csv" and os.path.isfile(path) and _holds(path) == "clicks"


def _holds(path: Path) -> str:
    """What a text file holds: "points", "clicks" or "notes"."""
    try:
        stat = path.stat()
        return _look_into(path, stat.st_size, stat.st_mtime_ns)
    except (OSError, OtocError):  # told when it is read as a scan
        return "points"


@lru_cache(maxsize=10_000)
def _look_into(path: Path, size: int, time: int) -> str:
    """``_holds`` of a file of that size and time: listing a folder looks into each file once."""
    if size == 0:  # told when it is read as a scan
        return "points"
    if {"scene", "class"} <= first_names(path):
        return "clicks"
    return "points" if holds_points(path) else "notes"


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
