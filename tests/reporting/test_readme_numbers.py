"""README's tables and points, and docs/results.md, say what the committed reports say."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
TABLES = ROOT / "reports/study/tables"
ONE_SEED = ROOT / "reports/rooms/tables"
SWEEPS = ROOT / "reports/sweeps/tables"
SPOILT = {  # row of docs/results.md -> table and experiment
    "all right": ("sweep_clicks_wrong", "unet_gp"),
    "5 % of a class drawn at random": ("sweep_clicks_wrong", "wrong05"),
    "10 % of a class drawn at random": ("sweep_clicks_wrong", "wrong10"),
    "20 % of a class drawn at random": ("sweep_clicks_wrong", "wrong20"),
    "10 % of the objects without a click": ("sweep_clicks_forgotten", "forgotten10"),
    "30 % of the objects without a click": ("sweep_clicks_forgotten", "forgotten30"),
    "12 rooms": ("sweep_train_rooms", "rooms12"),
    "24 rooms": ("sweep_train_rooms", "rooms24"),
    "48 rooms": ("sweep_train_rooms", "rooms48"),
    "96 rooms": ("sweep_train_rooms", "unet_gp"),
    "two clicks an object": ("sweep_clicks_per_object", "clicks2"),
    "three clicks an object": ("sweep_clicks_per_object", "clicks3"),
    "five clicks an object": ("sweep_clicks_per_object", "clicks5"),
}
# README's row -> row of the study's table in short.
ROWS = {
    "every point labelled": "every point labelled",
    "one click an object: first": "one click/object: first iteration",
    "control: the clicks alone": "one click/object: control, the clicks alone",
    "One Thing One Click, ": "one click/object: self-training",
    "*gain over the control*": "one click/object: gain over the control",
    "clicks and networks together": "one click/object: self-training, near",
    "*its gain over the control*": "one click/object: near, gain over its control",
}


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<![\w.])[+-]?\d+\.\d+", re.sub(r"\(paper.*?\)", "", text))]


def rows_of(table: str, folder: Path = TABLES) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def in_short(table: str, folder: Path = TABLES) -> dict[str, list[list[float]]]:
    rows = (row.values() for row in rows_of(table, folder))
    return {name: [numbers(cell) for cell in cells] for name, *cells in rows}


@pytest.mark.parametrize(
    ("title", "table", "most"), [("rooms like", "summary_table2", 7), ("areas like", "summary_table4", 5)]
)
def test_the_tables_are_those_of_the_reports(title, table, most):
    block = README[README.index(f"| {title}") :].split("\n\n")[0].splitlines()[2:]
    assert len(block) == most
    known, seen = in_short(table), set()
    for line in block:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        start = next(start for start in ROWS if name.startswith(start.strip()) and start not in seen)
        seen.add(start)
        for cell, expected in zip(cells, known[ROWS[start]], strict=True):
            exact = all(len(number.split(".")[1]) == 2 for number in re.findall(r"\d+\.\d+", cell))
            assert numbers(cell) == pytest.approx(expected, abs=1e-9 if exact else 0.0501), (name, cell)


def test_what_follows_from_the_tables_is_right():
    short = {table: in_short(table) for table in ("summary_table2", "summary_table4")}
    first = {table: rows["one click/object: first iteration"] for table, rows in short.items()}
    ours = {table: rows["one click/object: self-training"] for table, rows in short.items()}
    every = {table: rows["every point labelled"] for table, rows in short.items()}
    gains = [100 * (ours[table][2][0] / first[table][0][0] - 1) for table in short]
    below = [every[table][2][0] - ours[table][2][0] for table in short]
    said = re.search(r"the rooms gain ([\d.]+) %.*?the areas ([\d.]+) %", README, flags=re.S)
    assert [float(text) for text in said.groups()] == pytest.approx(gains, abs=0.06)
    said = re.search(r"is ([\d.]+) below full supervision.*? on the rooms, ([\d.]+) on the areas", README, flags=re.S)
    assert [float(text) for text in said.groups()] == pytest.approx(below, abs=0.06)


# --- docs/results.md --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["summary_table2", "summary_table4", "matrix_table4"])
def test_the_page_of_results_holds_the_studys_tables(name):
    table = (TABLES / f"{name}.md").read_text(encoding="utf-8").split("\n\n")[1]
    assert table.startswith("| ") and table in RESULTS, f"paste it from {TABLES.name}/{name}.md"


@pytest.mark.parametrize(("place", "table"), [(0, "summary_table2"), (1, "summary_table4")])
def test_its_seed_0_is_that_of_the_reference_run(place, table):
    said = re.findall(r"^Seed 0 alone, .*?gains over its control (.*)\.$", RESULTS, flags=re.M)[place]
    known = in_short(table, ONE_SEED)["one click/object: gain over the control"]
    assert numbers(said) == [number for cell in known for number in cell]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("the paper's method", "unet_rel_gp"),
        ("U-Net and graph, after propagation", "unet_gp"),
        ("U-Net alone, from its own confident points", "unet"),
        ("its control, after propagation", "control"),
    ],
)
def test_its_iterations_are_those_of_table_3(name, column):
    cells = re.search(rf"^\| {name} \|(.*)\|$", RESULTS, flags=re.M).group(1).split("|")
    table = [float(row[column]) for row in rows_of("table3")]
    assert [numbers(cell)[-1] for cell in cells] == pytest.approx(table, abs=0.0501)


def test_its_order_of_table_3_is_that_of_the_report():
    last = next(row for row in reversed(rows_of("table3")) if row["unet_rel_gp"] != "not run")
    said = re.search(r"U-Net, relation net and graph ([\d.]+), U-Net and graph ([\d.]+), U-Net ([\d.]+)", RESULTS)
    columns = [float(last[variant]) for variant in ("unet_rel_gp", "unet_gp", "unet")]
    assert [float(text) for text in said.groups()] == pytest.approx(columns, abs=0.0501)


@pytest.mark.parametrize("row", SPOILT)
def test_its_table_of_spoilt_clicks_is_that_of_the_sweeps(row):
    first, control, ours, *gains = re.search(rf"^\| {row} \|(.*)\|$", RESULTS, flags=re.M).group(1).split("|")
    table, experiment = SPOILT[row]
    known = {line["mode"]: line for line in rows_of(table, SWEEPS) if line["experiment"] == experiment}
    said = [numbers(first)[0], numbers(control)[0], *numbers(ours)]
    names = ("first", "control", "ours", "ours_std")
    assert said == pytest.approx([float(known["point"][name]) for name in names], abs=0.0501)
    for mode, gain in zip(("point", "full"), gains, strict=False):
        columns = [float(known[mode][name]) for name in ("gain", "gain_low", "gain_high")]
        assert numbers(gain) == pytest.approx(columns, abs=0.0501)


def test_what_half_of_the_rooms_give_is_in_table_2():
    section = RESULTS[RESULTS.index("**The whole method from half of the rooms**") :]
    known = {row["row"]: row for row in rows_of("table2")}
    ours = [known[f"rooms48{mode}"] for mode in ("", "_sv", "_full")]
    control = [known[f"rooms48_control{mode}"] for mode in ("", "_sv", "_full")]
    for name, rows, columns in (
        ("control, the clicks alone", control, ("ours", "ours_std")),
        ("self-training", ours, ("ours", "ours_std")),
        ("gain over the control", ours, ("gain", "gain_low", "gain_high")),
    ):
        cells = re.search(rf"^\| {name} \|(.*)\|$", section, flags=re.M).group(1).split("|")
        assert [numbers(cell) for cell in cells] == [[float(row[column]) for column in columns] for row in rows]
    said = re.search(r"half of the rooms it gains.*?more at points", README, flags=re.S).group()
    last, gains = ours[2]["ours"], [row[f"gain{end}"] for row in (ours[2], ours[0]) for end in ("", "_low", "_high")]
    assert numbers(said) == pytest.approx([float(number) for number in (last, *gains)], abs=0.0501)


def test_its_table_of_second_looks_is_that_of_the_benchmark():
    """Row by row: mean and gain with its interval, of the last iteration, by the U-Net alone and after propagation."""
    printed = (ROOT / "benchmarks/doubted_clicks.md").read_text(encoding="utf-8").split("none of them wrong")[0]
    known: dict[str, list[float]] = {}
    for line in re.findall(r"^\|.*\| last \|.*\|$", printed, flags=re.M):
        name, _, _, *_, mean, gain, interval, _ = (cell.strip() for cell in f"{line[1:]} ".split("|"))
        known.setdefault(name, []).extend(numbers(f"{mean} {gain} {interval}"))
    section = RESULTS[RESULTS.index("## A second look at wrong clicks") :]
    said = {
        line[1:].split("|")[0].split(" (over ")[0].strip(): numbers(line)
        for line in re.findall(r"^\| .*\d.*\|$", section[: section.index("\n## What is not shown")], flags=re.M)
    }
    assert said == known and len(known) == 4
