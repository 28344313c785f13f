import json
import re
import shutil
import warnings

import numpy as np
import pytest
from fake_rooms import results_in, sign

from otoc_lib.config import config_from
from otoc_lib.errors import OtocError
from otoc_lib.experiments import Experiment, read_profile
from otoc_lib.labels import SCANNET20
from otoc_lib.methods.stages import CONFUSIONS
from otoc_lib.reporting.figures import figure6, last_prediction
from otoc_lib.reporting.runs import results_of


def metrics_of(runs, run, stage):
    return json.loads((runs / "rooms" / run / stage / "metrics.json").read_text())


def test_seeds_are_found_by_the_names_of_the_folders(tmp_path):
    for name in ("otoc", "otoc_seed2", "otoc_seed10", "otoc_seed", "otoc_seed01", "otoc_seedling", "otoc3", "my_otoc"):
        (tmp_path / "rooms" / name).mkdir(parents=True)
    (tmp_path / "rooms" / "otoc_seed4").write_text("no folder")
    results = results_in(tmp_path)
    assert results.seeds("otoc") == {0: "otoc", 2: "otoc_seed2", 10: "otoc_seed10"}
    assert list(results.seeds("otoc")) == [0, 2, 10] and results.seeds("unet") == {}
    assert results.shown_seed("otoc") == 0 and results_in(tmp_path, seed=2).shown_seed("otoc") == 2
    assert results_in(tmp_path, seed=5).shown_seed("otoc") == 0 and results.shown_seed("unet") is None


def test_a_stage_of_another_seed_is_no_repeat(runs, tmp_path):
    shutil.copytree(runs / "rooms" / "otoc", tmp_path / "rooms" / "otoc")
    shutil.copytree(runs / "rooms" / "otoc", tmp_path / "rooms" / "otoc_seed1")  # whose manifests say seed 0
    results = results_in(tmp_path)
    assert results.find("otoc", "evaluate_3") and results.find("otoc", "evaluate_3", seed=1) is None
    assert results.measure(results.row("otoc_full")).by_seed.keys() == {0}


def test_a_row_is_measured_with_every_seed(runs, results):
    full = results.measure(results.row("otoc_full"))
    expected = {
        seed: 100 * metrics_of(runs, run, "evaluate_3")["splits"]["val"]["modes"]["full"]["miou"]
        for seed, run in enumerate(("otoc", "otoc_seed1"))
    }
    assert full.by_seed == expected and (full.rooms, full.views) == (4, 1)
    assert full.mean == pytest.approx(np.mean(list(expected.values())))
    assert full.std == pytest.approx(np.std(list(expected.values()), ddof=1))
    control = results.measure(results.row("otoc_control"))
    assert control.std is None and control.by_seed.keys() == {0}
    assert results.measure(results.row("data_efficient_full")) is None
    assert results.measure(results.row("otoc_full"), "test") is None


def test_the_confusions_of_the_rooms_sum_to_that_of_the_row(runs, results):
    row = results.row("otoc_sv")
    found = results.confusions(row, "val_novel")
    for seed, run in enumerate(("otoc", "otoc_seed1")):
        split = metrics_of(runs, run, "evaluate_3")["splits"]["val_novel"]
        assert list(found[seed]) == split["rooms"]
        assert np.array_equal(sum(found[seed].values()), split["modes"]["sv"]["confusion"])
    assert results.confusions(results.row("supervised_sv"), "test") == {}


def test_runs_that_kept_no_confusions_have_none(runs, tmp_path):
    copy = tmp_path / "rooms" / "otoc"
    shutil.copytree(runs / "rooms" / "otoc", copy)
    (copy / "evaluate_3" / CONFUSIONS).unlink()
    results = results_in(tmp_path)
    with pytest.raises(OtocError, match=r"evaluate_3/confusions\.counts: cannot be read"):
        results.confusions(results.row("otoc_full"))
    sign(copy / "evaluate_3")
    assert results.confusions(results.row("otoc_full")) == {}


def test_the_params_file_says_what_the_last_evaluation_is(tmp_path):
    values = {"profile": "rooms", "experiment": "otoc", "self_train_iterations": 5}
    known = Experiment("otoc", config_from(values), ())
    results = results_in(tmp_path)
    rows = [results.row(name) for name in ("otoc_baseline", "otoc_full", "otoc_control")]
    assert [results.stage_of(row) for row in rows] == ["evaluate_baseline", "evaluate_3", "evaluate_3"]
    results = results_in(tmp_path, experiments=(known,))
    assert [results.stage_of(row) for row in rows] == ["evaluate_baseline", "evaluate_5", "evaluate_3"]


def test_what_a_report_is_about(tmp_path):
    results = results_in(tmp_path, experiments=(Experiment("mine", config_from(mine()), ()),))
    for run, main, table in (("mine", "mine", "table2"), ("s3dis_otoc", "s3dis_otoc", "table4")):
        (tmp_path / "rooms" / run).mkdir(parents=True)
        assert (results.main, results.table) == (main, table)
    (tmp_path / "rooms" / "otoc_seed3").mkdir()
    assert (results.main, results.table) == ("otoc", "table2")
    assert [row.row for row in results.further("table2")] == ["mine", "mine_sv", "mine_full"] and results.further(
        "table4"
    ) == ()


def mine():
    return {"profile": "rooms", "experiment": "mine", "method": "control"}


def test_statistics_are_those_of_every_seed_that_knows_them(runs, results, tmp_path):
    found = results.statistics("otoc", "pseudo_2")
    paths = [runs / "rooms" / run / "pseudo_2" / "statistics.json" for run in ("otoc", "otoc_seed1")]
    values = [json.loads(path.read_text())["covered_percent"] for path in paths]
    assert found["covered_percent"].mean == pytest.approx(np.mean(values)) and found["covered_percent"].std > 0
    assert "per_class_accuracy_percent" not in found and results.statistics("unet_gp", "pseudo_2") == {}
    for run in ("otoc", "otoc_seed1"):
        shutil.copytree(runs / "rooms" / run / "pseudo_2", tmp_path / "rooms" / run / "pseudo_2")
    path = tmp_path / "rooms" / "otoc_seed1" / "pseudo_2" / "statistics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy_percent": None}))
    sign(path.parent)
    assert "accuracy_percent" not in results_in(tmp_path).statistics("otoc", "pseudo_2")


@pytest.mark.parametrize(
    ("stage", "file", "ask"),
    [
        ("evaluate_1", "metrics.json", lambda found, rooms: found.measure_stage("otoc", "evaluate_1", "point")),
        ("evaluate_3", CONFUSIONS, lambda found, rooms: found.confusions(found.row("otoc_full"))),
        (
            "evaluate_3",
            "scene1000_00.safetensors",
            lambda found, rooms: last_prediction(found, "otoc", rooms["val"][0]),
        ),
        ("pseudo_1", "statistics.json", lambda found, rooms: found.statistics("otoc", "pseudo_1")),
        ("pseudo_1", "scene0_00.safetensors", lambda found, rooms: found.pseudo_labels("otoc", 1, rooms["train"][0])),
        ("unet_2", "history.csv", lambda found, rooms: found.history("otoc", "unet_2")),
        ("clicks", "clicks.csv", lambda found, rooms: found.clicks("otoc", rooms["train"])),
        ("tsne", "tsne.json", lambda found, rooms: figure6(found, SCANNET20)),
    ],
)
def test_damage_is_one_error_that_names_the_file(runs, scenes, tmp_path, stage, file, ask):
    shutil.copytree(runs / "rooms" / "otoc", tmp_path / "rooms" / "otoc")
    ask(results_in(tmp_path), scenes)
    path = tmp_path / "rooms" / "otoc" / stage / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OtocError, match=rf"{stage}/{re.escape(file)}: is not what the stage wrote.*run the same again"):
        ask(results_in(tmp_path), scenes)
    path.unlink()
    with pytest.raises(OtocError, match=rf"{stage}/{re.escape(file)}: cannot be read"):
        ask(results_in(tmp_path), scenes)


def test_history_is_read_by_column(results):
    history = results.history("otoc", "unet_2")
    assert history["step"][1] == 5 and len(history["loss"]) == 40
    assert not np.array_equal(history["loss"], results.history("otoc", "unet_2", seed=1)["loss"])
    assert results.history("unet_gp", "unet_2") is None


def test_the_shown_seed_decides_what_is_seen_in_rooms(runs, results, scenes):
    room, other = scenes["val"][0], results_in(runs, seed=1)
    first, second = (found.prediction("otoc", "evaluate_3", room) for found in (results, other))
    assert first.keys() == second.keys() == {"point", "sv", "full"} and not np.array_equal(first["sv"], second["sv"])
    # An experiment without that seed shows its first.
    shown = [found.prediction("control", "evaluate_3", room)["sv"] for found in (results, other)]
    assert np.array_equal(*shown)
    train = scenes["train"]
    clicks = [found.clicks("otoc", train)[train[0].name].points for found in (results, other)]
    assert not np.array_equal(*clicks) and results.clicks("unet_gp", train) == {}


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "rooms").mkdir(parents=True)
    for name in ("otoc", "mine"):
        text = f"profile: rooms\nexperiment: {name}\nself_train_iterations: 3\n"
        (tmp_path / "params" / "rooms" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_notebook_sees_its_profile_and_what_papermill_changed(project):
    (known,) = (known for known in read_profile(project / "params", "rooms") if known.name == "otoc")
    config = config_from({"profile": "rooms", "experiment": "otoc", "self_train_iterations": 2, "seed": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = results_of(config)
    assert [experiment.name for experiment in results.experiments] == ["mine", "otoc"]
    assert (results.runs, results.profile, results.iterations) == (project / "runs", "rooms", 2)
    assert results.known("otoc").last_evaluation == "evaluate_2" and results.known("otoc").files == known.files
    assert results.known("mine").last_evaluation == "evaluate_3" and results.seed == 4


def test_a_broken_file_beside_it_does_not_stop_a_notebook(project):
    (project / "params" / "rooms" / "broken.yaml").write_text("profile: rooms\nexperiment: broken\nviews: none\n")
    with pytest.warns(UserWarning, match=r"broken\.yaml.*left out until it is mended"):
        results = results_of(config_from({"profile": "rooms", "experiment": "mine", "self_train_iterations": 3}))
    assert [experiment.name for experiment in results.experiments] == ["mine", "otoc"]  # what is right is read
    assert "mine_full" in [row.row for row in results.further("table2")]
    (project / "params" / "rooms" / "broken.yaml").unlink()
    other = results_of(config_from({"profile": "elsewhere", "experiment": "new"}))  # no folder of params files
    assert [experiment.name for experiment in other.experiments] == ["new"]
