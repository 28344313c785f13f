"""Labels from images against geometry worked out by hand, a loop over the points, and rooms filmed with their truth."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from tiny_frames import camera, looking_along_x, write_frame_files

from otoc_lib.annotation.images import draw_frames, label_points, label_scene, pixels_of, to_camera, visible
from otoc_lib.datasets.bundled_frames import write_frames
from otoc_lib.datasets.frames import Frame, open_frames, read_frame
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.scene import Scene

SHAPE = (12, 16)
CAMERA = camera(SHAPE, 10.0)


def frame_of(classes, depth=0.0, pose=None):
    """A frame of one camera whose pixels all have a class and a depth, or those of an image."""
    classes, depth = (np.broadcast_to(values, SHAPE) for values in (np.int16(classes), np.float32(depth)))
    return Frame(looking_along_x() if pose is None else pose, depth, CAMERA, classes, CAMERA)


# --- projection


def test_the_pixel_is_f_x_over_z_plus_c():
    columns, rows = (index.ravel() for index in np.meshgrid(np.arange(16), np.arange(12)))
    depth = 2.5
    right, down = (columns - 7.5) * depth / 10, (rows - 5.5) * depth / 10  # of a plane parallel to the image
    in_camera = np.column_stack([right, down, np.full(len(right), depth)])
    np.testing.assert_array_equal(pixels_of(in_camera, CAMERA, SHAPE), rows * 16 + columns)
    in_room = np.column_stack([3 + in_camera[:, 2], -in_camera[:, 0], 1 - in_camera[:, 1]])
    np.testing.assert_allclose(to_camera(in_room, looking_along_x((3, 0, 1))), in_camera, atol=1e-12)


def test_a_turned_camera_sees_what_its_pose_says():
    generator = np.random.default_rng(0)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3] = np.column_stack([rotation, (1.0, -2.0, 3.0)])
    in_camera = generator.normal(size=(50, 3))
    homogeneous = np.column_stack([in_camera, np.ones(50)])
    np.testing.assert_allclose(to_camera((homogeneous @ pose.T)[:, :3], pose), in_camera, atol=1e-12)


def test_what_is_behind_the_camera_or_beside_the_image_is_never_labelled():
    inside = [(2, 0, 0), (2, 1.4, 1.0)]
    outside = [(-2, 0, 0), (0, 0, 0), (2, 1.7, 0), (2, -1.7, 0), (2, 0, 1.3), (2, 0, -1.3), (0, 5, 0)]
    labels = label_points(np.array(inside + outside, float), [frame_of(3)], 5, 0.05)
    assert labels.tolist() == [3, 3] + [IGNORE] * 7
    assert labels.dtype == np.int16


def test_of_two_points_on_a_ray_the_nearer_one_is_labelled():
    ray = np.array([(1.0, 0.1, 0.1), (2.0, 0.2, 0.2), (1.02, 0.102, 0.102)])
    for depth in (0.0, 1.0):  # the surface is the nearest point, or what was measured
        assert label_points(ray, [frame_of(2, depth)], 4, 0.03).tolist() == [2, IGNORE, 2]
    assert label_points(ray, [frame_of(2, 2.0)], 4, 0.03).tolist() == [IGNORE, 2, IGNORE]


def test_points_within_the_tolerance_of_the_depth_are_visible():
    along = np.column_stack([np.linspace(1.9, 2.1, 21), np.zeros((21, 2))])
    shown = visible(to_camera(along, looking_along_x()), frame_of(0, 2.0), 0.0451)
    np.testing.assert_array_equal(shown, np.abs(along[:, 0] - 2) <= 0.0451)


# --- votes


def test_the_majority_of_the_frames_wins():
    point = np.array([(2.0, 0, 0)])
    eyes = [looking_along_x((x, 0, 0)) for x in (1.0, 0.0, -1.0)]
    said = [frame_of(label, pose=pose) for label, pose in zip((4, 1, 1), eyes, strict=True)]
    assert label_points(point, said, 6, 0.03).tolist() == [1]  # though the nearest camera says 4


def test_on_a_tie_the_nearest_camera_wins_and_then_the_first_class():
    point = np.array([(2.0, 0, 0)])
    near, far = looking_along_x((1, 0, 0)), looking_along_x((0, 0, 0))
    for first, second in ((4, 1), (1, 4)):
        frames = [frame_of(first, pose=near), frame_of(second, pose=far)]
        assert label_points(point, frames, 6, 0.03).tolist() == [first]
        assert label_points(point, frames[::-1], 6, 0.03).tolist() == [first]
    assert label_points(point, [frame_of(5, pose=far), frame_of(2, pose=far)], 6, 0.03).tolist() == [2]


def test_pixels_without_a_class_have_no_vote():
    point = np.array([(2.0, 0, 0)])
    assert label_points(point, [frame_of(IGNORE)] * 3, 6, 0.03).tolist() == [IGNORE]
    assert label_points(point, [frame_of(IGNORE)] * 3 + [frame_of(5)], 6, 0.03).tolist() == [5]
    assert label_points(point, [], 6, 0.03).tolist() == [IGNORE]


def random_frames(generator, count=6, classes=4):
    for _ in range(count):
        pose = looking_along_x(generator.uniform(-0.5, 0.5, 3))
        image = generator.integers(-1, classes, SHAPE)
        depth = generator.uniform(0.8, 2.5, SHAPE) * (generator.random(SHAPE) < 0.5)
        yield frame_of(np.where(image < 0, IGNORE, image), depth, pose)


def slow_labels(points, frames, num_classes, tolerance):
    """A loop over frames and points."""
    votes = [[[] for _ in range(num_classes)] for _ in points]
    for frame in frames:
        inverse = np.linalg.inv(frame.pose)
        in_pixel = {}
        for i, point in enumerate(points):
            x, y, z, _ = inverse @ [*point, 1]
            column, row = (round(frame.depth_intrinsic[k] @ (x, y, z) / z) if z > 0 else -1 for k in (0, 1))
            if z > 0 and 0 <= column < SHAPE[1] and 0 <= row < SHAPE[0]:
                in_pixel.setdefault((row, column), []).append((z, i, np.linalg.norm((x, y, z))))
        for pixel, found in in_pixel.items():
            surface = frame.depth[pixel] or min(found)[0]
            for z, i, distance in found:
                if abs(z - surface) <= tolerance and frame.classes[pixel] != IGNORE:
                    votes[i][frame.classes[pixel]].append(distance)
    best = [max((len(cast), -min(cast, default=0), -c) for c, cast in enumerate(of_point)) for of_point in votes]
    return [-c if count else IGNORE for count, _, c in best]


def test_labels_are_those_of_a_loop_over_the_points():
    generator = np.random.default_rng(0)
    points = generator.uniform([0.5, -1, -1], [3, 1, 1], (400, 3))
    frames = list(random_frames(generator))
    labels = label_points(points, frames, 4, 0.2)
    assert labels.tolist() == slow_labels(points, frames, 4, 0.2)
    assert 50 < (labels >= 0).sum() < 350 and len(set(labels.tolist())) == 5


def test_more_frames_label_more_points():
    generator = np.random.default_rng(1)
    points = generator.uniform([0.5, -1, -1], [3, 1, 1], (300, 3))
    frames, before = list(random_frames(generator, count=12)), np.zeros(300, bool)
    for share in (0.1, 0.2, 0.5, 0.9, 1.0):
        drawn = [frames[i] for i in draw_frames(12, share, 0, "room")]
        labelled = label_points(points, drawn, 4, 0.2) >= 0
        assert (labelled >= before).all() and labelled.sum() > before.sum()
        before = labelled


def test_points_that_each_fill_a_pixel_get_its_label_back():
    generator = np.random.default_rng(2)
    columns, rows = (index.ravel() for index in np.meshgrid(np.arange(16), np.arange(12)))
    depth = generator.uniform(1, 3, len(rows))
    points = np.column_stack([depth, -(columns - 7.5) * depth / 10, -(rows - 5.5) * depth / 10])
    classes = generator.integers(0, 9, SHAPE)
    for measured in (0.0, depth.reshape(SHAPE)):
        np.testing.assert_array_equal(label_points(points, [frame_of(classes, measured)], 9, 0.03), classes.ravel())


# --- which frames


def test_draws_are_nested_evenly_spread_and_of_the_asked_number():
    for name in ("a", "b"):
        before = set()
        for share in (0.001, 0.05, 0.167, 0.5, 1.0):
            drawn = draw_frames(180, share, 0, name)
            assert len(drawn) == len(set(drawn.tolist())) == max(1, round(share * 180)) and before <= set(drawn)
            assert drawn.tolist() == sorted(drawn.tolist()) == draw_frames(180, share, 0, name).tolist()
            before = set(drawn)
        assert set(np.diff(draw_frames(180, 1 / 6, 0, name))) == {3, 5, 8}
    assert draw_frames(180, 1 / 6, 0, "a").tolist() != draw_frames(180, 1 / 6, 0, "b").tolist()
    assert draw_frames(180, 1 / 6, 0, "a").tolist() != draw_frames(180, 1 / 6, 1, "a").tolist()
    for share, seed in ((0, 0), (1.5, 0), (0.5, -1)):
        with pytest.raises(OtocError, match="share"):
            draw_frames(10, share, seed, "a")


# --- a whole room


def rectangle(corner, side_a, side_b, spacing=0.05):
    """Points [K, 3] on a parallelogram."""
    s, t = (np.arange(0, 1, spacing / np.linalg.norm(side)) for side in (side_a, side_b))
    s, t = (steps.reshape(-1, 1) for steps in np.meshgrid(s, t))
    return np.array(corner) + s * np.array(side_a, float) + t * np.array(side_b, float)


def furnished_room():
    """3 m by 4 m: a floor, two walls, a picture on one of them, two boxes, and one of no class."""
    parts = [
        (rectangle((0, 0, 0), (3, 0, 0), (0, 4, 0)), 1),
        (rectangle((0, 0, 0), (3, 0, 0), (0, 0, 2)), 0),
        (rectangle((0, 0, 0), (0, 4, 0), (0, 0, 2)), 0),
        (rectangle((1, 0.01, 1), (1, 0, 0), (0, 0, 0.6)), 10),
    ]
    boxes = {6: (0.2, 0.3, 1, 0.6, 0.8), 4: (2, 3, 0.6, 0.6, 0.5), IGNORE: (0.2, 3, 0.5, 0.5, 1)}
    for label, (x, y, w, d, h) in boxes.items():
        sides = [((x, y, 0), (w, 0, 0)), ((x, y + d, 0), (w, 0, 0)), ((x, y, 0), (0, d, 0)), ((x + w, y, 0), (0, d, 0))]
        parts += [(rectangle(corner, side, (0, 0, h)), label) for corner, side in sides]
        parts.append((rectangle((x, y, h), (w, 0, 0), (0, d, 0)), label))
    points = np.concatenate([points for points, _ in parts])
    labels = np.repeat([label for _, label in parts], [len(points) for points, _ in parts]).astype(np.int16)
    return Scene(
        name="scene0000_00",
        coords=(points - 1).astype(np.float32),
        colors=np.full((len(points), 3), 128, np.uint8),
        supervoxels=np.arange(len(points), dtype=np.int32),
        labels=labels,
        instances=None,
        origin=np.ones(3),
        label_set=SCANNET20,
    )


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A furnished room and the folder of its frames, drawn with its true labels."""
    room, root = furnished_room(), tmp_path_factory.mktemp("frames")
    ids = np.where(room.labels < 0, 65535, room.labels).astype(np.uint16)
    write_frames(root / room.name, room.name, room.coords + room.origin, room.colors, ids, 65535)
    return room, root


TABLE = np.full(65536, IGNORE, np.int16)
TABLE[:20] = np.arange(20)


def test_true_labels_survive_being_filmed(filmed):
    room, root = filmed
    labels, used = label_scene(room, root, TABLE, 1.0, 0)
    assert used == {"frames_used": len(open_frames(root, room.name).names), "frames_skipped": 0}
    labelled, true = labels >= 0, room.labels
    # An edge: a point whose neighbours have another label, so that one pixel shows both.
    near = cKDTree(room.coords).query(room.coords, k=7)[1]
    edge = (true[near] != true[:, None]).any(axis=1)
    assert (labels == true)[labelled & ~edge].mean() > 0.98
    assert labelled[(true >= 0) & ~edge].mean() > 0.6 and (labels == true)[labelled].mean() > 0.9


def test_fewer_frames_label_fewer_points_and_as_rightly(filmed):
    room, root = filmed
    few, used = label_scene(room, root, TABLE, 0.2, 0)
    every, of_all = label_scene(room, root, TABLE, 1.0, 0)
    assert used["frames_used"] == round(0.2 * of_all["frames_used"])
    assert ((few >= 0) <= (every >= 0)).all() and (few >= 0).sum() < (every >= 0).sum()


def test_frames_of_another_place_are_refused(filmed, tmp_path):
    room, root = filmed
    folder = open_frames(root, room.name)
    frame = read_frame(folder, 0, TABLE)
    pose = frame.pose.copy()
    pose[:3, 3] += 100
    ids = frame.classes.astype(np.uint16)
    write_frame_files(tmp_path / room.name, [(pose, frame.depth, ids)], frame.depth_intrinsic)
    with pytest.raises(OtocError, match=r"scene0000_00: no labelled pixel of the 1 frames .*camera to world"):
        label_scene(room, tmp_path, TABLE, 1.0, 0)
