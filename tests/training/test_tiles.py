"""Prediction tile by tile says what prediction of the whole scan says, and takes no more memory for more tiles."""

import numpy as np
import pytest
import torch
from memory import in_own_process, peak
from tiny import make_room, tiny_config, true_labels

from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.models.minkunet34 import MinkUNet34
from otoc_lib.models.unet import UNet
from otoc_lib.scene import Scene, densify
from otoc_lib.sparse import SparseTensor
from otoc_lib.tiling import tiling
from otoc_lib.training.batches import Batches
from otoc_lib.training.predict import predict, reach, view_batch, view_of
from otoc_lib.training.voxels import make_batch, tile_sample

SMALL = {"unet_levels": 2, "unet_width": 4, "voxel_size": 0.1}


def hall(length: float, width: float = 3.5, spacing: float = 0.07) -> Scene:
    """A long room with boxes on its floor; super-voxels are cells of 1.5 m, some of which cross every border."""
    generator = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(0, length, spacing), np.arange(0, width, spacing), indexing="ij")
    z = 0.5 * ((x % 1.7 > 0.9) & (y % 1.3 > 0.6))
    coords = np.stack([x, y, z], axis=-1).reshape(-1, 3) + generator.normal(scale=0.01, size=(x.size, 3))
    coords -= coords.mean(axis=0)
    cells = np.floor(coords / 1.5).astype(int) + 1000
    return Scene(
        name="hall",
        coords=coords.astype(np.float32),
        colors=generator.integers(0, 255, coords.shape).astype(np.uint8),
        supervoxels=densify(cells[:, 0] * 10_000 + cells[:, 1]),
        labels=None,
        instances=None,
        origin=np.zeros(3),
        label_set=SCANNET20,
    )


def networks(config):
    """Both, with statistics of batch normalisation as if they had been trained on a hall."""
    made = new_unet(config, 20), new_relation_net(config, 20)
    batch = view_batch(config, hall(5), 0)
    for network in made:
        for _ in range(20):
            network(batch.voxels)
        network.eval()
    return made


# --- how far a network looks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        *(UNet(2, 2, levels, blocks, 3) for levels, blocks in ((1, 1), (1, 2), (2, 1), (3, 2), (4, 1))),
        UNet(2, 2, 3, 1, 3, skip="add"),
        MinkUNet34(2, 2, 3),
    ],
    ids=lambda network: f"{type(network).__name__} {network.receptive_field}",
)
def test_gradients_end_where_the_receptive_field_does(network):
    """On a line of voxels with positive weights no gradient vanishes within the field, and none is beyond."""
    for parameter in network.parameters():
        parameter.data.abs_()
    network.double().eval()
    field, middle = network.receptive_field, 4 * network.receptive_field // (4 * network.coarsest) * network.coarsest
    length = middle + 2 * field + 2 * network.coarsest
    coords = torch.zeros(length, 4, dtype=torch.int32)
    coords[:, 1] = torch.arange(length)
    features = torch.ones(length, 2, dtype=torch.float64, requires_grad=True)
    _, logits = network(SparseTensor(features, coords, (length, 1, 1), 1, "torch"))
    farthest = 0
    for place in range(middle, middle + network.coarsest):  # every place within a voxel of the coarsest level
        (gradient,) = torch.autograd.grad(logits[place].sum(), features, retain_graph=True)
        seen = torch.nonzero(gradient.abs().sum(dim=1)).squeeze(1)
        farthest = max(farthest, int((seen - place).abs().max()))
    assert farthest == field


# --- the same as the whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation", [{"rotate": False}, {"rotation_step": 90.0}, {}])
def test_in_float64_a_tile_says_the_same_of_every_point_farther_than_the_field_from_its_border(rotation):
    config, scene = tiny_config(**SMALL, **rotation), hall(11)
    unet = networks(config)[0].double()
    matrix, low = view_of(config, scene, 0)

    def logits(part):
        batch = make_batch([tile_sample(part, config, matrix, low, unet.coarsest)])
        batch.features = batch.features.double()
        with torch.no_grad():
            return unet(batch.voxels)[1][batch.point_to_voxel]

    whole, depth = logits(scene), reach(config, unet)
    assert depth == pytest.approx((1 + 9 + 1) * 0.1 * (2**0.5 if not rotation else 1))
    tiles, differ, inside = tiling(scene.coords, 5.5, 0.4), 0, 0
    for tile, (start,) in zip(tiles, zip(tiles.starts[0], strict=True), strict=True):
        found = logits(scene.part(tile.points))
        x = scene.coords[tile.points, 0]
        ends = [start if start > tiles.starts[0][0] else -np.inf]
        ends.append(start + tiles.sides[0] if start < tiles.starts[0][-1] else np.inf)
        deep = (x - ends[0] > depth) & (ends[1] - x > depth)
        inside += deep.sum()
        torch.testing.assert_close(found[deep], whole[tile.points[deep]], rtol=0, atol=1e-12)
        assert torch.equal(found[deep].argmax(1), whole[tile.points[deep]].argmax(1))
        differ += int((found[~deep] - whole[tile.points[~deep]]).abs().max() > 1e-6)
    assert differ == len(tiles) > 2 and inside > scene.num_points / 4  # else the test could not fail


@pytest.mark.parametrize("views", [1, 3])
def test_with_an_overlap_of_twice_the_field_tiles_are_joined_without_a_seam(views):
    config, scene = tiny_config(**SMALL, rotation_step=90.0, views=views), hall(11)
    unet, relation = networks(config)
    overlap = 2 * reach(config, unet) / 5
    tiled = tiny_config(**SMALL, rotation_step=90.0, views=views, tile_metres=5.0, tile_overlap=overlap)
    assert len(tiling(scene.coords, 5.0, overlap)) > 2
    whole, joined = (predict(c, scene, unet, relation) for c in (config, tiled))
    for name, expected in vars(whole).items():  # of the super-voxels too, which cross the borders
        torch.testing.assert_close(getattr(joined, name), expected, rtol=0, atol=2e-6)
    assert torch.equal(joined.probabilities.argmax(1), whole.probabilities.argmax(1))
    alone = predict(tiled, scene, unet, None)
    assert alone.relation_features is None and torch.equal(alone.probabilities, joined.probabilities)


def test_without_overlap_there_are_seams():
    """What the tests above would see if tiles were cut wrong."""
    config, tiled = (tiny_config(**SMALL, tile_metres=side, tile_overlap=0) for side in (None, 3.0))
    scene, (unet, _) = hall(11), networks(config)
    whole, joined = (predict(c, scene, unet, None).probabilities for c in (config, tiled))
    assert (whole - joined).abs().max() > 1e-4


def beside_and_tiles(*lengths: int) -> tuple[dict[int, int], dict[int, int]]:
    """Bytes that prediction takes beside the class probabilities of a hall's points, and how many tiles it has."""
    config = tiny_config(**SMALL, tile_metres=4.0, views=2)
    unet, relation = networks(config)
    beside, tiles = {}, {}
    predict(config, hall(6), unet, relation)  # what is compiled is no matter of the scan
    for length in lengths:
        scene = hall(length, width=8.0, spacing=0.03)
        taken = peak(lambda scene=scene: predict(config, scene, unet, relation))
        kept = scene.num_points * 4 * 20
        beside[length], tiles[length] = taken - kept, len(tiling(scene.coords, 4.0, 0.25))
    return beside, tiles


def test_memory_does_not_grow_with_the_number_of_tiles():
    beside, tiles = in_own_process(beside_and_tiles, 12, 48)
    assert tiles[48] > 3.5 * tiles[12]
    assert beside[48] < 1.3 * beside[12]


# --- training ---------------------------------------------------------------------------------------------------------


def test_every_tile_of_a_large_scan_is_a_room_of_an_epoch():
    scene = hall(11)
    labels = (np.arange(scene.num_points) % 5).astype(np.int16)
    labels[::2] = IGNORE
    config = tiny_config(**SMALL, tile_metres=4.0, batch_size=1, jitter=0.0, rotate=False, flip=False)
    batches = Batches(config, [scene], {scene.name: labels}, [0], groups={scene.name: np.arange(scene.num_points)})
    tiles = list(tiling(scene.coords, 4.0, 0.25))
    assert batches.per_epoch == len(tiles) > 2
    seen = [batches[step][0].groups.numpy() for step in range(len(tiles))]
    assert {tuple(points) for points in seen} == {tuple(tile.points) for tile in tiles}
    for index, tile in enumerate(tiles):
        part, used, groups = batches.room(index)
        assert np.array_equal(part.coords, scene.coords[tile.points])
        assert np.array_equal(used, labels[tile.points]) and np.array_equal(groups, tile.points)
        same = scene.supervoxels[tile.points]
        assert (
            len(np.unique(same)) == part.num_supervoxels == len(np.unique(np.stack([same, part.supervoxels]), axis=1).T)
        )


def test_batches_of_rooms_are_the_same_with_tiles_larger_than_they():
    rooms = [make_room(name, seed) for seed, name in enumerate("ab")]
    plain, tiled = (
        Batches(tiny_config(tile_metres=side), rooms, true_labels(rooms), [0])[3][0] for side in (None, 2.5)
    )
    assert torch.equal(plain.features, tiled.features) and torch.equal(plain.coords, tiled.coords)


def test_a_step_takes_no_more_memory_of_a_larger_scan():
    config = tiny_config(**SMALL, tile_metres=4.0, batch_size=1)
    taken = {}
    for length in (12, 96):
        scene = hall(length, width=8.0, spacing=0.03)
        labels = {scene.name: np.zeros(scene.num_points, np.int16)}
        batches = Batches(config, [scene], labels, [0])
        batches[0]
        taken[length] = peak(lambda batches=batches: batches[1])
    assert taken[96] < taken[12] + 4 * scene.num_points  # some flags of the points of the whole, a byte each
