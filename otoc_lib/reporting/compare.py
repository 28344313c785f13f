"""Two runs side by side: which parameters differ, and what that did to every row, class and room.

What is stale by the run's params file (see ``otoc_lib.current``) is left out, and said to be. Of a run without one,
such as a copy elsewhere, only what was made from one another is compared; nothing says whether it is current.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from otoc_lib.config import project_root
from otoc_lib.current import Runs
from otoc_lib.datasets.cache import TRAIN
from otoc_lib.errors import OtocError
from otoc_lib.evaluation import mean_iou
from otoc_lib.experiments import read_what_is_right
from otoc_lib.files import write_aside
from otoc_lib.methods.stages import FILES
from otoc_lib.reporting.bootstrap import interval_text, paired_interval
from otoc_lib.reporting.runs import MODES, read_confusions, read_json
from otoc_lib.store import MANIFEST, Stage, find_stage, read_manifest, stages_in

PAGES = Path(__file__).parent / "pages"


class NothingInCommonError(OtocError):
    """Two runs cannot be compared."""


@dataclass(frozen=True)
class Pair:
    """A number of both runs, in percent; ``what`` names it. ``note`` says why the two cannot be subtracted, if so."""

    what: tuple[str, ...]
    a: float | None
    b: float | None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Second minus first; None where one is missing or they were measured on other rooms."""
        return None if self.a is None or self.b is None or self.note else self.b - self.a


@dataclass(frozen=True)
class RunComparison:
    """What ``compare_runs`` finds.

    names: of the two runs. parameters: (name, value of the first, value of the second, stages) of those that differ, as
    text. only: stages that one run alone has finished, for each run. facts: (name, first, second) such as device and
    minutes. rows: mIoU by (stage, split, mode). basis: the (stage, split, mode) of classes, IoU by class, and rooms,
    mIoU by room, the largest loss first. total: second minus first, points of mIoU over the rooms that both have, and
    interval, its 95 % interval over them; None where a run kept no confusion matrices of them, or they are one. notes:
    sentences on what is left out, and on what is not known.
    """

    names: tuple[str, str]
    parameters: list[tuple[str, str, str, str]]
    only: tuple[list[str], list[str]]
    facts: list[tuple[str, str, str]]
    rows: list[Pair]
    basis: tuple[str, str, str]
    classes: list[Pair]
    rooms: list[Pair]
    total: float | None
    interval: tuple[float, float] | None
    notes: list[str]

    @property
    def summary(self) -> str:
        """One sentence on the rooms that both have: the difference, its interval, and how many are better."""
        gains = np.array([pair.difference for pair in self.rooms if pair.difference is not None])
        if not len(gains):
            return "The two runs share no room that could be judged."
        better = f"better in {(gains > 0).sum()} and worse in {(gains < 0).sum()} of {len(gains)} rooms"
        over, total = ("Room by room", gains.mean()) if self.total is None else ("Over these rooms", self.total)
        text = f"{over} {self.names[1]} is {total:+.2f} points of mIoU from {self.names[0]}, "
        return text + f"{interval_text(self.interval)}: {better}."


def compare_runs(run_a: Path, run_b: Path, held: Runs | None = None) -> RunComparison:
    """Compare two experiments' folders, runs/<profile>/<experiment>; of the same profile or not.

    held: the runs that both are of, beside their params files; by default those of this project.

    Raises:
        NothingInCommonError: a folder is no run, or the two have no current evaluation in common.
        OtocError: a file is damaged.
    """
    paths = (Path(os.path.abspath(run_a)), Path(os.path.abspath(run_b)))
    names = _names(paths)
    looked = [_stages(path, name, held or _held(path)) for path, name in zip(paths, names, strict=True)]
    stages, notes = [found for found, _ in looked], list(dict.fromkeys(note for _, said in looked for note in said))
    evaluations = [_evaluations(found) for found in stages]
    shared = [name for name in evaluations[0] if name in evaluations[1]]
    rows = [row for name in shared for row in _rows(name, evaluations[0][name], evaluations[1][name])]
    if not rows:
        have = [", ".join(found) or "none" for found in evaluations]
        raise NothingInCommonError(
            f"{run_a} and {run_b} share no evaluation with the same split, classes and mode (evaluated stages: "
            f"{have[0]}; {have[1]}); run both as far as the same iteration on the same data. {' '.join(notes)}".strip()
        )
    # The last evaluation that rooms can be paired in, in the mode that uses most of the method.
    order = list(dict.fromkeys([*MODES, *(row.what[2] for row in rows)]))
    basis = max(
        (row.what for row in rows), key=lambda what: (what[1] == "val", shared.index(what[0]), order.index(what[2]))
    )
    total, interval = _difference(basis, *(found[basis[0]] for found in stages))
    classes, rooms = _details(basis, *(found[basis[0]] for found in evaluations))
    manifests = [{name: read_manifest(stage.path) for name, stage in found.items()} for found in stages]
    return RunComparison(
        names=names,
        parameters=_parameters(*manifests),
        only=tuple([name for name in one if name not in other] for one, other in (stages, stages[::-1])),
        facts=_facts(*manifests),
        rows=rows,
        basis=basis,
        classes=classes,
        rooms=rooms,
        total=total,
        interval=interval,
        notes=notes,
    )


def main_compare(run_a: Path, run_b: Path, out: Path | None = None) -> Path:
    """Print the comparison of two runs and write its page: ``out``, or reports/compare/<a>-<b>.html.

    Returns:
        The path of the page.
    """
    comparison = compare_runs(run_a, run_b)
    print(to_text(comparison))
    names = "-".join(name.replace("/", "_") for name in comparison.names)
    path = out or project_root() / "reports" / "compare" / f"{names}.html"
    write_page(comparison, path)
    print(f"\n{path}: the same as a page")
    return path


def write_page(comparison: RunComparison, path: Path) -> None:
    """Write the comparison as one HTML file that needs nothing beside it."""
    css = (PAGES / "report.css").read_text(encoding="utf-8")
    page = template("compare.html").render(
        comparison=comparison, modes=MODES, pages=[], current="", inline_css=css, profile="", stale=[]
    )
    with write_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")


def template(name: str) -> jinja2.Template:
    """A template of pages/; a name that it uses and is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def to_text(comparison: RunComparison) -> str:
    """The comparison as Markdown tables."""
    a, b = comparison.names
    blocks = comparison.notes.copy()
    if comparison.parameters:
        blocks.append(_markdown("Parameters that differ", ("parameter", a, b, "stages"), comparison.parameters))
    else:
        blocks.append("No parameter of the stages that both have differs.")
    blocks.append(_markdown("How", ("", a, b), comparison.facts))
    rows = [(*pair.what[:2], MODES.get(pair.what[2], pair.what[2]), *_cells(pair)) for pair in comparison.rows]
    blocks.append(_markdown("mIoU (%)", ("stage", "split", "mode", a, b, "difference"), rows))
    stage, split, mode = comparison.basis
    basis = f"{stage}, {split}, {MODES.get(mode, mode)}"
    for title, pairs in (("IoU (%) by class", comparison.classes), ("mIoU (%) by room", comparison.rooms)):
        rows = [(*pair.what, *_cells(pair)) for pair in pairs]
        blocks.append(_markdown(f"{title}: {basis}", ("", a, b, "difference"), rows))
    return "\n\n".join([*blocks, comparison.summary])


def _markdown(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    lines = [columns, tuple("-" * width for width in widths), *rows]
    padded = (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
    return f"### {title}\n\n" + "\n".join(padded)


def _cells(pair: Pair) -> tuple[str, str, str]:
    difference = pair.note if pair.difference is None else f"{pair.difference:+.2f}"
    return *("-" if value is None else f"{value:.2f}" for value in (pair.a, pair.b)), difference


def _names(paths: tuple[Path, Path]) -> tuple[str, str]:
    """The shortest ends of the two paths, of two parts or more, that differ."""
    for count in range(2, max(len(path.parts) for path in paths)):
        names = tuple("/".join(path.parts[-count:]) for path in paths)
        if names[0] != names[1]:
            return names
    return (f"{paths[0].name} (first)", f"{paths[1].name} (second)")


def _held(run: Path) -> Runs | None:
    """The runs beside a run of this project, None for one that lies elsewhere."""
    try:
        params = project_root() / "params"
    except OtocError:
        return None
    experiments, wrong = read_what_is_right(params, run.parent.name)
    folders = {params.with_name("runs"), *(experiment.config.runs_folder for experiment in experiments)}
    ours = run.parents[1].resolve() in {folder.resolve() for folder in folders}
    return Runs(run.parents[1], run.parent.name, experiments, wrong) if ours else None


def _stages(run: Path, name: str, held: Runs | None) -> tuple[dict[str, Stage], list[str]]:
    """The stages of a run that are compared, wherever they were made, in the order of their names; and sentences.

    name: of the run, for the sentences.
    """
    if not run.is_dir():
        raise NothingInCommonError(f"{run}: no such folder; give the folder of a run, such as runs/rooms/otoc")
    found = {}
    for name_in_run in stages_in(run):
        stage = find_stage(run.parents[1], run.parent.name, run.name, name_in_run)
        if stage is not None:
            found[name_in_run] = stage
    if not found:
        inside = sorted({path.parents[1].name for path in run.glob(f"*/*/{MANIFEST}")})
        runs = f"it holds the runs {', '.join(inside)}: give one of them"
        raise NothingInCommonError(
            f"{run}: holds no finished stage, so it is no run; {runs if inside else 'give one such as runs/rooms/otoc'}"
        )
    if held is not None and held.knows(run.name):
        stale = [known for known in held.stale() if known.run == run.name]
        left_out = [stage for known in stale for stage in known.stages]
        notes = [f"{name}: {', '.join(k.stages)} left out as stale ({k.why}); {k.remedy}." for k in stale]
        notes += [held.doubt] if held.doubt else []
    else:
        splits = {split for evaluation in _evaluations(found).values() for split in evaluation["splits"]}
        left_out = mixed({stage: read_manifest(known.path) for stage, known in found.items()}, splits)
        notes = [f"{name}: no params file says whether it is current."]
        if left_out:
            notes.append(
                f"{name}: {', '.join(left_out)} left out, made of other stages or rooms than what lies beside them; "
                "run that experiment again."
            )
    return {stage: known for stage, known in found.items() if stage not in left_out}, notes


def mixed(manifests: dict[str, dict[str, Any]], splits: set[str]) -> list[str]:
    """The stages of a run that were not made of the stages beside them, or not on the rooms of the last finished one.

    For a run without params file. An input that is not there says nothing; what was made of a stage that is named is,
    too.

    splits: those that it evaluates.
    """
    things, rooms = {TRAIN, *FILES, *splits}, {}
    for manifest in sorted(manifests.values(), key=lambda manifest: manifest["finished"]):
        rooms |= {name: said for name, said in manifest["inputs"].items() if name in things}
    names = {manifest["key"]: name for name, manifest in manifests.items()}
    found: list[str] = []

    def differs(stage: str) -> bool:
        for name, said in manifests[stage]["inputs"].items():
            if name in things:
                if said != rooms[name]:
                    return True
            elif names[said] in found if said in names else _input(stage, name, manifests) in manifests:
                return True
        return False

    while further := [stage for stage in manifests if stage not in found and differs(stage)]:
        found += further
    return sorted(found)


def _input(stage: str, name: str, stages: Iterable[str]) -> str:
    """The stage that an input of this name is of, as methods go."""
    family, _, suffix = stage.rpartition("_")
    number = int(suffix) if suffix.isdigit() else 1
    if name == "labels":
        return f"pseudo_{number - 1}" if f"pseudo_{number - 1}" in stages else "clicks"
    return {"annotation": "clicks", "warm_start": f"{family}_{number - 1}"}.get(name, f"{name}_{number}")


def _evaluations(stages: dict[str, Stage]) -> dict[str, dict[str, Any]]:
    names = [name for name in stages if name.startswith("evaluate_")]
    # evaluate_baseline, then by number
    names.sort(key=lambda name: int(suffix) if (suffix := name.removeprefix("evaluate_")).isdigit() else 0)
    return {name: read_json(stages[name], "metrics.json") for name in names}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _rows(stage: str, a: dict[str, Any], b: dict[str, Any]) -> list[Pair]:
    """mIoU of every split and mode that both evaluations hold."""
    rows = []
    for split in a["splits"] if a["classes"] == b["classes"] else ():
        one, other = a["splits"][split], b["splits"].get(split)
        for mode in dict.fromkeys([*MODES, *one["modes"]]) if other else ():
            if mode in one["modes"] and mode in other["modes"]:
                note = "" if set(one["rooms"]) == set(other["rooms"]) else "other rooms"
                values = (100 * found["modes"][mode]["miou"] for found in (one, other))
                rows.append(Pair((stage, split, mode), *values, note))
    return rows


def _details(basis: tuple[str, str, str], a: dict[str, Any], b: dict[str, Any]) -> tuple[list[Pair], list[Pair]]:
    """IoU by class and mIoU by room of one row."""
    _, split, mode = basis
    one, other = a["splits"][split], b["splits"][split]
    note = "" if set(one["rooms"]) == set(other["rooms"]) else "other rooms"
    ious = zip(a["classes"], one["modes"][mode]["iou"], other["modes"][mode]["iou"], strict=True)
    classes = [Pair((name,), _percent(x), _percent(y), note) for name, x, y in ious if not (x is None and y is None)]
    names = [name for name in one["per_room"] if name in other["per_room"]]
    rooms = [Pair((name,), *(_percent(found["per_room"][name].get(mode)) for found in (one, other))) for name in names]
    return classes, sorted(rooms, key=lambda pair: np.inf if pair.difference is None else pair.difference)


def _difference(basis: tuple[str, str, str], a: Stage, b: Stage) -> tuple[float | None, tuple[float, float] | None]:
    """Second minus first, in points of mIoU over the rooms that two evaluations share, and its interval."""
    one, other = (read_confusions(stage, *basis[1:]) for stage in (a, b))
    shared = [room for room in one if room in other]
    if not shared:
        return None, None
    first, second = (np.stack([side[room] for room in shared]) for side in (one, other))
    total = 100 * (mean_iou(second.sum(axis=0)) - mean_iou(first.sum(axis=0)))
    return total, paired_interval(second[None], first[None]) if len(shared) > 1 else None


def _parameters(a: dict[str, dict], b: dict[str, dict]) -> list[tuple[str, str, str, str]]:
    """Parameters that differ in a stage that both runs have, each pair of values once with the stages that it is in."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for stage in sorted(a.keys() & b.keys()):
        one, other = a[stage].get("parameters", {}), b[stage].get("parameters", {})
        for name in sorted(one.keys() | other.keys()):
            values = tuple(json.dumps(side[name]) if name in side else "-" for side in (one, other))
            if values[0] != values[1]:
                found.setdefault((name, *values), []).append(stage)
    return [(*key, ", ".join(stages)) for key, stages in found.items()]


def _facts(a: dict[str, dict], b: dict[str, dict]) -> list[tuple[str, str, str]]:
    """Stages, minutes, devices, seeds and, where they differ, versions."""
    sides = (list(a.values()), list(b.values()))
    facts = [
        ("finished stages", *(str(len(side)) for side in sides)),
        ("minutes", *(f"{sum(stage['seconds'] for stage in side) / 60:.1f}" for side in sides)),
    ]
    for title, key in (("device", "device"), ("seed", "seed")):
        facts.append((title, *(", ".join(sorted({str(stage[key]) for stage in side})) for side in sides)))
    versions = [{} for _ in sides]
    for known, side in zip(versions, sides, strict=True):
        for stage in side:
            for package, number in stage["versions"].items():
                known.setdefault(package, set()).add(number)
    for package in sorted(versions[0].keys() | versions[1].keys()):
        one, other = (", ".join(sorted(known.get(package, {"-"}))) for known in versions)
        if one != other:
            facts.append((package, one, other))
    return facts
