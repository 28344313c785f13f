"""The numbers of finished runs, small enough to be committed: ``reports/<profile>/results/<run>.zip``.

A study of many hours is run in parts, on machines that come and go. What is kept of a run are the manifests of its
stages, which say how many steps it took, and what their numbers are made of, no prediction and no weights. A manifest's
key says whether that is what the params files, the code and the rooms give now, as it does for a run that is here: kept
numbers that are not current are shown nowhere. A stage that was run here again comes before what is kept of it.
"""

import json
import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from otoc_lib.current import Runs
from otoc_lib.errors import OtocError
from otoc_lib.files import write_zip
from otoc_lib.methods.stages import CONFUSIONS
from otoc_lib.store import MANIFEST, Stage, read_manifest

# Files of stages that tables and findings are made of; histories of training are as large as all others together.
NUMBERS = ("metrics.json", CONFUSIONS, "statistics.json")
HIDDEN = "hidden.json"  # of an evaluation: mode -> mIoU on the hidden-label rooms, in percent, as Table 1 scored it
ARCHIVES = "results"  # folder of a report
MOST_BYTES = 1 << 26  # of one file, unpacked


def keep_numbers(runs: Runs, folder: Path, hidden: dict[tuple[str, str], dict[str, float]] | None = None) -> list[Path]:
    """Write what is current of every run into its archive; what an archive holds of other stages stays in it.

    Args:
        runs: of the profile.
        folder: of the archives.
        hidden: run and stage -> mode -> mIoU on the hidden-label rooms.

    Returns:
        The archives of runs that are here, written where they differ from what was there.
    """
    paths = []
    for experiment in runs.experiments:
        for seed, run in runs.seeds(experiment).items():
            path, members = folder / f"{run}.zip", {}
            for stages in runs.planned(experiment, seed).values():
                for name in stages:
                    stage = runs.state(experiment, name, seed).stage
                    if stage is not None:
                        scores = (hidden or {}).get((run, name), {})
                        members |= {f"{name}/{file}": data for file, data in _numbers(stage, scores).items()}
            if not any(member.endswith("/metrics.json") for member in members):  # nothing was evaluated yet
                continue
            here = {PurePosixPath(member).parts[0] for member in members}
            before = _read(path) if path.is_file() else {}
            members |= {name: data for name, data in before.items() if PurePosixPath(name).parts[0] not in here}
            if members != before:
                write_zip(path, members)
            paths.append(path)
    return paths


def kept_runs(runs: Runs, folder: Path) -> tuple[Runs, tempfile.TemporaryDirectory] | None:
    """What archives hold, beside the params files as ``runs`` is, and the temporary folder that it lies in as long as
    that is referred to; None without archives.

    Raises OtocError naming an archive that is damaged.
    """
    archives = sorted(folder.glob("*.zip"))
    if not archives:
        return None
    unpacked = tempfile.TemporaryDirectory(prefix="otoc-results-")
    for archive in archives:
        for name, data in _read(archive).items():
            path = Path(unpacked.name) / runs.profile / archive.stem / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return Runs(Path(unpacked.name), runs.profile, runs.experiments.values(), runs.wrong), unpacked


def _numbers(stage: Stage, hidden: dict[str, float]) -> dict[str, bytes]:
    """File -> bytes of what is kept of a stage; its manifest lists these files alone."""
    files = {name: stage.read(name) for name in NUMBERS if name in stage.files}
    manifest = read_manifest(stage.path)
    manifest |= {"files": {name: stage.files[name] for name in files}}
    files[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    if hidden:
        files[HIDDEN] = (json.dumps(hidden) + "\n").encode()
    return files


def _read(path: Path) -> dict[str, bytes]:
    """Member -> bytes of an archive: files of stages, and nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for info in archive.infolist():
                stage, _, name = info.filename.partition("/")
                known = re.fullmatch(r"\w+", stage) and name in (*NUMBERS, MANIFEST, HIDDEN)
                if not known or info.file_size > MOST_BYTES:
                    raise ValueError(f"{info.filename!r} is none of the files that are kept")
                found[info.filename] = archive.read(info)
            return found
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise OtocError(f"{path}: damaged ({error}); restore it, or delete it and keep the numbers again") from error
