"""The benchmarks run, say what they should, and are collected into one file; what they measure is not judged here."""

import importlib.util
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from llvmlite.binding import get_host_cpu_features
from tiny import tiny_config

from otoc_lib.annotation.clicks import simulate_clicks, spoil_clicks
from otoc_lib.methods import second_look
from otoc_lib.methods.stages import Scenes

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def start(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables(markdown: str) -> list[list[list[str]]]:
    """Cells of every table: a list of rows, the first is the header; checks that all rows are as long."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        assert set("".join(rows.pop(1))) == {"-"}
        assert {len(row) for row in rows} == {len(rows[0])}
        found.append(rows)
    return found


# --- each benchmark ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", load("run").BENCHMARKS)
def test_quick_run_prints_a_title_and_tables(line):
    name, *flags = line.split()
    done = start(BENCHMARKS / f"{name}.py", *flags, "--quick")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## ")
    assert not re.search(r"\b(nan|inf)\b", done.stdout)
    assert all(len(rows) > 1 for rows in tables(done.stdout)) and tables(done.stdout)


# --- another set of instructions --------------------------------------------------------------------------------------


@pytest.fixture
def sparse_conv(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return load("sparse_conv")


needs_avx2 = pytest.mark.skipif(not get_host_cpu_features().get("avx2"), reason="needs AVX2")


@needs_avx2
def test_avx512_is_hidden_from_numba_and_torch(sparse_conv):
    program = (
        "import torch; from otoc_lib.vector_code import VECTOR_BYTES\n"
        "print(VECTOR_BYTES, torch.backends.cpu.get_cpu_capability())"
    )
    environment = os.environ | sparse_conv.without_avx512()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["32", "AVX2"], done.stderr


@needs_avx2
def test_the_benchmark_starts_itself_anew_to_hide_instructions(sparse_conv, monkeypatch):
    class StartedAnew(Exception):
        pass

    def execve(program, command, environment):
        assert program == sys.executable and command == sys.orig_argv
        raise StartedAnew(environment)

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(StartedAnew) as started:
        sparse_conv.main(["--quick", "--instructions", "avx2"])
    (environment,) = started.value.args
    assert environment == os.environ | sparse_conv.without_avx512()


def test_without_avx2_its_targets_are_not_measured(sparse_conv, monkeypatch, capsys):
    monkeypatch.setattr(sparse_conv.llvmlite.binding, "get_host_cpu_features", dict)
    sparse_conv.main(["--instructions", "avx2"])
    rows = load("run").target_rows(capsys.readouterr().out)
    assert len(rows) == 2 and all("with AVX2" in row and row.endswith("| not measured |") for row in rows)


# --- the rehearsal ----------------------------------------------------------------------------------------------------


def test_the_rehearsal_measures_every_part_and_extrapolates_to_the_papers_schedule(tmp_path):
    folder = tmp_path / "files"
    done = start(BENCHMARKS / "rehearsal.py", "--quick", "--doctor", "--folder", folder, timeout=900)  # 13 processes
    assert done.returncode == 0, done.stderr
    assert not folder.exists()
    assert done.stdout.startswith("## ") and not re.search(r"\b(nan|inf)\b", done.stdout)
    (head, *parts), (_, *kinds) = tables(done.stdout)
    stages = ["clicks", "unet_1", "relation_1", "evaluate_1", "pseudo_1", "unet_2", "relation_2", "evaluate_2"]
    assert [row[0] for row in parts] == ["prepare", *stages, "tsne", "report", "status", "doctor"]
    assert all(0 < float(row[2]) for row in parts) and {len(row) for row in parts} == {len(head)}
    assert all(row[4] == "not measured" or float(row[4]) > 50 for row in parts)  # Python and torch alone take that
    by_kind = {row[0]: row for row in kinds}
    assert by_kind["unet"][1] == "460800 steps in 5 stages" and by_kind["relation"][1] == "614400 steps in 5 stages"
    for kind, row in by_kind.items():
        if kind in ("unet", "relation"):
            assert float(row[3]) == pytest.approx(int(row[1].split()[0]) * float(row[2]) / 3600, rel=0.02)


def test_an_interrupted_rehearsal_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("PYTHONPATH", "")
    rehearsal, measured, folder = load("rehearsal"), [], tmp_path / "files"

    def measure(part, command, folder, interval):
        measured.append(part)
        if part == "unet_1" and measured.count(part) == 1:
            raise KeyboardInterrupt
        return rehearsal.Measured(part, 1.0, 1.0, 0.0, None, None, 0.0, 0)

    monkeypatch.setattr(rehearsal, "measure", measure)
    monkeypatch.setattr(rehearsal, "print_extrapolated", lambda found, steps: None)
    arguments = ["--quick", "--scenes", "4", "--folder", str(folder)]
    with pytest.raises(KeyboardInterrupt):
        rehearsal.main(arguments)
    scans = folder / "data" / "scans"
    rooms = sorted(path.name for path in scans.iterdir())
    assert len(rooms) == 6 and all(len(list((scans / room).iterdir())) == 4 for room in rooms)
    rehearsal.main(arguments)
    assert measured[:4] == ["prepare", "clicks", "unet_1", "unet_1"] and measured.count("clicks") == 1
    assert measured[-1] == "status" and not folder.exists()


@pytest.mark.parametrize("scenes", [3, 1202])
def test_the_rehearsal_has_no_more_rooms_than_scannet(scenes):
    done = start(BENCHMARKS / "rehearsal.py", "--scenes", scenes)
    assert done.returncode == 2 and "from 4 to 1201" in done.stderr


# --- doubted clicks ---------------------------------------------------------------------------------------------------


def test_clicks_are_looked_at_again_and_everything_is_trained_anew(rooms, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench = load("doubted_clicks")
    monkeypatch.setattr(second_look, "SHARE", 1)  # a quarter of the steps is too few here
    names = {"unet_steps": 60, "unet_steps_later": 2, "self_train_iterations": 2, "variant": "unet_gp"}
    config = tiny_config(clicks_wrong=0.4, runs_root=str(tmp_path), eval_splits=["val"], **names)
    scenes = Scenes(rooms[:3], {"val": rooms[3:]})
    found = {(arm, 0): bench.looked_at(arm, config, scenes) for arm in bench.ARMS}

    right = {room.name: simulate_clicks(room, 1, seed=0) for room in rooms[:3]}
    spoilt = {name: spoil_clicks(room, right[name], 0.4, 0, seed=0) for name, room in zip(right, rooms, strict=False)}
    by_point = {
        side: {
            (name, point): label
            for name, made in clicks.items()
            for point, label in zip(made.points, made.classes, strict=True)
        }
        for side, clicks in {
            "right": right,
            "given": spoilt,
            **{arm: found[arm, 0][0].clicks for arm in bench.ARMS},
        }.items()
    }
    total = {(said.total, said.wrong) for said, _ in found.values()}
    assert total == {
        (len(by_point["right"]), sum(by_point["given"][c] != by_point["right"][c] for c in by_point["right"]))
    }
    for arm in ("drawn", "contradicted"):  # who looks at a click says the truth; no other click changes
        changed = {click for click, label in by_point["given"].items() if by_point[arm][click] != label}
        assert len(changed) == found[arm, 0][0].found and all(by_point[arm][c] == by_point["right"][c] for c in changed)
    kept = by_point["left out"]  # those that are contradicted by far, of all that are contradicted
    assert kept.items() <= by_point["given"].items()
    assert found["left out", 0][0].looked == len(by_point["given"]) - len(kept) > 0
    contradicted = found["contradicted", 0][0]
    assert found["drawn", 0][0].looked == contradicted.looked >= found["left out", 0][0].looked
    assert contradicted.found >= found["left out", 0][0].found > 0

    steps, *shares, first_tenth, first_fifth, auc = bench.early(1, config, scenes)  # the same network
    counted = (contradicted.looked / contradicted.total, contradicted.found / contradicted.looked)
    counted += (contradicted.found / contradicted.wrong,)
    assert steps == 60 and shares == pytest.approx([100 * share for share in counted])
    assert 0 <= first_tenth <= first_fifth <= 100 and 0.5 < auc <= 1
    capsys.readouterr()
    bench.print_early({1: [[60, 40, 20, 90, 10, 30, 0.8], [60, 20, 40, 80, 30, 50, 0.9]]})
    assert tables(capsys.readouterr().out)[0][1] == ["60", "30", "30", "85", "20", "40", "0.850"]

    bench.print_tables(found, [0])
    clicks, scores = tables(capsys.readouterr().out)
    assert clicks[1][:3] == ["0", *map(str, total.pop())] and len(scores) == 1 + 4 * 4
    by_row = {tuple(row[:3]): (float(row[3]), row[5]) for row in scores[1:]}
    for control, arm in (("given", "left out"), ("drawn", "contradicted")):
        (score, gain), (other, _) = (by_row[bench.ARMS[name], "last", "U-Net alone"] for name in (arm, control))
        assert gain.startswith(bench.ARMS[control])
        assert float(gain.split(": ")[1]) == pytest.approx(score - other, abs=0.11)


# --- the GPU table, on the CPU ----------------------------------------------------------------------------------------


def test_gpu_script_gives_every_table_on_the_cpu(tmp_path):
    done = start(BENCHMARKS / "gpu.py", "--device", "cpu", "--quick", "--price", "2", "--out", tmp_path / "gpu.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "gpu.md").read_text() == done.stdout

    headings = re.findall(r"^### (.*)$", done.stdout, flags=re.MULTILINE)
    assert headings == [*load("gpu").PARTS, "Targets"]
    assert "Failed" not in done.stdout and not re.search(r"\b(nan|inf)\b", done.stdout)
    equality, steps, mean_field, operators, waits, *precision, bits, targets = tables(done.stdout)
    assert all(0 < float(number) < 1e-4 for row in equality[1:] for number in row[1:])

    assert [row[:2] for row in steps[1:]] == [
        [backend, precision] for precision in ("float32", "bfloat16", "float16") for backend in ("auto", "torch")
    ]
    for row in steps[1:]:
        milliseconds, rate, memory = float(row[2]), float(row[3]), row[4]
        unet_hours, hours, cost = map(float, row[-3:])
        assert memory == "not measured"
        assert rate == pytest.approx(6000 / milliseconds * 1000, rel=0.05)
        assert hours == pytest.approx(1_075_200 * milliseconds / 3.6e6, rel=0.02, abs=0.1)
        assert unet_hours < hours and cost == pytest.approx(2 * hours, abs=1)

    measured = {(row[0], row[1]): row[2] for row in mean_field[1:]}
    assert {path for _, path in measured} == {"dense", "chunked", "triton"}
    assert all(math.isfinite(float(value)) for (_, path), value in measured.items() if path != "triton")
    assert len(operators) > 5 and len(waits) == 6
    assert all([row[0] for row in rows] == ["precision", "float32", "bfloat16"] for rows in precision)
    assert [(row[0], row[2]) for row in bits[1:]] == [("false", "yes"), ("true", "yes")]
    assert {row[2] for row in targets[1:]} <= {"yes", "not measured"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without CUDA")
def test_gpu_script_trains_and_judges_rooms(rooms, tmp_path):
    """Where the rooms are not unpacked, as on a clean checkout, its table is not reached."""
    gpu, config = load("gpu"), tiny_config(device="cpu")
    untrained, trained = (gpu.train_and_judge(config, rooms[:2], rooms[2:], n, tmp_path / f"{n}") for n in (1, 40))
    assert 0 <= untrained < trained <= 1


@pytest.mark.slow
def test_gpu_script_times_the_steps_of_several_processes():
    gpu = load("gpu")
    bench = gpu.Bench(torch.device("cpu"), quick=True, price=None, file=None)
    assert 0 < gpu.shared_step(bench, 2, 4, 5) < 60


def test_gpu_script_says_that_it_needs_cuda():
    done = start(BENCHMARKS / "gpu.py")
    assert done.returncode == 2 and done.stdout == ""
    assert "needs a CUDA GPU" in done.stderr


def test_a_side_that_cannot_run_is_reported_and_the_others_run(capsys):
    gpu = load("gpu")
    bench = gpu.Bench(torch.device("cpu"), quick=True, price=None, file=None, deadline=time.perf_counter() + 60)
    runs = []

    def too_large() -> None:
        runs.append("large")
        raise torch.OutOfMemoryError

    def wrong() -> None:
        raise RuntimeError("no such | kernel\nand so on")

    work = {"large": too_large, "wrong": wrong, "small": lambda: runs.append("small")}
    sides = gpu.take_turns(bench, work, rounds=2, block=2)
    assert sides["large"].failure == "out of memory" and not sides["large"].seconds
    assert sides["wrong"].failure == "**failed**: RuntimeError: no such / kernel" and bench.broken == ["wrong"]
    assert sides["small"].failure is None and len(sides["small"].seconds) == 4
    assert runs == ["large"] + ["small"] * 6  # one uncounted run leads every block

    bench.deadline = time.perf_counter() - 1
    late = gpu.take_turns(bench, {"late": runs.clear}, rounds=1, block=1)["late"]
    assert "time was spent" in late.failure and len(runs) == 7


def test_mean_field_oracle_agrees_with_its_definition_pair_by_pair():
    gpu = load("gpu")
    unary, blocks = gpu.simulated_graph(6)
    centred = [block - block.mean(0) for block in blocks]
    scaled = [1.5 * c / (sum(float(row @ row) for row in c) / 6) ** 0.5 for c in centred]
    apart = [[sum(float((s[i] - s[j]).square().sum()) for s in scaled) for j in range(6)] for i in range(6)]
    kernel = [[math.exp(-0.5 * apart[i][j]) * (i != j) for j in range(6)] for i in range(6)]
    mean_row = sum(map(sum, kernel)) / 6
    q = unary.clone()
    for _ in range(3):
        fields = [sum(2.0 / mean_row * kernel[i][j] * q[j] for j in range(6)) for i in range(6)]
        q = torch.stack([torch.softmax(unary[i].log() + fields[i], dim=0) for i in range(6)])
    torch.testing.assert_close(gpu.mean_field_oracle(unary, blocks, 1.5, 2.0, 3), q, rtol=0, atol=1e-12)


# --- all in one file --------------------------------------------------------------------------------------------------

GOOD = """
print("## A title\\n\\n| size | ms |\\n|---|---|\\n| 5 | 0.1 |\\n")
print("| target | measured | met |\\n|---|---|---|\\n| at least 2x | 3.1x | yes |\\n| at most 1 s | 4 s | no |")
"""
BAD = """
import sys
print("half a table")
sys.exit("it broke here")
"""


def test_results_hold_every_benchmark_and_the_status_tells_of_failures(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    out = tmp_path / "RESULTS.md"
    done = start(BENCHMARKS / "run.py", tmp_path / "bad.py", tmp_path / "good.py", "--out", out)
    assert done.returncode == 1 and done.stdout == ""
    assert "[1/2] bad.py ... FAILED" in done.stderr and "[2/2] good.py ... done" in done.stderr

    text = out.read_text()
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == ["Targets", "bad", "A title"]
    assert f"torch {torch.__version__}" in text and f"Python {sys.version.split()[0]}" in text
    summary, sizes, own = tables(text)
    assert summary == [
        ["benchmark", "target", "measured", "met"],
        ["good", "at least 2x", "3.1x", "yes"],
        ["good", "at most 1 s", "4 s", "no"],
        ["bad", "", "", "failed"],
    ]
    assert sizes == [["size", "ms"], ["5", "0.1"]] and len(own) == 3
    assert "**Failed** (exit status 1)" in text and "half a table\nit broke here" in text
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_benchmark_that_hangs_is_given_up(tmp_path):
    script = tmp_path / "hangs.py"
    script.write_text("import time\nprint('so far', flush=True)\ntime.sleep(60)\n")
    section = load("run").run_benchmark(script, [], seconds=1)
    assert section.failed and "given up after 1 s" in section.text and "so far" in section.text


def test_a_benchmark_that_prints_nothing_has_failed(tmp_path):
    script = tmp_path / "silent.py"
    script.write_text("")
    assert load("run").run_benchmark(script, [], seconds=60).failed


def test_every_benchmark_is_among_those_that_are_run():
    alone = {"gpu", "rehearsal", "doubted_clicks"}  # where there is one; half an hour; two hours
    found = {path.stem for path in BENCHMARKS.glob("*.py")} - {"run", "timing"} - alone
    assert found == {line.split()[0] for line in load("run").BENCHMARKS}


def test_a_benchmark_is_run_with_the_options_of_its_line(tmp_path, monkeypatch):
    run = load("run")
    (tmp_path / "says.py").write_text("import sys\nprint(f'## {sys.argv[1:]}')\n")
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    monkeypatch.setattr(run, "BENCHMARKS", ("says", "says --instructions avx2"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run.main(["--quick", "--out", str(tmp_path / "out.md")]) == 0
    headings = re.findall(r"^## (.*)$", (tmp_path / "out.md").read_text(), flags=re.MULTILINE)
    assert headings == ["['--quick']", "['--instructions', 'avx2', '--quick']", "GPU"]


def test_only_the_last_table_of_targets_counts():
    rows = load("run").target_rows
    head = "| target | measured | met |\n|---|---|---|\n"
    assert rows("## Title\n\n| a |\n|---|\n| 1 |\n") == []
    assert rows(f"{head}| old | 1 | yes |\n\n{head}| new | 2 | no |\n\nwords\n| a |\n") == ["| new | 2 | no |"]


@pytest.mark.parametrize("arguments", [["--quick"], [BENCHMARKS / "cache.py"]])
def test_a_partial_run_never_replaces_the_results(arguments):
    done = start(BENCHMARKS / "run.py", *arguments)
    assert done.returncode == 2 and "--out" in done.stderr


def test_without_a_gpu_the_results_say_what_was_measured_elsewhere_and_when(tmp_path, monkeypatch):
    run = load("run")
    monkeypatch.setattr(run, "BENCHMARKS", ())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run.main(["--out", str(tmp_path / "out.md")]) == 0
    text = (tmp_path / "out.md").read_text()
    assert "Not measured on this machine" in text and text.endswith((BENCHMARKS / "gpu.md").read_text())
    assert re.search(r"^\d{4}-\d\d-\d\d, `gpu.py.*one NVIDIA", run.ELSEWHERE.read_text())  # on which day, on what
