"""Several machines convert the scenes of one cache: shards together are the whole, and nobody harms another."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cache import NAME, OTHERS, assert_same, cached, config_with, write_rooms

from otoc_lib import files
from otoc_lib.__main__ import main
from otoc_lib.config import Config
from otoc_lib.datasets import cache, load_split
from otoc_lib.errors import OtocError
from otoc_lib.methods.stages import Plan, fingerprint_of, method_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path) -> Config:
    return config_with(data_root=str(write_rooms(tmp_path / "scannet")), cache_root=str(tmp_path / "cache"))


@pytest.fixture
def project(config, tmp_path) -> Path:
    """A project whose params file is ``config``."""
    root = tmp_path / "project"
    for folder in ("params/p", "notebooks"):
        (root / folder).mkdir(parents=True)
    values = {"data_root": config.data_root, "cache_root": config.cache_root, "eval_splits": "[train]"}
    lines = ["profile: p", "experiment: e", *(f"{name}: {value}" for name, value in values.items())]
    (root / "params/p/e.yaml").write_text("\n".join(lines) + "\n")
    return root


def contents(config: Config) -> dict[str, bytes]:
    folder = config.cache_folder
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(st.integers(0, 40), st.integers(1, 12))
def test_shards_are_a_partition_of_nearly_equal_parts(number, count):
    parts = [cache.Shard(index, count).of(list(range(number))) for index in range(1, count + 1)]
    assert sorted(sum(parts, [])) == list(range(number))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_three_shards_are_the_whole_bit_for_bit(config, tmp_path):
    whole = replace(config, cache_root=str(tmp_path / "whole"))
    assert cache.prepare(whole) == 7
    made = [cache.prepare(config, shard=cache.Shard(index, 3)) for index in (3, 1, 2)]
    assert made == [2, 3, 2] and cache.prepare(config) == 0
    assert contents(config) == contents(whole) and len(contents(whole)) == 7


def start(project: Path, shard: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "otoc_lib", "prepare", "params/p/e.yaml", "--workers", "1", "--shard", shard]
    environment, pipe = os.environ | {"PYTHONPATH": str(ROOT)}, subprocess.PIPE
    return subprocess.Popen(command, cwd=project, env=environment, stderr=pipe, stdout=pipe)


def test_shards_that_overlap_and_run_at_once_do_no_harm(config, project, tmp_path):
    whole = replace(config, cache_root=str(tmp_path / "whole"))
    cache.prepare(whole)
    running = [start(project, shard) for shard in ("1/1", "1/1", "1/2", "2/2")]
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
        assert "without --shard" in out.decode()
    assert contents(config) == contents(whole)  # and nothing lies beside the scenes


def test_a_scene_that_another_machine_finished_meanwhile_is_left_alone(config, monkeypatch):
    """Replaced, it would be gone from under those that have it mapped from a network file system."""
    read, theirs = cache._read, []

    def slow(config: Config, name: str) -> tuple:
        result = read(config, name)
        if not theirs:
            monkeypatch.setattr(cache, "_read", read)
            cache.convert_missing(config, [name])
            theirs.append(cached(config))
        return result

    monkeypatch.setattr(cache, "_read", slow)
    assert cache.convert_missing(config, [NAME]) == 1
    assert theirs == [cached(config)]  # the same time and the same inode


def test_a_scene_that_another_machine_made_since_is_not_read_again(config, monkeypatch):
    """Two machines with the same shard: what was missing as the first one began is looked at again when it is due."""
    read, order = cache._read, []

    def both(config: Config, name: str) -> tuple:
        order.append(name)
        if len(order) == 1:
            cache.convert_missing(config, list(OTHERS))
        return read(config, name)

    monkeypatch.setattr(cache, "_read", both)
    cache.prepare(config)
    assert order == [NAME, *OTHERS]


def test_a_machine_of_the_same_name_is_another_one(tmp_path, monkeypatch):
    """What another machine is writing is not taken for what a dead process left, whatever it calls itself."""
    path, dead = tmp_path / "a.json", subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = files._here()
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self: "another\n" if self.name == "boot_id" else read_text(self))
    assert files._here() != here
    aside = tmp_path / f".a.json.{files._here()}-{dead.pid}.part"
    aside.touch()
    monkeypatch.undo()
    files.write_json(path, 1)
    assert aside.exists()


@pytest.mark.parametrize(
    "shard", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "1.5/3", "a/b", "١/٣", " 1/3", "9" * 5000]
)
def test_a_shard_that_is_none_is_refused_before_anything_is_read(config, project, monkeypatch, capsys, shard):
    monkeypatch.chdir(project)
    before = cached(config)
    (config.data_folder / "splits" / "scannetv2_train.txt").unlink()
    assert main(["prepare", "params/p/e.yaml", f"--shard={shard}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --shard ") and "write i/n, such as 2/4" in error and len(error) < 300
    assert error.count("\n") == 1 and cached(config) == before


def test_the_summary_is_of_all_scenes(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["prepare", "params/p/e.yaml", "--shard", "1/2", "--json"]) == 2
    assert "--json is for all scenes" in capsys.readouterr().err


def test_scenes_that_fail_are_told_by_their_shard(config):
    (config.data_folder / f"scans/{OTHERS[0]}/{OTHERS[0]}_vh_clean_2.ply").unlink()
    assert cache.prepare(config, shard=cache.Shard(1, 2)) == 4
    with pytest.raises(OtocError, match="1 of 3 scenes cannot be read"):
        cache.prepare(config, shard=cache.Shard(2, 2))


def test_a_cache_of_each_machine_and_another_place_of_the_data_change_no_key(config, tmp_path):
    """Rooms mounted elsewhere, and a cache on the machine's own disk: the stages are found in the shared runs."""
    shutil.copytree(config.data_folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    other = replace(config, data_root=str(tmp_path / "elsewhere"), cache_root=str(tmp_path / "disk of the other"))
    machines = [config, other]
    keys = []
    for machine in machines:
        scenes = load_split(machine, "train")
        found = fingerprint_of(scene.fingerprint for scene in scenes)
        plan = Plan(machine, method_of(machine), {"train": found})
        plan.clicks()
        keys.append([stage.key for stage in plan.stages])
    assert keys[0] == keys[1] and keys[0]
    for first, second in zip(*(load_split(machine, "train") for machine in machines), strict=True):
        assert_same(first, second)
    assert not set(contents(config)) & set(contents(other))
