import shutil
from pathlib import Path

import pytest
from debian import PACKAGES, missing_packages

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no Debian")
def test_what_is_not_installed_is_named():
    assert missing_packages(["dpkg", "no-such-package", "coreutils"]) == ["no-such-package"]


def test_elsewhere_nothing_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert missing_packages(["no-such-package"]) == []


def test_readme_names_them():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(name in readme for name in PACKAGES)
