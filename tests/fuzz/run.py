"""The long form of the fuzzing, ``make fuzz``: many changed files for every reader, new findings saved in corpus/.

Where atheris is installed it looks for changes that reach new code; else they are drawn blindly. Every reader is fuzzed
in a process of its own with little memory to spare: what kills or stops the process is a finding as well.
"""

import argparse
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import types
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random

from examine import Finding, examine, minimise, quiet
from mutations import LARGEST, mutate
from targets import TARGETS
from tqdm import tqdm

CORPUS = Path(__file__).parent / "corpus"
SPARE = 1 << 29  # bytes of address space that reading may take
DEATHS = 10  # of processes, after which a reader is given up
SILENT = 300  # seconds for one file; a reader that takes longer hangs
COVERED = ("otoc_lib.", "laspy.", "zipfile.", "csv.", "pickletools.", "torch._weights_only_unpickler.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all where none is named"
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="files for every reader (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the changes (default: %(default)s)")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    options = parser.parse_args()
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no reader is called {', '.join(sorted(unknown))}; they are {', '.join(TARGETS)}")
    guided = not options.blind and has_atheris()
    print("guided by coverage (atheris)" if guided else "without coverage: atheris is not installed, or not wanted")
    print(f"{'reader':20} {'inputs':>9} {'inputs/s':>9} {'findings':>9}")
    total = 0
    for name in options.targets or TARGETS:
        start = time.monotonic()
        inputs, findings = fuzz(name, options.inputs, options.seed, guided)
        pace = inputs / (time.monotonic() - start)
        print(f"{name:20} {inputs:9} {pace:9.0f} {len(findings):9}", flush=True)
        for path, finding in findings.items():
            print(f"  {path}: {finding.text.strip().splitlines()[-1][:200]}", flush=True)
        total += len(findings)
    return 1 if total else 0


def has_atheris() -> bool:
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def fuzz(name: str, inputs: int, seed: int, guided: bool) -> tuple[int, dict[Path, Finding]]:
    """Fuzz one reader, in processes that follow each other where one dies.

    Returns how many files were read, and the findings by the files that they are saved as.
    """
    context = multiprocessing.get_context("spawn")
    done, found = context.Value("q", 0), context.Queue()
    findings: dict[Path, Finding] = {}
    deaths = 0
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder,
        tqdm(total=inputs, desc=name, unit="file", leave=False) as bar,
    ):
        while done.value < inputs and deaths < DEATHS:
            arguments = (name, inputs, f"{seed}-{name}-{done.value}", guided, Path(folder), done, found)
            worker = context.Process(target=work, args=arguments)
            worker.start()
            moved = time.monotonic()
            while worker.is_alive():
                worker.join(0.5)
                if done.value > bar.n:
                    moved = time.monotonic()
                bar.update(done.value - bar.n)
                while not found.empty():
                    save(name, *found.get(), findings)
                if time.monotonic() - moved > SILENT:
                    worker.kill()
            while not found.empty():
                save(name, *found.get(), findings)
            if worker.exitcode and done.value < inputs:  # else it fell over on its way out
                kind = "hangs" if worker.exitcode == -9 else "dies"
                last = Path(folder) / "last"
                if not last.exists():
                    raise RuntimeError(f"{name}: the process ended with {worker.exitcode} before it read a file")
                save(name, Finding(kind, f"the process ended with {worker.exitcode}"), last.read_bytes(), findings)
                done.value += 1
                deaths += 1
    return done.value, findings


def save(name: str, finding: Finding, data: bytes, findings: dict[Path, Finding]) -> None:
    path = CORPUS / name / f"{finding.kind}_{hashlib.sha256(data).hexdigest()[:6]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    findings[path] = finding


def work(
    name: str, inputs: int, seed: str, guided: bool, folder: Path, done: Synchronized, found: multiprocessing.Queue
) -> None:
    """Read changed files until ``done`` has come to ``inputs``, in a process that ends here."""
    read, seeds = TARGETS[name].read, TARGETS[name].seeds()
    if (CORPUS / name).is_dir():
        seeds += [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    place = folder / "files"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    kinds = set()

    def one(data: bytes) -> None:
        if done.value >= inputs:
            return
        (folder / "last").write_bytes(data)
        finding = examine(read, place, data)
        done.value += 1
        if finding is not None and finding.kind not in kinds:
            kinds.add(finding.kind)

            def breaks(shorter: bytes) -> bool:
                again = examine(read, place, shorter)
                return again is not None and again.kind == finding.kind

            found.put((finding, minimise(data, breaks)))

    for data in TARGETS[name].seeds():
        read(place, data)  # compiles what is compiled
    limited = limit_memory()
    with quiet(measured=not limited):
        if guided:
            fuzz_guided(one, seeds, inputs - done.value, Random(seed).getrandbits(31), folder)
        else:
            random = Random(seed)
            for data in seeds:
                one(data)
            while done.value < inputs:
                one(mutate(random.choice(seeds), random, seeds))
    found.close()
    found.join_thread()


def limit_memory() -> bool:
    """Let allocations by what a file claims fail, whoever makes them, where the system can: on Linux."""
    if sys.platform != "linux":
        return False
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE, resource.RLIM_INFINITY))
    return True


def fuzz_guided(one, seeds: list[bytes], inputs: int, seed: int, folder: Path) -> None:
    """Let atheris choose the files; half of its changes are ours."""
    import atheris

    for module in [module for name, module in sys.modules.items() if f"{name}.".startswith(COVERED)]:
        for value in list(vars(module).values()):
            functions = vars(value).values() if isinstance(value, type) else (value,)
            for function in functions:
                if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
                    atheris.instrument_func(function)

    def change(data: bytes, size: int, number: int) -> bytes:
        random = Random(number)
        return atheris.Mutate(data, size) if random.random() < 0.5 else mutate(data, random, seeds)[:size]

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(data)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    arguments = [f"-runs={inputs}", f"-seed={seed or 1}", f"-max_len={LARGEST}", f"-artifact_prefix={folder}/"]
    atheris.Setup(
        ["fuzz", *arguments, "-rss_limit_mb=0", f"-timeout={SILENT}", str(corpus)], one, custom_mutator=change
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
