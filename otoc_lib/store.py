"""Run folders: what a stage read, what it wrote, and whether it is finished.

A stage is a folder ``runs/<profile>/<run>/<stage>/`` with a ``manifest.json`` that comes last. Its key is a hash of the
parameters that its work can read, of the versions of the code that made it and of the keys of its inputs: a finished
stage with the same key is reused, in this run or from another one of the same profile, and a changed parameter
invalidates exactly the stages that depend on it. Work goes on in ``<stage>.part``, which an interrupted run leaves
behind for its resume.
"""

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import otoc_lib
from otoc_lib.config import View
from otoc_lib.files import write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, its key, and whether it was found rather than made by this call."""

    name: str
    path: Path
    key: str
    reused: bool


def stage_key(content: dict[str, Any]) -> str:
    """Hash of what a stage's result depends on, ready for JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def run_stage(
    view: View,
    name: str,
    code: dict[str, int],
    inputs: dict[str, str],
    work: Callable[[Path], None],
    *,
    device: str = "cpu",
    steps: int = 0,
) -> Stage:
    """Reuse the stage if it is finished with the same parameters, code and inputs, else make it by ``work(folder)``.

    Args:
        view: the parameters that ``work`` can read; all of them are part of the key.
        code: name -> version of what does the work; raised where its meaning changes.
        inputs: name -> key of everything else that it depends on (other stages, fingerprints of data).
        work: writes the stage's files into the folder it is given. After an interruption it is called again with
            the same folder, files and all, and may resume from them.
        device, steps: recorded in the manifest; steps of an optimizer.
    """
    content = {"stage": name, "code": code, "parameters": view.digest, "inputs": inputs}
    key = stage_key(content)
    config = view.config
    folder = config.run_folder / name

    found = find_stage(config.runs_folder, config.profile, config.run_name, name)
    if found is not None and _read_manifest(found)["key"] == key:
        return Stage(name, found, key, reused=True)
    for manifest_path in sorted(config.run_folder.parent.glob(f"*/{name}/{MANIFEST}")):
        manifest = _read_manifest(manifest_path.parent)
        if manifest and manifest["key"] == key and "reused_from" not in manifest:
            other = manifest_path.parent.parent.name
            _discard(folder)
            write_json(folder / MANIFEST, {"stage": name, "key": key, "reused_from": other})
            return Stage(name, manifest_path.parent, key, reused=True)

    part = folder.with_name(f"{name}.part")
    key_file = part / "key"
    if part.exists() and not (key_file.is_file() and key_file.read_text() == key):
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    key_file.write_text(key)
    started = time.perf_counter()
    work(part)
    key_file.unlink()
    write_json(
        part / MANIFEST,
        {
            **content,
            "key": key,
            "seed": config.seed,
            "seconds": round(time.perf_counter() - started, 2),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": device,
            "steps": steps,
            "versions": versions(),
        },
    )
    _discard(folder)
    part.rename(folder)
    return Stage(name, folder, key, reused=False)


def find_stage(runs: Path, profile: str, run: str, name: str) -> Path | None:
    """Folder of a finished stage, wherever it was made, or None if there is none."""
    folder = Path(runs) / profile / run / name
    manifest = _read_manifest(folder)
    if manifest is None or "reused_from" not in manifest:
        return folder if manifest else None
    origin = Path(runs) / profile / manifest["reused_from"] / name
    made = _read_manifest(origin)
    # The other run may have been made again with other parameters since.
    return origin if made and made["key"] == manifest["key"] and "reused_from" not in made else None


def versions() -> dict[str, str]:
    """Versions of the kit, Python and the packages that results depend on."""
    packages = ("torch", "numpy", "numba", "scipy", "scikit-learn")
    return {
        "otoc_lib": otoc_lib.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _discard(folder: Path) -> None:
    """Delete a stage; its manifest goes first, so that what is left half deleted does not look finished."""
    (folder / MANIFEST).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
