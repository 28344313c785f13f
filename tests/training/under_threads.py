"""Train all networks for two steps, with every backbone, and evaluate a room, under 1, 2 and 3 threads of PyTorch and
numba; print the names of what differs by a bit. A script, since numba must be told of three threads before it starts.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "3"

import numba
import torch
from conftest import make_room
from safetensors.torch import load_file
from tiny import tiny_config, true_labels

from otoc_lib.annotation.subclouds import cut_subclouds
from otoc_lib.methods.mprm import RegionMining
from otoc_lib.methods.one_thing_one_click import Contrast, predict_modes
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy

ROOMS = [make_room(f"scene{index:04d}_00", seed=index, spacing=0.05) for index in range(2)]
SETS = {"method": "mprm", "source": "subcloud", "subcloud_radius": 1.0}


def results(optimizer: str, width: int, coarse_loss: float, backbone: str = "unet") -> dict[str, torch.Tensor]:
    values = {"optimizer": optimizer, "unet_width": width, "coarse_loss": coarse_loss, "backbone": backbone}
    config = tiny_config(**values, **SETS, voxel_size=0.05, variant="unet_rel_gp")
    points, networks, found = true_labels(ROOMS), {}, {}
    sets = {room.name: cut_subclouds(room, config.subcloud_radius) for room in ROOMS}
    tasks = {"unet": CrossEntropy, "relation": Contrast} | ({"maps": RegionMining} if backbone == "unet" else {})
    for name, task in tasks.items():
        labels = sets if task.learns_sets else points
        made = task(config, ROOMS, labels)
        with tempfile.TemporaryDirectory() as folder:
            fit(config, made, ROOMS, labels, schedule=Schedule(2, 0.01), folder=Path(folder), key="k", seed=[0])
            weights = load_file(Path(folder) / "weights.safetensors")
        found |= {f"{backbone} {optimizer} {name} {key}": value for key, value in weights.items()}
        networks[name] = made.model.eval()
    modes = predict_modes(config, ROOMS[0], networks)
    return found | {f"{backbone} {optimizer} {mode}": scores.probabilities for mode, scores in modes.items()}


def main() -> None:
    by_threads = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        numba.set_num_threads(threads)
        by_backbone = results("muon", 4, 1.0, "minkunet34") | results("adam", 8, 0.0, "pointnet2")
        by_threads.append(results("adam", 8, 0.0) | results("muon", 16, 2.0) | by_backbone)
    one, *more = by_threads
    different = [name for name in one if not all(torch.equal(one[name], found[name]) for found in more)]
    print("\n".join(different) or f"all {len(one)} are equal")
    sys.exit(bool(different))


main()
