"""Triton on machines without a GPU."""

import pytest
import torch


@pytest.fixture
def triton_device(monkeypatch):
    """A GPU, or the CPU through Triton's interpreter, which must be on before the kernel is imported."""
    pytest.importorskip("triton", reason="triton is not installed (it has Linux builds only)")
    if torch.cuda.is_available():
        return torch.device("cuda")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return torch.device("cpu")
