import torch
from torch.nn.functional import normalize

from otoc_lib.models.relation import RelationNet, sample_supervoxels
from otoc_lib.models.unet import UNet


def test_prototypes_move_by_momentum_and_absent_classes_keep_theirs():
    net = RelationNet(UNet(6, 4, 2, 1, None), num_classes=3, dim=5, momentum=0.9).double()
    before = net.prototypes.clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(3, dtype=torch.float64))
    embeddings = normalize(torch.randn(4, 5, dtype=torch.float64), dim=1)
    net.update_prototypes(embeddings, torch.tensor([0, 2, 2, 0]))
    for label, rows in ((0, [0, 3]), (2, [1, 2])):
        expected = 0.9 * before[label] + 0.1 * (embeddings[rows[0]] + embeddings[rows[1]]) / 2
        torch.testing.assert_close(net.prototypes[label], expected / expected.norm())
    assert torch.equal(net.prototypes[1], before[1])


def test_logits_are_cosines_over_the_temperature():
    net = RelationNet(UNet(6, 4, 2, 1, None), num_classes=3, dim=5, temperature=0.07)
    logits = net.logits(net.prototypes)
    torch.testing.assert_close(logits.diagonal(), torch.full((3,), 1 / 0.07))


def test_the_bank_is_saved_with_the_weights():
    assert "prototypes" in RelationNet(UNet(6, 4, 2, 1, None)).state_dict()


def test_sampling_is_even_over_the_classes_present_with_replacement_when_short():
    classes = torch.tensor([0] * 50 + [4] * 3 + [7])
    drawn = sample_supervoxels(classes, 20, torch.Generator().manual_seed(0))
    assert torch.bincount(classes[drawn], minlength=8).tolist() == [20, 0, 0, 0, 20, 0, 0, 20]
    assert len(drawn[classes[drawn] == 0].unique()) == 20  # without replacement where there are enough
    again = sample_supervoxels(classes, 20, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    assert len(sample_supervoxels(classes[:0], 20, torch.Generator())) == 0
