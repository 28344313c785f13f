"""Coloured triangle meshes: the one shape type that furniture, walls and scans share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """V vertices and F triangles; metres, z up; colours are RGB 0..255 of the vertices."""

    vertices: np.ndarray  # float32 [V, 3]
    faces: np.ndarray  # int32 [F, 3]
    colors: np.ndarray  # uint8 [V, 3]

    @cached_property
    def lower(self) -> np.ndarray:
        return self.vertices.min(axis=0)

    @cached_property
    def upper(self) -> np.ndarray:
        return self.vertices.max(axis=0)

    @property
    def size(self) -> np.ndarray:
        return self.upper - self.lower

    def moved(self, offset: tuple[float, float, float]) -> "Mesh":
        """The mesh moved by an offset in metres."""
        return Mesh((self.vertices + np.float32(offset)).astype(np.float32), self.faces, self.colors)

    def scaled(self, factors: tuple[float, float, float] | np.ndarray) -> "Mesh":
        """The mesh scaled about the origin by positive factors along x, y and z."""
        return Mesh((self.vertices * np.float32(factors)).astype(np.float32), self.faces, self.colors)

    def turned(self, angle: float) -> "Mesh":
        """The mesh turned about z by an angle in radians, counter-clockwise."""
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return Mesh((self.vertices @ rotation.T).astype(np.float32), self.faces, self.colors)

    def tinted(self, factors: np.ndarray) -> "Mesh":
        """The mesh with its colours multiplied by factors (3,) and clipped to 0..255."""
        colors = np.clip(self.colors * np.asarray(factors), 0, 255).astype(np.uint8)
        return Mesh(self.vertices, self.faces, colors)


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of several, in order."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + np.int32(offset) for mesh, offset in zip(meshes, offsets, strict=True)]),
        np.concatenate([mesh.colors for mesh in meshes]),
    )


def split_long_faces(vertices: np.ndarray, faces: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Split triangles into four until no edge is longer than ``longest``.

    ``vertices`` float [V, 3 + K]: positions and K further values that are interpolated (texture coordinates).
    Returns vertices and faces; the triangles are not stitched, which ray casting does not need.
    """
    corners = vertices[faces]  # [F, 3, 3 + K]
    done = []
    for _ in range(8):
        edges = np.linalg.norm(corners[:, [1, 2, 0], :3] - corners[:, :, :3], axis=2).max(axis=1)
        done.append(corners[edges <= longest])
        corners = corners[edges > longest]
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        quarters = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        corners = np.concatenate([np.stack(quarter, axis=1) for quarter in quarters])
    corners = np.concatenate([*done, corners])
    return corners.reshape(-1, vertices.shape[1]), np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
