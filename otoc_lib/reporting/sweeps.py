"""Curves over one parameter: what self-training and its control reach at each of its values.

A params file that differs from the main experiment in one number is a point (``experiments.sweeps``).
"""

from dataclasses import dataclass

from otoc_lib.experiments import Row, SweepPoint, main_experiment, sweeps
from otoc_lib.methods.stages import method_of
from otoc_lib.reporting.curves import Curve, curve_through
from otoc_lib.reporting.row_colors import row_color
from otoc_lib.reporting.runs import MODES, Measurement, Results, in_order_of_modes
from otoc_lib.reporting.tables import (
    ABOUT_GAINS,
    CSV_COLUMNS,
    GAIN,
    GAIN_COLUMNS,
    Gain,
    Table,
    gain_cells,
    gain_over,
    number,
    provenance,
    with_deviation,
)

FIRST = "evaluate_1"
LABELS = {"covered_percent": "Points labelled (%)", "accuracy_percent": "Of these right (%)"}  # of the clicks
# What of a ``SweepLine`` has a column.
SIDES = {"first": "First iteration", "control": "Control", "ours": "Self-training"}
# What is swept, in words; other parameters go by their names.
SWEPT = {
    "clicks_wrong": "Share of wrong clicks",
    "clicks_forgotten": "Share of forgotten objects",
    "clicks_per_object": "Clicks an object",
    "train_rooms": "Training rooms",
    "temperature": "Temperature of the relation net",
    "prototype_momentum": "Momentum of the prototypes",
    "relation_samples": "Super-voxels of a class a step",
    "relation_steps": "Steps of the relation net",
}


@dataclass(frozen=True)
class SweepLine:
    """One value of a parameter in one mode; what was not run is None.

    labels: mean over the seeds of the numbers ``LABELS`` of the clicks. first: after the first iteration, before any
    self-training; where there is no other, ``ours`` is None. control: as many steps on the clicks alone. change: over
    the value of the main experiment, which has none.
    """

    value: float
    experiment: str
    mode: str
    labels: dict[str, float | None]
    first: Measurement | None
    control: Measurement | None
    ours: Measurement | None
    gain: Gain | None
    change: Gain | None

    @property
    def last(self) -> Measurement | None:
        return self.ours or self.first


def sweep_lines(results: Results) -> dict[str, list[SweepLine]]:
    """Parameter -> a line for each of its values and each mode that the method's rows have or that were measured, modes
    apart."""
    found = {}
    for name, points in sweeps(results.experiments).items():
        evaluations = [results.metrics(point.experiment, FIRST) for point in points]
        measured = [mode for metrics in evaluations if metrics for mode in metrics["predicted"]]
        modes = method_of(results.known(points[0].experiment).config).modes
        modes = in_order_of_modes([*modes, *measured])
        lines = [_line(results, point, mode) for mode in modes for point in points]
        # A variant without a graph has no mode "full".
        found[name] = [line for line in lines if any((line.first, line.control, line.ours)) or line.mode == modes[0]]
    return found


def _line(results: Results, point: SweepPoint, mode: str) -> SweepLine:
    row = Row(point.experiment, "", "", point.experiment, "last", mode)
    beside = Row(point.control, "", "", point.control, "last", mode) if point.control else None
    first, ours = results.measure_stage(point.experiment, FIRST, mode), results.measure(row)
    usual = _usual(results)
    change = gain_over(results, row, Row(usual, "", "", usual, "last", mode)) if point.experiment != usual else None
    # What is not measured yet has no numbers at all, as it is not kept (kept.py): the table is the same in a clone.
    statistics = results.statistics(point.experiment, "clicks") if first or ours else {}
    return SweepLine(
        value=point.value,
        experiment=point.experiment,
        mode=mode,
        labels={key: statistics[key].mean if key in statistics else None for key in LABELS},
        first=first,
        control=results.measure(beside) if beside else None,
        ours=ours if results.stage_of(row) != FIRST else None,
        gain=gain_over(results, row, beside) if beside else None,
        change=change,
    )


def sweep_curves(results: Results, lines: list[SweepLine], mode: str) -> list[Curve]:
    """mIoU (%) over the values of a parameter in one mode: first iteration (dashed), control and self-training.

    Whatever the value, the method has the colour of the main experiment, its control that of the control.
    """
    sides = {
        "first iteration": ("first", results.main),
        "control": ("control", "control"),
        "self-training": ("ours", results.main),
    }
    curves = []
    for name, (side, experiment) in sides.items():
        points = {line.value: getattr(line, side) for line in lines if line.mode == mode and getattr(line, side)}
        color = row_color(results, experiment, mode)
        curves += curve_through(name, color, points, dashed=side == "first")
    return curves


def sweep_tables(results: Results) -> list[Table]:
    """A table for every parameter that is swept."""
    return [_table(results, name, lines) for name, lines in sweep_lines(results).items()]


def _usual(results: Results) -> str:
    """The experiment that the points of all curves differ from, whether or not it was run."""
    return main_experiment(known.name for known in results.experiments) or ""


def _table(results: Results, name: str, lines: list[SweepLine]) -> Table:
    usual = next(line.value for line in lines if line.experiment == _usual(results))
    swept, rooms = SWEPT.get(name, name), results.rooms_shown("")
    of_rooms = f". {rooms}" if rooms else ""
    columns = (name, "mode", "experiment", *LABELS, "first", "ours", "ours_std", *CSV_COLUMNS[-4:-1], *GAIN_COLUMNS)
    columns += ("change", "change_low", "change_high")
    once = results.last_evaluation(_usual(results)) == FIRST  # without self-training nothing gains over a control
    sides = {"first": SIDES["first"]} if once else SIDES
    csv_rows, rows = [], []
    for line in lines:
        deviation = number(line.ours.std) if line.ours else ""
        labels = [number(value) for value in line.labels.values()]
        means = [number(side.mean) if side else "" for side in (line.first, line.ours)]
        seeds = provenance([line.last] if line.last else [])
        gains = [*gain_cells(line.gain), *gain_cells(line.change)[1:]]
        csv_rows.append([f"{line.value:g}", line.mode, line.experiment, *labels, *means, deviation, *seeds, *gains])
        measured = (with_deviation(getattr(line, side)) for side in sides)
        differences = [line.change] if once else [line.gain, line.change]
        said = [difference.text if difference else "" for difference in differences]
        rows.append([f"{line.value:g}", MODES.get(line.mode, line.mode), *labels, *measured, *said, *seeds])
    shown = (swept, "Mode", *LABELS.values(), *sides.values(), *([] if once else [GAIN]))
    about = f"Everything but {name} is that of the main experiment, where it is {usual:g}: "
    about += "values stand against that." if once else f"the last iteration stands against that one's. {ABOUT_GAINS}"
    return Table(
        name=f"sweep_{name}",
        title=f"Sweep. {swept}{of_rooms}",
        note=about,
        csv_columns=columns,
        csv_rows=csv_rows,
        columns=(*shown, f"Against {usual:g}", "Seeds", "Views", "Rooms"),
        rows=rows,
    )
