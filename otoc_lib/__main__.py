"""Command line: ``python -m otoc_lib COMMAND``; every command has --help."""

import argparse
import os
import sys
from pathlib import Path

from otoc_lib.errors import OtocError


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Bad input prints its message alone and gives status 2; a check that fails gives 1."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except OtocError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m otoc_lib", description="The One Thing One Click kit.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="check a copy of ScanNet-v2 or S3DIS, every file, before any training")
    doctor.add_argument("root", type=Path, help="folder that holds scans/ (ScanNet-v2) or Area_1/, Area_2/ ... (S3DIS)")
    doctor.add_argument("--workers", type=int, default=2, help="processes that read files (default: %(default)s)")
    doctor.set_defaults(run=_doctor)

    prepare = commands.add_parser("prepare", help="convert the scenes of params files, so that they open at once")
    prepare.add_argument("params", type=Path, nargs="+", metavar="PARAMS", help="for example params/scannet/otoc.yaml")
    cores = os.cpu_count() or 1
    prepare.add_argument("--workers", type=int, default=cores, help="processes (default: one a core)")
    prepare.set_defaults(run=_prepare)

    export = commands.add_parser("export-benchmark", help="write predictions as the ScanNet benchmark takes them")
    export.add_argument("params", type=Path, metavar="PARAMS", help="params file of a finished experiment")
    export.add_argument("zip", type=Path, help="file to write: one <scene>.txt a scene, one NYU40 id a vertex")
    export.add_argument("--split", default="test", help="evaluated split (default: %(default)s)")
    export.add_argument(
        "--mode", default="full", help="point, sv, full or another of the method (default: %(default)s)"
    )
    export.set_defaults(run=_export)
    score = commands.add_parser("score-benchmark", help="mIoU of such a file where the labels are at hand")
    score.add_argument("zip", type=Path)
    score.add_argument("labels", type=Path, help="folder with one <scene>.txt a scene, one NYU40 id a vertex")
    score.set_defaults(run=_score)

    snap = commands.add_parser("snap-clicks", help="turn positions on scans of your own into a clicks.csv")
    snap.add_argument("root", type=Path, help="folder of the scans, such as data/own")
    snap.add_argument("positions", type=Path, help="CSV with the columns scene, x, y, z and class")
    snap.add_argument("clicks", type=Path, help="clicks.csv to write")
    snap.set_defaults(run=_snap)

    rooms = commands.add_parser("rooms", help="the bundled simulated rooms").add_subparsers(
        required=True, metavar="ACTION"
    )
    unpack = rooms.add_parser("unpack", help="write them as an official ScanNet-v2 or S3DIS tree")
    unpack.add_argument(
        "--layout", choices=("scannet", "s3dis"), default="scannet", help="which of the two sets (default: %(default)s)"
    )
    unpack.add_argument("directory", type=Path, help="folder to write to; made if missing, left alone if complete")
    unpack.set_defaults(run=_unpack)
    film = rooms.add_parser("film", help="write labelled frames of them, as ScanNet's exporter does; three minutes")
    film.add_argument(
        "--layout", choices=("scannet", "s3dis"), default="scannet", help="which of the two sets (default: %(default)s)"
    )
    film.add_argument("directory", type=Path, help="folder to write to, such as data/scannet_frames; as for unpack")
    film.set_defaults(run=_film)
    example = rooms.add_parser("example", help="write one of them as a scan of your own: a PLY and its clicks.csv")
    example.add_argument("directory", type=Path, help="folder to write to, such as data/own")
    example.set_defaults(run=_example)

    compare = commands.add_parser("compare", help="two finished runs side by side: numbers, classes, rooms, parameters")
    compare.add_argument("run_a", type=Path, help="for example runs/rooms/control")
    compare.add_argument("run_b", type=Path, help="for example runs/rooms/otoc; differences are run_b minus run_a")
    compare.add_argument("--out", type=Path, help="page to write (default: reports/compare/<a>-<b>.html)")
    compare.set_defaults(run=_compare)

    check = commands.add_parser("check-params", help="check params files without running anything")
    check.add_argument("files", type=Path, nargs="+", metavar="FILE")
    check.set_defaults(run=_check_params)
    show = commands.add_parser("show-params", help="a params file as it is in effect, and where each value comes from")
    show.add_argument("file", type=Path, metavar="FILE")
    show.add_argument("--all", action="store_true", help="the defaults too, which are the paper's")
    show.set_defaults(run=_show_params)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from otoc_lib.datasets import doctor

    diagnosis = doctor.diagnose(options.root, options.workers)
    doctor.print_diagnosis(diagnosis)
    return 0 if diagnosis.ok else 1


def _prepare(options: argparse.Namespace) -> None:
    from otoc_lib.config import load_config
    from otoc_lib.datasets import cache

    cache.prepare(*map(load_config, options.params), workers=options.workers)


def _export(options: argparse.Namespace) -> None:
    from otoc_lib.config import load_config
    from otoc_lib.reporting.runs import export_predictions

    export_predictions(load_config(options.params), options.split, options.mode, options.zip)
    print(f"{options.zip}: written")


def _score(options: argparse.Namespace) -> None:
    from otoc_lib.datasets.scannet_benchmark import score_benchmark
    from otoc_lib.evaluation import iou, mean_iou
    from otoc_lib.labels import SCANNET20

    confusion, _ = score_benchmark(options.zip, options.labels)
    for name, value in zip(SCANNET20.names, iou(confusion), strict=True):
        print(f"{name:16} {100 * value:6.2f}")
    print(f"{'mIoU':16} {100 * mean_iou(confusion):6.2f}")


def _snap(options: argparse.Namespace) -> None:
    from otoc_lib.annotation.snap import snap_clicks

    print(f"{options.clicks}: {snap_clicks(options.root, options.positions, options.clicks)} clicks")


def _unpack(options: argparse.Namespace) -> None:
    from otoc_lib.datasets import bundled_areas, bundled_rooms

    {"scannet": bundled_rooms, "s3dis": bundled_areas}[options.layout].unpack(options.directory)


def _film(options: argparse.Namespace) -> None:
    from otoc_lib.datasets.bundled_frames import film

    film(options.directory, options.layout)


def _example(options: argparse.Namespace) -> None:
    from otoc_lib.annotation.example import example

    example(options.directory)
    print(f"{options.directory}: holds a scan and its clicks; params/own/example.yaml runs them")


def _compare(options: argparse.Namespace) -> None:
    from otoc_lib.reporting.compare import main_compare

    main_compare(options.run_a, options.run_b, options.out)


def _check_params(options: argparse.Namespace) -> None:
    from otoc_lib.config import load_config

    for path in options.files:
        if path.name.startswith("_"):
            print(f"{path}: holds lines that other files extend; it is checked with them")
            continue
        config = load_config(path)
        print(f"{path}: profile {config.profile}, experiment {config.experiment}: all parameters are valid")


def _show_params(options: argparse.Namespace) -> None:
    from otoc_lib.config import params_text

    print(params_text(options.file, options.all))


if __name__ == "__main__":
    sys.exit(main())
