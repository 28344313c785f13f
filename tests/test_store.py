import json

import pytest

from otoc_lib.config import config_from
from otoc_lib.files import write_aside, write_json
from otoc_lib.store import find_stage, run_stage


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    monkeypatch.chdir(tmp_path)
    return lambda experiment="a", **values: config_from({"profile": "p", "experiment": experiment, **values})


def counted(calls, text="made"):
    def work(folder):
        calls.append(folder.name)
        (folder / "result.txt").write_text(text)

    return work


def test_a_finished_stage_is_reused_and_a_changed_parameter_redoes_only_what_depends_on_it(config):
    calls = []

    def chain(c):
        first = run_stage(c, "first", ("voxel_size",), {}, counted(calls))
        return first, run_stage(c, "second", ("threshold",), {"first": first.key}, counted(calls))

    assert [stage.reused for stage in chain(config())] == [False, False]
    assert [stage.reused for stage in chain(config())] == [True, True]
    assert [stage.reused for stage in chain(config(views=3))] == [True, True]  # nothing here depends on views
    assert [stage.reused for stage in chain(config(threshold=0.5))] == [True, False]
    assert [stage.reused for stage in chain(config(voxel_size=0.1))] == [False, False]
    assert calls == ["first.part", "second.part", "second.part", "first.part", "second.part"]


def test_another_experiment_reuses_the_stage_until_its_owner_changes_it(config):
    calls = []
    made = run_stage(config("a"), "unet_1", ("seed",), {}, counted(calls))
    found = run_stage(config("b"), "unet_1", ("seed",), {}, counted(calls))
    assert found.reused and found.path == made.path and calls == ["unet_1.part"]
    runs = config().run_folder.parent.parent
    assert find_stage(runs, "p", "b", "unet_1") == made.path

    run_stage(config("a", seed=1), "unet_1", ("seed",), {}, counted(calls))
    assert find_stage(runs, "p", "b", "unet_1") is None  # what b refers to is gone: it is "not run", not wrong
    again = run_stage(config("b"), "unet_1", ("seed",), {}, counted(calls))
    assert not again.reused and again.path == config("b").run_folder / "unet_1"


def test_an_interrupted_stage_is_not_finished_and_may_resume(config):
    seen = []

    def work(folder):
        seen.append((folder / "half.txt").is_file())
        (folder / "half.txt").write_text("half")
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(config(), "s", ("seed",), {}, work)
    runs = config().run_folder.parent.parent
    assert find_stage(runs, "p", "a", "s") is None
    stage = run_stage(config(), "s", ("seed",), {}, work)
    assert seen == [False, True] and sorted(p.name for p in stage.path.iterdir()) == ["half.txt", "manifest.json"]


def test_what_an_interrupted_stage_left_is_wiped_when_its_parameters_changed(config):
    def fail(folder):
        (folder / "old.txt").write_text("old")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(config(), "s", ("seed",), {}, fail)
    stage = run_stage(config(seed=1), "s", ("seed",), {}, counted([]))
    assert sorted(p.name for p in stage.path.iterdir()) == ["manifest.json", "result.txt"]


def test_the_manifest_says_what_was_read_and_when(config):
    stage = run_stage(config(seed=3), "s", ("seed", "jitter"), {"data": "k"}, counted([]), device="cpu")
    manifest = json.loads((stage.path / "manifest.json").read_text())
    assert manifest["parameters"] == {"seed": 3, "jitter": 0.1} and manifest["inputs"] == {"data": "k"}
    assert manifest["seed"] == 3 and manifest["device"] == "cpu" and manifest["seconds"] >= 0
    assert {"otoc_lib", "python", "torch", "numpy"} <= set(manifest["versions"])


def test_writing_aside_never_leaves_half_a_file(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), write_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
