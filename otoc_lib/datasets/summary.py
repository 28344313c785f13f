"""What a scan of one's own is, on one page: what the reader found, decided and left out. For people, and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otoc_lib.datasets.point_files import Scan
from otoc_lib.datasets.scan_axes import Axes
from otoc_lib.errors import listed
from otoc_lib.spacing import point_spacing

VALUES_SHOWN = 6  # of a class column, and names of columns


@dataclass(frozen=True)
class Summary:
    """One scan. Lengths and positions are in the unit and the axes of the file."""

    name: str
    file: str  # without its folder
    points: int
    triangles: int
    spacing: float  # median distance from a point to its nearest neighbour
    low: tuple[float, float, float]  # box without strays
    high: tuple[float, float, float]
    strays: int
    unit: str
    unit_from: str  # how that was decided
    up: str
    up_from: str
    colors: str  # how they were scaled
    class_column: str | None  # and its values; the kit learns from clicks, ``own_truth`` compares with it
    left_out: tuple[str, ...]  # names of columns that mean nothing to the kit
    told: tuple[str, ...]  # whatever else was changed, guessed or left out


def summarize(name: str, path: Path, scan: Scan, axes: Axes) -> Summary:
    """The summary of a scan, called ``name``, that was read from a file; axes: which way it is up, and its unit."""
    return Summary(
        name=name,
        file=path.name,
        points=len(scan.points),
        triangles=0 if scan.faces is None else len(scan.faces),
        spacing=point_spacing(scan.within_box()),
        low=tuple(scan.low.tolist()),
        high=tuple(scan.high.tolist()),
        strays=len(scan.stray),
        unit=axes.unit,
        unit_from="unclear" if axes.refused else _decided(axes.unit_from),
        up=axes.up,
        up_from=_decided(axes.up_from),
        colors=scan.color_scale,
        class_column=_class_column(scan),
        left_out=scan.left_out,
        told=(*scan.told, *axes.told),
    )


def _decided(by: str) -> str:
    return "taken for granted" if by == "nothing" else f"by {by}"


def to_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON can hold it."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(summary).items()}


def from_json(value: dict[str, Any]) -> Summary:
    """The summary that ``to_json`` gave."""
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
    return Summary(**fields)


def rows(summary: Summary) -> list[tuple[str, str]]:
    """What a table says of a scan: the name of each line and its text."""
    size = np.subtract(summary.high, summary.low)
    box = " x ".join(f"{side:.2f}" for side in size)
    corner = ", ".join(f"{round(value, 2) + 0.0:.2f}" for value in summary.low)  # no -0.00
    triangles = f", {summary.triangles:,} triangles" if summary.triangles else ", no mesh"
    found = [
        ("points", f"{summary.points:,}{triangles}"),
        ("spacing", f"{summary.spacing:.4g} {summary.unit}"),
        ("box", f"{box} {summary.unit} from ({corner})" + (", without strays" if summary.strays else "")),
        ("unit", f"{summary.unit}: {summary.unit_from}"),
        ("up", f"{summary.up}: {summary.up_from}"),
        ("colours", summary.colors),
        ("class column", summary.class_column or "none"),
        ("left out", listed(summary.left_out, VALUES_SHOWN) or "nothing"),
    ]
    return found + [("told", sentence) for sentence in summary.told]


def as_text(summaries: Iterable[Summary]) -> str:
    """All summaries, a block each."""
    blocks = []
    for summary in summaries:
        lines = rows(summary)
        width = max(len(name) for name, _ in lines)
        blocks.append("\n".join([f"{summary.file}", *(f"  {name.ljust(width)}  {text}" for name, text in lines)]))
    return "\n\n".join(blocks)


def _class_column(scan: Scan) -> str | None:
    if scan.class_name is None or scan.classes is None:
        return None
    values = np.unique(scan.classes)
    shown = ", ".join(f"{value:g}" if value.dtype.kind in "iuf" else str(value) for value in values[:VALUES_SHOWN])
    more = ", ..." if len(values) > VALUES_SHOWN else ""
    return f"{scan.class_name}, {len(values)} values ({shown}{more}); not learnt from, own_truth compares with it"
