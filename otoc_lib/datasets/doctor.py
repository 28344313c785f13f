"""Doctor: reads every file of a dataset, or scans of one's own, before any training does, and tells what is missing,
damaged or odd.

The files are read by the same readers that training uses. An *error* is what would stop a training; a *warning* is
readable but odd: a part of the release that is not there, files that belong to nothing, lines that were mended.
"""

import functools
import os
import re
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from otoc_lib.config import Unit, UpAxis
from otoc_lib.datasets import own, s3dis, scannet, summary
from otoc_lib.datasets.point_files import FORMATS, read_scan
from otoc_lib.datasets.point_text import count_rows
from otoc_lib.datasets.scan_axes import FEWEST_POINTS
from otoc_lib.datasets.scan_views import ScanViews, view_scan
from otoc_lib.datasets.summary import Summary
from otoc_lib.errors import OtocError, listed, messages_of
from otoc_lib.labels import IGNORE, PAPER_CLICKS, S3DIS13, SCANNET20, LabelSet
from otoc_lib.outside import is_junk, opening

NAMES_SHOWN = 5
OWN = "scans of your own"


@dataclass(frozen=True)
class Problem:
    """One row of the table. ``place`` is a file (with a line where one is at fault), a folder, a scene or a split."""

    place: str
    severity: str  # "error": training would fail; "warning": odd but readable
    text: str


@dataclass(frozen=True)
class Total:
    """One number of the dataset beside the number that it has in the release or in the paper."""

    name: str
    found: str
    official: str


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` found under ``root``."""

    root: Path
    dataset: str  # "ScanNet", "S3DIS" or OWN
    problems: tuple[Problem, ...]  # errors first
    totals: tuple[Total, ...]
    scans: tuple[Summary, ...] = ()  # of one's own
    views: tuple[ScanViews, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether training would run."""
        return not any(problem.severity == "error" for problem in self.problems)

    def with_more(self, problems: Sequence[Problem], totals: Sequence[Total]) -> "Diagnosis":
        """This, with what else was found."""
        return replace(self, problems=_in_order([*self.problems, *problems]), totals=(*self.totals, *totals))

    def as_json(self) -> dict[str, Any]:
        """All but the pictures, as JSON can hold it."""
        return {
            "root": str(self.root),
            "dataset": self.dataset,
            "ok": self.ok,
            "totals": [asdict(total) for total in self.totals],
            "problems": [asdict(problem) for problem in self.problems],
            "scans": [summary.to_json(scan) for scan in self.scans],
        }


@dataclass(frozen=True)
class Checkup:
    """What reading one scene gave."""

    name: str
    num_points: int  # 0 if it cannot be read
    num_objects: int
    points_of_class: np.ndarray | None  # int64 [C]; None without labels
    problems: tuple[Problem, ...]
    summary: Summary | None = None  # of a scan of one's own
    views: ScanViews | None = None

    @property
    def readable(self) -> bool:
        return self.num_points > 0


def diagnose(
    root: Path,
    workers: int = 1,
    with_views: bool = False,
    only_own: bool = False,
    up_axis: UpAxis = "auto",
    unit: Unit = "auto",
) -> Diagnosis:
    """Read every file of a ScanNet or S3DIS tree, or every scan of one's own, and collect what is wrong with it.

    Args:
        root: the folder a params file would name as ``data_root``.
        workers: processes that read; 1 reads in this one. A script that asks for more needs its
            ``if __name__ == "__main__":`` guard, since every process runs the script's top level again.
        with_views: also draw scans of one's own, for ``Diagnosis.views``.
        only_own: refuse a dataset before it is read.
        up_axis, unit: of scans of one's own, see ``scan_axes``.

    Raises:
        OtocError: there is no such folder, or neither dataset nor a scan is in it.
    """
    root = Path(root)
    if not os.path.isdir(root):
        raise OtocError(f"{root}: no such folder; give the folder that holds the dataset")
    if workers < 1:
        raise OtocError(f"workers is {workers}; it must be at least 1")
    is_scannet = os.path.isdir(root / "scans") or os.path.isdir(root / "scans_test")
    if is_scannet or any(os.path.isdir(entry) for entry in root.glob("Area_*")):
        if only_own or with_views:
            raise OtocError(f"{root}: holds a dataset; a picture, and parameters, are for {OWN} alone")
        return _diagnose_scannet(root, workers) if is_scannet else _diagnose_s3dis(root, workers)
    folder, faults = own.survey(root)
    if folder.scans or faults.messages:
        check = functools.partial(_check_own, folder.scans, with_views, up_axis, unit)
        return _diagnose_own(root, folder, faults.messages, workers, check)
    entries = _entries(root)
    below = [entry.name for entry in entries if os.path.isdir(entry)]
    files = [f"{entry.name} ({folder.left_out.get(entry, 'no scan')})" for entry in entries if entry.name not in below]
    raise OtocError(
        f"{root}: no dataset that this kit knows; looked for scans/ or scans_test/ (ScanNet) and Area_1/ to Area_6/ "
        f"(S3DIS), and for scans of your own ({', '.join(FORMATS)}), found "
        f"{'the folders ' + _some(below) if below else 'no folder at all'}{', ' + _some(files) if files else ''}"
    )


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the totals, the problems and, last, one line that says whether training would run."""
    print(f"{diagnosis.dataset} in {diagnosis.root}\n")
    totals = [(total.name, total.found, total.official) for total in diagnosis.totals]
    beside = diagnosis.dataset != OWN  # numbers of a release to compare with
    _print_table(("", "found", "release / paper")[: 2 + beside], [total[: 2 + beside] for total in totals])
    if diagnosis.scans:
        print(f"\n{summary.as_text(diagnosis.scans)}")
    if diagnosis.problems:
        print()
        rows = [(problem.severity, problem.place, problem.text) for problem in diagnosis.problems]
        _print_table(("", "where", "what"), rows)
    errors = sum(problem.severity == "error" for problem in diagnosis.problems)
    counts = f"{_count(errors, 'error')}, {_count(len(diagnosis.problems) - errors, 'warning')}"
    print(f"\n{'OK: training would run' if diagnosis.ok else 'BROKEN: training would fail'} ({counts})")


# ---- ScanNet


def _diagnose_scannet(root: Path, workers: int) -> Diagnosis:
    problems, lists = [], {}
    for split in scannet.SPLITS:
        if split == "val_novel" and scannet.own_list(root, split) is None:
            continue  # only the bundled rooms have this split
        try:
            lists[split] = scannet.list_scenes(root, split)
        except OtocError as error:
            problems.append(_problem(root, split, "error", str(error)))
            lists[split] = []

    present = {
        entry.name: folder
        for folder in ("scans_test", "scans")
        for entry in _entries(root / folder)
        if os.path.isdir(entry)
    }
    for folder in ("scans", "scans_test"):
        for entry in _entries(root / folder):
            if not os.path.isdir(entry):
                problems.append(_problem(root, f"{folder}/{entry.name}", "warning", "belongs to no scene"))
    listed = {name for names in lists.values() for name in names}
    unknown = sorted(set(present) - listed)
    if unknown:
        text = f"{_count(len(unknown), 'scene')} in no list of a split, not used: {_some(unknown)}"
        problems.append(Problem("scans", "warning", text))

    known = sorted(set(present) & listed)
    checkups = _check_all(functools.partial(_checkup, _check_scannet, root), known, workers)
    problems += [problem for checkup in checkups for problem in checkup.problems]
    by_name = {checkup.name: checkup for checkup in checkups}
    totals = []
    for split, names in lists.items():
        found = [by_name[name] for name in names if name in by_name]
        missing = [name for name in names if name not in by_name]
        if names and missing:
            severity = "warning" if split == "test" else "error"  # no training reads test scenes
            text = f"{len(missing)} of its {len(names)} scenes are missing: {_some(missing)}"
            if scannet.own_list(root, split) is None:
                text += f"; to do without, list what is there in splits/scannetv2_{split}.txt"
            problems.append(Problem(f"split {split}", severity, text))
        unlabelled = [c.name for c in found if split != "test" and c.readable and c.points_of_class is None]
        if unlabelled:
            text = f"{_count(len(unlabelled), 'scene')} without labels, in scans_test/: {_some(unlabelled)}"
            problems.append(Problem(f"split {split}", "error", text))
        official = _official_scannet(split)
        note = f" of {len(names)} listed" if len(names) not in (official, len(found)) else ""
        totals.append(Total(f"{split} scenes", f"{len(found)}{note}", str(official or "-")))
        if split in ("train", "val") and names and not any(checkup.readable for checkup in found):
            problems.append(Problem(f"split {split}", "error", "not one complete scene"))
    train = [by_name[name] for name in lists["train"] if name in by_name]
    return _finish(root, "ScanNet", SCANNET20, problems, totals, checkups, train)


def _check_scannet(root: Path, name: str) -> Checkup:
    """Read one scene, and look for files that are none of ScanNet's."""
    folder = next(root / part / name for part in ("scans", "scans_test") if os.path.isdir(root / part / name))
    pattern = re.escape(name) + r"(\.(sens|txt|aggregation\.json)|_vh_clean.*|_2d-.*\.zip)"
    extra = [entry.name for entry in _entries(folder) if not re.fullmatch(pattern, entry.name)]
    problems = []
    if extra:
        where = folder.relative_to(root).as_posix()
        problems.append(Problem(where, "warning", f"files that are none of this scene's: {_some(extra)}"))
    scene, told = _read(root, name, lambda: scannet.load_scene(root, name))
    problems += told
    if scene is None:
        return Checkup(name, 0, 0, None, tuple(problems))
    counts = None if scene.labels is None else _count_classes(scene.labels, SCANNET20)
    return Checkup(name, scene.num_points, scene.num_objects, counts, tuple(problems))


def _official_scannet(split: str) -> int | None:
    path = scannet.OFFICIAL_LISTS / f"scannetv2_{split}.txt"
    return len(path.read_text(encoding="utf-8").split()) if os.path.isfile(path) else None


# ---- S3DIS


def _diagnose_s3dis(root: Path, workers: int) -> Diagnosis:
    problems = []
    for entry in _entries(root):
        if not (os.path.isdir(entry) and re.fullmatch(r"Area_[1-6]", entry.name)):
            problems.append(Problem(entry.name, "warning", "is none of Area_1 to Area_6, not used"))
    rooms = {}  # area -> names of its rooms
    for area in s3dis.AREAS:
        try:
            rooms[area] = s3dis.list_scenes(root, f"area_{area}")
        except OtocError:  # no room; told below among the missing ones
            rooms[area] = []
        for entry in _entries(root / f"Area_{area}"):
            if not os.path.isdir(entry):
                turned = entry.name.endswith("alignmentAngle.txt")
                text = "belongs to no room" + ("; this is the release whose rooms are not aligned" if turned else "")
                problems.append(_problem(root, f"Area_{area}/{entry.name}", "warning", text))

    names = [name for area in s3dis.AREAS for name in rooms[area]]
    checkups = _check_all(functools.partial(_checkup, _check_s3dis, root), names, workers)
    problems += [problem for checkup in checkups for problem in checkup.problems]
    by_name = {checkup.name: checkup for checkup in checkups}
    totals = []
    for area, kinds in s3dis.OFFICIAL_ROOMS.items():
        official = [f"Area_{area}_{kind}_{i}" for kind, count in kinds.items() for i in range(1, count + 1)]
        missing = [name for name in official if name not in by_name]
        unknown = [name for name in rooms[area] if name not in official]
        if missing:
            text = f"{len(missing)} of its {len(official)} rooms are missing: {_some(missing)}"
            problems.append(Problem(f"Area_{area}", "warning", text))
        if unknown:
            text = f"{_count(len(unknown), 'room')} that the release does not have, used all the same: {_some(unknown)}"
            problems.append(Problem(f"Area_{area}", "warning", text))
        totals.append(Total(f"Area_{area} rooms", str(len(rooms[area])), str(len(official))))
    train = [by_name[name] for area in s3dis.AREAS if area != s3dis.TEST_AREA for name in rooms[area]]
    held_out = [by_name[name] for name in rooms[s3dis.TEST_AREA]]
    for split, found in (("train (every area but 5)", train), ("val (Area 5)", held_out)):
        if not any(checkup.readable for checkup in found):
            problems.append(Problem(f"split {split}", "error", "not one complete room"))
    totals.append(Total("rooms", str(len(names)), str(sum(sum(k.values()) for k in s3dis.OFFICIAL_ROOMS.values()))))
    return _finish(root, "S3DIS", S3DIS13, problems, totals, checkups, train)


def _check_s3dis(root: Path, name: str) -> Checkup:
    """Read one room, and compare it with the file that repeats all of its points."""
    folder = s3dis.room_folder(root, name)
    problems = []

    def warn(path: Path, text: str) -> None:
        problems.append(Problem(path.relative_to(root).as_posix(), "warning", text))

    room, told = _read(root, name, lambda: s3dis.read_room(root, name))
    problems += told
    for entry in _entries(folder / "Annotations"):
        if entry.suffix != ".txt" or not os.path.isfile(entry):
            warn(entry, "is no annotation <class>_<i>.txt, not read")
    whole = folder / f"{folder.name}.txt"
    others = [entry for entry in _entries(folder) if entry not in (whole, folder / "Annotations")]
    if not os.path.isfile(whole):
        named = f"; {_some([entry.name for entry in others])} may be it, misnamed" if others else ""
        warn(folder, f"has no {whole.name}{named}; it is not needed")
    else:
        for entry in others:
            warn(entry, "belongs to no room")
        count, told = _read(root, name, lambda: count_rows(whole))
        problems += [replace(problem, severity="warning") for problem in told]  # no training reads this file
        if room is not None and count is not None and count != len(room.points):
            warn(whole, f"{count} points, but the annotations hold {len(room.points)}; these are used")
    if room is None:
        return Checkup(name, 0, 0, None, tuple(problems))
    counts = _count_classes(room.labels, S3DIS13)
    return Checkup(name, len(room.points), int(room.instances.max()) + 1, counts, tuple(problems))


# ---- scans of one's own


def _diagnose_own(
    root: Path, folder: own.Folder, faults: list[str], workers: int, check_scan: Callable[[Path, str], Checkup]
) -> Diagnosis:
    problems = [_problem(root, "names", "error", message) for message in faults]
    for path, reason in folder.left_out.items():
        problems.append(_problem(root, path.name, "warning", f"is left out: {reason}"))
    check = functools.partial(_checkup, check_scan, root)
    checkups = _check_all(check, sorted(folder.scans), workers)
    problems += [problem for checkup in checkups for problem in checkup.problems]
    totals = [Total("scans", str(len(folder.scans)), "-"), Total("files left out", str(len(folder.left_out)), "-")]
    diagnosis = _finish(root, OWN, SCANNET20, problems, totals, checkups, [])
    return replace(
        diagnosis,
        scans=tuple(checkup.summary for checkup in checkups if checkup.summary),
        views=tuple(checkup.views for checkup in checkups if checkup.views),
    )


def _check_own(files: dict[str, Path], with_views: bool, up_axis: UpAxis, unit: Unit, root: Path, name: str) -> Checkup:
    """Read one scan; what was decided about it is in its summary, and what is odd among the problems."""
    scan, problems = _read(root, name, lambda: read_scan(files[name]))
    if scan is None:
        return Checkup(name, 0, 0, None, tuple(problems))
    axes = own.scan_axes(scan, up_axis, unit)
    for sentence in axes.told:
        level = "error" if sentence == axes.refused else "warning"
        problems.append(_problem(root, files[name].name, level, sentence))
    if len(scan.points) < FEWEST_POINTS:
        few = f"holds {_count(len(scan.points), 'point')}, from which nothing is learnt; a room has some ten thousands"
        problems.append(_problem(root, files[name].name, "warning", few))
    found = summary.summarize(name, files[name], scan, axes)
    views = view_scan(name, scan, axes, found.spacing) if with_views else None
    return Checkup(name, len(scan.points), 0, None, tuple(problems), found, views)


# ---- all of them


def _check_all(check: Callable[[str], Checkup], names: list[str], workers: int) -> list[Checkup]:
    """Check every scene, with a progress bar on stderr."""
    bar = functools.partial(tqdm, total=len(names), desc="reading", unit="room")
    if workers == 1 or len(names) < 2:
        return list(bar(map(check, names)))
    # Spawned, because a forked process must not use the threads that its parent had started.
    with ProcessPoolExecutor(min(workers, len(names)), mp_context=get_context("spawn")) as pool:
        return list(bar(pool.map(check, names)))


def _checkup(check: Callable[[Path, str], Checkup], root: Path, name: str) -> Checkup:
    """Check a scene; what lies around its files, such as a folder that may not be listed, may also be at fault."""
    try:
        return check(root, name)
    except (OtocError, OSError) as error:
        problems = tuple(_problem(root, name, "error", message) for message in messages_of(error))
        return Checkup(name, 0, 0, None, problems)


def _read(root: Path, name: str, read: Callable) -> tuple[Any, list[Problem]]:
    """What ``read`` returns, or None if it refuses, and its warnings and errors as problems."""
    result, problems = None, []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            result = read()
        except (OtocError, OSError) as error:
            problems += [_problem(root, name, "error", message) for message in messages_of(error)]
        except MemoryError:
            problems.append(Problem(name, "error", "is too large for the memory that is free; ask for one worker"))
    problems += [_problem(root, name, "warning", str(warning.message)) for warning in told]
    return result, problems


def _problem(root: Path, place: str, severity: str, message: str) -> Problem:
    """A problem from a message; where it begins with a file or folder under ``root``, that is the place."""
    match = re.match(re.escape(f"{root}/") + r"(.+?(?:, line \d+)?): (.+)", message, re.DOTALL)
    return Problem(match[1], severity, match[2]) if match else Problem(place, severity, message)


def _count_classes(labels: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Points of every class, int64 [C]."""
    return np.bincount(labels[labels != IGNORE], minlength=len(label_set))


def _finish(
    root: Path,
    dataset: str,
    label_set: LabelSet,
    problems: list[Problem],
    totals: list[Total],
    checkups: list[Checkup],
    train: list[Checkup],
) -> Diagnosis:
    """Add what concerns all scenes, and put the problems in order."""
    readable = [checkup for checkup in checkups if checkup.readable]
    points = sum(checkup.num_points for checkup in readable)
    totals.append(Total("points", f"{points:,}", "-"))
    totals.append(Total("points a scene", f"{points / max(len(readable), 1):,.0f}", "-"))
    labelled = [checkup for checkup in train if checkup.points_of_class is not None]
    if labelled:
        objects = np.mean([checkup.num_objects for checkup in labelled])
        clicks = f"{PAPER_CLICKS[label_set.name]} (clicks, paper)"
        totals.append(Total("objects a training scene", f"{objects:.2f}", clicks))
        counts = np.stack([np.asarray(checkup.points_of_class) for checkup in labelled])  # [scenes, C]
        present = int(counts.any(axis=0).sum())
        totals.append(Total("classes in training scenes", str(present), str(len(label_set))))
        absent = [label_set.names[c] for c in np.flatnonzero(~counts.any(axis=0))]
        if absent:
            text = f"no training scene holds {', '.join(absent)}: these classes cannot be learned"
            problems.append(Problem("classes", "warning", text))
    return Diagnosis(root, dataset, _in_order(problems), tuple(totals))


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """Errors first; a file that all scenes share is told once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.severity != "error"))


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden files and what file managers leave."""
    with opening(folder):
        entries = list(folder.iterdir()) if os.path.isdir(folder) else []
    return sorted(entry for entry in entries if not is_junk(entry))


def _some(names: list[str]) -> str:
    """The first names, and how many more there are; control characters are escaped."""
    return listed((name if name.isprintable() else ascii(name) for name in names), NAMES_SHOWN)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns padded to their widest cell; the last one is left as long as it is."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
