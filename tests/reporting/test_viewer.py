import base64
import gzip
import json

import numpy as np
import pytest

from otoc_lib.annotation.clicks import simulate_clicks
from otoc_lib.labels import IGNORE
from otoc_lib.reporting import viewer
from otoc_lib.reporting.splat import ABOVE, HIGH_X, LOW_X, room_axes, wall_sides
from otoc_lib.reporting.viewer import (
    NO_CLASS,
    PLANES,
    Layer,
    bundle_rooms,
    pack_room,
    prediction_layers,
    pseudo_label_layers,
)


def unpack(packed):
    """Planes uint8 [P, N] as viewer.js reads them."""
    raw = gzip.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(raw, np.uint8).reshape(len(PLANES) + len(packed["layers"]), packed["points"])


def places(packed):
    planes = unpack(packed).astype(np.int64)
    return packed["step"] * np.stack([planes[2 * axis] + 256 * planes[2 * axis + 1] for axis in range(3)], axis=1)


def test_a_room_comes_out_as_it_went_in(scenes):
    room = scenes["val"][1]
    labels = np.where(np.arange(room.num_points) % 7 == 0, IGNORE, room.labels)
    confidence = np.linspace(0, 1, room.num_points).astype(np.float16)
    packed = pack_room(room, [Layer("truth", labels, judged=False), Layer("confidence", None, confidence)])
    planes = unpack(packed)
    assert planes.shape[1] == packed["all"] == room.num_points
    axes = room_axes(room.coords)
    turned = np.column_stack([room.coords[:, :2] @ axes.T, room.coords[:, 2]])
    assert np.abs(places(packed) - (turned - turned.min(axis=0))).max() <= packed["step"] / 2 + 1e-6
    assert packed["step"] == 0.001
    assert np.abs(planes[6:9].T.astype(int) - room.colors).max() < 8
    assert np.array_equal(planes[11], np.where(labels == IGNORE, NO_CLASS, labels))
    assert np.abs(planes[12] / 255 - confidence).max() <= 0.5 / 255 + 1e-9
    assert packed == pack_room(room, [Layer("truth", labels, judged=False), Layer("confidence", None, confidence)])


def test_large_rooms_are_thinned_and_keep_their_clicks(scenes, monkeypatch):
    room = scenes["train"][0]
    clicks = simulate_clicks(room, 1, 0)
    whole = pack_room(room, [Layer("truth", room.labels)], clicks)
    monkeypatch.setattr(viewer, "MOST_POINTS", 500)
    packed = pack_room(room, [Layer("truth", room.labels)], clicks)
    assert 500 <= packed["points"] <= 500 + len(clicks) and packed["all"] == room.num_points
    planes = unpack(packed)
    for (index, label), (point, expected) in zip(packed["clicks"], whole["clicks"], strict=True):
        assert label == expected == planes[11, index] and point == clicks.points[whole["clicks"].index([point, label])]
        assert np.allclose(places(packed)[index], places(whole)[point])


def test_layers_are_those_that_were_made(results, scenes):
    room, train = scenes["val"][0], scenes["train"][0]
    layers = prediction_layers(results, "otoc", "supervised", room)
    names = [layer.name for layer in layers]
    assert names == [
        *("truth", "initial U-Net*", "iteration 1", "iteration 2", "iteration 3†", "iteration 3"),
        *("fully supervised", "confidence"),
    ]
    assert not layers[0].judged and layers[5].judged
    clicks = simulate_clicks(train, 1, 0)
    names = [layer.name for layer in pseudo_label_layers(results, "otoc", train, clicks)]
    assert names == ["truth", "initial labels", *(f"pseudo labels {k}" for k in (1, 2, 3)), "confidence"]
    names = [layer.name for layer in pseudo_label_layers(results, "control", train, clicks)]
    assert names == ["truth", "initial labels"]
    assert [layer.name for layer in prediction_layers(results, "nowhere", "none", room)] == ["truth"]


def test_few_rooms_fill_a_small_viewer(results, scenes, tmp_path):
    groups = bundle_rooms(results, tmp_path, scenes, most_bytes=200_000)
    names = [room["name"] for group in groups for room in group["rooms"]]
    assert 1 <= len(names) < 9 and {path.stem for path in tmp_path.glob("*.js")} == set(names)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.js")) < 220_000 or len(names) == 1


def test_the_script_is_a_call_with_json(scenes, tmp_path):
    path = viewer.write_room(tmp_path, pack_room(scenes["val"][0], [Layer("truth", scenes["val"][0].labels)]))
    text = path.read_text(encoding="ascii")
    assert path.name == "scene1000_00.js" and text.startswith("otocRoom(") and text.endswith(");\n")
    assert json.loads(text[len("otocRoom(") : -3])["name"] == "scene1000_00"


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_a_wall_belongs_to_its_side_and_the_floor_to_none(turn):
    grid = np.stack(np.meshgrid(np.arange(0, 4, 0.05), np.arange(0, 3, 0.05)), -1).reshape(-1, 2)
    wall = np.stack(np.meshgrid(np.arange(0, 3, 0.05), np.arange(0, 2.8, 0.05)), -1).reshape(-1, 2)
    floor = np.column_stack([grid, np.zeros(len(grid))])
    near = np.column_stack([np.zeros(len(wall)), wall])
    far = near + [4.0, 0, 0]
    table = np.column_stack([grid[:50] * 0.3 + [2, 1.5], np.full(50, 0.7)])
    coords = np.concatenate([floor, near, far, table])
    ids = np.repeat(np.arange(4), [len(floor), len(near), len(far), len(table)])
    along = np.array([np.cos(turn), np.sin(turn)])
    axes = np.stack([along, [-along[1], along[0]]])
    turned = np.column_stack([coords[:, :2] @ axes, coords[:, 2]])
    sides = wall_sides(turned, ids, axes)
    low = coords[:, 2] < 2.3
    assert (sides[ids == 0] == 0).all() and (sides[(ids == 3)] == 0).all()
    raised = low & (coords[:, 2] > 0.15)
    assert (sides[(ids == 1) & raised] & LOW_X).all() and not (sides[ids == 1] & HIGH_X).any()
    assert (sides[(ids == 2) & raised] & HIGH_X).all() and not (sides[ids == 2] & LOW_X).any()
    assert (sides[coords[:, 2] > 2.4] & ABOVE).all() and not (sides[low] & ABOVE).any()
