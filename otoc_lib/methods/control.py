"""The control of every gain: the labels stay those of the clicks, with the steps and the restarts of self-training.

On every label (``source: all``) its first iteration is full supervision.
"""

from collections.abc import Iterator

from otoc_lib.methods.method import Iteration, Method
from otoc_lib.methods.stages import Stages
from otoc_lib.store import Stage


def loop(stages: Stages) -> Iterator[Iteration]:
    """Train the U-Net again and again on the same labels, each time from where it was."""
    labels, unet = stages.clicks(), None
    for number in stages.config.iterations:
        unet = stages.train("unet", number, labels, warm_start=unet)
        yield Iteration(number, {"unet": unet}, stages.evaluate(f"evaluate_{number}", {"unet": unet}))


def train_baseline(stages: Stages) -> tuple[Stage, Stage]:
    """The U-Net of the first iteration alone and its evaluation: rows "*" of the tables, and full supervision.

    stages: of this method, whatever method the experiment goes on with.
    """
    unet = stages.train("unet", 1, stages.clicks())
    return unet, stages.evaluate("evaluate_baseline", {"unet": unet})


METHOD = Method("Control: clicks only, as many steps", loop)
