"""Contact sheets of point rooms: from above without the ceiling, and from inside, in colour and by class."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from otoc_lib.datasets.bundled_areas import BundledAreaRoom
from otoc_lib.labels import S3DIS13
from room_factory.film import look_at

SHEET_TILE = (420, 300)


def draw_points(points: np.ndarray, colors: np.ndarray, eye: np.ndarray, target: np.ndarray, view: float) -> np.ndarray:
    """Draw points as small squares, near ones over far ones; ``view`` is the width of the picture in degrees."""
    pose = look_at(eye, target, 0.0)
    camera = (points - eye) @ pose[:3, :3]
    ahead = camera[:, 2] > 0.15
    camera, colors = camera[ahead], colors[ahead]
    focal = SHEET_TILE[0] / 2 / np.tan(np.radians(view) / 2)
    column = camera[:, 0] / camera[:, 2] * focal + SHEET_TILE[0] / 2
    row = camera[:, 1] / camera[:, 2] * focal + SHEET_TILE[1] / 2
    canvas = np.full((SHEET_TILE[1], SHEET_TILE[0], 3), 255, np.uint8)
    depth = np.full(SHEET_TILE[1] * SHEET_TILE[0], np.inf)
    flat = canvas.reshape(-1, 3)
    half = np.clip(np.ceil(0.02 * focal / camera[:, 2]), 1, 12).astype(int)
    for reach in range(1, int(half.max()) + 1):
        part = half == reach
        for i in range(-reach // 2, reach // 2 + 1):
            for j in range(-reach // 2, reach // 2 + 1):
                r, c = (row[part] + i).astype(int), (column[part] + j).astype(int)
                inside = (r >= 0) & (r < SHEET_TILE[1]) & (c >= 0) & (c < SHEET_TILE[0])
                pixel, z = r[inside] * SHEET_TILE[0] + c[inside], camera[part, 2][inside]
                order = np.argsort(-z)
                pixel, z, shade = pixel[order], z[order], colors[part][inside][order]
                nearer = z < depth[pixel]
                depth[pixel[nearer]], flat[pixel[nearer]] = z[nearer], shade[nearer]
    return canvas


def sheet_strip(room: BundledAreaRoom) -> Image.Image:
    """Above without the ceiling, from a corner above, and from inside; colours over classes."""
    labels = room.labels()
    lower, upper = room.points.min(axis=0), room.points.max(axis=0)
    middle, span = (lower + upper) / 2, np.linalg.norm((upper - lower)[:2])
    open_ = (room.points[:, 2] < upper[2] - 0.5) & (labels != S3DIS13.index("ceiling"))
    corner = np.array([middle[0] - 0.5 * span, middle[1] - 0.75 * span, upper[2] + 0.45 * span])
    outward = (room.points[:, 1] > lower[1] + 0.12) & (room.points[:, 0] > lower[0] + 0.12)
    floor = room.points[labels == S3DIS13.index("floor"), :2]
    away = np.linalg.norm(floor - (lower * 0.8 + upper * 0.2)[:2], axis=1)
    inside = np.array([*floor[away.argmin()], 1.7])
    everything = np.ones(len(room.points), bool)
    views = (
        (open_, np.array([middle[0], middle[1] - 0.01, 1.15 * span + 1.5]), middle * [1, 1, 0], 52),
        (open_ & outward, corner, middle * [1, 1, 0.2], 45),
        (everything, inside, np.array([*middle[:2], 1.25]), 95),
    )
    strip = Image.new("RGB", (len(views) * SHEET_TILE[0], 2 * SHEET_TILE[1] + 14), "white")
    for column, (shown, eye, target, view) in enumerate(views):
        for row, colors in enumerate((room.colors, S3DIS13.paint(labels))):
            tile = Image.fromarray(draw_points(room.points[shown], colors[shown], eye, target, view))
            strip.paste(tile, (column * SHEET_TILE[0], 14 + row * SHEET_TILE[1]))
    title = f"{room.name}  {len(room.points)} points, {len(room.objects)} objects"
    ImageDraw.Draw(strip).text((4, 1), title, fill="black")
    return strip


def write_sheets(rooms: list[BundledAreaRoom], folder: Path, per_page: int = 2) -> list[Path]:
    """PNG pages of ``per_page`` rooms each; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for start in range(0, len(rooms), per_page):
        strips = [sheet_strip(room) for room in rooms[start : start + per_page]]
        page = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
        for i, strip in enumerate(strips):
            page.paste(strip, (0, i * strip.height))
        pages.append(folder / f"{rooms[start].name.replace('/', '_')}.png")
        page.save(pages[-1])
    return pages
