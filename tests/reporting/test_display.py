import json

import numpy as np

from otoc_lib.annotation.clicks import Clicks, write_clicks
from otoc_lib.config import config_from
from otoc_lib.datasets.own import label_set
from otoc_lib.files import checksum
from otoc_lib.labels import NO_CLASS
from otoc_lib.methods.method import Iteration
from otoc_lib.reporting.display import (
    class_clicks,
    click_table,
    file_list,
    iteration_table,
    scan_summaries,
    shown_path,
    subcloud_table,
)
from otoc_lib.scene import Scene
from otoc_lib.store import Stage


def stage(folder, name, predicted):
    (folder / name).mkdir(parents=True)
    modes = {mode: {"miou": 0.5 + 0.1 * place} for place, mode in enumerate(predicted)}
    metrics = {"predicted": predicted, "splits": {"val": {"rooms": ["a", "b"], "modes": modes}}}
    path = folder / name / "metrics.json"
    path.write_text(json.dumps(metrics))
    return Stage(name, folder / name, "key", reused=False, files={path.name: checksum(path)})


def test_a_table_has_a_column_for_every_mode(tmp_path):
    done = [
        Iteration(k + 1, {}, stage(tmp_path, f"evaluate_{k}", list(modes)))
        for k, modes in enumerate((("point", "sv"), ("point", "ensemble")))
    ]
    head, _, first, second = iteration_table(done).data.splitlines()
    assert head.endswith("| U-Net alone | super-voxel mean | ensemble |")
    assert first == "| iteration 1 | val | 2 | 50.00 | 60.00 | - |"
    assert second == "| iteration 2 | val | 2 | 50.00 | - | 60.00 |"


def test_paths_are_from_the_projects_root_where_they_are_in_it(tmp_path, monkeypatch):
    root = tmp_path / "project"
    for name in ("params", "notebooks"):
        (root / name).mkdir(parents=True)
    monkeypatch.chdir(root)
    inside, outside = (stage(folder, "evaluate_1", []) for folder in (root / "runs", tmp_path / "elsewhere"))
    assert shown_path(inside.path) == "runs/evaluate_1" and shown_path(outside.path) == str(outside.path)
    text = file_list(inside, None, outside).data
    assert "`runs/evaluate_1`" in text and f"`{outside.path}`" in text


def test_clicks_of_no_class_have_a_row_where_there_are_some(rooms):
    scene = rooms[0]
    two, three = Clicks([0, 9], [1, 2], [-1] * 2), Clicks([0, 9, 5], [1, 2, NO_CLASS], [-1] * 3)
    assert len(click_table([scene], {scene.name: two}).data.splitlines()) == 4
    _, _, here, negative, paper = click_table([scene], {scene.name: three}).data.splitlines()
    assert here.startswith("| here | 3.00 |") and negative.startswith("| of these, no class | 1.00 |")
    assert paper.startswith("| paper | 19.74 |")


def test_what_balls_tell_is_a_row(tmp_path):
    path = tmp_path / "statistics.json"
    shares = {"single_class_percent": 14.06, "classless_percent": 0.0, "classes_missed_percent": None}
    counts = {"balls_per_scene": 77.25, "classes_per_ball": 3.21}
    path.write_text(json.dumps({**counts, **shares, "in_balls_percent": 100.0}))
    row = subcloud_table(Stage("clicks", tmp_path, "key", reused=False, files={path.name: checksum(path)})).data
    assert row.splitlines()[-1] == "| here | 77.2 | 3.2 | 14.1 % | 0.0 % | - | 100.0 % |"


def test_clicks_of_every_class_and_what_lacks(tmp_path):
    coords, colors = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.uint8)
    pieces, classes = np.array([0, 0, 1, 2], np.int32), label_set(["wall", "floor", "lamp"])
    scene = Scene("room", coords, colors, pieces, None, None, np.zeros(3), classes)
    write_clicks(tmp_path / "clicks.csv", {"room": Clicks([0, 2], [1, 0], [-1, -1])}, [scene])
    (tmp_path / "statistics.json").write_text("{}")

    def table(*files):
        files = {name: checksum(tmp_path / name) for name in files}
        return class_clicks(Stage("clicks", tmp_path, "key", reused=False, files=files), [scene]).data

    lines = table("clicks.csv", "statistics.json").splitlines()
    assert lines[2:6] == [
        "| wall | 1 | 1 | 25.00 % |",
        "| floor | 1 | 1 | 50.00 % |",
        "| lamp | 0 | 0 | 0.00 % |",
        "| **all** | 2 | 1 of 1 | 75.00 % |",
    ]
    assert lines[7].startswith("**No click of lamp: what is never shown cannot be learnt")
    assert table("statistics.json") == "- Every point has its true label here; nobody clicks."
    write_clicks(tmp_path / "subclouds.csv", {}, [scene])
    assert table("clicks.csv", "subclouds.csv", "statistics.json") == "- Sets of classes are known here, not points."


def test_summaries_of_scans_and_that_other_rooms_have_none(tmp_path):
    (tmp_path / "room.xyz").write_text("0 0 0 9 9 9\n1 0 0 9 9 9\n0 2 0 9 9 9\n0 0 1 200 9 9\n")
    values = {"profile": "p", "experiment": "e", "dataset": "own", "own_classes": ["a", "b"]}
    own = config_from({**values, "data_root": str(tmp_path), "cache_root": str(tmp_path / "cache")})
    text = scan_summaries(own).data
    assert text.startswith("| room.xyz |  |\n") and "| points | 4, no mesh |" in text
    assert "| box | 1.00 x 2.00 x 1.00 m from (0.00, 0.00, 0.00) |" in text
    assert "otoc doctor" in scan_summaries(config_from({"profile": "p", "experiment": "e"})).data
