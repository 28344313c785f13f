"""Film a furnished room with a hand-held RGB-D camera: ray casting, depth noise, dropout, occlusion."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation

from room_factory.plan import Plan
from room_factory.triangles import Mesh

WIDTH, HEIGHT = 160, 120
FOCAL = WIDTH / 2 / np.tan(np.radians(62) / 2)  # pixels; 62 degrees across
NEAR, FAR = 0.4, 4.0  # metres of depth that the sensor measures
NOISE, BLOBS = 0.9, 0.6  # of the depth: in units of a typical sensor's, and the blobs' share of it
RIPPLE = 0.003  # metres, root mean square, that surfaces undulate
DRIFT = 0.001  # metres a frame; the tracker's error settles at five times that
WALL_LEVEL, WALL_SWING = (0.35, 1.05), (0.4, 0.9)  # metres: up to where walls are filmed, and how far that line swings


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


def camera_path(plan: Plan, rng: np.random.Generator) -> list[np.ndarray]:
    """Poses that show every object from several sides, as a person would who scans furniture and not bare wall.

    Five looks at furniture, three at small things, which come into view with their surroundings.
    """
    things = plan.furniture
    boxes = [(np.minimum(*thing.box), np.maximum(*thing.box)) for thing in things]
    boxes += plan.blocks
    tall = [(lower[:2] - 0.25, upper[:2] + 0.25) for lower, upper in boxes if upper[2] > 1.2 and lower[2] < 1.7]
    places = rng.uniform([0.35, 0.35], [plan.width - 0.35, plan.depth - 0.35], (300, 2))
    free = [place for place in places if not any((place > a).all() and (place < b).all() for a, b in tall)]
    places = np.array(free) if free else np.array([[plan.width / 2, plan.depth / 2]])
    middle = np.array([plan.width / 2, plan.depth / 2])
    poses = []
    boxes = boxes[: len(things)]
    order = np.argsort([np.arctan2(*((lower + upper)[:2] / 2 - middle)) for lower, upper in boxes])
    for i in order:
        lower, upper = boxes[i]
        centre = (lower + upper) / 2
        candidates = places[rng.choice(len(places), min(24, len(places)), replace=False)]
        distance = np.linalg.norm(candidates - centre[:2], axis=1)
        wanted = rng.uniform(0.5, 1.4) + 0.5 * np.linalg.norm(upper - lower)  # small things are filmed from nearby
        looks = 5 if np.linalg.norm(upper - lower) > 0.8 else 3
        for place in candidates[np.argsort(np.abs(distance - wanted))][:looks]:
            eye = np.array([*place, rng.uniform(1.35, 1.75)])
            target = rng.uniform(lower * 0.8 + upper * 0.2, lower * 0.2 + upper * 0.8)
            target[2] = min(target[2], 1.1)  # nobody films the upper wall
            if np.linalg.norm((target - eye)[:2]) > 0.3:
                poses.append(look_at(eye, target, rng.normal(0, 0.06)))
    return poses


@dataclass(frozen=True)
class Light:
    """How a room is lit and the camera set: lamps (none by day), a window's side light, a cast of colour."""

    lamps: np.ndarray  # [L, 3] metres
    sun: np.ndarray  # (3,) unit vector towards it
    ambient: float
    cast: np.ndarray  # (3,) factors of red, green and blue

    def at(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Brightness [P] of surfaces at points [P, 3] with normals [P, 3]."""
        light = self.ambient + 0.2 * np.abs(normals @ self.sun)
        for lamp in self.lamps:
            towards = lamp - points
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            light += 0.25 * np.abs((towards * normals).sum(axis=1))
        return light


def draw_light(plan: Plan, rng: np.random.Generator) -> Light:
    """A third of the rooms by day without lamps, the others under one or two; half of the rooms with a clear cast."""
    count = rng.integers(0, 3)
    lamps = rng.uniform([0.5, 0.5, 2.1], [plan.width - 0.5, plan.depth - 0.5, 2.4], (count, 3))
    angle = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(angle), np.sin(angle), 0.6])
    casts = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.13, 1.0, 0.78), (0.88, 0.98, 1.14))
    cast = np.array(casts[rng.integers(4)]) * rng.uniform(0.95, 1.05, 3)
    return Light(lamps, sun / np.linalg.norm(sun), 0.78 - 0.12 * count, cast * rng.uniform(0.85, 1.1))


def unfilmed(plan: Plan, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Which points [P, 3] of the walls the camera never caught: all above a wavy line, but those around hung things."""
    level, swing = rng.uniform(*WALL_LEVEL), rng.uniform(*WALL_SWING)
    waves = rng.normal(0, 1.3, (4, 2)), rng.uniform(0, 2 * np.pi, 4)
    hung = [(thing.mesh.lower - 0.1, thing.mesh.upper + 0.1) for thing in plan.furniture if thing.mesh.lower[2] > 0.5]

    def beyond(points: np.ndarray) -> np.ndarray:
        line = level + swing * np.sin(points[:, :2] @ waves[0].T + waves[1]).sum(axis=1) / 2
        lost = points[:, 2] > line
        for lower, upper in hung:
            lost &= ~((points > lower) & (points < upper)).all(axis=1)
        return lost

    return beyond


def depth_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise of a structured-light sensor, of unit size, [HEIGHT * WIDTH]: fine grain and blobs of some pixels."""
    blobs = zoom(rng.normal(0, 1, (HEIGHT // 6, WIDTH // 6 + 1)), 6, order=1)[:HEIGHT, :WIDTH]
    return (rng.normal(0, 0.8, (HEIGHT, WIDTH)) + BLOBS * blobs).ravel()


def ripple(rng: np.random.Generator, count: int = 8) -> Callable[[np.ndarray], np.ndarray]:
    """Errors that do not average out: how far surfaces at points [P, 3] undulate along the ray, of unit size, [P]."""
    directions = rng.normal(0, 1, (count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = 2 * np.pi / rng.uniform(0.1, 0.3, count)[:, None] * directions
    phases = rng.uniform(0, 2 * np.pi, count)
    return lambda points: np.sin(points @ waves.T + phases).sum(axis=1) * np.sqrt(2 / count)


def film(plan: Plan, rng: np.random.Generator, scene, mesh: Mesh) -> Iterator[Frame]:
    """Frames of the room, whose triangles ``mesh`` (its objects', in order) are in the Open3D ray casting ``scene``."""
    import open3d

    rays = pixel_rays().reshape(-1, 3)
    light = draw_light(plan, rng)
    never = unfilmed(plan, rng)
    uneven = ripple(rng)
    faces = [len(thing.mesh.faces) for thing in plan.objects]
    is_wall = np.repeat([thing.category == "wall" for thing in plan.objects], faces)
    is_glass = np.repeat([thing.category == "window" for thing in plan.objects], faces)
    shift, turn, exposure = np.zeros(3), np.zeros(3), 0.0
    for pose in camera_path(plan, rng):
        directions = rays @ pose[:3, :3].T
        lines = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions], 1).astype(np.float32)
        hits = scene.cast_rays(open3d.core.Tensor(lines))
        depth = hits["t_hit"].numpy().astype(np.float64)  # rays have z = 1 in the camera, so t is the depth
        seen = np.isfinite(depth)
        normals, triangles = hits["primitive_normals"].numpy(), hits["primitive_ids"].numpy()
        triangles = np.where(seen, triangles, 0)
        corner = mesh.faces[triangles]  # [P, 3]
        u, v = hits["primitive_uvs"].numpy().T
        weights = np.stack([1 - u - v, u, v], 1)[..., None]
        color = (mesh.colors[corner] * weights).sum(axis=1)
        points = pose[:3, 3] + directions * np.where(seen, depth, 1.0)[:, None]
        exposure = 0.93 * exposure + rng.normal(0, 0.03)  # it follows the picture slowly
        color = color * light.at(points, normals)[:, None] * light.cast * (1 + exposure) + rng.normal(0, 3, color.shape)
        slope = np.abs((directions * normals).sum(axis=1))
        grazing = slope / np.linalg.norm(directions, axis=1)
        noise = NOISE * (0.0012 + 0.0019 * (depth - 0.4) ** 2)
        measured = depth + depth_noise(rng) * np.where(seen, noise, 0.0) + RIPPLE * uneven(points)
        lost = ~seen | (depth < NEAR) | (depth > FAR) | (rng.random(len(depth)) < 0.02)
        lost |= grazing < rng.uniform(0.08, 0.2, len(depth))
        lost |= is_glass[triangles] & (rng.random(len(depth)) < 0.4)
        lost |= is_wall[triangles] & never(points)
        if (~lost).mean() < 0.05:
            continue
        # the tracker's slow error, some millimetres and a fraction of a degree, and its jitter
        shift = 0.98 * shift + rng.normal(0, DRIFT, 3)
        turn = 0.98 * turn + rng.normal(0, DRIFT / 3, 3)
        believed = pose.copy()
        believed[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ pose[:3, :3]
        believed[:3, 3] += shift + rng.normal(0, 0.001, 3)
        yield Frame(
            np.where(lost, 0.0, measured).astype(np.float32).reshape(HEIGHT, WIDTH),
            np.clip(color, 0, 255).astype(np.float32).reshape(HEIGHT, WIDTH, 3),
            np.maximum(slope, 0.1).astype(np.float32).reshape(HEIGHT, WIDTH),
            believed,
        )
