"""Dockerfile and devcontainer, step by step, where no docker is: what they name exists, and what can run does."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
DEVCONTAINER = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))


def read_steps(path):
    """(instruction, arguments) of every step of a Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


STEPS = read_steps(ROOT / "Dockerfile")
RUNS = [arguments for instruction, arguments in STEPS if instruction == "RUN"]
COPIES = [shlex.split(arguments) for instruction, arguments in STEPS if instruction == "COPY"]
COMMAND = json.loads(next(arguments for instruction, arguments in STEPS if instruction == "CMD"))


def test_the_base_image_is_pinned_and_has_a_python_that_the_kit_takes():
    image, name = re.fullmatch(r"(\S+) AS (\w+)", STEPS[0][1]).groups()
    python = re.fullmatch(r"python:(3\.\d+)-slim-(bookworm|trixie)", image)[1]
    assert python in SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert [arguments for instruction, arguments in STEPS if instruction == "FROM"][1:] == [name]
    assert DEVCONTAINER["build"]["target"] == name


def test_both_end_in_make_reproduce_at_toy_size():
    assert COMMAND == ["make", "reproduce", "PROFILE=smoke"] == shlex.split(DEVCONTAINER["postCreateCommand"])
    build = DEVCONTAINER["build"]
    folder = ROOT / ".devcontainer"
    assert (folder / build["dockerfile"]).resolve() == ROOT / "Dockerfile" and (
        folder / build["context"]
    ).resolve() == ROOT


def test_nothing_of_the_kit_runs_as_root():
    """From the user's line on nothing is installed by apt, and the user is one that was made."""
    place = STEPS.index(next(step for step in STEPS if step[0] == "USER"))
    user = STEPS[place][1]
    before, after = STEPS[:place], STEPS[place:]
    assert user == DEVCONTAINER["remoteUser"] != "root" and any(
        "useradd" in a and a.endswith(f" {user}") for _, a in before
    )
    assert not [a for i, a in before if i == "RUN" and "make " in a.replace("recommends make", "")]
    assert (
        not [a for i, a in after if i == "RUN" and re.search(r"apt-get|sudo", a)]
        and [i for i, _ in after].count("USER") == 1
    )
    workdir = next(arguments for instruction, arguments in STEPS if instruction == "WORKDIR")
    assert workdir.startswith(f"/home/{user}/")
    assert all(words[0] == f"--chown={user}" for words in COPIES)


@pytest.mark.parametrize("command", RUNS)
def test_every_step_is_a_command_of_its_shell(command):
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_debian_packages_are_those_that_readme_names():
    named = [
        word for run in RUNS if "apt-get install" in run for word in re.findall(r"recommends (.*?) &&", run)[0].split()
    ]
    known = (ROOT / "tests/debian-packages.txt").read_text(encoding="utf-8").split()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert named and all(f"`{name}`" in readme for name in [*named, *known])
    if shutil.which("apt-cache"):
        listed = subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True).stdout.split()
        if "make" in listed:  # else no list of packages was fetched
            assert set(named) <= set(listed)


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """The files that are there when the packages are installed."""
    folder = tmp_path_factory.mktemp("container")
    for _, *sources, target in COPIES[:-1]:
        (folder / target).mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy(ROOT / source, folder / target)
    return folder


def test_what_is_copied_first_is_enough_to_install(early):
    """setuptools makes of it what pip asks for: the same requirements, version and commands as of the whole project."""
    ask = "import setuptools.build_meta as b, sys; print(b.prepare_metadata_for_build_editable(sys.argv[1]))"
    said = []
    for folder in (early, ROOT):
        out = early / f"metadata-{folder.name}"
        out.mkdir()
        done = subprocess.run([sys.executable, "-c", ask, str(out)], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = out / done.stdout.splitlines()[-1]
        said.append([(found / name).read_text(encoding="utf-8") for name in ("METADATA", "entry_points.txt")])
    assert said[0] == said[1] and "Requires-Dist: torch" in said[0][0]


def test_make_knows_what_it_is_asked_for(early):
    targets = [shlex.split(run)[1:] for run in RUNS if run.startswith("make ")]
    assert targets == [[".venv/.installed"]] and STEPS.index(("RUN", "make .venv/.installed")) < len(STEPS) - 2
    for folder, arguments in ((early, targets[0]), (ROOT, COMMAND[1:])):
        done = subprocess.run(["make", "--dry-run", *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(["make", "--dry-run", *targets[0]], cwd=early, capture_output=True, text=True)
    assert "--constraint constraints.txt --editable ." in done.stdout


def test_the_image_gets_what_git_has_and_nothing_else():
    lines = {name: (ROOT / name).read_text(encoding="utf-8").split() for name in (".gitignore", ".dockerignore")}
    wanted = [".git"]
    for line in lines[".gitignore"]:
        inner = line.lstrip("!").strip("/")
        at_root = line.lstrip("!").startswith("/") or "/" in inner or inner == ".venv"
        wanted.append(("!" if line[0] == "!" else "") + ("" if at_root else "**/") + inner)
    beyond = [line for line in wanted if "reports/" not in line]  # a run of its own begins without any
    assert lines[".dockerignore"] == [*beyond, "reports/*"]
    assert COPIES[-1][1:] == [".", "."]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0:  # a checkout, no archive
        assert {source for words in COPIES[:-1] for source in words[1:-1]} <= set(tracked.stdout.split())
