"""The pictures of docs/own_scans.md are what the kit draws of the example room now.

``python tests/test_own_scan_pictures.py [LABELLED.ply]`` draws them anew, that of the result from the labelled scan.
"""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.annotation.example import EXAMPLE_CLASSES, example
from otoc_lib.datasets import own
from otoc_lib.datasets.doctor import diagnose
from otoc_lib.datasets.ply import read_ply
from otoc_lib.reporting import figures
from otoc_lib.reporting.scan_pictures import draw_scans
from otoc_lib.scene import Scene
from otoc_lib.supervoxels.geometric import Partition

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
DRAWN = ("own_scan_checked", "own_scan_pieces", "own_scan_clicked")  # by the test; the result needs a training
RESULT = "own_scan_labelled"
MOST_BYTES = 100_000


def example_scene(folder: Path) -> Scene:
    example(folder)
    return own.load_scene(folder, "room", own.label_set(list(EXAMPLE_CLASSES)), Partition())


def draw(folder: Path) -> dict[str, bytes]:
    """The example room as the doctor shows it, its super-voxels, and its clicks with what they label."""
    scene = example_scene(folder)
    clicks = read_clicks(folder / "clicks.csv", [scene])
    shades = np.random.default_rng(0).integers(40, 230, (scene.num_supervoxels, 3), dtype=np.uint8)
    view = figures.room_view(scene, *figures.PANEL)
    pieces = np.concatenate([view.paint(scene.colors), view.paint(shades[scene.supervoxels])], axis=1)
    reduced = io.BytesIO()
    Image.fromarray(pieces).quantize(128).save(reduced, format="png", optimize=True)
    return {
        "own_scan_checked": figures.to_png(draw_scans(diagnose(folder, with_views=True).views)),
        "own_scan_pieces": reduced.getvalue(),
        "own_scan_clicked": figures.to_png(figures.annotation_figure([scene], clicks)),
    }


def draw_result(folder: Path, labelled: Path) -> bytes:
    """The example room beside what a run made of it."""
    scene = example_scene(folder)
    labels = read_vertices(labelled)["label"]
    view = figures.room_view(scene, *figures.PANEL)
    panels = [
        figures.Panel(view, scene.colors, "room.ply"),
        figures.Panel(view, scene.label_set.paint(labels), "labelled/room.ply"),
    ]
    return figures.to_png(figures.draw_panels([panels], scene.label_set))


def read_vertices(path: Path) -> dict[str, np.ndarray]:
    return read_ply(path).columns


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_what_is_drawn_now(drawn, name):
    now, kept = (
        Image.open(io.BytesIO(data)).convert("RGB") for data in (drawn[name], (FOLDER / f"{name}.png").read_bytes())
    )
    assert now.size == kept.size
    assert np.abs(np.asarray(now, dtype=int) - np.asarray(kept, dtype=int)).mean() < 4


def test_the_pictures_are_small_and_shown():
    page = (FOLDER.parent / "own_scans.md").read_text(encoding="utf-8")
    for name in (*DRAWN, RESULT):
        assert (FOLDER / f"{name}.png").stat().st_size < MOST_BYTES and f"pictures/{name}.png" in page


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        for name, data in draw(Path(made) / "own").items():
            (FOLDER / f"{name}.png").write_bytes(data)
        if sys.argv[1:]:
            (FOLDER / f"{RESULT}.png").write_bytes(draw_result(Path(made) / "again", Path(sys.argv[1])))
