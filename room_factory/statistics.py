"""What a set of rooms holds: numbers for index.json, the comparison with ScanNet, and the models' credits."""

from collections.abc import Iterable

import numpy as np
from scipy.spatial import cKDTree

from otoc_lib.datasets.bundled_rooms import CATEGORIES, SPLITS, BundledRoom
from otoc_lib.labels import IGNORE, SCANNET20
from room_factory.catalogue import read_models

LICENCES = {
    "BlendSwap-CC-0": "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/",
    "BlendSwap-CC-BY": "CC-BY 3.0, https://creativecommons.org/licenses/by/3.0/",
    "KatorLegaz": "CC-BY 3.0 US, https://creativecommons.org/licenses/by/3.0/us/",
    "Scopia": "CC-BY 3.0, https://creativecommons.org/licenses/by/3.0/",
}

# ScanNet-v2. Shares of the points and presence: labels of the 312 validation scenes; wall, floor, spacing, super-voxels
# and what has no benchmark class: real scans of one room; clicks: the paper, 19.74 objects a scene.
SCANNET_SHARE = {
    "wall": 17.0,
    "floor": 12.6,
    "cabinet": 2.8,
    "bed": 1.9,
    "chair": 6.4,
    "sofa": 1.6,
    "table": 3.0,
    "door": 3.2,
    "window": 2.8,
    "bookshelf": 2.3,
    "picture": 0.42,
    "counter": 0.45,
    "desk": 1.3,
    "curtain": 1.3,
    "refrigerator": 0.45,
    "shower curtain": 0.32,
    "toilet": 0.23,
    "sink": 0.21,
    "bathtub": 0.19,
    "otherfurniture": 3.3,
}
SCANNET_PRESENCE = {
    "cabinet": 45,
    "bed": 20,
    "chair": 71,
    "sofa": 22,
    "table": 57,
    "door": 70,
    "window": 53,
    "bookshelf": 15,
    "picture": 29,
    "counter": 15,
    "desk": 27,
    "curtain": 15,
    "refrigerator": 15,
    "shower curtain": 9,
    "toilet": 16,
    "sink": 26,
    "bathtub": 10,
    "otherfurniture": 77,
}
SCANNET = (
    {f"{name}, % of points": value for name, value in SCANNET_SHARE.items()}
    | {"no benchmark class, % of points": 24.5}
    | {f"{name}, % of rooms": float(value) for name, value in SCANNET_PRESENCE.items()}
    | {
        "objects beside wall and floor a room": 14.0,
        "clicks a room": 19.74,
        "vertex spacing, cm": 2.9,
        "super-voxel size, 5th percentile": 27.0,
        "super-voxel size, median": 69.0,
        "super-voxel size, 95th percentile": 315.0,
        "super-voxels per 1000 vertices": 667 / 81.369,
    }
)
SMALLEST = 0.1  # what a share or a presence of zero counts as in the distance


def compare_rooms(rooms: Iterable[BundledRoom]) -> dict[str, float]:
    """The statistics of ``SCANNET`` over a set of rooms; percentages and sizes over all rooms together."""
    points = np.zeros(len(SCANNET20) + 1)  # the last: no benchmark class
    present, objects = np.zeros(len(SCANNET20)), np.zeros(len(SCANNET20))
    sizes, spacing = [], []
    for room in rooms:
        labels = SCANNET20.from_file_ids(room.nyu40())
        points += np.bincount(np.where(labels == IGNORE, len(SCANNET20), labels), minlength=len(points))
        classes = SCANNET20.from_file_ids(np.array([CATEGORIES[category][0] for category, _ in room.objects]))
        counted = np.bincount(classes[classes != IGNORE], minlength=len(SCANNET20))
        present += counted > 0
        objects += counted
        sizes.append(np.unique(room.segments, return_counts=True)[1])
        spacing.append(np.median(cKDTree(room.vertices).query(room.vertices, 2)[0][:, 1]))
    count, sizes = len(sizes), np.concatenate(sizes)
    shares = 100 * points / points.sum()
    low, median, high = np.percentile(sizes, (5, 50, 95))
    return (
        {f"{name}, % of points": shares[c] for c, name in enumerate(SCANNET20.names)}
        | {"no benchmark class, % of points": shares[-1]}
        | {f"{name}, % of rooms": 100 * present[SCANNET20.names.index(name)] / count for name in SCANNET_PRESENCE}
        | {
            "objects beside wall and floor a room": objects[2:].sum() / count,
            "clicks a room": objects.sum() / count,
            "vertex spacing, cm": 100 * float(np.mean(spacing)),
            "super-voxel size, 5th percentile": low,
            "super-voxel size, median": median,
            "super-voxel size, 95th percentile": high,
            "super-voxels per 1000 vertices": 1000 * len(sizes) / points.sum(),
        }
    )


def distance_to_scannet(statistics: dict[str, float]) -> float:
    """The mean over ``SCANNET``'s statistics of |ln(ours / ScanNet's)|; 0 is equal, 0.69 a factor of two."""
    return float(np.mean([abs(np.log(max(statistics[name], SMALLEST) / value)) for name, value in SCANNET.items()]))


def room_statistics(room: BundledRoom, purity: float) -> dict:
    """Counts of one room for the index: vertices, faces, super-voxels, objects a class, shares and spacing."""
    labels = SCANNET20.from_file_ids(room.nyu40())
    _, sizes = np.unique(room.segments, return_counts=True)
    spacing = cKDTree(room.vertices).query(room.vertices, 2)[0][:, 1]
    objects = SCANNET20.from_file_ids(np.array([CATEGORIES[category][0] for category, _ in room.objects])).tolist()
    classes = {name: objects.count(c) for c, name in enumerate(SCANNET20.names) if c in objects}
    return {
        "vertices": len(room.vertices),
        "faces": len(room.faces),
        "supervoxels": len(sizes),
        "supervoxel_median": int(np.median(sizes)),
        "objects": classes,
        "wall_floor_share": round(float(np.isin(labels, [0, 1]).mean()), 4),
        "ignored_share": round(float((labels == IGNORE).mean()), 4),
        "spacing": round(float(np.median(spacing)), 4),
        "purity": round(purity, 4),
    }


def print_statistics(entries: dict[str, dict]) -> None:
    """Print, per split: rooms a class occurs in, objects, vertices, spacing, shares, super-voxels."""
    for split in SPLITS:
        rooms = [entry for entry in entries.values() if entry["split"] == split]
        if not rooms:
            continue
        inside = [sum(room["objects"].values()) for room in rooms]
        clicks = [sum(room["objects"].values()) - room["objects"].get("wall", 0) - 1 for room in rooms]
        print(f"{split}: {len(rooms)} rooms")
        print(
            "  rooms with "
            + ", ".join(f"{name} {sum(name in r['objects'] for r in rooms)}" for name in SCANNET20.names)
        )
        print(
            f"  clicks {np.mean(inside):.1f} ({min(inside)}-{max(inside)}), beside wall and floor {np.mean(clicks):.1f}"
        )
        for key in (
            "vertices",
            "spacing",
            "wall_floor_share",
            "ignored_share",
            "supervoxels",
            "supervoxel_median",
            "purity",
        ):
            values = [room[key] for room in rooms]
            print(f"  {key} mean {np.mean(values):.4g}, {min(values):.4g} to {max(values):.4g}")


def credits_text(model_ids: set[str]) -> str:
    """The text of CREDITS: author, library and licence of every model used."""
    models = read_models()
    lines = [
        "The simulated rooms in this folder are scans of furniture models of Debian's sweethome3d-furniture package.",
        "The models were scaled, recoloured, filmed by a simulated camera and fused into new meshes (modified).",
        "Walls, floors and furniture without an entry here are generated by room_factory/shapes.py.",
        "",
        "model | name | author | licence",
        "",
    ]
    for model in sorted(model_ids):
        entry = models[model]
        author = entry.creator
        if entry.library == "Scopia":
            author += "; Emmanuel Puybaret / eTeks and Scopia Visual Interfaces Systems, s.l. (http://www.scopia.es)"
        lines.append(f"{model} | {entry.name} | {author} | {LICENCES[entry.library]}")
    return "\n".join(lines) + "\n"
