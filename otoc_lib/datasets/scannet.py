"""Reader of the official ScanNet-v2 layout, which the bundled rooms are unpacked to as well.

``<root>/scannetv2-labels.combined.tsv`` maps raw category names to NYU40 ids, and ``<root>/scans/<id>/`` (or
``scans_test/<id>/``, which has only the first file) holds for every scene ``<id>_vh_clean_2.ply`` (the mesh),
``<id>_vh_clean_2.0.010000.segs.json`` (super-voxels), ``<id>_vh_clean_2.labels.ply`` (NYU40 ids) and
``<id>.aggregation.json`` (objects as lists of super-voxels). Scene names are listed in
``<root>/splits/scannetv2_<split>.txt`` or ``<root>/scannetv2_<split>.txt``, else in the official lists shipped here.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from otoc_lib import csv_table
from otoc_lib.config import Config
from otoc_lib.datasets.ply import read_ply
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import Faults, OtocError, shown
from otoc_lib.labels import SCANNET20
from otoc_lib.outside import read_json, read_text
from otoc_lib.scene import Scene, checked_name, densify
from otoc_lib.supervoxels.mesh import segment_mesh

SPLITS = ("train", "val", "val_novel", "test")
OFFICIAL_LISTS = Path(__file__).parent / "scannet_splits"
READS: tuple[str, ...] = ()  # ScanNet brings its own super-voxels

# NYU40 ids, with 0 for unannotated. The release itself holds two stray ids, in scene0270_00, scene0270_02 (50) and
# scene0384_00 (149); they are no benchmark class.
VALID_LABEL_IDS = (*range(41), 50, 149)

LARGEST_ROOM = 100  # metres; anything larger was hardly measured in metres
LARGEST_NUMBER = 65535  # of a raw category in label images, which have 16 bits
FARTHEST = 1e7  # metres; what lies beyond is no coordinate


def list_scenes(root: Path, split: str) -> list[str]:
    """Names of the scenes of a split ("train", "val", "val_novel" or "test"), in the order of its list."""
    if split not in SPLITS:
        raise OtocError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    path = own_list(root, split) or OFFICIAL_LISTS / f"scannetv2_{split}.txt"
    if not os.path.isfile(path):  # the official ones have no such split
        path = _list_places(root, split)[0]
    first_line: dict[str, int] = {}
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        name = text.strip()
        if not name:
            continue
        checked_name(name, f"{path}, line {line}")
        if len(name.split()) > 1:
            raise OtocError(f"{path}, line {line}: {name!r} is no scene name; write one name a line")
        if name in first_line:
            raise OtocError(f"{path}, line {line}: {name} is listed before, in line {first_line[name]}; keep one")
        first_line[name] = line
    if not first_line:
        raise OtocError(f"{path}: lists no scene; it needs one name a line")
    return list(first_line)


def room_of(name: str) -> str:
    """The room that a scan shows: "scene0191" of "scene0191_02"."""
    return name.partition("_")[0]


def own_list(root: Path, split: str) -> Path | None:
    """The list of a split under ``root``; None where there is none and the official one counts."""
    return next((place for place in _list_places(root, split) if os.path.isfile(place)), None)


def _list_places(root: Path, split: str) -> list[Path]:
    file = f"scannetv2_{split}.txt"
    return [_root(root) / "splits" / file, _root(root) / file]


def scene_files(root: Path, name: str) -> list[Path]:
    """The files that ``load_scene`` reads, whether they exist or not."""
    folder = _folder(root, name)
    files = [folder / f"{name}_vh_clean_2.ply"]
    segments = folder / f"{name}_vh_clean_2.0.010000.segs.json"
    if folder.parent.name == "scans" or os.path.exists(segments):
        files.append(segments)
    if folder.parent.name == "scans":
        files += [folder / f"{name}_vh_clean_2.labels.ply", _aggregation_file(folder, name), _categories_file(root)]
    return files


def read_scene(root: Path, name: str, config: Config) -> Scene:
    """``load_scene`` as an experiment asks for it."""
    return load_scene(root, name)


def load_scene(root: Path, name: str, with_labels: bool = True) -> Scene:
    """Read one scene. Point order is the vertex order of the file.

    Args:
        root: folder that holds ``scans/`` and ``scannetv2-labels.combined.tsv``.
        name: scene id, such as "scene0000_00".
        with_labels: read labels and instances; scenes in ``scans_test/`` have none either way.

    Returns:
        The scene, centred on the mean of its points. Its instances are the annotated objects of the benchmark classes,
        in the order of the aggregation file; points of other objects have instance -1 and label IGNORE. A test scene
        has no segs.json: its super-voxels are cut from its mesh, as ScanNet's were.

    Raises:
        OtocError: a file is missing, damaged or contradicts another one; the message names it, and all such files.
    """
    folder = _folder(root, name)
    if not os.path.isdir(folder):
        raise OtocError(f"{root}: has neither scans/{name} nor scans_test/{name}; check the data root")

    faults = Faults()  # a scene may have several broken files: all are named
    mesh_path = folder / f"{name}_vh_clean_2.ply"
    mesh = faults.of(lambda: _read_points(mesh_path))
    num_points = None if mesh is None else len(mesh[0])
    segments_path = folder / f"{name}_vh_clean_2.0.010000.segs.json"
    if segments_path in scene_files(root, name):
        segments = faults.of(lambda: _read_segments(segments_path, num_points))
    else:
        segments = None if mesh is None else faults.of(lambda: _segment(mesh_path))
    labels = instances = None
    if with_labels and folder.parent.name == "scans":
        labels = faults.of(lambda: _read_labels(folder / f"{name}_vh_clean_2.labels.ply", num_points))
        categories = faults.of(lambda: _read_categories(_categories_file(root)))
        aggregation = _aggregation_file(folder, name)
        groups = faults.of(lambda: _read_groups(aggregation))
        if segments is not None and categories is not None and groups is not None:
            instances = faults.of(lambda: _instances(aggregation, groups, segments, categories))
    faults.check()
    assert mesh is not None and segments is not None  # nothing was refused

    points, colors = mesh
    origin = points.mean(axis=0)
    return Scene(
        name=name,
        coords=(points - origin).astype(np.float32),
        colors=colors,
        supervoxels=densify(segments),
        labels=labels,
        instances=instances,
        origin=origin,
        label_set=SCANNET20,
    )


def read_faces(root: Path, name: str) -> np.ndarray | None:
    """The triangles of the mesh of a scene, int32 [F, 3] of its points."""
    return read_scan(_folder(root, name) / f"{name}_vh_clean_2.ply").faces


def _read_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, float64 [N, 3], and colours, uint8 [N, 3], of the vertices."""
    vertices = _read_vertices(path, ("x", "y", "z", "red", "green", "blue"))
    points = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    if len(points) == 0:
        raise OtocError(f"{path}: holds no vertices; leave this room out or copy the file again")
    bad = np.flatnonzero(~(np.abs(points) < FARTHEST).all(axis=1))
    if bad.size:
        raise OtocError(
            f"{path}: {bad.size} vertices have a NaN, infinite or absurd coordinate, the first is {bad[0]}; repair it"
        )
    size = np.ptp(points, axis=0).max()
    if size > LARGEST_ROOM:
        warnings.warn(
            f"{path}: the room is {size:.0f} m wide, if its unit is the metre; divide millimetres by 1000", stacklevel=3
        )
    return points, _to_bytes(path, np.stack([vertices[channel] for channel in ("red", "green", "blue")], axis=1))


def _to_bytes(path: Path, colors: np.ndarray) -> np.ndarray:
    """Colours, uint8 [N, 3], from numbers 0..255, 0..65535 or 0..1; OtocError where it could be two of these."""
    if colors.dtype == np.uint8:
        return colors
    bad = np.flatnonzero(~((colors >= 0) & (colors <= 65535)).all(axis=1))
    if bad.size:
        raise OtocError(f"{path}: vertex {bad[0]} has the colour {colors[bad[0]].tolist()}; write uchar 0..255")
    largest = colors.max()
    whole = bool((colors == np.rint(colors)).all())
    if largest == 0 or 2 <= largest <= 255:
        scale = 1.0
    elif largest <= 1 and not whole:
        scale = 255.0
    elif largest >= 4096 and whole:
        scale = 255 / 65535
    else:
        raise OtocError(
            f"{path}: red, green and blue are {colors.dtype} up to {largest}, not clearly 0..255, 0..65535 or 0..1; "
            "write them as uchar 0..255"
        )
    return np.rint(colors * scale).astype(np.uint8)


def _read_labels(path: Path, num_points: int | None) -> np.ndarray:
    """Class indices, int16 [N], of the vertices; of any number where the mesh has none that can be read."""
    ids = _read_vertices(path, ("label",))["label"]
    if ids.dtype.kind not in "iu":
        raise OtocError(f"{path}: the labels are {ids.dtype}; write them as ushort")
    if num_points is not None and len(ids) != num_points:
        raise OtocError(f"{path}: {len(ids)} vertices, but the mesh beside it has {num_points}; copy both again")
    bad = np.flatnonzero(~np.isin(ids, VALID_LABEL_IDS))
    if bad.size:
        raise OtocError(f"{path}: vertex {bad[0]} has label {ids[bad[0]]}, which is no NYU40 id 0..40")
    labels = SCANNET20.from_file_ids(ids)
    if (labels < 0).all():
        raise OtocError(f"{path}: no point has one of the {len(SCANNET20)} benchmark classes; leave this room out")
    return labels


def _read_segments(path: Path, num_points: int | None) -> np.ndarray:
    """Raw segment ids, int64 [N], not dense; of any number where the mesh has none that can be read."""
    segments = _whole_numbers(path, _member(path, read_json(path), "segIndices", list))
    if num_points is not None and len(segments) != num_points:
        raise OtocError(
            f"{path}: {len(segments)} segIndices for the {num_points} vertices of the mesh beside it; the two files "
            "are not of one release, copy both again"
        )
    return segments


def _segment(mesh_path: Path) -> np.ndarray:
    """Segment ids, int32 [N], cut from the mesh itself."""
    scan = read_scan(mesh_path)
    if scan.faces is None:
        raise OtocError(f"{mesh_path}: has no triangles to cut super-voxels from; copy it again, or add its segs.json")
    return segment_mesh(scan.points, scan.faces)


def _read_groups(path: Path) -> list:
    """The segGroups of an aggregation file."""
    aggregation = read_json(path)
    groups = _member(path, aggregation, "segGroups", list)
    if str(aggregation.get("segmentsFile")).endswith("_vh_clean.segs.json"):
        raise OtocError(f"{path}: lists the objects of the full-resolution mesh; copy <id>.aggregation.json as well")
    return groups


def _instances(path: Path, groups: list, segments: np.ndarray, categories: dict[str, int]) -> np.ndarray:
    """Object of every vertex, int32 [N]: dense ids of the objects of the benchmark classes, -1 elsewhere.

    Args:
        path: the aggregation file, named in errors.
        groups: its segGroups.
        segments: int64 [N] raw segment ids of the vertices.
        categories: raw category name -> NYU40 id.
    """
    raw_ids, supervoxels = np.unique(segments, return_inverse=True)
    group_of = np.full(len(raw_ids), -1)  # [M]
    instance_of_group = []
    num_objects = 0
    seen = set()
    for number, group in enumerate(groups):
        category = _member(path, group, "label", str)
        if category not in categories:
            raise OtocError(
                f"{path}: segGroups[{number}] has the unknown category {category!r}; "
                "add it to scannetv2-labels.combined.tsv or correct it"
            )
        is_object = categories[category] in SCANNET20.file_ids
        instance_of_group.append(num_objects if is_object else -1)
        members = np.unique(_whole_numbers(path, _member(path, group, "segments", list)))
        if members.size == 0 or members.tobytes() in seen:  # scene0217_00 lists its 31 objects twice
            continue
        seen.add(members.tobytes())
        rows = np.searchsorted(raw_ids, members).clip(max=len(raw_ids) - 1)  # [S] super-voxels of this object
        if (raw_ids[rows] != members).any():
            missing = members[raw_ids[rows] != members][0]
            raise OtocError(f"{path}: segment {missing} of segGroups[{number}] is not in the segs.json beside it")
        taken = rows[group_of[rows] >= 0]
        if taken.size:
            raise OtocError(
                f"{path}: segment {raw_ids[taken[0]]} belongs to both segGroups[{group_of[taken[0]]}] and "
                f"segGroups[{number}]; give it to one of them"
            )
        group_of[rows] = number
        num_objects += is_object
    return np.array([*instance_of_group, -1], dtype=np.int32)[group_of][supervoxels]  # group -1 picks the last, -1


def _read_categories(path: Path) -> dict[str, int]:
    """Raw category name -> NYU40 id."""
    categories = {}
    for line, row in csv_table.read_rows(path, ("raw_category", "nyu40id", "nyu40class")):
        try:
            if row["nyu40class"] is None:  # comes after nyu40id in the release: the number before it may be cut
                raise ValueError("the line is cut")
            categories[row["raw_category"]] = int(csv_table.number(row["nyu40id"], whole=True))
        except (TypeError, ValueError) as error:
            raise OtocError(
                f"{path}, line {line}: no whole number in column nyu40id ({error}); copy the file of the release again"
            ) from error
    return categories


def read_category_numbers(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """The number of each raw category, as label images hold it, int64 [K], and its NYU40 id, int64 [K]."""
    path = _categories_file(root)
    numbers = []
    for line, row in csv_table.read_rows(path, ("id", "nyu40id")):
        try:
            raw, nyu40 = (csv_table.number(row[column], whole=True) for column in ("id", "nyu40id"))
            if not 0 < raw < LARGEST_NUMBER or nyu40 not in VALID_LABEL_IDS:
                raise ValueError
        except (TypeError, ValueError):
            raise OtocError(
                f"{path}, line {line}: the columns id and nyu40id hold {shown(row['id'])} and {shown(row['nyu40id'])}, "
                "which are not the numbers of a category; copy the file of the release again"
            ) from None
        numbers.append((raw, nyu40))
    columns = np.array(numbers, dtype=np.int64).reshape(-1, 2).T
    return columns[0], columns[1]


def categories_file(root: Path) -> Path:
    """The label table."""
    return Path(root) / "scannetv2-labels.combined.tsv"


def _folder(root: Path, name: str) -> Path:
    """The folder of a scene; the one in scans_test/ if scans/ has none."""
    folder = _root(root) / "scans" / checked_name(name, root)
    return folder if os.path.isdir(folder) else _root(root) / "scans_test" / name


def _aggregation_file(folder: Path, name: str) -> Path:
    """The list of objects, by either of its names."""
    path, other = folder / f"{name}.aggregation.json", folder / f"{name}_vh_clean.aggregation.json"
    return path if os.path.exists(path) or not os.path.exists(other) else other


def _categories_file(root: Path) -> Path:
    return categories_file(_root(root))


def _root(root: Path) -> Path:
    root = Path(root)
    if not os.path.isdir(root):
        raise OtocError(f"data root {root}: no such folder; set it to the folder that holds scans/ and splits/")
    return root


def _read_vertices(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named vertex properties, each [N]; others are left alone."""
    vertices = read_ply(path, with_faces=False).columns
    missing = [name for name in names if name not in vertices]
    if missing:
        raise OtocError(f"{path}: the vertices have no numeric {', '.join(missing)}; the file needs {', '.join(names)}")
    return {name: vertices[name] for name in names}


def _member(path: Path, value: Any, key: str, kind: type) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(key), kind):
        raise OtocError(f"{path}: lacks a {kind.__name__} {key!r} that the official layout has; copy it again")
    return value[key]


def _whole_numbers(path: Path, values: list) -> np.ndarray:
    """The numbers of a JSON list, int64 [N]."""
    try:
        if not set(map(type, values)) <= {int}:
            raise TypeError
        return np.array(values, dtype=np.int64)
    except (TypeError, OverflowError):
        raise OtocError(f"{path}: holds something else than whole numbers among its segments; copy it again") from None
