import io
import itertools

import numpy as np
import pytest
from fake_rooms import results_in
from matplotlib.collections import PolyCollection
from PIL import Image

from otoc_lib.annotation.clicks import Clicks
from otoc_lib.annotation.subclouds import Subclouds
from otoc_lib.datasets.own import label_set
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.reporting.figures import (
    BARS,
    RIGHT,
    UNLABELLED,
    WRONG,
    annotation_figure,
    error_colors,
    figure1,
    learning_curves,
    room_view,
    subcloud_figure,
    to_png,
)
from otoc_lib.reporting.runs import Measurement
from otoc_lib.scene import Scene


def test_error_colors():
    truth = np.array([1, 2, IGNORE, 3])
    colors = error_colors(truth, np.array([1, 0, 1, 3]))
    assert [tuple(color) for color in colors.tolist()] == [RIGHT, WRONG, UNLABELLED, RIGHT]


def test_figures_draw_a_band_where_there_are_several_seeds(results, tmp_path, runs):
    loss, miou = learning_curves(results, ("otoc", "unet")).axes
    for axes, several in ((loss, 1), (miou, 2)):  # the whole method, and its super-voxel mean
        assert sum(isinstance(drawn, PolyCollection) for drawn in axes.collections) == several
    assert "otoc (2 seeds)" in [text.get_text() for text in loss.get_legend().get_texts()]
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "otoc").symlink_to(runs / "rooms" / "otoc")
    for axes in learning_curves(results_in(tmp_path), ("otoc",)).axes:
        assert not any(isinstance(drawn, PolyCollection) for drawn in axes.collections)
        assert not any("seeds" in text.get_text() for text in axes.get_legend().get_texts())


def test_no_bar_or_number_leaves_its_panel():
    best = Measurement({0: 99.0, 1: 100.0}, views=1, names=frozenset({"a", "b"}))
    figure = figure1({"rooms": {"otoc_full": best}}, {})
    figure.draw_without_rendering()
    for axes in figure.axes:
        inside = axes.get_window_extent()
        for shown in (*axes.patches, *axes.texts):
            box = shown.get_window_extent()
            assert inside.y0 - 1 <= box.y0 and box.y1 <= inside.y1 + 1


@pytest.mark.parametrize("count", [9, 15, 31])
def test_names_of_bars_do_not_run_into_each_other(count):
    three = Measurement({0: 70.0, 1: 80.0, 2: 90.0}, views=1, names=frozenset({"a", "b"}))
    rows = {f"xu_baseline_{number}_long_sv": three for number in range(count - 1)} | {"otoc_full": three}
    figure = figure1({"rooms": rows, "areas": rows}, {})
    figure.draw_without_rendering()
    for axes in figure.axes[2:]:
        boxes = [tick.get_window_extent() for tick in axes.get_xticklabels()]
        assert len(boxes) == count
        assert all(one.x1 <= other.x0 + 1 for one, other in itertools.pairwise(boxes)), count


def test_bars_say_how_many_seeds_they_stand_for(results):
    rows = {name: results.measure(results.row(name)) for name in ("otoc_full", "supervised")}
    axes = figure1({"rooms": rows | {"mine_sv": rows["supervised"]}}, {}).axes[2]
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["fully\nsupervised", "1T1C\n2 seeds", "mine\nsv"]
    texts = [text.get_text() for text in axes.texts]
    assert [text for text in texts if text in (*BARS, "others")] == ["U-Net alone", "after propagation", "others"]
    assert f"{rows['otoc_full'].mean:.1f}\n± {rows['otoc_full'].std:.1f}" in texts
    assert f"{rows['supervised'].mean:.1f}" in texts


def test_balls_are_counted_by_their_classes_and_for_each_class():
    first, second = np.zeros((2, 20), dtype=bool), np.zeros((2, 20), dtype=bool)
    first[0, [0, 1]] = first[1, 0] = second[0, 0] = True
    rooms = {"a": Subclouds(np.zeros((2, 3)), 1.0, first), "b": Subclouds(np.zeros((2, 3)), 1.0, second)}
    counts, classes = subcloud_figure(rooms, SCANNET20).axes
    assert [bar.get_height() for bar in counts.patches] == [25, 50, 25]  # of no class, of one, of two
    assert [bar.get_height() for bar in classes.patches] == [75, 25, *[0] * 18]


@pytest.mark.parametrize("count", [3, 14, 60, 200])
def test_classes_of_ones_own_keep_their_colours_and_none_comes_out_like_another(count):
    """In a room of photographic colours, with one class on most points and every other one on a small patch."""
    side = np.arange(90)
    x, y = (axis.ravel() for axis in np.meshgrid(side, side, indexing="ij"))
    classes = label_set([f"class {k}" for k in range(count)])
    patch = x // 6 * 15 + y // 6  # 225 pieces
    labels = np.where(patch % 9 != 0 if count < 20 else patch >= count, 0, patch % count)
    coords = np.stack([0.03 * x, 0.03 * y, 0.0 * x], axis=1).astype(np.float32)
    colors = np.random.default_rng(0).integers(0, 256, (len(x), 3), dtype=np.uint8)
    pieces = np.unique(patch, return_inverse=True)[1].astype(np.int32)
    room = Scene("room", coords, colors, pieces, labels.astype(np.int16), None, np.zeros(3), classes)
    figure = annotation_figure([room], {"room": Clicks([0], [0], [-1])})
    for scale in (1.0, 0.7):  # of the report, of the notebooks
        image = Image.open(io.BytesIO(to_png(figure, scale)))
        assert image.mode == "P"
        found = {tuple(color) for color in np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).tolist()}
        assert set(classes.colors) <= found  # the legend's, to the bit
    view = room_view(room, 320, 280)
    whole = view.paint(classes.paint(labels)).astype(int)  # what the panel shows before its colours are reduced
    drawn = np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB")).astype(int)
    corner = next(axes for axes in figure.axes if axes.get_title() == "ground truth").get_window_extent()
    left, top = round(corner.x0), drawn.shape[0] - round(corner.y1)
    shown = drawn[top : top + whole.shape[0], left : left + whole.shape[1]]
    assert np.abs(shown - whole).max(axis=-1).mean() < 6 and np.percentile(np.abs(shown - whole), 99) < 24
