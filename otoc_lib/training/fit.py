"""The training loop of both networks: seeded by step, resumable, and the same story for U-Net and relation net."""

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from otoc_lib.config import Config
from otoc_lib.device import choose_device
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.scene import Scene
from otoc_lib.training.batches import Batches, batch_loader
from otoc_lib.training.losses import class_weights, point_cross_entropy, relation_loss
from otoc_lib.training.optimizers import Schedule, learning_rate, new_optimizers
from otoc_lib.training.voxels import Batch

LossFunction = Callable[[nn.Module, Batch, torch.Generator], Tensor]


def train_unet(
    config: Config,
    scenes: list[Scene],
    labels: dict[str, np.ndarray],
    schedule: Schedule,
    folder: Path,
    iteration: int = 1,
    start: Path | None = None,
) -> None:
    """Train the 3D U-Net by cross entropy over the labelled points (eq. 1).

    Args:
        labels: int (N,) per scene name, with IGNORE.
        folder: receives weights.safetensors and history.csv.
        iteration: of Algorithm 1, part of the seed.
        start: weights to start from; None starts from random ones.
    """
    weights = class_weights(config, scenes, labels).to(choose_device(config))

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        _, logits = model(batch.voxels)
        return point_cross_entropy(logits, batch.labels, weights)

    model, seed = new_unet(config, len(scenes[0].label_set)), [config.seed, iteration, 0]
    fit(config, model, loss, scenes, labels, schedule=schedule, folder=folder, seed=seed, start=start)


def train_relation(
    config: Config,
    scenes: list[Scene],
    labels: dict[str, np.ndarray],
    schedule: Schedule,
    folder: Path,
    iteration: int = 1,
    start: Path | None = None,
) -> None:
    """Train the relation net and its prototypes by contrast over labelled super-voxels (eqs. 6 and 7).

    Arguments as in ``train_unet``.
    """

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return relation_loss(model, batch, config.relation_samples, generator)

    model, seed = new_relation_net(config, len(scenes[0].label_set)), [config.seed, iteration, 1]
    fit(config, model, loss, scenes, labels, schedule=schedule, folder=folder, seed=seed, start=start)


def fit(
    config: Config,
    model: nn.Module,
    loss_function: LossFunction,
    scenes: list[Scene],
    labels: dict[str, np.ndarray],
    schedule: Schedule,
    folder: Path,
    seed: list[int],
    start: Path | None = None,
) -> None:
    """Train ``model`` and leave weights.safetensors and history.csv (step, loss, lr, seconds) in ``folder``.

    A checkpoint in the folder, left by an interrupted call with the same arguments, is resumed from.
    """
    if not any((labels[scene.name] != IGNORE).any() for scene in scenes):
        raise OtocError("training: not one labelled point in any room; check the clicks and the class list")
    device = choose_device(config)
    if start is not None:
        model.load_state_dict(load_file(start))
    model.to(device).train()
    optimizers = new_optimizers(config, model, schedule.learning_rate)
    generator = torch.Generator()
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.precision]
    mixed = precision != torch.float32
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)

    checkpoint, history, first_step = folder / "checkpoint.pt", [], 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        scaler.load_state_dict(state["scaler"])
        history, first_step = state["history"], state["step"]

    steps = range(first_step, schedule.steps)
    loader = batch_loader(Batches(config, scenes, labels, seed), steps, config.workers, device)
    started = saved = time.perf_counter()
    spent = history[-1][3] if history else 0.0
    bar = tqdm(
        loader, total=schedule.steps, initial=first_step, desc=type(model).__name__, unit="step", file=sys.stderr,
        mininterval=5.0, dynamic_ncols=True,
    )  # fmt: skip
    for step, batch in enumerate(bar, start=first_step):
        rate = learning_rate(config, schedule, step)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        generator.manual_seed(int(np.random.SeedSequence([*seed, step]).generate_state(1)[0]))
        with torch.autocast(device.type, dtype=precision, enabled=mixed):
            loss = loss_function(model, batch.to(device), generator)
        model.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
        history.append([step, loss.detach(), rate, spent + time.perf_counter() - started])
        if time.perf_counter() - saved > config.checkpoint_seconds:
            history = _as_numbers(history)
            bar.set_postfix(loss=f"{history[-1][1]:.3f}", refresh=False)
            state = {
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "scaler": scaler.state_dict(),
                "history": history,
                "step": step + 1,
            }
            with write_aside(checkpoint) as aside:
                torch.save(state, aside)
            saved = time.perf_counter()

    history = _as_numbers(history)
    if not np.isfinite(history[-1][1]):
        raise OtocError("training: the loss is not finite; lower learning_rate or use precision: float32")
    with write_aside(folder / "history.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["step", "loss", "lr", "seconds"], *history])
    with write_aside(folder / "weights.safetensors") as aside:
        save_file({name: value.contiguous().cpu() for name, value in model.state_dict().items()}, aside)
    checkpoint.unlink(missing_ok=True)


def _as_numbers(history: list[list]) -> list[list]:
    """Losses as floats. They stay on the device until here, so that no step waits for it."""
    return [[step, float(loss), rate, round(seconds, 3)] for step, loss, rate, seconds in history]
