import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_config

from otoc_lib.errors import OtocError
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.models.relation import RelationNet
from otoc_lib.models.unet import UNet


def assert_same_weights(net, other):
    weights, wanted = net.state_dict(), other.state_dict()
    assert weights.keys() == wanted.keys() and all(torch.equal(weights[name], wanted[name]) for name in wanted)


def test_weights_are_those_that_the_seed_draws():
    config = tiny_config(seed=3)
    size = 6, config.unet_width, config.unet_levels, config.unet_blocks
    torch.manual_seed(3)
    assert_same_weights(new_unet(config, 13), UNet(*size, num_classes=13))
    torch.manual_seed(4)
    assert_same_weights(new_relation_net(config, 13), RelationNet(UNet(*size, None), 13, config.relation_dim))


def test_building_leaves_the_random_state_of_the_caller_alone():
    torch.manual_seed(11)
    expected = torch.rand(5)
    torch.manual_seed(11)
    new_unet(tiny_config(), 20)
    new_relation_net(tiny_config(), 20)
    assert torch.equal(torch.rand(5), expected)


def test_a_loss_at_coarser_levels_gives_both_networks_classifiers_there():
    config = tiny_config(coarse_loss=2)
    levels = config.unet_levels - 1
    for net in (new_unet(config, 13), new_relation_net(config, 13).backbone):
        assert [coarse.classifier.out_features for coarse in net.coarse] == [13] * levels


def test_a_backbone_without_such_classifiers_is_refused_only_where_the_loss_needs_them(monkeypatch):
    def new_backbone(config, in_channels, num_classes):
        return UNet(in_channels, 4, 2, 1, num_classes)

    monkeypatch.setitem(sys.modules, "otoc_lib.models.plain", SimpleNamespace(new_backbone=new_backbone))
    config = dataclasses.replace(tiny_config(), backbone="plain")
    assert new_unet(config, 5).classifier.out_features == 5
    with pytest.raises(OtocError, match="'coarse_loss': the backbone 'plain' has no classifiers at coarser levels"):
        new_unet(dataclasses.replace(config, coarse_loss=1.0), 5)
