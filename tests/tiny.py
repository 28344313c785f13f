"""The smallest parameters that still train: shared by the tests that run networks."""

from otoc_lib.config import config_from

TINY = {
    "profile": "p",
    "voxel_size": 0.1,
    "unet_width": 8,
    "unet_levels": 3,
    "unet_blocks": 1,
    "batch_size": 2,
    "schedule": "one_cycle",
    "elastic_granularity": [],
    "elastic_magnitude": [],
    "device": "cpu",
}


def tiny_config(**values):
    return config_from({**TINY, "experiment": "e", **values})


def true_labels(rooms):
    return {room.name: room.labels for room in rooms}
