import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from otoc_lib.errors import OtocError
from otoc_lib.labels import IGNORE
from otoc_lib.reporting.figures import RIGHT, UNLABELLED, WRONG, error_colors
from otoc_lib.reporting.site import best_median_worst, build_report

COMMAND = "papermill notebooks/03_self_train.ipynb OUT.ipynb -f params/rooms/otoc.yaml"
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects links, ids and text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.open, self.tags = [], set(), [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
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
    (root / "params" / "rooms").mkdir(parents=True)
    (root / "params" / "rooms" / "otoc.yaml").write_text(f"# {COMMAND}\nprofile: rooms\n")
    notebooks = root / "reports" / "rooms" / "notebooks"
    notebooks.mkdir(parents=True)
    (notebooks / "03_self_train.otoc.ipynb").write_text("{}")
    return build_report(runs, root / "reports", "rooms", scenes, 3, root / "params")


def test_every_link_resolves_and_none_leaves_the_folder_of_the_project(report):
    page = Page(report.read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe"} & set(page.tags)
    for link in page.links:
        assert not re.match(r"[a-z]+:|//|/", link)
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (report.parent / link).resolve().is_file(), link
    assert "../../params/rooms/otoc.yaml" in page.links
    assert "notebooks/03_self_train.otoc.ipynb" in page.links


def test_the_page_says_what_it_is(report):
    text = report.read_text(encoding="utf-8")
    assert "These rooms are simulated." in text and "not ScanNet mIoU" in text
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert COMMAND in text
    assert "not run" in text and "torch 2.13.0" in text
    assert str(report.parent.parent.parent) not in text


def test_figures_are_written_small_and_whole(report):
    folder = report.parent / "figures"
    names = {"figure1", "figure2", "figure4", "figure5", "figure6", "learning_curves", "pseudo_labels"}
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


def test_tables_lie_beside_the_page(report):
    found = {path.name for path in (report.parent / "tables").iterdir()}
    assert found == {f"table{i}.{suffix}" for i in (1, 2, 3, 4) for suffix in ("csv", "md", "tex")}


def test_a_report_of_little_is_made_all_the_same(runs, scenes, tmp_path):
    (tmp_path / "runs" / "rooms").mkdir(parents=True)
    (tmp_path / "runs" / "rooms" / "otoc").mkdir()
    for stage in ("clicks", "unet_1", "evaluate_baseline"):
        (tmp_path / "runs" / "rooms" / "otoc" / stage).symlink_to(runs / "rooms" / "otoc" / stage)
    index = build_report(tmp_path / "runs", tmp_path / "reports", "rooms", scenes, 3)
    page = Page(index.read_text(encoding="utf-8"))
    assert all(link.startswith("#") or (index.parent / link).is_file() for link in page.links)
    assert "Not run" in index.read_text(encoding="utf-8")
    assert not (index.parent / "figures" / "figure5.png").exists()


def test_real_data_carries_no_banner(runs, scenes, tmp_path):
    (tmp_path / "runs" / "scannet").mkdir(parents=True)
    index = build_report(tmp_path / "runs", tmp_path / "reports", "scannet", scenes, 3)
    assert "simulated" not in index.read_text(encoding="utf-8")


def test_nothing_run_is_an_error_that_says_so(scenes, tmp_path):
    with pytest.raises(OtocError, match="nothing has been run"):
        build_report(tmp_path / "runs", tmp_path / "reports", "rooms", scenes, 3)
    assert not (Path(tmp_path) / "reports").exists()


def test_error_colors():
    truth = np.array([1, 2, IGNORE, 3])
    colors = error_colors(truth, np.array([1, 0, 1, 3]))
    assert [tuple(color) for color in colors.tolist()] == [RIGHT, WRONG, UNLABELLED, RIGHT]


def test_rooms_that_stand_for_an_evaluation(runs, scenes):
    val = scenes["val"]  # the made-up predictions get worse from room to room
    chosen = best_median_worst(runs, "rooms", "otoc", "evaluate_3", val)
    assert chosen == {"best": val[0], "median": val[1], "worst": val[3]}
    assert best_median_worst(runs, "rooms", "otoc", "evaluate_3", val[:2]) == {"best": val[0], "worst": val[1]}
    assert best_median_worst(runs, "rooms", "otoc", "evaluate_3", val[:1]) == {"best": val[0]}
    assert best_median_worst(runs, "rooms", "otoc", "evaluate_4", val) == {}
