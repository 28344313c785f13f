"""Super-voxels of anything: a mesh is cut along its creases, points without one by the geometric partition."""

import numpy as np

from otoc_lib.scene import densify
from otoc_lib.supervoxels.geometric import Partition, segment_points
from otoc_lib.supervoxels.mesh import segment_mesh


def make_supervoxels(
    points: np.ndarray, colors: np.ndarray, faces: np.ndarray | None, partition: Partition
) -> np.ndarray:
    """Super-voxel of every point, int32 [N], dense ids 0..M-1.

    A mesh is segmented over its triangles, points without any by the geometric partition.
    ``points`` float [N, 3] metres, ``colors`` uint8 [N, 3], ``faces`` int [F, 3] or None.
    """
    if faces is not None and len(faces):
        return densify(segment_mesh(points, faces))
    return segment_points(points, colors, partition)
