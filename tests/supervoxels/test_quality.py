"""Quality of a partition against hand-made cases and a brute-force twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.errors import OtocError
from otoc_lib.supervoxels.quality import partition_quality

LINE = np.stack([np.arange(8) * 0.02, np.zeros(8), np.zeros(8)], axis=1)  # 2 cm apart


def test_purity_sizes_and_mixed_by_hand():
    supervoxels = np.array([7, 7, 7, 7, 2, 2, 2, 5])
    labels = np.array([0, 0, 1, -100, 1, 1, 1, -100])
    quality = partition_quality(LINE, supervoxels, labels)
    assert quality.count == 3
    assert quality.purity == pytest.approx(5 / 6)  # 2 of 3 labelled in super-voxel 7, 3 of 3 in 2, none in 5
    assert quality.mixed == pytest.approx(1 / 2)
    assert (quality.size_p5, quality.size_p50, quality.size_p95) == pytest.approx((1.2, 3.0, 3.9))


@pytest.mark.parametrize(
    "cut,tolerance,recall",
    [(4, 0.05, 1.0), (4, 0.0, 1.0), (5, 0.05, 1.0), (5, 0.0, 0.5), (7, 0.05, 0.5), (7, 0.04, 0.5), (7, 0.06, 1.0)],
)
def test_boundary_recall_on_a_line(cut, tolerance, recall):
    # points 3 and 4 lie at the label boundary, points cut - 1 and cut at that of the super-voxels
    labels, supervoxels = (np.arange(8) >= 4).astype(int), (np.arange(8) >= cut).astype(int)
    quality = partition_quality(LINE, supervoxels, labels, tolerance, neighbours=2)
    assert quality.boundary_recall == pytest.approx(recall)


def test_what_cannot_be_measured_is_nan():
    everything = np.zeros(8, int)
    unlabelled = partition_quality(LINE, np.arange(8) // 2, np.full(8, -100))
    assert np.isnan([unlabelled.purity, unlabelled.mixed, unlabelled.boundary_recall]).all()
    assert np.isnan(partition_quality(LINE, np.arange(8) // 2, everything).boundary_recall)
    assert partition_quality(LINE, everything, np.arange(8) // 4).boundary_recall == 0
    assert partition_quality(LINE[:1], everything[:1], everything[:1]).purity == 1


def test_the_edge_of_the_labelled_part_is_no_label_boundary():
    labels = np.where(np.arange(8) < 4, 3, -100)
    assert np.isnan(partition_quality(LINE, np.zeros(8, int), labels).boundary_recall)


def test_far_from_the_origin():
    rng = np.random.default_rng(0)
    points, labels = rng.random((400, 3)), rng.integers(0, 2, 400)
    there = partition_quality(points + [5e5, 4e6, 100], labels, labels, tolerance=0.0)
    assert there.boundary_recall == there.purity == 1


def test_lengths_that_differ_are_refused():
    with pytest.raises(OtocError, match="8 points, 7 supervoxels, 8 labels"):
        partition_quality(LINE, np.zeros(7, int), np.zeros(8, int))
    with pytest.raises(OtocError, match="0 points"):
        partition_quality(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, int))


def slow_quality(points, supervoxels, labels, tolerance, neighbours):
    members = {s: [i for i in range(len(points)) if supervoxels[i] == s] for s in set(supervoxels)}
    agreeing, labelled, mixed, holding = 0, 0, 0, 0
    for inside in members.values():
        own = [labels[i] for i in inside if labels[i] >= 0]
        labelled += len(own)
        agreeing += max((own.count(label) for label in set(own)), default=0)
        mixed += len(set(own)) > 1
        holding += bool(own)
    wanted, edge = [], []
    for i, point in enumerate(points):
        distance = np.linalg.norm(points - point, axis=1)
        near = [j for j in np.argsort(distance) if j != i][:neighbours]
        if any(supervoxels[j] != supervoxels[i] for j in near):
            edge.append(i)
        if labels[i] >= 0 and any(labels[j] >= 0 and labels[j] != labels[i] for j in near):
            wanted.append(i)
    found = [any(np.linalg.norm(points[i] - points[j]) <= tolerance for j in edge) for i in wanted]
    return (
        len(members),
        agreeing / labelled if labelled else np.nan,
        mixed / holding if holding else np.nan,
        np.mean(found) if found else np.nan,
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    parts=st.integers(1, 6),
    classes=st.integers(1, 4),
    tolerance=st.floats(0, 1),
    neighbours=st.integers(1, 9),
)
def test_equals_the_slow_twin(seed, n, parts, classes, tolerance, neighbours):
    rng = np.random.default_rng(seed)
    points = rng.random((n, 3))
    supervoxels, labels = rng.integers(0, parts, n), rng.integers(-1, classes, n)
    fast = partition_quality(points, supervoxels, labels, tolerance, neighbours)
    slow = slow_quality(points, supervoxels.tolist(), labels.tolist(), tolerance, neighbours)
    assert (fast.count, fast.purity, fast.mixed, fast.boundary_recall) == pytest.approx(slow, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_the_labels_themselves_are_a_perfect_partition(seed, n):
    rng = np.random.default_rng(seed)
    points, labels = rng.random((n, 3)), rng.integers(0, 3, n)
    quality = partition_quality(points, labels, labels, tolerance=0.0)
    assert quality.purity == 1 and quality.mixed == 0
    assert quality.boundary_recall == 1 or (len(set(labels)) == 1 and np.isnan(quality.boundary_recall))
