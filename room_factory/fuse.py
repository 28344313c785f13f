"""Fuse RGB-D frames into a coloured mesh: a dense truncated signed distance volume and surface nets.

Surface nets put one vertex into every cell that the surface crosses, so the vertices come evenly spaced and in lattice
order: no decimation is needed and the result does not depend on threads. One thread throughout.
"""

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from otoc_lib.jit import compiled
from otoc_lib.supervoxels.mesh import vertex_normals
from room_factory.film import FOCAL, Frame
from room_factory.triangles import Mesh


@compiled(parallel=False)
def _integrate(distance, weight, color, origin, voxel, truncation, depth, image, slope, world_to_camera, focal):
    nx, ny, nz = distance.shape
    rows, columns = depth.shape
    r, t = world_to_camera[:3, :3], world_to_camera[:3, 3]
    for i in range(nx):
        for j in range(ny):
            x, y, z = origin[0] + i * voxel, origin[1] + j * voxel, origin[2]
            px = r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + t[0]
            py = r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + t[1]
            pz = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + t[2]
            for k in range(nz):
                cz = pz + r[2, 2] * voxel * k
                if cz < 0.3 or cz > 4.2:
                    continue
                u = int(np.floor((px + r[0, 2] * voxel * k) / cz * focal + columns / 2))
                v = int(np.floor((py + r[1, 2] * voxel * k) / cz * focal + rows / 2))
                if u < 0 or v < 0 or u >= columns or v >= rows:
                    continue
                d = depth[v, u]
                if d <= 0.0:
                    continue
                sdf = (d - cz) * slope[v, u]  # distance to the plane, not along the ray: flat views would miss it
                if sdf < -truncation:
                    continue
                value = min(sdf / truncation, 1.0)
                w = weight[i, j, k]
                distance[i, j, k] = (distance[i, j, k] * w + value) / (w + 1.0)
                if value < 1.0:
                    for c in range(3):
                        color[i, j, k, c] = (color[i, j, k, c] * w + image[v, u, c]) / (w + 1.0)
                elif w == 0.0:
                    for c in range(3):
                        color[i, j, k, c] = image[v, u, c]
                weight[i, j, k] = w + 1.0


@compiled(parallel=False)
def _surface_nets(distance, weight, color, minimum_weight):
    nx, ny, nz = distance.shape
    index = np.full((nx, ny, nz), -1, np.int32)
    count = 0
    for i in range(nx - 1):
        for j in range(ny - 1):
            for k in range(nz - 1):
                below, known = 0, True
                for c in range(8):
                    a, b, d = i + (c >> 2), j + ((c >> 1) & 1), k + (c & 1)
                    known = known and weight[a, b, d] >= minimum_weight
                    below += distance[a, b, d] < 0
                if known and 0 < below < 8:
                    index[i, j, k] = count
                    count += 1
    points = np.zeros((count, 3))
    colors = np.zeros((count, 3))
    for i in range(nx - 1):
        for j in range(ny - 1):
            for k in range(nz - 1):
                n = index[i, j, k]
                if n < 0:
                    continue
                crossings = 0
                total = 0.0
                for c in range(8):
                    a, b, d = i + (c >> 2), j + ((c >> 1) & 1), k + (c & 1)
                    near = 1.01 - min(abs(distance[a, b, d]), 1.0)
                    total += near
                    for m in range(3):
                        colors[n, m] += near * color[a, b, d, m]
                    for axis in range(3):
                        bit = (4, 2, 1)[axis]
                        if c & bit:
                            continue
                        e = c | bit
                        a2, b2, d2 = i + (e >> 2), j + ((e >> 1) & 1), k + (e & 1)
                        s, s2 = distance[a, b, d], distance[a2, b2, d2]
                        if (s < 0) != (s2 < 0):
                            f = s / (s - s2)
                            points[n, 0] += a + f * (a2 - a)
                            points[n, 1] += b + f * (b2 - b)
                            points[n, 2] += d + f * (d2 - d)
                            crossings += 1
                for m in range(3):
                    points[n, m] /= crossings
                    colors[n, m] /= total
    faces = np.zeros((6 * count, 3), np.int32)
    made = 0
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            for k in range(1, nz - 1):
                inside = distance[i, j, k] < 0
                for axis in range(3):
                    i2, j2, k2 = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if (distance[i2, j2, k2] < 0) == inside:
                        continue
                    # the four cells around this lattice edge, in turn
                    if axis == 0:
                        q = (index[i, j - 1, k - 1], index[i, j, k - 1], index[i, j, k], index[i, j - 1, k])
                    elif axis == 1:
                        q = (index[i - 1, j, k - 1], index[i - 1, j, k], index[i, j, k], index[i, j, k - 1])
                    else:
                        q = (index[i - 1, j - 1, k], index[i, j - 1, k], index[i, j, k], index[i - 1, j, k])
                    if q[0] < 0 or q[1] < 0 or q[2] < 0 or q[3] < 0:
                        continue
                    if not inside:  # outward normals point to positive distance, the free side
                        q = (q[3], q[2], q[1], q[0])
                    faces[made] = (q[0], q[1], q[2])
                    faces[made + 1] = (q[0], q[2], q[3])
                    made += 2
    return points, colors, faces[:made]


def fuse(
    frames: Iterable[Frame],
    lower: np.ndarray,
    upper: np.ndarray,
    voxel: float,
    tilt: np.ndarray,
    minimum_weight: float = 2,
) -> Mesh:
    """The surface seen in the frames within a box; pieces of fewer than 100 triangles are dropped.

    ``voxel`` is the lattice's step in metres, a little more than the spacing of the vertices. ``tilt`` is the
    rotation [3, 3] from the room to the lattice: walls and floor must not run along it, or their vertices form a square
    grid. Coordinates come rounded to 2 mm and colours to multiples of 4: finer than the noise, and it packs well.
    """
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (upper - lower) + lower
    box = lower, upper
    lower, upper = (corners @ tilt.T).min(axis=0), (corners @ tilt.T).max(axis=0)
    shape = np.ceil((upper - lower) / voxel).astype(int) + 1
    distance = np.ones(shape, np.float32)
    weight = np.zeros(shape, np.float32)
    color = np.zeros((*shape, 3), np.float32)
    for frame in frames:
        inverse = np.linalg.inv(frame.pose)
        inverse[:3, :3] = inverse[:3, :3] @ tilt.T  # from the lattice's axes
        _integrate(
            distance, weight, color, lower, voxel, 2.0 * voxel, frame.depth, frame.color, frame.slope, inverse, FOCAL
        )
    points, colors, faces = _surface_nets(distance, weight, color, minimum_weight)
    points = (lower + points * voxel) @ tilt  # [N, 3] in the room
    n = len(points)
    inside = ((points >= box[0]) & (points <= box[1])).all(axis=1)
    faces = faces[inside[faces].all(axis=1)]
    links = coo_matrix((np.ones(2 * len(faces)), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), shape=(n, n))
    _, piece = connected_components(links, directed=False)
    sizes = np.bincount(piece[faces[:, 0]], minlength=piece.max(initial=0) + 1)
    faces = faces[sizes[piece[faces[:, 0]]] >= 100]
    used = np.zeros(n, bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    faces = number[faces].astype(np.int32)
    points, colors, faces = _weld(points[used], colors[used], faces, 0.55 * voxel)
    vertices = np.round(_even(points, faces) * 500) / 500
    colors = np.clip(colors, 0, 255).astype(np.uint8) // 4 * 4
    # triangles in a canonical order: smallest vertex first in each, then sorted
    first = faces.argmin(axis=1)
    rows = np.arange(len(faces))
    faces = np.stack([faces[rows, (first + i) % 3] for i in range(3)], axis=1)
    return Mesh(vertices.astype(np.float32), faces[np.lexsort(faces.T[::-1])], colors)


@compiled(parallel=False)
def _match(edges, n):
    partner = np.arange(n)
    for e in range(len(edges)):
        a, b = edges[e]
        if partner[a] == a and partner[b] == b and a != b:
            partner[max(a, b)] = min(a, b)
            partner[min(a, b)] = -1  # taken
    for i in range(n):
        if partner[i] == -1:
            partner[i] = i
    return partner


def _weld(points, colors, faces, shortest: float):
    """Merge the ends of edges shorter than ``shortest``, shortest first, each vertex at most once a round."""
    for _ in range(3):
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
        order = np.argsort(length, kind="stable")
        target = _match(edges[order[: np.searchsorted(length[order], shortest)]], len(points))
        count = np.bincount(target, minlength=len(points))[:, None]
        keep = target == np.arange(len(points))
        for values in (points, colors):
            total = np.stack([np.bincount(target, column, minlength=len(points)) for column in values.T], 1)
            values[keep] = (total / np.maximum(count, 1))[keep]
        number = np.cumsum(keep) - 1
        points, colors, faces = points[keep], colors[keep], number[target[faces]].astype(np.int32)
        a, b, c = faces.T
        faces = faces[(a != b) & (b != c) & (c != a)]
    used = np.zeros(len(points), bool)
    used[faces] = True
    return points[used], colors[used], (np.cumsum(used) - 1)[faces].astype(np.int32)


def _even(points: np.ndarray, faces: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Even out the spacing of the vertices: shift each within its tangent plane towards the mean of its neighbours."""
    n = len(points)
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = coo_matrix(
        (np.ones(2 * len(pairs)), (pairs[:, [0, 1]].ravel(), pairs[:, [1, 0]].ravel())), shape=(n, n)
    ).tocsr()
    degree = np.asarray(links.sum(axis=1))
    for _ in range(rounds):
        step = links @ points / degree - points
        normals = vertex_normals(points, faces)
        points = points + 0.7 * (step - (step * normals).sum(axis=1, keepdims=True) * normals)
    return points
