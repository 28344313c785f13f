import pytest
import torch
from tiny import tiny_config

from otoc_lib.device import choose_device
from otoc_lib.errors import OtocError


def test_auto_prefers_cuda():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device(tiny_config(device="auto")).type == expected
    assert choose_device(tiny_config(device="cpu")).type == "cpu"


def test_an_unknown_device_or_one_that_is_not_there_is_refused():
    with pytest.raises(OtocError, match="device"):
        choose_device(tiny_config(device="tpu9"))
    if not torch.cuda.is_available():
        with pytest.raises(OtocError, match="CUDA"):
            choose_device(tiny_config(device="cuda"))


@pytest.mark.parametrize(
    ("found", "asked", "words"),
    [
        (0, "cuda", "'device': cuda, but this machine has 0 CUDA devices; use auto, cpu$"),
        (0, "cuda:1", "has 0 CUDA devices; use auto, cpu$"),
        (2, "cuda:2", "'device': cuda:2, but this machine has 2 CUDA devices; use auto, cpu, cuda:0, cuda:1$"),
        (2, "cuda:99", "has 2 CUDA devices"),
        (1, "cuda", None),
        (2, "cuda:1", None),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(monkeypatch, found, asked, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    if words is None:
        assert choose_device(tiny_config(device=asked)) == torch.device(asked)
    else:
        with pytest.raises(OtocError, match=words):
            choose_device(tiny_config(device=asked))


def test_convolutions_of_the_cpu_are_not_tried_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("auto", "cuda", "cuda:0"):
        with pytest.raises(OtocError, match="'sparse_backend': numba does not run on CUDA"):
            choose_device(tiny_config(device=device, sparse_backend="numba"))
    assert choose_device(tiny_config(device="cpu", sparse_backend="numba")).type == "cpu"
