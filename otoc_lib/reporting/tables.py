"""Tables 1-4: the paper's numbers beside ours, as CSV, Markdown and LaTeX."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from otoc_lib.files import write_aside
from otoc_lib.reporting import paper
from otoc_lib.reporting.runs import Measurement, measure

NOT_RUN = "not run"
CSV_COLUMNS = ("row", "setting", "annotation", "paper", "ours", "ours_std", "seeds", "views", "rooms")
NOVEL = "val_novel"  # validation rooms furnished with models that no training room holds
BASELINE = "evaluate_baseline"  # the U-Net of iteration 1 before any self-training


@dataclass(frozen=True)
class MethodRow:
    """Where a row of ours comes from: the experiment, its baseline or last iteration, and the mode of inference."""

    row: str
    setting: str
    annotation: str
    experiment: str
    last: bool
    mode: str

    def stage(self, iterations: int) -> str:
        return f"evaluate_{iterations}" if self.last else BASELINE

    def measure(self, runs: Path, profile: str, iterations: int, split: str = "val") -> Measurement | None:
        return measure(runs, profile, self.experiment, self.stage(iterations), self.mode, split)


def clicked_rows(row: str, setting: str, annotation: str, experiment: str, control: str) -> tuple[MethodRow, ...]:
    """The paper's three rows of one kind of clicks, with our two controls between them."""
    return (
        MethodRow(f"{row}_baseline", f"{setting}* (initial labels)", annotation, experiment, False, "point"),
        MethodRow(
            f"{row}_control", f"{setting}, control: clicks only, as many steps", annotation, control, True, "point"
        ),
        MethodRow(f"{row}_sv", f"{setting}, averaged in super-voxels", annotation, experiment, True, "sv"),
        MethodRow(f"{row}_dagger", f"{setting}† (U-Net alone)", annotation, experiment, True, "point"),
        MethodRow(f"{row}_full", setting, annotation, experiment, True, "full"),
    )


def supervoxel_rows(row: str, setting: str, annotation: str, experiment: str, control: str) -> tuple[MethodRow, ...]:
    """The same networks judged on super-voxels, as the whole method is. Not in the paper; without them averaging alone
    would pass for a gain of the graph."""
    return (
        MethodRow(f"{row}_baseline_sv", f"{setting}* averaged in super-voxels", annotation, experiment, False, "sv"),
        MethodRow(f"{row}_control_sv", f"{setting}, control averaged in super-voxels", annotation, control, True, "sv"),
    )


def supervised_row(experiment: str) -> MethodRow:
    return MethodRow("supervised", "Fully supervised", "every point", experiment, False, "point")


def supervised_sv_row(experiment: str) -> MethodRow:
    """Full supervision judged on super-voxels: without it, it would look within reach of the whole method."""
    return MethodRow(
        "supervised_sv", "Fully supervised, averaged in super-voxels", "every point", experiment, False, "sv"
    )


ONE_CLICK = ("otoc", "One Thing One Click", "one click/object")
THREE_CLICKS = ("otoc3", "One Thing Three Clicks", "three clicks/object")
DATA_EFFICIENT = ("data_efficient", "Data Efficient", "20 points")
METHOD_ROWS = (supervised_row("supervised"), *clicked_rows(*ONE_CLICK, "otoc", "control"))
TABLE2_ROWS = (
    *METHOD_ROWS,
    *clicked_rows(*DATA_EFFICIENT, "points20", "points20_control"),
    supervised_sv_row("supervised"),
    *supervoxel_rows(*ONE_CLICK, "otoc", "control"),
    *supervoxel_rows(*DATA_EFFICIENT, "points20", "points20_control"),
)
S3DIS_ROWS = (
    supervised_row("s3dis_supervised"),
    *clicked_rows(*ONE_CLICK, "s3dis_otoc", "s3dis_control"),
    *clicked_rows(*THREE_CLICKS, "s3dis_otoc3", "s3dis_control3"),
)
TABLE4_ROWS = (
    *S3DIS_ROWS,
    supervised_sv_row("s3dis_supervised"),
    *supervoxel_rows(*ONE_CLICK, "s3dis_otoc", "s3dis_control"),
    *supervoxel_rows(*THREE_CLICKS, "s3dis_otoc3", "s3dis_control3"),
)
# The columns of Table 3: experiment and mode. The last two are ours alone and keep the gains honest.
VARIANTS = {
    "unet": ("unet", "point"),
    "unet_gp": ("unet_gp", "full"),
    "unet_rel_gp": ("otoc", "full"),
    "control": ("control", "point"),
    "sv": ("otoc", "sv"),
}
VARIANT_NAMES = {**paper.TABLE3_NAMES, "control": "Control (clicks only)", "sv": "Super-voxel mean"}


@dataclass(frozen=True)
class Row:
    """A row of Tables 1, 2 or 4; ``paper`` in percent or None, ``ours`` None where it was not run."""

    row: str
    setting: str
    annotation: str
    paper: float | None
    ours: Measurement | None

    @property
    def difference(self) -> float | None:
        return None if self.paper is None or self.ours is None else self.ours.mean - self.paper


@dataclass(frozen=True)
class Table:
    """One table: what the CSV holds, and the shorter form that people read."""

    name: str
    title: str
    note: str
    csv_columns: tuple[str, ...]
    csv_rows: list[list[str]]
    columns: tuple[str, ...]
    rows: list[list[str]]

    @property
    def keys(self) -> list[str]:
        """The first cell of each CSV row: what the row is called in files and links."""
        return [row[0] for row in self.csv_rows]


def number(value: float | None, sign: bool = False) -> str:
    """Two decimals, or nothing for None."""
    return "" if value is None else f"{value:+.2f}" if sign else f"{value:.2f}"


def with_deviation(ours: Measurement | None) -> str:
    """``61.23``, ``61.23 ± 0.40`` over several seeds, or ``not run``."""
    if ours is None:
        return NOT_RUN
    return number(ours.mean) if ours.std is None else f"{number(ours.mean)} ± {number(ours.std)}"


def table1() -> Table:
    """ScanNet-v2 test set. Its labels are hidden, so no row of it can be measured here."""
    rows = [Row(r.row, r.setting, r.annotation, r.miou, None) for r in paper.TABLE1]
    note = "The labels of this set are hidden: only the benchmark's server can fill the column 'ours'."
    return _comparison("table1", "Table 1. ScanNet-v2, test set", note, rows, decimals=1)


def table2(runs: Path, profile: str, iterations: int) -> Table:
    """ScanNet-v2 validation set (or the profile's own rooms), then the same rows on unseen furniture models."""
    published = {r.row: r.miou for r in paper.TABLE2}
    rows = [
        Row(m.row, m.setting, m.annotation, published.get(m.row), m.measure(runs, profile, iterations))
        for m in TABLE2_ROWS
    ]
    novel = [(m, m.measure(runs, profile, iterations, NOVEL)) for m in TABLE2_ROWS]
    rows += [
        Row(f"{m.row}@{NOVEL}", f"{m.setting}, unseen furniture", m.annotation, None, ours) for m, ours in novel if ours
    ]
    note = (
        "* trained on the initial labels. † propagation and relation network switched off at inference. "
        "Compare the whole method with the rows averaged in super-voxels, † with the others. "
        "The paper has no control and no super-voxel mean; its clicks are 0.02 % of the points."
    )
    return _comparison("table2", "Table 2. Validation set", note, rows, decimals=2)


def table3_measurements(runs: Path, profile: str, iterations: int) -> dict[str, list[Measurement | None]]:
    """Column name -> result of iterations 1..max(5, iterations)."""
    count = max(len(paper.TABLE3["unet"]), iterations)
    return {
        column: [
            measure(runs, profile, experiment, f"evaluate_{k}", mode) if k <= iterations else None
            for k in range(1, count + 1)
        ]
        for column, (experiment, mode) in VARIANTS.items()
    }


def table3(runs: Path, profile: str, iterations: int) -> Table:
    """The three variants over the iterations, validation set."""
    ours = table3_measurements(runs, profile, iterations)
    csv_rows, rows = [], []
    for i in range(len(ours["unet"])):
        published = {name: values[i] if i < len(values) else None for name, values in paper.TABLE3.items()}
        cells = {name: values[i] for name, values in ours.items()}
        known = [cell for cell in cells.values() if cell]
        csv_rows.append(
            [
                str(i + 1),
                *(number(cells[name].mean) if cells[name] else NOT_RUN for name in paper.TABLE3),
                *(number(published[name]) for name in paper.TABLE3),
                *(number(cells[name].std) if cells[name] else "" for name in paper.TABLE3),
                *(number(cells[name].mean) if cells[name] else NOT_RUN for name in ("control", "sv")),
                *_provenance(known),
            ]
        )
        beside = [text for name in paper.TABLE3 for text in (number(published[name]), with_deviation(cells[name]))]
        rows.append([str(i + 1), *beside, with_deviation(cells["control"]), with_deviation(cells["sv"])])
    variants = tuple(paper.TABLE3)
    columns = (
        "Iteration",
        *(f"{VARIANT_NAMES[name]} ({who})" for name in variants for who in ("paper", "ours")),
        *(f"{VARIANT_NAMES[name]} (ours)" for name in ("control", "sv")),
    )
    return Table(
        name="table3",
        title="Table 3. Ablation over the iterations, validation set",
        note="Control and super-voxel mean are not in the paper: the gain that training as long on the clicks alone, "
        "or averaging the U-Net in super-voxels without a graph, brings by itself.",
        csv_columns=(
            "iteration",
            *variants,
            *(f"{name}_paper" for name in variants),
            *(f"{name}_std" for name in variants),
            "control",
            "sv",
            *CSV_COLUMNS[-3:],
        ),
        csv_rows=csv_rows,
        columns=columns,
        rows=rows,
    )


def table4(runs: Path, profile: str, iterations: int) -> Table:
    """S3DIS, Area 5: the experiments ``s3dis_*`` of the profile, and what each gains over the row * of its clicks."""
    methods = {m.row: m for m in TABLE4_ROWS}
    ours = {row: m.measure(runs, profile, iterations) for row, m in methods.items()}
    published = {r.row: r for r in paper.TABLE4}
    rows = [Row(r.row, r.setting, r.annotation, r.miou, ours.get(r.row)) for r in paper.TABLE4]
    rows += [Row(m.row, m.setting, m.annotation, None, ours[m.row]) for m in TABLE4_ROWS if m.row not in published]
    by_row = {row.row: row for row in rows}
    relative: list[list[str]] = [[], []]  # paper, ours
    for row in rows:
        start = by_row.get(baseline_of(row.row))
        both = start is not None and start.paper and row.paper
        relative[0].append(f"{100 * (row.paper / start.paper - 1):.1f}" if both else "")
        both = start is not None and start.ours and row.ours
        relative[1].append(f"{100 * (row.ours.mean / start.ours.mean - 1):+.1f}" if both else "")
    note = (
        "* trained on the initial labels. † propagation and relation network switched off at inference. Rel. imp.: "
        "relative improvement (%) over the row * of the same clicks. The paper has no control and no super-voxel mean."
    )
    extra = {"Rel. imp. (paper)": relative[0], "Rel. imp. (ours)": relative[1]}
    return _comparison("table4", "Table 4. S3DIS, Area 5", note, rows, decimals=1, extra=extra)


def baseline_of(row: str) -> str | None:
    """The row of Table 4 that a relative improvement refers to, None for a baseline and for rows without one."""
    if row.startswith("xu_") and "baseline" not in row:
        return row.replace("xu_", "xu_baseline_")
    family, _, kind = row.partition("_")
    if family not in ("otoc", "otoc3") or kind.startswith("baseline"):
        return None
    return f"{family}_baseline"


def make_tables(runs: Path, profile: str, iterations: int) -> list[Table]:
    """Tables 1-4 from the finished stages of a profile; ``iterations`` is the last one of Algorithm 1."""
    return [
        table1(),
        table2(runs, profile, iterations),
        table3(runs, profile, iterations),
        table4(runs, profile, iterations),
    ]


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write ``<name>.csv``, ``.md`` and ``.tex`` into a folder; returns the three paths."""
    written = {".csv": None, ".md": to_markdown(table), ".tex": to_latex(table)}
    for suffix, text in written.items():
        with (
            write_aside(folder / f"{table.name}{suffix}") as aside,
            open(aside, "w", newline="", encoding="utf-8") as f,
        ):
            if text is None:
                csv.writer(f, lineterminator="\n").writerows([table.csv_columns, *table.csv_rows])
            else:
                f.write(text)
    return [folder / f"{table.name}{suffix}" for suffix in written]


def to_markdown(table: Table) -> str:
    lines = [
        f"**{table.title}** (mIoU, %)",
        "",
        "| " + " | ".join(table.columns) + " |",
        "|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(table.columns))) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) + " |" for row in table.rows),
        "",
        table.note.replace("*", "\\*"),
        "",
    ]
    return "\n".join(lines)


def to_latex(table: Table) -> str:
    """A floating table for the booktabs package."""
    body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(table.title.split('. ', 1)[1])} (mIoU, \%). {_latex(table.note)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            " & ".join(_latex(column) for column in table.columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _comparison(
    name: str, title: str, note: str, rows: list[Row], decimals: int, extra: dict[str, list[str]] | None = None
) -> Table:
    """A table of rows; ``decimals`` are those that the paper prints, ``extra`` holds further columns."""
    extra = extra or {}
    further = [list(cells) for cells in zip(*extra.values(), strict=True)] if extra else [[] for _ in rows]
    published = ["" if row.paper is None else f"{row.paper:.{decimals}f}" for row in rows]
    return Table(
        name=name,
        title=title,
        note=note,
        csv_columns=(*CSV_COLUMNS, *(re.sub("[^a-z]+", "_", column.lower()).strip("_") for column in extra)),
        csv_rows=[
            [
                row.row,
                row.setting,
                row.annotation,
                printed,
                number(row.ours.mean) if row.ours else NOT_RUN,
                number(row.ours.std) if row.ours else "",
                *_provenance([row.ours] if row.ours else []),
                *more,
            ]
            for row, printed, more in zip(rows, published, further, strict=True)
        ],
        columns=("Setting", "Annotation", "Paper", "Ours", "Ours - paper", *extra, "Seeds", "Views", "Rooms"),
        rows=[
            [
                row.setting,
                row.annotation,
                printed,
                with_deviation(row.ours),
                number(row.difference, sign=True),
                *more,
                *_provenance([row.ours] if row.ours else []),
            ]
            for row, printed, more in zip(rows, published, further, strict=True)
        ],
    )


def _provenance(cells: list[Measurement]) -> list[str]:
    """Seeds, views and rooms of the results in one row: the smallest number of seeds, nothing if none was run."""
    if not cells:
        return ["", "", ""]
    return [str(min(len(cell.by_seed) for cell in cells)), str(cells[0].views), str(cells[0].rooms)]


def _latex(text: str) -> str:
    special = {"%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "±": r"$\pm$", "†": r"$^\dagger$", "*": r"$^*$"}
    return "".join(special.get(character, character) for character in text)
