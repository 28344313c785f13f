"""One process at a time: a lock file that says who holds it, is waited for aloud, and is taken over from the dead.

The operating system gives a lock back when its owner dies or its machine does. That holds on local disks and on
network file systems with locks (NFS 4; NFS 3 with its lock daemon, not mounted with ``nolock``); where there are none,
the first lock stops with an error.
"""

import contextlib
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from otoc_lib.errors import OtocError
from otoc_lib.files import REFUSED, write_json

LOOK_SECONDS = 0.2  # between looks at a lock that another process holds
SAY_SECONDS = 60.0  # between lines that say so


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock ``path`` while the block runs. Another process that holds it is waited for, and named on stderr.

    Args:
        path: of the lock file, which stays. ``<name>.owner`` beside it says who holds it.
        what: is made under the lock, for the messages.

    Raises:
        OtocError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(path), path.with_name(f"{path.name}.owner")
    said = -SAY_SECONDS
    while not _acquired(lock):
        if time.monotonic() - said >= SAY_SECONDS:
            _say(f"{what}: waiting for {_named(owner)}, which is making it")
            said = time.monotonic()
        time.sleep(LOOK_SECONDS)
    try:
        if owner.exists():
            _say(f"{what}: {_named(owner)} was stopped while making it; going on from what it left")
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(owner, {"process": os.getpid(), "machine": platform.node(), "since": since})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def holder(path: Path) -> tuple[str, str] | None:
    """Who holds a lock, in words, and since when, "" where that is not known; None if nobody does."""
    owner = path.with_name(f"{path.name}.owner")
    if not owner.exists():
        return None
    lock = FileLock(path)
    if _acquired(lock):  # its owner died
        lock.release()
        return None
    since = ""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        since = str(json.loads(owner.read_text(encoding="utf-8"))["since"])
    return _named(owner), since


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except PermissionError as error:
        raise OtocError(f"{lock.lock_file}: {REFUSED[errno.EACCES]}") from error
    except (OSError, NotImplementedError) as error:
        raise OtocError(
            f"{lock.lock_file}: cannot be locked ({error}), so that two processes could write one stage at once; keep "
            "the runs where there are locks: a local disk, or NFS 4 (mounted without nolock)"
        ) from error
    return True


def _named(owner: Path) -> str:
    """``process 4711 on this machine since 12:30``, as far as the owner has said so."""
    try:
        said = json.loads(owner.read_text(encoding="utf-8"))
        machine = "this machine" if said["machine"] == platform.node() else said["machine"]
        return f"process {said['process']} on {machine}, since {said['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """``python -m otoc_lib.lock PATH WHAT COMMAND...``: run a command under a lock, and give its exit status."""
    path, what, *command = arguments
    try:
        with locked(Path(path), what):
            process = subprocess.Popen(command)
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            signal.signal(signal.SIGINT, lambda *_: None)  # the terminal interrupts the command as well
            return process.wait()
    except OtocError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
