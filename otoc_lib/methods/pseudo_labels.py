"""Rules that turn what the networks say of all training rooms into labels; a params file names one: ``pseudo_labels``.

A rule is a function of a view of the config and of the rooms' class probabilities. ``rooms`` is a sequence that reads
a room from the disk each time it is asked for: float32 [K, C] over the K nodes of the room, super-voxels or points. A
rule may go through all rooms more than once, as one that balances classes must. It gives for every room, in order, the
labels of its nodes, int16 [K] with IGNORE.

Whatever a rule says, clicked super-voxels keep the label of their click.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from otoc_lib.config import Config
from otoc_lib.labels import IGNORE


def threshold(config: Config, rooms: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The likeliest class of every node whose probability is at least ``threshold`` (eq. 8)."""
    for probabilities in rooms:
        sure = probabilities.max(axis=1) >= config.threshold
        yield np.where(sure, probabilities.argmax(axis=1), IGNORE).astype(np.int16)
