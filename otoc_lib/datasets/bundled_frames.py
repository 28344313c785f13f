"""Frames of the bundled rooms and areas, in ScanNet's layout (see ``frames``), made on the user's own machine.

They are drawn from the labelled points of a packed room, not from the models that the room was made of: every point is
a disc in the plane of its neighbours. So depth and labels are exact to about half the spacing of the points, and a
surface that the scanner missed is a hole in the frames as well. The camera stands in a few places of the room, seeded
by its name, and looks around from each.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree
from tqdm import tqdm

from otoc_lib.datasets import bundled_areas, bundled_rooms
from otoc_lib.datasets.frames import (
    COLOR_INTRINSIC,
    DEPTH,
    DEPTH_INTRINSIC,
    INTRINSICS,
    LABELS,
    MILLIMETRES,
    NO_LABEL,
    POSES,
)
from otoc_lib.datasets.packing import new_tree
from otoc_lib.jit import compiled
from otoc_lib.outside import opening
from otoc_lib.spacing import point_spacing

DONE = "frames.json"  # the manifest of a folder of frames, written last
VERSION = 1  # of the frames; older ones are replaced
COLORS = "color"

WIDTH, HEIGHT = 160, 120
FOCAL = WIDTH / 2 / np.tan(np.radians(62) / 2)  # pixels; 62 degrees across
INTRINSIC = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
NEAR = 0.1  # metres; what is nearer is not drawn

EYES = (1.3, 1.7)  # metres above the floor
YAWS, PITCHES = 6, (-45, 0, 45)  # looks around from each place, and degrees up
WOBBLE = 5  # degrees that a look may be off
AREA, FEWEST, MOST = 3.0, 3, 12  # square metres of floor for each place, and how many there are
CELL = 0.25  # metres, of the grid that the floor is measured with
CANDIDATES = 500  # places to choose from
SHOWN = 0.2  # share of the pixels that must show something; a look at what nobody scanned is no frame
CLEARANCE, BELOW = 0.5, 0.15  # metres: no point nearer than one; one less far than the other, looking from above

NEIGHBOURS = 12  # that a disc's plane is fitted to
DISC = 1.5  # radius of the discs in spacings: discs of evenly scanned points leave no holes
FLATTEST = 0.05  # cosine between the view and the normal of a disc; one seen more from the side is not drawn


@dataclass(frozen=True)
class Picture:
    """What a camera sees of a room: the point shown in each pixel, int32 [HEIGHT, WIDTH], -1 none, and its depth in
    metres along z, float64 [HEIGHT, WIDTH], 0 none."""

    points: np.ndarray
    depth: np.ndarray


def film(destination: Path, layout: str, source: Path | None = None) -> None:
    """Write frames of every packed room that has labels into ``destination/<scene>/``.

    Does nothing if ``destination`` already holds exactly these; replaces those of an older set of rooms; refuses a
    folder that holds anything else. The frames are written beside ``destination`` and renamed.

    Args:
        layout: "scannet" for the rooms, "s3dis" for the areas.
        source: folder of the packed rooms; None for those of the kit.
    """
    bundled = {"scannet": bundled_rooms, "s3dis": bundled_areas}[layout]
    destination, source = Path(destination), Path(source or bundled.SOURCE)
    index = bundled.read_index(source)
    manifest = json.dumps({"frames": VERSION, "layout": layout, **index})
    with new_tree(destination, DONE, manifest) as tree:
        if tree is None:
            return
        names = [name for name, about in index["rooms"].items() if about.get("split") != "test"]
        for name in tqdm(names, desc="filming rooms", unit="room", file=sys.stderr):
            scene = name.replace("/", "_")
            write_frames(tree / scene, scene, *_labelled_points(bundled.read(source / f"{scene}.room.xz")))
        with opening(source / "CREDITS"):
            shutil.copyfile(source / "CREDITS", tree / "CREDITS")


def _labelled_points(
    room: bundled_rooms.BundledRoom | bundled_areas.BundledAreaRoom,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points float64 [N, 3], colours uint8 [N, 3], label ids uint16 [N] of a room, and the id of pixels without one."""
    if isinstance(room, bundled_rooms.BundledRoom):
        return room.vertices.astype(np.float64), room.colors, room.raw_ids(), 0
    return room.points, room.colors, room.labels().astype(np.uint16), NO_LABEL


def write_frames(
    folder: Path, name: str, points: np.ndarray, colors: np.ndarray, ids: np.ndarray, no_label: int
) -> None:
    """Film one room of N points and write its frames; arguments as ``_labelled_points`` gives them."""
    for kind in (COLORS, DEPTH, LABELS, POSES, INTRINSICS):
        (folder / kind).mkdir(parents=True)
    camera = np.eye(4)
    camera[:3, :3] = INTRINSIC
    for file in (COLOR_INTRINSIC, DEPTH_INTRINSIC):
        np.savetxt(folder / INTRINSICS / file, camera, fmt="%.9g")
    normals, radius = normals_of(points), DISC * point_spacing(points)
    colors, ids = np.vstack([colors, np.zeros((1, 3), np.uint8)]), np.append(ids, np.uint16(no_label))  # for point -1
    number = 0
    for pose in camera_poses(points, name):
        picture = draw(points, normals, radius, pose)
        if (picture.points >= 0).mean() < SHOWN:
            continue
        Image.fromarray(colors[picture.points]).save(folder / COLORS / f"{number}.jpg")
        depth = np.rint(MILLIMETRES * picture.depth).astype(np.uint16)
        Image.fromarray(depth).save(folder / DEPTH / f"{number}.png", compress_level=1)
        Image.fromarray(ids[picture.points]).save(folder / LABELS / f"{number}.png", compress_level=1)
        np.savetxt(folder / POSES / f"{number}.txt", pose, fmt="%.9g")
        number += 1


# --- the camera


def camera_poses(points: np.ndarray, name: str) -> Iterator[np.ndarray]:
    """Poses, float64 [4, 4], camera to world, of the frames of a room with points [N, 3]; its name seeds them."""
    generator = np.random.default_rng([*b"frames", *name.encode()])
    for place in places(points, generator):
        turn = generator.uniform(0, 2 * np.pi)
        for pitch in np.radians(PITCHES):
            for yaw in turn + 2 * np.pi / YAWS * np.arange(YAWS):
                off = np.radians(generator.uniform(-WOBBLE, WOBBLE, 2))
                yield look(place, yaw + off[0], pitch + off[1])


def places(points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Where the camera stands in a room, float64 [P, 3]: above scanned floor, away from all points and far apart."""
    (lower, upper), on_plan = np.percentile(points, [1, 99], axis=0), points[:, :2]
    floor_area = CELL**2 * len(np.unique(np.floor(on_plan / CELL), axis=0))
    eyes = lower[2] + generator.uniform(*EYES, CANDIDATES)
    found = np.column_stack([generator.uniform(lower[:2], upper[:2], (CANDIDATES, 2)), eyes])
    clearance = cKDTree(points).query(found)[0]
    clearance[cKDTree(on_plan).query(found[:, :2])[0] > BELOW] = 0  # outside of the room
    found = found[clearance >= min(CLEARANCE, clearance.max())]
    chosen = [0]
    apart = np.full(len(found), np.inf)
    for _ in range(min(int(np.clip(floor_area / AREA, FEWEST, MOST)), len(found)) - 1):
        apart = np.minimum(apart, np.linalg.norm(found - found[chosen[-1]], axis=1))
        chosen.append(int(apart.argmax()))
    return found[chosen]


def look(eye: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """Pose, float64 [4, 4], camera to world, of a level camera at ``eye`` (3,); angles in radians, up is positive."""
    ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3] = np.column_stack([right, np.cross(ahead, right), ahead, eye])
    return pose


# --- drawing


def normals_of(points: np.ndarray) -> np.ndarray:
    """Unit normals, float64 [N, 3] of either sign, of the planes through the neighbours of each point [N, 3]."""
    around = points[cKDTree(points).query(points, k=min(NEIGHBOURS, len(points)))[1]]  # [N, k, 3]
    around = around - around.mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][:, :, 0]


def draw(points: np.ndarray, normals: np.ndarray, radius: float, pose: np.ndarray) -> Picture:
    """Draw points [N, 3] as discs of a radius in metres with normals [N, 3], seen from a pose [4, 4].

    A pixel's ray meets a disc at depth t, a distance d from its middle, if d <= radius; it shows the disc of least
    t + d. So a surface in front hides what lies behind it, and of the discs of one surface the nearest one is shown.
    """
    rotation = pose[:3, :3]
    shown, depth = np.full((HEIGHT, WIDTH), -1, np.int32), np.zeros((HEIGHT, WIDTH))
    least = np.full((HEIGHT, WIDTH), np.inf)
    _draw((points - pose[:3, 3]) @ rotation, normals @ rotation, radius, INTRINSIC, shown, depth, least)
    return Picture(shown, depth)


@compiled(parallel=False)
def _draw(points, normals, radius, intrinsic, shown, depth, least):
    # points, normals [N, 3] in the camera; shown, depth, least [H, W] are filled
    focal, middle_x, middle_y = intrinsic[0, 0], intrinsic[0, 2], intrinsic[1, 2]
    height, width = shown.shape
    for i in range(len(points)):
        x, y, z = points[i]
        if z - radius < NEAR:
            continue
        reach = focal * radius / (z - radius) * (1 + max(abs(x), abs(y)) / z)  # pixels, at least as far as the disc
        u, v = focal * x / z + middle_x, focal * y / z + middle_y
        along = normals[i, 0] * x + normals[i, 1] * y + normals[i, 2] * z
        for row in range(max(0, int(np.ceil(v - reach))), min(height - 1, int(np.floor(v + reach))) + 1):
            for column in range(max(0, int(np.ceil(u - reach))), min(width - 1, int(np.floor(u + reach))) + 1):
                ray_x, ray_y = (column - middle_x) / focal, (row - middle_y) / focal  # and 1 along z
                facing = normals[i, 0] * ray_x + normals[i, 1] * ray_y + normals[i, 2]
                if abs(facing) < FLATTEST * np.sqrt(ray_x * ray_x + ray_y * ray_y + 1):
                    continue
                t = along / facing
                off = np.sqrt((t * ray_x - x) ** 2 + (t * ray_y - y) ** 2 + (t - z) ** 2)
                if off <= radius and t + off < least[row, column]:
                    least[row, column] = t + off
                    shown[row, column] = i
                    depth[row, column] = t
