"""The smallest rooms and parameters that still train: shared by the tests that run networks."""

import numpy as np

from otoc_lib.config import config_from
from otoc_lib.experiments import current_stages
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.scene import Scene, densify
from otoc_lib.store import stage_key

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


def current_keys(config, fingerprints):
    """Stage -> the key that it has if it is current."""
    contents = current_stages(config, fingerprints).values()
    return {name: stage_key(content) for found in contents for name, content in found.items()}


def true_labels(rooms):
    return {room.name: room.labels for room in rooms}


def make_room(name: str, seed: int, boxes: int = 6, spacing: float = 0.08) -> Scene:
    """A 2.4 m room: floor, one wall, and boxes whose class decides their colour and height; some are unlabelled."""
    generator = np.random.default_rng(seed)
    axis = np.arange(-1.2, 1.2, spacing)
    floor = np.stack([*map(np.ravel, np.meshgrid(axis, axis)), np.zeros(len(axis) ** 2)], axis=1)
    wall = floor[:, [0, 2, 1]] + [0, -1.2, 1.2]
    parts, classes = [floor, wall], [1, 0]
    for _ in range(boxes):
        label = int(generator.integers(2, 8))
        place = generator.uniform(-0.9, 0.9, size=2)
        parts.append(generator.uniform([-0.2, -0.2, 0], [0.2, 0.2, 0.15 * label], (150, 3)) + [*place, 0])
        classes.append(label if label != 7 else IGNORE)
    coords = np.concatenate(parts).astype(np.float32)
    coords += generator.normal(scale=0.005, size=coords.shape).astype(np.float32)
    objects = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    labels = np.array(classes)[objects].astype(np.int16)
    palette = np.random.default_rng(0).integers(40, 215, size=(21, 3))
    colors = np.clip(palette[np.where(labels < 0, 20, labels)] + generator.normal(scale=12, size=coords.shape), 0, 255)
    cells = np.floor(coords / 0.6).astype(int) + 10  # super-voxels: the cells of a coarse grid within each object
    instances = np.full(len(labels), -1, dtype=np.int32)
    instances[labels >= 0] = densify(objects[labels >= 0])
    return Scene(
        name=name,
        coords=coords,
        colors=colors.astype(np.uint8),
        supervoxels=densify(((objects * 50 + cells[:, 0]) * 50 + cells[:, 1]) * 50 + cells[:, 2]),
        labels=labels,
        instances=instances,
        origin=np.zeros(3),
        label_set=SCANNET20,
    )
