"""Small things of no benchmark class that fill real rooms: cushions, clothes, bags, books, boxes, bottles, rugs.

As in ``shapes``, every function returns a mesh standing on z = 0, centred in x and y.
"""

import numpy as np

from room_factory.shapes import FABRICS, STONES, WHITES, WOODS, box, folds, pick, sheet
from room_factory.triangles import Mesh, join


def lump(rng: np.random.Generator, size: np.ndarray, squareness: float, bumps: float, color: np.ndarray) -> Mesh:
    """A closed soft body of a size (3,): an ellipsoid, the squarer the lower ``squareness``, with bumps of a share."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 37), np.linspace(-np.pi / 2, np.pi / 2, 19))
    radius = np.ones_like(u)
    for _ in range(5):
        k, m = rng.integers(1, 5, 2)
        radius += bumps * rng.normal() * np.cos(k * u + rng.uniform(0, 6)) * np.cos(m * v + rng.uniform(0, 6)) / 2
    radius[:, -1] = radius[:, 0]

    def power(values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.abs(values) ** squareness

    directions = np.stack([power(np.cos(v) * np.cos(u)), power(np.cos(v) * np.sin(u)), power(np.sin(v))], -1)
    points = directions * radius[..., None]
    points[..., 2] = np.maximum(points[..., 2], -0.6)  # it sags onto what it lies on
    lower, upper = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    points = (points - [*(lower + upper)[:2] / 2, lower[2]]) / (upper - lower) * size
    shade = 0.85 + 0.3 * (radius - radius.min()) / max(float(np.ptp(radius)), 1e-6)
    return sheet(points, shade[..., None] * color)


def cushion(rng: np.random.Generator) -> Mesh:
    """A pillow that lies flat."""
    size = np.array([rng.uniform(0.38, 0.6), rng.uniform(0.32, 0.42), rng.uniform(0.12, 0.18)])
    return lump(rng, size, 0.6, 0.05, pick(rng, FABRICS + WHITES))


def clothes(rng: np.random.Generator) -> Mesh:
    """A heap of clothes: two or three bumpy lumps of different colours."""
    parts = []
    for _ in range(rng.integers(2, 4)):
        size = np.array([*rng.uniform(0.28, 0.5, 2), rng.uniform(0.12, 0.26)])
        body = lump(rng, size, 0.9, 0.35, pick(rng, [*FABRICS, (45, 50, 65), (60, 60, 60), (205, 205, 200)]))
        parts.append(body.moved((*rng.uniform(-0.12, 0.12, 2), 0)))
    return _centred(join(parts))


def bag(rng: np.random.Generator) -> Mesh:
    """A bag or sack with a strap."""
    width, depth, height = rng.uniform(0.28, 0.48), rng.uniform(0.2, 0.32), rng.uniform(0.3, 0.5)
    color = pick(rng, [*FABRICS, (40, 42, 48), (75, 60, 50)])
    body = lump(rng, np.array([width, depth, height]), 0.55, 0.12, color)
    strap = box((-width * 0.3, -0.02, height * 0.9), (width * 0.3, 0.02, height + 0.06), color * 0.6)
    return join([body, strap])


def books(rng: np.random.Generator) -> Mesh:
    """A pile of books, askew."""
    parts, low = [], 0.0
    for _ in range(rng.integers(3, 8)):
        half, thick = rng.uniform([0.09, 0.12], [0.12, 0.16]), rng.uniform(0.02, 0.05)
        book = box((-half[0], -half[1], low), (half[0], half[1], low + thick), rng.uniform(25, 230, 3))
        parts.append(book.turned(rng.uniform(-0.35, 0.35)))
        low += thick
    return _centred(join(parts))


def carton(rng: np.random.Generator) -> Mesh:
    """A cardboard or plastic box, closed with tape or open with something in it."""
    width, depth, height = rng.uniform([0.28, 0.22, 0.18], [0.6, 0.45, 0.45])
    color = pick(rng, [(165, 125, 85), (180, 140, 95), (150, 115, 80), (90, 120, 150), (200, 200, 195)])
    a, b = width / 2, depth / 2
    if rng.random() < 0.6:
        tape = box((-0.03, -b - 0.002, 0), (0.03, b + 0.002, height + 0.003), color * 1.15)
        return join([box((-a, -b, 0), (a, b, height), color), tape])
    inner = lump(rng, np.array([width * 0.9, depth * 0.9, height * 0.9]), 0.7, 0.3, rng.uniform(40, 220, 3))
    walls = [
        box((-a, -b, 0), (a, -b + 0.015, height), color),
        box((-a, b - 0.015, 0), (a, b, height), color),
        box((-a, -b, 0), (-a + 0.015, b, height), color * 0.9),
        box((a - 0.015, -b, 0), (a, b, height), color * 0.9),
    ]
    return join([*walls, inner])


def bottle(rng: np.random.Generator) -> Mesh:
    """A bottle, jar, vase or pot: a body of revolution."""
    height, width = rng.uniform(0.16, 0.36), rng.uniform(0.09, 0.18)
    profile = [0.0, 0.9, 1.0, rng.uniform(0.75, 1.0), rng.uniform(0.35, 0.9), rng.uniform(0.3, 0.6), 0.0]
    levels = np.array([0.0, 0.0, 0.3, 0.6, 0.75, 1.0, 1.0]) * height
    turn = np.linspace(0, 2 * np.pi, 25)
    rings = [
        np.stack([np.cos(turn) * r * width / 2, np.sin(turn) * r * width / 2, np.full(25, z)], 1)
        for r, z in zip(profile, levels, strict=True)
    ]
    points = np.stack(rings)
    return sheet(points, np.broadcast_to(rng.uniform(30, 230, 3), points.shape))


def towel(rng: np.random.Generator) -> Mesh:
    """A towel or a coat on a hook: a narrow hanging cloth."""
    width, height = rng.uniform(0.35, 0.6), rng.uniform(0.6, 1.0)
    return folds(rng, width, height, rng.uniform(0.05, 0.12), width * 8, pick(rng, FABRICS + WHITES), None)


def rug(rng: np.random.Generator) -> Mesh:
    """A rug of 1.2 cm with a border and stripes."""
    width, depth = rng.uniform(1.2, 2.2), rng.uniform(0.8, 1.5)
    base, other = pick(rng, FABRICS), pick(rng, FABRICS + STONES)
    u, v = np.meshgrid(np.linspace(-width / 2, width / 2, 40), np.linspace(-depth / 2, depth / 2, 30))
    inner = (np.abs(u) < width / 2 - 0.12) & (np.abs(v) < depth / 2 - 0.12)
    stripes = np.sin(u * rng.uniform(6, 25)) * np.sin(v * rng.uniform(0, 25) + 1.5) > 0
    colors = np.where((inner & stripes)[..., None], other, base)
    return sheet(np.stack([u, v, np.full_like(u, 0.012)], -1), colors)


def whiteboard(rng: np.random.Generator) -> Mesh:
    """A board for the wall with some writing on it."""
    width, height = rng.uniform(0.9, 1.8), rng.uniform(0.8, 1.0)
    frame = box((-width / 2, -0.03, 0), (width / 2, 0, height), np.array([150, 150, 155]))
    parts = [frame, box((-width / 2 + 0.03, -0.035, 0.03), (width / 2 - 0.03, -0.03, height - 0.03), WHITES[0])]
    for _ in range(rng.integers(2, 7)):
        x, z = rng.uniform(-width / 2 + 0.1, width / 2 - 0.4), rng.uniform(0.1, height - 0.1)
        parts.append(box((x, -0.037, z), (x + rng.uniform(0.1, 0.3), -0.034, z + 0.03), rng.uniform(20, 150, 3)))
    return join(parts)


def blinds(rng: np.random.Generator, width: float, height: float) -> Mesh:
    """Horizontal blinds of a size."""
    levels = np.repeat(np.arange(0, height, 0.05), 2)
    front = np.tile([-0.035, 0.0], len(levels) // 2)
    x = np.linspace(-width / 2, width / 2, 5)
    points = np.stack(
        [np.tile(x, (len(levels), 1)), np.repeat(front[:, None], 5, 1), np.repeat(levels[:, None], 5, 1)], -1
    )
    return sheet(points, np.broadcast_to(pick(rng, [*WHITES, WOODS[4]]), points.shape))


def monitor(rng: np.random.Generator) -> Mesh:
    """A computer screen on its foot."""
    width, height = rng.uniform(0.45, 0.62), rng.uniform(0.3, 0.38)
    color = pick(rng, [(35, 35, 38), (60, 60, 65), (190, 190, 190)])
    glass = rng.uniform(20, 60, 3) if rng.random() < 0.6 else rng.uniform(90, 200, 3)
    return join(
        [
            box((-0.12, -0.09, 0), (0.12, 0.09, 0.02), color),
            box((-0.03, -0.01, 0.02), (0.03, 0.03, 0.16), color),
            box((-width / 2, -0.03, 0.12), (width / 2, 0.02, 0.12 + height), color),
            box((-width / 2 + 0.02, -0.034, 0.14), (width / 2 - 0.02, -0.03, 0.1 + height), glass),
        ]
    )


def rack(rng: np.random.Generator) -> Mesh:
    """An open storage rack with boxes, bags and heaps on its boards."""
    width, depth, height = rng.uniform(0.8, 1.3), rng.uniform(0.38, 0.5), rng.uniform(1.3, 1.8)
    color = pick(rng, [(120, 125, 130), (70, 75, 85), WOODS[2]])
    parts = []
    for x in (-width / 2, width / 2 - 0.04):
        for y in (-depth / 2, depth / 2 - 0.04):
            parts.append(box((x, y, 0), (x + 0.04, y + 0.04, height), color))
    levels = np.linspace(0.12, height - 0.04, rng.integers(3, 5))
    for low, high in zip(levels, [*levels[1:], height + 0.3], strict=True):
        parts.append(box((-width / 2, -depth / 2, low), (width / 2, depth / 2, low + 0.03), color))
        x = -width / 2 + 0.06
        while x < width / 2 - 0.25:
            size = np.array([rng.uniform(0.18, 0.38), depth * 0.8, (high - low - 0.06) * rng.uniform(0.5, 0.9)])
            size[0] = min(size[0], width / 2 - 0.05 - x)
            middle = (x + size[0] / 2, 0, low + 0.03)
            hue = pick(rng, [(165, 125, 85), (180, 140, 95), *FABRICS, *WHITES])
            if rng.random() < 0.65:
                parts.append(box(-size / 2 * [1, 1, 0], size / 2 * [1, 1, 2], hue).moved(middle))
            elif rng.random() < 0.6:
                parts.append(lump(rng, size, 0.7, 0.25, hue).moved(middle))
            x += size[0] + rng.uniform(0.02, 0.12)
    return join(parts)


def _centred(mesh: Mesh) -> Mesh:
    centre = (mesh.lower + mesh.upper) / 2
    return mesh.moved((-centre[0], -centre[1], 0))
