"""Scene: the arrays of one room, checked on construction and never changed afterwards."""

import dataclasses
import hashlib
import json
import unicodedata
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from otoc_lib.errors import OtocError, shown
from otoc_lib.files import write_arrays
from otoc_lib.labels import IGNORE, LabelSet
from otoc_lib.outside import parse_json


def densify(ids: np.ndarray) -> np.ndarray:
    """Renumber arbitrary integer ids [N] as int32 0..M-1 [N], in the order of the sorted raw ids."""
    return np.unique(ids, return_inverse=True)[1].astype(np.int32)


LONGEST_NAME = 200  # bytes: file systems take 255, and suffixes follow
# What a stage's folder holds beside its rooms, and what Windows keeps for devices, whatever the suffix.
STAGE_FILES = (
    *("checkpoint", "clicks", "confusions", "history", "begun", "labels", "manifest", "metrics", "statistics"),
    *("subclouds", "tsne", "weights"),
)
DEVICES = ("aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)))


def checked_name(name: str, origin: object) -> str:
    """``name`` if it can name a scene: its files are called so, and must not leave the folders made for them.

    Raises OtocError naming ``origin``, the list, file or folder that the name comes from.
    """
    if not isinstance(name, str) or not name.strip():
        fault = "it is empty" if isinstance(name, str) else "it is no text"
    elif any(mark in name for mark in ("/", "\\", "..")):
        fault = "it holds '/', '\\' or '..'"
    elif name[0] == ".":
        fault = "it begins with a dot"
    elif any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        fault = "it holds a control character"
    elif len(name.encode()) > LONGEST_NAME:
        fault = f"it is longer than {LONGEST_NAME} bytes"
    elif name.lower() in STAGE_FILES:
        fault = "the kit's own files are called so, and are no scans"
    elif name.split(".")[0].rstrip().lower() in DEVICES:
        fault = "Windows keeps it for a device"
    else:
        return name
    raise OtocError(f"{origin}: {shown(name)} is no scene name: {fault}; rename it")


LARGEST_ID = 65535  # of a class in the files of a dataset
ARRAYS = ("coords", "colors", "supervoxels", "labels", "instances", "origin", "axes")


@dataclass(frozen=True, eq=False)
class Scene:
    """One room: N points in the vertex order of their file, M super-voxels, and labels where they are known.

    The arrays are read-only; one that could be written to is copied. An array that breaks its contract raises OtocError
    with the scene's name, and so does a name that ``checked_name`` refuses.
    """

    name: str
    coords: np.ndarray  # float32 [N, 3] metres, z up, centred
    colors: np.ndarray  # uint8 [N, 3] RGB
    supervoxels: np.ndarray  # int32 [N], dense 0..M-1
    labels: np.ndarray | None  # int16 [N], class index or IGNORE
    instances: np.ndarray | None  # int32 [N], dense 0..K-1 objects, -1 none
    origin: np.ndarray  # float64 [3] metres; coords + origin are the coordinates in the file, with z up and in metres
    label_set: LabelSet
    axes: np.ndarray | None = None  # float64 [3, 3]; they times this are those in the file. None: nothing is turned
    file: Path | None = dataclasses.field(default=None, init=False, repr=False)  # they are mapped from

    def __post_init__(self) -> None:
        checked_name(self.name, "scene")
        num_points = len(self.coords)
        if num_points == 0:
            raise self._error("has no points; leave this room out")
        self._freeze("coords", np.float32, (num_points, 3))
        self._freeze("colors", np.uint8, (num_points, 3))
        self._freeze("supervoxels", np.int32, (num_points,))
        self._freeze("origin", np.float64, (3,))
        for field in ("coords", "origin"):
            if not np.isfinite(getattr(self, field)).all():
                raise self._error(f"{field} holds NaN or infinity; repair the file it comes from")
        if self.axes is not None:
            self._freeze("axes", np.float64, (3, 3))
            if not (np.isfinite(self.axes).all() and np.linalg.det(self.axes) > 0):
                raise self._error("axes are those of no file: they must turn and scale, not mirror or flatten")
        if not _is_dense(self.supervoxels):
            raise self._error("supervoxels are not numbered 0..M-1 without gaps; renumber them with scene.densify")

        if self.labels is not None:
            self._freeze("labels", np.int16, (num_points,))
            outside = (self.labels != IGNORE) & ((self.labels < 0) | (self.labels >= len(self.label_set)))
            if outside.any():
                raise self._error(
                    f"labels hold {self.labels[outside][0]}; the classes of {self.label_set.name} are "
                    f"0..{len(self.label_set) - 1}, and {IGNORE} marks points without one"
                )
        if self.instances is not None:
            self._freeze("instances", np.int32, (num_points,))
            if not _is_dense(self.instances, lowest=-1):
                raise self._error("instances are not numbered 0..K-1 without gaps (-1: none); renumber them")

    @property
    def num_points(self) -> int:
        return len(self.coords)

    def in_file(self, coords: np.ndarray) -> np.ndarray:
        """Positions [K, 3] among ``coords`` as the file has them: in its axes, unit and offset, float64."""
        positions = coords + self.origin
        return positions if self.axes is None else positions @ self.axes

    def from_file(self, positions: np.ndarray) -> np.ndarray:
        """Positions [K, 3] of the file as they are among ``coords``: metres, z up, centred, float64."""
        return (positions if self.axes is None else positions @ np.linalg.inv(self.axes)) - self.origin

    @cached_property
    def num_supervoxels(self) -> int:
        return int(self.supervoxels.max()) + 1

    def centroids(self) -> np.ndarray:
        """Mean position of the points of each super-voxel, float64 [M, 3]."""
        sums = [np.bincount(self.supervoxels, weights=axis) for axis in self.coords.T]
        return np.stack(sums, axis=1) / np.bincount(self.supervoxels)[:, None]

    def part(self, points: np.ndarray) -> "Scene":
        """Some of its points, int64 [P], as a scene of the same name, without labels; super-voxels are renumbered."""
        return replace(
            self,
            coords=self.coords[points],
            colors=self.colors[points],
            supervoxels=densify(self.supervoxels[points]),
            labels=None,
            instances=None,
        )

    @cached_property
    def num_objects(self) -> int:
        """Number of annotated objects, 0 where ``instances`` is None."""
        return 0 if self.instances is None else int(self.instances.max()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the name, the arrays and the class names, computed once: a scene does not change."""
        digest = hashlib.blake2b(json.dumps([self.name, self.label_set.names]).encode(), digest_size=8)
        for field in ARRAYS:
            array = getattr(self, field)
            if array is not None:
                digest.update(field.encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def save(self, path: Path, notes: dict[str, Any] | None = None) -> None:
        """Write the scene as safetensors, with its name, label set and fingerprint as notes.

        Args:
            notes: kept beside them, for ``files.read_notes``.
        """
        arrays = {field: getattr(self, field) for field in ARRAYS}
        own = {"name": self.name, "label_set": asdict(self.label_set), "fingerprint": self.fingerprint}
        write_arrays(
            path, {field: array for field, array in arrays.items() if array is not None}, {**(notes or {}), **own}
        )

    @staticmethod
    def load(path: Path, whole: bool = False) -> "Scene":
        """Read a scene written by ``save``; its arrays are mapped from the file, not copied.

        Another process that it is sent to maps the file, too.

        Args:
            whole: the file was loaded before and was not written to since. Its arrays are not looked at then, so that
                they are read from the disk when something needs them.

        Raises:
            OtocError: names the file if it is missing, or its arrays are not those that were saved.
        """
        try:
            notes, arrays = _mapped(path)
            fields = {"name": notes["name"], "label_set": _label_set(notes["label_set"]), **arrays}
            if whole:
                return _unpickled({**fields, "fingerprint": notes["fingerprint"], "file": path})
            scene = Scene(**{"labels": None, "instances": None, **fields})
            if scene.fingerprint != notes["fingerprint"]:
                raise ValueError("its arrays are not those that were saved")
            object.__setattr__(scene, "file", path)
            return scene
        except FileNotFoundError as error:
            raise OtocError(f"{path}: no such file") from error
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise OtocError(f"{path}: not a scene saved by this kit, or damaged ({error}); make it again") from error

    def recoloured(self, label_set: LabelSet) -> "Scene":
        """The scene with the same classes in other colours."""
        if label_set.names != self.label_set.names:
            raise self._error(f"has the classes of {self.label_set.name}, not those of {label_set.name}")
        return _unpickled({**self.__dict__, "label_set": label_set})

    def __reduce__(self) -> tuple:
        """What another process gets of a scene that was read from a file is the file."""
        if self.file is None:
            return _unpickled, (dict(self.__dict__),)
        return _mapped_again, (self.file, self.fingerprint, self.label_set)

    def _freeze(self, field: str, dtype: type, shape: tuple[int, ...]) -> None:
        array = getattr(self, field)
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise self._error(f"{field} must be {np.dtype(dtype)} {shape}, not {found}")
        if not _is_frozen(array):
            object.__setattr__(self, field, _read_only(array.copy()))

    def _error(self, message: str) -> OtocError:
        return OtocError(f"scene {self.name}: {message}")


def _mapped(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Notes and mapped arrays of a saved scene."""
    # The torch side of safetensors maps the file and, unlike mmap, keeps no file descriptor for every scene.
    with safe_open(path, framework="pt") as file:
        notes = parse_json((file.metadata() or {})["notes"], path)
        return notes, {field: _read_only(file.get_tensor(field).numpy()) for field in file.keys()}


def _mapped_again(path: Path, fingerprint: str, label_set: LabelSet) -> Scene:
    """A scene of another process from its file; the arrays, which that process has checked, are not looked at."""
    scene = Scene.load(path, whole=True)
    if scene.fingerprint != fingerprint:
        raise OtocError(f"{path}: was made anew while another process used it; run the same again")
    return scene if scene.label_set == label_set else scene.recoloured(label_set)


def _unpickled(fields: dict[str, Any]) -> Scene:
    """A scene of fields that were checked when it was made."""
    scene = object.__new__(Scene)
    for value in fields.values():
        if isinstance(value, np.ndarray):
            _read_only(value)  # as they were
    scene.__dict__.update({"labels": None, "instances": None, "axes": None, **fields})
    return scene


def _label_set(known: dict) -> LabelSet:
    """The label set that a saved scene describes; ValueError, KeyError or TypeError where that is none."""
    name, names, file_ids, colors = (known[field] for field in ("name", "names", "file_ids", "colors"))
    if not {type(name), *map(type, names)} == {str} or not names or not len(names) == len(file_ids) == len(colors):
        raise ValueError("its classes have no names, or not as many ids and colours")
    numbers = [*((number, LARGEST_ID) for number in file_ids), *((shade, 255) for color in colors for shade in color)]
    if not all(type(number) is int and 0 <= number <= largest for number, largest in numbers):
        raise ValueError("its classes have ids or colours that are none")
    if not {len(color) for color in colors} == {3}:
        raise ValueError("its colours are not red, green and blue")
    return LabelSet(name, tuple(names), tuple(file_ids), tuple(tuple(color) for color in colors))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _is_frozen(array: np.ndarray) -> bool:
    """Whether neither the array nor one that it is a view of can be written to."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return True


def _is_dense(ids: np.ndarray, lowest: int = 0) -> bool:
    """Whether the ids [N], none below ``lowest``, use every number from 0 to the largest of them."""
    if ids.min() < lowest or ids.max() >= ids.size:
        return False
    return bool(np.bincount(ids - lowest)[-lowest:].all())
