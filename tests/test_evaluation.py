import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from otoc_lib import evaluation
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import confusion_matrix, evaluate_rooms, iou, mean_iou
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
    present = np.unique(true)
    expected = metrics.jaccard_score(true, predicted, labels=present, average=None)
    np.testing.assert_allclose(iou(confusion)[present], expected, rtol=1e-14)
    assert np.isnan(np.delete(iou(confusion), present)).all()
    np.testing.assert_allclose(mean_iou(confusion), expected.mean(), rtol=1e-14)


def test_iou_by_hand():
    truth = np.array([0, 0, 0, 1, 1, IGNORE, 0])
    prediction = np.array([0, 0, 1, 1, 2, 0, 0])  # class 2 is predicted once and never true
    confusion = confusion_matrix(truth, prediction, 4)
    assert confusion.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(iou(confusion), [3 / 4, 1 / 3, np.nan, np.nan])
    assert mean_iou(confusion) == pytest.approx((3 / 4 + 1 / 3) / 2)


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
    assert per_room == pytest.approx({"a": 0.5, "b": 0.5})
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
