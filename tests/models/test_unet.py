import copy
from importlib.util import find_spec

import pytest
import torch

from otoc_lib.models.unet import ResidualBlock, UNet, count_parameters
from otoc_lib.sparse import SparseLinear, SparseTensor


def draw_room(seed: int, count: int = 150, shape=(13, 11, 7)):
    """Distinct voxels [V, 3] and their features [V, 6]."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.unique((torch.rand(count, 3, generator=generator) * torch.tensor(shape)).int(), dim=0)
    return cells, torch.randn(len(cells), 6, dtype=torch.float64, generator=generator)


def batch(*rooms, shape=(13, 11, 7), backend="auto"):
    coords = torch.cat([torch.nn.functional.pad(cells, (1, 0), value=b) for b, (cells, _) in enumerate(rooms)])
    return SparseTensor(torch.cat([features for _, features in rooms]), coords, shape, len(rooms), backend)


def test_paper_size_has_30_million_parameters():
    assert count_parameters(UNet(width=32, levels=7, num_classes=20)) == 30_106_964


def test_shapes_with_and_without_classifier():
    x = batch(draw_room(0), draw_room(1))
    features, logits = UNet(width=8, levels=3, num_classes=5).double()(x)
    assert features.shape == (len(x.features), 8) and logits.shape == (len(x.features), 5)
    assert (features >= 0).all()
    features, logits = UNet(width=8, levels=3, num_classes=None).double()(x)
    assert features.shape == (len(x.features), 8) and logits is None


def test_added_skips_take_the_sum_where_others_take_both_side_by_side():
    """The sum reaches the blocks behind it, and these are narrower by a convolution, a linear skip and a norm."""
    x = batch(draw_room(0), draw_room(1))
    torch.manual_seed(0)
    net = UNet(width=8, levels=3, num_classes=5, skip="add").double().eval()
    assert not any(isinstance(block.skip, SparseLinear) for block in net.modules() if isinstance(block, ResidualBlock))
    seen = []
    for level in (net.pyramid, net.pyramid.coarser):
        level.head.register_forward_hook(lambda module, inputs, output: seen.append(output.features))
        level.up.register_forward_hook(lambda module, inputs, output: seen.append(output.features))
        level.tail.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].features))
    net(x)
    finest, coarser, from_below, met, up, met_finest = seen
    assert torch.equal(met, coarser + from_below) and torch.equal(met_finest, finest + up)
    assert [seen[0].shape[1], seen[3].shape[1], seen[5].shape[1]] == [8, 16, 8]
    expected = 27 * (8 * 8 + 16 * 16) + 8 * 16 + 16 * 32 + 2 * (8 + 16)  # weights, linear skips and norms of 2 w
    concatenated = count_parameters(UNet(width=8, levels=3, num_classes=5))
    assert concatenated - count_parameters(net) == expected


def test_further_classifiers_answer_for_the_coarser_levels_and_change_nothing_else():
    x = batch(draw_room(0), draw_room(1))
    torch.manual_seed(0)
    plain = UNet(width=8, levels=3, num_classes=5).double()
    torch.manual_seed(0)
    net = UNet(width=8, levels=3, num_classes=5, coarse_classes=5).double()
    features, logits, coarse = net.forward_all_levels(x)
    assert torch.equal(features, plain(x)[0]) and torch.equal(logits, plain(x)[1])
    assert [of_level.shape for of_level in coarse] == [(len(x.pyramid.level(level).coords), 5) for level in (1, 2)]
    torch.stack([of_level.square().sum() for of_level in coarse]).sum().backward()
    assert all(p.grad is not None for p in net.coarse.parameters()) and net.classifier.weight.grad is None


def step(net, rooms, backend):
    """Logits and gradients of one training step from the network's present weights, which stay as they are."""
    net = copy.deepcopy(net).train()
    logits = net(batch(*rooms, backend=backend))[1]
    logits.square().mean().backward()
    return [logits.detach(), *(p.grad for p in net.parameters()), *(b for b in net.buffers() if b.is_floating_point())]


@pytest.mark.parametrize(("levels", "skip"), [(3, "concat"), (7, "concat"), (4, "add")])
def test_backends_agree_on_a_whole_training_step(levels, skip):
    """7 levels on a 13-cell grid: the coarsest levels hold one voxel a room."""
    net, rooms = UNet(width=5, levels=levels, num_classes=4, skip=skip).double(), (draw_room(0), draw_room(1, count=40))
    expected = step(net, rooms, "torch")
    others = {"numba": step(net, rooms, "numba")}
    if find_spec("spconv"):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # spconv's CPU scatter is only right on one thread
        others["spconv"] = step(net, rooms, "spconv")
        torch.set_num_threads(threads)
    for name, values in others.items():
        for value, wanted in zip(values, expected, strict=True):
            # normalising two voxels divides by their small spread, which magnifies rounding at the coarsest levels
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-7, msg=lambda text, name=name: name + text)


def test_checkpoints_move_between_backends(tmp_path):
    from safetensors.torch import load_file, save_file

    plain, compiled = (batch(draw_room(0), backend=backend) for backend in ("torch", "numba"))
    net = UNet(width=6, levels=3, num_classes=4).double()
    net(plain)  # running statistics
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    expected = net.eval()(plain)[1]
    other = UNet(width=6, levels=3, num_classes=4).double()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(other.eval()(compiled)[1], expected, rtol=0, atol=1e-12)


def test_rooms_of_a_batch_do_not_meet():
    """In evaluation mode (training shares batch statistics) a room's outputs are the same alone and in company."""
    net = UNet(width=6, levels=4, num_classes=4).double().eval()
    first, second = draw_room(0), draw_room(1)
    together = net(batch(first, second))[1]
    apart = [net(batch(room))[1] for room in (first, second)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-12)


def test_one_voxel_in_training_uses_running_statistics():
    room = torch.zeros(1, 3, dtype=torch.int32), torch.ones(1, 6, dtype=torch.float64)
    net = UNet(width=4, levels=3, num_classes=3).double().train()
    before = net.norm.running_mean.clone()
    logits = net(batch(room))[1]
    logits.sum().backward()
    assert logits.isfinite().all() and torch.equal(net.norm.running_mean, before)


def test_it_learns_two_colours():
    torch.manual_seed(0)
    cells, features = draw_room(3, count=400)
    truth = (features[:, 0] > 0).long()
    net = UNet(width=8, levels=3, num_classes=2)
    x = batch((cells, features.float()))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(25):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x)[1], truth).backward()
        optimizer.step()
    assert (net(x)[1].argmax(1) == truth).float().mean() > 0.95
