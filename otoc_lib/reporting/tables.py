"""Tables 1-4: the paper's numbers beside ours, as CSV, Markdown and LaTeX."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from otoc_lib.csv_table import read_rows
from otoc_lib.datasets.cache import HELD_OUT
from otoc_lib.experiments import SIMULATED, VARIANTS, Row
from otoc_lib.files import write_aside
from otoc_lib.reporting import paper
from otoc_lib.reporting.bootstrap import interval_of
from otoc_lib.reporting.hidden_test import CONTROLS
from otoc_lib.reporting.runs import NOT_RUN, Measurement, Results, Spread

CSV_COLUMNS = ("row", "setting", "annotation", "paper", "ours", "ours_std", "seeds", "views", "rooms")
CSV_COLUMNS += ("stale_seeds",)  # that were measured and are left out
NOVEL = "val_novel"  # validation rooms furnished with models that no training room holds
ELSEWHERE = {NOVEL: "unseen furniture", HELD_OUT: "held-out training rooms"}  # what has rows of its own, where measured
OURS_ALONE = {  # columns of Table 3 that the paper lacks
    "control": "Control (clicks only), after propagation",
    "control_point": "Control, U-Net alone",
    "sv": "Super-voxel mean",
    "released": "Released code's rules",
}
VARIANT_NAMES = {**paper.TABLE3_NAMES, **OURS_ALONE}
GAIN_COLUMNS = ("control", "gain", "gain_low", "gain_high")
GAIN = "Gain over control"
ONLY_QUOTED = "quoted"  # stands where no experiment could give a number: ``PaperRow.quoted``
STUDY_COLUMN = "Study"
DIFFERENCE = "Ours - paper"
ABOUT_QUOTED = "Networks that this kit lacks are quoted."
ABOUT_STUDY = "Study: mean and deviation of several seeds and longer training, by make study; see reports/study."
ABOUT_GAINS = (
    "Gain over control: mIoU over that of the same labels alone with equal steps and restarts (MPRM: without its CRF, "
    "or with one of its paths), in the same mode; in brackets its 95 % interval over rooms and seeds."
)


@dataclass(frozen=True)
class Line:
    """A row of Tables 1, 2 or 4.

    paper: in percent, or None. ours: None where nothing current was measured; ``absent`` says then why. stale: seeds
    that were measured and are left out.
    """

    row: str
    setting: str
    annotation: str
    paper: float | None
    ours: Measurement | None
    absent: str = NOT_RUN
    stale: tuple[int, ...] = ()
    gain: "Gain | None" = None

    @property
    def difference(self) -> float | None:
        return None if self.paper is None or self.ours is None else self.ours.mean - self.paper


@dataclass(frozen=True)
class Gain:
    """What a row has more than its control in the same mode, over the seeds that both were run with.

    control: mean mIoU of the control, in percent. mean: of the differences. interval: of that (``bootstrap``), None
    where it is unknown.
    """

    control: float
    mean: float
    interval: tuple[float, float] | None

    @property
    def cells(self) -> list[str]:
        """For the columns GAIN_COLUMNS of a CSV."""
        ends = (None, None) if self.interval is None else self.interval
        return [number(self.control), *(number(value, sign=True) for value in (self.mean, *ends))]

    @property
    def text(self) -> str:
        """``+3.21 (+1.10 to +5.02)``."""
        if self.interval is None:
            return number(self.mean, sign=True)
        low, high = (number(end, sign=True) for end in self.interval)
        return f"{number(self.mean, sign=True)} ({low} to {high})"


def gain_over(results: Results, row: Row, control: Row, split: str | None = None) -> Gain | None:
    """The gain of a row over another one, None where ``means_over_shared_seeds`` has none."""
    means = means_over_shared_seeds(results.measure(row, split), results.measure(control, split))
    if means is None:
        return None
    ours, theirs = means
    return Gain(theirs, ours - theirs, interval_of(results, row, control, split))


def means_over_shared_seeds(ours: Measurement | None, theirs: Measurement | None) -> tuple[float, float] | None:
    """Both means over the seeds that both were run with, None without any or of other rooms: none would be paired."""
    shared = sorted(set(ours.by_seed) & set(theirs.by_seed)) if ours and theirs else []
    if not shared or ours.names != theirs.names:
        return None
    first, second = (sum(side.by_seed[seed] for seed in shared) / len(shared) for side in (ours, theirs))
    return first, second


def study_cells(folder: Path | None, name: str, column: str = "ours") -> dict[str, str]:
    """What the study measured: row -> its mean and deviation over the seeds, of a column of ``<name>.csv`` in a folder.

    Empty without such a file; rows that it has no number for are left out.
    """
    path = folder / f"{name}.csv" if folder else None
    if path is None or not path.is_file():
        return {}
    found = {}
    for _, values in read_rows(path, (column, f"{column}_std")):
        row, mean, deviation = next(iter(values.values())), values[column] or "", values[f"{column}_std"]
        if re.fullmatch(r"[0-9.]+", mean):  # and not "not run"
            found[row] = f"{mean} ± {deviation}" if deviation else mean
    return found


def gain_cells(gain: Gain | None) -> list[str]:
    """``gain.cells``, empty ones for None."""
    return gain.cells if gain else [""] * len(GAIN_COLUMNS)


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


def with_deviation(ours: Spread | None, absent: str = NOT_RUN) -> str:
    """``61.23``, ``61.23 ± 0.40`` over several seeds, with the seeds that are stale and left out; or ``absent``."""
    if ours is None:
        return absent
    text = number(ours.mean) if ours.std is None else f"{number(ours.mean)} ± {number(ours.std)}"
    return text + stale_text(ours)


def stale_text(ours: Spread) -> str:
    """`` (seed 1 is stale)``, or nothing."""
    if not ours.stale:
        return ""
    return f" (seed{'s' if len(ours.stale) > 1 else ''} {', '.join(map(str, ours.stale))} stale)"


def table1(hidden: Mapping[str, Measurement] | None = None, study: Path | None = None) -> Table:
    """The test set, whose labels are hidden: ``hidden`` is what an evaluator said of submissions, by row."""
    hidden = hidden or {}
    published = {r.row: r for r in paper.TABLE1}
    rows = [_hidden_line(r.row, r.setting, r.annotation, r.miou, hidden, r.quoted) for r in published.values()]
    beside = (
        ("supervised_full", "Our fully-sup baseline, after propagation", "100%"),
        ("otoc_control", "One Thing One Click, control: clicks only, as many steps", "0.02%"),
        ("data_efficient_control", "20 points, control: clicks only, as many steps", ""),
        ("mprm_plain", "MPRM, control: one path of the four", "subcloud-level"),
    )
    rows += [_hidden_line(*row, None, hidden) for row in beside if row[0] in hidden]
    note = f"{ABOUT_QUOTED} "
    if hidden:
        note += (
            "Ours are of the bundled test rooms: the predictions were written as a submission and scored by another "
            "process, which alone reads their labels. They compare with nothing in the paper's column."
        )
    else:
        note += "The labels of this set are hidden: only the benchmark's server can fill the column 'ours'."
    return _comparison(
        "table1",
        "Table 1. Test set with hidden labels",
        note,
        rows,
        decimals=1,
        study=study_cells(study, "table1"),
        simulated=bool(hidden),
    )


def _hidden_line(
    row: str,
    setting: str,
    annotation: str,
    published: float | None,
    hidden: Mapping[str, Measurement],
    quoted: bool = False,
) -> Line:
    ours, control = hidden.get(row), hidden.get(CONTROLS.get(row, ""))
    means = means_over_shared_seeds(ours, control)
    # No interval: the evaluator tells the score, and nothing of single rooms.
    gain = Gain(means[1], means[0] - means[1], None) if means else None
    return Line(row, setting, annotation, published, ours, ONLY_QUOTED if quoted else NOT_RUN, gain=gain)


def table2(results: Results) -> Table:
    """ScanNet-v2 validation set (or the profile's own rooms), then the same rows on unseen furniture models."""
    published = {r.row: r.miou for r in paper.TABLE2}
    measured = {r.row: r for r in results.rows("table2")}
    rows = [_line(results, r, measured, published.get(r.row)) for r in measured.values()]
    rows += _lines_elsewhere(results, measured)
    note = (
        "* trained on the initial labels. † propagation and relation network switched off at inference. "
        "Compare rows of one mode: the U-Net alone, averaged in super-voxels, or after propagation. "
        "The paper has no control and no super-voxel mean; its clicks are 0.02 % of the points. "
        f"{ABOUT_GAINS}"
    )
    return _comparison(
        "table2",
        f"Table 2. {results.rooms_shown('Validation set')}",
        _doubted(results, note, rows),
        rows,
        decimals=2,
        study=study_cells(results.study, "table2"),
        simulated=results.profile in SIMULATED,
    )


def _line(results: Results, row: Row, rows: dict[str, Row], published: float | None, split: str | None = None) -> Line:
    """rows: of the table, by name."""
    stage = row.experiment, results.stage_of(row)
    absent, stale = results.absent(*stage), results.stale_seeds(*stage)
    gain = gain_over(results, row, rows[row.control], split) if row.control else None
    return Line(row.row, row.setting, row.annotation, published, results.measure(row, split), absent, stale, gain)


def _lines_elsewhere(results: Results, rows: dict[str, Row]) -> list[Line]:
    """The rows of a table on the further splits that its experiments evaluate."""
    found = []
    for split, words in ELSEWHERE.items():
        lines = [] if split == results.split else [(r, _line(results, r, rows, None, split)) for r in rows.values()]
        found += [
            replace(line, row=f"{r.row}@{split}", setting=f"{r.setting}, {words}")
            for r, line in lines
            if line.ours or (line.stale and _evaluates(results, r.experiment, split))
        ]
    return found


def _evaluates(results: Results, experiment: str, split: str) -> bool:
    known = results.known(experiment)
    return known is not None and split in known.config.eval_splits


def _doubted(results: Results, note: str, rows: list[Line]) -> str:
    """The note, and where something is shown that nobody knows to be current, a sentence that says so."""
    return f"{note} {results.doubt}" if results.doubt and any(row.ours for row in rows) else note


def table3_measurements(results: Results) -> dict[str, list[Measurement | None]]:
    """Column name -> result of iterations 1..max(5, iterations)."""
    count = max(len(paper.TABLE3["unet"]), results.iterations)
    return {
        column: [
            results.measure_stage(experiment, f"evaluate_{k}", mode) if k <= results.iterations else None
            for k in range(1, count + 1)
        ]
        for column, (experiment, mode) in VARIANTS.items()
    }


def table3(results: Results) -> Table:
    """The three variants over the iterations, validation set."""
    ours = table3_measurements(results)
    stages = {
        name: [(experiment, f"evaluate_{k}") for k in range(1, len(ours[name]) + 1)]
        for name, (experiment, _) in VARIANTS.items()
    }
    absent = {name: [results.absent(*stage) for stage in found] for name, found in stages.items()}
    stale = {name: [results.stale_seeds(*stage) for stage in found] for name, found in stages.items()}
    gains = [_gain_of_iteration(results, k) for k in range(1, len(ours["unet"]) + 1)]
    study = {name: study_cells(results.study, "table3", name) for name in paper.TABLE3}
    studied = any(study.values())
    csv_rows, rows = [], []
    for i in range(len(ours["unet"])):
        published = {name: values[i] if i < len(values) else None for name, values in paper.TABLE3.items()}
        cells = {name: values[i] for name, values in ours.items()}
        known = [cell for cell in cells.values() if cell]
        csv_rows.append(
            [
                str(i + 1),
                *(number(cells[name].mean) if cells[name] else absent[name][i] for name in paper.TABLE3),
                *(number(published[name]) for name in paper.TABLE3),
                *(number(cells[name].std) if cells[name] else "" for name in paper.TABLE3),
                *(number(cells[name].mean) if cells[name] else absent[name][i] for name in OURS_ALONE),
                *provenance(known),
                "; ".join(f"{name}: {' '.join(map(str, seeds[i]))}" for name, seeds in stale.items() if seeds[i]),
                *gain_cells(gains[i])[1:],
            ]
        )
        shown = {name: with_deviation(cell, absent[name][i]) for name, cell in cells.items()}
        beside = []
        for name in paper.TABLE3:
            beside += [number(published[name]), shown[name], *([study[name].get(str(i + 1), "")] if studied else [])]
        gain = gains[i].text if gains[i] else ""
        rows.append([str(i + 1), *beside, *(shown[name] for name in OURS_ALONE), gain])
    variants = tuple(paper.TABLE3)
    note = (
        "Controls and super-voxel mean are not in the paper: what training as long on the clicks alone, or averaging "
        "the U-Net in super-voxels without a graph, brings by itself. The released code combines, propagates and "
        "relabels by other rules than the paper (methods/released.py). The gain is that of the last of the three "
        f"variants over the control after the same propagation. {ABOUT_GAINS}{f' {ABOUT_STUDY}' if studied else ''}"
    )
    columns = (
        "Iteration",
        *(f"{VARIANT_NAMES[name]} ({who})" for name in variants for who in ("paper", "ours", *["study"] * studied)),
        *(f"{name} (ours)" for name in OURS_ALONE.values()),
        GAIN,
    )
    return Table(
        name="table3",
        title=f"Table 3. Ablation over the iterations, {results.rooms_shown('validation set').lower()}",
        note=f"{note} {results.doubt}" if results.doubt and any(map(any, ours.values())) else note,
        csv_columns=(
            "iteration",
            *variants,
            *(f"{name}_paper" for name in variants),
            *(f"{name}_std" for name in variants),
            *OURS_ALONE,
            *CSV_COLUMNS[-4:],
            *GAIN_COLUMNS[1:],
        ),
        csv_rows=csv_rows,
        columns=columns,
        rows=rows,
    )


def _gain_of_iteration(results: Results, iteration: int) -> Gain | None:
    """What the whole method has more than its control after an iteration, both after propagation."""
    sides = (VARIANTS[column] for column in ("unet_rel_gp", "control"))
    return gain_over(
        results, *(Row("", "", "", experiment, f"evaluate_{iteration}", mode) for experiment, mode in sides)
    )


def table4(results: Results) -> Table:
    """S3DIS, Area 5: the experiments ``s3dis_*`` of the profile, and what each gains over the row * of its clicks.

    The CSV says between what the gain lies, see ``bootstrap``; the printed table where there are several seeds.
    """
    measured = {r.row: r for r in results.rows("table4")}
    ours = {name: _line(results, r, measured, None) for name, r in measured.items()}
    rows = []
    for r in paper.TABLE4:
        line = ours.pop(r.row, Line(r.row, "", "", None, None, ONLY_QUOTED if r.quoted else NOT_RUN))
        rows.append(replace(line, setting=r.setting, annotation=r.annotation, paper=r.miou))
    rows += [*ours.values(), *_lines_elsewhere(results, measured)]
    by_row = {row.row: row for row in rows}
    theirs, gains, lows, highs, printed = [], [], [], [], []
    for row in rows:
        start = by_row.get(baseline_of(row.row))
        both = start is not None and start.paper and row.paper
        theirs.append(f"{100 * (row.paper / start.paper - 1):.1f}" if both else "")
        means = means_over_shared_seeds(row.ours, start.ours) if start else None
        gains.append(f"{100 * (means[0] / means[1] - 1):+.1f}" if means else "")
        interval = interval_of(results, measured[row.row], measured[start.row], relative=True) if means else None
        low, high = (f"{end:+.1f}" for end in interval) if interval else ("", "")
        lows.append(low)
        highs.append(high)
        several = interval and None not in (row.ours.std, start.ours.std)
        printed.append(f"{gains[-1]} ({low} to {high})" if several else gains[-1])
    note = (
        "* trained on the initial labels. † propagation and relation network switched off at inference. Rel. imp.: "
        "relative improvement (%) over the row * of the same clicks. The paper has no control and no super-voxel mean. "
        f"{ABOUT_QUOTED} {ABOUT_GAINS}"
    )
    if any(row.row.startswith("gpfn_") and row.ours for row in rows):
        note += " GPFN: ours is the U-Net on labels that images give to points; many are near full supervision."
    return _comparison(
        "table4",
        f"Table 4. {results.rooms_shown('S3DIS, Area 5')}",
        _doubted(results, note, rows),
        rows,
        decimals=1,
        study=study_cells(results.study, "table4"),
        simulated=results.profile in SIMULATED,
        columns={"Rel. imp. (paper)": theirs, "Rel. imp. (ours)": printed},
        csv_columns={"rel_imp_paper": theirs, "rel_imp_ours": gains, "rel_imp_low": lows, "rel_imp_high": highs},
    )


def baseline_of(row: str) -> str | None:
    """The row of Table 4 that a relative improvement refers to, None for a baseline and for rows without one."""
    if row.startswith("xu_") and "baseline" not in row:
        return row.replace("xu_", "xu_baseline_")
    family, _, kind = row.partition("_")
    if family not in ("otoc", "otoc3") or kind.startswith("baseline"):
        return None
    return f"{family}_baseline"


def make_tables(results: Results, hidden: Mapping[str, Measurement] | None = None) -> list[Table]:
    """Tables 1-4 from the finished stages of a profile. hidden: for Table 1, see ``hidden_test``."""
    return [table1(hidden, results.study), table2(results), table3(results), table4(results)]


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
            rf"\caption{{{_latex(table.title.split('. ', 1)[-1])} (mIoU, \%). {_latex(table.note)}}}",
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
    name: str,
    title: str,
    note: str,
    rows: list[Line],
    decimals: int,
    study: dict[str, str] | None = None,
    simulated: bool = False,
    columns: dict[str, list[str]] | None = None,
    csv_columns: dict[str, list[str]] | None = None,
) -> Table:
    """A table of rows.

    decimals: those that the paper prints. study: what the study measured, by row. simulated: ours is of other rooms
    than the paper's, and the difference of the two means nothing. columns, csv_columns: further ones, a cell for each
    row, of the printed table and of the CSV.
    """
    columns, csv_columns = columns or {}, csv_columns or {}
    if not simulated:
        columns = {DIFFERENCE: [number(row.difference, sign=True) for row in rows], **columns}
    if study:
        columns, note = {**columns, STUDY_COLUMN: [study.get(row.row, "") for row in rows]}, f"{note} {ABOUT_STUDY}"
    if any(row.gain for row in rows):
        columns = {**columns, GAIN: [row.gain.text if row.gain else "" for row in rows]}
    of_gains = zip(*(gain_cells(row.gain) for row in rows), strict=True)
    csv_columns = {**csv_columns, **dict(zip(GAIN_COLUMNS, of_gains, strict=True))}
    csv_rows, printed_rows = [], []
    for place, row in enumerate(rows):
        published = "" if row.paper is None else f"{row.paper:.{decimals}f}"
        about = [row.setting, row.annotation, published]
        measured_on = provenance([row.ours] if row.ours else [])
        ours = number(row.ours.mean) if row.ours else row.absent
        deviation = number(row.ours.std) if row.ours else ""
        stale = " ".join(map(str, row.stale))
        csv_rows.append(
            [row.row, *about, ours, deviation, *measured_on, stale, *(c[place] for c in csv_columns.values())]
        )
        further = [cells[place] for cells in columns.values()]
        printed_rows.append([*about, with_deviation(row.ours, row.absent), *further, *measured_on])
    return Table(
        name=name,
        title=title,
        note=note,
        csv_columns=(*CSV_COLUMNS, *csv_columns),
        csv_rows=csv_rows,
        columns=("Setting", "Annotation", "Paper", "Ours", *columns, "Seeds", "Views", "Rooms"),
        rows=printed_rows,
    )


def provenance(cells: list[Measurement]) -> list[str]:
    """Seeds, views and rooms of the results in one row: the smallest number of seeds, nothing if none was run."""
    if not cells:
        return ["", "", ""]
    return [str(min(len(cell.by_seed) for cell in cells)), str(cells[0].views), str(cells[0].rooms)]


def _latex(text: str) -> str:
    special = {"%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "±": r"$\pm$", "†": r"$^\dagger$", "*": r"$^*$"}
    return "".join(special.get(character, character) for character in text)
