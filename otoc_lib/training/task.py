"""What a network is trained for: a task is all that ``fit`` knows of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from otoc_lib import processes
from otoc_lib.config import Config
from otoc_lib.device import choose_device
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.models.build import new_unet
from otoc_lib.models.weights import initial_state
from otoc_lib.scene import Scene
from otoc_lib.training.batches import Batches
from otoc_lib.training.losses import class_weights, coarse_loss, labelled_weight, point_cross_entropy
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.voxels import Batch

Labels = Mapping[str, np.ndarray]  # scene name -> int16 (N,), class index or IGNORE
Shares = Mapping[str, Any]  # what a part of a step's batch has of all that each mean of the loss is over, 0 to 1
WHOLE: Shares = defaultdict(lambda: 1.0)  # of the part that is all of it


class Task:
    """A model and what is done with it in a step.

    Everything that changes from step to step belongs to ``model``, as parameters or buffers: checkpoints hold its state
    and nothing else. A teacher is a part of the model whose parameters do not require gradients. A config is one of the
    method, with the ``Parameters`` that it adds.
    """

    version: ClassVar[int] = 1  # part of the key of what is trained; raise it when the code below changes its meaning
    reads: ClassVar[tuple[str, ...]] = ()  # groups of parameters, beside "network" and "training"
    stream: ClassVar[int] = 0  # of random numbers: networks of one method that differ in it see other augmentations
    views: ClassVar[int] = 1  # batches a step: differently augmented, of the same points in the same order
    learns_sets: ClassVar[bool] = False  # its labels are sets of classes, scene name -> annotation.subclouds.Subclouds
    learns_images: ClassVar[bool] = False  # its labels are frames, scene name -> annotation.images.DrawnFrames
    groups: Mapping[str, np.ndarray] | None = None  # scene name -> int64 (N,): its batches carry them with the points
    model: Any  # an nn.Module, of which each task calls what it alone has

    @staticmethod
    def build(config: Any, num_classes: int) -> nn.Module:
        """The model, untrained, on the CPU; its random weights depend on the seed alone."""
        raise NotImplementedError

    @staticmethod
    def schedule(config: Any, iteration: int) -> Schedule:
        """How long and how fast it is trained in an iteration, counted from 1."""
        raise NotImplementedError

    @staticmethod
    def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The mean of the weights, and of the statistics of the batch normalisation, of networks that were trained one
        from another; of what is no floating point number, that of the last."""
        last = states[-1]
        return {
            name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
            for name, value in last.items()
        }

    def __init__(self, config: Any, scenes: list[Scene], labels: Mapping[str, Any]):
        """A task on the labels in use, with an untrained model."""
        self.config = config
        self.model = self.build(config, len(scenes[0].label_set))

    def batches(self, scenes: list[Scene], labels: Mapping[str, Any], seed: list[int]) -> Batches:
        """What it is trained on, step by step; OtocError where not one point has a label."""
        if not any((labels[scene.name] != IGNORE).any() for scene in scenes):
            raise OtocError("training: not one labelled point in any room; check the clicks and the class list")
        return Batches(self.config, scenes, labels, seed, self.views, self.groups)

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        """The loss of a step, a scalar with a gradient; 0 where nothing in the batch has a label.

        Of a part of the step's batch it is what that adds to the loss of the whole: every mean in it is multiplied by
        the part's share.

        Args:
            batches: one for each of ``views``, on the device of the model.
            step: counted from 0.
            generator: on the CPU, seeded by the step: the same after an interruption, and for every part.
            shares: of this part, by the names of ``counts``.
        """
        raise NotImplementedError

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        """What each mean of the loss is over in a part of a step's batch, by a name: labelled points, for example.

        Asked only where a batch has parts, as with ``devices`` and ``accumulate``.
        """
        raise OtocError(
            f"{type(self).__qualname__} does not say what the means of its loss are over, so its batches cannot be "
            "divided; set devices and accumulate to 1"
        )

    def survey(self, parts: Sequence[list[Batch]]) -> list[Shares]:
        """The shares of some parts of a step's batch; the others are those of the other processes."""
        device, found = parts[0][0].features.device, [self.counts(part) for part in parts]
        numbers = [torch.stack([torch.as_tensor(n, device=device).double() for n in one.values()]) for one in found]
        counts = torch.stack(numbers)  # [parts, means]
        totals = processes.total(counts.sum(0)).clamp(min=1e-30)
        return [dict(zip(found[0], of_part, strict=True)) for of_part in counts / totals]

    def after_step(self, step: int) -> None:
        """What follows the optimizer's step, without gradients."""

    @property
    def unets(self) -> list[nn.Module]:
        """The parts of the model that are a U-Net alike: what one may start from, all do."""
        return [self.model]

    def start_from(self, path: Path) -> None:
        """Give the U-Nets, still untrained, the weights of a file; errors as ``models/weights.py`` says."""
        for unet in self.unets:
            unet.load_state_dict(initial_state(path, unet))


class CrossEntropy(Task):
    """The 3D U-Net and cross entropy over the labelled points (eq. 1), at the coarser levels too if ``coarse_loss``."""

    reads: ClassVar[tuple[str, ...]] = ("unet",)

    @staticmethod
    def build(config: Config, num_classes: int) -> nn.Module:
        return new_unet(config, num_classes)

    @staticmethod
    def schedule(config: Config, iteration: int) -> Schedule:
        if iteration == 1:
            return Schedule(config.unet_steps, config.learning_rate)
        return Schedule(config.unet_steps_later, config.learning_rate_later)

    def __init__(self, config: Config, scenes: list[Scene], labels: Labels):
        super().__init__(config, scenes, labels)
        self.class_weights = class_weights(config, scenes, labels).to(choose_device(config))  # [C]

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        (batch,) = batches
        return shares["labelled"] * self.loss_and_logits(batch)[0]

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        return {"labelled": labelled_weight(batches[0].labels, self.class_weights)}

    def loss_and_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the logits [V, C] of its voxels, for tasks that add something to it."""
        if self.config.coarse_loss:
            _, logits, coarse = self.model.forward_all_levels(batch.voxels)  # [V, C]
        else:
            (_, logits), coarse = self.model(batch.voxels), []
        loss = point_cross_entropy(logits, batch.labels, self.class_weights, self.config.label_smoothing)
        return loss + coarse_loss(self.config, coarse, batch, self.class_weights), logits
