"""Contact sheets: every room seen from two corners and from above, in colour and in the classes' colours."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from otoc_lib.datasets.bundled_rooms import BundledRoom
from otoc_lib.labels import SCANNET20
from room_factory.film import look_at

SHEET_TILE = (300, 225)


def render(room: BundledRoom, colors: np.ndarray, eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Draw a room with vertex colours, uint8 [N, 3], seen from ``eye``; back faces are left out, so walls open up."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene(nthreads=2)
    centres = room.vertices[room.faces]
    normals = np.cross(centres[:, 1] - centres[:, 0], centres[:, 2] - centres[:, 0])
    facing = (normals * (eye - centres[:, 0])).sum(axis=1) > 0
    faces = room.faces[facing]
    scene.add_triangles(open3d.core.Tensor(room.vertices), open3d.core.Tensor(faces.astype(np.uint32)))
    width, height = SHEET_TILE
    v, u = np.mgrid[0:height, 0:width]
    focal = width / 2 / np.tan(np.radians(58) / 2)
    directions = np.stack([(u - width / 2) / focal, (v - height / 2) / focal, np.ones(u.shape)], -1).reshape(-1, 3)
    pose = look_at(np.asarray(eye, float), np.asarray(target, float), 0.0)
    directions = directions @ pose[:3, :3].T
    lines = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions], 1).astype(np.float32)
    hits = scene.cast_rays(open3d.core.Tensor(lines))
    seen = np.isfinite(hits["t_hit"].numpy())
    canvas = np.full((height * width, 3), 255.0)
    light = 0.6 + 0.4 * np.abs(hits["primitive_normals"].numpy()[seen] @ np.array([0.35, 0.45, 0.82]))
    canvas[seen] = colors[faces[hits["primitive_ids"].numpy()[seen], 0]] * light[:, None]
    return np.clip(canvas, 0, 255).astype(np.uint8).reshape(height, width, 3)


def sheet_strip(room: BundledRoom) -> Image.Image:
    """Two corner views and one from above, colours over classes."""
    classes = SCANNET20.paint(SCANNET20.from_file_ids(room.nyu40()))
    lower, upper = room.vertices.min(axis=0), room.vertices.max(axis=0)
    middle = (lower + upper) / 2
    span = np.linalg.norm((upper - lower)[:2])
    strip = Image.new("RGB", (3 * SHEET_TILE[0], 2 * SHEET_TILE[1] + 14), "white")
    eyes = (
        np.array([middle[0] - 0.55 * span, middle[1] - 0.65 * span, 3.4]),
        np.array([middle[0] + 0.65 * span, middle[1] + 0.55 * span, 3.4]),
        np.array([middle[0], middle[1] - 0.01, 5.6]),
    )
    for column, eye in enumerate(eyes):
        for row, colors in enumerate((room.colors, classes)):
            view = render(room, colors, eye, np.array([middle[0], middle[1], 0.5]))
            strip.paste(Image.fromarray(view), (column * SHEET_TILE[0], 14 + row * SHEET_TILE[1]))
    ImageDraw.Draw(strip).text((4, 1), f"{room.name}  {len(room.vertices)} vertices", fill="black")
    return strip


def write_contact_sheets(rooms: list[BundledRoom], folder: Path, per_page: int = 4) -> list[Path]:
    """PNG pages of ``per_page`` rooms each; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for start in range(0, len(rooms), per_page):
        strips = [sheet_strip(room) for room in rooms[start : start + per_page]]
        width, height = strips[0].size
        rows = -(-len(strips) // 2)
        page = Image.new("RGB", (2 * width, rows * height), "white")
        for i, strip in enumerate(strips):
            page.paste(strip, (i % 2 * width, i // 2 * height))
        pages.append(folder / f"{rooms[start].name}.png")
        page.save(pages[-1])
    return pages
