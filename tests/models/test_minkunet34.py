"""MinkUNet34 against a slow one on dense grids, which reads the public layout in a way of its own."""

import dataclasses

import pytest
import torch
from test_unet import batch, draw_room, step
from tiny import tiny_config
from torch.nn import functional

from otoc_lib.errors import OtocError
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.models.minkunet34 import MinkUNet34, from_published
from otoc_lib.models.unet import count_parameters

DOWN = {1: "conv1p1s2", 2: "conv2p2s2", 3: "conv3p4s2", 4: "conv4p8s2"}
UP = {4: "convtr4p16s2", 5: "convtr5p8s2", 6: "convtr6p4s2", 7: "convtr7p2s2"}
SHAPE = (13, 11, 7)


def published(unit: int, in_channels: int, classes: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict as MinkowskiEngine's MinkUNet34C writes it, of random numbers, with planes in parts of 32."""
    planes = [unit * plane // 32 for plane in (32, 64, 128, 256, 256, 128, 96, 96)]
    generator, state = torch.Generator().manual_seed(seed), {}

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def conv(name, offsets, before, after):
        state[f"{name}.kernel"] = (
            draw(*([offsets] if offsets > 1 else []), before, after) * (9 / (offsets * before)) ** 0.5
        )

    def norm(name, channels):
        state[f"{name}.bn.weight"], state[f"{name}.bn.bias"] = 1 + 0.2 * draw(channels), 0.2 * draw(channels)
        state[f"{name}.bn.running_mean"] = 0.2 * draw(channels)
        state[f"{name}.bn.running_var"] = (0.2 * draw(channels)).exp()
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)

    def blocks(name, before, after, count):
        for i in range(count):
            conv(f"{name}.{i}.conv1", 27, after if i else before, after)
            norm(f"{name}.{i}.norm1", after)
            conv(f"{name}.{i}.conv2", 27, after, after)
            norm(f"{name}.{i}.norm2", after)
            if i == 0 and before != after:
                conv(f"{name}.{i}.downsample.0", 1, before, after)
                norm(f"{name}.{i}.downsample.1", after)

    conv("conv0p1s1", 125, in_channels, unit)
    norm("bn0", unit)
    before = unit
    for level, count in zip((1, 2, 3, 4), (2, 3, 4, 6), strict=True):
        conv(DOWN[level], 8, before, before)
        norm(f"bn{level}", before)
        blocks(f"block{level}", before, planes[level - 1], count)
        before = planes[level - 1]
    for level, beside in zip((4, 5, 6, 7), (planes[2], planes[1], planes[0], unit), strict=True):
        conv(UP[level], 8, before, planes[level])
        norm(f"bntr{level}", planes[level])
        blocks(f"block{level + 1}", planes[level] + beside, planes[level], 2)
        before = planes[level]
    conv("final", 1, before, classes)
    state["final.bias"] = draw(1, classes)
    return state


class Dense:
    """The public network on dense grids [B, C, X, Y, Z], with a mask of the voxels that are there, in evaluation."""

    def __init__(self, state):
        self.state = state

    def kernel(self, name, side):
        """[C_in, C_out, x, y, z]; in the file the offset along x runs fastest."""
        return self.state[f"{name}.kernel"].unflatten(0, (side, side, side)).permute(3, 4, 2, 1, 0)

    def conv(self, name, side, x, mask):
        return functional.conv3d(x, self.kernel(name, side).transpose(0, 1), padding=side // 2) * mask

    def norm(self, name, x, mask):
        weight, bias, mean, variance = (
            self.state[f"{name}.bn.{kind}"][:, None, None, None]
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        return ((x - mean) / (variance + 1e-5).sqrt() * weight + bias) * mask

    def blocks(self, name, x, mask):
        for i in range(6):
            if f"{name}.{i}.conv1.kernel" in self.state:
                y = self.norm(f"{name}.{i}.norm1", self.conv(f"{name}.{i}.conv1", 3, x, mask), mask).relu()
                y = self.norm(f"{name}.{i}.norm2", self.conv(f"{name}.{i}.conv2", 3, y, mask), mask)
                if f"{name}.{i}.downsample.0.kernel" in self.state:
                    linear = torch.einsum("bixyz,io->boxyz", x, self.state[f"{name}.{i}.downsample.0.kernel"])
                    x = self.norm(f"{name}.{i}.downsample.1", linear, mask)
                x = (y + x).relu()
        return x

    def __call__(self, x, mask):
        x = self.norm("bn0", self.conv("conv0p1s1", 5, x, mask), mask).relu()
        beside, masks = [x], [mask]
        for level, name in DOWN.items():
            mask = functional.max_pool3d(mask, 2)
            x = functional.conv3d(x, self.kernel(name, 2).transpose(0, 1), stride=2)
            x = self.blocks(f"block{level}", self.norm(f"bn{level}", x, mask).relu(), mask)
            beside.append(x)
            masks.append(mask)
        for level, name in UP.items():
            mask, finer = masks[7 - level], beside[7 - level]
            x = functional.conv_transpose3d(x, self.kernel(name, 2), stride=2)
            x = torch.cat([self.norm(f"bntr{level}", x, mask).relu(), finer], 1)
            x = self.blocks(f"block{level + 1}", x, mask)
        return torch.einsum("bixyz,io->boxyz", x, self.state["final.kernel"]) + self.state["final.bias"].view(
            -1, 1, 1, 1
        )


def dense_logits(state, rooms):
    """Logits [V, C] of the voxels of some rooms, in their order."""
    grid = torch.zeros(len(rooms), rooms[0][1].shape[1], 16, 16, 16, dtype=torch.float64)
    mask = torch.zeros(len(rooms), 1, 16, 16, 16, dtype=torch.float64)
    for room, (cells, features) in enumerate(rooms):
        x, y, z = cells.long().T
        grid[room, :, x, y, z] = features.T
        mask[room, 0, x, y, z] = 1
    logits = Dense(state)(grid, mask)
    return torch.cat([logits[room][:, *cells.long().T].T for room, (cells, _) in enumerate(rooms)])


def loaded(state, unit, in_channels, classes):
    net = MinkUNet34(in_channels, unit, classes).double()
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_public_state_gives_the_logits_of_a_dense_network(backend):
    rooms = draw_room(0), draw_room(1, count=40)
    state = published(2, 6, 5)
    net = loaded(from_published(state), 2, 6, 5)
    expected = dense_logits(state, rooms)
    assert expected.std() > 0.1  # the ReLUs have not cut everything
    torch.testing.assert_close(net(batch(*rooms, backend=backend))[1], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layer", ["conv0p1s1", "conv1p1s2", "block8.0.conv1", "convtr7p2s2"])
def test_the_order_of_the_offsets_matters(layer):
    """Of every kind of kernel: so the test above would have noticed another one."""
    rooms = (draw_room(0),)
    state = published(2, 6, 5)
    net = loaded(from_published(state) | {f"{layer}.weight": state[f"{layer}.kernel"]}, 2, 6, 5)
    assert (net(batch(*rooms))[1] - dense_logits(state, rooms)).abs().max() > 0.01


def test_a_network_of_colours_alone_says_the_same_of_colours_beside_a_position():
    state = published(2, 3, 5)
    cells, features = draw_room(0)
    net = loaded(from_published(state), 2, 6, 5)
    expected = dense_logits(state, [(cells, features[:, :3] / 2)])  # it takes colours from -0.5 to 0.5
    torch.testing.assert_close(net(batch((cells, features)))[1], expected, rtol=1e-9, atol=1e-9)


def test_the_published_width_has_the_published_planes():
    net, state = MinkUNet34(6, 32, 20), published(32, 6, 20)
    ours = {name: value.shape for name, value in net.state_dict().items()}
    assert {name: value.shape for name, value in from_published(state).items()} == ours
    trained = [value for name, value in state.items() if name.rpartition(".")[2] in ("kernel", "weight", "bias")]
    assert count_parameters(net) == sum(value.numel() for value in trained) == pytest.approx(37.9e6, rel=1e-2)


def test_what_is_in_no_public_layout_is_handed_on():
    odd = {"a.kernel": torch.ones(7, 2, 3), "b.kernel": torch.ones(()), "c": torch.ones(2)}
    assert {name.lstrip("."): value.shape for name, value in from_published(odd).items()} == {
        "a.weight": (7, 2, 3), "b.weight": (), "c": (2,)
    }  # fmt: skip


def test_backends_agree_on_a_whole_training_step():
    rooms = draw_room(0), draw_room(1, count=40)
    torch.manual_seed(0)
    net = MinkUNet34(6, 4, 5).double()
    for value, wanted in zip(step(net, rooms, "numba"), step(net, rooms, "torch"), strict=True):
        # normalising a few voxels divides by their small spread, which magnifies rounding at the coarsest levels
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-7)


def test_a_config_names_it_for_both_networks_with_classifiers_at_its_coarser_levels():
    config = tiny_config(backbone="minkunet34", unet_width=4, coarse_loss=1.0)
    cells, features = draw_room(0)
    x = batch((cells, features.float()))
    voxels = [len(x.pyramid.level(level).coords) for level in range(5)]
    unet, relation = new_unet(config, 5), new_relation_net(config, 5)
    features, logits, coarse = unet.forward_all_levels(x)
    assert features.shape == (voxels[0], 12) and (features >= 0).all() and logits.shape == (voxels[0], 5)
    assert [of_level.shape for of_level in coarse] == [(count, 5) for count in voxels[1:]]
    embeddings, coarse = relation.forward_all_levels(x)
    assert embeddings.shape == (voxels[0], config.relation_dim) and len(coarse) == 4
    sum(of_level.square().sum() for of_level in (logits, *unet.forward_all_levels(x)[2])).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in unet.coarse.parameters())
    wide = dataclasses.replace(config, unet_width=1024)
    with pytest.raises(OtocError, match="'unet_width': at 1024 the backbone minkunet34 has about 3.9e"):
        new_unet(wide, 5)
