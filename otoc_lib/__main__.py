"""Command line: ``otoc COMMAND``, or ``python -m otoc_lib COMMAND``; every command has --help."""

import argparse
import difflib
import functools
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import otoc_lib
from otoc_lib.errors import Faults, OtocError, plain_warning

MOST_DOUBTS = 30  # lines of otoc second-look
# As config.py has them, which takes a while to import.
UP_AXES, UNITS = ("auto", "z", "y", "x", "-z", "-y", "-x"), ("auto", "m", "cm", "mm", "ft", "in")


class Parser(argparse.ArgumentParser):
    """One that says which choice was meant by a word that is none of them."""

    def error(self, message: str) -> NoReturn:
        if found := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            close = difflib.get_close_matches(found[1], re.findall(r"[\w-]+", found[2]), n=1)
            message = message[: found.start(2) - len(" (choose from ")] if close else message
            message += f"; did you mean {close[0]!r}?" if close else ""
        super().error(message)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Bad input prints its message alone and gives status 2; a check that fails gives 1."""
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # set by the shell that asks what a word can go on to
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    formatted, warnings.formatwarning = warnings.formatwarning, plain_warning
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as in: otoc status | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OtocError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # of no file, and so nothing that a user could mend
            raise
        advice = "choose another place, or change its permissions"
        print(f"error: {error.filename}: {error.strerror}; {advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from what is finished", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = formatted


def _joined(arguments: list[str]) -> list[str]:
    """``-p NAME VALUE``, as papermill takes it, becomes ``-p NAME=VALUE``."""
    joined: list[str] = []
    for argument in arguments:
        if len(joined) > 1 and joined[-2] == "-p" and "=" not in joined[-1]:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> argparse.ArgumentParser:
    narrow = functools.partial(argparse.HelpFormatter, max_help_position=20)  # a line for every command
    parser = Parser(
        prog="otoc", description="Semantic segmentation of 3D scans from one click per object.", formatter_class=narrow
    )
    parser.add_argument("--version", action="version", version=f"otoc {otoc_lib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, about: str, among: argparse._SubParsersAction = commands) -> argparse.ArgumentParser:
        return among.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")

    def takes_changes(parser: argparse.ArgumentParser) -> None:
        changes: Any = parser.add_argument(
            "-p", dest="changes", metavar="NAME=VALUE", action="append", default=[], help="another value of a parameter"
        )
        changes.completer = _complete_parameters

    run = command("run", "run the notebooks of an experiment")
    run.add_argument("params", type=Path, metavar="PARAMS", help="for example params/rooms/otoc.yaml")
    takes_changes(run)
    which: Any = run.add_argument(
        "--notebook",
        action="append",
        default=[],
        metavar="NAME",
        help="this one alone, such as 03; may be given several times",
    )
    which.completer = _complete_notebooks
    run.add_argument("--tensorboard", action="store_true", help="write curves for TensorBoard beside the stages")
    run.set_defaults(run=_run)

    status = command("status", "what is done, running, failed, stale or waiting")
    profile: Any = status.add_argument(
        "profile", nargs="?", default="rooms", metavar="PROFILE", help="default: %(default)s"
    )
    profile.completer = _complete_profiles
    status.add_argument("--json", action="store_true", help="the same for programs")
    status.set_defaults(run=_status)

    keep = command("keep", "keep the numbers of a profile's finished runs and their tables, to be committed")
    kept: Any = keep.add_argument("profile", metavar="PROFILE", help="for example study, kept in reports/study")
    kept.completer = _complete_profiles
    keep.set_defaults(run=_keep)

    doctor = command("doctor", "check every file of a copy of ScanNet-v2 or S3DIS, or scans of your own")
    doctor.add_argument(
        "root",
        type=Path,
        metavar="FOLDER",
        help="that holds scans/ (ScanNet-v2), Area_1/, Area_2/ ... (S3DIS), or your scans",
    )
    doctor.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes that read files (default: %(default)s)"
    )
    doctor.add_argument("--json", action="store_true", help="the same for programs")
    doctor.add_argument(
        "--params",
        type=Path,
        metavar="PARAMS",
        help="of your scans: the params file where their classes and clicks are named",
    )
    doctor.add_argument("--picture", type=Path, metavar="PNG", help="of your scans: draw them from above and the side")
    doctor.set_defaults(run=_doctor)

    prepare = command("prepare", "convert the scenes of params files before any training")
    prepare.add_argument("params", type=Path, nargs="+", metavar="PARAMS", help="for example params/scannet/otoc.yaml")
    cores = os.cpu_count() or 1
    prepare.add_argument("--workers", type=int, default=cores, metavar="N", help="processes (default: one a core)")
    prepare.add_argument("--json", action="store_true", help="the summaries of your own scans for programs")
    prepare.add_argument(
        "--shard", metavar="I/N", help="the I-th of N parts, for N machines that share the cache, such as 2/4"
    )
    takes_changes(prepare)
    prepare.set_defaults(run=_prepare)

    predict = command("predict", "label scans that a finished run never saw")
    predict.add_argument("run_folder", type=Path, metavar="RUN", help="for example runs/rooms/otoc")
    predict.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="scan files, or folders of them")
    predict.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="to write the labelled scans to")
    mode: Any = predict.add_argument(
        "--mode",
        metavar="NAME",
        help="full (the whole method), point (the U-Net alone), sv or another (default: full if it has that)",
    )
    mode.completer = _complete_modes
    predict.add_argument(
        "--format",
        choices=("ply", "las", "same"),
        default="same",
        help="of the labelled scans; same: LAS for LAS and LAZ, PLY for others (default: %(default)s)",
    )
    predict.add_argument(
        "--views",
        type=_count,
        metavar="N",
        help="augmented views to average (default: as many as the run's evaluation)",
    )
    predict.add_argument("--up-axis", choices=UP_AXES, help="of the scans (default: as the run's parameters say)")
    predict.add_argument("--unit", choices=UNITS, help="of the scans (default: as the run's parameters say)")
    predict.set_defaults(run=_predict)

    export = command("export-benchmark", "write predictions as the ScanNet benchmark takes them")
    export.add_argument("params", type=Path, metavar="PARAMS", help="params file of a finished experiment")
    export.add_argument(
        "zip", type=Path, metavar="ZIP", help="file to write: one <scene>.txt a scene, one NYU40 id a vertex"
    )
    export.add_argument("--split", default="test", metavar="NAME", help="evaluated split (default: %(default)s)")
    export.add_argument(
        "--mode", default="full", metavar="NAME", help="point, sv, full or another of the method (default: %(default)s)"
    )
    takes_changes(export)
    export.set_defaults(run=_export)
    score = command("score-benchmark", "score what export-benchmark wrote, where the labels are at hand")
    score.add_argument("zip", type=Path, metavar="ZIP", help="as export-benchmark writes it")
    score.add_argument(
        "labels", type=Path, metavar="LABELS", help="folder with one <scene>.txt a scene, one NYU40 id a vertex"
    )
    score.set_defaults(run=_score)

    weights = command("export-weights", "pack the networks of a finished run to pass them on")
    weights.add_argument("run_folder", type=Path, metavar="RUN", help="for example runs/rooms/otoc")
    weights.add_argument("zip", type=Path, metavar="ZIP", help="file to write; ZIP.sha256 is its checksum")
    weights.set_defaults(run=_export_weights)

    snap = command("snap-clicks", "turn positions on your own scans into a clicks.csv")
    snap.add_argument("root", type=Path, metavar="FOLDER", help="of the scans, such as data/own")
    snap.add_argument("positions", type=Path, metavar="POSITIONS", help="CSV with the columns scene, x, y, z and class")
    snap.add_argument("clicks", type=Path, metavar="CLICKS", help="clicks.csv to write")
    snap.add_argument(
        "--unit",
        choices=UNITS,
        default="auto",
        help="of the scans (default: %(default)s)",
    )
    snap.add_argument("--replace", action="store_true", help="write over the clicks that CLICKS holds")
    snap.set_defaults(run=_snap)

    look = command("second-look", "list the clicks that a network contradicts: look at these again")
    look.add_argument("params", type=Path, metavar="PARAMS", help="for example params/own/example.yaml")
    look.add_argument("--all", action="store_true", help=f"list them all, not {MOST_DOUBTS} at most")
    look.add_argument(
        "--without", type=Path, metavar="CLICKS", help="clicks.csv to write: those that are not contradicted by far"
    )
    takes_changes(look)
    look.set_defaults(run=_second_look)

    split = command("split-scans", "make a file a scan of one that holds several, for rooms of their own")
    split.add_argument("file", type=Path, metavar="FILE", help="an E57 or PTS of several scans")
    split.add_argument("directory", type=Path, metavar="FOLDER", help="to write FILE_1.ply, FILE_2.ply, ... to")
    split.set_defaults(run=_split)

    rooms = command("rooms", "unpack or film the bundled rooms, or write one as a scan of your own").add_subparsers(
        required=True, metavar="ACTION"
    )
    unpack = command("unpack", "write the bundled rooms as an official ScanNet-v2 or S3DIS tree", rooms)
    unpack.add_argument(
        "--layout", choices=("scannet", "s3dis"), default="scannet", help="which of the two sets (default: %(default)s)"
    )
    unpack.add_argument(
        "directory", type=Path, metavar="FOLDER", help="to write to; made if missing, left alone if complete"
    )
    unpack.set_defaults(run=_unpack)
    film = command("film", "write labelled frames of the bundled rooms, as ScanNet's exporter does", rooms)
    film.add_argument(
        "--layout", choices=("scannet", "s3dis"), default="scannet", help="which of the two sets (default: %(default)s)"
    )
    film.add_argument(
        "directory", type=Path, metavar="FOLDER", help="to write to, such as data/scannet_frames; as for unpack"
    )
    film.set_defaults(run=_film)
    example = command("example", "write a bundled room as a scan of your own: a PLY and its clicks.csv", rooms)
    example.add_argument("directory", type=Path, metavar="FOLDER", help="to write to, such as data/own")
    example.set_defaults(run=_example)

    compare = command("compare", "set two finished runs side by side on a page")
    compare.add_argument("run_a", type=Path, metavar="RUN_A", help="for example runs/rooms/control")
    compare.add_argument(
        "run_b", type=Path, metavar="RUN_B", help="for example runs/rooms/otoc; differences are RUN_B minus RUN_A"
    )
    compare.add_argument(
        "--out", type=Path, metavar="PAGE", help="page to write (default: reports/compare/<a>-<b>.html)"
    )
    compare.set_defaults(run=_compare)

    check = command("check-params", "check params files without running anything")
    check.add_argument("files", type=Path, nargs="+", metavar="PARAMS", help="for example params/*/*.yaml")
    check.set_defaults(run=_check_params)
    show = command("show-params", "show a params file as it is in effect")
    show.add_argument("file", type=Path, metavar="PARAMS", help="for example params/rooms/otoc.yaml")
    show.add_argument("--all", action="store_true", help="the defaults too, which are the paper's")
    show.set_defaults(run=_show_params)

    completion = command("completion", "print what a shell must read to complete commands")
    completion.add_argument(
        "shell", choices=("bash", "zsh"), metavar="SHELL", help='bash or zsh; in bash: eval "$(otoc completion bash)"'
    )
    completion.set_defaults(run=_completion)
    return parser


def _to_write(path: Path, suffix: str) -> Path:
    """A file that is named on the command line to be written: by its suffix none of another kind is written over."""
    if path.suffix.lower() != suffix:
        raise OtocError(f"{path}: is to be written as {suffix}; give a name that ends so")
    return path


def _run(options: argparse.Namespace) -> None:
    from otoc_lib.run import run_experiment

    changes = _changes(options)
    if options.tensorboard:
        changes["tensorboard"] = True
    run_experiment(options.params, changes, options.notebook)


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    """Name -> value of what ``-p`` gives."""
    from otoc_lib.config import parse_value

    changes = {}
    for change in options.changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise OtocError(f"-p {change}: a value is missing; write -p {change}=VALUE")
        if name in changes:
            raise OtocError(f"-p {name}: is given twice; keep one of the two")
        changes[name] = parse_value(name, text)
    return changes


def _status(options: argparse.Namespace) -> None:
    from otoc_lib.reporting import status

    found = status.profile_status(options.profile)
    print(json.dumps(found, indent=1) if options.json else status.as_text(found))


def _keep(options: argparse.Namespace) -> None:
    from otoc_lib.reporting.hidden_test import by_stage, hidden_scores
    from otoc_lib.reporting.kept import keep_numbers
    from otoc_lib.reporting.runs import results_of_profile
    from otoc_lib.reporting.site import write_tables

    results = results_of_profile(options.profile)
    assert results.archives is not None  # those of a profile have a place
    hidden = hidden_scores(results, results.archives.with_name("submissions"))
    archives = keep_numbers(results.held, results.archives, by_stage(hidden, results))
    size = sum(path.stat().st_size for path in archives)
    print(f"{results.archives}: the numbers of {len(archives)} runs, {size / 1e6:.1f} MB")
    tables = results.archives.with_name("tables")
    write_tables(results_of_profile(options.profile), hidden, tables)
    print(f"{tables}: the tables of all numbers that are kept")


def _doctor(options: argparse.Namespace) -> int:
    from otoc_lib.datasets import doctor

    if options.picture is not None:
        _to_write(options.picture, ".png")
    classes, truth, clicks = None, None, options.root / "clicks.csv"
    axes: dict[str, Any] = {}
    if options.params is not None:
        from otoc_lib.config import in_project, load_config

        config = load_config(options.params)
        if config.dataset != "own":
            raise OtocError(f"{options.params}: is for 'dataset: {config.dataset}', and --params for scans of your own")
        classes, truth = config.own_classes, config.own_truth
        axes = {"up_axis": config.up_axis, "unit": config.unit}
        if config.source == "file" and not clicks.exists():
            assert config.clicks_file is not None  # as this source asks
            clicks = in_project(config.clicks_file)
    with_views, only_own = options.picture is not None, options.params is not None
    diagnosis = doctor.diagnose(options.root, options.workers, with_views, only_own, **axes)
    if diagnosis.dataset == doctor.OWN:
        from otoc_lib.annotation.check_own import check_clicks, check_truth

        diagnosis = diagnosis.with_more(*check_clicks(options.root, clicks, classes, **axes))
        if classes is not None and truth is not None:
            diagnosis = diagnosis.with_more(check_truth(options.root, classes, truth), [])
    if options.json:
        print(json.dumps(diagnosis.as_json(), indent=1))
    else:
        doctor.print_diagnosis(diagnosis)
    if diagnosis.views:
        from otoc_lib.reporting.scan_pictures import write_scans

        write_scans(options.picture, diagnosis.views)
    return 0 if diagnosis.ok else 1


def _prepare(options: argparse.Namespace) -> None:
    from otoc_lib.config import changed_config
    from otoc_lib.datasets import cache, summary
    from otoc_lib.experiments import warn_of_idle

    changes = _changes(options)
    configs = [changed_config(path, changes) for path in options.params]
    if options.shard is not None:
        _prepare_shard(options, configs)
        return
    for path, config in zip(options.params, configs, strict=True):  # here, too, for make begins with it
        warn_of_idle(config, path, changes)
    cache.prepare(*configs, workers=options.workers)
    once = {cache.folder(config): config for config in configs}.values()
    found = [scan for config in once for scan in cache.summaries(config)]
    if options.json:
        print(json.dumps(found, indent=1))
    elif found:
        print(summary.as_text(map(summary.from_json, found)))


def _prepare_shard(options: argparse.Namespace, configs: list[Any]) -> None:
    from otoc_lib.datasets import cache

    shard = cache.parse_shard(options.shard)
    if options.json:
        raise OtocError("--json is for all scenes: give it to otoc prepare without --shard, once the shards are done")
    made = cache.prepare(*configs, workers=options.workers, shard=shard)
    print(
        f"shard {options.shard}: {made} scenes converted; once all {shard.count} are done, the same without --shard "
        "makes sure that none is missing and sums up"
    )


def _count(text: str) -> int:
    """A number of views."""
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 100")
    return int(text)


def _predict(options: argparse.Namespace) -> None:
    from otoc_lib.predict import label_scans

    label_scans(
        options.run_folder,
        options.scans,
        options.out,
        mode=options.mode,
        form=options.format,
        views=options.views,
        up_axis=options.up_axis,
        unit=options.unit,
    )


def _export(options: argparse.Namespace) -> None:
    from otoc_lib.config import changed_config
    from otoc_lib.reporting.runs import export_predictions

    _to_write(options.zip, ".zip")
    export_predictions(changed_config(options.params, _changes(options)), options.split, options.mode, options.zip)
    print(f"{options.zip}: written")


def _score(options: argparse.Namespace) -> None:
    from otoc_lib.datasets.scannet_benchmark import score_benchmark
    from otoc_lib.evaluation import iou, mean_iou
    from otoc_lib.labels import SCANNET20

    confusion, _ = score_benchmark(options.zip, options.labels)
    for name, value in zip(SCANNET20.names, iou(confusion), strict=True):
        print(f"{name:16} {100 * value:6.2f}")
    print(f"{'mIoU':16} {100 * mean_iou(confusion):6.2f}")


def _export_weights(options: argparse.Namespace) -> None:
    from otoc_lib.release import export_weights

    digest = export_weights(options.run_folder, _to_write(options.zip, ".zip"))
    print(f"{options.zip}: written; SHA-256 {digest}")


def _snap(options: argparse.Namespace) -> None:
    from otoc_lib.annotation.snap import snap_clicks

    clicks = _to_write(options.clicks, ".csv")
    if clicks.exists() and not options.replace:
        raise OtocError(f"{clicks}: is there already; give another name, or --replace to write over what it holds")
    print(f"{clicks}: {snap_clicks(options.root, options.positions, clicks, options.unit)} clicks")


def _second_look(options: argparse.Namespace) -> None:
    from otoc_lib.annotation.clicks import write_clicks
    from otoc_lib.config import changed_config
    from otoc_lib.datasets import load_split
    from otoc_lib.methods.second_look import second_look
    from otoc_lib.methods.stages import Scenes

    config = changed_config(options.params, _changes(options))
    if options.without is not None and _to_write(options.without, ".csv").exists():
        raise OtocError(f"{options.without}: is there already; give another name")
    found = second_look(config, Scenes(load_split(config, "train", config.train_rooms), {}))
    print(found.text(None if options.all else MOST_DOUBTS))
    if options.without is not None:
        left = found.without()
        write_clicks(options.without, left, found.scenes)
        print(f"{options.without}: {sum(map(len, left.values()))} clicks. To train from them:")
        print(f"otoc run {options.params} -p source=file -p clicks_file={options.without}")


def _split(options: argparse.Namespace) -> None:
    from otoc_lib.datasets.split_scans import split_scans

    for file, name in split_scans(options.file, options.directory).items():
        print(f"{file}: {name}")


def _unpack(options: argparse.Namespace) -> None:
    from otoc_lib.datasets import bundled_areas, bundled_rooms

    source = {"scannet": bundled_rooms, "s3dis": bundled_areas}[options.layout]
    source.unpack(options.directory)
    print(f"{options.directory}: holds the {len(source.read_index()['rooms'])} bundled rooms")


def _film(options: argparse.Namespace) -> None:
    from otoc_lib.datasets.bundled_frames import film

    film(options.directory, options.layout)


def _example(options: argparse.Namespace) -> None:
    from otoc_lib.annotation.example import example

    example(options.directory)
    print(f"{options.directory}: holds a scan and its clicks; params/own/example.yaml runs them")


def _compare(options: argparse.Namespace) -> None:
    from otoc_lib.reporting.compare import main_compare

    out = None if options.out is None else _to_write(options.out, ".html")
    main_compare(options.run_a, options.run_b, out)


def _check_params(options: argparse.Namespace) -> None:
    from otoc_lib.experiments import read_experiment, warn_of_idle

    faults = Faults()
    for path in options.files:
        if path.name.startswith("_"):
            print(f"{path}: holds lines that other files extend; it is checked with them")
        elif experiment := faults.of(functools.partial(read_experiment, path)):
            config = experiment.config
            warn_of_idle(config, path)
            print(f"{path}: profile {config.profile}, experiment {config.experiment}: all parameters are valid")
    faults.check()


def _show_params(options: argparse.Namespace) -> None:
    from otoc_lib.config import params_text

    print(params_text(options.file, options.all))


def _completion(options: argparse.Namespace) -> None:
    import argcomplete

    print(argcomplete.shellcode(["otoc"], shell=options.shell))


def _complete_parameters(**_: object) -> list[str]:
    from otoc_lib.config import parameter_lines

    return [f"{line.split()[0]}=" for line in parameter_lines()]


def _complete_notebooks(**_: object) -> list[str]:
    return [path.stem for path in _in_project("notebooks", "*.ipynb")]


def _complete_modes(**_: object) -> list[str]:
    return ["full", "point", "product", "relation", "sv"]


def _complete_profiles(**_: object) -> list[str]:
    return [path.name for path in _in_project("params", "*/")]


def _in_project(folder: str, pattern: str) -> list[Path]:
    from otoc_lib.config import project_root

    try:
        return sorted((project_root() / folder).glob(pattern))
    except OtocError:  # outside, nothing is known
        return []


if __name__ == "__main__":
    sys.exit(main())
