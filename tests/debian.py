"""Debian's packages that tests want: a browser, the furniture of the simulated rooms, what Open3D loads."""

import shutil
import subprocess
from pathlib import Path

PACKAGES = (Path(__file__).parent / "debian-packages.txt").read_text(encoding="utf-8").split()


def missing_packages(names: list[str]) -> list[str]:
    """Those that are not installed; none where no Debian is there to ask."""
    if not shutil.which("dpkg-query"):
        return []
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *names]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    return [name for name in names if f"{name} installed" not in said.splitlines()]
