"""``devices: 2``, from a notebook and from Python: the stages are those of one process, and so are their keys."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from test_notebooks import environment

from otoc_lib.config import load_config
from otoc_lib.errors import OtocError
from otoc_lib.methods import control
from otoc_lib.methods.several import plain, restored
from otoc_lib.methods.stages import Scenes, Stages, load_scenes
from otoc_lib.store import Stage

TWO = {"device": "cpu", "devices": 2}


def stages_with(project, runs, method=None, **values):
    config = load_config(project / "params/tiny/otoc.yaml", runs_root=runs, **values)
    return Stages(config, load_scenes(config), method)


@pytest.mark.slow
def test_a_notebook_trains_and_predicts_in_two_processes_what_one_does(project, monkeypatch):
    command = [sys.executable, "-m", "otoc_lib", "run", "params/tiny/supervised.yaml"]
    values = {**TWO, "runs_root": "runs_two"}
    words = [word for name, value in values.items() for word in ("-p", name, str(value))]
    done = subprocess.run([*command, *words], cwd=project, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    two = project / "runs_two/tiny/supervised"
    assert json.loads((two / "unet_1/manifest.json").read_text())["config"]["devices"] == 2
    monkeypatch.chdir(project)
    (project / "runs_one/tiny/supervised").mkdir(parents=True)
    for name in ("clicks", "unet_1"):
        shutil.copytree(two / name, project / "runs_one/tiny/supervised" / name)
    config = load_config("params/tiny/supervised.yaml", runs_root="runs_one", device="cpu")
    unet, evaluation = control.train_baseline(Stages(config, load_scenes(config), control.BASELINE))
    assert unet.reused and not evaluation.reused  # the keys of one process and of two are equal
    same_files(evaluation.path, two / "evaluate_baseline", 2)


def test_rooms_are_shared_out_and_what_is_there_is_not_made_again(project, monkeypatch):
    monkeypatch.chdir(project)
    one = stages_with(project, "shared_one", device="cpu", click_reach=0.1)
    two = stages_with(project, "shared_two", **TWO, click_reach=0.1)
    clicks = one.clicks()
    trained = one.train_all(1, clicks, warm_start={})
    evaluation, pseudo = one.evaluate("evaluate_1", trained), one.relabel(1, trained, clicks)
    shutil.copytree("shared_one", "shared_two", ignore=shutil.ignore_patterns("evaluate_1", "pseudo_1", ".locks"))
    clicks, trained = two.clicks(), two.train_all(1, two.clicks(), warm_start={})
    assert clicks.reused and all(stage.reused for stage in trained.values())
    found = two.relabel(1, trained, clicks)
    assert not found.reused and found.path != pseudo.path
    same_files(pseudo.path, found.path, 2)
    monkeypatch.setattr("otoc_lib.methods.stages.share_out", lambda *_, **__: None)  # of those that no process writes
    with pytest.raises(FileNotFoundError):
        two.evaluate("evaluate_1", trained)
    part = project / "shared_two/tiny/otoc/evaluate_1.part"
    first, second = sorted(path.name for path in evaluation.path.glob("scene*"))
    shutil.copy(evaluation.path / first, part / first)  # one room is left, for which no process is started
    again = two.evaluate("evaluate_1", trained)
    assert (again.path / second).read_bytes() == (evaluation.path / second).read_bytes()


def same_files(one, other, count):
    names = sorted(path.name for path in one.glob("*.safetensors"))
    assert len(names) >= count and names == sorted(path.name for path in other.glob("*.safetensors"))
    for name in names:
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys() and all((first[key] == second[key]).all() for key in first)


def test_rooms_that_the_params_file_does_not_name_are_refused(project, monkeypatch):
    monkeypatch.chdir(project)
    scenes = stages_with(project, "others").scenes
    config = load_config(project / "params/tiny/otoc.yaml", runs_root="others", **TWO)
    stages = Stages(config, Scenes(scenes.train[:1] * 2, scenes.evaluation))
    with pytest.raises(OtocError, match="stage unet_1: parameter 'devices': every process reads the rooms of 'train'"):
        stages.train("unet", 1, stages.clicks())


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"devices": 1000, "batch_size": 1000}, r"parameter 'devices': 1000, but this machine has \d+ processors"),
        ({"accumulate": 4, "batch_size": 4}, "a step has 2 rooms, which cannot be cut into 1 x 4 equal parts"),
        ({"devices": 2, "batch_size": 5}, "'batch_size: 5' cannot be cut into 'devices' x 'accumulate' equal parts, 2"),
    ],
)
def test_what_cannot_be_divided_is_told(project, monkeypatch, values, told):
    monkeypatch.chdir(project)
    with pytest.raises(OtocError, match=told):
        stages = stages_with(project, "refused", device="cpu", **values)
        stages.train("unet", 1, stages.clicks())


def test_one_gpu_and_several_contradict_each_other(project):
    with pytest.raises(OtocError, match="'device: cuda:1' names one GPU, and 'devices: 2' asks for several"):
        load_config(project / "params/tiny/otoc.yaml", device="cuda:1", devices=2)


def test_keys_name_devices_only_where_results_depend_on_them(project, monkeypatch):
    monkeypatch.chdir(project)

    def key(**values):
        stages = stages_with(project, "keys", device="cpu", batch_size=8, **values)
        stages.run = lambda view, name, code, inputs, work, **_: Stage(name, Path(), stage_hash(view, inputs), False)
        return stages.train("unet", 1, Stage("clicks", Path(), "k", True)).key

    def stage_hash(view, inputs):
        return json.dumps([view.digest, inputs], sort_keys=True)

    assert key() == key(devices=2) == key(devices=8, checkpoint_activations=True, deterministic=True)
    apart = [key(devices=n, sync_batch_norm=False) for n in (1, 2, 4)]
    assert len({*apart, key(), key(accumulate=2)}) == 5


def test_what_is_handed_over_comes_back(rooms):
    stage = Stage("unet_1", Path("a/b"), "k", True, {"weights": "0"})
    given = {"labels": stage, "warm_start": None, "networks": {"unet": stage}, "rooms": rooms[:2], "number": 3}
    back = restored(json.loads(json.dumps(plain(given))), {room.name: room for room in rooms})
    assert back == given
