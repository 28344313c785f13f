import resource
import struct
import subprocess
import sys

import laspy
import numpy as np
import pytest

from otoc_lib.datasets.las import read_las
from otoc_lib.errors import OtocError


def write(path, kind, version, points, extra=False):
    las = laspy.create(point_format=kind, file_version=version)
    if extra:
        las.add_extra_dim(laspy.ExtraBytesParams("confidence", "f4"))
    las.x, las.y, las.z = points.T
    if "red" in las.point_format.dimension_names:
        las.red = np.arange(len(points)) % 65536
    las.write(str(path))
    return path


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize(
    ("kind", "version", "extra"), [(0, "1.2", 0), (2, "1.2", 1), (6, "1.4", 0), (7, "1.4", 1), (8, "1.4", 0)]
)
def test_points_are_those_that_laspy_reads_at_once(tmp_path, monkeypatch, kind, version, extra, suffix):
    """In more than one chunk of the file (50 000 points) and of ours."""
    monkeypatch.setattr("otoc_lib.datasets.las.BYTES", 1_000_000)
    points = np.random.default_rng(0).uniform(0, 9, (120_000, 3))
    path = write(tmp_path / f"a.{suffix}", kind, version, points, extra)
    found = read_las(path).columns
    whole = laspy.read(path)
    np.testing.assert_array_equal(np.stack([found[axis] for axis in "xyz"], axis=1), whole.xyz)
    if kind in (2, 7, 8):
        np.testing.assert_array_equal(found["red"], whole.red)
    else:
        assert "red" not in found


READ = "import sys; from pathlib import Path; from otoc_lib.datasets.las import read_las; read_las(Path(sys.argv[1]))"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("layer", range(10))
def test_the_size_of_a_layer_is_not_believed(tmp_path, layer):
    """Where memory is short, lazrs aborts the process over it."""
    path = write(tmp_path / "a.laz", 7, "1.4", np.random.default_rng(0).uniform(0, 9, (100, 3)))
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 96)[0] + 8 + 36 + 4 + 4 * layer
    data[start : start + 4] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(data)
    with pytest.raises(OtocError, match="a.laz: damaged or truncated LAS"):
        read_las(path)
    if layer == 0:
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (7 << 29, 7 << 29))  # noqa: E731
        done = subprocess.run([sys.executable, "-c", READ, path], preexec_fn=limit, capture_output=True, text=True)
        assert done.returncode == 1 and "OtocError" in done.stderr


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize("start", [0, 2**63, 2**64 - 200])
def test_what_follows_the_points_is_not_believed(tmp_path, suffix, start):
    """A record there may claim any length, and the header any place."""
    path = write(tmp_path / f"a.{suffix}", 7, "1.4", np.ones((4, 3)))
    data = bytearray(path.read_bytes())
    data[235:247] = struct.pack("<QI", len(data), 1)
    path.write_bytes(data + struct.pack("<H16sHQ32s", 0, b"x", 1, 2**62, b""))
    if start:
        data[235:247] = struct.pack("<QI", start, 1)
        path.write_bytes(data)
        with pytest.raises(OtocError, match="damaged or truncated LAS"):
            read_las(path)
        return
    found = read_las(path)
    assert len(found.columns["x"]) == 4 and "damaged and left out" in found.told[0]


def test_a_scan_without_points(tmp_path):
    for suffix in ("las", "laz"):
        assert len(read_las(write(tmp_path / f"a.{suffix}", 7, "1.4", np.ones((0, 3)))).columns["x"]) == 0


def test_letters_that_las_has_not_are_named_as_that(tmp_path):
    las = laspy.create(point_format=6, file_version="1.4")
    las.add_extra_dim(laspy.ExtraBytesParams("height", "f4", "Hoehe"))
    las.x = las.y = las.z = np.arange(4.0)
    las.write(str(tmp_path / "a.las"))
    (tmp_path / "a.las").write_bytes((tmp_path / "a.las").read_bytes().replace(b"Hoehe", b"H\xf6he\0"))
    with pytest.raises(OtocError, match="a.las: its header names something in letters that LAS has not"):
        read_las(tmp_path / "a.las")
