"""Scans in formats that take more than a line to write, byte by byte as their specifications say: nothing of the kit,
and no library that reads them, is in it."""

import json
import struct

import numpy as np

# --- glTF 2.0


class Gltf:
    """A glTF file to be: arrays become accessors; nodes, meshes and materials are written as JSON has them."""

    KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
    SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}

    def __init__(self, **tree):
        self.binary = b""
        self.tree = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], **tree}

    def view(self, data: bytes, **more) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.tree["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **more})
        self.binary += data
        return len(self.tree["bufferViews"]) - 1

    def add(self, array: np.ndarray, normalized: bool = False, stride: int = 0) -> int:
        """An accessor of an array [count, width] or [count]; with a stride, its rows lie that many bytes apart."""
        rows = np.asarray(array).reshape(len(array), -1)
        data = rows.tobytes()
        if stride:
            padded = np.full((len(rows), stride), 0xAB, dtype=np.uint8)
            padded[:, : rows.itemsize * rows.shape[1]] = np.frombuffer(data, np.uint8).reshape(len(rows), -1)
            data = padded.tobytes()
        view = self.view(data, **({"byteStride": stride} if stride else {}))
        self.tree["accessors"].append(
            {
                "bufferView": view,
                "componentType": self.KINDS[rows.dtype.str[1:]],
                "type": self.SHAPES[rows.shape[1]],
                "count": len(rows),
                **({"normalized": True} if normalized else {}),
            }
        )
        return len(self.tree["accessors"]) - 1

    def glb(self) -> bytes:
        text = json.dumps({**self.tree, "buffers": [{"byteLength": len(self.binary)}]}).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def gltf(self, uri: str) -> bytes:
        """The JSON alone; its buffer is what ``uri`` names."""
        return json.dumps({**self.tree, "buffers": [{"uri": uri, "byteLength": len(self.binary)}]}).encode()


def glb_of(points: np.ndarray, colors: np.ndarray | None = None, faces: np.ndarray | None = None) -> bytes:
    """One mesh, or one cloud of points, where its file puts it."""
    made = Gltf(scenes=[{"nodes": [0]}], nodes=[{"mesh": 0}])
    primitive = {"attributes": {"POSITION": made.add(points.astype("f4"))}, "mode": 0 if faces is None else 4}
    if colors is not None:
        opaque = np.column_stack([colors, np.full(len(colors), 255)]).astype("u1")
        primitive["attributes"]["COLOR_0"] = made.add(opaque, normalized=True)
    if faces is not None:
        primitive["indices"] = made.add(faces.astype("u4").ravel())
    made.tree["meshes"] = [{"primitives": [primitive]}]
    return made.glb()


# --- PCD


def pcd_header(names: list[str], table: np.ndarray, data: str, height: int = 1) -> bytes:
    kinds = [table.dtype[name].base for name in table.dtype.names]
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(names)}",
        f"SIZE {' '.join(str(kind.itemsize) for kind in kinds)}",
        f"TYPE {' '.join({'f': 'F', 'u': 'U', 'i': 'I'}[kind.kind] for kind in kinds)}",
        f"COUNT {' '.join(str(int(np.prod(table.dtype[name].shape))) for name in table.dtype.names)}",
        f"WIDTH {len(table) // height}",
        f"HEIGHT {height}",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(table)}",
        f"DATA {data}",
    ]
    return "\n".join([*lines, ""]).encode()


def pcd(table: np.ndarray, data: str, names: list[str] | None = None, height: int = 1) -> bytes:
    """A structured array as a PCD file: ascii, binary or binary_compressed."""
    names = names or list(table.dtype.names)
    header = pcd_header(names, table, data, height)
    if data == "ascii":
        rows = [" ".join(repr(value) for value in np.hstack([np.ravel(v) for v in row]).tolist()) for row in table]
        return header + "\n".join([*rows, ""]).encode()
    if data == "binary":
        return header + table.tobytes()
    fields = b"".join(np.ascontiguousarray(table[name]).tobytes() for name in table.dtype.names)
    packed = lzf(fields)
    return header + struct.pack("<II", len(packed), len(fields)) + packed


def lzf(data: bytes) -> bytes:
    """LZF, with copies of what came before wherever three bytes are known already."""
    out, known, place, literal = bytearray(), {}, 0, bytearray()

    def flush() -> None:
        for start in range(0, len(literal), 32):
            part = literal[start : start + 32]
            out.extend([len(part) - 1, *part])
        literal.clear()

    while place < len(data):
        key = data[place : place + 3]
        source = known.get(key, -1) if len(key) == 3 else -1
        if len(key) == 3:
            known[key] = place
        distance = place - source - 1
        if source < 0 or distance >= 8192:
            literal.append(data[place])
            place += 1
            continue
        length = 3
        while length < 264 and place + length < len(data) and data[source + length] == data[place + length]:
            length += 1
        flush()
        code = length - 2
        out.append((min(code, 7) << 5) | (distance >> 8))
        if code >= 7:
            out.append(code - 7)
        out.append(distance & 255)
        place += length
    flush()
    return bytes(out)


# --- E57


def crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC = crc_table()


def paged(logical: bytes) -> bytes:
    """Pages of 1020 bytes, each followed by its CRC-32C."""
    logical += b"\0" * (-len(logical) % 1020)
    pages = []
    for start in range(0, len(logical), 1020):
        page, value = logical[start : start + 1020], 0xFFFFFFFF
        for byte in page:
            value = CRC[(value ^ byte) & 255] ^ (value >> 8)
        pages.append(page + struct.pack(">I", value ^ 0xFFFFFFFF))
    return b"".join(pages)


def unpaged(physical: bytes) -> bytes:
    return b"".join(physical[start : start + 1020] for start in range(0, len(physical), 1024))


def physical(logical: int) -> int:
    return logical // 1020 * 1024 + logical % 1020


AXES = ("cartesianX", "cartesianY", "cartesianZ")
ROUND = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")


def e57(scans: list[dict], xml_head: str = "") -> bytes:
    """An E57 file.

    Each scan: ``columns``, field name -> float64 or unsigned integers [N]; ``name``; ``pose``, a quaternion w, x, y, z
    and a translation, if it has one; ``limits`` of its colours, if it names them; how many points are ``announced``,
    if not as many as there are; and ``scales``, field name -> scale and offset of what integers stand for.
    """
    body, entries = b"\0" * 48, []
    for scan in scans:
        columns = scan["columns"]
        count = len(next(iter(columns.values())))
        section = len(body)
        packets = b""
        for start in range(0, count, 500):
            streams = [column[start : start + 500].tobytes() for column in columns.values()]
            packet = struct.pack(f"<{len(streams)}H", *map(len, streams)) + b"".join(streams)
            packet += b"\0" * (-(len(packet) + 6) % 4)
            packets += struct.pack("<BBHH", 1, 0, len(packet) + 5, len(streams)) + packet
        index = section + 32 + len(packets)
        entry = struct.pack("<BBHHB9xQQ", 0, 0, 31, 1, 0, 0, physical(section + 32))
        length = 32 + len(packets) + len(entry)
        body += struct.pack("<B7xQQQ", 1, length, physical(section + 32), physical(index)) + packets + entry
        fields = ""
        for name, column in columns.items():
            if column.dtype.kind == "f":
                fields += f'<{name} type="Float"/>'
                continue
            kind, more = "Integer", ""
            if name in scan.get("scales", {}):
                kind, more = "ScaledInteger", 'scale="{}" offset="{}"'.format(*scan["scales"][name])
            fields += f'<{name} type="{kind}" minimum="0" maximum="{np.iinfo(column.dtype).max}" {more}/>'
        pose = ""
        if "pose" in scan:  # the parts of the rotation in another order than usual: they have names
            (w, x, y, z), (tx, ty, tz) = scan["pose"]
            parts = {"z": z, "x": x, "y": y, "w": w}
            rotation = "".join(f'<{name} type="Float">{float(value)!r}</{name}>' for name, value in parts.items())
            places = {"x": tx, "y": ty, "z": tz}
            shift = "".join(f'<{name} type="Float">{float(value)!r}</{name}>' for name, value in places.items())
            pose = (
                f'<pose type="Structure"><rotation type="Structure">{rotation}</rotation>'
                f'<translation type="Structure">{shift}</translation></pose>'
            )
        limits = "".join(
            f'<color{c}Minimum type="Integer">0</color{c}Minimum>'
            f'<color{c}Maximum type="Integer">{scan["limits"]}</color{c}Maximum>'
            for c in ("Red", "Green", "Blue")
            if "limits" in scan
        )
        announced = scan.get("announced", count)
        entries.append(
            '<vectorChild type="Structure"><guid type="String">g</guid>'
            f'<name type="String">{scan.get("name", "")}</name>{pose}'
            + (f'<colorLimits type="Structure">{limits}</colorLimits>' if limits else "")
            + f'<points type="CompressedVector" fileOffset="{physical(section)}" recordCount="{announced}">'
            f'<prototype type="Structure">{fields}</prototype>'
            '<codecs type="Vector" allowHeterogeneousChildren="1"></codecs></points></vectorChild>'
        )
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?>{xml_head}'
        '<e57Root type="Structure" xmlns="http://www.astm.org/COMMIT/E57/2010-e57-v1.0">'
        '<formatName type="String">ASTM E57 3D Imaging Data File</formatName><guid type="String">f</guid>'
        '<versionMajor type="Integer">1</versionMajor><versionMinor type="Integer">0</versionMinor>'
        f'<data3D type="Vector" allowHeterogeneousChildren="1">{"".join(entries)}</data3D>'
        '<images2D type="Vector" allowHeterogeneousChildren="1"></images2D></e57Root>'
    ).encode()
    start, size = len(body), -(-(len(body) + len(xml)) // 1020) * 1024
    head = struct.pack("<8sIIQQQQ", b"ASTM-E57", 1, 0, size, physical(start), len(xml), 1024)
    return paged(head + body[48:] + xml)
