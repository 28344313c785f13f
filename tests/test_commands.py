"""Every command that README.md and docs/ name works as typed: what it names exists, and the cheap ones run."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from otoc_lib.__main__ import _joined, _parser
from otoc_lib.config import changed_config, parse_value
from otoc_lib.resources import Rates
from otoc_lib.run import notebook_named

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("otoc", "make", "papermill", "python", "pip", "source", "eval")
PLACEHOLDER = re.compile(r"<\w+>|\b(?!OUT\b)[A-Z]{3,}\b(?!=)|…|\.\.\.")  # <profile>, FILE: for the reader to fill in


def blocks(page):
    """The lines of the blocks of a page that a shell is to read, comments cut off."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S)
    return [re.sub(r"\s+#.*", "", line) for block in found for line in block.splitlines() if line.strip()]


def spans(page):
    """The commands in a page's running text and tables, without those that leave something to fill in."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    return [span for span in found if span.split()[0] in PROGRAMS and " " in span and not PLACEHOLDER.search(span)]


COMMANDS = sorted({command for page in PAGES for command in blocks(page) + spans(page)})
CHEAP = ("otoc --help", "otoc status", "otoc show-params", "otoc check-params", "otoc rooms example", "eval ")


def test_there_are_commands_on_all_pages_that_should_have_some():
    assert len(COMMANDS) > 30 and all(any(c.startswith(cheap) for c in COMMANDS) for cheap in CHEAP)
    assert blocks(ROOT / "README.md")[:3] == ["make reproduce", "make test", "source .venv/bin/activate"]
    for page in PAGES:  # a block of commands that says nothing of a shell would not be looked at
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S):
            assert not [line for line in block.splitlines() if line.split()[:1] and line.split()[0] in PROGRAMS]


def anchor(heading):
    """The anchor of a heading, as GitHub and GitLab make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md"))], ids=str)
def test_links_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        name, _, place = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if place:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.M)
            assert place in map(anchor, headings), link


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_names_exists(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    globals()[f"check_{words[0]}"](words[1:])


def check_otoc(words):
    if len(words) == 1:  # the name of a command in a sentence
        with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(io.StringIO()):
            _parser().parse_args([*words, "--help"])
        assert stop.value.code == 0
        return
    with contextlib.redirect_stderr(io.StringIO()):  # argparse stops with SystemExit and a word
        options = _parser().parse_args(_joined(words))
    changes = dict(change.split("=", 1) for change in getattr(options, "changes", []))
    changes = {name: parse_value(name, text) for name, text in changes.items()}
    for word in words:
        if word.startswith("params/"):
            files = sorted(ROOT.glob(word))
            assert files, word
            for path in files if "*" not in word else ():
                changed_config(path, changes)
    assert all(notebook_named(word) for word in getattr(options, "notebook", []))
    if hasattr(options, "profile"):
        assert (ROOT / "params" / options.profile).is_dir()


def check_make(words):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, equals, value = word.partition("=")
        assert re.search(rf"^{name} \?=" if equals else rf"^([a-z]+ )*{name}( [a-z]+)*:", text, flags=re.M), word
        assert name != "PROFILE" or (ROOT / "params" / value).is_dir()


def check_papermill(words):
    notebook, out, *options = words
    assert (ROOT / notebook).is_file() and (ROOT / out).parent.is_dir() and options[0] == "-f"
    pairs = zip(options[3::3], options[4::3], strict=True)
    changed_config(options[1], {name: parse_value(name, text) for name, text in pairs})
    assert set(options[2::3]) <= {"-p"}


def check_python(words):
    if words[0] == "-m":
        assert find_spec(words[1])
    else:
        assert (ROOT / words[0]).is_file()


def check_snakemake(words):
    """Snakemake's own reading of the options, those of its executors included."""
    if not find_spec("snakemake_executor_plugin_kubernetes"):
        pytest.skip("no executors: pip install -e '.[cluster]'")
    from snakemake.cli import parse_args

    _, options = parse_args(words)
    given = dict(word.split("=", 1) for word in options.config)
    assert (ROOT / "params" / given.pop("profile")).is_dir()
    assert given.keys() <= set(re.findall(r'config\.get\("(\w+)"', (ROOT / "Snakefile").read_text())) | set(
        vars(Rates())
    )


def check_pip(words):
    assert words[:2] == ["install", "-e"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"[\w-]+", words[2])) <= extras.keys()


def check_source(words):
    assert words == [".venv/bin/activate"]  # where the Makefile sets up


def check_eval(words):
    check_otoc(shlex.split(re.fullmatch(r"\$\(otoc (.*)\)", *words)[1]))


def in_a_shell(folder, *lines):
    """Run lines in a shell in which the environment of these tests is activated, as README says."""
    activate = Path(sys.prefix) / "bin" / "activate"
    script = "\n".join(["set -e", *([f"source {shlex.quote(str(activate))}"] if activate.exists() else []), *lines])
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """A project without data or runs."""
    for name in ("params", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return tmp_path


def test_cheap_commands_run_in_an_activated_shell(checkout):
    commands = [command for command in COMMANDS if command.startswith(CHEAP)]
    assert len(commands) >= len(CHEAP)
    for command in commands:
        done = in_a_shell(checkout, command)
        assert done.returncode == 0 and not done.stderr, f"{command}: {done.stderr}"
    assert (checkout / "data/own/room.ply").is_file() and (checkout / "data/own/clicks.csv").is_file()


def test_the_tab_key_completes_what_is_typed(checkout):
    """What bash asks of argcomplete when the tab key is hit behind some words."""

    def completions(typed):
        asked = {"_ARGCOMPLETE": "1", "COMP_LINE": typed, "COMP_POINT": str(len(typed)), "_ARGCOMPLETE_IFS": "\n"}
        environment = {**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(checkout / "said")}
        subprocess.run([sys.executable, "-m", "otoc_lib"], cwd=checkout, env=environment, check=True)
        return {word.strip() for word in (checkout / "said").read_text().split("\n")}

    assert completions("otoc sta") == {"status"}
    assert completions("otoc run params/rooms/ot") == {"params/rooms/otoc.yaml"}
    assert "threshold=" in completions("otoc run params/rooms/otoc.yaml -p thresh")
    assert completions("otoc run params/rooms/otoc.yaml --notebook 03") == {"03_self_train"}
    assert completions("otoc status smo") == {"smoke"}
    assert completions("otoc predict runs/rooms/otoc a.ply --mode p") == {"point", "product"}
    assert completions("otoc predict runs/rooms/otoc a.ply --format l") == {"las"}


@pytest.mark.slow
def test_the_page_about_own_scans_works_line_by_line(checkout):
    """Its first block, at toy size and without the second and third notebook."""
    _, example, run = blocks(ROOT / "docs" / "own_scans.md")[:3]
    done = in_a_shell(checkout, example, f"{run} --notebook 01 -p seed=1")
    assert done.returncode == 0, done.stderr
    executed = checkout / "reports/own/notebooks/01_annotate.example_seed1.ipynb"
    assert "done: reports/own/notebooks/01_annotate.example_seed1.ipynb" in done.stdout and executed.is_file()
    snap = next(line for line in blocks(ROOT / "docs" / "own_scans.md") if line.startswith("otoc snap-clicks"))
    rows = [line.split(",") for line in (checkout / "data/own/clicks.csv").read_text().splitlines()[1:]]
    picked = ["scene,x,y,z,class", *(",".join([row[0], *row[2:6]]) for row in rows)]
    (checkout / "picked.csv").write_text("\n".join(picked) + "\n")
    before = (checkout / "data/own/clicks.csv").read_bytes()
    done = in_a_shell(checkout, snap.removesuffix(" --replace"))
    assert done.returncode == 2 and "is there already; give another name, or --replace" in done.stderr
    assert (checkout / "data/own/clicks.csv").read_bytes() == before  # as the page says
    done = in_a_shell(checkout, snap)
    assert done.returncode == 0 and f"{len(rows)} clicks" in done.stdout, done.stderr
