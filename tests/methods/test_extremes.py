"""Whatever the parameters allow can be trained and predicted with, or is refused in one sentence: nothing overflows."""

from dataclasses import fields

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import TINY, true_labels

from otoc_lib.config import Config, config_from
from otoc_lib.errors import OtocError
from otoc_lib.methods.one_thing_one_click import networks, predict_modes, scores
from otoc_lib.training.fit import fit
from otoc_lib.training.optimizers import Schedule

# Read by no step of training or prediction (see the tests of what reads them), or too large and slow for one here.
ELSEWHERE = {
    *("clicks_per_object", "images_share", "self_train_iterations", "tsne_supervoxels", "workers", "threshold"),
    *("partition_voxel", "partition_strength", "partition_minimum", "unet_width", "unet_blocks", "views"),
    *("unet_steps", "unet_steps_later", "relation_steps", "relation_steps_later", "devices", "accumulate"),
}
NUMBERS = [f for f in fields(Config) if f.type in (int, float, list[float]) and f.name not in ELSEWHERE]


def edges(field) -> tuple[float, float]:
    """The smallest and the largest value that a parameter can have."""
    low, above, high = (field.metadata[name] for name in ("low", "above", "high"))
    return (float(np.nextafter(above, np.inf)) if low is None else low), high


@st.composite
def extremes(draw) -> dict:
    """Some parameters at an edge of their range, and choices that meet them."""
    values = {}
    for field in NUMBERS:
        low, high = edges(field)
        one, other = draw(st.sampled_from([(None, None), (None, None), (low, low), (low, high), (high, high)]))
        if one is not None:
            values[field.name] = [one, other] if field.type == list[float] else one
    for name in {"elastic_granularity", "elastic_magnitude"} & values.keys():
        other = {"elastic_granularity": "elastic_magnitude", "elastic_magnitude": "elastic_granularity"}[name]
        values.setdefault(other, [6.0, 20.0])
    if values.get("unet_levels", 0) > 3:
        values["unet_width"] = 1
    for name, choices in {
        "optimizer": ["adam", "muon"],
        "precision": ["float32", "bfloat16", "float16"],
        "schedule": ["halving", "one_cycle", "linear"],
        "pairwise_scaling": ["row_sum", "literal"],
        "propagation": ["auto", "dense", "chunked"],
    }.items():
        values[name] = draw(st.sampled_from(choices))
    return values


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(extremes())
@example({"elastic_granularity": [0.11, 0.11], "elastic_magnitude": [10_000.0] * 2, "voxel_size": 0.00011})
@example({"relation_dim": 2, "temperature": 0.001, "relation_power": 1000, "bandwidth": 10_000, "pairwise_weight": 1e6})
@example({"max_points": 1, "batch_size": 1, "precision": "float16", "learning_rate": 10})
def test_a_step_at_the_edges_of_all_ranges_is_made_or_refused(rooms, tmp_path_factory, values):
    folder, rooms, trained = tmp_path_factory.mktemp("extreme"), rooms[:2], {}
    try:
        config = config_from({**TINY, "experiment": "e", **values})
        for name, task in networks(config).items():
            (folder / name).mkdir()
            work = task(config, rooms, true_labels(rooms))
            seed = [config.seed, 1, task.stream]
            schedule = Schedule(2, config.learning_rate)
            fit(config, work, rooms, true_labels(rooms), schedule=schedule, folder=folder / name, key="k", seed=seed)
            trained[name] = work.model.eval()
        modes = predict_modes(config, rooms[0], trained)
        nodes = scores(config, rooms[0], trained).probabilities
    except OtocError as error:
        assert len(str(error)) < 500
        return
    for probabilities in (*(mode.probabilities for mode in modes.values()), nodes):
        np.testing.assert_allclose(probabilities.sum(dim=1).numpy(), 1, atol=1e-3)
