import csv, sys, os, time
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import load_file
from several import train
from otoc_lib.training.launch import launch
from otoc_lib.errors import OtocError
TESTS = Path(__file__).parents[1]

@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "training"))))

def history(folder):
    with (folder / "history.csv").open() as f:
        return np.array([float(r["loss"]) for r in csv.DictReader(f)])

@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("task", ["CrossEntropy", "Contrast"])
def test_two(tmp_path, task, double):
    job = {"task": task, "double": double, "values": {"coarse_loss": 1, "class_weights": "inverse_sqrt"}}
    for n in ("one", "two"): (tmp_path / n).mkdir()
    train({**job, "folder": str(tmp_path / "one")})
    t = time.time()
    launch("several", {**job, "folder": str(tmp_path / "two")}, 2, "two", False)
    a, b = history(tmp_path / "one"), history(tmp_path / "two")
    print(time.time() - t, np.abs(a-b).max(), a[:3], a[-3:])
    x, y, z = (load_file(tmp_path / f) for f in ("one/state0", "two/state0", "two/state1"))
    print(max((x[n].double() - y[n].double()).abs().max() for n in x), all(torch.equal(y[n], z[n]) for n in y))
