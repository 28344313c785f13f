"""Submissions to ScanNet's benchmark: write one, and score one where the labels are at hand."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from otoc_lib.errors import OtocError
from otoc_lib.evaluation import are_integers, confusion_matrix, mean_iou
from otoc_lib.files import write_aside
from otoc_lib.labels import SCANNET20
from otoc_lib.outside import read_bytes
from otoc_lib.scene import checked_name

LARGEST_ID = 65535  # of a label in a file
LONGEST_LINE = 100  # bytes, generously; no more of a submission is unpacked


def export_benchmark(predictions: Mapping[str, np.ndarray], num_points: Mapping[str, int], path: Path) -> None:
    """Write a submission to ScanNet's benchmark: a zip of ``<scene>.txt``, a NYU40 id a line, a line a vertex.

    Args:
        predictions: scene name -> integers [N], a class index 0..19 for every vertex, in the order of the mesh;
            each is asked for twice, to be checked and to be written.
        num_points: scene name -> N, for every scene of the split that is submitted.
        path: the zip file. Everything is checked before it is written, aside.

    Raises:
        OtocError: a scene is missing or too many, has another number of vertices, or a class outside 0..19.
    """
    for names, problem in (
        (num_points.keys() - predictions.keys(), "no prediction for"),
        (predictions.keys() - num_points.keys(), "the split does not list"),
    ):
        if names:
            listed = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise OtocError(f"{path}: {problem} {len(names)} scenes ({listed}); submit exactly the scenes of the split")
    if not predictions:
        raise OtocError(f"{path}: there is no scene to submit; check the split")
    for name, classes in predictions.items():
        checked_name(name, path)
        if classes.shape != (num_points[name],) or not are_integers(classes):
            raise OtocError(
                f"{path}: the prediction of {name} is {classes.dtype} {classes.shape}, not one integer for each of its "
                f"{num_points[name]} vertices"
            )
        bad = np.flatnonzero((classes < 0) | (classes >= len(SCANNET20)))
        if bad.size:
            raise OtocError(
                f"{path}: vertex {bad[0]} of {name} has the class {classes[bad[0]]}, outside 0..{len(SCANNET20) - 1}"
            )

    lines = [b"%d\n" % file_id for file_id in SCANNET20.file_ids]
    with write_aside(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in num_points:
            entry = zipfile.ZipInfo(f"{name}.txt")  # dated 1980, so that equal predictions give equal files
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, b"".join(map(lines.__getitem__, predictions[name].tolist())))


def score_benchmark(path: Path, labels: Path) -> tuple[np.ndarray, dict[str, float]]:
    """Compare a submission with the true labels ``<labels>/<scene>.txt``, in the same format.

    As in the benchmark's own script, vertices whose true id is none of the 20 classes do not count. A predicted id that
    is none of them is an error here, where the script counts a miss.

    Returns:
        The confusion matrix over all scenes, int64 [20, 20], and the mIoU of each scene by name.

    Raises:
        OtocError: naming the file, and the line where it is one's fault.
    """
    truths = {file.stem: file for file in sorted(Path(labels).glob("*.txt"))}
    if not truths:
        raise OtocError(f"{labels}: no folder of <scene>.txt files with the true labels")
    with _zip(path), zipfile.ZipFile(path) as archive:
        members = set(archive.namelist())
    expected = {f"{name}.txt" for name in truths}
    if members != expected:
        name = min(members ^ expected)
        problem = "lacks" if name in expected else "holds, beside those of the labels,"
        raise OtocError(f"{path}: {problem} {name}; it must hold one <scene>.txt for each of {labels}, in no folder")

    confusions = {}
    for name, file in truths.items():
        member = f"{path}: {name}.txt"
        truth = SCANNET20.from_file_ids(_read_ids(str(file), read_bytes(file)))
        most = LONGEST_LINE * len(truth)
        with _zip(path), zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.txt")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile("compressed by a method that may claim any memory; use deflate")
            with archive.open(entry) as text:
                data = text.read(most + 1)
        if len(data) > most:
            raise OtocError(f"{member}: has more than the {len(truth)} lines of {file}; one a vertex is needed")
        prediction = SCANNET20.from_file_ids(_read_ids(member, data))
        if (truth < 0).all():
            raise OtocError(f"{file}: no vertex has a benchmark class; leave this scene out")
        if len(prediction) != len(truth):
            raise OtocError(
                f"{member}: has {len(prediction)} lines, but {file} has {len(truth)}; one a vertex is needed"
            )
        unknown = np.flatnonzero(prediction < 0)
        if unknown.size:
            raise OtocError(f"{member}, line {unknown[0] + 1}: no NYU40 id of the {len(SCANNET20)} benchmark classes")
        confusions[name] = confusion_matrix(truth, prediction, len(SCANNET20))
    total = np.sum(list(confusions.values()), axis=0)
    return total, {name: mean_iou(confusion) for name, confusion in confusions.items()}


@contextmanager
def _zip(path: Path) -> Iterator[None]:
    """Turn what zipfile raises about a file in the block, which damaged ones make nearly anything, into OtocError."""
    try:
        yield
    except Exception as error:
        raise OtocError(f"{path}: missing, damaged or not a zip file ({error}); export it again") from error


def _read_ids(origin: str, data: bytes) -> np.ndarray:
    """Label ids, int64 [N], of a text with one a line."""
    lines = data.splitlines() or [b""]
    try:
        ids = np.array(list(map(int, lines)), dtype=np.int64)
    except (ValueError, OverflowError):
        ids = np.full(len(lines), -1)
    if ids.min() < 0 or ids.max() > LARGEST_ID:
        bad = next(
            i for i, line in enumerate(lines) if not re.fullmatch(rb"\s*\d{1,5}\s*", line) or int(line) > LARGEST_ID
        )
        raise OtocError(f"{origin}, line {bad + 1}: {lines[bad][:40]!r} is no label id; write one a line")
    return ids
