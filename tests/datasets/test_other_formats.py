from pathlib import Path

import pytest

from otoc_lib.datasets.other_formats import HOW, NO_SCANS, how_to_convert
from otoc_lib.datasets.point_files import FORMATS, read_scan
from otoc_lib.errors import OtocError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("room.usdz", "export it from the scanning app as .glb, .obj, .ply or .las"),
        ("room.RCP", "Autodesk ReCap and export it as .e57 or .pts"),
        ("room.rcs", "Autodesk ReCap"),
        ("room.fbx", "Blender and export it as .glb"),
        ("room.dae", "Blender and export it as .glb"),
        ("room.3ds", "Blender and export it as .glb"),
        ("room.blend", "export it from Blender as .glb"),
        ("room.skp", "export it from SketchUp as .glb or .obj"),
        ("room.step", "sample points on it in CloudCompare"),
        ("room.ifc", "sample points on it in CloudCompare"),
        ("room.ptx", "CloudCompare and save it as .ply, .las or .e57"),
        ("room.stl", "MeshLab"),
        ("room.fls", "from the scanner's program as .e57"),
        ("room.what", "convert it to .ply or .las"),
    ],
)
def test_every_other_format_is_refused_with_the_export_that_works(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(OtocError, match=name) as error:
        read_scan(tmp_path / name)
    assert words in str(error.value)
    assert words in how_to_convert(Path(name))


def test_no_format_is_read_and_refused():
    assert not set(FORMATS) & {*HOW, *NO_SCANS}


def test_what_is_advised_is_read():
    advised = {word.strip(",;") for how in HOW.values() for word in how.split() if word.startswith(".")}
    assert advised <= set(FORMATS)
