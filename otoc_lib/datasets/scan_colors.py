"""Colours of any scale as bytes, for every format: the scale follows the bulk of the values, never a single one."""

from pathlib import Path

import numpy as np

from otoc_lib.errors import OtocError

GREY = 128  # of scans without colours
DEGREE_0 = (
    0.28209479177387814  # of the spherical harmonics: 1 / (2 sqrt(pi)) [Kerbl et al. 2023, 3D Gaussian splatting]
)

SCALES = {1: "fractions 0..1, times 255", 255: "0..255, as they are", 65535: "16 bits, divided by 256"}
SAMPLE = 20_000  # points that show the scale
REACH = {1: 2, 255: 260, 65535: 66_000}  # what the bulk of a scale may reach: fractions may be overexposed
DARKEST = 1 / 16  # of a scale: no scan whose bulk stays below shows by itself that it has this scale


def to_bytes(path: Path, colors: np.ndarray) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Colours [N, 3] as uint8, whatever their scale.

    Args:
        path: named in errors.
        colors: bytes as they are, or other integers or floats on a scale of 0..1, 0..255 or 0..65535.

    Returns:
        uint8 [N, 3]; the scale that was found, as a summary shows it; and sentences about values that were clipped.

    Raises:
        OtocError: a colour is no number, many are negative, or no scale fits the bulk of them.
    """
    if colors.dtype == np.uint8:
        return np.ascontiguousarray(colors), SCALES[255], ()
    _check_finite(path, colors)
    scale = _scale(path, colors)
    half = scale / 255 / 2
    told: tuple[str, ...] = ()
    if colors.min() < -half or colors.max() > scale + half:
        outside = np.flatnonzero(((colors < -half) | (colors > scale + half)).any(axis=1))
        shown = ", ".join(f"{value:g}" for value in colors[outside[0]].tolist())
        which = "1 point has a colour" if outside.size == 1 else f"{outside.size} points have colours"
        told = (f"{which} outside 0..{scale}, first point {outside[0]} with {shown}; clipped",)
        colors = np.clip(colors, 0, scale)
    if scale == 65535:  # v * 256 and v * 257 both give v
        return (colors // 256).astype(np.uint8), SCALES[scale], told
    scaled = np.rint(colors * np.float64(255) if scale == 1 else colors)
    return np.clip(scaled, 0, 255).astype(np.uint8), SCALES[scale], told


def unpack(path: Path, packed: np.ndarray) -> np.ndarray:
    """Colours packed in one number each, [N], 0xRRGGBB below whatever else, as uint8 [N, 3].

    Floats hold the whole number, or its bits, as PCL writes them: as floats these are tiny, huge or NaN.
    """
    if packed.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            if (packed == np.rint(packed)).all() and (np.abs(packed) < 2.0**32).all():
                packed = packed.astype(np.int64)
            elif packed.dtype.itemsize == 4 or np.isfinite(packed).all():
                packed = packed.astype(np.float32).view(np.uint32)
            else:
                raise OtocError(f"{path}: its packed colours are written as NaN; export them as red, green and blue")
    packed = packed.astype(np.int64)
    return np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)


def of_splats(path: Path, harmonics: np.ndarray) -> np.ndarray:
    """Colours, uint8 [N, 3], of Gaussian splats from the first of their spherical harmonics, float [N, 3]."""
    _check_finite(path, harmonics)
    return np.rint(np.clip(0.5 + DEGREE_0 * harmonics.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def _check_finite(path: Path, colors: np.ndarray) -> None:
    if colors.dtype.kind == "f" and not np.isfinite(colors).all():
        bad = np.flatnonzero(~np.isfinite(colors).all(axis=1))
        raise OtocError(
            f"{path}: {bad.size} points have a colour that is NaN or infinite, the first is point {bad[0]}; give them "
            "a colour, or export the scan without colours"
        )


def _scale(path: Path, colors: np.ndarray) -> int:
    """The largest value of the scale, 1, 255 or 65535, that the bulk of the values, [N, 3] and finite, shows."""
    sample = colors[:: max(1, len(colors) // SAMPLE)]
    lit = sample[sample != 0]  # black is where there is no colour, too
    few = max(lit.size // 100, min(lit.size // 6, 3))
    bulk = float(np.partition(lit, lit.size - 1 - few)[lit.size - 1 - few]) if lit.size else 0.0
    is_float = colors.dtype.kind == "f"
    whole = not is_float or bool((lit == np.rint(lit)).all())
    scale = next((scale for scale in SCALES if bulk <= REACH[scale] and (scale > 1 or is_float)), None)
    if scale == 1 and whole and colors.max() > 1:  # the dark 1s of bytes
        scale = 255
    advice = "scale them to 0..255, or export them again with 8 bits"
    if scale is None:
        raise OtocError(f"{path}: colours up to {bulk:g}, beyond 16 bits (0..65535); {advice}")
    if (lit < -scale / 255 / 2).sum() > few:
        raise OtocError(
            f"{path}: colours from {colors.min():g} to {colors.max():g}; they must be 0..255, 0..65535 or fractions "
            "0..1. If they are normals, name the columns nx, ny and nz"
        )
    multiples = whole and any((lit % factor == 0).all() for factor in (256, 257))
    known = scale == 1 or (scale == 255 and whole) or (scale == 65535 and multiples)
    if not known and bulk < DARKEST * scale:
        smaller = {255: "fractions 0..1", 65535: "0..255"}[scale]
        raise OtocError(
            f"{path}: colours up to {bulk:g} have no clear scale: too many are too large for {smaller}, and as "
            f"0..{scale} the scan would be nearly black; {advice}"
        )
    return scale
