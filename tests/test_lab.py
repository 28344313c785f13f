"""``make lab`` opens the notebooks without a question, also as root: its own recipe, read by Jupyter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = """
import json
from jupyterlab_server.config import get_static_page_config
print(json.dumps(get_static_page_config(level="all")))
"""


@pytest.fixture(scope="module")
def recipe():
    """The shell command by which the Makefile starts JupyterLab, with Jupyter of these tests."""
    done = subprocess.run(["make", "--dry-run", "lab"], cwd=ROOT, capture_output=True, text=True, check=True)
    command = done.stdout.replace("\\\n", "")
    line = next(line for line in command.splitlines() if "/jupyter lab" in line)
    return line.replace(".venv/bin/jupyter", str(Path(sys.executable).parent / "jupyter"))


def said(command, **environment):
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env={**os.environ, **environment}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_root_is_allowed_where_the_user_is_root_and_only_there(recipe):
    shown = said(f"{recipe} --show-config-json")
    assert shown.get("ServerApp", {}).get("allow_root", False) == (os.geteuid() == 0)
    assert ("--allow-root" in recipe) == (os.geteuid() == 0)


def test_jupyterlab_neither_asks_to_be_built_nor_for_news(recipe, tmp_path):
    settings, _ = recipe.split(str(Path(sys.executable).parent))
    program = tmp_path / "page.py"
    program.write_text(PAGE)
    page = said(f"{settings} {sys.executable} {program}", HOME=str(tmp_path))
    assert page["buildCheck"] is False and page["buildAvailable"] is False
    assert page["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"] is True


def test_the_settings_of_the_user_are_still_read(recipe, tmp_path):
    (tmp_path / "labconfig").mkdir()
    (tmp_path / "labconfig" / "page_config.json").write_text('{"mine": 1}')
    program = tmp_path / "page.py"
    program.write_text(PAGE)
    settings, _ = recipe.split(str(Path(sys.executable).parent))
    page = said(f"{settings} {sys.executable} {program}", JUPYTER_CONFIG_PATH=str(tmp_path))
    assert page["mine"] == 1 and page["buildCheck"] is False
