import json
import pickle

import pytest

from otoc_lib.config import View, config_from
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside, write_json
from otoc_lib.store import find_stage, run_stage


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    monkeypatch.chdir(tmp_path)
    return lambda experiment="a", **values: config_from({"profile": "p", "experiment": experiment, **values})


def run(c, name, groups, inputs, work, code=None, **options):
    return run_stage(View(c, groups, f"stage {name}"), name, code or {}, inputs, work, **options)


def counted(calls, text="made"):
    def work(folder, key):
        calls.append(folder.name)
        (folder / "result.txt").write_text(text)

    return work


def test_a_finished_stage_is_reused_and_a_changed_parameter_redoes_only_what_depends_on_it(config):
    calls = []

    def chain(c):
        first = run(c, "first", ["network"], {}, counted(calls))
        return first, run(c, "second", ["pseudo"], {"first": first.key}, counted(calls))

    assert [stage.reused for stage in chain(config())] == [False, False]
    assert [stage.reused for stage in chain(config())] == [True, True]
    assert [stage.reused for stage in chain(config(views=3))] == [True, True]  # nothing here depends on views
    assert [stage.reused for stage in chain(config(threshold=0.5))] == [True, False]
    assert [stage.reused for stage in chain(config(voxel_size=0.1))] == [False, False]
    assert calls == ["first.part", "second.part", "second.part", "first.part", "second.part"]


def test_another_experiment_reuses_the_stage_until_its_owner_changes_it(config):
    calls = []
    made = run(config("a"), "unet_1", ["network"], {}, counted(calls))
    found = run(config("b"), "unet_1", ["network"], {}, counted(calls))
    assert found.reused and found.path == made.path and calls == ["unet_1.part"]
    runs = config().runs_folder
    assert find_stage(runs, "p", "b", "unet_1").path == made.path

    run(config("a", voxel_size=0.1), "unet_1", ["network"], {}, counted(calls))
    assert find_stage(runs, "p", "b", "unet_1") is None  # what b refers to is gone: it is "not run", not wrong
    again = run(config("b"), "unet_1", ["network"], {}, counted(calls))
    assert not again.reused and again.path == config("b").run_folder / "unet_1"


def test_an_interrupted_stage_is_not_finished_and_may_resume(config):
    seen = []

    def work(folder, key):
        seen.append((folder / "half.txt").is_file())
        (folder / "half.txt").write_text("half")
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(), "s", ["network"], {}, work)
    runs = config().runs_folder
    assert find_stage(runs, "p", "a", "s") is None
    stage = run(config(), "s", ["network"], {}, work)
    assert seen == [False, True] and sorted(p.name for p in stage.path.iterdir()) == ["half.txt", "manifest.json"]


def test_what_an_interrupted_stage_left_is_wiped_when_its_parameters_changed(config):
    def fail(folder, key):
        (folder / "old.txt").write_text("old")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(), "s", ["network"], {}, fail)
    stage = run(config(voxel_size=0.1), "s", ["network"], {}, counted([]))
    assert sorted(p.name for p in stage.path.iterdir()) == ["manifest.json", "result.txt"]


def test_the_manifest_says_what_was_read_and_when(config):
    c = config(seed=3, clicks_per_object=2)
    stage = run(c, "s", ["clicks"], {"data": "k"}, counted([]), {"task": 4}, device="cpu", steps=7)
    manifest = json.loads((stage.path / "manifest.json").read_text())
    assert manifest["parameters"] == {"seed": 3, "source": "simulated", "clicks_per_object": 2}
    assert manifest["inputs"] == {"data": "k"} and manifest["code"] == {"task": 4} and manifest["steps"] == 7
    assert manifest["seed"] == 3 and manifest["device"] == "cpu" and manifest["seconds"] >= 0
    assert stage.path == c.runs_folder / "p" / "a_seed3" / "s"
    assert {"otoc_lib", "python", "torch", "numpy"} <= set(manifest["versions"])


def test_another_version_of_the_code_is_another_stage(config):
    calls = []
    for version, reused in ((1, False), (1, True), (2, False)):
        stage = run(config(), "s", ["network"], {}, counted(calls), {"task": version})
        assert stage.reused == reused
    assert len(calls) == 2


def test_seeds_have_folders_of_their_own(config):
    calls = []
    paths = [run(config(seed=seed), "s", ["network"], {}, counted(calls)).path for seed in (0, 1, 2, 0)]
    assert [path.parent.name for path in paths] == ["a", "a_seed1", "a_seed2", "a"] and len(calls) == 3


def test_a_stage_reads_what_its_key_names_and_nothing_else(config):
    view = View(config(jitter=0.2, device="cpu"), ["network", "training_first"], "stage s")
    assert view.voxel_size == 0.02 and view.learning_rate == 0.01 and view.device == "cpu"
    assert "device" not in view.digest and set(view.digest) >= {"voxel_size", "learning_rate", "seed"}
    for name in ("threshold", "jitter", "learning_rate_later", "data_root", "run_folder"):
        with pytest.raises(OtocError, match=f"stage s reads the parameter '{name}', which its key does not name"):
            getattr(view, name)
    copied = pickle.loads(pickle.dumps(view))  # as a worker process gets it
    assert copied.digest == view.digest and copied.voxel_size == 0.02
    with pytest.raises(OtocError, match="stage s reads"):
        _ = copied.threshold


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
