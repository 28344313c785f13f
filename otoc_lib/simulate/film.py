"""Film a furnished room with a hand-held RGB-D camera: ray casting, depth noise, dropout, occlusion."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from otoc_lib.simulate.mesh import Mesh
from otoc_lib.simulate.plan import Plan

WIDTH, HEIGHT = 160, 120
FOCAL = WIDTH / 2 / np.tan(np.radians(62) / 2)  # pixels; 62 degrees across
NEAR, FAR = 0.4, 4.0  # metres of depth that the sensor measures


@dataclass(frozen=True)
class Frame:
    """One RGB-D frame; ``pose``, as the tracker believes it, maps camera (x right, y down, z ahead) to room."""

    depth: np.ndarray  # float32 [HEIGHT, WIDTH] metres along z, 0 where nothing was measured
    color: np.ndarray  # float32 [HEIGHT, WIDTH, 3], 0..255
    slope: np.ndarray  # float32 [HEIGHT, WIDTH]: distance to the surface's plane per metre of depth before it
    pose: np.ndarray  # float64 [4, 4]


def pixel_rays() -> np.ndarray:
    """Directions (x, y, 1) of the pixels in the camera, float64 [HEIGHT, WIDTH, 3]."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([(u + 0.5 - WIDTH / 2) / FOCAL, (v + 0.5 - HEIGHT / 2) / FOCAL, np.ones((HEIGHT, WIDTH))], -1)


def look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """Camera-to-room pose, float64 [4, 4], at ``eye`` looking at ``target``, rolled by an angle in radians."""
    ahead = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1] = c * right + s * down, c * down - s * right
    pose[:3, 2], pose[:3, 3] = ahead, eye
    return pose


def camera_path(plan: Plan, rng: np.random.Generator, looks: int = 5) -> list[np.ndarray]:
    """Poses that show every object from several sides, as a person would who scans furniture and not bare wall."""
    things = plan.furniture
    boxes = [(np.minimum(*thing.box), np.maximum(*thing.box)) for thing in things]
    tall = [(lower[:2] - 0.25, upper[:2] + 0.25) for lower, upper in boxes if upper[2] > 1.2 and lower[2] < 1.7]
    places = rng.uniform([0.35, 0.35], [plan.width - 0.35, plan.depth - 0.35], (300, 2))
    free = [place for place in places if not any((place > a).all() and (place < b).all() for a, b in tall)]
    places = np.array(free) if free else np.array([[plan.width / 2, plan.depth / 2]])
    middle = np.array([plan.width / 2, plan.depth / 2])
    poses = []
    order = np.argsort([np.arctan2(*((lower + upper)[:2] / 2 - middle)) for lower, upper in boxes])
    for i in order:
        lower, upper = boxes[i]
        centre = (lower + upper) / 2
        candidates = places[rng.choice(len(places), min(24, len(places)), replace=False)]
        distance = np.linalg.norm(candidates - centre[:2], axis=1)
        wanted = rng.uniform(0.5, 1.4) + 0.5 * np.linalg.norm(upper - lower)  # small things are filmed from nearby
        for place in candidates[np.argsort(np.abs(distance - wanted))][:looks]:
            eye = np.array([*place, rng.uniform(1.35, 1.75)])
            target = rng.uniform(lower * 0.8 + upper * 0.2, lower * 0.2 + upper * 0.8)
            target[2] = min(target[2], 1.1)  # nobody films the upper wall
            if np.linalg.norm((target - eye)[:2]) > 0.3:
                poses.append(look_at(eye, target, rng.normal(0, 0.06)))
    return poses


def film(plan: Plan, rng: np.random.Generator, scene, mesh: Mesh) -> Iterator[Frame]:
    """Frames of the room, whose triangles ``mesh`` are in the Open3D ray casting ``scene``."""
    import open3d

    rays = pixel_rays().reshape(-1, 3)
    lamps = rng.uniform([0.5, 0.5, 2.1], [plan.width - 0.5, plan.depth - 0.5, 2.4], (2, 3))
    balance = rng.uniform(0.94, 1.06, 3) * rng.uniform(0.9, 1.08)
    drift = np.zeros(3)
    for pose in camera_path(plan, rng):
        directions = rays @ pose[:3, :3].T
        lines = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions], 1).astype(np.float32)
        hits = scene.cast_rays(open3d.core.Tensor(lines))
        depth = hits["t_hit"].numpy().astype(np.float64)  # rays have z = 1 in the camera, so t is the depth
        seen = np.isfinite(depth)
        normals, triangles = hits["primitive_normals"].numpy(), hits["primitive_ids"].numpy()
        corner = mesh.faces[np.where(seen, triangles, 0)]  # [P, 3]
        u, v = hits["primitive_uvs"].numpy().T
        weights = np.stack([1 - u - v, u, v], 1)[..., None]
        color = (mesh.colors[corner] * weights).sum(axis=1)
        points = pose[:3, 3] + directions * np.where(seen, depth, 1.0)[:, None]
        light = np.full(len(points), 0.62)
        for lamp in lamps:
            towards = lamp - points
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            light += 0.25 * np.abs((towards * normals).sum(axis=1))
        exposure = rng.normal(1, 0.03)
        color = color * light[:, None] * balance * exposure + rng.normal(0, 3, color.shape)
        slope = np.abs((directions * normals).sum(axis=1))
        grazing = slope / np.linalg.norm(directions, axis=1)
        noise = 0.8 * (0.0012 + 0.0019 * (depth - 0.4) ** 2)
        measured = depth + rng.normal(0, 1, len(depth)) * np.where(seen, noise, 0.0)
        lost = ~seen | (depth < NEAR) | (depth > FAR) | (rng.random(len(depth)) < 0.02)
        lost |= grazing < rng.uniform(0.08, 0.2, len(depth))
        if (~lost).mean() < 0.05:
            continue
        drift += rng.normal(0, 0.0006, 3)  # the tracker's slow error and its jitter
        drift *= 0.98
        believed = pose.copy()
        believed[:3, 3] += drift + rng.normal(0, 0.001, 3)
        yield Frame(
            np.where(lost, 0.0, measured).astype(np.float32).reshape(HEIGHT, WIDTH),
            np.clip(color, 0, 255).astype(np.float32).reshape(HEIGHT, WIDTH, 3),
            np.maximum(slope, 0.1).astype(np.float32).reshape(HEIGHT, WIDTH),
            believed,
        )
