"""The training loop of both networks: seeded by step, resumable, and the same story for U-Net and relation net."""

import csv
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from otoc_lib.config import Config
from otoc_lib.device import choose_device
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE
from otoc_lib.models.relation import RelationNet, sample_supervoxels
from otoc_lib.models.unet import UNet
from otoc_lib.scene import Scene
from otoc_lib.training.muon import Muon
from otoc_lib.training.voxels import Batch, VoxelLabels, make_batch, send, training_sample

LossFunction = Callable[[nn.Module, Batch, torch.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one network is trained in one iteration."""

    steps: int
    learning_rate: float


class Batches(Dataset):
    """Batch number ``step`` of a training run, a pure function of the seed and the step: a resumed run equals one
    that was never interrupted, whatever the number of worker processes."""

    def __init__(self, config: Config, scenes: list[Scene], labels: dict[str, np.ndarray], seed: list[int]) -> None:
        self.config, self.scenes, self.labels, self.seed = config, scenes, labels, seed
        self.batch_size = min(config.batch_size, len(scenes))
        self.per_epoch = len(scenes) // self.batch_size

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.per_epoch)
        order = np.random.default_rng([*self.seed, epoch]).permutation(len(self.scenes))
        samples = []
        for index in order[position * self.batch_size : (position + 1) * self.batch_size]:
            scene = self.scenes[index]
            generator = np.random.default_rng([*self.seed, epoch, int(index)])
            samples.append(training_sample(scene, self.labels[scene.name], self.config, generator))
        return make_batch(samples, self.config.sparse_backend)


def batch_loader(batches: Batches, steps: range, workers: int, device: torch.device) -> DataLoader:
    """The batches of some steps in order, made ahead by worker processes, or here and now where there are none."""
    return DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=device.type == "cuda")


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

    model, seed = new_unet(config, scenes[0]), [config.seed, iteration, 0]
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

    model, seed = new_relation_net(config, scenes[0]), [config.seed, iteration, 1]
    fit(config, model, loss, scenes, labels, schedule=schedule, folder=folder, seed=seed, start=start)


def point_cross_entropy(logits: Tensor, labels: VoxelLabels, weights: Tensor) -> Tensor:
    """Cross entropy over labelled points, weighted by class; 0, not NaN, where a batch has no label.

    Points of one voxel and class have the same loss: it is computed once and counted for each of them.

    Args:
        logits: [V, C] of the voxels; weights: [C] in the precision of the loss.
    """
    rows = functional.embedding(labels.voxels, logits).to(weights.dtype)  # [K, C]
    losses = functional.nll_loss(functional.log_softmax(widened(rows), 1), labels.classes, reduction="none")  # [K]
    weight = labels.points * functional.embedding(labels.classes, weights[:, None]).squeeze(1)  # [K]
    return (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def widened(logits: Tensor) -> Tensor:
    """Logits [K, C] with at least 16 columns, the new ones -inf, which changes no probability.

    On the CPU, PyTorch's softmax over fewer columns than a vector holds takes ten times as long.
    """
    missing = 16 - logits.shape[1]
    return functional.pad(logits, (0, missing), value=-torch.inf) if missing > 0 else logits


def relation_loss(model: RelationNet, batch: Batch, per_class: int, generator: torch.Generator) -> Tensor:
    """Cross entropy of f.k/tau over super-voxels drawn evenly from the classes present, then the prototype update.

    Returns 0, and leaves the prototypes alone, where a batch has no label.
    """
    classes = batch.supervoxels.labels
    labelled = torch.nonzero(classes != IGNORE).squeeze(1)
    drawn = labelled[sample_supervoxels(classes[labelled], per_class, generator)]
    embeddings = model(batch.voxels)  # [V, D]
    if len(drawn) == 0:
        return embeddings.sum() * 0.0
    pooled = batch.supervoxels.pool(embeddings.to(model.prototypes.dtype), drawn)
    sampled, targets = functional.normalize(pooled, dim=1), send(classes[drawn], pooled.device)
    loss = functional.cross_entropy(model.logits(sampled), targets)
    if model.training:
        model.update_prototypes(sampled.detach(), targets)
    return loss


def class_weights(config: Config, scenes: list[Scene], labels: dict[str, np.ndarray]) -> Tensor:
    """Weights of the cross entropy, float32 [C]: ones, or 1/sqrt(frequency) among the labels in use with mean 1."""
    num_classes = len(scenes[0].label_set)
    if config.class_weights == "none":
        return torch.ones(num_classes)
    counts = np.zeros(num_classes)
    for scene in scenes:
        used = labels[scene.name]
        counts += np.bincount(used[used != IGNORE], minlength=num_classes)
    weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0)
    return torch.tensor(weights / weights[counts > 0].mean(), dtype=torch.float32)


def new_unet(config: Config, scene: Scene) -> UNet:
    """An untrained U-Net for the classes of ``scene``, with random weights of its own seed."""
    torch.manual_seed(config.seed)
    return UNet(6, config.unet_width, config.unet_levels, config.unet_blocks, num_classes=len(scene.label_set))


def new_relation_net(config: Config, scene: Scene) -> RelationNet:
    """An untrained relation net for the classes of ``scene``, with random weights and prototypes of its own seed."""
    torch.manual_seed(config.seed + 1)
    return RelationNet(
        6,
        config.unet_width,
        config.unet_levels,
        config.unet_blocks,
        num_classes=len(scene.label_set),
        dim=config.relation_dim,
        temperature=config.temperature,
        momentum=config.prototype_momentum,
    )


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


def new_optimizers(config: Config, model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Adam for all parameters, or Muon for the convolutions and Adam for the others."""
    parameters = list(model.parameters())
    convolutions = [p for p in parameters if p.ndim == 3] if config.optimizer == "muon" else []
    others = [p for p in parameters if p.ndim != 3] if convolutions else parameters
    fused = others[0].device.type in ("cpu", "cuda")  # one pass over the parameters, equal to rounding
    adam = torch.optim.Adam(others, lr=rate, fused=fused)
    return [Muon(convolutions, rate), adam] if convolutions else [adam]


def learning_rate(config: Config, schedule: Schedule, step: int) -> float:
    """``halving``: lr * 0.5 ** (step // halve_every), at least 1e-6 (the authors').

    ``one_cycle``: a linear rise over the first fifth from a tenth of the peak, then a cosine to a thousandth of it.
    """
    peak = schedule.learning_rate
    if config.schedule == "halving":
        return max(peak * 0.5 ** (step // config.halve_every), 1.0e-6)
    progress = step / max(schedule.steps - 1, 1)
    if progress < 0.2:
        return peak * (0.1 + 0.9 * progress / 0.2)
    return peak * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8)))
