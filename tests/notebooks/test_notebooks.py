import ast
import csv
import json
import shutil
import statistics
import subprocess
from pathlib import Path

import papermill
import pytest
import yaml
from tiny_project import environment

from otoc_lib.__main__ import main
from otoc_lib.config import read_params
from otoc_lib.notebooks import declaration
from otoc_lib.progress import PLAN, seconds_left, unfinished

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ("01_annotate", "02_baseline", "03_self_train", "04_ablate", "05_tsne", "06_report")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code(path):
    return ["".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def snakemake(project, *arguments):
    command = ["snakemake", "--cores", "2", "--config", "profile=tiny", "at_once=2", "--nolock", *arguments]
    return subprocess.run(
        command, cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_six_notebooks_are_there():
    assert tuple(path.stem for path in NOTEBOOKS) == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path):
    notebook = read(path)
    cells = notebook["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith(f"# {int(path.stem[:2])}. ")
    assert "Reproduces" in "".join(cells[0]["source"]) or path.stem == "06_report"
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
    assert len({cell["id"] for cell in cells}) == len(cells)

    sources = code(path)
    assert sources[0] == 'profile = "smoke"\nexperiment = "otoc"'
    tagged = [place for place, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1 and "".join(cells[tagged[0] - 1]["source"]) == sources[0]
    assert "".join(cells[tagged[0]]["source"]) == declaration(), "parameters have changed; make lint renews the cell"
    assert "config = load_notebook_config(globals())" in sources[1] and "versions()" in sources[1]
    assert statistics.median(source.count("\n") + 1 for source in sources) <= 8
    for source in sources:
        assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.Lambda))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_warns_of_no_name_but_a_wrong_one(path, tmp_path, caplog):
    """Of all params files together, parameters of methods and ``extends`` included."""
    parameters = {"extends": "_base", "teacher_decay": 0.5}
    for file in ROOT.glob("params/*/*.yaml"):
        parameters |= read_params(file)
    papermill.execute_notebook(path, tmp_path / "out.ipynb", parameters, prepare_only=True)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    papermill.execute_notebook(path, tmp_path / "out.ipynb", {**parameters, "unet_widht": 8}, prepare_only=True)
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == ["Passed unknown parameter: unet_widht"]


def test_papermill_injects_behind_the_first_cell(tmp_path):
    made = papermill.execute_notebook(NOTEBOOKS[0], tmp_path / "out.ipynb", {"seed": 3}, prepare_only=True)
    tags = [cell.metadata.get("tags", []) for cell in made.cells]
    assert tags.index(["injected-parameters"]) == tags.index(["parameters"]) + 1 == 3
    assert made.cells[3].source.splitlines()[-1] == "seed = 3"


@pytest.fixture(scope="module")
def finished(project):
    """The project after ``snakemake`` has run every notebook."""
    run = snakemake(project, "--quiet", "all")
    assert run.returncode == 0, run.stdout
    return project, run.stdout


@pytest.mark.slow
def test_the_snakefile_runs_every_notebook(finished):
    project, output = finished
    executed = sorted((project / "reports/tiny/notebooks").glob("*.ipynb"))
    assert [path.stem for path in executed] == [
        *("01_annotate.otoc", "01_annotate.points20", "01_annotate.s3dis_otoc3"),
        *("02_baseline.otoc", "02_baseline.points20", "02_baseline.s3dis_otoc3", "02_baseline.supervised"),
        *("03_self_train.otoc", "03_self_train.points20", "03_self_train.s3dis_otoc3"),
        *("04_ablate.unet", "05_tsne.otoc", "06_report.otoc"),
    ]
    for path in executed:
        outputs = [output for cell in read(path)["cells"] for output in cell.get("outputs", [])]
        assert outputs and all(output["output_type"] != "error" for output in outputs)
        assert path.stat().st_size < 1_500_000
        interactive = any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)
        assert interactive == (path.stem == "05_tsne.otoc")
    # Every job says what is left, and the kernel's bars reach the terminal, each with the name of its experiment.
    assert " · 13 notebooks left" in output and "06_report otoc · 1 notebook left" in output
    assert "otoc · UNet: 100%" in output and "without encryption" not in output


@pytest.mark.slow
def test_what_a_run_leaves_is_what_was_planned(finished):
    """Progress counts the plan; so the plan must be neither more nor less than what lies there at the end."""
    runs = finished[0] / "runs" / "tiny"
    plan = json.loads((runs / PLAN).read_text(encoding="utf-8"))
    manifests = {path.parent: read(path) for path in runs.glob("*/*/manifest.json")}
    made = {(path.parent.name, path.name): m.get("steps", 0) for path, m in manifests.items() if "key" in m}
    own = {key: steps for key, steps in made.items() if "reused_from" not in manifests[runs / key[0] / key[1]]}
    planned = [((job["run"], stage["stage"]), stage["steps"]) for job in plan for stage in job["makes"]]
    assert len(dict(planned)) == len(planned) and dict(planned) == own
    found = {(run, stage["stage"]) for job in plan for stage in job["makes"] for run in stage["runs"]}
    assert found == made.keys()  # those that are reused, too
    assert unfinished(runs, plan) == [] and seconds_left(runs, plan) == 0
    reused = {key for key in made if key not in own}
    assert ("unet", "unet_1") in reused and ("points20", "unet_1") in own and ("s3dis_otoc3", "unet_1") in own
    assert [run for run, stage in made if stage == "tsne"] == ["otoc"]
    assert {job["notebook"] for job in plan} == set(NAMES)


@pytest.mark.slow
def test_seeds_repeat_every_experiment_and_the_report_says_how_many(finished, tmp_path):
    """From copies of what is finished, so that only the second seed is trained."""
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    for path in project.glob("params/tiny/[!_]*.yaml"):
        if path.stem not in ("otoc", "supervised"):
            path.unlink()
    run = snakemake(project, "--quiet", "all", "--config", "profile=tiny", "at_once=2", "seeds=0,1")
    assert run.returncode == 0, run.stdout
    assert {path.parent.name for path in project.glob("runs/tiny/*/03_self_train.done")} >= {"otoc", "otoc_seed1"}
    assert {path.name for path in (project / "reports/tiny/notebooks").glob("02_baseline.supervised*")} == {
        *("02_baseline.supervised.ipynb", "02_baseline.supervised_seed1.ipynb"),
    }
    with open(project / "reports/tiny/tables/table2.csv", newline="", encoding="utf-8") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    for row, run_name, stage, mode in (
        ("supervised", "supervised", "evaluate_baseline", "point"),
        ("otoc_full", "otoc", "evaluate_2", "full"),
    ):
        both = [read(project / f"runs/tiny/{run_name}{end}/{stage}/metrics.json") for end in ("", "_seed1")]
        values = [100 * metrics["splits"]["val"]["modes"][mode]["miou"] for metrics in both]
        assert rows[row]["seeds"] == "2" and float(rows[row]["ours"]) == pytest.approx(
            statistics.mean(values), abs=0.006
        )
        assert float(rows[row]["ours_std"]) == pytest.approx(statistics.stdev(values), abs=0.006)
    page = (project / "reports/tiny/index.html").read_text(encoding="utf-8")
    assert "±" in page and "2 seeds" in page


@pytest.mark.slow
def test_the_report_holds_what_was_run(finished):
    report = finished[0] / "reports" / "tiny"
    with open(report / "tables" / "table2.csv", newline="", encoding="utf-8") as file:
        ours = {row["row"]: row["ours"] for row in csv.DictReader(file)}
    assert ours["otoc_control"] == "not run"
    assert all(0 <= float(ours[row]) <= 100 for row in ("supervised", "otoc_baseline", "otoc_dagger", "otoc_full"))
    with open(report / "tables" / "table3.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["unet"] == "not run" for row in rows] == [False, False, True, True, True]
    assert float(ours["data_efficient_full"]) >= 0 and ours["data_efficient_control"] == "not run"
    with open(report / "tables" / "table4.csv", newline="", encoding="utf-8") as file:
        areas = {row["row"]: row for row in csv.DictReader(file)}
    assert all(0 <= float(areas[f"otoc3_{row}"]["ours"]) <= 100 for row in ("baseline", "dagger", "full"))
    assert areas["otoc_full"]["ours"] == "not run" and areas["otoc3_full"]["rooms"] == "1"
    page = (report / "index.html").read_text(encoding="utf-8")
    assert 'href="notebooks/04_ablate.unet.ipynb"' in page and "../../params/tiny/otoc.yaml" in page
    assert {f"figure{i}.png" for i in (1, 2, 4, 5, 6)} <= {path.name for path in (report / "figures").iterdir()}


@pytest.mark.slow
def test_its_predictions_are_exported_and_scored_as_the_benchmark_does(finished, rooms, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(finished[0])
    assert main(["export-benchmark", "params/tiny/otoc.yaml", str(tmp_path / "out.zip"), "--split", "val"]) == 0
    for scene in rooms[2:]:
        ids = scene.label_set.to_file_ids(scene.labels)
        (tmp_path / f"{scene.name}.txt").write_text("".join(f"{number}\n" for number in ids))
    capsys.readouterr()
    assert main(["score-benchmark", str(tmp_path / "out.zip"), str(tmp_path)]) == 0
    scored = float(capsys.readouterr().out.split()[-1])
    metrics = json.loads(Path("runs/tiny/otoc/evaluate_2/metrics.json").read_text())
    assert scored == pytest.approx(100 * metrics["splits"]["val"]["modes"]["full"]["miou"], abs=0.006)

    assert main(["export-benchmark", "params/tiny/otoc.yaml", str(tmp_path / "no.zip")]) == 2
    assert "'test'" in capsys.readouterr().err and not (tmp_path / "no.zip").exists()
    assert main(["export-benchmark", "params/tiny/unet.yaml", str(tmp_path / "no.zip"), "--split", "val"]) == 2
    assert "mode 'full'" in capsys.readouterr().err


def test_the_doctor_and_the_cache_are_commands(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["doctor", "data/areas"]) == 0 and main(["doctor", "data/rooms"]) == 0
    assert main(["prepare", "params/tiny/otoc.yaml", "params/tiny/s3dis_otoc3.yaml", "--workers", "1"]) == 0
    shutil.copytree("data/areas", tmp_path / "areas")
    broken = next((tmp_path / "areas").glob("Area_5/office_1/Annotations/*.txt"))
    broken.write_bytes(broken.read_bytes()[:-9] + b"1.0 x\n")
    capsys.readouterr()
    assert main(["doctor", str(tmp_path / "areas")]) == 1
    assert broken.name in capsys.readouterr().out


@pytest.mark.slow
def test_a_second_call_does_nothing_and_says_so(finished):
    run = snakemake(finished[0], "--quiet", "host")
    assert run.returncode == 0 and "Nothing to be done" in run.stdout


@pytest.mark.slow
def test_jobs_whose_stages_are_gone_or_damaged_run_again_and_mend_them(finished):
    project = finished[0]
    shutil.rmtree(project / "runs/tiny/points20/evaluate_1")
    (project / "runs/tiny/otoc/tsne/tsne.json").write_text("{}")
    run = snakemake(project, "--dry-run", "--quiet", "host", "reason")
    jobs = {line.split()[0]: int(line.split()[1]) for line in run.stdout.splitlines() if line[:2] in ("03", "05", "06")}
    assert jobs == {"03_self_train": 1, "05_tsne": 1, "06_report": 1}
    assert "to run again: 03_self_train points20: evaluate_1 is missing" in run.stdout
    assert snakemake(project, "--quiet", "all").returncode == 0
    assert read(project / "runs/tiny/otoc/tsne/tsne.json")["silhouette"]
    assert "Nothing to be done" in snakemake(project, "--dry-run", "--quiet", "host").stdout


@pytest.mark.slow
def test_a_changed_params_file_runs_its_own_notebooks_again(finished):
    project = finished[0]
    path = project / "params/tiny/unet.yaml"
    path.write_text(path.read_text() + "views: 1\n")
    run = snakemake(project, "--dry-run", "--quiet", "host", "reason")
    jobs = {line.split()[0]: int(line.split()[1]) for line in run.stdout.splitlines() if line[:2] in ("04", "05", "06")}
    assert jobs == {"04_ablate": 1, "06_report": 1}


@pytest.mark.slow
def test_frames_are_made_for_the_jobs_that_need_them_alone(project, tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("runs", "reports", ".snakemake"))
    (copy / "data" / "rooms_s3dis").mkdir()
    (copy / "data" / "rooms_s3dis" / "index.json").write_text("{}")

    def jobs():
        run = snakemake(copy, "--dry-run", "--quiet", "host")
        assert run.returncode == 0, run.stdout
        return [line for line in run.stdout.splitlines() if "film" in line or "_frames.done" in line]

    assert jobs() == []
    path = copy / "params" / "tiny" / "s3dis_seen.yaml"
    values = {"extends": "_base", "profile": "tiny", "experiment": path.stem, "dataset": "s3dis", "method": "control"}
    values |= {"source": "images", "images_root": "data/s3dis_frames", "data_root": "data/areas"}
    path.write_text(yaml.safe_dump(values))
    found = "\n".join(jobs())
    assert "rule film:" in found and "input: runs/tiny/s3dis_frames.done, notebooks/02_baseline.ipynb" in found
    assert found.count("input: runs/tiny/s3dis_frames.done") == 1


def test_an_unknown_profile_is_named(project):
    run = snakemake(project, "--quiet", "all", "--config", "profile=nowhere", "at_once=2")
    assert run.returncode != 0 and "params/nowhere/otoc.yaml does not exist" in run.stdout


@pytest.mark.slow
def test_by_hand_from_the_folder_of_the_notebooks(project, tmp_path):
    """Papermill alone, in the working directory that JupyterLab gives a notebook."""
    output = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        project / "notebooks/01_annotate.ipynb",
        output,
        parameters={"profile": "tiny", "experiment": "otoc", "clicks_per_object": 3},
        cwd=project / "notebooks",
        progress_bar=False,
    )
    assert "| here | " in json.dumps(read(output))


@pytest.mark.slow
def test_a_misspelt_parameter_stops_the_notebook_at_once(project, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'unet_width'"):
        papermill.execute_notebook(
            project / "notebooks/02_baseline.ipynb",
            tmp_path / "out.ipynb",
            parameters={"profile": "tiny", "experiment": "misspelt", "unet_widht": 8},
            cwd=project,
            progress_bar=False,
        )
    assert (tmp_path / "out.ipynb").is_file()  # with the traceback
    assert not (project / "runs/tiny/misspelt").exists()


@pytest.mark.slow
def test_notebook_04_by_hand_runs_the_variants_and_ends_in_words(project, tmp_path):
    """With nothing but its first cell, which names the toy profile; here that is tinier still."""
    root = tmp_path / "project"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("runs", "reports", "params", ".snakemake"))
    (root / "params" / "smoke").mkdir(parents=True)
    shutil.copy(project / "params/tiny/_base.yaml", root / "params/smoke")
    for path in (ROOT / "params/smoke").glob("[!_]*.yaml"):
        shutil.copy(path, root / "params/smoke")
    output = tmp_path / "out.ipynb"
    papermill.execute_notebook(root / "notebooks/04_ablate.ipynb", output, cwd=root, progress_bar=False)
    assert {path.parent.name for path in root.glob("runs/smoke/*/evaluate_2")} == {
        *("otoc", "control", "unet", "unet_gp", "released"),
    }
    said = {cell["id"]: json.dumps(cell["outputs"]) for cell in read(output)["cells"] if "outputs" in cell}
    answers = ("cell-11", "cell-14", "cell-17", "cell-20")
    assert all("mIoU" in said[cell] and "not run" not in said[cell] for cell in answers)
    assert all("image/png" in said[cell] for cell in ("cell-12", "cell-15", "cell-18", "cell-21"))
    conclusion = said["cell-23"]
    assert "self-training (" in conclusion and "the whole method (" in conclusion and "Not run" not in conclusion
