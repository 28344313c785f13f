"""The curves of benchmarks/convergence.py: files of runs, means over seeds, seconds to a goal, and the figure."""

from dataclasses import replace

import numpy as np
import pytest

from otoc_lib.reporting import figures
from otoc_lib.reporting.convergence import CPU, GOALS, Run, convergence_curve, read_runs, seconds_to, write_runs

RUNS = [
    Run("before", "a", "clicks", 0, 100, 10.0, 40.0, 50.0),
    Run("before", "a", "clicks", 1, 100, 14.0, 44.0, 54.0),
    Run("before", "b", "clicks", 0, 200, 24.0, 66.0, 70.0),
    Run("now", "c", "every point", 0, 50, 6.0, 80.0, 88.5),
]


def test_runs_come_back_from_their_file(tmp_path):
    assert read_runs(tmp_path / "runs.csv") == []
    write_runs(tmp_path / "runs.csv", RUNS)
    assert read_runs(tmp_path / "runs.csv") == RUNS


def test_runs_say_where_they_were_trained_and_files_of_before_are_of_the_cpu(tmp_path):
    path = tmp_path / "runs.csv"
    write_runs(path, [RUNS[0], replace(RUNS[0], device="NVIDIA X1")])
    assert [run.device for run in read_runs(path)] == [CPU, "NVIDIA X1"]
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()))
    assert read_runs(path) == [RUNS[0], RUNS[0]]


def test_a_curve_is_the_mean_over_seeds_by_length():
    seconds, scores = convergence_curve(RUNS[:3][::-1])
    assert seconds.tolist() == [12, 24] and scores.tolist() == [[42, 52], [66, 70]]
    seconds, scores = convergence_curve([])
    assert seconds.shape == (0,) and scores.shape == (0, 2)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[42, 52], [66, 70]], 12 + 12 * max(18 / 24, 8 / 18)),  # half-way on points 60, on super-voxels 60
        ([[42, 61], [66, 70]], 12 + 12 * 18 / 24),
        ([[61, 52], [62, 60]], 24),
        ([[61, 63], [66, 70]], 12),  # from the first point on
        ([[42, 52], [66, 59]], None),
        ([[42, 52], [59, 70]], None),
    ],
)
def test_seconds_to_both_goals_lie_on_the_lines_between_points(scores, expected):
    found = seconds_to(np.array([12.0, 24.0]), np.array(scores, dtype=float), (60, 60))
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_curve_that_falls_again_counts_from_where_it_first_reached_the_goal():
    scores = np.array([[50, 70], [70, 70], [50, 70], [80, 70]], dtype=float)
    assert seconds_to(np.array([1.0, 2.0, 3.0, 4.0]), scores, (60, 60)) == pytest.approx(1.5)


def test_the_figure_has_a_panel_for_labels_and_judging_a_line_a_recipe_and_a_dot_a_run():
    figure = figures.convergence(RUNS)
    assert len(figure.axes) == 2 * len(GOALS)
    for axes, judged in zip(figure.axes[:2], ("points", "supervoxels"), strict=True):
        line, dots, *_ = axes.lines
        assert line.get_label() == "before" and line.get_xdata().tolist() == [12, 24]
        assert list(dots.get_ydata()) == [getattr(run, judged) for run in RUNS[:3]]
        assert axes.lines[-1].get_ydata()[0] == GOALS["clicks"][0 if judged == "points" else 1]
    assert {axes.get_xlabel() for axes in figure.axes} == {"seconds of one thread"}
    of_gpu = figures.convergence([replace(run, device="NVIDIA X1") for run in RUNS])
    assert {axes.get_xlabel() for axes in of_gpu.axes} == {"seconds of NVIDIA X1"}
    assert figures.convergence(RUNS[3:]).axes[0].lines[0].get_color() == figure.axes[0].lines[2].get_color()
