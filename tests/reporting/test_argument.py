from dataclasses import replace

import pytest
from fake_rooms import results_in

from otoc_lib.reporting import argument
from otoc_lib.reporting.findings import compare

PARTS = argument.parts()


def test_every_part_is_compared_with_what_differs_by_it_alone(results):
    sides = {name: [(row.experiment, row.mode) for row in (part.with_it, part.without)] for name, part in PARTS.items()}
    assert sides == {
        "self-training": [("otoc", "point"), ("control", "point")],
        "the graph": [("unet_gp", "full"), ("unet_gp", "sv")],
        "the relation net": [("otoc", "full"), ("unet_gp", "full")],
        "the whole method": [("otoc", "full"), ("control", "full")],
    }
    assert all(row.stage == "last" for part in PARTS.values() for row in (part.with_it, part.without))


def test_the_answer_is_the_comparison_of_both_sides(results):
    part = PARTS["the whole method"]
    found = compare(results, part.with_it, part.without)
    text = argument.answer(results, part)
    assert text.startswith(f"{part.question}: {found.total:+.2f} points of mIoU") and "95 % interval" in text
    assert argument.answer(results, PARTS["the graph"]).endswith(": not run.")  # no fake run has unet_gp


def test_rooms_are_those_of_largest_and_least_gain(results, scenes, monkeypatch):
    part, val = PARTS["self-training"], scenes["val"]
    ours, theirs = (results.room_scores(row)[0] for row in (part.with_it, part.without))
    gains = {scene.name: ours[scene.name] - theirs[scene.name] for scene in val}
    rooms = argument.helped_and_hurt(results, part, val)
    expected = [max(gains, key=gains.get), min(gains, key=gains.get)]
    assert [room.name for room in rooms.values()] == expected
    assert list(rooms) == [f"{gains[name]:+.1f}" for name in expected]
    assert argument.picture(results, part, val) is not None
    assert argument.helped_and_hurt(results, PARTS["the graph"], val) == {}
    assert argument.picture(results, PARTS["the graph"], val) is None
    seeds = {part.with_it.experiment: 0, part.without.experiment: 1}  # rooms of two seeds are not compared
    monkeypatch.setattr(type(results), "shown_seed", lambda self, experiment: seeds[experiment])
    both = {seed: ours for seed in (0, 1)}
    monkeypatch.setattr(type(results), "room_scores", lambda self, row: both)
    assert argument.helped_and_hurt(results, part, val) == {}
    seeds[part.without.experiment] = 0
    assert argument.helped_and_hurt(results, part, val)


def test_the_conclusion_says_what_is_shown_and_what_is_not(results, tmp_path, monkeypatch):
    text = argument.conclusion(results)  # four rooms are too few to show anything
    assert text.startswith("No difference is shown of self-training (") and " and the whole method (" in text
    assert "Not run yet: the graph and the relation net." in text and "one seed" in text
    monkeypatch.setattr("otoc_lib.reporting.findings.ENOUGH_ROOMS", 4)
    one = "More than the choice of rooms explains, of one training run each: self"
    for interval, says in (((-0.1, 2.0), "No difference is shown of self"), ((0.1, 2.0), one)):
        monkeypatch.setattr("otoc_lib.reporting.findings.interval_of", lambda *_, ends=interval: ends)
        assert argument.conclusion(results).startswith(says) and "A gain" not in argument.conclusion(results)
    single = argument.compare  # of one seed here: a gain is a word for several
    monkeypatch.setattr(argument, "compare", lambda *sides: (found := single(*sides)) and replace(found, seeds=3))
    assert argument.conclusion(results).startswith("A gain is shown of self-training (")
    assert argument.conclusion(results_in(tmp_path)).startswith("Not run yet: self-training, the graph, ")


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_nothing_is_claimed_where_nothing_was_run(part, tmp_path, scenes):
    assert argument.answer(results_in(tmp_path), part).endswith(": not run.")
    assert argument.picture(results_in(tmp_path), part, scenes["val"]) is None
