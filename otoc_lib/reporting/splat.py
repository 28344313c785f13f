"""Pictures of a coloured point cloud: every point is a small disc and the nearest disc wins each pixel.

A room is projected once (``RoomView``); each further picture of it, whatever the colours mean, is one gather. The
camera looks down into the room from a corner; the two walls between it and the room are left out.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from otoc_lib.spacing import point_spacing

BACKGROUND = 255
LOW_X, HIGH_X, LOW_Y, HIGH_Y, ABOVE = (np.uint8(1 << bit) for bit in range(5))  # sides of a room


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``pixel = focal * (right, down) / depth + center`` in the axes of ``axes``.

    eye: float64 [3] metres. axes: float64 [3, 3], rows right, down, forward. focal: pixels. center: float64 [2] pixels
    (u, v) of the optical axis. width, height: pixels.
    """

    eye: np.ndarray
    axes: np.ndarray
    focal: float
    center: np.ndarray
    width: int
    height: int

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel positions (u, v), float64 [N, 2], and depths in metres, float64 [N], of points [N, 3]."""
        local = (points - self.eye) @ self.axes.T  # [N, 3] right, down, forward
        return self.focal * local[:, :2] / local[:, 2:] + self.center, local[:, 2]

    def scaled(self, factor: int) -> "Camera":
        """The same view with ``factor`` times the pixels on each side."""
        return Camera(
            self.eye, self.axes, self.focal * factor, self.center * factor, self.width * factor, self.height * factor
        )


def nearest_points(pixels: np.ndarray, depth: np.ndarray, radius: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which point each pixel shows, int64 [height, width], -1 where none.

    A point covers the pixels whose centre lies within ``radius`` of it; of the points that cover a pixel the one with
    the smallest depth (as float32) is shown, the lower index on a tie.

    pixels: float [N, 2] (u, v). depth: float [N], points with depth <= 0 are behind the camera and not drawn.
    radius: float [N] pixels.
    """
    winner = np.full(height * width, np.iinfo(np.uint64).max, dtype=np.uint64)
    # The bits of a positive float32 sort as the number does, so (depth, index) fits one integer to minimise.
    order = depth.astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
    order |= np.arange(len(depth), dtype=np.uint64)
    reach = np.ceil(radius).astype(np.int64)
    for half in np.unique(reach[depth > 0]):
        rows = np.flatnonzero((reach == half) & (depth > 0))
        u, v = np.floor(pixels[rows]).T.astype(np.int64)
        right, down = pixels[rows].T - (u, v) - 0.5  # from the centre of the pixel the point lies in
        for dv in range(-half, half + 1):
            for du in range(-half, half + 1):
                covered = (right - du) ** 2 + (down - dv) ** 2 <= radius[rows] ** 2
                covered &= (u + du >= 0) & (u + du < width) & (v + dv >= 0) & (v + dv < height)
                cells = (v[covered] + dv) * width + u[covered] + du
                np.minimum.at(winner, cells, order[rows[covered]])
    index = (winner & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return np.where(winner == np.iinfo(np.uint64).max, -1, index).reshape(height, width)


def surface_normals(coords: np.ndarray, neighbours: int = 12) -> np.ndarray:
    """Unit normals without a sign, float64 [N, 3]: the direction in which a point's neighbours spread least."""
    near = cKDTree(coords).query(coords, k=min(neighbours, len(coords)))[1].reshape(len(coords), -1)  # [N, K]
    spread = np.zeros(
        (len(coords), 3, 3)
    )  # of the neighbours around their mean, one neighbour of every point at a time
    away = [coords[column] - coords.astype(np.float64) for column in near.T]  # K times [N, 3]
    mean = sum(away) / len(away)
    for step in away:
        step -= mean
        spread += step[:, :, None] * step[:, None, :]
    return np.linalg.eigh(spread)[1][:, :, 0]


def room_axes(coords: np.ndarray) -> np.ndarray:
    """Horizontal unit axes, float64 [2, 2], along the walls: those of the smallest rectangle around the floor plan."""
    angles = np.deg2rad(np.arange(0, 90, 3))
    along = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # [A, 2]
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
    plan = coords[:, :2].astype(np.float64)
    area = np.ptp(plan @ along.T, axis=0) * np.ptp(plan @ across.T, axis=0)
    best = int(np.argmin(area))
    return np.stack([along[best], across[best]])


def look_into(coords: np.ndarray, towards: np.ndarray, elevation: float, width: int, height: int) -> Camera:
    """A camera that looks along horizontal direction ``towards`` [2] and down by ``elevation`` degrees at all points.

    It stands 2.5 room diagonals away; focal length and centre fit the projected points into the picture.
    """
    tilt = np.deg2rad(elevation)
    forward = np.array([*(towards / np.linalg.norm(towards) * np.cos(tilt)), -np.sin(tilt)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward])
    low, high = coords.min(axis=0).astype(np.float64), coords.max(axis=0).astype(np.float64)
    eye = (low + high) / 2 - forward * 2.5 * np.linalg.norm(high - low)
    flat = Camera(eye, axes, 1.0, np.zeros(2), width, height).project(coords)[0]
    low, high = flat.min(axis=0), flat.max(axis=0)
    size = np.array([width, height])
    focal = float((0.94 * size / np.maximum(high - low, 1e-9)).min())
    return Camera(eye, axes, focal, size / 2 - focal * (low + high) / 2, width, height)


def _wall_depth(distance: np.ndarray, reach: float = 0.5, step: float = 0.02) -> np.ndarray:
    """Metres from the edge of the scan to the wall, float64 [2], for distances [N, 2] from two edges.

    What stands out behind a wall (a window, a door frame) makes the edge; the wall is where most points lie.
    """
    edges = np.arange(0, reach + step, step)
    counts = [np.histogram(column, edges)[0] for column in distance.T]
    return step * np.argmax(counts, axis=1)


def wall_sides(
    coords: np.ndarray, supervoxels: np.ndarray, axes: np.ndarray, cut: float = 0.2, ceiling: float = 2.35
) -> np.ndarray:
    """Which side of the room a point closes off, uint8 [N]: bits LOW_X ... HIGH_Y along ``axes`` [2, 2], and ABOVE.

    A super-voxel that lies mostly within ``cut`` metres of a wall belongs to it (the wall, and what hangs on it), as
    does everything behind the wall; the floor reaches to the room's edge and belongs to none. ABOVE: more than
    ``ceiling`` metres above the floor.
    """
    plan = coords[:, :2] @ axes.T  # [N, 2] along the walls
    floor = np.percentile(coords[:, 2], 1)
    size = np.bincount(supervoxels)
    sides = np.where(coords[:, 2] < floor + ceiling, 0, ABOVE).astype(np.uint8)
    for distance, bits in ((plan - plan.min(axis=0), (LOW_X, LOW_Y)), (plan.max(axis=0) - plan, (HIGH_X, HIGH_Y))):
        behind = distance - _wall_depth(distance)  # [N, 2] metres from two walls into the room
        for column, bit in zip(behind.T, bits, strict=True):
            hanging = np.bincount(supervoxels, weights=column < cut) / size  # [M] share at the wall
            sides[(column <= 0.05) | (hanging[supervoxels] >= 0.5)] |= bit
    sides[coords[:, 2] < floor + 0.1] = 0
    return sides


@dataclass(frozen=True)
class RoomView:
    """One room seen by one camera, ready to be painted with any colours per point.

    index: int64 [S*H, S*W], the point each (super-sampled) pixel shows, -1 none. shade: float32, same shape, the
    brightness of that pixel. kept: bool [N], the points in front of which no wall was left standing. coords: float32
    [N, 3] metres. normals: float64 [N, 3], unit, without a sign. spacing: metres between points. axes: float64 [2, 2]
    along the walls (room_axes). sides: uint8 [N], which of them a point closes off (wall_sides).
    """

    camera: Camera
    index: np.ndarray
    shade: np.ndarray
    kept: np.ndarray
    coords: np.ndarray
    normals: np.ndarray
    spacing: float
    axes: np.ndarray
    sides: np.ndarray

    def paint(self, colors: np.ndarray) -> np.ndarray:
        """The picture, uint8 [H, W, 3], with ``colors`` uint8 [N, 3], one per point of the room."""
        table = np.concatenate([colors, np.full((1, 3), BACKGROUND, np.uint8)])  # index -1 is the background
        factor = len(self.index) // self.camera.height
        total = np.zeros((self.camera.height, self.camera.width, 3))
        for place in np.ndindex(factor, factor):  # of the fine pixels within each pixel
            fine = tuple(slice(first, None, factor) for first in place)
            total += table[self.index[fine]] * self.shade[fine][..., None].astype(np.float64)
        return np.clip(np.rint(total / factor**2), 0, 255).astype(np.uint8)

    def locate(self, points: np.ndarray) -> np.ndarray:
        """Pixel positions (u, v), float64 [K, 2], of those of the point indices [K] that are kept."""
        return self.camera.project(self.coords[points[self.kept[points]]])[0]


def _shade(index: np.ndarray, depth: np.ndarray, facing: np.ndarray, reach: int) -> np.ndarray:
    """Brightness, float32 like ``index``: surfaces turned away and pixels just behind an edge are darker."""
    background = index < 0
    log_depth = np.where(background, np.inf, np.log(np.maximum(depth, 1e-6))[index])
    padded = np.pad(log_depth, reach, mode="edge")
    rows, columns = index.shape
    behind = np.zeros(index.shape)
    for dy, dx in ((0, reach), (0, -reach), (reach, 0), (-reach, 0)):
        other = padded[reach + dy : reach + dy + rows, reach + dx : reach + dx + columns]
        with np.errstate(invalid="ignore"):  # background minus background
            step = np.nan_to_num(log_depth - other, nan=0.0, posinf=0.0, neginf=0.0)
        behind += np.clip(step, 0.0, 0.05)
    shade = (0.72 + 0.28 * facing[index]) * np.exp(-9.0 * behind / 4)
    return np.where(background, 1.0, shade).astype(np.float32)


def view_room(
    coords: np.ndarray,
    supervoxels: np.ndarray,
    width: int,
    height: int,
    corner: int | None = None,
    elevation: float = 48.0,
    cut: float = 0.2,
    ceiling: float = 2.35,
    supersample: int = 2,
) -> RoomView:
    """Look into a room from above one of its four corners.

    coords: float32 [N, 3] metres, z up. supervoxels: int [N], dense. corner: 0..3, or None for the corner from which
    most points are seen. cut: super-voxels that lie mostly within so many metres of the two near walls (the walls, and
    what hangs on them) are left out, as are points more than ``ceiling`` metres above the floor. supersample: each
    pixel is the mean of so many squared.
    """
    coords = np.asarray(coords)
    axes = room_axes(coords)
    spacing = point_spacing(coords)
    sides = wall_sides(coords, supervoxels, axes, cut, ceiling)

    def look(which: int, factor: float) -> tuple[Camera, np.ndarray]:
        sign = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)][which])
        # The nearer side is the low end of an axis that the view runs along, the high end of one that it runs against.
        near = (LOW_X if sign[0] > 0 else HIGH_X) | (LOW_Y if sign[1] > 0 else HIGH_Y)
        kept = (sides & (near | ABOVE)) == 0
        # A little off the diagonal, so that the two far walls are not mirror images.
        towards = (sign * (1.0, 0.8)) @ axes
        return look_into(coords[kept], towards, elevation, int(width * factor), int(height * factor)), kept

    def visible(camera: Camera, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, depth = camera.project(coords)
        radius = np.maximum(0.95 * spacing * camera.focal / np.maximum(depth, 1e-6), 0.8)
        shown = np.flatnonzero(kept)
        index = nearest_points(pixels[shown], depth[shown], radius[shown], camera.height, camera.width)
        return np.where(index < 0, -1, shown[index]), depth

    if corner is None:
        counts = [len(np.unique(visible(*look(which, 0.5))[0])) for which in range(4)]
        corner = int(np.argmax(counts))
    camera, kept = look(corner, 1.0)
    fine = camera.scaled(supersample)
    index, depth = visible(fine, kept)
    light = camera.axes.T @ np.array([-0.35, -0.45, -1.0])  # from behind the viewer's left shoulder
    normals = surface_normals(coords)
    facing = np.abs(normals @ (light / np.linalg.norm(light)))
    shade = _shade(index, depth, facing, supersample)
    return RoomView(camera, index, shade, kept, coords, normals, spacing, axes, sides)
