"""The study's tables are what its kept numbers give: no cell was typed, none outlives the run that it came from."""

import re
from pathlib import Path

from otoc_lib.reporting.hidden_test import hidden_scores
from otoc_lib.reporting.runs import results_of_profile
from otoc_lib.reporting.site import write_tables

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports/study/tables"


# Where numbers come from: another sentence where the runs, or the rooms, are at hand.
DOUBT = r" Of \d+ runs the numbers were kept .*? was run here\.( The data of .*? are not at hand .*? on the same\.)?"


def texts(folder: Path) -> dict[str, str]:
    found = [path for path in folder.iterdir() if path.suffix in (".csv", ".md")]
    return {path.name: re.sub(DOUBT, "", path.read_text(encoding="utf-8")) for path in found}


def test_tables_of_the_study_are_those_of_its_kept_numbers(tmp_path, monkeypatch):
    """In a checkout without runs, rooms and submissions, as a clone is; that its numbers are kept ones, it says."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "reports/study").mkdir(parents=True)
    for name in ("params", "reports/study/results"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    results = results_of_profile("study")
    write_tables(results, hidden_scores(results, tmp_path / "submissions"), tmp_path / "tables")
    assert re.fullmatch(DOUBT, f" {results.doubt}") and "parameters and code as now" in results.doubt
    made, committed = (texts(folder) for folder in (tmp_path / "tables", COMMITTED))
    assert len(committed) > 10 and made.keys() == committed.keys()
    assert [name for name, text in sorted(made.items()) if text != committed[name]] == [], "run: otoc keep study"
