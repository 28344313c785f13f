"""Sentences that say what the numbers of a report show, and no more than that."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from otoc_lib.experiments import Row, variant_row
from otoc_lib.reporting.bootstrap import interval_of, interval_text
from otoc_lib.reporting.runs import NOT_RUN, Results
from otoc_lib.reporting.tables import NOVEL, stale_text
from otoc_lib.store import read_manifest

ENOUGH_ROOMS = 6  # an interval over fewer says little


@dataclass(frozen=True)
class Comparison:
    """Two rows of a table measured on the same rooms; differences in percentage points of mIoU, first minus second.

    total: mean, over the seeds that both were run with, of the difference of the mIoU over all rooms. seeds: number of
    those. deviation: its standard deviation over them, None for one. low, high: ends of its 95 % interval
    (``bootstrap``), None where it is unknown. better: rooms where the first has the higher mIoU, mean of the seeds.
    """

    total: float
    seeds: int
    deviation: float | None
    low: float | None
    high: float | None
    better: int
    rooms: int

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def clear(self) -> bool:
        """Whether enough rooms were measured and the interval does not hold 0."""
        return self.rooms >= ENOUGH_ROOMS and self.interval is not None and not self.low <= 0 <= self.high


def compare(results: Results, first: Row, second: Row) -> Comparison | None:
    """Compare two rows on ``val``; None where one of them was not run, or not on the same rooms."""
    a, b = results.room_scores(first), results.room_scores(second)
    shared = sorted(set(a) & set(b))
    if not shared or any(set(side[seed]) != set(a[shared[0]]) for side in (a, b) for seed in shared):
        return None
    measured = results.measure(first), results.measure(second)
    by_seed = np.array([measured[0].by_seed[seed] - measured[1].by_seed[seed] for seed in shared])
    rooms = list(a[shared[0]])
    by_room = np.array([[a[seed][room] - b[seed][room] for room in rooms] for seed in shared]).mean(axis=0)
    low, high = interval_of(results, first, second) or (None, None)
    return Comparison(
        total=float(by_seed.mean()),
        seeds=len(shared),
        deviation=float(by_seed.std(ddof=1)) if len(shared) > 1 else None,
        low=low,
        high=high,
        better=int((by_room > 0).sum()),
        rooms=len(rooms),
    )


def findings(results: Results, table: str | None = None) -> list[str]:
    """What the rows of a table that were run say about self-training, the graph, and labels.

    table: "table2" or "table4", by default the one that the report is about.
    """
    return list(_findings(results, table or results.table))


def _findings(results: Results, table: str) -> Iterator[str]:
    listed = results.rows(table)
    rows = {row.row: row for row in listed}
    own, full_supervision = rows["otoc_full"].experiment, rows["supervised"].experiment
    iterations = results.iterations_of(own)
    result = {name: results.measure(row) for name, row in rows.items()}
    questions = (
        (
            "otoc_dagger",
            "otoc_control",
            "Self-training against training as long on the clicks alone, both the U-Net alone",
        ),
        (
            "otoc_full",
            "otoc_control_full",
            "The whole method against training as long on the clicks alone, both after propagation",
        ),
        (
            "otoc_dagger",
            "otoc_baseline",
            "Self-training against the U-Net before any self-training, both alone",
        ),
        ("otoc_full", "otoc_first_full", "The whole method against its first iteration, both after propagation"),
        ("otoc_full", "otoc_sv", "Graph and relation network against averaging the same U-Net in super-voxels"),
        (
            "otoc_full",
            "otoc_baseline",
            "As the paper counts, the whole method against the U-Net alone on the initial labels",
        ),
        (
            "otoc_first_full",
            "otoc_baseline",
            "Propagation before any self-training, against the U-Net alone on the initial labels",
        ),
    )
    asked = [(question, rows[first], rows[second]) for first, second, question in questions]
    for question, first, second in (*asked, *_of_parts(table), *_of_labels(rows, table), *_of_others(results, table)):
        comparison = compare(results, first, second)
        if comparison:
            yield f"{question}: {verdict(comparison)}"
    full, supervised, baseline = result["otoc_full"], result["supervised"], result["otoc_baseline"]
    alone, propagated = result["otoc_dagger"], result["supervised_full"]
    whole, where = (propagated, "after propagation") if propagated else (result["supervised_sv"], "on super-voxels")
    if full and alone and supervised and whole and min(supervised.mean, whole.mean) > 0:
        steps = training_steps(results, own, iterations), training_steps(results, full_supervision, 1)
        trained = " Its U-Net was trained for {:,} steps, the supervised one for {:,}."
        shares = 100 * alone.mean / supervised.mean, 100 * full.mean / whole.mean
        yield (
            f"With one click per object the U-Net alone reaches {shares[0]:.0f} % of the mIoU of full supervision, and "
            f"{where} the whole method {shares[1]:.0f} % of the fully supervised U-Net's {whole.mean:.1f}, which has "
            f"no relation net beside it.{trained.format(*steps) if all(steps) else ''}"
        )
    if supervised and baseline:
        below = compare(results, rows["supervised"], rows["otoc_baseline"])
        total = below.total if below else supervised.mean - baseline.mean
        interval = interval_text(below.interval, below.seeds) if below else "measured on other rooms or seeds"
        yield f"The initial labels alone end {total:.1f} points below full supervision ({interval})."
    novel = results.measure(rows["otoc_full"], NOVEL)
    if full and novel:
        yield (
            f"In {novel.rooms} rooms with furniture models that no training room holds the method reaches "
            f"{novel.mean:.1f}, against {full.mean:.1f} in the {full.rooms} validation rooms."
        )
    start, end = (results.statistics(own, name) for name in ("clicks", f"pseudo_{iterations}"))
    if "clicks_per_scene" in start and end:
        right, right_end = (known.get("accuracy_percent") for known in (start, end))  # None where rooms have no labels
        yield (
            f"{start['clicks_per_scene'].mean:.1f} clicks a room label {start['covered_percent'].mean:.1f} % of the "
            f"points{f' ({right.mean:.1f} % of them right)' if right else ''}; after {iterations} iterations "
            f"{end['covered_percent'].mean:.1f} % are labelled"
            f"{f', {right_end.mean:.1f} % of them right' if right_end else ''}."
        )
    missing: dict[str, list[str]] = {}
    for name, row in rows.items():
        if result[name] is None:
            missing.setdefault(results.absent(row.experiment, results.stage_of(row)), []).append(row.setting)
        elif result[name].stale:
            missing.setdefault("left out", []).append(f"{row.setting}{stale_text(result[name])}")
    for why in sorted(missing, key=lambda why: why == NOT_RUN):  # what was not run comes last
        yield f"{why[0].upper()}{why[1:]}: {'; '.join(missing[why])}."


def _of_parts(table: str) -> Iterator[tuple[str, Row, Row]]:
    """What Table 3 compares: the graph with averaging, and the relation network with none. Question and rows."""
    if table == "table2":
        alone = "The graph alone against averaging the same U-Net in super-voxels, no relation network in either"
        yield alone, variant_row("unet_gp"), variant_row("unet_gp", "sv")
        relation = "The relation network: U-Net, relation network and graph against U-Net and graph"
        yield relation, variant_row("unet_rel_gp"), variant_row("unet_gp")


def _of_labels(rows: dict[str, Row], table: str) -> Iterator[tuple[str, Row, Row]]:
    """The table's other kind of clicks, against its own control and against one click an object."""
    other, name = {"table2": ("data_efficient", "20 points a room"), "table4": ("otoc3", "Three clicks an object")}[
        table
    ]
    for mode, control, how in (("dagger", "control", "the U-Net alone"), ("full", "control_full", "after propagation")):
        row = rows[f"{other}_{mode}"]
        yield f"{name}, self-training against as long on these labels alone, {how}", row, rows[f"{other}_{control}"]
        yield f"{name} against one click an object, both with self-training, {how}", row, rows[f"otoc_{mode}"]


def _of_others(results: Results, table: str) -> Iterator[tuple[str, Row, Row]]:
    """Every row of a further method that has a control."""
    known = {row.row: row for row in results.rows(table)}
    for row in results.further(table):
        if row.control:
            yield f"{row.setting} with {row.annotation} against its control", row, known[row.control]


def training_steps(results: Results, experiment: str, iterations: int) -> int | None:
    """Optimizer steps of the U-Net in iterations 1 to ``iterations``, None if no seed has all of them current."""
    for seed in results.seeds(experiment):
        stages = [results.numbers(experiment, f"unet_{k}", seed) for k in range(1, iterations + 1)]
        if all(stages):
            return sum(read_manifest(stage.path)["steps"] for stage in stages)
    return None


def verdict(c: Comparison) -> str:
    """A comparison in words: the difference, its interval, and whether that shows a gain or a loss."""
    seeds = "one seed" if c.seeds == 1 else f"mean of {c.seeds} seeds, standard deviation {c.deviation:.2f}"
    text = (
        f"{c.total:+.2f} points of mIoU ({seeds}), {interval_text(c.interval, c.seeds)}; "
        f"better in {c.better} of {c.rooms} rooms. "
    )
    if c.rooms < ENOUGH_ROOMS:
        return text + "So few rooms can show no difference."
    if c.interval is None:
        return (
            text + "Without the confusion matrices of the rooms, which an earlier version did not keep, it stays open."
        )
    if not c.clear:
        return text + "The interval holds 0: no difference is shown."
    explained = "That is more than the choice of rooms explains"
    if c.seeds == 1:  # no word for it: another training may say otherwise
        return text + f"{explained}, of one training run each: chance in training is not ruled out."
    return text + f"{explained}: {'a gain' if c.total > 0 else 'a loss'}."
