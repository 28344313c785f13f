"""What TensorBoard shows of a run: event files in ``<run>/tensorboard``, beside the stages, which do not know them.

``<run>/tensorboard/<stage>`` holds the loss, the learning rate and the steps a second of a training,
``<run>/tensorboard/evaluate`` the mIoU of every iteration.
"""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError

FOLDER = "tensorboard"
MOST_POINTS = 1000  # of a curve of losses, about: TensorBoard shows no more of it either

Record = tuple[int, float, float, float]  # step, loss, learning rate, seconds since the training began


def check_tensorboard() -> None:
    """Raise OtocError where the package is missing that writes event files."""
    if importlib.util.find_spec("tensorboard") is None:
        raise OtocError(
            "tensorboard: true needs the package tensorboard; install it with pip install -e '.[tensorboard]', or set "
            "tensorboard: false"
        )


def log_of(run: Path, name: str, part: str = "") -> Any:
    """A writer of events into ``<run>/tensorboard/<name>``, in place of the one that an earlier call made.

    part: where several writers share a folder, which one it is.

    Raises:
        OtocError: TensorBoard is not installed.
    """
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter  # takes a second

    folder, suffix = run / FOLDER / name, f".{part or name}"
    for old in folder.glob(f"events.out.tfevents.*{suffix}"):
        old.unlink()
    return SummaryWriter(str(folder), filename_suffix=suffix)


class TrainingLog:
    """The curves of a training, written as it goes.

    They are a function of its history alone: a training that goes on from a checkpoint writes them anew from that
    checkpoint's, so that no step is missing and none is there twice.

    Args:
        folder: of the stage that is trained, in that of the run.
        steps: of the whole training. Points lie ``steps / MOST_POINTS`` apart, at least one step.
        begun: time of the clock when it began, less what it waited between its parts.
    """

    def __init__(self, folder: Path, steps: int, begun: float):
        self.writer = log_of(folder.parent, folder.name.removesuffix(".part"))
        self.every = max(1, steps // MOST_POINTS)
        self.begun, self.written = begun, 0  # records of the history that are in the log

    def follow(self, history: Sequence[Record]) -> None:
        """Write what has come to a history that begins with the first step."""
        while len(history) - self.written >= self.every:
            self._write(history, self.every)
        self.writer.flush()

    def close(self, history: Sequence[Record]) -> None:
        """Write also the steps since the last point."""
        self.follow(history)
        if left := len(history) - self.written:
            self._write(history, left)
        self.writer.close()

    def _write(self, history: Sequence[Record], count: int) -> None:
        """A point: the mean loss, the last rate and the mean speed of the next ``count`` records."""
        records = history[self.written : self.written + count]
        before = history[self.written - 1][3] if self.written else 0.0
        step, _, rate, seconds = records[-1]
        values = {"loss": sum(record[1] for record in records) / count, "learning_rate": rate}
        if seconds > before:
            values["steps_per_second"] = count / (seconds - before)
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step, self.begun + seconds)
        self.written += count


def log_evaluation(folder: Path, iteration: int, splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the mIoU of a stage ``evaluate_<k>``, by split and mode.

    Args:
        folder: of the stage, in that of the run.
        splits: as in its metrics.json.
    """
    writer = log_of(folder.parent, "evaluate", folder.name.removesuffix(".part"))
    for split, found in splits.items():
        for mode, values in found["modes"].items():
            writer.add_scalar(f"mIoU/{split}/{mode}", values["miou"], iteration, time.time())
    writer.close()
