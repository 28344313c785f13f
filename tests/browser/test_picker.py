"""Labelling in a real JupyterLab: whatever happens to the page and to the kernel, clicks.csv holds what was clicked."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from plyfile import PlyData, PlyElement

from otoc_lib.annotation.clicks import read_clicks
from otoc_lib.config import load_config
from otoc_lib.datasets import load_split
from otoc_lib.labels import NO_CLASS

ROOT = Path(__file__).parents[2]
CLASSES = ["floor", "box", "crate", "ball"]
VIEW = "document.querySelector('.otoc-picker canvas').otoc"


def write_room(path: Path) -> None:
    """A floor with three boxes, as points."""
    generator = np.random.default_rng(0)
    floor = np.column_stack([generator.uniform(-2, 2, (6000, 2)), np.zeros(6000)])
    parts, colors = [floor], [np.full((6000, 3), 150)]
    for place, color in (((-1, -1), (200, 40, 40)), ((1, -1), (40, 60, 200)), ((0, 1), (40, 160, 60))):
        box = generator.uniform(-0.4, 0.4, (3000, 3)) + [*place, 0.5]
        axis = generator.integers(0, 3, 3000)
        side = generator.choice([-0.4, 0.4], 3000)
        box[np.arange(3000), axis] = side + np.array([*place, 0.5])[axis]
        parts.append(box)
        colors.append(np.tile(color, (3000, 1)))
    points, colors = np.concatenate(parts), np.concatenate(colors)
    vertices = np.empty(len(points), [(axis, "f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")])
    for name, column in zip(vertices.dtype.names, [*points.T, *colors.T], strict=True):
        vertices[name] = column
    path.parent.mkdir(parents=True)
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(path))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with two rooms of somebody's own and no click."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    values = yaml.safe_load((ROOT / "params" / "own" / "example.yaml").read_text(encoding="utf-8"))
    values |= {"own_classes": CLASSES, "partition_voxel": 0.05}
    (root / "params" / "own").mkdir(parents=True)
    (root / "params" / "own" / "example.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    write_room(root / "data" / "own" / "den.ply")
    shutil.copy(root / "data" / "own" / "den.ply", root / "data" / "own" / "hall.ply")
    notebook = root / "notebooks" / "01_annotate.ipynb"
    source = notebook.read_text(encoding="utf-8")
    source = source.replace('profile = \\"smoke\\"', 'profile = \\"own\\"')
    source = source.replace('experiment = \\"otoc\\"', 'experiment = \\"example\\"')
    notebook.write_text(source, encoding="utf-8")
    # The same notebook with a model that takes every super-voxel for a crate, without being sure of it.
    guess = "{room.name: np.tile([0.2, 0.2, 0.4, 0.2], (room.num_supervoxels, 1)) for room in scenes.train}"
    assert source.count("Picker(session) if") == 1
    assisted = source.replace("Picker(session) if", f"Picker(session, {guess}) if")
    notebook.with_name("assisted.ipynb").write_text(assisted, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def lab(project, chromium, patience, tmp_path_factory) -> Iterator[tuple[str, int]]:
    """Address and process id of a JupyterLab with the settings of ``make lab``, which asks nothing."""
    home = tmp_path_factory.mktemp("jupyter")
    path = home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    path.parent.mkdir(parents=True)
    path.write_text('{"windowingMode": "none"}')  # cells out of sight stay on the page
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
        + ["--ServerApp.token=", "--ServerApp.password=", f"--LabApp.user_settings_dir={home / 'settings'}"]
        + [f"--notebook-dir={project}"],
        env={
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_CONFIG_PATH": str(ROOT / ".jupyter"),
            "PYTHONPATH": folder,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(f"{address}/api/status"), patience)
        yield address, server.pid
    finally:
        server.terminate()
        server.wait(patience)


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=2).status == 200
    except OSError:
        return False


def _wait(condition, seconds: float, pause=lambda: time.sleep(0.1)):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        pause()
    return found


class Annotator:
    """A person at the widget, with a mouse and keys."""

    def __init__(self, page, project: Path, lab: tuple[str, int], patience: float):
        self.page, self.patience = page, patience
        self.address, self.server = lab
        self.notebooks = project / "notebooks"
        self.path = project / "data" / "own" / "clicks.csv"
        os.chdir(project)  # the test is in the project like the kernel
        self.scenes = load_split(load_config(project / "params" / "own" / "example.yaml"), "train")

    def open_notebook(self, name: str = "01_annotate") -> None:
        # In a workspace of its own: the common one would open the notebook of another test beside it, hidden.
        self.page.goto(f"{self.address}/lab/workspaces/{name}/tree/notebooks/{name}.ipynb")
        self.page.wait_for_selector("text=Python 3 (ipykernel) | Idle")

    def notebook(self, name: str) -> Path:
        return self.notebooks / f"{name}.ipynb"

    def run_all(self) -> None:
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        self.page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        self.wait_for_room()

    def wait_for_room(self) -> None:
        self.page.wait_for_selector(".otoc-picker canvas")
        self.page.wait_for_function(f"{VIEW}?.room && {VIEW}.drawn")
        self.page.locator(".otoc-picker").scroll_into_view_if_needed()
        # Cells below still add their pictures; the widget must stand still before a mouse aims at it.
        self.page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
        self.page.locator(".otoc-picker").scroll_into_view_if_needed()

    def press(self, *keys: str) -> None:
        self.page.locator(".otoc-picker canvas").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def says(self) -> str:
        return self.page.locator(".otoc-status").inner_text()

    def place(self, vertex: int) -> tuple[float, float]:
        box = self.page.locator(".otoc-picker canvas").bounding_box()
        x, y = self.page.evaluate(f"{VIEW}.project({vertex})")
        return box["x"] + x, box["y"] + y

    def visible(self, low: int, high: int) -> int:
        """A vertex among low..high-1 that a click on its place would hit."""
        script = f"""(() => {{ const view = {VIEW};
            for (let i = {low}; i < {high}; i++) {{
              const [x, y] = view.project(i);
              if (x > 60 && y > 60 && x < view.canvas.clientWidth - 60 && y < view.canvas.clientHeight - 60
                  && view.pick(x, y) === i) return i;
            }} }})()"""
        return self.page.evaluate(script)

    def click(self, vertex: int, key: str | None = None, button: str = "left") -> None:
        if key:
            self.press(key)
        self.page.mouse.move(*self.place(vertex))
        self.page.mouse.click(*self.place(vertex), button=button)

    def drag(self, vertex: int, dx: float, dy: float, **options) -> None:
        x, y = self.place(vertex)
        self.page.mouse.move(x, y)
        self.page.mouse.down(**options)
        self.page.mouse.move(x + dx / 2, y + dy / 2, steps=4)
        self.page.mouse.move(x + dx, y + dy, steps=4)
        self.page.mouse.up(**options)

    def kill_kernel(self) -> None:
        (kernel,) = Path(f"/proc/{self.server}/task/{self.server}/children").read_text().split()
        os.kill(int(kernel), signal.SIGKILL)

    def saved(self, room: str = "den") -> list[tuple[int, str]]:
        clicks = read_clicks(self.path, self.scenes)[room]
        named = self.scenes[0].label_set.name_of
        return [(int(p), named(c)) for p, c in zip(clicks.points, clicks.classes, strict=True)]

    def wait(self, condition):
        """What the condition gives once it is true. The page goes on meanwhile: its requests pass through here."""
        return _wait(condition, self.patience, pause=lambda: self.page.wait_for_timeout(100))

    def wait_still(self) -> None:
        """Until the camera stands, everything is drawn and every click is saved."""
        self.page.wait_for_function(f"{VIEW}.still && {VIEW}.link.pending.size === 0")

    def expect(self, clicks: list[tuple[int, str]], room: str = "den") -> None:
        try:
            self.wait(lambda: self.saved(room) == clicks)
        except AssertionError:
            assert self.saved(room) == clicks, self.says()


@pytest.fixture
def annotator(new_page, project, lab, patience, monkeypatch):
    monkeypatch.chdir(project)  # restored afterwards
    page, problems = new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    yield Annotator(page, project, lab, patience)
    assert [problem for problem in problems if "request outside" in problem] == []


@pytest.mark.slow
def test_clicks_survive_orbiting_reloading_and_a_killed_kernel(annotator):
    page = annotator.page
    annotator.open_notebook()
    annotator.run_all()
    assert annotator.saved() == []

    # Drags that begin and end on points label nothing: orbit, pan with either hand, zoom.
    red = annotator.visible(6000, 9000)
    before = page.evaluate(f"{VIEW}.camera.azimuth")
    annotator.drag(red, 120, 30)
    annotator.drag(annotator.visible(0, 6000), -70, 10)
    annotator.drag(annotator.visible(0, 6000), 30, 10, button="right")
    page.mouse.wheel(0, -200)
    assert page.evaluate(f"{VIEW}.camera.azimuth") != before
    page.locator(".otoc-bar button", has_text="Fit").click()
    annotator.wait_still()
    assert annotator.saved() == [] and page.evaluate(f"{VIEW}.clicks.size") == 0

    # Three objects, one of them undone by a right click; the legend counts.
    red, blue, green = (annotator.visible(low, low + 3000) for low in (6000, 9000, 12000))
    annotator.click(red, "2")
    annotator.click(blue, "3")
    annotator.click(green, "4")
    annotator.expect([(red, "box"), (blue, "crate"), (green, "ball")])
    annotator.click(green, button="right")
    annotator.expect([(red, "box"), (blue, "crate")])
    assert page.locator(".otoc-list button").nth(1).inner_text().split()[:2] == ["box", "1"]
    supervoxels = annotator.scenes[0].supervoxels
    painted = page.evaluate(f"[...{VIEW}.labels]")
    assert sorted(painted) == sorted([[int(supervoxels[red]), 1], [int(supervoxels[blue]), 2]])

    # What the kernel refuses is dropped, and said; nothing waits for it.
    page.evaluate(f"{VIEW}.link.act('den', [[1.5, 1]], 1)")
    page.wait_for_function(f"{VIEW}.link.pending.size === 0")
    annotator.wait(lambda: "[1.5, 1] is no pair of whole numbers" in annotator.says())
    assert page.evaluate(f"{VIEW}.clicks.size") == 2
    # A slow kernel gets an action twice, and its second answer would open the room again, without a word of why.
    page.evaluate(f"{VIEW}.link.receive({{ kind: 'refused', number: 5, text: 'twice' }})")
    assert page.evaluate(f"{VIEW}.refusal === undefined") and "no pair of whole numbers" in annotator.says()

    # The page is reloaded: the same kernel goes on, whatever lies in the storage beside clicks.
    damaged = page.evaluate(f"""['x', '7', '8'].map((name) => {VIEW}.link.prefix + name)""")
    for key, text in zip(damaged, ("{", "null", '{"number": 8, "changes": 5}'), strict=True):
        page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, text])
    notebook = annotator.notebook("01_annotate")
    before = notebook.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    annotator.wait(lambda: notebook.stat().st_mtime_ns != before)
    page.reload()
    annotator.wait_for_room()
    page.evaluate(f"{VIEW}.go(0)")
    page.wait_for_function(f"{VIEW}.room.index === 0 && {VIEW}.clicks.size === 2")
    assert page.evaluate("(keys) => keys.map((key) => localStorage.getItem(key))", damaged) == [None] * 3
    annotator.click(green, "4")
    annotator.expect([(red, "box"), (blue, "crate"), (green, "ball")])

    # The kernel is killed; what is clicked meanwhile is kept by the browser and saved by the next kernel.
    annotator.kill_kernel()
    floor = annotator.visible(0, 6000)

    def labelled() -> bool:
        """Whether a click reached the room: JupyterLab's notice of the dead kernel may come between, and takes it."""
        for button in page.locator(".jp-Dialog .jp-mod-accept").all():
            button.click()
        annotator.click(floor, "1")
        return page.evaluate(f"{VIEW}.clicks.size === 4")

    annotator.wait(labelled)
    assert annotator.saved() == [(red, "box"), (blue, "crate"), (green, "ball")]
    page.reload()
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    annotator.run_all()
    annotator.expect([(red, "box"), (blue, "crate"), (green, "ball"), (floor, "floor")])


@pytest.mark.slow
def test_keys_search_and_the_models_proposals(annotator):
    page = annotator.page
    annotator.open_notebook("assisted")
    annotator.run_all()
    scene = annotator.scenes[1]
    sizes = np.bincount(scene.supervoxels)

    def last() -> tuple[int, str]:
        """Super-voxel and class of the newest click in the file."""
        point, label = annotator.saved("hall")[-1]
        return int(scene.supervoxels[point]), label

    # Rooms change by the arrows and by the list.
    page.locator(".otoc-bar select").select_option("0")
    page.wait_for_function(f"{VIEW}.room.index === 0")
    page.locator(".otoc-bar button", has_text="›").click()
    page.wait_for_function(f"{VIEW}.room.index === 1")
    assert page.locator(".otoc-bar select").input_value() == "1"
    assert annotator.saved("hall") == []

    # T looks from above, where a click beside the room labels nothing and says so; F shows the whole room again.
    annotator.press("t")
    assert page.evaluate(f"{VIEW}.camera.elevation") > 1.5
    canvas = page.locator(".otoc-picker canvas").bounding_box()
    page.mouse.click(canvas["x"] + 8, canvas["y"] + 8)
    assert "nothing was labelled" in annotator.says()
    annotator.press("f")
    assert page.evaluate(f"{VIEW}.camera.elevation") < 1

    # The model asks about large super-voxels: N asks about another one, A accepts, and the next question follows.
    first = page.evaluate(f"{VIEW}.proposal")
    annotator.press("n")
    second = page.evaluate(f"{VIEW}.proposal")
    assert second[0] != first[0] and sizes[second[0]] <= sizes[first[0]] == sizes.max()
    assert "Is this crate?" in annotator.says()
    annotator.press("a")
    annotator.expect([(second[1], "crate")], "hall")
    assert page.evaluate(f"{VIEW}.proposal[0]") not in (first[0], second[0])

    # M shows and hides the model's colours.
    assert page.evaluate(f"{VIEW}.tinted")
    annotator.press("m")
    assert not page.evaluate(f"{VIEW}.tinted")

    # A search chooses the class; E goes to the largest region without a label, which Enter gives that class.
    annotator.press("/")
    page.keyboard.type("bo")
    assert page.locator(".otoc-list button").count() == 1
    page.keyboard.press("Enter")
    assert page.locator(".otoc-list button").count() == len(CLASSES) + 1  # and no class
    assert page.evaluate(f"{VIEW}.active") == CLASSES.index("box")
    annotator.press("e", "Enter")
    annotator.wait(lambda: len(annotator.saved("hall")) == 2)
    assert last() == (first[0], "box")

    # A second E passes on; X clears the region that is marked, and U brings its click back.
    annotator.press("e")
    left = np.delete(np.arange(len(sizes)), [first[0], second[0]])
    marked = page.evaluate(f"{VIEW}.marked()")
    assert marked in left and sizes[marked] == sizes[left].max()
    annotator.press("4", "Enter")
    annotator.wait(lambda: len(annotator.saved("hall")) == 3)
    assert last() == (marked, "ball")
    labelled = annotator.saved("hall")
    annotator.press("x")
    annotator.expect(labelled[:2], "hall")
    annotator.press("u")
    annotator.expect(labelled, "hall")

    # Ctrl+Z and Ctrl+Shift+Z take back and bring back, though JupyterLab has keys of that name.
    annotator.press("Control+z")
    annotator.expect(labelled[:2], "hall")
    annotator.press("Control+Shift+z")
    annotator.expect(labelled, "hall")
    assert {int(scene.supervoxels[point]) for point, _ in labelled} == {first[0], second[0], marked}
    share = 100 * sizes[[first[0], second[0], marked]].sum() // sizes.sum()
    left = np.delete(sizes, [first[0], second[0], marked])
    told = f"3 clicks, {share} % labelled, {(left >= 0.01 * sizes.sum()).sum()} large regions left"
    assert page.locator(".otoc-number").nth(1).text_content() == told

    # In a search the arrows move, round the end, and Enter takes what is outlined.
    annotator.press("/")
    page.keyboard.type("l")
    found = [name for name in (*CLASSES, "no class") if "l" in name]
    assert len(found) > 2 and page.locator(".otoc-found .otoc-name").text_content() == found[0]
    page.keyboard.press("ArrowDown")
    assert page.locator(".otoc-found .otoc-name").text_content() == found[1]
    page.keyboard.press("Enter")
    assert page.evaluate(f"{VIEW}.active") == CLASSES.index(found[1])
    annotator.press("/")
    page.keyboard.type("l")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert found[-1] == "no class" and page.evaluate(f"{VIEW}.active") == NO_CLASS

    # S says of the region that E led to that it is of no class, and goes on; the file has it as a negative click.
    annotator.press("e")
    before, region = annotator.saved("hall"), page.evaluate(f"{VIEW}.marked()")
    annotator.press("s")
    annotator.wait(lambda: len(annotator.saved("hall")) == len(before) + 1)
    assert last() == (region, "none") and page.evaluate(f"{VIEW}.marked()") != region
    annotator.press("Control+z")
    annotator.expect(before, "hall")
