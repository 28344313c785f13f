"""Several processes that do one work together, one for each GPU, started by torch's elastic launcher.

What they have to do is a file of JSON, and they are processes of Python with a module of the kit, so that they can be
started from anywhere: a notebook, a script, a prompt. ``launch`` waits for them. A signal that it gets reaches them;
where one dies the others are ended; and where it dies itself, they end themselves.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from otoc_lib import processes
from otoc_lib.errors import OtocError
from otoc_lib.files import write_json
from otoc_lib.training.checkpoint import Asked, signals_asked

JOB, SIGNALS, ERROR, LOGS = "job.json", "signals", "error.", "logs"  # in the folder that they share; errors by rank
SAID = 2000  # characters of what a process said last, where it died without a word to its parent
LOOK_SECONDS = 0.2  # between a process's looks at its parent and the signals that this got


def launch(module: str, job: dict[str, Any], devices: int, what: str, on_cuda: bool) -> None:
    """Run ``python -m <module>`` in so many processes, which call ``work_together``, and wait until they are done.

    Args:
        job: what they have to do, for JSON.
        what: is made, for the messages.
        on_cuda: whether each computes on a GPU of its own.

    Raises:
        OtocError: what one of them raised as such; or one died, with its traceback.
        KeyboardInterrupt, SystemExit: a signal said so, and they have stopped, too.
    """
    with tempfile.TemporaryDirectory(prefix="otoc_") as name, _forwarded(Path(name) / SIGNALS) as asked:
        folder = Path(name)
        write_json(folder / JOB, {"on_cuda": on_cuda, "job": job})
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            run_id=folder.name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            # What all of them say the first one says.
            logs_specs=DefaultLogsSpecs(
                log_dir=str(folder / LOGS), redirects={rank: Std.ERR for rank in range(1, devices)}
            ),
            signals_to_handle="SIGHUP",  # the others are ours
        )
        try:
            elastic_launch(config, sys.executable)("-m", module, name)
        except ChildFailedError as error:
            asked.stop()
            raise OtocError(f"{what}: {_cause(folder, error, devices)}") from None
        asked.stop()


def work_together(work: Callable[[dict[str, Any]], None]) -> None:
    """What a module does that ``launch`` runs: ``work(job)``, together with the other processes."""
    folder, error = Path(sys.argv[1]), Path(sys.argv[1]) / f"{ERROR}{os.environ['RANK']}"
    for number in _numbers("SIGUSR1"):
        signal.signal(number, signal.SIG_IGN)  # until a training notes it
    threading.Thread(target=_follow, args=(folder / SIGNALS, os.getppid()), daemon=True).start()
    _share_processors(int(os.environ["LOCAL_WORLD_SIZE"]))
    asked = json.loads((folder / JOB).read_text(encoding="utf-8"))
    try:
        with processes.gathered(asked["on_cuda"]):
            work(asked["job"])
    except (KeyboardInterrupt, SystemExit):  # a signal, of which the parent knows
        sys.stderr.flush()
        os._exit(0)
    except BaseException as fault:
        refused = isinstance(fault, OtocError)
        text = str(fault) if refused else traceback.format_exc()
        write_json(error, {"when": time.time_ns(), "refused": refused, "text": text})
        sys.stderr.flush()
        os._exit(1)  # at once: threads of a library may wait for processes that are no more


def _cause(folder: Path, error: ChildFailedError, devices: int) -> str:
    """Why a process failed that failed first; the others then did for want of it."""
    killed = [(rank, f) for rank, f in error.failures.items() if f.exitcode < 0 and f.exitcode != -signal.SIGTERM]
    told = []
    for path in folder.glob(f"{ERROR}*"):
        with contextlib.suppress(ValueError):  # it died while writing
            told.append((json.loads(path.read_text(encoding="utf-8")), path.name.removeprefix(ERROR)))
    told.sort(key=lambda pair: pair[0]["when"])
    if killed:
        rank, failure = killed[0]
        name, said = signal.Signals(-failure.exitcode).name, _said(folder, rank)
        return (
            f"process {rank} of {devices} was killed by {name}, and the others were ended; a machine does that whose "
            f"memory is full. Run the same again: a training goes on from its checkpoint{said}"
        )
    if not told:
        rank, failure = error.get_first_failure()
        return f"process {rank} of {devices} died with the exit status {failure.exitcode}{_said(folder, rank)}"
    first, by = told[0]
    return first["text"] if first["refused"] else f"process {by} of {devices} died:\n{first['text']}"


def _said(folder: Path, rank: int) -> str:
    """What a process wrote to stderr last; of the first one that was shown."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in folder.glob(f"{LOGS}/**/{rank}/stderr.log")]
    text = "".join(texts).strip()
    return f"; it said last:\n{text[-SAID:]}" if text else ""


@contextlib.contextmanager
def _forwarded(path: Path) -> Iterator[Asked]:
    """Note the signals of ``signals_asked``, and tell the processes of them by a line each in a file."""

    def tell(number: int) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{number}\n")

    ours = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _numbers("SIGHUP")}
    try:
        with signals_asked(tell) as asked:
            yield asked
    finally:
        for number, handler in before.items() if ours else ():  # the launcher leaves its own
            signal.signal(number, handler)


def _follow(signals: Path, parent: int) -> None:
    """Give this process the signals that its parent notes in a file, and end it where the parent is no more."""
    seen = 0
    while os.getppid() == parent:
        if signals.exists():
            numbers = signals.read_text(encoding="utf-8").split("\n")[:-1]
            for number in numbers[seen:]:
                os.kill(os.getpid(), int(number))
            seen = len(numbers)
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _share_processors(count: int) -> None:
    """Let so many processes of this machine have a part of its processors each."""
    own = max(1, processes.processors() // count)
    torch.set_num_threads(min(own, torch.get_num_threads()))
    numba.set_num_threads(min(own, numba.get_num_threads()))


def _numbers(name: str) -> list[int]:
    """The signal of that name, where the system has it."""
    return [getattr(signal, name)] if hasattr(signal, name) else []
