"""Which input voxel meets which output voxel under which kernel offset, for one convolution."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from otoc_lib.sparse import cpu_maps


@dataclass(frozen=True)
class KernelMap:
    """The P pairs of a sparse convolution with K kernel offsets: y[outputs[p]] += x[inputs[p]] @ weight[k(p)].

    Pairs are sorted by offset, then by output row; pair p belongs to offset k where starts[k] <= p < starts[k + 1].
    """

    inputs: Tensor  # int32 [P] rows of the input features
    outputs: Tensor  # int32 [P] rows of the output features, strictly ascending within an offset
    starts: tuple[int, ...]  # K + 1
    num_inputs: int
    num_outputs: int

    @property
    def num_offsets(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def blocks(self) -> tuple[np.ndarray, int]:
        """The pairs cut into blocks of output rows: (segments [K, blocks + 1], rows per block), for the CPU kernels.

        Pairs segments[k, b] <= p < segments[k, b + 1] belong to offset k and output rows b * rows .. (b + 1) * rows.
        """
        rows = min(max(self.num_outputs // 16, 16), 128)
        blocks = -(-self.num_outputs // rows)
        return cpu_maps.cut(self.outputs.numpy(), np.array(self.starts), rows, blocks), rows

    @cached_property
    def padded_pairs(self) -> tuple[Tensor, Tensor]:
        """The pairs as spconv wants them: rows int32 [2, K, longest list], -1 after the end, and counts int32 [K]."""
        starts = torch.tensor(self.starts, device=self.inputs.device)
        counts = starts.diff()
        offsets = torch.repeat_interleave(counts)
        padded = self.inputs.new_full((2, len(counts), max(int(counts.max()), 1)), -1)
        padded[:, offsets, torch.arange(len(self.inputs), device=starts.device) - starts[offsets]] = torch.stack(
            [self.inputs, self.outputs]
        )
        return padded, counts.int()
