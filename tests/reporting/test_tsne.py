import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.reporting.tsne import draw_per_class, embed


def test_draws_at_most_so_many_of_each_class_and_no_unlabelled_ones():
    classes = np.random.default_rng(0).choice([IGNORE, 0, 3, 7], 500, p=[0.3, 0.5, 0.19, 0.01]).astype(np.int16)
    chosen = draw_per_class(classes, 40, seed=1)
    values, counts = np.unique(classes[chosen], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 40, 3: 40, 7: (classes == 7).sum()}
    assert len(np.unique(chosen)) == len(chosen)
    assert np.array_equal(chosen, draw_per_class(classes, 40, seed=1))
    assert not np.array_equal(chosen, draw_per_class(classes, 40, seed=2))


def test_groups_stay_groups_in_the_plane():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(4), 25)
    features = (10 * np.eye(4, 16)[classes] + rng.normal(size=(100, 16))).astype(np.float32)
    plane = embed(features, seed=0)
    assert plane.shape == (100, 2) and plane.dtype == np.float32
    assert silhouette_score(plane, classes) > 0.7
    assert np.array_equal(plane, embed(features, seed=0))


def test_too_few_supervoxels_are_refused():
    with pytest.raises(OtocError, match="at least 4"):
        embed(np.zeros((3, 2), dtype=np.float32), seed=0)
