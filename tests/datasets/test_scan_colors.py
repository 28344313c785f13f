"""The scale of colours follows their bulk, in every format that can hold the colours of the case."""

import warnings

import numpy as np
import pytest
from scan_files import FORMATS, table, write_scan

from otoc_lib.datasets.point_files import read_scan
from otoc_lib.datasets.scan_colors import GREY, of_splats, to_bytes, unpack
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = np.round(GENERATOR.uniform(0, 3, (300, 3)), 3)
BYTES = GENERATOR.integers(0, 256, (300, 3))
LAS = [name for name in FORMATS if ".la" in name]
PLY = [name for name in FORMATS if ".ply" in name]
TEXT = [name for name in FORMATS if name not in LAS + PLY]


def read(tmp_path, name, colors):
    """Colours as they are read, and the warnings about them."""
    path = write_scan(tmp_path / name, table(POINTS, colors))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scan = read_scan(path)
    assert [str(warning.message) for warning in told] == [f"{path}: {sentence}" for sentence in scan.told]
    return scan, " ".join(scan.told)


@pytest.mark.parametrize("stray", [256, 300, 1000, 65535])
@pytest.mark.parametrize("name", FORMATS)
def test_one_value_beyond_8_bits_darkens_nothing(tmp_path, name, stray):
    colors = BYTES.astype(np.uint16)
    colors[7, 1] = stray
    scan, told = read(tmp_path, name, colors)
    np.testing.assert_array_equal(scan.colors, np.minimum(colors, 255))
    assert f"1 point has a colour outside 0..255, first point 7 with {colors[7, 0]}, {stray}, {colors[7, 2]}" in told
    assert scan.color_scale == "0..255, as they are"


@pytest.mark.parametrize("factor", [256, 257])
@pytest.mark.parametrize("name", FORMATS)
def test_16_bits_are_divided(tmp_path, name, factor):
    scan, told = read(tmp_path, name, (BYTES * factor).astype(np.uint16))
    np.testing.assert_array_equal(scan.colors, BYTES)
    assert told == "" and scan.color_scale == "16 bits, divided by 256"


@pytest.mark.parametrize("name", FORMATS)
def test_8_bits_are_8_bits_in_any_column_and_however_dark(tmp_path, name):
    for colors in (BYTES, BYTES // 8, BYTES // 100):
        scan, told = read(tmp_path, name, colors.astype(np.uint16))
        np.testing.assert_array_equal(scan.colors, colors)
        assert told == ""


@pytest.mark.parametrize("largest", [872, 1023, 4095])
@pytest.mark.parametrize("name", FORMATS)
def test_colours_between_the_scales_are_refused(tmp_path, name, largest):
    path = write_scan(tmp_path / name, table(POINTS, GENERATOR.integers(0, largest + 1, (300, 3)).astype(np.uint16)))
    with pytest.raises(OtocError, match=f"{name}: colours up to .* have no clear scale: .*scale them to 0..255"):
        read_scan(path)


def test_a_dark_scan_of_16_bits_that_are_multiples_is_clear(tmp_path):
    scan, _ = read(tmp_path, "scan.las", ((BYTES // 32) * 256).astype(np.uint16))
    np.testing.assert_array_equal(scan.colors, BYTES // 32)


@pytest.mark.parametrize("stray", [1.02, 1.5, 200.0, -0.3])
@pytest.mark.parametrize("name", PLY + TEXT)
def test_one_fraction_beyond_1_darkens_nothing(tmp_path, name, stray):
    colors = (BYTES / 255).astype(np.float32)
    colors[7, 1] = stray
    scan, told = read(tmp_path, name, colors)
    expected = BYTES.copy()
    expected[7, 1] = 255 if stray > 0 else 0
    np.testing.assert_array_equal(scan.colors, expected)
    assert "1 point has a colour outside 0..1, first point 7" in told


@pytest.mark.parametrize("name", PLY + TEXT)
def test_overexposed_fractions_are_clipped(tmp_path, name):
    colors = BYTES / 255 * 1.3
    scan, told = read(tmp_path, name, colors)
    np.testing.assert_array_equal(scan.colors, np.rint(np.minimum(colors, 1) * 255))
    assert "points have colours outside 0..1" in told


@pytest.mark.parametrize("name", PLY + TEXT)
def test_a_rounding_error_is_no_stray(tmp_path, name):
    colors = np.maximum(BYTES, 1) / 255
    colors[7, 1], colors[8, 2] = -1e-7, 1 + 1e-7
    scan, told = read(tmp_path, name, colors)
    assert told == "" and scan.colors[7, 1] == 0 and scan.colors[8, 2] == 255


@pytest.mark.parametrize("name", PLY + TEXT)
def test_floats_0_to_255_with_fractions(tmp_path, name):
    colors = np.clip(BYTES + GENERATOR.uniform(-0.4, 0.4, BYTES.shape), 0, 255)
    colors[3, 0] = 255.3
    scan, told = read(tmp_path, name, colors)
    np.testing.assert_array_equal(scan.colors, np.minimum(np.rint(colors), 255))
    assert told == ""


@pytest.mark.parametrize("name", FORMATS)
def test_a_single_negative_colour_is_clipped_and_many_are_refused(tmp_path, name):
    if name in LAS:
        return  # holds none
    colors = BYTES.astype(np.int16)
    colors[7, 1] = -20
    scan, told = read(tmp_path, name, colors)
    assert scan.colors[7, 1] == 0 and "first point 7 with" in told
    path = write_scan(tmp_path / name, table(POINTS, (BYTES - 128).astype(np.int16)))
    with pytest.raises(OtocError, match=f"{name}: colours from -128 to 127.*If they are normals, name the columns"):
        read_scan(path)


def test_fractions_of_neither_scale_are_refused(tmp_path):
    with pytest.raises(
        OtocError, match="a: colours up to .* have no clear scale: too many are too large for fractions"
    ):
        to_bytes("a", BYTES / 255 * 5)
    with pytest.raises(OtocError, match="a: colours up to .* beyond 16 bits"):
        to_bytes("a", BYTES.astype(np.int64) * 10**6)


@pytest.mark.parametrize("name", PLY[1:])
def test_a_colour_that_is_no_number_is_refused_by_its_point(tmp_path, name):
    colors = BYTES / 255
    colors[[9, 20], 0] = np.nan, np.inf
    with pytest.raises(
        OtocError, match=f"{name}: 2 points have a colour that is NaN or infinite, the first is point 9"
    ):
        read_scan(write_scan(tmp_path / name, table(POINTS, colors)))


def test_two_points_are_scaled_as_many_are():
    np.testing.assert_array_equal(
        to_bytes("a", np.array([[0.0, 0.5, 1.0], [1, 1, 0]]))[0], [[0, 128, 255], [255, 255, 0]]
    )
    np.testing.assert_array_equal(to_bytes("a", np.array([[0.0, 1, 2], [3, 4, 5]]))[0], [[0, 1, 2], [3, 4, 5]])


def test_black_is_no_colour(tmp_path):
    for name in FORMATS:
        scan, told = read(tmp_path, name, np.zeros((300, 3), dtype=np.uint16))
        assert (scan.colors == GREY).all() and "has no colours" in told


# --- colours in other words


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int64, np.float64])
def test_packed_colours_of_any_type(dtype):
    packed = (BYTES[:, 0] << 16 | BYTES[:, 1] << 8 | BYTES[:, 2]).astype(dtype)
    np.testing.assert_array_equal(unpack("a", packed), BYTES)


@pytest.mark.parametrize("alpha", [0, 255])
def test_packed_colours_as_pcl_writes_them(alpha):
    packed = (alpha << 24 | BYTES[:, 0] << 16 | BYTES[:, 1] << 8 | BYTES[:, 2]).astype(np.uint32)
    np.testing.assert_array_equal(unpack("a", packed), BYTES)
    np.testing.assert_array_equal(unpack("a", packed.view(np.float32)), BYTES)
    np.testing.assert_array_equal(unpack("a", packed.astype(">u4").view(">f4")), BYTES)
    np.testing.assert_array_equal(unpack("a", packed.view(np.int32)), BYTES)


def test_bits_that_text_has_lost_are_refused():
    with pytest.raises(OtocError, match="a: its packed colours are written as NaN"):
        unpack("a", np.array([1e-39, np.nan]))


@pytest.mark.parametrize("kind", ["rgb", "rgba", "RGB", "scalar_rgb"])
@pytest.mark.parametrize("name", PLY + TEXT)
def test_a_packed_column_is_the_colour(tmp_path, name, kind):
    packed = (BYTES[:, 0] << 16 | BYTES[:, 1] << 8 | BYTES[:, 2]).astype(np.int32)
    scan = read_scan(write_scan(tmp_path / name, table(POINTS) | {kind: packed}))
    np.testing.assert_array_equal(scan.colors, BYTES)
    assert scan.color_scale == f"unpacked from {kind}, as 0xRRGGBB"


@pytest.mark.parametrize("name", PLY + TEXT)
def test_splats_have_the_colours_of_their_first_harmonics(tmp_path, name):
    harmonics = GENERATOR.normal(0, 1.5, (300, 3))
    harmonics[0] = 0, 1, -9
    columns = table(POINTS) | {f"f_dc_{i}": harmonics[:, i] for i in range(3)} | {"opacity": harmonics[:, 0]}
    with pytest.warns(UserWarning, match="Gaussian splats"):
        scan = read_scan(write_scan(tmp_path / name, columns))
    np.testing.assert_array_equal(scan.colors[0], [128, 199, 0])  # 127.5 rounds to even, 255 * (0.5 + 0.2821)
    np.testing.assert_array_equal(scan.colors, of_splats("a", harmonics))
    assert scan.left_out == ("opacity",)


def test_splats_without_a_colour_are_refused():
    with pytest.raises(OtocError, match="a: 1 points have a colour that is NaN or infinite, the first is point 2"):
        of_splats("a", np.array([[0, 0, 0], [1, 1, 1], [0, np.nan, 0]]))


@pytest.mark.parametrize("prefix", ["", "diffuse_", "Diffuse_", "scan_"])
@pytest.mark.parametrize("name", PLY + TEXT)
def test_channels_under_longer_names(tmp_path, name, prefix):
    channels = {
        f"{prefix}{channel}": BYTES[:, i].astype(np.uint8) for i, channel in enumerate(("red", "green", "blue"))
    }
    scan = read_scan(write_scan(tmp_path / name, table(POINTS) | channels))
    np.testing.assert_array_equal(scan.colors, BYTES)
    assert scan.told == ()
