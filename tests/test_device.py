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
