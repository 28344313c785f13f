"""Locks: two processes, a dead owner, a file system without any."""

import json
import os
import signal
import subprocess
import sys
import time

import filelock
import pytest

from otoc_lib import lock as lock_module
from otoc_lib.errors import OtocError
from otoc_lib.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from otoc_lib.lock import locked
with locked(Path(sys.argv[1]), "the stage"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path):
    """Another process that holds the lock until a line is written to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_process_waits_and_says_for_whom(tmp_path, capfd, monkeypatch):
    path, said = tmp_path / "lock", []
    process = holder(path)

    def say(text):  # once it has said that it waits, the other one may go on
        said.append(text)
        process.stdin.write("\n")
        process.stdin.flush()

    monkeypatch.setattr(lock_module, "_say", say)
    with locked(path, "the stage"):
        assert process.wait(timeout=60) == 0
        owner = json.loads((tmp_path / "lock.owner").read_text())
    assert owner["process"] == os.getpid() and owner["since"].startswith("20")
    assert len(said) == 1 and said[0].startswith(f"the stage: waiting for process {process.pid} on this machine, since")
    assert not (tmp_path / "lock.owner").exists()


def test_waiting_is_said_again_from_time_to_time(tmp_path, monkeypatch):
    process, said = holder(tmp_path / "lock"), []

    def say(text):
        said.append(text)
        if len(said) == 3:
            process.communicate("\n", timeout=60)

    monkeypatch.setattr(lock_module, "_say", say)
    monkeypatch.setattr(lock_module, "SAY_SECONDS", 0.0)
    with locked(tmp_path / "lock", "the stage"):
        pass
    assert len(said) >= 3 and set(said) == {said[0]}


def test_who_holds_a_lock_can_be_asked_without_waiting(tmp_path):
    assert lock_module.holder(tmp_path / "lock") is None
    process = holder(tmp_path / "lock")
    who, since = lock_module.holder(tmp_path / "lock")
    assert who.startswith(f"process {process.pid} on this machine") and since.startswith("20")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert (tmp_path / "lock.owner").exists() and lock_module.holder(tmp_path / "lock") is None
    with locked(tmp_path / "lock", "the stage"):
        pass
    assert lock_module.holder(tmp_path / "lock") is None


def test_a_dead_owner_is_taken_over_and_told(tmp_path, capfd):
    process = holder(tmp_path / "lock")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    started = time.monotonic()
    with locked(tmp_path / "lock", "the stage"):
        pass
    told = capfd.readouterr().err
    assert f"the stage: process {process.pid} on this machine, since " in told and "was stopped while making it" in told
    assert time.monotonic() - started < 30
    with locked(tmp_path / "lock", "the stage"):
        pass
    assert capfd.readouterr().err == ""  # told once


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"process": 1}', b"\xff\xfe"])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path, capfd, junk):
    (tmp_path / "lock.owner").write_bytes(junk)
    with locked(tmp_path / "lock", "the stage"):
        pass
    assert "the stage: another process was stopped while making it" in capfd.readouterr().err


def test_an_error_in_the_block_gives_the_lock_back(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), locked(tmp_path / "lock", "the stage"):
        raise RuntimeError("inside")
    process = holder(tmp_path / "lock")
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def acquire(self, **options):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(OtocError, match=r"lock: cannot be locked \(.*No locks available\).*keep the runs where"):
        with locked(tmp_path / "lock", "the stage"):
            raise AssertionError


def test_a_command_under_a_lock_waits_and_gives_its_status(tmp_path):
    process = holder(tmp_path / "lock")
    command = [sys.executable, "-m", "otoc_lib.lock", str(tmp_path / "lock"), "the work", sys.executable, "-c"]
    waiting = subprocess.Popen([*command, "import sys; sys.exit(7)"], stderr=subprocess.PIPE, text=True)
    assert waiting.stderr.readline().startswith(f"the work: waiting for process {process.pid} on this machine")
    process.communicate("\n", timeout=60)
    assert waiting.wait(timeout=60) == 7 and waiting.stderr.read() == ""


def test_a_command_under_a_lock_ends_when_it_is_asked_to(tmp_path):
    script = "import time; print('begun', flush=True); time.sleep(600)"
    command = [sys.executable, "-m", "otoc_lib.lock", str(tmp_path / "lock"), "the work", sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    assert process.wait(timeout=60) != 0
    assert not (tmp_path / "lock.owner").exists()
