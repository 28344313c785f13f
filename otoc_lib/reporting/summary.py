"""The tables that a stranger reads in a minute: every kind of labels, its control and its gain, a column a mode; and
every method by every kind of labels."""

from otoc_lib.experiments import BASELINE, DATA_EFFICIENT, ONE_CLICK, S3DIS_ONE_CLICK, S3DIS_THREE_CLICKS
from otoc_lib.methods.stages import method_of
from otoc_lib.reporting import paper
from otoc_lib.reporting.runs import MODES, NOT_RUN, Results
from otoc_lib.reporting.tables import ABOUT_GAINS, Table, gain_over, with_deviation

KINDS = {"table2": (ONE_CLICK, DATA_EFFICIENT), "table4": (S3DIS_ONE_CLICK, S3DIS_THREE_CLICKS)}
ROOMS = {"table2": "Validation rooms", "table4": "Area 5"}
COLUMNS = tuple(MODES[mode] for mode in ("point", "sv", "full"))
SELF_TRAINING = "self-training"
ALONE = "These labels alone"
# Line of a kind of labels -> its rows in the three modes, without the name of the kind.
LINES = {
    "first iteration": ("baseline", "baseline_sv", "first_full"),
    "control, the clicks alone": ("control", "control_sv", "control_full"),
    SELF_TRAINING: ("dagger", "sv", "full"),
}


def summaries(results: Results) -> list[Table]:
    """Of Tables 2 and 4, as far as anything of them was measured; with ``matrix`` where other methods were run, too."""
    found = []
    for table in KINDS:
        found += [short for short in (summary(results, table),) if short.rows]
        others = {row.experiment for row in results.further(table) if results.measure(row)}
        found += [matrix(results, table)] if others else []
    return found


def matrix(results: Results, table: str) -> Table:
    """Every method of a table that was run beside every kind of labels: the U-Net alone, which all of them have.

    A line is a method and the steps of its U-Nets: a control of as many stands for equal steps, one of more for equal
    time. A further experiment of the same method, steps and labels has a line of its own, with its name. Other
    backbones are left out.
    """
    listed = {row.row: row for row in results.rows(table)}
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row in listed.values():
        known, measured = results.known(row.experiment), results.measure(row)
        if row.mode != "point" or row.stage not in ("last", BASELINE) or known is None or measured is None:
            continue
        once = row.stage == BASELINE and known.last_evaluation != BASELINE  # the first iteration of longer training
        if once or known.config.backbone != "unet":
            continue
        method = ALONE if known.config.method == "control" else method_of(known.config).title
        gain = gain_over(results, row, listed[row.control]) if row.control else None
        cell = with_deviation(measured) + (f", gain {gain.text}" if gain else "")
        line = cells.setdefault((method, known.unet_steps), {})
        if row.annotation in line:  # of another experiment, which comes first
            line = cells.setdefault((f"{method} ({row.row})", known.unet_steps), {})
        line[row.annotation] = cell
    labels = list(dict.fromkeys(label for found in cells.values() for label in found))
    rows = [
        [f"{method}, {steps:,} steps", *(cells[method, steps].get(label, "") for label in labels)]
        for method, steps in sorted(cells, key=lambda line: (line[0] != ALONE, line[0], line[1]))
    ]
    note = (
        "The U-Net alone, the mode that every method has; steps are those of its U-Nets. Pi Model and Xu and Lee "
        f"compute two views in a step, Mean Teacher a second network. Compare within a column. {ABOUT_GAINS}"
    )
    columns = ("Method", *labels)
    title = f"{results.rooms_shown(ROOMS[table])} in short: method by labels"
    return Table(f"matrix_{table}", title, note, columns, rows, columns, rows)


def _varies(results: Results, experiment: str, main: str) -> bool:
    """Whether an experiment is the main one's method with some parameters of its own, in all three modes."""
    one, other = results.known(experiment), results.known(main)
    if one is None or other is None:
        return False
    return all(getattr(one.config, name) == getattr(other.config, name) for name in ("method", "variant", "backbone"))


def summary(results: Results, table: str) -> Table:
    """Full supervision, then the kinds of labels that were run, and beside each what varies its method: cells as in the
    full table, with the paper's number in brackets where it has one. Rows of one column compare."""
    published = {row.row: row.miou for row in {"table2": paper.TABLE2, "table4": paper.TABLE4}[table]}
    known = {row.row: row for row in results.rows(table)}
    measured = {name: results.measure(row) for name, row in known.items()}

    def line(title: str, names: tuple[str, ...]) -> list[str]:
        cells = []
        for name in names:
            row = known[name]
            cell = with_deviation(measured[name], results.absent(row.experiment, results.stage_of(row)))
            cells.append(f"{cell} (paper: {published[name]:g})" if name in published else cell)
        return [title, *cells]

    def gain_line(title: str, names: tuple[str, ...]) -> list[list[str]]:
        rows = [known[name] for name in names]
        gains = [gain_over(results, row, known[row.control]) if row.control else None for row in rows]
        return [[title, *(gain.text if gain else NOT_RUN for gain in gains)]] if any(gains) else []

    rows = []
    for prefix, _, annotation, experiment, *_ in KINDS[table]:
        names = {title: tuple(f"{prefix}_{end}" for end in ends) for title, ends in LINES.items()}
        if not any(measured[name] for of_line in names.values() for name in of_line):
            continue
        rows += [line(f"{annotation}: {title}", of_line) for title, of_line in names.items()]
        rows += gain_line(f"{annotation}: gain over the control", names[SELF_TRAINING])
        for row in results.further(table):
            if row.mode != "point" or row.annotation != annotation or not measured[row.row]:
                continue
            if _varies(results, row.experiment, experiment):
                own = (row.row, f"{row.row}_sv", f"{row.row}_full")
                rows.append(line(f"{annotation}: {SELF_TRAINING}, {row.row}", own))
                rows += gain_line(f"{annotation}: {row.row}, gain over its control", own)
    supervised = ("supervised", "supervised_sv", "supervised_full")
    if rows or any(measured[name] for name in supervised):
        rows.insert(0, line("every point labelled", supervised))
    note = f"Compare within a column. {ABOUT_GAINS}{f' {results.doubt}' if results.doubt else ''}"
    columns = ("Labels", *COLUMNS)
    title = f"{results.rooms_shown(ROOMS[table])} in short"
    return Table(f"summary_{table}", title, note, columns, rows, columns, rows)
