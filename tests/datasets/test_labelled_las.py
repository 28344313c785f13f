import laspy
import numpy as np
import pytest
from own_scan import CLASSES, COLORS, POINTS, TRUTH, write_ascii

from otoc_lib.datasets import labelled_las
from otoc_lib.datasets.las import read_las
from otoc_lib.errors import OtocError

UTM = np.array([389_512.25, 5_819_123.75, 34.5])
CONFIDENCE = np.linspace(0, 1, len(POINTS)).astype(np.float32)
LABELS = TRUTH.astype(np.int16)


def write(path, kind, version, scale=0.001):
    """A scan with what else such a file may hold."""
    header = laspy.LasHeader(point_format=kind, version=version)
    header.scales, header.offsets = np.full(3, scale), np.floor(UTM)
    header.vlrs.append(laspy.VLR("LASF_Projection", 2112, "crs", b"PROJCS[...]"))
    header.add_extra_dim(laspy.ExtraBytesParams("plane", "u2", "of a program"))
    header.add_extra_dim(laspy.ExtraBytesParams("range", "i4", "", offsets=np.array([0.5]), scales=np.array([0.003])))
    header.add_extra_dim(laspy.ExtraBytesParams("normal", "3f4"))
    las = laspy.LasData(header)
    las.range = np.arange(len(POINTS)) * 0.003 + 0.5
    las.normal = np.arange(3 * len(POINTS)).reshape(-1, 3)
    las.x, las.y, las.z = (POINTS + UTM).T
    las.intensity = np.arange(len(POINTS)) % 65536
    las.classification = np.arange(len(POINTS)) % 7
    las.return_number = np.arange(len(POINTS)) % 3
    las.plane = np.arange(len(POINTS)) % 11
    if "gps_time" in las.point_format.dimension_names:
        las.gps_time = np.linspace(0, 1e9, len(POINTS))
    if "red" in las.point_format.dimension_names:
        las.red, las.green, las.blue = COLORS.T.astype(np.uint16) * 257
    las.write(str(path))
    return path


@pytest.mark.filterwarnings("ignore:.*has no colours")
@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize(
    ("kind", "version"), [(0, "1.2"), (1, "1.2"), (2, "1.2"), (3, "1.3"), (6, "1.4"), (7, "1.4"), (8, "1.4")]
)
def test_what_a_las_file_holds_comes_out_with_labels_beside_it(tmp_path, monkeypatch, kind, version, suffix):
    monkeypatch.setattr(labelled_las, "AT_ONCE", 1000)  # in several parts
    path, out = write(tmp_path / f"a.{suffix}", kind, version), tmp_path / "out" / f"a.{suffix}"
    labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, out, ["a line"])
    before, after = laspy.read(path), laspy.read(out)
    assert after.header.are_points_compressed == (suffix == "laz") and str(after.header.version) == version
    for name in before.point_format.dimension_names:
        if name not in ("red", "green", "blue"):
            np.testing.assert_array_equal(np.asarray(after[name]), np.asarray(before[name]), err_msg=name)
    descriptions = [dim.description for dim in before.point_format.extra_dimensions]
    assert [dim.description for dim in after.point_format.extra_dimensions][:3] == descriptions
    np.testing.assert_array_equal(after.xyz, before.xyz)  # to the bit: the same whole numbers, scale and offset
    np.testing.assert_array_equal(after.label, LABELS)
    np.testing.assert_array_equal(after.confidence, CONFIDENCE)
    has_colors = "red" in before.point_format.dimension_names
    for place, channel in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(after[channel], CLASSES.paint(LABELS)[:, place].astype(np.uint16) * 257)
        np.testing.assert_array_equal(after[f"scan_{channel}"], COLORS[:, place] if has_colors else 128)
    (system,) = [vlr for vlr in after.header.vlrs if vlr.record_id == 2112]
    assert system.string == "PROJCS[...]"
    (text,) = [vlr.record_data.decode() for vlr in after.header.vlrs if vlr.user_id == "otoc"]
    assert text.splitlines() == ["a line", "label 0 is floor", "label 1 is box", "label 2 is crate"]


def test_a_scan_of_another_format_becomes_las_to_a_tenth_of_a_millimetre(tmp_path):
    path = write_ascii(tmp_path / "room.ply", POINTS + UTM)
    labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "room.las")
    columns = read_las(tmp_path / "room.las").columns
    points, colors = (np.stack([columns[n] for n in names], axis=1) for names in ("xyz", ("red", "green", "blue")))
    np.testing.assert_allclose(points, POINTS + UTM, rtol=0, atol=0.5e-4 + 1e-9)
    np.testing.assert_array_equal(colors // 257, CLASSES.paint(LABELS))
    assert laspy.read(tmp_path / "room.las").label.tolist() == LABELS.tolist()


def test_dimensions_of_the_same_name_give_way_and_that_is_told(tmp_path):
    path = write(tmp_path / "a.las", 7, "1.4")
    labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "b.las")
    with pytest.warns(UserWarning, match="b.las: its dimensions label, confidence, scan_red, .* give way"):
        labelled_las.export_labels(tmp_path / "b.las", LABELS[::-1], CONFIDENCE, CLASSES, tmp_path / "c.las")
    las = laspy.read(tmp_path / "c.las")
    np.testing.assert_array_equal(las.label, LABELS[::-1])
    assert list(las.point_format.extra_dimension_names) == [
        "plane",
        "range",
        "normal",
        *(name for name, _ in labelled_las.EXTRA),
    ]
    assert sum(vlr.user_id == "otoc" for vlr in las.header.vlrs) == 1


def test_labels_of_another_scan_leave_no_file(tmp_path):
    path = write(tmp_path / "a.las", 7, "1.4")
    with pytest.raises(OtocError, match="a.las: has 3600 points, but there are labels for 3599"):
        labelled_las.export_labels(path, LABELS[1:], CONFIDENCE[1:], CLASSES, tmp_path / "out.las")
    assert not (tmp_path / "out.las").exists()


def test_extended_records_are_left_out_and_that_is_told(tmp_path):
    path = write(tmp_path / "a.las", 7, "1.4")
    las = laspy.read(path)
    las.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("somebody", 7, "x", b"y" * 100)])
    las.write(str(path))
    with pytest.warns(UserWarning, match="a.las: its 1 extended records are left out"):
        labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")
    after = laspy.read(tmp_path / "out.las")
    assert not after.evlrs and after.label.tolist() == LABELS.tolist()


def test_a_scan_that_las_cannot_span(tmp_path):
    points = POINTS.copy()
    points[0] = 3e8
    path = write_ascii(tmp_path / "room.ply", points)
    with pytest.raises(OtocError, match="room.ply: spans .*too much for LAS"):
        labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")


@pytest.mark.filterwarnings("ignore:.*has no colours")
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("kind", [0, 1])
def test_files_of_a_version_before_colours_become_the_first_one_with(tmp_path, minor, kind):
    path = write(tmp_path / "a.las", kind, "1.2")
    data = bytearray(path.read_bytes())
    data[25] = minor
    path.write_bytes(data)
    labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")
    after = laspy.read(tmp_path / "out.las")
    assert str(after.header.version) == "1.2" and after.point_format.id == kind + 2
    np.testing.assert_array_equal(after.xyz, laspy.read(path).xyz)
    np.testing.assert_array_equal(after.intensity, laspy.read(path).intensity)
