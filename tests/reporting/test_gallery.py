from dataclasses import replace

import numpy as np

from otoc_lib.reporting.gallery import best_median_worst, in_order


def test_rooms_that_stand_for_an_evaluation(results, scenes):
    val = scenes["val"]  # the made-up predictions get worse from room to room
    chosen = best_median_worst(results, "otoc", "evaluate_3", "val", val)
    assert chosen == {"best": val[0], "median": val[1], "worst": val[3]}
    assert best_median_worst(results, "otoc", "evaluate_3", "val", val[:2]) == {"best": val[0], "worst": val[1]}
    assert best_median_worst(results, "otoc", "evaluate_3", "val", val[:1]) == {"best": val[0]}
    assert best_median_worst(results, "otoc", "evaluate_4", "val", val) == {}


def test_rooms_that_nobody_can_judge_are_not_ranked(results, scenes, monkeypatch):
    val = scenes["val"]
    assert [score for _, score in in_order(list(zip(val, (np.nan, 50.0, np.nan, 20.0), strict=True)))][:2] == [
        20.0,
        50.0,
    ]
    metrics = results.metrics("otoc", "evaluate_3")
    found = metrics["splits"]["val"]["per_room"]
    unknown = {name: {} for name in found}
    own = replace(results)
    split = {**metrics["splits"]["val"], "per_room": unknown}
    monkeypatch.setattr(type(own), "metrics", lambda *_: {**metrics, "splits": {"val": split}})
    assert best_median_worst(own, "otoc", "evaluate_3", "val", val) == {room.name: room for room in val[:3]}
    split["per_room"] = unknown | {val[2].name: found[val[2].name]}  # one of them has labels
    assert best_median_worst(own, "otoc", "evaluate_3", "val", val) == {"best": val[2]}
