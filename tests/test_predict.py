"""A finished run labels scans that it never saw; what plain evaluation says of the same scan is the oracle."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import pytest
import safetensors.numpy
import yaml
from own_scan import COLORS, POINTS, make_scan, write_ascii
from plyfile import PlyData
from tiny import TINY, make_room

from otoc_lib import predict
from otoc_lib.__main__ import main
from otoc_lib.calibration import at_temperature, read_calibration, temperature_of
from otoc_lib.config import config_from
from otoc_lib.datasets import own
from otoc_lib.datasets.labelled_ply import write_ply
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError
from otoc_lib.files import checksum
from otoc_lib.labels import SCANNET20
from otoc_lib.methods.control import BASELINE, train_baseline
from otoc_lib.methods.stages import Scenes, Stages, load_scenes, method_of, run_method
from otoc_lib.store import MANIFEST, find_stage, read_manifest
from otoc_lib.supervoxels.geometric import Partition

STEPS = {"unet_steps": 30, "unet_steps_later": 4, "relation_steps": 15, "relation_steps_later": 4}
STEPS |= {"self_train_iterations": 2, "threshold": 0.5, "partition_minimum": 5}
UTM = [389_512.25, 5_819_123.75, 34.5]


def config_named(experiment, **values):
    return config_from({**TINY, **STEPS, "experiment": experiment, **values})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a finished run ``otoc`` and a scan; labelled rooms were held out of the run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "notebooks").mkdir()
    (folder / "params").mkdir()
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        list(run_method(config_named("otoc"), Scenes(rooms[:2], {"val": rooms[2:]})))
    kitchen = make_room("kitchen", seed=7, spacing=0.05)
    (folder / "scans").mkdir()
    colors = dict(zip(("red", "green", "blue"), kitchen.colors.T, strict=True))
    write_ply(folder / "scans" / "kitchen.ply", kitchen.coords + np.array(UTM), colors, None)
    return folder


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project)


@pytest.fixture
def again(project, tmp_path, monkeypatch):
    """A copy of the project, to be spoilt."""
    shutil.copytree(project, tmp_path / "copy", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def run(name="otoc"):
    return Path("runs/p") / name


def evaluated(config, path, name="again"):
    """Mode -> labels, and confidence, of a scan by ``Stages.evaluate`` with the run's networks, in a run of its own."""
    scene = own.load_scene(path.parent, path.stem, SCANNET20, Partition.of(config))
    networks = {n: find_stage(Path("runs"), "p", config.run_name, f"{n}_2") for n in ("unet", "relation")}
    room = make_room("scene0000_00", seed=0)
    stages = Stages(replace(config, experiment=name), Scenes([room], {"val": [scene]}))
    found = stages.evaluate("evaluate_2", networks)
    return safetensors.numpy.load(found.read(f"{scene.name}.safetensors"))


def vertices(path):
    return PlyData.read(str(path))["vertex"].data


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "point", "sv", "product"])
def test_labels_are_those_of_plain_evaluation(mode, tmp_path):
    scan = Path("scans/kitchen.ply")
    expected = evaluated(config_named("otoc"), scan)
    assert main(["predict", str(run()), str(scan), "--out", str(tmp_path / "out"), "--mode", mode]) == 0
    written = vertices(tmp_path / "out" / "kitchen.ply")
    assert len(np.unique(expected[mode])) > 1
    np.testing.assert_array_equal(written["label"], expected[mode])
    np.testing.assert_array_equal(np.stack([written[axis] for axis in "xyz"], axis=1), read_scan(scan).points)
    palette = np.stack([written[channel] for channel in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(palette, SCANNET20.paint(expected[mode]))
    scanned = np.stack([written[f"scan_{channel}"] for channel in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(scanned, read_scan(scan).colors)
    if mode == "full":
        calibration = read_calibration(find_stage(Path("runs"), "p", "otoc", "evaluate_2"), "full", "val")
        calibrated = at_temperature(expected["confidence"], temperature_of(calibration))
        np.testing.assert_allclose(written["confidence"], calibrated, atol=2e-3)  # the stage keeps two bytes of each
    assert ((written["confidence"] > 0) & (written["confidence"] <= 1)).all()


def test_the_whole_method_is_what_is_asked_for_by_default_and_said_so(tmp_path, capsys):
    predict.label_scans(run(), [Path("scans")], tmp_path)
    out = capsys.readouterr()
    assert "kitchen.ply: 5508 points in" in out.out and "calibrated on 1 room of val (1 view, temperature" in out.out
    assert "labelling by p/otoc" in out.err  # the bar
    comments = PlyData.read(str(tmp_path / "kitchen.ply")).comments
    assert comments[0] == "labelled by otoc predict, run p/otoc, mode full, 1 view"
    assert comments[1].startswith("confidence is calibrated on 1 room of val")
    assert comments[2:] == [f"label {index} is {name}" for index, name in enumerate(SCANNET20.names)]
    (full,) = predict.label_scans(run(), [Path("scans")], tmp_path / "full", mode="full")
    np.testing.assert_array_equal(vertices(full)["label"], vertices(tmp_path / "kitchen.ply")["label"])


def test_views_are_averaged_as_evaluation_does(tmp_path):
    expected = evaluated(config_named("otoc", views=3), Path("scans/kitchen.ply"), "views")
    (path,) = predict.label_scans(run(), [Path("scans")], tmp_path, views=3)
    np.testing.assert_array_equal(vertices(path)["label"], expected["full"])
    assert "3 views" in PlyData.read(str(path)).comments[0] and "(1 view," in PlyData.read(str(path)).comments[1]


@pytest.mark.parametrize(
    ("suffix", "form", "written"),
    [(".las", "same", ".las"), (".laz", "same", ".laz"), (".las", "ply", ".ply"), (".xyz", "same", ".ply")]
    + [(".xyz", "las", ".las"), (".laz", "las", ".laz"), (".ply", "las", ".las"), (".ply", "same", ".ply")],
)
def test_formats(tmp_path, suffix, form, written):
    path = tmp_path / "in" / f"hall{suffix}"
    path.parent.mkdir()
    points = np.round(POINTS + UTM, 3)
    if suffix == ".xyz":
        np.savetxt(path, np.concatenate([points, COLORS], axis=1), fmt="%.3f")
    elif suffix == ".ply":
        write_ascii(path, points)
    else:
        las = laspy.create(point_format=7, file_version="1.4")
        las.header.scales, las.header.offsets = np.full(3, 0.001), np.floor(UTM)
        las.x, las.y, las.z = points.T
        las.red, las.green, las.blue = COLORS.T.astype(np.uint16) * 257
        las.write(str(path))
    (out,) = predict.label_scans(run(), [path], tmp_path / "out", form=form)
    assert out == tmp_path / "out" / f"hall{written}"
    labels = vertices(out)["label"] if written == ".ply" else laspy.read(out).label
    found = read_scan(out)
    became_las = written == ".las" and suffix in (".xyz", ".ply")
    tolerance = {"atol": 0.5e-4 + 1e-9 if became_las else 0, "rtol": 0}
    np.testing.assert_allclose(found.points, read_scan(path).points, **tolerance)
    np.testing.assert_array_equal(found.colors, COLORS)  # of the scan, which reading it again is after
    painted = vertices(out) if written == ".ply" else laspy.read(out)
    painted = np.stack([painted[channel] for channel in ("red", "green", "blue")], axis=1)
    np.testing.assert_array_equal(painted // (257 if written != ".ply" else 1), SCANNET20.paint(labels))


@pytest.mark.parametrize(
    ("split", "words"), [("val", "raw (not calibrated: the run"), ("held_out", "calibrated on 1 room of held_out (")]
)
def test_confidence_is_not_calibrated_on_scans_of_ones_own_that_were_trained_on(split, words, tmp_path, monkeypatch):
    """Scans of one's own with true classes are in every split; only one that was held out says how sure to be."""
    for folder in ("notebooks", "params"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("first", "second")):
        points, colors, _, truth = make_scan(seed)
        table = np.concatenate([points, colors, truth[:, None]], axis=1)
        Path("data/own").mkdir(parents=True, exist_ok=True)
        header = "x y z red green blue class"
        np.savetxt(f"data/own/{name}.txt", table, fmt="%.3f %.3f %.3f %d %d %d %d", header=header, comments="")
    values = {"dataset": "own", "own_classes": ["floor", "box", "crate"], "own_truth": "class", "data_root": "data/own"}
    values |= {
        "method": "control",
        "source": "all",
        "self_train_iterations": 1,
        "partition_minimum": 7,
        "batch_size": 1,
    }
    config = config_named("mine", **values, train_rooms=1, eval_splits=[split])
    train_baseline(Stages(config, load_scenes(config), BASELINE))
    assert predict.labeller(Path("runs/p/mine"), mode="point").trust.words.startswith(words)


@pytest.mark.parametrize("side", [None, 1.6])
def test_confidence_of_a_run_without_labelled_rooms_is_raw_and_its_classes_are_its_own(
    side, tmp_path, capsys, monkeypatch
):
    """A run on scans of one's own labels another one; with tiles smaller than its scan it is trained on those."""
    for folder in ("notebooks", "params"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    values = {"dataset": "own", "own_classes": ["floor", "box", "crate"], "partition_minimum": 7, "batch_size": 1}
    values |= {"method": "control", "self_train_iterations": 1, "source": "file", "clicks_file": "clicks.csv"}
    config = config_named("mine", tile_metres=side, **values)
    points, colors, faces, truth = make_scan(1)
    write_ascii(Path("data/own/first.ply"), points, colors, faces)
    lines = ["scene,point,x,y,z,class,object"]
    for label, name in enumerate(config.own_classes):
        for point in np.flatnonzero(truth == label)[::150].tolist():
            lines.append(f"first,{point},{','.join(map(str, points[point]))},{name},-1")
    Path("clicks.csv").write_text("\n".join(lines) + "\n")
    scene = own.load_scene(Path("data/own"), "first", own.label_set(config.own_classes), Partition.of(config))
    (last,) = run_method(config, Scenes([scene], {"val": [scene]}))
    evaluated = safetensors.numpy.load(last.evaluation.read("first.safetensors"))
    (path,) = predict.label_scans(Path("runs/p/mine"), [Path("data/own")], Path("same"))
    np.testing.assert_array_equal(vertices(path)["label"], evaluated["full"])
    assert (predict.labeller(Path("runs/p/mine")).config.tile_metres == side) == (side is not None)
    write_ascii(Path("new/second.ply"))
    (path,) = predict.label_scans(Path("runs/p/mine"), [Path("new/second.ply")], Path("out"))
    comments = PlyData.read(str(path)).comments
    assert (
        comments[1].startswith("confidence is raw (not calibrated") and "raw (not calibrated" in capsys.readouterr().out
    )
    assert comments[2:] == ["label 0 is floor", "label 1 is box", "label 2 is crate"]
    assert set(np.unique(vertices(path)["label"])) <= {0, 1, 2}
    assert predict.open_run(Path("runs/p/mine")).config.partition_minimum == 7


def test_the_first_unet_alone_and_full_supervision_are_runs_too(tmp_path):
    config = config_named("supervised", method="control", source="all")
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    train_baseline(Stages(config, Scenes(rooms[:2], {"val": rooms[2:]}), BASELINE))
    opened = predict.open_run(run("supervised"))
    assert opened.evaluation.name == "evaluate_baseline" and list(opened.networks) == ["unet"]
    assert predict.label_scans(run("supervised"), [Path("scans")], tmp_path)
    with pytest.raises(OtocError, match="--mode full: p/supervised does not predict it; it has point, sv"):
        predict.label_scans(run("supervised"), [Path("scans")], tmp_path, mode="full")


def test_a_mean_of_networks_is_what_labels_scans(tmp_path):
    config = config_named("mean", average_networks=2, unet_steps=4, relation_steps=4)
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    *_, last = run_method(config, Scenes(rooms[:2], {"val": rooms[2:]}))
    opened = predict.open_run(run("mean"))
    assert {name: stage.path for name, stage in opened.networks.items()} == {
        name: stage.path for name, stage in last.networks.items()
    }
    assert [stage.path.name for stage in opened.networks.values()] == ["mean_unet_2", "mean_relation_2"]
    assert predict.label_scans(run("mean"), [Path("scans")], tmp_path)


@pytest.mark.parametrize(
    ("method", "mode"), [("mean_teacher", "student"), ("xu", "propagated"), ("released", "full"), ("pi_model", "sv")]
)
def test_other_methods_predict_what_they_do(method, mode, tmp_path):
    config = config_named(method, method=method, self_train_iterations=1, unet_steps=4, relation_steps=4)
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    *_, last = run_method(config, Scenes(rooms[:2], {"val": rooms[2:]}))
    (path,) = predict.label_scans(run(method), [Path("scans")], tmp_path, mode=mode)
    loaded = predict.labeller(run(method), mode)
    scene = loaded.scene(Path("scans/kitchen.ply"), "kitchen")
    expected = method_of(config).predict(config, scene, loaded.networks)[mode].labels()
    np.testing.assert_array_equal(vertices(path)["label"], expected)
    assert predict.open_run(run(method)).evaluation.key == last.evaluation.key


def test_a_scan_wider_than_a_tile_gets_the_same_labels(tmp_path, monkeypatch):
    points = np.concatenate([make_scan(seed)[0] + [2.4 * seed, 0, 0] for seed in range(4)])
    colors = np.concatenate([make_scan(seed)[1] for seed in range(4)])
    np.savetxt(tmp_path / "long.xyz", np.concatenate([points, colors], axis=1), fmt="%.3f")
    labels = {}
    for side in (600, 80):  # 8 m, of 9.6 m
        monkeypatch.setattr(predict, "TILE", side)
        with_run = predict.labeller(run(), "point")
        assert with_run.config.tile_metres == pytest.approx(0.1 * side)
        with pytest.warns(UserWarning, match="long.xyz: is 10 m wide") if side == 80 else nullcontext():
            (path,) = predict.label_scans(run(), [tmp_path / "long.xyz"], tmp_path / str(side), mode="point")
        labels[side] = vertices(path)["label"]
    assert (labels[600] == labels[80]).mean() > 0.99


# --- the run ----------------------------------------------------------------------------------------------------------


def test_parameters_are_those_of_the_run_whatever_its_params_file_says_now(again):
    Path("params/p").mkdir()
    values = {**TINY, **STEPS, "experiment": "otoc"}
    Path("params/p/otoc.yaml").write_text(yaml.safe_dump({**values, "bandwidth": 5.0, "views": 4, "unet_width": 16}))
    with pytest.warns(UserWarning, match="otoc.yaml: has changed since the run was made .*unet_width was 8") as told:
        (path,) = predict.label_scans(run(), [Path("scans")], Path("out"))
    assert "bandwidth was 2.0" in str(told[0].message) and "views was 1" in str(told[0].message)
    Path("params/p/otoc.yaml").unlink()
    (other,) = predict.label_scans(run(), [Path("scans")], Path("other"))
    assert path.read_bytes() == other.read_bytes()


def test_a_run_needs_no_project_around_it(again, tmp_path, monkeypatch):
    shutil.copytree("runs", tmp_path / "elsewhere" / "runs")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert predict.label_scans(run(), [again / "scans"], Path("out"))


def without_config(folder):
    for path in folder.rglob(MANIFEST):
        manifest = json.loads(path.read_text())
        del manifest["config"]
        path.unlink()  # it may be a link
        path.write_text(json.dumps(manifest))


def test_manifests_of_an_older_version_ask_the_params_file_if_it_is_current(again):
    without_config(Path("runs"))
    with pytest.raises(OtocError, match="older version of the kit made it.*there is no params file.*run it again"):
        predict.open_run(run())
    Path("params/p").mkdir()
    values = {**TINY, **STEPS, "experiment": "otoc"}
    Path("params/p/otoc.yaml").write_text(yaml.safe_dump(values))
    assert predict.open_run(run()).config.unet_width == 8
    Path("params/p/otoc.yaml").write_text(yaml.safe_dump({**values, "unet_width": 16}))
    with pytest.raises(OtocError, match="its params file is not current: .*unet_width.*run it again"):
        predict.open_run(run())
    Path("params/p/otoc.yaml").write_text(yaml.safe_dump({**values, "self_train_iterations": 3}))
    with pytest.raises(OtocError, match="not finished, it lacks unet_3, relation_3, evaluate_3"):
        predict.open_run(run())


def test_a_repeat_with_another_seed_is_a_run_of_its_own(again):
    config = replace(config_named("otoc", seed=1, unet_steps=4, relation_steps=4, self_train_iterations=1))
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    list(run_method(config, Scenes(rooms[:2], {"val": rooms[2:]})))
    assert predict.open_run(run("otoc_seed1")).config.seed == 1


def spoil(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.unlink()
    path.write_text(json.dumps(value))


def test_a_run_that_is_not_finished_says_what_it_lacks(again):
    shutil.rmtree(run() / "evaluate_2")
    spoil(run() / "evaluate_1" / MANIFEST, lambda manifest: None)
    with pytest.raises(OtocError, match="not finished, it lacks evaluate_2; finish it by otoc run params/p/otoc.yaml"):
        predict.open_run(run())
    for name in ("evaluate_1", "unet_2", "relation_1"):
        shutil.rmtree(run() / name)
    with pytest.raises(OtocError, match="it lacks unet_2, evaluate_2"):
        predict.open_run(run())


def test_a_run_that_another_process_makes_anew_meanwhile(again, monkeypatch):
    listed = predict.stages_in(run())
    monkeypatch.setattr(predict, "stages_in", lambda folder: listed)
    (run() / "evaluate_2" / MANIFEST).unlink()
    with pytest.raises(OtocError, match="evaluate_2: was there a moment ago; another process makes it anew"):
        predict.open_run(run())


def test_what_is_no_run(tmp_path):
    for folder, said in ((tmp_path / "no", "no such folder"), (tmp_path, "holds no finished stage")):
        with pytest.raises(OtocError, match=said):
            predict.open_run(folder)


def test_networks_that_the_evaluation_did_not_judge(again):
    spoil(run() / "unet_2" / MANIFEST, lambda manifest: manifest.update(key="0" * 16))
    with pytest.raises(OtocError, match="unet_2: was made anew after evaluate_2"):
        predict.open_run(run())


def test_networks_that_are_missing_or_damaged(again):
    weights = run() / "relation_2" / "weights.safetensors"
    weights.unlink()
    with pytest.raises(OtocError, match=r"weights.safetensors: cannot be read"):
        predict.open_run(run())
    weights.write_bytes(b"weights")
    with pytest.raises(OtocError, match="is not what the stage wrote"):
        predict.open_run(run())


def test_a_backbone_that_this_kit_does_not_have(again):
    spoil(run() / "evaluate_2" / MANIFEST, lambda manifest: manifest["config"].update(backbone="transformer"))
    with pytest.raises(OtocError, match=f"evaluate_2/{MANIFEST}: parameter 'backbone' is 'transformer'; it can be"):
        predict.open_run(run())


def test_classes_that_nothing_names(again):
    path = run() / "evaluate_2" / "metrics.json"
    spoil(path, lambda metrics: metrics["classes"].reverse())
    digest = checksum(path)
    spoil(run() / "evaluate_2" / MANIFEST, lambda manifest: manifest["files"].update({"metrics.json": digest}))
    with pytest.raises(OtocError, match="evaluate_2: its classes are unclear"):
        predict.open_run(run())


def test_a_manifest_notes_every_parameter_also_of_a_stage_that_is_reused(again):
    config = config_named("twin", threshold=0.7)
    rooms = [make_room(f"scene{index:04d}_00", seed=index) for index in range(3)]
    list(run_method(config, Scenes(rooms[:2], {"val": rooms[2:]})))
    reused = read_manifest(run("twin") / "unet_1")
    assert reused["reused_from"] == "otoc" and reused["config"]["threshold"] == 0.7
    noted = read_manifest(run("twin") / "evaluate_2")["config"]
    assert config_from(noted) == config
    assert predict.open_run(run("twin")).config.threshold == 0.7


# --- scans ------------------------------------------------------------------------------------------------------------


def test_outputs_never_lie_among_the_scans_or_over_a_file_of_others(again):
    before = Path("scans/kitchen.ply").read_bytes()
    for out in (Path("scans"), Path("scans/../scans")):
        with pytest.raises(OtocError, match="kitchen.ply lies there, which could be overwritten"):
            predict.label_scans(run(), [Path("scans")], out, form="las")
    Path("out").mkdir()
    Path("out/kitchen.ply").write_text("a thesis")
    with pytest.raises(OtocError, match="out/kitchen.ply: is there already and was not written by otoc predict"):
        predict.label_scans(run(), [Path("scans")], Path("out"))
    with pytest.raises(OtocError, match="--out out/kitchen.ply: is a file; give a folder"):
        predict.label_scans(run(), [Path("scans")], Path("out/kitchen.ply"))
    assert Path("out/kitchen.ply").read_text() == "a thesis" and Path("scans/kitchen.ply").read_bytes() == before
    (first,) = predict.label_scans(run(), [Path("scans")], Path("mine"))
    (second,) = predict.label_scans(run(), [Path("scans")], Path("mine"), mode="point")  # its own file it may replace
    assert first == second
    with pytest.raises(OtocError, match="kitchen.ply: otoc predict wrote it, so its colours are those of classes"):
        predict.label_scans(run(), [first], Path("twice"))
    Path("readme.xyz").write_text("how otoc predict is called\n")
    with pytest.raises(OtocError, match="readme.xyz") as refused:  # as no scan
        predict.label_scans(run(), [Path("readme.xyz")], Path("twice"))
    assert "wrote it" not in str(refused.value)


def test_two_scans_of_one_name_and_paths_without_a_scan(again):
    shutil.copytree("scans", "more")
    with pytest.raises(OtocError, match="has the same name"):
        predict.label_scans(run(), [Path("scans"), Path("more/kitchen.ply")], Path("out"))
    assert len(predict.scans_in([Path("scans"), Path("scans/kitchen.ply")])) == 1  # named twice, there once
    with pytest.raises(OtocError, match="nowhere.ply: no such scan or folder"):
        predict.label_scans(run(), [Path("nowhere.ply")], Path("out"))
    Path("empty").mkdir()
    with pytest.raises(OtocError, match="holds no scan"):
        predict.label_scans(run(), [Path("empty")], Path("out"))
    assert not Path("out").exists()


def test_a_scan_that_cannot_be_read_does_not_keep_the_others_back(again, capsys):
    Path("scans/broken.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 5\n")
    assert main(["predict", str(run()), "scans", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert "1 of 2 scans are not labelled, the others are in out" in error and "broken.ply" in error
    assert Path("out/kitchen.ply").is_file()
    assert main(["predict", str(run()), "scans/broken.ply", "--out", "out"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: scans/broken.ply")


@pytest.mark.parametrize("views", ["0", "101", "many"])
def test_numbers_of_views_that_are_none(views, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(run()), "scans", "--out", "out", "--views", views])
    assert stop.value.code == 2 and "--views" in capsys.readouterr().err


def test_the_command_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "otoc_lib", "predict", run(), "scans", "--out", tmp_path, "--mode", "point"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "kitchen.ply: 5508 points" in done.stdout and (tmp_path / "kitchen.ply").is_file()
