"""Table 1 as a benchmark's server fills it, on rooms whose labels neither training nor evaluation reads.

What a run predicted for the split ``test`` is written as a submission to ScanNet's benchmark, and another process
scores it, which alone opens the labels. ScanNet's own are not to be had: there the server is that process.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from otoc_lib.datasets import load_split
from otoc_lib.errors import OtocError
from otoc_lib.experiments import Row
from otoc_lib.reporting.runs import Measurement, Results, export_evaluation

SPLIT, LABELS = "test", "test_labels"  # the folder lies beside the rooms, where there is one
# Row of Table 1 -> the row of Table 2 whose networks and mode of inference it takes.
ROWS = {
    "supervised": "supervised",
    "supervised_full": "supervised_full",
    "minkowskinet": "minkowskinet",
    "pointnet2": "pointnet2",
    "otoc_full": "otoc_full",
    "data_efficient": "data_efficient_full",
    "mprm_scene": "mprm_scene",
    "mprm_subcloud": "mprm_subcloud",
    "mprm_crf": "mprm_crf",
    "mprm_plain": "mprm_plain",
    "otoc_control": "otoc_control_full",
    "data_efficient_control": "data_efficient_control_full",
}
# Row of Table 1 -> its control there.
CONTROLS = {
    "otoc_full": "otoc_control",
    "data_efficient": "data_efficient_control",
    "mprm_subcloud": "mprm_plain",
    "mprm_crf": "mprm_subcloud",
}


def hidden_scores(results: Results, folder: Path) -> dict[str, Measurement]:
    """The mIoU of every row of ``ROWS`` that was run, over all hidden rooms; submissions stay in ``folder``."""
    rows = {row.row: row for row in results.rows("table2")}
    found = {name: _score(results, rows[of], name, folder) for name, of in ROWS.items() if of in rows}
    return {name: measured for name, measured in found.items() if measured}


def by_stage(hidden: Mapping[str, Measurement], results: Results) -> dict[tuple[str, str], dict[str, float]]:
    """``hidden_scores`` as run and stage -> mode -> mIoU, which ``kept.keep_numbers`` takes."""
    rows, found = {row.row: row for row in results.rows("table2")}, {}
    for name, measured in hidden.items():
        row = rows[ROWS[name]]
        for seed, score in measured.by_seed.items():
            found.setdefault((results.seeds(row.experiment)[seed], results.stage_of(row)), {})[row.mode] = score
    return found


def _score(results: Results, row: Row, name: str, folder: Path) -> Measurement | None:
    known, by_seed, views, names = results.known(row.experiment), {}, 0, frozenset()
    if known is None or SPLIT not in known.config.eval_splits:
        return None
    labels = known.config.data_folder / LABELS
    for seed in results.seeds(row.experiment):
        name_of_stage = results.stage_of(row)
        metrics = results.metrics(row.experiment, name_of_stage, seed)
        stage = results.find(row.experiment, name_of_stage, seed)
        if metrics is None or row.mode not in metrics["predicted"]:
            continue
        if stage is not None and labels.is_dir():
            config = replace(known.config, seed=seed)
            path = folder / f"{name}_seed{seed}.zip"
            export_evaluation(stage, load_split(config, SPLIT), SPLIT, row.mode, path)
            by_seed[seed] = score_elsewhere(path, labels)
        elif (kept := results.hidden_score(row.experiment, name_of_stage, row.mode, seed)) is not None:
            by_seed[seed] = kept
        else:
            continue
        views, names = metrics["views"], frozenset(metrics["splits"][SPLIT]["rooms"])
    return Measurement(by_seed, views, names) if by_seed else None


def score_elsewhere(submission: Path, labels: Path) -> float:
    """The mIoU, in percent, that ``score-benchmark`` finds for a submission, in a process of its own."""
    command = [sys.executable, "-m", "otoc_lib", "score-benchmark", str(submission), str(labels)]
    done = subprocess.run(command, capture_output=True, text=True)
    said = re.search(r"^mIoU +([0-9.]+)$", done.stdout, re.MULTILINE)
    if done.returncode or said is None:
        raise OtocError(f"{submission}: the evaluator gave no score: {done.stderr.strip() or done.stdout.strip()}")
    return float(said[1])
