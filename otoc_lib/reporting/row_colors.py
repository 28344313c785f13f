"""The colour of what charts show of an experiment: a hue for each experiment, a tint of it for each mode.

Every figure and chart asks here, so that a row looks the same wherever it is drawn. Controls are brown; red is for
errors alone.
"""

from collections.abc import Iterator
from itertools import count

from matplotlib.colors import to_hex, to_rgb

from otoc_lib.experiments import LISTED, Row
from otoc_lib.reporting.runs import Results

# By the experiment's name without ``s3dis_``: what is measured on both kinds of rooms looks the same on both.
HUES = {
    "otoc": "#2f6fde",
    "otoc3": "#0f8fa8",
    "supervised": "#667085",
    "unet": "#2a9d8f",
    "unet_gp": "#e58a1f",
    "released": "#9b7fd1",
    "points20": "#5d8a3c",
}
CONTROLS = ("#8a6d3b", "#6b4f2a", "#a5763f", "#7a6a50", "#977a1f", "#59483a", "#b08455", "#7d5a45", "#8f7f5c")
OTHERS = ("#7b61c9", "#b5579f", "#3e8fb0", "#8a9a1f", "#5560b8", "#2f8f5b", "#d0779f", "#6f9f88", "#8f5fa8", "#56b3c9")
TINTS = {"full": 0.0, "product": 0.12, "sv": 0.24, "relation": 0.36, "point": 0.48}  # from the hue towards white


def row_color(results: Results, experiment: str, mode: str = "") -> str:
    """The colour ``#rrggbb`` of an experiment in a mode; without one that of itself, as for its losses.

    The experiment is one of the profile's params files or of the lists in experiments.py.
    """
    return _towards(hues(results)[_key(experiment)], TINTS.get(mode, 0.0))


def before_self_training(results: Results, row: Row) -> bool:
    """Whether a row shows the first iteration of an experiment that has more: its line is dashed, its bar hatched."""
    return results.stage_of(row) != results.last_evaluation(row.experiment)


def hues(results: Results) -> dict[str, str]:
    """The hue of every experiment, by its name without ``s3dis_``, whatever was run of it and whatever is shown."""
    listed = {row.experiment for rows in LISTED.values() for row in rows}
    configs = {experiment.name: experiment.config for experiment in results.experiments}
    found = dict(HUES)
    shades, others = _endless(CONTROLS), _endless(OTHERS)
    for name in sorted(listed | configs.keys(), key=lambda name: (_key(name) != "control", name)):
        config = configs.get(name)
        is_control = config is None or (config.method == "control" and config.source not in ("all", "images"))
        if _key(name) not in found:
            found[_key(name)] = next(shades if is_control else others)
    return found


def _endless(colors: tuple[str, ...]) -> Iterator[str]:
    """The colours, then ever darker ones."""
    return (_towards(color, -0.25 * turn) for turn in count() for color in colors)


def _towards(color: str, share: float) -> str:
    end = 1.0 if share > 0 else 0.0
    return to_hex([(1 - abs(share)) * value + abs(share) * end for value in to_rgb(color)])


def _key(experiment: str) -> str:
    return experiment.removeprefix("s3dis_")
