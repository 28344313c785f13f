"""Train a network in one of several processes, and note how it went: ``python -m several FOLDER``, by ``launch``."""

import os
import signal
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import make_room, tiny_config, true_labels

from otoc_lib import processes
from otoc_lib.methods.mean_teacher import Taught
from otoc_lib.methods.one_thing_one_click import Contrast
from otoc_lib.methods.xu import Weak
from otoc_lib.models.unet import BatchNorm
from otoc_lib.training.fit import fit
from otoc_lib.training.launch import work_together
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import WHOLE, CrossEntropy

METHODS = {Taught: {"method": "mean_teacher"}, Weak: {"method": "xu", "weak_from": 0.0}}
TASKS = {kind.__name__: kind for kind in (CrossEntropy, Contrast, Taught, Weak)}


def in_double(kind):
    """The task with a network in float64."""

    class Double(kind):
        def __init__(self, config, scenes, labels):
            super().__init__(config, scenes, labels)
            self.model.double()
            if hasattr(self, "class_weights"):
                self.class_weights = self.class_weights.double()

        def loss(self, batches, step, generator, shares=WHOLE):
            for batch in batches:
                batch.features = batch.features.double()
            return super().loss(batches, step, generator, shares)

    Double.__name__ = kind.__name__
    return Double


def train(job: dict) -> None:
    """Train as the job says: task, values of parameters, steps, rate, whether in float64, and the folder."""
    rooms = [make_room(f"scene{index:04d}_00", seed=index, spacing=0.16) for index in range(5)]
    kind = TASKS[job["task"]]
    config = tiny_config(**{"batch_size": 4, **METHODS.get(kind, {}), **job.get("values", {})})
    labels = true_labels(rooms)
    if job.get("unlabelled"):  # of one process in some steps not one point has a label
        labels = {name: of_room if index < 2 else of_room * 0 - 100 for index, (name, of_room) in enumerate(labels.items())}
    task = (in_double(kind) if job.get("double") else kind)(config, rooms, labels)
    after_step = task.after_step

    def disturbed(step: int) -> None:
        after_step(step)
        if job.get("at") == step:
            if job["how"] == "parent":
                os.kill(os.getppid(), getattr(signal, job["signal"]))
            elif processes.rank() == 1:
                if job["how"] == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise {"crash": ZeroDivisionError, "refuse": ValueError}[job["how"]]("on purpose")

    task.after_step = disturbed
    if job.get("momentum"):
        for module in task.model.modules():
            if isinstance(module, BatchNorm):
                module.momentum = job["momentum"]
    folder = Path(job["folder"])
    seed = [config.seed, 1, task.stream]
    schedule = Schedule(job.get("steps", 20), job.get("rate", 1e-4))
    fit(config, task, rooms, labels, schedule=schedule, folder=folder, key="k", seed=seed)
    state = {name: value.contiguous() for name, value in task.model.state_dict().items()}
    save_file(state, folder / f"state{processes.rank()}")
    torch.manual_seed(0)


if __name__ == "__main__":
    work_together(train)
