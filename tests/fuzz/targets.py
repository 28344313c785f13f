"""What is fuzzed: every reader of files from outside, each given its file as bytes, beside valid companions.

A further reader is a function ``(folder, data)`` that writes the bytes as the reader's file and reads them, and a line
in ``TARGETS`` with its seeds, small valid files to start from. It is in ``make test`` and ``make fuzz`` then.
"""

import base64
import gzip
import hashlib
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import laspy
import numpy as np
import safetensors.torch
import torch
from PIL import Image
from scan_formats import AXES, Gltf, e57, glb_of, paged, pcd, unpaged
from scannet_room import AGGREGATION, CATEGORIES, LABELS, MESH, NAME, NYU40, SEGMENTS, TRAIN, vertices, write_room
from scannet_room import write_ply as write_scannet_ply
from tiny_frames import camera, looking_along_x, write_frame_files
from torch import nn

from otoc_lib.annotation.check_own import check_clicks
from otoc_lib.annotation.clicks import Clicks, read_clicks, read_clicks_among_others, read_points, write_clicks
from otoc_lib.annotation.session import Session
from otoc_lib.annotation.snap import snap_clicks
from otoc_lib.config import config_from, load_config
from otoc_lib.datasets import bundled_areas, bundled_rooms, frames, own, s3dis, scannet
from otoc_lib.datasets.labelled_ply import write_ply
from otoc_lib.datasets.point_files import companions, read_scan
from otoc_lib.datasets.point_text import count_rows
from otoc_lib.datasets.scannet_benchmark import score_benchmark
from otoc_lib.files import read_notes
from otoc_lib.labels import S3DIS13, SCANNET20
from otoc_lib.models.unet import BatchNormReLU
from otoc_lib.models.weights import initial_state
from otoc_lib.one_thread import Linear
from otoc_lib.scene import Scene
from otoc_lib.sparse import SubmanifoldConv3d
from otoc_lib.store import read_manifest
from otoc_lib.supervoxels.geometric import Partition
from otoc_lib.training.checkpoint import DIGEST, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Target:
    read: Callable[[Path, bytes], None]
    seeds: Callable[[], list[bytes]]


def write_once(write: Callable[[Path], object], folder: Path) -> Path:
    """A folder with valid files, written the first time it is asked for."""
    root = folder / "root"
    if not root.exists():
        root.mkdir()
        write(root)
    return root


def written(*writers: Callable[[Path], object], name: str = "file") -> list[bytes]:
    """The bytes of the files that some functions write to the path they are given."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        return [(write(path), path.read_bytes())[1] for write in writers]


# --- ScanNet


def scannet_reader(place: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, data: bytes) -> None:
        root = write_once(write_room, folder)
        (root / place).write_bytes(data)
        scannet.load_scene(root, NAME)

    return read


def scannet_seed(place: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        with TemporaryDirectory() as folder:
            return [(write_room(Path(folder)) / place).read_bytes()]

    return seeds


def scannet_ply_seeds(labels: list[int] | None = None) -> list[bytes]:
    table = vertices(labels=labels)
    return written(lambda p: write_scannet_ply(p, table), lambda p: write_scannet_ply(p, table, text=True))


def read_test_scene(folder: Path, data: bytes) -> None:
    """Its super-voxels are cut from the mesh itself."""
    mesh = folder / MESH.replace("scans", "scans_test")
    mesh.parent.mkdir(parents=True, exist_ok=True)
    mesh.write_bytes(data)
    scannet.load_scene(folder, NAME)


def read_split(folder: Path, data: bytes) -> None:
    root = write_once(write_room, folder)
    (root / TRAIN).write_bytes(data)
    for name in scannet.list_scenes(root, "train")[:3]:
        for file in scannet.scene_files(root, name):
            file.exists()


def read_submission(folder: Path, data: bytes) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_text("1\n5\n")
    (folder / "out.zip").write_bytes(data)
    score_benchmark(folder / "out.zip", folder / "labels")


def read_submitted_ids(folder: Path, data: bytes) -> None:
    read_submission(folder, zip_of({"a.txt": data}))


def read_benchmark_labels(folder: Path, data: bytes) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_bytes(data)
    (folder / "out.zip").write_bytes(zip_of({"a.txt": b"1\n5\n"}))
    score_benchmark(folder / "out.zip", folder / "labels")


FRAME_FILES = {
    "depth": "depth/0.png",
    "labels": "label-filt/0.png",
    "pose": "pose/0.txt",
    "intrinsic": "intrinsic/intrinsic_depth.txt",
}


def write_frame(root: Path, bits: type = np.uint16) -> None:
    seen = (looking_along_x(), np.ones((3, 4)), np.full((3, 4), 7, bits))
    write_frame_files(root / "room", [seen], camera((3, 4), 4.0))


@cache
def image_classes() -> np.ndarray:
    return frames.class_table(config_from({"profile": "p", "experiment": "e", "dataset": "s3dis"}), S3DIS13)


def frame_reader(file: str) -> Callable[[Path, bytes], None]:
    """One file of a frame beside the others."""

    def read(folder: Path, data: bytes) -> None:
        root = write_once(write_frame, folder)
        (root / "room" / file).write_bytes(data)
        frames.read_frame(frames.open_frames(root, "room"), 0, image_classes())

    return read


def frame_seed(file: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        found = []
        for bits in (np.uint16, np.uint8):
            with TemporaryDirectory() as folder:
                write_frame(Path(folder), bits)
                found.append((Path(folder) / "room" / file).read_bytes())
        return found

    return seeds


def read_label_table(folder: Path, data: bytes) -> None:
    """As label images need it."""
    root = write_once(write_room, folder)
    (root / CATEGORIES).write_bytes(data)
    scannet.read_category_numbers(root)


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


# --- S3DIS


def read_object(folder: Path, data: bytes) -> None:
    """One object beside another one."""
    annotations = folder / "Area_1" / "office_1" / "Annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    (annotations / "chair_1.txt").write_text("0 0 0 1 0 1\n")
    (annotations / "wall_1.txt").write_bytes(data)
    s3dis.read_room(folder, "Area_1_office_1")


def read_whole_room(folder: Path, data: bytes) -> None:
    """The file that the doctor compares with the objects."""
    (folder / "office_1.txt").write_bytes(data)
    count_rows(folder / "office_1.txt")


# --- scans of your own


def scan_reader(suffix: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, data: bytes) -> None:
        path = folder / f"room{suffix}"
        path.write_bytes(data)
        read_scan(path)

    return read


def own_reader(suffix: str) -> Callable[[Path, bytes], None]:
    """As an experiment reads a scan: super-voxels and all."""

    def read(folder: Path, data: bytes) -> None:
        (folder / f"room{suffix}").write_bytes(data)
        own.load_scene(folder, "room", CLASSES, Partition(minimum=2))

    return read


def read_folder(folder: Path, data: bytes) -> None:
    """A text file beside a scan: a scan, clicks or notes."""
    root = write_once(lambda root: (root / "room.xyz").write_text("1 2 3\n"), folder)
    (root / "a.csv").write_bytes(data)
    own.list_scenes(root, "train")


def read_obj_scan(folder: Path, data: bytes) -> None:
    write_once(write_materials, folder)
    (folder / "root" / "room.obj").write_bytes(data)
    read_scan(folder / "root" / "room.obj")
    companions(folder / "root" / "room.obj")


def read_obj_materials(folder: Path, data: bytes) -> None:
    write_once(write_materials, folder)
    (folder / "root" / "room.obj").write_bytes(TEXT_OBJ)
    (folder / "root" / "room.mtl").write_bytes(data)
    read_scan(folder / "root" / "room.obj")
    companions(folder / "root" / "room.obj")


def write_materials(root: Path) -> None:
    (root / "room.mtl").write_bytes(MATERIALS)
    Image.new("RGB", (2, 2), (9, 99, 199)).save(root / "room.png")


def read_glb_json(folder: Path, data: bytes) -> None:
    """The JSON alone, beside sound numbers."""
    whole = glb_seeds()[0]
    binary = whole[20 + int.from_bytes(whole[12:16], "little") :]
    chunks = len(data).to_bytes(4, "little") + b"JSON" + data + binary
    scan_reader(".glb")(folder, whole[:8] + (12 + len(chunks)).to_bytes(4, "little") + chunks)


def read_gltf_scan(folder: Path, data: bytes) -> None:
    scan_reader(".gltf")(folder, data)
    companions(folder / "room.gltf")


@cache
def glb_seeds() -> list[bytes]:
    colors = np.stack(list(SHADES.values()), axis=1)
    made = Gltf(
        scenes=[{"nodes": [0]}], nodes=[{"mesh": 0, "rotation": [0, 0, 0, 1], "children": [1]}, {"scale": [1, 2, 3]}]
    )
    picture = io.BytesIO()
    Image.new("RGB", (2, 2), (9, 99, 199)).save(picture, "PNG")
    place = {"POSITION": made.add(CORNERS.astype("f4"), stride=16), "TEXCOORD_0": made.add(np.zeros((8, 2), "f4"))}
    made.tree["images"] = [{"bufferView": made.view(picture.getvalue())}]
    made.tree["textures"] = [{"source": 0}]
    made.tree["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    indices = made.add(FACES.astype("u2").ravel())
    made.tree["meshes"] = [{"primitives": [{"attributes": place, "indices": indices, "material": 0}]}]
    return [made.glb(), glb_of(CORNERS, colors, FACES), glb_of(CORNERS, colors)]


def glb_json_seeds() -> list[bytes]:
    return [data[20 : 20 + int.from_bytes(data[12:16], "little")] for data in glb_seeds()[:1]]


@cache
def gltf_seeds() -> list[bytes]:
    made = Gltf(nodes=[{"mesh": 0}])
    attributes = {"POSITION": made.add(CORNERS.astype("f4")), "COLOR_0": made.add(np.ones((8, 3), "f4"))}
    made.tree["meshes"] = [{"primitives": [{"attributes": attributes, "mode": 5}]}]
    return [made.gltf("data:;base64," + base64.b64encode(made.binary).decode())]


@cache
def pcd_seeds() -> list[bytes]:
    table = np.zeros(8, [("x", "f4"), ("y", "f8"), ("z", "f4"), ("rgb", "u4"), ("n", "f4", (3,))])
    for axis, values in zip("xyz", CORNERS.T, strict=True):
        table[axis] = values
    table["rgb"], table["x"][3] = np.arange(8) * 1_000_000, np.nan
    return [pcd(table, data) for data in ("ascii", "binary", "binary_compressed")]


@cache
def e57_seeds() -> list[bytes]:
    columns = dict(zip(AXES, np.ascontiguousarray(CORNERS.T), strict=True))
    columns |= {f"color{name.capitalize()}": shade for name, shade in SHADES.items()}
    columns["cartesianInvalidState"] = np.arange(8, dtype=np.uint8) % 3
    return [e57([{"columns": columns, "name": "a", "pose": ((1, 0, 0, 0), (1, 2, 3)), "limits": 255}])]


def read_e57_inside(folder: Path, data: bytes) -> None:
    """With checksums that are right, whatever is changed."""
    scan_reader(".e57")(folder, paged(data))


CLASSES = own.label_set(["floor", "box"])
MATERIALS = b"newmtl a\nKd 0.5 1 0\nmap_Kd -clamp on room.png\nnewmtl b\nKd 1 0 0\n"
TEXT_OBJ = b"""# by hand
mtllib room.mtl
v 0 0 0
v 1 0 0
v 1 1 0.5
v 0 1 -2e-1
vt 0 0
vt 1 0.5
usemtl a
f 1/1 2/2 3/1
usemtl b
f -1//1 -2//1 1 4
"""
COLORED_OBJ = b"v 0 0 0 1 0 0.5\r\nv 1 0 0 0 1 0\r\nv 1 1 0 0 0 1\r\nf 1 2 3\r\n"
CORNERS = np.array([(x, y, z) for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 0.5)])  # [8, 3]
SHADES = {channel: np.arange(8, dtype=np.uint8) * 30 for channel in ("red", "green", "blue")}
FACES = np.array([(0, 1, 2), (1, 3, 2), (4, 5, 6), (0, 4, 1)])
TEXT_PLY = b"""ply
format ascii 1.0
comment by hand
element vertex 4
property float x
property float y
property double z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
property char flag
element odd 2
property list int short numbers
end_header
0 0 0 255 0 0
1 0 0 0 255 0
1 1 0.5 0 0 255
0 1 -2e-1 9 9 9
4 0 1 2 3 1
3 2 1 0 -1
0
2 7 -7
"""
PACKED_PLY = b"""ply
format ascii 1.0
comment TextureFile a.png
element Vertex 2
property double X
property double Y
property double z
property float rgb
property int Label
property uchar flags
end_header
1,5 0 0 4,2 1 7
0 1 2 1e-39 2 1.#QNAN
"""


def ply_seeds() -> list[bytes]:
    big = TEXT_PLY[: TEXT_PLY.index(b"element face")].replace(b"ascii", b"binary_big_endian") + b"end_header\n"
    row = np.zeros(4, dtype=[("x", ">f4"), ("y", ">f4"), ("z", ">f8"), ("rgb", "u1", (3,))])
    row["x"] = np.arange(4)
    return [
        *written(lambda path: write_ply(path, CORNERS, SHADES, FACES), lambda path: write_ply(path, CORNERS, {}, None)),
        *(TEXT_PLY, big + row.tobytes(), PACKED_PLY),
    ]


def mesh_seeds() -> list[bytes]:
    return [*written(lambda path: write_ply(path, CORNERS, SHADES, FACES)), TEXT_PLY]


def las_seeds(suffix: str) -> list[bytes]:
    def write(path: Path, kind: int, version: str) -> None:
        las = laspy.create(point_format=kind, file_version=version)
        las.x, las.y, las.z = CORNERS.T
        if kind != 1:
            las.red = las.green = las.blue = np.arange(8) * 8000
        if kind == 7:  # a record after the points
            system = laspy.vlrs.known.WktCoordinateSystemVlr('PROJCS["a",UNIT["foot",0.3048]]')
            las.evlrs = laspy.vlrs.vlrlist.VLRList([system])
        las.write(str(path))

    kinds = ((2, "1.2"), (1, "1.2"), (7, "1.4"))
    return written(*(lambda path, kind=kind: write(path, *kind) for kind in kinds), name=f"room{suffix}")


def text_seeds() -> list[bytes]:
    rows = [f"{x} {y} {z} {10 * i} 0 255\n" for i, (x, y, z) in enumerate(CORNERS)]
    commas = b"1,5\t2,5\t3\n-1,5\t2\t1e-3\n"
    return ["".join(rows).encode(), b"1.5,2,-3e0\r\n1,2,3.25\r\n", b"# x y z\n1 2 3\n4\t5 6\n", commas]


def csv_seeds() -> list[bytes]:
    classes = b'X;Y;Z;note;Class\n1,5;2;3;nan;wall\n\n# two\n4;5;6;;"a b";\n'
    named = b'"blue","green","red","x","y","z"\n1,2,3,4,5,6\n7,8,9,1,2,3\n'
    return [b"x,y,z,r,g,b\n1,2,3,0.5,0,1\n", named, classes]


def pts_seeds() -> list[bytes]:
    return [b"2\n1 2 3 -9 10 20 30\n4 5 6 7 8 9 10\n1\n7 8 9 1 1 1 1\n", "x\ty\tz\r\n1\t2\t3\r\n".encode("utf-16")]


def gz_seeds() -> list[bytes]:
    return [gzip.compress(data, mtime=0) for data in text_seeds()[:2]]


# --- clicks


@cache
def scene() -> Scene:
    ids = np.array([0, 0, 1, 2], np.int32)
    coords = np.arange(12, dtype=np.float32).reshape(4, 3)
    labels = np.array([0, 0, 4, -100], np.int16)
    instances = np.array([0, 0, 1, -1], np.int32)
    return Scene(NAME, coords, np.zeros((4, 3), np.uint8), ids, labels, instances, np.zeros(3), SCANNET20)


@cache
def bare_scene() -> Scene:
    """Without labels and objects, as scans of your own are."""
    fields = ("coords", "colors", "supervoxels")
    arrays = {field: getattr(scene(), field) for field in fields}
    return Scene("room", **arrays, labels=None, instances=None, origin=np.zeros(3), label_set=SCANNET20)


def click_seeds() -> list[bytes]:
    rooms = [scene(), bare_scene()]
    clicks = {room.name: Clicks([0, 2], [0, 4], [-1, -1]) for room in rooms}
    (seed,) = written(lambda path: write_clicks(path, clicks, rooms))
    german = b"sep=;\r\n" + seed.replace(b",", b";").replace(b".", b",").replace(b"\n", b"\r\n")
    return [seed, german, german.decode().encode("utf-16")]


def checked_seeds() -> list[bytes]:
    return [
        b"scene,point,x,y,z,class,object\nroom,0,1,2,3,wall,-1\n",
        b"scene,point,x,y,z,class,object\nroom,0,9,2,3,w,x\n",
    ]


def read_clicks_file(folder: Path, data: bytes) -> None:
    path = folder / "clicks.csv"
    path.write_bytes(data)
    read_clicks_among_others(path, [bare_scene()])
    read_clicks(path, [scene(), bare_scene()])


def read_session(folder: Path, data: bytes) -> None:
    (folder / "clicks.csv").write_bytes(data)
    (folder / "clicks.seconds.json").unlink(missing_ok=True)
    Session([bare_scene()], folder / "clicks.csv")


def read_seconds(folder: Path, data: bytes) -> None:
    (folder / "clicks.csv").unlink(missing_ok=True)
    (folder / "clicks.seconds.json").write_bytes(data)
    session = Session([scene()], folder / "clicks.csv")
    session.spend(NAME, 1e6)  # which writes the others' back


def read_kept_clicks(folder: Path, data: bytes) -> None:
    (folder / "clicks.csv").unlink(missing_ok=True)
    (folder / "clicks.kept.json").write_bytes(data)
    session = Session([scene()], folder / "clicks.csv")
    session.apply(NAME, [(0, 0)])
    session.keep(NAME, 0)  # which writes the others' back


def read_positions(folder: Path, data: bytes) -> None:
    root = write_once(lambda root: (root / "room.xyz").write_text("1 2 3\n4 5 6\n7 8 9\n"), folder)
    (folder / "picked.csv").write_bytes(data)
    snap_clicks(root, folder / "picked.csv", folder / "clicks.csv")


def check_clicks_file(folder: Path, data: bytes) -> None:
    """As the doctor does, which tells of every line."""
    root = write_once(lambda root: (root / "room.xyz").write_text("1 2 3\n4 5 6\n7 8 9\n"), folder)
    (folder / "clicks.csv").write_bytes(data)
    for classes in (None, ["wall", "floor"]):
        check_clicks(root, folder / "clicks.csv", classes)


def read_points_file(folder: Path, data: bytes) -> None:
    (folder / "points20").write_bytes(data)
    read_points(folder / "points20", [scene()])


def read_points_pickle(folder: Path, data: bytes) -> None:
    """The pickle alone, in an archive that is sound."""
    members = members_of(points_seeds(zipped=True)[0])
    (pickled,) = (name for name in members if name.endswith("data.pkl"))
    read_points_file(folder, zip_of(members | {pickled: data}))


@cache
def points_seeds(zipped: bool) -> list[bytes]:
    values = (torch.tensor([0, 2]), np.array([0, 2], np.int32), [0, 2], [np.int64(1)], np.array([]))
    writers = (
        lambda path, value=value: torch.save({NAME: value}, path, _use_new_zipfile_serialization=zipped)
        for value in values
    )
    return written(*writers)


def points_pickle_seeds() -> list[bytes]:
    archives = map(members_of, points_seeds(zipped=True))
    return [data for members in archives for name, data in members.items() if name.endswith("data.pkl")]


@cache
def members_of(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# --- what the kit wrote itself, damaged since


def read_saved_scene(folder: Path, data: bytes) -> None:
    path = folder / "room.safetensors"
    path.write_bytes(data)
    read_notes(path)
    Scene.load(path)


def read_saved_header(folder: Path, data: bytes) -> None:
    """The header alone, with its length and the arrays of a sound file."""
    whole = scene_seeds()[0]
    arrays = whole[8 + int.from_bytes(whole[:8], "little") :]
    read_saved_scene(folder, len(data).to_bytes(8, "little") + data + arrays)


@cache
def scene_seeds() -> list[bytes]:
    return written(*(lambda path, room=room: room.save(path, {"sources": "[]"}) for room in (scene(), bare_scene())))


class SmallNet(nn.Module):
    """With layers of the public names."""

    def __init__(self):
        super().__init__()
        self.conv0p1s1, self.bn0, self.classifier = SubmanifoldConv3d(2, 2), BatchNormReLU(2), Linear(2, 2)


def weights_reader(suffix: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, data: bytes) -> None:
        (folder / f"w{suffix}").write_bytes(data)
        initial_state(folder / f"w{suffix}", SmallNet())

    return read


def read_weights_pickle(folder: Path, data: bytes) -> None:
    """The pickle alone, in an archive that is sound."""
    members = members_of(weights_seeds(zipped=True)[0])
    (pickled,) = (name for name in members if name.endswith("data.pkl"))
    weights_reader(".pth")(folder, zip_of(members | {pickled: data}))


@cache
def weights_seeds(zipped: bool) -> list[bytes]:
    """In the public layout, in a checkpoint, and in ours."""
    ours = SmallNet().state_dict()
    public = {
        "conv0p1s1.kernel": ours["conv0p1s1.weight"],
        "final.kernel": torch.ones(2, 2),
        "final.bias": torch.ones(1, 2),
    }
    public |= {name.replace("bn0.", "bn0.bn."): value for name, value in ours.items() if name.startswith("bn0.")}
    contents = {"state_dict": public, "epoch": 3, "best_val": np.float64(70.5), "arch": "Res16UNet34C"}, ours
    return written(
        *(lambda p, content=c: torch.save(content, p, _use_new_zipfile_serialization=zipped) for c in contents)
    )


def weights_pickle_seeds() -> list[bytes]:
    return [data for name, data in members_of(weights_seeds(zipped=True)[0]).items() if name.endswith("data.pkl")]


@cache
def safetensors_seeds() -> list[bytes]:
    state = SmallNet().state_dict()
    return [
        safetensors.torch.save(state),
        safetensors.torch.save({n: v.half() for n, v in state.items()}, {"key": "k"}),
    ]


def read_params_file(folder: Path, data: bytes) -> None:
    path = folder / "otoc.yaml"
    path.write_bytes(data)
    load_config(path)


def params_seeds() -> list[bytes]:
    lists = b"elastic_granularity: [6.0, 20]\nseeds:\n  - 0\n  - 1\neval_splits: [val, 'test']\nflip: false\n"
    return [b"# one\nprofile: rooms\nexperiment: otoc\nvoxel_size: 1.0e-1\nclicks_file: null\n" + lists]


def read_stage_manifest(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    read_manifest(folder)


def manifest_seeds() -> list[bytes]:
    made = {"stage": "unet_1", "key": "0a", "files": {"weights.safetensors": "ff"}, "seconds": 1.5, "seed": 0}
    return [json.dumps(value).encode() for value in (made, {"stage": "s", "key": "k", "reused_from": "otoc"})]


def read_checkpoint(folder: Path, data: bytes) -> None:
    """Whatever it holds, the training goes on without it."""
    path = folder / "checkpoint"
    path.write_bytes(data)
    load_checkpoint(path, "key", torch.device("cpu"))
    assert not path.exists() or path.read_bytes() == data
    for left in (path, folder / "checkpoint.damaged"):
        left.unlink(missing_ok=True)


def read_signed_checkpoint(folder: Path, data: bytes) -> None:
    read_checkpoint(folder, hashlib.sha256(data).digest() + data)


def checkpoint_seeds() -> list[bytes]:
    state = {"step": 3, "history": [(0, 1.5, 0.1, 0.2)], "model": {"weight": torch.ones(2)}}
    return written(lambda path: save_checkpoint(path, "key", state))


def header_of(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def packed_reader(read: Callable[[Path], object], inside: bool) -> Callable[[Path, bytes], None]:
    """``inside``: the bytes are what was packed."""

    def read_packed(folder: Path, data: bytes) -> None:
        (folder / "a.room.xz").write_bytes(lzma.compress(data, preset=0) if inside else data)
        read(folder / "a.room.xz")

    return read_packed


@cache
def packed_rooms() -> list[bytes]:
    objects = (("wall", (3,)), ("office chair", (17,)))
    steps = np.array([(i, -i, i % 3) for i in range(8)])
    room = bundled_rooms.BundledRoom(
        name=NAME,
        vertices=(steps * bundled_rooms.STEP).astype(np.float32),
        faces=FACES.astype(np.int32),
        colors=(np.arange(24).reshape(8, 3) * 8).astype(np.uint8),
        segments=np.array([3, 3, 3, 17, 17, 40, 40, 40], np.int32),
        objects=objects,
    )
    return written(lambda path: bundled_rooms.pack(room, path))


@cache
def packed_areas() -> list[bytes]:
    colors = np.arange(24, dtype=np.uint8).reshape(8, 3)
    room = bundled_areas.assemble("Area_1/office_1", CORNERS, colors, np.repeat([0, 12], 4), np.repeat([0, 1], 4))
    return written(lambda path: bundled_areas.pack(room, path))


def repacked(packed: list[bytes]) -> list[bytes]:
    """With a small dictionary, so that unpacking is fast."""
    return [lzma.compress(lzma.decompress(data), preset=0) for data in packed]


def index_reader(read_index: Callable[[Path], dict]) -> Callable[[Path, bytes], None]:
    def read(folder: Path, data: bytes) -> None:
        (folder / "index.json").write_bytes(data)
        read_index(folder)

    return read


def index_seed(name: str) -> list[bytes]:
    return [json.dumps({"seed": 0, "rooms": {name: {"split": "train", "objects": {"wall": 4}}}}).encode()]


TARGETS = {
    "scannet_mesh": Target(scannet_reader(MESH), scannet_ply_seeds),
    "scannet_labels": Target(scannet_reader(LABELS), lambda: scannet_ply_seeds(NYU40)),
    "scannet_segments": Target(scannet_reader(SEGMENTS), scannet_seed(SEGMENTS)),
    "scannet_aggregation": Target(scannet_reader(AGGREGATION), scannet_seed(AGGREGATION)),
    "scannet_categories": Target(scannet_reader(CATEGORIES), scannet_seed(CATEGORIES)),
    "label_table": Target(read_label_table, lambda: [b"id\tnyu40id\n1\t5\n9\t18\n", b"nyu40id\tx\tid\r\n1\t\t7\r\n"]),
    **{f"frame_{name}": Target(frame_reader(file), frame_seed(file)) for name, file in FRAME_FILES.items()},
    "scannet_split": Target(read_split, scannet_seed(TRAIN)),
    "scannet_test_mesh": Target(read_test_scene, mesh_seeds),
    "benchmark_zip": Target(
        read_submission, lambda: [zip_of({"a.txt": b"1\n5\n"}), zip_of({"a.txt": b"1\r\n5"}, zipfile.ZIP_DEFLATED)]
    ),
    "benchmark_ids": Target(read_submitted_ids, lambda: [b"1\n5\n", b"1\r\n39"]),
    "benchmark_labels": Target(read_benchmark_labels, lambda: [b"1\n5\n", b"0\r\n39"]),
    "s3dis_object": Target(read_object, lambda: [b"1 2 3 4 5 6\n-1.5 2e-1 .3 255 0 1\n", b"1\t2\t3\t0.5\t1\t0\r\n"]),
    "s3dis_whole_room": Target(read_whole_room, lambda: [b"1 2 3 4 5 6\n\n1 2 3 4 5 6"]),
    "scan_ply": Target(scan_reader(".ply"), ply_seeds),
    "scan_las": Target(scan_reader(".las"), lambda: las_seeds(".las")),
    "scan_laz": Target(scan_reader(".laz"), lambda: las_seeds(".laz")),
    "scan_xyz": Target(scan_reader(".xyz"), text_seeds),
    "scan_csv": Target(scan_reader(".csv"), csv_seeds),
    "scan_pts": Target(scan_reader(".pts"), pts_seeds),
    "scan_gz": Target(scan_reader(".xyz.gz"), gz_seeds),
    "folder_text": Target(
        read_folder, lambda: [*csv_seeds(), b"MIT License\n\n1. You may\n", b"Scene;x;class\na;1;b\n"]
    ),
    "scan_obj": Target(read_obj_scan, lambda: [TEXT_OBJ, COLORED_OBJ]),
    "scan_obj_materials": Target(read_obj_materials, lambda: [MATERIALS]),
    "scan_glb": Target(scan_reader(".glb"), glb_seeds),
    "scan_glb_json": Target(read_glb_json, glb_json_seeds),
    "scan_gltf": Target(read_gltf_scan, gltf_seeds),
    "scan_pcd": Target(scan_reader(".pcd"), pcd_seeds),
    "scan_e57": Target(scan_reader(".e57"), e57_seeds),
    "scan_e57_inside": Target(read_e57_inside, lambda: [unpaged(data) for data in e57_seeds()]),
    "own_mesh": Target(own_reader(".ply"), mesh_seeds),
    "own_points": Target(own_reader(".xyz"), text_seeds),
    "clicks": Target(read_clicks_file, click_seeds),
    "session_clicks": Target(read_session, click_seeds),
    "checked_clicks": Target(check_clicks_file, checked_seeds),
    "session_seconds": Target(read_seconds, lambda: [json.dumps({NAME: 12.5, "other": 3}).encode()]),
    "session_kept": Target(read_kept_clicks, lambda: [json.dumps({NAME: {"0": "wall", "7": "none"}}).encode()]),
    "positions": Target(read_positions, lambda: [b"scene,x,y,z,class\nroom,1,2,3,wall\nroom,4,5,6,floor\n"]),
    "points": Target(read_points_file, lambda: [*points_seeds(zipped=True), *points_seeds(zipped=False)]),
    "points_pickle": Target(read_points_pickle, points_pickle_seeds),
    "weights": Target(weights_reader(".safetensors"), safetensors_seeds),
    "weights_torch": Target(
        weights_reader(".pth"), lambda: [*weights_seeds(zipped=True), *weights_seeds(zipped=False)]
    ),
    "weights_pickle": Target(read_weights_pickle, weights_pickle_seeds),
    "params": Target(read_params_file, params_seeds),
    "manifest": Target(read_stage_manifest, manifest_seeds),
    "checkpoint": Target(read_checkpoint, checkpoint_seeds),
    "checkpoint_inside": Target(read_signed_checkpoint, lambda: [data[DIGEST:] for data in checkpoint_seeds()]),
    "scene": Target(read_saved_scene, scene_seeds),
    "scene_header": Target(read_saved_header, lambda: [header_of(scene_seeds()[0])]),
    "packed_room": Target(packed_reader(bundled_rooms.read, inside=False), lambda: repacked(packed_rooms())),
    "packed_room_inside": Target(
        packed_reader(bundled_rooms.read, inside=True), lambda: [lzma.decompress(data) for data in packed_rooms()]
    ),
    "packed_area": Target(packed_reader(bundled_areas.read, inside=False), lambda: repacked(packed_areas())),
    "packed_area_inside": Target(
        packed_reader(bundled_areas.read, inside=True), lambda: [lzma.decompress(data) for data in packed_areas()]
    ),
    "room_index": Target(index_reader(bundled_rooms.read_index), lambda: index_seed(NAME)),
    "area_index": Target(index_reader(bundled_areas.read_index), lambda: index_seed("Area_1/office_1")),
}
