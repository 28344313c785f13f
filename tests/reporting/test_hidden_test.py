from dataclasses import replace

import numpy as np
import pytest
from fake_rooms import known, make_experiment, results_in

from otoc_lib.errors import OtocError
from otoc_lib.labels import SCANNET20
from otoc_lib.reporting import hidden_test
from otoc_lib.reporting.hidden_test import hidden_scores, score_elsewhere
from otoc_lib.reporting.tables import table1


@pytest.fixture
def hidden(results, scenes, tmp_path, monkeypatch):
    """The validation rooms play the hidden ones: the runs have predicted them, and their labels lie in a folder."""
    ids = np.array([*SCANNET20.file_ids, 0])
    (tmp_path / "test_labels").mkdir()
    for scene in scenes["val"]:
        text = "".join(f"{label}\n" for label in ids[scene.labels.clip(-1)])
        (tmp_path / "test_labels" / f"{scene.name}.txt").write_text(text)
    monkeypatch.setattr(hidden_test, "SPLIT", "val")
    monkeypatch.setattr(hidden_test, "load_split", lambda config, split: scenes[split])
    experiments = [replace(e, config=replace(e.config, data_root=str(tmp_path))) for e in results.experiments]
    return replace(results, experiments=tuple(experiments))


def test_the_evaluator_finds_what_the_kit_would_have(hidden, tmp_path):
    found = hidden_scores(hidden, tmp_path / "submissions")
    assert found.keys() == {"supervised", "supervised_full", "otoc_full", "otoc_control"}  # no 20 points were run
    for name, measured in found.items():
        row = hidden.row(hidden_test.ROWS[name])
        assert measured.by_seed == pytest.approx(hidden.measure(row).by_seed, abs=0.006)
        assert (measured.views, measured.rooms) == (1, 4)
    table = table1(found)
    rows = {row[0]: dict(zip(table.csv_columns, row, strict=True)) for row in table.csv_rows}
    assert float(rows["otoc_full"]["ours"]) == pytest.approx(found["otoc_full"].mean, abs=0.006)
    gain = found["otoc_full"].by_seed[0] - found["otoc_control"].by_seed[0]  # the control ran seed 0 alone
    assert float(rows["otoc_full"]["gain"]) == pytest.approx(gain, abs=0.006) and rows["otoc_full"]["gain_low"] == ""
    assert float(rows["supervised_full"]["ours"]) == pytest.approx(found["supervised_full"].mean, abs=0.006)
    assert "mprm_plain" not in rows and rows["supervised_full"]["paper"] == ""
    assert rows["mprm_scene"]["ours"] == "not run" and "quoted" in table.note and "another process" in table.note


def test_region_mining_stands_beside_its_row_of_the_paper(hidden, scenes, tmp_path):
    mined = known("mprm_crf", method="mprm", source="scene", mprm_crf=True, data_root=str(tmp_path))
    make_experiment(tmp_path / "runs", mined, scenes, 0.4, ("point", "sv"))
    results = results_in(tmp_path / "runs", experiments=(mined,))
    found = hidden_scores(results, tmp_path / "submissions")
    assert found.keys() == {"mprm_crf"}
    assert found["mprm_crf"].by_seed == pytest.approx(results.measure(results.row("mprm_crf")).by_seed, abs=0.006)
    table = table1(found)
    rows = {row[0]: dict(zip(table.csv_columns, row, strict=True)) for row in table.csv_rows}
    assert (rows["mprm_crf"]["paper"], rows["mprm_subcloud"]["ours"]) == ("43.2", "not run")
    assert float(rows["mprm_crf"]["ours"]) == pytest.approx(found["mprm_crf"].mean, abs=0.006)


def test_without_labels_or_predictions_there_is_no_score(results, hidden, tmp_path, monkeypatch):
    assert hidden_scores(results, tmp_path / "none") == {} and not (tmp_path / "none").exists()
    monkeypatch.setattr(hidden_test, "SPLIT", "test")  # which these runs have not predicted
    assert hidden_scores(hidden, tmp_path / "none") == {}
    assert "only the benchmark's server" in table1({}).note


def test_an_evaluator_that_fails_says_why(hidden, tmp_path):
    hidden_scores(hidden, tmp_path)
    labels = tmp_path / "test_labels"
    next(iter(labels.iterdir())).unlink()
    with pytest.raises(OtocError, match="otoc_full_seed0.zip: the evaluator gave no score: .*it must hold one"):
        score_elsewhere(tmp_path / "otoc_full_seed0.zip", labels)
