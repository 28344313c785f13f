"""README's strip of a room that is clicked, and its badges: what they say is so."""

import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from otoc_lib.annotation.clicks import expand_clicks
from otoc_lib.labels import IGNORE
from otoc_lib.reporting.clicking import clicked_room, first, strip
from otoc_lib.reporting.figures import to_png

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = ROOT / "docs/pictures/clicking.png"


@pytest.fixture(scope="module")
def clicked():
    return clicked_room()


@pytest.fixture
def room(clicked):
    return clicked[0]


@pytest.fixture
def clicks(clicked):
    return clicked[1]


def test_every_picture_says_what_it_shows(room, clicks):
    axes = strip(room, clicks).axes
    assert len(axes) == 4
    for picture in axes[1:]:
        count = int(re.search(r"(\d+) clicks", picture.get_title())[1])
        some = first(clicks, count)
        assert len(some) == count and np.array_equal(some.points, clicks.points[:count])
        covered = 100 * (expand_clicks(room, some) != IGNORE).mean()
        assert picture.texts[0].get_text().startswith(f"{covered:.1f} % of the points")
        dots = [len(dots.get_offsets()) for dots in picture.collections]
        # Each with a white ring; a wall that hides the room is not drawn, nor a click on it.
        assert dots == [] if picture is axes[3] else 1 <= dots[0] == dots[1] <= count
    counts = [re.search(r"(\d+) clicks", picture.get_title())[1] for picture in axes[1:]]
    assert "after {} clicks, after {}, and the labels that {} clicks give".format(*counts) in README


def test_the_committed_strip_is_the_one_that_is_drawn(room, clicks):
    assert f"](docs/pictures/{PICTURE.name})" in README and PICTURE.stat().st_size < 200_000
    drawn, kept = Image.open(io.BytesIO(to_png(strip(room, clicks)))), Image.open(PICTURE)
    assert kept.size == drawn.size
    away = np.abs(np.asarray(kept.convert("RGB"), dtype=int) - np.asarray(drawn.convert("RGB"), dtype=int)).max(axis=2)
    assert (away > 48).mean() < 0.01  # other versions smooth letters and choose the 256 colours otherwise


def test_the_badges_are_true():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = {}
    for name in re.findall(r"\]\((docs/pictures/badge_\w+\.svg)\)\]", README):
        text = (ROOT / name).read_text(encoding="utf-8")
        title = re.search(r"<title>(.*)</title>", text)[1]
        assert re.findall(r"<text [^>]*>(.*)</text>", text) == title.split(": ") and "href" not in text
        said |= [title.split(": ")]
    assert said == {
        "python": f"{project['requires-python'].removeprefix('>=')} or newer",
        "licence": project["license"],
        "paper": "CVPR 2021",
    }
    assert "CVPR 2021" in README and "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_what_it_shows_is_five_points_at_most():
    shown = README.split("What it shows", 1)[1].split("Not shown", 1)[0]
    points = re.findall(r"^- (.*?)(?=^- |^$)", shown, flags=re.M | re.S)
    assert 3 <= len(points) <= 5 and re.search(r"\([+-]\d+\.\d to [+-]\d+\.\d\)", points[0])
    for interval in re.findall(r"[+-]\d+\.\d \([+-]\d+\.\d to [+-]\d+\.\d\)", shown):  # those of the tables above
        assert f"| {interval} " in README or f"| {interval} |" in README, interval
