"""Furniture models of Debian's ``sweethome3d-furniture`` package, read straight from its zip files."""

import csv
import io
import posixpath
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otoc_lib.errors import OtocError
from room_factory.triangles import Mesh, split_long_faces

SYSTEM_ROOT = Path("/usr/share/sweethome3d/furniture")
MODEL_LIST = Path(__file__).parent / "furniture_classes.csv"
TEXEL = 0.06  # metres; textured faces are split to this size so that vertex colours carry the texture


@dataclass(frozen=True)
class Model:
    """One row of the model list; sizes in metres, ``rotation`` 3x3 row by row or None."""

    id: str
    name: str
    library: str
    path: str
    size: tuple[float, float, float]  # width x, depth y, height z
    creator: str
    rotation: tuple[float, ...] | None
    scannet: str


def read_models(path: Path = MODEL_LIST) -> dict[str, Model]:
    """All models of the model list by id."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    models = {}
    for row in rows:
        size = tuple(float(row[f"{side}_cm"]) / 100 for side in ("width", "depth", "height"))
        rotation = tuple(float(value) for value in row["rotation"].split()) or None
        models[row["id"]] = Model(
            row["id"],
            row["name"],
            row["library"],
            row["model"].lstrip("/"),
            size,
            row["creator"],
            rotation,
            row["scannet"],
        )
    return models


def find_library(root: Path, library: str) -> Path:
    """The zip file of a library below ``root``; OtocError saying what to install if there is none."""
    found = sorted(Path(root).rglob(f"{library}.sh3f"))
    if not found:
        raise OtocError(
            f"{root}: no {library}.sh3f below it; install the Debian package sweethome3d-furniture "
            "or give the folder it was unpacked to (--furniture)"
        )
    return found[0]


class Catalogue:
    """Loads models by id and keeps what it loaded."""

    def __init__(self, root: Path = SYSTEM_ROOT):
        self.root = Path(root)
        self.models = read_models()
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._meshes: dict[str, Mesh] = {}

    def mesh(self, model_id: str) -> Mesh:
        """The model at its catalogue size: standing on z = 0, centred in x and y, its front towards -y."""
        if model_id not in self._meshes:
            self._meshes[model_id] = self._load(self.models[model_id])
        return self._meshes[model_id]

    def _load(self, model: Model) -> Mesh:
        import trimesh

        if model.library not in self._archives:
            self._archives[model.library] = zipfile.ZipFile(find_library(self.root, model.library))
        archive = self._archives[model.library]
        scene = trimesh.load(
            io.BytesIO(archive.read(model.path)),
            file_type="obj",
            resolver=_FolderOfZip(archive, str(Path(model.path).parent)),
            force="scene",
            split_object=False,
            group_material=True,
            process=False,
        )
        vertices, faces, colors, start = [], [], [], 0
        for geometry in scene.geometry.values():
            part = _bake(geometry)
            vertices.append(part.vertices)
            faces.append(part.faces + start)
            colors.append(part.colors)
            start += len(part.vertices)
        points = np.concatenate(vertices).astype(np.float64)
        if model.rotation is not None:
            points = points @ np.array(model.rotation).reshape(3, 3).T
        points = points[:, [0, 2, 1]] * [1, -1, 1]  # y up -> z up
        lower, upper = points.min(axis=0), points.max(axis=0)
        points = (points - [*(lower + upper)[:2] / 2, lower[2]]) / np.maximum(upper - lower, 1e-9) * model.size
        return Mesh(points.astype(np.float32), np.concatenate(faces).astype(np.int32), np.concatenate(colors))


class _FolderOfZip:
    """What trimesh asks for the files beside a model: materials and textures, from the same zip."""

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self.archive, self.folder = archive, folder

    def __getitem__(self, name: str) -> bytes:
        return self.archive.read(posixpath.normpath(f"{self.folder}/{name.strip()}"))

    get = __getitem__


def _bake(geometry) -> Mesh:
    """A trimesh geometry with its material or texture turned into vertex colours."""
    vertices, faces = np.asarray(geometry.vertices), np.asarray(geometry.faces)
    material = getattr(geometry.visual, "material", None)
    texture, uv = getattr(material, "image", None), getattr(geometry.visual, "uv", None)
    if texture is None or uv is None or len(uv) != len(vertices):
        main = getattr(material, "main_color", np.array([180, 180, 180, 255]))
        return Mesh(
            vertices, faces.astype(np.int32), np.tile(np.asarray(main)[:3].astype(np.uint8), (len(vertices), 1))
        )
    pixels = np.asarray(texture.convert("RGB"))  # [H, W, 3]
    extent = np.ptp(vertices, axis=0).max()
    points, faces = split_long_faces(np.concatenate([vertices, uv], axis=1), faces, extent * TEXEL)
    u, v = points[:, 3] % 1, points[:, 4] % 1
    rows = np.minimum(((1 - v) * pixels.shape[0]).astype(int), pixels.shape[0] - 1)
    columns = np.minimum((u * pixels.shape[1]).astype(int), pixels.shape[1] - 1)
    return Mesh(points[:, :3], faces, pixels[rows, columns])
