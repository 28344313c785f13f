"""Whether a reader kept its promise about one file, and the smallest file that still breaks it."""

import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from otoc_lib.errors import OtocError

# Memory that reading may take, traced by Python: what a file of its size may cost, and what unpacking xz needs.
MOST_BYTES, MOST_TIMES = 100 << 20, 1000


@dataclass(frozen=True)
class Finding:
    """What a reader did that it may not. Findings of one ``kind`` have one cause."""

    kind: str  # fit for a file's name
    text: str


@contextmanager
def quiet(measured: bool = True) -> Iterator[None]:
    """Warnings are not shown in the block around ``examine``; and memory is measured, which takes thrice the time."""
    if measured:
        tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tracemalloc.stop()


def examine(read: Callable[[Path, bytes], None], folder: Path, data: bytes) -> Finding | None:
    """Read the bytes as a file: nothing raised is fine, and so is OtocError if it names the file; else a finding."""
    before, _ = tracemalloc.get_traced_memory()  # zeros where memory is not measured
    tracemalloc.reset_peak()
    try:
        read(folder, data)
        finding = None
    except OtocError as error:
        finding = _check(error, folder)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever it is, it should not have come here
        finding = _raised(error)
    taken = tracemalloc.get_traced_memory()[1] - before
    if finding is None and taken > MOST_BYTES + MOST_TIMES * len(data):
        finding = Finding("allocates", f"takes {taken} bytes of memory for a file of {len(data)}")
    return finding


def minimise(data: bytes, breaks: Callable[[bytes], bool], seconds: float = 20.0) -> bytes:
    """The bytes without all that can be left out and still ``breaks``; as far as that goes in the time given."""
    size, end = len(data), time.monotonic() + seconds
    while size := size // 2:
        start = 0
        while start < len(data) and time.monotonic() < end:
            shorter = data[:start] + data[start + size :]
            if breaks(shorter):
                data = shorter
            else:
                start += size
    return data


def _check(error: OtocError, folder: Path) -> Finding | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            return Finding("allocates", f"hides {cause!r} behind {error}")
        cause = cause.__cause__ or cause.__context__
    if str(folder) not in str(error):
        return Finding("names_no_file", f"the message names no file: {error}")
    return None


def _raised(error: BaseException) -> Finding:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "otoc_lib" in frame.filename]
    place = f"{Path(frames[-1].filename).stem}_{frames[-1].name.strip('<>')}" if frames else "elsewhere"
    lines = "".join(traceback.format_exception(error))
    return Finding(f"{type(error).__name__}_{place}", lines[-3000:])
