import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from voxel_cases import CASES, draw_voxels

from otoc_lib.errors import OtocError
from otoc_lib.sparse import Pyramid, SparseTensor, maps


def pair_set(kernel_map):
    """The pairs of a map as {(offset, input row, output row)}."""
    offsets = torch.repeat_interleave(torch.tensor(kernel_map.starts).diff())
    return set(zip(offsets.tolist(), kernel_map.inputs.tolist(), kernel_map.outputs.tolist(), strict=True))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_submanifold_pairs_are_the_voxels_one_offset_apart(case, kernel_size):
    coords, shape, rooms = draw_voxels(case)
    rows = {tuple(c): row for row, c in enumerate(coords.tolist())}
    radius = kernel_size // 2
    steps = range(-radius, radius + 1)
    offsets = [(x, y, z) for x in steps for y in steps for z in steps]
    expected = {
        (k, rows[neighbour], row)
        for (b, x, y, z), row in rows.items()
        for k, (dx, dy, dz) in enumerate(offsets)
        if (neighbour := (b, x + dx, y + dy, z + dz)) in rows
    }
    kernel_map = Pyramid(coords, shape, rooms).submanifold(0, kernel_size)
    assert pair_set(kernel_map) == expected
    assert len(kernel_map.inputs) == len(expected)


@pytest.mark.parametrize("case", CASES)
def test_every_voxel_has_one_parent_and_turned_pairs_are_the_way_back(case):
    coords, shape, rooms = draw_voxels(case)
    pyramid = Pyramid(coords, shape, rooms)
    down, up, coarse = pyramid.down(0), pyramid.up(1), pyramid.level(1)
    assert coarse.spatial_shape == tuple(-(-s // 2) for s in shape)
    assert sorted(down.inputs.tolist()) == list(range(len(coords)))
    assert pair_set(up) == {(k, output, row) for k, row, output in pair_set(down)}
    assert sorted(enumerate(pyramid.parents(0).tolist())) == sorted((row, parent) for _, row, parent in pair_set(down))
    for k, row, parent in pair_set(down):
        b, x, y, z = coarse.coords[parent].tolist()
        assert coords[row].tolist() == [b, 2 * x + k // 4, 2 * y + k // 2 % 2, 2 * z + k % 2]


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_compiled_maps_equal_their_plain_twins(case, in_order, kernel_size, monkeypatch):
    coords, shape, rooms = draw_voxels(case)
    coords = torch.unique(coords, dim=0) if in_order else coords
    compiled = Pyramid(coords, shape, rooms)
    built = [
        (compiled.submanifold(level, kernel_size), compiled.down(level), compiled.up(level + 1)) for level in range(4)
    ]
    monkeypatch.setattr(maps, "_compiled_neighbour_pairs", maps._neighbour_pairs)
    monkeypatch.setattr(maps, "_compiled_halves", maps._halves)
    monkeypatch.setattr(maps, "_compiled_cells", maps._plain_cells)
    plain = Pyramid(coords, shape, rooms)
    for level, three in enumerate(built):
        for fast, slow in zip(
            three, (plain.submanifold(level, kernel_size), plain.down(level), plain.up(level + 1)), strict=True
        ):
            assert fast.starts == slow.starts
            assert (fast.num_inputs, fast.num_outputs) == (slow.num_inputs, slow.num_outputs)
            assert fast.inputs.dtype == slow.inputs.dtype == torch.int32
            assert torch.equal(fast.inputs, slow.inputs) and torch.equal(fast.outputs, slow.outputs)
        assert torch.equal(compiled.level(level).coords, plain.level(level).coords)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 9), st.integers(1, 5))
def test_blocks_cut_the_pairs_by_output_row(seed, x, y, z):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.unique((torch.rand(400, 4, generator=generator) * torch.tensor([2, x, y, z])).int(), dim=0)
    kernel_map = Pyramid(coords, (x, y, z), 2).submanifold(0, 3)
    segments, rows = kernel_map.blocks
    assert segments[:, 0].tolist() == list(kernel_map.starts[:-1])
    assert segments[:, -1].tolist() == list(kernel_map.starts[1:])
    for segment in segments:
        for block, (start, stop) in enumerate(zip(segment[:-1], segment[1:], strict=True)):
            assert (kernel_map.outputs[start:stop] // rows == block).all()


def test_maps_are_built_once_and_shared():
    coords, shape, rooms = draw_voxels("odd")
    x = SparseTensor(torch.zeros(len(coords), 2), coords, shape, rooms)
    other = SparseTensor.on(x.pyramid, torch.ones(len(coords), 5))
    assert x.with_features(x.features + 1).pyramid is other.pyramid is x.pyramid
    assert x.pyramid.submanifold(1, 3) is other.pyramid.submanifold(1, 3)
    assert x.pyramid.down(1) is other.pyramid.down(1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1, 1, 1], [0, 2, 1, 1], [0, 1, 1, 1]], "same cell"),
        ([[0, 1, 1, 4]], "leave the grid"),
        ([[0, -1, 1, 1]], "leave the grid"),
        ([[2, 1, 1, 1]], "leave the grid"),
        ([[1, 1, 1]], "expected integers"),
        (torch.zeros(0, 4, dtype=torch.int32), "no voxel"),
        ([[0.5, 1, 1, 1]], "expected integers"),
    ],
)
def test_bad_voxels_are_refused(rows, message):
    with pytest.raises(OtocError, match=message):
        Pyramid(torch.as_tensor(rows), (4, 4, 4), 2)


def test_bad_shapes_and_features_are_refused():
    coords = torch.zeros(1, 4, dtype=torch.int32)
    with pytest.raises(OtocError, match="must be positive"):
        Pyramid(coords, (4, 0, 4), 1)
    for features in (torch.zeros(2, 3), torch.zeros(1), torch.zeros(1, 3, dtype=torch.int32)):
        with pytest.raises(OtocError, match="features"):
            SparseTensor(features, coords, (4, 4, 4), 1)
