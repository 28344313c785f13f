"""Colours of classes that differ for any colour vision.

A class has one colour in the picker, in figures, in the report and in labelled scans: that of the label set of its
scenes. Own classes have the colours that are made here; ``class_colors: distinct`` gives them to every label set.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from otoc_lib.labels import IGNORE, SCANNET20, LabelSet

# Colours that people with any colour vision tell apart; black is left out (Okabe and Ito, 2008).
FIRST_COLORS = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)]
)
UNLABELLED = SCANNET20.paint(np.array([IGNORE]))[0]
# Linear RGB as seen with red or green cones missing (Machado et al., 2009, severity 1).
COLOR_VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
# Linear RGB -> cone responses -> Oklab, in which equal distances look alike (Ottosson, 2020).
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def distinct_colors(count: int) -> np.ndarray:
    """Colours uint8 [count, 3]: seven well-known ones, then ever the one farthest from all so far.

    Farthest in Oklab, for the colour vision that tells the two apart the least; white and the grey of unlabelled
    points count as taken.
    """
    levels = np.arange(0, 256, 17)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lightness = _perceive(lattice)[0, :, 0]
    lattice = lattice[(lightness > 0.35) & (lightness < 0.95)]  # shaded pictures hide what is darker
    candidates = np.concatenate([FIRST_COLORS, lattice, [(255, 255, 255), UNLABELLED]])  # [K, 3]
    perceived = _perceive(candidates)  # [V, K, 3]

    def distances(index: int) -> np.ndarray:
        return np.linalg.norm(perceived - perceived[:, [index]], axis=-1).min(axis=0)  # [K]

    nearest = np.minimum(distances(-1), distances(-2))  # from each candidate to the colours taken
    chosen: list[int] = []
    for place in range(count):
        chosen.append(place if place < len(FIRST_COLORS) else int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(chosen[-1]))
    return candidates[chosen].astype(np.uint8)


@cache
def recoloured(label_set: LabelSet) -> LabelSet:
    """The same classes in colours that differ for any colour vision."""
    return replace(label_set, colors=tuple(tuple(color) for color in distinct_colors(len(label_set)).tolist()))


def _perceive(colors: np.ndarray) -> np.ndarray:
    """Oklab coordinates, float64 [V, K, 3], of sRGB colours [K, 3] for each of the V colour visions."""
    shares = np.asarray(colors) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ COLOR_VISIONS.transpose(0, 2, 1), 0, 1)
    return np.cbrt(seen @ TO_CONES.T) @ TO_OKLAB.T
