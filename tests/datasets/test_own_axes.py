"""A scan with another axis up or in another unit: the work is done in metres with z up, and what comes out is as the
file is."""

import csv
from dataclasses import replace
from types import SimpleNamespace

import laspy
import numpy as np
import pytest
from own_scan import CLASSES, COLORS, FACES, POINTS, TRUTH, load, write_ascii
from plyfile import PlyData
from scan_formats import e57, glb_of

from otoc_lib.__main__ import main
from otoc_lib.annotation.clicks import Clicks, read_clicks, write_clicks
from otoc_lib.annotation.session import Session
from otoc_lib.annotation.snap import snap_clicks
from otoc_lib.annotation.subclouds import cut_subclouds, read_subclouds, subcloud_statistics, write_subclouds
from otoc_lib.config import config_from
from otoc_lib.datasets import cache, labelled_ply, own
from otoc_lib.errors import OtocError
from otoc_lib.predict import Labeller
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.geometric import Partition

MAP = np.array([512_345.25, 400.5, -5_412_345.75])  # map coordinates of a scan with y up


def y_up(points):
    """By hand: x stays, z becomes y, -y becomes z."""
    x, y, z = points.T
    return np.stack([x, z, -y], axis=1)


def plain(tmp_path):
    """The same scan in metres with z up."""
    write_ascii(tmp_path / "plain" / "room.ply")
    return load(tmp_path / "plain")


def write_y_up_glb(tmp_path):
    points = y_up(POINTS).astype("f4")
    (tmp_path / "room.glb").write_bytes(glb_of(points, COLORS, FACES))
    return points.astype("f8")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def position(row):
    return np.array([float(row[axis]) for axis in "xyz"])


def test_a_y_up_glb_is_worked_on_with_z_up(tmp_path):
    write_y_up_glb(tmp_path)
    with pytest.warns(UserWarning, match="room.glb: y is up by its format: it is turned for the work"):
        scene = load(tmp_path)
    expected = plain(tmp_path)
    np.testing.assert_allclose(scene.coords, expected.coords, atol=1e-6)
    np.testing.assert_array_equal(scene.supervoxels, expected.supervoxels)
    np.testing.assert_array_equal(scene.colors, COLORS)


def test_all_that_comes_out_of_a_y_up_scan_is_in_its_axes(tmp_path):
    points = write_y_up_glb(tmp_path)
    scene = load(tmp_path)
    np.testing.assert_allclose(scene.in_file(scene.coords), points, atol=1e-6)
    np.testing.assert_allclose(scene.from_file(points), scene.coords, atol=1e-6)

    clicks = {"room": Clicks([7, 3000], [0, 2], [-1, -1])}
    write_clicks(tmp_path / "clicks.csv", clicks, [scene])
    for row in rows_of(tmp_path / "clicks.csv"):
        np.testing.assert_allclose(position(row), points[int(row["point"])], atol=2e-6)
    assert read_clicks(tmp_path / "clicks.csv", [scene])["room"].points.tolist() == [7, 3000]

    session = Session([scene], tmp_path / "picked.csv")  # what the picker saves
    session.click("room", 42, "box")
    (row,) = rows_of(tmp_path / "picked.csv")
    np.testing.assert_allclose(position(row), points[42], atol=2e-6)

    x, y, z = points[100] + 0.004
    (tmp_path / "positions.csv").write_text(f"scene,x,y,z,class\nroom,{x},{y},{z},box\n")
    assert snap_clicks(tmp_path, tmp_path / "positions.csv", tmp_path / "snapped.csv") == 1
    (row,) = rows_of(tmp_path / "snapped.csv")
    assert row["point"] == "100"
    np.testing.assert_allclose(position(row), points[100], atol=1e-6)
    assert read_clicks(tmp_path / "snapped.csv", [scene])["room"].points.tolist() == [100]

    labelled_ply.export_labels(tmp_path / "room.glb", TRUTH, None, CLASSES, tmp_path / "out.ply")
    vertices = PlyData.read(str(tmp_path / "out.ply"))["vertex"].data
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=1), points)
    np.testing.assert_array_equal(vertices["label"], TRUTH)


def test_clicks_in_other_axes_than_the_file_are_refused(tmp_path):
    write_y_up_glb(tmp_path)
    scene = load(tmp_path)
    x, y, z = scene.coords[7] + scene.origin  # as they would be with z up
    (tmp_path / "clicks.csv").write_text(f"scene,point,x,y,z,class,object\nroom,7,{x},{y},{z},floor,-1\n")
    with pytest.raises(OtocError, match="point 7 of room lies .* m from x, y, z"):
        read_clicks(tmp_path / "clicks.csv", [scene])


def test_map_coordinates_with_y_up_come_back_exactly(tmp_path):
    points = y_up(POINTS) + MAP
    write_ascii(tmp_path / "room.ply", points)
    with pytest.warns(UserWarning, match="y seems to be up, across its floor"):
        scene = load(tmp_path)
    np.testing.assert_allclose(scene.coords, plain(tmp_path).coords, atol=2e-6)
    np.testing.assert_allclose(scene.in_file(scene.coords), points, atol=1e-6)
    labelled_ply.export_labels(tmp_path / "room.ply", TRUTH, None, CLASSES, tmp_path / "out.ply")
    vertices = PlyData.read(str(tmp_path / "out.ply"))["vertex"].data
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=1), points)


def in_millimetres(tmp_path):
    """With a wall, since a floor with boxes alone is no room by its height."""
    wall = np.stack(np.meshgrid(np.arange(0, 2.4, 0.04), [0.0], np.arange(0, 2.6, 0.04)), axis=-1).reshape(-1, 3)
    points = np.concatenate([POINTS, wall + POINTS.min(axis=0)]) * 1000
    colors = np.concatenate([COLORS, np.full(wall.shape, 90, np.uint8)])
    write_ascii(tmp_path / "room.ply", points, colors, FACES)
    return points, colors


def test_millimetres_are_scaled_and_come_out_as_millimetres(tmp_path):
    points, colors = in_millimetres(tmp_path)
    with pytest.warns(UserWarning, match="as a room is in mm: it is scaled to metres for the work"):
        scene = load(tmp_path)
    write_ascii(tmp_path / "plain" / "room.ply", points / 1000, colors, FACES)
    expected = load(tmp_path / "plain")
    np.testing.assert_allclose(scene.coords, expected.coords, atol=1e-6)
    np.testing.assert_array_equal(scene.supervoxels, expected.supervoxels)
    write_clicks(tmp_path / "clicks.csv", {"room": Clicks([7], [0], [-1])}, [scene])
    (row,) = rows_of(tmp_path / "clicks.csv")
    np.testing.assert_allclose(position(row), points[7], atol=1e-3)
    assert read_clicks(tmp_path / "clicks.csv", [scene])["room"].points.tolist() == [7]


def test_a_position_is_too_far_in_metres_whatever_the_unit(tmp_path):
    points, _ = in_millimetres(tmp_path)
    for away, far in ((40, False), (400, True)):  # mm: 4 cm and 40 cm
        x, y, z = points[50] + [0, 0, -away]
        (tmp_path / "positions.csv").write_text(f"scene,x,y,z,class\nroom,{x},{y},{z},floor\n")
        if far:
            with pytest.raises(OtocError, match="line 2: lies 400 mm from the nearest point"):
                snap_clicks(tmp_path, tmp_path / "positions.csv", tmp_path / "snapped.csv")
            with pytest.raises(OtocError, match="line 2: lies 400 m from"):
                snap_clicks(tmp_path, tmp_path / "positions.csv", tmp_path / "snapped.csv", unit="m")
        else:
            assert snap_clicks(tmp_path, tmp_path / "positions.csv", tmp_path / "snapped.csv") == 1


def test_parameters_decide_and_are_part_of_what_a_conversion_is(tmp_path):
    write_ascii(tmp_path / "data" / "room.ply", y_up(POINTS))
    more = {"dataset": "own", "data_root": str(tmp_path / "data"), "cache_root": str(tmp_path / "cache")}
    configs = [
        config_from(
            {
                "profile": "own",
                "experiment": "e",
                "own_classes": ["floor", "box"],
                "partition_minimum": 5,
                **more,
                **axes,
            }
        )
        for axes in ({"up_axis": "y", "unit": "m"}, {"up_axis": "z", "unit": "m"}, {"up_axis": "y", "unit": "cm"})
    ]
    assert len({cache.folder(config) for config in configs}) == 3
    scenes = [cache.open_scene(config, "room") for config in configs]
    np.testing.assert_allclose(scenes[0].in_file(scenes[0].coords), y_up(POINTS), atol=1e-6)
    assert scenes[1].axes is None
    np.testing.assert_allclose(np.ptp(scenes[0].coords, axis=0), np.ptp(POINTS, axis=0), atol=1e-5)
    np.testing.assert_allclose(np.ptp(scenes[2].coords, axis=0), np.ptp(POINTS, axis=0) / 100, atol=1e-6)
    np.testing.assert_allclose(scenes[2].in_file(scenes[2].coords), y_up(POINTS), atol=1e-4)


def test_what_no_room_is_in_metres_is_worked_with_once_its_unit_is_said(tmp_path, capsys):
    """It would be cut into thousands of tiles: neither a training nor a prediction starts, and the doctor says so."""
    write_ascii(tmp_path / "room.ply", POINTS * 1e6)
    names = {"profile": "own", "experiment": "e", "dataset": "own", "own_classes": list(CLASSES.names)}
    config = config_from({**names, "data_root": str(tmp_path)})
    says = "room.ply: is .* its unit is unclear, nothing is scaled; set unit, to m if these are metres"
    with pytest.raises(OtocError, match=says):
        own.read_scene(tmp_path, "room", config)
    with pytest.raises(OtocError, match=says):
        labeller_of(config).scene(tmp_path / "room.ply", "room")
    assert main(["doctor", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "error  room.ply  is " in said and "its unit is unclear" in said and "m: unclear" in said
    metres = replace(config, unit="m")
    assert np.ptp(own.read_scene(tmp_path, "room", replace(metres, partition_voxel=1e5)).coords) > 1e6
    assert labeller_of(replace(metres, partition_voxel=1e5)).scene(tmp_path / "room.ply", "room").num_points == len(
        POINTS
    )


def labeller_of(config):
    """Of a run that nothing is asked of but its classes."""
    return Labeller(SimpleNamespace(label_set=CLASSES), config, "point", {}, None)


def test_a_scene_is_saved_with_its_axes_and_is_another_one_without(tmp_path):
    write_y_up_glb(tmp_path)
    scene = load(tmp_path)
    scene.save(tmp_path / "room.safetensors")
    again = Scene.load(tmp_path / "room.safetensors")
    np.testing.assert_array_equal(again.axes, scene.axes)
    assert again.fingerprint == scene.fingerprint != plain(tmp_path).fingerprint


def test_balls_lie_in_the_axes_of_the_file(tmp_path):
    points = write_y_up_glb(tmp_path)
    scene = load(tmp_path)
    labels = TRUTH.astype(np.int16)
    arrays = {
        field: getattr(scene, field) for field in ("name", "coords", "colors", "supervoxels", "origin", "label_set")
    }
    turned = Scene(**arrays, labels=labels, instances=None, axes=scene.axes)
    upright = Scene(**arrays, labels=labels, instances=None)
    balls, same = cut_subclouds(turned, 0.7), cut_subclouds(upright, 0.7)
    np.testing.assert_allclose(balls.centres, y_up(same.centres), atol=1e-9)
    np.testing.assert_array_equal(balls.present, same.present)
    near = np.linalg.norm(points - balls.centres[3], axis=1) <= 0.7
    np.testing.assert_array_equal(balls.points(turned, 3), np.flatnonzero(near))
    statistics = [subcloud_statistics([one], {"room": cut}) for one, cut in ((turned, balls), (upright, same))]
    assert statistics[0] == pytest.approx(statistics[1])
    write_subclouds(tmp_path / "balls.csv", {"room": balls}, [turned])
    np.testing.assert_array_equal(read_subclouds(tmp_path / "balls.csv", [turned])["room"].centres, balls.centres)


# --- what a file says of its unit


@pytest.mark.parametrize(
    "record",
    [
        laspy.vlrs.known.WktCoordinateSystemVlr(
            'PROJCS["NAD83 / x",GEOGCS["NAD83",UNIT["degree",0.0174]],UNIT["US survey foot",0.3048006096012192]]'
        ),
        laspy.vlrs.known.WktCoordinateSystemVlr(
            'PROJCRS["x",CS[Cartesian,2],ANGLEUNIT["degree",0.01],LENGTHUNIT["foot",0.3048]]'
        ),
        "geotiff",
    ],
    ids=["WKT", "WKT 2", "GeoTIFF"],
)
def test_las_in_feet(tmp_path, record):
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales, header.offsets = [0.001] * 3, [0, 0, 0]
    if record == "geotiff":
        record = laspy.vlrs.known.GeoKeyDirectoryVlr()
        record.geo_keys[0].id, record.geo_keys[0].value_offset = 3076, 9003
        record.geo_keys_header.number_of_keys = 1
    header.vlrs.append(record)
    las = laspy.LasData(header)
    las.x, las.y, las.z = (POINTS / 0.3048).T
    las.red, las.green, las.blue = COLORS.T.astype(np.uint16) * 257
    las.write(str(tmp_path / "room.las"))
    with pytest.warns(UserWarning, match="is in ft by its own word: it is scaled to metres"):
        scene = load(tmp_path)
    np.testing.assert_allclose(np.ptp(scene.coords, axis=0), np.ptp(POINTS, axis=0), atol=1e-3)


def test_an_e57_is_in_metres_however_large(tmp_path):
    columns = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), np.ascontiguousarray(POINTS.T) * 1000, strict=True))
    (tmp_path / "room.e57").write_bytes(e57([{"columns": columns}]))
    with pytest.warns(UserWarning, match="spans 2362 m in m; set unit: mm"):
        scene = own.load_scene(tmp_path, "room", CLASSES, Partition(voxel=10, minimum=5))
    assert scene.axes is None


def test_files_that_a_scan_names_are_not_left_out_of_the_folder(tmp_path):
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "a.png").write_bytes(b"")
    (tmp_path / "room.mtl").write_text("newmtl a\nmap_Kd textures/a.png\n")
    (tmp_path / "other.mtl").write_text("")
    (tmp_path / "room.obj").write_text("mtllib room.mtl\nv 1 2 3\n")
    folder = own.list_folder(tmp_path)
    assert list(folder.scans) == ["room"]
    assert [path.name for path in folder.left_out] == ["other.mtl"]
