"""The one list: what a profile runs, in which order, and which rows its tables have."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import current_keys

from otoc_lib.__main__ import main
from otoc_lib.config import load_config, run_name
from otoc_lib.datasets import cache
from otoc_lib.errors import OtocError
from otoc_lib.experiments import (
    BASELINE,
    LISTED,
    Experiment,
    control_of,
    current_stages,
    main_experiment,
    parse_seeds,
    plan_jobs,
    read_profile,
    read_what_is_right,
    rows_of,
    sweeps,
    warn_of_idle,
    write_plan,
)
from otoc_lib.progress import PLAN, unfinished
from otoc_lib.reporting import paper
from otoc_lib.reporting.hidden_test import ROWS

PARAMS = Path(__file__).parents[1] / "params"


@pytest.fixture(scope="module")
def jobs():
    return plan_jobs(PARAMS, "rooms")


def test_every_profile_plans_jobs_in_an_order_in_which_they_can_run():
    for profile in ("smoke", "rooms", "study", "sweeps", "scannet", "s3dis"):
        done = set()
        for job in plan_jobs(PARAMS, profile):
            assert set(job.after) <= done and job.name not in done
            done.add(job.name)
        experiments = read_profile(PARAMS, profile)
        assert {run for _, run in done} == {run_name(known.name, seed) for known in experiments for seed in known.seeds}


def test_the_sweeps_of_the_kit_are_curves_with_a_control_at_every_value():
    curves = sweeps(read_profile(PARAMS, "sweeps"))
    assert {name: [point.value for point in points] for name, points in curves.items()} == {
        "clicks_wrong": [0, 0.05, 0.1, 0.2],
        "clicks_forgotten": [0, 0.1, 0.3],
        "clicks_per_object": [1, 2, 3, 5],
        "train_rooms": [12, 24, 48, 96],
    }
    assert all(point.control for points in curves.values() for point in points)
    swept = {name for points in curves.values() for point in points for name in point.experiments}
    assert swept == {experiment.name for experiment in read_profile(PARAMS, "sweeps")}


def test_notebooks_run_what_they_show(jobs):
    names = {job.name for job in jobs}
    assert {run for notebook, run in names if notebook == "01_annotate"} == {"otoc", "s3dis_otoc"}
    assert {run for notebook, run in names if notebook == "04_ablate"} == {"unet", "unet_gp"}
    assert {name for name in names if name[0] in ("05_tsne", "06_report")} == {
        ("05_tsne", "otoc"),
        ("06_report", "otoc"),
    }
    assert ("03_self_train", "supervised") not in names and ("02_baseline", "supervised") in names


def test_what_starts_from_the_same_clicks_shares_its_first_network_and_waits_for_it(jobs):
    made = {}  # (stage, key) -> job
    for job in jobs:
        for stage in job.makes:
            assert (stage.name, stage.key) not in made  # by one job only
            made[stage.name, stage.key] = job.name
        for needed in job.needs:
            assert made[needed] == job.name or made[needed] in job.after
    first = [name for (stage, _), name in made.items() if stage == "unet_1"]
    assert sorted(run for _, run in first) == [
        *("otoc", "s3dis_otoc", "s3dis_supervised", "supervised"),
    ]  # rooms and areas do not count as one


def test_chains_count_the_steps_of_what_waits(jobs):
    chains, rooms = {job.name: job.chain for job in jobs}, load_config(f"{PARAMS}/rooms/otoc.yaml")
    later = rooms.self_train_iterations - 1
    unets, relation_nets = later * rooms.unet_steps_later, later * rooms.relation_steps_later
    assert chains["04_ablate", "unet"] == unets
    # The relation net of the first iteration is the control's too, which waits for it.
    assert chains["03_self_train", "control"] == unets + relation_nets + chains["04_ablate", "unet"]
    own = unets + rooms.relation_steps + relation_nets
    assert chains["03_self_train", "otoc"] == own + chains["03_self_train", "control"]
    assert chains["02_baseline", "otoc"] == rooms.unet_steps + chains["03_self_train", "otoc"]
    # Full supervision takes the steps of all iterations at once.
    assert chains["02_baseline", "supervised"] == rooms.unet_steps + unets and chains["06_report", "otoc"] == 0


def test_seeds_fan_out_every_experiment(jobs):
    several = plan_jobs(PARAMS, "rooms", [0, 1, 2])
    assert {job.name for job in jobs} <= {job.name for job in several}
    for notebook in ("02_baseline", "03_self_train", "04_ablate"):
        runs = [job.run for job in several if job.notebook == notebook]
        base = [job.run for job in jobs if job.notebook == notebook]
        assert sorted(runs) == sorted(name + end for name in base for end in ("", "_seed1", "_seed2"))
    assert [job.seed for job in several if job.run == "otoc_seed2"] == [2, 2]  # its clicks are drawn in 02_baseline
    assert len({job.run for job in several if job.notebook == "01_annotate"}) == 2
    assert parse_seeds("0,1,2") == [0, 1, 2] and parse_seeds(1) == [1] and parse_seeds(None) is None
    with pytest.raises(OtocError, match="seeds=a,b: write whole numbers"):
        parse_seeds("a,b")


def test_progress_counts_the_first_u_net_of_each_kind_of_clicks_once(jobs, tmp_path):
    """The first U-Net of ``otoc`` is shared with three experiments, not with those on the areas."""
    runs = tmp_path / "rooms"
    write_plan(jobs, runs / PLAN)
    plan = json.loads((runs / PLAN).read_text())
    rooms, areas = (load_config(f"{PARAMS}/rooms/{name}.yaml") for name in ("otoc", "s3dis_otoc"))
    steps = sum(
        2 * config.unet_steps  # of clicks, and of every label,
        + (1 + experiments)
        * (config.self_train_iterations - 1)
        * config.unet_steps_later  # which trains as long in all
        + config.relation_steps
        + 2 * (config.self_train_iterations - 1) * config.relation_steps_later  # of the control too
        for config, experiments in ((rooms, 4), (areas, 2))
    )
    assert sum(stage["steps"] for stage in unfinished(runs, plan)) == steps
    assert sum(stage["stage"] == "tsne" for stage in unfinished(runs, plan)) == 1
    (runs / "otoc" / "unet_1").mkdir(parents=True)
    (runs / "otoc" / "unet_1" / "manifest.json").write_text('{"stage": "unet_1", "key": "k", "files": {}}')
    assert sum(stage["steps"] for stage in unfinished(runs, plan)) == steps - rooms.unet_steps


def test_a_copy_with_the_name_left_in_is_refused(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "copy.yaml").write_text("profile: p\nexperiment: otoc\n")
    with pytest.raises(OtocError, match="copy.yaml: names the experiment p/otoc, so it would write over"):
        read_profile(tmp_path, "p")


def test_a_file_that_cannot_name_a_run_is_the_culprit_in_a_plan(tmp_path):
    write(tmp_path, "otoc")
    for name in ("control copy", "otoc (2)"):
        path = tmp_path / "p" / f"{name}.yaml"
        path.write_text(f"profile: p\nexperiment: {name}\n")
        for call in (read_profile, plan_jobs):
            with pytest.raises(OtocError, match="its name holds a blank") as error:
                call(tmp_path, "p")
            assert str(error.value).startswith(str(path))
        path.unlink()
    (tmp_path / "p" / "._otoc.yaml").write_bytes(b"\0\5\x16\7")  # as macOS leaves beside files
    assert [experiment.name for experiment in read_profile(tmp_path, "p")] == ["otoc"]


def test_files_that_some_systems_take_for_one_are_refused(tmp_path):
    write(tmp_path, "otoc")
    write(tmp_path, "Otoc")
    with pytest.raises(OtocError, match="otoc.yaml: Otoc.yaml has the same name but for capitals; rename"):
        read_profile(tmp_path, "p")


def test_wrong_seeds_of_the_command_line_are_refused():
    for seeds in ([2**31 + 1], [-1], [0, 0]):
        with pytest.raises(OtocError, match="'seeds'"):
            plan_jobs(PARAMS, "rooms", seeds)


def test_a_profile_without_its_main_experiment_is_named(tmp_path):
    with pytest.raises(OtocError, match="profile=nowhere: .*otoc.yaml does not exist"):
        plan_jobs(tmp_path, "nowhere")
    assert main_experiment(["unet_gp", "s3dis_otoc", "x"]) == "s3dis_otoc" and main_experiment(["x"]) is None


def write(folder, name, **values):
    path = folder / "p" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    lines = {"profile": "p", "experiment": name, **values}
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))


def test_an_experiment_that_no_list_names_gets_jobs_and_rows(tmp_path):
    write(tmp_path, "otoc", self_train_iterations=2)
    write(tmp_path, "often", method="control", self_train_iterations=4, clicks_per_object=2)
    write(tmp_path, "s3dis_mean_teacher_02", method="control", self_train_iterations=1, dataset="s3dis", source="all")
    write(tmp_path, "s3dis_pi_model_02", method="control", self_train_iterations=1, dataset="s3dis")
    experiments = read_profile(tmp_path, "p")
    further = [row for row in rows_of("table2", experiments) if row not in LISTED["table2"]]
    assert [(row.row, row.mode, row.annotation) for row in further] == [
        ("often", "point", "2 clicks/object"),
        ("often_sv", "sv", "2 clicks/object"),
        ("often_full", "full", "2 clicks/object"),
    ]
    assert "often" in further[0].setting and further[0].notebook == "03_self_train"
    on_areas = [row.row for row in rows_of("table4", experiments) if row not in LISTED["table4"]]
    assert "pi_model_02" in on_areas and rows_of("table2") == LISTED["table2"]
    write(tmp_path, "otoc_sv", method="control")
    with pytest.raises(OtocError, match="taken for the row otoc_sv of table2; rename"):
        rows_of("table2", read_profile(tmp_path, "p"))
    (tmp_path / "p" / "otoc_sv.yaml").unlink()
    by_name = {experiment.name: experiment for experiment in experiments}
    assert by_name["often"].last_evaluation == "evaluate_4" and by_name["otoc"].last_evaluation == "evaluate_2"
    names = [job.name for job in plan_jobs(tmp_path, "p")]
    assert ("03_self_train", "often") in names and ("03_self_train", "s3dis_pi_model_02") in names


def test_a_method_stands_beside_the_control_of_its_own_labels_and_steps(tmp_path):
    few = {"source": "points", "points_share": 0.002, "dataset": "s3dis", "self_train_iterations": 1}
    write(tmp_path, "otoc")
    write(tmp_path, "control", method="control")
    write(tmp_path, "s3dis_xu_baseline_02", method="control", variant="unet", **few)
    write(tmp_path, "s3dis_longer", method="control", variant="unet", unet_steps=7, **few)
    write(tmp_path, "s3dis_pi_model_02", method="pi_model", consistency=5.0, **few)
    write(tmp_path, "s3dis_pi_longer", method="pi_model", unet_steps=7, **few)
    write(tmp_path, "s3dis_pi_alone", method="pi_model", unet_steps=8, **few)
    write(tmp_path, "sure", threshold=0.99, tensorboard=True, workers=2)  # how it is run is no difference
    write(tmp_path, "s3dis_rules", method="released", **few)  # trains a relation net, which no control here does
    experiments = read_profile(tmp_path, "p")
    rows = {row.row: row.control for table in LISTED for row in rows_of(table, experiments)}
    assert rows["pi_model_02"] == "xu_baseline_02" and rows["pi_model_02_sv"] == "xu_baseline_02_sv"
    assert rows["pi_longer"] == "longer" and rows["pi_alone"] == "" and rows["xu_baseline_02"] == ""
    assert rows["rules"] == ""
    assert (rows["sure"], rows["sure_sv"], rows["sure_full"]) == (
        "otoc_control",
        "otoc_control_sv",
        "otoc_control_full",
    )


def test_labels_from_images_fill_the_papers_rows_by_one_training():
    experiments = {experiment.name: experiment for experiment in read_profile(PARAMS, "study")}
    rows = {row.row: row for row in rows_of("table4", experiments.values())}
    published = {row.row for row in paper.TABLE4}
    supervised = experiments["s3dis_supervised"].config
    for share, annotation in (("17", "16.7 % of the images"), ("100", "100 % of the images")):
        row, experiment = rows[f"gpfn_{share}"], experiments[f"s3dis_gpfn_{share}"]
        assert row.row in published and (row.annotation, row.stage, row.mode) == (annotation, BASELINE, "point")
        assert rows[f"gpfn_{share}_sv"].setting == f"Labels from images (gpfn_{share}), averaged in super-voxels"
        assert row.notebook == "02_baseline" and experiment.notebooks == ("02_baseline",)
        told = ("experiment", "source", "images_share")
        same = {name: getattr(supervised, name) for name in told}
        assert replace(experiment.config, **same) == supervised
    joint, alike = rows["gpfn_joint_17"], experiments["s3dis_gpfn_joint_17"].config
    assert joint.control == "gpfn_17" and joint.setting == "GPFN, joint (gpfn_joint_17)" and joint.stage == "last"
    labelled = vars(experiments["s3dis_gpfn_17"].config)
    other = {name for name, value in vars(alike).items() if value != labelled.get(name)}
    own = {"visibility_weight", "visibility_cell", "frames_per_step"}
    assert other == {"experiment", "method", "variant"} | own
    jobs = plan_jobs(PARAMS, "study")
    assert {job.run for job in jobs if job.images} == {
        f"s3dis_gpfn_{share}{end}" for share in ("17", "100", "joint_17") for end in ("", "_seed1", "_seed2")
    }
    assert {job.images for job in jobs} == {"", "data/s3dis_frames"}


def test_points_alone_are_called_labels_and_not_clicks():
    rows = {row.row: row.setting for row in rows_of("table4", read_profile(PARAMS, "study"))}
    assert rows["xu_baseline_10"] == "The labels alone (xu_baseline_10)"
    assert rows["otoc_control"].endswith("control: clicks only, as many steps")


def test_what_is_trained_once_is_no_control_of_more_iterations(tmp_path):
    images = {"source": "images", "images_root": "frames"}
    write(tmp_path, "otoc", **images)
    write(tmp_path, "control", method="control", **images)
    write(tmp_path, "pi", method="pi_model", **images)
    write(tmp_path, "short", self_train_iterations=1, threshold=0.8, **images)
    write(tmp_path, "short_control", method="control", self_train_iterations=1, **images)
    experiments = read_profile(tmp_path, "p")
    beside = {experiment.name: control_of(experiment, experiments) for experiment in experiments}
    assert beside == {"otoc": "", "control": "", "pi": "control", "short": "short_control", "short_control": ""}


def test_other_backbones_are_the_rows_that_the_paper_quotes_them_in():
    """With every label in all three modes; what the paper does not list gets a row of its own."""
    experiments = read_profile(PARAMS, "study")
    for table, quoted, ours in (
        ("table2", {row.row for row in paper.TABLE1}, {"minkowskinet": "minkunet34", "pointnet2": "pointnet2"}),
        (
            "table4",
            {row.row for row in paper.TABLE4} | {"pointnet2"},
            {"minkowskinet32": "s3dis_minkunet34", "pointnet2": "s3dis_pointnet2"},
        ),
    ):
        rows = {row.row: row for row in rows_of(table, experiments)}
        for name, experiment in ours.items():
            assert name in quoted
            for mode, row in (("point", name), ("sv", f"{name}_sv"), ("full", f"{name}_full")):
                found = rows[row]
                assert (found.experiment, found.mode, found.notebook) == (experiment, mode, "02_baseline")
                assert found.annotation == "every point" and found.control == ""
                assert found.setting.startswith(f"Fully supervised ({name})")
    assert {ROWS[name] for name in ("minkowskinet", "pointnet2")} <= {r.row for r in rows_of("table2", experiments)}
    assert ROWS.keys() - {row.row for row in paper.TABLE1} == {
        *("supervised_full", "otoc_control", "data_efficient_control", "mprm_plain"),
    }


def test_what_the_study_does_not_measure_is_quoted():
    experiments = read_profile(PARAMS, "study")
    for table, rows in (("table1", paper.TABLE1), ("table2", paper.TABLE2), ("table4", paper.TABLE4)):
        known = {row.row for row in rows_of("table2" if table == "table1" else table, experiments)}
        if table == "table1":
            known = {row for row, of in ROWS.items() if of in known}
        assert {row.row for row in rows if row.quoted} == {row.row for row in rows} - known


def test_rows_say_how_many_points_are_labelled(tmp_path):
    write(tmp_path, "otoc")
    write(tmp_path, "tenth", method="control", source="points", points_share=0.1)
    write(tmp_path, "few", method="control", source="points", points_share=0.002)
    write(tmp_path, "column", method="control", source="points", points_per_class_column=1)
    rows = {row.row: row.annotation for row in rows_of("table2", read_profile(tmp_path, "p"))}
    assert (rows["tenth"], rows["few"]) == ("10 % of the points", "0.2 % of the points")
    assert rows["column"] == "1 point/class and square metre"


def test_rows_say_what_sets_their_labels_apart_from_the_main_ones(tmp_path):
    """Labels of fewer rooms, or of wrong clicks, stand in no column of those that are right."""
    write(tmp_path, "otoc", train_rooms=8)
    write(tmp_path, "alike", train_rooms=8, threshold=0.8)
    write(tmp_path, "half", train_rooms=4, threshold=0.8)
    write(tmp_path, "spoilt", train_rooms=8, clicks_wrong=0.05, clicks_forgotten=0.1)
    rows = {row.row: row.annotation for row in rows_of("table2", read_profile(tmp_path, "p"))}
    assert (rows["alike"], rows["half"]) == ("one click/object", "one click/object, 4 rooms")
    assert rows["spoilt_full"] == "one click/object, 5 % wrong, 10 % forgotten"


def test_a_u_net_alone_has_no_row_after_propagation(tmp_path):
    write(tmp_path, "otoc")
    for variant in ("unet", "unet_gp", "unet_rel_gp"):
        write(tmp_path, f"c_{variant}", method="control", variant=variant, source="points", points_share=0.1)
    write(tmp_path, "pi", method="pi_model", variant="unet", source="points", points_share=0.1)
    rows = [row.row for row in rows_of("table2", read_profile(tmp_path, "p"))]
    modes = {name: [row for row in rows if row.startswith(name)] for name in ("c_unet_gp", "c_unet_rel_gp", "pi")}
    assert modes["c_unet_gp"] == ["c_unet_gp", "c_unet_gp_sv", "c_unet_gp_full"]
    assert modes["c_unet_rel_gp"] == ["c_unet_rel_gp", "c_unet_rel_gp_sv", "c_unet_rel_gp_full"]
    assert modes["pi"] == ["pi", "pi_sv"]
    assert [row for row in rows if row in ("c_unet", "c_unet_sv", "c_unet_full")] == ["c_unet", "c_unet_sv"]


def test_labels_that_spread_are_labels_of_another_kind(tmp_path):
    """In words, and for controls: one on the clicks' own super-voxels is none of a method on what they spread to."""
    write(tmp_path, "otoc")
    write(tmp_path, "control", method="control")
    write(tmp_path, "far", click_spread=0.01, threshold=0.8)
    write(tmp_path, "far3", click_spread=0.01, clicks_per_object=3, method="control")
    experiments = read_profile(tmp_path, "p")
    rows = {row.row: row for row in rows_of("table2", experiments)}
    assert rows["far"].annotation == "one click/object, spread" and rows["far"].control == ""
    assert rows["far3"].annotation == "three clicks/object, spread"
    write(tmp_path, "far_control", click_spread=0.01, method="control")
    experiments = read_profile(tmp_path, "p")
    rows = {row.row: row for row in rows_of("table2", experiments)}
    assert (rows["far"].control, rows["far_full"].control) == ("far_control", "far_control_full")


def test_rows_of_sets_of_classes_are_those_of_table_1(tmp_path):
    write(tmp_path, "otoc")
    write(tmp_path, "control", method="control")
    write(tmp_path, "mprm_scene", method="mprm", source="scene")
    write(tmp_path, "mprm_subcloud", method="mprm", source="subcloud", subcloud_radius=1)
    write(tmp_path, "mprm_crf", method="mprm", source="subcloud", subcloud_radius=0.75, mprm_crf=True)
    rows = {row.row: row for row in rows_of("table2", read_profile(tmp_path, "p")) if "mprm" in row.row}
    assert {name: row.annotation for name, row in rows.items() if row.mode == "point"} == {
        "mprm_scene": "scene-level",
        "mprm_subcloud": "subcloud-level, 1.0 m",
        "mprm_crf": "subcloud-level, 0.75 m",
    }
    assert set(rows) == {f"mprm_{kind}{mode}" for kind in ("scene", "subcloud", "crf") for mode in ("", "_sv")}
    assert not any(row.control for row in rows.values())  # the radius of the CRF's labels is another


def test_region_mining_stands_beside_itself_without_crf_or_with_one_path(tmp_path):
    balls = {"method": "mprm", "source": "subcloud", "subcloud_radius": 1}
    write(tmp_path, "otoc")
    write(tmp_path, "mprm_subcloud", **balls)
    write(tmp_path, "mprm_crf", **balls, mprm_crf=True)
    write(tmp_path, "mprm_plain", **balls, mprm_paths=1, device="cpu")
    write(tmp_path, "mprm_plain_crf", **balls, mprm_paths=1, mprm_crf=True)
    write(tmp_path, "mprm_longer", **balls, mprm_steps=7)
    write(tmp_path, "mprm_crf_longer", **balls, mprm_steps=8, mprm_crf=True)
    write(tmp_path, "mprm_two", **balls, mprm_paths=2)
    rows = {row.row: row.control for row in rows_of("table2", read_profile(tmp_path, "p")) if "mprm" in row.row}
    assert {row: beside for row, beside in rows.items() if not row.endswith("_sv")} == {
        "mprm_subcloud": "mprm_plain",
        "mprm_crf": "mprm_subcloud",
        "mprm_plain": "",
        "mprm_plain_crf": "mprm_plain",
        "mprm_longer": "",
        "mprm_crf_longer": "",
        "mprm_two": "mprm_plain",
    }
    assert rows["mprm_crf_sv"] == "mprm_subcloud_sv" and rows["mprm_subcloud_sv"] == "mprm_plain_sv"


def test_the_study_mines_with_one_path_for_as_long_on_the_same_labels():
    experiments = read_profile(PARAMS, "study")
    rows = {row.row: row.control for row in rows_of("table2", experiments)}
    assert (rows["mprm_subcloud"], rows["mprm_crf"], rows["mprm_plain"]) == ("mprm_plain", "mprm_subcloud", "")


def test_region_mining_from_balls_shares_its_network_and_takes_less_than_three_iterations():
    jobs = {job.name: job for job in plan_jobs(PARAMS, "study")}
    base = load_config(f"{PARAMS}/study/otoc.yaml")
    balls, refined, whole = (jobs["03_self_train", name] for name in ("mprm_subcloud", "mprm_crf", "mprm_scene"))
    shared = set(balls.needs) & set(refined.needs)
    assert {name for name, _ in shared} == {"clicks", "maps_1"}
    assert ("03_self_train", "mprm_crf") in balls.after or ("03_self_train", "mprm_subcloud") in refined.after
    steps = {(stage.name, stage.key): stage.steps for made in jobs.values() for stage in made.makes}
    for job, cost in ((balls, 0.5), (refined, 0.5), (whole, 2)):  # of a step of mining, in those of the U-Net, measured
        (maps, unet) = (next(steps[stage] for stage in job.needs if stage[0] == name) for name in ("maps_1", "unet_1"))
        assert cost * maps + unet < 2 * (base.unet_steps + 2 * base.unet_steps_later)  # those of both networks
    assert sum(steps[stage] for stage in whole.needs if stage[0] in ("maps_1", "unet_1")) <= (
        base.unet_steps + base.unet_steps_later
    )


def test_experiments_know_their_files_and_seeds():
    experiment = next(e for e in read_profile(PARAMS, "rooms", [2, 5]) if e.name == "s3dis_otoc")
    assert isinstance(experiment, Experiment) and experiment.seeds == [2, 5] and experiment.config.seed == 2
    assert [path.name for path in experiment.files] == ["s3dis_otoc.yaml", "_areas.yaml"]


def test_files_that_are_right_are_read_beside_one_that_is_wrong(tmp_path):
    write(tmp_path, "otoc")
    write(tmp_path, "wrong", views="many")
    found, wrong = read_what_is_right(tmp_path, "p")
    assert [experiment.name for experiment in found] == ["otoc"]
    assert wrong.keys() == {"wrong"} and "wrong.yaml: parameter 'views' must be" in wrong["wrong"]
    with pytest.raises(OtocError, match=r"wrong\.yaml"):
        read_profile(tmp_path, "p")


def test_a_job_has_another_digest_with_other_parameters(tmp_path):
    def digests(**values):
        write(tmp_path, "otoc", self_train_iterations=2, **values)
        return {job.notebook: job.digest for job in plan_jobs(tmp_path, "p")}

    before, after = digests(), digests(threshold=0.7)
    assert before == digests()
    assert {notebook for notebook in before if before[notebook] != after[notebook]} == {"03_self_train", "05_tsne"}


def test_every_notebook_that_may_run_on_an_experiment_has_its_stages_in_its_keys():
    config = next(e for e in read_profile(PARAMS, "smoke") if e.name == "unet").config
    rooms = {"train": "t", "val": "v", "val_novel": "n"}
    found = current_stages(config, rooms)
    assert list(found) == ["01_annotate", "02_baseline", "04_ablate"] and "05_tsne" in current_stages(
        replace(config, variant="unet_rel_gp"), rooms
    )
    keys = current_keys(config, rooms)
    assert keys.keys() == {"clicks", "unet_1", "unet_2", "pseudo_1", "pseudo_2", "evaluate_baseline"} | {
        f"evaluate_{k}" for k in (1, 2)
    }
    other = current_keys(config, rooms | {"val": "w"})
    assert {name for name in keys if keys[name] != other[name]} == {"evaluate_baseline", "evaluate_1", "evaluate_2"}
    assert keys == current_keys(replace(config, device="cuda", experiment="e"), rooms)  # of another machine


def idle(tmp_path, text, **changes):
    """What ``warn_of_idle`` says of a params file with these lines and changes."""
    path = tmp_path / "p" / "e.yaml"
    path.parent.mkdir(exist_ok=True)
    (path.parent / "_b.yaml").write_text("threshold: 0.5\n")
    path.write_text(f"profile: p\nexperiment: e\n{text}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_idle(load_config(path, **changes), path, changes)
    return [str(warning.message) for warning in told]


def test_a_parameter_that_no_stage_reads_is_told(tmp_path):
    for text, name in (
        ("method: control\nclick_reach: 0.1\n", "click_reach"),
        ("method: pi_model\nthreshold: 0.5\n", "threshold"),
        ("method: control\nvariant: unet\nbandwidth: 3.0\n", "bandwidth"),
        ("variant: unet_gp\nrelation_power: 0.3\n", "relation_power"),
        ("method: pi_model\nself_train_iterations: 3\n", "self_train_iterations"),  # which is in no key
        ("method: pi_model\nself_train_iterations: 1\n", None),  # it is what there is
        ("extends: p/_b\nmethod: control\n", None),  # of other experiments as well
        ("method: control\nthreshold: 0.9\n", None),  # the default
        ("method: control\nworkers: 2\n", None),  # of the machine
        ("click_reach: 0.1\nthreshold: 0.5\nclick_spread: 0.1\n", None),
        ("tsne_supervoxels: 20\n", None),
    ):
        told = idle(tmp_path, text)
        assert len(told) == (name is not None), (text, told)
        assert name is None or f"e.yaml: {name!r} changes nothing here" in told[0]
    (told,) = idle(tmp_path, "method: control\n", threshold=0.3)
    assert told.startswith("-p threshold: 'threshold' changes nothing here: no stage of 'method: control'")


def test_what_make_begins_with_tells_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "prepare", lambda *configs, workers: None)
    monkeypatch.setattr(cache, "summaries", lambda config: [])
    (tmp_path / "e.yaml").write_text(f"profile: {tmp_path.name}\nexperiment: e\nmethod: control\nclick_reach: 0.1\n")
    with pytest.warns(UserWarning, match="e.yaml: 'click_reach' changes nothing here"):
        assert main(["prepare", str(tmp_path / "e.yaml")]) == 0
