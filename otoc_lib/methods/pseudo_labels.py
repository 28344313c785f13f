"""Rules that turn what the networks say of all training rooms into labels; a params file names one: ``pseudo_labels``.

A rule is a function of a view of the config and of the rooms' class probabilities. ``rooms`` is a sequence that reads
a room from the disk each time it is asked for: float32 [K, C] over the K nodes of the room, super-voxels or points. A
rule may go through all rooms more than once, as one that balances classes must. It gives for every room, in order, the
labels of its nodes, int16 [K] with IGNORE.

With ``click_reach`` they are weighed by what the clicks say: a row then sums up to less than 1, to 0 where no click
reaches.

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
        yield _where_sure(probabilities, config.threshold)


def quantile(config: Config, rooms: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The surest ``pseudo_share`` of the nodes that any one class is likeliest at, over all rooms: classes that the
    networks are never sure of get labels as well (class-balanced self-training, Zou et al. 2018).

    Nodes that are as sure as the last of them are in; what is below ``threshold`` never is.
    """
    least = np.maximum(_least_of_share(rooms, config.pseudo_share), np.float32(config.threshold))
    for probabilities in rooms:
        yield _where_sure(probabilities, least[probabilities.argmax(axis=1)])


def _where_sure(probabilities: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """The likeliest class of the nodes where it has at least so much, int16 [K]; none where every class has 0, as
    where no click reaches."""
    most = probabilities.max(axis=1)
    sure = (most >= least) & (most > 0)
    return np.where(sure, probabilities.argmax(axis=1), IGNORE).astype(np.int16)


def _least_of_share(rooms: Sequence[np.ndarray], share: float) -> np.ndarray:
    """The probability of the last node of the surest ``share`` of each class, float32 [C]; 0 for a class without any.

    Nodes where every class has 0 are of none. Counted in two turns through the rooms, so that no memory grows with
    them: numbers that are not negative lie in the order of their bits, of which the upper half is looked at first and
    the lower half then.
    """
    num_classes = rooms[0].shape[1]
    uppers, lowers = np.zeros((2, num_classes, 1 << 16), dtype=np.int64)
    for classes, bits in map(_likeliest, rooms):
        np.add.at(uppers, (classes, bits >> 16), 1)
    nodes = uppers.sum(axis=1)  # [C]
    ranks = nodes - np.ceil(share * nodes).astype(np.int64)  # how many nodes are less sure than the last one
    upper, ranks = _value_at(uppers, ranks)
    for classes, bits in map(_likeliest, rooms):
        chosen = bits >> 16 == upper[classes]
        np.add.at(lowers, (classes[chosen], bits[chosen] & 0xFFFF), 1)
    lower, _ = _value_at(lowers, ranks)
    return np.where(nodes > 0, (upper << 16 | lower).view(np.float32), np.float32(0))


def _likeliest(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class of the nodes that have one, int64 [K'], and the bits of its probability, uint32 [K']."""
    most = probabilities.max(axis=1)
    return probabilities.argmax(axis=1)[most > 0], most[most > 0].view(np.uint32)


def _value_at(counts: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the values counted in each row of [C, B], the one that ``ranks`` [C] smaller ones lie below, uint32 [C], and
    its rank among equal ones; 0 for a row without any."""
    values, within = np.zeros((2, len(counts)), dtype=np.int64)
    for row in np.flatnonzero(counts.any(axis=1)):
        up_to = np.cumsum(counts[row])
        values[row] = np.searchsorted(up_to, ranks[row], side="right")
        within[row] = ranks[row] - (up_to[values[row]] - counts[row, values[row]])
    return values.astype(np.uint32), within
