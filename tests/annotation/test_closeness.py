"""How near super-voxels are to clicks: by brute force, by hand, and what must hold for any room and clicks."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoc_lib.annotation.clicks import (
    NO_CLASS,
    Clicks,
    clicked_labels,
    expand_clicks,
    expansion_statistics,
    heard,
    label_statistics,
    of_no_class,
    simulate_clicks,
)
from otoc_lib.annotation.closeness import click_distances, closeness, within
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE

CHAIR, TABLE = 4, 6


def clicks_on(points, classes):
    return Clicks(np.array(points, dtype=int), np.array(classes, dtype=int), np.full(len(points), -1))


def brute_force(scene, clicks):
    """The distances in plain Python: means in cells, all pairs of them, and paths by Floyd and Warshall."""
    cells, colors = {}, {}
    low = scene.coords.min(axis=0)
    for point, supervoxel in enumerate(scene.supervoxels):
        cell = tuple(np.floor((scene.coords[point] - low) / 0.05).astype(int))
        cells.setdefault((cell, int(supervoxel)), []).append(scene.coords[point].astype(float))
        colors.setdefault(int(supervoxel), []).append(scene.colors[point] / 255)
    colors = {supervoxel: np.mean(values, axis=0) for supervoxel, values in colors.items()}
    lengths = np.full((scene.num_supervoxels, scene.num_supervoxels), np.inf)
    np.fill_diagonal(lengths, 0)
    means = [(supervoxel, np.mean(values, axis=0)) for (_, supervoxel), values in cells.items()]
    for (i, a), (j, b) in itertools.combinations(means, 2):
        if i != j and np.linalg.norm(a - b) <= 0.1:
            lengths[i, j] = lengths[j, i] = np.mean((colors[i] - colors[j]) ** 2) + 0.001
    for k in range(len(lengths)):
        lengths = np.minimum(lengths, lengths[:, [k]] + lengths[[k]])
    found = np.full((scene.num_supervoxels, len(scene.label_set)), np.inf)
    for point, name in zip(clicks.points, clicks.classes, strict=True):
        if name != NO_CLASS:
            found[:, name] = np.minimum(found[:, name], lengths[:, scene.supervoxels[point]])
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_distances_are_those_of_brute_force(rooms, seed):
    room = rooms[seed]
    sample = np.random.default_rng(seed).permutation(room.num_points)[:600]
    kept, supervoxels = np.unique(room.supervoxels[sample], return_inverse=True)
    small = replace(
        room, coords=room.coords[sample], colors=room.colors[sample], supervoxels=supervoxels.astype(np.int32),
        labels=room.labels[sample], instances=None,
    )  # fmt: skip
    clicks = clicks_on([0, 1, 2, 3], [CHAIR, TABLE, CHAIR, NO_CLASS])
    expected = brute_force(small, clicks)
    assert len(kept) > 5 and np.isfinite(expected[:, CHAIR]).sum() > 3  # there are paths
    np.testing.assert_allclose(click_distances(small, clicks), expected, rtol=1e-9)


def row_of_supervoxels(room, colors, gap=0.0):
    """One super-voxel every 6 cm along x, of these grey values."""
    count = len(colors)
    x = 0.06 * np.arange(count) + gap * (np.arange(count) >= count // 2)
    coords = np.stack([x, np.zeros(count), np.zeros(count)], axis=1).astype(np.float32)
    grey = np.repeat(np.array(colors, np.uint8)[:, None], 3, axis=1)
    return replace(
        room, coords=coords, colors=grey, supervoxels=np.arange(count, dtype=np.int32), labels=None, instances=None
    )


def test_distances_in_a_row_by_hand(rooms):
    row = row_of_supervoxels(rooms[0], [0, 0, 51, 51])  # 51 of 255 is a fifth
    found = click_distances(row, clicks_on([0, 3], [CHAIR, TABLE]))
    edge = 0.2**2 + 0.001
    np.testing.assert_allclose(found[:, CHAIR], [0, 0.001, 0.001 + edge, 0.002 + edge], rtol=1e-6)
    np.testing.assert_allclose(found[:, TABLE], [0.002 + edge, 0.001 + edge, 0.001, 0], rtol=1e-6)
    assert np.isinf(np.delete(found, [CHAIR, TABLE], axis=1)).all()
    near = closeness(row, clicks_on([0, 3], [CHAIR, TABLE]), reach=0.05)
    np.testing.assert_allclose(near[:, CHAIR], np.exp(-found[:, CHAIR] / 0.05), rtol=1e-6)
    assert near.dtype == np.float32 and (np.delete(near, [CHAIR, TABLE], axis=1) == 0).all()


def test_what_hangs_together_with_no_click_is_reached_by_none(rooms):
    row = row_of_supervoxels(rooms[0], [0, 0, 0, 0], gap=0.2)
    near = closeness(row, clicks_on([0], [CHAIR]), reach=1.0)[:, CHAIR]
    assert (near[:2] > 0.9).all() and (near[2:] == 0).all()


def test_a_room_without_clicks_is_near_nothing(rooms):
    assert not closeness(rooms[0], clicks_on([], []), reach=1.0).any()
    assert not closeness(rooms[0], clicks_on([5], [NO_CLASS]), reach=1.0).any()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 10))
def test_closeness_of_any_clicks(rooms, seed, reach):
    generator, room = np.random.default_rng(seed), rooms[seed % len(rooms)]
    clicks = simulate_clicks(room, 1, seed % 100)
    near = closeness(room, clicks, reach)
    assert (near >= 0).all() and (near <= 1).all()
    assert (near[room.supervoxels[clicks.points], clicks.classes] == 1).all()
    assert (near.any(axis=0) == np.isin(np.arange(near.shape[1]), clicks.classes)).all()
    left_out = generator.integers(len(clicks))
    rest = clicks_on(np.delete(clicks.points, left_out), np.delete(clicks.classes, left_out))
    assert (closeness(room, rest, reach) <= near).all()  # a click less is nowhere nearer
    assert (closeness(room, clicks, 2 * reach) >= near).all()
    order = generator.permutation(room.num_points)
    place = np.argsort(order)
    shuffled = replace(
        room, coords=room.coords[order], colors=room.colors[order], supervoxels=room.supervoxels[order],
        labels=room.labels[order], instances=None,
    )  # fmt: skip
    moved = closeness(shuffled, clicks_on(place[clicks.points], clicks.classes), reach)
    np.testing.assert_allclose(moved, near, rtol=1e-4, atol=1e-6)


def test_labels_spread_in_a_row_by_hand(rooms):
    """The step of colour in the middle is 0.041 long, the others 0.001; at equal distances the first class is taken."""
    row, clicks = row_of_supervoxels(rooms[0], [0, 0, 0, 51, 51]), clicks_on([0, 4], [TABLE, CHAIR])
    for far, expected in (
        (0.0005, [TABLE, IGNORE, IGNORE, IGNORE, CHAIR]),
        (0.0015, [TABLE, TABLE, IGNORE, CHAIR, CHAIR]),
        (0.0025, [TABLE, TABLE, TABLE, CHAIR, CHAIR]),
        (1.0, [TABLE, TABLE, TABLE, CHAIR, CHAIR]),
    ):
        assert expand_clicks(row, replace(clicks, far=far)).tolist() == expected
    alike = row_of_supervoxels(rooms[0], [9] * 5)
    assert expand_clicks(alike, replace(clicks, far=1.0)).tolist() == [TABLE, TABLE, CHAIR, CHAIR, CHAIR]


def test_what_was_clicked_keeps_its_own_word_where_labels_spread(rooms):
    """Of no class, or of another one than its neighbours: labels go past, and it stays what it was."""
    row = row_of_supervoxels(rooms[0], [0] * 5)
    clicks = replace(clicks_on([0, 1, 4], [CHAIR, NO_CLASS, TABLE]), far=1.0)
    assert clicked_labels(row, clicks).tolist() == [CHAIR, NO_CLASS, CHAIR, TABLE, TABLE]
    assert of_no_class(row, clicks).tolist() == [False, True, False, False, False]
    nothing = replace(clicks_on([], []), far=1.0)
    assert (expand_clicks(row, nothing) == IGNORE).all()
    with pytest.raises(OtocError, match="point alone"):
        replace(clicks_on([0], [CHAIR]), spread=False, far=1.0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.1))
def test_labels_that_spread_in_any_room(rooms, seed, far):
    room = rooms[seed % len(rooms)]
    clicks = simulate_clicks(room, 1, seed % 100)
    own, spread = expand_clicks(room, clicks), expand_clicks(room, replace(clicks, far=far))
    assert (spread[own != IGNORE] == own[own != IGNORE]).all()
    distances = click_distances(room, clicks)[room.supervoxels]  # [N, C]
    new = (spread != IGNORE) & (own == IGNORE)
    np.testing.assert_array_equal(distances[new, spread[new]], distances[new].min(axis=1))
    np.testing.assert_array_equal(spread == IGNORE, (own == IGNORE) & (distances.min(axis=1) > far))
    np.testing.assert_array_equal(within(room, clicks, far)[room.supervoxels[new]], spread[new])
    further = expand_clicks(room, replace(clicks, far=2 * far))
    assert (further[spread != IGNORE] == spread[spread != IGNORE]).all()


def test_statistics_tell_what_labels_spread_to(rooms):
    clicks = {room.name: simulate_clicks(room, 1, 0) for room in rooms}
    own = {room.name: expand_clicks(room, clicks[room.name]) for room in rooms}
    reaching = {name: replace(of_room, far=0.01) for name, of_room in clicks.items()}
    spread = {room.name: expand_clicks(room, reaching[room.name]) for room in rooms}
    found, plain = expansion_statistics(rooms, reaching, spread), expansion_statistics(rooms, clicks)
    assert found["far"] == 0.01 and "far" not in plain and "new_percent" not in plain
    assert found["new_percent"] > 1 and found["covered_percent"] == pytest.approx(
        plain["covered_percent"] + found["new_percent"]
    )
    assert found.items() >= label_statistics(rooms, spread, own).items()


def test_clicks_that_others_outvote_reach_nothing(rooms):
    """Two clicks say of a super-voxel that it is of no class, one that it is a chair: nothing around is a chair."""
    room = rooms[0]
    region = np.bincount(room.supervoxels).argmax()
    inside, other = np.flatnonzero(room.supervoxels == region)[:3], int(np.flatnonzero(room.supervoxels != region)[0])
    clicks = clicks_on([*inside, other], [NO_CLASS, NO_CLASS, CHAIR, TABLE])
    assert heard(room, clicks).points.tolist() == [other]
    assert heard(room, replace(clicks, spread=False)).points.tolist() == clicks.points.tolist()
    labels = clicked_labels(room, replace(clicks, far=10.0))
    assert (labels == TABLE).any() and CHAIR not in labels and (labels[room.supervoxels == region] == NO_CLASS).all()
    outvoted = clicks_on([*inside, other], [NO_CLASS, CHAIR, CHAIR, TABLE])
    assert len(heard(room, outvoted)) == 4  # the chair is
    assert (clicked_labels(room, replace(outvoted, far=0.0))[room.supervoxels == region] == CHAIR).any()
