"""Converted scenes on disk: ``<cache_root>/<dataset>-<hash>/<scene>.safetensors``, memory-mapped when opened.

The folder's hash covers the data root and every parameter that changes the conversion. Each file notes the sizes and
times of the files it was made from and is made again when they change. It may be deleted at any time. Several machines
may fill one cache: a scene is written aside and renamed, and one that another machine has finished meanwhile stays.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from tqdm import tqdm

from otoc_lib.config import Config, View
from otoc_lib.errors import CannotWriteError, OtocError, shown
from otoc_lib.files import read_notes, write_json
from otoc_lib.scene import Scene, checked_name

# Raise it when a reader or a super-voxel partition gives other arrays than before.
VERSION = 1
LATER = {"own": 2}  # further versions of single datasets

SOURCES = "sources"  # the note that holds sizes and times
SUMMARY = "summary"  # the note of datasets that summarize their scenes
LISTED = 20  # failures spelled out in one message
TRAIN = "train"
HELD_OUT = "held_out"  # of the training rooms, those that ``train_rooms`` leaves out
CHECKED = "checked.json"  # beside the scenes: which were found whole, and as which files
STILL_SECONDS = 2.0  # after which a file that is written to has another time, on any file system


@dataclass(frozen=True)
class Shard:
    """What one of several machines converts: the scenes ``index``, ``index + count`` ... of the list; 1 is first."""

    index: int = 1
    count: int = 1

    def of(self, scenes: list[Any]) -> list[Any]:
        return scenes[self.index - 1 :: self.count]


def parse_shard(text: str) -> Shard:
    """``2/4``, as the command line gives it; OtocError for anything that is no part of a whole."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise OtocError(f"--shard {shown(text)}: write i/n, such as 2/4 for the second of four machines; i from 1 to n")
    return Shard(int(match[1]), int(match[2]))


def list_scenes(config: Config, split: str) -> list[str]:
    """Names of the scenes of a split, in the order of its list. ``held_out`` is of every dataset: the training scenes
    after the first ``train_rooms``, without further scans of the rooms that these show."""
    reader, listed = reader_of(config), TRAIN if split == HELD_OUT else split
    names = [
        checked_name(name, f"{config.data_folder}, split {listed}")
        for name in reader.list_scenes(config.data_folder, listed)
    ]
    if split != HELD_OUT:
        return names
    room_of = getattr(reader, "room_of", lambda name: name)
    seen = set(map(room_of, names[: config.train_rooms]))
    held_out = [name for name in names if room_of(name) not in seen]
    if not held_out:
        raise OtocError(
            f"eval_splits: {HELD_OUT}: 'train_rooms: {config.train_rooms}' leaves no training room out, of "
            f"{len(names)}; lower it"
        )
    return held_out


def may_be_trained_on(config: Config, split: str) -> bool:
    """Whether scenes of a split are in the training split, and so perhaps trained on; those held out never are."""
    in_training = getattr(reader_of(config), "in_training", lambda split: False)
    return split == TRAIN or (split != HELD_OUT and in_training(split))


def limits(config: Config, split: str) -> tuple[int | None, ...]:
    """What says which scenes of its list a split stands for: equal for equal scenes of one cache."""
    own = config.train_rooms if split == TRAIN else config.eval_rooms
    return (own, config.train_rooms) if split == HELD_OUT else (own,)


def open_scene(config: Config, name: str) -> Scene:
    """A scene of the configured dataset, memory-mapped from the cache; converted first where that is due.

    Raises OtocError naming the file that is missing or damaged, or the cache folder if it cannot be written.
    """
    if not _is_fresh(config, name):
        _convert(config, name)
    return load_converted(config, name)


def load_converted(config: Config, name: str, whole: bool = False) -> Scene:
    """``open_scene`` for a scene that is known to be converted, after ``convert_missing``; ``whole`` as ``Scene.load``
    takes it."""
    path = _path(config, name)
    try:
        return Scene.load(path, whole)
    except OtocError as error:
        warnings.warn(f"{str(error).split(';')[0]}; it is converted anew", stacklevel=2)
        _convert(config, name, damaged=True)
        return Scene.load(path)


def load_all_converted(config: Config, names: list[str]) -> Iterator[Scene]:
    """``load_converted`` of several scenes, one after the other. A file that was found whole by an earlier call and was
    not written to since is mapped and not read: of ScanNet they are 5.7 GB."""
    place = folder(config) / CHECKED
    before = _read_checked(place)
    checked = dict(before)
    for name in names:
        stamp = _stamp(_path(config, name))
        whole = stamp is not None and before.get(name) == stamp
        yield load_converted(config, name, whole)
        if stamp is not None:  # of before it was read: what is written meanwhile is another one
            checked[name] = stamp
    if checked != before:
        with contextlib.suppress(OSError):  # of a folder that others keep, it may be read alone
            write_json(place, checked)


def _read_checked(place: Path) -> dict[str, Any]:
    """Scene -> the ``_stamp`` with which its file was found whole; nothing where that is not known."""
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _stamp(path: Path) -> list[int] | None:
    """What changes where a file is written to, or is another one; None of one that is missing, or so young that it may
    change once more without a trace."""
    try:
        stat = path.stat()
    except OSError:
        return None
    if time.time() - stat.st_ctime < STILL_SECONDS:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def folder(config: Config) -> Path:
    """Where the converted scenes of a dataset lie: equal for two experiments where they see the same scenes."""
    content = [VERSION + LATER.get(config.dataset, 0), str(config.data_folder.resolve()), conversion(config).digest]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    return config.cache_folder / f"{config.dataset}-{digest}"


def fingerprints(config: Config, split: str, limit: int | None = None) -> list[str | None] | None:
    """Fingerprints of the first ``limit`` scenes of a split, by default of all; no scene is loaded or converted.

    None in the place of a scene that is not converted as its files are now. None for all of them where the list of the
    split or a file of a scene is missing: the data are not on this machine.
    """
    try:
        names, converted = list_scenes(config, split)[:limit], folder(config)
    except (OSError, OtocError):
        return None
    found = []
    for name in names:
        sources, notes = _sources(config, name), read_notes(converted / f"{name}.safetensors")
        if not sources:
            return None
        found.append(notes.get("fingerprint") if notes.get(SOURCES) == sources else None)
    return found


def prepare(*configs: Config, splits: list[str] | None = None, workers: int = 1, shard: Shard = Shard()) -> int:
    """Convert every scene of some splits that the cache lacks, with progress on stderr.

    An interrupted call goes on where it was: finished scenes are kept. Several machines that share the cache may call
    it at once, each with a shard of its own, or all with the same: none harms what another does.

    Args:
        configs: experiments, of one dataset or of several; a scene that they share is converted once.
        splits: None for the training split and ``eval_splits`` of each.
        workers: processes to convert in; with 1, or few scenes, this one does it. A script that asks for more needs its
            ``if __name__ == "__main__":`` guard, since every process runs the script's top level again.
        shard: the part of the scenes to see to; all machines must be given equal configs and splits.

    Returns:
        The number of scenes of the shard that were not converted before.

    Raises:
        OtocError: names the scenes that could not be converted, and why; all others are done by then.
    """
    scenes = [
        (config, name)
        for config in configs
        for split in splits or (TRAIN, *config.eval_splits)
        for name in list_scenes(config, split)
    ]
    return _convert_missing(scenes, workers, shard)


def convert_missing(config: Config, names: list[str], workers: int = 1) -> int:
    """``prepare`` for scenes of one experiment given by name."""
    return _convert_missing([(config, name) for name in names], workers)


def _convert_missing(scenes: list[tuple[Config, str]], workers: int, shard: Shard = Shard()) -> int:
    scenes = shard.of(list({_path(*scene): scene for scene in scenes}.values()))
    missing = [scene for scene in scenes if not _is_fresh(*scene)]
    # Starting processes takes as long as converting a few scenes.
    results = _in_processes if workers > 1 and len(missing) > 2 * workers else _in_turn
    failures = []
    progress = tqdm(results(missing, workers), "preparing", len(missing), unit="room", disable=not missing)
    for error, messages in progress:
        for message in messages:
            warnings.warn(message, stacklevel=2)
        if error is not None:
            failures.append(error)
    if failures:
        more = [f"... and {len(failures) - LISTED} more"] if len(failures) > LISTED else []
        listed = "\n  ".join(sorted(failures)[:LISTED] + more)
        raise OtocError(f"{len(failures)} of {len(scenes)} scenes cannot be read, the others are ready:\n  {listed}")
    return len(missing)


Result = tuple[str | None, list[str]]  # the error, if any, and warnings of one conversion


def _in_turn(scenes: list[tuple[Config, str]], workers: int) -> Iterator[Result]:
    return (_try_convert(config, name) for config, name in scenes)


def _in_processes(scenes: list[tuple[Config, str]], workers: int) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_use_one_thread) as pool:
        try:
            futures = [pool.submit(_try_convert, config, name) for config, name in scenes]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OtocError(
                "preparing: a worker process died; finished scenes are kept. If memory was short, ask for one worker "
                '(--workers 1); if a script of yours asked for workers, put that under `if __name__ == "__main__":`'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """Keep the libraries that a worker loads later from sharing its core among several threads."""
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def _try_convert(config: Config, name: str) -> Result:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            if not _is_fresh(config, name):  # another machine may have made it since this one began
                _convert(config, name)
            error = None
        except OtocError as refusal:
            error = str(refusal)
    return error, [str(warning.message) for warning in caught if warning.category is UserWarning]


def _convert(config: Config, name: str, damaged: bool = False) -> None:
    """Read a scene and write it to the cache; where another process was faster, leave what it wrote, unless that is
    damaged: it may have mapped it already, and a network file system takes replaced files away from who has them."""
    sources = _sources(config, name)  # before reading, so that a change meanwhile is noticed
    try:
        scene, notes = _read(config, name)
    except OSError as error:
        raise OtocError(f"scene {name}: cannot be read ({error}); check the data root") from error
    except MemoryError as error:
        raise OtocError(f"scene {name}: is too large for the memory that is free; ask for one worker") from error
    path = _path(config, name)
    if not damaged and read_notes(path).get(SOURCES) == sources:
        return
    try:
        scene.save(path, {SOURCES: sources, **notes})
    except CannotWriteError as error:
        raise OtocError(f"{error}; or set cache_root to another folder") from error
    except (OSError, SafetensorError) as error:
        raise OtocError(f"{path}: cannot be written ({error}); set cache_root to another folder") from error


def _read(config: Config, name: str) -> tuple[Scene, dict[str, Any]]:
    """A scene from its files, and what is noted of it beside its sources."""
    reader, given = reader_of(config), (config.data_folder, name, conversion(config))
    if not hasattr(reader, "read_with_summary"):
        return reader.read_scene(*given), {}
    scene, summary = reader.read_with_summary(*given)
    return scene, {SUMMARY: summary}


def summaries(config: Config, split: str = TRAIN) -> list[dict[str, Any]]:
    """What is noted of the scenes of a split, as the reader of the dataset summarizes each; of most datasets nothing.

    A scene that is not converted, or was before there were summaries, is read for it.
    """
    reader = reader_of(config)
    if not hasattr(reader, "read_with_summary"):
        return []
    found = []
    for name in list_scenes(config, split):
        noted = read_notes(_path(config, name)).get(SUMMARY) if _is_fresh(config, name) else None
        found.append(noted or reader.read_summary(config.data_folder, name, conversion(config)))
    return found


def reader_of(config: Config) -> ModuleType:
    """The module of the dataset; ``otoc_lib.datasets`` says what it holds."""
    return import_module(f"otoc_lib.datasets.{config.dataset}")


def conversion(config: Config) -> View:
    """What the reader of the dataset sees of a config: the parameters that change what it makes of the files."""
    return View(config, reader_of(config).READS, f"the reader of {config.dataset}")


def _path(config: Config, name: str) -> Path:
    return folder(config) / f"{checked_name(name, config.data_folder)}.safetensors"


def _is_fresh(config: Config, name: str) -> bool:
    """Whether the cache holds the scene as its files are now."""
    sources = _sources(config, name)
    return sources != "" and read_notes(_path(config, name)).get(SOURCES) == sources


def _sources(config: Config, name: str) -> str:
    """Sizes and modification times of the files of a scene; empty if one of them is missing."""
    try:
        files = reader_of(config).scene_files(config.data_folder, name)
        stats = [(file.name, file.stat()) for file in files]
    except (OSError, OtocError):  # what is missing is said when the scene is read
        return ""
    return json.dumps([[file, stat.st_size, stat.st_mtime_ns] for file, stat in stats])
