"""Command line: ``python -m otoc_lib COMMAND``; every command has --help."""

import argparse
import sys
from pathlib import Path

from otoc_lib.errors import OtocError


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Bad input prints its message alone and gives status 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except OtocError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m otoc_lib", description="The One Thing One Click kit.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    rooms = commands.add_parser("rooms", help="the bundled simulated rooms").add_subparsers(
        required=True, metavar="ACTION"
    )
    unpack = rooms.add_parser("unpack", help="write them as an official ScanNet-v2 tree")
    unpack.add_argument("directory", type=Path, help="folder to write to; made if missing, left alone if complete")
    unpack.set_defaults(run=_unpack)
    simulate = rooms.add_parser("simulate", help="make them again from the seed (needs the extra 'simulate')")
    simulate.add_argument("directory", type=Path, help="folder for the compact rooms and the contact sheets")
    simulate.add_argument("--seed", type=int, default=0, help="the bundled rooms have seed 0 (default: %(default)s)")
    simulate.add_argument("--rooms", nargs="+", metavar="NAME", help="only these rooms, for example scene0000_00")
    simulate.add_argument(
        "--furniture", type=Path, help="root of the unpacked Debian packages (default: where apt installs them)"
    )
    simulate.set_defaults(run=_simulate)

    check = commands.add_parser("check-params", help="check params files without running anything")
    check.add_argument("files", type=Path, nargs="+", metavar="FILE")
    check.set_defaults(run=_check_params)
    return parser


def _unpack(options: argparse.Namespace) -> None:
    from otoc_lib.datasets import rooms

    rooms.unpack(options.directory)


def _simulate(options: argparse.Namespace) -> None:
    from otoc_lib.simulate import simulate_rooms

    simulate_rooms(options.directory, options.seed, options.furniture, rooms=options.rooms)


def _check_params(options: argparse.Namespace) -> None:
    from otoc_lib.config import load_config

    for path in options.files:
        config = load_config(path)
        print(f"{path}: profile {config.profile}, experiment {config.experiment}: all parameters are valid")


if __name__ == "__main__":
    sys.exit(main())
