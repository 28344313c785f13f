import subprocess
import sys
from pathlib import Path

import pytest

from otoc_lib.__main__ import main

ROOT = Path(__file__).parents[1]


def test_params_files_are_checked_without_running_anything(capsys):
    files = sorted(map(str, (ROOT / "params").glob("*/*.yaml")))
    assert main(["check-params", *files]) == 0
    extended = [file for file in files if Path(file).name.startswith("_")]
    out = capsys.readouterr().out
    assert out.count("all parameters are valid") == len(files) - len(extended) > 0
    assert out.count("holds lines that other files extend") == len(extended) > 0


def test_bad_input_gives_one_line_and_status_2(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("profile: p\nexperiment: x\nlearning_rate: 1e-3\n")
    assert main(["check-params", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path) in error and "learning_rate" in error and "1.0e-3" in error


def test_a_file_that_no_run_can_be_named_after_is_the_culprit(tmp_path, capsys):
    path = tmp_path / "p" / "control copy.yaml"
    path.parent.mkdir()
    path.write_text("profile: p\nexperiment: control\n")
    for command in ("check-params", "show-params"):
        assert main([command, str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path}: its name holds a blank") and "rename it" in error


def test_the_params_of_a_gpu_run_are_checked_on_any_machine(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("profile: p\nexperiment: x\ndevice: cuda:3\n")
    assert main(["check-params", str(path)]) == 0
    path.write_text("profile: p\nexperiment: x\ndevice: banana\n")
    assert main(["check-params", str(path)]) == 2
    assert "'device' must be auto, cpu, cuda" in capsys.readouterr().err


def test_a_foreign_folder_is_not_overwritten_by_unpacking(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["rooms", "unpack", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


COMMANDS = ("rooms", "rooms unpack", "rooms film", "rooms example", "doctor", "prepare", "export-benchmark")
COMMANDS += ("score-benchmark", "snap-clicks", "compare", "check-params")


@pytest.mark.parametrize("arguments", [[], *map(str.split, COMMANDS)])
def test_every_command_has_help(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0 and "usage" in capsys.readouterr().out


def test_folders_that_are_no_runs_are_not_compared(tmp_path, capsys):
    assert main(["compare", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert str(tmp_path) in capsys.readouterr().err and not (tmp_path / "page.html").exists()


def test_the_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "otoc_lib", "check-params", "nowhere.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "nowhere.yaml" in done.stderr and "Traceback" not in done.stderr
