"""Imports point one way: what stands lower in the list never imports what stands higher, and none go in a circle."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# From the bottom to the top; parts on one line may not import each other.
LAYERS = (
    ("errors", "labels", "spacing", "jit", "vector_code", "one_thread", "processes", "tiling", "on_demand"),
    ("files", "outside"),
    ("config", "csv_table", "scene", "palette", "lock", "torch_files"),
    ("device", "store", "evaluation", "supervoxels", "notebooks"),
    ("sparse", "datasets", "propagation", "calibration"),
    ("annotation", "models"),
    ("training",),
    ("methods",),
    ("tsne",),
    ("experiments", "progress"),
    ("current", "resources", "run"),
    ("reporting", "release"),
    ("predict",),
    ("__main__",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module):
    return module.split(".")[1] if "." in module else ""


def imports_of(path):
    """Modules that a file imports, wherever in it; those for type checkers alone are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:  # a module of a package, or a name in a module
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


FILES = {module_of(path): path for path in sorted((ROOT / "otoc_lib").rglob("*.py"))}
GRAPH = {
    module: {name for name in imports_of(path) if name in FILES and name != module} for module, path in FILES.items()
}


def test_every_part_has_its_place():
    assert {part_of(module) for module in FILES} - {""} == LEVEL.keys()


def test_imports_point_one_way():
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if part_of(module) and part_of(other) and part_of(module) != part_of(other)
        if LEVEL[part_of(other)] >= LEVEL[part_of(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_imports_go_in_a_circle():
    below = {module: set(others) for module, others in GRAPH.items()}
    while below:
        free = [module for module, others in below.items() if not others & below.keys()]
        assert free, f"these import each other: {', '.join(sorted(below))}"
        for module in free:
            del below[module]


def test_the_kit_never_needs_the_room_factory():
    for path in FILES.values():
        assert not [name for name in imports_of(path) if name.split(".")[0] in ("room_factory", "benchmarks", "tests")]
