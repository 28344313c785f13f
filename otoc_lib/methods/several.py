"""Hands the work of a stage to several processes, which are ``together.py``, as values that JSON can hold."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from otoc_lib.device import check_devices, choose_device
from otoc_lib.errors import OtocError
from otoc_lib.methods.method import Method
from otoc_lib.scene import Scene
from otoc_lib.store import Stage
from otoc_lib.training.launch import launch


def share_out(
    stages: Any, devices: int, stage: str, splits: list[str], work: Callable[..., None], **arguments: Any
) -> None:
    """Let so many processes call ``work`` with these arguments, each with its share of the ``rooms`` among them.

    They read the rooms of the config themselves, so these must be the ones that ``stages`` has.

    Args:
        stages: a ``stages.Stages``.
        stage: that is made.
        splits: of the evaluation whose rooms ``work`` is about; none for the training rooms.
        work: a method of ``stages``.

    Raises:
        OtocError: there are not so many devices; or what ``launch`` raises.
    """
    config = stages.config
    check_devices(config)
    job = {
        "config": asdict(config),
        "method": _place(stages.method),
        "splits": splits,
        "fingerprints": {split: stages.fingerprint(split) for split in splits or ["train"]},
        "work": work.__name__,
        "arguments": plain(arguments),
    }
    on_cuda = choose_device(config).type == "cuda"
    launch("otoc_lib.methods.together", job, devices, f"stage {stage}", on_cuda)


def plain(value: Any) -> Any:
    """A value for JSON, of which ``restored`` makes the same again: paths, stages, and rooms by their names."""
    match value:
        case Stage():
            return {"stage": [value.name, str(value.path), value.key, value.reused, value.files]}
        case Scene():
            return {"room": value.name}
        case Path():
            return {"path": str(value)}
        case dict():
            return {"dict": {name: plain(item) for name, item in value.items()}}
        case list():
            return [plain(item) for item in value]
    return value


def restored(value: Any, rooms: dict[str, Scene]) -> Any:
    """What ``plain`` was given."""
    match value:
        case {"stage": [name, path, key, reused, files]}:
            return Stage(name, Path(path), key, reused, files)
        case {"room": name}:
            return rooms[name]
        case {"path": path}:
            return Path(path)
        case {"dict": items}:
            return {name: restored(item, rooms) for name, item in items.items()}
        case list():
            return [restored(item, rooms) for item in value]
    return value


def _place(method: Method) -> str:
    """``module:name`` of a method."""
    for module in [module for name, module in sys.modules.items() if name.startswith("otoc_lib.methods.")]:
        for name, value in vars(module).items():
            if value is method:
                return f"{module.__name__}:{name}"
    raise OtocError(f"the method {method.title!r} is in no file of otoc_lib/methods, where other processes find it")
