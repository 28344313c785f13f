"""One training room on its way through equations 2 to 8, and a picture of every step, for notebook 03.

``walk_through`` asks the functions that the loop itself calls, so what is shown is what is trained on.
"""

from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from otoc_lib.annotation.clicks import (
    STRUCTURE,
    Clicks,
    clicked_labels,
    expand_clicks,
    heard,
    label_statistics,
    of_no_class,
)
from otoc_lib.annotation.closeness import closeness
from otoc_lib.config import Config
from otoc_lib.labels import IGNORE, NO_CLASS
from otoc_lib.methods import one_thing_one_click, pseudo_labels
from otoc_lib.methods.method import Networks, Scores, at_points, may_be_labelled, supervoxel_nodes
from otoc_lib.methods.stages import method_of
from otoc_lib.propagation.graph import mean_field, stack_blocks
from otoc_lib.propagation.tiles import TILE, chunked_kernel
from otoc_lib.reporting.figures import (
    INK,
    MUTED,
    OURS_COLOR,
    PANEL,
    RIGHT,
    UNLABELLED,
    WRONG,
    Panel,
    draw_panels,
    error_colors,
    percent,
    room_view,
)
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.pooling import majority_labels, pool_mean
from otoc_lib.training.predict import Prediction, predict

COLORS = matplotlib.colormaps["viridis"]  # of values, perceptually uniform; bright is sure, or alike
GREY = (214, 214, 214)  # a room whose colours do not matter
DARK = (146, 151, 162)  # labelled, but no one knows the truth
BLUE, ORANGE = tuple(round(255 * value) for value in to_rgb(OURS_COLOR)), (240, 150, 30)
PINK = (233, 30, 150)  # what a picture is about, on the colours of values; red is for errors alone
DECADES = 3  # of similarity, from dark to bright
KEY = 18  # pixels below the caption, for the key of a picture's colours

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Walk:
    """What the first iteration's networks and the method make of one room: N points, M super-voxels, C classes.

    Probabilities and similarities are float32, labels int16 with IGNORE. What the method or its variant does not have
    is None: all that is marked "graph" together.
    """

    config: Config
    scene: Scene
    clicks: Clicks
    initial: np.ndarray  # [N] labels that the clicks expand to, with all that they spread to
    points: np.ndarray  # [N, C] the U-Net's probabilities
    pooled: np.ndarray  # [M, C] their means in the super-voxels (eq. 2)
    relation: np.ndarray | None  # [M, C] P_R, by the distance to the prototypes (eqs. 6 and 7)
    unary: np.ndarray | None  # [M, C] graph: the P of eq. 4
    chosen: int | None  # graph: the super-voxel whose row of the kernel is shown
    hand_made: np.ndarray | None  # [M] graph: its similarity to each (eq. 5) by colour and position alone; itself is 1
    similarity: np.ndarray | None  # [M] graph: the same by all features that the variant compares
    propagated: np.ndarray | None  # [M, C] graph: Q after mean field (eq. 3)
    moves: np.ndarray | None  # [S] graph: the largest change of a probability in each of its steps
    nearness: np.ndarray | None  # [M, C] to the clicks of each class, where ``click_reach`` asks for it
    confidence: np.ndarray | None  # [N] probability of the class that may become a label (eq. 8), times its nearness
    ruled: np.ndarray | None  # [N] what the rule makes of it, before the clicks have their say
    pseudo: np.ndarray | None  # [N] the labels of the next iteration


def choose_room(scenes: list[Scene], clicks: dict[str, Clicks]) -> Scene:
    """The room with most classes among its clicks, the first of several."""
    return max(scenes, key=lambda scene: len(np.setdiff1d(clicks[scene.name].classes, NO_CLASS)))


def walk_through(config: Config, scene: Scene, clicks: Clicks, networks: Networks) -> Walk:
    """Take one training room through the steps that ``method.scores`` and ``Stages.relabel`` go.

    The graph is shown where labels are made by the paper's: with another ``scores``, or none, its parts are None. The
    rule ``config.pseudo_labels`` sees this room alone; in the loop, one that weighs rooms against each other sees all.

    Args:
        config: names the method.
        scene, clicks: a training room.
        networks: trained, on the compute device, in eval mode, as ``stages.load_networks`` gives them.
    """
    config = config.teacher
    prediction = predict(config, scene, networks["unet"], networks.get("relation"))
    supervoxels = supervoxel_nodes(scene).to(prediction.probabilities.device)
    initial = expand_clicks(scene, clicks)
    scores = _scores(config, scene, networks, prediction)
    near, weighed = None, scores
    if scores is not None and config.click_reach is not None:
        near = closeness(scene, heard(scene, clicks), config.click_reach)
        weighed = scores.weighted(scene, near)
    has_graph = method_of(config).scores is one_thing_one_click.scores and scores.nodes is not None
    graph = dict.fromkeys(("unary", "chosen", "hand_made", "similarity", "propagated", "moves"))
    if has_graph:
        chosen = _choose_supervoxel(scene, clicks, initial)
        blocks = one_thing_one_click.pairwise_features(
            config, scene, prediction
        )  # colour, position, then the networks'
        before = one_thing_one_click.unary(config, scene, prediction)
        graph = {
            "unary": _array(before),
            "chosen": chosen,
            "hand_made": _kernel_row(blocks[:2], config.bandwidth, chosen),
            "similarity": _kernel_row(blocks, config.bandwidth, chosen),
            "propagated": _array(scores.probabilities),
            "moves": _moves(config, before, blocks),
        }
    return Walk(
        config=config,
        scene=scene,
        clicks=clicks,
        initial=initial,
        points=_array(prediction.probabilities),
        pooled=_array(pool_mean(prediction.probabilities, supervoxels, scene.num_supervoxels)),
        relation=None if prediction.relation_probabilities is None else _array(prediction.relation_probabilities),
        **graph,
        nearness=near,
        **_relabel(config, weighed, expand_clicks(scene, clicks.own), of_no_class(scene, clicks)),
    )


def _scores(config: Config, scene: Scene, networks: Networks, prediction: Prediction) -> Scores | None:
    """``method.scores``; the paper's, of the prediction that is there already."""
    scores = method_of(config).scores
    if scores is one_thing_one_click.scores:
        return one_thing_one_click.scores_of(config, scene, prediction)
    return scores(config, scene, networks) if scores else None


def _choose_supervoxel(scene: Scene, clicks: Clicks, initial: np.ndarray) -> int:
    """The super-voxel best in sight of the clicked chairs, since rooms have several; without chairs, of the other
    clicked furniture; without any, of what has no label."""
    index = room_view(scene, *PANEL).index
    pixels = np.bincount(scene.supervoxels[index[index >= 0]], minlength=scene.num_supervoxels)  # [M]
    furniture = [label for label, name in enumerate(scene.label_set.names) if name not in STRUCTURE]
    wishes = (
        clicks.points[clicks.classes == scene.label_set.index("chair")],
        clicks.points[np.isin(clicks.classes, furniture)],
        np.flatnonzero(initial == IGNORE),
        np.arange(scene.num_points),
    )
    candidates = np.unique(scene.supervoxels[next(points for points in wishes if len(points))])
    return int(candidates[pixels[candidates].argmax()])


def _kernel_row(blocks: list[Tensor], bandwidth: float, chosen: int) -> np.ndarray:
    """Row ``chosen`` of the pairwise kernel (eq. 5) of blocks [M, D], float32 [M], with 1 for the super-voxel itself.

    A product with the kernel in tiles, as in the loop: the whole kernel of a large room would not fit into memory.
    """
    features = stack_blocks(blocks, bandwidth)
    row = torch.zeros(1, len(features), dtype=features.dtype, device=features.device)
    row[0, chosen] = 1
    return _array(chunked_kernel(features, TILE)(row)[0] + row[0])


def _moves(config: Config, unary: Tensor, blocks: list[Tensor]) -> np.ndarray:
    """The largest change of a probability in each step of the mean field, until none moves by the tolerance."""
    multiply = chunked_kernel(stack_blocks(blocks, config.bandwidth), TILE)
    moves: list[float] = []
    q = unary
    for step in range(1, config.mean_field_steps + 1):
        before, q = q, mean_field(unary, multiply, config.pairwise_weight, config.pairwise_scaling, step, tolerance=0)
        moves.append(float((q - before).abs().max()))
        if moves[-1] < config.mean_field_tolerance:
            break
    return np.array(moves)


def _relabel(
    config: Config, scores: Scores | None, initial: np.ndarray, no_class: np.ndarray
) -> dict[str, np.ndarray | None]:
    """Fields ``confidence``, ``ruled`` and ``pseudo``."""
    if scores is None:
        return dict.fromkeys(("confidence", "ruled", "pseudo"))
    probabilities = _array(scores.probabilities)
    nodes = None if scores.nodes is None else scores.nodes.cpu().numpy()
    allowed = may_be_labelled(len(probabilities), nodes, no_class)
    (labels,) = getattr(pseudo_labels, config.pseudo_labels)(config, [probabilities[allowed]])
    ruled = at_points(labels, allowed, nodes, no_class)
    return {
        "confidence": probabilities.max(axis=1)[slice(None) if nodes is None else nodes],
        "ruled": ruled,
        "pseudo": np.where(initial != IGNORE, initial, ruled).astype(np.int16),
    }


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


# --- figures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """The key of a picture of values: what the darkest and the brightest colour mean, and a mark between them."""

    dark: str
    bright: str
    mark: float | None = None  # 0 dark, 1 bright


@dataclass(frozen=True)
class Picture:
    """The room in some colours, with a key where they are not those of the classes."""

    title: str
    colors: np.ndarray  # uint8 [N, 3]
    caption: str = ""
    key: Bar | dict[str, Color] | None = None
    clicks: Clicks | None = None


def initial_figure(walk: Walk) -> Figure:
    """The room, its clicks and the labels that they expand to (Figure 3 c and d)."""
    scene = walk.scene
    return _draw(
        walk,
        Picture("the room", scene.colors, scene.name),
        Picture("clicks", _plain(walk), f"{len(walk.clicks)} clicks", clicks=walk.clicks),
        Picture("initial labels", _paint(walk, clicked_labels(scene, walk.clicks)), _covered(walk, walk.initial)),
        *_truth(walk),
    )


def unet_figure(walk: Walk) -> Figure:
    """What the U-Net says of every point, and how sure it is."""
    return _draw(walk, *_prediction(walk, walk.points, "U-Net, every point"), *_truth(walk))


def pooled_figure(walk: Walk) -> Figure:
    """The same, averaged in the super-voxels (eq. 2)."""
    pooled = walk.pooled[walk.scene.supervoxels]
    return _draw(walk, *_prediction(walk, pooled, "super-voxel means (eq. 2)"), *_truth(walk))


def unary_figure(walk: Walk) -> Figure:
    """The U-Net, the relation net (eqs. 6 and 7), their product, and its minus log (eq. 4)."""
    if walk.relation is None and walk.unary is None:
        return _sentence(walk, "has neither a relation network nor a graph")
    pictures = [_classes(walk, walk.pooled, "U-Net, pooled")]
    if walk.relation is not None:
        pictures.append(_classes(walk, walk.relation, "relation net: nearest prototype"))
    if walk.relation is not None and walk.unary is not None:
        pictures.append(_classes(walk, walk.unary, "product of the two"))
    if walk.unary is not None:
        cost = -np.log(walk.unary.max(axis=1)[walk.scene.supervoxels])  # [N]
        worst = np.log(walk.unary.shape[1])
        bar = Bar(f"log {walk.unary.shape[1]} = {worst:.1f}", "0")
        pictures.append(Picture("its cost, −log P (eq. 4)", _map(1 - cost / worst), f"mean {cost.mean():.2f}", bar))
    return _draw(walk, *pictures)


def similarity_figure(walk: Walk) -> Figure:
    """One row of the kernel (eq. 5): how alike every super-voxel is to one of them."""
    if walk.similarity is None:
        return _sentence(walk, "has no graph")
    marked = np.where((walk.scene.supervoxels == walk.chosen)[:, None], PINK, _faded(walk)).astype(np.uint8)
    pictures = [
        Picture("one super-voxel", marked, _name_of_chosen(walk), {"this one": PINK}),
        _similarities(walk, walk.hand_made, "by colour and position"),
    ]
    if walk.config.variant != "unet_gp":
        pictures.append(_similarities(walk, walk.similarity, "and by both networks' features"))
    return _draw(walk, *pictures, *_truth(walk))


def mean_field_figure(walk: Walk) -> Figure:
    """Before and after the mean field (eq. 3), and what changed its class."""
    if walk.propagated is None:
        return _sentence(walk, "has no graph, so nothing is propagated")
    before, after = walk.unary.argmax(axis=1), walk.propagated.argmax(axis=1)  # [M]
    changed = (before != after)[walk.scene.supervoxels]  # [N]
    colors = np.where(changed[:, None], ORANGE, RIGHT)
    key: dict[str, Any] = {"changed": ORANGE}
    if walk.scene.labels is not None:
        truth = walk.scene.labels
        colors[changed & (after[walk.scene.supervoxels] == truth)] = BLUE
        colors[changed & (before[walk.scene.supervoxels] == truth)] = WRONG
        key = {"now right": BLUE, "now wrong": WRONG, "other change": ORANGE}
    caption = f"{(before != after).sum()} of {len(before)} super-voxels, {percent(100 * changed.mean())} of the points"
    steps = f"moved by {', '.join(f'{move:.2g}' for move in walk.moves[:4])}{', ...' * (len(walk.moves) > 4)}"
    steps += f": {len(walk.moves)} steps"
    after_it = _classes(walk, walk.propagated, "after mean field (eq. 3)")
    return _draw(
        walk,
        _classes(walk, walk.unary, "before"),
        replace(after_it, caption="\n".join(line for line in (after_it.caption, steps) if line)),
        Picture("changed their class", colors.astype(np.uint8), caption, key),
        *_truth(walk),
    )


def pseudo_label_figure(walk: Walk) -> Figure:
    """What is confident enough to be learnt from next (eq. 8), and whether it is right."""
    if walk.pseudo is None:
        return _sentence(walk, "makes no pseudo labels: its clicks are learnt again")
    threshold = walk.config.threshold if walk.config.pseudo_labels == "threshold" else None
    rule = walk.config.pseudo_labels if threshold is None else f"threshold {threshold:g}"
    kept = np.unique(walk.scene.supervoxels[(walk.initial != IGNORE) & (walk.ruled != walk.initial)])
    covered = percent(100 * np.mean(walk.pseudo != IGNORE))
    confidence = Picture("confidence (eq. 8)", _map(walk.confidence), f"rule: {rule}", Bar("0", "1", threshold))
    if walk.nearness is not None:
        nearest = walk.nearness.max(axis=1)[walk.scene.supervoxels]
        caption = f"{percent(100 * np.mean(nearest == 0))} of the points reached by none"
        pictures = [
            Picture("near to a click", _map(nearest), caption, Bar("0", "1"), walk.clicks),
            replace(confidence, title="confidence (eq. 8) × nearness"),
        ]
    else:
        pictures = [confidence]
    pictures += [
        Picture(
            "pseudo labels",
            _paint(walk, walk.pseudo),
            f"{covered} labelled; {len(kept)} super-voxels by their click alone",
            clicks=walk.clicks,
        ),
    ]
    if walk.scene.labels is not None:
        pictures.append(_outcome(walk))
    return _draw(walk, *pictures, *_truth(walk))


def outcome_colors(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Blue where a label [N] is right, red where it is wrong, dark grey where it has no true class, pale where there is
    none; uint8 [N, 3]."""
    colors = np.where((labels == truth)[:, None], BLUE, WRONG)
    colors[truth == IGNORE] = DARK
    colors[labels == IGNORE] = UNLABELLED
    return colors.astype(np.uint8)


# --- pictures ---------------------------------------------------------------------------------------------------------


def _prediction(walk: Walk, probabilities: np.ndarray, title: str) -> list[Picture]:
    """Likeliest class, its probability and, where the truth is known, the errors; probabilities [N, C]."""
    labels, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    pictures = [
        Picture(title, _paint(walk, labels)),
        Picture("confidence", _map(confidence), f"mean {confidence.mean():.2f}", Bar("0", "1")),
    ]
    if walk.scene.labels is not None:
        key = {"right": RIGHT, "wrong": WRONG, "no true class": UNLABELLED}
        pictures.append(Picture("errors", error_colors(walk.scene.labels, labels), _right(walk, labels), key))
    return pictures


def _classes(walk: Walk, probabilities: np.ndarray, title: str) -> Picture:
    """Likeliest class of every super-voxel; probabilities [M, C]."""
    labels = probabilities.argmax(axis=1)[walk.scene.supervoxels]
    return Picture(title, _paint(walk, labels), _right(walk, labels))


def _similarities(walk: Walk, row: np.ndarray, title: str) -> Picture:
    """A row of the kernel [M] on a logarithmic scale, from its largest value, that of itself left out, downwards."""
    others = np.where(np.arange(len(row)) == walk.chosen, 0, row)
    largest = max(float(others.max()), 1e-30)
    with np.errstate(divide="ignore"):
        decades = np.log10(others / largest)  # [M] 0, -1, ...
    colors = _map((1 + decades / DECADES)[walk.scene.supervoxels])
    colors[walk.scene.supervoxels == walk.chosen] = PINK
    caption, truth = "", _true_classes(walk)
    if truth is not None and truth[walk.chosen] != IGNORE:
        share = 100 * others[truth == truth[walk.chosen]].sum() / max(float(others.sum()), 1e-30)
        caption = f"{share:.0f} % of the weight on its own class"
    return Picture(title, colors, caption, Bar(f"{largest:.2g} / {10**DECADES}", f"{largest:.2g}"))


def _outcome(walk: Walk) -> Picture:
    key = {"right": BLUE, "wrong": WRONG, "not labelled": UNLABELLED, "no true class": DARK}
    return Picture("are they right?", outcome_colors(walk.scene.labels, walk.pseudo), _right(walk, walk.pseudo), key)


def _truth(walk: Walk) -> list[Picture]:
    return [] if walk.scene.labels is None else [Picture("ground truth", _paint(walk, walk.scene.labels))]


def _true_classes(walk: Walk) -> np.ndarray | None:
    """Commonest true class of every super-voxel, int64 [M] with IGNORE."""
    scene = walk.scene
    if scene.labels is None:
        return None
    labels, supervoxels = (torch.from_numpy(array.astype(np.int64)) for array in (scene.labels, scene.supervoxels))
    return majority_labels(labels, supervoxels, scene.num_supervoxels, len(scene.label_set)).numpy()


def _name_of_chosen(walk: Walk) -> str:
    found = walk.initial[walk.scene.supervoxels == walk.chosen]
    return (
        "no label yet" if found[0] == IGNORE else f"a clicked {walk.scene.label_set.names[np.bincount(found).argmax()]}"
    )


def _right(walk: Walk, labels: np.ndarray) -> str:
    """How many of the labels [N] are right, where that is known."""
    statistics = label_statistics([walk.scene], {walk.scene.name: labels})
    return "" if walk.scene.labels is None else f"{percent(statistics['accuracy_percent'])} right"


def _covered(walk: Walk, labels: np.ndarray) -> str:
    """How much the labels [N] cover and, where that is known, how many are right."""
    right = _right(walk, labels)
    return f"{percent(100 * np.mean(labels != IGNORE))} labelled{', ' if right else ''}{right}"


def _paint(walk: Walk, labels: np.ndarray) -> np.ndarray:
    return walk.scene.label_set.paint(labels)


def _plain(walk: Walk) -> np.ndarray:
    return np.full((walk.scene.num_points, 3), GREY, dtype=np.uint8)


def _faded(walk: Walk) -> np.ndarray:
    return (walk.scene.colors.mean(axis=1, keepdims=True) * 0.5 + 115).repeat(3, axis=1).astype(np.uint8)


def _map(values: np.ndarray) -> np.ndarray:
    """Colours, uint8 [N, 3], of values [N] from 0 to 1."""
    return COLORS(np.clip(values, 0, 1), bytes=True)[:, :3].copy()


def _draw(walk: Walk, *pictures: Picture) -> Figure:
    """Pictures of the room side by side, each with its key, over the legend of the classes."""
    view = room_view(walk.scene, *PANEL)
    keyed = any(picture.key for picture in pictures)
    panels = [Panel(view, p.colors, p.title, p.caption + "\n" * keyed + " " * keyed, p.clicks) for p in pictures]
    figure = draw_panels([panels], walk.scene.label_set)
    for axes, picture in zip(list(figure.axes), pictures, strict=True):
        if isinstance(picture.key, Bar):
            _draw_bar(axes, picture.key)
        elif picture.key:
            _draw_key(axes, picture.key)
    return figure


def _draw_bar(axes: Axes, bar: Bar) -> None:
    """A strip of all colours below the caption; lengths are shares of the picture."""
    width, height = PANEL
    strip = axes.inset_axes((0.5 - 45 / width, -(KEY + 9) / height, 90 / width, 8 / height), label="bar")
    strip.imshow(COLORS(np.linspace(0, 1, 90))[None], aspect="auto", extent=(0, 1, 0, 1))
    strip.axis("off")
    strip.text(-0.06, 0.4, bar.dark, ha="right", va="center", size=8, color=MUTED)
    strip.text(1.06, 0.4, bar.bright, ha="left", va="center", size=8, color=MUTED)
    if bar.mark is not None:
        strip.plot([bar.mark, bar.mark], [-0.4, 1.4], color=np.divide(PINK, 255), linewidth=1.6, clip_on=False)


def _draw_key(axes: Axes, names: dict[str, Color]) -> None:
    handles = [
        Line2D([], [], linestyle="", marker="s", markersize=6, color=np.divide(color, 255), label=name)
        for name, color in names.items()
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -KEY / PANEL[1] + 0.02),
        ncols=len(names),
        frameon=False,
        fontsize=8,
        labelcolor=MUTED,
        handletextpad=0.1,
        columnspacing=0.9,
        borderpad=0,
    )


def _sentence(walk: Walk, says: str) -> Figure:
    """In the place of a picture that the method has nothing for."""
    figure = Figure(figsize=(8, 0.4), dpi=100, facecolor="white")
    method = method_of(walk.config)
    variant = f" (variant {walk.config.variant})" if "variant" in method.reads(walk.config) else ""
    figure.text(0.01, 0.5, f"The method {method.title!r}{variant} {says}.", va="center", size=9, color=INK)
    return figure
