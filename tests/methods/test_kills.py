"""Killed at any moment, a run goes on to the bits of one that was left alone; a second process mixes nothing up.

The processes compute with one thread each: what threads do to bits is no matter of kills.
"""

import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time

import dying
import pytest

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="no processes that start ready to run"
)
PATIENCE = 300  # seconds, for a run of a few on a machine that does other things as well


@pytest.fixture(autouse=True, scope="module")
def environment():
    """Of every process that is started: the server of these tests is started by the first.

    Before Python 3.13 the server does not know this process's path, so that it could not import what they need.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves that was left alone, and how long one takes."""
    for name in ("first", "whole"):  # the first one waits for the server
        folder, started = tmp_path_factory.mktemp(name), time.monotonic()
        assert ended(dying.start(folder)) == 0, logs(folder)
    return dying.contents(folder), time.monotonic() - started


def ended(process):
    process.join(PATIENCE)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode


def logs(folder):
    return "\n".join(path.read_text() for path in folder.glob("*.log"))


def assert_same(folder, whole):
    found = dying.contents(folder)
    assert found.keys() == whole[0].keys()
    assert [name for name in found if found[name] != whole[0][name]] == []


def test_two_runs_that_are_left_alone_are_equal(whole, tmp_path):
    assert len(whole[0]) > 25 and {path.rsplit("/", 1)[-1] for path in whole[0]} >= {"clicks.csv", "metrics.json"}
    assert ended(dying.start(tmp_path)) == 0
    assert_same(tmp_path, whole)


def test_killed_at_every_write_it_goes_on_to_the_same_bits(whole, tmp_path):
    """Killed right after each change that leads to another state of the disk, until it gets through."""
    kills, states, before, at = 0, 0, None, 1
    while (code := ended(dying.start(tmp_path, at))) != 0:
        assert code == -signal.SIGKILL, logs(tmp_path)
        now = dying.contents(tmp_path)
        states, at = (states + 1, 1) if now != before else (states, at + 1)
        before, kills = now, kills + 1
    print(f"{kills} kills, {states} states of the disk")
    assert states > 60
    assert_same(tmp_path, whole)
    assert not [path for path in (tmp_path / "runs").rglob(".*.part")], "litter of killed writes"


def test_killed_at_random_moments_it_goes_on_to_the_same_bits(whole, tmp_path):
    generator, kills, seconds, resumed = random.Random(0), 0, whole[1], False
    for run in range(12):  # a run of its own where the one before got through
        folder, before = tmp_path / str(run), kills
        for _ in range(25):
            process = dying.start(folder)
            process.join(generator.uniform(0.05, 0.6) * seconds)
            process.kill()
            if ended(process) == 0:
                break
            assert process.exitcode == -signal.SIGKILL, logs(folder)
            kills += 1
        else:
            assert ended(dying.start(folder)) == 0, logs(folder)
        assert_same(folder, whole)
        in_stage = "was stopped while making it; going on from what it left" in logs(folder)
        resumed = resumed or in_stage
        if kills >= 25 and resumed:
            break
        if kills == before:  # the machine is faster than when it was timed
            seconds /= 2
        elif not in_stage:  # or slower: each died before it had begun a stage
            seconds *= 2
    assert kills >= 25, "it got through each time"
    assert resumed, f"{kills} kills, and no run went on from what a stage had left"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_in_a_training_it_saves_and_goes_on_to_the_same_bits(whole, tmp_path, number):
    """With checkpoints so rare that only the signal makes one."""
    process = dying.start(tmp_path, checkpoint_seconds=1e6, slow=True)
    part = tmp_path / "runs" / "p" / "otoc" / "unet_1.part"
    wait_for(lambda: "step 0 is done" in logs(tmp_path), process)
    os.kill(process.pid, number)
    assert ended(process) == (128 + number if number == signal.SIGTERM else 1), logs(tmp_path)
    assert (part / "checkpoint").is_file()
    assert ended(dying.start(tmp_path, checkpoint_seconds=1e6)) == 0
    assert_same(tmp_path, whole)


def test_a_full_disk_is_one_error_and_the_run_goes_on_to_the_same_bits(whole, tmp_path):
    """A disk in memory of so many blocks, enlarged step by step until all fits."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("no disk can be mounted here; test_stages fills one in another way")
    try:
        size, full = 64, 0
        while (code := ended(dying.start(disk, logs=tmp_path))) != 0:
            error = logs(tmp_path).strip().splitlines()[-1]
            assert code == 1 and re.search(
                r"CannotWriteError: .*: cannot be written, the disk is full; make room", error
            )
            full, size = full + 1, size * 5 // 4
            os.system(f"mount -o remount,size={size}k {disk}")
        assert full > 3
        assert_same(disk, whole)
    finally:
        os.system(f"umount {disk}")


# --- two processes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(4))
def test_two_processes_with_one_experiment_share_the_work(whole, tmp_path, trial):
    processes = [dying.start(tmp_path)]
    time.sleep(trial * whole[1] / 8)
    processes.append(dying.start(tmp_path))
    assert [ended(process) for process in processes] == [0, 0], logs(tmp_path)
    assert_same(tmp_path, whole)
    assert not [path for path in (tmp_path / "runs").rglob("*.part")]


@pytest.mark.parametrize("trial", range(4))
def test_two_processes_with_other_parameters_never_file_wrong_weights(whole, tmp_path, trial):
    """One may stop with an error that says what happened; what is finished is what its key says."""
    other = tmp_path / "other"
    assert ended(dying.start(other, voxel_size=0.2)) == 0
    alone = {"0.1": whole[0], "0.2": dying.contents(other)}
    folder = tmp_path / "both"
    processes = [dying.start(folder, voxel_size=0.1)]
    time.sleep(trial * whole[1] / 8)
    processes.append(dying.start(folder, voxel_size=0.2))
    codes = [ended(process) for process in processes]
    text = logs(folder)
    assert 0 in codes or "made anew with other parameters by another process" in text, text
    for code, process in zip(codes, processes, strict=True):
        said = (folder / f"{process.pid}.log").read_text()
        assert code == 0 or re.search("OtocError: .* made anew with other parameters by another process", said), said
    # Every stage that lies there, the stages that it was made from included, is that of one of the two runs alone.
    found = dying.contents(folder)
    stages = {name.rsplit("/", 1)[0] for name in found}
    assert stages
    for stage in stages:
        mine = {name: digest for name, digest in found.items() if name.startswith(f"{stage}/")}
        assert any(mine.items() <= run.items() for run in alone.values()), stage
    for size in ("0.1", "0.2"):  # and each run goes on to its own end
        shutil.copytree(folder, tmp_path / size, dirs_exist_ok=True)
        assert ended(dying.start(tmp_path / size, voxel_size=float(size))) == 0
        found = dying.contents(tmp_path / size)
        assert {name: digest for name, digest in found.items() if name in alone[size]} == alone[size]


def test_two_experiments_train_what_they_share_once(whole, tmp_path):
    processes = [dying.start(tmp_path), dying.start(tmp_path, experiment="control", method="control")]
    assert [ended(process) for process in processes] == [0, 0], logs(tmp_path)
    runs = tmp_path / "runs" / "p"
    made = [run for run in ("otoc", "control") if (runs / run / "unet_1" / "weights.safetensors").is_file()]
    assert len(made) == 1
    found = dying.contents(tmp_path)
    assert found[f"p/{made[0]}/unet_1/weights.safetensors"] == whole[0]["p/otoc/unet_1/weights.safetensors"]


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
