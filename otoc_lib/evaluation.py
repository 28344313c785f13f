"""Confusion matrix, IoU per class and mIoU, by room and over all rooms, counted as the official scripts count.

ScanNet's evaluate_semantic_label.py, the authors' evaluate.py for both datasets and PointNet's eval_iou_accuracy.py for
S3DIS agree: points without a true class do not count, whatever is predicted there, and a class that is predicted and
that no point truly has gets 0. For a class that is neither those scripts stop with an error, since no official split
lacks one. Here it is left out of the mean, so that a single room or a part of a split has an mIoU too.
"""

from collections.abc import Mapping

import numpy as np

from otoc_lib.errors import OtocError, listed
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene

# Points counted at a time: the temporary arrays stay in the cache and out of memory.
CHUNK = 1 << 18


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Count points by true and predicted class.

    Args:
        truth: integers [N], 0..C-1 or IGNORE; ignored points are dropped.
        prediction: integers [N], 0..C-1 everywhere.
        num_classes: C.

    Returns:
        int64 [C, C], rows are true classes.

    Raises:
        OtocError: the lengths differ, or a value is out of range.
    """
    if truth.ndim != 1 or truth.shape != prediction.shape or not are_integers(truth, prediction):
        raise OtocError(
            f"truth ({truth.dtype} {truth.shape}) and prediction ({prediction.dtype} {prediction.shape}) must be "
            "integers, one a point each"
        )
    counts = np.zeros((num_classes + 1) * num_classes, dtype=np.int64)
    for start in range(0, len(truth), CHUNK):
        true, predicted = truth[start : start + CHUNK], prediction[start : start + CHUNK]
        if predicted.min() < 0 or predicted.max() >= num_classes:
            raise OtocError(f"prediction holds a class outside 0..{num_classes - 1}; predict a class for every point")
        rows = np.where(true == IGNORE, num_classes, true).astype(np.int64)  # ignored points fill an extra, last row
        if rows.min() < 0 or true.max() >= num_classes:
            raise OtocError(f"truth holds a class outside 0..{num_classes - 1} that is not IGNORE ({IGNORE})")
        counts += np.bincount(rows * num_classes + predicted.astype(np.int64), minlength=counts.size)
    return counts.reshape(num_classes + 1, num_classes)[:num_classes]


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of every class, float64 [C]; NaN for a class that no point has or is predicted to have.

    Args:
        confusion: [C, C], rows are true classes.
    """
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    union = true + predicted - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean IoU over the classes that some point truly has or is predicted to have, 0..1."""
    if not confusion.any():
        raise OtocError("no point has a true class, so there is no mIoU; evaluate rooms that have labels")
    return float(np.nanmean(iou(confusion)))


def room_confusion(scene: Scene, prediction: np.ndarray) -> np.ndarray:
    """Confusion matrix of one room, int64 [C, C]; prediction: integers [N], a class for every point of the scene, which
    has labels."""
    if scene.labels is None:
        raise OtocError(f"scene {scene.name}: has no labels to evaluate against; leave it out")
    try:
        confusion = confusion_matrix(scene.labels, prediction, len(scene.label_set))
    except OtocError as error:
        raise OtocError(f"scene {scene.name}: {error}") from error
    if not confusion.any():
        raise OtocError(f"scene {scene.name}: not one of its points has a true class to evaluate against; leave it out")
    return confusion


def check_truth(splits: Mapping[str, list[Scene]]) -> None:
    """OtocError naming the rooms that could not be judged, not one of whose points has a true class.

    Args:
        splits: name -> rooms; a split with a room without labels is judged by nobody, and not looked at.
    """
    for split, scenes in splits.items():
        known = {scene.name: scene.labels for scene in scenes if scene.labels is not None}
        if len(known) == len(scenes):
            wrong = [name for name, labels in known.items() if (labels == IGNORE).all()]
            if wrong:
                raise OtocError(
                    f"split {split}: {listed(wrong, most=5)}: not one point has a true class to evaluate by; leave "
                    "them out of the split"
                )


def room_confusions(scenes: list[Scene], predictions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Confusion matrix of each of R rooms of one label set, int64 [R, C, C].

    Args:
        scenes: with labels.
        predictions: scene name -> integers [N], a class for every point; each is asked for once.
    """
    confusions = [room_confusion(scene, predictions[scene.name]) for scene in scenes]
    if not confusions:
        raise OtocError("there is no room to evaluate; check the split")
    return np.stack(confusions)


def evaluate_rooms(scenes: list[Scene], predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, float]]:
    """The confusion matrix over all rooms, int64 [C, C], and the mIoU of each room by name; as ``room_confusions``."""
    confusions = room_confusions(scenes, predictions)
    return confusions.sum(axis=0), {s.name: mean_iou(c) for s, c in zip(scenes, confusions, strict=True)}


def are_integers(*arrays: np.ndarray) -> bool:
    """Whether all arrays hold whole numbers."""
    return all(array.dtype.kind in "iu" for array in arrays)
