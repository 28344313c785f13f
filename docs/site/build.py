"""Builds the site: README as its home, the pages of docs/, a page for each module of otoc_lib, the report beside them.

``make docs`` builds it into build/docs, or it goes into the folder that is given. It opens from the disk, search
included, and fetches nothing.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[2]
HOME = Path("README.md")
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md", "benchmarks/doubted_clicks.md")
REPORT = Path("reports/rooms")  # of the reference run
MADE = ".doctrees"  # what Sphinx begins with where it builds

HOME_END = """
## The report

<p><a href="{report}/index.html">The report of the reference run</a>: its tables, figures and rooms.</p>

```{{toctree}}
:hidden:

{pages}
api/index
```
"""
API = """The library
===========

Every module of ``otoc_lib``, from its docstrings. *How the kit is built* ends with how to begin.

.. toctree::

"""


def build(out: Path) -> int:
    """Build into ``out``, a new folder or that of an earlier site, which is made anew; a warning is an error.

    Returns Sphinx's exit status.
    """
    if out.exists():
        if not (out / MADE).is_dir():
            sys.exit(f"{out}: is there and holds no site; give another folder")
        shutil.rmtree(out)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        for page in pages():
            copy_page(page, source)
        write_home(source)
        write_api(source / "api")
        status = run_sphinx(source, out)
    shutil.copytree(ROOT / REPORT, out / REPORT)
    return status


def run_sphinx(source: Path, out: Path) -> int:
    options = ["--quiet", "--fail-on-warning", "--builder", "html", "--conf-dir", str(ROOT / "docs/site")]
    return build_main([*options, str(source), str(out)])


def pages() -> list[Path]:
    """The pages in Markdown but README, relative to the project's root."""
    found = [*(ROOT / name for name in BESIDE), *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT) for path in found]


def copy_page(page: Path, source: Path) -> None:
    """Copy a page, and the pictures in it, to where they are in the project: the same links are right there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (source / page).parent.mkdir(parents=True, exist_ok=True)
    (source / page).write_text(text, encoding="utf-8")
    pictures = [(ROOT / page).parent / name for name in re.findall(r"!\[[^]]*\]\(([^):]+)\)", text)]
    if "```mermaid" in text:
        pictures.append((ROOT / page).parent / "pictures" / f"{page.stem}.svg")
    for picture in pictures:
        copy = source / picture.resolve().relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, copy)


def write_home(source: Path) -> None:
    """The first page: README, and beneath it what else there is."""
    copy_page(HOME, source)
    names = "\n".join(str(page.with_suffix("")) for page in pages())
    with (source / HOME).open("a", encoding="utf-8") as file:
        file.write(HOME_END.format(report=REPORT, pages=names))
    (source / HOME).rename(source / "index.md")


def write_api(folder: Path) -> None:
    """A page for every module of otoc_lib that can be imported, and one that lists them."""
    folder.mkdir(parents=True)
    names = []
    for path in sorted((ROOT / "otoc_lib").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    for name in names:
        page = f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n"
        (folder / f"{name}.rst").write_text(page, encoding="utf-8")
    (folder / "index.rst").write_text(API + "".join(f"   {name}\n" for name in names), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build/docs", help="folder of the site")
    options = parser.parse_args()
    failed = build(options.out)
    print(f"{'Failed; what was built' if failed else 'The site'} is at {options.out}/index.html")
    sys.exit(failed)
