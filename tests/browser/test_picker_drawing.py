"""What the picker shows: outlines that are no labels, grey for what has none, stripes for what is of no class."""

import io

import numpy as np
import pytest
from picker_page import VIEW, open_picker, wait_still
from PIL import Image

from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.annotation.picker import Picker
from otoc_lib.annotation.session import Session
from otoc_lib.labels import NO_CLASS, SCANNET20
from otoc_lib.scene import Scene

SIDE = 60  # vertices along each side of the room's square grid
STEP = 0.05  # metres between them
WALL, BED, CHAIR = (SCANNET20.index(name) for name in ("wall", "bed", "chair"))
SCAN = (120, 90, 60)  # colour of the room


def grid_room() -> tuple[Scene, np.ndarray]:
    """A floor of one colour in nine super-voxels of unlike sizes, and its triangles."""
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    cuts = np.array([26, 44])
    supervoxels = 3 * np.searchsorted(cuts, x, side="right") + np.searchsorted(cuts, y, side="right")
    coords = np.stack([x * STEP, y * STEP, 0.2 * np.sin(x / 9)], axis=-1).reshape(-1, 3) - SIDE * STEP / 2
    corner = (x[:-1, :-1] * SIDE + y[:-1, :-1]).ravel()
    faces = [corner, corner + SIDE, corner + 1, corner + 1, corner + SIDE, corner + SIDE + 1]
    scene = Scene(
        name="grid",
        coords=coords.astype(np.float32),
        colors=np.tile(np.uint8(SCAN), (SIDE * SIDE, 1)),
        supervoxels=supervoxels.ravel().astype(np.int32),
        labels=None,
        instances=None,
        origin=np.zeros(3),
        label_set=SCANNET20,
    )
    return scene, np.stack(faces, axis=1).reshape(-1, 3).astype(np.int32)


class Person:
    """Somebody at the picker of the grid room."""

    def __init__(self, page, session: Session):
        self.page, self.session = page, session

    def view(self, script: str):
        return self.page.evaluate(f"{VIEW}.{script}")

    def press(self, *keys: str) -> None:
        self.page.locator(".otoc-picker canvas").focus()
        for key in keys:
            self.page.keyboard.press(key)
        wait_still(self.page)

    def hover(self, region: int) -> None:
        """Point at the middle of a super-voxel."""
        box = self.page.locator(".otoc-picker canvas").bounding_box()
        x, y = self.view(f"project({self.view(f'middle({region})')})")
        self.page.mouse.move(box["x"] + x, box["y"] + y)
        self.page.wait_for_function(f"{VIEW}.marked() === {region}")
        wait_still(self.page)

    def leave(self) -> None:
        self.page.mouse.move(1, 1)
        self.page.wait_for_function(f"{VIEW}.hovered < 0")
        wait_still(self.page)

    def picture(self) -> np.ndarray:
        """The canvas, int [H, W, 3]."""
        data = self.page.locator(".otoc-picker canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def inside(self, region: int) -> np.ndarray:
        """Pixels (row, column) [K, 2] that lie 8 pixels inside of a super-voxel at least, away from dots of clicks."""
        seen, dots = self.page.evaluate(
            f"""(() => {{ const view = {VIEW}, gl = view.gl, {{ width, height }} = view.canvas, rows = [];
            view.regionAt(0, 0);  // draws the picture of super-voxels where it is due
            const drawn = new Uint32Array(4 * width * height);
            gl.bindFramebuffer(gl.FRAMEBUFFER, view.regionTarget.frame);
            gl.readPixels(0, 0, width, height, gl.RGBA_INTEGER, gl.UNSIGNED_INT, drawn);
            gl.bindFramebuffer(gl.FRAMEBUFFER, null);
            for (let y = 0; y < height; y += 4) {{
              rows.push([]);
              for (let x = 0; x < width; x += 4) rows.at(-1).push(drawn[4 * (width * (height - 1 - y) + x)] - 1);
            }}
            return [rows, [...view.clicks.keys()].map((point) => view.project(point))]; }})()"""
        )
        here = np.array(seen) == region
        deep = here & np.all([np.roll(here, shift, axis) for shift in (2, -2) for axis in (0, 1)], axis=0)
        found = 4 * np.argwhere(deep[3:-3, 3:-3]) + 12  # not at the canvas's own border
        for x, y in dots:
            found = found[np.hypot(*(found - (y, x)).T) > 14]
        assert len(found) > 40
        return found

    def saved(self) -> list[tuple[int, int]]:
        """Super-voxel and class of the clicks in the file."""
        scene = self.session.scenes[0]
        clicks = read_clicks(self.session.path, [scene])[scene.name]
        return list(zip(scene.supervoxels[clicks.points].tolist(), clicks.classes.tolist(), strict=True))

    def says(self) -> str:
        return self.page.locator(".otoc-status").inner_text()


@pytest.fixture
def drawn() -> str:
    return "triangles"


as_both = pytest.mark.parametrize("drawn", ["triangles", "points"])


@pytest.fixture
def person(new_page, tmp_path, monkeypatch, drawn):
    scene, faces = grid_room()
    session = Session([scene], tmp_path / "clicks.csv", faces=lambda name: faces if drawn == "triangles" else None)
    page, problems = new_page()
    page.emulate_media(reduced_motion="reduce")  # nobody has to wait for it
    open_picker(page, Picker(session), monkeypatch)
    assert page.evaluate(f"Boolean({VIEW}.triangles)") == (drawn == "triangles")
    yield Person(page, session)
    assert problems == []


def at(picture: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return picture[pixels[:, 0], pixels[:, 1]]


@as_both
def test_a_marked_region_is_an_outline_and_keeps_its_own_colours(person):
    region = 0  # the largest
    person.press("t")
    person.leave()
    inside, plain = person.inside(region), person.picture()
    assert np.abs(at(plain, inside) - SCAN).max() <= 2
    person.press("4")  # bed: nothing is labelled yet
    person.hover(region)
    hovered = person.picture()
    np.testing.assert_array_equal(at(hovered, inside), at(plain, inside))
    changed = np.abs(hovered - plain).max(axis=-1) > 24
    assert 100 < changed.sum() < 0.06 * changed.size  # a line around it
    lines = hovered[changed]
    bed = np.abs(lines - SCANNET20.colors[BED]).max(axis=-1) < 8
    assert 0.2 < bed.mean() < 0.8  # in the colour that a click would give, and dark beside it
    person.leave()
    np.testing.assert_array_equal(person.picture(), plain)

    # "Next region" outlines likewise; the camera has eased there and stays at the scale of the room.
    person.press("f")
    radius, before = person.view("radius"), person.view("camera")
    person.press("e")
    assert person.view("marked()") == region and person.says().startswith("Region 1 of ")
    after = person.view("camera")
    assert 0.9 * radius <= after["distance"] <= 1.6 * radius and after["target"] != before["target"]
    focused = person.picture()
    inside, bed = at(focused, person.inside(region)), np.abs(focused - SCANNET20.colors[BED]).max(axis=-1) < 8
    assert (np.abs(inside - SCAN).max(axis=-1) <= 2).mean() > 0.9  # seen aslant, points leave some gaps
    assert not (np.abs(inside - SCANNET20.colors[BED]).max(axis=-1) < 8).any() and bed.sum() > 50


FRAMES = """(move) => {
  // Frames come when the test says so: those asked for so far are drawn at a time, in milliseconds from now.
  const real = [window.requestAnimationFrame, window.cancelAnimationFrame];
  const asked = new Map();
  let last = 0, began = 0;
  window.requestAnimationFrame = (draw) => (asked.set(++last, draw), last);
  window.cancelAnimationFrame = (id) => asked.delete(id);
  const frame = (time) => {
    const due = [...asked.values()];
    asked.clear();
    due.forEach((draw) => draw(began + time));
  };
  const view = document.querySelector('.otoc-picker canvas').otoc, way = [];
  const note = () => way.push([...view.camera.target, view.camera.distance, view.camera.azimuth]);
  note();
  view.next();
  began = performance.now() + 200; // a slow machine's first frame
  for (const time of [0, 150, 300]) { frame(time); note(); }
  if (move) view.orbit(0.1, 0), note();
  for (const time of [460, 600]) { frame(time); note(); }
  [window.requestAnimationFrame, window.cancelAnimationFrame] = real;
  frame(performance.now());
  return way;
}"""


def test_the_camera_eases_until_a_hand_moves_it(person):
    person.page.emulate_media(reduced_motion="no-preference")
    person.press("f")
    start, *way = np.array(person.page.evaluate(FRAMES, False))
    moved = np.linalg.norm(np.subtract(way, start)[:, :3], axis=1) / np.linalg.norm(way[-1][:3] - start[:3])
    assert moved[0] < 0.05 and 0.15 < moved[1] < 0.4 and 0.6 < moved[2] < 0.9 and moved[3] == moved[4] == 1
    person.press("f")
    *_, before, turned, later, end = np.array(person.page.evaluate(FRAMES, True))
    assert turned[4] == pytest.approx(before[4] - 0.1)
    np.testing.assert_array_equal(turned, later)
    np.testing.assert_array_equal(turned, end)
    # Whoever wants no motion has the camera there with the next frame.
    person.page.emulate_media(reduced_motion="reduce")
    person.press("f")
    _, *way = np.array(person.page.evaluate(FRAMES, False))
    np.testing.assert_array_equal(way, np.tile(way[-1], (len(way), 1)))


def test_labels_are_outlined_and_g_greys_all_else(person):
    person.press("t", "1")  # wall, a pale blue
    person.hover(0)
    person.press("Enter")
    box = person.page.locator(".otoc-picker canvas").bounding_box()
    x, y = person.view(f"project({person.view('middle(4)')})")
    person.page.mouse.click(box["x"] + x, box["y"] + y)
    wait_still(person.page)
    assert person.saved() == [(4, WALL)]
    person.leave()
    labelled, other = person.inside(4), person.inside(0)
    picture, wall = person.picture(), np.array(SCANNET20.colors[WALL])
    mixed = np.array(SCAN) + 205 / 255 * (wall - SCAN)
    assert np.abs(at(picture, labelled) - mixed).max() <= 3 and np.abs(at(picture, other) - SCAN).max() <= 2
    dark = np.abs(picture - (0.15 * mixed + 0.85 * 0.35 * wall)).max(axis=-1) < 24
    assert dark.sum() > 100  # its outline, in a darker shade of its own colour

    person.press("g")
    greyed = person.picture()
    np.testing.assert_array_equal(at(greyed, labelled), at(picture, labelled))
    for region in (0, 1, 8):
        assert np.ptp(at(greyed, person.inside(region)), axis=1).max() <= 2  # no colour is left
    assert person.page.locator("button[aria-pressed=true]").inner_text() == "Grey"
    person.press("g")
    np.testing.assert_array_equal(person.picture(), picture)


def test_a_region_of_no_class_is_striped_counted_and_can_be_undone(person):
    person.press("t", "s")
    assert "to say that it is of no class" in person.says() and person.saved() == []
    person.press("e")
    assert person.says().startswith("Region 1 of 9: 676 points. ")
    person.press("s")  # region 0; it goes on by itself
    assert person.saved() == [(0, NO_CLASS)] and person.view("marked()") in (1, 3)
    assert "Region 2 of 9" in person.says() or "saved" in person.says()
    counter = person.page.locator(".otoc-number").nth(1)
    assert counter.text_content() == "1 click, 0 % labelled, 18 % of no class, 8 large regions left"
    person.press("t")
    person.leave()
    picture, inside = person.picture(), person.inside(0)
    shown = at(picture, inside)  # the scan between dark and bright lines
    assert 0.3 < (np.abs(shown - SCAN).max(axis=-1) <= 8).mean() < 0.7
    assert (shown.max(axis=-1) < 60).mean() > 0.1 and (shown.min(axis=-1) > 120).mean() > 0.05
    assert person.page.locator("[role=option][data-class='-2'] .otoc-count").inner_text() == "1"

    # A class takes its place, in one step that Ctrl+Z takes back and Ctrl+Shift+Z brings back; and the other way round.
    person.hover(0)
    person.press("5")
    person.page.evaluate(f"{VIEW}.label({VIEW}.middle(0) + 1)")
    wait_still(person.page)
    assert person.saved() == [(0, CHAIR)]
    person.press("Control+z")
    assert person.saved() == [(0, NO_CLASS)]
    person.press("Control+Shift+z")
    assert person.saved() == [(0, CHAIR)]
    person.press("0")
    assert person.page.locator("[aria-selected=true]").get_attribute("data-class") == str(NO_CLASS)
    person.page.evaluate(f"{VIEW}.label({VIEW}.middle(0))")
    wait_still(person.page)
    assert person.saved() == [(0, NO_CLASS)]
    person.press("x")
    assert person.saved() == []


def test_next_region_counts_a_round_and_begins_again(person):
    said = []
    for _ in range(9):
        person.press("e")
        said.append((person.view("marked()"), person.says().split(":")[0]))
    sizes = np.bincount(person.session.scenes[0].supervoxels)
    assert sorted(region for region, _ in said) == list(range(9))
    assert np.all(np.diff([sizes[region] for region, _ in said]) <= 0)
    assert [text for _, text in said] == [f"Region {k} of 9" for k in range(1, 10)]
    person.press("e")
    assert person.says() == "Every region has had its turn; E begins again"
    person.press("e")
    assert person.view("marked()") == said[0][0] and person.says().startswith("Region 1 of 9")


@as_both
def test_what_is_pointed_at_is_what_is_seen(person):
    person.press("t")
    script = f"""(() => {{ const view = {VIEW}, found = [];
        for (let i = 0; i < view.count; i += 97) {{
          const [x, y] = view.project(i), hit = view.pick(x, y);
          found.push([view.regionOf[i], hit < 0 ? -1 : view.regionOf[hit]]);
        }}
        return [found, view.pick(3, 3)]; }})()"""
    found, beside = person.page.evaluate(script)
    assert beside == -1 and np.mean([a == b for a, b in found]) > 0.9


def test_a_region_behind_a_wall_is_looked_at_from_where_it_is_seen(new_page, tmp_path, monkeypatch):
    u, v = (axis.ravel() / 40 for axis in np.meshgrid(np.arange(41), np.arange(41)))
    floor = np.stack([4 * u - 0.8, 3 * v, 0 * u], axis=1)
    wall = np.stack([0 * u, 3 * u, 2 * v], axis=1)
    panel = np.stack([0 * u - 0.4, 0.5 + 2 * u, 0.2 + 1.2 * v], axis=1)  # outside, where nobody stands
    coords = np.concatenate([floor, wall, panel]).astype(np.float32)
    regions = np.repeat(np.int32([0, 1, 2]), 41**2)
    scene = Scene("den", coords, np.full((len(coords), 3), 90, np.uint8), regions, None, None, np.zeros(3), SCANNET20)
    session = Session([scene], tmp_path / "clicks.csv")
    session.apply("den", [(0, WALL), (41**2, BED)])
    page, problems = new_page()
    page.emulate_media(reduced_motion="reduce")
    open_picker(page, Picker(session), monkeypatch)
    hidden = f"{VIEW}.regionAt(...{VIEW}.project({VIEW}.middle(2))) !== 2"
    page.evaluate(f"{VIEW}.camera.azimuth = 0, {VIEW}.draw()")
    wait_still(page)
    assert page.evaluate(hidden)
    page.evaluate(f"{VIEW}.next()")
    wait_still(page)
    assert page.evaluate(f"{VIEW}.marked()") == 2 and not page.evaluate(hidden)
    azimuth = page.evaluate(f"{VIEW}.camera.azimuth")
    page.evaluate(f"{VIEW}.round = undefined, {VIEW}.next()")
    wait_still(page)
    assert page.evaluate(f"{VIEW}.camera.azimuth") == azimuth  # it stays where the region is seen already
    assert problems == []


def test_a_mesh_of_large_triangles_can_be_clicked_between_its_vertices(new_page, tmp_path, monkeypatch):
    """Points alone would be missed there."""
    coords = np.array([[0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0], [9, 9, 0]], np.float32)
    scene = Scene(
        "hall", coords, np.full((5, 3), 128, np.uint8), np.int32([0, 0, 0, 0, 1]), None, None, np.zeros(3), SCANNET20
    )
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    page, problems = new_page()
    open_picker(page, Picker(Session([scene], tmp_path / "clicks.csv", faces=lambda name: faces)), monkeypatch)
    assert page.evaluate(f"{VIEW}.triangles.loose") == 1  # no triangle has the last vertex; it is drawn as a point
    a, b = page.evaluate(f"[{VIEW}.project(0), {VIEW}.project(2)]")
    near_a = [0.7 * a[k] + 0.3 * b[k] for k in range(2)]
    assert page.evaluate(f"[{VIEW}.pick({near_a[0]}, {near_a[1]}), {VIEW}.pick(...{VIEW}.project(4))]") == [0, 4]
    assert problems == []


def test_on_a_phone_the_room_has_the_whole_width(new_page, tmp_path, monkeypatch):
    scene, faces = grid_room()
    page, problems = new_page(width=390, height=800)
    page.emulate_media(reduced_motion="reduce")
    open_picker(page, Picker(Session([scene], tmp_path / "clicks.csv", faces=lambda name: faces)), monkeypatch)
    room, side = (page.locator(f".otoc-{name}").bounding_box() for name in ("stage", "side"))
    assert room["width"] > 350 and room["height"] > 250 and side["y"] >= room["y"] + room["height"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert problems == []


@pytest.fixture
def reviewed(new_page, tmp_path, monkeypatch):
    """The grid room with a click in three super-voxels, two of them contradicted by a model that sees chairs alone."""
    scene, _ = grid_room()
    session = Session([scene], tmp_path / "clicks.csv")
    first = [int(np.flatnonzero(scene.supervoxels == region)[0]) for region in range(9)]
    session.apply("grid", [(first[4], BED), (first[8], WALL), (first[0], CHAIR)])
    probabilities = np.full((9, 20), 0.01)
    probabilities[:, CHAIR] = 0.81
    probabilities[8, WALL] = 0.4  # of this one it is less sure
    page, problems = new_page()
    page.emulate_media(reduced_motion="reduce")
    open_picker(page, Picker(session, {"grid": probabilities}), monkeypatch)
    yield Person(page, session)
    assert problems == []


def test_clicks_that_the_model_contradicts_are_looked_at_again(reviewed):
    room = reviewed.page.locator(".otoc-bar select option").first
    assert room.inner_text() == "1  grid  ·  3, 2 in doubt"
    wait_still(reviewed.page)
    assert reviewed.view("marked()") == 4  # the most doubtful one is gone to at once
    assert "You clicked bed, the model sees chair. A makes it chair, N keeps bed" in reviewed.says()
    reviewed.press("a")
    assert dict(reviewed.saved()) == {4: CHAIR, 8: WALL, 0: CHAIR} and len(reviewed.saved()) == 3
    assert reviewed.view("marked()") == 8 and "You clicked wall, the model sees chair" in reviewed.says()
    assert room.inner_text() == "1  grid  ·  3, 1 in doubt"
    reviewed.press("u")  # takes it back, and the doubt with it
    assert dict(reviewed.saved())[4] == BED and room.inner_text() == "1  grid  ·  3, 2 in doubt"
    # A click on another point of the region it asks about says otherwise, in place of the one in doubt.
    reviewed.press("4")
    box = reviewed.page.locator(".otoc-picker canvas").bounding_box()
    x, y = reviewed.view(f"project({reviewed.view('middle(8)')})")
    reviewed.page.mouse.click(box["x"] + x, box["y"] + y)
    wait_still(reviewed.page)
    assert sorted(reviewed.saved()) == sorted([(4, BED), (8, BED), (0, CHAIR)])
    reviewed.press("a")  # the next one
    assert reviewed.view("marked()") == 4
    reviewed.press("n")  # keeps it; regions without a click are asked about next
    assert dict(reviewed.saved())[4] == BED and room.inner_text() == "1  grid  ·  3"
    assert reviewed.says().startswith("Is this chair? A accepts")
    reviewed.press("n")  # asks about another region; of clicks alone it is noted that they were kept
    (point,) = Session(reviewed.session.scenes, reviewed.session.path).kept("grid")
    assert reviewed.session.scenes[0].supervoxels[point] == 4
