import numpy as np
import pytest
import torch

from otoc_lib.config import config_from
from otoc_lib.training.voxels import Sample, inference_sample, make_batch, training_sample

CONFIG = config_from({"profile": "p", "experiment": "e", "voxel_size": 0.1})


def random_sample(points, seed):
    generator = np.random.default_rng(seed)
    return Sample(
        coords=generator.uniform(0, 5, (points, 3)),
        features=generator.normal(size=(points, 6)).astype(np.float32),
        labels=generator.integers(0, 20, points),
        supervoxels=np.unique(generator.integers(0, 7, points), return_inverse=True)[1],
    )


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
    np.testing.assert_array_equal(batch.labels, np.concatenate([sample.labels for sample in samples]))
    counted = [len(np.unique(sample.supervoxels)) for sample in samples]
    assert batch.num_supervoxels == sum(counted)
    assert set(batch.supervoxels[200:].tolist()) == set(range(counted[0], sum(counted)))


def test_features_are_colour_and_metres(rooms):
    sample = inference_sample(rooms[0], CONFIG, np.random.default_rng(0))
    np.testing.assert_allclose(sample.features[:, :3], rooms[0].colors / 127.5 - 1, atol=1e-6)
    # Rotations and mirrors keep every distance to the origin.
    np.testing.assert_allclose(
        np.linalg.norm(sample.features[:, 3:], axis=1), np.linalg.norm(rooms[0].coords, axis=1), atol=1e-5
    )
    assert sample.coords.min() == 0


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
    moved = batch.to("cuda")
    for tensor in (moved.voxels.features, moved.voxels.coords, moved.point_to_voxel, moved.labels, moved.supervoxels):
        assert tensor.is_cuda
    torch.testing.assert_close(moved.voxels.features.cpu(), batch.voxels.features)
