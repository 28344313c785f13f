"""Graphs of one to three super-voxels with all that is awkward: equal and far features, certainty, sums that vanish."""

import math

import hypothesis.strategies as st
import torch
from pair_oracle import VANISHED, kernel_oracle, mean_field_oracle

OPTIONS = {"steps": 5, "tolerance": 0.0}
FEATURES = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, 1e-3, 1e6])
# At 7 the kernel of two super-voxels with one feature is subnormal in float32, at 19.2 in float64, beyond it is 0.
BANDWIDTHS = st.sampled_from([0.5, 2.0, 5.0, 6.5, 6.7, 7.0, 9.0, 19.0, 19.2, 30.0])


@st.composite
def tiny_graphs(draw):
    """unary and blocks, float64, bandwidth, weight and scaling."""
    size, classes = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows = []
    for _ in range(size):
        certain = draw(st.booleans())
        odds = [0.0] * classes if certain else draw(st.lists(st.floats(0.05, 1), min_size=classes, max_size=classes))
        odds[draw(st.integers(0, classes - 1))] += 1.0
        rows.append([x / math.fsum(odds) for x in odds])
    blocks = []
    for width in draw(st.lists(st.integers(1, 2), min_size=1, max_size=2)):
        row = st.lists(FEATURES, min_size=width, max_size=width)
        blocks.append(torch.tensor(draw(st.lists(row, min_size=size, max_size=size)), dtype=torch.float64))
    weight, scaling = draw(st.floats(0, 3)), draw(st.sampled_from(["row_sum", "literal"]))
    return torch.tensor(rows, dtype=torch.float64), blocks, draw(BANDWIDTHS), weight, scaling


def oracle(unary, blocks, bandwidth, weight, scaling):
    """Q [M, C], float64; None where rounding decides whether the kernel has vanished, or float32 takes the spread of a
    block for rounding of its mean: a column of 1e6 beside one of 0 and 1."""
    if any(0 < _spread(block) < 8 * torch.finfo(torch.float32).eps * float(block.mean(0).norm()) for block in blocks):
        return None
    kernel = kernel_oracle(blocks, bandwidth)
    row_sum = math.fsum(map(math.fsum, kernel)) / len(unary)
    if 0.99 < row_sum / VANISHED < 1.01:
        return None
    found = mean_field_oracle(unary.tolist(), kernel, weight, *OPTIONS.values(), scaling)
    return torch.tensor(found, dtype=torch.float64)


def _spread(block):
    """Root mean square of the norms of the centred rows."""
    return float((block - block.mean(0)).norm()) / math.sqrt(len(block))
