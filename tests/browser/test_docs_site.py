"""``make docs``: builds without a warning, every link and anchor leads somewhere, and all of it works from the disk."""

import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
# What Sphinx says of its extensions' code is none of ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")]


def module(name):
    """A file of docs/site, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/site/{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


builder, settings = module("build"), module("conf")


class Page(HTMLParser):
    """What a page links to, loads, and can be jumped to in."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loads, self.anchors = path, [], [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loads = given.get("href" if tag == "link" else "src")
        if tag in ("link", "script", "img", "iframe") and loads:
            self.loads.append(loads)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "docs"
    command = [sys.executable, str(ROOT / "docs/site/build.py"), str(out)]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True)
    assert done.returncode == 0 and f"The site is at {out}/index.html" in done.stdout, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    """Those that were built here; the report has tests of its own."""
    return {path: Page(path) for path in site.rglob("*.html") if builder.REPORT not in path.relative_to(site).parents}


def test_links_and_anchors_lead_somewhere(site, pages):
    wrong, seen = [], set()
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            seen.add(target)
            fits = target.is_file() and (target not in pages or unquote(parts.fragment) in pages[target].anchors)
            wrong += [] if fits else [f"{path.relative_to(site)}: {link}"]
    assert not wrong, "\n".join(wrong)
    assert site / builder.REPORT / "index.html" in seen and site / "docs/methods/gpfn.html" in seen


def test_every_page_and_every_public_module_is_there(site, pages):
    texts = {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in pages}
    for page in ("index.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))):
        assert page.removesuffix(".md") + ".html" in texts
    modules = [path for path in (ROOT / "otoc_lib").rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    for path in modules:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        names = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", path.read_text(encoding="utf-8"), flags=re.M)
        assert all(f'id="{name}.{public}"' in texts[f"api/{name}.html"] for public in names), name
    assert "Centre a block of features [M, D]" in texts["api/otoc_lib.propagation.graph.html"]
    assert "![" not in texts["index.html"] and "architecture.svg" in texts["docs/architecture.html"]


def test_nothing_is_fetched(site, pages):
    for page in pages.values():
        assert not [load for load in page.loads if urlsplit(load).netloc], page.path
    for style in site.rglob("_static/**/*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_search_works_from_the_disk(site, new_page):
    page, problems = new_page()
    page.goto((site / "index.html").as_uri())
    page.locator(".sidebar-search").fill("mean_field")
    page.locator(".sidebar-search").press("Enter")
    found = page.locator("#search-results a", has_text="otoc_lib.propagation.graph.mean_field")
    found.first.click()
    page.wait_for_url("**/api/otoc_lib.propagation.graph.html#otoc_lib.propagation.graph.mean_field*")
    assert not problems


@pytest.mark.parametrize(("page", "width"), [("index", 390), ("docs/architecture", 390), ("api/otoc_lib.config", 390)])
def test_pages_fit_a_telephone(site, new_page, page, width):
    shown, problems = new_page(width=width)
    shown.goto((site / f"{page}.html").as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(image => !(image.complete && image.naturalWidth)).map(image => image.src)"
    assert shown.evaluate(broken) == [] and not problems


@pytest.mark.parametrize("edit", ["diagram", "link", "anchor"])
def test_a_page_that_went_wrong_fails(tmp_path, edit, capfd):
    """A diagram that its picture does not show, a link to no page, an anchor of no heading."""
    shutil.copytree(ROOT / "docs/pictures", tmp_path / "pages/pictures")
    diagram = re.search(r"```mermaid\n.*?\n```", (ROOT / "docs/architecture.md").read_text(), flags=re.S)[0]
    text = {
        "diagram": diagram.replace("clicks, train", "click, train"),
        "link": "[elsewhere](elsewhere.md)",
        "anchor": "[below](#below)",
    }[edit]
    for name, content in (("right", f"# Right\n\n{diagram}\n\n[above](#right)\n"), ("wrong", f"# Wrong\n\n{text}\n")):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "pages", folder)
        shutil.move(folder / "pictures/architecture.svg", folder / "pictures/index.svg")
        (folder / "index.md").write_text(content, encoding="utf-8")
        status = builder.run_sphinx(folder, tmp_path / f"{name}-out")
        assert (status == 0) == (name == "right"), capfd.readouterr().err
    assert {"diagram": "draw_diagram.py", "link": "elsewhere.md", "anchor": "below"}[edit] in capfd.readouterr().err


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(SystemExit, match="holds no site"):
        builder.build(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_docstrings_may_hold_equations_and_bars():
    lines = ["A norm |x|, as in ``a | b``.", "", "    L = |x|", "      + |y|", "", "More of |x|.", "Args:", "    x: it"]
    settings.plain_equations(None, "function", "f", None, None, lines)
    assert lines == [
        r"A norm \|x\|, as in ``a | b``.", "", "::", "", "    L = |x|", "      + |y|", "",
        r"More of \|x\|.", "Args:", "    x: it",
    ]  # fmt: skip
