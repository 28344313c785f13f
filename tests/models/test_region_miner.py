"""The four paths against loops over voxels, closed gates, and rooms of a batch that do not see each other."""

import numpy as np
import pytest
import torch

from otoc_lib.errors import OtocError
from otoc_lib.models import region_miner
from otoc_lib.models.region_miner import ChannelAttention, PointwiseAttention, RegionMiner, SpatialAttention
from otoc_lib.models.unet import UNet
from otoc_lib.sparse import SparseTensor

CHANNELS, CLASSES, VOXELS = 24, 5, 40


@pytest.fixture
def features():
    return torch.relu(torch.randn(VOXELS, CHANNELS, generator=torch.Generator().manual_seed(0)))


def path_of(kind, gate=None):
    torch.manual_seed(1)
    path = kind(CHANNELS, CLASSES)
    if gate is not None:
        torch.nn.init.constant_(path.gate, gate)
    return path


def softmax(row):
    raised = np.exp(row - row.max())
    return raised / raised.sum()


def arrays(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


def applied(layer, x):
    weight, bias = arrays(layer.weight, layer.bias)
    return x @ weight.T + bias


def test_closed_gates_leave_plain_classifiers(features):
    spatial, channel = path_of(SpatialAttention), path_of(ChannelAttention)
    assert float(spatial.gate.detach()) == float(channel.gate.detach()) == 0
    torch.testing.assert_close(spatial(features), spatial.classify(spatial.reduce(features)))
    torch.testing.assert_close(channel(features), channel.classify(features))
    for kind in (SpatialAttention, ChannelAttention):
        assert (path_of(kind, gate=0.5)(features) - path_of(kind)(features)).abs().max() > 1e-4


def test_the_spatial_path_voxel_by_voxel(features):
    path = path_of(SpatialAttention, gate=0.7)
    (x,) = arrays(features)
    y = applied(path.reduce, x)
    q, k, v = (applied(layer, y) for layer in (path.query, path.key, path.value))
    rows = [softmax(np.array([q[i] @ k[j] for j in range(VOXELS)])) for i in range(VOXELS)]
    gathered = np.stack([sum(a * v[j] for j, a in enumerate(row)) for row in rows])
    expected = applied(path.classify, y + 0.7 * gathered)
    np.testing.assert_allclose(path(features).detach().numpy(), expected, atol=1e-4)
    torch.testing.assert_close(path.attention(path.reduce(features)).sum(dim=1), torch.ones(VOXELS))


def test_the_channel_path_channel_by_channel(features):
    path = path_of(ChannelAttention, gate=0.7)
    (x,) = arrays(features / 5)
    supported = np.zeros_like(x)
    for i in range(CHANNELS):
        energy = np.array([x[:, i] @ x[:, j] for j in range(CHANNELS)])
        supported[:, i] = sum(a * x[:, j] for j, a in enumerate(softmax(energy.max() - energy)))
    expected = applied(path.classify, x + 0.7 * supported)
    np.testing.assert_allclose(path(features / 5).detach().numpy(), expected, atol=1e-4)
    torch.testing.assert_close(path.attention(features).sum(dim=1), torch.ones(CHANNELS))


def test_the_pointwise_path_voxel_by_voxel(features):
    path = path_of(PointwiseAttention)
    (x,) = arrays(features)
    q, k, v = (applied(layer, x) for layer in (path.query, path.key, path.value))
    gathered = np.stack([sum((q[i] @ k[j]) / VOXELS * v[j] for j in range(VOXELS)) for i in range(VOXELS)])
    expected = applied(path.classify, np.concatenate([x, gathered], axis=1))
    np.testing.assert_allclose(path(features).detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", [SpatialAttention, ChannelAttention, PointwiseAttention])
def test_maps_follow_the_voxels_and_are_even_in_even_rooms(features, kind):
    path = path_of(kind)
    if hasattr(path, "gate"):
        torch.nn.init.constant_(path.gate, 0.5)
    order = torch.randperm(VOXELS, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(path(features[order]), path(features)[order], atol=1e-4, rtol=1e-4)
    even = path(features[:1].expand(VOXELS, -1).contiguous())
    torch.testing.assert_close(even, even[:1].expand(VOXELS, -1), atol=1e-5, rtol=1e-5)


def voxels_of(*rooms):
    """A batch of rooms of random voxels, so many each; the same voxels for a room wherever it stands."""
    coords, features = [], []
    for place, (seed, count) in enumerate(rooms):
        generator = np.random.default_rng(seed)
        cells = np.unique(generator.integers(0, 12, (count, 3)), axis=0)
        coords.append(np.column_stack([np.full(len(cells), place), cells]))
        features.append(generator.normal(size=(len(cells), 6)))
    return SparseTensor(
        torch.from_numpy(np.concatenate(features)).float(),
        torch.from_numpy(np.concatenate(coords)),
        (12, 12, 12),
        len(rooms),
    )


def miner(levels=2, paths=4):
    torch.manual_seed(0)
    model = RegionMiner(6, 8, levels, 1, CLASSES, paths).eval()
    for path in model.paths[1:3]:
        torch.nn.init.constant_(path.gate, 0.5)
    return model


@pytest.mark.parametrize("paths", [1, 2, 3])
def test_fewer_paths_are_the_first_of_all(paths):
    room = voxels_of((0, 90))
    (few,), (all_four,) = miner(paths=paths)(room), miner()(room)
    assert few.shape[0] == paths and all_four.shape[0] == 4
    torch.testing.assert_close(few, all_four[:paths])


def test_a_room_has_the_same_maps_in_any_batch():
    alone, (_, second) = miner()(voxels_of((1, 90))), miner()(voxels_of((0, 200), (1, 90)))
    assert len(alone) == 1 and alone[0].shape[0] == 4 and alone[0].shape[2] == CLASSES
    torch.testing.assert_close(alone[0], second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_maps_lie_on_the_voxels_of_the_coarsest_level(levels):
    x = voxels_of((0, 200), (1, 90))
    maps = miner(levels)(x)
    coarse = x.pyramid.level(levels - 1).coords
    assert [room.shape[1] for room in maps] == torch.bincount(coarse[:, 0]).tolist()


def test_the_mean_of_the_plain_map_is_the_logit_of_the_mean_feature():
    model, x = miner(), voxels_of((0, 200))
    (maps,) = model(x)
    features = model.encoder(x).features
    torch.testing.assert_close(maps[0].mean(dim=0), model.paths[0](features.mean(dim=0, keepdim=True))[0])


def test_the_encoder_is_the_way_down_of_the_u_net():
    """With the U-Net's weights in it, its features are those that the U-Net's coarsest level begins with."""
    unet, model, x = UNet(6, 8, 2, 1, CLASSES).eval(), miner(2), voxels_of((0, 200))
    top = unet.pyramid
    parts = [unet.stem, *top.head, *top.down, *top.coarser.head]
    for own, theirs in zip(model.encoder.body, parts, strict=False):
        own.load_state_dict(theirs.state_dict())
    y = x
    for part in parts:
        y = part(y)
    torch.testing.assert_close(model.encoder(x).features, model.encoder.body[-1](y).features)


def test_rooms_too_large_to_compare_all_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(region_miner, "MOST_VOXELS", 50)
    with pytest.raises(OtocError, match="'map_voxel': a ball has .* raise it, or lower 'subcloud_radius'"):
        miner()(voxels_of((0, 200)))
