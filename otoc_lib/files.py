"""Files that are never half written: written aside, flushed to the disk, then renamed."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from otoc_lib.errors import CannotWriteError

LITTER_SECONDS = 3600.0  # after which a file that is being written elsewhere is taken for dead; no write takes as long

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than it may be",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk has an input/output error",
}
REFUSED = {
    errno.EACCES: "you may not write there; choose another place, or change its permissions",
    errno.EPERM: "you may not write there; choose another place, or change its permissions",
    errno.EISDIR: "a folder has that name; give the name of a file",
    errno.ENOTDIR: "a file has the name of its folder; choose another place",
    errno.EEXIST: "a file has the name of its folder; choose another place",
    errno.ENOENT: "its folder cannot be made; choose another place",
}


@contextlib.contextmanager
def telling_full_disks(path: Path | str) -> Iterator[None]:
    """Turn the errors of a disk that takes no more into a CannotWriteError that names what is being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, CannotWriteError):
            raise
        raise CannotWriteError(
            error.errno, f"{path}: cannot be written, {FULL[error.errno]}; make room and run the same again"
        ) from error


@contextlib.contextmanager
def write_aside(path: Path | str) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write to; rename it to ``path`` on success, delete it on error.

    What is renamed is on the disk by then, so that a crash leaves the old file or the new one. Siblings that killed
    processes left are deleted.

    Raises:
        CannotWriteError: the disk is full, nothing may be written there or the like; ``path`` is as it was.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{_here()}-{os.getpid()}.part")
    with telling_full_disks(path), _telling_refusals(path, aside):
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            if _is_dead(other):
                other.unlink(missing_ok=True)
        try:
            yield aside
            _flush(aside)
            os.replace(aside, path)
            with contextlib.suppress(OSError):  # some file systems cannot flush a folder
                _flush(path.parent)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _telling_refusals(path: Path, aside: Path) -> Iterator[None]:
    """Turn what the system says of the file, of the one aside and of their folders into a CannotWriteError; what it
    says of files that are read meanwhile stays."""
    try:
        yield
    except OSError as error:
        ours = {str(place) for place in (aside, path, *path.parents)}
        if error.errno not in REFUSED or not ours & {str(error.filename), str(error.filename2)}:
            raise
        raise CannotWriteError(error.errno, f"{path}: cannot be written, {REFUSED[error.errno]}") from error


def write_bytes(path: Path, data: bytes) -> None:
    with write_aside(path) as aside:
        aside.write_bytes(data)


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write an archive of files by name: equal members make equal bytes, since all are dated 1980 and sorted."""
    with write_aside(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        for name, data in sorted(members.items()):
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], notes: dict[str, Any] | None = None) -> None:
    """Write arrays as safetensors, with notes that JSON can hold."""
    # To memory first: the library writes a file past Python, which then knows nothing of a full disk.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_bytes(path, safetensors.numpy.save(contiguous, metadata_of(notes) if notes else None))


def read_array(path: Path, name: str) -> Any:
    """One array of a file that ``write_arrays`` wrote, of which nothing else is read; None if it is not there."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118


def metadata_of(notes: dict[str, Any]) -> dict[str, str]:
    """Notes as the metadata of safetensors: one text, since the library writes several in any order."""
    return {"notes": json.dumps(notes, sort_keys=True)}


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a file that ``write_arrays`` wrote; empty if it is missing, damaged or has none."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            notes = json.loads((file.metadata() or {}).get("notes", "{}"))
            return notes if isinstance(notes, dict) else {}
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError):
        return {}


def holds(path: Path, key: str) -> bool:
    """Whether a file of arrays is whole and notes that it was made for the stage ``key``."""
    return read_notes(path).get("key") == key


def remove_litter(folder: Path) -> None:
    """Delete what killed processes had begun in a folder by ``write_aside``; for the one process that writes there."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def _here() -> str:
    """Stands for the machine, or the container, whose process numbers this process sees. Machines of a cluster may have
    one name, and number their first containers alike; the number of the boot is each machine's own."""
    spaces, boot = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
    name = platform.node() + (os.readlink(spaces) if spaces.is_symlink() else "")
    name += boot.read_text() if boot.is_file() else ""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _is_dead(aside: Path) -> bool:
    """Whether the process that writes to a temporary file has died: it ran here and is gone, or is silent for long."""
    try:
        here, number = aside.name.split(".")[-2].split("-")
        if here == _here():
            with contextlib.suppress(PermissionError):  # another user's, and alive
                os.kill(int(number), 0)
        return time.time() - aside.stat().st_mtime > LITTER_SECONDS
    except (ValueError, ProcessLookupError, FileNotFoundError):
        return True


def checksum(path: Path) -> str:
    """SHA-256 of what a file holds, as ``sha256sum`` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
