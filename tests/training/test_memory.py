"""What asks for less memory: steps in pieces, activations that are computed again, half precision; and what is said
where memory does not suffice."""

import numpy as np
import pytest
import several
import torch
from safetensors.torch import load_file
from test_fit import losses, train
from tiny import tiny_config, true_labels

from otoc_lib.errors import OtocError
from otoc_lib.methods.one_thing_one_click import Contrast
from otoc_lib.models.recompute import recompute_activations
from otoc_lib.training.batches import Batches, Parts
from otoc_lib.training.memory import PREDICTION, telling_out_of_memory
from otoc_lib.training.optimizers import Schedule
from otoc_lib.training.task import CrossEntropy, Task


def by_running_statistics(kind):
    """The task in float64 with batch normalisation that does not look at the batch: a piece is then like the whole."""

    class Frozen(several.in_double(kind)):
        def __init__(self, config, scenes, labels):
            super().__init__(config, scenes, labels)
            self.model.eval()
            self.model.train = lambda *_: self.model

    return Frozen


@pytest.mark.parametrize("task", ["unet", "relation", "views", "weak", "maps"])
def test_a_step_in_pieces_is_the_step_but_for_batch_normalisation(tmp_path, monkeypatch, task):
    kind, wanted = several.TASKS[task]
    monkeypatch.setitem(several.TASKS, "frozen", (by_running_statistics(kind), wanted))
    monkeypatch.setitem(several.TASKS, "plain", (several.in_double(kind), wanted))
    values = {} if task == "maps" else {"coarse_loss": 1, "class_weights": "inverse_sqrt"}
    found = {}
    for name, pieces in (("frozen", 1), ("frozen", 2), ("frozen", 4), ("plain", 1), ("plain", 4)):
        folder = tmp_path / f"{name}{pieces}"
        job = {"task": name, "values": {**values, "accumulate": pieces}, "unlabelled": [0], "steps": 2}
        several.train({**job, "folder": str(folder)})
        found[name, pieces] = np.array(losses(folder))
    exact = 1e-9 if task in ("unet", "relation") else 1e-5  # the others compute a part of the loss in float32
    for pieces in (2, 4):
        np.testing.assert_allclose(found["frozen", pieces], found["frozen", 1], rtol=exact)
    assert np.abs(found["plain", 4] - found["plain", 1]).max() > 1e-4


def test_the_pieces_of_a_step_hold_its_rooms_in_their_order(rooms):
    batches = Batches(tiny_config(batch_size=4), rooms, true_labels(rooms), [0])
    (whole,), pieces = batches[0], Parts(batches, 4)[0]
    assert [piece.batch_size for (piece,) in pieces] == [1, 1, 1, 1]
    assert torch.equal(torch.cat([piece.features for (piece,) in pieces]), whole.features)


class Own(Task):
    """Says nothing of its means."""


def test_a_task_that_does_not_say_what_its_means_are_over_cannot_be_divided(rooms):
    (batch,) = Batches(tiny_config(), rooms, true_labels(rooms), [0])[0]
    with pytest.raises(OtocError, match="Own does not say what the means of its loss are over.*accumulate to 1"):
        Own.survey(Own.__new__(Own), [[batch]])


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": "muon"},
        {"coarse_loss": 1, "sparse_backend": "torch"},
        {"backbone": "minkunet34", "unet_width": 4},
        {"backbone": "pointnet2", "unet_width": 4},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_activations_computed_again_change_no_bit_and_are_not_kept(rooms, tmp_path, values):
    labels, states = true_labels(rooms), []
    for again in (False, True):
        config, folder = tiny_config(checkpoint_activations=again, **values), tmp_path / str(again)
        for task in (CrossEntropy, Contrast):
            train(task, config, rooms, labels, Schedule(2, 0.01), folder / task.__name__)
        states.append([load_file(folder / task.__name__ / "weights.safetensors") for task in (CrossEntropy, Contrast)])
    for kept, computed in zip(*states, strict=True):
        assert any("running_mean" in name for name in kept)
        assert all(torch.equal(kept[name], computed[name]) for name in kept)
    assert losses(tmp_path / "False/Contrast") == losses(tmp_path / "True/Contrast")
    assert kept_bytes(rooms, values, again=True) < 0.7 * kept_bytes(rooms, values, again=False)


def kept_bytes(rooms, values, again):
    """What the forward pass of a step keeps for the backward pass."""
    task, kept = CrossEntropy(tiny_config(**values), rooms, true_labels(rooms)), {}
    if again:
        recompute_activations(task.model)

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    (batch,) = Batches(task.config, rooms, true_labels(rooms), [0])[0]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task.loss([batch], 0, torch.Generator())
    return sum(kept.values())


def test_a_network_without_parts_to_compute_again_is_told():
    with pytest.raises(OtocError, match="'checkpoint_activations': no part of Linear can be computed again"):
        recompute_activations(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("task", [CrossEntropy, Contrast])
def test_bfloat16_learns_on_the_cpu(rooms, tmp_path, task):
    labels, found = true_labels(rooms), {}
    values = {"bfloat16": {"accumulate": 2, "checkpoint_activations": True}, "float32": {"accumulate": 2}}
    for precision, more in values.items():
        config = tiny_config(precision=precision, **more)
        train(task, config, rooms, labels, Schedule(12, 0.01), tmp_path / precision)
        found[precision] = np.array(losses(tmp_path / precision))
    assert found["bfloat16"][-3:].mean() < 0.9 * found["bfloat16"][:3].mean()
    first = np.abs(found["bfloat16"] - found["float32"])[:3]
    assert 0 < first.max() < 0.1


def allocate_by_torch():
    torch.empty(1 << 50)


def allocate_by_numpy():
    np.empty(1 << 58, dtype=np.uint8)


def allocate_on_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")


@pytest.mark.parametrize("allocate", [allocate_by_torch, allocate_by_numpy, allocate_on_a_gpu])
def test_where_memory_does_not_suffice_it_is_told_what_asks_for_less(rooms, tmp_path, allocate):
    class Large(CrossEntropy):
        def loss(self, batches, step, generator, shares):
            allocate()

    with pytest.raises(OtocError, match=r"training UNet: out of memory \(.*\); change one of these:\n") as told:
        train(Large, tiny_config(), rooms, true_labels(rooms), Schedule(1, 0.01), tmp_path)
    for name, now in {"batch_size": 2, "accumulate": 1, "precision": "float32", "voxel_size": 0.1}.items():
        assert f"\n  {name} (now {now}) - " in str(told.value)
    with (
        pytest.raises(OtocError, match=r"predicting a: out of memory(.|\n)*tile_metres \(now None\) - set"),
        telling_out_of_memory(tiny_config(), "predicting a", PREDICTION),
    ):
        allocate()


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), KeyError("a"), OtocError("not a word")])
def test_other_errors_are_what_they_are(error):
    with pytest.raises(type(error)) as raised, telling_out_of_memory(tiny_config(), "it"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("deterministic", [False, True])
def test_equal_seeds_train_equal_bits(rooms, tmp_path, deterministic):
    states = []
    for name, values in {"a": {}, "b": {}, "c": {"deterministic": deterministic}, "d": {"seed": 1}}.items():
        train(CrossEntropy, tiny_config(**values), rooms, true_labels(rooms), Schedule(3, 0.01), tmp_path / name)
        states.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert states[0] == states[1] == states[2] != states[3]
    assert not torch.are_deterministic_algorithms_enabled()
