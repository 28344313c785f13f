import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from own_scan import POINTS, write_ascii

import otoc_lib
from otoc_lib.__main__ import _parser, main
from otoc_lib.config import parse_value
from otoc_lib.errors import OtocError

ROOT = Path(__file__).parents[1]


@pytest.mark.filterwarnings("error")  # none of the kit sets a parameter for nothing
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
    path = tmp_path / "p" / "x.yaml"
    path.parent.mkdir()
    path.write_text("profile: p\nexperiment: x\ndevice: cuda:3\n")
    assert main(["check-params", str(path)]) == 0
    path.write_text("profile: p\nexperiment: x\ndevice: banana\n")
    assert main(["check-params", str(path)]) == 2
    assert "'device' must be auto, cpu, cuda" in capsys.readouterr().err


def test_unpacking_says_what_is_there_the_second_time_too(tmp_path, capsys, monkeypatch):
    done = []
    monkeypatch.setattr("otoc_lib.datasets.bundled_areas.unpack", done.append)
    assert main(["rooms", "unpack", "--layout", "s3dis", str(tmp_path)]) == 0
    assert done == [tmp_path] and capsys.readouterr().out == f"{tmp_path}: holds the 41 bundled rooms\n"


def test_a_foreign_folder_is_not_overwritten_by_unpacking(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["rooms", "unpack", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


COMMANDS = ("rooms", "rooms unpack", "rooms film", "rooms example", "doctor", "prepare", "export-benchmark")
COMMANDS += ("score-benchmark", "export-weights", "snap-clicks", "compare", "check-params", "show-params", "run")
COMMANDS += ("status", "keep", "completion", "predict", "split-scans", "second-look")


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


def test_help_gives_every_command_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    listed = text[text.index("COMMAND\n") : text.index("\noptions")]
    lines = [line for line in re.sub(r"\n {20}(?=\S)", "  ", listed).splitlines()[1:] if line.strip()]
    assert [line.split()[0] for line in lines] == [
        *("run", "status", "keep", "doctor", "prepare", "predict", "export-benchmark", "score-benchmark"),
        *("export-weights", "snap-clicks", "second-look", "split-scans", "rooms", "compare", "check-params"),
        *("show-params", "completion"),
    ]
    assert all(len(line.split()) > 4 for line in lines)


def test_the_version_is_that_of_the_kit(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"otoc {otoc_lib.__version__}\n"


def test_the_command_is_installed_as_otoc():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"otoc": "otoc_lib.__main__:main"}


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["stauts"], "did you mean 'status'?"),
        (["rooms", "unpak", "x"], "did you mean 'unpack'?"),
        (["rooms", "unpack", "--layout", "scanet", "x"], "did you mean 'scannet'?"),
        (["completion", "bsh"], "did you mean 'bash'?"),
        (["zzz"], "choose from"),
    ],
)
def test_a_mistyped_word_is_met_with_the_one_that_was_meant(arguments, meant, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and meant in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "params/rooms/otco.yaml"], "did you mean params/rooms/otoc.yaml?"),
        (["run", "params/romos/otoc.yaml"], "did you mean params/rooms/otoc.yaml?"),
        (["check-params", "params/rooms/contrl.yaml"], "did you mean params/rooms/control.yaml?"),
        (["run", "params/rooms/otoc.yaml", "-p", "treshold=0.8"], "did you mean 'threshold'?"),
        (["run", "params/rooms/otoc.yaml", "-p", "method", "mean_teachr"], "did you mean 'mean_teacher'?"),
        (["run", "params/rooms/otoc.yaml", "-p", "seed", "many"], "-p seed: parameter 'seed' must be a whole number"),
        (["run", "params/rooms/otoc.yaml", "-p", "seed"], "write -p seed=VALUE"),
        (["run", "params/rooms/otoc.yaml", "-p", "seeds=[0, 1"], "-p seeds: '[0, 1' is no value"),
        (["run", "params/rooms/otoc.yaml", "--notebook", "selftrain"], "did you mean 03_self_train?"),
        (["run", "params/rooms/otoc.yaml", "--notebook", "0"], "no such notebook"),
        (["status", "romos"], "did you mean 'rooms'?"),
        (["run", ""], "'.' is no params file; give one, such as params/rooms/otoc.yaml"),
        (["run", "params/rooms"], "params/rooms: is a folder; give a params file"),
        (["run", "params/rooms/otoc.yaml", "-p", "seed=1", "-p", "seed=2"], "-p seed: is given twice"),
        (["run", "params/rooms/otoc.yaml", "-p", "extends=_base"], "-p extends: 'extends' is a line of a params file"),
        (["run", "params/rooms/otoc.yaml", "-p", "experiment=mine"], "-p experiment: results without a params file"),
        (["run", "params/rooms/otoc.yaml", "-p", "seed=010"], "-p seed: YAML reads '010' as 8; write that number"),
    ],
)
def test_mistyped_files_parameters_and_notebooks_too_before_anything_runs(arguments, meant, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    assert meant in capsys.readouterr().err


def test_an_experiment_of_another_name_than_its_file_is_told_by_the_check_too(tmp_path, capsys):
    path = tmp_path / "p" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("profile: p\nexperiment: otoc\n")
    assert main(["check-params", str(path)]) == 2
    assert "names the experiment p/otoc, so it would write over the runs of another file" in capsys.readouterr().err


def test_a_wrong_params_file_hides_no_other(tmp_path, capsys):
    files = [tmp_path / "p" / f"{name}.yaml" for name in "abc"]
    files[0].parent.mkdir()
    for path, line in zip(files, ("seed: -1", "seed: 1", "sead: 1"), strict=True):
        path.write_text(f"profile: p\nexperiment: {path.stem}\n{line}\n")
    assert main(["check-params", *map(str, files)]) == 2
    told = capsys.readouterr()
    assert "b.yaml: profile p, experiment b: all parameters are valid" in told.out
    assert all(words in told.err for words in ("a.yaml", "must be at least 0", "c.yaml", "did you mean 'seed'?"))


def test_views_are_a_number(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "runs/rooms/otoc", "scan.ply", "--out", "out", "--views", "x"])
    assert "argument --views: 'x' is no whole number from 1 to 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "own", "--picture", "own/room.ply"],
        ["export-weights", "runs/rooms/otoc", "own/room.ply"],
        ["export-benchmark", str(ROOT / "params/rooms/otoc.yaml"), "own/room.ply"],
        ["compare", "runs/a", "runs/b", "--out", "own/room.ply"],
        ["snap-clicks", "own", "picked.csv", "own/room.ply"],
        ["snap-clicks", "own", "picked.csv", "own/clicks.csv"],
        ["snap-clicks", "own", "picked.csv", "picked.csv", "--replace"],
        ["second-look", str(ROOT / "params/own/example.yaml"), "--without", "own/clicks.csv"],
        ["second-look", str(ROOT / "params/own/example.yaml"), "--without", "own/room.ply"],
    ],
)
def test_no_command_writes_over_what_it_did_not_make(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    write_ascii(tmp_path / "own" / "room.ply")
    (tmp_path / "own" / "clicks.csv").write_text("scene,point,x,y,z,class,object\n")
    (tmp_path / "picked.csv").write_text("scene,x,y,z,class\nroom,3,-2,0.5,floor\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and (Path(arguments[-1]).name in told or "picked.csv" in told)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_clicks_are_written_over_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ascii(tmp_path / "own" / "room.ply")
    (tmp_path / "picked.csv").write_text(f"scene,x,y,z,class\nroom,{','.join(map(str, POINTS[7]))},floor\n")
    (tmp_path / "clicks.csv").write_text("scene,point,x,y,z,class,object\n")
    assert main(["snap-clicks", "own", "picked.csv", "clicks.csv", "--replace"]) == 0
    assert (tmp_path / "clicks.csv").read_text().splitlines()[1].startswith("room,7,")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rooms", "example", "file"], "file"),
        (["doctor", "own", "--picture", "folder.png"], "folder.png: cannot be written, a folder has that name"),
        (
            ["doctor", "own", "--picture", "file/seen.png"],
            "file/seen.png: cannot be written, a file has the name of its",
        ),
        (["snap-clicks", "own", "picked.csv", "/proc/clicks.csv"], "/proc/clicks.csv: cannot be written"),
        (["run", str(ROOT / "params/smoke/otoc.yaml"), "-p", "runs_root=file"], "file/smoke: "),
    ],
)
def test_places_where_nothing_can_be_written_are_told_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    write_ascii(tmp_path / "own" / "room.ply")
    (tmp_path / "picked.csv").write_text(f"scene,x,y,z,class\nroom,{','.join(map(str, POINTS[7]))},floor\n")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    assert main(arguments) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ") and says in told
    assert (tmp_path / "file").read_text() == "mine"


def test_values_on_the_command_line_are_those_of_a_params_file():
    said = {"1": 1, "0.8": 0.8, "1e-3": 0.001, "true": True, "None": None, "null": None, "[val, test]": ["val", "test"]}
    assert {text: parse_value("name", text) for text in said} == said
    assert parse_value("name", "data/own") == "data/own"
    with pytest.raises(OtocError, match="a: b|mapping|of YAML"):
        parse_value("name", "{a: b}")
    with pytest.raises(OtocError, match="no value"):
        parse_value("name", "")


def test_a_warning_is_a_sentence(tmp_path):
    """Of the kit's own: no name of a class of Python, and no line of code."""
    (tmp_path / "scans").mkdir()
    points = "".join(f"{i % 40 / 20} {i // 40 / 20} 0\n" for i in range(1600))
    (tmp_path / "scans" / "room.xyz").write_text(points)
    (tmp_path / "picked.csv").write_text("scene,x,y,z,class\nroom,0.5,0.5,0,floor\n")
    command = [sys.executable, "-m", "otoc_lib", "snap-clicks", "scans", "picked.csv", "clicks.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert any("room.xyz: has no colours" in line for line in lines)
    assert all(line.startswith("warning: ") for line in lines), done.stderr


def test_help_names_every_value_in_capitals_or_by_its_choices():
    def commands(parser):
        yield parser
        for action in parser._actions:
            for child in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
                yield from commands(child)

    found = list(commands(_parser()))
    assert len(found) > 15
    for parser in found:
        assert parser.description.endswith(".") and len(parser.description) < 90
        for action in parser._actions:
            takes_value = action.nargs != 0 and not isinstance(action.choices, dict)
            if takes_value:
                assert action.help, (parser.prog, action.dest)
                assert action.metavar is not None or (action.option_strings and action.choices), (
                    parser.prog,
                    action.dest,
                )
                assert action.metavar in (None, action.metavar and action.metavar.upper()), (parser.prog, action.dest)
