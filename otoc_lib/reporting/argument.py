"""What each part of the method adds over which control: in numbers, in words, and in rooms that it helps and hurts.

Notebook 04 reads top to bottom as this argument.
"""

from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from otoc_lib.config import Config, project_root
from otoc_lib.experiments import VARIANTS, Row, read_profile, variant_row
from otoc_lib.methods.stages import load_scenes, run_method
from otoc_lib.reporting.figures import figure5
from otoc_lib.reporting.findings import Comparison, compare, verdict
from otoc_lib.reporting.runs import NOT_RUN, Results
from otoc_lib.scene import Scene
from otoc_lib.store import Stage


@dataclass(frozen=True)
class Part:
    """A part of the method, and the two predictions that differ by it alone.

    name: of what is asked about. question: in words. with_it, without: rows. titles: of the two in pictures.
    """

    name: str
    question: str
    with_it: Row
    without: Row
    titles: tuple[str, str]


def parts() -> dict[str, Part]:
    """The parts that Table 3 takes away one by one, by name."""

    found = (
        Part(
            "self-training",
            "The U-Net alone after self-training, against one trained as long on the clicks",
            variant_row("unet_rel_gp", "point"),
            variant_row("control_point"),
            ("self-training", "clicks alone"),
        ),
        Part(
            "the graph",
            "Propagation over colour and position, against averaging the same U-Net in super-voxels",
            variant_row("unet_gp"),
            variant_row("unet_gp", "sv"),
            ("propagated", "averaged"),
        ),
        Part(
            "the relation net",
            "The whole method, against the graph without a relation net",
            variant_row("unet_rel_gp"),
            variant_row("unet_gp"),
            ("with relation net", "without"),
        ),
        Part(
            "the whole method",
            "All together, against the same networks trained as long on the clicks and propagated alike",
            variant_row("unet_rel_gp"),
            variant_row("control"),
            ("whole method", "clicks alone"),
        ),
    )
    return {part.name: part for part in found}


def run_variants(config: Config) -> dict[str, Stage]:
    """Run the other experiments of Table 3 that the profile has, with the same seed; name -> last evaluation."""
    names, found = {experiment for experiment, _ in VARIANTS.values()} - {config.experiment}, {}
    for experiment in read_profile(project_root() / "params", config.profile):
        if experiment.name in names:
            other = replace(experiment.config, seed=config.seed, runs_root=config.runs_root)
            *_, last = run_method(other, load_scenes(other))
            found[experiment.name] = last.evaluation
    return found


def answer(results: Results, part: Part) -> str:
    """What a part adds, in one sentence with its interval; or that it was not run."""
    comparison = compare(results, part.with_it, part.without)
    return f"{part.question}: {verdict(comparison) if comparison else f'{NOT_RUN}.'}"


def helped_and_hurt(results: Results, part: Part, scenes: list[Scene]) -> dict[str, Scene]:
    """The validation room that a part helps most, and the one that it hurts most or helps least, by their gain in mIoU.

    Of the seed that is shown; empty where that has not run both sides.
    """
    rows = part.with_it, part.without
    seed, other = (results.shown_seed(row.experiment) for row in rows)
    sides = [results.room_scores(row).get(seed) for row in rows]
    if None in sides or seed != other:
        return {}
    gains = {scene.name: sides[0][scene.name] - sides[1][scene.name] for scene in scenes if scene.name in sides[0]}
    if not gains:
        return {}
    order = sorted(gains, key=gains.get)
    by_name = {scene.name: scene for scene in scenes}
    chosen = {"most": order[-1], "least": order[0]} if len(order) > 1 else {"most": order[0]}
    return {f"{gains[name]:+.1f}": by_name[name] for name in chosen.values()}


def picture(results: Results, part: Part, scenes: list[Scene]) -> Figure | None:
    """The rooms of ``helped_and_hurt``, by both sides, with what is wrong in red; None where they were not run."""
    rooms = helped_and_hurt(results, part, scenes)
    sides = zip(part.titles, (part.with_it, part.without), strict=True)
    methods = {title: (row.experiment, results.stage_of(row), row.mode) for title, row in sides}
    return figure5(results, rooms, methods) if rooms else None


def conclusion(results: Results) -> str:
    """What the numbers say of all parts, in a few sentences."""
    compared = {name: compare(results, part.with_it, part.without) for name, part in parts().items()}
    known = {name: comparison for name, comparison in compared.items() if comparison}
    several = {name: c for name, c in known.items() if c.seeds > 1}
    groups = {
        "A gain is shown of": [name for name, c in several.items() if c.clear and c.total > 0],
        "A loss is shown of": [name for name, c in several.items() if c.clear and c.total < 0],
        "More than the choice of rooms explains, of one training run each:": [
            name for name, c in known.items() if c.clear and c.seeds == 1
        ],
        "No difference is shown of": [name for name, c in known.items() if c.interval and not c.clear],
    }
    sentences = []
    for says, names in groups.items():
        if names:
            sentences.append(f"{says} {_listed([f'{name} ({_short(known[name])})' for name in names])}.")
    missing = [name for name in compared if name not in known]
    if missing:
        sentences.append(f"Not run yet: {_listed(missing)}.")
    if any(comparison.seeds == 1 for comparison in known.values()):
        sentences.append("Where one seed was run, chance in training is not ruled out: make study runs three.")
    return " ".join(sentences)


def _short(comparison: Comparison) -> str:
    interval = comparison.interval
    ends = f", {interval[0]:+.1f} to {interval[1]:+.1f}" if interval else ""
    return f"{comparison.total:+.1f} mIoU{ends}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
