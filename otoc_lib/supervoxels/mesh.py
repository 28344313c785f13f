"""Super-voxels of a mesh: Felzenszwalb and Huttenlocher's graph segmentation on vertex normals, as for ScanNet.

The graph's nodes are the vertices, its edges those of the triangles. An edge weighs 1 - the dot product of the normals,
squared where the surface is convex there, which keeps the outside of an object together and cuts at the concave line
where it stands on the floor. As in ScanNet's segmentator a vertex's normal is the plain mean of the unit normals of its
triangles, which is shorter than 1 where the surface is rough: edges weigh more there.
"""

import numpy as np

from otoc_lib.errors import OtocError
from otoc_lib.jit import compiled

# the corners that the three edges of a triangle join, in the order in which ties are broken
CORNERS = ((0, 1), (0, 2), (2, 1))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals, float64 [N, 3], of vertices [N, 3] as the area-weighted mean of the faces' [F, 3] normals.

    A vertex without a face, or with degenerate ones only, has the normal zero.
    """
    return _normals(np.asarray(vertices, np.float64), np.asarray(faces, np.int64))


@compiled(parallel=False)
def _normals(vertices, faces):
    normals = np.zeros_like(vertices)
    part = np.empty_like(vertices)
    for corner in range(3):  # a sum for each corner, then their sum: rounding must not depend on who implements it
        part[:] = 0
        for f in range(len(faces)):
            a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
            u0, u1, u2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
            v0, v1, v2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
            at = faces[f, corner]
            part[at, 0] += u1 * v2 - u2 * v1
            part[at, 1] += u2 * v0 - u0 * v2
            part[at, 2] += u0 * v1 - u1 * v0
        normals += part
    for n in range(len(normals)):
        length = np.sqrt(normals[n, 0] ** 2 + normals[n, 1] ** 2 + normals[n, 2] ** 2)
        normals[n] /= max(length, 1e-12)
    return normals


def mean_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Mean of the unit normals, float64 [N, 3], of the faces [F, 3] around each vertex [N, 3]; zero without a face."""
    return _mean_normals(np.asarray(vertices, np.float64), np.asarray(faces, np.int64))


@compiled(parallel=False)
def _mean_normals(vertices, faces):
    units = np.zeros((len(faces), 3))
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        u0, u1, u2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        v0, v1, v2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        n0, n1, n2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
        length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
        if length > 1e-12:  # a degenerate triangle has no normal, but counts
            units[f, 0], units[f, 1], units[f, 2] = n0 / length, n1 / length, n2 / length
    normals = np.zeros_like(vertices)
    count = np.zeros(len(vertices))
    for corner in range(3):
        for f in range(len(faces)):
            normals[faces[f, corner]] += units[f]
            count[faces[f, corner]] += 1
    for n in range(len(normals)):
        normals[n] /= max(count[n], 1.0)
    return normals


def edge_weights(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges int64 [3 F, 2] and their weights float64 [3 F], sorted by weight.

    Ties keep the order: first corners 0-1 of all triangles, then 0-2, then 2-1.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    edges = np.concatenate([faces[:, corners] for corners in CORNERS])
    weights = _weights(vertices, mean_normals(vertices, faces), edges)
    order = np.argsort(weights, kind="stable")
    return edges[order], weights[order]


@compiled(parallel=False)
def _weights(vertices, normals, edges):
    weights = np.empty(len(edges))
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        s0, s1, s2 = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        length = max(np.sqrt(s0 * s0 + s1 * s1 + s2 * s2), 1e-12)
        m, n = normals[a], normals[b]
        weight = 1 - (m[0] * n[0] + m[1] * n[1] + m[2] * n[2])
        # a vertex of one triangle has its edges in its own plane: the tolerance keeps rounding from deciding there
        convex = n[0] * (s0 / length) + n[1] * (s1 / length) + n[2] * (s2 / length) > 1e-9
        weights[e] = weight * weight if convex else weight
    return weights


@compiled(parallel=False)
def _root(parent, x):
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


@compiled(parallel=False)
def _segment(edges, weights, n, k, minimum):
    parent = np.arange(n)
    size = np.ones(n, np.int64)
    threshold = np.full(n, k)
    for e in range(len(edges)):
        a, b = _root(parent, edges[e, 0]), _root(parent, edges[e, 1])
        if a != b and weights[e] <= threshold[a] and weights[e] <= threshold[b]:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            threshold[a] = weights[e] + k / size[a]
    for e in range(len(edges)):
        a, b = _root(parent, edges[e, 0]), _root(parent, edges[e, 1])
        if a != b and (size[a] < minimum or size[b] < minimum):
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent


def segment_mesh(vertices: np.ndarray, faces: np.ndarray, k: float = 0.01, minimum: int = 20) -> np.ndarray:
    """Super-voxel of every vertex, int32 [N]: the index of one of its vertices, so the ids are not dense.

    Two segments join over an edge that weighs no more than either's threshold (its largest inner edge + k / size);
    then segments of fewer than ``minimum`` vertices join a neighbour. Isolated pieces stay small, a vertex without a
    face stays alone, and faces without area count as the edges they are.

    Args:
        vertices: float [N, 3].
        faces: int [F, 3]; F may be 0.
        k: threshold of a single vertex.
        minimum: vertices.

    Raises:
        OtocError: shapes other than these, vertices that are not finite, a face that names a vertex that is not there.
    """
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise OtocError(f"vertices: the shape is {vertices.shape}; it must be (N, 3)")
    if not np.isfinite(vertices).all():
        first = int(np.argmin(np.isfinite(vertices).all(axis=1)))
        raise OtocError(f"vertices: vertex {first} is {vertices[first].tolist()}; repair the mesh")
    if faces.size == 0:
        return np.arange(len(vertices), dtype=np.int32)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise OtocError(f"faces: {faces.dtype} {faces.shape}; they must be triangles, integers of the shape (F, 3)")
    if faces.min() < 0 or faces.max() >= len(vertices):
        outside = int(faces.max()) if faces.min() >= 0 else int(faces.min())
        raise OtocError(f"faces: vertex {outside} in a mesh of {len(vertices)} vertices; is the mesh file truncated?")
    edges, weights = edge_weights(vertices, faces)
    return _segment(edges, weights, len(vertices), float(k), int(minimum)).astype(np.int32)
