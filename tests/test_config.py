import os
from pathlib import Path

import pytest

from otoc_lib.config import config_from, load_config, load_notebook_config
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


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_params_file_is_valid_named_by_its_place_and_says_how_to_run_it(path):
    config = load_config(path)
    assert (config.profile, config.experiment) == (path.parent.name, path.stem)
    first = path.read_text().splitlines()[0]
    assert first.startswith("# papermill notebooks/") and first.endswith(f"-f params/{path.parent.name}/{path.name}")


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
        ({"eval_splits": "val"}, ["eval_splits", "a list"]),
        ({"voxel_size": 0}, ["voxel_size", "greater than 0"]),
        ({"threshold": 1.5}, ["threshold", "between 0 and 1"]),
        ({"learning_rate": float("inf")}, ["learning_rate"]),
        ({"elastic_magnitude": [1.0]}, ["elastic_granularity", "same length"]),
        ({"source": "file"}, ["clicks_file"]),
        ({"source": "all"}, ["variant: control"]),
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
    (tmp_path / "params" / "p" / "e.yaml").write_text("profile: p\nexperiment: e\nseed: 4\nvoxel_size: 0.05\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def test_a_notebook_by_hand_runs_its_params_file(checkout):
    config = load_notebook_config({**MINIMAL, "In": [""], "Out": {}, "_": 3, "os": os, "ROOT": ROOT})
    assert (config.seed, config.voxel_size) == (4, 0.05)
    assert config.run_folder == checkout / "runs" / "p" / "e"


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
