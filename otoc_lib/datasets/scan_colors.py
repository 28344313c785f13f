"""Colours of any scale as bytes, for every format."""

from pathlib import Path

import numpy as np

from otoc_lib.errors import OtocError

GREY = 128  # of scans without colours
DEGREE_0 = 0.28209479177387814  # of the spherical harmonics: 1 / (2 sqrt(pi))


def to_bytes(path: Path, colors: np.ndarray) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Colours [N, 3] as uint8, whatever their scale.

    Args:
        path: named in errors.
        colors: integers 0..255 or 0..65535, or floats 0..1, 0..255 or 0..65535.

    Returns:
        uint8 [N, 3]; the scale that was found, as a summary shows it; and sentences about what was changed.
    """
    low, high = colors.min(initial=0), colors.max(initial=0)
    if not (0 <= low and high <= 65535):  # NaN too
        raise OtocError(f"{path}: colours from {low} to {high}; they must be 0..255, 0..65535 or fractions 0..1")
    if high > 255:  # 16 bits: v * 256 and v * 257 both give v
        return (colors.astype(np.float64) // 256).astype(np.uint8), "16 bits, divided by 256", ()
    if high <= 1 and colors.dtype.kind == "f":
        return np.rint(colors * 255.0).astype(np.uint8), "fractions 0..1, times 255", ()
    return np.rint(colors).astype(np.uint8), "0..255, as they are", ()
