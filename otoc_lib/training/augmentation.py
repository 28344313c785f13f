"""Random changes of a room before it is voxelised: the paper's released settings are the defaults of config.py."""

import numpy as np

from otoc_lib.config import Config
from otoc_lib.errors import OtocError
from otoc_lib.training import kernels

MOST_NODES = 1 << 25  # of a grid of noise: 0.8 GB


def random_matrix(config: Config, generator: np.random.Generator) -> np.ndarray:
    """A training augmentation, float64 (3, 3) for row vectors: jitter, mirrored x, scale and rotation about z."""
    matrix = np.eye(3) + config.jitter * generator.standard_normal((3, 3))
    if config.flip:
        matrix[0, 0] *= generator.choice([-1.0, 1.0])
    matrix *= generator.uniform(config.scale_range[0], config.scale_range[1])
    return matrix @ _rotation_about_z(_angle(config, generator))


def view_matrix(config: Config, generator: np.random.Generator) -> np.ndarray:
    """A test-time view, float64 (3, 3): mirrored x and rotation about z only."""
    matrix = np.diag([generator.choice([-1.0, 1.0]) if config.flip else 1.0, 1.0, 1.0])
    return matrix @ _rotation_about_z(_angle(config, generator))


def _angle(config: Config, generator: np.random.Generator) -> float:
    """In radians: 0 without ``rotate``; with it any angle, rounded down to a multiple of ``rotation_step`` unless 0."""
    if not config.rotate:
        return 0.0
    if not config.rotation_step:
        return generator.uniform(0, 2 * np.pi)
    degrees = generator.uniform(0, 360)
    return np.radians(degrees - degrees % config.rotation_step)  # no step is too small for %


def _rotation_about_z(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def elastic(coords: np.ndarray, granularity: float, magnitude: float, generator: np.random.Generator) -> np.ndarray:
    """Bend space by smoothed Gaussian noise.

    Args:
        coords: float (N, 3) in voxels.
        granularity: half the spacing of the noise grid, in voxels.
        magnitude: factor on the noise, in voxels. Its six box filters leave a standard deviation of 0.11.

    Returns:
        Moved coordinates, float64 (N, 3).

    Raises:
        OtocError: the room is so large, or the grid so fine, that the noise would take more than MOST_NODES nodes.
    """
    from scipy.ndimage import uniform_filter1d  # takes long to import, and most commands do without

    low, high = kernels.bounds(coords)
    spacing = 2 * granularity
    nodes = np.ceil((high - low) / spacing) + 4  # one node of margin on either side
    if not nodes.prod() <= MOST_NODES:
        raise OtocError(
            f"parameter 'elastic_granularity': noise every {spacing:g} voxels takes {nodes.prod():.0e} nodes in a room "
            f"of {' x '.join(f'{side:.0f}' for side in high - low)} voxels; raise it, or voxel_size"
        )
    shape = nodes.astype(int)
    noise = generator.standard_normal((3, *shape)).astype(np.float32)  # a field for x, one for y, one for z
    for _ in range(2):
        for direction in (1, 2, 3):
            noise = uniform_filter1d(noise, size=3, axis=direction, mode="constant")
    fields = np.ascontiguousarray(np.moveaxis(noise, 0, 3))  # (X, Y, Z, 3)
    return kernels.displace(coords, low, spacing, fields, np.float32(magnitude))


def crop(coords: np.ndarray, max_points: int, generator: np.random.Generator) -> np.ndarray:
    """Keep at most ``max_points`` points by a box that shrinks in x and y by 32 voxels a time, at a random place.

    Args:
        coords: float (N, 3) in voxels, not negative.

    Returns:
        bool (N,), True for the points to keep; never all False. Geometry inside the box stays whole.
    """
    keep = np.ones(len(coords), dtype=bool)
    kept = len(coords)
    if kept <= max_points:
        return keep
    extent = kernels.bounds(coords)[1] + 1
    size = extent.copy()
    while kept > max_points:
        size[:2] = np.maximum(size[:2] - 32, 1)
        # A box around one of the points, so that no crop is empty.
        anchor = coords[generator.integers(len(coords))]
        start = np.clip(anchor - generator.uniform(size=3) * size, 0, np.maximum(extent - size, 0))
        keep = kernels.inside(coords, start, start + size)
        kept = int(np.count_nonzero(keep))
        if (size[:2] <= 1).all() and kept > max_points:
            # A column of one voxel still holds too many points: nothing geometric is left to cut.
            keep[generator.permutation(np.flatnonzero(keep))[max_points:]] = False
            kept = max_points
    return keep
