"""Command line: ``python -m room_factory scannet|s3dis DIRECTORY`` makes a bundled set of rooms again."""

import argparse
import sys
from pathlib import Path

from otoc_lib.errors import OtocError
from room_factory import simulate_rooms
from room_factory.areas import simulate_areas


def main(arguments: list[str] | None = None) -> int:
    """Make one set. Bad input prints its message alone and gives status 2."""
    options = _parser().parse_args(arguments)
    simulate = {"scannet": simulate_rooms, "s3dis": simulate_areas}[options.layout]
    try:
        simulate(options.directory, options.seed, options.furniture, rooms=options.rooms, workers=options.workers)
    except OtocError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m room_factory",
        description="Make the bundled rooms again from the seed (needs the extra 'room-factory').",
    )
    parser.add_argument("layout", choices=("scannet", "s3dis"), help="which of the two sets")
    parser.add_argument("directory", type=Path, help="folder for the compact rooms and the contact sheets")
    parser.add_argument("--seed", type=int, default=0, help="the bundled rooms have seed 0 (default: %(default)s)")
    parser.add_argument("--rooms", nargs="+", metavar="NAME", help="only these, for example scene0000_00")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument(
        "--furniture", type=Path, help="root of the unpacked Debian packages (default: where apt installs them)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
