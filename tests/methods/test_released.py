"""Every formula of the released code against numbers worked out by hand or in plain Python."""

import math

import numpy as np
import pytest
import torch
from tiny import make_room, tiny_config

from otoc_lib.methods import pseudo_labels, released
from otoc_lib.methods.stages import Scenes, Stages

UNET = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)
RELATION = torch.tensor([[0.8, 0.2], [0.95, 0.05], [0.4, 0.6]], dtype=torch.float64)


def test_the_product_is_flattened_and_stretched_over_the_whole_matrix():
    exponents = [[5 * 0.72, 5 * 0.02], [5 * 0.475, 5 * 0.025], [5 * 0.08, 5 * 0.48]]
    rows = [
        [math.exp(a) / (math.exp(a) + math.exp(b)), math.exp(b) / (math.exp(a) + math.exp(b))] for a, b in exponents
    ]
    low, high = min(map(min, rows)), max(map(max, rows))
    expected = [[(value - low) / (high - low) for value in row] for row in rows]
    found = released.flattened_product(UNET, RELATION)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    assert found.min() == 0 and found.max() == 1  # rows do not sum to one


def test_the_kernel_weighs_colour_and_position_twice_and_the_unets_features_by_a_ninth():
    blocks = [
        torch.tensor(rows, dtype=torch.float64)
        for rows in ([[0.0], [0.5]], [[0.0], [1.0]], [[0.0], [3.0]], [[0.0], [0.2]])
    ]
    expected = math.exp(-(0.5**2) - 1.0**2 - 3.0**2 / 18 - 0.2**2 / 2)
    np.testing.assert_allclose(released.kernel(blocks).numpy(), [[1, expected], [expected, 1]], rtol=1e-12)


def test_five_steps_with_a_hundredth_of_the_messages_and_with_oneself():
    unary = [[0.7, 0.2], [0.4, 1.0]]
    similarities = [[1.0, 0.3], [0.3, 1.0]]
    q = unary
    for _ in range(5):
        rows = []
        for j in range(2):
            energy = [
                math.log(unary[j][c]) + 100 / 2 * sum(similarities[j][k] * q[k][c] for k in range(2)) for c in range(2)
            ]
            top = max(energy)
            exponentials = [math.exp(value - top) for value in energy]
            rows.append([value / sum(exponentials) for value in exponentials])
        q = rows
    found = released.propagated(
        torch.tensor(unary, dtype=torch.float64), torch.tensor(similarities, dtype=torch.float64)
    )
    np.testing.assert_allclose(found.numpy(), q, rtol=1e-9)


def test_labels_come_before_propagation_and_are_as_sure_as_the_surest_of_all_numbers():
    found = released.label_scores(UNET, RELATION)
    np.testing.assert_allclose(found.numpy(), [[0.9, 0], [0.95, 0], [0, 0.8]])
    # The middle one is accepted by what the relation net says of it, though the U-Net cannot tell.
    (labels,) = pseudo_labels.threshold(tiny_config(threshold=0.9), [found.numpy()])
    assert labels.tolist() == [0, 0, -100]
    elsewhere = torch.tensor([[0.45, 0.55]], dtype=torch.float64), torch.tensor([[0.6, 0.4]], dtype=torch.float64)
    assert released.label_scores(*elsewhere).tolist() == [[0.6, 0]]  # 0.27 against 0.22


@pytest.mark.filterwarnings("ignore")
def test_it_runs_as_a_method_of_its_own(tmp_path):
    rooms = [make_room(name, seed) for seed, name in enumerate("abc")]
    config = tiny_config(
        method="released", runs_root=str(tmp_path), unet_steps=3, unet_steps_later=2, relation_steps=3, threshold=0.1,
        relation_steps_later=2, self_train_iterations=2, sparse_backend="torch",
    )  # fmt: skip
    stages = Stages(config, Scenes(rooms[:2], {"val": rooms[2:]}))
    *_, last = stages.method.loop(stages)
    assert set(last.networks) == {"unet", "relation"}
    labels = stages.labels_of(last.pseudo)
    clicked = stages.labels_of(stages.clicks())
    assert all((labels[room.name] >= 0).sum() > (clicked[room.name] >= 0).sum() for room in rooms[:2])
