import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_room

from otoc_lib.propagation.effect import propagation_effect

ROOMS = [make_room("a", 0), make_room("b", 1)]
KEYS = ("graph_changed_percent", "graph_mended_percent", "graph_spoilt_percent")


@given(st.integers(0, 2**32 - 1))
def test_changes_equal_a_count_point_by_point(seed):
    rng = np.random.default_rng(seed)
    before, after = ({room.name: rng.integers(0, 3, room.num_points) for room in ROOMS} for _ in range(2))
    total = changed = mended = spoilt = 0
    for room in ROOMS:
        for true, old, new in zip(room.labels.tolist(), before[room.name], after[room.name], strict=True):
            total += true >= 0
            if true >= 0 and old != new:
                changed, mended, spoilt = changed + 1, mended + (new == true), spoilt + (old == true)
    expected = 100 * changed / total, 100 * mended / changed, 100 * spoilt / changed
    assert propagation_effect(ROOMS, before, after) == dict(zip(KEYS, expected, strict=True))


def test_no_change_has_no_shares():
    same = {room.name: np.zeros(room.num_points, np.int16) for room in ROOMS}
    assert propagation_effect(ROOMS, same, same) == dict(zip(KEYS, (0.0, None, None), strict=True))
