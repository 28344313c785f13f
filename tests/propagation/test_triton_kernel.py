"""The fused kernel against the plain equations in float64: on a GPU where there is one, else interpreted on the CPU."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from random_graphs import random_graph
from tiny_graphs import OPTIONS, oracle, tiny_graphs

from otoc_lib.errors import OtocError
from otoc_lib.propagation import mean_field, pairwise_kernel, propagate_graph


@pytest.mark.parametrize(
    ("size", "widths", "classes"),
    ((1, (1,), 2), (2, (3, 3), 3), (33, (3, 3, 7), 13), (129, (3, 3, 32, 32), 20), (300, (5, 12), 16)),
)
@pytest.mark.parametrize("scaling", ("row_sum", "literal"))
def test_odd_sizes_equal_the_plain_equations(triton_device, size, widths, classes, scaling):
    unary, blocks = random_graph(size, widths, classes, seed=size)
    weight = 3.0 if scaling == "row_sum" else 0.1
    expected = mean_field(unary, pairwise_kernel(blocks, 1.5), weight, scaling)
    on_device = [block.float().to(triton_device) for block in blocks]
    got = propagate_graph(
        unary.float().to(triton_device), on_device, bandwidth=1.5, weight=weight, scaling=scaling, storage="triton"
    )
    assert got.dtype == torch.float32 and got.device.type == triton_device.type
    assert (got.cpu() - expected).abs().max() < 1e-4


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=tiny_graphs())
def test_tiny_graphs_equal_the_enumeration_of_pairs(triton_device, graph):
    unary, blocks, bandwidth, weight, scaling = graph
    expected = oracle(*graph)
    assume(expected is not None)
    for dtype in (torch.float32, torch.float64):
        got = propagate_graph(
            unary.to(triton_device, dtype),
            [block.to(triton_device, dtype) for block in blocks],
            bandwidth=bandwidth,
            weight=weight,
            scaling=scaling,
            storage="triton",
            **OPTIONS,
        )
        torch.testing.assert_close(got.cpu().double(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
@pytest.mark.parametrize("bandwidth", (6.7, 7.0, 19.0, 30.0))
def test_a_kernel_that_vanishes_leaves_the_unary(triton_device, dtype, bandwidth):
    """The kernel computes in float32, where its row sums are subnormal or 0 here, whatever the dtype of the unary."""
    unary = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=dtype, device=triton_device)
    blocks = [torch.tensor([[0.0], [1.0]], dtype=dtype, device=triton_device)]
    got = propagate_graph(unary, blocks, bandwidth=bandwidth, weight=3.0, storage="triton")
    torch.testing.assert_close(got, unary)


@pytest.mark.parametrize("wrong", (float("nan"), float("inf")))
def test_values_that_are_not_finite_and_unknown_scalings_are_refused(triton_device, wrong):
    unary, blocks = random_graph(3)
    blocks[1][2, 0] = wrong
    graph = unary.to(triton_device), [block.to(triton_device) for block in blocks]
    with pytest.raises(OtocError, match=r"feature block 2 of 2 .* in 1 of 3 super-voxels"):
        propagate_graph(*graph, bandwidth=1.0, weight=1.0, storage="triton")
    with pytest.raises(OtocError, match="scaling 'rowsum' is unknown"):
        propagate_graph(*graph, bandwidth=1.0, weight=1.0, scaling="rowsum", storage="triton")


@pytest.mark.parametrize("programs", (1, 7, 1024))
def test_splitting_columns_among_programs_changes_nothing(triton_device, programs):
    from otoc_lib.propagation.triton_kernel import triton_kernel

    _, (features,) = random_graph(500, (4,))
    values = torch.randn(3, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    differences = features[:, None] - features[None]
    expected = values @ (-0.5 * differences.square().sum(2)).exp().fill_diagonal_(0)
    multiply = triton_kernel(features.float().to(triton_device), programs)
    got = multiply(values.float().to(triton_device)).cpu()
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


def test_a_machine_without_a_compiler_is_one_clear_error(triton_device, monkeypatch):
    from otoc_lib.propagation import triton_kernel

    class Uncompiled:
        def __getitem__(self, grid):
            raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(triton_kernel, "_multiply", Uncompiled())
    unary, blocks = random_graph(8)
    on_device = [block.to(triton_device) for block in blocks]
    with pytest.raises(OtocError, match="Failed to find C compiler.*set propagation: chunked"):
        propagate_graph(unary.to(triton_device), on_device, bandwidth=1.0, weight=1.0, storage="triton")


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from otoc_lib.propagation import triton_kernel as kernel

types = dict.fromkeys(("features", "half_norms", "values", "partial"), "*fp32") | {"size": "i32", "split": "i32"}
sizes = {"WIDTH": 80, "CLASSES": 32, "ROWS": kernel.ROWS, "COLUMNS": kernel.COLUMNS, "DEPTH": kernel.DEPTH}
names = kernel._multiply.arg_names
source = ASTSource(
    kernel._multiply,
    {name: types.get(name, "constexpr") for name in names},
    {(names.index(name),): value for name, value in sizes.items()},
)
ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
assert "fma.rn.f32" in ptx and "tf32" not in ptx
"""


def test_the_kernel_compiles_for_an_h100_without_tf32(tmp_path):
    """The compiler comes with triton and needs no GPU."""
    pytest.importorskip("triton", reason="triton is not installed (it has Linux builds only)")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
