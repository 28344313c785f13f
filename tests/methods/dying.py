"""A tiny experiment in processes of their own that are killed, or kill themselves at a given change of the disk."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from numba.core.registry import cpu_target
from tiny import make_room
from tiny_experiment import tiny_experiment

from otoc_lib.methods.stages import Scenes, run_method
from otoc_lib.training.task import CrossEntropy

IMPORTED_BY = os.getpid()
cpu_target.target_context.refresh()  # numba imports half of itself when it loads the first compiled function
STEPS = {"unet_steps": 2, "unet_steps_later": 1, "relation_steps": 1, "relation_steps_later": 1, "threshold": 0.1}


def start(
    folder: Path, kill_at: int | None = None, *, logs: Path | None = None, slow: bool = False, **values
) -> multiprocessing.Process:
    """Run the experiment in another process, which has imported all that it needs.

    Args:
        folder: the project to run it in, made where it is missing.
        kill_at: die after so many changes of the disk.
        logs: where <process>.log gets what the process says; None for ``folder``.
        slow: take a while for every training step.
        values: parameters.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dying", "torch._dynamo"])  # PyTorch's optimizers import the latter
    process = context.Process(target=_run, args=(folder, kill_at, logs or folder, slow, values))
    process.start()
    return process


def _run(folder: Path, kill_at: int | None, logs: Path, slow: bool, values: dict) -> None:
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    (folder / "params").mkdir(exist_ok=True)
    os.chdir(folder)
    output = (logs / f"{os.getpid()}.log").open("w")
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    assert os.getpid() != IMPORTED_BY, "the server of processes did not import this; each would, for seconds"
    _die_after(kill_at)
    if slow:
        CrossEntropy.after_step = _dawdle
    rooms = [make_room(f"scene{index:04d}_00", seed=index, spacing=0.16) for index in range(3)]
    config = tiny_experiment(**{"checkpoint_seconds": 0.0, **STEPS, **values})
    for done in run_method(config, Scenes(train=rooms[:2], evaluation={"val": rooms[1:]})):
        print(done.evaluation.path)
    sys.stdout.flush()


def _dawdle(task: CrossEntropy, step: int) -> None:
    print(f"step {step} is done", flush=True)
    time.sleep(2.0)


def _die_after(count: int | None) -> None:
    """Die by SIGKILL right after so many changes of the disk: a file or folder gets its name or loses it.

    What is written under .locks is not counted: a process that finds everything finished writes there, too.
    """
    made = 0

    def counted(original):
        def change(*arguments, **options):
            nonlocal made
            result = original(*arguments, **options)
            if not any(".locks" in str(argument) for argument in arguments):
                made += 1
                if made == count:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return change

    for name in ("replace", "unlink", "rename", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    Path.unlink, Path.rename = (lambda self, missing_ok=False: _unlink(self, missing_ok)), os.rename
    shutil.rmtree = _rmtree  # the library's works in open folders, past these functions


def _unlink(path: Path, missing_ok: bool) -> None:
    if path.exists() or not missing_ok:
        os.unlink(path)


def _rmtree(folder: Path, ignore_errors: bool = False) -> None:
    if ignore_errors and not Path(folder).exists():
        return
    for path in sorted(Path(folder).rglob("*"), reverse=True):
        os.rmdir(path) if path.is_dir() else os.unlink(path)
    os.rmdir(folder)


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file of the runs by its path, without locks and without times and configs."""
    return {
        path.relative_to(folder / "runs").as_posix(): hashlib.sha256(_timeless(path)).hexdigest()
        for path in sorted((folder / "runs").rglob("*"))
        if path.is_file() and ".locks" not in path.parts
    }


def _timeless(path: Path) -> bytes:
    data = path.read_bytes()
    match path.name:
        case "history.csv":
            return b"\n".join(line.rpartition(b",")[0] for line in data.splitlines())
        case "manifest.json" | "begun.json":
            noted = json.loads(data)
            # The config is that of whoever made or found the stage first, of which a key names what the stage reads.
            noted = {name: value for name, value in noted.items() if name not in ("seconds", "finished", "config")}
            noted.get("files", {}).pop("history.csv", None)
            return json.dumps(noted).encode()
    return data
