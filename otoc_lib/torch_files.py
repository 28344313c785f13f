"""Files of torch.save from outside, which are pickles: tensors, arrays and numbers are read, nothing is executed."""

import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoc_lib.errors import OtocError
from otoc_lib.outside import read_bytes

# What a number in a file that holds fewer bytes may count: no scan has so many vertices, no training so many steps.
MOST_COUNTED = 1 << 24
TORCH_NUMBER = 0x1950A86A20F9469CFC6C  # with which older files of torch.save begin
SAFE = (2, 3)  # protocols of pickle that torch reads without running anything


def load_torch(path: Path, kind: str, cure: str) -> object:
    """What torch.save wrote, on the CPU: dicts, lists, text, numbers and tensors; an array of NumPy as ``values``.

    A tensor may name more numbers than the file holds, one again and again: look before you copy.

    Raises OtocError, which says that the file is not ``kind``, and ``cure``, where it is damaged or not safe to load;
    and how to save it again, where another protocol of pickle wrote it.
    """
    data = read_bytes(path)
    try:
        _check_pickles(data)
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise nearly anything
        if told := _foreign(data):
            what, load = told
            raise OtocError(
                f"{path}: {what}, which cannot be read without running what it says. If you trust it, save it again in "
                f"Python: import pickle, torch; torch.save({load}, 'again')"
            ) from error
        raise OtocError(f"{path}: not {kind}, damaged, or not safe to load ({type(error).__name__}); {cure}") from error


def _foreign(data: bytes) -> tuple[str, str] | None:
    """What a whole pickle is that torch's own safe reading does not know, and how Python loads it; None for others."""
    try:
        pickled, by_torch = data, False
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                pickled = archive.read(next(name for name in archive.namelist() if name.endswith(".pkl")))
            by_torch = True
        codes = [(code.name, value) for code, value, _ in pickletools.genops(io.BytesIO(pickled))]
    except Exception:  # no pickle, or not a whole one
        return None
    by_torch = by_torch or TORCH_NUMBER in [value for _, value in codes]
    protocol = codes[0][1] if codes[0][0] == "PROTO" else "0 or 1"
    if by_torch:
        written = f"written by torch.save with protocol {protocol} of pickle"
        return None if protocol in SAFE else (written, "torch.load('file', weights_only=False)")
    return f"a plain pickle of protocol {protocol}, and not written by torch.save", "pickle.load(open('file', 'rb'))"


def _check_pickles(data: bytes) -> None:
    """Raise ValueError for what torch would load but numbers do not need, and may allocate by a mere number.

    That is any global but ``GLOBALS``, such as bytearray, and numbers beyond both the file's size and MOST_COUNTED.
    """
    pickles = [(data, range(5))]  # torch's older files begin with five: a magic number first, the content fourth
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("compressed")
            pickles = [(archive.read(name), range(1, 2)) for name in archive.namelist() if name.endswith(".pkl")]
    for pickled, numbers in pickles:
        stream = io.BytesIO(pickled)
        for number in numbers:
            for opcode, value, _ in pickletools.genops(stream):
                if "GLOBAL" in opcode.name and value not in GLOBALS:
                    raise ValueError(f"names {value}")
                if number > 0 and isinstance(value, int) and value > max(len(data), MOST_COUNTED):
                    raise ValueError(f"holds the number {value}")


class _Kind:
    """Stands in for numpy.dtype in a pickle."""

    def __init__(self, code: str, *rest: object):
        if code not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f8"):  # an empty array is of floats
            raise ValueError(f"numbers of the type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for numpy.ndarray in a pickle: its ``values`` [K] are as many as there are bytes for."""

    values = np.empty(0)

    def __init__(self, *rest: object):
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, _, data = state
        self.values = np.frombuffer(data, kind.dtype).reshape(shape)


def _scalar(kind: _Kind, data: bytes) -> np.generic:
    return np.frombuffer(data, kind.dtype)[0]


def _no_bytes() -> bytes:
    return b""


# What a file may name, as pickles spell it, and what is called where torch does not load it by itself. Older files use
# numpy's older names.
MULTIARRAY = ("numpy._core.multiarray", "numpy.core.multiarray")
STORAGES = (f"torch {kind}Storage" for kind in ("Byte", "Char", "Short", "Int", "Long", "Half", "Float", "Double"))
GLOBALS = {
    *("collections OrderedDict", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", *STORAGES),
    *("numpy ndarray", "numpy dtype", "_codecs encode", "__builtin__ bytes", "builtins bytes"),
    *(f"{module} {name}" for module in MULTIARRAY for name in ("_reconstruct", "scalar")),
}
STAND_INS: list[Any] = [
    *((_Array, "numpy.ndarray"), (_Kind, "numpy.dtype"), (_no_bytes, "builtins.bytes")),
    *((_Array, f"{module}._reconstruct") for module in MULTIARRAY),
    *((_scalar, f"{module}.scalar") for module in MULTIARRAY),
]
