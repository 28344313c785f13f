"""How long, how fast and by which optimiser a network is trained."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from otoc_lib.config import Config
from otoc_lib.training.muon import Muon


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one network is trained in one iteration."""

    steps: int
    learning_rate: float


def new_optimizers(config: Config, model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Adam for all parameters that are trained, or Muon for the convolutions and Adam for the others."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    convolutions = [p for p in parameters if p.ndim == 3] if config.optimizer == "muon" else []
    others = [p for p in parameters if p.ndim != 3] if convolutions else parameters
    fused = others[0].device.type in ("cpu", "cuda")  # one pass over the parameters, equal to rounding
    adam = torch.optim.Adam(others, lr=rate, fused=fused)
    return [Muon(convolutions, rate), adam] if convolutions else [adam]


def learning_rate(config: Config, schedule: Schedule, step: int) -> float:
    """``halving``: lr * 0.5 ** (step // halve_every), at least 1e-6 (the authors').

    ``one_cycle``: a linear rise over the first fifth from a tenth of the peak, then a cosine to a thousandth of it.
    ``linear``: the same rise over the first tenth, then a straight line to a thousandth.
    """
    peak = schedule.learning_rate
    if config.schedule == "halving":
        return max(peak * 0.5 ** (step // config.halve_every), 1.0e-6)
    progress = step / max(schedule.steps - 1, 1)
    rise = {"one_cycle": 0.2, "linear": 0.1}[config.schedule]
    if progress < rise:
        return peak * (0.1 + 0.9 * progress / rise)
    left = (1 - progress) / (1 - rise)
    if config.schedule == "one_cycle":
        left = 0.5 * (1 - math.cos(math.pi * left))
    return peak * (0.001 + 0.999 * left)
