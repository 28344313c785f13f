"""A method is a file: what its name finds, which parameters it adds, and what a wrong one is told."""

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
from tiny import TINY
from tiny_experiment import STEPS

from otoc_lib import config as config_module
from otoc_lib.config import Config, config_from, param
from otoc_lib.errors import OtocError
from otoc_lib.experiments import plan
from otoc_lib.methods import control
from otoc_lib.methods.method import Method
from otoc_lib.methods.stages import method_of, run_method
from otoc_lib.training.task import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class Parameters(Config):
    """What the file adds."""

    sharpness: float = param(0.5, "sharpened", low=0)


class Sharpened(CrossEntropy):
    """A task that reads it."""

    reads = ("unet", "sharpened")

    def loss(self, batches, step, generator, shares):
        return self.config.sharpness * super().loss(batches, step, generator, shares)


@pytest.fixture
def method_file(monkeypatch, tmp_path):
    """Add a method ``sharpened`` as if its file lay in otoc_lib/methods."""
    module = ModuleType("otoc_lib.methods.sharpened")
    module.METHOD = Method("Sharpened", control.loop, networks=lambda config: {"unet": Sharpened})
    module.Parameters = Parameters
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = config_module._defined

    def defined(path):
        return {"METHOD": None, "Parameters": None} if path.stem == "sharpened" else found(path)

    monkeypatch.setattr(config_module, "_defined", defined)
    field = Config.__dataclass_fields__["method"]
    names = field.metadata["one_of"]
    monkeypatch.setattr(field, "metadata", {**field.metadata, "one_of": lambda: [*names(), "sharpened"]})
    return module


def sharpened(**values):
    return config_from({**TINY, **STEPS, "experiment": "sharp", "method": "sharpened", **values})


def test_a_file_is_found_by_its_name_and_may_add_parameters(method_file, scenes):
    config = sharpened(sharpness=0.25, unet_steps=2, unet_steps_later=1)
    assert config.sharpness == 0.25 and method_of(config) is method_file.METHOD
    names = {stage.name for stage in plan("03_self_train", config).stages}
    assert names == {"clicks", "unet_1", "evaluate_1", "unet_2", "evaluate_2"}
    first, _ = run_method(config, scenes)
    assert '"sharpness": 0.25' in (first.unet.path / "manifest.json").read_text()


def test_its_parameters_are_checked_like_the_others_and_known_to_it_alone(method_file):
    with pytest.raises(OtocError, match="'sharpness' must be at least 0"):
        sharpened(sharpness=-1.0)
    with pytest.raises(OtocError, match="unknown parameter 'sharpnes'; did you mean 'sharpness'"):
        sharpened(sharpnes=1.0)
    with pytest.raises(OtocError, match="unknown parameter 'sharpness'"):
        config_from({**TINY, "experiment": "otoc", "sharpness": 1.0})


def test_a_parameter_without_its_groups_is_refused(method_file):
    @dataclass(frozen=True, kw_only=True)
    class Plain(Config):
        sharpness: float = 0.5

    method_file.Parameters = Plain
    with pytest.raises(OtocError, match=r"sharpened\.py: write the parameter 'sharpness' as name: type = param"):
        sharpened()
