"""Reader of glTF 2.0 files, .glb and .gltf: its meshes and points where their nodes place them, one after the other in
the order of the nodes, with the colours of the vertices or of the textures there.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html. What the file says of itself is compared with what it holds
before anything is made by it; what is left out is told, or refused where points would be missing.
"""

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from otoc_lib.datasets import pictures
from otoc_lib.datasets.scan_colors import GREY
from otoc_lib.datasets.vertices import Vertices, rotation_of
from otoc_lib.errors import OtocError, shown
from otoc_lib.outside import parse_json, read_bytes

JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6
LINES = (1, 2, 3)
MOST_PLACED = 100  # times that a file may place its points, for every byte it has

# Extensions that a file may require and that change neither points nor the colours read here, or that are read.
QUANTIZATION, TRANSFORM, WEBP = "KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp"
GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
READ = (QUANTIZATION, TRANSFORM, WEBP, GLOSSINESS)
HARMLESS = ("KHR_materials_", "KHR_lights_", "KHR_xmp", "EXT_mesh_features", "EXT_structural_metadata")
COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")


@dataclass(frozen=True)
class _Document:
    path: Path
    folder: Path  # of the files that it names
    tree: dict[str, Any]
    binary: bytes | None  # of a .glb file
    told: list[str]
    buffers: dict[int, bytes] = field(default_factory=dict)  # that were read already
    pictures: dict[int, np.ndarray] = field(default_factory=dict)  # the one that was read last: they are large

    def part(self, kind: str, index: Any) -> dict[str, Any]:
        """An entry of one of the lists at the top, which entries elsewhere name by its index."""
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise ValueError(f"{shown(index)} is no index")
        return self.tree[kind][index]

    def view(self, index: Any) -> tuple[bytes, int]:
        """The bytes of a buffer view, and its stride or 0."""
        view = self.part("bufferViews", index)
        if any(name in view.get("extensions", {}) for name in COMPRESSED):
            raise _compressed(self.path)
        buffer = self.buffer(view["buffer"])
        start, length = _whole(view.get("byteOffset", 0)), _whole(view["byteLength"])
        if start + length > len(buffer):
            raise ValueError(f"a buffer of {len(buffer)} bytes ends before byte {start + length}")
        return buffer[start : start + length], _whole(view.get("byteStride", 0))

    def buffer(self, index: Any) -> bytes:
        made = self.part("buffers", index)
        if index not in self.buffers:
            if "uri" in made:
                data = _resource(self.folder, made["uri"])
                if data is None:
                    raise OtocError(
                        f"{self.path}: its points are in {shown(made['uri'])}, which is not in its folder; put it there"
                    )
            elif index == 0 and self.binary is not None:
                data = self.binary
            else:
                raise ValueError(f"buffer {index} is nowhere")
            self.buffers[index] = data
        return self.buffers[index]

    def accessor(self, index: Any) -> np.ndarray:
        """The numbers of an accessor, [count, width]; normalized ones as float64 shares of the type's largest."""
        made = self.part("accessors", index)
        if "sparse" in made or "bufferView" not in made:
            raise OtocError(f"{self.path}: has sparse accessors, which are not read; export it without them")
        kind, width, count = np.dtype(TYPES[made["componentType"]]), WIDTHS[made["type"]], _whole(made["count"])
        data, stride = self.view(made["bufferView"])
        start, row = _whole(made.get("byteOffset", 0)), kind.itemsize * width
        stride = stride or row
        if count == 0 or stride < row or start + stride * (count - 1) + row > len(data):
            raise ValueError(f"accessor {index} names {shown(count)} elements that its buffer does not hold")
        raw = np.frombuffer(data, np.uint8, offset=start)
        rows = np.lib.stride_tricks.as_strided(raw, (count, row), (stride, 1), writeable=False)
        values = np.ascontiguousarray(rows).view(kind)
        if made.get("normalized") and kind.kind in "iu":
            return np.maximum(values / np.iinfo(kind).max, -1.0)
        return values

    def length(self, index: Any) -> int:
        """How many elements an accessor says it has."""
        return _whole(self.part("accessors", index)["count"])


def read_gltf(path: Path, folder: Path | None = None) -> Vertices:
    """Read a glTF file.

    Args:
        folder: where the files are that it names; by default its own.

    Returns:
        x, y, z, float64, as the file has them: metres, y up; red, green, blue, uint8, where it has colours.

    Raises:
        OtocError: naming the file, if it is missing, damaged, compressed in a way that is not read, or if buffers or
            pictures that it names are.
    """
    path = Path(path)
    try:
        document = _open(path, folder or path.parent)
        _check_extensions(document)
        return _read(document)
    except OtocError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        fault = f"lacks {error}" if isinstance(error, KeyError) else shown(str(error))
        raise OtocError(f"{path}: damaged glTF ({fault}); export it again") from error


def companions(path: Path) -> list[Path]:
    """The files of buffers and pictures that a glTF file names and that lie beside it."""
    try:
        tree = _open(Path(path), Path(path).parent).tree
        named = [made.get("uri", "data:") for kind in ("buffers", "images") for made in tree.get(kind, ())]
        files = [pictures.file_beside(Path(path).parent, name) for name in named if not name.startswith("data:")]
    except (TypeError, AttributeError):
        return []
    return sorted({file for file in files if file is not None})


def _open(path: Path, folder: Path) -> _Document:
    data = read_bytes(path)
    binary = None
    if path.suffix.lower() == ".glb":
        magic, version, length = struct.unpack_from("<4sII", data.ljust(12, b"\0"))
        if magic != b"glTF":
            raise OtocError(f"{path}: not a GLB file; export it again")
        if version != 2:
            raise OtocError(f"{path}: glTF of version {version}, which is not read; export it as glTF 2.0")
        if length > len(data):
            raise OtocError(f"{path}: truncated, {len(data)} of its {length} bytes; copy it again")
        chunks = dict(reversed(list(_chunks(path, data[:length]))))  # the first of each kind counts
        if JSON_CHUNK not in chunks:
            raise OtocError(f"{path}: damaged GLB without its JSON part; export it again")
        text, binary = chunks[JSON_CHUNK], chunks.get(BINARY_CHUNK)
    else:
        text = data
    try:
        tree = parse_json(text.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise OtocError(f"{path}: damaged glTF, no text in UTF-8 ({error}); export it again") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("asset"), dict):
        raise OtocError(f"{path}: is no glTF 2.0 file; export it again")
    version = tree["asset"].get("version")
    if not str(version).startswith("2"):
        raise OtocError(f"{path}: glTF of version {shown(version)}, which is not read; export it as glTF 2.0")
    return _Document(path, folder, tree, binary, [])


def _chunks(path: Path, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        length, kind = struct.unpack_from("<I4s", data, place)
        if place + 8 + length > len(data):
            raise OtocError(f"{path}: truncated, its parts are longer than the file; copy it again")
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length


def _check_extensions(document: _Document) -> None:
    for name in document.tree.get("extensionsRequired", ()):
        if name in COMPRESSED:
            raise _compressed(document.path)
        if name not in READ and not str(name).startswith(HARMLESS):
            raise OtocError(
                f"{document.path}: needs the extension {shown(name)}, which is not read; export it as plain glTF 2.0"
            )


def _compressed(path: Path) -> OtocError:
    return OtocError(
        f"{path}: its meshes are compressed (Draco or meshopt), which is not read; export it without mesh compression, "
        "or as PLY"
    )


def _read(document: _Document) -> Vertices:
    placed = list(_placed_meshes(document))
    sizes = [
        document.length(primitive["attributes"]["POSITION"])
        for mesh, _ in placed
        for primitive in document.part("meshes", mesh)["primitives"]
        if "POSITION" in primitive["attributes"]
    ]
    known = sum(map(len, document.buffers.values())) + document.path.stat().st_size
    known += sum(_whole(made.get("byteLength", 0)) for made in document.tree.get("buffers", ()) if "uri" in made)
    if sum(sizes) > MOST_PLACED * known:
        raise OtocError(f"{document.path}: places {sum(sizes)} points, too many for its size; export it again")
    blocks = [block for mesh, matrix in placed for block in _read_mesh(document, mesh, matrix)]
    if not blocks:
        raise OtocError(f"{document.path}: holds no mesh and no points; export it again")
    starts = np.cumsum([0, *(len(block.points) for block in blocks)])
    points = np.concatenate([block.points for block in blocks])
    triangles = [block.faces + start for block, start in zip(blocks, starts[:-1].tolist(), strict=True)]
    faces = np.concatenate(triangles)
    columns = dict(zip("xyz", np.ascontiguousarray(points.T), strict=True))
    painted = np.concatenate([block.painted for block in blocks])
    if painted.any():
        colors = np.concatenate([block.colors for block in blocks])
        colors[~painted] = GREY
        columns |= dict(zip(("red", "green", "blue"), np.ascontiguousarray(colors.T), strict=True))
        if not painted.all():
            document.told.append(f"{(~painted).sum()} of its {len(points)} vertices have no colour; they are grey")
    if len(blocks) > 1:
        document.told.append(f"its {len(blocks)} meshes are one scan, in the order of the file")
    told = tuple(dict.fromkeys(document.told))
    return Vertices(columns, faces if len(faces) else None, told, up="y", unit="m")


def _placed_meshes(document: _Document) -> Iterator[tuple[int, np.ndarray]]:
    """Mesh and matrix, float64 [4, 4], of every node of the scene, parents first."""
    tree = document.tree
    nodes = tree.get("nodes", [])
    if tree.get("scenes"):
        roots = document.part("scenes", tree.get("scene", 0)).get("nodes", [])
        if len(tree["scenes"]) > 1:
            document.told.append(f"of its {len(tree['scenes'])} scenes one is read, number {tree.get('scene', 0)}")
    else:
        children = {child for node in nodes for child in node.get("children", ())}
        roots = [index for index in range(len(nodes)) if index not in children]
    if not nodes:
        yield from ((index, np.eye(4)) for index in range(len(tree.get("meshes", ()))))
    visited: set[int] = set()
    stack = [(root, np.eye(4)) for root in reversed(roots)]
    while stack:
        index, parent = stack.pop()
        node = document.part("nodes", index)
        if index in visited:
            raise ValueError(f"node {index} has two places")
        visited.add(index)
        matrix = parent @ _matrix(node)
        if "mesh" in node:
            yield node["mesh"], matrix
        stack += [(child, matrix) for child in reversed(node.get("children", []))]


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """What a node does to its points, float64 [4, 4]."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_of(x, y, z, w) * np.array(node.get("scale", [1, 1, 1]), dtype=np.float64).reshape(3)
    matrix[:3, 3] = np.array(node.get("translation", [0, 0, 0]), dtype=np.float64).reshape(3)
    return matrix


@dataclass(eq=False)
class _Block:
    """The vertices that some primitives of a mesh share."""

    points: np.ndarray  # float64 [N, 3]
    colors: np.ndarray  # uint8 [N, 3]
    painted: np.ndarray  # bool [N]: whether the vertex has a colour
    faces: np.ndarray  # int64 [F, 3]


def _read_mesh(document: _Document, index: Any, matrix: np.ndarray) -> list[_Block]:
    blocks: dict[int, _Block] = {}
    for primitive in document.part("meshes", index)["primitives"]:
        if any(name in primitive.get("extensions", {}) for name in COMPRESSED):
            raise _compressed(document.path)
        mode, attributes = primitive.get("mode", TRIANGLES), primitive["attributes"]
        if mode in LINES or "POSITION" not in attributes:
            document.told.append("its lines are left out")
            continue
        place = attributes["POSITION"]
        if place not in blocks:
            points = document.accessor(place).astype(np.float64)
            if points.shape[1] != 3:
                raise ValueError("positions are not x, y and z")
            points = points @ matrix[:3, :3].T + matrix[:3, 3]
            shape = points.shape
            blocks[place] = _Block(
                points, np.zeros(shape, np.uint8), np.zeros(len(points), bool), np.empty((0, 3), int)
            )
        block = blocks[place]
        used: np.ndarray = np.arange(len(block.points))
        if "indices" in primitive:
            used = document.accessor(primitive["indices"])
            if used.shape[1] != 1 or used.dtype.kind != "u" or used.max() >= len(block.points):
                raise ValueError(f"a mesh names vertex {used.max()} of {len(block.points)}")
            used = used[:, 0].astype(np.int64)
        if mode != POINTS:
            block.faces = np.concatenate([block.faces, _triangles(used, mode)])
        colors = _colors(document, primitive, len(block.points), used)
        if colors is not None:
            block.colors[used], block.painted[used] = colors, True
    return list(blocks.values())


def _triangles(used: np.ndarray, mode: Any) -> np.ndarray:
    """The vertices [K] that a primitive goes through as triangles, int64 [F, 3]."""
    if mode == TRIANGLES:
        if len(used) % 3:
            raise ValueError(f"{len(used)} corners make no triangles")
        return used.reshape(-1, 3)
    if mode == STRIP:
        triangles = np.stack([used[:-2], used[1:-1], used[2:]], axis=1)
        triangles[1::2] = triangles[1::2, ::-1]  # every second one is wound the other way
        return triangles
    if mode == FAN:
        return np.stack([np.repeat(used[:1], max(len(used) - 2, 0)), used[1:-1], used[2:]], axis=1)
    raise ValueError(f"{shown(mode)} is no kind of primitive")


def _colors(document: _Document, primitive: dict[str, Any], count: int, used: np.ndarray) -> np.ndarray | None:
    """Colours of the vertices ``used``, uint8 [K, 3]: of the texture, else of the vertices, else of the material."""
    attributes = primitive["attributes"]
    material = document.part("materials", primitive["material"]) if "material" in primitive else {}
    surface = material.get("pbrMetallicRoughness", {})
    texture, factor = surface.get("baseColorTexture"), surface.get("baseColorFactor")
    if GLOSSINESS in material.get("extensions", {}):
        surface = material["extensions"][GLOSSINESS]
        texture, factor = surface.get("diffuseTexture", texture), surface.get("diffuseFactor", factor)
    factor = np.array(factor if factor is not None else [1, 1, 1], dtype=np.float64)[:3]
    if texture is not None:
        sampled = _sampled(document, attributes, texture, count, used)
        if sampled is not None:
            if "COLOR_0" in attributes:
                document.told.append("its vertices have colours beside a texture; the texture's are taken")
            if not np.allclose(factor, 1):
                document.told.append("the factor of its texture's colours is not applied")
            return sampled
    if "COLOR_0" in attributes:
        colors = document.accessor(attributes["COLOR_0"])
        if len(colors) != count or colors.shape[1] not in (3, 4):
            raise ValueError(f"{len(colors)} colours for {count} vertices")
        if colors.dtype.kind in "iu":  # not marked as normalized, as it should be
            colors = colors / np.iinfo(colors.dtype).max
        colors = np.nan_to_num(colors[used, :3].astype(np.float64))
        outside = (colors < -0.001) | (colors > 1.001)
        if outside.any():
            document.told.append(f"{outside.any(axis=1).sum()} colours beyond 0..1 are cut to it")
        return np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    if not np.allclose(factor, 1):
        document.told.append("colours are those of its materials where it has no others")
        return np.broadcast_to(_shown_color(factor), (len(used), 3))
    return None


def _sampled(
    document: _Document, attributes: dict[str, Any], texture: dict[str, Any], count: int, used: np.ndarray
) -> np.ndarray | None:
    """Colours of a texture at the vertices ``used``, uint8 [K, 3]; None, and a word, where it cannot be had."""
    transform = texture.get("extensions", {}).get(TRANSFORM, {})
    channel = f"TEXCOORD_{transform.get('texCoord', texture.get('texCoord', 0))}"
    if channel not in attributes:
        document.told.append("a textured mesh has no texture coordinates, so no colours")
        return None
    picture, wrap = _picture(document, texture["index"])
    if picture is None:
        return None
    uv = document.accessor(attributes[channel])
    if len(uv) != count or uv.shape[1] != 2:
        raise ValueError(f"{len(uv)} texture coordinates for {count} vertices")
    uv = uv[used].astype(np.float64)
    if transform:
        turn = float(transform.get("rotation", 0))
        scale = np.array(transform.get("scale", [1, 1]), dtype=np.float64).reshape(2)
        offset = np.array(transform.get("offset", [0, 0]), dtype=np.float64).reshape(2)
        u, v = (uv * scale).T
        uv = np.stack([u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)], axis=1) + offset
    return pictures.sample(picture, uv, wrap)


def _picture(document: _Document, index: Any) -> tuple[np.ndarray | None, tuple[int, int]]:
    """The picture of a texture, uint8 [H, W, 3], or None and a word; and how it goes on beyond its edges."""
    texture = document.part("textures", index)
    sampler = document.part("samplers", texture["sampler"]) if "sampler" in texture else {}
    wrap = (sampler.get("wrapS", pictures.REPEAT), sampler.get("wrapT", pictures.REPEAT))
    source = texture.get("source", texture.get("extensions", {}).get(WEBP, {}).get("source"))
    if source is None:
        document.told.append("its textures are compressed for graphics cards (KTX2), which is not read")
        return None, wrap
    if source in document.pictures:
        return document.pictures[source], wrap
    made = document.part("images", source)
    name = f"{document.path}, picture {source}"
    data = document.view(made["bufferView"])[0] if "bufferView" in made else _resource(document.folder, made["uri"])
    if data is None:
        document.told.append(f"its texture {shown(made['uri'])} is not in its folder; put it there for colours")
        return None, wrap
    document.pictures.clear()
    document.pictures[source] = pictures.read_picture(data, name)
    return document.pictures[source], wrap


def _resource(folder: Path, uri: str) -> bytes | None:
    """What a URI stands for: data within it, or a file beside the scan; None where there is none."""
    if uri.startswith("data:"):
        head, _, body = uri.partition(",")
        if not head.endswith(";base64"):
            raise ValueError("data that are not in base64")
        return base64.b64decode(body, validate=True)
    file = pictures.file_beside(folder, uri)
    return None if file is None else read_bytes(file)


def _shown_color(linear: np.ndarray) -> np.ndarray:
    """A colour of a material, which is linear in light, as screens show it (sRGB), uint8 [3]."""
    linear = np.clip(linear, 0, 1)
    shares = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * shares).astype(np.uint8)


def _whole(number: Any) -> int:
    """A count or an offset of the file."""
    if not isinstance(number, int | float) or isinstance(number, bool) or number != int(number) or number < 0:
        raise ValueError(f"{shown(number)} is no count")
    return int(number)
