"""One of several processes that make a stage: ``python -m otoc_lib.methods.together``, started by ``several.py``."""

from importlib import import_module
from typing import Any

from otoc_lib import processes
from otoc_lib.config import config_from
from otoc_lib.datasets import load_split
from otoc_lib.errors import OtocError
from otoc_lib.methods.several import restored
from otoc_lib.methods.stages import Scenes, Stages
from otoc_lib.scene import Scene
from otoc_lib.training.launch import work_together


def work(job: dict[str, Any]) -> None:
    """Do what ``several.share_out`` wrote down; of rooms that are named in it, every so manyeth.

    Raises OtocError where the rooms that the config names are not those that the job is about.
    """
    config = config_from(job["config"], "devices")
    module, name = job["method"].split(":")
    train = load_split(config, "train", config.train_rooms) if "train" in job["fingerprints"] else []
    splits = {split: load_split(config, split, config.eval_rooms) for split in job["splits"]}
    stages = Stages(config, Scenes(train, splits), getattr(import_module(module), name))
    for split, fingerprint in job["fingerprints"].items():
        if stages.fingerprint(split) != fingerprint:
            raise OtocError(
                f"parameter 'devices': every process reads the rooms of {split!r} from {config.data_folder}, and they "
                "are not those that this one was given; run what load_scenes gives, or set devices to 1"
            )
    of_job = [scene for scenes in splits.values() for scene in scenes] if splits else train
    rooms: dict[str, Scene] = {scene.name: scene for scene in of_job}
    arguments = {name: restored(value, rooms) for name, value in job["arguments"]["dict"].items()}
    if "rooms" in arguments:
        arguments["rooms"] = arguments["rooms"][processes.rank() :: processes.count()]
    getattr(stages, job["work"])(**arguments)


if __name__ == "__main__":
    work_together(work)
