import datetime
import math
import os
import re
import typing
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.__main__ import main
from otoc_lib.config import Config, base_of, config_from, load_config, load_notebook_config, modules, read_params
from otoc_lib.errors import OtocError, shown

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
    base = yaml.safe_load(base_of(path, own["extends"]).read_text()) if "extends" in own else {}
    silent = vars(config_from(MINIMAL)) | base
    assert not [name for name, value in own.items() if silent.get(name, object()) == value]
    assert "extends" not in own or len(own) <= 11


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"voxel_sise": 0.02}, ["voxel_sise", "did you mean 'voxel_size'"]),
        ({"zzzzzz": 1}, ["zzzzzz", "otoc show-params --all", "lists them all"]),
        (
            {"zzzzzz": 1, "method": "mprm", "source": "scene"},
            ["lists them all, otoc_lib.methods.mprm those of its own"],
        ),
        ({"(extends": "rooms/_base"}, ["'(extends'", "did you mean 'extends'"]),
        ({2.5: 1}, ["unknown parameter 2.5"]),
        ({"learning_rate": "1e-3"}, ["learning_rate", "a number", "1.0e-3"]),
        ({"unet_steps": 10.5}, ["unet_steps", "whole number"]),
        ({"unet_steps": True}, ["unet_steps", "whole number"]),
        ({"flip": 1}, ["flip", "true or false"]),
        ({"variant": "unet_rel"}, ["variant", "'unet_rel_gp'"]),
        ({"variant": "control"}, ["variant", "method: control"]),
        ({"method": "one_thing_one_klick"}, ["method", "did you mean 'one_thing_one_click'", "control"]),
        ({"method": "stages"}, ["method", "control, gpfn, mean_teacher, mprm, one_thing_one_click"]),
        ({"dataset": "kitti"}, ["dataset", "own, s3dis, scannet"]),
        ({"backbone": "relation"}, ["backbone", "minkunet34, pointnet2, unet"]),
        ({"initial_weights": ""}, ["initial_weights", "is empty"]),
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
        ({"source": "all", "method": "released"}, ["method: control"]),
        ({"eval_splits": ["train"], "train_rooms": 3}, ["eval_splits", "train_rooms: 3", "set 'eval_rooms'"]),
        ({"eval_splits": ["train"], "train_rooms": 3, "eval_rooms": 4}, ["set 'eval_rooms' to no more"]),
        ({"eval_splits": ["val", "held_out"]}, ["eval_splits", "held_out", "set 'train_rooms'"]),
        (
            {"clicks_per_object": 3, "source": "file", "clicks_file": "c.csv"},
            ["clicks_per_object", "source: simulated"],
        ),
        ({"clicks_wrong": 0.1, "source": "file", "clicks_file": "c.csv"}, ["clicks_wrong", "source: simulated"]),
        ({"pseudo_labels": "quantile"}, ["pseudo_share", "must be given"]),
        ({"pseudo_share": 0.2}, ["pseudo_share", "quantile"]),
        ({"click_reach": 0.0}, ["click_reach", "at least 0.0001"]),
        ({"click_reach": 0.1, "source": "all", "method": "control"}, ["click_reach", "source: all", "leave it out"]),
        ({"click_reach": 0.1, "source": "images", "images_root": "f"}, ["click_reach", "source: images"]),
        ({"click_reach": 0.1, "source": "scene", "method": "mprm"}, ["click_reach", "source: scene"]),
        ({"click_spread": 0.0009}, ["click_spread", "at least 0.001"]),
        (
            {"click_spread": 0.1, "source": "points", "points_share": 0.1},
            ["click_spread", "source: points", "leave it"],
        ),
        ({"click_spread": 0.1, "source": "all", "method": "control"}, ["click_spread", "source: all"]),
        ({"source": "points"}, ["points_share", "points_per_class_column", "one of them"]),
        ({"points_share": 0.1}, ["points_share", "source: points"]),
        ({"source": "points", "points_share": 0.1, "points_per_class_column": 1}, ["one of them"]),
        ({"source": "points", "points_share": "1e-3"}, ["points_share", "1.0e-3"]),
        ({"source": "subcloud", "method": "mprm"}, ["subcloud_radius", "must be given"]),
        ({"subcloud_radius": 1.0}, ["subcloud_radius", "source: subcloud"]),
        ({"source": "scene", "method": "mprm", "subcloud_radius": 1.0}, ["subcloud_radius", "only then"]),
        ({"source": "scene"}, ["source: scene", "method: mprm", "do not go together"]),
        ({"source": "subcloud", "subcloud_radius": 1.0, "method": "xu"}, ["method: mprm", "method: xu"]),
        ({"source": "scene", "method": "control"}, ["method: mprm", "method: control"]),
        ({"method": "mprm"}, ["source: scene", "source: subcloud", "source: simulated"]),
        ({"method": "mprm", "source": "all"}, ["source: subcloud", "source: all"]),
        ({"mprm_crf": True}, ["unknown parameter", "mprm_crf"]),
        ({"method": "mprm", "source": "scene", "balls_per_step": 0}, ["balls_per_step", "at least 1"]),
        ({"source": "images"}, ["images_root", "source: images"]),
        ({"images_share": 0.5}, ["images_share", "source: images"]),
        ({"source": "images", "images_root": "frames", "images_share": 0}, ["images_share", "greater than 0"]),
        ({"source": "images", "images_root": "frames", "images_share": 1.5}, ["images_share", "at most 1"]),
        ({"clicks_forgotten": 0.1, "source": "all", "method": "control"}, ["clicks_forgotten", "simulated"]),
        ({"coarse_loss": 1, "unet_levels": 1}, ["coarse_loss", "unet_levels"]),
        ({"unet_skip": "add", "unet_levels": 1}, ["unet_skip", "unet_levels", "concat"]),
        (
            {
                "method": "gpfn",
                "source": "images",
                "images_root": "frames",
                "backbone": "pointnet2",
                "unet_skip": "add",
                "unet_levels": 1,
            },
            ["unet_skip", "unet_levels"],  # of the observer
        ),
        ({"unet_skip": "sum"}, ["unet_skip", "'concat', 'add'"]),
        ({"input_position": "z"}, ["input_position", "'xyz', 'height'"]),
        ({"train_rooms": 0}, ["train_rooms"]),
        ({"experiment": "../escape"}, ["experiment", "letters"]),
        ({"experiment": "größe"}, ["experiment", "letters"]),
        ({"profile": "a b"}, ["profile", "letters"]),
        ({"experiment": "x" * 101}, ["experiment", "up to 100"]),
        ({"eval_splits": ["../x"]}, ["eval_splits", "letters", "'../x'"]),
        ({"eval_splits": ["val", "val"]}, ["eval_splits", "twice"]),
        ({"runs_root": ""}, ["runs_root", "is empty"]),
        ({"reports_root": "  "}, ["reports_root", "is empty"]),
        ({"data_root": "data\0scannet"}, ["data_root", "control character"]),
        ({"cache_root": "a\nb"}, ["cache_root", "line break"]),
        ({"cache_root": "a\ud800"}, ["cache_root", "control character"]),
        ({"data_root": "d" * 256}, ["data_root", "too long"]),
        ({"data_root": "d/" * 600}, ["data_root", "too long"]),
        ({"source": "file", "clicks_file": ""}, ["clicks_file", "is empty"]),
        ({"dataset": "own", "own_classes": ["wall", ""]}, ["own_classes", "is empty"]),
        ({"dataset": "own", "own_classes": ["wall", "a\nb"]}, ["own_classes", "line break"]),
        ({"dataset": "own", "own_classes": ["wall", "Wall"]}, ["own_classes", "capitals"]),
        ({"dataset": "own", "own_classes": ["night stand", "night  stand"]}, ["own_classes", "blanks"]),
        ({"dataset": "own", "own_classes": ["wall"]}, ["own_classes", "2 to 255"]),
        ({"dataset": "own", "own_classes": ["wall", " None"]}, ["own_classes", "'none'", "clicks.csv", "another name"]),
        ({"class_colors": "pastel"}, ["class_colors", "benchmark", "distinct"]),
        ({"dataset": "own", "own_classes": [f"c{i}" for i in range(256)]}, ["own_classes", "2 to 255"]),
        ({"dataset": "own", "own_classes": ["wall", True]}, ["own_classes", "quotes"]),
        ({"dataset": False}, ["dataset", "quotes"]),
        ({"seeds": list(range(1001))}, ["seeds", "1000 are the most"]),
        ({"seed": 2**64}, ["seed", "at most 2147483648"]),
        ({"seed": 10**5000}, ["seed", "at most 2147483648", "thousands of digits"]),
        ({"voxel_size": 10**400}, ["voxel_size", "a number"]),
        ({"voxel_size": 1e-7}, ["voxel_size", "greater than 0.0001"]),
        ({"temperature": 1e-300}, ["temperature", "at least 0.001"]),
        ({"bandwidth": 1e300}, ["bandwidth", "at most 10000"]),
        ({"learning_rate": float("nan")}, ["learning_rate", "a number"]),
        ({"batch_size": 10**9}, ["batch_size", "at most 1024"]),
        ({"workers": 10**6}, ["workers", "at most 512"]),
        ({"unet_width": 1024, "unet_levels": 16}, ["unet_width", "unet_levels", "weights"]),
        ({"device": "banana"}, ["device", "auto, cpu, cuda"]),
        ({"device": "meta"}, ["device", "auto, cpu, cuda"]),
        ({"device": "mps"}, ["device", "auto, cpu, cuda"]),
        ({"device": "cuda:-1"}, ["device", "auto, cpu, cuda"]),
        ({1: 2}, ["unknown parameter 1"]),
        ({"x" * 10**6: 2}, ["unknown parameter"]),
    ],
    ids=shown,
)
def test_bad_parameters_are_refused_by_name(values, words):
    with pytest.raises(OtocError) as error:
        config_from({**MINIMAL, **values}, "params/x.yaml")
    for word in ["params/x.yaml", *words]:
        assert word in str(error.value)
    assert len(str(error.value)) < 1500 and "\n" not in str(error.value)


def test_real_text_and_devices_pass():
    for values in (
        *({"device": device} for device in ("auto", "cpu", "cuda", "cuda:0", "cuda:99")),  # judged where it is chosen
        {"dataset": "own", "own_classes": ["con", "Stuhl", "\u6905\u5b50", "shower curtain", "TV (wall)"]},
        {"dataset": "own", "own_classes": [f"class {i}" for i in range(255)]},
        {"data_root": "/somewhere/Meine Daten/../\u6905", "experiment": "con"},
    ):
        assert config_from({**MINIMAL, **values})


def test_more_networks_than_are_trained_cannot_be_averaged():
    assert config_from({**MINIMAL, "self_train_iterations": 3, "average_networks": 3}).average_networks == 3
    with pytest.raises(OtocError, match="'average_networks: 4' asks for more networks than there are: .* 3 iterations"):
        config_from({**MINIMAL, "self_train_iterations": 3, "average_networks": 4})
    for method in ("pi_model", "mean_teacher", "xu"):
        with pytest.raises(OtocError, match=f"'method: {method}' trains once"):
            config_from({**MINIMAL, "method": method, "average_networks": 2})


def test_what_is_of_the_unet_alone_is_asked_of_no_other_backbone():
    config_from({**MINIMAL, "backbone": "pointnet2", "unet_width": 200, "unet_levels": 16})
    config_from({**MINIMAL, "backbone": "minkunet34", "coarse_loss": 1, "unet_levels": 1, "unet_skip": "add"})


NUMBERS = [f for f in fields(Config) if {int, float} & {f.type, *typing.get_args(f.type)}]


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_every_number_has_a_range_whose_edges_pass_and_nothing_beyond(field):
    low, above, high = (field.metadata[name] for name in ("low", "above", "high"))
    whole = int in {field.type, *typing.get_args(field.type)}
    first = above if low is None else low
    inside = [high, first if above is None else math.nextafter(first, math.inf)]
    outside = [first - 1 if whole else math.nextafter(first, -math.inf), high + 1 if whole else high * 2, 10**400]
    if above is not None:
        outside.append(above)
    others = {"unet_width": 1, "unet_levels": 1, "unet_blocks": 1}  # no network is too large
    if field.name.startswith("elastic"):
        others |= {"elastic_granularity": [6.0], "elastic_magnitude": [6.0]}
    if field.name == "coarse_loss":
        others |= {"unet_levels": 2}
    if field.name.startswith("points_"):
        others |= {"source": "points"}
    if field.name == "subcloud_radius":
        others |= {"source": "subcloud", "method": "mprm"}
    if field.name == "images_share":
        others |= {"source": "images", "images_root": "frames"}
    if field.name == "pseudo_share":
        others |= {"pseudo_labels": "quantile"}
    if field.name in ("devices", "accumulate"):
        others |= {"batch_size": 1024}
    if field.name == "average_networks":
        others |= {"self_train_iterations": 100}

    def config(value) -> Config:
        listed = [value, value] if field.name == "scale_range" else [value]
        return config_from(MINIMAL | others | {field.name: listed if typing.get_origin(field.type) is list else value})

    for value in inside:
        assert config(value)
    for value in outside:
        with pytest.raises(OtocError, match=f"parameter '{field.name}' must be"):
            config(value)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(st.dictionaries(st.sampled_from([f.name for f in fields(Config)]) | ANY.filter(lambda x: x.__hash__), ANY))
@settings(max_examples=100, deadline=None)
def test_any_values_make_a_config_or_one_clear_error(values):
    try:
        config_from(MINIMAL | values, "params/x.yaml")
    except OtocError as error:
        assert str(error).startswith("params/x.yaml: ") and len(str(error)) < 1500


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


HEAD = b"profile: p\nexperiment: x\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEAD.decode().encode("utf-16"), "not UTF-8 text"),
        (HEAD.decode().encode("utf-16-le"), "holds the byte 0"),
        (HEAD + "runs_root: größe\n".encode("latin-1"), "line 3: not UTF-8 text"),
        (HEAD + b"seed: 1\0\n", "holds the byte 0"),
        (HEAD + b"seed: 1\x07\n", "control character U\\+0007"),
        (HEAD + b"seed: 2021-01-01\n", "line 3: parameter 'seed': YAML reads 2021-01-01 as a date; .*quotes"),
        (HEAD + b"own_classes: [a, 2021-01-01]\n", "line 3: parameter 'own_classes': .*as a date"),
        (HEAD + b"seed: " + b"[" * 5000 + b"]" * 5000, "lists in lists"),
        (HEAD + b"seeds: [[1], [2]]\n", "line 3: parameter 'seeds': a list holds"),
        (HEAD + b"seed: {a: 1}\n", "line 3: parameter 'seed': 'map' of YAML"),
        (HEAD + b"seed: " + b"9" * 5000, "line 3: parameter 'seed': '9+\\.\\.\\.9+' cannot be read as int"),
        (HEAD + b"voxel_size: " + b"9" * 400, "parameter 'voxel_size' must be a number"),
        (HEAD + b"voxel_size: 1.0e+400\n", "parameter 'voxel_size' must be a number, not inf"),
        (HEAD + b"voxel_size: .nan\n", "parameter 'voxel_size' must be a number, not nan"),
        (HEAD + b"seed: 1\nviews: 2\nseed: 2\n", "lines 3 and 5: both give the parameter 'seed'; keep one"),
        (HEAD + b'seed: 1\n"se\\x65d": 2\n', "lines 3 and 4: both give the parameter 'seed'"),
        (HEAD + b"seed: &a 1\nviews: *a\n<<: {seed: 2}\n", "line 5: '<<' is no name"),
        (HEAD + b"1: 2\n", "line 3: '1' is no name of a parameter"),
        (HEAD + b"yes: 2\n", "line 3: 'yes' is no name of a parameter"),
        (HEAD + b"? [a, b]\n: 2\n", "line 3: a list or a mapping is no name"),
        (HEAD + b"seed: !!binary aGk=\n", "parameter 'seed': 'binary' of YAML"),
        (HEAD + b"seeds: !!set {1, 2}\n", "parameter 'seeds': 'set' of YAML"),
        (HEAD + b"seeds: !!omap [1, 2]\n", "parameter 'seeds': 'omap' of YAML"),
        (HEAD + b"seed: !!python/object/apply:os.getpid []\n", "parameter 'seed': 'python/object"),
        (HEAD + b"seed: !!int ''\n", "parameter 'seed': '' cannot be read as int"),
        (HEAD + b"unet_steps: 1:30\n", "line 3: parameter 'unet_steps': YAML reads '1:30' as 90; write that number"),
        (HEAD + b"voxel_size: 1_0.5\n", "line 3: parameter 'voxel_size': YAML reads '1_0.5' as 10.5"),
        (HEAD + b"flip: !!bool maybe\n", "parameter 'flip': 'maybe' cannot be read as bool"),
        (HEAD + b"--- \nseed: 1\n", "line 3: not valid YAML"),
        (HEAD + b"seed: *b\n", "line 3: not valid YAML .*undefined alias"),
        (HEAD + b'runs_root: "\\UFFFFFFFF"\n', "not valid YAML"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\n" + HEAD, "not valid YAML"),
        (HEAD + b'runs_root: "a\\0b"\n', "parameter 'runs_root' is 'a.*b', which holds"),
        (HEAD + b"# " + b"x" * 100_000, "more than 100000 bytes"),
        (b"!!set {a, b}\n", "expected lines of the form"),
        (b"just text", "expected lines of the form"),
    ],
    ids=range(36),
)
def test_whatever_is_wrong_in_a_file_is_one_error_that_names_it(tmp_path, data, words):
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(OtocError, match=words) as error:
        load_config(path)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < 1500 and "\n" not in str(error.value)


def test_what_editors_add_and_plain_aliases_are_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.replace(b"\n", b"\r\n") + b"unet_steps: &a 7\r\nunet_steps_later: *a\r\n")
    config = load_config(path)
    assert (config.experiment, config.unet_steps, config.unet_steps_later) == ("x", 7, 7)


def test_a_bomb_of_aliases_is_refused_before_it_grows(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (tmp_path / "x.yaml").write_text("\n".join(lines))
    with pytest.raises(OtocError, match="x.yaml, line 2: parameter 'a1': a list holds"):
        load_config(tmp_path / "x.yaml")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name, says in (("folder", "is a folder"), ("loop", "no such params file"), ("absent", "no such params file")):
        with pytest.raises(OtocError, match=f"{name}.yaml: {says}"):
            load_config(tmp_path / f"{name}.yaml")
    with pytest.raises(OtocError, match="its name is too long"):
        load_config(tmp_path / ("x" * 300 + ".yaml"))
    with pytest.raises(OtocError, match="x.yaml: cannot be read"):
        load_config(tmp_path / ("d" * 300) / "x.yaml")


SHIPPED = [path.read_bytes() for path in sorted((ROOT / "params").glob("*/*.yaml"))]


@given(st.binary(max_size=60), st.sampled_from(SHIPPED), st.integers(0, 2000), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_gives_a_config_or_one_error_that_names_it(tmp_path_factory, junk, whole, place, cut):
    path = tmp_path_factory.mktemp("params") / "x.yaml"
    path.with_name("_base.yaml").write_text("views: 1\n")
    path.with_name("_areas.yaml").write_text("views: 1\n")
    path.write_bytes(whole[:place] + junk + whole[place + cut :])
    try:
        load_config(path)
    except OtocError as error:
        assert str(error).startswith(str(path)) and len(str(error)) < 1500


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("control copy", "holds a blank, .*rename it, such as control_copy.yaml"),
        ("otoc (1)", "holds a blank"),
        ("otoc.old", "holds '.'"),
        ("größe", "holds 'ö'"),
        ("a\nb", "holds '.*n'"),
    ],
)
def test_a_file_whose_name_cannot_name_folders_is_the_culprit(tmp_path, name, words):
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"profile: p\nexperiment: {name!r}\n")
    with pytest.raises(OtocError, match=words) as error:
        load_config(path)
    assert str(error.value).startswith(str(path)) and "experiment" not in str(error.value)


def test_a_wrong_value_is_looked_for_in_the_file_that_gives_it(tmp_path):
    (tmp_path / "_b.yaml").write_text("views: 0\n")
    (tmp_path / "x.yaml").write_text("extends: _b\nprofile: p\nexperiment: x\n")
    with pytest.raises(OtocError, match="_b.yaml: parameter 'views' must be at least 1"):
        load_config(tmp_path / "x.yaml")
    assert load_config(tmp_path / "x.yaml", views=2).views == 2
    with pytest.raises(OtocError, match="x.yaml: parameter 'views' must be at least 1"):
        load_config(tmp_path / "x.yaml", views=-1)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "p").mkdir(parents=True)
    (tmp_path / "params" / "p" / "e.yaml").write_text(
        "extends: _b\nprofile: p\nexperiment: e\nseed: 4\nvoxel_size: 0.05\n"
    )
    (tmp_path / "params" / "p" / "_b.yaml").write_text("voxel_size: 0.5\nviews: 2\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which notebooks change
    return tmp_path


def test_warnings_in_notebooks_are_sentences(checkout):
    load_notebook_config(dict(MINIMAL))
    assert warnings.formatwarning("clicks.csv: odd", UserWarning, "/tmp/cell.py", 2) == "warning: clicks.csv: odd\n"
    said = warnings.formatwarning("old", DeprecationWarning, "/tmp/cell.py", 2)
    assert said == "/tmp/cell.py:2: DeprecationWarning: old\n"


def test_a_notebook_by_hand_runs_its_params_file(checkout):
    config = load_notebook_config({**MINIMAL, "In": [""], "Out": {}, "_": 3, "os": os, "ROOT": ROOT})
    assert (config.seed, config.voxel_size, config.views) == (4, 0.05, 2)
    assert config.run_folder == checkout / "runs" / "p" / "e_seed4"
    assert load_notebook_config({**MINIMAL, "seed": 0}).run_folder == checkout / "runs" / "p" / "e"


def test_roots_may_lie_anywhere(checkout, monkeypatch):
    monkeypatch.setenv("HOME", "/home/who")
    roots = {"runs_root": "~/runs", "reports_root": "../reports", "data_root": "/scans/of mine", "cache_root": "c"}
    config = config_from({**MINIMAL, **roots})
    assert config.run_folder == Path("/home/who/runs/p/e") and config.data_folder == Path("/scans/of mine")
    assert config.report_folder == checkout / "../reports/p" and config.cache_folder == checkout / "c"
    with pytest.raises(OtocError, match="~nobody-of-that-name/x: .*; write the whole path"):
        _ = config_from({**MINIMAL, "runs_root": "~nobody-of-that-name/x"}).run_folder


def test_what_papermill_injects_of_a_file_that_extends_another_is_resolved(checkout):
    own = {"extends": "_b", "seed": 4, "voxel_size": 0.05}
    assert load_notebook_config({**MINIMAL, **own}).views == 2
    with pytest.raises(OtocError, match="they extend 'p/_b', which .*e.yaml does not, .* name its own profile and exp"):
        load_notebook_config({**MINIMAL, "extends": "p/_b"})  # of a file without these names: they are the notebook's
    fresh = load_notebook_config({"profile": "p", "experiment": "fresh", "extends": "_b"})  # whose file lies elsewhere
    assert (fresh.voxel_size, fresh.views) == (0.5, 2)
    with pytest.raises(OtocError, match="extends _c, but .*_c.yaml does not exist"):
        load_notebook_config({"profile": "p", "experiment": "fresh", "extends": "_c"})
    elsewhere = load_notebook_config({"profile": "q", "experiment": "fresh", "extends": "p/_b"})
    assert (elsewhere.voxel_size, elsewhere.views) == (0.5, 2)


def test_a_file_extends_one_other_beside_it_or_of_another_profile(checkout):
    folder = checkout / "params" / "p"
    assert read_params(folder / "e.yaml") == {
        "profile": "p",
        "experiment": "e",
        "seed": 4,
        "voxel_size": 0.05,
        "views": 2,
    }
    (checkout / "params" / "q").mkdir()
    (checkout / "params" / "q" / "e.yaml").write_text("extends: p/_b\nprofile: q\nexperiment: e\n")
    assert read_params(checkout / "params" / "q" / "e.yaml")["views"] == 2
    (folder / "named.yaml").write_text("experiment: named\nviews: 2\n")
    for text, words in {
        "extends: missing": "missing.yaml does not exist",
        "extends: ../p/_b": "beside this one",
        "extends: p/q/_b": "beside this one",
        "extends: q/_b": "q/_b.yaml does not exist",
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
        *("dataset", "data_root", "cache_root", "class_colors", "eval_splits", "train_rooms", "eval_rooms"),
        *("images_root", "clicks_file", "initial_weights", "method", "self_train_iterations", "average_networks"),
        "teacher_views",
    ]


def test_injected_values_replace_the_file_and_are_checked(checkout):
    assert load_notebook_config({**MINIMAL, "seed": 9}).seed == 9
    for name, value, words in (
        ("nope", 9, "unknown parameter 'nope'"),
        ("seeds", (0, 1), "'seeds' must be a list"),  # of no type that papermill injects, but no less wrong
        ("voxel_size", {0.1}, "'voxel_size' must be a number"),
        ("views", datetime.date(2021, 1, 1), "'views' must be a whole number"),
        ("voxel_size", 10**400, "'voxel_size' must be a number"),
        ("voxel_size", float("nan"), "'voxel_size' must be a number"),
        ("extends", 10**5000, "extends"),
        ("extends", "x" * 300, "extends"),
    ):
        with pytest.raises(OtocError, match=words):
            load_notebook_config({**MINIMAL, "experiment": "fresh", "seed": 0, name: value})
    for name in ("../p", "p\0", "x" * 300, "", "a b"):
        with pytest.raises(OtocError, match="notebook parameters: parameter '(profile|experiment)' must be up to 100"):
            load_notebook_config({"profile": name, "experiment": "e"})
        with pytest.raises(OtocError, match="notebook parameters: parameter '(profile|experiment)' must be up to 100"):
            load_notebook_config({"profile": "p", "experiment": name})
    (checkout / "params" / "p" / "_b.yaml").write_text("views: 0\n")
    with pytest.raises(OtocError, match="_b.yaml: parameter 'views'"):
        load_notebook_config(dict(MINIMAL))


def test_the_first_cells_may_run_again(checkout):
    namespace = {**MINIMAL, "seed": 3}
    assert load_notebook_config(namespace).seed == 3
    namespace |= {"pictures": [1], "clicks": {}, "seed": 5}  # what later cells leave, and a parameter set anew
    assert load_notebook_config(namespace).seed == 5


def test_a_notebook_of_an_unknown_experiment_is_refused(checkout):
    with pytest.raises(OtocError, match="does not exist"):
        load_notebook_config({"profile": "p", "experiment": "absent"})


def test_a_method_that_is_written_while_python_runs_is_known(tmp_path):
    """What a file defines is remembered for as long as the file stays as it is."""
    names = modules(str(tmp_path), "METHOD")
    assert names() == []
    path = tmp_path / "mine.py"
    path.write_text("OTHER = 1\n")
    assert names() == names() == []
    path.write_text("OTHER = 1\nMETHOD = 2\n")
    assert names() == names() == ["mine"]
    path.unlink()
    assert names() == []
