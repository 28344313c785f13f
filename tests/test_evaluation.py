import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import metrics

from otoc_lib import evaluation
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import check_truth, confusion_matrix, evaluate_rooms, iou, mean_iou
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.scene import Scene

CLASSES = 5
POINTS = st.lists(
    st.tuples(st.sampled_from([IGNORE, 0, 1, 2, 3, 4]), st.integers(0, CLASSES - 1)), min_size=1, max_size=60
)


def room(name: str, labels: list[int] | None) -> Scene:
    count = 1 if labels is None else len(labels)
    return Scene(
        name=name,
        coords=np.zeros((count, 3), np.float32),
        colors=np.zeros((count, 3), np.uint8),
        supervoxels=np.zeros(count, np.int32),
        labels=None if labels is None else np.array(labels, np.int16),
        instances=None,
        origin=np.zeros(3),
        label_set=SCANNET20,
    )


@given(POINTS, st.sampled_from([np.int16, np.int64]), st.integers(1, 70))
def test_agrees_with_scikit_learn_whatever_the_chunks(points, dtype, chunk):
    truth, prediction = np.array(points, dtype=dtype).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "CHUNK", chunk)
        confusion = confusion_matrix(truth, prediction, CLASSES)
    kept = truth != IGNORE
    assert confusion.dtype == np.int64 and confusion.shape == (CLASSES, CLASSES)
    if not kept.any():
        assert not confusion.any()
        return
    true, predicted = truth[kept], prediction[kept]
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(true, predicted, labels=range(CLASSES)))
    named = np.unique([true, predicted])
    expected = metrics.jaccard_score(true, predicted, labels=named, average=None)
    np.testing.assert_allclose(iou(confusion)[named], expected, rtol=1e-14)
    assert np.isnan(np.delete(iou(confusion), named)).all()
    np.testing.assert_allclose(mean_iou(confusion), expected.mean(), rtol=1e-14)


def test_iou_by_hand():
    truth = np.array([0, 0, 0, 1, 1, IGNORE, 0])
    prediction = np.array([0, 0, 1, 1, 2, 0, 0])  # class 2 is predicted once and never true
    confusion = confusion_matrix(truth, prediction, 4)
    assert confusion.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(iou(confusion), [3 / 4, 1 / 3, 0, np.nan])
    assert mean_iou(confusion) == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)


def official_ious(pairs, classes):
    """What ScanNet's script says it counts, point by point: IoU by class, None where it has none.

    Points whose true class is not valid are passed over. Of a class: tp, points that have it and are given it; fn, that
    have it and are given another; fp, that have another valid one and are given it. IoU is tp / (tp + fp + fn).
    """
    found = []
    for c in classes:
        tp = fp = fn = 0
        for true, predicted in pairs:
            if true not in classes:
                continue
            tp += true == c and predicted == c
            fn += true == c and predicted != c
            fp += true != c and predicted == c
        found.append(tp / (tp + fp + fn) if tp + fp + fn else None)
    return found


@given(
    st.lists(st.tuples(st.sampled_from([IGNORE, 0, 1, 2, 3, 4]), st.integers(0, CLASSES - 1)), min_size=1, max_size=25),
    st.sets(st.integers(0, CLASSES - 1), max_size=3),
)
@example([(0, 0), (0, 3), (1, 1)], set())  # 3 is predicted and absent: 0; 2 and 4 are neither: not counted
@example([(0, 0), (IGNORE, 3)], set())  # 3 is predicted where there is no truth: neither
def test_the_rule_is_that_of_scannets_script(points, absent):
    """``absent``: classes that no point truly has, though some may be predicted."""
    points = [(IGNORE if true in absent else true, predicted) for true, predicted in points]
    confusion = confusion_matrix(*np.array(points).T, CLASSES)
    expected = official_ious(points, range(CLASSES))
    assert [None if np.isnan(value) else value for value in iou(confusion)] == expected
    known = [value for value in expected if value is not None]
    if known:
        assert mean_iou(confusion) == pytest.approx(sum(known) / len(known))


@given(st.integers(0, 2**32 - 1))
def test_the_rule_on_confusion_matrices(seed):
    """Large counts, with classes absent from the truth, from the prediction and from both."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 10**9, (20, 20)) * (rng.random((20, 20)) < 0.5)
    confusion[rng.random(20) < 0.3] = 0
    confusion[:, rng.random(20) < 0.3] = 0
    expected = []
    for c in range(20):
        tp = int(confusion[c, c])
        fn = sum(int(confusion[c, other]) for other in range(20) if other != c)
        fp = sum(int(confusion[other, c]) for other in range(20) if other != c)
        expected.append(tp / (tp + fn + fp) if tp + fn + fp else np.nan)
    np.testing.assert_allclose(iou(confusion), expected, rtol=1e-14)
    if confusion.any():
        assert mean_iou(confusion) == pytest.approx(np.mean([value for value in expected if not np.isnan(value)]))


@given(POINTS, st.randoms())
def test_confusion_adds_up_over_rooms_and_ignores_order(points, random):
    truth, prediction = np.array(points).T
    order = list(range(len(points)))
    random.shuffle(order)
    half = len(points) // 2
    parts = [confusion_matrix(truth[part], prediction[part], CLASSES) for part in (order[:half], order[half:])]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(truth, prediction, CLASSES))


@pytest.mark.parametrize(
    ("truth", "prediction", "named"),
    [
        ([0, 1], [0, 5], "prediction"),
        ([0, 1], [0, -1], "prediction"),
        ([IGNORE, 1], [IGNORE, 0], "prediction"),
        ([0, 5], [0, 1], "truth"),
        ([0, -1], [0, 1], "truth"),
        ([0, 1], [0], "truth"),
        ([[0, 1]], [[0, 1]], "truth"),
        ([0, 1], [0.0, 1.0], "float64"),
    ],
)
def test_values_out_of_range_are_refused(truth, prediction, named):
    with pytest.raises(OtocError, match=named):
        confusion_matrix(np.array(truth), np.array(prediction), CLASSES)


def test_rooms_are_scored_one_by_one_and_together():
    rooms = [room("a", [0, 0, 1, IGNORE]), room("b", [1, 1])]
    confusion, per_room = evaluate_rooms(rooms, {"a": np.array([0, 1, 1, 7]), "b": np.array([1, 0])})
    # In b, class 0 is predicted and absent.
    assert per_room == pytest.approx({"a": 0.5, "b": 0.25})
    assert confusion[:2, :2].tolist() == [[1, 1], [1, 2]] and confusion.sum() == 5


@pytest.mark.parametrize(
    ("rooms", "predictions", "named"),
    [
        ([], {}, "no room"),
        ([room("blind", None)], {"blind": np.zeros(1, int)}, "blind"),
        ([room("short", [0, 1])], {"short": np.zeros(1, int)}, "short"),
        ([room("empty", [IGNORE])], {"empty": np.zeros(1, int)}, "true class"),
    ],
)
def test_rooms_that_cannot_be_scored_are_refused(rooms, predictions, named):
    with pytest.raises(OtocError, match=named):
        evaluate_rooms(rooms, predictions)


def test_rooms_that_nobody_can_judge_are_known_by_their_labels():
    good, blank, unknown = room("good", [IGNORE, 3]), room("blank", [IGNORE, IGNORE]), room("unknown", None)
    check_truth({"val": [good, good], "test": [blank, unknown], "none": []})  # a split without labels is not judged
    with pytest.raises(OtocError, match="^split area: blank: not one point has a true class"):
        check_truth({"val": [good], "area": [good, blank]})
