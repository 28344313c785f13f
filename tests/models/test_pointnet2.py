"""PointNet++: its geometry against brute force and by hand, and the network as it learns."""

import itertools

import numpy as np
import pytest
import torch
from test_unet import batch, draw_room
from tiny import make_room, tiny_config, true_labels

from otoc_lib.errors import OtocError
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.models.pointnet2 import (
    BALL,
    KEPT,
    PointNet2,
    _plain_farthest,
    ball_query,
    farthest_points,
    inverse_distances,
    levels_of,
)
from otoc_lib.models.unet import count_parameters
from otoc_lib.sparse import SparseTensor
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy

SIZE = (13, 11, 7)


def cloud(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 4, (count, 3))


def distances(points, others):
    return np.linalg.norm(points[:, None] - others[None], axis=2)


def brute_farthest(points, count):
    taken, between = [0], distances(points, points)
    while len(taken) < count:
        taken.append(max(range(len(points)), key=lambda i: min(between[i, j] for j in taken)))
    return taken


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 15, 60])
def test_each_sampled_point_is_the_farthest_from_all_before(count):
    points = cloud(60)
    taken = farthest_points(points, count)
    assert taken.tolist() == brute_farthest(points, count) == _plain_farthest(points, count).tolist()
    assert taken.dtype == np.int64


def test_of_points_equally_far_the_first_is_sampled():
    grid = np.array(list(itertools.product(range(4), repeat=3)), dtype=np.float64)
    assert farthest_points(grid, 64).tolist() == _plain_farthest(grid, 64).tolist()
    assert sorted(farthest_points(grid, 64).tolist()) == list(range(64))
    corners = farthest_points(grid[grid.max(1) % 3 == 0], 3)
    assert corners.tolist() == _plain_farthest(grid[grid.max(1) % 3 == 0], 3).tolist()
    line = np.array([[0, 0, 0], [-1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float64)
    assert farthest_points(line, 3).tolist() == [0, 1, 2]


# --- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.3, 1.0, 9.0])
def test_balls_hold_the_nearest_points_within_their_radius(radius):
    points = cloud(80)
    centers = points[::7]
    rows, between = ball_query(points, centers, radius, 16), distances(centers, points)
    assert rows.shape == (len(centers), 16)
    for own, to_all in zip(rows, between, strict=True):
        inside = [int(i) for i in np.argsort(to_all) if to_all[i] < radius][:16]
        assert own.tolist() == inside + [inside[0]] * (16 - len(inside))


def test_a_ball_may_hold_its_center_alone():
    points = np.array([[0.0, 0, 0], [5, 0, 0]])
    assert ball_query(points, points[1:], 1.0, 4).tolist() == [[1, 1, 1, 1]]


def test_interpolation_by_hand():
    """Distances 1, 2 and 2 to the three nearest: weights 1, 1/4 and 1/4 of 3/2; the fourth point counts for nothing."""
    known = np.array([[0.0, 0, 9], [2, 0, 0], [0, -1, 0], [-2, 0, 0]])
    rows, weights = inverse_distances(np.zeros((1, 3)), known)
    assert rows[0, 0] == 2 and sorted(rows[0].tolist()) == [1, 2, 3]
    assert weights[0].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    rows, weights = inverse_distances(known[:1], known)
    assert rows[0, 0] == 0 and weights[0].tolist() == pytest.approx([1, 0, 0], abs=1e-9)
    rows, weights = inverse_distances(known, known[:1])
    assert (rows == 0).all() and (weights == [1, 0, 0]).all()


def test_levels_of_a_batch_are_those_of_its_rooms():
    """No ball and no interpolation reaches into another room."""
    rooms = [draw_room(seed, count)[0].numpy() for seed, count in ((0, 150), (1, 3), (2, 60))]
    coords = np.concatenate([np.pad(cells, ((0, 0), (1, 0)), constant_values=i) for i, cells in enumerate(rooms)])
    together = list(levels_of(coords))
    apart = [list(levels_of(np.pad(cells, ((0, 0), (1, 0))))) for cells in rooms]
    assert len(together) == 4
    for depth, level in enumerate(together):
        fine = coarse = 0
        for own in (of_room[depth] for of_room in apart):
            some, all_of = slice(coarse, coarse + len(own.ball)), slice(fine, fine + len(own.nearest))
            assert torch.equal(level.ball[some], own.ball + fine) and torch.equal(level.offsets[some], own.offsets)
            assert torch.equal(level.nearest[all_of], own.nearest + coarse)
            assert torch.equal(level.weights[all_of], own.weights)
            assert len(own.ball) == -(-len(own.nearest) // KEPT)
            fine, coarse = all_of.stop, some.stop
        assert (fine, coarse) == (len(level.nearest), len(level.ball))
    first, places = together[0], torch.from_numpy(coords[:, 1:]).double()
    centers = places[first.ball[:, 0]]  # the nearest point of a ball is its center
    assert torch.equal(places[first.ball] - centers[:, None], first.offsets)
    assert first.offsets.norm(dim=2).max() < 3 and together[3].offsets.norm(dim=2).max() < 24


# --- the network ------------------------------------------------------------------------------------------------------


def test_shapes_and_the_published_width():
    x = batch(draw_room(0), draw_room(1))
    features, logits = PointNet2(6, 4, 0.1, 5).double()(x)
    assert features.shape == (len(x.features), 16) and (features >= 0).all() and logits.shape == (len(x.features), 5)
    assert PointNet2(6, 4, 0.1, None).double()(x)[1] is None
    down = ((9, 32, 32, 64), (67, 64, 64, 128), (131, 128, 128, 256), (259, 256, 256, 512))
    up = ((768, 256, 256), (384, 256, 256), (320, 256, 128), (134, 128, 128, 128), (128, 128))
    weights = sum(a * b + 2 * b for widths in (*down, *up) for a, b in itertools.pairwise(widths))
    assert count_parameters(PointNet2()) == weights + 128 * 20 + 20


def test_the_first_level_by_hand():
    """Set abstraction and propagation of one level, written out for each point, against the layers of the network."""
    cells, features = draw_room(0, 40)
    torch.manual_seed(0)
    net, seen = PointNet2(6, 2, 0.1, 3).double().eval(), []
    net.down[0].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    net.down[1].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    net(batch((cells, features)))
    (rows, found), (following, _) = seen
    points = cells.double()
    centers = points[farthest_points(points.numpy(), -(-len(points) // KEPT))]
    pooled = []
    for place, center in enumerate(centers):
        inside = torch.nonzero((points - center).norm(dim=1) < 3).squeeze(1)
        assert len(inside) <= BALL
        own = torch.cat([(points[inside] - center) * 0.1, features[inside]], 1)
        pooled.append(net.down[0](own, "torch").amax(0))
        got = rows[place * BALL : (place + 1) * BALL]
        torch.testing.assert_close(torch.unique(got, dim=0), torch.unique(own, dim=0))
    torch.testing.assert_close(found.unflatten(0, (-1, BALL)).amax(1), torch.stack(pooled))
    at_centers = following.unflatten(0, (-1, BALL))[:, 0, 3:]  # the nearest of a ball is its center, with its features
    assert all((torch.stack(pooled) - own).abs().sum(1).min() < 1e-9 for own in at_centers)


@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_the_voxels_changes_nothing(training):
    torch.manual_seed(0)
    net = PointNet2(6, 4, 0.1, 5).double().train(training)
    x = batch(draw_room(0), draw_room(1))
    order = torch.randperm(len(x.features))
    shuffled = SparseTensor(x.features[order], x.coords[order], SIZE, 2)
    assert torch.equal(net(shuffled)[1], net(x)[1][order])


def test_it_depends_on_no_random_state():
    torch.manual_seed(0)
    net, x = PointNet2(6, 4, 0.1, 5).double(), batch(draw_room(0))
    torch.manual_seed(1)
    np.random.seed(1)
    first = net(x)[1]
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(net(x)[1], first)


def test_backends_agree_and_gradients_are_finite():
    torch.manual_seed(0)
    net, rooms, found = PointNet2(6, 4, 0.1, 5).double(), (draw_room(0), draw_room(1, count=2)), []
    for backend in ("torch", "numba"):
        net.zero_grad()
        logits = net(batch(*rooms, backend=backend))[1]
        logits.square().mean().backward()
        found.append([logits.detach(), *(p.grad for p in net.parameters())])
        assert all(value.isfinite().all() for value in found[-1])
        assert all(p.grad.any() for p in net.parameters())
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-9)


def test_a_room_may_be_a_single_voxel():
    room = torch.zeros(1, 3, dtype=torch.int32), torch.ones(1, 6, dtype=torch.float64)
    logits = PointNet2(6, 4, 0.1, 3).double()(batch(room))[1]
    logits.sum().backward()
    assert logits.isfinite().all()


def test_it_learns_the_tiny_rooms_in_the_training_loop(tmp_path):
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(2)]
    config = tiny_config(backbone="pointnet2", learning_rate=0.01)
    losses = []
    for folder in ("first", "again"):
        task = CrossEntropy(config, rooms, true_labels(rooms))
        (tmp_path / folder).mkdir()
        settings = {"schedule": Schedule(30, 0.01), "folder": tmp_path / folder, "key": "k", "seed": [0]}
        fit(config, task, rooms, true_labels(rooms), **settings)
        losses.append(
            [float(line.split(",")[1]) for line in (tmp_path / folder / "history.csv").open().readlines()[1:]]
        )
    assert losses[0] == losses[1] and np.mean(losses[0][-5:]) < 0.5 * np.mean(losses[0][:5])


def test_a_config_names_it_for_both_networks_and_its_loss_at_coarser_levels_is_refused():
    config = tiny_config(backbone="pointnet2")
    cells, features = draw_room(0)
    x = batch((cells, features.float()))
    unet = new_unet(config, 5)
    assert unet(x)[1].shape == (len(cells), 5) and unet.voxel_size == config.voxel_size
    assert new_relation_net(config, 5)(x).shape == (len(cells), config.relation_dim)
    with pytest.raises(OtocError, match="'coarse_loss': the backbone 'pointnet2'"):
        new_unet(tiny_config(backbone="pointnet2", coarse_loss=1.0), 5)
