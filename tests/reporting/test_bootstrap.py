import numpy as np
import pytest

from otoc_lib.evaluation import mean_iou
from otoc_lib.reporting.bootstrap import interval_of, paired_interval


def confusions(rng, right, seeds=1, rooms=8, classes=3):
    """Random confusion matrices, int64 [S, R, C, C], right in about a share ``right`` of the points."""
    sizes = rng.integers(20, 200, (rooms, classes))
    sizes[rng.random(sizes.shape) < 0.2] = 0  # no room holds every class
    sizes[:, 0] += 20
    found = np.zeros((seeds, rooms, classes, classes), dtype=np.int64)
    for s in range(seeds):
        for r in range(rooms):
            for c in range(classes):
                share = np.clip(right + rng.normal(0, 0.1), 0.05, 0.95)
                odds = np.where(np.arange(classes) == c, share, (1 - share) / (classes - 1))
                found[s, r, c] = rng.multinomial(sizes[r, c], odds)
    return found


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("rare", [False, True])
def test_it_is_that_of_a_plain_loop(seeds, relative, rare):
    """``rare``: a class that one room has, though it is predicted in others; a third of the draws lack that room."""
    rng = np.random.default_rng(0)
    first, second = confusions(rng, 0.8, seeds), confusions(rng, 0.6, seeds)
    if rare:
        first[:, 1:, 2], second[:, 1:, 2] = 0, 0
    drawing = np.random.default_rng(5)
    rooms = drawing.multinomial(8, np.full(8, 1 / 8), size=300)
    of_seeds = drawing.multinomial(seeds, np.full(seeds, 1 / seeds), size=300)
    values = []
    for room_counts, seed_counts in zip(rooms, of_seeds, strict=True):
        sides = []
        for side in (first, second):
            chosen = np.repeat(side, room_counts, axis=1)
            scores = [mean_iou(matrix) for matrix in chosen.sum(axis=1)]
            sides.append(np.mean(np.repeat(scores, seed_counts)))
        values.append(100 * (sides[0] / sides[1] - 1) if relative else 100 * (sides[0] - sides[1]))
    found = paired_interval(first, second, relative=relative, draws=300, seed=5)
    assert found == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_equal_rows_differ_by_nothing():
    found = confusions(np.random.default_rng(1), 0.7, seeds=2)
    assert paired_interval(found, found.copy()) == (0, 0)
    assert paired_interval(found, found.copy(), relative=True) == (0, 0)


def test_a_constant_shift_is_found_whatever_is_drawn():
    """Two classes of n points in every room: IoUs of 0.6 and 0.5 everywhere, however the rooms differ in size."""
    sizes = np.array([10, 20, 50, 80, 100, 400])
    first = np.array([[[8, 2], [3, 9]]]) * sizes[:, None, None]
    second = np.array([[[7, 3], [4, 8]]]) * sizes[:, None, None]
    expected = 100 * (mean_iou(first[0]) - mean_iou(second[0]))
    assert paired_interval(first[None], second[None]) == pytest.approx((expected, expected))


def test_pairing_cancels_what_makes_rooms_hard():
    rng = np.random.default_rng(2)
    hard = rng.uniform(0.3, 0.9, 20)
    sides = [np.array([[[[s * 1000, 1000 - s * 1000], [500, 500]] for s in hard + gain]]) for gain in (0.03, 0.0)]
    first, second = (np.rint(side).astype(np.int64) for side in sides)
    low, high = paired_interval(first, second)
    shuffled = paired_interval(first, second[:, rng.permutation(20)])
    assert 0 < low < high and high - low < (shuffled[1] - shuffled[0]) / 5


def test_draws_are_seeded_and_sides_must_match():
    rng = np.random.default_rng(3)
    first, second = confusions(rng, 0.8), confusions(rng, 0.7)
    assert paired_interval(first, second) == paired_interval(first, second)
    assert paired_interval(first, second) != paired_interval(first, second, seed=1)
    with pytest.raises(ValueError, match="same seeds, rooms and classes"):
        paired_interval(first, second[:, :5])


def test_about_95_of_100_intervals_hold_the_truth():
    """Rooms of one population: room for room the first is right in some more of the points than the second."""
    rng = np.random.default_rng(4)

    def draw(rooms):
        base = rng.beta(6, 3, (rooms, 2))
        shares = np.stack([np.clip(base + rng.normal(0.04, 0.06, base.shape), 0, 1), base])  # [2, R, C]
        sizes = rng.integers(100, 400, (rooms, 2))
        hits = rng.binomial(sizes, shares)
        missed = sizes - hits
        matrices = np.stack([hits[..., 0], missed[..., 0], missed[..., 1], hits[..., 1]], axis=-1)
        return matrices.reshape(2, 1, rooms, 2, 2)

    first, second = draw(200_000)
    truth = 100 * (mean_iou(first[0].sum(axis=0)) - mean_iou(second[0].sum(axis=0)))
    held = 0
    for _ in range(400):
        low, high = paired_interval(*draw(40), draws=500)
        held += low <= truth <= high
    assert 0.91 <= held / 400 <= 0.98


def test_rows_are_paired_by_seed_and_room(results):
    full, baseline = results.row("otoc_full"), results.row("otoc_baseline")
    low, high = interval_of(results, full, baseline)
    a, b = results.confusions(full), results.confusions(baseline)
    stacked = (np.stack([np.stack(list(side[seed].values())) for seed in (0, 1)]) for side in (a, b))
    assert (low, high) == paired_interval(*stacked)
    # With one seed in common only that one counts; a row against itself differs by nothing.
    control = results.row("otoc_control")
    one = interval_of(results, full, control)
    assert one == paired_interval(*(np.stack(list(results.confusions(r)[0].values()))[None] for r in (full, control)))
    assert interval_of(results, full, full) == (0, 0)
    assert interval_of(results, full, results.row("data_efficient_full")) is None
