import os
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from otoc_lib.__main__ import main
from otoc_lib.config import Config, config_from, load_config, load_notebook_config, read_params
from otoc_lib.errors import OtocError

ROOT = Path(__file__).parents[1]
MINIMAL = {"profile": "p", "experiment": "e"}


def test_defaults_are_the_papers():
    config = config_from(MINIMAL)
    assert (config.voxel_size, config.unet_width, config.unet_levels) == (0.02, 32, 7)
    assert (config.temperature, config.prototype_momentum, config.relation_samples, config.relation_dim) == (
        0.07,
        0.9,
        20,
        32,
    )
    assert (config.threshold, config.self_train_iterations, config.relation_power) == (0.9, 5, 1.0)


EXPERIMENTS = sorted((ROOT / "params").glob("*/[!_]*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_params_file_is_valid_named_by_its_place_and_says_how_to_run_it(path):
    config = load_config(path)
    assert (config.profile, config.experiment) == (path.parent.name, path.stem)
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert comments[0].startswith("# papermill notebooks/")
    assert comments[0].endswith(f"-f params/{path.parent.name}/{path.name}")
    # What it is for; how long it takes and what comes out, or that nobody has measured it.
    assert len(comments) >= 3 and re.search("minute|Not measured", comments[-1])


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_params_file_says_only_what_sets_its_experiment_apart(path):
    own = yaml.safe_load(path.read_text())
    base = yaml.safe_load(path.with_name(f"{own['extends']}.yaml").read_text()) if "extends" in own else {}
    silent = {f.name: getattr(config_from(MINIMAL), f.name) for f in fields(Config)} | base
    assert not [name for name, value in own.items() if silent.get(name, object()) == value]
    assert "extends" not in own or len(own) <= 7


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"voxel_sise": 0.02}, ["voxel_sise", "did you mean 'voxel_size'"]),
        ({"zzzzzz": 1}, ["zzzzzz", "valid names are", "voxel_size"]),
        ({"learning_rate": "1e-3"}, ["learning_rate", "a number", "1.0e-3"]),
        ({"unet_steps": 10.5}, ["unet_steps", "whole number"]),
        ({"unet_steps": True}, ["unet_steps", "whole number"]),
        ({"flip": 1}, ["flip", "true or false"]),
        ({"variant": "unet_rel"}, ["variant", "'unet_rel_gp'"]),
        ({"variant": "control"}, ["variant", "method: control"]),
        ({"method": "one_thing_one_klick"}, ["method", "did you mean 'one_thing_one_click'", "control"]),
        ({"method": "stages"}, ["method", "control, one_thing_one_click"]),
        ({"dataset": "kitti"}, ["dataset", "own, s3dis, scannet"]),
        ({"backbone": "relation"}, ["backbone", "unet"]),
        ({"pseudo_labels": "guess"}, ["pseudo_labels", "threshold"]),
        ({"seeds": [0, 1, 0]}, ["seeds", "twice"]),
        ({"seeds": [-1]}, ["seeds", "at least 0"]),
        ({"experiment": "otoc_seed1"}, ["experiment", "seeds: [0, 1, 2]"]),
        ({"scale_range": [1.2, 0.8]}, ["scale_range"]),
        ({"elastic_granularity": [0.0], "elastic_magnitude": [1.0]}, ["elastic_granularity", "greater than 0"]),
        ({"eval_splits": "val"}, ["eval_splits", "a list"]),
        ({"voxel_size": 0}, ["voxel_size", "greater than 0"]),
        ({"threshold": 1.5}, ["threshold", "at most 1"]),
        ({"learning_rate": float("inf")}, ["learning_rate"]),
        ({"elastic_magnitude": [1.0]}, ["elastic_granularity", "same length"]),
        ({"source": "file"}, ["clicks_file"]),
        ({"source": "all"}, ["method: control"]),
        ({"train_rooms": 0}, ["train_rooms"]),
        ({"experiment": "../escape"}, ["experiment", "letters"]),
    ],
)
def test_bad_parameters_are_refused_by_name(values, words):
    with pytest.raises(OtocError) as error:
        config_from({**MINIMAL, **values}, "params/x.yaml")
    for word in ["params/x.yaml", *words]:
        assert word in str(error.value)


def test_whole_numbers_may_stand_for_numbers():
    config = config_from({**MINIMAL, "jitter": 0, "elastic_granularity": [6], "elastic_magnitude": [40]})
    assert isinstance(config.jitter, float) and isinstance(config.elastic_granularity[0], float)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(OtocError, match="nowhere.yaml: no such params file"):
        load_config(tmp_path / "nowhere.yaml")
    for text in ("a: [1", "- 1\n- 2\n", ""):
        path = tmp_path / "broken.yaml"
        path.write_text(text)
        with pytest.raises(OtocError, match="broken.yaml"):
            load_config(path)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "p").mkdir(parents=True)
    (tmp_path / "params" / "p" / "e.yaml").write_text(
        "extends: _b\nprofile: p\nexperiment: e\nseed: 4\nvoxel_size: 0.05\n"
    )
    (tmp_path / "params" / "p" / "_b.yaml").write_text("voxel_size: 0.5\nviews: 2\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def test_a_notebook_by_hand_runs_its_params_file(checkout):
    config = load_notebook_config({**MINIMAL, "In": [""], "Out": {}, "_": 3, "os": os, "ROOT": ROOT})
    assert (config.seed, config.voxel_size, config.views) == (4, 0.05, 2)
    assert config.run_folder == checkout / "runs" / "p" / "e_seed4"
    assert load_notebook_config({**MINIMAL, "seed": 0}).run_folder == checkout / "runs" / "p" / "e"


def test_what_papermill_injects_of_a_file_that_extends_another_is_resolved(checkout):
    own = {"extends": "_b", "seed": 4, "voxel_size": 0.05}
    assert load_notebook_config({**MINIMAL, **own}).views == 2
    fresh = load_notebook_config({"profile": "p", "experiment": "fresh", "extends": "_b"})  # whose file lies elsewhere
    assert (fresh.voxel_size, fresh.views) == (0.5, 2)
    with pytest.raises(OtocError, match="extends _c, but .*_c.yaml does not exist"):
        load_notebook_config({"profile": "p", "experiment": "fresh", "extends": "_c"})


def test_a_file_extends_one_other_beside_it(checkout):
    folder = checkout / "params" / "p"
    assert read_params(folder / "e.yaml") == {
        "profile": "p",
        "experiment": "e",
        "seed": 4,
        "voxel_size": 0.05,
        "views": 2,
    }
    (folder / "named.yaml").write_text("experiment: named\nviews: 2\n")
    for text, words in {
        "extends: missing": "missing.yaml does not exist",
        "extends: ../p/_b": "beside this one",
        "extends: 3": "beside this one",
        "extends: e": "one level is all there is",
        "extends: bad": "one level is all there is",
        "extends: named": "named.yaml: names 'experiment', which every file that extends it must name itself",
    }.items():
        (folder / "bad.yaml").write_text(f"{text}\nexperiment: bad\n")
        with pytest.raises(OtocError, match=words):
            load_config(folder / "bad.yaml")


def test_the_file_in_effect_is_shown_with_the_origin_of_each_value(checkout, capsys):
    path = checkout / "params" / "p" / "e.yaml"
    assert main(["show-params", str(path)]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == read_params(path)
    origins = {line.split(":")[0]: line.split("# ")[1] for line in text.splitlines()}
    assert origins["voxel_size"] == "e.yaml" and origins["views"] == "_b.yaml" and "threshold" not in origins
    assert main(["show-params", "--all", str(path)]) == 0
    every = capsys.readouterr().out
    config = load_config(path)
    assert yaml.safe_load(every) == {f.name: getattr(config, f.name) for f in fields(Config)}
    assert main(["check-params", str(path), str(path.with_name("_b.yaml"))]) == 0
    assert "all parameters are valid" in capsys.readouterr().out


def test_the_first_of_several_seeds_is_the_seed_unless_one_is_given():
    assert config_from({**MINIMAL, "seeds": [3, 4]}).seed == 3
    assert config_from({**MINIMAL, "seeds": [3, 4], "seed": 4}).run_name == "e_seed4"
    assert config_from(MINIMAL).run_name == "e"


def test_every_parameter_is_in_a_known_group_or_decides_no_result():
    """A parameter without a group is in no key: those are named here, so that none is forgotten."""
    groups = {f.name: f.metadata["groups"] for f in fields(Config)}
    assert [name for name, found in groups.items() if not found] == [
        *("profile", "experiment", "runs_root", "reports_root", "seeds"),
        *("dataset", "data_root", "cache_root", "eval_splits", "train_rooms", "eval_rooms"),
        *("clicks_file", "method", "self_train_iterations"),
    ]


def test_injected_values_replace_the_file_and_are_checked(checkout):
    assert load_notebook_config({**MINIMAL, "seed": 9}).seed == 9
    with pytest.raises(OtocError, match="nope"):
        load_notebook_config({**MINIMAL, "nope": 9})


def test_the_first_cells_may_run_again(checkout):
    namespace = {**MINIMAL, "seed": 3}
    assert load_notebook_config(namespace).seed == 3
    namespace |= {"pictures": [1], "clicks": {}, "seed": 5}  # what later cells leave, and a parameter set anew
    assert load_notebook_config(namespace).seed == 5


def test_a_notebook_of_an_unknown_experiment_is_refused(checkout):
    with pytest.raises(OtocError, match="does not exist"):
        load_notebook_config({"profile": "p", "experiment": "absent"})
