"""The compiled kernels on a processor without AVX-512: what most laptops have."""

import os
import subprocess
import sys
from pathlib import Path

# Numba and the kernels ask LLVM what the processor can do: it says that there is no AVX-512.
SCRIPT = """
import llvmlite.binding

features = llvmlite.binding.get_host_cpu_features()
for name in list(features):
    if name.startswith("avx512") or name.startswith("amx"):
        features[name] = False
llvmlite.binding.get_host_cpu_features = lambda: features

import torch
from otoc_lib.propagation import propagate_graph
from otoc_lib.propagation.graph import mean_field, pairwise_kernel
from otoc_lib.sparse import SparseTensor, SubmanifoldConv3d
from otoc_lib.vector_code import VECTOR_BYTES

assert VECTOR_BYTES == 32
torch.manual_seed(0)
unary, blocks = torch.softmax(torch.randn(150, 7), dim=1), [torch.randn(150, width) for width in (3, 6)]
expected = mean_field(unary.double(), pairwise_kernel([block.double() for block in blocks], 1.0), 2.0)
for storage in ("dense", "chunked"):
    found = propagate_graph(unary, blocks, bandwidth=1.0, weight=2.0, storage=storage)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)

coords = torch.unique((torch.rand(600, 4) * torch.tensor([2, 9, 8, 7])).int(), dim=0)
for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
    layer, results = SubmanifoldConv3d(6, 20).to(dtype), []
    features = torch.randn(len(coords), 6, dtype=dtype, requires_grad=True)
    for backend in ("numba", "torch"):
        y = layer(SparseTensor(features, coords, (9, 8, 7), 2, backend)).features
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), [features, layer.weight])))
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)
print("equal")
"""


def test_the_kernels_are_right_with_the_narrower_vectors_of_avx2(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout.strip() == "equal", run.stderr
