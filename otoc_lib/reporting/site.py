"""reports/<profile>/index.html: tables, figures and their origin, on a few pages that need no network.

Pages are Jinja2 templates in pages/; beside them lie report.css, report.js (charts), viewer.js and a script a room.
They open from a disk as from a server: nothing is fetched, scripts and pictures are relative links.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otoc_lib.errors import OtocError
from otoc_lib.experiments import SIMULATED
from otoc_lib.files import write_aside
from otoc_lib.reporting import charts
from otoc_lib.reporting.compare import PAGES, NothingInCommonError, RunComparison, compare_runs, template
from otoc_lib.reporting.gallery import draw_gallery, score_text
from otoc_lib.reporting.hidden_test import hidden_scores
from otoc_lib.reporting.overview import overview
from otoc_lib.reporting.pictures import FIGURES, Picture, draw_figures
from otoc_lib.reporting.runs import MODES, Measurement, Results
from otoc_lib.reporting.summary import summaries
from otoc_lib.reporting.sweeps import sweep_tables
from otoc_lib.reporting.tables import Table, make_tables, write_table
from otoc_lib.reporting.viewer import bundle_rooms
from otoc_lib.scene import Scene

# What a profile is about, and its validation rooms.
DATA_NAMES = {"scannet": ("ScanNet-v2", "validation"), "s3dis": ("S3DIS", "Area 5"), "own": ("own scans", "validation")}
# Where a figure can be explored.
EXPLORE = {"figure2": "viewer", "figure4": "viewer", "figure5": "viewer", "figure6": "tsne"}
EXPLORE |= {"learning_curves": "curves", "pseudo_labels": "curves"}


def build_report(results: Results, reports: Path, scenes_by_split: dict[str, list[Scene]]) -> Path:
    """Write tables, figures and pages of a profile from its current stages; the rest is "not run" or "stale".

    Args:
        results: of the profile; the pages link to the params files of its experiments.
        reports: the folder that holds one folder a profile.
        scenes_by_split: the rooms that were trained on ("train") and evaluated.

    Returns:
        The path of index.html.
    """
    if not results.folder.is_dir() and not any(results.seeds(known.name) for known in results.experiments):
        raise OtocError(
            f"{results.folder}: nothing has been run for this profile, and no numbers were kept of it; run its "
            "notebooks first"
        )
    folder, profile = Path(reports) / results.profile, results.profile
    name = data_name(results)
    tables = write_tables(results, hidden_scores(results, folder / "submissions"), folder / "tables")
    pictures = draw_figures(results, folder / "figures", scenes_by_split, name)
    gallery = draw_gallery(results, folder / "figures" / "rooms", scenes_by_split)
    bundled = bundle_rooms(results, folder / "viewer", scenes_by_split)
    label_set, validation = scenes_by_split["train"][0].label_set, scenes_by_split.get(results.split, [])
    evaluated = [scene for split, scenes in scenes_by_split.items() if split != "train" for scene in scenes]
    offered = sum(len(group["rooms"]) for group in bundled if group["evaluated"])
    tsne = charts.tsne_points(results, evaluated)

    pages = [("index", "Overview"), ("figures", "Figures"), ("curves", "Curves and classes")]
    pages += [("tsne", "t-SNE")] if tsne else []
    pages += [("viewer", "3D viewer")] if bundled else []
    pages += [("rooms", "Rooms")]
    comparison = _comparison_with_control(results)
    pages += [("compare", "Beside the control")] if comparison else []
    contexts = {
        "index": overview(results, folder, scenes_by_split, tables, name),
        "figures": _figures_page(pictures, dict(pages)),
        "curves": charts.page_of_curves(results, validation, label_set),
        "tsne": {"tsne": tsne, "linked": [room["name"] for group in bundled for room in group["rooms"]]},
        "viewer": {"groups": bundled, "left_out": len(evaluated) - offered if offered else 0},
        "rooms": _rooms_page(gallery, evaluated, bundled),
        "compare": {"comparison": comparison, "modes": MODES},
    }
    seeds = results.seeds(results.main)
    shared = {
        "profile": profile,
        "simulated": profile in SIMULATED,
        "names": label_set.names,
        "colors": label_set.colors,
        "pages": [{"file": f"{name}.html", "title": title} for name, title in pages],
        "inline_css": None,
        "rooms_shown": results.rooms_shown(),
        "room_shown": results.room_shown,
        "stale": results.stale(),
        "doubt": results.doubt,
        # Of what can show one seed alone: which of how many.
        "one_seed": f"seed {results.shown_seed(results.main)} of {len(seeds)} seeds" if len(seeds) > 1 else "",
    }
    for name in ("report.css", "report.js", "viewer.js"):
        _write(folder / name, (PAGES / name).read_text(encoding="utf-8"))
    for name, _ in pages:
        page = template(f"{name}.html").render(**shared, current=f"{name}.html", **contexts[name])
        _write(folder / f"{name}.html", page)
    for name in contexts.keys() - dict(pages).keys():  # left by a report of earlier runs
        (folder / f"{name}.html").unlink(missing_ok=True)
    return folder / "index.html"


def write_tables(results: Results, hidden: Mapping[str, Measurement], folder: Path) -> list[Table]:
    """Write every table of a profile and its short forms; the former, in order. hidden: see ``hidden_test``."""
    tables = [*make_tables(results, hidden), *sweep_tables(results)]
    for table in (*tables, *summaries(results)):
        write_table(table, folder)
    return tables


def data_name(results: Results) -> str:
    """What was measured on, for Figure 1: ``S3DIS, Area 5``."""
    simulated = results.profile in SIMULATED
    name, rooms = DATA_NAMES.get(results.profile, ("simulated rooms" if simulated else results.profile, "validation"))
    shown = results.rooms_shown(rooms)
    return f"{name}, {rooms if shown == rooms else shown.lower()}"


def _write(path: Path, text: str) -> None:
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _figures_page(pictures: list[Picture], pages: dict[str, str]) -> dict[str, Any]:
    drawn = [picture.name for picture in pictures]
    shown = []
    for picture in pictures:
        page = EXPLORE.get(picture.name, "")
        link = {"page": f"{page}.html" if page in pages else "", "page_title": pages.get(page, "")}
        shown.append({**vars(picture), **link})
    return {"pictures": shown, "missing": [title for name, title in FIGURES.items() if name not in drawn]}


def _rooms_page(gallery: list[dict[str, Any]], evaluated: list[Scene], bundled: list[dict]) -> dict[str, Any]:
    known = {room["name"] for group in bundled for room in group["rooms"]}
    shown = [{**strip, "score": score_text(strip["score"]), "viewer": strip["name"] in known} for strip in gallery]
    judged = any(strip["score"] for strip in shown)
    return {"gallery": shown, "judged": judged, "more": 0 < len(shown) < len(evaluated)}


def _comparison_with_control(results: Results) -> RunComparison | None:
    """The control and the whole method side by side, of one seed; None where they cannot be compared."""
    control, own = results.row("otoc_control").experiment, results.main
    shared = [seed for seed in results.seeds(control) if seed in results.seeds(own)]
    if not shared:
        return None
    seed = results.shown_seed(own) if results.shown_seed(own) in shared else shared[0]
    try:
        return compare_runs(*(results.folder / results.seeds(name)[seed] for name in (control, own)), results.held)
    except NothingInCommonError:
        return None
