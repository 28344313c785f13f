"""A file of several scans as a file a scan, for those that are rooms of their own."""

import os
import warnings
from pathlib import Path

import numpy as np

from otoc_lib.datasets.labelled_ply import write_ply
from otoc_lib.datasets.point_files import read_scan, scan_name
from otoc_lib.errors import OtocError
from otoc_lib.scene import checked_name


def split_scans(source: Path, folder: Path) -> dict[Path, str]:
    """Write each scan of a file, such as an E57 of several stations, as ``<folder>/<file>_<number>.ply``.

    Points keep their order, and their coordinates, which all scans of the file share; colours are bytes, and a class
    column of numbers is kept.

    Returns:
        The files written, and what the file calls each scan.

    Raises:
        OtocError: see ``read_scan``; a file of one scan; the folder of the file itself, where its scans would count
            twice; or a file that is there already.
    """
    source, folder = Path(source), Path(folder)
    scan = read_scan(source)
    if len(scan.parts) < 2:
        raise OtocError(f"{source}: holds one scan, as far as its format tells; nothing to split")
    if os.path.isdir(folder) and os.path.samefile(folder, source.parent):
        raise OtocError(
            f"{folder}: holds {source.name} itself, so every scan would be there twice; give another folder"
        )
    columns = dict(zip(("red", "green", "blue"), scan.colors.T, strict=True))
    if scan.class_name is not None and scan.classes is not None:
        if scan.classes.dtype.kind in "fiub":
            columns["class"] = scan.classes.astype(np.float64)
        else:
            warnings.warn(f"{source}: its class column {scan.class_name!r} is text, which PLY has not", stacklevel=2)
    digits = len(str(len(scan.parts)))
    called = [f"{scan_name(source)}_{number:0{digits}}" for number in range(1, len(scan.parts) + 1)]
    files = {folder / f"{checked_name(name, source)}.ply": part for name, part in zip(called, scan.parts, strict=True)}
    if taken := next((file for file in files if os.path.lexists(file)), None):
        raise OtocError(f"{taken}: is there already; give another folder")
    start = 0
    for file, (_, count) in files.items():
        chosen = slice(start, start + count)
        start += count
        write_ply(file, scan.points[chosen], {name: column[chosen] for name, column in columns.items()}, None)
    return {file: name for file, (name, _) in files.items()}
