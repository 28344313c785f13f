import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_rooms import KINDS, known, make_experiment, results_in, sign, write_params
from PIL import Image

from otoc_lib.errors import OtocError
from otoc_lib.experiments import read_profile
from otoc_lib.reporting.site import build_report
from otoc_lib.reporting.tables import gain_over

COMMAND = "papermill notebooks/03_self_train.ipynb OUT.ipynb -f params/rooms/otoc.yaml"
VOID = {"meta", "img", "br", "link", "hr", "input", "wbr"}


class Page(HTMLParser):
    """Collects links, ids and text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.open, self.tags, self.elements = [], set(), [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.elements.append((tag, values))
        self.links += [values[name] for name in ("href", "src") if name in values]
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(runs, scenes):
    root = runs.parent
    for name in KINDS:
        write_params(root / "params", name, name)
    notebooks = root / "reports" / "rooms" / "notebooks"
    notebooks.mkdir(parents=True)
    (notebooks / "03_self_train.otoc.ipynb").write_text("{}")
    (root / "reports" / "rooms" / "viewer").mkdir()
    (root / "reports" / "rooms" / "viewer" / "scene9999_00.js").write_text("left by an earlier report")
    experiments = tuple(read_profile(root / "params", "rooms"))
    return build_report(results_in(runs, experiments=experiments), root / "reports", scenes)


def read_pages(index):
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in sorted(index.parent.glob("*.html"))}


def data_of(index, page, name):
    """The JSON that a page's charts are drawn from."""
    text = (index.parent / page).read_text(encoding="utf-8")
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def test_every_link_resolves_and_none_leaves_the_folder_of_the_project(report):
    pages = read_pages(report)
    names = {f"{name}.html" for name in ("compare", "curves", "figures", "index", "rooms", "tsne", "viewer")}
    assert set(pages) == names
    for page in pages.values():
        assert names <= set(page.links) and "iframe" not in page.tags
        for link in page.links:
            if link == "data:,":  # no icon, said so that browsers do not ask for one
                continue
            assert not re.match(r"[a-z]+:|//|/", link), link
            file, _, place = link.partition("#")
            assert not file or (report.parent / file).resolve().is_file(), link
            if place and file == "viewer.html":
                assert (report.parent / "viewer" / f"{place}.js").is_file()
            elif place:
                assert place in (pages[file] if file else page).ids, link


def test_pages_can_be_read_by_everyone(report):
    for page in read_pages(report).values():
        headings = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert headings[0] == 1 and headings.count(1) == 1
        assert all(after - before <= 1 for before, after in zip(headings, headings[1:], strict=False))
        assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
        assert ("html", {"lang": "en"}) in page.elements
        assert any(tag == "meta" and attributes.get("name") == "viewport" for tag, attributes in page.elements)
    style = (report.parent / "report.css").read_text(encoding="utf-8")
    assert "color-scheme: light dark" in style and "url(" not in style and "@import" not in style


def test_a_row_says_where_it_comes_from(report):
    page = read_pages(report)["index.html"]
    assert "../../params/rooms/otoc.yaml" in page.links
    assert "notebooks/03_self_train.otoc.ipynb" in page.links and "#run-otoc" in page.links
    text = report.read_text(encoding="utf-8")
    assert COMMAND in text and COMMAND.replace("03_self_train", "02_baseline") in text


def test_the_page_says_what_it_is(report):
    text = report.read_text(encoding="utf-8")
    assert "These rooms are simulated." in text and "not ScanNet mIoU" in text
    assert "3 training rooms, 4 validation rooms, 2 validation rooms with unseen furniture" in text
    assert "<dt>Seeds</dt><dd>0, 1</dd>" in text and "<dt>Device</dt><dd>cpu</dd>" in text
    assert "not run" in text and "torch 2.13.0" in text and "not run: points20" in text
    for name in ("curves", "rooms", "tsne", "viewer"):  # what can show one seed alone says which
        assert "eed 0 of 2 seeds" in (report.parent / f"{name}.html").read_text(encoding="utf-8")
    assert "Of seed 0 alone." in (report.parent / "figures.html").read_text(encoding="utf-8")
    for path in report.parent.glob("*.*"):
        written = path.read_text(encoding="utf-8")
        assert str(report.parent.parent.parent) not in written
        assert "http" not in written.replace("http://www.w3.org/2000/svg", "")


def test_charts_show_what_was_measured(report, runs):
    charts = data_of(report, "curves.html", "charts")
    metrics = json.loads((runs / "rooms" / "otoc" / "evaluate_3" / "metrics.json").read_text())
    confusion = charts["confusion"]["matrices"][-1]
    assert confusion == {
        "name": "One Thing One Click",
        "points": metrics["splits"]["val"]["modes"]["full"]["confusion"],
    }
    both = []
    for experiment in ("otoc", "otoc_seed1"):
        path = runs / "rooms" / experiment / "evaluate_2" / "metrics.json"
        both.append(100 * json.loads(path.read_text())["splits"]["val"]["modes"]["full"]["miou"])
    line = next(line for line in charts["miou"]["lines"] if line["name"] == "3D U-Net+Rel+GP")
    assert line["x"] == [1, 2, 3] and line["y"][1] == pytest.approx(np.mean(both), rel=1e-4)
    # The band is a standard deviation to each side of the mean of the seeds.
    assert line["seeds"] == 2 and line["deviation"][1] == pytest.approx(np.std(both, ddof=1), rel=1e-3)
    assert (line["high"][1] - line["low"][1]) / 2 == pytest.approx(np.std(both, ddof=1), abs=0.01)
    assert not any("seeds" in line for line in charts["miou"]["lines"] if line["name"] == "3D U-Net")
    covered = [
        json.loads((runs / "rooms" / run / "pseudo_2" / "statistics.json").read_text())["covered_percent"]
        for run in ("otoc", "otoc_seed1")
    ]
    line = next(line for line in charts["covered"]["lines"] if line["name"] == "3D U-Net+Rel+GP")
    assert line["x"] == [0, 1, 2, 3] and line["y"][2] == pytest.approx(np.mean(covered), rel=1e-4)
    text = (report.parent / "curves.html").read_text(encoding="utf-8")
    assert f"{np.mean(covered):.1f} ± {np.std(covered, ddof=1):.1f} %" in text
    # Made-up predictions are sure of everything: the error is the share that is wrong.
    points = np.array(confusion["points"])
    line = next(line for line in charts["calibration"]["lines"] if line["name"] == "One Thing One Click")
    right = 100 * np.trace(points) / points.sum()
    assert line["x"] == [100] and line["y"][0] == pytest.approx(right, rel=1e-4) and line["shares"] == [100]
    assert f"{100 - right:.2f} %" in (report.parent / "curves.html").read_text(encoding="utf-8")


def test_tsne_says_where_in_the_room(report, scenes):
    found = data_of(report, "tsne.html", "points")["tsne"]
    room = scenes["val"][0]
    center = room.coords[room.supervoxels == 5].mean(axis=0) - room.coords.min(axis=0)
    assert found["plans"][0]["name"] == room.name and found["at"][5] == pytest.approx(center.tolist(), abs=0.01)
    assert all(0 <= value <= 1000 for panel in found["panels"] for value in panel["x"] + panel["y"])
    assert [panel["silhouette"] for panel in found["panels"]] == [-0.21, -0.08, 0.34]


def test_the_report_is_small(report):
    assert sum(path.stat().st_size for path in report.parent.rglob("*") if path.is_file()) < 12e6
    assert all((report.parent / name).stat().st_size < 300_000 for name in ("index.html", "curves.html", "tsne.html"))
    assert not (report.parent / "viewer" / "scene9999_00.js").exists()


def test_figures_are_written_small_and_whole(report):
    folder = report.parent / "figures"
    names = {"figure1", "figure2", "figure4", "figure5", "figure6", "learning_curves", "pseudo_labels", "convergence"}
    assert {path.stem for path in folder.glob("*.png")} == names
    for name in names:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width >= 1000
            # More than a blank page with axes.
            assert len(np.unique(np.asarray(picture.convert("L")))) > 30
        assert (folder / f"{name}.png").stat().st_size < 600_000
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((folder / "rooms").glob("*.jpg"))) == 6
    assert not list(report.parent.rglob("*.part"))


def test_the_gallery_starts_with_failures_and_leads_to_the_viewer(report):
    text = (report.parent / "rooms.html").read_text(encoding="utf-8")
    scores = [float(value) for value in re.findall(r"<b>([0-9.]+) mIoU</b>", text)]
    assert len(scores) == 6 and scores == sorted(scores)
    assert text.count("viewer.html#scene") == 12  # picture and words


def test_a_method_of_ones_own_is_shown_everywhere(runs, scenes, tmp_path):
    """An experiment that is in no list: here the files of the control's runs under another name."""
    write_params(tmp_path / "params", "mine", like="control")
    write_params(tmp_path / "params", "otoc")
    (tmp_path / "runs" / "rooms").mkdir(parents=True)
    for run, made_of in (("otoc", "otoc"), ("mine", "control")):
        (tmp_path / "runs" / "rooms" / run).symlink_to(runs / "rooms" / made_of)
    results = results_in(tmp_path / "runs", experiments=tuple(read_profile(tmp_path / "params", "rooms")))
    index = build_report(results, tmp_path / "reports", scenes)
    text = index.read_text(encoding="utf-8")
    assert 'id="run-mine"' in text and "-f params/rooms/mine.yaml" in text and "mine.yaml</a>" in text
    assert 'id="summary_table2"' in text and 'id="summary_table4"' not in text
    charts = data_of(index, "curves.html", "charts")
    names = {name: [line["name"] for line in charts[name]["lines"]] for name in ("loss", "miou")}
    assert "mine" in names["loss"] and "mine" in names["miou"]
    settings = [matrix["name"] for matrix in charts["confusion"]["matrices"]]
    assert "Control: clicks only, as many steps (mine)" in settings
    assert "seeds" not in (index.parent / "rooms.html").read_text(encoding="utf-8")


def test_tables_lie_beside_the_page(report):
    found = {path.name for path in (report.parent / "tables").iterdir()}
    names = ("table1", "table2", "table3", "table4", "summary_table2")
    assert found == {f"{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")}


def test_a_report_of_little_is_made_all_the_same(runs, scenes, tmp_path):
    (tmp_path / "runs" / "rooms").mkdir(parents=True)
    (tmp_path / "runs" / "rooms" / "otoc").mkdir()
    for stage in ("clicks", "unet_1", "evaluate_baseline"):
        (tmp_path / "runs" / "rooms" / "otoc" / stage).symlink_to(runs / "rooms" / "otoc" / stage)
    index = build_report(results_in(tmp_path / "runs"), tmp_path / "reports", scenes)
    pages = read_pages(index)
    assert set(pages) == {"curves.html", "figures.html", "index.html", "rooms.html", "viewer.html"}
    for page in pages.values():
        files = [link.partition("#")[0] for link in page.links if link != "data:,"]
        assert all(not file or (index.parent / file).is_file() for file in files)
    assert "Not run" in index.read_text(encoding="utf-8")
    assert "Not drawn" in (index.parent / "figures.html").read_text(encoding="utf-8")
    assert "No room has been evaluated" in (index.parent / "rooms.html").read_text(encoding="utf-8")
    assert not (index.parent / "figures" / "figure5.png").exists()


def test_pages_that_a_new_report_lacks_go(runs, scenes, tmp_path):
    (tmp_path / "runs" / "rooms").mkdir(parents=True)
    (tmp_path / "reports" / "rooms").mkdir(parents=True)
    (tmp_path / "reports" / "rooms" / "tsne.html").write_text("old")
    build_report(results_in(tmp_path / "runs"), tmp_path / "reports", scenes)
    assert not (tmp_path / "reports" / "rooms" / "tsne.html").exists()


def test_what_held_out_rooms_say_is_shown_as_theirs(scenes, tmp_path):
    """Of a profile that evaluates no validation room."""
    experiments = tuple(known(name, name, train_rooms=3, eval_splits=["held_out"]) for name in ("otoc", "control"))
    rooms = {"train": scenes["train"], "held_out": scenes["val"]}
    for experiment, right in zip(experiments, (0.5, 0.4), strict=True):
        make_experiment(tmp_path / "runs", experiment, rooms, right, ("point", "sv", "full"))
    results = results_in(tmp_path / "runs", experiments=experiments)
    index = build_report(results, tmp_path / "reports", rooms)
    tables = {path.stem: path.read_text() for path in (index.parent / "tables").glob("*.md")}
    assert "Table 2. Held-out training rooms" in tables["table2"] and "validation" not in tables["table3"].lower()
    assert "**Held-out training rooms in short**" in tables["summary_table2"]
    row = results.row("otoc_full")
    measured = json.loads((tmp_path / "runs/rooms/otoc/evaluate_3/metrics.json").read_text())["splits"]["held_out"]
    assert results.measure(row).mean == pytest.approx(100 * measured["modes"]["full"]["miou"])
    assert f"{results.measure(row).mean:.2f}" in tables["table2"]
    assert gain_over(results, row, results.row("otoc_control_full")).interval
    pages = read_pages(index)
    assert "4 held-out training rooms" in " ".join(index.read_text().split()) and "curves.html" in pages
    assert (index.parent / "figures/figure5.png").is_file()  # best, median and worst of them
    said = {page.name: page.read_text(encoding="utf-8") for page in index.parent.glob("*.html")}
    of_others = "never on validation rooms"  # of the recipe's curve, which is the same on every page of figures
    assert [name for name, text in said.items() if "validation" in text.lower().replace(of_others, "")] == []
    assert "Held-out training rooms, the worst first" in said["viewer.html"]
    assert "the held-out training room of median mIoU" in said["figures.html"] and "never used" in said["figures.html"]


def test_scans_that_were_clicked_are_not_shown_as_if_they_were_not(scenes, tmp_path):
    """Scans of one's own are in every split."""
    mine = known("otoc", dataset="own", own_classes=["a", "b"], self_train_iterations=1)
    make_experiment(tmp_path / "runs", mine, scenes, 0.5, ("point", "sv", "full"))
    results = replace(results_in(tmp_path / "runs", experiments=(mine,)), iterations=1)
    index = build_report(results, tmp_path / "reports", scenes)
    figures = (index.parent / "figures.html").read_text(encoding="utf-8")
    assert "the training room of median mIoU (the best of two)." in figures
    assert "never used" not in figures and "Figure 5. Training rooms" in figures
    index_text = " ".join(index.read_text(encoding="utf-8").split())
    assert "3 training rooms, 4 judged, 2 validation rooms with" in index_text


def test_real_data_carries_no_banner(runs, scenes, tmp_path):
    (tmp_path / "runs" / "scannet").mkdir(parents=True)
    index = build_report(results_in(tmp_path / "runs", "scannet"), tmp_path / "reports", scenes)
    assert "simulated" not in index.read_text(encoding="utf-8")


def test_nothing_run_is_an_error_that_says_so(scenes, tmp_path):
    with pytest.raises(OtocError, match="nothing has been run"):
        build_report(results_in(tmp_path / "runs"), tmp_path / "reports", scenes)
    assert not (Path(tmp_path) / "reports").exists()


def test_rooms_without_labels_are_shown_without_a_judgement(runs, scenes, tmp_path):
    bare = {split: [replace(room, labels=None, instances=None) for room in rooms] for split, rooms in scenes.items()}
    for stage in ("clicks", "unet_1", "relation_1", "pseudo_1", "evaluate_1"):
        shutil.copytree(runs / "rooms" / "otoc" / stage, tmp_path / "runs" / "own" / "otoc" / stage)
    own = tmp_path / "runs" / "own" / "otoc"
    metrics = json.loads((own / "evaluate_1" / "metrics.json").read_text())
    for found in metrics["splits"].values():
        found |= {"modes": {}, "per_room": {name: {} for name in found["rooms"]}}
    (own / "evaluate_1" / "metrics.json").write_text(json.dumps(metrics))
    sign(own / "evaluate_1")
    for stage in ("clicks", "pseudo_1"):
        statistics = json.loads((own / stage / "statistics.json").read_text())
        unknown = dict.fromkeys(name for name in statistics if "accuracy" in name or "furniture" in name)
        (own / stage / "statistics.json").write_text(json.dumps(statistics | unknown))
        sign(own / stage)
    experiments = (known("otoc", self_train_iterations=1),)
    results = replace(results_in(tmp_path / "runs", "own", experiments), iterations=1)
    index = build_report(results, tmp_path / "reports", bare)
    text = (index.parent / "rooms.html").read_text(encoding="utf-8")
    assert text.count('class="strip"') == 6 and "mIoU</b>" not in text
    for page in index.parent.glob("*.html"):  # nobody knows which is the best
        shown = page.read_text(encoding="utf-8")
        assert "the worst" not in shown and "The best" not in shown and "median" not in shown, page
    assert "Rooms without true labels" in (index.parent / "viewer.html").read_text(encoding="utf-8")
    packed = (index.parent / "viewer" / "scene1000_00.js").read_text(encoding="ascii")
    assert '"truth"' not in packed and '"iteration 1"' in packed
