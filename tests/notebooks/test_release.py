"""A finished run as a file: what is in it, and that unpacked elsewhere it is the run again."""

import hashlib
import json
import os
import shutil
import subprocess
import zipfile

import pytest
import torch
import yaml
from safetensors.torch import load_file

from otoc_lib import release
from otoc_lib.__main__ import main
from otoc_lib.config import load_config
from otoc_lib.errors import OtocError
from otoc_lib.methods.stages import load_scenes, run_method
from otoc_lib.models.build import new_unet
from otoc_lib.models.weights import initial_state
from otoc_lib.reporting.runs import read_json
from otoc_lib.store import find_stage, stages_in

PARAMS = "params/tiny/otoc.yaml"
TRAINED = ["relation_1", "relation_2", "unet_1", "unet_2"]


@pytest.fixture(scope="module")
def checkout(project, tmp_path_factory):
    """A project of its own, with a finished run."""
    root = tmp_path_factory.mktemp("release") / "checkout"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("runs", "reports"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        config = load_config(PARAMS)
        list(run_method(config, load_scenes(config)))
    return root


@pytest.fixture
def inside(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    return checkout


def test_the_archive_is_the_run_with_what_one_must_know_of_it(inside, tmp_path, capsys):
    out = tmp_path / "new" / "otoc.zip"
    assert main(["export-weights", "runs/tiny/otoc", str(out)]) == 0
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert digest in capsys.readouterr().out
    assert out.with_name("otoc.zip.sha256").read_text() == f"{digest}  otoc.zip\n"
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / "elsewhere")
    run = tmp_path / "elsewhere/runs/tiny/otoc"
    assert stages_in(run) == ["clicks", "evaluate_2", *TRAINED]
    assert sorted(path.parent.name for path in run.rglob("weights.safetensors")) == TRAINED
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".pth", ".pkl", ".pt"))]
    sums = dict(line.split("  ")[::-1] for line in (run / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == files - {"SHA256SUMS"}
    assert all(hashlib.sha256((run / name).read_bytes()).hexdigest() == value for name, value in sums.items())
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=run, check=True)
    kept = yaml.safe_load((run / "params.yaml").read_text())
    assert load_config(run / "params.yaml") == load_config(PARAMS) and kept["voxel_size"] == 0.15
    classes = (run / "classes.txt").read_text().splitlines()
    assert classes[:2] == ["0 wall", "1 floor"] and len(classes) == 20
    text = (run / "README.txt").read_text()
    assert "tiny/otoc" in text and "unet_2 and relation_2 the last" in text and "data/rooms" in text


def test_what_an_earlier_params_file_left_is_not_packed(inside, tmp_path):
    left = inside / "runs/tiny/otoc/unet_3"
    shutil.copytree(inside / "runs/tiny/otoc/unet_2", left)
    release.export_weights(inside / "runs/tiny/otoc", tmp_path / "otoc.zip")
    shutil.rmtree(left)
    with zipfile.ZipFile(tmp_path / "otoc.zip") as archive:
        assert not [name for name in archive.namelist() if "unet_3" in name] and "unet_2" in str(archive.namelist())


def test_the_same_run_makes_the_same_bytes(inside, tmp_path):
    digests = {release.export_weights(inside / "runs/tiny/otoc", tmp_path / f"{n}.zip") for n in range(2)}
    assert len(digests) == 1


def test_unpacked_elsewhere_nothing_is_trained_again(inside, tmp_path, monkeypatch):
    release.export_weights(inside / "runs/tiny/otoc", tmp_path / "otoc.zip")
    other = tmp_path / "other"
    shutil.copytree(inside, other, ignore=shutil.ignore_patterns("runs", "reports"))
    monkeypatch.chdir(other)
    with zipfile.ZipFile(tmp_path / "otoc.zip") as archive:
        archive.extractall()
    for name in ("evaluate_2", *TRAINED):
        find_stage(other / "runs", "tiny", "otoc", name).check()
    monkeypatch.setattr("otoc_lib.methods.stages.fit", None)  # would fail if it was called
    config = load_config(PARAMS)
    done = list(run_method(config, load_scenes(config)))
    assert [stage.reused for stage in done[-1].networks.values()] == [True, True] and done[-1].evaluation.reused
    before = find_stage(inside / "runs", "tiny", "otoc", "evaluate_1")
    assert read_json(done[0].evaluation, "metrics.json") == read_json(before, "metrics.json")


def test_another_network_may_start_from_it(inside, tmp_path):
    release.export_weights(inside / "runs/tiny/otoc", tmp_path / "otoc.zip")
    with zipfile.ZipFile(tmp_path / "otoc.zip") as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "runs/tiny/otoc/unet_2/weights.safetensors"
    state = initial_state(path, new_unet(load_config(PARAMS, seed=5), 20))
    assert all(torch.equal(state[name], value) for name, value in load_file(path).items() if "num_batches" not in name)


def test_those_of_the_bundled_rooms_carry_the_names_of_the_authors(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "BUNDLED", {"data/rooms": "rooms"})
    (inside / "data/rooms/CREDITS").write_text("by A and B\n")
    release.export_weights(inside / "runs/tiny/otoc", tmp_path / "otoc.zip")
    with zipfile.ZipFile(tmp_path / "otoc.zip") as archive:
        assert archive.read("runs/tiny/otoc/CREDITS") == b"by A and B\n"
        assert b"CC-BY" in archive.read("runs/tiny/otoc/README.txt")


def spoil_weights(root):
    path = root / "runs/tiny/otoc/unet_1/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def spoil_params(root):
    path = root / PARAMS
    path.write_text(path.read_text() + "threshold: 0.4\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root / "runs/tiny/otoc"), "holds no finished stage"),
        (lambda root: shutil.rmtree(root / "runs/tiny/otoc/evaluate_2"), "evaluate_2 is missing"),
        (lambda root: os.remove(root / PARAMS), "no params file of the profile tiny"),
        (lambda root: shutil.rmtree(root / "runs/tiny/otoc/unet_1"), "unet_1 is missing"),
        (spoil_params, "is stale: .*threshold"),
        (spoil_weights, "unet_1/weights.safetensors: is not what the stage wrote"),
    ],
)
def test_what_is_not_whole_is_refused_and_nothing_written(checkout, tmp_path, monkeypatch, spoil, words):
    shutil.copytree(checkout, tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    spoil(tmp_path / "other")
    with pytest.raises(OtocError, match=words):
        release.export_weights(tmp_path / "other/runs/tiny/otoc", tmp_path / "out" / "otoc.zip")
    assert not (tmp_path / "out").exists()


def test_a_stage_that_another_run_made_is_in_the_archive_whole(inside, tmp_path):
    """The run of one variant takes its first U-Net from another's folder."""
    config = load_config("params/tiny/unet.yaml")
    list(run_method(config, load_scenes(config)))
    manifest = json.loads((inside / "runs/tiny/unet/unet_1/manifest.json").read_text())
    assert manifest["reused_from"] == "otoc"
    release.export_weights(inside / "runs/tiny/unet", tmp_path / "unet.zip")
    with zipfile.ZipFile(tmp_path / "unet.zip") as archive:
        archive.extractall(tmp_path)
    assert find_stage(tmp_path / "runs", "tiny", "unet", "unet_1").path == tmp_path / "runs/tiny/unet/unet_1"
    find_stage(tmp_path / "runs", "tiny", "unet", "unet_1").check()
