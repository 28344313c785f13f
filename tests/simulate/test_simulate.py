"""The simulator: plans without intersections, fusing against known shapes, the same room from the same seed."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from otoc_lib.datasets.rooms import CATEGORIES, SOURCE, read_index
from otoc_lib.errors import OtocError
from otoc_lib.simulate import SEED, room_names, shapes, simulate_room, simulate_rooms
from otoc_lib.simulate.catalogue import SYSTEM_ROOT, Catalogue, read_models
from otoc_lib.simulate.film import FOCAL, HEIGHT, WIDTH, Frame, look_at, pixel_rays
from otoc_lib.simulate.fuse import fuse
from otoc_lib.simulate.mesh import join, split_long_faces
from otoc_lib.simulate.plan import Placed, Plan, intersections, make_plan
from otoc_lib.simulate.selection import NOVEL, SHARED

FURNITURE = Path(os.environ.get("OTOC_FURNITURE", SYSTEM_ROOT))  # where sweethome3d-furniture is unpacked


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    pytest.importorskip("trimesh", reason="needs trimesh: pip install 'otoc-kit[simulate]'")
    if not list(FURNITURE.rglob("Scopia.sh3f")):
        pytest.skip("needs the Debian package sweethome3d-furniture (or its unpacked folder in OTOC_FURNITURE)")
    return Catalogue(FURNITURE)


# --- what needs neither Open3D nor the furniture


def test_selection_names_models_and_categories_that_exist():
    models = read_models()
    for table in (SHARED, NOVEL):
        for category, ids in table.items():
            assert category == "floor lamp" or category in CATEGORIES
            assert set(ids) <= set(models)
    shared = {model for ids in SHARED.values() for model in ids}
    novel = {model for ids in NOVEL.values() for model in ids}
    assert not shared & novel
    assert not any("winchester" in model for model in shared | novel)  # their licence page contradicts their library's


def test_room_names_cover_the_bundled_index():
    assert {name: split for name, (split, _) in room_names().items()} == {
        name: room["split"] for name, room in read_index()["rooms"].items()
    }
    assert read_index()["seed"] == SEED
    assert len(list(SOURCE.glob("*.room.xz"))) == len(room_names())


@pytest.mark.parametrize("novel", [False, True])
def test_parametric_furniture_stands_on_the_floor(novel):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        made = [
            shapes.bathtub(rng, novel),
            shapes.refrigerator(rng, novel),
            shapes.bookshelf(rng, novel),
            shapes.curtain(rng, novel),
            shapes.shower_curtain(rng, 1.6, novel),
            shapes.picture(rng, novel),
            shapes.counter(rng, 1.8, (0.1, 0.5, 0.4), False, novel),
            shapes.window(rng, novel),
            shapes.toilet(rng),
        ]
        for mesh in made:
            assert -0.002 <= mesh.lower[2] <= 0.05
            assert np.abs((mesh.lower + mesh.upper)[:2] / 2).max() < 0.06
            assert (mesh.size > 0.01).all() and (mesh.size < 2.6).all()
            assert mesh.faces.max() < len(mesh.vertices) == len(mesh.colors)


def test_intersections_finds_what_overlaps_and_what_leaves_the_room():
    cube = shapes.box((-0.5, -0.5, 0), (0.5, 0.5, 1), np.array([200, 0, 0]))

    def found(*places, host=-1):
        things = [Placed("chair", "", cube.moved(place), host if i else -1) for i, place in enumerate(places)]
        return len(intersections(Plan(4, 4, 2.5, things)))

    assert found((1, 1, 0), (2.1, 1, 0)) == 0
    assert found((1, 1, 0), (1, 1, 1.001)) == 0  # stacked
    assert found((1, 1, 0), (1.9, 1, 0)) == 1
    assert found((1, 1, 0), (1.9, 1, 0), host=0) == 0
    assert found((0.4, 1, 0)) == 1


def test_splitting_faces_keeps_area_and_interpolates():
    vertices = np.array([[0, 0, 0, 0.0], [1, 0, 0, 1.0], [0, 1, 0, 0.0]])
    points, faces = split_long_faces(vertices, np.array([[0, 1, 2]]), 0.1)
    a, b, c = (points[faces[:, i], :3] for i in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(0.5)
    assert max(np.linalg.norm(b - a, axis=1).max(), np.linalg.norm(c - b, axis=1).max()) <= 0.1
    assert np.allclose(points[:, 3], points[:, 0])


def plane_frames(height: float) -> list[Frame]:
    """Noise-free views of the plane z = height from above, computed by hand."""
    frames = []
    for x, y in ((0.2, 0.1), (-0.2, 0.3), (0.0, -0.3)):
        pose = look_at(np.array([x, y, height + 1.5]), np.array([0.1, 0.0, height]), 0.1)
        rays = pixel_rays() @ pose[:3, :3].T
        depth = (height - pose[2, 3]) / rays[..., 2]
        color = np.full((HEIGHT, WIDTH, 3), (40, 120, 200), np.float32)
        frames.append(Frame(depth.astype(np.float32), color, np.abs(rays[..., 2]).astype(np.float32), pose))
    return frames


def test_fusing_views_of_a_plane_gives_the_plane():
    tilt = Rotation.from_euler("zyx", [40, 12, 9], degrees=True).as_matrix()
    box = np.array([-0.4, -0.3, 0.2]), np.array([0.4, 0.3, 0.8])
    mesh = fuse(plane_frames(0.503), *box, 0.04, tilt)
    assert np.abs(mesh.vertices[:, 2] - 0.503).max() < 0.004
    assert (mesh.lower[:2] < -0.33).any() and (mesh.upper[:2] > [0.33, 0.23]).all()
    assert (mesh.lower >= box[0] - 0.01).all() and (mesh.upper <= box[1] + 0.01).all()
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    assert (normals[:, 2] > 0).mean() > 0.99  # towards the camera
    assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(0.48, rel=0.3)
    assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))
    assert (np.abs(mesh.colors.astype(int) - [40, 120, 200]) <= 4).all()


def test_fusing_is_repeatable():
    box = np.array([-0.3, -0.3, 0.3]), np.array([0.3, 0.3, 0.7])
    first, second = (fuse(plane_frames(0.5), *box, 0.05, np.eye(3)) for _ in range(2))
    assert np.array_equal(first.vertices, second.vertices) and np.array_equal(first.faces, second.faces)


def test_camera_looks_where_it_is_told():
    pose = look_at(np.array([1.0, 2.0, 1.5]), np.array([3.0, 1.0, 0.5]), 0.3)
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.linalg.det(pose) == pytest.approx(1)
    target = np.linalg.inv(pose) @ [3.0, 1.0, 0.5, 1.0]
    assert np.allclose(target[:2], 0) and target[2] == pytest.approx(np.sqrt(6))
    assert pixel_rays()[0, 0] == pytest.approx([(0.5 - WIDTH / 2) / FOCAL, (0.5 - HEIGHT / 2) / FOCAL, 1])


def test_missing_furniture_is_named(tmp_path):
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[simulate]'")
    with pytest.raises(OtocError, match="sweethome3d-furniture"):
        simulate_rooms(tmp_path / "out", furniture_root=tmp_path)
    assert not (tmp_path / "out").exists()


# --- what needs the furniture


@pytest.mark.parametrize("split,index", [("train", 0), ("train", 1), ("train", 6), ("val_novel", 3)])
def test_nothing_in_a_plan_intersects(catalogue, split, index):
    plan = make_plan(catalogue, 7, split, index)
    assert intersections(plan) == []
    assert len(plan.furniture) >= 12
    assert 3.0 <= plan.width <= 5.0 and 3.0 <= plan.depth <= 5.0
    novel = {model for ids in NOVEL.values() for model in ids}
    assert bool(novel & {thing.model for thing in plan.objects}) == (split == "val_novel")


def test_models_stand_at_their_catalogue_size(catalogue):
    for model in (*SHARED["chair"], *NOVEL["bed"], *SHARED["door"]):
        mesh = catalogue.mesh(model)
        assert mesh.size == pytest.approx(catalogue.models[model].size, rel=1e-4)
        assert mesh.lower[2] == pytest.approx(0, abs=1e-5)
        assert len(np.unique(mesh.colors, axis=0)) > 1 or "chair" in model.lower()


@pytest.mark.slow
def test_the_seed_gives_the_bundled_room_again(catalogue):
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[simulate]'")
    from scipy.spatial import cKDTree

    from otoc_lib.datasets.rooms import read

    name = "scene0000_00"
    bundled = read(SOURCE / f"{name}.room.xz")
    room, purity, models = simulate_room(name, SEED, FURNITURE)
    assert [category for category, _ in room.objects] == [category for category, _ in bundled.objects]
    assert len(room.vertices) == len(bundled.vertices) and len(room.faces) == len(bundled.faces)
    distance, nearest = cKDTree(bundled.vertices).query(room.vertices)
    assert np.quantile(distance, 0.999) <= 0.001
    assert (room.nyu40() == bundled.nyu40()[nearest]).mean() > 0.999
    assert 0.85 < purity <= 1 and models


def test_join_keeps_faces_apart():
    cube = shapes.box((0, 0, 0), (1, 1, 1), np.array([1, 2, 3]))
    both = join([cube, cube.moved((5, 0, 0))])
    assert len(both.vertices) == 16 and both.faces[12:].min() == 8
