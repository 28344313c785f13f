"""README's strip and film of a room that is clicked, and its badges: what they say is so."""

import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from otoc_lib.annotation.clicks import expand_clicks
from otoc_lib.labels import IGNORE
from otoc_lib.reporting.clicking import ARROW, SECONDS, clicked_room, film, first, strip, to_gif
from otoc_lib.reporting.figures import to_png

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = ROOT / "docs/pictures/clicking.png"
FILM = ROOT / "docs/pictures/clicking.gif"


@pytest.fixture(scope="module")
def clicked():
    return clicked_room()


@pytest.fixture
def room(clicked):
    return clicked[0]


@pytest.fixture
def clicks(clicked):
    return clicked[1]


@pytest.fixture(scope="module")
def pictures(clicked):
    return list(film(*clicked))


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


def test_the_film_points_at_every_click_in_sight_and_then_labels_it(pictures, room, clicks):
    assert sum(seconds for _, seconds in pictures) == pytest.approx(SECONDS)
    axes = [figure.axes[0] for figure, _ in pictures]
    assert "0.0 %" in axes[0].texts[0].get_text() and axes[-1].get_title().startswith(f"the labels of {len(clicks)}")
    covered = [float(picture.texts[0].get_text().split(" %")[0]) for picture in axes]
    steps = list(zip(axes[1:-1:2], axes[2:-1:2], strict=True))
    assert 10 < len(steps) <= len(clicks) and covered == sorted(covered)
    for before, after in steps:
        number, name = re.fullmatch(r"click (\d+): (\w+)", before.get_title()).groups()
        place = int(number) - 1
        assert after.get_title() == before.get_title() and name == room.label_set.names[clicks.classes[place]]
        done = expand_clicks(room, first(clicks, place + 1))
        assert after.texts[0].get_text().startswith(f"{100 * (done != IGNORE).mean():.1f} %")
        assert done[clicks.points[place]] == clicks.classes[place]
        tips = [picture.patches[-1].get_xy()[0] - ARROW[0] for picture in (before, after)]
        dot = after.collections[-1].get_offsets()[-1]  # of the newest click
        assert np.array_equal(*tips) and np.allclose(tips[1], dot)


def test_the_committed_film_is_the_one_that_is_drawn(pictures, room):
    assert f"](docs/pictures/{FILM.name})" in README and FILM.stat().st_size < 1_500_000
    chosen = [0, 1, 2, len(pictures) // 2, len(pictures) - 1]
    drawn = Image.open(io.BytesIO(to_gif([pictures[place] for place in chosen], room.label_set)))
    with Image.open(FILM) as kept:
        assert kept.size == drawn.size and kept.n_frames == len(pictures) and kept.info["loop"] == 0
        lasts = 0
        for place, (_, seconds) in enumerate(pictures):
            kept.seek(place)
            assert kept.info["duration"] == pytest.approx(1000 * seconds, abs=10)  # hundredths of a second
            lasts += kept.info["duration"]
            if place in chosen:
                drawn.seek(chosen.index(place))
                ours, theirs = (np.asarray(picture.convert("RGB"), dtype=int) for picture in (drawn, kept))
                assert (np.abs(ours - theirs).max(axis=2) > 48).mean() < 0.01
        assert 9000 < lasts < 11000


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
