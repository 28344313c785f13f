"""Clicks: simulate one per object, write, read, and spread over super-voxels as initial labels.

A click of a person may be negative: NO_CLASS says that the super-voxel is of none of the classes.
ScanNet's own lists of a few annotated points a scene (points20, points50, ...) are read as clicks too.
"""

import csv
import difflib
import io
import operator
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoc_lib.annotation.closeness import within
from otoc_lib.csv_table import Row, number, read_rows
from otoc_lib.errors import Faults, OtocError, first_of, listed, shown
from otoc_lib.files import write_aside, write_bytes
from otoc_lib.labels import IGNORE, NO_CLASS, NO_CLASS_NAME, LabelSet
from otoc_lib.on_demand import OnDemand
from otoc_lib.scene import Scene, checked_name
from otoc_lib.torch_files import load_torch

COLUMNS = ("scene", "point", "x", "y", "z", "class", "object")

# A click further than this from the point it names was made on other geometry.
POSITION_TOLERANCE = 0.01  # metres
ON_STRAY = "is a stray point, far from all others"  # a click there says nothing of the room

COLUMN = 1.0  # metres, side of ``columns``

LISTED = 20  # names in one sentence, lines in one message

# What the tables call furniture is everything else.
STRUCTURE = ("wall", "floor", "ceiling")


@dataclass(frozen=True, eq=False)
class Clicks:
    """The K clicks of one scene; no point is clicked twice."""

    points: np.ndarray  # int64 [K] vertex indices
    classes: np.ndarray  # int16 [K] class indices, or NO_CLASS
    objects: np.ndarray  # int32 [K] instance ids, -1 unknown
    spread: bool = True  # each labels its whole super-voxel; False: its point alone
    far: float | None = None  # and the super-voxels that ``closeness.within`` finds so near to it; None: no others

    def __post_init__(self) -> None:
        for field, dtype in (("points", np.int64), ("classes", np.int16), ("objects", np.int32)):
            array = np.array(getattr(self, field), dtype=dtype)
            array.flags.writeable = False
            object.__setattr__(self, field, array)
        if self.points.ndim != 1 or not self.points.shape == self.classes.shape == self.objects.shape:
            raise OtocError("clicks: points, classes and objects must be lists of one length")
        if len(np.unique(self.points)) < len(self.points):
            raise OtocError("clicks: a point is clicked twice; keep one click a point")
        if self.far is not None and not self.spread:
            raise OtocError("clicks: what speaks of its point alone does not reach far; give the one or the other")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def own(self) -> "Clicks":
        """The same that speak of what was clicked alone, and not of what they reach."""
        return self if self.far is None else replace(self, far=None)


def simulate_clicks(scene: Scene, per_object: int, seed: int) -> Clicks:
    """Click points drawn uniformly, without replacement, from each object of a benchmark class.

    Args:
        scene: needs labels and instances. An object's class is the commonest label of its points; objects without a
            labelled point are not clicked.
        per_object: clicks an object (all its points where it has fewer).
        seed: not negative; together with the scene's name it fixes the draw.

    Returns:
        Clicks, ordered by object.
    """
    if per_object < 1 or seed < 0:
        raise OtocError(f"per_object ({per_object}) must be at least 1 and seed ({seed}) at least 0")
    if scene.labels is None or scene.instances is None:
        raise OtocError(f"scene {scene.name}: has no labels or instances to simulate clicks from; give it a clicks.csv")
    num_classes = len(scene.label_set)
    labelled = (scene.instances >= 0) & (scene.labels >= 0)
    votes = np.bincount(
        scene.instances[labelled].astype(np.int64) * num_classes + scene.labels[labelled],
        minlength=scene.num_objects * num_classes,
    ).reshape(-1, num_classes)  # [objects, C]
    if not votes.any():
        raise OtocError(f"scene {scene.name}: has no object of a benchmark class to click; leave this room out")

    # Shuffle the points, bring those of one object together, and take the first few of each.
    order = np.random.default_rng([seed, *scene.name.encode()]).permutation(scene.num_points)
    order = order[np.argsort(scene.instances[order], kind="stable")]
    objects = scene.instances[order]
    rank = np.arange(len(order)) - np.searchsorted(objects, objects)  # place of each point within its object
    voted: np.ndarray = votes.any(axis=1)
    chosen = (objects >= 0) & voted[objects] & (rank < per_object)
    return Clicks(order[chosen], votes.argmax(axis=1)[objects[chosen]], objects[chosen])


def spoil_clicks(scene: Scene, clicks: Clicks, wrong: float, forgotten: float, seed: int) -> Clicks:
    """The clicks of an annotator who errs: some objects are forgotten, and some clicks get a wrong class.

    Args:
        clicks: of the scene; those of one object are forgotten together, one of object -1 never is.
        wrong: probability of each click to get another class, drawn evenly from all others of the label set; one of
            NO_CLASS keeps it.
        forgotten: probability of each object to get no click.
        seed: with the scene's name it fixes the draw. What goes wrong at one share goes wrong, in the same way, at
            every larger one.

    Returns:
        The clicks that are left, in their order.
    """
    for name, share in (("wrong", wrong), ("forgotten", forgotten)):
        if not 0 <= share <= 1:
            raise OtocError(f"{name} is {share}; give a share from 0 to 1")
    generator = np.random.default_rng([seed, *b"spoilt", *scene.name.encode()])
    num_classes = len(scene.label_set)
    fate_of_points = generator.random(scene.num_points)  # of all points and objects, whichever are clicked
    further = generator.integers(1, num_classes, scene.num_points)
    fate_of_objects = generator.random(scene.num_objects)
    misnamed = (fate_of_points[clicks.points] < wrong) & (clicks.classes != NO_CLASS)
    classes = np.where(misnamed, (clicks.classes + further[clicks.points]) % num_classes, clicks.classes)
    kept = clicks.objects < 0
    kept[~kept] = fate_of_objects[clicks.objects[~kept]] >= forgotten
    return Clicks(clicks.points[kept], classes[kept], clicks.objects[kept])


def draw_share(scene: Scene, share: float, seed: int) -> Clicks:
    """A share of all points, drawn evenly and without replacement, each with its own class; they do not spread.

    max(1, round(share N)) points are drawn, whatever their class: one without a class has cost a draw and is left out.

    Args:
        scene: needs labels.
        share: above 0, at most 1; what is drawn at one share is drawn at every larger one.
        seed: with the scene's name it fixes the draw.
    """
    if not 0 < share <= 1 or seed < 0:
        raise OtocError(f"share ({share}) must be above 0 and at most 1, and seed ({seed}) at least 0")
    order = _shuffled(scene, seed)
    return _drawn(scene, order[: max(1, round(share * scene.num_points))])


def draw_by_column(scene: Scene, count: int, seed: int) -> Clicks:
    """``count`` points of each class in each column of a metre by a metre that has it, or all that there are; they do
    not spread.

    So rare classes have as many labels as walls: the labels that Xu and Lee (2020) released for "0.2 %" are of this
    kind, with one point. What is drawn at one count is drawn at every larger one.
    """
    if count < 1 or seed < 0:
        raise OtocError(f"count ({count}) must be at least 1 and seed ({seed}) at least 0")
    order = _shuffled(scene, seed)
    order = order[scene.labels[order] != IGNORE]
    kinds = np.column_stack([columns(scene), scene.labels])[order]  # [K, 3] column and class
    kinds = np.unique(kinds, axis=0, return_inverse=True)[1].ravel()
    by_kind = np.argsort(kinds, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(kinds[by_kind], kinds[by_kind])  # place of each point in its kind
    return _drawn(scene, order[by_kind[rank < count]])


def columns(scene: Scene) -> np.ndarray:
    """The column of a metre by a metre that each point is in, int64 [N, 2], counted from the smallest x and y."""
    return np.floor((scene.coords[:, :2] - scene.coords[:, :2].min(axis=0)) / COLUMN).astype(np.int64)


def _shuffled(scene: Scene, seed: int) -> np.ndarray:
    if scene.labels is None:
        raise OtocError(f"scene {scene.name}: has no labels to draw points of; give it a clicks.csv")
    return np.random.default_rng([seed, *b"points", *scene.name.encode()]).permutation(scene.num_points)


def _drawn(scene: Scene, points: np.ndarray) -> Clicks:
    points = np.sort(points)
    points = points[scene.labels[points] != IGNORE]
    objects = np.full(len(points), -1) if scene.instances is None else scene.instances[points]
    return Clicks(points, scene.labels[points], objects, spread=False)


def write_clicks(path: Path, clicks: Mapping[str, Clicks], scenes: list[Scene]) -> None:
    """Write clicks.csv: scene, point, x, y, z (in the file's axes, unit and offset), class name or "none", object.

    Args:
        clicks: scene name -> its clicks.
        scenes: the scenes of these names; their order is the file's.
    """
    unknown = set(clicks) - {scene.name for scene in scenes}
    if unknown:
        raise OtocError(f"clicks: no scene is given for {listed(sorted(unknown), LISTED)}")
    write_rows(path, (row for scene in scenes if scene.name in clicks for row in click_rows(scene, clicks[scene.name])))


def click_rows(scene: Scene, clicks: Clicks) -> list[tuple]:
    """The rows of clicks.csv for one scene."""
    _check(scene, clicks)
    positions = scene.in_file(scene.coords[clicks.points])  # [K, 3]
    return [
        (scene.name, point, *(f"{value:.6f}" for value in xyz), scene.label_set.name_of(label), instance)
        for point, xyz, label, instance in zip(clicks.points, positions, clicks.classes, clicks.objects, strict=True)
    ]


def write_rows(path: Path, rows: Iterable[tuple]) -> None:
    """Write rows of clicks.csv under its header; when this returns they are on the disk."""
    with write_aside(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def read_clicks(path: Path, scenes: list[Scene]) -> dict[str, Clicks]:
    """Read a clicks.csv, whoever made it.

    Args:
        path: file with the columns that ``write_clicks`` writes; object is -1 where it is unknown, class "none" where
            the click says NO_CLASS.
        scenes: the scenes it may speak of.

    Returns:
        Scene name -> clicks, for every one of the scenes; one that the file does not mention has no clicks.

    Raises:
        OtocError: naming file and line, of each line at fault, for an unknown scene or class, a number that is none, a
            point that the scene does not have, that lies elsewhere than the file says, or that is clicked twice.
    """
    return _parse_rows(path, _read_rows(path), scenes)


def refuse_none(path: Path, clicks: Mapping[str, Clicks]) -> None:
    """OtocError naming the file that holds no click at all: nothing can be learnt from it."""
    if not any(map(len, clicks.values())):
        raise OtocError(f"{path}: holds no click; click every object once")


def read_clicks_among_others(path: Path, scenes: list[Scene]) -> tuple[dict[str, Clicks], list[tuple]]:
    """``read_clicks``, but the file may speak of other scenes: their rows come back as they are, to be kept."""
    names = {scene.name for scene in scenes}
    rows = _read_rows(path)
    others = [tuple(row[column] for column in COLUMNS) for _, row in rows if row["scene"] not in names]
    return _parse_rows(path, [(line, row) for line, row in rows if row["scene"] in names], scenes), others


def read_points(path: Path, scenes: list[Scene]) -> dict[str, Clicks]:
    """Read one of ScanNet's limited-annotation files, a torch dict {scene name: vertex indices}, as clicks.

    A point takes the class and the object of its vertex. Points whose vertex has no benchmark class are left out, with
    a warning that counts them; points listed twice count once.

    Args:
        path: file such as ``points20``; the indices are tensors, arrays or lists. Nothing in it is executed.
        scenes: with labels; the file may hold others as well.

    Returns:
        Scene name -> clicks, in the order of their vertices.

    Raises:
        OtocError: naming the file, and the scene if it is one's fault.
    """
    path = Path(path)
    listed = _load_points(path)
    clicks, dropped, total = {}, 0, 0
    for scene in scenes:
        if scene.name not in listed:
            raise OtocError(f"{path}: lists no points for {scene.name}; it is for the training scenes of ScanNet")
        if scene.labels is None:
            raise OtocError(f"{path}: scene {scene.name} has no labels to take the classes of its points from")
        points = np.unique(_whole_numbers(path, scene.name, listed[scene.name]))
        outside = points[(points < 0) | (points >= scene.num_points)]
        if outside.size:
            raise OtocError(
                f"{path}: point {outside[0]} of {scene.name} is outside 0..{scene.num_points - 1}; "
                "the file is for other meshes than these"
            )
        known = points[scene.labels[points] >= 0]
        total, dropped = total + len(points), dropped + len(points) - len(known)
        objects = np.full(len(known), -1) if scene.instances is None else scene.instances[known]
        clicks[scene.name] = Clicks(known, scene.labels[known], objects)
    if dropped:
        warnings.warn(f"{path}: {dropped} of {total} points have no benchmark class and are left out", stacklevel=2)
    return clicks


def write_points(path: Path, scenes: list[Scene], count: int, seed: int) -> None:
    """Write a limited-annotation file: a torch dict {scene name: int64 tensor of ``count`` vertex indices}.

    The points are drawn uniformly and without replacement, whatever their class; ``seed`` and the scene's name fix
    the draw. A scene with fewer points gives all of them.
    """
    if count < 1 or seed < 0:
        raise OtocError(f"count ({count}) must be at least 1 and seed ({seed}) at least 0")
    points = {}
    for scene in scenes:
        order = np.random.default_rng([seed, *scene.name.encode()]).permutation(scene.num_points)
        points[scene.name] = torch.from_numpy(np.sort(order[:count]))
    buffer = io.BytesIO()
    torch.save(points, buffer)
    write_bytes(path, buffer.getvalue())


def expand_clicks(scene: Scene, clicks: Clicks) -> np.ndarray:
    """Initial labels, int16 [N]: what ``clicked_labels`` says, with IGNORE for NO_CLASS, which is no label."""
    labels = clicked_labels(scene, clicks)
    labels[labels == NO_CLASS] = IGNORE
    return labels


def of_no_class(scene: Scene, clicks: Clicks) -> np.ndarray:
    """The points that clicks say are of none of the classes, bool [N]: no rule may give them a label."""
    return clicked_labels(scene, clicks.own) == NO_CLASS


def clicked_labels(scene: Scene, clicks: Clicks) -> np.ndarray:
    """What clicks say of every point, int16 [N]: every clicked super-voxel takes its class, or NO_CLASS, whole; IGNORE
    elsewhere. Clicks that do not ``spread`` speak of their points alone; those that reach ``far`` speak also of
    super-voxels without a click, each for the class whose clicks are nearest, the first of several.

    Where several classes are clicked in one super-voxel, NO_CLASS counting as one, the class with most clicks wins; on
    a tie the class of the click nearest to the super-voxel's centroid does, then the first class. Clicked points keep
    their own class, except where NO_CLASS wins: that super-voxel is of no class as a whole.
    """
    _check(scene, clicks)
    if not clicks.spread:
        labels = np.full(scene.num_points, IGNORE, dtype=np.int16)
        labels[clicks.points] = clicks.classes
        return labels
    class_of = _classes_of_clicked(scene, clicks)  # [M]
    clicked = _heard(scene, clicks, class_of)
    if clicks.far is not None:
        class_of = np.where(class_of == IGNORE, within(scene, clicked, clicks.far), class_of)
    labels = class_of[scene.supervoxels]
    labels[clicked.points] = clicked.classes
    return labels


def heard(scene: Scene, clicks: Clicks) -> Clicks:
    """The clicks that label something: without those on super-voxels of which others say that they are of no class."""
    return _heard(scene, clicks, _classes_of_clicked(scene, clicks)) if clicks.spread else clicks


def _heard(scene: Scene, clicks: Clicks, class_of: np.ndarray) -> Clicks:
    labels = class_of[scene.supervoxels[clicks.points]] != NO_CLASS  # [K]
    return replace(clicks, points=clicks.points[labels], classes=clicks.classes[labels], objects=clicks.objects[labels])


def _classes_of_clicked(scene: Scene, clicks: Clicks) -> np.ndarray:
    """The class, or NO_CLASS, that wins each clicked super-voxel, int16 [M]; IGNORE for the others."""
    hit = scene.supervoxels[clicks.points]  # [K] clicked super-voxels
    distances = np.linalg.norm(scene.coords[clicks.points] - scene.centroids()[hit], axis=1)  # [K]
    kinds = np.where(clicks.classes == NO_CLASS, len(scene.label_set), clicks.classes)
    pairs = hit.astype(np.int64) * (len(scene.label_set) + 1) + kinds
    _, pair, counts = np.unique(pairs, return_inverse=True, return_counts=True)

    order = np.lexsort((clicks.classes, distances, -counts[pair], hit))  # the winner of each super-voxel comes first
    winners = order[np.unique(hit[order], return_index=True)[1]]
    class_of = np.full(scene.num_supervoxels, IGNORE, dtype=np.int16)
    class_of[hit[winners]] = clicks.classes[winners]
    return class_of


class LabelCounts:
    """What the labels of some rooms are worth, counted room by room, so that one room's are in memory at a time.

    Args:
        label_set: of all the rooms.
        beyond: whether the labels go beyond those of clicks, which are told apart then. The mean over all labels hides
            how good the new ones are, since it includes these.
    """

    def __init__(self, label_set: LabelSet, beyond: bool = False):
        self.label_set, self.beyond = label_set, beyond
        self.num_points = self.num_labelled = self.judged = self.clutter = self.num_new = self.new_clutter = 0
        # points of each true class
        self.total, self.labelled, self.right = np.zeros((3, len(label_set)), dtype=np.int64)
        # points of each given class, in judged rooms
        self.new, self.new_right = np.zeros((2, len(label_set)), dtype=np.int64)

    def add(self, scene: Scene, given: np.ndarray, initial: np.ndarray | None = None) -> None:
        """Count a room.

        Args:
            scene: one without true labels counts for covered_percent and new_percent alone.
            given: int16 [N], class index or IGNORE.
            initial: likewise, of the clicks; needed where the labels go ``beyond`` them.
        """
        if given.shape != (scene.num_points,):
            raise OtocError(f"scene {scene.name}: {given.shape} labels for {scene.num_points} points; give one a point")
        covered = given >= 0
        self.num_points += scene.num_points
        self.num_labelled += int(covered.sum())
        added = np.zeros_like(covered) if initial is None else covered & (initial < 0)
        self.num_new += int(added.sum())
        if scene.labels is None:
            return
        classes, known, is_right = len(self.label_set), scene.labels >= 0, given == scene.labels
        self.judged += int(covered.sum())
        self.clutter += int((covered & ~known).sum())
        self.new_clutter += int((added & ~known).sum())
        for counts, chosen in ((self.new, added), (self.new_right, added & is_right)):
            counts += np.bincount(given[chosen], minlength=classes)
        for counts, chosen in ((self.total, known), (self.labelled, known & covered), (self.right, known & is_right)):
            counts += np.bincount(scene.labels[chosen], minlength=classes)

    def percent(self) -> dict:
        """Shares in percent; that of nothing is None.

        - covered_percent: labelled points, of all points.
        - accuracy_percent: right labels, of the labelled points that have a true class.
        - furniture_covered_percent, furniture_accuracy_percent: the same among points whose true class is neither wall,
          floor nor ceiling.
        - per_class_accuracy_percent: list [C], right labels of the labelled points of each true class.
        - clutter_percent: labelled points that have no true class, of the labelled points.

        Where they go ``beyond`` the clicks also, of the points that clicks do not label, the new ones:

        - new_percent: them, of all points.
        - new_right_percent, new_clutter_percent: right ones and ones without a true class, of them: what has no true
          class is not right.
        - per_class_new_right_percent: list [C], right ones, of those that were given each class.
        """
        total, labelled, right, new, new_right = self.total, self.labelled, self.right, self.new, self.new_right
        furniture = np.array([name not in STRUCTURE for name in self.label_set.names])
        beyond = {
            "new_percent": _percent(self.num_new, self.num_points),
            "new_right_percent": _percent(new_right.sum(), new.sum()),
            "new_clutter_percent": _percent(self.new_clutter, new.sum()),
            "per_class_new_right_percent": [_percent(*counts) for counts in zip(new_right, new, strict=True)],
        }
        return {
            "covered_percent": _percent(self.num_labelled, self.num_points),
            "accuracy_percent": _percent(right.sum(), labelled.sum()),
            "furniture_covered_percent": _percent(labelled[furniture].sum(), total[furniture].sum()),
            "furniture_accuracy_percent": _percent(right[furniture].sum(), labelled[furniture].sum()),
            "per_class_accuracy_percent": [_percent(*counts) for counts in zip(right, labelled, strict=True)],
            "clutter_percent": _percent(self.clutter, self.judged),
            **(beyond if self.beyond else {}),
        }


def label_statistics(
    scenes: list[Scene], labels: Mapping[str, np.ndarray], initial: Mapping[str, np.ndarray] | None = None
) -> dict:
    """How much of the scenes is labelled, and how well: ``LabelCounts.percent`` of all of them.

    Args:
        scenes: of one label set.
        labels: scene name -> int16 [N] class index or IGNORE; each is asked for once, in the order of the scenes.
        initial: likewise, the labels of the clicks that ``labels`` go beyond; None or none where they do not.
    """
    if not scenes:
        raise OtocError("label statistics need at least one scene")
    counts = LabelCounts(scenes[0].label_set, beyond=bool(initial))
    for scene in scenes:
        counts.add(scene, labels[scene.name], initial[scene.name] if initial else None)
    return counts.percent()


def expansion_statistics(
    scenes: list[Scene], clicks: Mapping[str, Clicks], reached: Mapping[str, np.ndarray] | None = None
) -> dict:
    """``label_statistics`` of the expanded clicks, with clicks_per_scene, the number of scenes, whether clicks spread,
    and classes_missed_percent: of the classes in the scenes, those without a click there.

    reached: the labels of clicks that reach ``far``, by scene name; None where none does. They are told then, what they
    add to the clicks' own super-voxels, and how far that is.

    Where some clicks say NO_CLASS, also no_class_clicks_per_scene, how many of clicks_per_scene do, and
    no_class_percent, the points that they speak of, of all. Clicks of a class that they outvote label nothing: a
    warning counts them.
    """
    negative = sum(int((clicks[scene.name].classes == NO_CLASS).sum()) for scene in scenes)
    by_name, refused = {scene.name: scene for scene in scenes}, {}
    if negative:
        where = OnDemand(by_name, lambda scene: of_no_class(scene, clicks[scene.name]))
        share = _percent(sum(int(mask.sum()) for mask in where.values()), sum(scene.num_points for scene in scenes))
        refused = {"no_class_clicks_per_scene": negative / len(scenes), "no_class_percent": share}
        _warn_of_outvoted(clicks, where)
    present = clicked = 0
    for scene in scenes:
        if scene.labels is not None:
            true = np.unique(scene.labels[scene.labels >= 0])
            present, clicked = present + len(true), clicked + int(np.isin(true, clicks[scene.name].classes).sum())
    own = OnDemand(by_name, lambda scene: expand_clicks(scene, clicks[scene.name].own))
    beyond = {"far": clicks[scenes[0].name].far} if reached else {}
    return {
        "scenes": len(scenes),
        "clicks_per_scene": sum(len(clicks[scene.name]) for scene in scenes) / max(len(scenes), 1),
        "spread": all(clicks[scene.name].spread for scene in scenes),
        "classes_missed_percent": _percent(present - clicked, present),
        **refused,
        **beyond,
        **(label_statistics(scenes, reached, own) if reached else label_statistics(scenes, own)),
    }


def _warn_of_outvoted(clicks: Mapping[str, Clicks], where: Mapping[str, np.ndarray]) -> None:
    """Warn of clicks of a class on points that are of no class; where: scene name -> bool [N]."""
    for name, mask in where.items():
        lost = int((mask[clicks[name].points] & (clicks[name].classes != NO_CLASS)).sum())
        if lost:
            warnings.warn(
                f"scene {name}: {lost} clicks of a class label nothing, since other clicks say that their super-voxels "
                f"are of no class ({NO_CLASS_NAME!r}); take back the one or the other",
                stacklevel=3,
            )


@dataclass(frozen=True)
class ClassClicks:
    """What the clicks say of one class."""

    name: str
    clicks: int
    scenes: int  # in which it was clicked
    labelled: int  # points that the clicks label so


def count_classes(scenes: list[Scene], clicks: Mapping[str, Clicks]) -> list[ClassClicks]:
    """For every class, in the order of the label set: its clicks, in how many of the scenes, and the points they label.

    Args:
        scenes: of one label set.
        clicks: scene name -> its clicks, for each of the scenes.
    """
    label_set = scenes[0].label_set
    total, found, labelled = np.zeros((3, len(label_set)), dtype=np.int64)
    for scene in scenes:
        classes = clicks[scene.name].classes
        counts = np.bincount(classes[classes != NO_CLASS], minlength=len(label_set))
        labels = expand_clicks(scene, clicks[scene.name])
        total += counts
        found += counts > 0
        labelled += np.bincount(labels[labels != IGNORE], minlength=len(label_set))
    columns = (total.tolist(), found.tolist(), labelled.tolist())
    return [ClassClicks(*row) for row in zip(label_set.names, *columns, strict=True)]


def gaps(scenes: list[Scene], clicks: Mapping[str, Clicks]) -> list[str]:
    """What no click speaks of, and what comes of it: a sentence for classes and one for scenes, where some lack."""
    clicked = set().union(*(clicks[scene.name].classes.tolist() for scene in scenes))
    names = [name for label, name in enumerate(scenes[0].label_set.names) if label not in clicked]
    bare = [scene.name for scene in scenes if not len(clicks[scene.name])]
    said = []
    if names:
        said.append(
            f"no click of {listed(names, LISTED)}: what is never shown cannot be learnt, and such points get other "
            "classes. Click one object of each, in any scan, or leave the class out"
        )
    if bare:
        said.append(
            f"no click lies in {listed(bare, LISTED)}: what is predicted there is learnt in the other rooms alone"
        )
    return said


def _check(scene: Scene, clicks: Clicks) -> None:
    for field, values, count in (
        ("point", clicks.points, scene.num_points),
        ("class", clicks.classes[clicks.classes != NO_CLASS], len(scene.label_set)),
    ):
        if values.size and not 0 <= values.min() <= values.max() < count:
            raise OtocError(f"scene {scene.name}: a click has a {field} outside 0..{count - 1}; click it again")


def _load_points(path: Path) -> dict:
    """The dict of a limited-annotation file."""
    if not os.path.isfile(path):
        raise OtocError(f"{path}: no such file; give a file such as points20 of ScanNet's limited annotations")
    listed = load_torch(path, "a limited-annotation file", "copy the file of the release again")
    if not isinstance(listed, dict):
        raise OtocError(f"{path}: holds no dict of scene names; give a file such as points20")
    return listed


def _whole_numbers(path: Path, name: str, values: Any) -> np.ndarray:
    """Vertex indices, int64 [K], as the file lists them."""
    try:
        if isinstance(values, list | tuple):
            if bool in set(map(type, values)):
                raise TypeError
            points = np.array([operator.index(value) for value in values], dtype=np.int64)
        else:
            points = values.numpy() if isinstance(values, torch.Tensor) else values.values
    except (ValueError, TypeError, OverflowError, AttributeError, RuntimeError):  # whatever else a list may hold
        points = np.array(None)
    if points.ndim != 1 or (points.dtype.kind not in "iu" and points.size):
        raise OtocError(f"{path}: the points of {name} are no list of whole numbers")
    if points.size > path.stat().st_size:  # a tensor may name one number again and again
        raise OtocError(f"{path}: lists {points.size} points for {name}, more than it holds; copy the file again")
    return points.astype(np.int64)


def _percent(part: int, whole: int) -> float | None:
    return 100 * int(part) / int(whole) if whole else None


def _read_rows(path: Path) -> list[tuple[int, Row]]:
    """Line number and columns of every click in the file."""
    try:
        rows = read_rows(path, COLUMNS, numbers=("point", "x", "y", "z", "object"), complete=True)
    except OtocError as error:
        if "no column point" not in str(error):
            raise
        raise OtocError(f"{error}. Positions without vertices become clicks by otoc snap-clicks") from error
    for line, row in rows:
        checked_name(row["scene"], f"{path}, line {line}")
    return rows


def _parse_rows(path: Path, rows: Iterable[tuple[int, Row]], scenes: list[Scene]) -> dict[str, Clicks]:
    scene_of = {scene.name: scene for scene in scenes}
    found: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in scene_of}  # scene -> point -> class, object
    faults = Faults()
    for line, row in rows:
        try:
            name, point, label, instance = _parse_row(row, scene_of)
            if point in found[name]:
                raise OtocError(f"point {point} of {name} is clicked a second time; keep one of the lines")
            found[name][point] = (label, instance)
        except OtocError as error:
            faults.messages.append(f"{path}, line {line}: {error}")
    faults.messages = first_of(faults.messages, LISTED, path)
    faults.check()
    return {
        name: Clicks(list(rows), [label for label, _ in rows.values()], [instance for _, instance in rows.values()])
        for name, rows in found.items()
    }


def _parse_row(row: Row, scene_of: dict[str, Scene]) -> tuple[str, int, int, int]:
    """Scene name, point, class index and object of one row."""
    if row["scene"] not in scene_of:
        plain = {name.casefold(): name for name in scene_of}
        close = difflib.get_close_matches(Path(row["scene"]).stem.casefold(), plain, n=1)
        words = f"did you mean {plain[close[0]]!r}?" if close else f"there are {listed(scene_of, LISTED // 4)}"
        raise OtocError(f"unknown scene {row['scene']!r}; {words}")
    scene = scene_of[row["scene"]]
    point, instance = _number(row, "point", whole=True), _number(row, "object", whole=True)
    if not 0 <= point < scene.num_points:
        raise OtocError(f"point {point} is outside 0..{scene.num_points - 1}, the points of {scene.name}")
    label = class_named(scene, row["class"])
    num_objects = np.iinfo(np.int32).max if scene.instances is None else scene.num_objects
    if not -1 <= instance < num_objects:
        raise OtocError(f"object {instance} is not one of {scene.name}; write -1 where it is unknown")
    position = scene.from_file(np.array([_number(row, axis) for axis in "xyz"]))
    distance = np.linalg.norm(scene.coords[point] - position)  # metres
    if not distance <= POSITION_TOLERANCE:
        if _is_stray(scene, point, position):
            raise OtocError(
                f"point {point} of {scene.name} {ON_STRAY}, {distance:.2f} m outside its box; click another point of "
                "the object, or delete the line"
            )
        raise OtocError(f"point {point} of {scene.name} lies {distance:.2f} m from x, y, z: clicks of other data")
    return scene.name, point, label, instance


def _is_stray(scene: Scene, point: int, position: np.ndarray) -> bool:
    """Whether a position outside the box of a scene is that of one of its points which counts as lying on the edge.

    A scene of one's own has its stray points there, see ``Scan.within_box``: a super-voxel around one is of whatever
    is near that edge, and its label would be wrong.
    """
    nearest = np.clip(position, scene.coords.min(axis=0), scene.coords.max(axis=0))
    return bool(np.linalg.norm(scene.coords[point] - nearest) <= POSITION_TOLERANCE)


def class_named(scene: Scene, name: str) -> int:
    """Class index of the name that a click has, or NO_CLASS; OtocError where the scene has no such class."""
    label = NO_CLASS if name == NO_CLASS_NAME else scene.label_set.index(name)
    if label == IGNORE:
        known = ", ".join(scene.label_set.names)
        raise OtocError(f"unknown class {shown(name)}; the classes are {known}, or {NO_CLASS_NAME!r} for none of them")
    return label


def _number(row: Row, column: str, whole: bool = False) -> Any:
    try:
        return number(row[column], whole)
    except ValueError as error:
        raise OtocError(f"{column} is {row[column]!r}, not a{' whole' if whole else ''} number") from error
