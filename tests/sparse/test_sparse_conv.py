import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from voxel_cases import CASES, draw_voxels

from otoc_lib.errors import OtocError
from otoc_lib.sparse import (
    InverseConv3d,
    Pyramid,
    SparseLinear,
    SparseTensor,
    StridedConv3d,
    SubmanifoldConv3d,
    cpu_conv,
    spconv_conv,
)
from otoc_lib.sparse.backend import backend_for, convolve

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def one_thread():
    """spconv's CPU scatter is only right on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def maps_of(kind: str, pyramid: Pyramid):
    """Forward and reverse map of a kind of layer."""
    return {
        "submanifold": (pyramid.submanifold(0, 3), None),
        "strided": (pyramid.down(0), pyramid.up(1)),
        "inverse": (pyramid.up(1), pyramid.down(0)),
    }[kind]


def run(backend, forward, reverse, in_channels, out_channels, dtype, seed=0):
    """Output and both gradients of one convolution with random features, weights and output gradient."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return drawn.to(forward.inputs.device, dtype).requires_grad_()

    x, weight = draw(forward.num_inputs, in_channels), draw(forward.num_offsets, in_channels, out_channels)
    y = convolve(x, weight, forward, reverse, backend=backend)
    y.backward(draw(forward.num_outputs, out_channels).detach())
    return y.detach(), x.grad, weight.grad


def assert_near(actual, expected, tolerance):
    """Largest difference within ``tolerance`` of the largest value."""
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert (a.double() - e).abs().max() <= tolerance * max(1.0, float(e.abs().max()))


WIDTHS = [(6, 16), (16, 16), (1, 1), (7, 5), (3, 20), (33, 17)]


@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_numba_kernel_agrees_with_plain_torch(case, kind, widths):
    forward, reverse = maps_of(kind, Pyramid(*draw_voxels(case)))
    expected = run("torch", forward, reverse, *widths, torch.float64)
    assert_near(run("numba", forward, reverse, *widths, torch.float64), expected, 1e-14)
    assert_near(run("numba", forward, reverse, *widths, torch.float32), expected, 2e-6)


@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
@pytest.mark.parametrize("case", CASES)
def test_spconv_agrees_with_plain_torch(case, kind, one_thread):
    pytest.importorskip("spconv")
    forward, reverse = maps_of(kind, Pyramid(*draw_voxels(case)))
    for widths in [(6, 16), (7, 5)]:
        expected = run("torch", forward, reverse, *widths, torch.float64)
        assert_near(run("spconv", forward, reverse, *widths, torch.float64), expected, 1e-14)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_cuda_agrees_with_the_cpu(kind):
    coords, shape, rooms = draw_voxels("odd")
    forward, reverse = maps_of(kind, Pyramid(coords, shape, rooms))
    forward_cuda, reverse_cuda = maps_of(kind, Pyramid(coords.cuda(), shape, rooms))
    expected = run("torch", forward, reverse, 6, 16, torch.float64)
    for backend in ["torch", "auto"]:
        values = run(backend, forward_cuda, reverse_cuda, 6, 16, torch.float32)
        assert_near([value.cpu() for value in values], expected, 2e-6)


def test_numba_kernel_agrees_over_many_blocks_and_chunks():
    generator = torch.Generator().manual_seed(1)
    coords = torch.unique((torch.rand(12_000, 4, generator=generator) * torch.tensor([2, 41, 37, 9])).int(), dim=0)
    pyramid = Pyramid(coords, (41, 37, 9), 2)
    assert pyramid.submanifold(0, 3).num_outputs > 2 * cpu_conv.ROWS_PER_SUM
    for kind in ("submanifold", "strided", "inverse"):
        forward, reverse = maps_of(kind, pyramid)
        expected = run("torch", forward, reverse, 16, 24, torch.float64)
        assert_near(run("numba", forward, reverse, 16, 24, torch.float64), expected, 1e-13)


def dense(coords, features, shape, rooms):
    """Dense grid [rooms, C, X, Y, Z] with zeros in empty cells."""
    grid = features.new_zeros(rooms, *shape, features.shape[1])
    b, x, y, z = coords.long().unbind(1)
    grid[b, x, y, z] = features
    return grid.permute(0, 4, 1, 2, 3)


def at(grid, coords):
    """Values [V, C] of a dense grid [rooms, C, X, Y, Z] at voxels."""
    b, x, y, z = coords.long().unbind(1)
    return grid[b, :, x, y, z]


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("case", CASES)
def test_layers_agree_with_dense_convolution(case, backend):
    coords, shape, rooms = draw_voxels(case)
    features = torch.randn(len(coords), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x = SparseTensor(features, coords, shape, rooms, backend)
    same, down, up = SubmanifoldConv3d(4, 3).double(), StridedConv3d(4, 5).double(), InverseConv3d(5, 2).double()

    kernel = same.weight.unflatten(0, (3, 3, 3)).permute(4, 3, 0, 1, 2)
    expected = at(F.conv3d(dense(coords, features, shape, rooms), kernel, padding=1), coords)
    torch.testing.assert_close(same(x).features, expected, rtol=0, atol=1e-12)

    coarse = down(x)
    even = [s + s % 2 for s in shape]
    kernel = down.weight.unflatten(0, (2, 2, 2)).permute(4, 3, 0, 1, 2)
    grid = F.conv3d(dense(coords, features, even, rooms), kernel, stride=2)
    assert coarse.spatial_shape == tuple(grid.shape[2:])
    torch.testing.assert_close(coarse.features, at(grid, coarse.coords), rtol=0, atol=1e-12)

    kernel = up.weight.unflatten(0, (2, 2, 2)).permute(3, 4, 0, 1, 2)
    grid = F.conv_transpose3d(dense(coarse.coords, coarse.features, coarse.spatial_shape, rooms), kernel, stride=2)
    back = up(coarse)
    assert torch.equal(back.coords, coords)
    torch.testing.assert_close(back.features, at(grid, coords), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_gradients_by_finite_differences(kind, backend):
    coords = draw_voxels("odd")[0][:12]
    forward, reverse = maps_of(kind, Pyramid(coords, (7, 9, 5), 3))
    x = torch.randn(forward.num_inputs, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(forward.num_offsets, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *leaves: convolve(*leaves, forward, reverse, backend=backend), (x, weight))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(CASES)))
def test_permuting_voxels_permutes_outputs(seed, case):
    coords, shape, rooms = draw_voxels(case, seed)
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(seed))
    features = torch.randn(len(coords), 3, dtype=torch.float64)
    net = torch.nn.Sequential(
        SubmanifoldConv3d(3, 4), StridedConv3d(4, 5), SubmanifoldConv3d(5, 5), InverseConv3d(5, 2)
    )
    net.double()
    y = net(SparseTensor(features, coords, shape, rooms)).features
    permuted = net(SparseTensor(features[order], coords[order], shape, rooms)).features
    torch.testing.assert_close(permuted, y[order], rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(0, 5)] * 3))
def test_translation_and_a_larger_grid_change_nothing(seed, shift):
    coords, shape, rooms = draw_voxels("odd", seed)
    features = torch.randn(len(coords), 3, dtype=torch.float64)
    same = SubmanifoldConv3d(3, 4).double()
    y = same(SparseTensor(features, coords, shape, rooms)).features
    moved, larger = coords + torch.tensor([0, *shift]), tuple(s + d + 1 for s, d in zip(shape, shift, strict=True))
    torch.testing.assert_close(same(SparseTensor(features, moved, larger, rooms)).features, y, rtol=0, atol=1e-12)

    net = torch.nn.Sequential(StridedConv3d(3, 4), SubmanifoldConv3d(4, 4), InverseConv3d(4, 2)).double()
    even = coords + torch.tensor([0, *(2 * d for d in shift)])  # strided layers: shifts by whole coarse cells
    larger = tuple(s + 2 * d for s, d in zip(shape, shift, strict=True))
    y = net(SparseTensor(features, coords, shape, rooms)).features
    torch.testing.assert_close(net(SparseTensor(features, even, larger, rooms)).features, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_convolution_may_start_from_given_rows(backend):
    coords, shape, rooms = draw_voxels("odd")
    x = SparseTensor(torch.randn(len(coords), 4, dtype=torch.float64), coords, shape, rooms, backend)
    same = SubmanifoldConv3d(4, 3).double()
    start = torch.randn(len(coords), 3, dtype=torch.float64, requires_grad=True)
    y, dy = same(x, start).features, torch.randn(len(coords), 3, dtype=torch.float64)
    torch.testing.assert_close(y, start + same(x).features, rtol=0, atol=1e-12)
    assert torch.equal(torch.autograd.grad(y, start, dy)[0], dy)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_linear_map_on_the_cpu_agrees_with_torch(widths):
    coords, shape, rooms = draw_voxels("odd")
    features = torch.randn(len(coords), widths[0], dtype=torch.float64, requires_grad=True)
    layer, results = SparseLinear(*widths).double(), []
    for backend in ("torch", "numba"):
        y = layer(SparseTensor(features, coords, shape, rooms, backend)).features
        results.append([y, *torch.autograd.grad(y.square().sum(), [features, layer.weight])])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_repeated_runs_and_other_thread_counts_give_the_same_bits():
    import numba

    generator = torch.Generator().manual_seed(1)
    coords = torch.unique((torch.rand(12_000, 4, generator=generator) * torch.tensor([1, 41, 37, 19])).int(), dim=0)
    forward = Pyramid(coords, (41, 37, 19), 1).submanifold(0, 3)
    assert forward.num_outputs > 2 * cpu_conv.ROWS_PER_SUM  # the weight gradient is summed in several parts
    before, found = (torch.get_num_threads(), numba.get_num_threads()), []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            found.append(run("numba", forward, None, 16, 16, torch.float32))
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_half_precision_falls_back_to_torch_and_autocast_goes_through():
    coords, shape, rooms = draw_voxels("odd")
    features = torch.randn(len(coords), 3)
    assert backend_for(features, "auto") == "numba"
    assert backend_for(features.bfloat16(), "auto") == "torch"
    layer = SubmanifoldConv3d(3, 4)
    expected = layer(SparseTensor(features, coords, shape, rooms, "auto")).features
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(SparseTensor(features, coords, shape, rooms, "torch")).features
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


def test_every_layer_computes_by_the_back_end_of_its_voxels(monkeypatch):
    """The one that auto would not take here; two tensors of different back ends do not disturb each other."""
    monkeypatch.setattr(cpu_conv, "convolve", lambda *_: pytest.fail("numba was not asked for"))
    coords, shape, rooms = draw_voxels("odd")
    x = SparseTensor(torch.randn(len(coords), 3), coords, shape, rooms, "torch")
    SparseTensor(x.features, coords, shape, rooms, "numba")
    net = torch.nn.Sequential(SubmanifoldConv3d(3, 4), StridedConv3d(4, 5), InverseConv3d(5, 2), SparseLinear(2, 3))
    assert net(x).pyramid.backend == "torch"


def test_unknown_backend_even_kernel_and_misplaced_inverse_are_refused(monkeypatch):
    one = torch.zeros(1, 4, dtype=torch.int32), (1, 1, 1), 1
    with pytest.raises(OtocError, match="auto, numba, spconv, torch"):
        Pyramid(*one, "cuda")
    monkeypatch.setattr(spconv_conv, "available", lambda: False)
    with pytest.raises(OtocError, match="'spconv' is not installed"):
        SparseTensor(torch.ones(1, 1), *one, "spconv")
    with pytest.raises(OtocError, match="odd size"):
        SubmanifoldConv3d(1, 1, kernel_size=2)
    coords, shape, rooms = draw_voxels("odd")
    with pytest.raises(OtocError, match="finest level"):
        InverseConv3d(1, 1)(SparseTensor(torch.zeros(len(coords), 1), coords, shape, rooms))


def test_kernels_compile_where_no_cache_can_be_written():
    program = (
        "import torch; from otoc_lib.sparse import *\n"
        "x = SparseTensor(torch.ones(1, 1), torch.zeros(1, 4, dtype=torch.int32), (1, 1, 1), 1)\n"
        "from otoc_lib.sparse import cpu_maps; assert cpu_maps.neighbours.stats.cache_path is None\n"
        "print(x.pyramid.submanifold(0, 1).starts)"
    )
    # numba tries the locators it is told to; none fits a file of this package
    environment = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "(0, 1)", done.stderr
