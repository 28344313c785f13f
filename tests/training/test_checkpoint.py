"""Checkpoints: what is saved is given back, for its own stage alone; damage is told; signals save and stop."""

import io
import os
import pickle
import signal
import threading
import time

import pytest
import torch
from test_fit import losses, train
from tiny import tiny_config, true_labels

from otoc_lib.training import batches
from otoc_lib.training import checkpoint as module
from otoc_lib.training.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint, signals_asked
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy

CPU = torch.device("cpu")


def test_the_last_state_is_given_back_and_the_one_before_is_kept(tmp_path):
    path = tmp_path / "checkpoint"
    assert load_checkpoint(path, "k", CPU) is None
    for step in (1, 2, 3):
        save_checkpoint(path, "k", {"step": step, "model": {"w": torch.full((2,), float(step))}})
        state = load_checkpoint(path, "k", CPU)
        assert state["step"] == step and state["model"]["w"].tolist() == [step, step]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint", "checkpoint.previous"]
    path.unlink()  # a kill between the renamings
    assert load_checkpoint(path, "k", CPU)["step"] == 2
    remove_checkpoints(path)
    assert not list(tmp_path.iterdir())


def foreign_pickle():
    class Runs:
        def __reduce__(self):
            return os.mkdir, ("executed",)

    buffer = io.BytesIO()
    torch.save({"key": "k", "bad": Runs()}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["empty", "junk", "truncated", "flipped", "foreign code", "another stage"])
def test_a_checkpoint_that_cannot_be_used_is_set_aside_for_the_one_before(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint"
    for step in (1, 2):
        save_checkpoint(path, "k", {"step": step, "model": {"w": torch.zeros(1000)}})
    whole = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "junk":
            path.write_bytes(b"\x80\x04junk" * 50)
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "flipped":
            path.write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 4]) + whole[-1999:])
        case "foreign code":
            data = foreign_pickle()
            path.write_bytes(module.hashlib.sha256(data).digest() + data)
        case "another stage":
            save_checkpoint(tmp_path / "other", "another", {"step": 9})
            (tmp_path / "other").rename(path)
    with pytest.warns(UserWarning, match=r"checkpoint: cannot be resumed from .* set aside as checkpoint\.damaged"):
        assert load_checkpoint(path, "k", CPU)["step"] == 1
    assert not (tmp_path / "executed").exists() and (tmp_path / "checkpoint.damaged").exists()
    (tmp_path / "checkpoint.previous").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"checkpoint\.previous: cannot be resumed from"):
        assert load_checkpoint(path, "k", CPU) is None


def test_a_pickle_alone_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"key": "k"})
    (tmp_path / "checkpoint").write_bytes(module.hashlib.sha256(data).digest() + data)
    with pytest.warns(UserWarning, match="cannot be resumed from"):
        assert load_checkpoint(tmp_path / "checkpoint", "k", CPU) is None


class Signalled(CrossEntropy):
    """Gets a signal in the middle of step 3."""

    number = signal.SIGTERM

    def loss(self, batches, step, generator, shares):
        if step == 3:
            signal.raise_signal(self.number)
        return super().loss(batches, step, generator, shares)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt), (signal.SIGUSR1, None)]
)
def test_a_signal_saves_the_step_that_it_came_in_and_the_rest_equals_an_uninterrupted_run(
    rooms, tmp_path, monkeypatch, number, raised
):
    labels, schedule, saved = true_labels(rooms), Schedule(6, 0.01), []
    train(CrossEntropy, tiny_config(), rooms, labels, schedule, tmp_path / "whole")
    monkeypatch.setattr(Signalled, "number", number)
    original = module.save_checkpoint
    monkeypatch.setattr(
        "otoc_lib.training.fit.save_checkpoint",
        lambda path, key, state: saved.append(state["step"]) or original(path, key, state),
    )
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    if raised:
        with pytest.raises(raised) as stopped:
            train(Signalled, tiny_config(), rooms, labels, schedule, tmp_path / "parts")
        assert raised is KeyboardInterrupt or stopped.value.code == 128 + number
    else:
        train(Signalled, tiny_config(), rooms, labels, schedule, tmp_path / "parts")
    assert saved == [4]
    assert handlers == [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    train(CrossEntropy, tiny_config(), rooms, labels, schedule, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name in ("whole", "parts"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["history.csv", "weights.safetensors"]
    assert (tmp_path / "whole/weights.safetensors").read_bytes() == (
        tmp_path / "parts/weights.safetensors"
    ).read_bytes()


def test_a_batch_that_never_comes_since_the_process_is_stopped_costs_no_step(rooms, tmp_path, monkeypatch):
    """A kernel of Jupyter that is shut down ends its workers, maybe while the training waits for one of them."""
    labels, schedule, config = true_labels(rooms), Schedule(6, 0.01), tiny_config(workers=1)
    train(CrossEntropy, config, rooms, labels, schedule, tmp_path / "whole")
    original, asked_for = batches.make_batch, []

    def never(samples, backend):
        asked_for.append(samples)
        if len(asked_for) == 4:
            (tmp_path / "worker").write_text(str(os.getpid()))
            time.sleep(1000)
        return original(samples, backend)

    class Third(CrossEntropy):
        done = threading.Event()

        def after_step(self, step):
            if step == 2:
                self.done.set()

    def stop():
        Third.done.wait()
        time.sleep(1)  # by now it waits for the fourth batch
        os.kill(os.getpid(), signal.SIGTERM)
        while not (tmp_path / "worker").exists():
            time.sleep(0.1)
        os.kill(int((tmp_path / "worker").read_text()), signal.SIGTERM)

    threading.Thread(target=stop).start()
    monkeypatch.setattr(batches, "make_batch", never)
    with pytest.raises(SystemExit) as stopped:
        train(Third, config, rooms, labels, schedule, tmp_path / "parts")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert load_checkpoint(tmp_path / "parts/checkpoint", "k", CPU)["step"] == 3
    monkeypatch.setattr(batches, "make_batch", original)
    train(CrossEntropy, config, rooms, labels, schedule, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_worker_that_is_killed_is_an_error(rooms, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "make_batch", lambda samples, backend: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError, match="worker"):
        train(CrossEntropy, tiny_config(workers=1), rooms, true_labels(rooms), Schedule(6, 0.01), tmp_path)


@pytest.fixture
def interruptible():
    """SIGINT as in the foreground: shells start what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_does_not_wait(interruptible):
    with pytest.raises(KeyboardInterrupt), signals_asked() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.to_save and asked.to_stop == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        raise AssertionError


def test_sigterm_may_come_twice():
    with signals_asked() as asked:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert asked.to_save and asked.to_stop == signal.SIGTERM


def test_other_threads_train_without_signals():
    seen = []

    def work():
        with signals_asked() as asked:
            asked.stop()
            seen.append(asked.to_save)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_training_that_is_finished_is_not_done_again(rooms, tmp_path):
    labels, schedule = true_labels(rooms), Schedule(2, 0.01)
    train(CrossEntropy, tiny_config(), rooms, labels, schedule, tmp_path)
    before = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "checkpoint").write_bytes(b"left by a kill between the weights and this")
    train(CrossEntropy, tiny_config(), rooms, labels, Schedule(100_000, 0.01), tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == before and not (tmp_path / "checkpoint").exists()
