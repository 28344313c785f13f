"""The simulator of areas: plans without intersections, scans against known shapes, the same room from the same seed."""

import numpy as np
import pytest
from furniture import FURNITURE

from otoc_lib.datasets.bundled_areas import SOURCE, packed_path, read, read_index
from otoc_lib.errors import OtocError
from otoc_lib.labels import S3DIS13
from room_factory import areas_shapes as shapes
from room_factory.areas import AREAS, MOST, SEED, _thin, room_names, scan_plan, simulate_areas, simulate_room
from room_factory.areas_plan import MODELS, AreaPlan, Thing, boxes_meet, intersections, make_area_plan, meet
from room_factory.catalogue import read_models
from room_factory.shapes import box

GREY = np.array([120, 120, 120])


# --- what needs neither Open3D nor the furniture


def test_models_exist_under_a_free_licence():
    models = {model for ids in MODELS.values() for model in ids}
    assert models <= set(read_models())
    assert not any(model.startswith("eTeks") or "winchester" in model for model in models)


def test_rooms_of_the_areas_are_those_of_the_bundled_index():
    names = room_names()
    assert len(names) == sum(map(len, AREAS.values())) >= 36
    assert list(read_index()["rooms"]) == list(names)
    assert read_index()["seed"] == SEED
    assert names["Area_5/office_2"] == (5, "office", 2)


def test_parametric_things_stand_on_the_floor_and_hang_before_the_wall():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        standing = [
            shapes.table(rng, 1.4, 0.8, 0.74),
            shapes.desk(rng),
            shapes.sofa(rng),
            shapes.bookcase(rng),
            shapes.bookcase(rng, boxes=True),
            shapes.cabinet(rng),
            shapes.copier(rng),
            shapes.counter(rng, 2.0),
            shapes.fridge(rng),
            shapes.monitor(rng),
            shapes.papers(rng),
            shapes.carton(rng),
            shapes.bin_(rng),
            shapes.column(rng, 0.4, 0.3, 2.7, GREY, bool(seed % 2)),
        ]
        hanging = [shapes.board(rng), shapes.poster(rng), shapes.screen(rng), shapes.switch(rng), shapes.radiator(rng)]
        below = [shapes.ceiling_lamp(rng, 1.2), shapes.projector(rng), shapes.vent(rng)]
        for mesh in standing:
            assert 0 <= mesh.lower[2] < 0.06 and np.abs((mesh.lower + mesh.upper)[:2] / 2).max() < 0.08
        for mesh in hanging:
            assert -0.12 < mesh.lower[1] < mesh.upper[1] < 0 and abs((mesh.lower + mesh.upper)[0]) < 0.1
        for mesh in below:
            assert -0.5 < mesh.lower[2] < mesh.upper[2] < 0
        for mesh in (*standing, *hanging, *below):
            assert mesh.faces.max() < len(mesh.vertices) == len(mesh.colors)


def area_of(mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_a_wall_has_its_area_less_the_openings_and_their_reveals():
    holes = [(-1.0, 0.0, 0.0, 2.0), (0.5, 1.5, 1.0, 2.1)]
    mesh = shapes.wall(4.0, 2.8, holes, GREY, GREY)
    expected = 4.0 * 2.8 - 2.0 - 1.1 + 0.14 * (2 * (1 + 2) + 2 * (1 + 1.1))
    assert area_of(mesh) == pytest.approx(expected, rel=1e-5)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    centres = (a + b + c)[np.ptp(np.stack([a, b, c]), axis=0)[:, 1] == 0] / 3
    assert not any(
        ((centres[:, 0] > h[0]) & (centres[:, 0] < h[1]) & (centres[:, 2] > h[2]) & (centres[:, 2] < h[3])).any()
        for h in holes
    )


def test_meeting_is_found_by_boxes_and_for_chair_and_table_by_surfaces():
    rng = np.random.default_rng(0)
    table = Thing("table", "", box((-0.7, -0.4, 0.7), (0.7, 0.4, 0.74), GREY))
    stool = box((-0.2, -0.2, 0), (0.2, 0.2, 0.45), GREY)
    assert not meet(Thing("chair", "", stool), table)  # below the top
    assert not meet(Thing("chair", "", stool.moved((0.75, 0, 0))), table)
    assert meet(Thing("chair", "", stool.moved((0.75, 0, 0.28))), table)
    legs = Thing("table", "", shapes.table(rng, 1.4, 0.8, 0.74))
    assert boxes_meet((legs.mesh.lower, legs.mesh.upper), (stool.lower, stool.upper))
    assert meet(Thing("clutter", "", stool), legs)  # everything else by boxes
    plan = AreaPlan(4, 4, 2.7, [Thing("sofa", "", stool.moved((0.1, 1, 0))), Thing("beam", "", stool.moved((3, 3, 0)))])
    assert intersections(plan) == [("wall", "sofa")]
    assert not plan.fits(Thing("clutter", "", stool.moved((3.2, 3.2, 0))))
    assert plan.fits(Thing("clutter", "", stool.moved((2.2, 2.2, 0))))


def test_thinning_keeps_one_point_of_every_voxel_seen_from_nearby():
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 1, (4000, 3))
    points[0] = 0
    eyes = np.where(rng.random((4000, 1)) < 0.5, [0.0, 0.5, 0.5], [1.0, 0.5, 0.5])
    kept = _thin(points, eyes, 0.1, rng)
    cells = np.floor(points / 0.1).astype(int)
    assert len({tuple(cell) for cell in cells[kept]}) == len(kept) == len({tuple(cell) for cell in cells})
    left = points[kept, 0] < 0.3
    assert (eyes[kept][left, 0] == 0).mean() > 0.85  # unless the near station saw nothing there
    for index in kept[:50]:
        same = (cells == cells[index]).all(axis=1)
        centre = (cells[index] + 0.5) * 0.1
        nearest = np.linalg.norm(eyes[same] - centre, axis=1).min()
        assert np.linalg.norm(eyes[index] - centre) == pytest.approx(nearest, abs=1e-5)


def test_missing_furniture_and_unknown_rooms_are_named(tmp_path):
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[room-factory]'")
    with pytest.raises(OtocError, match="sweethome3d-furniture"):
        simulate_areas(tmp_path / "out", furniture_root=tmp_path)
    (tmp_path / "Scopia.sh3f").touch()
    with pytest.raises(OtocError, match="Area_9/sauna_1"):
        simulate_areas(tmp_path / "out", furniture_root=tmp_path, rooms=["Area_9/sauna_1"])
    assert not (tmp_path / "out").exists()


def empty_room() -> AreaPlan:
    """A room of 3 x 4 x 2.6 metres with one box."""
    rng = np.random.default_rng(0)
    plan = AreaPlan(3.0, 4.0, 2.6)
    plan.things = [
        Thing("ceiling", "", shapes.ceiling(rng, 3.0, 4.0, 2.6)),
        Thing("floor", "", shapes.floor(rng, 3.0, 4.0)),
        *(
            Thing("wall", "", shapes.wall(length, 2.6, [], GREY, GREY).turned(angle).moved(middle))
            for length, angle, middle in (
                (3, np.pi, (1.5, 0, 0)),
                (4, -np.pi / 2, (3, 2, 0)),
                (3, 0, (1.5, 4, 0)),
                (4, np.pi / 2, (0, 2, 0)),
            )
        ),
        Thing("clutter", "", box((1.2, 1.8, 0), (1.8, 2.2, 0.6), np.array([200, 40, 40]))),
    ]
    return plan


def test_a_scan_lies_on_the_surfaces_and_carries_their_labels():
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[room-factory]'")
    origin = np.array([10.0, -5.0, 0.0])
    room = scan_plan(empty_room(), "Area_1/office_1", origin, np.random.default_rng(5))
    points, labels = room.points - origin, room.labels()
    planes = {"ceiling": np.abs(points[:, 2] - 2.6), "floor": np.abs(points[:, 2])}
    planes["wall"] = np.min(
        [np.abs(points[:, 0]), np.abs(points[:, 0] - 3), np.abs(points[:, 1]), np.abs(points[:, 1] - 4)], 0
    )
    for name, distance in planes.items():
        off = distance[labels == S3DIS13.index(name)]
        assert np.median(off) < 0.006 and np.quantile(off, 0.99) < 0.03, name
    assert dict(room.objects).keys() == {"ceiling_1", "clutter_1", "floor_1", "wall_1", "wall_2", "wall_3", "wall_4"}
    assert 50_000 < len(points) < 1.15 * MOST
    below = (np.abs(points[:, :2] - [1.5, 2.0]) < [0.25, 0.15]).all(axis=1) & (points[:, 2] < 0.3)
    assert below.sum() == 0  # nothing is seen below the box
    red = room.colors[labels == S3DIS13.index("clutter")].astype(int)
    assert (red[:, 0] > 2 * red[:, 1]).mean() > 0.95


# --- what needs the furniture


@pytest.mark.parametrize(
    "kind", ["office", "conferenceRoom", "hallway", "lobby", "copyRoom", "storage", "WC", "pantry"]
)
def test_nothing_in_a_plan_intersects(catalogue, kind):
    plan = make_area_plan(catalogue, 11, 5, kind, 1)
    assert intersections(plan) == []
    assert {"ceiling", "floor", "wall", "door", "clutter", "beam"} <= {thing.label for thing in plan.things}
    assert 15 <= len(plan.things) <= 70
    supports = [thing.mesh for thing in plan.things]
    for thing in plan.things:  # nothing floats: it stands on the floor, on something, or hangs on wall or ceiling
        lower, upper = thing.mesh.lower, thing.mesh.upper
        beside = min(lower[0], lower[1], plan.width - upper[0], plan.depth - upper[1]) < 0.06
        on_top = any(
            abs(lower[2] - other.upper[2]) < 0.08 or (other.lower[2] < lower[2] < other.upper[2])
            for other in supports
            if other is not thing.mesh and (other.lower[:2] < upper[:2]).all() and (other.upper[:2] > lower[:2]).all()
        )
        assert lower[2] < 0.01 or upper[2] > plan.height - 0.01 or beside or on_top, thing.label


def test_the_same_seed_gives_the_same_room_and_another_seed_another(catalogue):
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[room-factory]'")
    (first, models), (again, _) = (simulate_room("Area_1/WC_1", 3, FURNITURE) for _ in range(2))
    assert np.array_equal(first.points, again.points) and np.array_equal(first.colors, again.colors)
    assert first.objects == again.objects and set(models) <= set(read_models())
    a, b = (make_area_plan(catalogue, seed, 1, "WC", 1) for seed in (3, 4))
    assert (a.width, a.depth) != (b.width, b.depth)


@pytest.mark.slow
def test_the_seed_gives_the_bundled_room_again(catalogue):
    pytest.importorskip("open3d", reason="needs Open3D: pip install 'otoc-kit[room-factory]'")
    from scipy.spatial import cKDTree

    bundled = read(packed_path(SOURCE, "Area_5/office_1"))
    room, _ = simulate_room("Area_5/office_1", SEED, FURNITURE)
    assert [name for name, _ in room.objects] == [name for name, _ in bundled.objects]
    assert len(room.points) == pytest.approx(len(bundled.points), rel=0.002)
    distance, nearest = cKDTree(bundled.points).query(room.points)
    assert np.quantile(distance, 0.99) <= 0.03
    assert (room.labels() == bundled.labels()[nearest]).mean() > 0.98
