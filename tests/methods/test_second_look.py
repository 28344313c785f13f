"""Which clicks a network contradicts, and what the command says of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_room, tiny_config

from otoc_lib.__main__ import main
from otoc_lib.annotation.assist import Doubt, contradicted
from otoc_lib.annotation.clicks import Clicks, read_clicks, simulate_clicks, write_clicks
from otoc_lib.annotation.kept import kept_path
from otoc_lib.annotation.session import Session
from otoc_lib.errors import OtocError
from otoc_lib.labels import NO_CLASS
from otoc_lib.methods.second_look import second_look
from otoc_lib.methods.stages import Scenes

ROOM = make_room("scene0000_00", seed=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_contradicted_are_clicks_whose_class_is_not_the_likeliest(seed, count):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(20, 0.3), ROOM.num_supervoxels).astype(np.float32)
    points = generator.permutation(ROOM.num_points)[:count]
    likeliest = probabilities[ROOM.supervoxels[points]].argmax(axis=1)
    classes = np.where(generator.random(count) < 0.3, likeliest, generator.integers(0, 20, count))
    classes[generator.random(count) < 0.2] = NO_CLASS
    found = contradicted(ROOM, Clicks(points, classes, np.full(count, -1)), probabilities)
    expected = []
    for point, given_class in zip(points.tolist(), classes.tolist(), strict=True):
        seen = probabilities[ROOM.supervoxels[point]]
        if given_class != NO_CLASS and seen.argmax() != given_class:
            margin = float(seen[given_class] - seen.max())
            expected.append(Doubt(int(ROOM.supervoxels[point]), point, given_class, int(seen.argmax()), margin))
    assert sorted(found, key=lambda doubt: doubt.point) == sorted(expected, key=lambda doubt: doubt.point)
    margins = [doubt.margin for doubt in found]
    assert margins == sorted(margins) and all(-1 <= margin < 0 for margin in margins)


# --- a network that stopped early -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offices():
    return [make_room(f"scene{index:04d}_00", seed=index, boxes=8) for index in range(6)]


@pytest.fixture(scope="module")
def clicked(offices, tmp_path_factory):
    """Clicks of which four are wrong, as a file; and those four, as (room, vertex)."""
    clicks = {room.name: simulate_clicks(room, per_object=2, seed=0) for room in offices}
    wrong = [(room.name, int(clicks[room.name].points[k])) for room, k in zip(offices, (0, 3, 6, 9), strict=False)]
    for name, point in wrong:
        made = clicks[name]
        classes = np.where(made.points == point, (made.classes + 3) % 8, made.classes)
        clicks[name] = replace(made, classes=classes)
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    write_clicks(path, clicks, offices)
    return path, wrong


def config_of(clicked, folder, **values):
    path, _ = clicked
    return tiny_config(source="file", clicks_file=str(path), runs_root=str(folder), unet_steps=480, **values)


def test_wrong_clicks_are_among_the_first(offices, clicked, tmp_path, capfd):
    config = config_of(clicked, tmp_path)
    found = second_look(config, Scenes(offices, {}))
    rows = found.rows()
    total = sum(map(len, found.clicks.values()))
    first = {(row[0], row[1]) for row in rows[: total // 5]}
    assert len(first & set(clicked[1])) >= 3  # of four; by chance it would be one
    margins = [row[-1] for row in rows]
    assert margins == sorted(margins) and len(rows) < total / 2
    scene = {room.name: room for room in offices}
    for name, point, x, y, z, given_class, seen, _ in rows:
        np.testing.assert_allclose([float(x), float(y), float(z)], scene[name].coords[point], atol=1e-5)
        of_room = found.clicks[name]
        label_set, region = scene[name].label_set, scene[name].supervoxels[point]
        assert given_class == label_set.names[of_room.classes[of_room.points.tolist().index(point)]]
        assert seen == label_set.names[found.seen[name][region].argmax()] != given_class
    # What is contradicted by far can be left out; all others are as they were.
    for margin in (0.0, 0.2, 0.5):
        far = {(row[0], row[1]) for row in rows if row[-1] < -margin}
        for name, left in found.without(margin).items():
            clicks = found.clicks[name]
            stays = [(name, point) not in far for point in clicks.points.tolist()]
            for column in ("points", "classes", "objects"):
                np.testing.assert_array_equal(getattr(left, column), getattr(clicks, column)[stays])
    assert {name: len(left) for name, left in found.without().items()} == {
        name: len(left) for name, left in found.without(0.2).items()
    }
    assert (tmp_path / "p_second_look" / "e" / "unet_1").is_dir()
    # Asked again, the network is there.
    capfd.readouterr()
    again = second_look(config, Scenes(offices, {}))
    assert "step/s" not in capfd.readouterr().err
    assert again.rows() == rows and again.kept == 0
    # What somebody looked at and kept is not asked about again, nor left out.
    session, (name, point, *_) = Session(offices, clicked[0]), rows[0]
    session.keep(name, point)
    try:
        after = second_look(config, Scenes(offices, {}))
    finally:
        kept_path(clicked[0]).unlink()
    assert after.rows() == rows[1:] and after.kept == 1 and point in after.without()[name].points
    assert f"contradicts {len(rows) - 1}, beside 1 that you kept in the picker" in after.text()


def test_labels_that_are_no_clicks_get_no_second_look(offices, tmp_path):
    config = tiny_config(source="all", method="control", runs_root=str(tmp_path))
    with pytest.raises(OtocError, match="p/e: has 'source: all'; a second look is for clicks"):
        second_look(config, Scenes(offices, {}))


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_lists_them_and_writes_the_others(offices, clicked, tmp_path, monkeypatch, capsys):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    lines = [f"{name}: {value}" for name, value in vars(config_of(clicked, "runs")).items() if name in CHANGED]
    (tmp_path / "params" / "e.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("otoc_lib.datasets.load_split", lambda config, split, count: offices)
    command = ["second-look", "params/e.yaml", "-p", "unet_steps", "80"]
    assert main([*command, "--without", "kept.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    total = sum(map(len, read_clicks(clicked[0], offices).values()))
    count = int(said[0].removeprefix(f"{total} clicks in 6 rooms; the network contradicts "))
    assert count > 30 and said[3].split() == ["scene", "vertex", "x", "y", "z", "clicked", "seen", "as", "margin"]
    kept = sum(map(len, read_clicks(tmp_path / "kept.csv", offices).values()))
    assert said[34:] == [
        f"... and {count - 30} more; --all lists them",
        f"kept.csv: {kept} clicks. To train from them:",
        "otoc run params/e.yaml -p source=file -p clicks_file=kept.csv",
    ]
    assert main([*command, "--all"]) == 0
    every = capsys.readouterr().out.splitlines()
    assert len(every) == 4 + count and every[:34] == said[:34]
    assert total - kept == sum(float(line.split()[-1]) < -0.2 for line in every[4:])
    assert [float(line.split()[-1]) for line in every[4:]] == sorted(float(line.split()[-1]) for line in every[4:])
    # Clicks that are there are not written over, nor a file of another kind; nothing is trained for it.
    monkeypatch.setattr("otoc_lib.datasets.load_split", lambda *_: pytest.fail("rooms are read"))
    for name, says in (("kept.csv", "is there already"), ("scan.ply", "is to be written as .csv")):
        assert main([*command, "--without", name]) == 2
        assert says in capsys.readouterr().err


CHANGED = ("profile", "experiment", "source", "clicks_file", "voxel_size", "unet_width", "unet_levels", "unet_blocks")
CHANGED += ("batch_size", "schedule", "elastic_granularity", "elastic_magnitude", "device")
