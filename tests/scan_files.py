"""One scan in every format, written without the kit: what a row of a table of columns is in each."""

from pathlib import Path

import laspy
import numpy as np
from plyfile import PlyData, PlyElement

FORMATS = ("ascii.ply", "little.ply", "big.ply", "scan.las", "scan.laz", "scan.xyz", "scan.csv", "scan.asc")
CHANNELS = ("red", "green", "blue")


def write_scan(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """Write columns [N], numbers, in the format that the file's name says; LAS has 16 bits for colours."""
    if path.suffix == ".ply":
        table = np.zeros(len(next(iter(columns.values()))), [(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            table[name] = values
        order = ">" if path.stem == "big" else "<"
        vertex = PlyElement.describe(table, "vertex")
        PlyData([vertex], text=path.stem == "ascii", byte_order=order).write(str(path))
    elif path.suffix in (".las", ".laz"):
        header = laspy.LasHeader(point_format=2 if "red" in columns else 0, version="1.2")
        header.scales = [0.001] * 3
        header.offsets = [np.floor(np.median(columns[axis])) for axis in "xyz"]
        las = laspy.LasData(header)
        las.x, las.y, las.z = columns["x"], columns["y"], columns["z"]
        for name in columns.keys() & {*CHANNELS, "classification", "intensity"}:
            setattr(las, name, columns[name].astype(np.uint16))
        las.write(str(path))
    else:
        mark = "," if path.suffix == ".csv" else " "
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        lines = [mark.join(columns), *(mark.join(map(repr, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


def table(points: np.ndarray, colors: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Columns x, y, z and, if given, red, green, blue."""
    columns = dict(zip("xyz", points.T, strict=True))
    return columns if colors is None else columns | dict(zip(CHANNELS, colors.T, strict=True))
