"""A worker lives on at SIGTERM, unless the process that it works for sends it."""

import os
import signal
import subprocess
import sys
import time

import psutil
import torch
from torch.utils.data import DataLoader, Dataset

from otoc_lib.training.workers import outlive_signals

PATIENCE = 60  # seconds


class Slow(Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.05)
        return torch.tensor(index)


def workers() -> list[psutil.Process]:
    return psutil.Process().children()


def test_a_worker_outlives_what_a_cluster_sends_to_all():
    before = {process.pid for process in workers()}
    found = []
    for value in DataLoader(Slow(), batch_size=None, num_workers=1, worker_init_fn=outlive_signals):
        found.append(int(value))
        if len(found) == 3:
            (worker,) = [process for process in workers() if process.pid not in before]
            send = f"import os; os.kill({worker.pid}, {int(signal.SIGTERM)})"
            subprocess.run([sys.executable, "-c", send], check=True)  # another process, as Slurm's is
    assert found == list(range(20))
    worker.wait(PATIENCE)  # it goes with its loader


def test_a_worker_ends_where_its_own_process_says_so():
    before = {process.pid for process in workers()}
    loader = iter(DataLoader(Slow(), batch_size=None, num_workers=1, worker_init_fn=outlive_signals))
    next(loader)
    (worker,) = [process for process in workers() if process.pid not in before]
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(PATIENCE)
    del loader
