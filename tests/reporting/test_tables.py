import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from fake_rooms import known, make_experiment, results_in

from otoc_lib.experiments import LISTED
from otoc_lib.reporting import paper, tables
from otoc_lib.reporting.tables import GAIN_COLUMNS, make_tables, table2, table4, write_table

COLUMNS = ["row", "setting", "annotation", "paper", "ours", "ours_std", "seeds", "views", "rooms", "stale_seeds"]
COLUMNS += ["control", "gain", "gain_low", "gain_high"]


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for table in make_tables(results):
        write_table(table, folder)
    return folder


def miou(runs, experiment, stage, mode, split="val"):
    metrics = json.loads((runs / "rooms" / experiment / stage / "metrics.json").read_text())
    return 100 * metrics["splits"][split]["modes"][mode]["miou"]


def test_table2_holds_the_measured_values(runs, written):
    rows = {row["row"]: row for row in read_rows(written / "table2.csv")}
    clicked = [f"otoc_{kind}" for kind in ("baseline", "control", "sv", "dagger", "full")]
    twenty = [name.replace("otoc", "data_efficient") for name in clicked]
    other_modes = ("baseline_sv", "first_full", "control_sv", "control_full")
    clicked_too, twenty_too = ([f"{row}_{kind}" for kind in other_modes] for row in ("otoc", "data_efficient"))
    names = ["supervised", *clicked, *twenty, "supervised_sv", "supervised_full", *clicked_too, *twenty_too]
    run = ["supervised", *clicked, "supervised_sv", "supervised_full", *clicked_too]
    assert list(rows) == names + [f"{name}@val_novel" for name in run]
    assert list(rows["supervised"]) == COLUMNS

    assert float(rows["supervised"]["ours"]) == pytest.approx(
        miou(runs, "supervised", "evaluate_baseline", "point"), abs=0.006
    )
    assert float(rows["otoc_control"]["ours"]) == pytest.approx(miou(runs, "control", "evaluate_3", "point"), abs=0.006)
    assert float(rows["supervised_sv"]["ours"]) == pytest.approx(
        miou(runs, "supervised", "evaluate_baseline", "sv"), abs=0.006
    )
    assert float(rows["otoc_control_sv"]["ours"]) == pytest.approx(miou(runs, "control", "evaluate_3", "sv"), abs=0.006)
    novel = miou(runs, "control", "evaluate_3", "point", "val_novel")
    assert float(rows["otoc_control@val_novel"]["ours"]) == pytest.approx(novel, abs=0.006)
    assert rows["otoc_control"]["paper"] == "" and rows["otoc_full"]["paper"] == "70.45"
    assert rows["otoc_full"]["rooms"] == "4" and rows["otoc_full@val_novel"]["rooms"] == "2"


@pytest.mark.parametrize(("table", "prefix"), [(table2, ""), (table4, "s3dis_")])
def test_held_out_training_rooms_beside_validation_rooms_have_rows_of_their_own(table, prefix, scenes, tmp_path):
    splits = {"train_rooms": 3, "eval_splits": ["val", "held_out"], "dataset": "s3dis" if prefix else "scannet"}
    ours, control = (known(f"{prefix}{name}", name, **splits) for name in ("otoc", "control"))
    rooms = {"train": scenes["train"], "val": scenes["val"], "held_out": scenes["val_novel"]}
    for experiment, right in ((ours, 0.5), (control, 0.4)):
        make_experiment(tmp_path, experiment, rooms, right, ("point", "sv", "full"))
    made = table(results_in(tmp_path, experiments=(ours, control)))
    row = next(dict(zip(made.csv_columns, row, strict=True)) for row in made.csv_rows if row[0] == "otoc_full@held_out")
    own, without = (miou(tmp_path, f"{prefix}{name}", "evaluate_3", "full", "held_out") for name in ("otoc", "control"))
    assert float(row["ours"]) == pytest.approx(own, abs=0.006) and row["rooms"] == "2"
    assert float(row["gain"]) == pytest.approx(own - without, abs=0.011) and row["setting"].endswith("training rooms")
    shown = {row[0] for row in made.csv_rows}
    assert "otoc_full" in shown and not any(name.endswith("@val") for name in shown)


@pytest.mark.parametrize(
    ("values", "title"),
    [
        ({"dataset": "own", "own_classes": ["a", "b"]}, "Training rooms"),
        ({"dataset": "own", "own_classes": ["a", "b"], "eval_splits": ["held_out"]}, "Held-out training rooms"),
        ({"eval_splits": ["test", "val"]}, "Validation set"),
        ({"eval_splits": ["test"]}, "Rooms of test"),
    ],
)
def test_a_title_says_on_what_rooms_it_was_measured(values, title, tmp_path):
    """Scans of one's own are in every split: what is right in those that were clicked is no validation."""
    experiment = known("otoc", train_rooms=1, **values)
    made = table2(results_in(tmp_path, experiments=(experiment,)))
    assert made.title == f"Table 2. {title}"


def test_a_gain_is_over_the_own_control_in_the_same_mode_and_seeds(runs, written):
    rows = {row["row"]: row for row in read_rows(written / "table2.csv")}
    for row, mode in (("otoc_dagger", "point"), ("otoc_sv", "sv"), ("otoc_full", "full")):
        own, control = (miou(runs, name, "evaluate_3", mode) for name in ("otoc", "control"))  # both ran seed 0 alone
        value = {name: float(rows[row][name]) for name in GAIN_COLUMNS}
        assert value["control"] == pytest.approx(control, abs=0.006)
        assert value["gain"] == pytest.approx(own - control, abs=0.006)
        assert value["gain_low"] <= value["gain"] <= value["gain_high"]
    novel = float(rows["otoc_full@val_novel"]["gain"])
    own, control = (miou(runs, name, "evaluate_3", "full", "val_novel") for name in ("otoc", "control"))
    assert novel == pytest.approx(own - control, abs=0.006)
    assert [rows["otoc_control"][name] for name in GAIN_COLUMNS] == [""] * 4  # a control has none
    third = {row["iteration"]: row for row in read_rows(written / "table3.csv")}
    assert float(third["3"]["gain"]) == pytest.approx(float(rows["otoc_full"]["gain"]), abs=0.006)
    assert float(third["3"]["control"]) == pytest.approx(miou(runs, "control", "evaluate_3", "full"), abs=0.006)
    assert float(third["3"]["control_point"]) == pytest.approx(miou(runs, "control", "evaluate_3", "point"), abs=0.006)
    printed = (written / "table2.md").read_text(encoding="utf-8")
    full = rows["otoc_full"]
    assert f"{full['gain']} ({full['gain_low']} to {full['gain_high']})" in printed


def test_rows_of_other_rooms_have_no_gain(results, monkeypatch):
    """As where one params file has ``eval_rooms``: their difference would be that of the rooms."""
    row, control = results.row("otoc_full"), results.row("otoc_control_full")
    assert tables.gain_over(results, row, control) is not None
    ours, theirs = results.measure(row), results.measure(control)
    _, *others = sorted(theirs.names)
    for names in (others, [*others, "another"]):
        elsewhere = replace(theirs, names=frozenset(names))
        monkeypatch.setattr(
            type(results),
            "measure",
            lambda self, of, split, of_control=elsewhere: of_control if of == control else ours,
        )
        assert tables.gain_over(results, row, control) is None
        assert tables.means_over_shared_seeds(ours, elsewhere) is None  # nor a relative improvement


def test_repeats_give_mean_and_deviation(runs, written):
    rows = {row["row"]: row for row in read_rows(written / "table2.csv")}
    for row, stage, mode in (
        ("otoc_baseline", "evaluate_baseline", "point"),
        ("otoc_sv", "evaluate_3", "sv"),
        ("otoc_full", "evaluate_3", "full"),
    ):
        values = [miou(runs, name, stage, mode) for name in ("otoc", "otoc_seed1")]
        assert float(rows[row]["ours"]) == pytest.approx(np.mean(values), abs=0.006)
        assert float(rows[row]["ours_std"]) == pytest.approx(np.std(values, ddof=1), abs=0.006)
        assert rows[row]["seeds"] == "2"
    assert rows["supervised"]["seeds"] == "1" and rows["supervised"]["ours_std"] == ""


def test_table3_has_a_column_for_each_variant(runs, written):
    rows = read_rows(written / "table3.csv")
    assert list(rows[0])[:7] == [
        *("iteration", "unet", "unet_gp", "unet_rel_gp"),
        *("unet_paper", "unet_gp_paper", "unet_rel_gp_paper"),
    ]
    assert [row["iteration"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [float(row["unet_rel_gp_paper"]) for row in rows] == [63.92, 66.97, 68.40, 70.01, 70.45]
    assert {row["unet_gp"] for row in rows} == {"not run"}
    assert [row["unet"] == "not run" for row in rows] == [False, False, False, True, True]
    assert float(rows[1]["unet"]) == pytest.approx(miou(runs, "unet", "evaluate_2", "point"), abs=0.006)
    assert float(rows[2]["sv"]) == pytest.approx(
        np.mean([miou(runs, name, "evaluate_3", "sv") for name in ("otoc", "otoc_seed1")]), abs=0.006
    )


def test_tables_of_other_data_say_not_run_or_quoted(written):
    for name, rows in (("table1", paper.TABLE1), ("table4", paper.TABLE4)):
        read = read_rows(written / f"{name}.csv")
        assert [float(row["paper"]) for row in read[: len(rows)]] == [row.miou for row in rows]
        assert {row["paper"] for row in read[len(rows) :]} <= {""}
        quoted = {row.row for row in rows if row.quoted}
        assert {row["row"]: row["ours"] for row in read} == {
            row["row"]: "quoted" if row["row"] in quoted else "not run" for row in read
        }
        assert "Networks that this kit lacks are quoted." in (written / f"{name}.md").read_text()


def test_the_experiments_of_s3dis_fill_table4(runs, tmp_path):
    for experiment, source in (("s3dis_otoc", "otoc"), ("s3dis_otoc3", "unet"), ("s3dis_control", "control")):
        (tmp_path / "rooms").mkdir(exist_ok=True)
        (tmp_path / "rooms" / experiment).symlink_to(runs / "rooms" / source)
    kinds = {"s3dis_otoc": "otoc", "s3dis_otoc3": "unet", "s3dis_control": "control"}
    experiments = tuple(known(name, like, dataset="s3dis") for name, like in kinds.items())
    tables = {table.name: table for table in make_tables(results_in(tmp_path, experiments=experiments))}
    columns = tables["table4"].csv_columns
    rows = {row[0]: dict(zip(columns, row, strict=True)) for row in tables["table4"].csv_rows}
    start = miou(runs, "otoc", "evaluate_baseline", "point")
    last = miou(runs, "otoc", "evaluate_3", "full")
    assert float(rows["otoc_full"]["ours"]) == pytest.approx(last, abs=0.006)
    assert float(rows["otoc_full"]["rel_imp_ours"]) == pytest.approx(100 * (last / start - 1), abs=0.06)
    assert float(rows["otoc3_baseline"]["ours"]) > 0 and rows["otoc3_baseline"]["rel_imp_ours"] == ""
    assert float(rows["otoc_control"]["ours"]) > 0 and rows["otoc_control"]["paper"] == ""
    assert rows["supervised"]["ours"] == "not run"
    assert {row[4] for row in tables["table2"].csv_rows} == {"not run"}


def test_the_relative_improvements_are_those_the_paper_prints(tmp_path):
    table = table4(results_in(tmp_path))
    place = table.csv_columns.index("rel_imp_paper")
    printed = {row[0]: float(row[place]) for row in table.csv_rows if row[place]}
    expected = {
        "xu_02": 1.1,
        "xu_10": 5.0,
        "otoc_dagger": 13.0,
        "otoc_full": 14.6,
        "otoc3_dagger": 10.6,
        "otoc3_full": 13.1,
    }
    assert printed == expected


def test_a_relative_improvement_carries_its_interval(runs, tmp_path):
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "s3dis_otoc").symlink_to(runs / "rooms" / "otoc")
    (tmp_path / "rooms" / "s3dis_otoc3").symlink_to(runs / "rooms" / "unet")
    experiments = (known("s3dis_otoc", dataset="s3dis"), known("s3dis_otoc3", "unet", dataset="s3dis"))
    one = table4(results_in(tmp_path, experiments=experiments))
    first = one.csv_columns.index("rel_imp_ours")
    assert one.csv_columns[first - 1 : first + 3] == ("rel_imp_paper", "rel_imp_ours", "rel_imp_low", "rel_imp_high")
    cells = {row[0]: [*row[first : first + 3]] for row in one.csv_rows}
    for row in ("otoc_dagger", "otoc_full", "otoc3_full"):
        gain, low, high = map(float, cells[row])
        assert low <= gain <= high
    assert cells["otoc_baseline"] == cells["xu_10"] == ["", "", ""]
    place = one.columns.index("Rel. imp. (ours)")
    printed = {key: row[place] for key, row in zip(one.keys, one.rows, strict=True)}
    assert printed["otoc_full"] == cells["otoc_full"][0]
    # Where there are several seeds it is printed too, and is over them as well.
    (tmp_path / "rooms" / "s3dis_otoc_seed1").symlink_to(runs / "rooms" / "otoc_seed1")
    two = table4(results_in(tmp_path, experiments=experiments))
    printed = {key: row[place] for key, row in zip(two.keys, two.rows, strict=True)}
    gain, low, high = next(row[first : first + 3] for row in two.csv_rows if row[0] == "otoc_full")
    assert printed["otoc_full"] == f"{gain} ({low} to {high})" and "interval over rooms and seeds" in two.note
    assert printed["otoc3_full"] == cells["otoc3_full"][0]
    # A seed that lacks one of the two rows counts in neither.
    (tmp_path / "rooms" / "s3dis_otoc_seed1").unlink()
    (tmp_path / "rooms" / "s3dis_otoc_seed1").mkdir()
    for stage in (runs / "rooms" / "otoc_seed1").iterdir():
        if stage.name != "evaluate_baseline":
            (tmp_path / "rooms" / "s3dis_otoc_seed1" / stage.name).symlink_to(stage)
    lacking = table4(results_in(tmp_path, experiments=experiments))
    found = {row[0]: [*row[first : first + 3]] for row in lacking.csv_rows}
    assert (
        found["otoc_full"]
        == cells["otoc_full"]
        != next(r[first : first + 3] for r in two.csv_rows if r[0] == "otoc_full")
    )


def test_experiments_of_ones_own_come_last_or_fill_the_papers_row(runs, tmp_path):
    (tmp_path / "rooms").mkdir()
    experiments = []
    for name, dataset in (("mine", "scannet"), ("s3dis_mean_teacher_02", "s3dis"), ("s3dis_mine", "s3dis")):
        experiments.append(known(name, "control", dataset=dataset))
        (tmp_path / "rooms" / name).symlink_to(runs / "rooms" / "control")
    results = results_in(tmp_path, experiments=tuple(experiments))
    second, fourth = table2(results), table4(results)
    mine = ["mine", "mine_sv", "mine_full"]
    assert second.keys[len(LISTED["table2"]) :] == [*mine, *(f"{row}@val_novel" for row in mine)]
    expected = miou(runs, "control", "evaluate_3", "point")
    assert float(second.csv_rows[len(LISTED["table2"])][4]) == pytest.approx(expected, abs=0.006)
    published = [row.row for row in paper.TABLE4]
    assert fourth.keys[: len(published)] == published
    rows = {row[0]: row for row in fourth.csv_rows}
    assert float(rows["mean_teacher_02"][3]) == 44.4 and float(rows["mean_teacher_02"][4]) == pytest.approx(
        expected, abs=0.006
    )
    assert rows["mean_teacher_02"][1] == "MT"
    on_validation = [key for key in fourth.keys if "@" not in key]
    assert on_validation[-5:] == ["mean_teacher_02_sv", "mean_teacher_02_full", *mine]


def test_table4_says_what_the_rows_of_images_are(runs, tmp_path):
    assert "GPFN: ours" not in table4(results_in(tmp_path)).note
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "s3dis_gpfn_100").symlink_to(runs / "rooms" / "supervised")
    table = table4(results_in(tmp_path, experiments=(known("s3dis_gpfn_100", "supervised", dataset="s3dis"),)))
    rows = {row[0]: row for row in table.csv_rows}
    assert float(rows["gpfn_100"][3]) == 52.5 and rows["gpfn_100"][1:3] == ["GPFN", "100% 2D"]
    expected = miou(runs, "supervised", "evaluate_baseline", "point")
    assert float(rows["gpfn_100"][4]) == pytest.approx(expected, abs=0.006)
    assert "GPFN: ours is the U-Net on labels that images give to points" in table.note


def test_what_the_study_measured_stands_beside_the_same_row(runs, tmp_path, results):
    (tmp_path / "table2.csv").write_text(
        "row,ours,ours_std\notoc_full,84.20,0.51\nsupervised,87.00,\notoc_control,not run,\nelsewhere,1.00,\n"
    )
    (tmp_path / "table3.csv").write_text(
        "iteration,unet,unet_std,unet_gp,unet_gp_std,unet_rel_gp,unet_rel_gp_std\n1,70.00,0.10,not run,,71.00,\n"
    )
    beside = replace(results, study=tmp_path)
    second, third, _ = (table for table in make_tables(beside)[1:])
    place = second.columns.index("Study")
    shown = {key: row[place] for key, row in zip(second.keys, second.rows, strict=True)}
    assert (shown["otoc_full"], shown["supervised"], shown["otoc_control"]) == ("84.20 ± 0.51", "87.00", "")
    assert "make study" in second.note and second.csv_rows == table2(results).csv_rows  # that alone was run here
    row = dict(zip(third.columns, third.rows[0], strict=True))
    assert row["3D U-Net (study)"] == "70.00 ± 0.10" and row["3D U-Net+Rel+GP (study)"] == "71.00"
    assert "Study" not in table2(results).columns


def test_points20_fill_the_data_efficient_rows(runs, tmp_path):
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "points20").symlink_to(runs / "rooms" / "otoc")
    table = table2(results_in(tmp_path, experiments=(known("points20"),)))
    rows = {row[0]: row for row in table.csv_rows}
    assert float(rows["data_efficient_dagger"][4]) == pytest.approx(
        miou(runs, "otoc", "evaluate_3", "point"), abs=0.006
    )
    assert float(rows["data_efficient_full"][3]) == 61.35 and rows["otoc_full"][4] == "not run"


def test_markdown_and_latex_show_the_same_numbers(written):
    for suffix in ("md", "tex"):
        text = (written / f"table2.{suffix}").read_text(encoding="utf-8")
        for row in read_rows(written / "table2.csv"):
            assert row["ours"] in text and row["paper"] in text
    latex = (written / "table2.tex").read_text(encoding="utf-8")
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {7}
    assert r"\%" in latex and "_" not in latex.replace("tab:", "").replace(r"\_", "")


def test_the_distance_to_the_paper_is_shown_where_it_means_something(tmp_path):
    shown = {profile: table2(results_in(tmp_path, profile)).columns for profile in ("rooms", "scannet")}
    assert "Ours - paper" in shown["scannet"] and "Ours - paper" not in shown["rooms"]


def test_a_profile_without_runs_has_only_the_papers_numbers(tmp_path):
    table = table2(results_in(tmp_path))
    assert len(table.rows) == len(LISTED["table2"]) and {row[3] for row in table.rows} == {"not run"}


def test_paper_rows_agree_with_each_other():
    table2_rows = {row.row: row.miou for row in paper.TABLE2}
    assert table2_rows["otoc_full"] == paper.TABLE3["unet_rel_gp"][-1]
    assert all(len(values) == 5 for values in paper.TABLE3.values())
    for rows in (paper.TABLE1, paper.TABLE2, paper.TABLE4):
        assert len({row.row for row in rows}) == len(rows)
    assert [row.miou for row in paper.FIGURE1["S3DIS Area 5"]] == [44.5, 48.0, 50.1, 55.3, 63.7]
