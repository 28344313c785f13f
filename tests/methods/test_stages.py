"""Stages: what they share, what their keys name, what their work may read, and that a plan is what a run leaves."""

import errno
import hashlib
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tiny_experiment import tiny_experiment

from otoc_lib import config as config_module
from otoc_lib import files
from otoc_lib.annotation.clicks import draw_by_column, draw_share, spoil_clicks
from otoc_lib.errors import OtocError
from otoc_lib.experiments import plan
from otoc_lib.labels import IGNORE
from otoc_lib.methods import control, one_thing_one_click, pseudo_labels, stages
from otoc_lib.methods.method import Method
from otoc_lib.methods.stages import Plan, Stages, method_of, run_method
from otoc_lib.reporting.runs import read_json
from otoc_lib.store import find_stage
from otoc_lib.training.task import CrossEntropy
from otoc_lib.tsne import tsne_stage


def manifest_of(stage):
    return json.loads((stage.path / "manifest.json").read_text())


def test_running_again_computes_nothing(finished, scenes, monkeypatch):
    monkeypatch.setattr(stages, "fit", None)
    monkeypatch.setattr(one_thing_one_click, "predict", None)
    again = list(run_method(tiny_experiment(), scenes))
    assert all(stage.reused for i in again for stage in (*i.networks.values(), i.pseudo, i.evaluation))


def test_experiments_share_what_they_have_in_common(finished, scenes):
    unet, gp = (next(iter(run_method(tiny_experiment(v, variant=v), scenes))) for v in ("unet", "unet_gp"))
    assert unet.unet.reused and unet.unet.path == gp.unet.path == finished[0].unet.path
    assert not unet.pseudo.reused and not gp.pseudo.reused and unet.relation is gp.relation is None


def test_the_control_restarts_as_often_on_the_clicks_alone(finished, scenes):
    done = list(run_method(tiny_experiment("control", method="control"), scenes))
    assert done[0].unet.path == finished[0].unet.path and all(i.pseudo is None for i in done)
    manifests = [manifest_of(i.unet) for i in (done[1], finished[1])]
    assert manifests[0]["parameters"] == manifests[1]["parameters"]  # equal steps, rates and restarts
    assert manifests[0]["inputs"]["warm_start"] == manifests[1]["inputs"]["warm_start"]
    assert manifests[0]["inputs"]["labels"] != manifests[1]["inputs"]["labels"]
    modes = [set(read_json(i.evaluation, "metrics.json")["splits"]["val"]["modes"]) for i in (done[1], finished[1])]
    assert modes[0] == modes[1] == {"point", "sv", "relation", "product", "full"}  # a control in every mode
    assert set(done[1].networks) == set(finished[1].networks)


@pytest.mark.parametrize("method", ["one_thing_one_click", "control"])
def test_the_mean_of_networks_predicts_and_trains_nothing(finished, scenes, monkeypatch, method):
    plain = list(run_method(tiny_experiment(f"plain_{method}", method=method), scenes))
    monkeypatch.setattr(stages, "fit", None)
    done = list(run_method(tiny_experiment(f"mean_{method}", method=method, average_networks=2), scenes))
    assert done[0].evaluation.path == plain[0].evaluation.path and done[0].networks == plain[0].networks
    assert method == "control" or done[1].pseudo.path == plain[1].pseudo.path  # the labels are the last networks' own
    assert not done[1].evaluation.reused and done[1].evaluation.key != plain[1].evaluation.key
    for name in ("unet", "relation"):
        first, second, mean = (load_file(s.networks[name].path / "weights.safetensors") for s in (*plain, done[1]))
        assert mean.keys() == first.keys()
        for key in mean.keys() - {"prototypes"}:
            np.testing.assert_allclose(mean[key], (first[key] + second[key]) / 2, rtol=1e-5, atol=1e-7)
    lengths = np.linalg.norm(mean["prototypes"], axis=1, keepdims=True)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    between = first["prototypes"] + second["prototypes"]
    np.testing.assert_allclose(mean["prototypes"], between / np.linalg.norm(between, axis=1, keepdims=True), atol=1e-6)
    inputs = manifest_of(done[1].evaluation)["inputs"]
    assert {name: inputs[name] for name in done[1].networks} == {n: s.key for n, s in done[1].networks.items()}


def test_the_baseline_shares_its_network_and_full_supervision_uses_every_label(finished, scenes):
    unet, evaluation = control.train_baseline(Stages(tiny_experiment(), scenes, control.BASELINE))
    assert unet.path == finished[0].unet.path
    assert set(read_json(evaluation, "metrics.json")["splits"]["val"]["modes"]) == {"point", "sv"}
    graph = Stages(tiny_experiment("graph", variant="unet_gp"), scenes, control.BASELINE)
    _, evaluation = control.train_baseline(graph)
    assert set(read_json(evaluation, "metrics.json")["splits"]["val"]["modes"]) == {"point", "sv", "full"}
    full = Stages(tiny_experiment("supervised", source="all", method="control"), scenes)
    labels = full.labels_of(full.clicks())
    assert all(np.array_equal(labels[scene.name], scene.labels) for scene in scenes.train)


def test_a_users_own_clicks_are_read(finished, scenes, checkout):
    path = checkout / "runs" / "p" / "otoc" / "clicks" / "clicks.csv"
    drawn = Stages(tiny_experiment(), scenes)
    own = Stages(tiny_experiment("own", source="file", clicks_file=str(path)), scenes)
    read = own.labels_of(own.clicks())
    assert all(np.array_equal(labels, read[name]) for name, labels in drawn.labels_of(drawn.clicks()).items())
    lines = path.read_text().splitlines()
    (checkout / "mine.csv").write_text("\n".join(line for line in lines if ",chair," not in line))
    mine = Stages(tiny_experiment("own", source="file", clicks_file="mine.csv"), scenes)
    with pytest.warns(UserWarning, match="mine.csv: no click of .*chair.*: what is never shown"):
        mine.clicks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mine.clicks().reused  # said once in a notebook
    with pytest.warns(UserWarning, match="chair"):  # and in the next one, of what is reused
        assert Stages(mine.config, scenes).clicks().reused
    (checkout / "mine.csv").write_text(lines[0] + "\n")
    with pytest.raises(OtocError, match=r"mine\.csv: holds no click; click every object once"):
        Stages(mine.config, scenes).clicks()
    (checkout / "mine.csv").unlink()
    with pytest.raises(OtocError, match=r"mine\.csv: no such file"):
        Stages(tiny_experiment("own", source="file", clicks_file="mine.csv"), scenes).clicks()


def test_clicks_that_change_while_they_are_read_are_not_filed_under_what_they_were(finished, scenes, checkout):
    path = checkout / "runs" / "p" / "otoc" / "clicks" / "clicks.csv"
    mine = checkout / "clicked.csv"
    mine.write_bytes(path.read_bytes())
    own = Stages(tiny_experiment("clicked", source="file", clicks_file="clicked.csv"), scenes)
    with pytest.MonkeyPatch.context() as patch:
        read = stages.read_clicks

        def clicked_meanwhile(*arguments):
            mine.write_text("\n".join(mine.read_text().splitlines()[:-1]) + "\n")
            return read(*arguments)

        patch.setattr(stages, "read_clicks", clicked_meanwhile)
        with pytest.raises(OtocError, match=r"clicked\.csv: was changed while it was read; run the same again"):
            own.clicks()
    assert not own.clicks().reused and own.clicks().reused


def test_weights_that_change_while_they_are_read_are_not_filed_under_what_they_were(finished, scenes, checkout):
    given = checkout / "given.safetensors"
    given.write_bytes((finished[1].unet.path / "weights.safetensors").read_bytes())
    config = tiny_experiment("exchanged", initial_weights="given.safetensors", unet_steps=1, variant="unet_gp")
    made = Stages(config, scenes)
    with pytest.MonkeyPatch.context() as patch:
        read = CrossEntropy.start_from

        def exchanged_meanwhile(task, path):
            read(task, path)
            path.write_bytes(b"other weights")

        patch.setattr(CrossEntropy, "start_from", exchanged_meanwhile)
        with pytest.raises(OtocError, match=r"given\.safetensors: was changed while it was read; run the same again"):
            made.train("unet", 1, made.clicks())
    assert find_stage(config.runs_folder, config.profile, config.experiment, "unet_1") is None


def test_a_u_net_starts_from_given_weights_in_the_first_iteration_alone(finished, scenes, checkout):
    given = finished[1].unet.path / "weights.safetensors"
    config = tiny_experiment("given", initial_weights=str(given), unet_steps=1, learning_rate=1e-9, variant="unet_gp")
    made = Stages(config, scenes)
    first = made.train("unet", 1, made.clicks())
    start, end = load_file(given), load_file(first.path / "weights.safetensors")
    trained = [name for name in start if name.endswith("weight")]
    assert all(np.allclose(start[name], end[name], atol=1e-6) for name in trained)
    manifest = manifest_of(first)
    assert manifest["inputs"]["initial_weights"] == hashlib.sha256(given.read_bytes()).hexdigest()[:16]
    assert "initial_weights" not in manifest["parameters"]
    copied = checkout / "copied.safetensors"
    copied.write_bytes(given.read_bytes())
    again = Stages(replace(config, experiment="copied", initial_weights=str(copied)), scenes)
    assert again.train("unet", 1, again.clicks()).reused  # the file's content counts, not its place
    planned = Plan(config, fingerprints={"train": made.fingerprint("train"), "val": made.fingerprint("val")})
    list(planned.method.loop(planned))
    assert {stage.name: stage.key for stage in planned.stages}["unet_1"] == first.key
    named = {name for name, content in planned.contents.items() if "initial_weights" in content["inputs"]}
    assert named == {"unet_1"}


def test_weights_that_are_missing_or_of_another_network_stop_the_training(scenes, checkout):
    for path, words in (
        ("none.pth", r"none\.pth: no such file; set initial_weights to the file"),
        ("w.pth", "no layers"),
    ):
        if path == "w.pth":
            torch.save([], checkout / path)
        made = Stages(tiny_experiment("missing", initial_weights=path), scenes)
        with pytest.raises(OtocError, match=words):
            made.train("unet", 1, made.clicks())


def test_a_room_that_cannot_be_judged_is_named_before_anything_is_trained(scenes, checkout, monkeypatch):
    blank = replace(scenes.evaluation["val"][0], labels=np.full_like(scenes.evaluation["val"][0].labels, IGNORE))
    made = Stages(tiny_experiment("blank", seed=77), replace(scenes, evaluation={"val": [blank]}))
    monkeypatch.setattr(Stages, "_train", lambda *_, **__: pytest.fail("something is trained"))
    with pytest.raises(OtocError, match=f"split val: {blank.name}: not one point has a true class"):
        made.train("unet", 1, made.clicks())


def test_a_relation_net_starts_untrained_beside_a_u_net_with_given_weights(finished, scenes):
    given = str(finished[0].unet.path / "weights.safetensors")
    config = tiny_experiment("beside", initial_weights=given)
    made = Stages(config, scenes)
    assert made.train("relation", 1, made.clicks()).key == finished[0].relation.key


def test_points_drawn_at_random_are_the_only_labels(scenes):
    for name, amount in (("share", {"points_share": 0.05}), ("columns", {"points_per_class_column": 1})):
        drawn = Stages(tiny_experiment(name, source="points", **amount), scenes)
        stage = drawn.clicks()
        labels, clicks = drawn.labels_of(stage), stages.clicks_of(stage, scenes.train)
        for scene in scenes.train:
            assert np.flatnonzero(labels[scene.name] >= 0).tolist() == sorted(clicks[scene.name].points.tolist())
            expected = (
                draw_share(scene, 0.05, 0) if name == "share" else draw_by_column(scene, 1, 0)
            )  # what the file holds
            np.testing.assert_array_equal(np.sort(clicks[scene.name].points), expected.points)
        assert read_json(stage, "statistics.json")["accuracy_percent"] == 100


def test_clicks_of_an_annotator_who_errs_are_what_is_trained_on(finished, scenes):
    right = Stages(tiny_experiment(), scenes)
    spoilt = Stages(tiny_experiment("spoilt", clicks_wrong=0.5, clicks_forgotten=0.3), scenes)
    before, after = (stages.clicks_of(one.clicks(), scenes.train) for one in (right, spoilt))
    for scene in scenes.train:
        expected = spoil_clicks(scene, before[scene.name], 0.5, 0.3, 0)
        np.testing.assert_array_equal(after[scene.name].points, expected.points)
        np.testing.assert_array_equal(after[scene.name].classes, expected.classes)
    assert sum(map(len, after.values())) < sum(map(len, before.values()))
    assert read_json(spoilt.clicks(), "statistics.json")["accuracy_percent"] < 97


def test_evaluations_keep_the_confusion_matrix_of_every_room(finished, scenes):
    metrics = read_json(finished[1].evaluation, "metrics.json")["splits"]["val"]
    confusions = load_file(finished[1].evaluation.path / stages.CONFUSIONS)
    assert set(confusions) == {f"val/{mode}" for mode in metrics["modes"]}
    for mode in metrics["modes"]:
        assert confusions[f"val/{mode}"].shape == (len(metrics["rooms"]), 20, 20)
        assert confusions[f"val/{mode}"].sum(axis=0).tolist() == metrics["modes"][mode]["confusion"]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_plan_is_what_a_run_leaves(finished, scenes, checkout):
    config = tiny_experiment()
    *_, last = run_method(config, scenes)
    control.train_baseline(Stages(config, scenes, control.BASELINE))
    tsne_stage(Stages(replace(config, tsne_supervoxels=4), scenes), last)
    planned = [s for notebook in ("02_baseline", "03_self_train", "05_tsne") for s in plan(notebook, config).stages]
    folder = checkout / "runs" / "p" / "otoc"
    assert {stage.name for stage in planned} == {path.name for path in folder.iterdir()}
    for stage in planned:
        assert json.loads((folder / stage.name / "manifest.json").read_text())["steps"] == stage.steps
    steps = {stage.name: stage.steps for stage in planned}
    assert (steps["unet_1"], steps["unet_2"], steps["relation_1"], steps["relation_2"]) == (30, 4, 15, 4)


def test_what_runs_on_a_gpu_is_planned_without_one():
    planned = Plan(tiny_experiment(device="cuda:7"))
    list(planned.method.loop(planned))
    assert [s.key for s in planned.stages if s.name == "unet_1"]
    with pytest.raises(OtocError, match="cuda:7"):
        Stages(planned.config, None).device_of(planned.config)


def test_the_method_of_the_page_for_newcomers_is_one():
    page = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")
    (snippet,) = (code for code in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "METHOD = Method(" in code)
    names: dict = {}
    exec(snippet, names)
    planned = Plan(tiny_experiment(), names["METHOD"])
    (only,) = names["METHOD"].loop(planned)
    assert only.number == 1 and [stage.name for stage in planned.stages] == ["clicks", "unet_1", "evaluate_1"]


def test_plans_share_exactly_what_runs_share():
    def keys(**values):
        planned = Plan(tiny_experiment(**values))
        list(planned.method.loop(planned))
        return {stage.name: stage.key for stage in planned.stages}

    own, other = keys(), keys(experiment="c", method="control")
    assert own["unet_1"] == other["unet_1"] and own["unet_2"] != other["unet_2"]
    assert own["unet_1"] == keys(variant="unet")["unet_1"] != keys(clicks_per_object=3)["unet_1"]
    assert own["unet_1"] != keys(data_root="elsewhere")["unet_1"] != keys(train_rooms=2)["unet_1"] != own["unet_1"]
    assert own["unet_1"] != keys(seed=1)["unet_1"] and own["unet_1"] == keys(eval_rooms=1)["unet_1"]
    trained = {"eval_splits": ["val", "train"]}  # as many of the training rooms as eval_rooms says
    assert keys(eval_rooms=1, **trained)["evaluate_2"] != keys(eval_rooms=2, **trained)["evaluate_2"]
    told = dict.fromkeys(("val", "train"), "the same")
    few, more = (Plan(tiny_experiment(eval_rooms=n, **trained), fingerprints=told) for n in (1, 2))
    for planned in (few, more):
        list(planned.method.loop(planned))
    assert few.contents["evaluate_2"] != more.contents["evaluate_2"]
    assert few.contents["unet_2"] == more.contents["unet_2"]
    assert own["unet_1"] == keys(unet_steps_later=9)["unet_1"]  # later steps do not redo the first network
    assert own["unet_2"] != keys(unet_steps_later=9)["unet_2"] and own["unet_2"] != keys(threshold=0.7)["unet_2"]


def test_the_teacher_may_look_at_more_views_than_the_evaluation():
    def contents(**changes):
        planned = Plan(tiny_experiment(**changes))
        list(planned.method.loop(planned))
        return planned.contents

    one, teacher, both = contents(), contents(teacher_views=3), contents(views=3)
    assert [c["pseudo_1"]["parameters"]["views"] for c in (one, teacher, both)] == [1, 3, 3]
    assert [c["evaluate_1"]["parameters"]["views"] for c in (one, teacher, both)] == [1, 1, 3]
    assert teacher["pseudo_1"] == both["pseudo_1"] and teacher["unet_2"] != one["unet_2"]


def test_versions_of_code_are_part_of_the_keys(monkeypatch):
    def keys():
        planned = Plan(tiny_experiment())
        list(planned.method.loop(planned))
        return {stage.name: stage.key for stage in planned.stages}

    before = keys()
    monkeypatch.setattr(CrossEntropy, "version", 2)
    changed = keys()
    assert changed["clicks"] == before["clicks"] and changed["relation_1"] == before["relation_1"]
    assert changed["unet_1"] != before["unet_1"] and changed["evaluate_1"] != before["evaluate_1"]
    monkeypatch.undo()
    monkeypatch.setitem(stages.VERSIONS, "relabel", stages.VERSIONS["relabel"] + 1)
    changed = keys()
    assert changed["evaluate_1"] == before["evaluate_1"] and changed["pseudo_1"] != before["pseudo_1"]
    monkeypatch.undo()
    assert keys() == before


class Other(CrossEntropy):
    """A method's own task, without a parameter of its own."""


Other.__qualname__ = Other.__name__ = "CrossEntropy"  # as in a copy of the file


def test_a_task_or_prediction_of_the_same_name_in_another_file_is_another_one():
    config = tiny_experiment()
    other = Method("Other", control.loop, networks=lambda config: {"unet": Other})
    copied = replace(control.METHOD, predict=lambda config, scene, networks: {})
    keys = []
    for method in (control.METHOD, copied):
        planned = Plan(config, method)
        list(planned.method.loop(planned))
        keys.append({stage.name: stage.key for stage in planned.stages})
    assert keys[0]["unet_2"] == keys[1]["unet_2"] and keys[0]["evaluate_1"] != keys[1]["evaluate_1"]
    keys = []
    for method in (control.METHOD, other):
        planned = Plan(config, method)
        list(planned.method.loop(planned))
        keys.append({stage.name: stage.key for stage in planned.stages})
    assert keys[0]["clicks"] == keys[1]["clicks"] and keys[0]["unet_1"] != keys[1]["unet_1"]


# --- what work may read -----------------------------------------------------------------------------------------------

# Values with which the work of every stage reads every parameter that its key names.
ALL_READ = {
    "clicks_wrong": 0.2,
    "clicks_forgotten": 0.1,
    "coarse_loss": 1.0,
    "schedule": "halving",
    "unet_steps": 1,
    "unet_steps_later": 1,
    "relation_steps": 1,
    "relation_steps_later": 1,
    "self_train_iterations": 2,
    "threshold": 0.3,
    "tsne_supervoxels": 4,
}


def run_everything(config, scenes):
    *_, last = run_method(config, scenes)
    tsne_stage(Stages(config, scenes), last)


def keyed():
    """(stage, parameter) for every parameter that the key of a stage names, but for those added and left alone."""
    found = {}

    class Noting(Plan):
        def run(self, view, name, *arguments, **options):
            found[name] = list(view.digest)
            return super().run(view, name, *arguments, **options)

    noting = Noting(tiny_experiment("read", **ALL_READ))
    *_, last = noting.method.loop(noting)
    tsne_stage(noting, last)
    return [(stage, name) for stage, names in found.items() for name in names if "_2" in stage or stage in ONCE]


ONCE = ("clicks", "unet_1", "relation_1", "tsne")
PAIRS = keyed()


@pytest.fixture(scope="module")
def all_read(scenes, tmp_path_factory):
    """A folder in which everything is finished with ALL_READ."""
    root = tmp_path_factory.mktemp("read")
    (root / "notebooks").mkdir()
    (root / "params").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_everything(tiny_experiment("read", **ALL_READ), scenes)
    return root


@pytest.mark.parametrize(("stage", "name"), PAIRS, ids=[f"{stage}-{name}" for stage, name in PAIRS])
def test_a_stage_cannot_read_a_parameter_that_its_key_does_not_name(all_read, scenes, stage, name, monkeypatch):
    """Take one name out of one stage's key: the stage is no longer current, and its work refuses to run without it."""
    monkeypatch.chdir(all_read)
    original = config_module.View.__init__

    def without(view, config, groups, reader):
        original(view, config, groups, reader)
        if reader == f"stage {stage}":
            assert name in view.named
            view.named.remove(name)
            view.allowed.discard(name)

    monkeypatch.setattr(config_module.View, "__init__", without)
    with pytest.raises(OtocError, match=rf"stage {stage} reads the parameter '{name}', which its key does not name"):
        run_everything(tiny_experiment("read", **ALL_READ), scenes)


@pytest.mark.parametrize("name", ["points_share", "points_per_class_column"])
def test_drawn_points_read_what_the_key_names(scenes, name, monkeypatch):
    original = config_module.View.__init__

    def without(view, config, groups, reader):
        original(view, config, groups, reader)
        view.named.remove(name)
        view.allowed.discard(name)

    monkeypatch.setattr(config_module.View, "__init__", without)
    with pytest.raises(OtocError, match=f"stage clicks reads the parameter '{name}'"):
        Stages(tiny_experiment("unread", source="points", **{name: 1}), scenes).clicks()


def test_what_belongs_to_the_machine_is_in_no_key_and_may_be_read():
    plain, other = (
        Plan(tiny_experiment(**values))
        for values in (
            {},
            {"workers": 2, "checkpoint_seconds": 1.0, "propagation": "chunked", "sparse_backend": "torch"},
        )
    )
    for planned in (plain, other):
        list(planned.method.loop(planned))
    assert plain.stages == other.stages


# --- rules and methods of one's own -----------------------------------------------------------------------------------


def balanced(config, rooms):
    """The surest half of each class over all rooms; needs two passes."""
    found = np.concatenate([np.stack([p.argmax(axis=1), p.max(axis=1)], axis=1) for p in rooms])
    least = {c: np.median(found[found[:, 0] == c, 1]) for c in np.unique(found[:, 0])}
    for probabilities in rooms:
        labels = probabilities.argmax(axis=1)
        bound = np.array([max(least[label], config.threshold) for label in labels])
        yield np.where(probabilities.max(axis=1) >= bound, labels, IGNORE).astype(np.int16)


def test_a_new_rule_is_one_function_that_sees_all_rooms(finished, scenes, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "balanced", balanced, raising=False)
    config = replace(tiny_experiment("balanced", threshold=0.0), pseudo_labels="balanced")
    balanced_run = Stages(config, scenes)
    made = next(iter(balanced_run.method.loop(balanced_run)))
    labels = np.concatenate(list(balanced_run.labels_of(made.pseudo).values()))
    threshold = Stages(tiny_experiment("all", threshold=0.0), scenes)
    everything = np.concatenate(list(threshold.labels_of(next(iter(threshold.method.loop(threshold))).pseudo).values()))
    assert (everything != IGNORE).all()
    for label in np.unique(everything):  # by super-voxels, so about half of the points; clicked ones always stay
        share = (labels[everything == label] != IGNORE).mean()
        assert 0.2 < share <= 1.0
    assert 0.4 < (labels != IGNORE).mean() < 0.9
    assert not list(made.pseudo.path.glob("*.scores"))


def test_an_interrupted_relabelling_predicts_no_room_twice(finished, scenes, monkeypatch):
    config, seen = tiny_experiment("interrupted", threshold=0.4), []
    method = method_of(config)

    def scores(view, scene, networks):
        seen.append(scene.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return method.scores(view, scene, networks)

    own = Stages(config, scenes, replace(method, scores=scores))
    with pytest.raises(KeyboardInterrupt):
        own.relabel(1, finished[0].networks, own.clicks())
    stage = own.relabel(1, finished[0].networks, own.clicks())
    assert seen == ["scene0000_00", "scene0001_00", "scene0002_00", "scene0002_00"]
    names = {path.name for path in stage.path.iterdir()}
    assert names == {*(f"{scene.name}.safetensors" for scene in scenes.train), "statistics.json", "manifest.json"}


def test_fingerprints_are_those_of_the_rooms(scenes):
    own = Stages(tiny_experiment(), scenes)
    joined = "".join(scene.fingerprint for scene in scenes.train)
    assert own.fingerprint("train") == hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()
    fewer = Stages(tiny_experiment(), replace(scenes, train=scenes.train[:2]))
    assert fewer.fingerprint("train") != own.fingerprint("train") == own.fingerprint("train")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_again_and_again_is_told_and_nothing_is_lost(
    finished, scenes, tmp_path, monkeypatch, number
):
    """After every few writes, whatever is written: torch's and safetensors' files included."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    monkeypatch.chdir(tmp_path)
    written, full = 0, []
    flush = files._flush

    def fill(path):
        nonlocal written
        if path.is_file() and ".locks" not in path.parts:
            written += 1
            if written == 6:
                raise OSError(errno.ENOSPC, "no room")
        flush(path)

    monkeypatch.setattr(files, "_flush", fill)
    config = tiny_experiment(checkpoint_seconds=0.0)
    while True:
        written = 0
        try:
            done = list(run_method(config, scenes))
            break
        except OtocError as error:
            assert re.search(r": cannot be written, the disk is full; make room", str(error))
            full.append(str(error))
    assert len(full) > 8 and not list((tmp_path / "runs").rglob("*.part"))
    for iteration, whole in zip(done, finished, strict=True):
        for stage, other in ((iteration.unet, whole.unet), (iteration.relation, whole.relation)):
            assert stage.key == other.key and stage.read("weights.safetensors") == other.read("weights.safetensors")
        assert iteration.pseudo.files == whole.pseudo.files
        assert iteration.evaluation.files == whole.evaluation.files


def test_curves_for_tensorboard_lie_beside_the_stages_and_are_in_no_key(checkout, scenes):
    quiet, told = (tiny_experiment(f"told{value}", seed=3, tensorboard=value) for value in (False, True))
    names = ("unet_1", "relation_1", "unet_2", "relation_2")
    finished = list(run_method(told, scenes))
    assert {path.name for path in (told.run_folder / "tensorboard").iterdir()} == {*names, "evaluate"}
    found = {}
    for path in (told.run_folder / "tensorboard/evaluate").iterdir():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.tensor.float_val[0]
    for done in finished:
        modes = json.loads((done.evaluation.path / "metrics.json").read_text())["splits"]["val"]["modes"]
        for mode, values in modes.items():
            assert found[f"mIoU/val/{mode}"][done.number] == pytest.approx(values["miou"], rel=1e-6)
        assert not [name for name in done.evaluation.files if "events" in name]
    assert len(finished) == 2 and len(found["mIoU/val/point"]) == 2
    again = list(run_method(quiet, scenes))  # every stage is found, by its key
    assert [done.evaluation.key for done in again] == [done.evaluation.key for done in finished]
    assert all(done.evaluation.reused and done.unet.reused for done in again)
    assert not (quiet.run_folder / "tensorboard").exists()
