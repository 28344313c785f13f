"""The bundled simulated rooms: a compact file a room in ``data/rooms``, unpacked into an official ScanNet-v2 tree.

Packing keeps every vertex, triangle and id in its order; coordinates come in steps of 2 mm and colours in steps of 4,
so a room survives packing and unpacking bit by bit.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from otoc_lib.datasets.packing import (
    color_planes,
    new_tree,
    planes,
    read_packed,
    read_packed_index,
    whole,
    whole_colors,
    write_packed,
)
from otoc_lib.errors import OtocError
from otoc_lib.files import write_aside
from otoc_lib.labels import IGNORE, SCANNET20
from otoc_lib.outside import opening
from otoc_lib.scene import checked_name

SOURCE = Path(__file__).parents[2] / "data" / "rooms"
SPLITS = ("train", "val", "val_novel", "test")
FORMAT = "otoc-room-1"
STEP = 0.002  # metres; the lattice of packed coordinates
DONE = "rooms.json"  # the manifest of an unpacked tree, written last
LAYOUT = 3  # of the unpacked tree; an older one is replaced
POINTS, POINTS_SEED = 20, 0  # points a training room in the file of limited annotations

# raw category -> (NYU40 id, NYU40 class); the annotator's word on the left, as in ScanNet's label table
CATEGORIES: dict[str, tuple[int, str]] = {
    "wall": (1, "wall"),
    "floor": (2, "floor"),
    "cabinet": (3, "cabinet"),
    "wardrobe": (3, "cabinet"),
    "file cabinet": (3, "cabinet"),
    "kitchen cabinet": (3, "cabinet"),
    "bathroom vanity": (3, "cabinet"),
    "bed": (4, "bed"),
    "chair": (5, "chair"),
    "office chair": (5, "chair"),
    "armchair": (5, "chair"),
    "couch": (6, "sofa"),
    "dining table": (7, "table"),
    "coffee table": (7, "table"),
    "meeting table": (7, "table"),
    "door": (8, "door"),
    "window": (9, "window"),
    "bookshelf": (10, "bookshelf"),
    "picture": (11, "picture"),
    "counter": (12, "counter"),
    "kitchen counter": (12, "counter"),
    "blinds": (13, "blinds"),
    "desk": (14, "desk"),
    "shelf": (15, "shelves"),
    "curtain": (16, "curtain"),
    "dresser": (17, "dresser"),
    "pillow": (18, "pillow"),
    "rug": (20, "floor mat"),
    "clothes": (21, "clothes"),
    "books": (23, "books"),
    "refrigerator": (24, "refridgerator"),  # NYU40's own spelling
    "tv": (25, "television"),
    "towel": (27, "towel"),
    "shower curtain": (28, "shower curtain"),
    "box": (29, "box"),
    "whiteboard": (30, "whiteboard"),
    "nightstand": (32, "night stand"),
    "toilet": (33, "toilet"),
    "sink": (34, "sink"),
    "lamp": (35, "lamp"),
    "bathtub": (36, "bathtub"),
    "backpack": (37, "bag"),
    "bag": (37, "bag"),
    "trash can": (39, "otherfurniture"),
    "washing machine": (39, "otherfurniture"),
    "stove": (39, "otherfurniture"),
    "radiator": (39, "otherfurniture"),
    "ottoman": (39, "otherfurniture"),
    "piano": (39, "otherfurniture"),
    "laundry basket": (39, "otherfurniture"),
    "crate": (39, "otherfurniture"),
    "water cooler": (39, "otherfurniture"),
    "plant": (40, "otherprop"),
    "laptop": (40, "otherprop"),
    "microwave": (40, "otherprop"),
    "coffee maker": (40, "otherprop"),
    "monitor": (40, "otherprop"),
    "printer": (40, "otherprop"),
    "speaker": (40, "otherprop"),
    "bottle": (40, "otherprop"),
    "suitcase": (40, "otherprop"),
    "toy": (40, "otherprop"),
}
TSV_COLUMNS = (
    "id raw_category category count nyu40id eigen13id nyuClass nyu40class eigen13class ModelNet40 ModelNet10 "
    "ShapeNetCore55 synsetoffset wnsynsetid wnsynsetkey mpcat40 mpcat40index"
).split()


@dataclass(frozen=True)
class BundledRoom:
    """One scanned room of N vertices and F triangles, as ScanNet's files hold it."""

    name: str
    vertices: np.ndarray  # float32 [N, 3] metres, in steps of 2 mm, z up
    faces: np.ndarray  # int32 [F, 3]
    colors: np.ndarray  # uint8 [N, 3], in steps of 4
    segments: np.ndarray  # int32 [N], raw super-voxel ids, not dense
    objects: tuple[tuple[str, tuple[int, ...]], ...]  # (raw category, its segment ids) of object 0, 1, ...

    def __post_init__(self) -> None:
        checked_name(self.name, "packed room")

    def nyu40(self) -> np.ndarray:
        """NYU40 id of every vertex, uint16 [N]; 0 where no object was annotated."""
        return self._of_categories({category: nyu40 for category, (nyu40, _) in CATEGORIES.items()})

    def raw_ids(self) -> np.ndarray:
        """Number of the raw category of every vertex, ``id`` of the label table, uint16 [N]; 0 likewise."""
        return self._of_categories({category: number for number, category in enumerate(CATEGORIES, start=1)})

    def _of_categories(self, ids_by_category: dict[str, int]) -> np.ndarray:
        labels = np.zeros(len(self.vertices), np.uint16)
        for category, ids in self.objects:
            labels[np.isin(self.segments, ids)] = ids_by_category[category]
        return labels


# --- packing


def pack(room: BundledRoom, path: Path) -> None:
    """Write a room to a compact file."""
    steps = np.round(room.vertices.astype(np.float64) / STEP).astype(np.int64)
    if not np.array_equal((steps * STEP).astype(np.float32), room.vertices) or (room.colors % 4).any():
        raise OtocError(
            f"{room.name}: only coordinates in steps of 2 mm and colours in steps of 4 can be packed; round them"
        )
    ids, dense = np.unique(room.segments, return_inverse=True)
    owner = {segment: number for number, (_, owned) in enumerate(room.objects) for segment in owned}
    arrays = {
        "vertices": planes(np.diff(steps, axis=0, prepend=0)),
        "colors": color_planes(room.colors),
        "face_starts": planes(np.diff(room.faces[:, 0].astype(np.int64), prepend=0)),
        "face_offsets": planes(room.faces[:, 1:].astype(np.int64) - room.faces[:, :1]),
        "segment_ids": ids.astype(np.int32),
        "segments": dense.reshape(-1).astype(np.uint16),
        "owners": np.array([owner.get(int(segment), -1) for segment in ids], np.int16),
    }
    objects = json.dumps([category for category, _ in room.objects])
    write_packed(path, arrays, {"format": FORMAT, "name": room.name, "objects": objects})


def read(path: Path) -> BundledRoom:
    """Read a packed room; OtocError naming the file if it is missing, truncated or something else."""
    return read_packed(path, FORMAT, _build)


def _build(arrays: dict[str, np.ndarray], header: dict[str, str]) -> BundledRoom:
    """The room of a packed file; ValueError or KeyError for what could not be written as ScanNet's files."""
    steps, colors = np.cumsum(whole(arrays["vertices"], 3), axis=0), whole_colors(arrays["colors"])
    starts = np.cumsum(whole(arrays["face_starts"], 1))[:, None]
    faces = np.concatenate([starts, starts + whole(arrays["face_offsets"], 2)], axis=1)
    ids, segments, owners = (_row(arrays[name]) for name in ("segment_ids", "segments", "owners"))
    categories = json.loads(header["objects"])
    if not len(steps) == len(colors) == len(segments) or len(ids) != len(owners):
        raise ValueError("its arrays are not of one length")
    if faces.size and not 0 <= faces.min() <= faces.max() < len(steps):
        raise ValueError("a face names a vertex that it does not have")
    if segments.size and not 0 <= segments.min() <= segments.max() < len(ids):
        raise ValueError("a vertex is in a segment that it does not have")
    if not all(category in CATEGORIES for category in categories):
        raise ValueError("the category of an object is none")
    objects = tuple((category, tuple(ids[owners == number].tolist())) for number, category in enumerate(categories))
    vertices = (steps * STEP).astype(np.float32)
    return BundledRoom(header["name"], vertices, faces.astype(np.int32), colors, ids[segments], objects)


def _row(ids: np.ndarray) -> np.ndarray:
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"{ids.dtype} {ids.shape} instead of a row of ids")
    return ids


# --- the official tree


def write_scan(room: BundledRoom, scans: Path, labelled: bool = True) -> None:
    """Write one room as ScanNet's files into ``scans/<name>/``; the mesh alone unless ``labelled``."""
    folder = scans / room.name
    folder.mkdir(parents=True, exist_ok=True)
    with write_aside(folder / f"{room.name}_vh_clean_2.ply") as aside:
        _write_ply(aside, room, None)
    if not labelled:
        return
    segments = {
        "params": {"kThresh": "0.0100000", "segMinVerts": "20", "minPoints": "750", "maxPoints": "30000"},
        "sceneId": room.name,
        "segIndices": room.segments.tolist(),
    }
    _write_json(folder / f"{room.name}_vh_clean_2.0.010000.segs.json", segments)
    with write_aside(folder / f"{room.name}_vh_clean_2.labels.ply") as aside:
        _write_ply(aside, room, room.nyu40())
    groups = [
        {"id": number, "objectId": number, "segments": list(ids), "label": category}
        for number, (category, ids) in enumerate(room.objects)
    ]
    aggregation = {
        "sceneId": f"scannet.{room.name}",
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{room.name}_vh_clean_2.0.010000.segs.json",
    }
    _write_json(folder / f"{room.name}.aggregation.json", aggregation)


def _write_json(path: Path, value: dict) -> None:
    with write_aside(path) as aside:
        aside.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")


def draw_points(room: BundledRoom) -> np.ndarray:
    """Vertices of a limited annotation, int64 [20], sorted: drawn uniformly from all that have a benchmark class."""
    candidates = np.flatnonzero(SCANNET20.from_file_ids(room.nyu40()) != IGNORE)
    rng = np.random.default_rng([POINTS_SEED, *room.name.encode()])
    return np.sort(rng.choice(candidates, min(POINTS, len(candidates)), replace=False))


def _write_ply(path: Path, room: BundledRoom, labels: np.ndarray | None) -> None:
    fields = [("xyz", "<f4", (3,)), ("rgb", "u1", (3,)), ("alpha", "u1")]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment simulated room",
        f"element vertex {len(room.vertices)}",
    ]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue", "alpha")]
    if labels is not None:
        fields.append(("label", "<u2"))
        header.append("property ushort label")
    header += [f"element face {len(room.faces)}", "property list uchar int vertex_indices", "end_header"]
    vertices = np.zeros(len(room.vertices), fields)
    vertices["xyz"], vertices["rgb"], vertices["alpha"] = room.vertices, room.colors, 255
    if labels is not None:
        vertices["label"] = labels
    faces = np.zeros(len(room.faces), [("count", "u1"), ("indices", "<i4", (3,))])
    faces["count"], faces["indices"] = 3, room.faces
    path.write_bytes("\n".join([*header, ""]).encode("ascii") + vertices.tobytes() + faces.tobytes())


def label_table() -> str:
    """scannetv2-labels.combined.tsv for the categories of the rooms, with the official columns."""
    lines = ["\t".join(TSV_COLUMNS)]
    for number, (raw, (nyu40, name)) in enumerate(CATEGORIES.items(), start=1):
        row = {"id": number, "raw_category": raw, "category": raw, "count": 1, "nyu40id": nyu40, "nyu40class": name}
        lines.append("\t".join(str(row.get(column, "")) for column in TSV_COLUMNS))
    return "\n".join(lines) + "\n"


def read_index(source: Path = SOURCE) -> dict:
    """The list of the packed rooms: {"seed", "rooms": {name: {"split", counts...}}}."""
    return read_packed_index(source, "the packed rooms, data/rooms", _check_index)


def _check_index(index: dict) -> None:
    if not all(room["split"] in SPLITS for room in index["rooms"].values()):
        raise ValueError("unknown split")
    for name in index["rooms"]:
        checked_name(name, "rooms")


def unpack(destination: Path, source: Path = SOURCE) -> None:
    """Write the packed rooms of ``source`` as a ScanNet-v2 tree.

    Labelled rooms go to scans/, test rooms without labels to scans_test/ and their NYU40 ids, one a line, to
    test_labels/<id>.txt. Beside them: splits/, the label table, CREDITS, and points20 with 20 vertices of every
    training room, a torch dict as ScanNet's limited annotations are.

    Does nothing if ``destination`` already holds exactly these rooms; replaces an older set of rooms; refuses a
    folder that holds anything else. The tree is written beside ``destination`` and renamed.
    """
    import torch

    destination, index, points = Path(destination), read_index(source), {}
    with new_tree(destination, DONE, json.dumps({"layout": LAYOUT, **index})) as tree:
        if tree is None:
            return
        for folder in ("scans", "scans_test", "splits", "test_labels"):
            (tree / folder).mkdir()
        for name, entry in tqdm(index["rooms"].items(), desc="unpacking rooms", unit="room", file=sys.stderr):
            room = read(Path(source) / f"{name}.room.xz")
            test = entry["split"] == "test"
            write_scan(room, tree / ("scans_test" if test else "scans"), labelled=not test)
            if test:
                text = "".join(f"{label}\n" for label in room.nyu40())
                (tree / "test_labels" / f"{name}.txt").write_text(text, encoding="utf-8")
            if entry["split"] == "train":
                points[name] = torch.from_numpy(draw_points(room))
        torch.save(points, tree / "points20")
        for split in SPLITS:
            names = [name for name, room in index["rooms"].items() if room["split"] == split]
            (tree / "splits" / f"scannetv2_{split}.txt").write_text("".join(f"{name}\n" for name in names))
        (tree / "scannetv2-labels.combined.tsv").write_text(label_table(), encoding="utf-8")
        with opening(Path(source) / "CREDITS"):
            shutil.copyfile(Path(source) / "CREDITS", tree / "CREDITS")
