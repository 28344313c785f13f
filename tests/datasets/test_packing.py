import lzma
import zlib

import numpy as np
import pytest
from memory import at_most

from otoc_lib.datasets.packing import MOST_UNPACKED, new_tree, planes, read_packed, whole, write_packed
from otoc_lib.errors import OtocError


def read(path):
    return read_packed(path, "a-form", lambda arrays, header: (arrays, header["name"]))


def write(path, data, **options):
    path.write_bytes(lzma.compress(data, **options))
    return path


def test_arrays_and_header_come_back(tmp_path):
    write_packed(tmp_path / "a", {"ids": np.arange(3)}, {"format": "a-form", "name": "room"})
    arrays, name = read(tmp_path / "a")
    assert arrays["ids"].tolist() == [0, 1, 2] and name == "room"


@pytest.mark.parametrize("columns", [1, 3])
def test_integers_come_back(columns):
    values = np.random.default_rng(0).integers(-(2**30), 2**30, (9, columns)).squeeze()
    np.testing.assert_array_equal(whole(planes(values), columns), values)


@pytest.mark.parametrize(
    "shape", [(3, 4), (3,), (1, 1, 4), (2, 1, 4), (3, 5, 4), (3, 0, 4), (0, 2**40, 0), (3, 2**40, 0)]
)
def test_planes_of_another_shape_are_refused(shape):
    with at_most(megabytes=1), pytest.raises(ValueError, match="3 columns in byte planes"):
        whole(np.empty(shape, np.uint8), 3)
    with pytest.raises(ValueError, match="uint16"):
        whole(np.zeros((3, 1, 4), np.uint16), 3)


def test_no_more_is_unpacked_than_a_room_takes(tmp_path):
    path = write(tmp_path / "a", bytes(4 * MOST_UNPACKED), preset=0)
    with at_most(megabytes=2.5 * MOST_UNPACKED / 1e6), pytest.raises(OtocError, match="larger than any room"):
        read(path)


def test_no_dictionary_is_allocated_that_no_room_needs(tmp_path):
    path = tmp_path / "a"
    write_packed(path, {"ids": np.arange(3)}, {"format": "a-form", "name": "room"})
    data = bytearray(path.read_bytes())
    assert data[16] == 28  # the size of the dictionary: 64 MiB
    data[16] = 40  # 4 GiB
    data[20:24] = zlib.crc32(data[12:20]).to_bytes(4, "little")
    path.write_bytes(data)
    with at_most(megabytes=1), pytest.raises(OtocError, match="Memory usage limit exceeded"):
        read(path)


def test_what_follows_a_room_is_refused(tmp_path):
    write_packed(tmp_path / "a", {"ids": np.arange(3)}, {"format": "a-form", "name": "room"})
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes() + b"more")
    with pytest.raises(OtocError, match="followed by something else"):
        read(tmp_path / "a")


def test_a_manifest_of_something_else_is_replaced(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "done").write_bytes(b"\xff\xfe")
    with new_tree(tmp_path / "tree", "done", "all") as tree:
        assert tree is not None
    assert (tmp_path / "tree" / "done").read_text() == "all"
