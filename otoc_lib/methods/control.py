"""The control of every gain: the labels stay those of the clicks; networks, steps and restarts are the method's.

It trains and predicts what the same ``variant`` of ``one_thing_one_click`` does, so that every mode of the method has a
control in the same mode. On every label (``source: all``) its first iteration is full supervision.
"""

from collections.abc import Iterator
from dataclasses import replace

from otoc_lib.config import Config
from otoc_lib.methods import one_thing_one_click
from otoc_lib.methods.method import Iteration, Method, Networks, Scores, predict_unet
from otoc_lib.methods.stages import Stages
from otoc_lib.scene import Scene
from otoc_lib.store import Stage


def loop(stages: Stages) -> Iterator[Iteration]:
    """Train the networks again and again on the same labels, each time from where they were."""
    labels, trained, every = stages.clicks(), {}, []
    for number in stages.config.iterations:
        trained = stages.train_all(number, labels, warm_start=trained)
        every.append(trained)
        shown = stages.mean_of_last(every)
        yield Iteration(number, shown, stages.evaluate(f"evaluate_{number}", shown))


METHOD = replace(one_thing_one_click.METHOD, title="Control: clicks only, as many steps", loop=loop, scores=None)


# --- the first U-Net alone --------------------------------------------------------------------------------------------


def predict_baseline(config: Config, scene: Scene, networks: Networks) -> dict[str, Scores]:
    """Modes of the U-Net alone, and after propagation where the variant asks for no network beside it."""
    predicts = one_thing_one_click.predict_modes if config.variant == "unet_gp" else predict_unet
    return predicts(config, scene, networks)


def baseline_reads(config: Config) -> tuple[str, ...]:
    """Groups of parameters that ``predict_baseline`` reads."""
    return one_thing_one_click.reads(config) if config.variant == "unet_gp" else ("variant",)


BASELINE = Method(
    title="The U-Net of the first iteration",
    loop=loop,
    predict=predict_baseline,
    modes=("point", "sv", "full"),
    reads=baseline_reads,
    version=one_thing_one_click.METHOD.version,
)


def train_baseline(stages: Stages) -> tuple[Stage, Stage]:
    """The U-Net of the first iteration alone and its evaluation: rows "*" of the tables, and full supervision.

    stages: of ``BASELINE``, whatever method the experiment goes on with.
    """
    unet = stages.train("unet", 1, stages.clicks())
    return unet, stages.evaluate("evaluate_baseline", {"unet": unet})
