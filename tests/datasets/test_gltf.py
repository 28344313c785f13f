import base64
import io
import json
import warnings

import numpy as np
import pytest
from PIL import Image
from scan_formats import Gltf, glb_of

from otoc_lib.datasets import gltf, own
from otoc_lib.datasets.point_files import companions, read_scan
from otoc_lib.errors import OtocError

GENERATOR = np.random.default_rng(0)
POINTS = np.round(GENERATOR.uniform(-3, 3, (12, 3)), 3).astype("f4")
COLORS = GENERATOR.integers(0, 256, (12, 3), dtype=np.uint8)
FACES = np.arange(12).reshape(4, 3)
PIXELS = GENERATOR.integers(0, 256, (4, 8, 3), dtype=np.uint8)  # 4 rows of 8
# The middle of a pixel for each vertex: column and row, and its texture coordinate from the upper left corner.
PLACES = np.stack([np.arange(12) % 8, np.arange(12) // 3], axis=1)
UV = ((PLACES + 0.5) / [8, 4]).astype("f4")
SAMPLED = PIXELS[PLACES[:, 1], PLACES[:, 0]]
RGB = ("red", "green", "blue")


def picture(pixels=PIXELS, kind="PNG"):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def textured(uv=UV, material=None, image=None, more=None, **attributes):
    """One mesh with a texture; attributes are arrays or accessors of another file to be."""
    made = Gltf(scenes=[{"nodes": [0]}], nodes=[{"mesh": 0}])
    given = {"POSITION": POINTS, "TEXCOORD_0": uv, **attributes}
    found = {name: made.add(*value) if isinstance(value, tuple) else made.add(value) for name, value in given.items()}
    made.tree["images"] = [image or {"bufferView": made.view(picture()), "mimeType": "image/png"}]
    made.tree["textures"] = [{"source": 0}]
    surface = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    made.tree["materials"] = [material or surface]
    primitive = {"attributes": found, "material": 0, "indices": made.add(FACES.astype("u2").ravel())}
    made.tree["meshes"] = [{"primitives": [primitive]}]
    made.tree |= more or {}
    return made


def read(tmp_path, data, name="room.glb"):
    path = tmp_path / name
    path.write_bytes(data)
    return gltf.read_gltf(path)


def stacked(vertices, names=RGB):
    return np.stack([vertices.columns[name] for name in names], axis=1)


def test_a_mesh_with_colours(tmp_path):
    vertices = read(tmp_path, glb_of(POINTS, COLORS, FACES))
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    np.testing.assert_array_equal(stacked(vertices), COLORS)
    np.testing.assert_array_equal(vertices.faces, FACES)
    assert (vertices.up, vertices.unit, vertices.told) == ("y", "m", ())
    scan = read_scan(tmp_path / "room.glb")
    np.testing.assert_array_equal(scan.points, POINTS)  # as they are in the file
    np.testing.assert_array_equal(scan.colors, COLORS)


def test_points_without_faces(tmp_path):
    vertices = read(tmp_path, glb_of(POINTS, COLORS))
    assert vertices.faces is None
    np.testing.assert_array_equal(stacked(vertices), COLORS)


@pytest.mark.parametrize(
    ("values", "normalized"),
    [
        (COLORS.astype("u2") * np.uint16(257), True),
        ((COLORS / 255).astype("f4"), False),
        (COLORS, False),  # not marked, as some programs write it
    ],
)
def test_colours_of_any_type(tmp_path, values, normalized):
    made = Gltf(nodes=[{"mesh": 0}])
    attributes = {"POSITION": made.add(POINTS, stride=20), "COLOR_0": made.add(values, normalized)}
    made.tree["meshes"] = [{"primitives": [{"attributes": attributes}]}]
    vertices = read(tmp_path, made.glb())
    np.testing.assert_array_equal(stacked(vertices), COLORS)
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    np.testing.assert_array_equal(vertices.faces, FACES)  # without indices every three vertices are a triangle


def test_nodes_place_their_meshes_in_their_order(tmp_path):
    """A quarter turn about y, (x, y, z) -> (z, y, -x), twice as large and shifted, under a node that shifts again."""
    half = float(np.sqrt(0.5))
    made = Gltf(scenes=[{"nodes": [1, 0]}])
    made.tree["nodes"] = [
        {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 7, 1]},
        {"translation": [100, 0, 0], "children": [3, 2]},
        {"mesh": 0},
        {"mesh": 1, "rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [1, 2, 3]},
    ]
    colors = made.add(COLORS, normalized=True)
    other = made.add(COLORS[::-1], normalized=True)
    made.tree["meshes"] = [
        {"primitives": [{"attributes": {"POSITION": made.add(POINTS), "COLOR_0": colors}}]},
        {"primitives": [{"attributes": {"POSITION": made.add(POINTS + 1), "COLOR_0": other}}]},
    ]
    vertices = read(tmp_path, made.glb())
    x, y, z = (POINTS.astype("f8") + 1).T
    turned = 2 * np.stack([z, y, -x], axis=1) + [101, 2, 3]
    expected = np.concatenate([turned, POINTS + [100.0, 0, 0], POINTS + [0.0, 0, 7]])
    np.testing.assert_allclose(stacked(vertices, "xyz"), expected, atol=1e-5)
    np.testing.assert_array_equal(stacked(vertices), np.concatenate([COLORS[::-1], COLORS, COLORS]))
    np.testing.assert_array_equal(vertices.faces, np.concatenate([FACES, FACES + 12, FACES + 24]))
    assert vertices.told == ("its 3 meshes are one scan, in the order of the file",)


def test_primitives_that_share_their_vertices_do_so_here(tmp_path):
    made = textured()
    first = made.tree["meshes"][0]["primitives"][0]
    made.tree["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0.5, 1]}})
    made.tree["meshes"][0]["primitives"] = [
        {**first, "indices": made.add(np.array([0, 1, 2], "u1"))},
        {**first, "indices": made.add(np.array([3, 4, 5], "u1")), "material": 1},
    ]
    vertices = read(tmp_path, made.glb())
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    np.testing.assert_array_equal(vertices.faces, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(stacked(vertices)[:3], SAMPLED[:3])
    np.testing.assert_array_equal(stacked(vertices)[3:6], [[255, 0, 188]] * 3)  # linear 0.5 is 188 on a screen
    np.testing.assert_array_equal(stacked(vertices)[6:], 128)
    assert any("6 of its 12 vertices have no colour" in sentence for sentence in vertices.told)


def test_strips_and_fans(tmp_path):
    made = Gltf(nodes=[{"mesh": 0}, {"mesh": 1}])
    attributes = {"POSITION": made.add(POINTS)}
    indices = made.add(np.arange(5, dtype="u1"))
    made.tree["meshes"] = [
        {"primitives": [{"attributes": attributes, "indices": indices, "mode": mode}]} for mode in (5, 6)
    ]
    faces = read(tmp_path, made.glb()).faces
    np.testing.assert_array_equal(faces[:3], [[0, 1, 2], [3, 2, 1], [2, 3, 4]])
    np.testing.assert_array_equal(faces[3:] - 12, [[0, 1, 2], [0, 2, 3], [0, 3, 4]])


# --- textures


@pytest.mark.parametrize("uv", [UV, (np.rint(UV * 65535).astype("u2"), True), (np.rint(UV * 255).astype("u1"), True)])
def test_a_texture_is_sampled_at_the_vertices(tmp_path, uv):
    np.testing.assert_array_equal(stacked(read(tmp_path, textured(uv).glb())), SAMPLED)


def test_a_texture_beside_a_gltf_file_and_in_it(tmp_path):
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    np.testing.assert_array_equal(stacked(read(tmp_path, textured(image={"uri": uri}).glb())), SAMPLED)
    (tmp_path / "room.glb").unlink()
    made = textured(image={"uri": "my%20room.png"})
    (tmp_path / "my room.png").write_bytes(picture())
    (tmp_path / "room.bin").write_bytes(made.binary)
    vertices = read(tmp_path, made.gltf("room.bin"), "room.gltf")
    np.testing.assert_array_equal(stacked(vertices), SAMPLED)
    np.testing.assert_array_equal(stacked(vertices, "xyz"), POINTS)
    assert companions(tmp_path / "room.gltf") == [tmp_path / "my room.png", tmp_path / "room.bin"]
    assert own.scene_files(tmp_path, "room") == [tmp_path / f for f in ("room.gltf", "my room.png", "room.bin")]


@pytest.mark.parametrize(
    ("sampler", "beyond"),
    [
        ({}, UV + [1, -2]),
        ({"wrapS": 33071, "wrapT": 33071}, None),
        ({"wrapS": 33648, "wrapT": 33648}, [2, 0] - UV * [1, -1]),
    ],
)
def test_what_lies_beyond_the_edges(tmp_path, sampler, beyond):
    made = textured(more={"samplers": [sampler]}, uv=(UV if beyond is None else beyond).astype("f4"))
    made.tree["textures"][0]["sampler"] = 0
    np.testing.assert_array_equal(stacked(read(tmp_path, made.glb())), SAMPLED)
    if beyond is None:  # clamped: far out is the last pixel
        made = textured(more={"samplers": [sampler]}, uv=np.full_like(UV, 9))
        made.tree["textures"][0]["sampler"] = 0
        np.testing.assert_array_equal(stacked(read(tmp_path, made.glb())), [PIXELS[-1, -1]] * 12)


def test_a_texture_ends_with_its_last_pixel(tmp_path):
    vertices = read(tmp_path, textured(uv=np.ones_like(UV)).glb())
    np.testing.assert_array_equal(stacked(vertices), [PIXELS[-1, -1]] * 12)


def test_a_transformed_texture_and_a_second_set_of_coordinates(tmp_path):
    """Turned by a quarter: (u, v) -> (v, -u), then shifted."""
    transform = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [1, 1], "texCoord": 1}
    texture = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    material = {"pbrMetallicRoughness": {"baseColorTexture": texture}}
    uv = np.stack([1 - UV[:, 1], UV[:, 0]], axis=1)  # which that turns back into UV
    made = textured(np.zeros_like(UV), material, TEXCOORD_1=uv)
    np.testing.assert_array_equal(stacked(read(tmp_path, made.glb())), SAMPLED)


def test_a_texture_goes_before_colours_and_its_factor_is_told(tmp_path):
    surface = {"baseColorTexture": {"index": 0}, "baseColorFactor": [0.5, 1, 1, 1]}
    made = textured(material={"pbrMetallicRoughness": surface}, COLOR_0=(COLORS, True))
    vertices = read(tmp_path, made.glb())
    np.testing.assert_array_equal(stacked(vertices), SAMPLED)
    assert len(vertices.told) == 2


def test_old_materials(tmp_path):
    surface = {"extensions": {gltf.GLOSSINESS: {"diffuseTexture": {"index": 0}}}}
    np.testing.assert_array_equal(stacked(read(tmp_path, textured(material=surface).glb())), SAMPLED)


@pytest.mark.parametrize(
    "uri", ["missing.png", "../secret.png", "/etc/secret.png", "http://127.0.0.1:9/x.png", "file:///x.png", "link.png"]
)
def test_pictures_that_are_not_in_the_folder_are_told(tmp_path, uri):
    (tmp_path / "secret.png").write_bytes(picture())
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    vertices = read(folder, textured(image={"uri": uri}).glb())
    assert "red" not in vertices.columns
    assert "not in its folder" in vertices.told[0]
    with pytest.warns(UserWarning, match="no colours"):
        read_scan(folder / "room.glb")


def test_a_picture_that_is_none_and_one_too_large_are_refused(tmp_path):
    with pytest.raises(OtocError, match="room.glb, picture 0: no picture, or damaged"):
        read(tmp_path, textured(image={"uri": "data:image/png;base64,aGVsbG8="}).glb())
    huge = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(huge, "PNG")
    made = textured()
    made.tree["images"] = [{"bufferView": made.view(huge.getvalue())}]
    with pytest.raises(OtocError, match="million pixels; export the scan with a texture of at most 8192"):
        read(tmp_path, made.glb())
    with pytest.raises(OtocError, match="picture 0: no picture"):  # a kind that Pillow runs a program for
        read(
            tmp_path, textured(image={"uri": "data:;base64," + base64.b64encode(b"%!PS-Adobe-3.0 EPSF").decode()}).glb()
        )


# --- what is refused


def changed(change, made=None):
    made = made or textured()
    change(made.tree)
    return made.glb()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(extensionsRequired=["KHR_draco_mesh_compression"]), "compressed"),
        (lambda t: t["meshes"][0]["primitives"][0].update(extensions={"KHR_draco_mesh_compression": {}}), "compressed"),
        (lambda t: t["bufferViews"][0].update(extensions={"EXT_meshopt_compression": {}}), "compressed"),
        (lambda t: t.update(extensionsRequired=["MY_own"]), "needs the extension 'MY_own'"),
        (lambda t: t["asset"].update(version="1.0"), "export it as glTF 2.0"),
        (lambda t: t["accessors"][0].update(sparse={}), "sparse"),
        (lambda t: t["accessors"][0].update(count=10**9), "places 1000000000 points"),
        (lambda t: t["accessors"][0].update(count=99), "99 elements that its buffer does not hold"),
        (lambda t: t["accessors"][0].update(count=-1), "is no count"),
        (lambda t: t["accessors"][0].update(type="VEC9"), "damaged glTF"),
        (lambda t: t["accessors"][0].update(componentType=5126.5), "damaged glTF"),
        (lambda t: t["bufferViews"][0].update(byteLength=10**12), "ends before byte"),
        (lambda t: t["bufferViews"][0].update(byteStride=1), "does not hold"),
        (lambda t: t["bufferViews"][0].update(buffer=1), "damaged glTF"),
        (lambda t: t["meshes"][0]["primitives"][0].update(indices=0), "names vertex"),
        (lambda t: t["meshes"][0]["primitives"][0].update(mode=9), "no kind of primitive"),
        (lambda t: t["nodes"][0].update(children=[0]), "node 0 has two places"),
        (lambda t: t["nodes"][0].update(mesh="0"), "is no index"),
        (lambda t: t["nodes"][0].update(mesh=-1), "is no index"),
        (lambda t: t["nodes"][0].update(matrix=[1, 2]), "damaged glTF"),
        (lambda t: t["nodes"].clear(), "damaged glTF"),
        (lambda t: t.update(nodes=[], scenes=[], meshes=[]), "holds no mesh"),
        (lambda t: t.update(meshes=7), "damaged glTF"),
        (lambda t: t.update(asset=[]), "no glTF 2.0 file"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, words):
    with pytest.raises(OtocError, match="room.glb") as error:
        read(tmp_path, changed(change))
    assert words in str(error.value)


def test_other_faults_of_whole_files(tmp_path):
    whole = textured().glb()
    for data, words in (
        (whole[:-1], "truncated"),
        (b"glTG" + whole[4:], "not a GLB file"),
        (whole[:4] + b"\1\0\0\0" + whole[8:], "version 1"),
        (whole[:12] + b"\xff\xff\0\0" + whole[16:], "truncated"),
        (whole[:16] + b"XXXX" + whole[20:], "without its JSON"),
        (b"", "not a GLB"),
    ):
        with pytest.raises(OtocError, match="room.glb: .*" + words):
            read(tmp_path, data)
    with pytest.raises(OtocError, match="room.gltf"):
        read(tmp_path, b"\xff\xfe{}", "room.gltf")
    with pytest.raises(OtocError, match="room.gltf: damaged"):
        read(tmp_path, b"[" * 100_000, "room.gltf")


@pytest.mark.parametrize("uri", ["missing.bin", "../secret.bin", "http://127.0.0.1:9/x.bin"])
def test_buffers_are_read_beside_the_file_alone(tmp_path, uri):
    folder = tmp_path / "scans"
    folder.mkdir()
    made = textured()
    (tmp_path / "secret.bin").write_bytes(made.binary)
    with pytest.raises(OtocError, match="room.gltf: its points are in .*, which is not in its folder"):
        read(folder, made.gltf(uri), "room.gltf")


def test_a_mesh_placed_again_and_again_is_refused(tmp_path):
    made = Gltf(nodes=[{"mesh": 0} for _ in range(20_000)])
    made.tree["meshes"] = [{"primitives": [{"attributes": {"POSITION": made.add(np.zeros((5000, 3), "f4"))}}]}]
    with warnings.catch_warnings(), pytest.raises(OtocError, match="places 100000000 points, too many"):
        read(tmp_path, made.glb())


def test_json_that_is_no_gltf(tmp_path):
    for value in ([], 1, None, {"asset": {"version": None}}):
        with pytest.raises(OtocError, match="room.gltf"):
            read(tmp_path, json.dumps(value).encode(), "room.gltf")
