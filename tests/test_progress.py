"""What is left of a plan, by the seconds of what is finished; and the relay of bars."""

import json
import os
import threading

import pytest

from otoc_lib import progress


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs" / "p"


def plan(*jobs):
    """A plan of jobs (notebook, run, {stage: steps}); a stage may name the runs that need it: (stage, run, ...)."""
    made = []
    for notebook, run, stages in jobs:
        keys = [(key, run) if isinstance(key, str) else key for key in stages]
        makes = [{"stage": k[0], "runs": list(k[1:]), "steps": s} for k, s in zip(keys, stages.values(), strict=True)]
        made.append({"notebook": notebook, "run": run, "makes": makes})
    return made


def finish(runs, run, stage, seconds, **manifest):
    folder = runs / run / stage
    folder.mkdir(parents=True)
    text = json.dumps({"stage": stage, "key": "k", "seconds": seconds, "steps": 0, "files": {}, **manifest})
    (folder / "manifest.json").write_text(text)


def test_unknown_before_the_first_training(runs):
    assert progress.seconds_left(runs, plan(("02_baseline", "otoc", {"clicks": 0, "unet_1": 100}))) is None
    assert progress.seconds_left(runs, plan(("06_report", "otoc", {}))) == 0.0


def test_a_damaged_stage_is_still_to_do(runs):
    finish(runs, "otoc", "clicks", 1.0)
    finish(runs, "otoc", "unet_1", 50.0, steps=100)
    (runs / "otoc" / "unet_1" / "manifest.json").write_text("{")
    jobs = plan(("02_baseline", "otoc", {"clicks": 0, "unet_1": 100}))
    assert [stage["stage"] for stage in progress.unfinished(runs, jobs)] == ["unet_1"]
    assert progress.seconds_left(runs, jobs) is None


def test_applies_measured_rates_to_what_is_missing(runs):
    finish(runs, "unet", "clicks", 1.0)
    finish(runs, "unet", "unet_1", 50.0, steps=100)  # half a second a step
    finish(runs, "unet", "evaluate_1", 3.0)
    jobs = plan(
        (
            "04_ablate",
            "unet",
            {"clicks": 0, "unet_1": 100, "evaluate_1": 0, "unet_2": 40, "evaluate_2": 0, "pseudo_1": 0},
        ),
        ("03_self_train", "control", {"clicks": 0, "unet_2": 40, "evaluate_1": 0, "evaluate_2": 0}),
    )
    # unet: 40 steps, evaluate_2, pseudo labels of unknown cost; control: the clicks, 40 steps, two evaluations.
    assert progress.seconds_left(runs, jobs) == pytest.approx((20 + 3) + (1 + 20 + 6))


def test_a_network_of_another_kind_is_counted_by_the_steps_of_those_that_are_known(runs):
    finish(runs, "otoc", "unet_1", 50.0, steps=100)
    assert progress.seconds_left(runs, plan(("03", "otoc", {"relation_1": 60}))) == pytest.approx(30)
    finish(runs, "otoc", "relation_1", 60.0, steps=60)
    assert progress.seconds_left(runs, plan(("03", "otoc", {"relation_2": 10}))) == pytest.approx(10)


def test_a_shared_stage_is_finished_wherever_it_was_made_and_counts_once(runs):
    jobs = plan(("02_baseline", "otoc", {("unet_1", "otoc", "control"): 100}), ("03", "control", {"unet_2": 40}))
    finish(runs, "control", "unet_1", 50.0, steps=100)
    assert [stage["stage"] for stage in progress.unfinished(runs, jobs)] == ["unet_2"]
    assert progress.seconds_left(runs, jobs) == pytest.approx(20)
    other = runs / "otoc" / "unet_1"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text('{"stage": "unet_1", "key": "k", "reused_from": "control"}')
    assert progress.seconds_left(runs, jobs) == pytest.approx(20)


def test_the_line(runs, capsys):
    finish(runs, "other", "unet_1", 50.0, steps=100)
    jobs = plan(("02_baseline", "supervised", {"unet_1": 600}), ("06_report", "otoc", {}))
    (runs / progress.PLAN).write_text(json.dumps(jobs))
    (runs / "otoc").mkdir()
    (runs / "otoc" / "06_report.done").touch()
    progress.main(["left", "02_baseline", str(runs)])
    assert capsys.readouterr().out == "02_baseline · 1 notebook left · about 5 min of training and evaluation\n"
    assert progress.line("x", 3, None).startswith("x · 3 notebooks left · time left is known once")


def test_two_notebooks_at_once_take_half_the_time(runs, capsys):
    finish(runs, "other", "unet_1", 50.0, steps=100)
    jobs = plan(("02_baseline", "a", {"unet_1": 600}), ("02_baseline", "b", {"unet_1": 600}))
    (runs / progress.PLAN).write_text(json.dumps(jobs))
    progress.main(["left", "02_baseline", str(runs), "--at-once", "2"])
    assert "2 notebooks left · about 5 min" in capsys.readouterr().out


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0) as end:
        yield reading, end


def test_the_relay_names_lines_and_thins_bars(pipe):
    reading, writing = pipe
    writing.write("UNet:  1%|▏ |\rUNet:  2%|▏ |\rUNet:  3%|▎ |\rUNet: 100%|██|\na warning\n\n".encode())
    writing.write(b"no end")
    writing.close()
    assert list(progress.relay(reading, "otoc")) == [
        "otoc · UNet:  1%|▏ |",
        "otoc · UNet: 100%|██|",
        "otoc · a warning",
        "otoc · no end",
    ]


def test_the_relay_speaks_before_the_end_and_joins_split_characters(pipe):
    reading, writing = pipe
    lines = progress.relay(reading, "otoc", seconds=0.0)
    bar = "UNet: |█|\r".encode()
    writing.write(bar[:8])  # within the three bytes of the block
    threading.Timer(0.2, writing.write, [bar[8:]]).start()
    assert next(lines) == "otoc · UNet: |█|"
    writing.write(b"\r1\r2\r")
    assert [next(lines), next(lines)] == ["otoc · 1", "otoc · 2"]
