"""The relation network and its bank of class prototypes (section 3.3 of the paper, eqs. 6 and 7)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from otoc_lib import processes
from otoc_lib.one_thread import Linear, linear
from otoc_lib.sparse import SparseTensor


class RelationNet(nn.Module):
    """The U-Net's backbone with a linear layer to an embedding, and a memory bank of one unit prototype a class.

    The bank is a buffer, so that it is saved, loaded and warm-started with the weights.

    Args:
        backbone: an nn.Module without a classifier; its features have ``backbone.width`` channels.
        num_classes: C, prototypes in the bank.
        dim: D, of the embedding.
        temperature, momentum: tau of eq. 6 and m of eq. 7.
    """

    def __init__(
        self,
        backbone: Any,
        num_classes: int = 20,
        dim: int = 32,
        temperature: float = 0.07,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embed = Linear(backbone.width, dim)
        self.temperature = temperature
        self.momentum = momentum
        self.prototypes: Tensor
        self.register_buffer("prototypes", functional.normalize(torch.randn(num_classes, dim), dim=1))  # [C, D]

    def forward(self, voxels: SparseTensor) -> Tensor:
        """Embedding of every voxel, [V, D], not yet normalised: it is pooled over super-voxels first."""
        features, _ = self.backbone(voxels)
        return self.embed(features)

    def forward_all_levels(self, voxels: SparseTensor) -> tuple[Tensor, list[Tensor]]:
        """As ``forward``, and the class logits of the voxels of every coarser level of the backbone."""
        features, _, coarse = self.backbone.forward_all_levels(voxels)
        return self.embed(features), coarse

    def logits(self, embeddings: Tensor) -> Tensor:
        """f.k / tau for unit embeddings [S, D]: [S, C]. Its softmax is P_R."""
        return linear(embeddings, self.prototypes) / self.temperature

    @torch.no_grad()
    def update_prototypes(self, embeddings: Tensor, classes: Tensor) -> None:
        """k_c <- normalise(m k_c + (1 - m) mean of the class's embeddings); an absent class keeps its row (eq. 7).

        Where several processes train, the mean is over the embeddings of all.

        Args:
            embeddings: unit rows [S, D] of this step's sampled super-voxels, S may be 0.
            classes: their classes, int64 [S].
        """
        # A masked sum: counting on a GPU would wait for it, and adding rows there has no fixed order.
        of_class = classes == torch.arange(len(self.prototypes), device=classes.device)[:, None]  # [C, S]
        counts = processes.total(of_class.sum(1))  # [C]
        sums = processes.total((of_class[:, :, None] * embeddings.to(self.prototypes.dtype)).sum(1))  # [C, D]
        means = sums / counts.clamp(min=1)[:, None]
        moved = functional.normalize(self.momentum * self.prototypes + (1 - self.momentum) * means, dim=1)
        # A new tensor, not in place: the loss of this step still holds the old one for its gradient.
        self.prototypes = torch.where(counts[:, None] > 0, moved, self.prototypes)


def sample_supervoxels(classes: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """Draw super-voxels evenly over the classes present.

    Args:
        classes: class of each labelled super-voxel, int64 [L], on the CPU.
        per_class: draws per class; with replacement where a class has fewer.
        generator: source of randomness, on the CPU.

    Returns:
        Indices into ``classes``, int64 [(classes present) * per_class].
    """
    drawn = []
    for label in torch.unique(classes):
        members = torch.nonzero(classes == label).squeeze(1)
        if len(members) >= per_class:
            picks = torch.randperm(len(members), generator=generator)[:per_class]
        else:
            picks = torch.randint(len(members), (per_class,), generator=generator)
        drawn.append(members[picks])
    return torch.cat(drawn) if drawn else torch.zeros(0, dtype=torch.int64)
