"""Graph propagation over super-voxels (section 3.3 of the paper): pooling, pairwise kernel, mean field."""

from otoc_lib.propagation.graph import combine, mean_field, pairwise_kernel, standardise
from otoc_lib.propagation.pooling import pool_mean
from otoc_lib.propagation.propagate import propagate_graph

__all__ = ["combine", "mean_field", "pairwise_kernel", "pool_mean", "propagate_graph", "standardise"]
