"""Reader of OBJ files (Wavefront): vertices in the order of their lines ``v``, polygons cut into triangles, and colours
that stand behind the coordinates or, sampled at the vertices, in the textures that a .mtl file names.

A mesh library would give a vertex of its own to every pair of a position and a texture coordinate, in an order of its
own: labels of those could not go back to the vertices of the file.
"""

import re
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from otoc_lib.datasets import pictures, point_text
from otoc_lib.datasets.scan_colors import GREY
from otoc_lib.datasets.vertices import Vertices
from otoc_lib.errors import OtocError, shown
from otoc_lib.jit import compiled
from otoc_lib.outside import opening, read_bytes

VERTEX, TEXTURE, FACE, WORD = 1, 2, 3, 4  # kinds of lines; 0: nothing that is read here
BLANK = ord(" ")

# What a mesh has no use for: names and smoothing of groups, lines, single points, parameters of curves.
LEFT_OUT = set("vn vp g o s l p mg lod shadow_obj trace_obj bevel c_interp d_interp deg bmat step cstype con".split())
SURFACES = set("curv curv2 surf parm trim hole scrv sp end ctech stech call csh".split())
MOST_MATERIAL_BYTES = 1 << 24  # of a .mtl file
HEAD = 1 << 16  # bytes in which programs name it
OPTIONS = {"-s": 3, "-o": 3, "-t": 3, "-mm": 2}  # of map_Kd: how many numbers follow at most; other options have a word


@dataclass(frozen=True)
class _Lines:
    """Where the lines of a file are that count: first byte, byte after the last, kind and number, int64 [L]."""

    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray
    number: np.ndarray

    def of(self, kind: int) -> "_Lines":
        chosen = self.kind == kind
        return _Lines(self.start[chosen], self.end[chosen], self.kind[chosen], self.number[chosen])


@dataclass
class _Material:
    """How a .mtl file paints the faces that name it."""

    color: np.ndarray | None = None  # float64 [3], 0..1
    picture: str | None = None  # the file's name, as it is written
    options: list[str] = field(default_factory=list)


def read_obj(path: Path, folder: Path | None = None) -> Vertices:
    """Read an OBJ file.

    Args:
        folder: where the files are that it names; by default its own.

    Returns:
        x, y, z, float64 in the order of the lines ``v``; red, green, blue where the file has colours: float64 as they
        stand behind the coordinates, else uint8 of the textures. Triangles in the order of the lines ``f``.

    Raises:
        OtocError: naming the file and line, if it is missing or damaged, or a texture is.
    """
    path = Path(path)
    folder = folder or path.parent
    data = _read(path)
    lines = _Lines(*_find_lines(data))
    told: list[str] = []
    commands = _commands(path, data, lines.of(WORD), told)
    table = _table(path, data, lines.of(VERTEX), letters=1)
    if len(table) == 0:
        raise OtocError(f"{path}: has no vertices (lines 'v x y z'); export it again, as a mesh or points")
    if not 3 <= table.shape[1] <= 7 or table.shape[1] == 5:
        number = lines.of(VERTEX).number[0]
        raise OtocError(f"{path}, line {number}: {table.shape[1]} numbers for a vertex; write v x y z or v x y z r g b")
    columns = dict(zip("xyz", np.ascontiguousarray(table[:, :3].T), strict=True))
    corners, polygon_sizes, faces = _faces(path, data, lines, len(table))
    if table.shape[1] >= 6:
        columns |= dict(zip(("red", "green", "blue"), np.ascontiguousarray(table[:, 3:6].T), strict=True))
        if any(word == "usemtl" for word, *_ in commands):
            told.append("its materials are not used, since its vertices have colours")
    else:
        names, material_of_face = _materials_of_faces(lines.of(FACE).start, commands)
        materials = _read_materials(folder, [name for word, name, _ in commands if word == "mtllib"], told)
        uv = _table(path, data, lines.of(TEXTURE), letters=2)
        material_of_corner = np.repeat(material_of_face, polygon_sizes)
        colors = _painted(folder, len(table), corners, names, material_of_corner, uv, materials, told)
        if colors is not None:
            columns |= dict(zip(("red", "green", "blue"), np.ascontiguousarray(colors.T), strict=True))
    return Vertices(columns, faces, tuple(told))


def companions(path: Path) -> list[Path]:
    """The material files that an OBJ file names at its beginning, and their textures, as far as they lie beside it."""
    with opening(path), open(path, "rb") as file:
        head = file.read(HEAD).decode("utf-8", "replace")
    names = [line.split(maxsplit=1)[1] for line in head.splitlines() if re.match(r"mtllib\s+\S", line)]
    materials = _read_materials(Path(path).parent, names, told=[])
    named = [*names, *(made.picture for made in materials.values() if made.picture)]
    files = [pictures.file_beside(Path(path).parent, name.strip()) for name in named]
    return sorted({file for file in files if file is not None})


def _read(path: Path) -> np.ndarray:
    """``point_text.read_bytes``, without a byte order mark and the line ends behind a backslash."""
    data = point_text.read_bytes(path)
    if data[: len(BOM_UTF8)].tobytes() == BOM_UTF8:
        data[: len(BOM_UTF8)] = BLANK
    if (data == ord("\\")).any():
        for match in re.finditer(rb"\\(\r\n|\r|\n)", data[:-1].tobytes()):
            data[match.start() : match.end()] = BLANK
    return data


@compiled(parallel=False)
def _find_lines(data):
    """First byte, byte after the last, kind and number (from 1) of the lines that hold something to read."""
    count = 0
    for byte in data:
        count += byte == 10 or byte == 13
    start, end = np.empty(count, np.int64), np.empty(count, np.int64)
    kind, number = np.empty(count, np.int64), np.empty(count, np.int64)
    found, line, position, size = 0, 1, 0, len(data)
    while position < size:
        first = position
        while position < size and data[position] != 10 and data[position] != 13:
            position += 1
        last = position
        if position + 1 < size and data[position] == 13 and data[position + 1] == 10:
            position += 1
        position += 1
        while first < last and (data[first] == 32 or data[first] == 9):
            first += 1
        if first < last and data[first] != 35:  # '#' begins a comment
            letter = data[first]
            second = data[first + 1] if first + 1 < last else np.uint8(32)
            third = data[first + 2] if first + 2 < last else np.uint8(32)
            what = WORD
            if second == 32 or second == 9:
                if letter == 118:  # v
                    what = VERTEX
                elif letter == 102:  # f
                    what = FACE
                elif letter == 103 or letter == 111 or letter == 115:  # g o s: as many as objects, or faces
                    what = 0
            elif letter == 118 and (third == 32 or third == 9):
                if second == 116:  # vt
                    what = TEXTURE
                elif second == 110:  # vn
                    what = 0
            if what:
                start[found], end[found], kind[found], number[found] = first, last, what, line
                found += 1
        line += 1
    return start[:found], end[:found], kind[:found], number[:found]


def _commands(path: Path, data: np.ndarray, lines: _Lines, told: list[str]) -> list[tuple[str, str, int]]:
    """Word, what follows it and first byte of the lines that are neither vertices nor faces."""
    found, strange = [], set()
    for start, end, number in zip(lines.start.tolist(), lines.end.tolist(), lines.number.tolist(), strict=True):
        text = data[start:end].tobytes().decode("utf-8", "replace")
        word, _, rest = text.replace("\t", " ").partition(" ")
        if word in ("mtllib", "usemtl"):
            found.append((word, rest.strip(), start))
        elif word in SURFACES:
            strange.add(word)
        elif word not in LEFT_OUT and not word.startswith(("usemap", "maplib")):
            raise OtocError(f"{path}, line {number}: {shown(text)} is no line of an OBJ file; export the scan again")
    if strange:
        told.append(f"its curves and surfaces ({', '.join(sorted(strange))}) are left out; export it as a mesh")
    return found


def _table(path: Path, data: np.ndarray, lines: _Lines, letters: int) -> np.ndarray:
    """The numbers on some lines, float64 [L, K], behind the letters that say what they are."""
    if len(lines.start) == 0:
        return np.empty((0, 0))
    return point_text.parse_table(_without_others(data, lines.start + letters, lines.end), path)


@compiled(parallel=False)
def _without_others(data, starts, ends):
    """What stands from each start to its end, and all line ends: so that errors name the right line."""
    kept = np.empty(len(data), np.uint8)
    count = position = line = 0
    while position < len(data):
        if line < len(starts) and position == starts[line]:
            while position < ends[line]:
                kept[count] = data[position]
                position += 1
                count += 1
            line += 1
        else:
            if data[position] == 10 or data[position] == 13:
                kept[count] = data[position]
                count += 1
            position += 1
    return kept[:count]


def _faces(
    path: Path, data: np.ndarray, lines: _Lines, num_vertices: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The corners of all polygons, int64 [K, 2]: vertex and texture coordinate, from 0 (-1: none); how many each
    polygon has, int64 [P]; and the triangles, int64 [F, 3], None without any."""
    faces = lines.of(FACE)
    if len(faces.start) == 0:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64), None
    before = [np.searchsorted(lines.of(kind).start, faces.start) for kind in (VERTEX, TEXTURE)]
    corners, sizes, fault = _find_corners(data, faces.start, faces.end, *before)
    if fault >= 0:
        text = data[faces.start[fault] : faces.end[fault]].tobytes().decode("utf-8", "replace")
        raise OtocError(f"{path}, line {faces.number[fault]}: {shown(text)} is no face; repair the line")
    num_coordinates = int((lines.kind == TEXTURE).sum())
    outside = (corners < [0, -1]) | (corners >= [num_vertices, max(num_coordinates, 0)])
    bad = np.flatnonzero(outside.any(axis=1))
    if bad.size:
        line = faces.number[np.searchsorted(np.cumsum(sizes), bad[0], side="right")]
        raise OtocError(
            f"{path}, line {line}: a face names vertex or texture coordinate {(corners[bad[0]] + 1).tolist()} of "
            f"{num_vertices} and {num_coordinates}; repair the mesh"
        )
    first = np.cumsum(sizes) - sizes
    fans = np.maximum(sizes - 2, 0)  # triangles of each polygon
    shared = np.repeat(first, fans)
    step = np.arange(len(shared)) - np.repeat(np.cumsum(fans) - fans, fans)
    triangles = np.stack([corners[place, 0] for place in (shared, shared + step + 1, shared + step + 2)], axis=1)
    return corners, sizes, triangles


@compiled(parallel=False)
def _find_corners(data, starts, ends, vertices_before, coordinates_before):
    """The corners ``v``, ``v/vt``, ``v//vn`` or ``v/vt/vn`` of the faces, int64 [K, 2], how many each has, and the
    first line that is none, or -1. A negative number counts back from the line itself."""
    most = 0
    for row in range(len(starts)):
        for position in range(starts[row] + 1, ends[row]):
            before = data[position - 1]
            most += (before == 32 or before == 9) and data[position] != 32 and data[position] != 9
    corners, sizes = np.empty((most, 2), np.int64), np.zeros(len(starts), np.int64)
    count = 0
    for row in range(len(starts)):
        position, end = starts[row] + 1, ends[row]
        while True:
            while position < end and (data[position] == 32 or data[position] == 9):
                position += 1
            if position == end or data[position] == 35:  # the rest is a comment
                break
            for part in range(3):
                negative = position < end and data[position] == 45
                position += negative
                value, digits = np.int64(0), 0
                while position < end and 48 <= data[position] <= 57:
                    value = value * 10 + data[position] - 48
                    position += 1
                    digits += 1
                if digits > 15 or (digits == 0 and (part == 0 or negative)) or (digits and value == 0):
                    return corners, sizes, row
                if part < 2:
                    known = vertices_before[row] if part == 0 else coordinates_before[row]
                    corners[count, part] = -1 if digits == 0 else known - value if negative else value - 1
                    if part == 0:
                        corners[count, 1] = -1
                    if digits and corners[count, part] < 0:
                        return corners, sizes, row
                if position == end or data[position] != 47:  # no '/'
                    break
                position += 1
            if position < end and data[position] != 32 and data[position] != 9:
                return corners, sizes, row
            count += 1
            sizes[row] += 1
    return corners[:count], sizes, -1


# --- materials


def _materials_of_faces(starts: np.ndarray, commands: list[tuple[str, str, int]]) -> tuple[list[str], np.ndarray]:
    """Names of materials, "" for none, and which of them each polygon has, int64 [P]."""
    used = [(place, name) for word, name, place in commands if word == "usemtl"]
    names = list(dict.fromkeys(["", *(name for _, name in used)]))
    index = {name: number for number, name in enumerate(names)}
    numbers = np.array([0, *(index[name] for _, name in used)])  # of the material from each place on
    return names, numbers[np.searchsorted(np.array([place for place, _ in used], dtype=np.int64), starts)]


def _read_materials(folder: Path, names: list[str], told: list[str]) -> dict[str, _Material]:
    """The materials of some .mtl files that lie beside the scan, by name."""
    materials: dict[str, _Material] = {}
    for name in dict.fromkeys(names):
        file = pictures.file_beside(folder, name)
        if file is None:
            told.append(f"its material file {shown(name)} is not in its folder, so its textures are not read")
            continue
        data = read_bytes(file)
        if len(data) > MOST_MATERIAL_BYTES:
            raise OtocError(f"{file}: too large for a list of materials; export the scan again")
        current = _Material()
        for line in data.decode("utf-8", "replace").splitlines():
            word, *values = line.split()[:100] or [""]
            if word == "newmtl":
                current = materials.setdefault(line.strip()[len(word) :].strip(), _Material())
            elif word.lower() == "kd":
                current.color = _color(values)
            elif word.lower() == "map_kd":
                current.picture, current.options = _picture_name(line.strip()[len(word) :].strip())
    return materials


def _color(words: list[str]) -> np.ndarray | None:
    try:
        color = np.array([float(word) for word in words[:3]])
    except ValueError:
        return None
    return np.clip(color, 0, 1) if len(color) == 3 and np.isfinite(color).all() else None


def _picture_name(text: str) -> tuple[str | None, list[str]]:
    """The file that ``map_Kd`` names, which may hold blanks, and the options before it."""
    options = []
    while text.startswith("-"):
        option, _, text = text.partition(" ")
        options.append(option)
        for _ in range(OPTIONS.get(option, 1)):
            value, _, rest = text.strip().partition(" ")
            if option in OPTIONS and not re.fullmatch(r"[-+.\deE]+", value):
                break
            text = rest
        text = text.strip()
    return text or None, options


def _painted(
    folder: Path,
    num_vertices: int,
    corners: np.ndarray,
    names: list[str],
    material_of_corner: np.ndarray,
    uv: np.ndarray,
    materials: dict[str, _Material],
    told: list[str],
) -> np.ndarray | None:
    """Colours of the vertices, uint8 [N, 3]: the mean over the places of the textures that each has; of the material's
    own colour where it has no texture. None where nothing tells the vertices apart."""
    sums, counts = np.zeros((num_vertices, 3)), np.zeros(num_vertices)
    plain: dict[str, np.ndarray] = {}
    sampled: dict[Path, np.ndarray] = {}
    textured = False
    for index in np.unique(material_of_corner).tolist():
        name, (vertex, coordinate) = names[index], corners[material_of_corner == index].T
        made = materials.get(name, _Material())
        pairs = np.unique(vertex * (len(uv) + 1) + coordinate + 1)  # each vertex once a texture coordinate
        here = np.stack([pairs // (len(uv) + 1), pairs % (len(uv) + 1) - 1], axis=1)
        file = pictures.file_beside(folder, made.picture) if made.picture else None
        if made.picture and file is None:
            told.append(f"its texture {shown(made.picture)} is not in its folder; put it there for colours")
        here_painted = here[here[:, 1] >= 0]
        if file is not None and len(here_painted) and uv.shape[1] >= 2:
            if set(made.options) & set(OPTIONS):
                told.append(f"the options {' '.join(made.options)} of its texture are not applied")
            if file not in sampled:
                sampled = {file: pictures.read_picture(file, str(file))}  # one at a time: they are large
            place = uv[here_painted[:, 1], :2] * [1, -1] + [0, 1]  # OBJ counts v from the lower edge
            colors, textured = pictures.sample(sampled[file], place).astype(np.float64), True
            points = here_painted[:, 0]
        elif made.color is not None:
            plain[name] = made.color
            points = np.unique(here[:, 0])
            colors = np.broadcast_to(made.color * 255, (len(points), 3))
        else:
            continue
        counts += np.bincount(points, minlength=num_vertices)
        for channel in range(3):
            sums[:, channel] += np.bincount(points, weights=colors[:, channel], minlength=num_vertices)
    if not textured and len({tuple(color) for color in plain.values()}) < 2:
        return None
    told.append(
        "its colours are those of its textures at the vertices"
        if textured
        else "its colours are those of its materials"
    )
    bare = int((counts == 0).sum())
    if bare:
        told.append(f"{bare} of its {num_vertices} vertices have no colour there; they are grey")
    mean = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], GREY)
    return np.rint(mean).astype(np.uint8)
