"""Scans with a label at every point, as PLY files: what a run on scans of your own gives out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from otoc_lib.config import Config
from otoc_lib.datasets import own
from otoc_lib.datasets.point_files import read_again
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.labels import LabelSet
from otoc_lib.scene import Scene
from otoc_lib.store import Stage


def export_labels(
    scan_path: Path,
    labels: np.ndarray,
    confidence: np.ndarray | None,
    label_set: LabelSet,
    out_path: Path,
    comments: Sequence[str] = (),
) -> None:
    """Write a scan as a binary PLY with a label and its colour at every vertex, in the order of the input.

    Its vertices have x, y, z (as precise as in the input), red, green, blue (of the class), label, confidence if
    given, and scan_red, scan_green, scan_blue (of the input); triangles are kept. Comments in the header name the
    classes.

    Args:
        scan_path: the scan that was labelled.
        labels: int [N], class index, or IGNORE.
        confidence: float [N], 0..1, or None.
        label_set: the classes.
        out_path: file to write, .ply.
        comments: further lines of the header, before those of the classes.
    """
    scan = read_again(scan_path)
    check_labels(scan_path, len(scan.points), labels, confidence, label_set)
    columns = {name: channel for name, channel in zip(("red", "green", "blue"), label_set.paint(labels).T, strict=True)}
    columns["label"] = labels.astype(np.int32)
    if confidence is not None:
        columns["confidence"] = confidence.astype(np.float32)
    for name, channel in zip(("scan_red", "scan_green", "scan_blue"), scan.colors.T, strict=True):
        columns[name] = channel
    write_ply(out_path, scan.points, columns, scan.faces, [*comments, *class_lines(label_set)])


def check_labels(
    scan_path: Path, num_points: int, labels: np.ndarray, confidence: np.ndarray | None, label_set: LabelSet
) -> None:
    """OtocError where labels, or their confidence, are not those of a scan of so many points, or of other classes."""
    if labels.shape != (num_points,) or (confidence is not None and confidence.shape != labels.shape):
        raise OtocError(f"{scan_path}: has {num_points} points, but there are labels for {len(labels)}; run again")
    if labels.max() >= len(label_set):
        raise OtocError(f"{scan_path}: label {labels.max()} is not one of the {len(label_set)} classes; run again")


def class_lines(label_set: LabelSet) -> list[str]:
    """Lines that say which label means which class."""
    return [f"label {index} is {name}" for index, name in enumerate(label_set.names)]


def export_run(config: Config, scenes: list[Scene], evaluation: Stage) -> list[Path]:
    """Write the labelled scans of a run to ``<reports_root>/<profile>/labelled/<scan>.ply``; returns their paths.

    Args:
        config: of the run; its dataset is "own".
        scenes: the scans to write.
        evaluation: the stage that predicted them. Labels after propagation are taken where there
            are any, else those of the U-Net alone.
    """
    paths = []
    for scene in scenes:
        predicted = f"{scene.name}.safetensors"
        if predicted not in evaluation.files:
            raise OtocError(f"{evaluation.path}: has no {predicted}; set eval_splits: [val] and run again")
        arrays = safetensors.numpy.load(evaluation.read(predicted))
        if "confidence" not in arrays or not arrays.keys() & {"full", "point"}:
            raise OtocError(
                f"{evaluation.path / predicted}: lacks labels or confidence; set eval_splits: [val] and run again"
            )
        labels = arrays["full"] if "full" in arrays else arrays["point"]
        scan_path = own.scan_file(config.data_folder, scene.name)
        paths.append(config.report_folder / "labelled" / f"{scene.name}.ply")
        export_labels(scan_path, labels, arrays["confidence"], scene.label_set, paths[-1])
    return paths


def write_ply(
    path: Path,
    points: np.ndarray,
    columns: dict[str, np.ndarray],
    faces: np.ndarray | None,
    comments: Sequence[str] = (),
) -> None:
    """Write a binary PLY of points, with further properties of its vertices.

    Args:
        path: file to write, .ply.
        points: float [N, 3]; written as float where that is exact, else as double.
        columns: name -> uint8, int32, float32 or float64 [N].
        faces: int [F, 3], or None for points alone.
        comments: lines of the header.
    """
    types = {"u1": "uchar", "i4": "int", "f4": "float", "f8": "double"}
    with np.errstate(over="ignore"):  # of strays
        exact = (points.astype(np.float32) == points).all()
    values = {axis: points[:, i].astype("<f4" if exact else "<f8") for i, axis in enumerate("xyz")} | columns
    vertices = np.empty(len(points), [(name, column.dtype.newbyteorder("<")) for name, column in values.items()])
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header.append(f"element vertex {len(points)}")
    for name, column in values.items():
        vertices[name] = column
        header.append(f"property {types[column.dtype.str[1:]]} {name}")
    triangles: np.ndarray = np.empty(0, np.uint8)
    if faces is not None:
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        triangles = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", (3,))])
        triangles["count"], triangles["corners"] = 3, faces
    with write_aside(path) as aside, aside.open("wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii", "backslashreplace"))
        for table in (vertices, triangles):
            file.write(table.view(np.uint8).data)
