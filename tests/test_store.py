import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from otoc_lib import files
from otoc_lib.config import View, config_from
from otoc_lib.errors import CannotWriteError, OtocError
from otoc_lib.files import write_aside, write_json
from otoc_lib.store import find_stage, finished_manifests, read_manifest, run_stage


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


def test_what_gives_way_to_other_parameters_is_told_before_and_what_follows_from_it_is_not(config):
    def chain(c, calls):
        first = run(c, "first", ["network"], {}, counted(calls))
        run(c, "second", ["pseudo"], {"first": first.key}, counted(calls))

    def not_yet(folder, key):
        assert [str(warning.message) for warning in told] == [expected]
        (folder / "result.txt").write_text("made")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        chain(config(), [])
        chain(config(), [])
        chain(config(views=3), [])
        chain(config("b", voxel_size=0.1), [])
    assert not told
    expected = (
        "runs/p/a/first: was made with voxel_size 0.02 and is replaced; to keep both, stop this and give the new "
        "values a params file, and so a run, of their own"
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        first = run(config(voxel_size=0.2), "first", ["network"], {}, not_yet)
        run(config(voxel_size=0.2), "second", ["pseudo"], {"first": first.key}, counted([]))
    assert [str(warning.message) for warning in told] == [expected]


def test_what_another_method_does_not_read_is_told_too(config):
    run(config(), "s", ["graph"], {}, counted([]))
    with pytest.warns(
        UserWarning, match="runs/p/a/s: was made with .*mean_field_steps 10.*, no threshold.* and is repl"
    ):
        run(config(), "s", ["pseudo"], {}, counted([]))


def test_a_default_that_came_later_is_named_where_it_gives_way(config):
    run(config(), "labels", ["pseudo"], {}, counted([]))
    with pytest.warns(UserWarning, match="runs/p/a/labels: was made with click_reach None and is replaced"):
        run(config(click_reach=0.01), "labels", ["pseudo"], {}, counted([]))


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


def test_a_parameter_that_was_added_is_in_a_key_only_where_it_changes_something(config):
    """What was made before there was such a parameter stays current."""
    calls = []
    keys = [
        run(config(seed=seed, clicks_wrong=share), "s", ["clicks"], {}, counted(calls)).key
        for seed, share in ((0, 0.0), (1, 0.0), (0, 0.1))
    ]
    assert len(set(keys)) == 3
    views = [View(config(clicks_wrong=share), ["clicks"], "stage s") for share in (0.0, 0.1)]
    assert [view.digest.get("clicks_wrong") for view in views] == [None, 0.1]
    assert views[0].clicks_wrong == 0.0 and "clicks_forgotten" not in views[1].digest
    assert views[0].digest.keys() == {"seed", "source", "clicks_per_object"}


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


def test_a_full_disk_is_one_error_that_says_so_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    for number, words in ((errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is used up")):

        def fail(descriptor, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OtocError, match=rf"file\.json: cannot be written, {words}; make room") as error:
            write_json(path, {"a": 2})
        assert isinstance(error.value, OSError)
        assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_a_place_where_nothing_can_be_written_is_named_and_what_is_read_meanwhile_is_not(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for path, says in (
        (tmp_path / "folder", "a folder has that name"),
        (tmp_path / "file" / "x", "a file has the name"),
    ):
        with (
            pytest.raises(CannotWriteError, match=f"{path.name}: cannot be written, {says}"),
            write_aside(path) as aside,
        ):
            aside.write_text("new")
    with pytest.raises(FileNotFoundError) as missing, write_aside(tmp_path / "out"):
        (tmp_path / "other" / "missing").read_text()
    assert not isinstance(missing.value, CannotWriteError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_killed_writers_left_is_deleted_by_the_next_one(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = files._here()
    left = {
        f".a.json.{here}-{dead.pid}.part": False,  # what stays
        f".a.json.{here}-{os.getppid()}.part": True,
        ".a.json.elsewhere-1.part": True,
        ".a.json.silent-1.part": False,
        ".a.json.odd.part": False,
        f".b.json.{here}-{dead.pid}.part": True,
    }
    for name in left:
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / ".a.json.silent-1.part", (0, 0))
    write_json(tmp_path / "a.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", *(name for name, stays in left.items() if stays)}


# --- damage -----------------------------------------------------------------------------------------------------------


def damages(folder):
    """Ways in which what lies in a stage may be damaged, each as a function."""
    result, manifest = folder / "result.txt", folder / "manifest.json"
    return {
        "a deleted file": result.unlink,
        "an emptied file": lambda: result.write_bytes(b""),
        "a flipped bit": lambda: result.write_bytes(bytes([result.read_bytes()[0] ^ 1]) + result.read_bytes()[1:]),
        "an empty manifest": lambda: manifest.write_bytes(b""),
        "half a manifest": lambda: manifest.write_bytes(manifest.read_bytes()[:100]),
        "a manifest that is no UTF-8": lambda: manifest.write_bytes(b"\xff\xfe" + manifest.read_bytes()),
        "a manifest of something else": lambda: manifest.write_text('["key", "files"]'),
        "a manifest with numbers": lambda: manifest.write_text('{"stage": "s", "key": 3, "files": {}}'),
        "a manifest nested a million deep": lambda: manifest.write_text("[" * 1_000_000),
    }


@pytest.mark.parametrize("how", damages(Path()))
def test_a_damaged_stage_is_set_aside_by_name_and_made_anew(config, how):
    made = run(config(), "s", ["network"], {}, counted([], "first"))
    damages(made.path)[how]()
    if how.startswith(("a ", "an ")) and "manifest" not in how:
        with pytest.raises(OtocError, match=r"result\.txt: (is not what the stage wrote|cannot be read).*set aside as"):
            find_stage(config().runs_folder, "p", "a", "s").read("result.txt")
    else:
        with pytest.raises(OtocError, match=r"s/manifest\.json: damaged .*; run the experiment again"):
            find_stage(config().runs_folder, "p", "a", "s")
    with pytest.warns(UserWarning, match=r"a/s/(result\.txt|manifest\.json): .* set aside as s\.damaged and made anew"):
        again = run(config(), "s", ["network"], {}, counted([], "second"))
    assert not again.reused and again.read("result.txt") == b"second" and (made.path.parent / "s.damaged").is_dir()
    assert run(config(), "s", ["network"], {}, None).reused
    runs = config().runs_folder / "p"
    assert [(name, manifest["stage"]) for name, manifest in finished_manifests(runs)] == [("a", "s")]


def test_a_damaged_stage_of_another_run_is_left_to_that_run_and_made_anew(config):
    made = run(config("a"), "s", ["network"], {}, counted([]))
    assert run(config("b"), "s", ["network"], {}, None).path == made.path
    (made.path / "result.txt").write_text("other")
    with pytest.warns(UserWarning, match=r"a/s/result\.txt: is not what the stage wrote; it is made anew in .*b/s"):
        again = run(config("b"), "s", ["network"], {}, counted([]))
    assert again.path == config("b").run_folder / "s" and made.path.is_dir()
    with pytest.warns(UserWarning, match=r"set aside as s\.damaged"):
        found = run(config("a"), "s", ["network"], {}, None)
    assert found.path == again.path  # the whole one of the other run


def test_a_stage_that_was_made_anew_meanwhile_is_not_read(config):
    first = run(config(), "s", ["network"], {}, counted([], "first"))
    run(config(voxel_size=0.1), "s", ["network"], {}, counted([], "second"))
    with pytest.raises(OtocError, match="was made anew with other parameters by another process"):
        first.read("result.txt")
    with pytest.raises(OtocError, match="was made anew with other parameters by another process"):
        first.check(["result.txt"])


# --- kills ------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: whatever is cleaned up on its way out is done again by the tests with real kills."""


def test_work_that_is_done_is_never_done_again_wherever_the_process_stops(config, monkeypatch):
    """Stop at every change of the disk after the work, until one run gets through."""
    calls, stops, events = [], 0, 0

    def counting(original):
        def stopping(*arguments, **options):
            nonlocal events
            if calls and ".locks" not in str(arguments[0]):
                events += 1
                if events > stops:
                    raise Killed
            return original(*arguments, **options)

        return stopping

    with monkeypatch.context() as patch:
        for owner, name in ((os, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree")):
            patch.setattr(owner, name, counting(getattr(owner, name)))
        while True:
            events = 0
            try:
                stage = run(config(), "s", ["network"], {}, counted(calls))
                break
            except Killed:
                stops += 1
    assert stops >= 4 and len(set(calls)) == 1
    # The work itself is called again where it was not yet noted that it had ended, and finds its files there.
    assert run(config(), "s", ["network"], {}, None).reused
    assert sorted(path.name for path in stage.path.iterdir()) == ["manifest.json", "result.txt"]
    assert [path.name for path in stage.path.parent.iterdir()] == ["s"]
    assert len(calls) < stops  # the last windows are after it


def test_a_finished_part_is_only_renamed(config):
    stage = run(config(), "s", ["network"], {}, counted([]))
    part = stage.path.with_name("s.part")
    stage.path.rename(part)
    again = run(config(), "s", ["network"], {}, None)  # there is no work to be done
    assert again.read("result.txt") == b"made" and not part.exists()
    again.path.rename(part)
    (part / "result.txt").write_text("damaged")
    calls = []
    run(config(), "s", ["network"], {}, counted(calls))
    assert calls == ["s.part"]


def test_seconds_add_up_over_interruptions(config):
    def slow(folder, key):
        time.sleep(0.2)
        if not (folder / "once").exists():
            (folder / "once").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(), "s", ["network"], {}, slow)
    stage = run(config(), "s", ["network"], {}, slow)
    assert read_manifest(stage.path)["seconds"] >= 0.4


def test_work_of_a_process_that_lost_its_folder_is_not_kept(config):
    def stolen(folder, key):
        (folder / "begun.json").write_text('{"key": "another", "seconds": 0}')

    with pytest.raises(OtocError, match="another process began other work there"):
        run(config(), "s", ["network"], {}, stolen)
    assert find_stage(config().runs_folder, "p", "a", "s") is None
