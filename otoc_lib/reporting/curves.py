"""Curves over the steps of training and over the iterations, as means over the seeds; figures and charts draw them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from otoc_lib.experiments import ABLATIONS, SHOWN, VARIANTS
from otoc_lib.methods.stages import method_of
from otoc_lib.reporting import paper
from otoc_lib.reporting.row_colors import row_color
from otoc_lib.reporting.runs import Results, Spread
from otoc_lib.reporting.tables import VARIANT_NAMES, table3_measurements

SUPERVISED = {"supervised": "U-Net alone", "supervised_full": "after propagation"}


@dataclass(frozen=True)
class Curve:
    """A line: float64 [K] each.

    mean, deviation: over the seeds, and its sample standard deviation, None where no point has two of them and NaN at
    points of one. seeds: number of them, the most of any point; fewest: the least of any, None for as many. breaks:
    where an iteration ends, for those with a next.
    """

    name: str
    color: str
    x: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray | None = None
    seeds: int = 1
    dashed: bool = False
    breaks: tuple[float, ...] = ()
    fewest: int | None = None

    @property
    def title(self) -> str:
        """Its name, and the number of seeds where there are several."""
        if self.seeds == 1:
            return self.name
        number = self.seeds if self.fewest in (None, self.seeds) else f"{self.fewest} to {self.seeds}"
        return f"{self.name} ({number} seeds)"


def experiments_of(results: Results) -> tuple[str, ...]:
    """The experiments that the curves of a report show, each once, in the order of the rows."""
    ablations = ABLATIONS if results.table == "table2" else ()
    further = results.further(results.table)
    return tuple(
        dict.fromkeys([*(r.experiment for r in SHOWN[results.table]), *ablations, *(r.experiment for r in further)])
    )


def loss_curves(results: Results, experiments: Iterable[str], network: str) -> list[Curve]:
    """Running mean of the training loss of a network over the steps of all iterations, an experiment each.

    An experiment whose first iteration is shared starts with the shared one's. Seeds are averaged at the steps that all
    of them noted.
    """
    curves = []
    for name in experiments:
        iterations = results.iterations_of(name)
        parts, start, breaks = [], 0.0, []
        for k in range(1, iterations + 1):
            histories = [results.history(name, f"{network}_{k}", seed) for seed in results.seeds(name)]
            histories = [history for history in histories if history]
            if not histories:
                continue
            steps = reduce(np.intersect1d, [history["step"] for history in histories])
            losses = np.stack([smooth(history["loss"])[np.isin(history["step"], steps)] for history in histories])
            parts.append((steps + start, losses.mean(axis=0), _deviation(losses), len(histories)))
            start = float(parts[-1][0][-1])
            if k < iterations:
                breaks.append(start)
        if parts:
            x, mean, deviation = (np.concatenate(values) for values in list(zip(*parts, strict=True))[:3])
            numbers = [part[3] for part in parts]
            seeds = max(numbers)
            deviation = deviation if seeds > 1 else None
            color, ends = row_color(results, name), tuple(breaks)
            curves.append(Curve(name, color, x, mean, deviation, seeds, breaks=ends, fewest=min(numbers)))
    return curves


def miou_curves(results: Results) -> list[Curve]:
    """Validation mIoU (%) after each iteration: of every variant, of further experiments in their last mode, and of
    full supervision across, in the modes of the variants."""
    curves = []
    for column, measured in table3_measurements(results).items():
        points = {k: value for k, value in enumerate(measured, start=1) if value}
        curves += curve_through(VARIANT_NAMES[column], row_color(results, *VARIANTS[column]), points)
    for name in dict.fromkeys(row.experiment for row in results.further(results.table)):
        known = results.known(name)
        mode = method_of(known.config).modes[-1]
        by_number = {k: results.measure_stage(name, f"evaluate_{k}", mode) for k in known.config.iterations}
        points = {k: value for k, value in by_number.items() if value}
        curves += curve_through(name, row_color(results, name, mode), points)
    end = max([results.iterations, *(int(curve.x[-1]) for curve in curves)])
    for name, mode in SUPERVISED.items() if curves else ():
        row = results.row(name)
        whole = results.measure(row)
        across = {1: whole, end: whole} if whole else {}
        color = row_color(results, row.experiment, row.mode)
        curves += curve_through(f"fully supervised, {mode}", color, across, dashed=True)
    return curves


FURNITURE = ("furniture_", ", furniture")
WITHOUT_GRAPH = ("before_", ", without propagation")


def label_curves(results: Results, key: str, dashed: tuple[str, str] = FURNITURE) -> list[Curve]:
    """A share of statistics.json (%) over the iterations, from the clicks' super-voxels at 0.

    Args:
        key: such as "covered_percent", "accuracy_percent" or "new_right_percent".
        dashed: what else is shown, dashed: the prefix of its key and what its name ends with.
    """
    curves = []
    for title, experiment in relabelling(results).items():
        found = label_statistics_of(results, experiment)
        if len(found) < 2:
            continue
        for prefix, suffix in (("", ""), dashed):
            points = {k: statistics[prefix + key] for k, statistics in found.items() if prefix + key in statistics}
            curves += curve_through(title + suffix, row_color(results, experiment), points, dashed=bool(prefix))
    return curves


def relabelling(results: Results) -> dict[str, str]:
    """Title -> experiment, of all that may make labels of its own: the paper's variants and further experiments."""
    shown = {VARIANT_NAMES[column]: VARIANTS[column][0] for column in paper.TABLE3}
    if results.main not in shown.values():  # the whole method goes by other names on other data
        shown[VARIANT_NAMES["unet_rel_gp"]] = results.main
    further = dict.fromkeys(row.experiment for row in results.further(results.table))
    return shown | {name: name for name in further if name not in shown.values()}


def label_statistics_of(results: Results, experiment: str) -> dict[int, dict[str, Spread]]:
    """Statistics of the labels of an experiment: 0 for the clicks' super-voxels, then iteration by iteration."""
    names = ["clicks", *(f"pseudo_{k}" for k in range(1, results.iterations_of(experiment) + 1))]
    found = {k: results.statistics(experiment, name) for k, name in enumerate(names)}
    return {k: statistics for k, statistics in found.items() if statistics}


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred running mean over about a thirtieth of the values; the window shrinks at both ends."""
    window = max(5, len(values) // 30)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - window // 2, 0)
    high = np.minimum(np.arange(len(values)) + window // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def curve_through(name: str, color: str, points: dict[float, Spread], dashed: bool = False) -> list[Curve]:
    """The curve through some points, or none."""
    if not points:
        return []
    numbers = [len(point.by_seed) for point in points.values()]
    deviations = [np.nan if point.std is None else point.std for point in points.values()]
    means = np.array([point.mean for point in points.values()])
    x = np.array(list(points), dtype=np.float64)
    seeds = max(numbers)
    deviation = np.array(deviations) if seeds > 1 else None
    return [Curve(name, color, x, means, deviation, seeds, dashed, fewest=min(numbers))]


def _deviation(values: np.ndarray) -> np.ndarray:
    """Sample standard deviation over the first axis; NaN for one seed."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
