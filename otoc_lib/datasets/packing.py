"""Compact files of the bundled simulated rooms, and trees that they are unpacked to.

A packed room is an xz-compressed safetensors file of small integers: differences of neighbouring values, in byte
planes, which compress well.
"""

import json
import lzma
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside

T = TypeVar("T")


def planes(values: np.ndarray) -> np.ndarray:
    """Integers [N] or [N, C] as bytes [C, B, N], least significant plane first; signs folded into the lowest bit."""
    columns = np.atleast_2d(values.T).astype(np.int64)
    folded = np.where(columns < 0, -2 * columns - 1, 2 * columns).astype("<u4")
    count = max(1, (int(folded.max(initial=0)).bit_length() + 7) // 8)
    return np.ascontiguousarray(folded[:, :, None].view(np.uint8).transpose(0, 2, 1)[:, :count])


def whole(planes: np.ndarray) -> np.ndarray:
    """The inverse of ``planes``: int64 [N] for one column, [N, C] for more."""
    scale = (256 ** np.arange(planes.shape[1], dtype=np.int64))[None, :, None]
    folded = (planes.astype(np.int64) * scale).sum(axis=1)
    values = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    return values[0] if len(values) == 1 else values.T


def color_planes(colors: np.ndarray) -> np.ndarray:
    """Colours uint8 [N, 3] in steps of 4 as byte planes; red and blue follow green."""
    shades = colors.astype(np.int64) // 4
    shades[:, [0, 2]] -= shades[:, [1]]
    return planes(np.diff(shades, axis=0, prepend=0))


def whole_colors(planes: np.ndarray) -> np.ndarray:
    """The inverse of ``color_planes``."""
    shades = np.cumsum(whole(planes), axis=0)
    shades[:, [0, 2]] += shades[:, [1]]
    return (shades * 4).astype(np.uint8)


def write_packed(path: Path, arrays: dict[str, np.ndarray], header: dict[str, str]) -> None:
    with write_aside(path) as aside:
        aside.write_bytes(lzma.compress(safetensors.numpy.save(arrays, header), preset=9 | lzma.PRESET_EXTREME))


def read_packed(path: Path, form: str, build: Callable[[dict[str, np.ndarray], dict[str, str]], T]) -> T:
    """What ``build`` makes of the arrays and the header of a packed file whose header names the format ``form``.

    OtocError naming the file if it is missing, truncated or something else.
    """
    path = Path(path)
    try:
        data = lzma.decompress(path.read_bytes())
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if header["format"] != form:
            raise ValueError(f"format {header['format']!r}")
        return build(arrays, header)
    except FileNotFoundError as error:
        raise OtocError(f"{path}: no such file; is {path.parent} complete?") from error
    except (lzma.LZMAError, EOFError, safetensors.SafetensorError, KeyError, ValueError, IndexError) as error:
        raise OtocError(f"{path}: not a packed room or damaged ({error}); restore it from the repository") from error


@contextmanager
def new_tree(destination: Path, manifest: str, content: str) -> Iterator[Path | None]:
    """A folder to fill, which becomes ``destination`` when the block ends well; None if that is complete already.

    It is complete where its file ``manifest`` holds ``content``, and an older set of rooms where that
    holds something else: then it is replaced. A folder that holds anything else is refused with OtocError.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        if not (destination / manifest).is_file():
            raise OtocError(f"{destination}: holds something other than unpacked rooms; give a new or empty folder")
        if (destination / manifest).read_text(encoding="utf-8") == content:
            yield None
            return
    aside = destination.with_name(f".{destination.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        (aside / manifest).write_text(content, encoding="utf-8")
        if destination.exists():
            shutil.rmtree(destination)
        aside.rename(destination)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
