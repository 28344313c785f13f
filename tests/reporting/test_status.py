"""``otoc status``: what is done, running, failed, stale or waiting, on real stages that write one small file."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_current import make, write, write_data  # noqa: E402
from test_lock import holder  # noqa: E402

from otoc_lib.__main__ import main  # noqa: E402
from otoc_lib.reporting import status  # noqa: E402

STAGES = ("clicks", "unet_1", "evaluate_baseline", "relation_1", "evaluate_1", "pseudo_1")


@pytest.fixture
def project(tmp_path, monkeypatch):
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    write("otoc")
    return tmp_path


def states(profile="p"):
    """Run and stage -> its state, and why."""
    return {
        (found["run"], found["stage"]): (found["state"], found["why"])
        for found in status.profile_status(profile)["stages"]
    }


def test_before_anything_is_run_everything_waits(project, capsys):
    assert main(["status", "p"]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()[1:-2]]
    assert [row[-4] for row in rows][:6] == list(STAGES) and rows[0] == ["otoc", "clicks", "waiting", "-", "-"]
    assert text.endswith(f"p: {len(rows)} waiting\n") and "tsne" in text


def test_what_is_finished_is_done_for_every_seed(project):
    make("otoc")
    make("otoc", seed=1)
    found = states()
    assert {state for state, _ in found.values()} == {"done"}
    assert ("otoc", "tsne") in found and ("otoc_seed1", "evaluate_2") in found
    assert ("otoc_seed1", "tsne") not in found  # the profile's one t-SNE is of the first seed
    assert all(0 <= row["seconds"] < 3600 for row in status.profile_status("p")["stages"])


def test_a_stage_whose_lock_is_held_is_running(project):
    locks = project / "runs/p/.locks"
    locks.mkdir(parents=True)
    (project / "runs/p/otoc/unet_1.part").mkdir(parents=True)
    process = holder(locks / "otoc.unet_1")
    try:
        assert states()["otoc", "unet_1"] == ("running", states()["otoc", "unet_1"][1])
        assert f"by process {process.pid} on this machine" in states()["otoc", "unet_1"][1]
    finally:
        process.kill()
        process.communicate()
    assert states()["otoc", "unet_1"] == ("failed", "stopped on the way")


def test_a_failed_notebook_says_why_at_the_stage_that_it_did_not_reach(project):
    path = project / "reports/p/notebooks/02_baseline.otoc.ipynb"
    path.parent.mkdir(parents=True)
    error = {"output_type": "error", "ename": "OtocError", "evalue": "data/rooms: gone", "traceback": []}
    path.write_text(json.dumps({"cells": [{"outputs": []}, {"outputs": [error]}]}))
    found = states()
    assert found["otoc", "unet_1"] == ("failed", "data/rooms: gone")
    assert found["otoc", "evaluate_baseline"] == found["otoc", "relation_1"] == ("waiting", "")
    path.write_text("{")  # no notebook
    assert states()["otoc", "unet_1"] == ("waiting", "")
    make("otoc")
    path.write_text(json.dumps({"cells": [{"outputs": [error]}]}))
    assert states()["otoc", "unet_1"] == ("done", "")  # whatever an earlier notebook stopped with


def test_what_the_params_file_would_not_give_any_more_is_stale_with_the_reason(project, capsys):
    make("otoc")
    write("otoc", views=3)
    found = states()
    assert found["otoc", "unet_1"] == ("done", "")
    assert found["otoc", "evaluate_1"] == ("stale", "views was 1 and is 3")
    assert main(["status", "p"]) == 0
    text = capsys.readouterr().out
    assert "    views was 1 and is 3\n" in text and max(map(len, text.splitlines())) <= status.WIDTH


def test_a_damaged_stage_is_told(project):
    make("otoc")
    (project / "runs/p/otoc/evaluate_1/manifest.json").write_text("{")
    state, why = states()["otoc", "evaluate_1"]
    assert state == "failed" and "damaged" in why


def test_orphaned_stages_and_wrong_files_are_told(project, capsys):
    write("control")
    make("control")
    (project / "params/p/control.yaml").unlink()
    (project / "params/p/wrong.yaml").write_text("profile: p\nexperiment: wrong\nvoxel_sise: 1\n")
    found = states()
    assert found["control", "clicks"] == ("stale", "params/p/control.yaml is missing")
    assert main(["status", "p"]) == 0
    assert "did you mean 'voxel_size'?" in " ".join(capsys.readouterr().out.split())


def test_json_is_for_programs(project, capsys):
    make("otoc")
    assert main(["status", "p", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(found)) and found["profile"] == "p" and found["wrong"] == {}
    assert found["stages"][0].keys() == {
        *("experiment", "seed", "run", "stage", "state", "seconds", "metric", "why"),
    }
    assert {row["state"] for row in found["stages"]} == {"done"}


def test_the_last_metric_is_what_the_stage_measured(results):
    evaluation = results.last_evaluation("otoc")
    measured = results.measure_stage("otoc", evaluation, "full")
    found = status._metric(results.find("otoc", evaluation))
    assert found == {"mIoU": pytest.approx(measured.by_seed[0]), "mode": "full"}
    assert status._shown_metric({"mIoU": 77.24, "mode": "full"}) == "mIoU 77.2 (full)"
    history = results.history("otoc", "unet_1")
    assert status._metric(results.find("otoc", "unet_1")) == {"loss": history["loss"][-1]}
    assert status._shown_metric({"loss": 0.5}) == "loss 0.500"
    covered = results.statistics("otoc", "clicks")["covered_percent"].by_seed[0]
    assert status._metric(results.find("otoc", "clicks")) == {"labelled": covered}


def test_ages_are_short():
    assert [status._shown_age(age) for age in (None, 5, 61, 7300, 90000)] == ["-", "5 s", "1 min", "2 h", "1 d"]
