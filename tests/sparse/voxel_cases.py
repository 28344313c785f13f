"""Grids that sparse convolution tests share."""

import torch
from torch import Tensor

# spatial shape, rooms, voxels drawn with repetition; most offsets of lone voxels have no pair
CASES = {
    "odd": ((7, 9, 5), 3, 200),
    "line": ((31, 1, 1), 1, 20),
    "lone": ((40, 40, 40), 2, 4),
    "one": ((1, 1, 1), 1, 1),
    "full": ((4, 3, 5), 2, 5000),
}


def draw_voxels(case: str, seed: int = 0) -> tuple[Tensor, tuple[int, int, int], int]:
    """Distinct voxels in random order: coords int32 [V, 4], spatial shape, rooms."""
    shape, rooms, count = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 4, generator=generator) * torch.tensor([rooms, *shape])
    coords = torch.unique(drawn.int(), dim=0)
    return coords[torch.randperm(len(coords), generator=generator)], shape, rooms
