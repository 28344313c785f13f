"""The two networks at the size that the parameters name, with random weights of the seed."""

import torch

from otoc_lib.config import Config
from otoc_lib.models.relation import RelationNet
from otoc_lib.models.unet import UNet

IN_CHANNELS = 6  # colour and position


def new_unet(config: Config, num_classes: int) -> UNet:
    """An untrained U-Net with random weights of its own seed; the random state of the caller is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return UNet(IN_CHANNELS, config.unet_width, config.unet_levels, config.unet_blocks, num_classes)


def new_relation_net(config: Config, num_classes: int) -> RelationNet:
    """An untrained relation net with random weights and prototypes of its own seed; otherwise as ``new_unet``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return RelationNet(
            IN_CHANNELS,
            config.unet_width,
            config.unet_levels,
            config.unet_blocks,
            num_classes=num_classes,
            dim=config.relation_dim,
            temperature=config.temperature,
            momentum=config.prototype_momentum,
        )
