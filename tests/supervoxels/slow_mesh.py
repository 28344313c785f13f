"""Felzenszwalb and Huttenlocher's segmentation of a mesh in plain Python, written from its description alone.

Segments are Python sets and every vertex knows its own; the smaller set is poured into the larger one. No numpy, no
union-find, normals summed triangle by triangle: nothing is shared with the library but the definition.
"""

from math import sqrt

Vector = tuple[float, float, float]


def minus(p: Vector, q: Vector) -> Vector:
    return p[0] - q[0], p[1] - q[1], p[2] - q[2]


def dot(p: Vector, q: Vector) -> float:
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2]


def cross(p: Vector, q: Vector) -> Vector:
    return p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]


def unit(p: Vector) -> Vector:
    length = sqrt(dot(p, p))
    return (p[0] / length, p[1] / length, p[2] / length) if length > 1e-12 else (0.0, 0.0, 0.0)


def slow_segments(vertices: list, faces: list, k: float, minimum: int) -> list[int]:
    """The smallest vertex of each vertex's segment."""
    vertices = [tuple(map(float, vertex)) for vertex in vertices]
    around = [[] for _ in vertices]
    for corner in range(3):
        for face in faces:
            a, b, c = face
            around[face[corner]].append(unit(cross(minus(vertices[b], vertices[a]), minus(vertices[c], vertices[a]))))
    normals = [tuple(sum(n[axis] for n in own) / max(len(own), 1) for axis in range(3)) for own in around]

    edges = []
    for first, second in ((0, 1), (0, 2), (2, 1)):
        for face in faces:
            a, b = face[first], face[second]
            difference = 1 - dot(normals[a], normals[b])
            if dot(normals[b], unit(minus(vertices[b], vertices[a]))) > 1e-9:  # convex
                difference **= 2
            edges.append((difference, a, b))
    edges.sort(key=lambda edge: edge[0])

    members = [{v} for v in range(len(vertices))]
    largest = {id(own): (0.0, 1) for own in members}  # of each segment: its heaviest joining edge, its size then

    def join(a: int, b: int) -> set[int]:
        into, other = sorted((members[a], members[b]), key=len, reverse=True)
        into |= other
        for v in other:
            members[v] = into
        return into

    def threshold(v: int) -> float:
        weight, size = largest[id(members[v])]
        return weight + k / size

    keep = list(members)  # ids stay unique while the sets live
    for weight, a, b in edges:
        if members[a] is not members[b] and weight <= min(threshold(a), threshold(b)):
            union = join(a, b)
            largest[id(union)] = (weight, len(union))
    for _, a, b in edges:
        if members[a] is not members[b] and min(len(members[a]), len(members[b])) < minimum:
            join(a, b)
    del keep
    smallest: dict[int, int] = {}
    for v, own in enumerate(members):
        smallest.setdefault(id(own), v)
    return [smallest[id(own)] for own in members]
