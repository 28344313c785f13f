import numpy as np
import pytest
import torch
from tiny import tiny_config

from otoc_lib.models.build import new_relation_net, new_unet
from otoc_lib.training.optimizers import Schedule, learning_rate, new_optimizers


def test_the_fused_optimizer_takes_the_steps_of_the_plain_one():
    parameters = [torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) for _ in range(2)]
    optimizers = [torch.optim.Adam([p.requires_grad_()], fused=i == 0) for i, p in enumerate(parameters)]
    for step in range(20):
        for parameter, optimizer in zip(parameters, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
            parameter.grad = parameter.detach().sin() + step
            optimizer.step()
    torch.testing.assert_close(*parameters, rtol=1e-12, atol=1e-13)


def test_every_parameter_is_trained_by_one_optimizer():
    for model in (new_unet(tiny_config(), 20), new_relation_net(tiny_config(), 20)):
        for optimizer, kinds in (("adam", ["Adam"]), ("muon", ["Muon", "Adam"])):
            optimizers = new_optimizers(tiny_config(optimizer=optimizer), model, 0.01)
            assert [type(each).__name__ for each in optimizers] == kinds
            trained = [p for each in optimizers for group in each.param_groups for p in group["params"]]
            assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))


def test_the_schedules_are_the_documented_ones():
    halving = tiny_config(schedule="halving", halve_every=10)
    assert [learning_rate(halving, Schedule(100, 0.01), s) for s in (0, 9, 10, 25)] == [0.01, 0.01, 0.005, 0.0025]
    assert learning_rate(halving, Schedule(1000, 0.01), 999) == 1e-6
    rates = [learning_rate(tiny_config(), Schedule(101, 0.01), s) for s in range(101)]
    assert rates[0] == pytest.approx(0.001) and max(rates) == pytest.approx(0.01) and rates[-1] == pytest.approx(1e-5)
    assert np.argmax(rates) == 20
    linear = tiny_config(schedule="linear")
    rates = [learning_rate(linear, Schedule(101, 0.01), s) for s in range(101)]
    assert rates[0] == pytest.approx(0.001) and np.argmax(rates) == 10 and rates[10] == pytest.approx(0.01)
    np.testing.assert_allclose(np.diff(rates[:11]), 0.0009)
    np.testing.assert_allclose(np.diff(rates[10:]), -0.01 * 0.999 / 90)
    assert rates[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("schedule", ["halving", "one_cycle", "linear"])
@pytest.mark.parametrize("rate", [1e-9, 0.01, 10])
@pytest.mark.parametrize("steps", [1, 2, 10**8])
@pytest.mark.parametrize("halve_every", [1, 10**9])
def test_rates_at_the_edges_of_the_ranges_are_positive_numbers(schedule, rate, steps, halve_every):
    config = tiny_config(schedule=schedule, halve_every=halve_every)
    for step in {0, 1, steps // 5, steps // 2, steps - 1}:
        assert 0 < learning_rate(config, Schedule(steps, rate), step) <= max(rate, 1e-6)
