import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.reporting.splat import look_into, nearest_points, room_axes, surface_normals, view_room


def nearest_points_plain(pixels, depth, radius, height, width):
    """Every pixel against every point."""
    index = np.full((height, width), -1)
    for v in range(height):
        for u in range(width):
            best = (math.inf, -1)
            for i in range(len(depth)):
                distance = (u + 0.5 - pixels[i, 0]) ** 2 + (v + 0.5 - pixels[i, 1]) ** 2
                if depth[i] > 0 and distance <= radius[i] ** 2:
                    best = min(best, (np.float32(depth[i]), i))
            index[v, u] = best[1]
    return index


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([0.3, 1.0, 2.6]))
def test_each_pixel_shows_the_nearest_point_that_covers_it(seed, count, size):
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-3, 15, (count, 2))
    depth = np.round(rng.uniform(-0.5, 3, count), 1)  # some behind the camera, some ties
    radius = rng.uniform(0.2, 1, count) * size
    expected = nearest_points_plain(pixels, depth, radius, 9, 12)
    assert np.array_equal(nearest_points(pixels, depth, radius, 9, 12), expected)


def test_a_wall_hides_what_is_behind_it():
    grid = np.stack(np.meshgrid(np.arange(-1, 1, 0.02), np.arange(0, 2, 0.02)), -1).reshape(-1, 2)
    near = np.column_stack([grid[:, 0], np.zeros(len(grid)), grid[:, 1]])
    coords = np.concatenate([near, near + [0, 0.5, 0]])
    camera = look_into(coords, np.array([0.0, 1.0]), 0.0, 60, 60)
    pixels, depth = camera.project(coords)
    index = nearest_points(pixels, depth, np.full(len(coords), 1.5), 60, 60)
    assert (index >= 0).mean() > 0.5 and (index < len(near)).all()


@pytest.mark.parametrize("elevation", [0.0, 48.0, 89.0])
def test_the_camera_keeps_every_point_in_the_picture(elevation):
    coords = np.random.default_rng(0).uniform((-3, -2, 0), (1, 2, 2.5), (500, 3))
    camera = look_into(coords, np.array([1.0, -0.4]), elevation, 120, 80)
    pixels, depth = camera.project(coords)
    assert (depth > 0).all() and (pixels >= 0).all() and (pixels <= (120, 80)).all()
    spread = np.ptp(pixels, axis=0)
    assert np.isclose((spread / (120, 80)).max(), 0.94)
    higher = camera.project(coords + [0, 0, 0.5])[0]
    assert (higher[:, 1] < pixels[:, 1]).all() or elevation > 80  # up in the room is up in the picture


def test_the_walls_are_found_whichever_way_the_room_is_turned():
    rng = np.random.default_rng(0)
    for turn in np.deg2rad([0, 21, 45, 66]):
        plan = rng.uniform((0, 0), (4, 2.5), (3000, 2))
        along = np.array([np.cos(turn), np.sin(turn)])
        coords = np.column_stack([plan[:, :1] * along + plan[:, 1:] * (-along[1], along[0]), np.zeros(3000)])
        assert np.isclose(np.abs(room_axes(coords) @ along).max(), 1)


def test_normals_of_a_plane():
    rng = np.random.default_rng(0)
    coords = np.column_stack([rng.uniform(size=(400, 2)), np.full(400, 0.3)])
    assert np.allclose(np.abs(surface_normals(coords)[:, 2]), 1)


def test_a_room_is_seen_from_inside(scenes):
    room = scenes["train"][0]
    view = view_room(room.coords, room.supervoxels, 160, 130)
    seen = np.unique(view.index[view.index >= 0])
    assert view.kept[seen].all()
    # The floor and most objects, not the backs of walls, fill the picture.
    objects = np.unique(room.instances[seen])
    assert len(objects) >= 0.8 * room.num_objects
    assert np.mean(room.labels[view.index[view.index >= 0]] == 1) > 0.2
    picture = view.paint(room.colors)
    assert picture.shape == (130, 160, 3) and picture.dtype == np.uint8
    assert (picture[0, 0] == 255).all()
    assert np.array_equal(
        picture, view_room(room.coords, room.supervoxels, 160, 130).paint(room.colors)
    )  # the same pixels each time


def test_dots_land_on_their_points(scenes):
    room = scenes["train"][0]
    view = view_room(room.coords, room.supervoxels, 160, 130)
    visible = np.unique(view.index[view.index >= 0])[::50]
    u, v = np.floor(view.locate(visible) * 2).astype(int).T  # super-sampled twice
    shown = view.index[v, u]
    assert (shown >= 0).all()
    assert np.median(np.linalg.norm(room.coords[shown] - room.coords[visible], axis=1)) < 0.1
