"""environment.yml and pyproject.toml must name the same packages: the second is what the tests install."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_and_pyproject_agree_in_names_and_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    conda = {}
    for item in environment["dependencies"]:
        if isinstance(item, str):
            name, _, spec = item.partition(" ")
            assert re.fullmatch(r"[a-z0-9-]+", name)
            conda[name] = SpecifierSet(spec)
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert "-e .[dev]" in pip
    by_pip = {r.name: r.specifier for r in map(Requirement, (line for line in pip if not line.startswith("-e")))}

    wanted = {}
    for line in project()["dependencies"]:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    assert conda.keys() - {"python", "pip"} | by_pip.keys() == wanted.keys()
    for name, specifier in wanted.items():
        assert (conda | by_pip)[name] == specifier, name
    python = project()["requires-python"].replace(" ", "")
    assert python in str(conda["python"])


def test_every_requirement_is_pinned_inside_its_range():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            pins[requirement.name.lower().replace("_", "-")] = str(requirement.specifier).removeprefix("==")
    assert pins["torch"] == "2.13.0"
    extras = project()["optional-dependencies"]
    for line in [*project()["dependencies"], *extras["room-factory"], *extras["dev"], *extras["fuzz"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[requirement.name]), line


def test_the_card_packages_are_all_there():
    names = {Requirement(line).name for line in project()["dependencies"]}
    assert {"torch", "jupyterlab", "papermill", "numpy", "matplotlib", "scikit-learn", "plotly"} <= names
    extras = {Requirement(line).name for lines in project()["optional-dependencies"].values() for line in lines}
    assert {"spconv", "spconv-cu126", "open3d-cpu"} <= extras
