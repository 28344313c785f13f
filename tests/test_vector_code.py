"""The compiled kernels on other processors than this one: other instructions, the same results."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite.binding import get_host_cpu_features

from otoc_lib.vector_code import vector_registers

ROOT = Path(__file__).parents[1]
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
HAS_AVX2 = ON_X86 and all(get_host_cpu_features().get(name) for name in ("avx2", "fma"))
# What numba is told to compile for; it and the kernels look at nothing else.
PROCESSORS = {
    "this": {},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    "sse2": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"},
}


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        ("x86_64-unknown-linux-gnu", "+sse2,+avx2,+avx512f,-avx512fp16", (32, 64)),
        ("x86_64-unknown-linux-gnu", "+sse2,+avx2,-avx512f", (16, 32)),
        ("x86_64-pc-windows-msvc", "+sse2,-avx2,-avx512f", (16, 16)),
        ("x86_64-unknown-linux-gnu", "", (16, 16)),
        ("aarch64-unknown-linux-gnu", "+neon,+fullfp16", (32, 16)),
        ("arm64-apple-darwin24.0.0", "", (32, 16)),
        ("powerpc64le-unknown-linux-gnu", "+vsx", (16, 16)),
    ],
)
def test_registers_follow_what_numba_compiles_for(triple, features, expected):
    assert vector_registers(triple, features) == expected


# --- other instructions of this machine -------------------------------------------------------------------------------

CONVOLVE = """
import hashlib
import sys
import torch
from otoc_lib.sparse import SparseTensor, StridedConv3d, SubmanifoldConv3d
from otoc_lib.sparse import cpu_conv
from otoc_lib.vector_code import REGISTERS, VECTOR_BYTES

torch.manual_seed(0)
bits = hashlib.sha256()
coords = torch.unique((torch.rand(600, 4) * torch.tensor([2, 9, 8, 7])).int(), dim=0)
for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
    for widths in ((6, 20), (7, 5), (16, 16), (33, 17)):
        for layer in (SubmanifoldConv3d(*widths).to(dtype), StridedConv3d(*widths).to(dtype)):
            features, results = torch.randn(len(coords), widths[0], dtype=dtype, requires_grad=True), []
            for backend in ("torch", "numba"):
                y = layer(SparseTensor(features, coords, (9, 8, 7), 2, backend)).features
                results.append((y.detach(), *torch.autograd.grad(y, [features, layer.weight], torch.ones_like(y))))
            torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)
            for result in results[1]:
                bits.update(result.numpy().tobytes())
print(REGISTERS, VECTOR_BYTES, cpu_conv.PAIRS, cpu_conv.FEW, cpu_conv.ROWS, bits.hexdigest())
"""
PROPAGATE = """
import torch
from otoc_lib.propagation import propagate_graph
from otoc_lib.propagation.graph import mean_field, pairwise_kernel

torch.manual_seed(0)
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
    unary, blocks = torch.softmax(torch.randn(150, 7), dim=1), [torch.randn(150, width) for width in (3, 6)]
    unary, blocks = unary.to(dtype), [block.to(dtype) for block in blocks]
    expected = mean_field(unary.double(), pairwise_kernel([block.double() for block in blocks], 1.0), 2.0)
    for storage in ("dense", "chunked"):
        found = propagate_graph(unary, blocks, bandwidth=1.0, weight=2.0, storage=storage)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
print("equal")
"""


def output_of(script: str, cache: Path, processor: str = "this") -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    environment |= {"NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment | PROCESSORS[processor],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.skipif(not HAS_AVX2, reason="needs AVX2")
def test_the_convolution_is_right_with_avx2_and_its_bits_do_not_depend_on_the_width_of_vectors(tmp_path):
    *sizes, bits = output_of(CONVOLVE, tmp_path, "avx2").split()
    assert sizes == ["16", "32", "6", "4", "4"]
    assert output_of(CONVOLVE, tmp_path).split()[-1] == bits


@pytest.mark.skipif(not ON_X86, reason="needs an x86 processor")
def test_the_convolution_is_right_with_the_least_of_x86(tmp_path):
    assert output_of(CONVOLVE, tmp_path, "sse2").split()[:-1] == ["16", "16", "2", "2", "2"]


@pytest.mark.parametrize("processor", ["avx2", "sse2"])
@pytest.mark.skipif(not HAS_AVX2, reason="needs AVX2")
def test_the_mean_field_is_right_with_narrower_vectors(processor, tmp_path):
    assert output_of(PROPAGATE, tmp_path, processor) == "equal"


# --- ARM --------------------------------------------------------------------------------------------------------------

# The kernels are told that they are compiled for ARM, numba compiles for x86, and LLVM makes ARM's instructions of the
# code that numba gave it. What surrounds the kernels (wrappers, reference counts) is left out.
ASSEMBLE = """
import json
import numba
import numpy as np
from llvmlite import binding
from numba.core.codegen import JITCPUCodegen

JITCPUCodegen.magic_tuple = lambda self: ("aarch64-unknown-linux-gnu", "generic", "")
from otoc_lib.propagation import cpu_kernel
from otoc_lib.sparse import cpu_conv
from otoc_lib.vector_code import REGISTERS, VECTOR_BYTES

assert (REGISTERS, VECTOR_BYTES, cpu_conv.PAIRS, cpu_conv.FEW, cpu_conv.ROWS) == (32, 16, 6, 4, 4)
binding.initialize_all_targets()
binding.initialize_all_asmprinters()
target = binding.Target.from_triple("aarch64-unknown-linux-gnu")
pairs, segments, made = np.zeros(2, np.int32), np.zeros((2, 2), np.int64), {}
for dtype in ("float32", "float64"):
    rows, cube, four = (np.zeros((2,) * n, dtype) for n in (2, 3, 4))
    for function, *arguments in (
        (cpu_conv._convolve, rows, cube, pairs, pairs, segments, 4, 16, rows, rows),
        (cpu_conv._weight_gradient, rows, rows, pairs, pairs, segments, 16, four),
        (cpu_kernel._fill_tile, rows, cube, rows, 0, 0),
        (cpu_kernel._multiply_tile, rows, cube, 0, rows),
        (cpu_kernel._multiply_strip, rows, cube, 0, cube),
    ):
        options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
        compiled = numba.njit(**options)(function.py_func)
        compiled.compile(tuple(map(numba.typeof, arguments)))
        (code,) = compiled.inspect_llvm().values()
        for cpu in ("generic", "apple-m1", "neoverse-n1", "cortex-a72"):
            machine = target.create_target_machine(cpu=cpu, opt=3)
            module = binding.parse_assembly(code)
            module.triple, module.data_layout = machine.triple, str(machine.target_data)
            made[f"{function.__name__} {dtype} {cpu}"] = machine.emit_assembly(module)
print(json.dumps(made))
"""


@pytest.fixture(scope="module")
def arm_assembly(tmp_path_factory):
    made = json.loads(output_of(ASSEMBLE, tmp_path_factory.mktemp("arm"), "sse2"))
    assert len(made) == 5 * 2 * 4
    return {tuple(name.split()): assembly for name, assembly in made.items()}


def innermost_loops(assembly: str) -> list[list[str]]:
    """Their instructions: from a label to the branch back to it."""
    found, label, block = [], None, []
    for line in map(str.strip, assembly.splitlines()):
        if line.endswith(":"):
            label, block = line[:-1], []
        elif line and line[0] not in "./;":
            block.append(line)
            if line.startswith("b") and line.split()[-1] == label:
                found.append(block)
    return found


@pytest.mark.skipif(not ON_X86, reason="takes what numba compiles for x86")
def test_arm_multiplies_and_adds_vectors_at_once_and_keeps_sums_in_registers(arm_assembly):
    # Registers of sums in the innermost loop, each with one multiplication a turn, or as many as vectors in a tile.
    sums = {
        "_convolve": 6 * 4,
        "_weight_gradient": 4 * 4,
        "_fill_tile": 4 * 4,
        "_multiply_tile": 5 * 4,
        "_multiply_strip": 3 * 4 * 2,
    }
    for (function, dtype, cpu), assembly in arm_assembly.items():
        shape = {"float32": "4s", "float64": "2d"}[dtype]
        assert set(re.findall(r"\tbl\t(\S+)", assembly)) <= {"memset"}  # nothing is computed by calls
        loops = [loop for loop in innermost_loops(assembly) if any(line.startswith("fmla") for line in loop)]
        lengths = [sum(bool(re.match(rf"fmla\s+v\d+\.{shape}", line)) for line in loop) for loop in loops]
        assert max(lengths) % sums[function] == 0, (function, dtype, cpu)
        if function != "_multiply_strip":  # there LLVM loads far ahead in a long unrolled loop
            assert not [line for loop in loops for line in loop if "[sp" in line], (function, dtype, cpu)
