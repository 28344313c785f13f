"""environment.yml and pyproject.toml must name the same packages: the second is what the tests install."""

import re
import tomllib
from importlib.metadata import distributions
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


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {normal(requirement.name): str(requirement.specifier).removeprefix("==") for requirement in pinned}


def test_every_requirement_is_pinned_inside_its_range():
    pins = read_pins()
    assert pins["torch"] == "2.13.0"
    extras = project()["optional-dependencies"]
    tested = [line for name in ("room-factory", "dev", "fuzz", "cluster") for line in extras[name]]
    for line in [*project()["dependencies"], *tested]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[requirement.name]), line


def test_every_pinned_package_installs_on_the_oldest_python():
    """A pin may ask for a later patch release than the one that tests run on, such as 3.11.5: Debian 12 has 3.11.2."""
    oldest = project()["requires-python"].removeprefix(">=") + ".0"
    pins = read_pins()
    here = {normal(found.name): found for found in distributions()}
    compared = [here[name] for name, version in pins.items() if name in here and here[name].version == version]
    assert len(compared) > 100
    wants = {found.name: found.metadata["Requires-Python"] for found in compared}
    assert {n: w for n, w in wants.items() if w and not SpecifierSet(w).contains(oldest)} == {}


def test_the_card_packages_are_all_there():
    names = {Requirement(line).name for line in project()["dependencies"]}
    assert {"torch", "jupyterlab", "papermill", "numpy", "matplotlib", "scikit-learn", "plotly"} <= names
    extras = {Requirement(line).name for lines in project()["optional-dependencies"].values() for line in lines}
    assert {"spconv", "spconv-cu126", "open3d-cpu"} <= extras
