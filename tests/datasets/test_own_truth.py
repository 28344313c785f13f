import warnings

import numpy as np
import pytest
from own_scan import CLASSES, POINTS, TRUTH
from scan_files import table, write_scan

from otoc_lib.config import config_from
from otoc_lib.datasets import own
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import evaluate_rooms
from otoc_lib.labels import IGNORE
from otoc_lib.supervoxels.geometric import Partition

NAMES = np.array(CLASSES.names)[TRUTH]


def load(root, truth):
    return own.load_scene(root, "scan", CLASSES, Partition(minimum=5), truth)


def write_names(root, names, header="class"):
    rows = [f"{x},{y},{z},{name}\n" for (x, y, z), name in zip(POINTS.tolist(), names, strict=True)]
    (root / "scan.csv").write_text(f"x,y,z,{header}\n" + "".join(rows))


@pytest.mark.parametrize("name", ["little.ply", "ascii.ply", "scan.las", "scan.csv", "scan.xyz"])
def test_numbers_count_the_classes(tmp_path, name):
    column = "classification" if ".las" in name else "Label"
    path = write_scan(tmp_path / name, table(POINTS) | {column: TRUTH.astype(np.int32)})
    path.rename(tmp_path / f"scan{path.suffix}")
    scene = load(tmp_path, column.lower())
    np.testing.assert_array_equal(scene.labels, TRUTH)
    assert scene.labels.dtype == np.int16 and scene.instances is None
    with pytest.warns(
        UserWarning, match=rf"has a class column '{column}' \(0, 1, 2\), .*own_truth: {column.lower()} to"
    ):
        assert load(tmp_path, None).labels is None


def test_names_are_those_of_the_classes_in_any_case(tmp_path):
    names = NAMES.copy()
    names[NAMES == "box"] = " BOX"
    write_names(tmp_path, names)
    np.testing.assert_array_equal(load(tmp_path, "Class").labels, TRUTH)


def test_what_is_no_class_has_no_label(tmp_path):
    names = NAMES.astype("<U8")
    names[:3], names[3:6] = "", "lamp"
    write_names(tmp_path, names)
    with pytest.warns(UserWarning, match="lamp in class column 'class' is none of own_classes; these points have no"):
        labels = load(tmp_path, "class").labels
    np.testing.assert_array_equal(labels, np.where(np.arange(len(TRUTH)) < 6, IGNORE, TRUTH))
    numbers = TRUTH.astype(object)
    numbers[:2], numbers[2] = -1, ""
    write_names(tmp_path, numbers)
    np.testing.assert_array_equal(load(tmp_path, "class").labels[:4], [IGNORE, IGNORE, IGNORE, TRUTH[3]])


@pytest.mark.parametrize(
    "values, column, says",
    [
        (TRUTH + 1, "class", "class column 'class' holds 1, 2, 3; own_classes lists 3 classes, counted from 0"),
        (TRUTH / 2, "class", "class column 'class' holds 0, 0.5, 1; own_classes lists 3"),
        (
            np.where(TRUTH, "lamp", "sofa"),
            "class",
            "class column 'class' holds lamp, sofa, none of own_classes: floor, box, crate",
        ),
        (TRUTH * 0 - 1, "class", "class column 'class' holds -1, and no class at one point; own_classes are counted"),
        (TRUTH, "label", "own_truth asks for a class column 'label', and it has only 'class'; name its column so"),
    ],
)
def test_columns_that_are_not_the_truth(tmp_path, values, column, says):
    write_names(tmp_path, values)
    with pytest.raises(OtocError, match=f"scan.csv: {says}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load(tmp_path, column)


def test_a_scan_without_classes(tmp_path):
    write_scan(tmp_path / "scan.xyz", table(POINTS))
    with pytest.raises(OtocError, match="scan.xyz: own_truth asks for a class column 'class', and it has none at all"):
        load(tmp_path, "class")


def test_an_experiment_names_the_column(tmp_path):
    write_names(tmp_path, NAMES)
    settings = {"profile": "p", "experiment": "e", "dataset": "own", "own_classes": list(CLASSES.names)}
    config = config_from(settings | {"own_truth": "class", "partition_minimum": 5})
    scene = own.read_scene(tmp_path, "scan", config)
    assert evaluate_rooms([scene], {"scan": scene.labels})[1] == {"scan": 1.0}
    with pytest.raises(OtocError, match="'own_truth' names a column of scans of your own, so it needs 'dataset: own'"):
        config_from({"profile": "p", "experiment": "e", "dataset": "s3dis", "own_truth": "class"})
