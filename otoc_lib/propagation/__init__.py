"""Graph propagation over super-voxels (section 3.3 of the paper): pairwise kernel, mean field."""

from otoc_lib.propagation.graph import combine, mean_field, pairwise_kernel, standardise
from otoc_lib.propagation.propagate import propagate_graph

__all__ = ["combine", "mean_field", "pairwise_kernel", "propagate_graph", "standardise"]
