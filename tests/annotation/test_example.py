import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from otoc_lib.__main__ import main
from otoc_lib.annotation.clicks import expand_clicks, read_clicks
from otoc_lib.annotation.example import EXAMPLE_CLASSES, example, example_room
from otoc_lib.datasets import own
from otoc_lib.errors import OtocError
from otoc_lib.labels import SCANNET20
from otoc_lib.supervoxels.geometric import Partition

ROOT = Path(__file__).parents[2]


def test_the_example_is_a_scan_with_clicks_of_its_classes(tmp_path):
    values = yaml.safe_load((ROOT / "params/own/example.yaml").read_text())
    assert values["own_classes"] == list(EXAMPLE_CLASSES)
    assert sorted(sum(EXAMPLE_CLASSES.values(), ())) == sorted(SCANNET20.names)
    example(tmp_path)
    classes = own.label_set(values["own_classes"])
    scene = own.load_scene(tmp_path, *own.list_scenes(tmp_path, "train"), classes, Partition())
    clicks = read_clicks(tmp_path / "clicks.csv", [scene])["room"]
    room, truth = example_room()
    assert len(clicks) == truth.num_objects > 5
    np.testing.assert_array_equal(truth.labels[clicks.points], clicks.classes)
    np.testing.assert_allclose(scene.coords + scene.origin, room.vertices, atol=1e-5)
    np.testing.assert_array_equal(scene.colors, room.colors)
    assert (expand_clicks(scene, clicks)[clicks.points] == clicks.classes).all()
    assert {*clicks.classes.tolist()} == {*range(len(EXAMPLE_CLASSES))}  # the list holds no class without a click
    with pytest.raises(OtocError, match="room.ply: is there already"):
        example(tmp_path)


def test_a_first_user_is_warned_of_nothing(tmp_path, capsys):
    example(tmp_path / "own")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["doctor", str(tmp_path / "own"), "--params", str(ROOT / "params/own/example.yaml")]) == 0
    assert "OK: training would run (0 errors, 0 warnings)" in capsys.readouterr().out
