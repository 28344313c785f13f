"""Labels that a scan of one's own brings along, in a column of classes: names, or places in ``own_classes``."""

import warnings
from pathlib import Path

import numpy as np

from otoc_lib.datasets.point_files import Scan
from otoc_lib.datasets.scan_columns import plain_name
from otoc_lib.errors import OtocError, listed
from otoc_lib.labels import IGNORE, LabelSet

MOST_SHOWN = 8  # values in a message


def read_truth(path: Path, scan: Scan, label_set: LabelSet, column: str | None) -> np.ndarray | None:
    """Labels int16 [N], class index or IGNORE, or None where no column is asked for; one that is there is told.

    Args:
        path: of the scan; named in messages.
        column: ``own_truth``, the name of the column; None uses none. It may hold names of classes, in any case, or
            whole numbers, which count the classes from 0; what is negative, empty or NaN is no class.

    Raises:
        OtocError: the scan has no such column, or it holds a number that counts no class, or no name of one.
    """
    name, values = scan.class_name, scan.classes  # both or neither
    if column is None:
        if name is not None and values is not None:
            warnings.warn(
                f"{path}: has a class column {name!r} ({_shown(values)}), which is not used; set "
                f"own_truth: {plain_name(name)} to compare with it",
                stacklevel=3,
            )
        return None
    if name is None or values is None or plain_name(name) != plain_name(column):
        found = f"only {name!r}" if name is not None else "none at all"
        raise OtocError(f"{path}: own_truth asks for a class column {column!r}, and it has {found}; name its column so")
    if values.dtype.kind in "fiub":
        return _of_numbers(path, name, values, label_set)
    return _of_names(path, name, values, label_set)


def _of_numbers(path: Path, column: str, numbers: np.ndarray, label_set: LabelSet) -> np.ndarray:
    values = numbers.astype(np.float64)
    known = np.isfinite(values) & (values >= 0)
    wrong = known & ~((values < len(label_set)) & (values == np.rint(values)))
    if wrong.any():
        raise OtocError(
            f"{path}: class column {column!r} holds {_shown(numbers)}; own_classes lists "
            f"{len(label_set)} classes, counted from 0: list a name for each number"
        )
    if not known.any():
        raise OtocError(
            f"{path}: class column {column!r} holds {_shown(numbers)}, and no class at one point; own_classes are "
            f"counted from 0: {', '.join(label_set.names)}"
        )
    return np.where(known, values, IGNORE).astype(np.int16)


def _of_names(path: Path, column: str, texts: np.ndarray, label_set: LabelSet) -> np.ndarray:
    index = {_plain(name): i for i, name in enumerate(label_set.names)}
    names, which = np.unique(texts, return_inverse=True)
    labels = np.array([index.get(_plain(name), IGNORE) for name in names.tolist()], dtype=np.int16)
    others = names[(labels == IGNORE) & (names != "")]
    if (labels == IGNORE).all():
        raise OtocError(
            f"{path}: class column {column!r} holds {_shown(texts)}, none of own_classes: {', '.join(label_set.names)}"
        )
    if others.size:
        warnings.warn(
            f"{path}: {_shown(others)} in class column {column!r} is none of own_classes; these points have "
            "no true label",
            stacklevel=4,
        )
    return labels[which]


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _shown(values: np.ndarray) -> str:
    names = [f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in np.unique(values).tolist()]
    return listed((name or "nothing" for name in names), MOST_SHOWN)
