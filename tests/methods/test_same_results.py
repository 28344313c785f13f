"""Equal seed, equal curve: losses and pseudo labels of before the methods got a frame of their own (version 0.1).

At so small a rate rounding hardly grows: other instruction sets and back ends move these losses by at most 1e-5, and
no label at all.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_experiment import tiny_experiment

from otoc_lib.methods.stages import Stages

BEFORE = json.loads((Path(__file__).parent / "same_results.json").read_text())


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_the_losses_of_twenty_steps_are_those_of_before(checkout, scenes, optimizer):
    few = {"unet_steps": 20, "relation_steps": 20, "learning_rate": 1e-4, "class_weights": "inverse_sqrt"}
    stages = Stages(tiny_experiment(f"same_{optimizer}", optimizer=optimizer, **few), scenes)
    for network in ("unet", "relation"):
        stage = stages.train(network, 1, stages.clicks())
        with (stage.path / "history.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        np.testing.assert_allclose(losses, BEFORE["losses"][f"{optimizer} {network}"], rtol=1e-4)


def test_the_pseudo_labels_are_those_of_before(finished, scenes):
    for scene in scenes.train:
        labels = load_file(finished[0].pseudo.path / f"{scene.name}.safetensors")["labels"]
        first = np.unique(scene.supervoxels, return_index=True)[1]  # a point of each super-voxel
        before = np.array(BEFORE["pseudo_labels"][scene.name])
        assert (labels[first] == before).mean() > 0.98 and (before >= 0).mean() > 0.8
