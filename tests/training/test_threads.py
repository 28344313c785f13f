"""The number of CPU threads changes no bit of a training and an evaluation."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from otoc_lib.training.losses import point_cross_entropy
from otoc_lib.training.voxels import VoxelLabels

TESTS = Path(__file__).parents[1]


def test_of_two_steps_of_both_networks_and_the_evaluation_of_a_room():
    script = Path(__file__).with_name("under_threads.py")
    # Not sys.path: the folders of other tests are in it, with a conftest each.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("all [0-9]{3,} are equal", done.stdout)


def test_of_the_loss_over_more_labels_than_one_thread_sums_at_once():
    generator = torch.Generator().manual_seed(0)
    count, voxels, classes = 1_000_000, 20_000, 20
    labels = VoxelLabels(
        torch.randint(voxels, (count,), generator=generator).sort().values,
        torch.randint(classes, (count,), generator=generator),
        torch.randint(1, 9, (count,), generator=generator).float(),
    )
    logits = torch.randn(voxels, classes, generator=generator).requires_grad_()
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        loss = point_cross_entropy(logits, labels, torch.linspace(0.5, 2, classes))
        found.append([loss, *torch.autograd.grad(loss, logits)])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
