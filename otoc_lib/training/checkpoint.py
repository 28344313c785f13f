"""What an interrupted training goes on from, and the signals at which it saves that.

A checkpoint begins with the SHA-256 of the rest, which is torch's format: damage is noticed, and code in it is never
executed. The one before is kept beside it until a training is finished, for the case that the last one is damaged.
"""

import contextlib
import hashlib
import io
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from otoc_lib.files import write_bytes

DIGEST = hashlib.sha256().digest_size


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write the state of a training, and keep the one that was saved before as ``<name>.previous``.

    key: of the stage that is trained; ``load_checkpoint`` gives the state back for that alone.
    """
    buffer = io.BytesIO()  # torch writes a file past Python, which then knows nothing of a full disk
    torch.save({"key": key, **state}, buffer)
    data = buffer.getbuffer()
    if path.is_file():
        os.replace(path, _previous(path))
    write_bytes(path, hashlib.sha256(data).digest() + data)


def load_checkpoint(path: Path, key: str, device: torch.device) -> dict[str, Any] | None:
    """The state that was saved last for the stage ``key``; None if there is none.

    One that is damaged, or of another stage, is set aside as ``<name>.damaged``, with a warning, for the one before it.
    """
    for candidate in (path, _previous(path)):
        if not candidate.is_file():
            continue
        try:
            data = candidate.read_bytes()
            if hashlib.sha256(memoryview(data)[DIGEST:]).digest() != data[:DIGEST]:
                raise ValueError("it is not what was written")
            state = torch.load(io.BytesIO(data[DIGEST:]), weights_only=True, map_location=device)
            if state["key"] != key:
                raise ValueError(f"it belongs to the stage with the key {state['key']}, not {key}")
            return state
        except Exception as error:  # torch's reader raises whatever its parts do, also for a file with a right hash
            damaged = candidate.with_name(f"{candidate.name}.damaged")
            os.replace(candidate, damaged)
            # What torch says of such a file ends in advice to execute it.
            cause = "it is none" if isinstance(error, pickle.UnpicklingError) else str(error).split("\n")[0]
            warnings.warn(
                f"{candidate}: cannot be resumed from ({cause}); it is set aside as {damaged.name}, and the training "
                "goes on from the checkpoint before it, or begins again",
                stacklevel=2,
            )
    return None


def remove_checkpoints(path: Path) -> None:
    for old in (path, _previous(path), *path.parent.glob(f"{path.name}*.damaged")):
        old.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


class Asked:
    """The signals that a training was sent: what it has to do about them at the end of a step."""

    def __init__(self) -> None:
        self.to_save, self.to_stop = False, 0

    def stop(self) -> None:
        """Stop as the signal does where nobody waits for it: KeyboardInterrupt for an interrupt, else SystemExit."""
        if self.to_stop == signal.SIGINT:
            raise KeyboardInterrupt
        if self.to_stop:
            raise SystemExit(128 + self.to_stop)


@contextlib.contextmanager
def signals_asked(tell: Callable[[int], None] = lambda number: None) -> Iterator[Asked]:
    """Note SIGTERM and SIGINT (save and stop) and SIGUSR1 (save and go on; Slurm sends it before the time is up).

    A second SIGINT does at once what it does elsewhere; SIGTERM is repeated by clusters and means the same each time.
    Only the main thread can note signals.

    tell: is called with each that is noted.
    """
    asked = Asked()
    before: dict[int, Any] = {}

    def note(number: int, _: Any) -> None:
        asked.to_save = True
        tell(number)
        if number in (signal.SIGINT, signal.SIGTERM):
            asked.to_stop = number
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
        before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
