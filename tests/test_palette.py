import numpy as np
import pytest

from otoc_lib import palette


@pytest.mark.parametrize("count", [2, 8, 13, 20, 40])
def test_colours_differ_for_every_colour_vision(count):
    colors = palette.distinct_colors(count)
    taken = np.concatenate([colors, [(255, 255, 255), palette.UNLABELLED]])
    for seen in palette._perceive(taken):  # Oklab; 0.02 is a just noticeable difference
        distances = np.linalg.norm(seen[:count, None] - seen[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        assert distances.min() > 0.04
    np.testing.assert_array_equal(palette.distinct_colors(count + 1)[:count], colors)  # a class more changes no colour


def test_oklab_of_known_colours():
    # from the article that defines it: white is (1, 0, 0) and pure red (0.628, 0.225, 0.126)
    np.testing.assert_allclose(
        palette._perceive([(255, 255, 255), (255, 0, 0)])[0], [[1, 0, 0], [0.628, 0.225, 0.126]], atol=1e-3
    )
