"""The oracle of propagation: eqs. 3 and 5 enumerated pair by pair in Python floats."""

import itertools
import math

VANISHED = 2.0**-100  # mean row sum of the kernel up to which there is nothing to propagate


def kernel_oracle(blocks, bandwidth):
    """Eq. 5 of tensors [M, D_b], pair by pair; a block without spread beyond rounding does not count."""
    size = len(blocks[0])
    scaled = [_standardised(block.tolist(), bandwidth) for block in blocks]
    kernel = [[0.0] * size for _ in range(size)]
    for a, b in itertools.permutations(range(size), 2):
        exponent = 0.5 * math.fsum((x - y) ** 2 for rows in scaled for x, y in zip(rows[a], rows[b], strict=True))
        kernel[a][b] = math.exp(-exponent)
    return kernel


def _standardised(rows, bandwidth):
    size, width = len(rows), len(rows[0])
    means = [math.fsum(row[d] for row in rows) / size for d in range(width)]
    centred = [[row[d] - means[d] for d in range(width)] for row in rows]
    spread = math.sqrt(math.fsum(x * x for row in centred for x in row) / size)
    factor = bandwidth / spread if spread > 1e-15 * math.hypot(*means) else 0.0
    return [[factor * x for x in row] for row in centred]


def mean_field_oracle(unary, kernel, weight, steps, tolerance, scaling="literal"):
    """Q_j(c) <- P_j(c) exp(w sum_j' k(j, j') Q_j'(c)) / Z of lists, pair by pair."""
    size, classes = len(unary), len(unary[0])
    if scaling == "row_sum":
        row_sum = math.fsum(map(math.fsum, kernel)) / size
        weight = weight / row_sum if row_sum > VANISHED else 0.0
    logs = [[math.log(p) if p > 0 else -math.inf for p in row] for row in unary]
    marginals = [list(row) for row in unary]
    for _ in range(steps):
        updated = []
        for a in range(size):
            score = [
                logs[a][c] + weight * math.fsum(kernel[a][b] * marginals[b][c] for b in range(size))
                for c in range(classes)
            ]
            highest = max(score)
            total = math.fsum(math.exp(s - highest) for s in score)
            updated.append([math.exp(s - highest) / total for s in score])
        moved = max(
            abs(x - y) for new, old in zip(updated, marginals, strict=True) for x, y in zip(new, old, strict=True)
        )
        marginals = updated
        if moved < tolerance:
            break
    return marginals
