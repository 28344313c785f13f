"""Mean Teacher (Tarvainen and Valpola 2017): learn from the average of one's own past.

    theta'  <- a_k theta' + (1 - a_k) theta after step k = 1, 2, ..., with a_k = min(1 - 1/(k + 1), ``teacher_decay``)
    L = cross entropy of the labelled points + w(t) * mean over all points i of |p_i - p'_i|^2

p' are the teacher's probabilities of a view of its own, and no gradient flows through them. w(t) is that of
``pi_model``, and what is said there of its size holds here: theirs, 100 of the mean over 10 classes with a quarter of a
batch labelled, is 40. Parameters are averaged; the statistics of batch normalisation are the teacher's own, from its
passes in training. It starts as a copy of the student, theirs as a second random network, of which after k steps
1/(k + 1) is left. The teacher is what is evaluated, as theirs is; the student is the mode ``student``.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from otoc_lib.config import Config, param
from otoc_lib.methods import pi_model
from otoc_lib.methods.method import Method, Networks, Scores, unet_modes
from otoc_lib.methods.pi_model import consistency_weight, probabilities, squared_distance
from otoc_lib.models.build import new_unet
from otoc_lib.scene import Scene
from otoc_lib.sparse import SparseTensor
from otoc_lib.training.predict import predict
from otoc_lib.training.task import WHOLE, CrossEntropy, Shares
from otoc_lib.training.voxels import Batch


@dataclass(frozen=True, kw_only=True)
class Parameters(pi_model.Parameters):
    teacher_decay: float = param(0.99, "consistency", low=0, high=1)


class StudentAndTeacher(nn.Module):
    """Two networks of one form; in evaluation it is the teacher."""

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student: Any = student
        self.teacher: Any = deepcopy(student)
        self.teacher.requires_grad_(False)

    def forward(self, x: SparseTensor) -> tuple[Tensor, Tensor]:
        return (self.student if self.training else self.teacher)(x)

    def forward_all_levels(self, x: SparseTensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        return self.student.forward_all_levels(x)

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """theta' <- decay theta' + (1 - decay) theta."""
        for mean, weight in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)


class Taught(CrossEntropy):
    """Cross entropy in the first view, and the distance to what the teacher says of the second."""

    config: Parameters
    reads = (*CrossEntropy.reads, "consistency")
    views = 2

    @staticmethod
    def build(config: Config, num_classes: int) -> nn.Module:
        return StudentAndTeacher(new_unet(config, num_classes))

    @property
    def unets(self) -> list[nn.Module]:
        return [self.model.student, self.model.teacher]

    def loss(self, batches: list[Batch], step: int, generator: torch.Generator, shares: Shares = WHOLE) -> Tensor:
        first, second = batches
        loss, logits = self.loss_and_logits(first)
        loss = shares["labelled"] * loss
        with torch.no_grad():  # in every step: it also follows the statistics of batch normalisation
            said = probabilities(self.model.teacher(second.voxels)[1])
        weight = consistency_weight(self.config, step, self.schedule(self.config, 1).steps)
        if not weight:
            return loss
        return loss + shares["points"] * weight * squared_distance(first, probabilities(logits), second, said)

    def counts(self, batches: list[Batch]) -> dict[str, Any]:
        return {**super().counts(batches), "points": len(batches[0].point_to_voxel)}

    def after_step(self, step: int) -> None:
        self.model.average(min(1 - 1 / (step + 2), self.config.teacher_decay))


def predict_modes(config: Config, scene: Scene, networks: Networks) -> dict[str, Scores]:
    """``point`` and ``sv`` of the teacher, and ``student``."""
    student = predict(config, scene, networks["unet"].student, None).probabilities
    taught = predict(config, scene, networks["unet"], None).probabilities
    return {**unet_modes(scene, taught), "student": Scores(student, None)}


METHOD = Method("Mean Teacher", pi_model.loop, networks=lambda config: {"unet": Taught}, predict=predict_modes)
