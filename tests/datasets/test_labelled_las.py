import struct
import warnings

import laspy
import numpy as np
import pytest
from laspy.vlrs.vlrlist import VLRList
from own_scan import CLASSES, COLORS, POINTS, TRUTH, write_ascii

from otoc_lib.datasets import labelled_las
from otoc_lib.datasets.las import extended_records, read_las
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


# A foot of a coordinate system, as WKT has it: the unit of length stands last.
WKT = 'PROJCS["a",GEOGCS["b",UNIT["degree",0.0174532925199433]],UNIT["US survey foot",0.304800609601219]]'


def with_records(path, records, kind=7, start_of_waveforms=None):
    """A file with records after its points, and the header's word where one of them begins."""
    las = laspy.read(write(path, kind, "1.4"))
    las.header.vlrs = VLRList([vlr for vlr in las.header.vlrs if vlr.user_id != "LASF_Projection"])
    las.header.global_encoding.wkt = True
    las.header.vlrs.append(laspy.VLR("a program", 3, "Laenge", b"z"))
    las.evlrs = VLRList(records)
    las.write(str(path))
    if start_of_waveforms is not None:
        data = bytearray(path.read_bytes())
        data[6] |= 2  # of the global encoding: waveforms are in this file
        data[227:235] = struct.pack("<Q", struct.unpack_from("<Q", data, 235)[0] + start_of_waveforms)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "other"), [("las", "laz"), ("laz", "las"), ("las", "las")])
def test_records_after_the_points_come_out_and_with_them_the_coordinate_system(tmp_path, suffix, other):
    records = [
        laspy.VLR("somebody", 7, "x", bytes(range(256)) * 400),  # longer than a record before the points may be
        laspy.vlrs.known.WktCoordinateSystemVlr(WKT),
        laspy.VLR("Mueller", 9, "Hoehe", b""),
    ]
    path = with_records(tmp_path / f"a.{suffix}", records)
    data = path.read_bytes().replace(b"Mueller\0", b"M\xfcller\0\0").replace(b"Hoehe", b"H\xf6he\0")
    data = data.replace(b"Laenge", b"L\xe4nge\0")  # before the points
    path.write_bytes(data)
    found = read_las(path)
    assert (found.unit, found.told) == ("ft", ())  # the system is there alone
    labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / f"out.{other}")
    after = laspy.open(tmp_path / f"out.{other}", read_evlrs=False).header
    before = laspy.open(path, read_evlrs=False).header
    copied = list(extended_records(tmp_path / f"out.{other}", after))
    assert copied == list(extended_records(path, before)) and len(copied) == 3
    assert (
        copied[0].data
        == b"\0\0" + b"somebody".ljust(16, b"\0") + struct.pack("<HQ32s", 7, 102400, b"x") + bytes(range(256)) * 400
    )
    assert copied[1].data[60:].rstrip(b"\0") == WKT.encode() and (copied[2].user, copied[2].number) == (
        "M\u00fcller",
        9,
    )
    assert [vlr.description for vlr in after.vlrs if vlr.record_id == 3] == [b"L\xe4nge"]
    assert read_las(tmp_path / f"out.{other}").unit == "ft" and after.global_encoding.wkt
    with laspy.open(tmp_path / f"out.{other}", read_evlrs=False) as las, laspy.open(path, read_evlrs=False) as scan:
        whole, points = las.read_points(-1), scan.read_points(-1)
    np.testing.assert_array_equal(whole.array["X"], points.array["X"])
    np.testing.assert_array_equal(whole["label"], LABELS)


def test_the_header_says_where_the_waveforms_are_now(tmp_path):
    records = [laspy.VLR("somebody", 7, "x", b"y" * 100), laspy.VLR("LASF_Spec", 65535, "", b"waves")]
    path = with_records(tmp_path / "a.las", records, kind=9, start_of_waveforms=60 + 100)
    labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")
    after, data = laspy.read(tmp_path / "out.las").header, (tmp_path / "out.las").read_bytes()
    start = after.start_of_waveform_data_packet_record
    assert after.global_encoding.waveform_data_packets_internal and data[start + 2 : start + 11] == b"LASF_Spec"
    assert data[start + 60 :] == b"waves"


def test_waveforms_without_such_a_record_are_left_out_and_that_is_told(tmp_path):
    path = write(tmp_path / "a.las", 3, "1.3")
    data = bytearray(path.read_bytes())
    data[6] |= 2
    data[227:235] = struct.pack("<Q", len(data))
    path.write_bytes(data + struct.pack("<2x16sHQ32s", b"LASF_Spec", 65535, 5, b"") + b"waves")
    with pytest.warns(UserWarning, match="a.las: the waveforms after its points are left out"):
        labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")
    after = laspy.read(tmp_path / "out.las").header
    assert after.start_of_waveform_data_packet_record == 0
    assert not after.global_encoding.waveform_data_packets_internal


def test_damaged_records_after_the_points_are_left_out_and_that_is_told(tmp_path):
    path = with_records(tmp_path / "a.las", [laspy.vlrs.known.WktCoordinateSystemVlr(WKT)])
    path.write_bytes(path.read_bytes()[:-1])
    found = read_las(path)
    assert found.unit == "m" and len(found.told) == 1 and "are damaged and left out" in found.told[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")
    after = laspy.read(tmp_path / "out.las")
    assert not after.evlrs and after.label.tolist() == LABELS.tolist()


def test_what_was_in_the_order_of_an_octree_is_plain_now(tmp_path):
    """A cloud-optimized file says where each of its cells lies, which is true of its own bytes alone."""
    path = with_records(tmp_path / "a.laz", [laspy.VLR("cope", 1000, "", b"cells"), laspy.VLR("a", 1, "", b"b")])
    las = laspy.read(path)
    las.header.vlrs.append(laspy.VLR("cope", 1, "", bytes(160)))
    las.write(str(path))
    path.write_bytes(path.read_bytes().replace(b"cope", b"copc"))  # laspy writes none
    with pytest.warns(UserWarning, match="a.laz: what is written is no cloud-optimized file"):
        labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.laz")
    after = laspy.read(tmp_path / "out.laz")
    assert [vlr.user_id for vlr in after.evlrs] == ["a"] and not after.header.vlrs.get_by_id("copc")
    assert not after.header.vlrs.get_by_id("cope")
    np.testing.assert_array_equal(after.xyz, las.xyz)


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


def test_a_version_that_is_none_is_refused_by_file(tmp_path):
    """As one changed byte makes it; such files can be read."""
    path = write(tmp_path / "a.las", 7, "1.4")
    data = bytearray(path.read_bytes())
    data[24] = 89
    path.write_bytes(data)
    with pytest.raises(OtocError, match="a.las: cannot be written as LAS .89.4.; write --format ply"):
        labelled_las.export_labels(path, LABELS, CONFIDENCE, CLASSES, tmp_path / "out.las")
    assert not (tmp_path / "out.las").exists()
