from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.supervoxels.pooling import plain_pool_mean
from otoc_lib.training import reference, voxels
from otoc_lib.training.voxels import Sample, inference_sample, make_batch, training_sample

CONFIG = config_from({"profile": "p", "experiment": "e", "voxel_size": 0.1})


def random_sample(points, seed, size=5.0):
    generator = np.random.default_rng(seed)
    return Sample(
        coords=generator.uniform(0, size, (points, 3)),
        features=generator.normal(size=(points, 6)).astype(np.float32),
        labels=generator.choice([IGNORE, IGNORE, 0, 1, 4, 7], points).astype(np.int32),
        supervoxels=np.unique(generator.integers(0, 7, points), return_inverse=True)[1].astype(np.int32),
    )


random_samples = st.lists(
    st.builds(random_sample, st.integers(1, 120), st.integers(0, 99), st.floats(0.5, 30.0)), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(samples=random_samples, most_cells=st.sampled_from([0, voxels.MOST_CELLS]))
def test_voxels_equal_those_of_sorted_points_in_grids_of_any_size(samples, most_cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voxels, "MOST_CELLS", most_cells)
        batch = make_batch(samples)
    cells, means, point_to_voxel = reference.voxelise(samples)
    np.testing.assert_array_equal(batch.coords, cells)
    np.testing.assert_array_equal(batch.features, means)
    np.testing.assert_array_equal(batch.point_to_voxel, point_to_voxel)
    assert batch.batch_size == len(samples)
    assert batch.spatial_shape == tuple(cells[:, 1:].max(axis=0) + 1)


@settings(max_examples=40, deadline=None)
@given(samples=random_samples)
def test_pairs_count_the_points_of_voxels_by_class_and_supervoxel(samples):
    batch = make_batch(samples)
    labels, supervoxels = reference.points_of(samples)
    at = batch.point_to_voxel.tolist()

    pairs = zip(batch.labels.voxels.tolist(), batch.labels.classes.tolist(), strict=True)
    counted = Counter((v, c) for v, c in zip(at, labels.tolist(), strict=True) if c != IGNORE)
    assert dict(zip(pairs, batch.labels.points.tolist(), strict=True)) == counted

    of = torch.repeat_interleave(batch.supervoxels.starts.diff()).tolist()
    counted = Counter(zip(at, supervoxels.tolist(), strict=True))
    sizes = Counter(supervoxels.tolist())
    shares = dict(zip(zip(batch.supervoxels.voxels.tolist(), of, strict=True), batch.supervoxels.shares, strict=True))
    assert shares == {pair: count / sizes[pair[1]] for pair, count in counted.items()}


@settings(max_examples=30, deadline=None)
@given(samples=random_samples, seed=st.integers(0, 99))
def test_pooling_voxels_equals_pooling_their_points_with_gradients(samples, seed):
    batch = make_batch(samples)
    _, supervoxels = reference.points_of(samples)
    size = int(supervoxels.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(batch.coords), 5, generator=generator, dtype=torch.float64, requires_grad=True)
    which = torch.randint(size, (2 * size,), generator=generator)
    for chosen in (None, which, which[:0]):
        expected = plain_pool_mean(batch.at_points(values), supervoxels, size)
        expected = expected if chosen is None else expected[chosen]
        pooled = batch.supervoxels.pool(values, chosen)
        torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-13)
        outer = torch.randn(pooled.shape, generator=generator, dtype=torch.float64)
        gradients = [torch.autograd.grad(result, values, outer)[0] for result in (pooled, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-13)


def test_a_batch_hands_its_back_end_to_its_voxels(rooms):
    sample = inference_sample(rooms[0], CONFIG, np.random.default_rng(0))
    assert make_batch([sample]).voxels.pyramid.backend == "auto"
    batch = make_batch([sample], "torch")
    assert batch.voxels.pyramid.backend == batch.to("meta").backend == "torch"


def test_a_voxel_is_the_mean_of_its_points_and_rooms_stay_apart():
    samples = [random_sample(200, 0), random_sample(130, 1)]
    batch = make_batch(samples)
    expected = {}
    for room, sample in enumerate(samples):
        for place, feature in zip(np.floor(sample.coords).astype(int), sample.features, strict=True):
            expected.setdefault((room, *place), []).append(feature)
    assert len(batch.voxels.coords) == len(expected)
    for place, feature in zip(batch.voxels.coords.tolist(), batch.voxels.features, strict=True):
        np.testing.assert_allclose(feature, np.mean(expected[tuple(place)], axis=0), atol=1e-6)
    rooms = np.repeat([0, 1], [200, 130])
    grid = np.concatenate([np.floor(sample.coords) for sample in samples])
    np.testing.assert_array_equal(batch.voxels.coords[batch.point_to_voxel], np.column_stack([rooms, grid]))


@pytest.mark.parametrize("position", ["xyz", "height"])
@pytest.mark.parametrize("elastic", [([], []), ([6.0, 20.0], [40.0, 160.0])])
def test_a_training_sample_lies_in_the_voxels_of_the_plain_one(rooms, elastic, position):
    values = {"elastic_granularity": elastic[0], "elastic_magnitude": elastic[1], "input_position": position}
    config = config_from({"profile": "p", "experiment": "e", **values})
    for seed, room in enumerate(rooms):
        sample = training_sample(room, room.labels, config, np.random.default_rng(seed))
        expected = reference.training_sample(room, room.labels, config, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.floor(sample.coords), np.floor(expected.coords))
        np.testing.assert_allclose(sample.coords, expected.coords, atol=1e-4 if elastic[0] else 1e-9)
        np.testing.assert_allclose(sample.features, expected.features, atol=1e-5)
        np.testing.assert_array_equal(sample.labels, room.labels)


def test_features_are_colour_and_metres(rooms):
    sample = inference_sample(rooms[0], CONFIG, np.random.default_rng(0))
    np.testing.assert_allclose(sample.features[:, :3], rooms[0].colors / 127.5 - 1, atol=1e-6)
    # Rotations and mirrors keep every distance to the origin.
    np.testing.assert_allclose(
        np.linalg.norm(sample.features[:, 3:], axis=1), np.linalg.norm(rooms[0].coords, axis=1), atol=1e-5
    )
    assert sample.coords.min() == 0


def test_with_height_alone_x_and_y_are_zero_in_training_and_inference(rooms):
    (scene, *_), height = rooms, replace(CONFIG, input_position="height")
    makes = [lambda c: training_sample(scene, scene.labels, c, np.random.default_rng(1)),
             lambda c: inference_sample(scene, c, np.random.default_rng(1))]  # fmt: skip
    for make in makes:
        whole, alone = make(CONFIG), make(height)
        assert whole.features[:, 3:5].any(axis=0).all() and not alone.features[:, 3:5].any()
        np.testing.assert_array_equal(alone.features[:, [0, 1, 2, 5]], whole.features[:, [0, 1, 2, 5]])
        np.testing.assert_array_equal(alone.coords, whole.coords)


def test_a_training_sample_is_a_function_of_its_generator(rooms):
    first, again, other = (
        training_sample(rooms[0], rooms[0].labels, CONFIG, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.coords, again.coords)
    assert not np.array_equal(first.features, other.features)


def test_a_cropped_sample_keeps_its_arrays_together(rooms):
    config = config_from({"profile": "p", "experiment": "e", "voxel_size": 0.02, "max_points": 500})
    room = rooms[0]
    sample = training_sample(room, room.labels, config, np.random.default_rng(0))
    assert 0 < len(sample.coords) <= 500
    assert len(sample.coords) == len(sample.features) == len(sample.labels) == len(sample.supervoxels)
    assert sample.coords.min() == 0
    assert set(sample.supervoxels) == set(range(sample.supervoxels.max() + 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_batches_go_to_a_gpu_whole(rooms):
    batch = make_batch([inference_sample(room, CONFIG, np.random.default_rng(0)) for room in rooms[:2]])
    for moved in (batch.to("cuda"), batch.pin_memory().to("cuda")):
        labels = (moved.labels.voxels, moved.labels.classes, moved.labels.points)
        for tensor in (moved.voxels.features, moved.voxels.coords, moved.point_to_voxel, *labels):
            assert tensor.is_cuda
        torch.testing.assert_close(moved.voxels.features.cpu(), batch.voxels.features)
        pooled = moved.supervoxels.pool(moved.voxels.features)
        torch.testing.assert_close(pooled.cpu(), batch.supervoxels.pool(batch.voxels.features))


@settings(max_examples=80, deadline=None)
@given(
    spans=st.lists(st.sampled_from([0.0, 1.0, 1e3, 1e6, 1e9, 2.0**31, 1e12, 1e30, 1e300]), min_size=3, max_size=3),
    rooms=st.integers(1, 3),
)
def test_a_grid_of_any_size_is_numbered_or_names_voxel_size(spans, rooms):
    samples = [replace(random_sample(20, seed), coords=np.linspace(0, 1, 20)[:, None] * spans) for seed in range(rooms)]
    try:
        batch = make_batch(samples, "torch")
    except OtocError as error:
        assert "'voxel_size'" in str(error) and (max(spans) > 2**31 - 10 or np.prod(np.add(spans, 3)) * rooms > 2**62)
        return
    assert batch.coords.min() >= 0 and len(torch.unique(batch.coords, dim=0)) == len(batch.coords)
    np.testing.assert_array_equal(batch.coords[: batch.point_to_voxel[:20].max() + 1, 1:].amax(0), np.floor(spans))
    network_map = batch.voxels.pyramid.submanifold(0, 3)  # numbers the cells with a margin
    assert network_map.num_outputs == len(batch.coords)


@pytest.mark.parametrize("size", [1e-3, 1e3, 1e7])
@pytest.mark.parametrize("voxel_size", [0.00011, 10])
@pytest.mark.parametrize("scale", [0.01, 100])
def test_rooms_of_any_size_are_voxelised_or_refused_at_the_edges_of_the_ranges(rooms, size, voxel_size, scale):
    values = {"voxel_size": voxel_size, "scale_range": [scale, scale], "jitter": 1, "color_shift": 10}
    values |= {"elastic_granularity": [0.11, 10_000], "elastic_magnitude": [10_000, 10_000], "max_points": 100}
    scene = replace(rooms[0], coords=rooms[0].coords / np.abs(rooms[0].coords).max() * np.float32(size))
    config = config_from({"profile": "p", "experiment": "e", **values})
    for make in (
        lambda: training_sample(scene, scene.labels, config, np.random.default_rng(0)),
        lambda: inference_sample(scene, config, np.random.default_rng(0)),
    ):
        try:
            batch = make_batch([make()])
        except OtocError as error:
            assert "'voxel_size'" in str(error) or "'elastic_granularity'" in str(error)
        else:
            assert torch.isfinite(batch.features).all() and (batch.coords >= 0).all()
