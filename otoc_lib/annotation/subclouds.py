"""Labels without points: the set of classes of a room, or of every ball of a grid of balls that covers it.

Wei et al. (2020) call the two scene-level and subcloud-level annotation. The balls' centres lie on a grid between the
corners of the room, apart by the radius at most along each axis: no point is further than sqrt(3)/2 of the radius from
the nearest centre, so every point is in a ball, whatever the radius. (In the authors' code they lie up to nearly twice
the radius apart, and some points are in none.)
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from otoc_lib.csv_table import number, read_rows
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.scene import Scene

COLUMNS = ("scene", "x", "y", "z", "radius", "classes")
BETWEEN = ";"  # the names of the classes of a ball


@dataclass(frozen=True, eq=False)
class Subclouds:
    """The B balls of one room and the classes in each."""

    centres: np.ndarray  # float64 [B, 3] in file coordinates
    radius: float  # metres; infinite where the only ball is the whole room
    present: np.ndarray  # bool [B, C]

    def __len__(self) -> int:
        return len(self.centres)

    def points(self, scene: Scene, ball: int) -> np.ndarray:
        """The points of a ball, int64 [P], in their order; those at its surface belong to it."""
        return np.flatnonzero(_inside(scene, self.centres[ball], self.radius))


def cut_subclouds(scene: Scene, radius: float) -> Subclouds:
    """Balls that cover a room, and the classes that have a point in each. A ball without points is left out, one whose
    points have no class is not: it holds nothing.

    Args:
        scene: needs labels.
        radius: metres, above 0; infinite for the whole room as one ball.
    """
    if not radius > 0:
        raise OtocError(f"radius is {radius}; give metres above 0")
    if scene.labels is None:
        raise OtocError(f"scene {scene.name}: has no labels to take the classes of its balls from; leave this room out")
    low, high = (scene.origin + corner(scene.coords, axis=0) for corner in (np.min, np.max))
    if np.isinf(radius):
        centres = (low + high)[None] / 2
    else:
        counts = np.ceil((high - low) / radius).astype(int) + 1
        axes = [np.linspace(*ends) for ends in zip(low, high, counts.tolist(), strict=True)]
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if scene.axes is not None:
        centres = centres @ scene.axes
    kept, present = [], []
    for centre in centres:
        inside = _inside(scene, centre, radius)
        if inside.any():
            labels = scene.labels[inside]
            kept.append(centre)
            present.append(np.bincount(labels[labels >= 0], minlength=len(scene.label_set)) > 0)
    return Subclouds(np.stack(kept), float(radius), np.stack(present))


def _inside(scene: Scene, centre: np.ndarray, radius: float) -> np.ndarray:
    """Whether each point lies in a ball, bool [N]."""
    return np.square(scene.coords - scene.from_file(centre)).sum(axis=1) <= radius**2


def subcloud_statistics(scenes: list[Scene], subclouds: dict[str, Subclouds]) -> dict:
    """What the balls of some rooms tell.

    Returns:
        balls_per_scene, classes_per_ball: means.
        single_class_percent: balls of one class, of all: they say what every point is.
        classless_percent: balls without any class.
        classes_missed_percent: of the classes in the scenes, those in no ball.
        in_balls_percent: points in a ball, of all.
    """
    balls, points, in_balls, true, told = 0, 0, 0, 0, 0
    counts = np.concatenate([subclouds[scene.name].present.sum(axis=1) for scene in scenes])  # classes of each ball
    for scene in scenes:
        own = subclouds[scene.name]
        balls += len(own)
        nearest = cKDTree(scene.from_file(own.centres)).query(scene.coords)[0]  # [N] metres
        points, in_balls = points + scene.num_points, in_balls + int((nearest <= own.radius).sum())
        classes = np.unique(scene.labels[scene.labels >= 0])
        said: np.ndarray = own.present.any(axis=0)
        true, told = true + len(classes), told + int(said[classes].sum())
    return {
        "balls_per_scene": balls / len(scenes),
        "classes_per_ball": float(counts.mean()),
        "single_class_percent": 100 * float((counts == 1).mean()),
        "classless_percent": 100 * float((counts == 0).mean()),
        "classes_missed_percent": 100 * (true - told) / true if true else None,
        "in_balls_percent": 100 * in_balls / points,
    }


def write_subclouds(path: Path, subclouds: dict[str, Subclouds], scenes: list[Scene]) -> None:
    """Write subclouds.csv: scene, centre x, y, z (in file coordinates), radius (metres) and the names of the classes of
    every ball, in the order of the scenes. OtocError for a class whose name would be read as two."""
    if parted := [name for scene in scenes for name in scene.label_set.names if BETWEEN in name]:
        raise OtocError(f"the class {parted[0]!r}: {BETWEEN!r} parts the classes of {path.name}; give it another name")
    with write_aside(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for scene in scenes:
            own, names = subclouds[scene.name], np.array(scene.label_set.names)
            for centre, present in zip(own.centres.tolist(), own.present, strict=True):
                writer.writerow([scene.name, *centre, own.radius, BETWEEN.join(names[present])])


def read_subclouds(path: Path, scenes: list[Scene]) -> dict[str, Subclouds]:
    """Read a subclouds.csv: scene name -> its balls, for every one of the scenes.

    Raises:
        OtocError: naming the file, and the line, for an unknown scene or class, a number that is none, and radii of one
            scene that differ; and the scene, for one without a ball.
    """
    by_name = {scene.name: scene for scene in scenes}
    rows: dict[str, list[tuple[list[float], float, np.ndarray]]] = {name: [] for name in by_name}
    for line, row in read_rows(path, COLUMNS, numbers=("x", "y", "z"), complete=True):
        try:
            scene = by_name[row["scene"]]
            names = row["classes"].split(BETWEEN) if row["classes"] else []
            present = np.zeros(len(scene.label_set), dtype=bool)
            present[[scene.label_set.names.index(name) for name in names]] = True
            rows[scene.name].append(([number(row[axis]) for axis in "xyz"], float(row["radius"]), present))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise OtocError(f"{path}, line {line}: not a ball of these rooms ({error}); make the file again") from error
    found = {}
    for name, balls in rows.items():
        if len({radius for _, radius, _ in balls}) != 1:
            raise OtocError(f"{path}: the balls of {name} are none, or not of one radius; make the file again")
        centres, radii, present = zip(*balls, strict=True)
        found[name] = Subclouds(np.array(centres), radii[0], np.stack(present))
    return found
