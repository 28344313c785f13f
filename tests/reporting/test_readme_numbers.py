"""README's tables and points say what the committed reports say."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# README's row -> folder of reports, row of its table in short.
ROWS = {
    "every point labelled": ("study", "every point labelled"),
    "one click an object: first": ("study", "one click/object: first iteration"),
    "control: the clicks alone": ("study", "one click/object: control, the clicks alone"),
    "One Thing One Click, ": ("study", "one click/object: self-training"),
    "*gain over the control*": ("study", "one click/object: gain over the control"),
    "clicks and networks together": ("study", "one click/object: self-training, near"),
    "*its gain over the control*": ("study", "one click/object: near, gain over its control"),
    "*seed 0 alone": ("rooms", "one click/object: gain over the control"),
    "20 points a room, two iterations: control": ("study", "20 points: control, the clicks alone"),
    "self-training from 20 points": ("study", "20 points: self-training"),
    "*gain over its control*": ("study", "20 points: gain over the control"),
    "three clicks an object, two seeds: control": ("study", "three clicks/object: control, the clicks alone"),
    "self-training from three clicks": ("study", "three clicks/object: self-training"),
    "*gain over that control*": ("study", "three clicks/object: gain over the control"),
}


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<![\w.])[+-]?\d+\.\d+", re.sub(r"\(paper.*?\)", "", text))]


def in_short(profile: str, table: str) -> dict[str, list[list[float]]]:
    with (ROOT / f"reports/{profile}/tables/summary_{table}.csv").open(encoding="utf-8", newline="") as file:
        return {name: [numbers(cell) for cell in cells] for name, *cells in list(csv.reader(file))[1:]}


@pytest.mark.parametrize(("title", "table", "most"), [("rooms like", "table2", 11), ("areas like", "table4", 9)])
def test_the_tables_are_those_of_the_reports(title, table, most):
    block = README[README.index(f"| {title}") :].split("\n\n")[0].splitlines()[2:]
    assert len(block) == most
    known = {profile: in_short(profile, table) for profile in ("study", "rooms")}
    seen = set()
    for line in block:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        wanted = next(w for start, w in ROWS.items() if name.startswith(start.strip()) and w not in seen)
        seen.add(wanted)
        for cell, expected in zip(cells, known[wanted[0]][wanted[1]], strict=True):
            exact = all(len(number.split(".")[1]) == 2 for number in re.findall(r"\d+\.\d+", cell))
            assert numbers(cell) == pytest.approx(expected, abs=1e-9 if exact else 0.0501), (name, cell)


def test_what_follows_from_the_tables_is_right():
    short = {table: in_short("study", table) for table in ("table2", "table4")}
    first = {table: rows["one click/object: first iteration"] for table, rows in short.items()}
    ours = {table: rows["one click/object: self-training"] for table, rows in short.items()}
    every = {table: rows["every point labelled"] for table, rows in short.items()}
    gains = [100 * (ours[table][2][0] / first[table][0][0] - 1) for table in short]
    below = [every[table][2][0] - ours[table][2][0] for table in short]
    said = re.search(r"the rooms gain ([\d.]+) %.*?the areas ([\d.]+) %", README, flags=re.S)
    assert [float(text) for text in said.groups()] == pytest.approx(gains, abs=0.06)
    said = re.search(r"is ([\d.]+) below full supervision.*? on the rooms, ([\d.]+) on the areas", README, flags=re.S)
    assert [float(text) for text in said.groups()] == pytest.approx(below, abs=0.06)


def test_the_order_of_table_3_is_that_of_the_report():
    with (ROOT / "reports/study/tables/table3.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    said = re.search(r"([\d.]+) with relation net and graph, ([\d.]+) with the graph, ([\d.]+) with neither", README)
    last = next(row for row in reversed(rows) if row["unet_rel_gp"] != "not run")
    columns = [last[variant] for variant in ("unet_rel_gp", "unet_gp", "unet")]
    assert [float(text) for text in said.groups()] == pytest.approx([float(c) for c in columns], abs=0.0501)
