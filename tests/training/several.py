"""What one of several processes does in tests: ``python -m several FOLDER``, by ``launch``."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tiny import make_room, tiny_config, true_labels
from tiny_frames import camera, looking_along_x

from otoc_lib import processes
from otoc_lib.annotation.subclouds import cut_subclouds
from otoc_lib.datasets.frames import Frame
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.methods.gpfn import Projected
from otoc_lib.methods.mean_teacher import Taught
from otoc_lib.methods.mprm import RegionMining
from otoc_lib.methods.one_thing_one_click import Contrast
from otoc_lib.methods.pi_model import TwoViews
from otoc_lib.methods.xu import Weak
from otoc_lib.sparse import shared_norm
from otoc_lib.training.fit import fit
from otoc_lib.training.launch import work_together
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import WHOLE, CrossEntropy

TASKS = {  # name -> class, and parameters that it wants
    "unet": (CrossEntropy, {}),
    "relation": (Contrast, {}),
    "teacher": (Taught, {"method": "mean_teacher", "consistency_ramp": 0.0}),
    "views": (TwoViews, {"method": "pi_model", "consistency_ramp": 0.0}),
    "weak": (Weak, {"method": "xu", "weak_from": 0.0}),
    "images": (Projected, {"method": "gpfn", "source": "images", "images_root": "."}),
    "maps": (RegionMining, {"method": "mprm", "source": "subcloud", "subcloud_radius": 1.0, "balls_per_step": 4}),
}


class Film:
    """Two frames of a room of ``make_room``, each from another side; by a blind camera, of what lies behind it."""

    tolerance = 0.3

    def __init__(self, blind):
        self.blind = blind

    def __len__(self):
        return 2

    def __getitem__(self, k):
        generator, intrinsic = np.random.default_rng(k), camera((12, 16), 10.0)
        pose = looking_along_x((9.0 if self.blind else -2.0, 0.2 * k, 0.5))
        depth, classes = np.full((12, 16), 2.0, np.float32), generator.integers(0, 8, (12, 16)).astype(np.int16)
        return Frame(pose, depth, intrinsic, classes, intrinsic)


def to_double(batches):
    for batch in batches:
        batch = getattr(batch, "batch", batch)  # of what frames show
        batch.features = batch.features.double()


def in_double(kind):
    """The task with a network in float64."""

    class Double(kind):
        def __init__(self, config, scenes, labels):
            super().__init__(config, scenes, labels)
            self.model.double()
            if hasattr(self, "class_weights"):
                self.class_weights = self.class_weights.double()

        def survey(self, parts):
            for batches in parts:
                to_double(batches)
            return super().survey(parts)

        def loss(self, batches, step, generator, shares=WHOLE):
            to_double(batches)
            return super().loss(batches, step, generator, shares)

    return Double


def rooms_and_labels(unlabelled=()):
    rooms = [make_room(f"scene{index:04d}_00", seed=index, spacing=0.16) for index in range(5)]
    labels = true_labels(rooms)
    return rooms, labels | {rooms[index].name: labels[rooms[index].name] * 0 + IGNORE for index in unlabelled}


def train(job: dict) -> None:
    """Train as the job says, and leave the state of every process beside the history."""
    kind, wanted = TASKS[job["task"]]
    config = tiny_config(**{"batch_size": 4, **wanted, **job.get("values", {})})
    rooms, labels = rooms_and_labels(job.get("unlabelled", ()))
    if kind.learns_images:
        labels = {room.name: Film(index in job.get("blind", ())) for index, room in enumerate(rooms)}
    if kind.learns_sets:
        labels = {room.name: cut_subclouds(room, config.subcloud_radius) for room in rooms}
    task = (in_double(kind) if job.get("double") else kind)(config, rooms, labels)
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    after_step = task.after_step

    def disturbed(step: int) -> None:
        after_step(step)
        if step == job.get("at"):
            disturb(job["how"], folder)

    task.after_step = disturbed
    schedule, seed = Schedule(job.get("steps", 20), job.get("rate", 1e-3)), [config.seed, 1, task.stream]
    fit(config, task, rooms, labels, schedule=schedule, folder=folder, key="k", seed=seed)
    state = {name: value.contiguous() for name, value in task.model.state_dict().items()}
    save_file(state, folder / f"state{processes.rank()}")


def disturb(how: str, folder: Path) -> None:
    """What may come in between, in the middle of a step."""
    if how == "wait":  # for whoever kills the parent
        (folder / f"process{processes.rank()}").write_text(str(os.getpid()))
        time.sleep(600)
    elif how.startswith("SIG"):
        if processes.rank() == 0:
            os.kill(os.getppid(), getattr(signal, how))
        time.sleep(2)  # until it has come back
    elif processes.rank() == 1:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OtocError("this cannot be used; use another") if how == "refuse" else ZeroDivisionError("on purpose")


def normalise(job: dict) -> None:
    """Batch normalisation of the rows that the first process has, and of those that the others have."""
    x, dy, weight, bias, mean, variance = tensors_to_normalise()
    rows = [slice(0, 3), slice(3, None)][processes.rank()]
    x, weight, bias = (t.detach().requires_grad_() for t in (x[rows], weight, bias))
    y = shared_norm.batch_norm(x, mean, variance, weight, bias, momentum=0.1, eps=1e-4, relu=True)
    gradients = torch.autograd.grad(y, (x, weight, bias), dy[rows])
    names = ("y", "mean", "variance", "dx", "dweight", "dbias")
    found = dict(zip(names, (y.detach(), mean, variance, *gradients), strict=True))
    save_file(found, Path(job["folder"]) / f"norm{processes.rank()}")


def tensors_to_normalise():
    """x [20, 5] far from zero, its gradient, weight, bias and running statistics [5], float64."""
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 20, 5, generator=generator, dtype=torch.float64)
    weight, bias, mean, variance = (t.clone() for t in torch.randn(4, 5, generator=generator, dtype=torch.float64))
    return 1000 + x, dy, weight, bias, mean, variance.exp()


def work(job: dict) -> None:
    for one in job["jobs"]:
        (normalise if one["task"] == "norm" else train)(one)


if __name__ == "__main__":
    work_together(work)
