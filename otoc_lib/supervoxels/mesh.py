"""Super-voxels of a mesh: Felzenszwalb and Huttenlocher's graph segmentation on vertex normals, as for ScanNet.

The graph's nodes are the vertices, its edges those of the triangles. An edge weighs 1 - cos of the angle between the
normals, squared where the surface is convex there, which keeps the outside of an object together and cuts at the
concave line where it stands on the floor.
"""

import numba
import numpy as np

from otoc_lib.errors import OtocError


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals, float64 [N, 3], of vertices [N, 3] as the area-weighted mean of the faces' [F, 3] normals."""
    vertices = np.asarray(vertices, np.float64)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(faces[:, corner], face_normals[:, axis], minlength=len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def edge_weights(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges int64 [3 F, 2] and their weights float64 [3 F], sorted by weight (ties in file order)."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    normals = vertex_normals(vertices, faces)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [0, 2]], faces[:, [2, 1]]])
    a, b = edges.T
    step = vertices[b] - vertices[a]
    step /= np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)
    weights = 1 - (normals[a] * normals[b]).sum(axis=1)
    # a vertex of one triangle has its edges in its own plane: the tolerance keeps rounding from deciding there
    convex = (normals[b] * step).sum(axis=1) > 1e-9
    weights = np.where(convex, weights**2, weights)
    order = np.argsort(weights, kind="stable")
    return edges[order], weights[order]


@numba.njit(cache=True)
def _root(parent, x):
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


@numba.njit(cache=True)
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
    then segments of fewer than ``minimum`` vertices join a neighbour. Isolated pieces stay small.
    ``vertices`` float [N, 3], ``faces`` int [F, 3]. OtocError if a face names a vertex that is not there.
    """
    faces = np.asarray(faces)
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise OtocError(
            f"faces: vertex {faces.max()} in a mesh of {len(vertices)} vertices; is the mesh file truncated?"
        )
    edges, weights = edge_weights(vertices, faces)
    return _segment(edges, weights, len(vertices), float(k), int(minimum)).astype(np.int32)
