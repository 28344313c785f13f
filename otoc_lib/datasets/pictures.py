"""Pictures that a mesh is painted with, sampled at its vertices, and the files that a scan may name.

A scan names files by text of its own making: what does not lie in its folder is not read, whatever it says.
"""

import io
import warnings
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np
from PIL import Image

from otoc_lib.errors import OtocError, shown
from otoc_lib.outside import opening

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF")  # no others: Pillow runs programs for some
MOST_BYTES = 1 << 30  # of the file of a picture

REPEAT, CLAMP, MIRROR = 10497, 33071, 33648  # how glTF names what lies beyond a picture's edge


def file_beside(folder: Path, name: str) -> Path | None:
    """The file that a scan in a folder names, in that folder or below it; None where there is none.

    Where the name leads elsewhere (an absolute path, ``..``, a link), the file of the same bare name beside the scan is
    taken, as mesh programs write the paths of the machine that they ran on; and one that differs by capitals alone, as
    some machines know no difference. Nothing is ever fetched from a network.
    """
    parts = unquote(name).replace("\\", "/")
    for candidate in (parts, parts.rsplit("/", 1)[-1]):
        if not candidate or "\0" in candidate or "://" in candidate or candidate.startswith("/"):
            continue
        try:
            file = (folder / candidate).resolve()
            file = file if file.is_file() else _in_other_capitals(file).resolve()
            if file.is_relative_to(folder.resolve()) and file.is_file():
                return file
        except (OSError, RuntimeError, ValueError):  # too long, a link to itself
            continue
    return None


def _in_other_capitals(file: Path) -> Path:
    """The one file beside it whose name differs by capitals alone; itself where there is none, or several."""
    alike = [other for other in file.parent.iterdir() if other.name.casefold() == file.name.casefold()]
    return alike[0] if len(alike) == 1 else file


def read_picture(source: Path | bytes, name: str) -> np.ndarray:
    """Colours of a picture, uint8 [H, W, 3], its first row at the top.

    Args:
        source: its file, or what that holds.
        name: the file that errors name.
    """
    file: BinaryIO
    if isinstance(source, Path):
        with opening(source):
            size, file = source.stat().st_size, source.open("rb")
    else:
        size, file = len(source), io.BytesIO(source)
    with file:
        if size > MOST_BYTES:
            raise OtocError(
                f"{name}: a picture of more than {MOST_BYTES >> 30} GiB; export the scan with a smaller one"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of large pictures: Pillow refuses what is twice as large
                with Image.open(file, formats=KINDS) as picture:
                    return np.asarray(picture.convert("RGB"))
        except Image.DecompressionBombError as error:
            assert Image.MAX_IMAGE_PIXELS is not None  # else nothing is refused
            most = Image.MAX_IMAGE_PIXELS * 2 // 10**6
            raise OtocError(
                f"{name}: a picture of more than {most} million pixels; export the scan with a texture of at most "
                "8192 x 8192"
            ) from error
        except Exception as error:  # whatever Pillow meets in a damaged file
            raise OtocError(f"{name}: no picture, or damaged ({shown(str(error))}); export the scan again") from error


def sample(picture: np.ndarray, uv: np.ndarray, wrap: tuple[int, int] = (REPEAT, REPEAT)) -> np.ndarray:
    """Colours at some places of a picture, uint8 [K, 3]: of the pixel that each is in.

    Args:
        picture: uint8 [H, W, 3].
        uv: float [K, 2], (0, 0) the upper left corner of the picture, (1, 1) the lower right one.
        wrap: what lies beyond the edges, along u and v.
    """
    height, width = picture.shape[:2]
    column, row = (
        _pixel(uv[:, axis], size, mode) for axis, (size, mode) in enumerate(zip((width, height), wrap, strict=True))
    )
    return picture[row, column]


def _pixel(u: np.ndarray, size: int, mode: int) -> np.ndarray:
    u = np.nan_to_num(u, posinf=0.0, neginf=0.0)
    inside = (u >= 0) & (u <= 1)  # 1 is the last pixel, though a picture that repeats has its first one there
    if mode == MIRROR:
        u = 1 - np.abs(u % 2 - 1)
    elif mode != CLAMP:
        u = np.where(inside, u, u % 1)
    return np.clip(np.floor(u * size), 0, size - 1).astype(np.int64)
