"""Which stages are current: real data on disk, real stages whose work is to write one small file."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scannet_room
import yaml
from tiny import current_keys
from tiny_frames import camera, write_frame_files

from otoc_lib import current
from otoc_lib.config import load_config
from otoc_lib.current import Runs, remove_stale_stamps
from otoc_lib.datasets import cache
from otoc_lib.errors import OtocError
from otoc_lib.experiments import plan_jobs, read_what_is_right
from otoc_lib.files import write_json
from otoc_lib.methods import control, stages
from otoc_lib.methods.stages import Stages, load_scenes
from otoc_lib.store import run_stage
from otoc_lib.tsne import tsne_stage

ROOMS = ("scene0000_00", "scene0001_00", "scene0002_00")
SHARED = {"profile": "p", "data_root": "data/rooms", "self_train_iterations": 2, "device": "cpu"}
EXPERIMENTS = {"otoc": {}, "control": {"method": "control"}, "supervised": {"method": "control", "source": "all"}}
NOTEBOOKS = {"otoc": ("02_baseline", "03_self_train", "05_tsne"), "control": ("03_self_train",)}
ONE = {"otoc": 11, "control": 5, "supervised": 3}  # stages


class Made(Stages):
    """Stages with the keys, locks and checksums of real ones."""

    def run(self, view, name, code, inputs, work, **options):
        def made(folder, key):
            write_json(folder / "made.json", name)

        return run_stage(view, name, code, inputs, made, **options)


def make(experiment, **changed):
    """Run the notebooks of an experiment."""
    config = load_config(f"params/p/{experiment}.yaml", **changed)
    scenes = load_scenes(config)
    control.train_baseline(Made(config, scenes, control.BASELINE))
    if experiment != "supervised":
        made = Made(config, scenes)
        *_, last = made.method.loop(made)
        if experiment == "otoc":
            tsne_stage(made, last)


def write(experiment, **values):
    path = Path("params/p") / f"{experiment}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**SHARED, **EXPERIMENTS.get(experiment, {}), "experiment": experiment, **values}))


def look() -> Runs:
    return Runs(Path("runs").resolve(), "p", *read_what_is_right(Path("params"), "p"))


def stale():
    """Run -> why it is stale."""
    return {run.run: run.why for run in look().stale()}


def write_data(root: Path) -> None:
    """A project of three rooms, in which nothing is run."""
    (root / "notebooks").mkdir()
    data = root / "data" / "rooms"
    scannet_room.write_room(data)
    for other in ROOMS[1:]:
        (data / "scans" / other).mkdir()
        for file in (data / "scans" / ROOMS[0]).iterdir():
            shutil.copy(file, data / "scans" / other / file.name.replace(ROOMS[0], other))
    for split, names in (("train", ROOMS[:2]), ("val", ROOMS[2:])):
        (data / "splits" / f"scannetv2_{split}.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project in which everything is run."""
    root = tmp_path_factory.mktemp("made")
    write_data(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for experiment in EXPERIMENTS:
            write(experiment)
            make(experiment)
        make("otoc", seed=1)
        for job in plan_jobs(Path("params"), "p"):
            Path(stamp(*job.name)).touch()
    return root


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A copy of it, to spoil; the rooms are converted for it as well."""
    shutil.copytree(made, tmp_path / "project", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "project")
    cache.prepare(load_config("params/p/otoc.yaml"))
    return tmp_path / "project"


def stamp(notebook, run):
    return f"runs/p/{run}/{notebook}.done"


def removed(seeds=None):
    jobs = plan_jobs(Path("params"), "p", seeds)
    return remove_stale_stamps(jobs, Path("params"), "p", seeds, stamp)


# --- what is current --------------------------------------------------------------------------------------------------


def test_what_was_just_run_is_current(project):
    runs = look()
    assert runs.stale() == [] and runs.doubt == "" and removed() == []
    for experiment, seed in (("otoc", 0), ("otoc", 1), ("control", 0)):
        folder = project / "runs" / "p" / runs.seeds(experiment)[seed]
        names = {path.parent.name for path in folder.glob("*/manifest.json")}
        assert len(names) > 4
        for name in names:
            state = runs.state(experiment, name, seed)
            assert state.stage.name == name and state.why == "" and state.stage.key in runs.keys()
    assert runs.state("otoc", "evaluate_9", 0) == runs.state("otoc", "evaluate_1", 7) == current.State()


def test_the_keys_of_a_run_are_those_of_its_plan(project):
    config, runs = load_config("params/p/otoc.yaml"), look()
    scenes = load_scenes(config)
    fingerprints = {split: Stages(config, scenes).fingerprint(split) for split in ("train", "val")}
    keys = current_keys(config, fingerprints)
    assert len(keys) == ONE["otoc"] and keys.keys() >= {"clicks", "evaluate_baseline", "pseudo_2", "tsne"}
    assert {name: runs.state("otoc", name, 0).stage.key for name in keys} == keys


@pytest.mark.parametrize(
    ("parameter", "value", "is_stale", "is_current"),
    [
        ("voxel_size", 0.2, "unet_1", "clicks"),
        ("threshold", 0.7, "pseudo_1", "evaluate_1"),
        ("unet_steps_later", 9, "unet_2", "pseudo_1"),
        ("bandwidth", 3.0, "evaluate_1", "relation_1"),
        ("clicks_per_object", 3, "clicks", None),
        ("clicks_wrong", 0.25, "clicks", None),
        ("tsne_supervoxels", 7, "tsne", "evaluate_2"),
    ],
)
def test_a_parameter_makes_stale_what_depends_on_it(project, parameter, value, is_stale, is_current):
    old = getattr(load_config("params/p/otoc.yaml"), parameter)
    write("otoc", **{parameter: value})
    runs = look()
    assert runs.state("otoc", is_stale, 0).why == f"{parameter} was {old} and is {value}"
    assert is_current is None or runs.state("otoc", is_current, 0).stage
    found = {run.run: run for run in runs.stale()}
    assert found.keys() == {"otoc", "otoc_seed1"} and is_stale in found["otoc"].stages
    assert found["otoc"].why == f"{parameter} was {old} and is {value}"  # of what depends on it, too
    assert found["otoc"].remedy == "run make reproduce PROFILE=p"
    assert found["otoc_seed1"].remedy == "run make reproduce PROFILE=p SEEDS=0,1"


def test_a_stage_made_of_a_newer_one_says_so(project):
    write("otoc", unet_steps=9)
    config = load_config("params/p/otoc.yaml")
    Made(config, load_scenes(config)).train("unet", 1, Made(config, load_scenes(config)).clicks())
    runs = look()
    assert runs.state("otoc", "unet_1", 0).stage
    assert runs.state("otoc", "evaluate_1", 0).why == "unet_1 was made anew since"


def test_a_repeat_differs_in_the_seed_alone(project):
    shutil.rmtree("runs/p/otoc_seed1")
    shutil.copytree("runs/p/otoc", "runs/p/otoc_seed1")
    assert stale() == {"otoc_seed1": "seed was 0 and is 1"}
    shutil.rmtree("runs/p/otoc_seed1")
    make("otoc", seed=1, train_rooms=1)
    assert stale() == {"otoc_seed1": "the rooms of train have changed"}
    make("otoc", seed=1, voxel_size=0.2)
    assert stale() == {"otoc_seed1": "voxel_size was 0.2 and is 0.02"}
    make("otoc", seed=1)
    assert stale() == {}


def test_another_version_of_the_code_makes_stale_what_it_made(project, monkeypatch):
    old = stages.VERSIONS["evaluate"]
    monkeypatch.setitem(stages.VERSIONS, "evaluate", old + 1)
    runs = look()
    assert runs.state("control", "evaluate_2", 0).why == f"the code evaluate was version {old} and is {old + 1}"
    assert runs.state("control", "unet_2", 0).stage and runs.state("otoc", "pseudo_1", 0).stage
    assert {line.split(": ")[0] for line in removed()} >= {"02_baseline otoc", "03_self_train control"}


# --- rooms ------------------------------------------------------------------------------------------------------------


def change_a_room(name=ROOMS[0]):
    path = Path("data/rooms/scans") / name / f"{name}.aggregation.json"
    path.write_text(path.read_text().replace("office chair", "pillow"))


def test_changed_rooms_are_noticed_once_they_are_converted(project):
    change_a_room()
    runs = look()
    assert "control, otoc, supervised" in runs.doubt
    assert runs.unconverted(load_config("params/p/otoc.yaml")) and runs.stale() == []
    lines = removed()  # so that the notebooks convert it
    assert len(lines) == 6 and all(line.endswith("rooms are not converted as their files are now") for line in lines)
    cache.prepare(load_config("params/p/otoc.yaml"))
    assert set(stale().values()) == {"the rooms of train have changed"}


def test_other_rooms_are_other_rooms(project):
    write("control", train_rooms=1)
    write("otoc", eval_splits=["val", "train"])
    found = stale()
    assert found["control"] == "the rooms of train have changed" and "train is an input now" in found["otoc"]
    runs = look()
    assert runs.state("otoc", "unet_2", 0).stage and not runs.state("otoc", "evaluate_2", 0).stage


def test_without_the_rooms_what_the_runs_note_is_taken(project):
    shutil.rmtree("data")
    runs = look()
    assert runs.stale() == [] and runs.state("otoc", "evaluate_2", 1).stage and removed() == []
    assert runs.doubt.startswith("The data of control, otoc, supervised are not at hand on this machine")
    write("otoc", voxel_size=0.2)
    assert set(stale()) == {"otoc", "otoc_seed1"}


def test_without_the_rooms_runs_on_others_are_not_mixed(project):
    change_a_room()
    cache.prepare(load_config("params/p/otoc.yaml"))
    shutil.rmtree("runs/p/control")
    make("control")
    for path in Path("runs/p/control").glob("*/manifest.json"):
        path.write_text(path.read_text().replace('"finished": "2', '"finished": "3'))  # later than the others
    shutil.rmtree("data")
    runs = look()
    assert runs.state("control", "evaluate_2", 0).stage
    assert {run.run: run.why for run in runs.stale()}.keys() == {"otoc", "otoc_seed1", "supervised"}


def test_a_clicks_file_is_read_where_it_is_and_believed_where_it_is_not(project):
    shutil.copy("runs/p/otoc/clicks/made.json", "mine.csv")
    write("own", source="file", clicks_file="mine.csv")
    make("own")
    assert stale() == {} and look().doubt == ""
    Path("mine.csv").rename("elsewhere.csv")
    assert stale() == {} and "The data of own are not at hand" in look().doubt
    Path("mine.csv").write_text("more clicks")
    assert stale() == {"own": "the clicks file has changed"}


def test_frames_are_read_where_they_are_and_believed_where_they_are_not(project):
    seen = [(np.eye(4), np.ones((3, 4)), np.zeros((3, 4), np.uint16))]
    write_frame_files(Path("frames/scene0000_00"), seen, camera((3, 4), 4.0))
    write("own", source="images", images_root="frames")
    make("own")
    assert stale() == {} and look().doubt == ""
    Path("frames").rename("elsewhere")
    assert stale() == {} and "The data of own are not at hand" in look().doubt
    Path("elsewhere").rename("frames")
    Path("frames/scene0000_00/pose/0.txt").write_text("moved")
    assert stale() == {"own": "the frames have changed"}


def test_initial_weights_are_read_where_they_are_and_believed_where_they_are_not(project):
    Path("given.pth").write_text("weights")
    write("own", clicks_per_object=2)
    make("own")
    write("own", clicks_per_object=2, initial_weights="given.pth")
    assert stale() == {"own": "initial_weights is an input now"}
    make("own")
    assert stale() == {} and look().doubt == ""
    Path("given.pth").rename("elsewhere.pth")
    assert stale() == {} and "The data of own are not at hand" in look().doubt
    Path("given.pth").write_text("others")
    assert stale() == {"own": "the file of initial weights has changed"}


def test_each_split_is_looked_at_once(project, monkeypatch):
    asked = []
    original = cache.fingerprints
    monkeypatch.setattr(cache, "fingerprints", lambda *arguments: asked.append(arguments[1:]) or original(*arguments))
    runs = look()
    assert runs.stale() == [] and runs.doubt == ""
    assert sorted(asked) == [("train", None), ("val", None)]  # three experiments, one of them with two seeds


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_stage_that_is_gone_is_stale_and_one_that_never_was_is_not(project):
    shutil.rmtree("runs/p/otoc/evaluate_2")
    assert stale() == {"otoc": "evaluate_2 is missing"}  # pseudo_2 came after it
    shutil.rmtree("runs/p/otoc/tsne")
    assert stale() == {"otoc": "evaluate_2 is missing; tsne is missing"}  # its notebook has left a stamp
    Path(stamp("05_tsne", "otoc")).unlink()
    assert stale() == {"otoc": "evaluate_2 is missing"}
    shutil.rmtree("runs/p/control")
    assert look().state("control", "evaluate_1", 0) == current.State()


def test_what_was_reused_is_gone_where_it_was_made(project):
    shutil.rmtree("runs/p/otoc/unet_1")
    assert stale()["control"] == "unet_1 was reused from another run, which lost it or made it anew"


def test_runs_without_a_params_file_are_stale(project):
    Path("params/p/control.yaml").unlink()
    Path("params/p/supervised.yaml").write_text("profile: p\nexperiment: supervised\nsource: al\n")
    found = {run.run: run for run in look().stale()}
    assert found["control"].why == "params/p/control.yaml is missing" and "evaluate_2" in found["control"].stages
    assert found["control"].remedy == "restore params/p/control.yaml, or delete what it made"
    assert "'source' must be one of" in found["supervised"].why
    assert found["supervised"].remedy == "mend params/p/supervised.yaml"
    assert "otoc" not in found


def test_what_no_params_file_asks_for_is_named(project):
    write("otoc", self_train_iterations=1, tsne_supervoxels=200)
    found = [run for run in look().stale() if run.run == "otoc" and "asks for no such stage" in run.why]
    (left,) = found
    assert left.stages == ("evaluate_2", "pseudo_2", "relation_2", "unet_2")
    assert look().state("otoc", "evaluate_2", 0) == current.State()


def test_a_damaged_manifest_is_named(project):
    Path("runs/p/otoc/unet_1/manifest.json").write_text("{")
    with pytest.raises(OtocError, match=r"otoc/unet_1/manifest\.json: damaged"):
        look().stale()


# --- what mends it ----------------------------------------------------------------------------------------------------


def test_the_command_is_the_one_that_mends_it(project):
    runs = look()
    assert runs.remedy("otoc", [0], ["evaluate_baseline", "unet_2"]) == "run make reproduce PROFILE=p"
    assert runs.remedy("otoc", [0], ["tsne"]) == "run make reproduce PROFILE=p"
    # Not one of the notebooks that make reproduce runs for it.
    assert runs.remedy("control", [0], ["evaluate_baseline"]) == (
        "run papermill notebooks/02_baseline.ipynb OUT.ipynb -f params/p/control.yaml"
    )
    # A profile that make reproduce does not run: one without a main experiment, or with a file that is wrong.
    Path("params/p/broken.yaml").write_text("profile: p\n")
    assert look().remedy("otoc", [1], ["evaluate_baseline", "unet_2"]) == (
        "run papermill notebooks/02_baseline.ipynb OUT.ipynb -f params/p/otoc.yaml -p seed 1 && "
        "papermill notebooks/03_self_train.ipynb OUT.ipynb -f params/p/otoc.yaml -p seed 1"
    )
    Path("params/p/broken.yaml").unlink()
    Path("params/p/otoc.yaml").unlink()
    assert look().remedy("control", [0], ["unet_2"]) == (
        "run papermill notebooks/03_self_train.ipynb OUT.ipynb -f params/p/control.yaml"
    )


def test_stamps_of_jobs_that_are_not_finished_go(project):
    shutil.rmtree("runs/p/otoc/relation_2")
    lines = removed()
    assert lines == ["03_self_train otoc: relation_2 is missing", "05_tsne otoc: relation_2 is missing"]
    assert not Path(stamp("03_self_train", "otoc")).exists() and Path(stamp("02_baseline", "otoc")).exists()
    assert removed() == []  # once


def test_stamps_of_jobs_with_damaged_stages_go(project):
    with open("runs/p/control/evaluate_2/made.json", "a") as file:
        file.write("x")
    Path("runs/p/otoc/clicks/manifest.json").write_text("{")
    lines = removed()
    assert "03_self_train control" in str(lines) and all("damaged" in line for line in lines) and len(lines) == 5
    # A file that was only copied later is as good as before.
    with pytest.warns(UserWarning, match="set aside"):
        make("otoc")
        make("control")
    for notebook in NOTEBOOKS["control"]:
        Path(stamp(notebook, "control")).touch()
    os.utime("runs/p/control/evaluate_2/made.json")
    assert removed() == []
    Path("runs/p/control/evaluate_2/made.json").unlink()
    assert removed() == ["03_self_train control: evaluate_2 is damaged"]


def test_stamps_of_other_seeds_are_judged_by_their_own_keys(project):
    for notebook in NOTEBOOKS["otoc"]:
        Path(stamp(notebook, "otoc_seed1")).touch()
    assert removed([0, 1]) == []
    shutil.rmtree("runs/p/otoc_seed1/evaluate_baseline")
    assert removed() == [] and removed([0, 1]) == ["02_baseline otoc_seed1: evaluate_baseline is missing"]
