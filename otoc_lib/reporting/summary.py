"""The table that a stranger reads in a minute: every kind of labels, its control and its gain, a column a mode."""

from otoc_lib.experiments import DATA_EFFICIENT, ONE_CLICK, S3DIS_ONE_CLICK, S3DIS_THREE_CLICKS
from otoc_lib.reporting import paper
from otoc_lib.reporting.runs import MODES, NOT_RUN, Results
from otoc_lib.reporting.tables import ABOUT_GAINS, Table, gain_over, with_deviation

KINDS = {"table2": (ONE_CLICK, DATA_EFFICIENT), "table4": (S3DIS_ONE_CLICK, S3DIS_THREE_CLICKS)}
TITLES = {"table2": "Validation rooms in short", "table4": "Area 5 in short"}
COLUMNS = tuple(MODES[mode] for mode in ("point", "sv", "full"))
SELF_TRAINING = "self-training"
# Line of a kind of labels -> its rows in the three modes, without the name of the kind.
LINES = {
    "first iteration": ("baseline", "baseline_sv", "first_full"),
    "control, the clicks alone": ("control", "control_sv", "control_full"),
    SELF_TRAINING: ("dagger", "sv", "full"),
}


def summaries(results: Results) -> list[Table]:
    """Of Tables 2 and 4, as far as anything of them was measured."""
    found = (summary(results, table) for table in KINDS)
    return [table for table in found if table.rows]


def summary(results: Results, table: str) -> Table:
    """Full supervision, then the kinds of labels that were run: cells as in the full table, with the paper's number in
    brackets where it has one. Rows of one column compare."""
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

    rows = []
    for prefix, _, annotation, *_ in KINDS[table]:
        names = {title: tuple(f"{prefix}_{end}" for end in ends) for title, ends in LINES.items()}
        if not any(measured[name] for of_line in names.values() for name in of_line):
            continue
        rows += [line(f"{annotation}: {title}", of_line) for title, of_line in names.items()]
        gains = [gain_over(results, known[name], known[known[name].control]) for name in names[SELF_TRAINING]]
        if any(gains):
            rows.append([f"{annotation}: gain over the control", *(gain.text if gain else NOT_RUN for gain in gains)])
    supervised = ("supervised", "supervised_sv", "supervised_full")
    if rows or any(measured[name] for name in supervised):
        rows.insert(0, line("every point labelled", supervised))
    note = f"Compare within a column. {ABOUT_GAINS}{f' {results.doubt}' if results.doubt else ''}"
    columns = ("Labels", *COLUMNS)
    return Table(f"summary_{table}", TITLES[table], note, columns, rows, columns, rows)
