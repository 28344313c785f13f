"""Random graphs of super-voxels."""

import torch


def random_graph(size, widths=(3, 5), classes=4, seed=0):
    """unary [M, C] and blocks [M, D_b], float64."""
    generator = torch.Generator().manual_seed(seed)
    unary = torch.softmax(2 * torch.randn(size, classes, generator=generator, dtype=torch.float64), dim=1)
    return unary, [torch.randn(size, width, generator=generator, dtype=torch.float64) for width in widths]
