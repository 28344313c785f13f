"""Weights that a network starts from: what fits, what is refused and why, and that nothing in a file is executed."""

import warnings
from pathlib import Path

import pytest
import torch
from memory import at_most
from safetensors.torch import save_file
from test_minkunet34 import dense_logits, published
from test_unet import batch, draw_room

from otoc_lib.errors import OtocError
from otoc_lib.models.minkunet34 import MinkUNet34
from otoc_lib.models.unet import UNet
from otoc_lib.models.weights import initial_state, read_weights


def unet(classes=5, seed=0, **values):
    torch.manual_seed(seed)
    return UNet(**{"in_channels": 6, "width": 4, "levels": 3, "blocks": 1, **values}, num_classes=classes)


def saved(path, state, **more):
    """A file of torch.save, or safetensors."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, **more} if more else state, path)
    return path


def assert_same(state, wanted):
    assert state.keys() == wanted.keys() and all(torch.equal(state[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_weights_of_the_same_network_are_taken_whole_and_quietly(tmp_path, name):
    wanted, network = unet(seed=1).state_dict(), unet(seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = initial_state(saved(tmp_path / name, wanted), network)
    assert_same(state, wanted)
    assert_same(network.state_dict(), before)
    network.load_state_dict(state)


def test_half_precision_is_widened(tmp_path):
    halves = unet(seed=1).half().state_dict()
    state = initial_state(saved(tmp_path / "w.safetensors", halves), unet())
    assert state["stem.weight"].dtype == torch.float32
    assert torch.equal(state["stem.weight"], halves["stem.weight"].float())


def test_a_public_checkpoint_gives_its_outputs(tmp_path):
    """With all that lies beside the state in such a file."""
    state, rooms = published(2, 6, 5), (draw_room(0),)
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    more = {"iteration": 60_000, "epoch": 100, "arch": "Res16UNet34C", "optimizer": optimizer, "best_val": 72.2}
    net = MinkUNet34(6, 2, 5).double()
    net.load_state_dict(initial_state(saved(tmp_path / "w.pth", state, **more), net))
    torch.testing.assert_close(net.eval()(batch(*rooms))[1], dense_logits(state, rooms), rtol=1e-9, atol=1e-9)


def test_classifiers_of_other_classes_and_of_coarser_levels_start_untrained_and_that_is_said(tmp_path):
    path = saved(tmp_path / "w.safetensors", unet(classes=7, seed=1).state_dict())
    network = unet(classes=5, seed=2, coarse_classes=5)
    with pytest.warns(
        UserWarning, match=r"w\.safetensors: has no weights for classifier, coarse\.0\.norm, .* untrained"
    ):
        state = initial_state(path, network)
    given, own = unet(classes=7, seed=1).state_dict(), network.state_dict()
    for name, value in state.items():
        own_layer = name.startswith(("classifier", "coarse"))
        assert torch.equal(value, (own if own_layer or name.endswith("num_batches_tracked") else given)[name])
    path = saved(tmp_path / "m.pth", published(2, 6, 7))
    with pytest.warns(UserWarning, match=r"m\.pth: has no weights for classifier, coarse\.0, coarse\.1"):
        initial_state(path, MinkUNet34(6, 2, 5, coarse_classes=5))
    whole = saved(tmp_path / "c.safetensors", unet(seed=1, coarse_classes=5).state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initial_state(whole, unet())  # which has no use for the coarser ones


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"in_channels": 4}, ["stem.weight is [27, 4, 4] in the file and [27, 6, 4]", "takes 4 numbers a voxel"]),
        ({"width": 8}, ["layer stem.weight is [27, 6, 8] in the file and [27, 6, 4] in the network", "unet_width"]),
        ({"levels": 2}, ["holds no layer pyramid.coarser.down.0.weight, which is [8] in the network", "unet_levels"]),
        ({"levels": 4}, ["holds the layer 'pyramid.coarser.coarser.", "which the network lacks", "unet_levels"]),
        ({"skip": "add"}, ["holds no layer pyramid.coarser.tail.0.skip.weight, which is [8, 16]", "unet_skip"]),
    ],
)
def test_another_network_is_refused_by_its_first_layer(tmp_path, given, words):
    path = saved(tmp_path / "w.safetensors", unet(**given).state_dict())
    with pytest.raises(OtocError) as error:
        initial_state(path, unet())
    assert all(word in str(error.value) for word in [str(path), *words]), str(error.value)


def test_a_public_checkpoint_of_another_size_or_for_another_backbone_is_refused(tmp_path):
    path = saved(tmp_path / "w.pth", published(4, 6, 5))
    with pytest.raises(OtocError, match=r"conv0p1s1.weight is \[125, 6, 4\] in the file and \[125, 6, 2\]"):
        initial_state(path, MinkUNet34(6, 2, 5))
    with pytest.raises(OtocError, match=r"holds no layer stem.weight, .* set backbone"):
        initial_state(path, unet())
    path = saved(tmp_path / "w.pth", published(2, 4, 5))
    with pytest.raises(
        OtocError, match=r"\[125, 4, 2\] in the file and \[125, 6, 2\] .* takes 4 numbers a voxel there"
    ):
        initial_state(path, MinkUNet34(6, 2, 5))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds no layers by name"),
        ({}, "holds no layers by name"),
        ({"state_dict": {"a": 3}}, "'a' is no layer of numbers; save nothing but the state_dict"),
        ({3: torch.ones(2)}, "3 is no layer of numbers"),
        ({"a": torch.ones(2, dtype=torch.int32)}, "the layer 'a' does not hold finite floats"),
        ({"a": torch.tensor([1.0, torch.nan])}, "the layer 'a' does not hold finite floats"),
        ({"a": torch.zeros(1).expand(10**7)}, "have more numbers than it holds"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_no_state_dict_is_refused(tmp_path, content, words, zipped):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with at_most(megabytes=10), pytest.raises(OtocError, match=rf"w\.pth: .*{words}"):
        read_weights(tmp_path / "w.pth")


def test_files_that_are_damaged_or_not_there_are_named(tmp_path):
    for name in ("w.safetensors", "w.pth"):
        path = saved(tmp_path / name, unet().state_dict())
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(OtocError, match=rf"{name}: .*damaged"):
            read_weights(path)
        with pytest.raises(OtocError, match=rf"none.{name}: no such file"):
            read_weights(tmp_path / f"none.{name}")


class Malice:
    """What a file from outside may hold: unpickled, it makes a file of its own."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_is_refused_and_not_executed(tmp_path, zipped):
    content = {"state_dict": unet().state_dict(), "config": Malice(tmp_path / "touched")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(OtocError, match=r"w\.pth: not a checkpoint of torch\.save, damaged, or not safe to load"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "touched").exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "touched").exists()  # so the test would have noticed
