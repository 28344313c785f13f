"""Frames of the bundled rooms: what is drawn, from where, and the folder that it is written to."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from otoc_lib.__main__ import main
from otoc_lib.config import config_from
from otoc_lib.datasets import bundled_areas, bundled_rooms
from otoc_lib.datasets.bundled_frames import (
    CLEARANCE,
    DONE,
    FLATTEST,
    HEIGHT,
    INTRINSIC,
    NEAR,
    SHOWN,
    WIDTH,
    camera_poses,
    draw,
    film,
    look,
    normals_of,
    places,
)
from otoc_lib.datasets.frames import class_table, open_frames, read_frame
from otoc_lib.errors import OtocError
from otoc_lib.labels import S3DIS13, SCANNET20

ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
PIXELS = np.stack([COLUMNS, ROWS, np.ones((HEIGHT, WIDTH))], axis=-1)
RAYS = PIXELS @ np.linalg.inv(INTRINSIC).T  # [HEIGHT, WIDTH, 3], 1 along z


def slow_drawing(points, normals, radius, pose):
    """Every pixel's ray against every disc: the disc shown and its depth."""
    in_camera, turned = (points - pose[:3, 3]) @ pose[:3, :3], normals @ pose[:3, :3]
    facing = np.einsum("hwi,ni->hwn", RAYS, turned)
    t = (in_camera * turned).sum(axis=1) / facing
    off = np.linalg.norm(t[..., None] * RAYS[:, :, None] - in_camera, axis=-1)
    flat = np.abs(facing) < FLATTEST * np.linalg.norm(RAYS, axis=-1)[..., None]
    score = np.where((off <= radius) & ~flat & (in_camera[:, 2] - radius >= NEAR), t + off, np.inf)
    shown = score.argmin(axis=-1)
    hit = np.isfinite(score.min(axis=-1))
    return np.where(hit, shown, -1), np.where(hit, np.take_along_axis(t, shown[..., None], -1)[..., 0], 0)


def test_drawing_is_that_of_every_ray_and_every_disc():
    generator = np.random.default_rng(0)
    points = generator.uniform(-2, 2, (150, 3))
    normals = generator.normal(size=(150, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    pose = look(np.array([0.2, -0.1, 0.3]), 0.7, -0.4)
    picture = draw(points, normals, 0.4, pose)
    shown, depth = slow_drawing(points, normals, 0.4, pose)
    np.testing.assert_array_equal(picture.points, shown)
    np.testing.assert_allclose(picture.depth, depth, rtol=1e-9)
    assert 0.3 < (shown >= 0).mean() < 0.99 and len(np.unique(shown)) > 15


def test_a_scanned_plane_has_the_depth_of_the_plane_and_no_holes():
    axis = np.arange(-4, 4, 0.05)
    floor = np.stack([*map(np.ravel, np.meshgrid(axis, axis)), np.zeros(len(axis) ** 2)], axis=1)
    normals = normals_of(floor)
    np.testing.assert_allclose(np.abs(normals), np.tile([0, 0, 1], (len(floor), 1)), atol=1e-9)
    pose = look(np.array([0.0, 0.0, 1.5]), 0.3, np.radians(-60))
    expected = -1.5 / (RAYS @ pose[:3, :3].T)[..., 2]  # where the rays meet z = 0
    picture = draw(floor, normals, 0.075, pose)
    assert (picture.points >= 0).all()
    np.testing.assert_allclose(picture.depth, expected, rtol=1e-9)
    hit = pose[:3, 3] + picture.depth[..., None] * (RAYS @ pose[:3, :3].T)
    nearest = cKDTree(floor).query(hit.reshape(-1, 3))[0]
    shown = np.linalg.norm(floor[picture.points.ravel()] - hit.reshape(-1, 3), axis=1)
    np.testing.assert_allclose(shown, nearest, atol=1e-9)


def test_what_lies_in_front_hides_what_lies_behind():
    facing = np.array([[1.0, 0, 0]] * 2)
    picture = draw(np.array([(2.0, 0, 0), (1.0, 0, 0)]), facing, 0.2, look(np.zeros(3), 0.0, 0.0))
    assert set(np.unique(picture.points)) == {-1, 1} and picture.depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(1)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (90, 0), (180, 45), (30, -45)])
def test_a_look_is_level_and_goes_where_it_says(yaw, pitch):
    pose = look(np.array([1.0, 2, 3]), np.radians(yaw), np.radians(pitch))
    right, down, ahead = pose[:3, :3].T
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1) and right[2] == 0 and down[2] < 0
    assert np.degrees(np.arcsin(ahead[2])) == pytest.approx(pitch)
    assert np.cos(np.radians(yaw)) == pytest.approx(ahead[0] / np.cos(np.radians(pitch)))
    assert pose[:3, 3].tolist() == [1, 2, 3]


def corner_room(height=2.4, spacing=0.1):
    """Points of an L-shaped room, 4 m by 4 m without a quarter: floor and outer walls."""
    axis = np.arange(0, 4, spacing)
    x, y = map(np.ravel, np.meshgrid(axis, axis))
    floor = np.column_stack([x, y, np.zeros(len(x))])
    walls = [
        np.column_stack([side, along, up])
        for along, up in [map(np.ravel, np.meshgrid(axis, np.arange(0, height, spacing)))]
        for side in (np.zeros(len(along)), np.full(len(along), 4.0))
    ]
    points = np.concatenate([floor, *walls, *(wall[:, [1, 0, 2]] for wall in walls)])
    return points[~(points[:, :2] > 2.05).all(axis=1)]


def test_the_camera_stands_in_the_room_and_away_from_its_points():
    room = corner_room()
    stands = places(room, np.random.default_rng(0))
    assert 3 <= len(stands) <= 12
    assert cKDTree(room).query(stands)[0].min() >= CLEARANCE
    assert not (stands[:, :2] > 2.2).all(axis=1).any() and ((stands > 0) & (stands < 4)).all()
    assert np.ptp(stands[:, :2], axis=0).min() > 1.5  # in both arms
    assert len(places(room[:1], np.random.default_rng(0))) == 3  # whatever there is


def test_poses_are_those_of_the_name():
    room = corner_room()
    first, again, other = (np.stack(list(camera_poses(room, name))) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[: len(other)], other[: len(first)])


# --- the folder


@pytest.fixture
def packed(tmp_path):
    """Two packed areas of one room each."""
    folder, points = tmp_path / "packed", corner_room()
    entries = {}
    for name in ("Area_1/office_1", "Area_5/office_1"):
        labels = np.where(points[:, 2] > 0, S3DIS13.index("wall"), S3DIS13.index("floor"))
        room = bundled_areas.assemble(name, points, np.full((len(points), 3), 128, np.uint8), labels, labels)
        bundled_areas.pack(room, bundled_areas.packed_path(folder, name))
        entries[name] = {"points": len(room.points)}
    (folder / "index.json").write_text(json.dumps({"seed": 0, "rooms": entries}))
    (folder / "CREDITS").write_text("thanks")
    return folder


def test_areas_are_filmed_into_frames_that_can_be_read(packed, tmp_path):
    root = tmp_path / "frames"
    film(root, "s3dis", packed)
    assert {path.name for path in root.iterdir()} == {"Area_1_office_1", "Area_5_office_1", "CREDITS", DONE}
    config = config_from({"profile": "p", "experiment": "e", "dataset": "s3dis"})
    folder = open_frames(root, "Area_1_office_1")
    assert len(folder.names) > 20 and folder.skipped == 0
    table, seen = class_table(config, S3DIS13), set()
    for number in range(len(folder.names)):
        frame = read_frame(folder, number, table)
        assert ((frame.depth > 0) == (frame.classes >= 0)).all() and (frame.depth > 0).mean() >= SHOWN
        with Image.open(folder.path / "color" / f"{number}.jpg") as image:
            assert image.size == (WIDTH, HEIGHT)
        seen |= set(np.unique(frame.classes).tolist())
    assert seen - {-100} == {S3DIS13.index("wall"), S3DIS13.index("floor")}


def test_frames_are_made_once_and_again_for_other_rooms(packed, tmp_path):
    root = tmp_path / "frames"
    film(root, "s3dis", packed)
    made = (root / "Area_1_office_1" / "depth" / "0.png").stat().st_mtime_ns
    film(root, "s3dis", packed)
    assert (root / "Area_1_office_1" / "depth" / "0.png").stat().st_mtime_ns == made
    index = json.loads((packed / "index.json").read_text())
    del index["rooms"]["Area_5/office_1"]
    (packed / "index.json").write_text(json.dumps(index))
    film(root, "s3dis", packed)
    assert not (root / "Area_5_office_1").exists()
    shutil.rmtree(root)
    root.mkdir()
    (root / "thesis.txt").write_text("years of work")
    with pytest.raises(OtocError, match="holds something other"):
        film(root, "s3dis", packed)
    assert main(["rooms", "film", "--layout", "s3dis", str(root)]) == 2


def test_a_room_is_filmed_with_the_ids_of_its_label_table(tmp_path):
    (name, *_) = (name for name, about in bundled_rooms.read_index()["rooms"].items() if about["split"] == "train")
    room = bundled_rooms.read(bundled_rooms.SOURCE / f"{name}.room.xz")
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(bundled_rooms.label_table())
    config = config_from({"profile": "p", "experiment": "e", "data_root": str(tmp_path)})
    classes = class_table(config, SCANNET20)[room.raw_ids()]
    np.testing.assert_array_equal(classes, SCANNET20.from_file_ids(room.nyu40()))
    assert len(np.unique(classes)) > 5
