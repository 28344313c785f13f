"""Points far from all others change neither the box nor what is made of it, in any format."""

import warnings

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_scan import COLORS, FACES, POINTS, load, write_ascii
from scan_files import FORMATS, table, write_scan

from otoc_lib.annotation.picker import pack_room
from otoc_lib.config import load_config
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.stray_points import find_strays
from otoc_lib.errors import OtocError
from otoc_lib.training.voxels import inference_sample, make_batch, training_sample

GENERATOR = np.random.default_rng(0)


def brute_force(points):
    """By the docstring, point by point."""
    count = len(points)
    few = min(max(count // 100, 3), count // 10)
    if few == 0:
        return []
    ordered = np.sort(points, axis=0)
    side = max(ordered[count - 1 - few] - ordered[few])
    stray = set()
    for axis in range(3):
        for values, points_of in ((ordered[:, axis], points[:, axis]), (-ordered[::-1, axis], -points[:, axis])):
            for k in range(count - 1 - few, count - 1):
                if values[k + 1] - values[k] > side > 0:
                    stray |= set(np.flatnonzero(points_of > values[k]).tolist())
                    break
    return sorted(stray)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), count=st.integers(1, 400))
def test_strays_are_those_behind_a_gap(data, count):
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    points = np.round(generator.uniform(0, data.draw(st.sampled_from([1e-3, 1.5, 30.0])), (count, 3)), 3)
    for _ in range(data.draw(st.integers(0, 6))):
        far = data.draw(st.sampled_from([1.0, 3.5, 50.0, 900, 1e7, 3.4e38, 1e300])) * data.draw(
            st.sampled_from([-1, 1])
        )
        points[generator.integers(count), generator.integers(3)] = far
    np.testing.assert_array_equal(find_strays(np.ascontiguousarray(points.T)), brute_force(points))


@pytest.mark.parametrize("shape", ["corridor", "floor", "window", "cluster"])
def test_a_scan_of_any_shape_has_no_strays(shape):
    points = GENERATOR.uniform(0, 1, (20_000, 3))
    if shape == "corridor":
        points *= [60, 2, 2.5]
    elif shape == "floor":
        points *= [10, 10, 0.001]
    elif shape == "window":  # a tenth of the points spread over what is outside
        points[:2000] *= 40
    else:  # most points on a table, the others on the walls
        points[:2000] *= 8
    assert find_strays(np.ascontiguousarray(points.T)).size == 0


@pytest.mark.parametrize("far", [900.0, 1e5, 1e6])
@pytest.mark.parametrize("name", FORMATS)
def test_a_stray_point_is_named_and_outside_the_box(tmp_path, name, far):
    points = np.round(GENERATOR.uniform(0, 1.5, (3000, 3)), 3)
    inner = np.delete(points, 77, axis=0)
    points[77] = 0.5, -far, 0.25
    with pytest.warns(
        UserWarning, match=f"{name}: 1 stray point lies .* the first is point 77 at .0.5, -.*, 0.25.*stay"
    ):
        scan = read_scan(write_scan(tmp_path / name, table(points, GENERATOR.integers(0, 256, (3000, 3), np.uint8))))
    np.testing.assert_allclose(scan.points, points, atol=1e-6)
    np.testing.assert_allclose([scan.low, scan.high], [inner.min(axis=0), inner.max(axis=0)], atol=1e-6)
    assert scan.stray.tolist() == [77] and len(scan.told) == 1
    within = scan.within_box()
    np.testing.assert_allclose(np.delete(within, 77, axis=0), inner, atol=1e-6)
    assert within[77, 1] == scan.low[1]


@pytest.mark.parametrize("far", [900.0, 1e5, 1e7, 3.4e38, 1e300])
@pytest.mark.parametrize("faces", [FACES, FACES[:0]])
def test_no_grid_grows_by_a_stray_point(tmp_path, far, faces):
    """Super-voxels, the picker's steps, the noise and the voxels of training are those of the scan without it."""
    config = load_config("params/own/example.yaml")
    points = POINTS.copy()
    points[7, 0] = far
    write_ascii(tmp_path / "room.ply", points, COLORS, faces)
    with pytest.warns(UserWarning, match="1 stray point"):
        scene = load(tmp_path)
    assert np.ptp(scene.coords, axis=0).max() < 2.5 and scene.num_supervoxels < 20
    rest = np.arange(len(points)) != 7
    np.testing.assert_allclose((scene.coords + scene.origin)[rest], POINTS[rest], atol=1e-5)
    assert pack_room(scene)[1].max() < 1e-4
    labels = np.zeros(scene.num_points, dtype=np.int32)
    for sample in (
        training_sample(scene, labels, config, np.random.default_rng(0)),
        inference_sample(scene, config, np.random.default_rng(0)),
    ):
        assert max(make_batch([sample]).spatial_shape) < 100


def test_many_points_far_away_are_refused_by_name(tmp_path):
    """More than a few are no strays: the scan is large, and says so."""
    config = load_config("params/own/example.yaml")
    points = POINTS.copy()
    points[::4] += 3e7
    write_ascii(tmp_path / "room.ply", points)
    with pytest.warns(UserWarning, match="room.ply: is 3e[+]07 wide .* its unit is unclear"):
        scene = load(tmp_path)
    with pytest.raises(OtocError, match="scene room: parameter '(elastic_granularity|voxel_size)'"):
        training_sample(scene, np.zeros(scene.num_points, np.int32), config, np.random.default_rng(0))
    with pytest.raises(OtocError, match="scene room: parameter 'voxel_size'"):
        inference_sample(scene, config, np.random.default_rng(0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["ascii.ply", "little.ply", "scan.xyz"])
def test_points_without_a_place_are_refused(tmp_path, name, value):
    points = GENERATOR.uniform(0, 1.5, (30, 3))
    points[[9, 20], 1] = value
    where = "line 11: holds '-?(nan|inf)'" if name == "scan.xyz" else "2 points have a NaN or .*, the first is point 9"
    with pytest.raises(OtocError, match=f"{name}(: |, ){where}"):
        read_scan(write_scan(tmp_path / name, table(points)))


WKT = 'PROJCS["a",GEOGCS["b",UNIT["degree",0.017]],UNIT["foot",0.3048]]'


@pytest.mark.parametrize(("name", "unit"), [("scan.las", "m"), ("feet.las", "ft"), ("room.ply", "of the file's units")])
def test_how_far_away_a_stray_point_is_is_said_in_the_unit_of_the_file(tmp_path, name, unit):
    """Millimetres and feet are not called metres."""
    points = POINTS.copy()
    points[5] = (90_000.125, -2, 0.5)
    path = write_scan(tmp_path / name, table(points, COLORS.astype(np.uint16) * np.uint16(257)))
    if unit == "ft":
        las = laspy.read(path)
        las.header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(WKT))
        las.write(str(path))
    away = 90_000.125 - np.delete(points, 5, axis=0)[:, 0].max()
    with pytest.warns(UserWarning, match="stray") as told:
        read_scan(path)
    assert f"point 5 at (90000.125, -2, 0.5), {away:g} {unit} away" in str(told[0].message)


def test_strays_at_both_ends_of_what_numbers_hold(tmp_path):
    points = POINTS.copy()
    points[5], points[6] = (1e308, 0, 0), (-1e308, 0, 0)
    path = write_scan(tmp_path / "a.xyz", table(points, COLORS))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scan = read_scan(path)
    assert scan.stray.tolist() == [5, 6] and len(told) == 1 and "2 stray points" in str(told[0].message)
