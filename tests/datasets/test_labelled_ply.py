from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_scan import CLASSES, COLORS, FACES, POINTS, TRUTH, load, write_ascii
from plyfile import PlyData
from safetensors.numpy import save_file

from otoc_lib.config import load_config
from otoc_lib.datasets import labelled_ply
from otoc_lib.datasets.point_files import read_scan
from otoc_lib.errors import OtocError
from otoc_lib.files import checksum
from otoc_lib.labels import IGNORE
from otoc_lib.store import Stage

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("offset", [0.0, 5_412_345.0])
def test_a_labelled_scan_has_the_vertices_of_the_input(tmp_path, offset):
    path = write_ascii(tmp_path / "room.ply", POINTS + offset)
    labels = TRUTH.astype(np.int16)
    labels[:5] = IGNORE
    confidence = np.linspace(0, 1, len(labels)).astype(np.float16)
    labelled_ply.export_labels(path, labels, confidence, CLASSES, tmp_path / "out" / "room.ply")
    ply = PlyData.read(str(tmp_path / "out" / "room.ply"))
    vertices = ply["vertex"].data
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=1), POINTS + offset)
    np.testing.assert_array_equal(vertices["label"], labels)
    np.testing.assert_array_equal(vertices["confidence"], confidence.astype(np.float32))
    for prefix, colors in (("", CLASSES.paint(labels)), ("scan_", COLORS)):
        written = np.stack([vertices[f"{prefix}{channel}"] for channel in ("red", "green", "blue")], axis=1)
        np.testing.assert_array_equal(written, colors)
    np.testing.assert_array_equal(np.stack(ply["face"]["vertex_indices"]), FACES)
    assert ply.comments == ["label 0 is floor", "label 1 is box", "label 2 is crate"]
    again = read_scan(tmp_path / "out" / "room.ply")
    np.testing.assert_array_equal(again.points, POINTS + offset)


def test_points_come_out_without_faces_and_without_confidence(tmp_path):
    np.savetxt(tmp_path / "room.xyz", np.concatenate([POINTS, COLORS], axis=1), fmt="%.3f")
    labelled_ply.export_labels(tmp_path / "room.xyz", TRUTH, None, CLASSES, tmp_path / "out.ply")
    ply = PlyData.read(str(tmp_path / "out.ply"))
    assert "face" not in ply and "confidence" not in ply["vertex"].data.dtype.names


def test_labels_of_another_scan_are_refused(tmp_path):
    path = write_ascii(tmp_path / "room.ply")
    with pytest.raises(OtocError, match="room.ply: has 3600 points, but there are labels for 3599"):
        labelled_ply.export_labels(path, TRUTH[1:], None, CLASSES, tmp_path / "out.ply")
    with pytest.raises(OtocError, match="label 3 is not one of the 3 classes"):
        labelled_ply.export_labels(path, TRUTH + 1, None, CLASSES, tmp_path / "out.ply")
    assert not (tmp_path / "out.ply").exists()


def test_a_run_is_exported_with_its_last_mode(tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    write_ascii(tmp_path / "data" / "own" / "room.ply")
    config = replace(load_config(ROOT / "params/own/example.yaml"), own_classes=list(CLASSES.names))
    scene, folder = load(tmp_path / "data" / "own"), tmp_path / "runs"
    with pytest.raises(OtocError, match="runs: has no room.safetensors; set eval_splits"):
        labelled_ply.export_run(config, [scene], Stage("evaluate_1", folder, "key", reused=False))
    folder.mkdir()
    modes = {"point": np.zeros_like(TRUTH, np.int16), "full": TRUTH.astype(np.int16)}
    save_file({**modes, "confidence": np.ones(len(TRUTH), np.float16)}, folder / "room.safetensors")
    files = {"room.safetensors": checksum(folder / "room.safetensors")}
    evaluation = Stage("evaluate_1", folder, "key", reused=False, files=files)
    (path,) = labelled_ply.export_run(config, [scene], evaluation)
    assert path == tmp_path / "reports" / "own" / "labelled" / "room.ply"
    np.testing.assert_array_equal(PlyData.read(str(path))["vertex"]["label"], TRUTH)
