"""The tables in short: every cell is one of the full table."""

import pytest
from fake_rooms import known, make_experiment, results_in

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


def test_the_matrix_has_every_method_beside_every_kind_of_labels(scenes, tmp_path):
    """A line is a method and its steps: a control of twice the steps, for equal time, has a line of its own."""
    once = {"self_train_iterations": 1, "unet_steps": 90}
    points = {"source": "points", "points_share": 0.1}
    runs = {
        "otoc": (known("otoc", unet_steps=90, unet_steps_later=50), 0.5),
        "alone": (known("alone", method="control", variant="unet", **once), 0.2),
        "longer": (known("longer", method="control", variant="unet", **once | {"unet_steps": 180}), 0.25),
        "teacher": (known("teacher", method="mean_teacher", **once), 0.3),
        "teacher_points": (
            known("teacher_points", method="mean_teacher", **points, **once),
            0.4,
        ),
        "large": (known("large", method="control", variant="unet", backbone="minkunet34", coarse_loss=0, **once), 0.6),
    }
    for experiment, share in runs.values():
        make_experiment(tmp_path / "runs", experiment, scenes, share, ("point", "sv", "full"))
    found = results_in(tmp_path / "runs", experiments=tuple(experiment for experiment, _ in runs.values()))
    table = next(table for table in summaries(found) if table.name == "matrix_table2")
    assert table.columns == ("Method", "one click/object", "10 % of the points")
    lines = {row[0]: row[1:] for row in table.rows}
    assert list(lines) == [
        *("These labels alone, 90 steps", "These labels alone, 180 steps"),
        *("Mean Teacher, 90 steps", "One Thing One Click, 190 steps"),
    ]
    rows = {row.row: row for row in found.rows("table2")}
    teacher, alone = (found.measure(rows[name]).mean for name in ("teacher", "alone"))
    assert lines["These labels alone, 90 steps"] == [f"{alone:.2f}", ""]
    assert lines["Mean Teacher, 90 steps"][0].startswith(f"{teacher:.2f}, gain {teacher - alone:+.2f} (")
    assert (
        lines["Mean Teacher, 90 steps"][1] == f"{found.measure(rows['teacher_points']).mean:.2f}"
    )  # no control was run
    assert lines["One Thing One Click, 190 steps"][0] == f"{found.measure(rows['otoc_dagger']).mean:.2f}"


def test_what_varies_the_method_has_lines_of_its_own(scenes, tmp_path):
    """Two experiments of one method, length and labels are two lines, in short and in the matrix, not one."""
    steps = {"unet_steps": 90, "unet_steps_later": 50}
    runs = {
        "otoc": (known("otoc", **steps), 0.5),
        "control": (known("control", "control", **steps), 0.3),
        "near": (known("near", click_reach=0.1, **steps), 0.6),
        "part": (known("part", variant="unet_gp", **steps), 0.4),  # has not all modes
    }
    for experiment, share in runs.values():
        make_experiment(tmp_path / "runs", experiment, scenes, share, ("point", "sv", "full"))
    found = results_in(tmp_path / "runs", experiments=tuple(experiment for experiment, _ in runs.values()))
    short, table = summaries(found)
    rows = {row.row: row for row in found.rows("table2")}
    ours = {name: found.measure(rows[name]).mean for name in ("otoc_dagger", "otoc_control", "near", "near_full")}
    lines = {row[0]: row[1:] for row in short.rows}
    assert [name for name in lines if "near" in name] == [
        *("one click/object: self-training, near", "one click/object: near, gain over its control"),
    ]
    assert lines["one click/object: self-training, near"][::2] == [f"{ours['near']:.2f}", f"{ours['near_full']:.2f}"]
    gain = lines["one click/object: near, gain over its control"]
    assert len(gain) == 3 and gain[0].startswith(f"{ours['near'] - ours['otoc_control']:+.2f} (")
    assert lines["one click/object: self-training"][0].startswith(f"{ours['otoc_dagger']:.2f}")
    assert not any("part" in name for name in lines)
    cells = {row[0]: row[1] for row in table.rows}
    assert cells["One Thing One Click, 190 steps"].startswith(f"{ours['otoc_dagger']:.2f}, gain")
    assert cells["One Thing One Click (near), 190 steps"].startswith(f"{ours['near']:.2f}, gain")
    assert cells["These labels alone, 190 steps"] == f"{ours['otoc_control']:.2f}"
