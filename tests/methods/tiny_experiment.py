"""The smallest experiment that runs a whole method."""

from tiny import TINY

from otoc_lib.config import Config, config_from

STEPS = {
    "unet_steps": 30,
    "unet_steps_later": 4,
    "relation_steps": 15,
    "relation_steps_later": 4,
    "self_train_iterations": 2,
    "threshold": 0.5,
}


def tiny_experiment(experiment: str = "otoc", **values) -> Config:
    return config_from({**TINY, **STEPS, "experiment": experiment, **values})
