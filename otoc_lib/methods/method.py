"""What a method is to ``stages``: a value that names its networks and says how it learns, predicts and relabels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoc_lib.config import Config
from otoc_lib.labels import IGNORE
from otoc_lib.scene import Scene
from otoc_lib.store import Stage
from otoc_lib.supervoxels.pooling import pool_mean
from otoc_lib.training.predict import predict
from otoc_lib.training.task import CrossEntropy, Task

Networks = dict[str, Any]  # nn.Module by name, trained, on the compute device, in eval mode


@dataclass(frozen=True)
class Iteration:
    """The finished stages of one pass through a method's loop."""

    number: int
    networks: dict[str, Stage]
    evaluation: Stage
    pseudo: Stage | None = None

    @property
    def unet(self) -> Stage:
        return self.networks["unet"]

    @property
    def relation(self) -> Stage | None:
        return self.networks.get("relation")


@dataclass(frozen=True)
class Scores:
    """Class probabilities of one room that labels may be made of: float32 [K, C] of its K nodes, on any device.

    nodes: the node of every point, int64 [N] on the CPU; None where the points are the nodes. before: the probabilities
    before propagation, float32 [K, C], so that what the graph changes can be counted; None where there is none.
    """

    probabilities: Tensor
    nodes: Tensor | None
    before: Tensor | None = None

    def labels(self) -> np.ndarray:
        """The likeliest class of every point, int16 [N]."""
        return self._at_points(self.probabilities.argmax(dim=1).to(torch.int16))

    def confidence(self) -> np.ndarray:
        """Its probability, float32 [N]."""
        return self._at_points(self.probabilities.amax(dim=1))

    def weighted(self, scene: Scene, weights: np.ndarray) -> "Scores":
        """These times weights float32 [M, C] of the super-voxels; no longer a distribution.

        scene: the room. Its super-voxels are the nodes where the points are not.
        """
        of_nodes = torch.from_numpy(weights).to(self.probabilities.device)
        if self.nodes is None:
            of_nodes = of_nodes[supervoxel_nodes(scene).to(of_nodes.device)]
        before = None if self.before is None else self.before * of_nodes
        return replace(self, probabilities=self.probabilities * of_nodes, before=before)

    def at_points(self) -> Tensor:
        """Class probabilities [N, C] of the points, on the CPU."""
        probabilities = self.probabilities.cpu()
        return probabilities if self.nodes is None else probabilities[self.nodes]

    def _at_points(self, of_nodes: Tensor) -> np.ndarray:
        of_nodes = of_nodes.cpu()
        return (of_nodes if self.nodes is None else of_nodes[self.nodes]).numpy()


def supervoxel_nodes(scene: Scene) -> Tensor:
    """The super-voxel of every point, int64 [N], on the CPU."""
    return torch.from_numpy(scene.supervoxels.astype(np.int64))


def predict_unet(config: Config, scene: Scene, networks: Networks) -> dict[str, Scores]:
    """Modes of a U-Net alone: ``point``, as it is (the paper's dagger), and ``sv``, averaged in super-voxels, the
    control of everything that works on super-voxels."""
    return unet_modes(scene, predict(config, scene, networks["unet"], None).probabilities)


def unet_modes(scene: Scene, probabilities: Tensor) -> dict[str, Scores]:
    """``point`` and ``sv``, on the CPU, of a U-Net's probabilities [N, C] on any device."""
    probabilities, supervoxels = probabilities.cpu(), supervoxel_nodes(scene)
    pooled = pool_mean(probabilities, supervoxels, scene.num_supervoxels)  # [M, C]
    return {"point": Scores(probabilities, None), "sv": Scores(pooled, supervoxels)}


def may_be_labelled(count: int, nodes: np.ndarray | None, no_class: np.ndarray) -> np.ndarray:
    """Which of the ``count`` nodes of a room a rule may label, bool [K]: all but those whose points are of no class.

    Args:
        nodes: the node of every point, int [N]; None where the points are the nodes.
        no_class: bool [N], what ``clicks.of_no_class`` gives.
    """
    if nodes is None:
        return ~no_class
    allowed = np.ones(count, dtype=bool)
    allowed[nodes[no_class]] = False
    allowed[nodes[~no_class]] = True
    return allowed


def at_points(labels: np.ndarray, allowed: np.ndarray, nodes: np.ndarray | None, no_class: np.ndarray) -> np.ndarray:
    """Labels of the nodes that are ``allowed``, in their order, at the points: int16 [N], IGNORE where a point is of no
    class. The other arguments are those of ``may_be_labelled``."""
    of_nodes = np.full(len(allowed), IGNORE, dtype=np.int16)
    of_nodes[allowed] = labels
    of_points = of_nodes if nodes is None else of_nodes[nodes]
    return np.where(no_class, np.int16(IGNORE), of_points)


@dataclass(frozen=True)
class Method:
    """A method. Its file in otoc_lib/methods assigns one to ``METHOD``; a params file names the file.

    Args:
        title: in tables and the report.
        loop: runs the stages of an experiment, given as ``stages.Stages``, iteration by iteration. It is run twice:
            once to plan, with stages that make nothing, so it may look at keys and the config, but not into folders.
        networks: name -> task of every network that is trained for a config.
        predict: class probabilities of one room by mode of inference, the first mode first.
        modes: those of what ``predict`` may give that are rows of tables.
        scores: what pseudo labels are made of, by the rule that the config names; None for a method without any.
        controls: values of its own parameters. The control of an experiment has the first of them that this has not,
            and is the same otherwise; () where it is the same with ``method: control``.
        reads: groups of parameters that ``predict`` and ``scores`` read for a config, beside "network" and "inference".
        version: of ``predict`` and ``scores``; raise it when they change their meaning.
    """

    title: str
    loop: Callable[..., Iterator[Iteration]]
    networks: Callable[[Config], dict[str, type[Task]]] = lambda config: {"unet": CrossEntropy}
    predict: Callable[[Config, Scene, Networks], dict[str, Scores]] = predict_unet
    modes: tuple[str, ...] = ("point", "sv")
    scores: Callable[[Config, Scene, Networks], Scores] | None = None
    controls: tuple[dict[str, Any], ...] = ()
    reads: Callable[[Config], tuple[str, ...]] = lambda config: ()
    version: int = 1
