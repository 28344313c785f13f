"""The two networks that the parameters describe, with random weights of the seed."""

from importlib import import_module
from inspect import signature

import torch
from torch import nn

from otoc_lib.config import Config
from otoc_lib.errors import OtocError
from otoc_lib.models.relation import RelationNet

IN_CHANNELS = 6  # colour and position


def new_unet(config: Config, num_classes: int) -> nn.Module:
    """An untrained network for classes, by ``backbone``; the random state of the caller is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _new_backbone(config, num_classes, num_classes)


def new_relation_net(config: Config, num_classes: int) -> RelationNet:
    """An untrained relation net with random weights and prototypes of its own seed; otherwise as ``new_unet``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return RelationNet(
            _new_backbone(config, None, num_classes),
            num_classes=num_classes,
            dim=config.relation_dim,
            temperature=config.temperature,
            momentum=config.prototype_momentum,
        )


def _new_backbone(config: Config, num_classes: int | None, coarse_classes: int) -> nn.Module:
    new_backbone = import_module(f"otoc_lib.models.{config.backbone}").new_backbone
    if not config.coarse_loss:
        return new_backbone(config, IN_CHANNELS, num_classes)
    if "coarse_classes" not in signature(new_backbone).parameters:
        raise OtocError(
            f"parameter 'coarse_loss': the backbone {config.backbone!r} has no classifiers at coarser levels, its "
            "new_backbone takes no coarse_classes; set it to 0"
        )
    return new_backbone(config, IN_CHANNELS, num_classes, coarse_classes=coarse_classes)
