import json
import os
import threading

import pytest

from otoc_lib import progress
from otoc_lib.config import Config

STEPS = {"unet_steps": 100, "unet_steps_later": 40, "relation_steps": 60, "relation_steps_later": 20}


def config(experiment, **changes):
    return Config(profile="p", experiment=experiment, self_train_iterations=2, **{**STEPS, **changes})


def finish(runs, experiment, stage, seconds, **manifest):
    folder = runs / "p" / experiment / stage
    folder.mkdir(parents=True)
    text = json.dumps({"stage": stage, "key": "k", "seconds": seconds, "parameters": {}, **manifest})
    (folder / "manifest.json").write_text(text)


def test_plans_what_each_variant_runs():
    assert progress.planned_stages(config("supervised", source="all", variant="control")) == {
        "clicks": 0,
        "unet_1": 100,
        "evaluate_baseline": 0,
    }
    full = progress.planned_stages(config("otoc"))
    assert full["unet_2"] == 40 and full["relation_1"] == 60 and full["pseudo_2"] == 0 and "tsne" in full
    control = progress.planned_stages(config("control", variant="control"))
    assert set(control) == {"clicks", "unet_1", "unet_2", "evaluate_1", "evaluate_2"}


def test_unknown_before_the_first_training(tmp_path):
    assert progress.seconds_left(tmp_path, [config("otoc")]) is None


def test_applies_measured_rates_to_what_is_missing(tmp_path):
    experiments = [config("unet", variant="unet"), config("control", variant="control")]
    finish(tmp_path, "unet", "clicks", 1.0)
    finish(tmp_path, "unet", "unet_1", 50.0, parameters={"unet_steps": 100})  # half a second a step
    finish(tmp_path, "unet", "evaluate_1", 3.0)
    # unet: 40 steps, evaluate_2, two pseudo labels of unknown cost; control: the clicks, 40 steps, two evaluations.
    # The control's first U-Net is the shared one.
    assert progress.seconds_left(tmp_path, experiments) == pytest.approx((20 + 3) + (1 + 20 + 6))


def test_stages_taken_from_another_experiment_count_as_finished(tmp_path):
    finish(tmp_path, "otoc", "unet_1", 50.0, parameters={"unet_steps": 100})
    other = tmp_path / "p" / "control" / "unet_1"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text('{"stage": "unet_1", "key": "k", "reused_from": "otoc"}')
    assert progress.seconds_left(tmp_path, [config("control", variant="control")]) == pytest.approx(20)


def test_the_line(tmp_path, monkeypatch, capsys):
    params = tmp_path / "supervised.yaml"
    params.write_text("profile: p\nexperiment: supervised\nsource: all\nvariant: control\nunet_steps: 600\n")
    finish(tmp_path / "runs", "other", "unet_1", 50.0, parameters={"unet_steps": 100})
    done = [tmp_path / "a.done", tmp_path / "b.done"]
    done[0].touch()
    places = ["--runs", tmp_path / "runs", "--params", params, "--done", *done]
    progress.main(["left", "02_baseline", *map(str, places)])
    assert capsys.readouterr().out == "02_baseline · 1 notebook left · about 5 min of training and evaluation\n"
    assert progress.line("x", 3, None).startswith("x · 3 notebooks left · time left is known once")


def test_two_notebooks_at_once_take_half_the_time(tmp_path, capsys):
    params = tmp_path / "supervised.yaml"
    params.write_text("profile: p\nexperiment: supervised\nsource: all\nvariant: control\nunet_steps: 600\n")
    finish(tmp_path / "runs", "other", "unet_1", 50.0, parameters={"unet_steps": 100})
    places = ["--runs", tmp_path / "runs", "--params", params, "--done", tmp_path / "a.done", tmp_path / "b.done"]
    progress.main(["left", "x", "--at-once", "2", *map(str, places)])
    assert capsys.readouterr().out == "x · 2 notebooks left · about 2 min of training and evaluation\n"


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0) as end:
        yield reading, end


def test_the_relay_names_lines_and_thins_bars(pipe):
    reading, writing = pipe
    writing.write("UNet:  1%|▏ |\rUNet:  2%|▏ |\rUNet:  3%|▎ |\rUNet: 100%|██|\na warning\n\n".encode())
    writing.write(b"[IPKernelApp] running over TCP without encryption\nno end")
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
