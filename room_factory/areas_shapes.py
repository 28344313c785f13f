"""Parametric things of office buildings: tables, bookcases, boards, doors, windows, machines and small clutter.

What stands or lies is centred in x and y on z = 0 with its front towards -y, like the catalogue's models. What hangs
on a wall has the wall's surface at y = 0 and the room at y < 0; doors and windows reach behind the wall (y > 0).
"""

import numpy as np

from room_factory.shapes import box, image, sheet
from room_factory.triangles import Mesh, join

WOODS = [(150, 105, 65), (120, 78, 48), (190, 150, 105), (95, 60, 40), (205, 180, 140), (175, 125, 85)]
PLAINS = [(225, 225, 220), (190, 190, 188), (120, 122, 125), (70, 72, 78), (210, 205, 190)]
FABRICS = [(45, 50, 60), (150, 60, 55), (60, 85, 130), (180, 165, 135), (85, 110, 80), (120, 90, 70), (95, 95, 98)]
METAL = np.array([165, 168, 172.0])
DARK = np.array([38, 38, 42.0])


def pick(rng: np.random.Generator, colors: list[tuple[int, int, int]]) -> np.ndarray:
    """One of the colours, a little lighter or darker and hardly another hue, float (3,)."""
    return np.clip(np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 9) + rng.normal(0, 2.5, 3), 0, 255)


def muted(rng: np.random.Generator) -> np.ndarray:
    """Any colour that is not garish: of a book, a mug; float (3,)."""
    color = rng.uniform(25, 230, 3)
    return 0.65 * color + 0.35 * color.mean()


def texture(lower: tuple, across: tuple, up: tuple, colors: np.ndarray) -> Mesh:
    """A flat rectangle from a corner along two edges, float (3,) each, with colours [R, S, 3] from bottom to top."""
    v, u = np.mgrid[0 : 1 : colors.shape[0] * 1j, 0 : 1 : colors.shape[1] * 1j]
    points = np.array(lower, float) + u[..., None] * np.array(across, float) + v[..., None] * np.array(up, float)
    return sheet(points, colors)


# --- the shell


def wall(length: float, height: float, holes: list[tuple], paint: np.ndarray, skirting: np.ndarray) -> Mesh:
    """A wall over x in -length/2..length/2 with openings (left, right, low, high) and their reveals, 14 cm deep."""
    xs = np.unique([-length / 2, length / 2, *(value for hole in holes for value in hole[:2])])
    zs = np.unique([0.0, 0.1, height, *(value for hole in holes for value in hole[2:])])
    parts = []
    for left, right in zip(xs[:-1], xs[1:], strict=True):
        for low, high in zip(zs[:-1], zs[1:], strict=True):
            x, z = (left + right) / 2, (low + high) / 2
            if any(hole[0] < x < hole[1] and hole[2] < z < hole[3] for hole in holes):
                continue
            color = skirting if high <= 0.1 else paint
            parts.append(texture((left, 0, low), (right - left, 0, 0), (0, 0, high - low), np.tile(color, (2, 2, 1))))
    for left, right, low, high in holes:
        reveal = np.tile(paint * 0.97, (2, 2, 1))
        for x in (left, right):
            parts.append(texture((x, 0, low), (0, 0.14, 0), (0, 0, high - low), reveal))
        for z in (low, high):
            parts.append(texture((left, 0, z), (right - left, 0, 0), (0, 0.14, 0), reveal))
    return join(parts)


def floor(rng: np.random.Generator, width: float, depth: float) -> Mesh:
    """Carpet tiles, planks, vinyl or stone over x in 0..width and y in 0..depth."""
    grid_u, grid_v = np.meshgrid(np.linspace(0, 1, int(width / 0.05) + 2), np.linspace(0, 1, int(depth / 0.05) + 2))
    x, y = grid_u * width, grid_v * depth
    style = rng.integers(4)
    base = pick(
        rng,
        (
            [(95, 100, 110), (110, 100, 90), (80, 95, 90), (120, 85, 80)],  # carpet tiles
            WOODS,
            [(175, 172, 160), (150, 160, 165), (185, 175, 150)],  # vinyl
            [(160, 150, 140), (125, 120, 118), (190, 182, 170)],  # stone
        )[style],
    )
    if style == 0:
        checks = rng.normal(1, 0.05, (64, 64))[(x / 0.5).astype(int) % 64, (y / 0.5).astype(int) % 64]
        colors = base * (checks * rng.normal(1, 0.03, x.shape))[..., None]
    elif style == 1:
        colors = base * rng.normal(1, 0.09, 256)[(y / 0.14).astype(int) % 256][..., None]
    elif style == 2:
        colors = base * (1 + 0.03 * np.sin(x * 2.1) * np.sin(y * 1.7))[..., None]
    else:
        joint = (x % 0.6 < 0.05) | (y % 0.6 < 0.05)
        colors = np.where(joint[..., None], base * 0.75, base * rng.normal(1, 0.02, x.shape)[..., None])
    return sheet(np.stack([x, y, np.zeros_like(x)], -1), colors)


def ceiling(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    """Panels with dark joints, plaster or raw concrete."""
    grid_u, grid_v = np.meshgrid(np.linspace(0, 1, int(width / 0.04) + 2), np.linspace(0, 1, int(depth / 0.04) + 2))
    x, y = grid_u * width, grid_v * depth
    style = rng.integers(3)
    base = pick(rng, [[(228, 226, 220), (215, 216, 214)], [(238, 236, 230)], [(165, 163, 160)]][style])
    colors = np.tile(base, (*x.shape, 1))
    if style == 0:
        colors = np.where(((x % 0.6 < 0.04) | (y % 0.6 < 0.04))[..., None], base * 0.8, colors)
    return sheet(np.stack([x, y, np.full_like(x, height)], -1), colors)


def column(
    rng: np.random.Generator, width: float, depth: float, height: float, color: np.ndarray, round_: bool
) -> Mesh:
    """A square or round column from the floor to the ceiling."""
    if not round_:
        return box((-width / 2, -depth / 2, 0), (width / 2, depth / 2, height), color)
    t = np.linspace(0, 2 * np.pi, 33)
    rings = np.stack(
        [np.stack([np.cos(t) * width / 2, np.sin(t) * width / 2, np.full(33, z)], -1) for z in (0, 0.15, height)]
    )
    shade = np.array([0.7, 1.0, 1.0])[:, None, None]
    return sheet(rings, shade * color * np.ones(rings.shape))


def door(rng: np.random.Generator, width: float, height: float) -> Mesh:
    """A door leaf (or two) in a frame, with handle, perhaps a pane or a kick plate."""
    leaf = pick(rng, [*WOODS, (110, 125, 140), (140, 60, 50), (70, 90, 85), (170, 170, 165)])
    frame = pick(rng, [(90, 90, 92), (60, 50, 45), (150, 145, 135)]) if rng.random() < 0.6 else leaf * 0.7
    parts = [
        box((-width / 2, -0.02, 0), (-width / 2 + 0.06, 0.1, height), frame),
        box((width / 2 - 0.06, -0.02, 0), (width / 2, 0.1, height), frame),
        box((-width / 2, -0.02, height - 0.06), (width / 2, 0.1, height), frame),
        box((-width / 2 + 0.06, 0.035, 0.005), (width / 2 - 0.06, 0.08, height - 0.06), leaf),
    ]
    sides = (-1, 1) if width > 1.3 else (rng.choice([-1, 1]),)
    if width > 1.3:
        parts.append(box((-0.01, 0.03, 0.01), (0.01, 0.04, height - 0.06), leaf * 0.5))
    for side in sides:
        x = side * (0.09 if width > 1.3 else width / 2 - 0.14)
        parts.append(box((x - 0.06, -0.025, 1.0), (x + 0.06, 0.035, 1.03), METAL))
    if rng.random() < 0.4:  # a narrow pane
        x = rng.uniform(-0.15, 0.15) if width <= 1.3 else width / 4
        parts.append(box((x - 0.08, 0.03, 1.1), (x + 0.08, 0.04, 1.8), np.array([150, 170, 180])))
    if rng.random() < 0.35:
        parts.append(box((-width / 2 + 0.08, 0.03, 0.02), (width / 2 - 0.08, 0.038, 0.25), METAL))
    return join(parts)


def window(rng: np.random.Generator, width: float, height: float) -> Mesh:
    """A window set 10 cm back in its opening, with bars, a sill and perhaps a blind drawn part of the way."""
    frame = pick(rng, [(225, 225, 222), (90, 92, 95), (140, 105, 70), (180, 182, 185)])
    v = np.linspace(0, 1, 12)[:, None, None] * np.ones((1, 12, 1))
    sky, ground = (
        pick(rng, [(195, 215, 235), (225, 232, 238), (170, 200, 230)]),
        pick(rng, [(120, 140, 105), (150, 150, 150)]),
    )
    scenery = np.where(v > rng.uniform(0.25, 0.6), sky, ground)
    parts = [texture((-width / 2, 0.1, 0), (width, 0, 0), (0, 0, height), scenery)]
    for x in np.linspace(-width / 2, width / 2 - 0.06, max(2, round(width / rng.uniform(0.6, 1.0)) + 1)):
        parts.append(box((x, 0.05, 0), (x + 0.06, 0.12, height), frame))
    for z in (0, height - 0.06, *([height * rng.uniform(0.3, 0.7)] if rng.random() < 0.6 else [])):
        parts.append(box((-width / 2, 0.05, z), (width / 2, 0.12, z + 0.06), frame))
    parts.append(box((-width / 2, -0.04, -0.03), (width / 2, 0.12, 0.0), frame * 0.95))
    if rng.random() < 0.5:
        drawn, color = rng.uniform(0.2, 0.7) * height, pick(rng, [(225, 222, 210), (185, 190, 195), (160, 165, 140)])
        for z in np.arange(height - drawn, height - 0.02, 0.05):
            parts.append(box((-width / 2 + 0.01, 0.01, z), (width / 2 - 0.01, 0.045, z + 0.035), color))
    return join(parts)


# --- on walls and ceilings


def board(rng: np.random.Generator) -> Mesh:
    """A white board with a tray and scribbles, a green chalk board, or a cork board with notes."""
    width, height, style = rng.uniform(1.2, 2.4), rng.uniform(0.9, 1.25), rng.choice(3, p=[0.7, 0.15, 0.15])
    base = (np.array([246, 247, 248]), pick(rng, [(45, 80, 65)]), pick(rng, [(180, 135, 90)]))[style]
    rows, columns = int(height / 0.03), int(width / 0.03)
    canvas = np.tile(base.astype(float), (rows, columns, 1))
    for _ in range(rng.integers(3, 12)):
        row, column = rng.integers(2, rows - 9), rng.integers(2, columns - 16)
        if style == 2:
            canvas[row : row + 8, column : column + 6] = pick(rng, [(240, 240, 235), (240, 225, 130), (170, 200, 230)])
        else:
            ink = np.array([225.0, 225, 215]) if style == 1 else pick(rng, [(40, 60, 150), (40, 40, 40), (170, 40, 40)])
            length = rng.integers(5, 15)
            canvas[row, column : column + length] = ink * 0.6 + canvas[row, column : column + length] * 0.4
    frame = METAL if style < 2 else pick(rng, WOODS)
    parts = [
        box((-width / 2, -0.025, 0), (width / 2, -0.002, height), base * 0.95),
        texture((-width / 2, -0.026, 0), (width, 0, 0), (0, 0, height), canvas),
        box((-width / 2 - 0.03, -0.035, -0.03), (width / 2 + 0.03, -0.002, 0), frame),
        box((-width / 2 - 0.03, -0.035, height), (width / 2 + 0.03, -0.002, height + 0.03), frame),
        box((-width / 2 - 0.03, -0.035, 0), (-width / 2, -0.002, height), frame),
        box((width / 2, -0.035, 0), (width / 2 + 0.03, -0.002, height), frame),
    ]
    if style < 2:
        parts.append(box((-width * 0.35, -0.1, -0.03), (width * 0.35, -0.03, -0.01), frame))
    return join(parts)


def poster(rng: np.random.Generator) -> Mesh:
    width, height = rng.uniform(0.35, 0.8, 2)
    frame = pick(rng, [(40, 35, 30), (140, 100, 55), (200, 200, 200)])
    art = texture(
        (-width / 2 + 0.02, -0.026, 0.02), (width - 0.04, 0, 0), (0, 0, height - 0.04), 0.75 * image(rng, 20, 20) + 30
    )
    return join([box((-width / 2, -0.025, 0), (width / 2, -0.002, height), frame), art])


def screen(rng: np.random.Generator) -> Mesh:
    """A flat screen on a wall."""
    width = rng.uniform(0.9, 1.4)
    return box((-width / 2, -0.09, 0), (width / 2, -0.002, width * 0.58), DARK)


def switch(rng: np.random.Generator) -> Mesh:
    """A small grey box on the wall: switches, a thermostat, an alarm."""
    width, height = rng.uniform(0.1, 0.25), rng.uniform(0.12, 0.3)
    color = pick(rng, [(200, 60, 50), (130, 132, 135), (215, 212, 195), (60, 90, 130)])
    return box((-width / 2, -0.06, 0), (width / 2, -0.002, height), color)


def duct(rng: np.random.Generator, length: float) -> Mesh:
    """A cable duct or pipe along a wall."""
    return box((-length / 2, -0.07, 0), (length / 2, -0.002, 0.12), pick(rng, PLAINS[:3]))


def radiator(rng: np.random.Generator) -> Mesh:
    width, height, color = rng.uniform(0.7, 1.5), rng.uniform(0.45, 0.6), pick(rng, PLAINS[:2])
    ribs = [box((x, -0.11, 0), (x + 0.05, -0.04, height), color) for x in np.arange(-width / 2, width / 2 - 0.05, 0.08)]
    return join([box((-width / 2, -0.06, 0.05), (width / 2, -0.03, height - 0.05), color * 0.9), *ribs])


def ceiling_lamp(rng: np.random.Generator, length: float) -> Mesh:
    """A bright panel or tube lamp below the ceiling at z = 0; hangs to z = -0.1."""
    width = rng.uniform(0.2, 0.55)
    rim = box((-length / 2, -width / 2, -0.07), (length / 2, width / 2, -0.002), pick(rng, PLAINS[:2]))
    glow = box(
        (-length / 2 + 0.03, -width / 2 + 0.03, -0.09), (length / 2 - 0.03, width / 2 - 0.03, -0.07), np.full(3, 255)
    )
    return join([rim, glow])


def projector(rng: np.random.Generator) -> Mesh:
    """A projector on a short pole below the ceiling at z = 0."""
    color = pick(rng, [(60, 60, 65), (215, 215, 215)])
    pole = box((-0.03, -0.03, -0.3), (0.03, 0.03, -0.002), METAL)
    body = box((-0.18, -0.15, -0.44), (0.18, 0.15, -0.3), color)
    return join([pole, body, box((-0.05, -0.18, -0.4), (0.05, -0.15, -0.33), DARK)])


def vent(rng: np.random.Generator) -> Mesh:
    """A square air outlet below the ceiling at z = 0."""
    half = rng.uniform(0.2, 0.3)
    parts = [box((-half, -half, -0.03), (half, half, -0.002), pick(rng, PLAINS[:3]) * 0.85)]
    for radius in np.arange(half - 0.05, 0.04, -0.08):
        parts.append(box((-radius, -radius, -0.05), (radius, radius, -0.03), np.full(3, rng.uniform(90, 130))))
    return join(parts)


# --- furniture


def table(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    """A table top on four legs, two panels or two feet."""
    top = pick(rng, WOODS + PLAINS)
    leg = pick(rng, [(70, 70, 75), (160, 162, 165), (40, 40, 45)]) if rng.random() < 0.6 else top * 0.85
    x, y, under = width / 2, depth / 2, height - rng.uniform(0.03, 0.05)
    parts = [box((-x, -y, under), (x, y, height), top)]
    style = rng.integers(3)
    for side in (-1, 1):
        if style == 0:
            for back in (-1, 1):
                a, b = side * (x - 0.06), back * (y - 0.06)
                parts.append(box((a - 0.03, b - 0.03, 0), (a + 0.03, b + 0.03, under), leg))
        elif style == 1:
            a = side * (x - 0.05)
            parts.append(box((a - 0.015, -y + 0.05, 0), (a + 0.015, y - 0.05, under), leg))
        else:
            a = side * (x - min(0.3, width / 4))
            parts.append(box((a - 0.04, -0.04, 0.05), (a + 0.04, 0.04, under), leg))
            parts.append(box((a - 0.04, -y + 0.08, 0), (a + 0.04, y - 0.08, 0.05), leg))
    return join(parts)


def desk(rng: np.random.Generator) -> Mesh:
    """An office desk with a pedestal of drawers and a panel at its back."""
    width, depth, height = rng.uniform(1.2, 1.7), rng.uniform(0.62, 0.8), rng.uniform(0.71, 0.77)
    base = table(rng, width, depth, height)
    color, side = pick(rng, WOODS + PLAINS), rng.choice([-1, 1])
    x = side * (width / 2 - 0.32)
    parts = [
        base,
        box((-width / 2 + 0.1, depth / 2 - 0.08, 0.3), (width / 2 - 0.1, depth / 2 - 0.06, height - 0.05), color),
    ]
    if rng.random() < 0.7:
        parts.append(box((x - 0.2, -depth / 2 + 0.08, 0.03), (x + 0.2, depth / 2 - 0.1, height - 0.06), color))
        for z in (0.24, 0.44):
            parts.append(box((x - 0.2, -depth / 2 + 0.07, z), (x + 0.2, -depth / 2 + 0.08, z + 0.015), color * 0.5))
    return join(parts)


def sofa(rng: np.random.Generator) -> Mesh:
    """An upholstered bench of one to three seats with a back and perhaps arms."""
    seats = rng.integers(1, 4)
    color = pick(rng, FABRICS)
    arm, seat, depth = rng.choice([0.0, 0.16]), rng.uniform(0.4, 0.45), rng.uniform(0.72, 0.88)
    width = seats * rng.uniform(0.58, 0.68) + 2 * arm
    y, tall = depth / 2, rng.uniform(0.72, 0.85)
    parts = [
        box((-width / 2, -y, 0.08), (width / 2, y, seat - 0.12), color * 0.85),
        box((-width / 2, y - 0.2, 0.08), (width / 2, y, tall), color * 0.95),
    ]
    edges = np.linspace(-width / 2 + arm, width / 2 - arm, seats + 1)
    for left, right in zip(edges[:-1], edges[1:], strict=True):
        parts.append(box((left + 0.01, -y, seat - 0.12), (right - 0.01, y - 0.2, seat), color))
        parts.append(box((left + 0.01, y - 0.3, seat), (right - 0.01, y - 0.19, tall + 0.04), color * 1.03))
    for side in (-1, 1):
        if arm:
            a, b = sorted((side * width / 2, side * (width / 2 - arm)))
            parts.append(box((a, -y, 0.08), (b, y, seat + 0.2), color * 0.9))
        parts.append(
            box(
                (side * (width / 2 - 0.07) - 0.03, -y + 0.05, 0),
                (side * (width / 2 - 0.07) + 0.03, y - 0.05, 0.08),
                DARK,
            )
        )
    return join(parts)


def bookcase(rng: np.random.Generator, boxes: bool = False) -> Mesh:
    """Open shelves with books and binders, or with cartons (``boxes``) as in a storage room."""
    width, depth = rng.uniform(0.8, 1.6), rng.uniform(0.3, 0.48)
    height = rng.uniform(1.0, 1.3) if rng.random() < 0.2 else rng.uniform(1.7, 2.15)
    color = pick(rng, PLAINS if boxes else WOODS + PLAINS)
    x, y = width / 2, depth / 2
    parts = [
        box((-x, y - 0.015, 0), (x, y, height), color * 0.8),
        box((-x, -y, 0), (-x + 0.03, y, height), color),
        box((x - 0.03, -y, 0), (x, y, height), color),
    ]
    levels = np.linspace(0.05, height - 0.03, int(height / rng.uniform(0.34, 0.44)) + 1)
    parts += [box((-x, -y, low), (x, y, low + 0.03), color) for low in levels]
    for low, high in zip(levels[:-1], levels[1:], strict=True):
        at, end = -x + 0.04, x - 0.04 - rng.uniform(0, 0.4)
        binders = rng.random() < 0.4
        while at < end - 0.02:
            thick = rng.uniform(0.2, 0.4) if boxes else rng.uniform(0.03, 0.07)
            tall = (high - low - 0.05) * (0.9 if binders else rng.uniform(0.6, 0.95))
            front = -y + rng.uniform(0.02, 0.07)
            shade = pick(rng, [(185, 145, 100), (165, 130, 95), (205, 200, 190)]) if boxes else muted(rng)
            parts.append(box((at, front, low + 0.03), (min(at + thick, end), y - 0.03, low + 0.03 + tall), shade))
            at += thick + (rng.uniform(0.02, 0.1) if boxes else 0)
    return join(parts)


def cabinet(rng: np.random.Generator) -> Mesh:
    """A steel file cabinet of two to four drawers."""
    drawers, color = rng.integers(2, 5), pick(rng, PLAINS)
    width, depth, height = rng.uniform(0.4, 0.48), rng.uniform(0.5, 0.62), drawers * rng.uniform(0.29, 0.33)
    parts = [box((-width / 2, -depth / 2 + 0.02, 0), (width / 2, depth / 2, height), color * 0.95)]
    for i in range(drawers):
        low = i * height / drawers
        parts.append(
            box(
                (-width / 2, -depth / 2, low + 0.01),
                (width / 2, -depth / 2 + 0.02, low + height / drawers - 0.01),
                color,
            )
        )
        z = low + height / drawers * 0.7
        parts.append(box((-0.08, -depth / 2 - 0.02, z), (0.08, -depth / 2, z + 0.03), METAL * 0.7))
    return join(parts)


def copier(rng: np.random.Generator) -> Mesh:
    """A copying machine: paper trays, a scanner lid, an output tray and a panel."""
    width, depth, height = rng.uniform(0.6, 0.8), rng.uniform(0.6, 0.7), rng.uniform(0.95, 1.15)
    color, x, y = pick(rng, [(215, 215, 210), (190, 195, 200)]), width / 2, depth / 2
    parts = [
        box((-x, -y, 0.05), (x, y, height * 0.7), color),
        box((-x, y - 0.25, height * 0.7), (x, y, height), color * 0.95),
        box((-x, -y, height - 0.14), (x, y, height), color * 0.9),
        box((-x, -y, height), (x, y - 0.04, height + 0.05), DARK * 1.6),
        box((-x, -y - 0.12, height - 0.1), (-x + 0.3, -y, height - 0.04), np.array([60, 90, 120])),
    ]
    parts += [box((-x + 0.03, -y - 0.01, z), (x - 0.03, -y, z + 0.02), DARK) for z in (0.2, 0.4)]
    return join(parts)


def counter(rng: np.random.Generator, length: float) -> Mesh:
    """A kitchen counter with doors, a worktop and a tap."""
    front, top = pick(rng, WOODS + PLAINS), pick(rng, [(70, 70, 75), (165, 155, 145), (195, 190, 180)])
    parts = [
        box((-length / 2, -0.28, 0.08), (length / 2, 0.3, 0.86), front),
        box((-length / 2, -0.24, 0), (length / 2, 0.3, 0.08), front * 0.4),
        box((-length / 2, -0.31, 0.86), (length / 2, 0.3, 0.9), top),
        box((0.1, 0.2, 0.9), (0.13, 0.23, 1.15), METAL),
        box((0.1, 0.02, 1.12), (0.13, 0.23, 1.15), METAL),
        box((-0.15, -0.22, 0.895), (0.4, 0.16, 0.905), METAL),
    ]
    for x in np.arange(-length / 2 + 0.5, length / 2 - 0.1, 0.5):
        parts.append(box((x - 0.008, -0.285, 0.1), (x + 0.008, -0.28, 0.84), front * 0.45))
    return join(parts)


def wall_cupboard(rng: np.random.Generator, length: float) -> Mesh:
    front = pick(rng, WOODS + PLAINS)
    parts = [box((-length / 2, -0.33, 0), (length / 2, -0.002, 0.65), front)]
    for x in np.arange(-length / 2 + 0.45, length / 2 - 0.1, 0.45):
        parts.append(box((x - 0.008, -0.335, 0.02), (x + 0.008, -0.33, 0.63), front * 0.45))
    return join(parts)


def fridge(rng: np.random.Generator) -> Mesh:
    height, color = rng.uniform(1.5, 1.85), pick(rng, [(230, 230, 228), (170, 173, 176), (70, 72, 76)])
    return join(
        [
            box((-0.32, -0.3, 0.03), (0.32, 0.33, height), color * 0.96),
            box((-0.32, -0.34, 0.05), (0.32, -0.3, height * 0.62), color),
            box((-0.32, -0.34, height * 0.62 + 0.015), (0.32, -0.3, height), color),
            box((-0.27, -0.38, height * 0.35), (-0.23, -0.34, height * 0.58), color * 0.5),
            box((-0.27, -0.38, height * 0.66), (-0.23, -0.34, height * 0.8), color * 0.5),
        ]
    )


# --- small things


def monitor(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(0.45, 0.62)
    height = width * 0.6
    panel = 0.7 * image(rng, 8, 10) + 35 if rng.random() < 0.5 else np.tile(DARK, (8, 10, 1))
    return join(
        [
            box((-0.12, -0.09, 0), (0.12, 0.09, 0.015), DARK),
            box((-0.03, 0.02, 0), (0.03, 0.05, 0.2), DARK),
            box((-width / 2, -0.02, 0.11), (width / 2, 0.025, 0.11 + height), DARK),
            texture((-width / 2 + 0.015, -0.021, 0.125), (width - 0.03, 0, 0), (0, 0, height - 0.03), panel),
        ]
    )


def keyboard(rng: np.random.Generator) -> Mesh:
    return box((-0.22, -0.075, 0), (0.22, 0.075, 0.025), pick(rng, [(40, 40, 44), (200, 200, 198), (110, 110, 112)]))


def papers(rng: np.random.Generator) -> Mesh:
    """A pile of papers or books."""
    parts, low = [], 0.0
    for _ in range(rng.integers(1, 6)):
        half, thick = np.array([rng.uniform(0.09, 0.16), rng.uniform(0.11, 0.2)]), rng.uniform(0.015, 0.05)
        shift = rng.normal(0, 0.008, 2)
        color = pick(rng, [(240, 240, 236), (230, 225, 205)]) if rng.random() < 0.4 else muted(rng)
        parts.append(box((*(shift - half), low), (*(shift + half), low + thick), color))
        low += thick
    return join(parts)


def mug(rng: np.random.Generator) -> Mesh:
    return column(rng, rng.uniform(0.08, 0.11), 0.0, rng.uniform(0.1, 0.24), muted(rng), True)


def carton(rng: np.random.Generator) -> Mesh:
    x, y, z = rng.uniform(0.15, 0.3), rng.uniform(0.13, 0.25), rng.uniform(0.2, 0.45)
    color = pick(rng, [(185, 145, 100), (165, 130, 95), (205, 200, 190), (150, 120, 90)])
    return join([box((-x, -y, 0), (x, y, z), color), box((-x, -0.03, z), (x, 0.03, z + 0.003), color * 1.15)])


def bin_(rng: np.random.Generator) -> Mesh:
    """A waste bin, open at the top, square or round."""
    width, height = rng.uniform(0.24, 0.36), rng.uniform(0.3, 0.65)
    color = pick(rng, [(45, 45, 48), (60, 95, 150), (70, 120, 80), (120, 122, 125)])
    t = np.linspace(0, 2 * np.pi, 25)
    power = rng.choice([0.4, 1.0])
    x, y = (np.sign(f(t)) * np.abs(f(t)) ** power / 2 for f in (np.cos, np.sin))
    rings = [(0.8, 0.0), (1.0, height), (0.95, height), (0.78, 0.03), (0.0, 0.03)]
    points = np.stack([np.stack([x * width * r, y * width * r, np.full(25, z)], -1) for r, z in rings])
    return sheet(points, np.array([1, 1, 0.9, 0.6, 0.5])[:, None, None] * color * np.ones(points.shape))


def panel(length: float, height: float, color: np.ndarray) -> Mesh:
    """A thin partition standing on the floor, its length along y."""
    return box((-0.02, -length / 2, 0), (0.02, length / 2, height), color)
