"""Run folders: what a stage read, what it wrote, and whether it is finished.

A stage is a folder ``runs/<profile>/<run>/<stage>/`` with a ``manifest.json`` that comes last. Its key is a hash of the
parameters that its work can read, of the versions of the code that made it and of the keys of its inputs: a finished
stage with the same key is reused, in this run or from another one of the same profile, and a changed parameter
invalidates exactly the stages that depend on it.

Work goes on in ``<stage>.part``, which an interrupted run leaves behind for its resume. It is done under two locks, of
the folder and of the key: a second process waits, then finds the stage finished. The manifest holds a checksum of every
file. They are compared where a stage is reused and where a file of it is read, so that neither damage nor a stage that
was made anew meanwhile passes for what the key says. What is damaged is set aside as ``<stage>.damaged``.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import otoc_lib
from otoc_lib.config import View, added_defaults
from otoc_lib.errors import CannotWriteError, OtocError
from otoc_lib.files import checksum, remove_litter, write_json
from otoc_lib.lock import locked

MANIFEST = "manifest.json"
BEGUN = "begun.json"  # in a .part folder: the key of what is made there, and the seconds that it took so far
LOCKS = ".locks"  # in the runs folder of a profile


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, its key, whether it was found rather than made by this call, and its files."""

    name: str
    path: Path
    key: str
    reused: bool
    files: dict[str, str] = field(default_factory=dict, repr=False)  # name -> checksum

    def read(self, name: str) -> bytes:
        """What a file of the stage holds.

        Raises OtocError if that is not what the stage wrote: it was damaged, or the stage was made anew meanwhile.
        """
        path = self.path / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise self._changed(name, f"cannot be read ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.files.get(name):
            raise self._changed(name, "is not what the stage wrote")
        return data

    def check(self, names: list[str] | None = None) -> None:
        """Compare files, by default all, with their checksums: OtocError as in ``read``."""
        for name in self.files if names is None else names:
            try:
                differs = checksum(self.path / name) != self.files.get(name)
            except OSError as error:
                raise self._changed(name, f"cannot be read ({error})") from error
            if differs:
                raise self._changed(name, "is not what the stage wrote")

    def _changed(self, name: str, how: str) -> OtocError:
        with contextlib.suppress(OtocError, OSError):
            now = read_manifest(self.path)
            if now and now["key"] != self.key:
                return OtocError(
                    f"{self.path}: was made anew with other parameters by another process while this one used it; give "
                    "one of the two experiments a name of its own and run this one again"
                )
        return OtocError(
            f"{self.path / name}: {how}; run the same again: a damaged stage is set aside as {self.path.name}.damaged "
            "and made anew"
        )


def stage_content(view: View, name: str, code: dict[str, int], inputs: dict[str, str]) -> dict[str, Any]:
    """What the key of a stage hashes; arguments as in ``run_stage``."""
    return {"stage": name, "code": code, "parameters": view.digest, "inputs": inputs}


def stage_key(content: dict[str, Any]) -> str:
    """Hash of what a stage's result depends on, ready for JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def run_stage(
    view: View,
    name: str,
    code: dict[str, int],
    inputs: dict[str, str],
    work: Callable[[Path, str], None],
    *,
    device: str = "cpu",
    steps: int = 0,
) -> Stage:
    """Reuse the stage if it is finished with the same parameters, code and inputs, else make it by ``work``.

    Args:
        view: the parameters that ``work`` can read; all of them are part of the key.
        code: name -> version of what does the work; raised where its meaning changes.
        inputs: name -> key of everything else that it depends on (other stages, fingerprints of data).
        work: ``work(folder, key)`` writes the stage's files into the folder. After an interruption it is called again
            with the same folder, files and all, and may resume from those in which it had noted the key.
        device, steps: recorded in the manifest; steps of an optimizer.
    """
    content = stage_content(view, name, code, inputs)
    key, config = stage_key(content), view.config
    folder = config.run_folder / name
    if (found := _finished(folder, key)) is not None:
        return found
    locks, what = folder.parents[1] / LOCKS, f"runs/{config.profile}/{config.run_name}/{name}"
    # Of the folder, so that no other parameters are worked on there; of the key, so that no other run makes the same.
    with (
        locked(locks / f"{config.run_name}.{name}", what),
        locked(locks / key, f"{what}, which another run needs, too"),
    ):
        found = _finished(folder, key, tell=True)
        if found is None:
            _warn_of_replacing(folder, what, content["parameters"])
        if found is None and (found := _finished_elsewhere(folder, key)) is not None:
            _discard(folder)
            elsewhere = {"reused_from": found.path.parent.name, "config": asdict(config)}
            write_json(folder / MANIFEST, {"stage": name, "key": key, **elsewhere})
        if found is not None:
            return found
        part = folder.with_name(f"{name}.part")
        if not _is_complete(part, key):
            about = {"seed": config.seed, "device": device, "steps": steps, "versions": versions()}
            about["config"] = asdict(config)  # all of it, so that a run can be used where its params file has changed
            _make(part, key, content | {"key": key} | about, work)
        _discard(folder)
        part.rename(folder)
        made = read_manifest(folder)
        assert made is not None  # it was written, and the folder renamed
        return Stage(name, folder, key, reused=False, files=made["files"])


def _warn_of_replacing(folder: Path, what: str, parameters: Mapping[str, Any]) -> None:
    """Where a finished stage gives way to one of the same run with other parameters: ``-p`` may have cost days of work.

    Of stages that follow from it nothing is said.
    """
    finished = read_manifest(folder) or {}
    if "parameters" not in finished:  # nothing is there, or what another run keeps
        return
    before, now = ({**added_defaults(), **values} for values in (finished["parameters"], parameters))
    changed = [f"{name} {before[name]}" for name in before if name not in now or before[name] != now[name]]
    changed += [f"no {name}" for name in now if name not in before]  # as after a change of method
    if changed:
        warnings.warn(
            f"{what}: was made with {', '.join(changed)} and is replaced; to keep both, stop this and give the new "
            "values a params file, and so a run, of their own",
            stacklevel=4,
        )


def _make(part: Path, key: str, content: dict[str, Any], work: Callable[[Path, str], None]) -> None:
    """Work in the folder ``part``, on from where it was, until its manifest is written."""
    begun = _begun(part)
    if begun["key"] != key:
        shutil.rmtree(part, ignore_errors=not part.exists())
        begun = {"key": key, "seconds": 0.0}
        write_json(part / BEGUN, begun)
    (part / MANIFEST).unlink(missing_ok=True)
    remove_litter(part)
    with _timed(part, begun):
        work(part, key)
    spent = _begun(part)
    if spent["key"] != key:
        raise OtocError(
            f"{part}: another process began other work there, so this one is not kept; the lock of the file system "
            "failed: keep the runs on a local disk, or run one process at a time"
        )
    remove_litter(part)
    files = sorted(path for path in part.rglob("*") if path.is_file() and path.name != BEGUN)
    manifest = {
        **content,
        "seconds": round(spent["seconds"], 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {path.relative_to(part).as_posix(): checksum(path) for path in files},
    }
    write_json(part / MANIFEST, manifest)  # from here on the work is not done again, wherever the process is stopped
    (part / BEGUN).unlink()


@contextlib.contextmanager
def _timed(part: Path, begun: dict[str, Any]) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        if _begun(part)["key"] == begun["key"]:
            with contextlib.suppress(CannotWriteError):  # what stopped the work says more
                write_json(part / BEGUN, {**begun, "seconds": begun["seconds"] + time.perf_counter() - started})


def _begun(part: Path) -> dict[str, Any]:
    try:
        begun = json.loads((part / BEGUN).read_text(encoding="utf-8"))
        return {"key": str(begun["key"]), "seconds": float(begun["seconds"])}
    except (OSError, ValueError, TypeError, KeyError):
        return {"key": None, "seconds": 0.0}


def _is_complete(part: Path, key: str) -> bool:
    """Whether a killed process had finished all but the renaming."""
    with contextlib.suppress(OtocError):
        manifest = read_manifest(part)
        if manifest and manifest["key"] == key:
            Stage(part.name, part, key, reused=True, files=manifest["files"]).check()
            (part / BEGUN).unlink(missing_ok=True)
            return True
    return False


# --- finished stages --------------------------------------------------------------------------------------------------


def find_stage(runs: Path, profile: str, run: str, name: str) -> Stage | None:
    """A finished stage, wherever it was made, or None if there is none. Its files are not compared yet.

    Raises OtocError if its manifest is damaged.
    """
    folder = Path(runs) / profile / run / name
    manifest = read_manifest(folder)
    if manifest is not None and "reused_from" in manifest:
        folder, key = folder.parents[1] / manifest["reused_from"] / name, manifest["key"]
        manifest = read_manifest(folder)
        # The other run may have been made again with other parameters since.
        if manifest is None or "reused_from" in manifest or manifest["key"] != key:
            return None
    return Stage(name, folder, manifest["key"], reused=True, files=manifest["files"]) if manifest else None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a stage's folder, None if it has none; OtocError naming it if it is damaged."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        texts = [manifest["stage"], manifest["key"]]
        texts += [manifest["reused_from"]] if "reused_from" in manifest else manifest["files"].values()
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("there are numbers where text belongs")
        return manifest
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise OtocError(
            f"{path}: damaged ({error!r}); run the experiment again: the stage is set aside as "
            f"{folder.name}.damaged and made anew"
        ) from error


def versions() -> dict[str, str]:
    """Versions of the kit, Python and the packages that results depend on."""
    packages = ("torch", "numpy", "numba", "scipy", "scikit-learn")
    return {
        "otoc_lib": otoc_lib.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def stages_in(run: Path) -> list[str]:
    """Names of the finished stages in a run's folder, made there or reused; what is begun or set aside is left out."""
    return sorted(path.parent.name for path in run.glob(f"*/{MANIFEST}") if "." not in path.parent.name)


def finished_manifests(profile_runs: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run and manifest of every stage of a profile that was made, not reused; OtocError if one is damaged."""
    for run in sorted(profile_runs.glob("*/")):
        for name in stages_in(run):
            manifest = read_manifest(run / name)
            if manifest is not None and "reused_from" not in manifest:
                yield run.name, manifest


def _finished(folder: Path, key: str, tell: bool = False) -> Stage | None:
    """The stage of a folder, or the one that it refers to, if it has that key and its files are what they were.

    tell: where they are not, warn, and set aside what lies in the folder itself; for the owner of its lock.
    """
    found = None
    try:
        found = find_stage(folder.parents[2], folder.parents[1].name, folder.parent.name, folder.name)
        if found is not None and found.key == key:
            found.check()
            return found
    except OtocError as error:
        if tell:
            cause = str(error).split("; run ")[0]
            if found is not None and found.path != folder:
                warnings.warn(f"{cause}; it is made anew in {folder}", stacklevel=4)
            else:
                damaged = folder.with_name(f"{folder.name}.damaged")
                shutil.rmtree(damaged, ignore_errors=True)
                os.replace(folder, damaged)
                warnings.warn(f"{cause}; the stage is set aside as {damaged.name} and made anew", stacklevel=4)
    return None


def _finished_elsewhere(folder: Path, key: str) -> Stage | None:
    """A stage of that key in another run of the profile."""
    for path in sorted(folder.parents[1].glob(f"*/{folder.name}/{MANIFEST}")):
        found = _finished(path.parent, key) if path.parent != folder else None
        if found is not None and found.path == path.parent:
            return found
    return None


def _discard(folder: Path) -> None:
    """Delete a stage; its manifest goes first, so that what is left half deleted does not look finished."""
    (folder / MANIFEST).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
