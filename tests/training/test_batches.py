import torch
from tiny import tiny_config, true_labels

from otoc_lib.training.batches import Batches


def test_batches_differ_by_epoch_and_seed_and_cover_every_room(rooms):
    def batch_sizes(seed):
        batches = Batches(tiny_config(), rooms, true_labels(rooms), seed)
        return [batches[step] for step in range(4)]

    first = batch_sizes([0, 1, 0])
    assert sum(len(batch.point_to_voxel) for batch in first[:2]) == sum(room.num_points for room in rooms)
    other = batch_sizes([1, 1, 0])
    assert not torch.equal(first[0].voxels.features[:50], first[2].voxels.features[:50])
    assert not torch.equal(first[0].voxels.features[:50], other[0].voxels.features[:50])
