"""Every figure of a report, drawn into a folder with its title and caption."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from otoc_lib.config import project_root
from otoc_lib.experiments import BASELINE
from otoc_lib.reporting import figures
from otoc_lib.reporting.convergence import CPU, read_runs
from otoc_lib.reporting.curves import experiments_of
from otoc_lib.reporting.gallery import best_median_worst, telling_rooms
from otoc_lib.reporting.row_colors import row_color
from otoc_lib.reporting.runs import MODES, Measurement, Results, last_mode
from otoc_lib.reporting.sweeps import sweep_lines
from otoc_lib.scene import Scene

FIGURES = {"figure1": "Figure 1", "figure2": "Figure 2", "figure4": "Figure 4", "figure5": "Figure 5"}
FIGURES |= {"figure6": "Figure 6", "learning_curves": "learning curves", "pseudo_labels": "pseudo labels"}
FIGURES |= {"prototypes": "prototypes"}
CONVERGENCE = "benchmarks/convergence.csv"
RANKED = "The best, median and worst room by mIoU of One Thing One Click"
UNRANKED = "Rooms without true labels"
WRONG_IS_RED = " Wrong points are red."
AREAS_NAME = "simulated areas, Area 5"


@dataclass(frozen=True)
class Picture:
    """A figure of the page: file name without suffix, title, caption and its size in pixels."""

    name: str
    title: str
    caption: str
    width: int
    height: int


def draw_figures(
    results: Results, folder: Path, scenes_by_split: dict[str, list[Scene]], data_name: str
) -> list[Picture]:
    """Draw every figure whose stages are finished into ``folder``; returns what was drawn, in the page's order.

    data_name: what was measured on, for Figure 1.
    """
    own, train = results.main, scenes_by_split["train"]
    room, unseen = results.room_shown, "" if results.shows_trained else ", whose labels were never used"
    last, supervised = results.last_evaluation(own), results.row("supervised").experiment
    places = best_median_worst(results, own, last, results.split, scenes_by_split.get(results.split, []))
    judged = "best" in places
    clicks = results.clicks(own, train)
    shown = telling_rooms(train)[:2]
    several = len(results.seeds(own)) > 1
    one_seed = f" Of seed {results.shown_seed(own)} alone." if several else ""
    band = " Lines are means of the seeds, bands one standard deviation to each side." if several else ""
    pictures = []

    def add(figure: Figure | None, name: str, title: str, caption: str) -> None:
        if figure is not None:
            figures.save(figure, folder, name)
            width, height = np.rint(figure.get_size_inches() * figure.dpi).astype(int).tolist()
            pictures.append(Picture(name, title, caption, width, height))

    add(
        figures.figure1(_bars(results, data_name), _colors(results)),
        "figure1",
        "Figure 1. mIoU by annotation",
        "Above the paper's bars on ScanNet and S3DIS; below ours on other rooms: heights compare only within a panel, "
        "and of ours only within a group. Hatched: before self-training.",
    )
    below = f"the {room} of median mIoU (the best of two){unseen}" if judged else f"a {room}, whose labels nobody knows"
    if clicks and places:
        add(
            figures.figure2(results, shown[0], clicks[shown[0].name], _middle(places), own),
            "figure2",
            "Figure 2. From one click per object to labels",
            "Above, a training room: the clicks, the super-voxels they fall into, the labels that self-training makes "
            f"of them. Below, {below}.{one_seed}",
        )
    if clicks:
        add(
            figures.figure4(results, shown, clicks, own),
            "figure4",
            "Figure 4. Pseudo labels by iteration",
            "Grey is unlabelled. Coverage is the share of points with a label, then the share of those that is right."
            + one_seed,
        )
    if places:
        beside = results.find(supervised, BASELINE)
        mode = last_mode(*(stage for stage in (results.find(own, last), beside) if stage))
        methods = {"One Thing One Click": (own, last, mode), "fully supervised": (supervised, BASELINE, mode)}
        add(
            figures.figure5(results, places, methods),
            "figure5",
            f"Figure 5. {results.rooms_shown()}",
            f"{RANKED if judged else UNRANKED}, both {MODES[mode]}.{WRONG_IS_RED if judged else ''}{one_seed}",
        )
    add(
        figures.figure6(results, train[0].label_set, own),
        "figure6",
        "Figure 6. t-SNE of super-voxel features",
        f"Each mark is a super-voxel of a {room}. The silhouette score says how well its class keeps together "
        "in the plane, from -1 to 1." + one_seed,
    )
    add(
        figures.learning_curves(results, experiments_of(results)),
        "learning_curves",
        "Learning curves",
        "Vertical lines separate the iterations. The control trains on the clicks alone for as many steps, with the "
        "same restarts." + band,
    )
    add(
        figures.pseudo_label_curves(results),
        "pseudo_labels",
        "Pseudo labels",
        "How many points carry a label, and how many of these labels are right. Dashed: without wall and floor; at the "
        "right, without propagation." + band,
    )
    add(
        figures.sweep_figure(results, sweep_lines(results)),
        "sweeps",
        "Sweeps",
        "Everything but one number is that of the main experiment. Between control and self-training lies what "
        "self-training adds, between first iteration and control what training on alone does." + band,
    )
    add(
        figures.prototype_similarity(results, train[0].label_set),
        "prototypes",
        "Prototypes",
        "How alike the relation net's prototypes of every two classes are after the last iteration: what is orange off "
        "the diagonal it cannot keep apart." + one_seed,
    )
    measured = []
    if results.profile == "rooms":
        measured = [run for run in read_runs(project_root() / CONVERGENCE) if run.device == CPU]
    if measured:
        add(
            figures.convergence(measured),
            "convergence",
            "Seconds to a converged network",
            "The U-Net by the recipe of params/rooms and by the one before it, trained for several lengths on three "
            "quarters of the training rooms and judged on the others, never on validation rooms. A dot is a network, "
            "dashed lines are the goals. Measured by benchmarks/convergence.py, not in this run.",
        )
    return pictures


def _middle(places: dict[str, Scene]) -> Scene:
    """The room of median mIoU; the best of two, the first of those that nobody can judge."""
    return places.get("median", next(iter(places.values())))


def _bars(results: Results, data_name: str) -> dict[str, dict[str, Measurement]]:
    """The panels of Figure 1: what they were measured on -> row -> result of its bars, and of the last row of each
    further experiment."""
    if results.table == "table4":
        return {data_name: _measured(results, "table4")}
    panels = {data_name: _measured(results, "table2")}
    areas = _measured(results, "table4")
    return panels | ({AREAS_NAME: areas} if areas else {})


def _colors(results: Results) -> dict[str, str]:
    """Row -> colour, of both tables: a row of one name is of one method in both."""
    rows = (*results.rows("table2"), *results.rows("table4"))
    return {row.row: row_color(results, row.experiment, row.mode) for row in rows}


def _measured(results: Results, table: str) -> dict[str, Measurement]:
    last = {row.experiment: row for row in results.further(table)}
    bars = {name for group in figures.BARS.values() for name in group}
    rows = (*(row for row in results.rows(table) if row.row in bars), *last.values())
    return {row.row: result for row in rows if (result := results.measure(row))}
