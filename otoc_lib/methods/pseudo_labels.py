"""Rules that turn what the networks say of all training rooms into labels; a params file names one: ``pseudo_labels``.

A rule is a function of a view of the config and of the rooms' class probabilities. ``rooms`` is a sequence that reads
a room from the disk each time it is asked for: float32 [K, C] over the K nodes of the room, super-voxels or points. A
rule may go through all rooms more than once, as one that balances classes must. It gives for every room, in order, the
labels of its nodes, int16 [K] with IGNORE.

Whatever a rule says, clicked super-voxels keep the label of their click. What clicks say is of no class is not among
the nodes: no rule sees it, counts it or labels it.
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


def quantile(config: Config, rooms: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The surest ``pseudo_share`` of the nodes that any one class is likeliest at, over all rooms: classes that the
    networks are never sure of get labels as well (class-balanced self-training, Zou et al. 2018).

    Nodes that are as sure as the last of them are in; what is below ``threshold`` never is.
    """
    found = [(probabilities.argmax(axis=1), probabilities.max(axis=1)) for probabilities in rooms]
    classes, sure = (np.concatenate(parts) for parts in zip(*found, strict=True))
    least = np.full(classes.max(initial=0) + 1, config.threshold, np.float32)
    for label in np.unique(classes):
        of_class = np.sort(sure[classes == label])
        taken = int(np.ceil(config.pseudo_share * len(of_class)))
        least[label] = max(config.threshold, of_class[len(of_class) - taken])
    for label, confidence in found:
        yield np.where(confidence >= least[label], label, IGNORE).astype(np.int16)
