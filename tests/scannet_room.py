"""A tiny room in the official layout of ScanNet, shared by the tests that spoil or cache it."""

import json
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

NAME = "scene0000_00"
MESH = f"scans/{NAME}/{NAME}_vh_clean_2.ply"
LABELS = f"scans/{NAME}/{NAME}_vh_clean_2.labels.ply"
SEGMENTS = f"scans/{NAME}/{NAME}_vh_clean_2.0.010000.segs.json"
AGGREGATION = f"scans/{NAME}/{NAME}.aggregation.json"
CATEGORIES = "scannetv2-labels.combined.tsv"
TRAIN = "splits/scannetv2_train.txt"

# Four super-voxels whose raw ids are not dense: a chair (7), nothing annotated (12), a wall (40), a pillow (90).
RAW_SEGMENTS = [40, 40, 7, 7, 7, 90, 90, 12, 12, 12]
NYU40 = [1, 1, 5, 5, 5, 18, 18, 0, 0, 0]
GROUPS = [("pillow", [90]), ("office chair", [7]), ("wall", [40])]
POINTS = np.random.default_rng(0).uniform(0, 4, (10, 3)).astype(np.float32)
COLORS = np.arange(30, dtype=np.uint8).reshape(10, 3)


def vertices(points=POINTS, colors=COLORS, labels=None) -> np.ndarray:
    """Vertices as in the release, with an alpha channel and normals that the reader has no use for."""
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "u1")]
    table = np.zeros(len(points), dtype=kinds + ([("nx", "f4")] if labels is None else [("label", "u2")]))
    for column, name in enumerate("xyz"):
        table[name] = points[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        table[name] = colors[:, column]
    if labels is not None:
        table["label"] = labels
    return table


def write_ply(path: Path, table: np.ndarray, text: bool = False, element: str = "vertex") -> None:
    faces = np.array([([0, 1, 2],), ([1, 2, 3],)], dtype=[("vertex_indices", "i4", (3,))])
    PlyData([PlyElement.describe(table, element), PlyElement.describe(faces, "face")], text=text).write(str(path))


def write_groups(path: Path, groups=GROUPS) -> None:
    listed = [{"id": i, "objectId": i, "label": name, "segments": ids} for i, (name, ids) in enumerate(groups)]
    path.write_text(json.dumps({"sceneId": NAME, "segGroups": listed}))


def write_room(root: Path) -> Path:
    """A tiny room in the official layout."""
    (root / "scans" / NAME).mkdir(parents=True)
    (root / "splits").mkdir()
    write_ply(root / MESH, vertices())
    write_ply(root / LABELS, vertices(labels=NYU40))
    (root / SEGMENTS).write_text(json.dumps({"sceneId": NAME, "segIndices": RAW_SEGMENTS}))
    write_groups(root / AGGREGATION)
    rows = [("wall", 1, "wall"), ("office chair", 5, "chair"), ("pillow", 18, "pillow"), ("couch", 6, "sofa")]
    lines = [f"{i}\t{raw}\t{nyu}\t{name}\n" for i, (raw, nyu, name) in enumerate(rows)]
    (root / CATEGORIES).write_text("id\traw_category\tnyu40id\tnyu40class\n" + "".join(lines))
    (root / TRAIN).write_text(NAME + "\n")
    return root
