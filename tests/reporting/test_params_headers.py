"""What the header of a params file says of its result is what the committed tables of its profile say."""

import re
from pathlib import Path

import pytest
from test_readme_numbers import rows_of as lines_of

from otoc_lib.experiments import VARIANTS, read_experiment, read_profile, rows_of, sweeps

ROOT = Path(__file__).parents[2]
MODES = {
    "on points": "point",
    "by the U-Net alone": "point",
    "on super-voxels": "sv",
    "by the relation net alone": "relation",
    "after propagation": "full",
    "propagated": "propagated",  # over the points, as Xu and Lee do
}
SEEDS = {"(seed 0": 1, "(seeds 0 and 1": 2, "(three seeds": 3}
NOT_RUN = "not run"
EXPERIMENTS = {profile: read_profile(ROOT / "params", profile) for profile in ("rooms", "study", "sweeps", "trials")}
FILES = [experiment.files[0] for of_profile in EXPERIMENTS.values() for experiment in of_profile]


def measured(profile: str, experiment: str) -> dict[str, tuple[str, str]]:
    """Mode -> mIoU and number of seeds, of the last evaluation."""
    found, tables = {}, ROOT / "reports" / profile / "tables"
    if profile in ("sweeps", "trials"):
        for name, points in sweeps(EXPERIMENTS[profile]).items():
            controls = {point.experiment: point.control for point in points}
            for line in lines_of(f"sweep_{name}", tables):
                own = line["ours"] or line["first"]  # of a single iteration
                sides = {line["experiment"]: own, controls[line["experiment"]]: line["control"]}
                if experiment in sides:
                    found[line["mode"]] = (sides[experiment] or NOT_RUN, line["seeds"])
        return found
    for name in ("table2", "table4"):
        cells = {line["row"]: (line["ours"], line["seeds"]) for line in lines_of(name, tables)}
        for row in rows_of(name, EXPERIMENTS[profile]):
            if row.experiment == experiment and not row.row.endswith(("_baseline", "_baseline_sv", "_first_full")):
                found[row.mode] = cells[row.row]
    for column, (of, mode) in VARIANTS.items():
        last = [line[column] for line in lines_of("table3", tables) if line[column] != NOT_RUN]
        if of == experiment and last:
            found.setdefault(mode, (last[-1], ""))
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "params").glob("*/[!_]*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_header_names_the_file_and_the_last_notebook_that_it_is_run_by(path):
    command, file = path.read_text(encoding="utf-8").splitlines()[0], path.relative_to(ROOT)
    last = read_experiment(path).notebooks[-1]
    assert command == f"# papermill notebooks/{last}.ipynb OUT.ipynb -f {file}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_header_says_what_was_measured(path):
    header = " ".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    known = measured(path.parent.name, path.stem)
    if "Not measured" in header:
        assert all(value == NOT_RUN for value, _ in known.values()), known
        return
    said = re.search(r"mIoU ([^(]+)(\([^)]*\))", header)
    seeds = next(number for words, number in SEEDS.items() if said[2].startswith(words))
    compared = 0
    for number, words in re.findall(r"(\d+\.\d)([^\d(]*)", said[1]):
        words = words.strip(" ,")
        modes = [mode for says, mode in MODES.items() if says in words] or list(known)
        for mode in modes:
            if mode in known:
                value, of_seeds = known[mode]
                assert float(number) == pytest.approx(float(value), abs=0.0501), (mode, value)
                assert of_seeds in ("", str(seeds)), (mode, of_seeds)
                compared += 1
    assert compared, known
