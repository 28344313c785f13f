import pytest
import torch
from tiny import tiny_config, true_labels

from otoc_lib.training.batches import Batches


def test_batches_differ_by_epoch_and_seed_and_cover_every_room(rooms):
    def batch_sizes(seed):
        batches = Batches(tiny_config(), rooms, true_labels(rooms), seed)
        return [batches[step][0] for step in range(4)]

    first = batch_sizes([0, 1, 0])
    assert sum(len(batch.point_to_voxel) for batch in first[:2]) == sum(room.num_points for room in rooms)
    other = batch_sizes([1, 1, 0])
    assert not torch.equal(first[0].voxels.features[:50], first[2].voxels.features[:50])
    assert not torch.equal(first[0].voxels.features[:50], other[0].voxels.features[:50])


@pytest.mark.parametrize("max_points", [10**6, 400])
def test_views_hold_the_same_points_in_the_same_order_each_augmented_anew(rooms, max_points):
    config = tiny_config(max_points=max_points)
    one = Batches(config, rooms, true_labels(rooms), [0, 1, 0])
    three = Batches(config, rooms, true_labels(rooms), [0, 1, 0], views=3)
    for step in range(2):
        (alone,), views = one[step], three[step]
        assert torch.equal(alone.features, views[0].features) and torch.equal(alone.coords, views[0].coords)
        assert len({len(view.point_to_voxel) for view in views}) == 1
        if max_points == 400:
            assert len(views[0].point_to_voxel) <= 800
        for view in views[1:]:
            assert not torch.equal(view.at_points(view.features), alone.at_points(alone.features))
            # The super-voxels of the points are the same, so those of the batch have the same labels.
            assert torch.equal(view.supervoxels.labels, alone.supervoxels.labels)
            rgb = [
                batch.at_points(batch.features)[:, :3] for batch in (view, alone)
            ]  # shifted as a whole, then averaged
            assert torch.corrcoef(torch.stack([c.flatten() - c.mean() for c in rgb]))[0, 1] > 0.7
