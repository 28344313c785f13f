import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_info, threadpool_limits

from otoc_lib.errors import OtocError
from otoc_lib.files import checksum
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.reporting.interactive import tsne_figure
from otoc_lib.store import Stage
from otoc_lib.tsne import FEATURES, check_variety, draw_per_class, embed


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


def test_it_is_computed_by_one_thread_which_waits_for_nobody(monkeypatch):
    threads, fit = [], TSNE.fit_transform

    def watched(self, features):
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
        return fit(self, features)

    monkeypatch.setattr(TSNE, "fit_transform", watched)
    with threadpool_limits(2, user_api="openmp"):
        embed(np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32), seed=0)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"} == {2}
    assert threads and set(threads) == {1}


def test_too_few_supervoxels_are_refused():
    with pytest.raises(OtocError, match="at least 4"):
        embed(np.zeros((3, 2), dtype=np.float32), seed=0)


def test_what_has_no_silhouette_is_refused_before_it_is_embedded():
    """One super-voxel a class, as tsne_supervoxels: 1 draws, or one class alone."""
    for classes in (np.arange(13), np.full(9, 3), np.zeros(0, np.int16)):
        with pytest.raises(OtocError, match="raise 'tsne_supervoxels'"):
            check_variety(classes)
    classes = np.array([0, 1, 1, 2])
    check_variety(classes)
    points = embed(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32), seed=2**31)
    assert -1 <= silhouette_score(points, classes) <= 1


def test_the_interactive_figure_holds_every_supervoxel_with_its_class_and_room(tmp_path):
    rng = np.random.default_rng(0)
    points = {name: rng.normal(size=(30, 2)).astype(np.float32) for name in FEATURES}
    points["class"] = rng.choice([2, 5], 30).astype(np.int16)
    points["room"] = rng.integers(0, 2, 30).astype(np.int32)
    points["supervoxel"] = np.arange(30, dtype=np.int32)
    save_file(points, tmp_path / "tsne.safetensors")
    silhouette = {name: 0.25 for name in FEATURES}
    (tmp_path / "tsne.json").write_text(json.dumps({"silhouette": silhouette, "rooms": ["kitchen", "bath"]}))
    files = {path.name: checksum(path) for path in tmp_path.iterdir()}
    figure = tsne_figure(Stage("tsne", tmp_path, "key", reused=True, files=files), SCANNET20)
    assert "silhouette +0.250" in figure.layout.annotations[0].text
    assert sum(trace.showlegend for trace in figure.data) == 2  # one entry a class, not one a panel
    for column, name in enumerate(FEATURES, start=1):
        found = set()
        for trace in figure.data:
            if trace.xaxis == ("x" if column == 1 else f"x{column}"):
                label = SCANNET20.names.index(trace.name)
                for x, (room, supervoxel) in zip(trace.x, trace.customdata, strict=True):
                    row = int(supervoxel)
                    assert points["class"][row] == label and x == points[name][row, 0]
                    assert room == ("kitchen", "bath")[points["room"][row]]
                    found.add(row)
        assert found == set(range(30))
