"""mypy's settings, by which ``make test`` checks the hints: what they let pass, and what they do not."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
COMPILED = re.compile(r"^@(compiled|triton\.jit|intrinsic)\b", flags=re.M)
WRONG = {
    "def doubled(x):\n    return 2 * x\n": "no-untyped-def",
    "def doubled(x: int = None) -> int:\n    return 2 * x\n": "assignment",
    "def first(x: list[int] | None) -> int:\n    return x[0]\n": "index",
    "def first(x: list[int]) -> str:\n    return x[0]\n": "return-value",
    "class A:\n    def f(self, x: int) -> None: ...\nclass B(A):\n    def f(self, x: str) -> None: ...\n": "override",
    "x: int = 1  # type: ignore[assignment]\n": "unused-ignore",
}


def test_only_what_is_compiled_may_lack_hints():
    free = [entry["module"] for entry in MYPY["overrides"] if entry.get("disallow_untyped_defs") is False]
    compiled = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "otoc_lib").rglob("*.py")
        if COMPILED.search(path.read_text(encoding="utf-8"))
    }
    assert len(free) == 1 and set(free[0]) == compiled | {"otoc_lib.vector_code"}
    assert MYPY["disallow_untyped_defs"] and MYPY["files"] == ["otoc_lib"]


def test_make_test_runs_mypy():
    done = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"^\S*bin/mypy; failed=\$\?; wait; exit \$failed$", done.stdout, flags=re.M)


@pytest.mark.parametrize("code", WRONG, ids=WRONG.values())
def test_faults_are_found(tmp_path, code):
    (tmp_path / "wrong.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and f"[{WRONG[code]}]" in done.stdout, done.stdout + done.stderr
