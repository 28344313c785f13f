"""A session of labelling: rooms, the clicks made in them, and the file that holds every click as soon as it is made.

Nothing here needs a browser: ``picker.Picker`` is its face in JupyterLab, tests and scripts may act on it directly.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from otoc_lib.annotation.clicks import (
    Clicks,
    class_named,
    click_rows,
    clicked_labels,
    read_clicks_among_others,
    simulate_clicks,
    write_rows,
)
from otoc_lib.annotation.kept import note_kept, read_kept, still_kept
from otoc_lib.config import Config, in_project, project_root
from otoc_lib.datasets import load_faces
from otoc_lib.errors import OtocError, shown
from otoc_lib.files import checksum, write_json
from otoc_lib.labels import NO_CLASS, PAPER_CLICKS
from otoc_lib.lock import locked
from otoc_lib.outside import opening, read_json
from otoc_lib.scene import Scene

PAPER_SECONDS = 120  # "annotate a scene in under two minutes", section 1

NOTHING = -1  # the class of a point whose click is taken back
MOST_CHANGES = 10_000  # at once; a person makes one, or clears the clicks of a super-voxel
MOST_SECONDS = 1e9  # thirty years: what the clock of a room can show

Change = tuple[int, int]  # vertex index, class index or NOTHING


@dataclass
class _RoomClicks:
    """The clicks of one room in the order made, and the rows of the file that stand for them."""

    clicks: dict[int, tuple[int, int]]  # vertex -> class, object
    rows: list[tuple] = field(default_factory=list)
    seconds: float = 0.0


class Session:
    """Clicks of some rooms, in a clicks.csv that is complete after every change.

    Args:
        scenes: the rooms to label, in the order to show them.
        path: the clicks.csv. If it is there, the session goes on from it; rows of other rooms stay as they are.
            How long each room took is kept in ``<name>.seconds.json`` beside it, and which clicks somebody looked at
            again and kept in ``<name>.kept.json``. Sessions of several processes may
            share the file: each keeps what the others did in other rooms.
        initial: clicks to begin with in every room that the file does not mention, for example simulated ones.
        faces: name of a room -> the triangles of its mesh, int [F, 3] of its vertices, or None where it has none; for
            whoever draws the rooms. Without it they are points.

    Raises:
        OtocError: naming file and line, if the file is damaged or belongs to other data; it is left as it is.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        path: Path,
        initial: Mapping[str, Clicks] | None = None,
        faces: Callable[[str], np.ndarray | None] = lambda name: None,
    ):
        if not scenes:
            raise OtocError("a session of labelling needs at least one room")
        self.scenes = list(scenes)
        self.faces = faces
        self.path = Path(path)
        self._index = {scene.name: index for index, scene in enumerate(self.scenes)}
        found, self._others, self._rooms, self._written = {}, [], {}, None
        with opening(self.path):
            self.path.exists()  # or the system says why nobody can know, before a lock is made beside it
        with self._lock():  # from reading to writing, or what another session saves in between is lost
            if self.path.exists():
                found, self._others = read_clicks_among_others(self.path, self.scenes)
            seconds = self._read_seconds()
            self._kept = read_kept(self.path)
            for scene in self.scenes:
                clicks = found.get(scene.name, Clicks([], [], []))
                if not len(clicks) and initial is not None:
                    clicks = initial.get(scene.name, clicks)
                self._rooms[scene.name] = _room_clicks(scene, clicks, seconds.get(scene.name, 0.0))
            self._save()

    @property
    def seconds_path(self) -> Path:
        return self.path.with_suffix(".seconds.json")

    @property
    def clicks(self) -> dict[str, Clicks]:
        """The clicks of every room, in the order made."""
        return {scene.name: self.clicks_of(scene.name) for scene in self.scenes}

    @property
    def labelled(self) -> list[Scene]:
        """The rooms that have clicks."""
        return [scene for scene in self.scenes if self._rooms[scene.name].clicks]

    def scene(self, name: str) -> Scene:
        if not isinstance(name, str) or name not in self._index:
            raise OtocError(f"{self.path}: this session has no room {shown(name)}; it opens {len(self.scenes)} others")
        return self.scenes[self._index[name]]

    def index(self, name: str) -> int:
        return self._index[self.scene(name).name]

    def clicks_of(self, name: str) -> Clicks:
        made = self._rooms[self.scene(name).name].clicks
        return Clicks(list(made), [label for label, _ in made.values()], [instance for _, instance in made.values()])

    def seconds_of(self, name: str) -> float:
        """Time spent on a room, as its clock counted."""
        return self._rooms[self.scene(name).name].seconds

    def resume_at(self) -> int:
        """Index of the room to open: the first without clicks, or the last one."""
        return next(
            (i for i, scene in enumerate(self.scenes) if not self._rooms[scene.name].clicks), len(self.scenes) - 1
        )

    def apply(self, name: str, changes: Sequence[Change], seconds: float | None = None) -> None:
        """Set the class of some vertices of a room, or take their clicks back, and save.

        Changes are absolute, so applying the same ones twice is applying them once.

        Args:
            name: the room.
            changes: (vertex, class) for a click, (vertex, NO_CLASS) for one that says that the super-voxel is of no
                class, (vertex, NOTHING) to take one back; at most MOST_CHANGES.
            seconds: what the room's clock shows by now.

        Raises:
            OtocError: for a vertex or class that does not exist, for anything that is no change or no time, and where
                another session has changed this room meanwhile; nothing is changed then.
        """
        scene = self.scene(name)
        changes = _checked_changes(scene, changes)
        if seconds is not None:
            seconds = _checked_seconds(f"scene {name}", seconds)
        with self._lock():
            self._catch_up(name)
            room = self._rooms[name]
            for point, label in changes:
                room.clicks.pop(point, None)
                if label != NOTHING:
                    # The object is known where the room is annotated; own scans have none.
                    instance = -1 if scene.instances is None else int(scene.instances[point])
                    room.clicks[point] = (label, instance)
            room.rows = click_rows(scene, self.clicks_of(name))
            self._save()
        if seconds is not None:
            self.spend(name, seconds)

    def click(self, name: str, point: int, label: str) -> None:
        """One click by the name of its class, or "none"; for scripts."""
        self.apply(name, [(point, class_named(self.scene(name), label))])

    def undo(self, name: str) -> None:
        """Take back the last click of a room, if it has one."""
        made = self._rooms[self.scene(name).name].clicks
        if made:
            self.apply(name, [(next(reversed(made)), NOTHING)])

    def spend(self, name: str, seconds: float) -> None:
        """Note what the clock of a room shows; it never goes back."""
        room, seconds = self._rooms[self.scene(name).name], _checked_seconds(f"scene {name}", seconds)
        if seconds > room.seconds:
            room.seconds = seconds
            with self._lock():
                spent = self._read_seconds()  # another session's, too
                for scene in self.scenes:
                    counted = round(self._rooms[scene.name].seconds, 1)
                    spent |= {scene.name: max(counted, spent.get(scene.name, 0.0))} if counted else {}
                write_json(self.seconds_path, spent)

    def keep(self, name: str, point: int) -> None:
        """Note that somebody looked again at the click of a vertex, and that its class is right.

        Raises:
            OtocError: the vertex has no click.
        """
        scene, made = self.scene(name), self._rooms[name].clicks
        if not isinstance(point, (int, np.integer)) or isinstance(point, bool) or point not in made:
            raise OtocError(f"scene {name}: no click at vertex {shown(point)} to be kept")
        with self._lock():
            note_kept(self.path, name, point, scene.label_set.name_of(made[point][0]))
            self._kept = read_kept(self.path)  # another session's, too

    def kept(self, name: str) -> set[int]:
        """The vertices of a room's clicks that were kept, and have the class that they had then."""
        return still_kept(self._kept.get(name, {}), self.clicks_of(name), self.scene(name).label_set)

    def labels_of(self, name: str) -> dict[int, int]:
        """Super-voxel -> the class, or NO_CLASS, that its clicks give it, for every clicked super-voxel."""
        scene, clicks = self.scene(name), self.clicks_of(name)
        if not len(clicks):
            return {}
        # Clicked points keep their own class, so the class of a super-voxel is that of its other points, if any.
        labels = clicked_labels(scene, clicks)
        given: dict[int, int] = {}
        for region in np.unique(scene.supervoxels[clicks.points]).tolist():
            members = np.flatnonzero(scene.supervoxels == region)
            rest = np.setdiff1d(members, clicks.points)
            given[region] = int(labels[rest[0] if len(rest) else members[0]])
        return given

    def mixed(self, name: str) -> dict[int, tuple[str, ...]]:
        """Super-voxel -> the names of its classes, where two or more were clicked in one: only one of them can win."""
        scene, made = self.scene(name), self._rooms[name].clicks
        found: dict[int, set[int]] = {}
        for point, (label, _) in made.items():
            found.setdefault(int(scene.supervoxels[point]), set()).add(label)
        named = scene.label_set.name_of
        return {region: tuple(map(named, sorted(both))) for region, both in found.items() if len(both) > 1}

    def report(self) -> list[dict]:
        """For every labelled room: room, clicks, seconds, and the shares of its points that the clicks label and that
        they say are of no class."""
        rows = []
        for scene in self.labelled:
            clicks = self.clicks_of(scene.name)
            said = clicked_labels(scene, clicks)
            shares = {
                "covered_percent": 100 * float((said >= 0).mean()),
                "no_class_percent": 100 * float((said == NO_CLASS).mean()),
            }
            row = {"room": scene.name, "clicks": len(clicks), "seconds": self.seconds_of(scene.name)}
            rows.append({**row, **shares})
        return rows

    def _repr_markdown_(self) -> str:
        """The report as a table, beside the paper's clicks and minutes."""
        rows = self.report()
        total = len(self.scenes)
        lines = [
            f"{len(rows)} of {total} rooms have clicks; they are in `{_shown(self.path)}`.",
            "",
            "| room | clicks | time | points labelled | of no class |",
            "|---|---:|---:|---:|---:|",
        ]
        lines += [_report_line(*row.values()) for row in rows]
        if rows:
            mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "room"}
            lines.append(_report_line("**mean**", *mean.values()))
        published = PAPER_CLICKS.get(self.scenes[0].label_set.name)
        if published:
            lines.append(_report_line("*paper*", published, PAPER_SECONDS, None, None))
        return "\n".join(lines)

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.path.with_name(f".{self.path.name}.lock"), str(self.path))

    def _save(self) -> None:
        rows = [row for scene in self.scenes for row in self._rooms[scene.name].rows]
        write_rows(self.path, [*self._others, *rows])
        self._written = checksum(self.path)

    def _catch_up(self, name: str) -> None:
        """Take over what another session has written since this one did; OtocError if that was in the room ``name``."""
        if not self.path.exists() or checksum(self.path) == self._written:
            return
        found, others = read_clicks_among_others(self.path, self.scenes)
        rooms = {}
        for scene in self.scenes:
            mine = self._rooms[scene.name]
            rooms[scene.name] = _room_clicks(scene, found.get(scene.name, Clicks([], [], [])), mine.seconds)
            if scene.name == name and rooms[name].rows != mine.rows:
                raise OtocError(
                    f"{self.path}: the clicks of {name} were changed by another program since; open the rooms again to "
                    "go on from them"
                )
        self._rooms, self._others = rooms, others

    def _read_seconds(self) -> dict[str, float]:
        """The clocks of the last session; a damaged file costs no click, only the times."""
        if not os.path.exists(self.seconds_path):
            return {}
        try:
            spent = read_json(self.seconds_path)
            return {name: _checked_seconds(self.seconds_path, value) for name, value in spent.items()}
        except (ValueError, AttributeError):  # no JSON, no times, or no dict
            warnings.warn(f"{self.seconds_path}: damaged; the clocks start again", stacklevel=3)
            return {}


def open_session(config: Config, scenes: Sequence[Scene], simulated: bool = False) -> Session:
    """The session of an experiment: goes on where the last one stopped.

    Args:
        config: with ``source: file`` the clicks go to its ``clicks_file``, else to ``data/clicks/<data_root>.csv``.
        scenes: the rooms to label.
        simulated: begin with the simulated clicks, to correct them, in rooms without clicks of their own.
    """
    if config.source == "file":
        path = in_project(config.clicks_file)
    else:
        path = project_root() / "data" / "clicks" / f"{config.data_folder.name}.csv"
    initial = None
    if simulated:
        initial = {scene.name: simulate_clicks(scene, config.clicks_per_object, config.seed) for scene in scenes}
    return Session(scenes, path, initial, faces=lambda name: load_faces(config, name))


def _room_clicks(scene: Scene, clicks: Clicks, seconds: float) -> _RoomClicks:
    columns = zip(clicks.points.tolist(), clicks.classes.tolist(), clicks.objects.tolist(), strict=True)
    made = {point: (label, instance) for point, label, instance in columns}
    return _RoomClicks(made, click_rows(scene, clicks), seconds)


def _checked_changes(scene: Scene, changes: Sequence[Change]) -> list[Change]:
    """The changes as pairs of plain numbers; OtocError for the first thing among them that is none."""
    if not isinstance(changes, (list, tuple, np.ndarray)) or len(changes) > MOST_CHANGES:
        raise OtocError(f"scene {scene.name}: changes are a list of up to {MOST_CHANGES} pairs (vertex, class)")
    checked = []
    for change in changes:
        pair = isinstance(change, (list, tuple, np.ndarray)) and len(change) == 2
        if not pair or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in change):
            raise OtocError(f"scene {scene.name}: {shown(change)} is no pair of whole numbers (vertex, class)")
        point, label = map(int, change)
        known = label in (NOTHING, NO_CLASS) or 0 <= label < len(scene.label_set)
        if not 0 <= point < scene.num_points or not known:
            raise OtocError(
                f"scene {scene.name}: no vertex {shown(point)} or no class {shown(label)}; the click was made on "
                "other data"
            )
        checked.append((point, label))
    return checked


def _checked_seconds(origin: object, seconds: float) -> float:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds <= MOST_SECONDS:
        raise OtocError(f"{origin}: {shown(seconds)} is no time in seconds, from 0 to {MOST_SECONDS:.0f}")
    return float(seconds)


def _report_line(room: str, clicks: float, seconds: float, covered: float | None, no_class: float | None) -> str:
    minutes = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    shares = " | ".join("" if share is None else f"{share:.1f} %" for share in (covered, no_class))
    return f"| {room} | {clicks if isinstance(clicks, int) else f'{clicks:.2f}'} | {minutes} | {shares} |"


def _shown(path: Path) -> str:
    """The path as the project's files name it, whole where it lies elsewhere."""
    try:
        return path.resolve().relative_to(project_root()).as_posix()
    except (ValueError, OtocError):
        return str(path)
