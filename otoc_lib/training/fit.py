"""The training loop, the same for every network: seeded by step, resumable, and it stops where the loss diverges.

Several processes run it together (``processes.py``): each has a part of every batch, what they add up is the gradient
of the whole, and the first one alone writes.
"""

import csv
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from otoc_lib import processes
from otoc_lib.config import Config
from otoc_lib.device import choose_device, deterministic
from otoc_lib.errors import OtocError
from otoc_lib.files import holds, metadata_of, write_aside, write_bytes
from otoc_lib.models.recompute import recompute_activations
from otoc_lib.models.unet import BatchNorm
from otoc_lib.scene import Scene
from otoc_lib.training.batches import Parts, batch_loader
from otoc_lib.training.checkpoint import Asked, load_checkpoint, remove_checkpoints, save_checkpoint, signals_asked
from otoc_lib.training.event_files import Record, TrainingLog
from otoc_lib.training.memory import telling_out_of_memory
from otoc_lib.training.optimizers import Schedule, learning_rate, new_optimizers
from otoc_lib.training.task import WHOLE, Task

LOG_STEPS = 50  # between looks at the losses: they stay on the device until then, so that no step waits for it

DIVERGED = "training diverged: {}; lower learning_rate or use precision: float32"


def fit(
    config: Config,
    task: Task,
    scenes: list[Scene],
    labels: Mapping[str, Any],
    *,
    schedule: Schedule,
    folder: Path,
    key: str,
    seed: list[int],
    warm_start: dict[str, Tensor] | None = None,
) -> None:
    """Train the model of a task and leave weights.safetensors and history.csv (step, loss, lr, seconds) in ``folder``.

    With ``tensorboard`` its curves are in the run's event files, too (``training/event_files.py``).
    A checkpoint in the folder, left by an interrupted call with the same key, is resumed from. One is saved every
    ``checkpoint_seconds`` and at the signals of ``training/checkpoint.py``.

    Args:
        labels: int (N,) per scene name, with IGNORE; or what else the task learns.
        schedule: how long and how fast.
        key: stands for the arguments of this call.
        seed: of the batches and of the task's generator.
        warm_start: weights to start from; None starts from the model's own.

    Raises:
        OtocError: there is no label, or a loss or a weight is not finite. That is noticed within LOG_STEPS, and neither
            weights nor a checkpoint are written then. Or memory does not suffice.
    """
    batches = Parts(task.batches(scenes, labels, seed), config.accumulate)
    checkpoint, weights_path = folder / "checkpoint", folder / "weights.safetensors"
    if holds(weights_path, key):  # written last: an earlier call was stopped between them and the end of the stage
        remove_checkpoints(checkpoint)
        return
    device, model = choose_device(config), task.model
    if warm_start is not None:
        model.load_state_dict(warm_start)
    model.to(device).train()
    first, divided = processes.rank() == 0, batches.parts > 1
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.shared = config.sync_batch_norm
    if config.checkpoint_activations:
        recompute_activations(model)
    optimizers = new_optimizers(config, model, schedule.learning_rate)
    generator = torch.Generator()
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.precision]
    mixed = precision != torch.float32
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)

    history, first_step = [], 0
    state = load_checkpoint(checkpoint, key, device) if first else None
    processes.wait()  # until the first one has set aside what is damaged
    state = state if first else load_checkpoint(checkpoint, key, device)
    if state is not None:
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        scaler.load_state_dict(state["scaler"])
        history, first_step = state["history"], state["step"]

    loader = batch_loader(batches, range(first_step, schedule.steps), config.workers, device)
    recent: list[tuple[int, Tensor, float, float]] = []  # records of which the loss is not looked at yet
    started = saved = time.perf_counter()
    spent = history[-1][3] if history else 0.0
    log = TrainingLog(folder, schedule.steps, time.time() - spent) if config.tensorboard and first else None
    bar = tqdm(
        loader, total=schedule.steps, initial=first_step, desc=type(model).__name__, unit="step", file=sys.stderr,
        mininterval=5.0, dynamic_ncols=True, disable=not first,
    )  # fmt: skip

    def save() -> None:
        if first:
            state = {
                "model": _finite_state(task),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "scaler": scaler.state_dict(),
                "history": history,
                "step": len(history),
            }
            save_checkpoint(checkpoint, key, state)

    with (
        signals_asked() as asked,
        deterministic(config),
        telling_out_of_memory(config, f"training {type(model).__name__}"),
    ):
        for step, parts in enumerate(_until_stopped(bar, asked), start=first_step):
            rate = learning_rate(config, schedule, step)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            model.zero_grad(set_to_none=True)
            parts = [[batch.to(device) for batch in views] for views in parts]
            loss = torch.zeros((), device=device)
            for views, shares in zip(parts, task.survey(parts) if divided else [WHOLE], strict=True):
                generator.manual_seed(int(np.random.SeedSequence([*seed, step]).generate_state(1)[0]))
                with torch.autocast(device.type, dtype=precision, enabled=mixed):
                    of_part = task.loss(views, step, generator, shares)
                scaler.scale(of_part).backward()
                loss = loss + of_part.detach()
            processes.add_up_gradients(model.parameters())
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
            task.after_step(step)
            if not config.sync_batch_norm:  # as torch's DistributedDataParallel does
                processes.take_from_first(model.buffers())
            recent.append((step, processes.total(loss), rate, spent + time.perf_counter() - started))
            due = int(asked.to_save or (first and time.perf_counter() - saved > config.checkpoint_seconds))
            if processes.count() > 1:  # a signal may reach some of them a step later
                due, asked.to_stop = processes.largest([due, asked.to_stop])
            if due or len(recent) == LOG_STEPS:
                history += _finite(recent)
                recent = []
                if log:
                    log.follow(history)
                bar.set_postfix(loss=f"{history[-1][1]:.3f}", refresh=False)
            if due:
                save()
                saved, asked.to_save = time.perf_counter(), False
                asked.stop()
        history += _finite(recent)
        if len(history) < schedule.steps:  # no batch came
            save()
            asked.stop()

    if not first:
        return
    if log:
        log.close(history)
    weights = {name: value.contiguous().cpu() for name, value in _finite_state(task).items()}
    with write_aside(folder / "history.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["step", "loss", "lr", "seconds"], *history])
    write_bytes(weights_path, safetensors.torch.save(weights, metadata_of({"key": key})))
    remove_checkpoints(checkpoint)
    asked.stop()


def _until_stopped(batches: Iterable[Any], asked: Asked) -> Iterator[Any]:
    """The batches, up to one that fails to come since the process is to stop: what stops it may end its workers first.

    A kernel of Jupyter that is shut down does so. Where several processes train, the others would wait for this one.
    """
    try:
        yield from batches
    except Exception:
        if not asked.to_stop or processes.count() > 1:
            raise


def _finite(records: list[tuple[int, Tensor, float, float]]) -> list[Record]:
    """The records with their losses as numbers; OtocError naming the first step whose loss is none."""
    numbers = [(step, float(loss), rate, round(seconds, 3)) for step, loss, rate, seconds in records]
    for step, loss, rate, _ in numbers:
        if not np.isfinite(loss):
            raise OtocError(DIVERGED.format(f"the loss of step {step} is {loss}, at a learning rate of {rate:g}"))
    return numbers


def _finite_state(task: Task) -> dict[str, Any]:
    """The state of the model; OtocError naming a tensor of it that holds NaN or infinity."""
    state = task.model.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise OtocError(DIVERGED.format(f"{name} holds values that are not finite"))
    return state
