"""From a plan to a scanned, over-segmented and labelled room."""

import numpy as np
from scipy.spatial.transform import Rotation

from otoc_lib.datasets.bundled_rooms import BundledRoom
from otoc_lib.supervoxels.mesh import segment_mesh
from room_factory.film import film
from room_factory.fuse import fuse
from room_factory.plan import Plan
from room_factory.triangles import join

VOXEL = 0.0395  # metres; surface nets then space the vertices 2.8 cm apart in the median
UNLABELLED_BEYOND = 0.08  # metres from the closest model face


def scan_room(plan: Plan, name: str, rng: np.random.Generator) -> tuple[BundledRoom, float]:
    """Film, fuse, segment and label a planned room.

    Labels follow super-voxels: each takes the object that most of its vertices are closest to, as ScanNet's annotators
    picked whole super-voxels. Returns the room and the share of vertices that agreed with their super-voxel before.
    """
    import open3d

    mesh = join([thing.mesh for thing in plan.objects])
    owner = np.repeat(np.arange(len(plan.objects)), [len(thing.mesh.faces) for thing in plan.objects])  # [F]
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(open3d.core.Tensor(mesh.vertices), open3d.core.Tensor(mesh.faces.astype(np.uint32)))
    lower, upper = (
        np.array([-0.12, -0.12, -0.12]),
        np.array([plan.width + 0.12, plan.depth + 0.12, rng.uniform(1.7, 1.95)]),
    )
    tilt = Rotation.from_euler("zyx", rng.uniform([20, 8, 8], [70, 15, 15]), degrees=True).as_matrix()
    surface = fuse(film(plan, rng, scene, mesh), lower, upper, VOXEL, tilt)
    closest = scene.compute_closest_points(open3d.core.Tensor(surface.vertices))
    distance = np.linalg.norm(closest["points"].numpy() - surface.vertices, axis=1)
    thing = np.where(distance <= UNLABELLED_BEYOND, owner[closest["primitive_ids"].numpy()], -1)  # [N]

    segments = segment_mesh(surface.vertices, surface.faces)
    ids, dense = np.unique(segments, return_inverse=True)
    votes = np.zeros((len(ids), len(plan.objects) + 1), np.int64)  # the last column: unlabelled
    np.add.at(votes, (dense, thing), 1)
    majority = votes.argmax(axis=1)
    majority[majority == len(plan.objects)] = -1
    purity = float(votes.max(axis=1).sum() / len(dense))

    objects = tuple(
        (plan.objects[number].category, tuple(ids[majority == number].tolist()))
        for number in range(len(plan.objects))
        if plan.objects[number].annotated and (majority == number).any()
    )
    return BundledRoom(name, surface.vertices, surface.faces, surface.colors, segments, objects), purity
