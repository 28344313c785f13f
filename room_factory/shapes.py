"""Parametric furniture for the classes of which the catalogue has few models, and the shell of the room.

Every function returns a mesh standing on z = 0, centred in x and y, its front towards -y, like the catalogue's.
``novel`` selects styles that training rooms never show.
"""

import numpy as np

from room_factory.triangles import Mesh, join

WOODS = [(150, 105, 65), (120, 78, 48), (190, 150, 105), (95, 60, 40), (205, 180, 140)]
FABRICS = [(150, 60, 55), (70, 95, 140), (200, 185, 150), (90, 120, 85), (165, 120, 75), (110, 80, 120), (60, 110, 120)]
STONES = [(70, 70, 75), (165, 155, 145), (110, 95, 85), (195, 190, 180)]
WHITES = [(235, 235, 232), (225, 222, 212), (215, 220, 222)]


def pick(rng: np.random.Generator, colors: list[tuple[int, int, int]]) -> np.ndarray:
    """One of the colours, jittered, float (3,)."""
    return np.clip(np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 8, 3), 0, 255)


def box(lower: tuple, upper: tuple, color: np.ndarray) -> Mesh:
    """An axis-aligned box of one colour."""
    lower, upper = np.array(lower, float), np.array(upper, float)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))], np.int32)
    vertices = (lower + corners * (upper - lower)).astype(np.float32)
    return Mesh(vertices, faces, np.tile(np.clip(color, 0, 255).astype(np.uint8), (8, 1)))


def sheet(points: np.ndarray, colors: np.ndarray) -> Mesh:
    """A surface through a grid of points [R, S, 3] with colours [R, S, 3]."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    flat = np.clip(colors, 0, 255).astype(np.uint8).reshape(-1, 3)
    return Mesh(points.reshape(-1, 3).astype(np.float32), faces, flat)


def image(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A picture-like texture: a horizon between two colours and soft blobs, float [rows, columns, 3]."""
    v, u = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    base, other = rng.uniform(30, 240, 3), rng.uniform(30, 240, 3)
    canvas = np.where((v > rng.uniform(0.3, 0.7))[..., None], base, other)
    for _ in range(rng.integers(3, 7)):
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.08, 0.3)
        weight = np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / radius**2)[..., None]
        canvas = canvas * (1 - weight) + weight * rng.uniform(10, 250, 3)
    return canvas


def picture(rng: np.random.Generator, novel: bool = False) -> Mesh:
    """A framed picture; a novel one is a wide poster without a frame."""
    width, height = (rng.uniform(0.9, 1.2), rng.uniform(0.5, 0.6)) if novel else rng.uniform(0.4, 0.85, 2)
    border = 0.0 if novel else rng.uniform(0.03, 0.06)
    frame = pick(rng, [(40, 35, 30), (140, 100, 55), (230, 225, 215)])
    u = np.linspace(-width / 2 + border, width / 2 - border, 24)
    w = np.linspace(border, height - border, 24)
    points = np.stack([*np.meshgrid(u, w)], axis=-1)
    points = np.stack([points[..., 0], np.full(points.shape[:2], -0.046), points[..., 1]], axis=-1)
    return join([box((-width / 2, -0.045, 0), (width / 2, 0, height), frame), sheet(points, image(rng, 24, 24))])


def folds(rng: np.random.Generator, width: float, height: float, depth: float, waves: float, color, stripe) -> Mesh:
    """A hanging sheet with vertical folds and, where ``stripe`` is a colour, stripes."""
    u = np.linspace(0, 1, max(int(width / 0.015), 8))
    w = np.linspace(0, 1, 8)
    grid_u, grid_w = np.meshgrid(u, w)
    phase = rng.uniform(0, 6)
    wave = np.sin(2 * np.pi * waves * grid_u + phase) * (depth / 2) * (0.8 + 0.2 * (1 - grid_w))
    points = np.stack([(grid_u - 0.5) * width, wave, grid_w * height], axis=-1)
    shade = 1 + 0.18 * np.cos(2 * np.pi * waves * grid_u + phase)
    colors = shade[..., None] * np.asarray(color, float)
    if stripe is not None:
        colors = np.where((np.floor(grid_u * waves * 1.5) % 2 > 0)[..., None], shade[..., None] * stripe, colors)
    return sheet(points, colors)


def curtain(rng: np.random.Generator, novel: bool = False) -> Mesh:
    """A window curtain gathered in deep folds; a novel one has shallow folds and broad stripes."""
    width, height = rng.uniform(0.4, 0.7), rng.uniform(1.75, 1.95)
    color = pick(rng, FABRICS)
    if novel:
        return folds(rng, width, height, 0.06, width * 4, color, color * 0.5 + 110)
    return folds(rng, width, height, rng.uniform(0.09, 0.13), width * 9, color, None)


def shower_curtain(rng: np.random.Generator, length: float, novel: bool = False) -> Mesh:
    """A pale plastic sheet on a rod, thinner folds than a curtain; a novel one is checked in colour."""
    width, height = length * rng.uniform(0.45, 0.75), rng.uniform(1.3, 1.45)
    color = pick(rng, [(170, 205, 225), (205, 225, 205), (225, 210, 225), (190, 220, 225)])
    stripe = pick(rng, FABRICS) if novel else color * 0.9 + 25
    cloth = folds(rng, width, height, 0.05, width * 6, color, stripe)
    side = rng.choice([-1, 1]) * (length - width) / 2
    rod = box((-length / 2, -0.015, height), (length / 2, 0.015, height + 0.03), np.array([190, 190, 195]))
    return join([cloth.moved((side, 0, 0)), rod])


def basin(rng: np.random.Generator, width: float, depth: float, novel: bool = False) -> Mesh:
    """A sink to set into a worktop: an open bowl with a rim and a tap; z = 0 is the top of the worktop."""
    steel, white = np.array([165, 168, 172]), pick(rng, WHITES)
    color = white if novel else [steel, white][rng.integers(2)]
    # rings from the rim down a sloping wall to the bottom
    rings = [(1.0, 1.0, -0.005), (1.0, 1.0, 0.025), (0.88, 0.84, 0.025), (0.76, 0.7, -0.09), (0.0, 0.0, -0.1)]
    bowl = np.stack([_ring(width * a, depth * b, z, 0.4) for a, b, z in rings])
    shade = np.array([1.0, 1.0, 1.0, 0.9, 0.85])[:, None, None]
    return join(
        [
            sheet(bowl, shade * color * np.ones(bowl.shape)),
            box((-0.02, depth / 2 - 0.035, 0.02), (0.02, depth / 2, 0.28), steel),
            box((-0.02, depth / 2 - 0.2, 0.24), (0.02, depth / 2 - 0.035, 0.28), steel),
        ]
    )


def _ring(width: float, depth: float, z: float, power: float) -> np.ndarray:
    """A closed superellipse [41, 3] at height z; a lower ``power`` is squarer, 1 an ellipse."""
    t = np.linspace(0, 2 * np.pi, 41)
    x, y = (np.sign(f(t)) * np.abs(f(t)) ** power / 2 for f in (np.cos, np.sin))
    return np.stack([x * width, y * depth, np.full(41, z)], axis=1)


def counter(
    rng: np.random.Generator, length: float, hole: tuple | None, vanity: bool = False, novel: bool = False
) -> Mesh:
    """A worktop on base units with door fronts; ``hole`` (x, width, depth) is left open for a sink."""
    depth = rng.uniform(0.5, 0.56) if vanity else rng.uniform(0.6, 0.66)
    height = rng.uniform(0.78, 0.84) if vanity else rng.uniform(0.88, 0.94)
    front = pick(rng, [(175, 60, 50), (70, 85, 80)] if novel else [*WHITES, WOODS[2], WOODS[4]])
    top = pick(rng, STONES if not novel else WOODS[:2])
    back, low, high = depth / 2, height - 0.05, height
    parts = [
        box((-length / 2, -back + 0.03, 0.08), (length / 2, -back + 0.05, low), front),
        box((-length / 2, -back + 0.08, 0), (length / 2, -back + 0.1, 0.08), front * 0.4),
        box((-length / 2, -back + 0.05, 0), (-length / 2 + 0.02, back, low), front),
        box((length / 2 - 0.02, -back + 0.05, 0), (length / 2, back, low), front),
        box((-length / 2, back - 0.03, high), (length / 2, back, high + 0.12), top * 0.95),
    ]
    for edge in np.arange(-length / 2 + 0.45, length / 2 - 0.2, 0.45):  # gaps between the doors, and handles
        parts.append(box((edge - 0.008, -back + 0.025, 0.1), (edge + 0.008, -back + 0.031, low - 0.02), front * 0.45))
        parts.append(
            box((edge + 0.04, -back, low - 0.2), (edge + 0.07, -back + 0.03, low - 0.06), np.array([110, 110, 115]))
        )
    if hole is None:
        parts.append(box((-length / 2, -back, low), (length / 2, back, high), top))
    else:
        x, width, deep = hole
        parts += [
            box((-length / 2, -back, low), (x - width / 2, back, high), top),
            box((x + width / 2, -back, low), (length / 2, back, high), top),
            box((x - width / 2, -back, low), (x + width / 2, -deep / 2, high), top),
            box((x - width / 2, deep / 2, low), (x + width / 2, back, high), top),
        ]
    return join(parts)


def bathtub(rng: np.random.Generator, novel: bool = False) -> Mesh:
    """A built-in tub, hollow; a novel one is coloured and has a wooden apron."""
    length, depth, height = rng.uniform(1.45, 1.7), rng.uniform(0.68, 0.76), rng.uniform(0.5, 0.58)
    color = pick(rng, [(190, 205, 190), (225, 200, 190)]) if novel else pick(rng, WHITES)
    apron = pick(rng, WOODS) if novel else color
    # rings from the rim down to the bottom
    rings = [(1.0, 1.0, height), (0.93, 0.87, height), (0.86, 0.74, 0.22), (0.72, 0.55, 0.14), (0.0, 0.0, 0.13)]
    points = np.stack([_ring(length * a, depth * b, z, 0.35) for a, b, z in rings])
    bowl = sheet(points, np.broadcast_to(color * 0.97, points.shape))
    walls = [
        box((-length / 2, -depth / 2, 0), (length / 2, -depth / 2 + 0.02, height), apron),
        box((-length / 2, depth / 2 - 0.02, 0), (length / 2, depth / 2, height), color),
        box((-length / 2, -depth / 2, 0), (-length / 2 + 0.02, depth / 2, height), apron),
        box((length / 2 - 0.02, -depth / 2, 0), (length / 2, depth / 2, height), apron),
        box((-length / 2 + 0.01, -0.03, height), (-length / 2 + 0.1, 0.03, height + 0.12), np.array([170, 172, 178])),
    ]
    return join([bowl, *walls])


def toilet(rng: np.random.Generator) -> Mesh:
    """A close-coupled toilet: a round bowl with a seat and a cistern."""
    color = pick(rng, WHITES)
    width, depth = rng.uniform(0.36, 0.41), rng.uniform(0.64, 0.72)
    t = np.linspace(0, 2 * np.pi, 33)
    rings = [(0.5, 0.0), (0.52, 0.12), (0.7, 0.26), (1.0, 0.38), (1.0, 0.42), (0.72, 0.42), (0.6, 0.3), (0.0, 0.27)]
    bowl_depth, centre = depth - 0.2, -0.1
    points = np.stack(
        [
            np.stack(
                [np.cos(t) * width / 2 * r, centre + np.sin(t) * bowl_depth / 2 * r + 0.03 * (1 - r), np.full(33, z)],
                -1,
            )
            for r, z in rings
        ]
    )
    shade = np.array([1.0, 1.0, 1.0, 1.0, 1.03, 1.0, 0.8, 0.6])[:, None, None]
    parts = [
        sheet(points, shade * color * np.ones(points.shape)),
        box((-width / 2 - 0.02, depth / 2 - 0.2, 0.38), (width / 2 + 0.02, depth / 2, rng.uniform(0.74, 0.82)), color),
        box((-width / 4, depth / 2 - 0.26, 0.0), (width / 4, depth / 2 - 0.02, 0.38), color),
        box(
            (-width * 0.45, depth / 2 - 0.24, 0.42), (width * 0.45, depth / 2 - 0.2, 0.74), color * 0.97
        ),  # the raised lid
    ]
    return join(parts)


def refrigerator(rng: np.random.Generator, novel: bool = False) -> Mesh:
    """A tall fridge of two doors with long handles."""
    width, depth, height = rng.uniform(0.6, 0.72), rng.uniform(0.62, 0.68), rng.uniform(1.6, 1.85)
    color = pick(rng, [(60, 60, 65)] if novel else [(228, 230, 230), (168, 172, 176)])
    split, side = height * rng.uniform(0.58, 0.68), rng.choice([-1, 1])
    x = side * (width / 2 - 0.07)
    handle = color * 0.45
    return join(
        [
            box((-width / 2, -depth / 2 + 0.05, 0.03), (width / 2, depth / 2, height), color * 0.95),
            box((-width / 2, -depth / 2, 0.06), (width / 2, -depth / 2 + 0.045, split - 0.01), color),
            box((-width / 2, -depth / 2, split + 0.01), (width / 2, -depth / 2 + 0.045, height), color),
            box((x - 0.02, -depth / 2 - 0.045, split - 0.45), (x + 0.02, -depth / 2, split - 0.05), handle),
            box((x - 0.02, -depth / 2 - 0.045, split + 0.05), (x + 0.02, -depth / 2, split + 0.35), handle),
        ]
    )


def bookshelf(rng: np.random.Generator, novel: bool = False) -> Mesh:
    """Open shelves filled with rows of coloured books; a novel one is low and wide."""
    width = rng.uniform(1.1, 1.4) if novel else rng.uniform(0.7, 1.1)
    height = rng.uniform(0.9, 1.1) if novel else rng.uniform(1.6, 2.0)
    depth = rng.uniform(0.26, 0.34)
    color = pick(rng, WOODS if not novel else [(60, 60, 65)])
    parts = [
        box((-width / 2, depth / 2 - 0.02, 0), (width / 2, depth / 2, height), color * 0.8),
        box((-width / 2, -depth / 2, 0), (-width / 2 + 0.03, depth / 2, height), color),
        box((width / 2 - 0.03, -depth / 2, 0), (width / 2, depth / 2, height), color),
    ]
    levels = np.linspace(0.06, height - 0.03, int(height / 0.34) + 1)
    for low in levels:
        parts.append(box((-width / 2, -depth / 2, low), (width / 2, depth / 2, low + 0.03), color))
    for low, high in zip(levels[:-1], levels[1:], strict=True):
        x, end = -width / 2 + 0.04, width / 2 - 0.04 - rng.uniform(0, 0.3)
        while x < end:
            thick = rng.uniform(0.03, 0.06)
            tall = (high - low - 0.05) * rng.uniform(0.65, 0.95)
            front = -depth / 2 + rng.uniform(0.02, 0.06)
            book = rng.uniform(30, 225, 3)
            parts.append(box((x, front, low + 0.03), (min(x + thick, end), depth / 2 - 0.03, low + 0.03 + tall), book))
            x += thick
    return join(parts)


def window(rng: np.random.Generator, novel: bool = False) -> Mesh:
    """A window with bright bluish panes in a frame with bars."""
    width, height = rng.uniform(0.8, 1.4), rng.uniform(0.95, 1.2)
    frame = pick(rng, WOODS if novel else WHITES)
    glass = pick(rng, [(165, 195, 220), (185, 205, 220), (150, 180, 205)])
    parts = [box((-width / 2, -0.02, 0), (width / 2, 0.03, height), glass)]
    bars = rng.integers(2, 4)
    for x in np.linspace(-width / 2, width / 2 - 0.07, bars + 1):
        parts.append(box((x, -0.06, 0), (x + 0.07, 0.03, height), frame))
    for z in (0, height - 0.07, *([height * 0.5] if novel or rng.random() < 0.4 else [])):
        parts.append(box((-width / 2, -0.06, z), (width / 2, 0.03, z + 0.07), frame))
    parts.append(box((-width / 2 - 0.04, -0.14, -0.04), (width / 2 + 0.04, 0.03, 0), frame))
    mesh = join(parts)
    return mesh.moved((0, 0, 0.04))


def wall(rng: np.random.Generator, length: float, height: float, color: np.ndarray, tiles: bool) -> Mesh:
    """One wall in the plane y = 0 over x in 0..length; painted, or tiled up to 1.2 m."""
    u, w = np.linspace(0, length, int(length / 0.05) + 2), np.linspace(0, height, int(height / 0.05) + 2)
    grid_u, grid_w = np.meshgrid(u, w)
    colors = color * (1 + 0.03 * np.sin(grid_u * 1.3 + rng.uniform(0, 6)))[..., None]
    if tiles:
        joint = (grid_u % 0.3 < 0.05) | (grid_w % 0.3 < 0.05)
        tile = np.where(joint[..., None], color * 0.82, color * 0.9 + 28)
        colors = np.where((grid_w < 1.2)[..., None], tile, colors)
    return sheet(np.stack([grid_u, np.zeros_like(grid_u), grid_w], -1), colors)


def floor(rng: np.random.Generator, width: float, depth: float) -> Mesh:
    """The floor of the room, x in 0..width, y in 0..depth: planks, tiles or carpet."""
    u, v = np.linspace(0, width, int(width / 0.05) + 2), np.linspace(0, depth, int(depth / 0.05) + 2)
    grid_u, grid_v = np.meshgrid(u, v)
    style = rng.integers(3)
    if style == 0:
        base = pick(rng, WOODS)
        plank = rng.normal(1, 0.1, int(depth / 0.15) + 2)
        colors = base * plank[(grid_v / 0.15).astype(int)][..., None]
    elif style == 1:
        base = pick(rng, [(190, 180, 165), (150, 145, 140), (120, 110, 100)])
        joint = (grid_u % 0.4 < 0.05) | (grid_v % 0.4 < 0.05)
        colors = np.where(joint[..., None], base * 0.75, base)
    else:
        base = pick(rng, [(130, 120, 110), (110, 115, 130), (140, 125, 100)])
        colors = base * rng.normal(1, 0.06, grid_u.shape)[..., None]
    return sheet(np.stack([grid_u, grid_v, np.zeros_like(grid_u)], -1), colors)
