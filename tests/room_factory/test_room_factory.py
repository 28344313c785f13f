"""The simulator: plans without intersections, fusing against known shapes, the same room from the same seed."""

import numpy as np
import pytest
from furniture import FURNITURE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from otoc_lib.datasets.bundled_rooms import CATEGORIES, SOURCE, BundledRoom, read_index
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, SCANNET20
from room_factory import SEED, clutter, room_names, shapes, simulate_room, simulate_rooms
from room_factory.catalogue import read_models
from room_factory.film import (
    FOCAL,
    HEIGHT,
    WIDTH,
    Frame,
    camera_path,
    draw_light,
    look_at,
    pixel_rays,
    unfilmed,
)
from room_factory.fuse import fuse
from room_factory.plan import (
    KINDS,
    NOVEL_KINDS,
    Placed,
    Plan,
    intersections,
    make_plan,
    outline_box,
    outline_of,
    upper_surface,
)
from room_factory.selection import NOVEL, SHARED
from room_factory.statistics import (
    SCANNET,
    SCANNET_PRESENCE,
    SCANNET_SHARE,
    compare_rooms,
    distance_to_scannet,
)
from room_factory.triangles import join, split_long_faces

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


def test_small_things_stand_on_the_floor_and_are_small():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        things = (clutter.cushion, clutter.clothes, clutter.bag, clutter.books, clutter.carton, clutter.bottle)
        for make in (*things, clutter.monitor, clutter.towel, clutter.whiteboard, clutter.rug, clutter.rack):
            mesh = make(rng)
            assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices) == len(mesh.colors)
            assert -0.002 <= mesh.lower[2] <= 0.02
            assert np.abs((mesh.lower + mesh.upper)[:2] / 2).max() < 0.06
            assert mesh.size.max() < (2.3 if make in (clutter.rug, clutter.rack, clutter.whiteboard) else 1.1)


def shape_of_a_room(rng: np.random.Generator, corners: int) -> Plan:
    """A rectangle less boxes at some of its corners that do not touch each other."""
    width, depth = rng.uniform(2.5, 5, 2)
    plan = Plan(float(width), float(depth), 2.5)
    for number in rng.permutation(4)[:corners]:
        extent = rng.uniform(0.2, 0.45, 2) * [width, depth]
        low = np.array([number % 2, number // 2]) * (np.array([width, depth]) - extent)
        plan.blocks.append((np.array([*low, 0.0]), np.array([*(low + extent), 2.5])))
    return plan


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), corners=st.integers(0, 4))
def test_walls_go_once_around_the_room(seed, corners):
    plan = shape_of_a_room(np.random.default_rng(seed), corners)
    edges = plan.edges()
    assert len(edges) == 4 + 2 * corners
    # a corner that is cut out leaves the way around as long as it was
    assert sum(edge.length for edge in edges) == pytest.approx(2 * (plan.width + plan.depth))
    assert sum(edge.length * edge.inward for edge in edges) == pytest.approx(np.zeros(2), abs=1e-9)
    # Gauss: the integral of x.n over the boundary is twice the area
    flux = sum(edge.length * (edge.point((edge.low + edge.high) / 2) @ -edge.inward) for edge in edges)
    cut = sum(np.prod((upper - lower)[:2]) for lower, upper in plan.blocks)
    assert flux / 2 == pytest.approx(plan.width * plan.depth - cut)
    for edge in edges:
        middle = edge.point((edge.low + edge.high) / 2)
        for step, inside in ((0.03, True), (-0.03, False)):
            place = np.array([*(middle + step * edge.inward), 1.0])
            assert plan.contains(place - 0.01, place + 0.01) == inside


def test_upper_surface_is_where_things_can_rest():
    table = join(
        [
            shapes.box((-0.5, -0.4, 0.7), (0.5, 0.4, 0.75), np.zeros(3)),
            shapes.box((-0.05, -0.05, 0), (0.05, 0.05, 0.7), np.zeros(3)),
            shapes.box((0.3, -0.4, 0.75), (0.5, 0.4, 1.0), np.zeros(3)),
        ]
    )
    origin, heights = upper_surface(table)
    x = origin[0] + 0.05 * (np.arange(heights.shape[0]) + 0.5)
    assert heights.shape[0] in (20, 21) and heights.shape[1] in (16, 17)
    assert heights[:-1, :-1][x[:-1] < 0.24] == pytest.approx(0.75, abs=1e-3)
    assert heights[:-1, :-1][x[:-1] > 0.36] == pytest.approx(1.0, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), angle=st.floats(-7, 7))
def test_outline_turns_as_the_mesh_does(seed, angle):
    mesh = clutter.bag(np.random.default_rng(seed))
    lower, upper = outline_box(outline_of(mesh), angle)
    turned = mesh.turned(angle)
    assert lower == pytest.approx(turned.lower[:2], abs=1e-5) and upper == pytest.approx(turned.upper[:2], abs=1e-5)


def test_the_camera_stays_in_the_room_and_misses_walls_but_not_what_hangs_on_them():
    rng = np.random.default_rng(3)
    plan = shape_of_a_room(rng, 1)
    cube = shapes.box((-0.2, -0.2, 0), (0.2, 0.2, 0.5), np.zeros(3))
    middle = np.array([plan.width / 2, plan.depth / 2, 0])
    plan.objects += [Placed("box", "", cube.moved(middle)), Placed("picture", "", cube.moved(middle + [0, 0, 1.6]))]
    poses = camera_path(plan, rng)
    assert poses and all(plan.contains(pose[:3, 3] - 0.05, pose[:3, 3] + 0.05) for pose in poses)
    lost = [unfilmed(plan, rng) for _ in range(20)]
    grid = np.stack(np.meshgrid(np.linspace(0, 4, 9), np.linspace(0, 4, 9), np.linspace(0, 2.4, 9)), -1).reshape(-1, 3)
    for beyond in lost:
        assert not beyond(middle[None] + [0, 0, 1.8])[0]  # around the picture
        above = beyond(grid + [0, 0, 0.1]) | (grid[:, 2] > 2.3)
        around = (np.abs(grid[:, :2] - middle[:2]) < 0.4).all(axis=1)
        assert (above | ~beyond(grid) | around).all()  # what is above something lost is lost
    assert 0.4 < np.mean([beyond(grid).mean() for beyond in lost]) < 0.95


def test_rooms_are_lit_in_many_ways():
    rng = np.random.default_rng(0)
    lights = [draw_light(Plan(4, 4, 2.5), rng) for _ in range(200)]
    assert {len(light.lamps) for light in lights} == {0, 1, 2}
    warm = np.array([light.cast[0] / light.cast[2] for light in lights])
    assert (np.abs(np.log(warm)) < 0.12).mean() > 0.3 and (warm > 1.25).any() and (warm < 0.85).any()
    points, normals = rng.uniform(0, 2, (50, 3)), Rotation.random(50, random_state=0).as_matrix()[:, 0]
    for light in lights[:20]:
        bright = light.at(points, normals)
        assert (bright >= light.ambient).all() and (bright <= light.ambient + 0.2 + 0.25 * len(light.lamps)).all()


def test_statistics_count_what_is_in_the_rooms():
    rng = np.random.default_rng(0)
    rooms = []
    for number, owned in enumerate(([("wall", (0,)), ("chair", (1, 2))], [("wall", (0,)), ("lamp", (1,))])):
        segments = rng.integers(0, 4, 500).astype(np.int32)
        vertices = rng.uniform(0, 1, (500, 3)).astype(np.float32)
        rooms.append(BundledRoom(f"scene{number:04d}_00", vertices, None, None, segments, tuple(owned)))
    found = compare_rooms(rooms)
    assert set(found) == set(SCANNET)
    labels = np.concatenate([SCANNET20.from_file_ids(room.nyu40()) for room in rooms])
    assert found["wall, % of points"] == pytest.approx(100 * (labels == 0).mean())
    assert found["no benchmark class, % of points"] == pytest.approx(100 * (labels == IGNORE).mean())
    assert found["chair, % of rooms"] == 50 and found["bed, % of rooms"] == 0
    assert (found["clicks a room"], found["objects beside wall and floor a room"]) == (1.5, 0.5)
    assert found["super-voxels per 1000 vertices"] == 8
    distances = np.linalg.norm(rooms[0].vertices[:, None] - rooms[0].vertices, axis=2) + 9 * np.eye(500)
    other = np.linalg.norm(rooms[1].vertices[:, None] - rooms[1].vertices, axis=2) + 9 * np.eye(500)
    nearest = [np.median(part.min(axis=1)) for part in (distances, other)]
    assert found["vertex spacing, cm"] == pytest.approx(100 * np.mean(nearest), rel=1e-4)


def test_distance_to_scannet_is_the_mean_log_ratio():
    assert set(SCANNET_SHARE) == set(SCANNET20.names) == set(SCANNET_PRESENCE) | {"wall", "floor"}
    assert distance_to_scannet(SCANNET) == 0
    assert distance_to_scannet({name: 2 * value for name, value in SCANNET.items()}) == pytest.approx(np.log(2))
    assert distance_to_scannet(SCANNET | {"bed, % of points": 0.0}) == pytest.approx(np.log(19) / len(SCANNET))


def test_kinds_of_rooms_cover_a_split():
    assert len(KINDS) == 24 and len(NOVEL_KINDS) == 4
    assert np.mean([kind.shape != "rectangle" for kind in KINDS]) >= 1 / 3


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
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[room-factory]'")
    with pytest.raises(OtocError, match="sweethome3d-furniture"):
        simulate_rooms(tmp_path / "out", furniture_root=tmp_path)
    assert not (tmp_path / "out").exists()


# --- what needs the furniture


@pytest.mark.parametrize("split,index", [("train", 0), ("train", 1), ("train", 9), ("val", 7), ("val_novel", 3)])
def test_nothing_in_a_plan_intersects(catalogue, split, index):
    plan = make_plan(catalogue, 7, split, index)
    assert intersections(plan) == []
    assert len(plan.furniture) >= 12
    kind = (NOVEL_KINDS if split == "val_novel" else KINDS)[index]
    assert bool(plan.blocks) == (kind.shape != "rectangle")
    assert len([thing for thing in plan.objects if thing.category == "wall"]) == len(plan.edges())
    novel = {model for ids in NOVEL.values() for model in ids}
    assert bool(novel & {thing.model for thing in plan.objects}) == (split == "val_novel")
    for thing in plan.furniture:
        if thing.host >= 0:  # it rests on its host, or is a sink set into it
            host = plan.objects[thing.host]
            assert thing.category in ("sink", "blinds") or thing.mesh.lower[2] <= host.mesh.upper[2] + 0.01


def test_the_same_arguments_give_the_same_plan(catalogue):
    first, second = (make_plan(catalogue, 7, "train", 18) for _ in range(2))
    assert [thing.category for thing in first.objects] == [thing.category for thing in second.objects]
    assert all(
        np.array_equal(a.mesh.vertices, b.mesh.vertices) for a, b in zip(first.objects, second.objects, strict=True)
    )


def test_models_stand_at_their_catalogue_size(catalogue):
    for model in (*SHARED["chair"], *NOVEL["bed"], *SHARED["door"]):
        mesh = catalogue.mesh(model)
        assert mesh.size == pytest.approx(catalogue.models[model].size, rel=1e-4)
        assert mesh.lower[2] == pytest.approx(0, abs=1e-5)
        assert len(np.unique(mesh.colors, axis=0)) > 1 or model.endswith("thonet") or "chair" in model.lower()


@pytest.mark.slow
def test_the_seed_gives_the_bundled_room_again(catalogue):
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[room-factory]'")
    from scipy.spatial import cKDTree

    from otoc_lib.datasets.bundled_rooms import read

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
