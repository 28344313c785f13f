"""The tables in short: every cell is one of the full table."""

import pytest
from fake_rooms import results_in

from otoc_lib.reporting.runs import NOT_RUN
from otoc_lib.reporting.summary import LINES, summaries, summary
from otoc_lib.reporting.tables import table2


def test_every_cell_is_that_of_the_full_table(results):
    (found,) = summaries(results)  # nothing was run on areas
    lines = {row[0]: row[1:] for row in found.rows}
    full = table2(results)
    shown = dict(zip(full.keys, (dict(zip(full.columns, row, strict=True)) for row in full.rows), strict=True))
    for title, ends in LINES.items():
        cells = [cell.partition(" (paper")[0] for cell in lines[f"one click/object: {title}"]]
        assert cells == [shown[f"otoc_{end}"]["Ours"] for end in ends]
    gains = [shown[f"otoc_{end}"]["Gain over control"] for end in LINES["self-training"]]
    assert lines["one click/object: gain over the control"] == gains and all(gains)
    assert lines["every point labelled"][0] == f"{shown['supervised']['Ours']} (paper: 72.18)"
    assert not any(title.startswith("20 points") for title in lines)  # which was not run


@pytest.mark.parametrize("table", ["table2", "table4"])
def test_without_runs_there_is_no_table(tmp_path, table):
    assert summaries(results_in(tmp_path)) == []
    assert summary(results_in(tmp_path), table).rows == []


def test_what_is_missing_says_so(tmp_path, runs):
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "otoc").symlink_to(runs / "rooms" / "otoc")
    (found,) = summaries(results_in(tmp_path))
    lines = {row[0]: row[1:] for row in found.rows}
    assert lines["one click/object: control, the clicks alone"] == [NOT_RUN] * 3
    assert "one click/object: gain over the control" not in lines and NOT_RUN in lines["every point labelled"][0]
