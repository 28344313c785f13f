"""Compact files of the bundled simulated rooms, and trees that they are unpacked to.

A packed room is an xz-compressed safetensors file of small integers: differences of neighbouring values, in byte
planes, which compress well.
"""

import json
import lzma
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from otoc_lib.errors import OtocError
from otoc_lib.files import telling_full_disks, write_aside
from otoc_lib.lock import locked
from otoc_lib.outside import opening, read_json

T = TypeVar("T")

# Bytes that a packed room may unpack to, and that unpacking may need; ours take 1.3 MB and 66 MB.
MOST_UNPACKED, MOST_MEMORY = 1 << 26, 1 << 28


def planes(values: np.ndarray) -> np.ndarray:
    """Integers [N] or [N, C] as bytes [C, B, N], least significant plane first; signs folded into the lowest bit."""
    columns = np.atleast_2d(values.T).astype(np.int64)
    folded = np.where(columns < 0, -2 * columns - 1, 2 * columns).astype("<u4")
    count = max(1, (int(folded.max(initial=0)).bit_length() + 7) // 8)
    return np.ascontiguousarray(folded[:, :, None].view(np.uint8).transpose(0, 2, 1)[:, :count])


def whole(planes: np.ndarray, columns: int) -> np.ndarray:
    """The inverse of ``planes``: int64 [N] for one column, [N, C] for more; ValueError for anything else."""
    if planes.dtype != np.uint8 or planes.ndim != 3 or len(planes) != columns or not 1 <= planes.shape[1] <= 4:
        raise ValueError(f"{planes.dtype} {planes.shape} instead of {columns} columns in byte planes")
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
    shades = np.cumsum(whole(planes, 3), axis=0)
    shades[:, [0, 2]] += shades[:, [1]]
    return (shades * 4).astype(np.uint8)


def write_packed(path: Path, arrays: dict[str, np.ndarray], header: dict[str, str]) -> None:
    with write_aside(path) as aside:
        aside.write_bytes(lzma.compress(safetensors.numpy.save(arrays, header), preset=9 | lzma.PRESET_EXTREME))


def read_packed(path: Path, form: str, build: Callable[[dict[str, np.ndarray], dict[str, str]], T]) -> T:
    """What ``build`` makes of the arrays and the header of a packed file whose header names the format ``form``.

    OtocError naming the file if it is missing, truncated or something else, for which ``build`` raises ValueError.
    """
    path = Path(path)
    with opening(path, missing=f"is {path.parent} complete?"):
        packed = path.read_bytes()
    try:
        data = _decompress(packed)
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if header["format"] != form:
            raise ValueError(f"format {header['format']!r}")
        return build(arrays, header)
    except (lzma.LZMAError, safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise OtocError(f"{path}: not a packed room or damaged ({error}); restore it from the repository") from error


def read_packed_index(source: Path, expected: str, check: Callable[[dict], None]) -> dict:
    """index.json of a folder of packed rooms: {"seed", "rooms": {name: {counts...}}}.

    Args:
        expected: which folder it should be, for the error.
        check: gets the index, and raises ValueError, or what a value of another type does, if it lists no such rooms.
    """
    path = Path(source) / "index.json"
    if not os.path.exists(path):
        raise OtocError(f"{path}: no such file; give the folder of {expected} of a checkout")
    try:
        index = read_json(path)
        check(index)
        return index
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OtocError(f"{path}: not a list of rooms ({error}); restore it from the repository") from error


def _decompress(packed: bytes) -> bytes:
    """What one xz stream holds, if that is no more than a room."""
    unpacker = lzma.LZMADecompressor(memlimit=MOST_MEMORY)
    data = unpacker.decompress(packed, max_length=MOST_UNPACKED)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut off, followed by something else, or larger than any room")
    return data


@contextmanager
def new_tree(destination: Path, manifest: str, content: str) -> Iterator[Path | None]:
    """A folder to fill, which becomes ``destination`` when the block ends well; None if that is complete already.

    It is complete where its file ``manifest`` holds ``content``, and an older set of rooms where that
    holds something else: then it is replaced. A folder that holds anything else is refused with OtocError. Another
    process that fills it is waited for.
    """
    aside = destination.with_name(f".{destination.name}.part")
    lock = locked(destination.with_name(f".{destination.name}.lock"), str(destination))
    with telling_full_disks(destination), lock:
        if _is_tree(destination, manifest, content):
            yield None
            return
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


def _is_tree(destination: Path, manifest: str, content: str) -> bool:
    """Whether the folder is complete; OtocError if it holds something other than unpacked rooms."""
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return False
    if not (destination / manifest).is_file():
        raise OtocError(f"{destination}: holds something other than unpacked rooms; give a new or empty folder")
    with opening(destination / manifest):
        return (destination / manifest).read_bytes() == content.encode()
