"""Sphinx's settings of the site that ``docs/site/build.py`` builds: pages in Markdown, the API from docstrings."""

import hashlib
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import otoc_lib

project = "One Thing One Click kit"
release = otoc_lib.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"  # fonts of the system, scripts of its own: nothing is fetched
html_title = f"{project} {release}"
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # a page from the disk may not read others

toc_object_entries = False  # in the contents of every page, a third of the time

myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_use_type_comments = False  # there are none, and looking for them takes a twelfth of the time
napoleon_numpy_docstring = False
napoleon_use_rtype = False


class Mermaid(SphinxDirective):
    """A diagram in Mermaid's words, shown by the picture that was drawn of it: ``pictures/<page>.svg``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        page = Path(self.env.doc2path(self.env.docname))
        picture = page.parent / "pictures" / f"{page.stem}.svg"
        digest = hashlib.sha256("\n".join(self.content).encode()).hexdigest()
        if not picture.is_file() or digest not in picture.read_text(encoding="utf-8"):
            logging.getLogger(__name__).warning(
                "%s does not show the diagram of this page as it is now: draw it with docs/site/draw_diagram.py",
                picture.name,
                location=self.get_location(),
            )
        return [nodes.image(uri=f"pictures/{picture.name}", alt="The diagram of this page")]


def plain_equations(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """What docstrings write plainly, said as Sphinx wants it: indented paragraphs are equations, a bar is a bar."""
    written, equation = [], False
    for line, before in zip(lines, ["", *lines], strict=False):
        if line.strip():
            indented = line[0] == " "
            if indented and not equation and not before.strip() and written:
                written += ["::", ""]
                equation = True
            equation = equation and indented
        written.append(line if equation else re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line))
    lines[:] = written


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
    app.connect("autodoc-process-docstring", plain_equations, priority=400)  # before napoleon, at 500
