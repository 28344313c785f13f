"""The batches of a training run, and the loader that makes them ahead."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from otoc_lib.config import Config
from otoc_lib.scene import Scene
from otoc_lib.training.voxels import Batch, make_batch, training_sample


class Batches(Dataset):
    """Batch number ``step`` of a training run, a pure function of the seed and the step: a resumed run equals one
    that was never interrupted, whatever the number of worker processes."""

    def __init__(self, config: Config, scenes: list[Scene], labels: dict[str, np.ndarray], seed: list[int]) -> None:
        self.config, self.scenes, self.labels, self.seed = config, scenes, labels, seed
        self.batch_size = min(config.batch_size, len(scenes))
        self.per_epoch = len(scenes) // self.batch_size

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.per_epoch)
        order = np.random.default_rng([*self.seed, epoch]).permutation(len(self.scenes))
        samples = []
        for index in order[position * self.batch_size : (position + 1) * self.batch_size]:
            scene = self.scenes[index]
            generator = np.random.default_rng([*self.seed, epoch, int(index)])
            samples.append(training_sample(scene, self.labels[scene.name], self.config, generator))
        return make_batch(samples, self.config.sparse_backend)


def batch_loader(batches: Batches, steps: range, workers: int, device: torch.device) -> DataLoader:
    """The batches of some steps in order, made ahead by worker processes, or here and now where there are none."""
    return DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=device.type == "cuda")
