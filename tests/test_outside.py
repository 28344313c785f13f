import pytest

from otoc_lib.errors import OtocError
from otoc_lib.outside import opening, read_bytes, read_json, read_text


def test_what_the_system_refuses_names_the_file(tmp_path):
    with pytest.raises(OtocError, match="nothing: no such file; look elsewhere"):
        with opening(tmp_path / "nothing", missing="look elsewhere"):
            (tmp_path / "nothing").read_bytes()
    with pytest.raises(OtocError, match="secret: cannot be read .Permission denied.; make it a readable file"):
        with opening(tmp_path / "secret"):
            raise PermissionError(13, "Permission denied")
    for read in (read_bytes, read_text, read_json):
        with pytest.raises(OtocError, match=f"{tmp_path.name}: cannot be read .Is a directory"):
            read(tmp_path)
    with pytest.raises(KeyError):  # a fault of ours is not hidden
        with opening(tmp_path):
            raise KeyError("ours")


def test_text_may_begin_with_a_byte_order_mark_and_must_be_utf_8(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert read_text(tmp_path / "a") == "a\r\n"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):  # the first of them writes a mark
        mark = "" if encoding == "utf-16" else "\ufeff"
        (tmp_path / "a").write_bytes(f"{mark}caf\xe9\n".encode(encoding))
        assert read_text(tmp_path / "a") == "caf\xe9\n"
    (tmp_path / "a").write_bytes(b"caf\xe9")
    with pytest.raises(OtocError, match="a: not a text file in UTF-8"):
        read_text(tmp_path / "a")


def test_json_as_it_was_written(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, -1e3, "NaN", null], "b": 12345678901234567890}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, -1000.0, "NaN", None], "b": 12345678901234567890}


@pytest.mark.parametrize(
    "text", ["", "{", "[NaN]", "[Infinity]", "[-Infinity]", "[1e400]", "[" * 100_000, "9" * 5000, '"\t"', "[1] 2"]
)
def test_what_is_no_json_is_refused_by_file(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(OtocError, match="a.json: damaged or truncated JSON"):
        read_json(tmp_path / "a.json")
