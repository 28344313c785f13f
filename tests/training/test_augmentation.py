import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.training import augmentation, reference


def config(**values):
    return config_from({"profile": "p", "experiment": "e", **values})


def test_a_view_is_a_rotation_about_z_with_or_without_a_mirrored_x():
    determinants = set()
    for seed in range(40):
        matrix = augmentation.view_matrix(config(), np.random.default_rng(seed))
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(matrix[2], [0, 0, 1], atol=1e-12)
        determinants.add(round(np.linalg.det(matrix)))
    assert determinants == {-1, 1}


def test_every_switch_is_obeyed():
    still = config(jitter=0.0, flip=False, rotate=False)
    np.testing.assert_array_equal(augmentation.random_matrix(still, np.random.default_rng(0)), np.eye(3))
    np.testing.assert_array_equal(augmentation.view_matrix(still, np.random.default_rng(0)), np.eye(3))
    larger = config(jitter=0.0, flip=False, rotate=False, scale_range=[2.0, 2.0])
    np.testing.assert_array_equal(augmentation.random_matrix(larger, np.random.default_rng(0)), 2 * np.eye(3))


@pytest.mark.parametrize("matrix_of", [augmentation.view_matrix, augmentation.random_matrix])
def test_rotations_are_multiples_of_their_step_and_each_as_likely(matrix_of):
    turned = config(jitter=0.0, flip=False, rotation_step=90.0)
    matrices = [matrix_of(turned, np.random.default_rng(seed)) for seed in range(400)]
    degrees = [np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])) % 360 for matrix in matrices]
    turns, times = np.unique(np.round(degrees, 6) % 360, return_counts=True)
    np.testing.assert_array_equal(turns, [0, 90, 180, 270])
    assert times.min() > 70 and times.max() < 130  # of 400; the deviation is 9
    free = [matrix_of(config(jitter=0.0, flip=False), np.random.default_rng(seed)) for seed in range(400)]
    assert len({round(float(matrix[0, 0]), 6) for matrix in free}) > 390
    whole_turn = matrix_of(config(jitter=0.0, flip=False, rotation_step=360.0), np.random.default_rng(0))
    np.testing.assert_array_equal(whole_turn, np.eye(3))
    for smallest in (5e-324, 1e-300):  # as good as any angle
        matrix = matrix_of(config(jitter=0.0, flip=False, rotation_step=smallest), np.random.default_rng(0))
        np.testing.assert_allclose(matrix, free[0], atol=1e-12)


def test_jitter_has_the_deviation_it_is_given():
    jittered = config(flip=False, rotate=False, jitter=0.1)
    draws = np.stack([augmentation.random_matrix(jittered, np.random.default_rng(i)) for i in range(400)]) - np.eye(3)
    assert abs(draws.mean()) < 0.01
    assert draws.std() == pytest.approx(0.1, rel=0.05)


def test_elastic_distortion_is_smooth_and_as_strong_as_documented():
    generator = np.random.default_rng(0)
    axis = np.arange(0, 240, 6.0)
    coords = np.stack([*map(np.ravel, np.meshgrid(axis, axis, axis, indexing="ij"))], axis=1)
    moved = augmentation.elastic(coords, 6.0, 40.0, generator) - coords
    inner = ((coords > 48) & (coords < 190)).all(axis=1)
    # The noise is interpolated linearly between its nodes, which averages: below 0.114 * 40, above half of it.
    assert 0.5 * 0.114 * 40 < moved[inner].std() < 0.114 * 40 * 1.1
    neighbours = moved.reshape(40, 40, 40, 3)
    assert np.abs(np.diff(neighbours, axis=0)).mean() < 0.5 * moved.std()


@settings(max_examples=20, deadline=None)
@given(
    points=st.integers(1, 300),
    size=st.floats(0.0, 300.0),
    granularity=st.sampled_from([6.0, 20.0]),
    seed=st.integers(0, 99),
)
def test_elastic_distortion_equals_that_of_scipy(points, size, granularity, seed):
    coords = np.random.default_rng(seed).uniform(-size, size, (points, 3))
    generators = [np.random.default_rng(seed + 1) for _ in range(3)]
    moved = augmentation.elastic(coords, granularity, 40.0, generators[0]) - coords
    # The same field in the same precision, up to one rounding of a displacement.
    np.testing.assert_allclose(
        moved, reference.elastic(coords, granularity, 40.0, generators[1]) - coords, rtol=2e-7, atol=1e-9
    )
    exact = reference.elastic(coords, granularity, 40.0, generators[2], np.float64) - coords
    np.testing.assert_allclose(moved, exact, atol=2e-5)  # 40 voxels times the rounding of six float32 filters
    assert len({generator.random() for generator in generators}) == 1  # and the same draws


def test_the_noise_has_the_documented_deviation():
    """At the nodes themselves nothing is averaged by the interpolation: 0.114 of the magnitude."""
    axis = np.arange(0, 40 * 12, 12.0)
    coords = np.stack([*map(np.ravel, np.meshgrid(axis, axis, axis, indexing="ij"))], axis=1)
    moved = augmentation.elastic(coords, 6.0, 40.0, np.random.default_rng(0)) - coords
    inner = ((coords > 24) & (coords < 38 * 12)).all(axis=1)
    assert moved[inner].std() == pytest.approx(40 * (19 / 81) ** 1.5, rel=0.05)
    assert abs(moved[inner].mean()) < 0.4


def test_elastic_distortion_of_no_magnitude_moves_nothing():
    coords = np.random.default_rng(1).uniform(0, 50, (100, 3))
    np.testing.assert_array_equal(augmentation.elastic(coords, 6.0, 0.0, np.random.default_rng(0)), coords)


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from([0.0, 1e-3, 1.0, 300.0, 1e5, 1e9, 1e15]),
    granularity=st.sampled_from([0.11, 1.0, 6.0, 10_000.0]),
    magnitude=st.sampled_from([0.0, 40.0, 10_000.0]),
    points=st.integers(1, 20),
)
def test_elastic_distortion_moves_any_room_or_names_what_is_too_fine(size, granularity, magnitude, points):
    coords = np.random.default_rng(0).uniform(-size, size, (points, 3))
    try:
        moved = augmentation.elastic(coords, granularity, magnitude, np.random.default_rng(1))
    except OtocError as error:
        assert "'elastic_granularity'" in str(error) and size > 50 * granularity
        return
    assert np.isfinite(moved).all() and np.abs(moved - coords).max() <= magnitude


def test_a_grid_of_noise_that_no_memory_holds_is_refused_before_it_is_drawn():
    generator = np.random.default_rng(0)
    with pytest.raises(OtocError, match="'elastic_granularity': noise every 0.22 voxels takes 3e\\+09 nodes in a room"):
        augmentation.elastic(np.array([[0.0, 0, 0], [300, 300, 300]]), 0.11, 40.0, generator)
    with pytest.raises(OtocError, match="'elastic_granularity'"):
        augmentation.elastic(np.array([[0.0, 0, 0], [1e300, 300, 300]]), 6.0, 40.0, generator)
    assert generator.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("most", [1, 50, 400, 3000])
def test_a_crop_keeps_a_box_with_no_more_points_than_allowed(most):
    coords = np.random.default_rng(0).uniform(0, 200, (2000, 3))
    for seed in range(5):
        keep = augmentation.crop(coords, most, np.random.default_rng(seed))
        assert 0 < keep.sum() <= most
        if most >= len(coords):
            assert keep.all()
        elif keep.sum() > 20:
            low, high = coords[keep].min(axis=0), coords[keep].max(axis=0)
            inside = ((coords >= low) & (coords <= high)).all(axis=1)
            np.testing.assert_array_equal(inside, keep)


def test_a_crop_of_points_in_one_voxel_still_ends():
    keep = augmentation.crop(np.full((100, 3), 0.5), 10, np.random.default_rng(0))
    assert keep.sum() == 10
