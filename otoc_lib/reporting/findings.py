"""Sentences that say what the numbers of a report show, and no more than that."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.reporting.runs import read_history, read_metrics, read_statistics
from otoc_lib.reporting.tables import NOVEL, TABLE2_ROWS, MethodRow

ENOUGH_ROOMS = 6  # the standard error of fewer says little


@dataclass(frozen=True)
class Comparison:
    """Two rows of a table measured on the same rooms; differences in percentage points of mIoU, first minus second.

    seeds: number of seeds that both were run with. total: mean over those of the difference of the mIoU over all
    rooms. deviation: its standard deviation over the seeds, None for one seed. room_mean, room_error: mean and
    standard error, over rooms, of the difference of the rooms' own mIoU (first repeat). better: rooms where the first
    is better.
    """

    total: float
    seeds: int
    deviation: float | None
    room_mean: float
    room_error: float
    better: int
    rooms: int

    @property
    def clear(self) -> bool:
        """Whether the difference is more than two standard errors over enough rooms, and over the seeds if several."""
        steady = self.deviation is None or abs(self.total) > 2 * self.deviation / np.sqrt(self.seeds)
        beyond_rooms = abs(self.room_mean) > 2 * self.room_error and self.room_mean * self.total > 0
        return self.rooms >= ENOUGH_ROOMS and beyond_rooms and bool(steady)


def compare(
    runs: Path, profile: str, iterations: int, first: str, second: str, rows: tuple[MethodRow, ...] = TABLE2_ROWS
) -> Comparison | None:
    """Compare two of the rows on ``val``; None where one of them was not run, or not on the same rooms."""
    methods = {method.row: method for method in rows}
    a, b = methods[first], methods[second]
    results = a.measure(runs, profile, iterations), b.measure(runs, profile, iterations)
    rooms = _room_scores(runs, profile, iterations, a), _room_scores(runs, profile, iterations, b)
    if None in results or set(rooms[0]) != set(rooms[1]):
        return None
    shared = sorted(set(results[0].by_seed) & set(results[1].by_seed))
    if not shared:
        return None
    by_seed = np.array([results[0].by_seed[seed] - results[1].by_seed[seed] for seed in shared])
    by_room = np.array([rooms[0][name] - rooms[1][name] for name in rooms[0]])
    return Comparison(
        total=float(by_seed.mean()),
        seeds=len(shared),
        deviation=float(by_seed.std(ddof=1)) if len(shared) > 1 else None,
        room_mean=float(by_room.mean()),
        room_error=float(by_room.std(ddof=1) / np.sqrt(len(by_room))) if len(by_room) > 1 else float("inf"),
        better=int((by_room > 0).sum()),
        rooms=len(by_room),
    )


def findings(runs: Path, profile: str, iterations: int, rows: tuple[MethodRow, ...] = TABLE2_ROWS) -> list[str]:
    """What those of the rows (of Table 2 or 4) that were run say about self-training, the graph, and labels."""
    return list(_findings(runs, profile, iterations, rows))


def _findings(runs: Path, profile: str, iterations: int, rows: tuple[MethodRow, ...]) -> Iterator[str]:
    methods = {method.row: method for method in rows}
    own, full_supervision = methods["otoc_full"].experiment, methods["supervised"].experiment
    result = {row: method.measure(runs, profile, iterations) for row, method in methods.items()}
    questions = (
        (
            "otoc_dagger",
            "otoc_control",
            "Self-training against training as long on the clicks alone, both the U-Net alone",
        ),
        ("otoc_full", "otoc_sv", "Graph and relation network against averaging the same U-Net in super-voxels"),
        (
            "otoc_full",
            "otoc_control_sv",
            "The whole method against training as long on the clicks alone, averaged in super-voxels",
        ),
        ("otoc_full", "otoc_baseline", "The whole method against the U-Net trained on the initial labels"),
        ("otoc_baseline_sv", "otoc_baseline", "Of that, what averaging the same U-Net in super-voxels alone brings"),
    )
    for first, second, question in questions:
        comparison = compare(runs, profile, iterations, first, second, rows)
        if comparison:
            yield f"{question}: {_verdict(comparison)}"
    full, supervised, baseline = result["otoc_full"], result["supervised"], result["otoc_baseline"]
    alone, supervised_sv = result["otoc_dagger"], result["supervised_sv"]
    if full and alone and supervised and supervised_sv and min(supervised.mean, supervised_sv.mean) > 0:
        steps = training_steps(runs, profile, own, iterations), training_steps(runs, profile, full_supervision, 1)
        shares = 100 * alone.mean / supervised.mean, 100 * full.mean / supervised_sv.mean
        yield (
            f"With one click per object the U-Net alone reaches {shares[0]:.0f} % of the mIoU of full supervision, and "
            f"on super-voxels the whole method {shares[1]:.0f} % of the fully supervised U-Net's "
            f"{supervised_sv.mean:.1f}. Its U-Net was trained for {steps[0]:,} steps, the "
            f"supervised one for {steps[1]:,}."
        )
    if supervised and baseline:
        yield f"The initial labels alone end {supervised.mean - baseline.mean:.1f} points below full supervision."
    novel = methods["otoc_full"].measure(runs, profile, iterations, NOVEL)
    if full and novel:
        yield (
            f"In {novel.rooms} rooms with furniture models that no training room holds the method reaches "
            f"{novel.mean:.1f}, against {full.mean:.1f} in the {full.rooms} validation rooms."
        )
    start, end = (read_statistics(runs, profile, own, name) for name in ("clicks", f"pseudo_{iterations}"))
    if start and end:
        right, right_end = (known["accuracy_percent"] for known in (start, end))  # None where rooms have no labels
        yield (
            f"{start['clicks_per_scene']:.1f} clicks a room label {start['covered_percent']:.1f} % of the points"
            f"{'' if right is None else f' ({right:.1f} % of them right)'}; after {iterations} iterations "
            f"{end['covered_percent']:.1f} % are labelled"
            f"{'' if right_end is None else f', {right_end:.1f} % of them right'}."
        )
    missing = [method.setting for method in rows if result[method.row] is None]
    if missing:
        yield f"Not run: {'; '.join(missing)}."


def training_steps(runs: Path, profile: str, experiment: str, iterations: int) -> int:
    """Optimizer steps of the U-Net in iterations 1 to ``iterations``."""
    histories = (read_history(runs, profile, experiment, f"unet_{k}") for k in range(1, iterations + 1))
    return sum(int(history["step"][-1]) + 1 for history in histories if history)


def _verdict(c: Comparison) -> str:
    seeds = "one seed" if c.seeds == 1 else f"mean of {c.seeds} seeds, standard deviation {c.deviation:.2f}"
    text = (
        f"{c.total:+.2f} points of mIoU ({seeds}); room by room {c.room_mean:+.2f} ± {c.room_error:.2f} "
        f"(standard error), better in {c.better} of {c.rooms} rooms. "
    )
    if c.rooms < ENOUGH_ROOMS:
        return text + "So few rooms can show no difference."
    if not c.clear:
        return text + "That is within what rooms and chance alone can do: no difference is shown."
    caution = " One training run each, so chance in training is not ruled out." if c.seeds == 1 else ""
    return (
        text + f"That is more than the rooms' own scatter explains: {'a gain' if c.total > 0 else 'a loss'}.{caution}"
    )


def _room_scores(runs: Path, profile: str, iterations: int, method: MethodRow) -> dict[str, float]:
    """Room name -> mIoU in percent on ``val``, empty where it was not run."""
    metrics = read_metrics(runs, profile, method.experiment, method.stage(iterations))
    per_room = metrics["splits"].get("val", {}).get("per_room", {}) if metrics else {}
    return {name: 100 * modes[method.mode] for name, modes in per_room.items() if method.mode in modes}
