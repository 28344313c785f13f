import pickle
import warnings
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import at_most
from scipy.stats import chisquare

from otoc_lib.annotation.clicks import (
    Clicks,
    clicked_labels,
    count_classes,
    draw_by_column,
    draw_share,
    expand_clicks,
    expansion_statistics,
    gaps,
    label_statistics,
    of_no_class,
    read_clicks,
    read_points,
    simulate_clicks,
    spoil_clicks,
    write_clicks,
    write_points,
)
from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE, NO_CLASS, SCANNET20
from otoc_lib.scene import Scene, densify

WALL, FLOOR, CHAIR, SOFA = (SCANNET20.index(name) for name in ("wall", "floor", "chair", "sofa"))


def room(supervoxels, coords=None, labels=None, instances=None, name="scene0000_00") -> Scene:
    count = len(supervoxels)
    if coords is None:
        coords = np.random.default_rng(0).normal(size=(count, 3))
    return Scene(
        name=name,
        coords=np.asarray(coords, np.float32),
        colors=np.zeros((count, 3), np.uint8),
        supervoxels=densify(np.asarray(supervoxels)),
        labels=None if labels is None else np.asarray(labels, np.int16),
        instances=None if instances is None else np.asarray(instances, np.int32),
        origin=np.array([100.0, -20.0, 3.0]),
        label_set=SCANNET20,
    )


def annotated_room(name="scene0000_00") -> Scene:
    """Three objects: 0 is a chair with one point labelled otherwise, 1 has no benchmark label, 2 is a wall."""
    instances = [0] * 8 + [-1] * 3 + [1] * 2 + [2] * 5
    labels = [CHAIR] * 7 + [FLOOR] + [FLOOR] * 3 + [IGNORE] * 2 + [WALL] * 5
    return room(np.arange(18) // 3, labels=labels, instances=instances, name=name)


@st.composite
def clicked_rooms(draw):
    count = draw(st.integers(1, 25))
    supervoxels = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    # Few distinct places, so that equal distances to the centroid happen.
    coords = draw(st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=count, max_size=count))
    points = draw(st.lists(st.integers(0, count - 1), unique=True))
    classes = draw(st.lists(st.sampled_from([0, 1, 2, 3, NO_CLASS]), min_size=len(points), max_size=len(points)))
    labels = draw(st.lists(st.sampled_from([IGNORE, 0, 1, 2, 3]), min_size=count, max_size=count))
    return room(supervoxels, coords, labels), Clicks(points, classes, [-1] * len(points))


def expand_by_loops(scene: Scene, clicks: Clicks) -> np.ndarray:
    """The plain twin of clicked_labels: the rule of the design, one super-voxel and one point at a time."""
    labels = np.full(scene.num_points, IGNORE)
    for supervoxel in range(scene.num_supervoxels):
        members = [i for i in range(scene.num_points) if scene.supervoxels[i] == supervoxel]
        centroid = scene.coords[members].astype(np.float64).mean(axis=0)
        inside = [(p, c) for p, c in zip(clicks.points, clicks.classes, strict=True) if p in members]
        if not inside:
            continue
        votes = Counter(c for _, c in inside)
        tied = [(p, c) for p, c in inside if votes[c] == max(votes.values())]
        # Of rows, as the library takes it: that of a vector alone rounds otherwise, and ties are meant to happen here.
        distance = {p: np.linalg.norm((scene.coords[p] - centroid)[None], axis=1)[0] for p, _ in tied}
        labels[members] = min(tied, key=lambda click: (distance[click[0]], click[1]))[1]
        if labels[members[0]] != NO_CLASS:
            for point, label in inside:
                labels[point] = label
    return labels


@given(clicked_rooms())
@settings(deadline=None)
def test_expansion_equals_its_plain_twin(case):
    scene, clicks = case
    labels, expected = clicked_labels(scene, clicks), expand_by_loops(scene, clicks)
    assert labels.dtype == expand_clicks(scene, clicks).dtype == np.int16
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(of_no_class(scene, clicks), expected == NO_CLASS)
    np.testing.assert_array_equal(expand_clicks(scene, clicks), np.where(expected == NO_CLASS, IGNORE, expected))


@given(clicked_rooms())
@settings(deadline=None)
def test_expansion_covers_exactly_the_clicked_supervoxels(case):
    scene, clicks = case
    labels = clicked_labels(scene, clicks)
    np.testing.assert_array_equal(labels != IGNORE, np.isin(scene.supervoxels, scene.supervoxels[clicks.points]))
    keeps = labels[clicks.points] != NO_CLASS
    np.testing.assert_array_equal(labels[clicks.points][keeps], clicks.classes[keeps])


def test_a_negative_click_says_that_its_supervoxel_is_of_no_class():
    scene = room([0] * 3 + [1] * 3 + [2] * 2)
    clicks = Clicks([1, 4], [NO_CLASS, CHAIR], [-1, -1])
    assert clicked_labels(scene, clicks).tolist() == [NO_CLASS] * 3 + [CHAIR] * 3 + [IGNORE] * 2
    assert expand_clicks(scene, clicks).tolist() == [IGNORE] * 3 + [CHAIR] * 3 + [IGNORE] * 2
    assert of_no_class(scene, clicks).tolist() == [True] * 3 + [False] * 5
    apart = Clicks([1, 4], [NO_CLASS, CHAIR], [-1, -1], spread=False)
    assert np.flatnonzero(of_no_class(scene, apart)).tolist() == [1]
    assert np.flatnonzero(expand_clicks(scene, apart) == CHAIR).tolist() == [4]


def test_a_supervoxel_is_of_a_class_or_of_none_as_most_of_its_clicks_say(recwarn):
    scene = room([0] * 6, coords=np.outer(np.arange(6), [1, 0, 0]))
    outvoted = Clicks([0, 1, 5], [NO_CLASS, NO_CLASS, CHAIR], [-1] * 3)
    assert clicked_labels(scene, outvoted).tolist() == [NO_CLASS] * 6  # the chair's own point, too
    alone = Clicks([0, 1, 5], [NO_CLASS, CHAIR, CHAIR], [-1] * 3)
    assert clicked_labels(scene, alone).tolist() == [NO_CLASS] + [CHAIR] * 5
    with pytest.warns(UserWarning, match=r"scene0000_00: 1 clicks of a class label nothing.*\('none'\)"):
        statistics = expansion_statistics([scene], {scene.name: outvoted})
    assert statistics["clicks_per_scene"] == 3 and statistics["no_class_clicks_per_scene"] == 2
    assert statistics["no_class_percent"] == 100 and statistics["covered_percent"] == 0
    positive = expansion_statistics([scene], {scene.name: Clicks([0], [CHAIR], [-1])})
    assert not any(name.startswith("no_class") for name in positive)


def test_an_annotator_who_errs_does_not_turn_no_class_into_one():
    scene = annotated_room()
    spoilt = spoil_clicks(scene, Clicks([0, 9], [CHAIR, NO_CLASS], [-1, -1]), wrong=1.0, forgotten=0.0, seed=0)
    assert spoilt.classes[0] != CHAIR and spoilt.classes[1] == NO_CLASS


def test_no_class_is_none_in_the_file(tmp_path):
    scene, path = room([0, 0]), tmp_path / "clicks.csv"
    write_clicks(path, {scene.name: Clicks([1], [NO_CLASS], [-1])}, [scene])
    assert path.read_text().splitlines()[1].endswith(",none,-1")
    assert read_clicks(path, [scene])[scene.name].classes.tolist() == [NO_CLASS]
    path.write_text(path.read_text().replace(",none,", ",None,"))
    with pytest.raises(OtocError, match="line 2: unknown class 'None'.*or 'none' for none of them"):
        read_clicks(path, [scene])


def test_more_clicks_win_a_supervoxel_and_every_click_keeps_its_class():
    scene = room([0] * 6 + [1] * 2, coords=np.outer(np.arange(8), [1, 0, 0]))
    labels = expand_clicks(scene, Clicks([0, 5, 2], [CHAIR, CHAIR, WALL], [0, 0, 1]))
    assert labels.tolist() == [CHAIR, CHAIR, WALL, CHAIR, CHAIR, CHAIR, IGNORE, IGNORE]


def test_on_a_tie_the_click_nearest_to_the_centroid_wins_a_supervoxel():
    scene = room([0] * 6, coords=np.outer(np.arange(6), [1, 0, 0]))  # the centroid lies at 2.5
    assert expand_clicks(scene, Clicks([0, 4], [WALL, CHAIR], [0, 1])).tolist() == [WALL] + [CHAIR] * 5
    assert expand_clicks(scene, Clicks([1, 5], [WALL, CHAIR], [0, 1])).tolist() == [WALL] * 5 + [CHAIR]


def test_each_object_of_a_benchmark_class_is_clicked_in_its_class():
    scene = annotated_room()
    clicks = simulate_clicks(scene, per_object=1, seed=0)
    assert clicks.objects.tolist() == [0, 2] and clicks.classes.tolist() == [CHAIR, WALL]
    np.testing.assert_array_equal(scene.instances[clicks.points], clicks.objects)
    assert (clicks.points.dtype, clicks.classes.dtype, clicks.objects.dtype) == (np.int64, np.int16, np.int32)


def test_several_clicks_an_object_are_distinct_points():
    for seed in range(20):
        clicks = simulate_clicks(annotated_room(), per_object=6, seed=seed)
        assert clicks.objects.tolist() == [0] * 6 + [2] * 5  # object 2 has five points only
        assert len(set(clicks.points.tolist())) == 11


@pytest.mark.parametrize("per_object", [1, 3])
def test_every_point_of_an_object_is_clicked_equally_often(per_object):
    scene = annotated_room()
    counts = np.zeros(scene.num_points)
    for seed in range(3000):
        counts[simulate_clicks(scene, per_object, seed).points] += 1
    for instance in (0, 2):
        # Drawing without replacement spreads the counts a little less than the test assumes, which only helps.
        assert chisquare(counts[scene.instances == instance]).pvalue > 0.001
    assert counts[(scene.instances != 0) & (scene.instances != 2)].sum() == 0


def test_clicks_depend_on_seed_and_scene_name_only():
    def points(seed, name):
        return simulate_clicks(annotated_room(name), 3, seed).points.tolist()

    assert points(7, "scene0000_00") == points(7, "scene0000_00")
    assert len({tuple(points(seed, name)) for seed in range(3) for name in ("a", "b", "scene0000_00")}) == 9


@pytest.mark.parametrize(
    ("scene", "per_object", "seed", "named"),
    [
        (annotated_room(), 0, 0, r"per_object \(0\)"),
        (annotated_room(), 1, -1, r"seed \(-1\)"),
        (room([0, 1], instances=[0, 0]), 1, 0, "scene0000_00.*no labels"),
        (room([0, 1], labels=[0, 0]), 1, 0, "scene0000_00.*instances"),
        (room([0, 1], labels=[0, 0], instances=[-1, -1]), 1, 0, "scene0000_00.*no object"),
        (room([0, 1], labels=[IGNORE, 0], instances=[0, -1]), 1, 0, "scene0000_00.*no object"),
    ],
)
def test_rooms_that_cannot_be_clicked_are_refused(scene, per_object, seed, named):
    with pytest.raises(OtocError, match=named):
        simulate_clicks(scene, per_object, seed)


def crowded_room(objects=400, name="crowded") -> Scene:
    """Objects of two points each, chairs and sofas by turns."""
    labels = np.repeat(np.where(np.arange(objects) % 2, CHAIR, SOFA), 2)
    return room(np.arange(2 * objects) // 4, labels=labels, instances=np.repeat(np.arange(objects), 2), name=name)


def test_an_annotator_errs_as_often_as_asked():
    scene = crowded_room()
    clicks = simulate_clicks(scene, 2, 0)
    wrong, total = Counter(), 0
    for seed in range(25):
        spoilt = spoil_clicks(scene, clicks, 0.1, 0.3, seed)
        kept = np.isin(clicks.points, spoilt.points)
        np.testing.assert_array_equal(clicks.points[kept], spoilt.points)
        np.testing.assert_array_equal(clicks.objects[kept], spoilt.objects)
        assert all(np.sum(spoilt.objects == instance) in (0, 2) for instance in range(400))  # forgotten as a whole
        assert 0.6 < len(spoilt) / len(clicks) < 0.8
        given, true = spoilt.classes[spoilt.classes != clicks.classes[kept]], clicks.classes[kept]
        assert 0.05 < len(given) / len(spoilt) < 0.16 and true.shape == spoilt.classes.shape
        wrong.update((given - true[spoilt.classes != true]) % len(SCANNET20))
        total += len(spoilt)
    assert 0.09 < sum(wrong.values()) / total < 0.11
    assert set(wrong) == set(range(1, 20)) and chisquare(list(wrong.values())).pvalue > 0.001  # any other class alike


@given(st.integers(0, 5), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_what_goes_wrong_at_one_share_goes_wrong_at_every_larger_one(
    seed, wrong, more_wrong, forgotten, more_forgotten
):
    (wrong, more_wrong), (forgotten, more_forgotten) = sorted((wrong, more_wrong)), sorted((forgotten, more_forgotten))
    scene = crowded_room(30)
    clicks = simulate_clicks(scene, 1, seed)
    few = dict(zip(*fields_of(spoil_clicks(scene, clicks, wrong, forgotten, seed)), strict=True))
    many = dict(zip(*fields_of(spoil_clicks(scene, clicks, more_wrong, more_forgotten, seed)), strict=True))
    right = dict(zip(*fields_of(clicks), strict=True))
    assert many.keys() <= few.keys() <= right.keys()
    assert all(many[point] == few[point] for point in many if few[point] != right[point])


def fields_of(clicks):
    return clicks.points.tolist(), clicks.classes.tolist()


def test_nothing_and_everything_can_go_wrong():
    scene = crowded_room(40)
    clicks = Clicks([0, 5, 11], [SOFA, SOFA, CHAIR], [0, 2, -1])
    same = spoil_clicks(scene, clicks, 0, 0, 3)
    assert (same.points.tolist(), same.classes.tolist()) == (clicks.points.tolist(), clicks.classes.tolist())
    all_wrong = spoil_clicks(scene, clicks, 1, 0, 3)
    assert all_wrong.points.tolist() == [0, 5, 11] and (all_wrong.classes != clicks.classes).all()
    assert spoil_clicks(scene, clicks, 0, 1, 3).points.tolist() == [11]  # of which object it is nobody knows
    with pytest.raises(OtocError, match=r"wrong is 1\.5"):
        spoil_clicks(scene, clicks, 1.5, 0, 0)


def test_a_share_of_the_points_is_drawn_evenly_and_labels_them_alone():
    scene, counts = annotated_room(), np.zeros(18)
    for seed in range(3000):
        clicks = draw_share(scene, 0.25, seed)  # 4.5 points, rounded to 4; some have no class
        counts[clicks.points] += 1
        labels = expand_clicks(scene, clicks)
        np.testing.assert_array_equal(np.flatnonzero(labels != IGNORE), clicks.points)
        np.testing.assert_array_equal(labels[clicks.points], scene.labels[clicks.points])
        np.testing.assert_array_equal(clicks.objects, scene.instances[clicks.points])
    known = scene.labels != IGNORE
    assert counts[~known].sum() == 0 and chisquare(counts[known]).pvalue > 0.001
    assert counts.sum() == pytest.approx(3000 * 4 * known.mean(), rel=0.03)  # what has no class costs a draw
    assert len(draw_share(scene, 1, 0)) == known.sum() and len(draw_share(scene, 1e-6, 3)) <= 1


@given(st.integers(0, 9), st.floats(0.001, 1), st.floats(0.001, 1))
@settings(max_examples=50, deadline=None)
def test_a_smaller_share_is_part_of_a_larger_one(seed, share, other):
    scene = crowded_room(60)
    small, large = (draw_share(scene, amount, seed) for amount in sorted((share, other)))
    assert set(small.points.tolist()) <= set(large.points.tolist())
    assert len(large) == max(1, round(max(share, other) * scene.num_points))  # every point has a class here


def test_each_class_of_each_square_metre_gives_as_many_points():
    coords = [[0.0, 0, 0]] * 6 + [[1.5, 0, 0]] * 6 + [[1.5, 1.2, 0]] * 2
    labels = [CHAIR] * 5 + [WALL] + [CHAIR] * 2 + [IGNORE] * 4 + [SOFA, SOFA]
    scene = room([0] * 14, coords=coords, labels=labels)
    counts = np.zeros(14)
    for seed in range(500):
        clicks = draw_by_column(scene, 1, seed)
        assert sorted(zip(scene.coords[clicks.points, 0].tolist(), clicks.classes.tolist(), strict=True)) == sorted(
            [(0.0, CHAIR), (0.0, WALL), (1.5, CHAIR), (1.5, SOFA)]
        )
        counts[clicks.points] += 1
        assert set(clicks.points) <= set(draw_by_column(scene, 3, seed).points)
    assert counts[5] == 500 and chisquare(counts[:5]).pvalue > 0.001 and counts[8:12].sum() == 0
    assert len(draw_by_column(scene, 3, 0)) == 3 + 1 + 2 + 2 and not clicks.spread


@pytest.mark.parametrize("draw", [draw_share, draw_by_column])
def test_points_that_cannot_be_drawn_are_refused(draw):
    with pytest.raises(OtocError, match="scene0000_00.*no labels"):
        draw(room([0, 1]), 1, 0)
    for amount, seed in ((0, 0), (1, -1)):
        with pytest.raises(OtocError, match="seed"):
            draw(annotated_room(), amount, seed)
    with pytest.raises(OtocError, match=r"share \(1.5\)"):
        draw_share(annotated_room(), 1.5, 0)


def test_statistics_say_which_classes_have_no_click():
    scene = room([0, 0, 1, 1, 2, 2], labels=[WALL, WALL, CHAIR, CHAIR, IGNORE, SOFA])
    found = expansion_statistics([scene], {scene.name: Clicks([0, 2], [WALL, WALL], [0, 1])})
    assert found["classes_missed_percent"] == pytest.approx(200 / 3) and found["spread"] is True
    found = expansion_statistics([scene], {scene.name: draw_share(scene, 1, 0)})
    assert found["classes_missed_percent"] == 0 and found["spread"] is False
    assert found["covered_percent"] == pytest.approx(500 / 6)
    unknown = room([0, 0])
    assert expansion_statistics([unknown], {unknown.name: Clicks([0], [WALL], [0])})["classes_missed_percent"] is None


def test_clicks_are_checked_and_read_only():
    with pytest.raises(OtocError, match="clicked twice"):
        Clicks([1, 1], [0, 0], [0, 0])
    with pytest.raises(OtocError, match="one length"):
        Clicks([1, 2], [0], [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        Clicks([1], [0], [0]).points[0] = 2
    for clicks in (Clicks([18], [0], [0]), Clicks([-1], [0], [0]), Clicks([0], [20], [0]), Clicks([0], [IGNORE], [0])):
        with pytest.raises(OtocError, match="scene0000_00: a click"):
            expand_clicks(annotated_room(), clicks)


@given(clicked_rooms())
@settings(deadline=None)
def test_write_and_read_round_trip(tmp_path_factory, case):
    scene, clicks = case
    other = room([0], name='a "room", with commas')
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    write_clicks(path, {scene.name: clicks}, [other, scene])
    read = read_clicks(path, [scene, other])
    assert list(read) == [scene.name, other.name] and len(read[other.name]) == 0
    for field in ("points", "classes", "objects"):
        np.testing.assert_array_equal(getattr(read[scene.name], field), getattr(clicks, field))


def test_the_file_holds_file_coordinates_and_class_names(tmp_path):
    scene = room([0, 0], coords=[[0, 0, 0], [0.5, -1, 2]])
    write_clicks(tmp_path / "clicks.csv", {scene.name: Clicks([1], [CHAIR], [-1])}, [scene])
    assert (tmp_path / "clicks.csv").read_text() == (
        "scene,point,x,y,z,class,object\nscene0000_00,1,100.500000,-21.000000,5.000000,chair,-1\n"
    )


def test_a_table_that_excel_has_saved_again_holds_the_same_clicks(tmp_path):
    scene, path = annotated_room(), tmp_path / "clicks.csv"
    clicks = simulate_clicks(scene, per_object=1, seed=0)
    write_clicks(path, {scene.name: clicks}, [scene])
    lines = path.read_text().splitlines()
    german = [line.replace(",", ";").replace(".", ",") for line in [lines[0].title(), *lines[1:]]]
    blanks = [", ".join(line.split(",")) for line in lines]
    for saved in (
        "\r\n".join([*german, ";;;;;;", ""]).encode("utf-8-sig"),
        "\r\n".join(["sep=;", *german]).encode("cp1252"),
        "\n".join("\t".join(line.split(",")) for line in lines).encode("utf-16"),
        "\n".join(blanks).encode(),
        "\n".join(line + ",," for line in lines).encode(),
    ):
        path.write_bytes(saved)
        found = read_clicks(path, [scene])[scene.name]
        for field in ("points", "classes", "objects"):
            np.testing.assert_array_equal(getattr(found, field), getattr(clicks, field))


def test_a_refused_write_leaves_the_old_file(tmp_path):
    scene, path = annotated_room(), tmp_path / "clicks.csv"
    path.write_text("old")
    with pytest.raises(OtocError, match="scene0000_00"):
        write_clicks(path, {scene.name: Clicks([99], [0], [0])}, [scene])
    with pytest.raises(OtocError, match="stranger"):
        write_clicks(path, {"stranger": Clicks([], [], [])}, [scene])
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scene0000_00,1,", "scene0009_00,1,", "line 3: unknown scene 'scene0009_00'"),
        ("scene0000_00,1,", "../scene,1,", "line 3: '../scene' is no scene name"),
        ("scene0000_00,1,", ",1,", "line 3: '' is no scene name"),
        (",chair,", ",chiar,", "line 3: unknown class 'chiar'.*wall, floor"),
        ("scene0000_00,1,", "scene0000_00,3,", "line 3: point 3 is outside 0..2"),
        ("scene0000_00,1,", "scene0000_00,-1,", "line 3: point -1"),
        ("scene0000_00,1,", "scene0000_00,one,", "line 3: point is 'one', not a whole number"),
        ("scene0000_00,1,", "scene0000_00,1.5,", "line 3: point is '1.5'"),
        ("scene0000_00,1,", "scene0000_00,2,", "line 3: point 2 of scene0000_00 lies 1.00 m from"),
        ("101.000000", "east", "line 3: x is 'east', not a number"),
        ("101.000000", "nan", "line 3: x is 'nan', not a number"),
        ("chair,0", "chair,", "line 3: object is ''"),
        ("chair,0", "chair,-2", "line 3: object -2"),
        ("chair,0", "chair,9", "line 3: object 9"),
        ("chair,0", "chair", "line 3: has nothing in object"),
        ("chair,0", "chair,0,0", "line 3: has 8 columns, line 1 names 7; with decimal commas"),
        ("scene0000_00,1,101", "scene0000_00,0,100", "line 3: point 0 of scene0000_00 is clicked a second time"),
        ("scene,point", "scene,vertex", "line 1: no column point"),
    ],
)
def test_defects_in_the_file_are_refused_with_file_and_line(tmp_path, old, new, message):
    scene = room([0, 0, 1], coords=np.outer(np.arange(3), [1, 0, 0]), labels=[0] * 3, instances=[0, 0, 0])
    path = tmp_path / "clicks.csv"
    write_clicks(path, {scene.name: Clicks([0, 1], [WALL, CHAIR], [0, 0])}, [scene])
    rewrite(path, old, new)
    with pytest.raises(OtocError, match=f"clicks.csv, {message}"):
        read_clicks(path, [scene])


def test_an_object_must_be_a_number_that_is_kept_where_the_scene_knows_none(tmp_path):
    scene = room([0, 0, 1], coords=np.outer(np.arange(3), [1, 0, 0]))
    path = tmp_path / "clicks.csv"
    write_clicks(path, {scene.name: Clicks([1], [CHAIR], [2**31 - 2])}, [scene])
    assert read_clicks(path, [scene])[scene.name].objects.tolist() == [2**31 - 2]
    rewrite(path, f",{2**31 - 2}", f",{2**31}")
    with pytest.raises(OtocError, match=f"clicks.csv, line 2: object {2**31} is not one of"):
        read_clicks(path, [scene])


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00\x01", b"scene,point\n"])
def test_files_that_are_no_table_of_clicks_are_refused_by_name(tmp_path, content):
    path = tmp_path / "clicks.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OtocError, match="clicks.csv"):
        read_clicks(path, [annotated_room()])


def test_statistics_by_hand():
    truth = [WALL, WALL, WALL, CHAIR, CHAIR, SOFA, IGNORE, IGNORE]
    given_labels = [WALL, WALL, CHAIR, CHAIR, IGNORE, CHAIR, CHAIR, IGNORE]
    scene = room([0] * 8, labels=truth)
    statistics = label_statistics([scene], {scene.name: np.array(given_labels, np.int16)})
    per_class = statistics.pop("per_class_accuracy_percent")
    assert statistics.pop("clutter_percent") == 100 * 1 / 6
    assert statistics == {
        "covered_percent": 100 * 6 / 8,
        "accuracy_percent": 100 * 3 / 5,
        "furniture_covered_percent": 100 * 2 / 3,
        "furniture_accuracy_percent": 100 * 1 / 2,
    }
    assert len(per_class) == 20 and {c: value for c, value in enumerate(per_class) if value is not None} == {
        WALL: 100 * 2 / 3,
        CHAIR: 100.0,
        SOFA: 0.0,
    }


def test_the_new_labels_are_counted_apart_by_hand():
    truth = [WALL, WALL, WALL, CHAIR, CHAIR, SOFA, IGNORE, IGNORE]
    initial = [WALL, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE]
    given_labels = [WALL, WALL, CHAIR, CHAIR, IGNORE, CHAIR, CHAIR, IGNORE]
    scene = room([0] * 8, labels=truth)
    found = label_statistics([scene], *({scene.name: np.array(labels, np.int16)} for labels in (given_labels, initial)))
    assert (found["new_percent"], found["clutter_percent"]) == (100 * 5 / 8, 100 * 1 / 6)
    assert (found["new_right_percent"], found["new_clutter_percent"]) == (100 * 2 / 5, 100 * 1 / 5)
    per_class = enumerate(found["per_class_new_right_percent"])  # of the class that was given
    assert {c: value for c, value in per_class if value is not None} == {WALL: 100.0, CHAIR: 100 * 1 / 4}


@given(st.lists(clicked_rooms(), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_statistics_equal_a_count_point_by_point(cases, seed):
    rng = np.random.default_rng(seed)
    scenes = [room(s.supervoxels, labels=s.labels, name=f"room{i}") for i, (s, _) in enumerate(cases)]
    labels = {s.name: rng.choice([IGNORE, 0, 1, 2, 3], s.num_points).astype(np.int16) for s in scenes}
    initial = {name: np.where(rng.random(len(made)) < 0.5, made, IGNORE) for name, made in labels.items()}
    before = [value for s in scenes for value in initial[s.name].tolist()]
    pairs = [pair for s in scenes for pair in zip(s.labels.tolist(), labels[s.name].tolist(), strict=True)]

    def percent(part, whole):
        return 100 * len(part) / len(whole) if whole else None

    def accuracy(chosen):
        return percent([1 for true, made in chosen if true == made], chosen)

    judged = [(true, made) for true, made in pairs if true != IGNORE and made != IGNORE]
    furniture = [true for true, _ in pairs if true > FLOOR]
    new = [pair for pair, known in zip(pairs, before, strict=True) if known == IGNORE and pair[1] != IGNORE]
    made = [true for true, made in pairs if made != IGNORE]
    assert label_statistics(scenes, labels, initial) == {
        "covered_percent": percent([made for _, made in pairs if made != IGNORE], pairs),
        "accuracy_percent": accuracy(judged),
        "furniture_covered_percent": percent([true for true, _ in judged if true > FLOOR], furniture),
        "furniture_accuracy_percent": accuracy([pair for pair in judged if pair[0] > FLOOR]),
        "per_class_accuracy_percent": [accuracy([pair for pair in judged if pair[0] == c]) for c in range(20)],
        "clutter_percent": percent([true for true in made if true == IGNORE], made),
        "new_percent": percent(new, pairs),
        "new_right_percent": accuracy(new),
        "new_clutter_percent": percent([true for true, _ in new if true == IGNORE], new),
        "per_class_new_right_percent": [accuracy([pair for pair in new if pair[1] == c]) for c in range(20)],
    }


def test_expansion_statistics_count_the_clicks():
    scenes = [annotated_room("a"), annotated_room("b")]
    statistics = expansion_statistics(scenes, {s.name: simulate_clicks(s, 1, 0) for s in scenes})
    assert (statistics["scenes"], statistics["clicks_per_scene"]) == (2, 2.0)
    assert 0 < statistics["covered_percent"] < 100


def test_rooms_without_true_labels_count_for_coverage_alone():
    blind = room([0, 0, 1, 1], name="blind")
    half = np.array([WALL, WALL, IGNORE, IGNORE], np.int16)
    statistics = label_statistics([blind], {"blind": half})
    assert statistics.pop("covered_percent") == 50
    assert statistics.pop("per_class_accuracy_percent") == [None] * 20
    assert set(statistics.values()) == {None}
    seen = room([0] * 4, labels=[CHAIR] * 4, name="seen")
    statistics = label_statistics([blind, seen], {"blind": half, "seen": np.full(4, CHAIR, np.int16)})
    assert (statistics["covered_percent"], statistics["accuracy_percent"]) == (75, 100)
    clicks = {"blind": Clicks([0], [WALL], [-1])}
    assert expansion_statistics([blind], clicks)["covered_percent"] == 50


def test_statistics_need_a_label_for_every_point():
    scene = room([0, 0], labels=[WALL, WALL])
    for scenes, labels in (([], {}), ([scene], {scene.name: np.zeros(3, np.int16)})):
        with pytest.raises(OtocError):
            label_statistics(scenes, labels)


# --- limited-annotation files


KINDS = {
    "tensors": torch.tensor,
    "arrays": np.array,
    "small arrays": lambda points: np.array(points, np.int32),
    "lists": list,
    "lists of numpy numbers": lambda points: [np.int64(point) for point in points],
    "tuples": tuple,
}


def points_file(path: Path, points: dict) -> Path:
    torch.save(points, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zipped", [True, False])
def test_points_take_the_class_and_the_object_of_their_vertex(tmp_path, kind, zipped):
    scene, other = annotated_room(), annotated_room("scene0001_00")
    content = {scene.name: KINDS[kind]([13, 0, 12, 7, 0]), other.name: KINDS[kind]([]), "unknown": KINDS[kind]([99])}
    torch.save(content, tmp_path / "points20", _use_new_zipfile_serialization=zipped)
    with pytest.warns(UserWarning, match="points20: 1 of 4 points have no benchmark class"):
        clicks = read_points(tmp_path / "points20", [scene, other])
    assert list(clicks) == [scene.name, other.name] and len(clicks[other.name]) == 0
    assert clicks[scene.name].points.tolist() == [0, 7, 13]
    assert clicks[scene.name].classes.tolist() == [CHAIR, FLOOR, WALL]
    assert clicks[scene.name].objects.tolist() == [0, 0, 2]


def test_points_of_rooms_without_objects(tmp_path):
    scene = room([0, 0], labels=[WALL, CHAIR])
    clicks = read_points(points_file(tmp_path / "points20", {scene.name: [1]}), [scene])
    assert clicks[scene.name].objects.tolist() == [-1]


def test_arrays_named_as_older_numpy_names_them(tmp_path):
    torch.save({"scene0000_00": np.array([0])}, tmp_path / "new")
    with zipfile.ZipFile(tmp_path / "new") as new, zipfile.ZipFile(tmp_path / "points20", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.", b"numpy.core."))
    clicks = read_points(tmp_path / "points20", [annotated_room()])
    assert clicks["scene0000_00"].points.tolist() == [0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scene0000_00": [18]}, "point 18 of scene0000_00 is outside 0..17"),
        ({"scene0000_00": [-1]}, "point -1 of scene0000_00"),
        ({"scene0000_00": np.array([2**64 - 1], np.uint64)}, "point -1 of scene0000_00"),
        ({"scene0001_00": [1]}, "lists no points for scene0000_00"),
        ({"scene0000_00": [0.5]}, "points of scene0000_00 are no list of whole numbers"),
        ({"scene0000_00": [[0, 1]]}, "no list of whole numbers"),
        ({"scene0000_00": [[0], [1, 2]]}, "no list of whole numbers"),
        ({"scene0000_00": [True]}, "no list of whole numbers"),
        ({"scene0000_00": torch.tensor([0.5])}, "no list of whole numbers"),
        ({"scene0000_00": torch.tensor([[0]])}, "no list of whole numbers"),
        ({"scene0000_00": np.array([0.5])}, "no list of whole numbers"),
        ({"scene0000_00": np.array(["0"])}, "not safe to load"),
        ({"scene0000_00": [2**70]}, "not safe to load"),
        ({"scene0000_00": "12"}, "no list of whole numbers"),
        ({"scene0000_00": None}, "no list of whole numbers"),
        ({"scene0000_00": torch.ones(2, requires_grad=True)}, "no list of whole numbers"),
        ([1, 2], "no dict"),
    ],
)
def test_points_that_do_not_fit_are_refused_by_file_and_scene(tmp_path, content, message):
    path = points_file(tmp_path / "points20", content)
    with pytest.raises(OtocError, match=f"points20: .*{message}"):
        read_points(path, [annotated_room()])


def test_points_need_labelled_scenes_and_a_file(tmp_path):
    path = points_file(tmp_path / "points20", {"scene0000_00": [0]})
    with pytest.raises(OtocError, match="points20: scene scene0000_00 has no labels"):
        read_points(path, [room([0])])
    with pytest.raises(OtocError, match="points50: no such file"):
        read_points(tmp_path / "points50", [annotated_room()])


def pickled(path: Path, data: bytes) -> Path:
    """A file of torch's whose pickle is ``data``."""
    torch.save({"scene0000_00": torch.arange(4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, data if name.endswith("data.pkl") else content)
    return path


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little")


@pytest.mark.parametrize(
    "name", ["__builtin__ bytearray", "builtins bytes", "torch Tensor", "torch LongTensor", "numpy ndarray"]
)
@pytest.mark.parametrize("count", [10**8, 2**33])
def test_no_number_in_a_pickle_is_allocated(tmp_path, name, count):
    """Though torch, told to load weights only, would."""
    call = f"c{name}\n".replace(" ", "\n").encode() + number(count) + b"\x85R"
    path = pickled(tmp_path / "points20", b"\x80\x02}U\x0cscene0000_00" + call + b"s.")
    with at_most(megabytes=10), pytest.raises(OtocError, match="points20: .*not safe to load"):
        read_points(path, [annotated_room()])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_holds_no_more_than_its_file(tmp_path, zipped):
    path = tmp_path / "points20"
    for count, message in ((10**7, "lists 10000000 points for scene0000_00"), (2**40, ".*not safe to load")):
        again = torch.zeros(1, dtype=torch.int64).expand(count)
        torch.save({"scene0000_00": again}, path, _use_new_zipfile_serialization=zipped)
        with at_most(megabytes=10), pytest.raises(OtocError, match=f"points20: {message}"):
            read_points(path, [annotated_room()])


def test_a_compressed_archive_is_refused(tmp_path):
    torch.save({"scene0000_00": torch.zeros(10**6, dtype=torch.int64)}, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as plain:
        with zipfile.ZipFile(tmp_path / "points20", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
    with at_most(megabytes=1), pytest.raises(OtocError, match="points20: .*not safe to load"):
        read_points(tmp_path / "points20", [annotated_room()])


class Malice:
    """What a file from outside may hold: unpickled, it makes a file of its own."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside_array", [True, False])
def test_a_malicious_file_is_refused_and_not_executed(tmp_path, zipped, inside_array):
    malice = Malice(tmp_path / "touched")
    content = np.array([malice], dtype=object) if inside_array else malice
    path = tmp_path / "points20"
    torch.save({"scene0000_00": content}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(OtocError, match="points20: .*not safe to load"):
        read_points(path, [annotated_room()])
    assert not (tmp_path / "touched").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "touched").exists()  # so the test would have noticed


@given(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_gives_clicks_or_one_clear_error(tmp_path_factory, position, junk, zipped):
    scene, path = annotated_room(), tmp_path_factory.mktemp("points") / "points20"
    torch.save({scene.name: torch.arange(10)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    start = int(position * len(data))
    path.write_bytes(data[:start] + (junk + data[start + len(junk) :] if junk else b""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_points(path, [scene])
    except OtocError as error:
        assert "points20" in str(error)


def test_written_points_are_drawn_uniformly_and_read_again(tmp_path):
    labels = [WALL] * 40
    scenes = [room([0] * 40, labels=labels, name=name) for name in ("a", "b")] + [room([0, 0], labels=[0, 0], name="c")]
    counts = np.zeros(40)
    for seed in range(300):
        write_points(tmp_path / "points20", scenes, 20, seed)
        content = torch.load(tmp_path / "points20", weights_only=True)
        assert [(len(points), points.dtype) for points in content.values()] == [(20, torch.int64)] * 2 + [
            (2, torch.int64)
        ]
        assert content["a"].tolist() != content["b"].tolist()
        clicks = read_points(tmp_path / "points20", scenes)
        assert all(clicks[name].points.tolist() == points.tolist() for name, points in content.items())
        counts[clicks["a"].points] += 1
    assert chisquare(counts).pvalue > 0.001
    write_points(tmp_path / "again", scenes, 20, seed)
    again = torch.load(tmp_path / "again", weights_only=True)
    assert all(again[name].equal(points) for name, points in content.items())
    for count, seed in ((0, 0), (1, -1)):
        with pytest.raises(OtocError, match=r"count .* seed"):
            write_points(tmp_path / "points20", scenes, count, seed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "points20"]


@given(st.lists(clicked_rooms(), min_size=1, max_size=3))
@settings(deadline=None)
def test_what_is_counted_of_every_class_is_what_is_there(cases):
    scenes = [replace(scene, name=f"r{i}") for i, (scene, _) in enumerate(cases)]
    clicks = {f"r{i}": of_room for i, (_, of_room) in enumerate(cases)}
    counts = count_classes(scenes, clicks)
    assert [count.name for count in counts] == list(SCANNET20.names)
    for label, count in enumerate(counts):
        assert count.clicks == sum(list(c.classes).count(label) for c in clicks.values())
        assert count.scenes == sum(label in c.classes for c in clicks.values())
        assert count.labelled == sum(list(expand_by_loops(s, clicks[s.name])).count(label) for s in scenes)
    said = " ".join(gaps(scenes, clicks))
    assert ("no click lies in r0" in said) == (len(clicks["r0"]) == 0)


def test_a_class_without_a_click_is_named_and_one_click_anywhere_is_enough():
    scenes = [annotated_room("a"), annotated_room("b")]
    few = replace(SCANNET20, names=SCANNET20.names[:3], file_ids=(1, 2, 3), colors=SCANNET20.colors[:3])
    scenes = [replace(scene, labels=None, instances=None, label_set=few) for scene in scenes]
    clicks = {"a": Clicks([0, 5], [0, 1], [-1, -1]), "b": Clicks([1], [2], [-1])}
    assert gaps(scenes, clicks) == []  # cabinet is clicked once, in one of the rooms
    (said,) = gaps(scenes, {"a": clicks["a"], "b": Clicks([1], [0], [-1])})
    assert said.startswith("no click of cabinet: what is never shown cannot be learnt") and "wall" not in said
    classes, rooms = gaps(scenes, {"a": Clicks([0], [0], [-1]), "b": Clicks([], [], [])})
    assert "no click of floor, cabinet:" in classes and rooms.startswith("no click lies in b:")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_points_of_another_protocol_of_pickle_say_how_to_save_them_again(tmp_path, protocol, zipped):
    path, scene = tmp_path / "points20", annotated_room()
    listed = {scene.name: torch.tensor([0, 3])}
    torch.save(listed, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    if protocol == 3:
        assert read_points(path, [scene])[scene.name].points.tolist() == [0, 3]
        return
    with pytest.raises(OtocError, match=f"points20: written by torch.save with protocol {protocol} of pickle") as told:
        read_points(path, [scene])
    run_what_the_message_says(str(told.value), path)
    assert read_points(path, [scene])[scene.name].points.tolist() == [0, 3]


@pytest.mark.parametrize("protocol", range(6))
def test_points_of_a_plain_pickle_say_how_to_save_them_again(tmp_path, protocol):
    path, scene = tmp_path / "points20", annotated_room()
    path.write_bytes(pickle.dumps({scene.name: np.array([0, 3])}, protocol))
    shown = protocol if protocol > 1 else "0 or 1"  # which begin alike
    with pytest.raises(OtocError, match=f"points20: a plain pickle of protocol {shown}, and not") as told:
        read_points(path, [scene])
    run_what_the_message_says(str(told.value), path)
    assert read_points(path, [scene])[scene.name].points.tolist() == [0, 3]


def run_what_the_message_says(message: str, path: Path) -> None:
    code = message.partition("in Python: ")[2].replace("'file'", repr(str(path))).replace("'again'", repr(str(path)))
    exec(code)
