"""The tables of the study, the sweeps and the trials are what their kept numbers give: no cell was typed, and none
outlives its run."""

import re
from pathlib import Path

import pytest

from otoc_lib.reporting.hidden_test import hidden_scores
from otoc_lib.reporting.runs import results_of_profile
from otoc_lib.reporting.site import write_tables

ROOT = Path(__file__).parents[2]
# The names of tables, and how many there are at least.
COMMITTED = {"study": ("*", 11), "sweeps": ("sweep_*", 8), "trials": ("sweep_*", 8)}

# Where numbers come from: another sentence where the runs, or the rooms, are at hand.
DOUBT = r" Of \d+ runs the numbers were kept .*? was run here\.( The data of .*? are not at hand .*? on the same\.)?"


def texts(folder: Path, names: str) -> dict[str, str]:
    found = [path for path in folder.glob(names) if path.suffix in (".csv", ".md")]
    return {path.name: re.sub(DOUBT, "", path.read_text(encoding="utf-8")) for path in found}


@pytest.mark.parametrize(("profile", "names", "least"), [(profile, *known) for profile, known in COMMITTED.items()])
def test_committed_tables_are_those_of_the_kept_numbers(profile, names, least, tmp_path, monkeypatch):
    """In a checkout without runs, rooms and submissions, as a clone is; that its numbers are kept ones, it says."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / f"reports/{profile}").mkdir(parents=True)
    for name in ("params", f"reports/{profile}/results"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    results = results_of_profile(profile)
    write_tables(results, hidden_scores(results, tmp_path / "submissions"), tmp_path / "tables")
    assert re.fullmatch(DOUBT, f" {results.doubt}") and "parameters and code as now" in results.doubt
    folders = tmp_path / "tables", ROOT / "reports" / profile / "tables"
    made, committed = (texts(folder, names) for folder in folders)
    assert len(committed) >= least and made.keys() == committed.keys()
    assert [name for name, text in sorted(made.items()) if text != committed[name]] == [], f"run: otoc keep {profile}"
