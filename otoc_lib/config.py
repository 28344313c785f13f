"""Every experiment parameter in one line: its type, the paper's value, the stages that it belongs to, its range.

A params file is one flat YAML mapping of these names (papermill merges files shallowly, so sections would be lost); it
may extend one other file. An unknown name, a value of the wrong type or range, or a contradiction stops the run with
the file's name and what to write. A method may add parameters of its own: see ``Config``.
"""

import ast
import dataclasses
import difflib
import functools
import re
import sys
import types
import typing
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import yaml

from otoc_lib.errors import OtocError, plain_warning, shown
from otoc_lib.labels import NO_CLASS_NAME

# For ``like``: what text must match, and how that is said.
NAME = (r"[A-Za-z0-9_-]{1,100}", "up to 100 letters, digits, '_' and '-'")  # files and folders are called so
MOST_DEVICES = 1024  # processes that train one network
DEVICE = (r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", "auto, cpu, cuda, or cuda:1 and so on")

MOST_BYTES = 100_000  # of a params file; those of the kit have a thousand
MOST_ITEMS = 1000  # of a list
LONGEST_TEXT = 1000  # characters
LONGEST_PART = 200  # bytes between two "/": file systems take 255
UpAxis = Literal["auto", "z", "y", "x", "-z", "-y", "-x"]
Unit = Literal["auto", "m", "cm", "mm", "ft", "in"]
MOST_CLASSES = 255  # of own scans: a class travels as a byte
MOST_WEIGHTS = 1e9  # of the 3D U-Net; training needs sixteen bytes for each

YAML = "tag:yaml.org,2002:"
# Of what YAML takes for numbers: to it 010 is eight, 1:30 ninety, and 0x10 sixteen.
PLAIN_NUMBER = r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
PLAIN_TAGS = {YAML + kind for kind in ("null", "bool", "int", "float", "str")}

EXTENDS = "extends"  # the one name in a params file that is no parameter: a file whose lines come first


def param(
    default: Any = dataclasses.MISSING,
    groups: str = "",
    *,
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
    one_of: Callable[[], list[str]] | None = None,
    like: tuple[str, str] | None = None,
    added: bool = False,
) -> Any:
    """One parameter of ``Config``.

    Args:
        default: its value where no file names it; a parameter without one must be given. Lists are copied.
        groups: the groups of parameters that it is in, separated by blanks. A stage reads some groups (see ``View``):
            the values of all parameters in them make its key, and its work can read no other. ``g_first`` and
            ``g_later`` are read by what reads ``g``, in the first iteration and in later ones.
        above, low, high: it must be greater than, at least, at most this; for a list every item must. Every number has
            two of them: whatever lies between is safe to compute with, and beyond is a slip of the pen.
        one_of: gives the names that it can have.
        like: a regular expression that text must match, and what it asks for in words.
        added: it came after results had been made, and its default is what they were made with: a key names it only
            where it has another value, so that they stay current.
    """
    metadata: dict[str, Any] = {"groups": frozenset(groups.split()), "above": above, "low": low, "high": high}
    metadata |= {"one_of": one_of, "like": like, "added": added}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def modules(package: str, name: str) -> Callable[[], list[str]]:
    """For ``one_of``: the modules of ``otoc_lib/<package>`` that define ``name``. They are read, not imported."""
    folder = Path(__file__).parent / package
    return lambda: [path.stem for path in sorted(folder.glob("*.py")) if name in _defined(path)]


def functions(module: str) -> Callable[[], list[str]]:
    """For ``one_of``: the public functions of the file ``otoc_lib/<module>``."""
    path = Path(__file__).parent / module
    return lambda: [name for name, kind in _defined(path).items() if kind is ast.FunctionDef and name[0] != "_"]


def _defined(path: Path) -> Mapping[str, type[ast.AST]]:
    """The names that a Python file defines at its top level, and how."""
    state = path.stat()
    return _parsed(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, changed: int, size: int) -> Mapping[str, type[ast.AST]]:
    """The same of a file that was changed then and is as large: parsed once, and asked by every params file."""
    found: dict[str, type[ast.AST]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        found |= {getattr(target, "name", getattr(target, "id", "")): type(node) for target in targets}
    return found


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment. Lengths are metres, ``steps`` are optimizer steps; lists stand for tuples of any length.

    A method whose file defines ``class Parameters(Config)`` adds its own, in the same form: they are known wherever
    ``method`` names it. One that learns from sets of classes without points also says ``learns_sets = True`` there, one
    that learns in labelled images ``learns_images = True``, one whose loop has a single iteration
    ``trains_once = True``.
    """

    learns_sets: typing.ClassVar[bool] = False
    learns_images: typing.ClassVar[bool] = False
    trains_once: typing.ClassVar[bool] = False

    # What is run, and where its files are (paths are relative to the project's root). In no key.
    profile: str = param(like=NAME)  # folder of params/: smoke, rooms, scannet, s3dis, own
    experiment: str = param(like=NAME)  # file name in that folder, without .yaml
    runs_root: str = param("runs")
    reports_root: str = param("reports")
    seeds: list[int] = param([], low=0, high=2**31)  # what make reproduce repeats the experiment with; []: seed alone

    # Data. In no key either: fingerprints of the rooms are
    dataset: str = param("scannet", one_of=modules("datasets", "read_scene"))
    data_root: str = param("data/scannet")
    cache_root: str = param("data/cache")  # converted scenes; may be deleted at any time
    own_classes: list[str] = param([], "own_classes")  # class names in order, for dataset: own
    own_truth: str | None = param(None, "own_classes", added=True)  # column of own scans that holds true classes
    # in pictures, the picker and labelled scans; own classes are distinct for any colour vision either way
    class_colors: Literal["benchmark", "distinct"] = param("benchmark")
    # Own scans: which axis of the file points up, and its unit. auto: what the file says, else a guess, which is told
    up_axis: UpAxis = param("auto", "axes")
    unit: Unit = param("auto", "axes")
    # held_out: of the training rooms, those that train_rooms leaves out, to choose by without the validation rooms
    eval_splits: list[str] = param(["val"], like=NAME)
    train_rooms: int | None = param(None, low=1, high=10**6)  # use only the first so many rooms; null: all
    eval_rooms: int | None = param(None, low=1, high=10**6)

    # Super-voxels of points without a mesh (S3DIS, own scans): cut pursuit on a voxel grid
    partition_voxel: float = param(0.03, "partition", low=0.001, high=10)  # metres
    partition_strength: float = param(0.05, "partition", low=1e-6, high=1e6)
    partition_minimum: int = param(20, "partition", low=1, high=10**6)  # voxels

    # A scan wider than this is cut into tiles of this side, for super-voxels of points, training and prediction
    # (tiling.py); null: no scan is. Neighbours overlap by a share of the side
    tile_metres: float | None = param(None, "partition training inference", low=0.1, high=10_000, added=True)
    tile_overlap: float = param(0.25, "partition training inference", low=0, high=0.5, added=True)

    seed: int = param(0, "clicks network tsne", low=0, high=2**31)  # t-SNE takes 32 bits

    # Annotation: one click per object, official or own click lists, single points drawn at random, labelled images,
    # every label; or sets of classes without points, of a room or of each ball of a grid that covers it
    source: Literal["simulated", "file", "points20", "points", "images", "all", "scene", "subcloud"] = param(
        "simulated", "clicks"
    )
    clicks_per_object: int = param(1, "clicks", low=1, high=10**6)
    # clicks label, before any network, what is within this distance of colour (annotation/closeness.py); null: do not
    click_spread: float | None = param(None, "clicks", low=0.001, high=1e4, added=True)
    clicks_wrong: float = param(0.0, "clicks", low=0, high=1, added=True)  # share that gets a class drawn at random
    clicks_forgotten: float = param(0.0, "clicks", low=0, high=1, added=True)  # share of the objects without a click
    # source points, one of the two: a share of all points, or so many of each class in each square metre
    points_share: float | None = param(None, "clicks", above=0, high=1, added=True)
    points_per_class_column: int | None = param(None, "clicks", low=1, high=10**6, added=True)
    subcloud_radius: float | None = param(None, "clicks", low=0.2, high=1000, added=True)  # source subcloud; metres
    images_share: float = param(1.0, "clicks", above=0, high=1, added=True)  # source images: of the frames of a room
    images_root: str | None = param(None)  # where the frames of the rooms are, in ScanNet's layout. Their hash is keyed
    # source file: a clicks.csv; points20: a limited annotation. Its hash is keyed
    clicks_file: str | None = param(None)

    # 3D U-Net; its levels, blocks and skip are those of the backbone unet alone, others have one shape
    backbone: str = param("unet", "network", one_of=modules("models", "new_backbone"))
    voxel_size: float = param(0.02, "network", above=0.0001, high=10)  # metres; a millimetre, or a room in one voxel
    unet_width: int = param(32, "network", low=1, high=1024)
    unet_levels: int = param(7, "network", low=1, high=16)  # each halves the grid; 16: of 65,536 voxels
    unet_blocks: int = param(2, "network", low=1, high=32)
    # how a level's own features meet those that come up from below: side by side (the paper's), or as a sum
    unet_skip: Literal["concat", "add"] = param("concat", "network")
    coarse_loss: float = param(0.0, "network", low=0, high=1000)  # weight of the loss at the U-Net's coarser levels
    # weights that the U-Net starts from instead of random ones (models/weights.py). The file's hash is keyed
    initial_weights: str | None = param(None, added=True)

    # Relation network and prototypes (section 3.3 of the paper)
    relation_dim: int = param(32, "relation", low=2, high=1024)  # in one dimension only a sign is left
    # labelled super-voxels a class and step
    relation_samples: int = param(20, "relation_first relation_later", low=1, high=1000)
    temperature: float = param(0.07, "relation", low=0.001, high=1000)
    prototype_momentum: float = param(0.9, "relation", low=0, high=1)

    # Training; 300 steps are one epoch of ScanNet at batch size 4
    batch_size: int = param(4, "training", low=1, high=1024)
    max_points: int = param(250_000, "training", low=1, high=10**9)  # larger rooms are cropped by a box
    unet_steps: int = param(153_600, "unet_first", low=1, high=10**8)
    unet_steps_later: int = param(76_800, "unet_later", low=1, high=10**8)  # iterations 2, 3, ...
    relation_steps: int = param(307_200, "relation_first", low=1, high=10**8)
    relation_steps_later: int = param(76_800, "relation_later", low=1, high=10**8)
    # muon: the convolutions' updates orthogonal, else Adam
    optimizer: Literal["adam", "muon"] = param("adam", "training")
    learning_rate: float = param(0.01, "training_first", low=1e-9, high=10)
    learning_rate_later: float = param(0.01, "training_later", low=1e-9, high=10)
    schedule: Literal["halving", "one_cycle", "linear"] = param("halving", "training")
    halve_every: int = param(115_200, "training", low=1, high=10**9)  # steps, for schedule: halving
    class_weights: Literal["none", "inverse_sqrt"] = param("none", "training")
    label_smoothing: float = param(0.0, "training", low=0, high=0.9)  # share of a label that goes to all classes alike
    # a step in so many pieces, for less memory: batch normalisation sees a piece, the loss is that of the whole step
    accumulate: int = param(1, "training", low=1, high=1024, added=True)
    # with several devices, batch normalisation over the rooms of all; else of each. Keyed with devices where it is off
    sync_batch_norm: bool = param(True, "training", added=True)

    # What a voxel knows beside its colour of where it is: the authors' x, y and z, or z alone
    input_position: Literal["xyz", "height"] = param("xyz", "training inference")

    # Augmentation (facts: matrix jitter, mirrored x, rotation about z, elastic distortion in voxels, colour shift)
    jitter: float = param(0.1, "training", low=0, high=1)  # at 1 the matrix is noise
    flip: bool = param(True, "training inference")
    rotate: bool = param(True, "training inference")
    rotation_step: float = param(0.0, "training inference", low=0, high=360)  # by its multiples, degrees; 0: any angle
    scale_range: list[float] = param([1.0, 1.0], "training", low=0.01, high=100)
    elastic_granularity: list[float] = param([6.0, 20.0], "training", above=0.1, high=10_000)
    elastic_magnitude: list[float] = param([40.0, 160.0], "training", low=0, high=10_000)
    color_shift: float = param(0.1, "training", low=0, high=10)  # of colours from -1 to 1

    # Graph propagation (eqs. 2-5)
    relation_power: float = param(1.0, "combination", low=0, high=1000)  # P = P_U * P_R ** relation_power
    bandwidth: float = param(2.0, "graph", low=0.001, high=10_000)
    pairwise_weight: float = param(1.0, "graph", low=0, high=1e6)
    pairwise_scaling: Literal["row_sum", "literal"] = param("row_sum", "graph")
    mean_field_steps: int = param(10, "graph", low=1, high=10_000)
    mean_field_tolerance: float = param(1.0e-3, "graph", low=0, high=1)

    # What is run on these: a file of otoc_lib/methods; self-training (Algorithm 1) and its pseudo labels (eq. 8)
    method: str = param("one_thing_one_click", one_of=modules("methods", "METHOD"))
    variant: Literal["unet", "unet_gp", "unet_rel_gp"] = param("unet_rel_gp", "variant")
    self_train_iterations: int = param(5, low=1, high=100)
    # predict by the mean of the weights of the last so many iterations; the training goes on from the last one's own
    average_networks: int = param(1, low=1, high=100, added=True)
    pseudo_labels: str = param("threshold", "pseudo", one_of=functions("methods/pseudo_labels.py"))  # the rule
    threshold: float = param(0.9, "pseudo", low=0, high=1)
    pseudo_share: float | None = param(None, "pseudo", above=0, high=1, added=True)  # rule quantile: of each class
    # weigh what the networks say of a class by its nearness to its clicks, exp(-d / click_reach); null: do not
    click_reach: float | None = param(None, "pseudo", low=1e-4, high=1e4, added=True)
    views: int = param(1, "inference", low=1, high=100)  # augmented views averaged at inference, all kept till then
    teacher_views: int | None = param(None, low=1, high=100)  # the same where pseudo labels are made; null: as many

    # t-SNE (Figure 6)
    tsne_supervoxels: int = param(200, "tsne", low=1, high=100_000)  # per class

    # Machine; these change how fast a result comes, not which: every stage may read them and no key names them
    device: str = param("auto", "machine", like=DEVICE)
    devices: int = param(1, "machine", low=1, high=MOST_DEVICES, added=True)  # processes, each with a GPU of its own
    checkpoint_activations: bool = param(False, "machine", added=True)  # computed again, not kept, for less memory
    deterministic: bool = param(False, "machine", added=True)  # on CUDA: the same bits each time, for some speed
    sparse_backend: Literal["auto", "numba", "torch", "spconv"] = param("auto", "machine")
    precision: Literal["float32", "bfloat16", "float16"] = param("float32", "training")  # below float32 on CUDA; keyed
    propagation: Literal["auto", "dense", "chunked", "triton"] = param("auto", "machine")  # how the kernel is kept
    propagation_memory: float = param(4.0, "machine", low=0, high=100_000)  # GiB that auto may spend on a kernel
    workers: int = param(0, "machine", low=0, high=512)  # processes that load and augment
    checkpoint_seconds: float = param(60.0, "machine", low=0, high=1e9)
    tensorboard: bool = param(False, "machine", added=True)  # curves for TensorBoard in <run>/tensorboard

    @property
    def run_name(self) -> str:
        """Folder of the run among those of its profile: the experiment's name, and the seed where it is not 0."""
        return run_name(self.experiment, self.seed)

    @property
    def shown_split(self) -> str:
        """The evaluated split that tables and pictures show: ``val``, or the first where that is not evaluated."""
        return "val" if "val" in self.eval_splits else self.eval_splits[0]

    @property
    def runs_folder(self) -> Path:
        return in_project(self.runs_root)

    @property
    def run_folder(self) -> Path:
        return self.runs_folder / self.profile / self.run_name

    @property
    def report_folder(self) -> Path:
        return in_project(self.reports_root) / self.profile

    @property
    def data_folder(self) -> Path:
        return in_project(self.data_root)

    @property
    def images_folder(self) -> Path:
        assert self.images_root is not None  # source: images is refused without
        return in_project(self.images_root)

    @property
    def cache_folder(self) -> Path:
        return in_project(self.cache_root)

    @property
    def iterations(self) -> range:
        """1, 2, ..., self_train_iterations."""
        return range(1, self.self_train_iterations + 1)

    @property
    def teacher(self) -> "Config":
        """The same where pseudo labels are made: with ``teacher_views``."""
        return dataclasses.replace(self, views=self.teacher_views or self.views)

    def digest_of(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of some parameters, by name."""
        return {name: getattr(self, name) for name in names}


def run_name(experiment: str, seed: int) -> str:
    """``otoc`` for seed 0, ``otoc_seed1`` for seed 1."""
    return f"{experiment}_seed{seed}" if seed else experiment


if typing.TYPE_CHECKING:
    _Seen = Config  # a view is read as the config that it lets through
else:
    _Seen = object


class View(_Seen):
    """What the work of one stage sees of a config: the parameters in some groups, and those of the machine.

    Reading another one raises OtocError. So a parameter that a result depends on is always part of the stage's key, and
    a stage that another value would have changed is never taken for current.

    Args:
        config: of the experiment.
        groups: names in the second argument of ``param``.
        reader: what reads it, for the error.
    """

    def __init__(self, config: Config, groups: Iterable[str], reader: str):
        named = names_in(type(config), groups)
        self.__dict__ |= {"config": config, "named": named, "reader": reader}
        self.__dict__["allowed"] = {*named, *names_in(type(config), ["machine"])}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask for methods that are not there
            raise AttributeError(name)
        if name not in self.__dict__["allowed"]:
            raise OtocError(
                f"{self.reader} reads the parameter {name!r}, which its key does not name, so that its result would be "
                "reused for other values; let the stage read one of the parameter's groups, or add one to its line"
            )
        return getattr(self.__dict__["config"], name)

    def __reduce__(self) -> tuple:
        return _restored_view, (self.config, self.named, self.allowed, self.reader)

    @property
    def digest(self) -> dict[str, Any]:
        """The values that make the key, by name; those that were ``added`` only where they are not the default."""
        quiet, values = added_defaults(type(self.config)), self.config.digest_of(self.named)
        return {name: value for name, value in values.items() if name not in quiet or value != quiet[name]}


def _restored_view(config: Config, named: list[str], allowed: set[str], reader: str) -> View:
    view = View(config, (), reader)
    view.__dict__ |= {"named": named, "allowed": allowed}
    return view


def names_in(kind: type[Config], groups: Iterable[str]) -> list[str]:
    """The parameters that are in one of the groups, in their order."""
    wanted = set(groups)
    return [field.name for field in fields(kind) if field.metadata["groups"] & wanted]


def added_defaults(kind: type[Config] = Config) -> dict[str, Any]:
    """The defaults of the parameters that were ``added``, by name: what a key stands for that does not name them."""
    return {field.name: field.default for field in fields(kind) if field.metadata["added"]}


def config_from(
    values: Mapping[str, Any], origin: str = "parameters", places: Mapping[str, object] | None = None
) -> Config:
    """Check a flat mapping of parameters and make a Config of it.

    Where ``seeds`` are given and no ``seed``, the first of them is the seed.

    Args:
        values: name -> value.
        origin: where they come from, a file or a notebook.
        places: name -> the file of a single value, where that is another one.

    Raises:
        OtocError: names the origin or the place, and the parameter: for unknown names, wrong types, values outside
            their range and contradictions.
    """
    place_of = {name: str((places or {}).get(name, origin)) for name in values}
    kind = _kind_for(values, place_of.get("method", origin))
    known = {f.name: f for f in fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in known:
            if name == EXTENDS:
                raise OtocError(
                    f"{place_of[name]}: {EXTENDS!r} is a line of a params file, and nothing else; write one"
                )
            close = difflib.get_close_matches(str(name)[:LONGEST_PART], [*known, EXTENDS], n=1)
            lists = "'otoc show-params --all params/rooms/otoc.yaml' lists them all"
            lists += f", {kind.__module__} those of its own" if kind is not Config else ""
            hint = f"did you mean {close[0]!r}?" if close else lists
            raise OtocError(f"{place_of[name]}: unknown parameter {shown(name)}; {hint}")
    for name in ("profile", "experiment"):
        if name not in values:
            raise OtocError(f"{origin}: parameter {name!r} is missing; a params file names its profile and experiment")
    checked = {name: _checked(known[name], value, hints[name], place_of[name]) for name, value in values.items()}
    if checked.get("seeds") and "seed" not in checked:
        checked["seed"] = checked["seeds"][0]
    config = kind(**checked)
    _refuse_contradictions(config, origin)
    return config


def _kind_for(values: Mapping[str, Any], origin: str) -> type[Config]:
    """Config, or what the file of the method adds to it."""
    field = next(f for f in fields(Config) if f.name == "method")
    method = _checked(field, values.get("method", field.default), str, origin)
    if "Parameters" not in _defined(Path(__file__).parent / "methods" / f"{method}.py"):
        return Config  # without importing the method, and PyTorch with it
    kind = import_module(f"otoc_lib.methods.{method}").Parameters
    for field in fields(kind):
        if "groups" not in field.metadata:
            raise OtocError(
                f"otoc_lib/methods/{method}.py: write the parameter {field.name!r} as name: type = param(default, "
                "groups), so that it is checked and in the keys of what reads it"
            )
    return kind


def load_config(path: Path | str, **overrides: Any) -> Config:
    """Read one params file; keyword arguments replace single values."""
    return config_of(read_origins(path), path, **overrides)


def changed_config(path: Path | str, changes: Mapping[str, Any]) -> Config:
    """``load_config`` with what the command line changes by ``-p``, which errors then name."""
    origins = read_origins(path)
    values = {name: value for name, (value, _) in origins.items()}
    places = {name: place for name, (_, place) in origins.items()} | {name: f"-p {name}" for name in changes}
    return config_from({**values, **changes}, str(path), places)


def config_of(origins: Mapping[str, tuple[Any, Path]], path: Path | str, **overrides: Any) -> Config:
    """``load_config`` of a file that ``read_origins`` has read."""
    values = {name: value for name, (value, _) in origins.items()}
    places = {name: place for name, (_, place) in origins.items() if name not in overrides}
    return config_from({**values, **overrides}, str(path), places)


def read_params(path: Path | str) -> dict[str, Any]:
    """The flat mapping in one YAML file, unchecked, over that of the file it extends."""
    return {name: value for name, (value, _) in read_origins(path).items()}


def read_origins(path: Path | str) -> dict[str, tuple[Any, Path]]:
    """``read_params``, and the file that each value comes from."""
    path = Path(path)
    _check_file_name(path)
    own, inherited = _read_yaml(path), {}
    if EXTENDS in own:
        base = base_of(path, own.pop(EXTENDS))
        inherited = {name: (value, base) for name, value in _read_yaml(base).items()}
        for name in sorted({"profile", "experiment"} & inherited.keys()):
            raise OtocError(
                f"{base}: names {name!r}, which every file that extends it must name itself: papermill hands on the "
                "lines of one file alone"
            )
    return {**inherited, **{name: (value, path) for name, value in own.items()}}


def base_of(path: Path | str, name: Any) -> Path:
    """The file that ``path`` extends: ``<name>.yaml`` beside it, or ``<profile>/<name>.yaml`` beside its folder. That
    one extends no further one itself."""
    path = Path(path)
    if not isinstance(name, str) or not re.fullmatch(f"({NAME[0]}/)?{NAME[0]}", name):
        raise OtocError(
            f"{path}: 'extends' names a params file, without .yaml: one beside this one or, as profile/name, one of "
            f"another profile; not {shown(name)}"
        )
    base = (path.parent.parent if "/" in name else path.parent) / f"{name}.yaml"
    if not base.is_file():
        raise OtocError(f"{path}: extends {name}, but {base} does not exist")
    if base == path or EXTENDS in _read_yaml(base):
        raise OtocError(f"{path}: extends {name}, which extends a file itself; one level is all there is")
    return base


def _check_file_name(path: Path) -> None:
    if re.fullmatch(NAME[0], path.stem):
        return
    if not path.stem:
        raise OtocError(f"{str(path)!r} is no params file; give one, such as params/rooms/otoc.yaml")
    strange = [letter for letter in path.stem if not re.match(NAME[0], letter)]
    fault = "holds a blank" if " " in strange else f"holds {strange[0]!r}" if strange else "is too long"
    better = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem)[:100]
    raise OtocError(f"{path}: its name {fault}, and folders are named after it; rename it, such as {better}.yaml")


def _read_yaml(path: Path) -> dict[str, Any]:
    """The lines of one file: names, each once, and numbers, text, true, false, null or lists of these."""
    expected = f"{path}: expected lines of the form 'name: value'"
    text = _read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        raise OtocError(f"{path}: holds the control character U+{error.character:04X}; delete it") from None
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark or error.context_mark).line + 1
        raise OtocError(f"{path}, line {line}: not valid YAML ({error.problem}); mend that line") from None
    except (ValueError, OverflowError) as error:  # of an escape such as "\\UFFFFFFFF"
        raise OtocError(f"{path}: not valid YAML ({error}); mend that line") from None
    except RecursionError:
        raise OtocError(f"{expected}, not lists in lists in lists") from None
    if not isinstance(node, yaml.MappingNode) or node.tag != YAML + "map":
        raise OtocError(expected)
    values: dict[str, Any] = {}
    line_of: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag != YAML + "str":
            found = shown(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise OtocError(f"{path}, line {line}: {found} is no name of a parameter; write 'name: value'")
        name = key.value
        if name in line_of:
            both = f"lines {line_of[name]} and {line}"
            raise OtocError(f"{path}, {both}: both give the parameter {shown(name)}; keep one of them")
        line_of[name] = line
        values[name] = _plain_value(value, f"{path}, line {value.start_mark.line + 1}: parameter {shown(name)}")
    return values


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            if path.is_dir():
                raise OtocError(f"{path}: is a folder; give a params file, such as one in it")
            advice = f"did you mean {close}?" if (close := _closest(path)) else "those of the kit are in params/"
            raise OtocError(f"{path}: no such params file; {advice}")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise OtocError(f"{path}: cannot be read ({error.strerror}); give another params file") from None
    if len(data) > MOST_BYTES:
        raise OtocError(f"{path}: has more than {MOST_BYTES} bytes, so it is no params file; give another one")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise OtocError(f"{path}, line {line}: not UTF-8 text; save the file in the encoding UTF-8") from None
    if "\0" in text:
        raise OtocError(f"{path}: holds the byte 0, as UTF-16 does; save the file in the encoding UTF-8")
    return text


def _closest(path: Path) -> Path | None:
    """The params file whose name is most like one that does not exist, of that folder or else of those beside it."""
    for files in (path.parent.glob("[!_.]*.yaml"), path.parent.parent.glob("*/[!_.]*.yaml")):
        by_name = {str(file): file for file in sorted(files)}
        if close := difflib.get_close_matches(str(path), by_name, n=1):
            return by_name[close[0]]
    return None


def parse_value(name: str, text: str) -> Any:
    """The value of a parameter on the command line: as in a params file, and None and 1e-3 as papermill reads them."""
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", text):
        return float(text)
    try:
        node = yaml.compose("null" if text == "None" else text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        node = None
    if node is None:
        raise OtocError(f"-p {name}: {shown(text)} is no value; write {name}=VALUE, and a list as {name}='[a, b]'")
    return _plain_value(node, f"-p {name}")


def _plain_value(node: yaml.Node, place: str) -> Any:
    if isinstance(node, yaml.SequenceNode) and node.tag == YAML + "seq":
        if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
            raise OtocError(f"{place}: a list holds numbers or text, no lists or mappings; write [a, b]")
        return [_plain_value(item, place) for item in node.value]
    if node.tag == YAML + "timestamp":
        raise OtocError(f"{place}: YAML reads {node.value} as a date; write it in quotes")
    if not isinstance(node, yaml.ScalarNode) or node.tag not in PLAIN_TAGS:
        kind = node.tag.removeprefix(YAML)
        raise OtocError(f"{place}: {shown(kind)} of YAML is none of number, text, true, false, null or a list of these")
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, LookupError):  # !!int with no number, and numbers of more than 4300 digits
        raise OtocError(f"{place}: {shown(node.value)} cannot be read as {node.tag.removeprefix(YAML)}") from None
    if node.tag in (YAML + "int", YAML + "float") and not re.fullmatch(PLAIN_NUMBER, node.value):
        raise OtocError(f"{place}: YAML reads {shown(node.value)} as {value!r}; write that number")
    return value


def params_text(path: Path | str, every: bool = False) -> str:
    """A params file as it is in effect: YAML, with the file that each value comes from, and defaults if ``every``."""
    origins = read_origins(path)
    config = load_config(path)
    lines = []
    for field in fields(config):
        value, origin = origins.get(field.name, (getattr(config, field.name), None))
        if origin is not None or every:
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()
            lines.append((f"{field.name}: {text}", origin.name if origin else "default"))
    width = max(len(text) for text, _ in lines)
    return "\n".join(f"{text:{width}}  # {origin}" for text, origin in lines)


def parameter_lines() -> list[str]:
    """``name = default  # what it can be`` of every parameter, those of methods last."""
    own = (_kind_for({"method": name}, "") for name in modules("methods", "Parameters")())
    kinds: list[type[Config]] = [Config, *own]
    lines = {}
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for field in fields(kind):
            made = field.default_factory
            default = field.default if made is dataclasses.MISSING else made()
            text = "..." if default is dataclasses.MISSING else repr(default)
            lines.setdefault(field.name, f"{field.name} = {text}  # {_describe(hints[field.name])}")
    return list(lines.values())


def load_notebook_config(namespace: MutableMapping[str, Any]) -> Config:
    """The configuration of a notebook, from its global names: call ``load_notebook_config(globals())``.

    The cell tagged ``parameters`` names a profile and an experiment, so that a notebook opened by hand runs
    params/<profile>/<experiment>.yaml. What papermill injects (a params file by -f, single values by -p) replaces
    the values of that file, and is checked like it.

    Warnings of the kit read as sentences from here on.
    """
    warnings.formatwarning = plain_warning
    plain = (type(None), bool, int, float, str, list, dict)
    known = {field.name: field for field in fields(Config)}
    passed = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in ("In", "Out") and (name in known or isinstance(value, plain))
    }
    # Where the cell runs again, later cells have left variables of their own: only the first call can tell the names of
    # parameters from theirs, so it notes them.
    first = namespace.get("_parameter_names", frozenset(passed))
    passed = {
        name: value for name, value in passed.items() if name in first or (name in known and isinstance(value, plain))
    }
    extends = passed.pop(EXTENDS, None)
    for name in ("profile", "experiment"):
        if not isinstance(passed.get(name), str):
            raise OtocError(f"notebook parameters: {name!r} must be set to a string in the cell tagged 'parameters'")
        _checked(known[name], passed[name], str, "notebook parameters")
    path = project_root() / "params" / passed["profile"] / f"{passed['experiment']}.yaml"
    if extends is not None and path.is_file() and _read_yaml(path).get(EXTENDS) != extends:
        raise OtocError(
            f"notebook parameters: they extend {shown(extends)}, which {path} does not, so they are of another params "
            "file; it has to name its own profile and experiment"
        )
    base = read_origins(path) if path.is_file() else read_origins(base_of(path, extends)) if extends else {}
    if not base and set(passed) <= {"profile", "experiment"}:
        raise OtocError(f"notebook parameters: {path} does not exist; set profile and experiment to an existing one")
    config = config_from(
        {name: value for name, (value, _) in base.items()} | passed,
        f"notebook parameters ({passed['profile']}/{passed['experiment']})",
        {name: place for name, (_, place) in base.items() if name not in passed},
    )
    namespace["_parameter_names"] = first
    return config


def project_root() -> Path:
    """The folder that holds params/ and notebooks/, found from the working directory upwards."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise OtocError(f"{Path.cwd()}: not inside a checkout of the kit (a folder with params/ and notebooks/)")


def in_project(path: str) -> Path:
    """A file or folder as a parameter names it: from the project's folder, unless it is absolute or begins with ``~``,
    the home of who runs this."""
    try:
        return project_root() / Path(path).expanduser()
    except RuntimeError as error:  # no such user
        raise OtocError(f"{path}: {error}; write the whole path") from error


def _checked(field: dataclasses.Field, value: Any, hint: Any, origin: str) -> Any:
    """``value`` if it has the type ``hint`` asks for (an int may stand for a float) and lies in its field's range."""
    name = field.name
    if not _has_type(value, hint):
        advice = ""
        if isinstance(value, str) and hint in (int, float, int | None, float | None):
            advice = "; YAML reads numbers such as 1e-3 as text: write 0.001 or 1.0e-3"
        if (name, value) == ("variant", "control"):
            advice = "; the control is a method of its own: write 'method: control'"
        if hint in (str, list[str], str | None):
            advice = "; text that looks like a number or like yes and no needs quotes"
        raise OtocError(f"{origin}: parameter {name!r} must be {_describe(hint)}, not {shown(value)}{advice}")
    if hint in (float, float | None) and value is not None:
        value = float(value)
    elif hint == list[float]:
        value = [float(item) for item in value]
    if field.metadata["one_of"] and value not in (names := field.metadata["one_of"]()):
        close = difflib.get_close_matches(value, names, n=1)
        words = f"did you mean {close[0]!r}? It can be" if close else "it can be"
        raise OtocError(f"{origin}: parameter {name!r} is {shown(value)}; {words} one of {', '.join(names)}")
    if isinstance(value, list) and len(value) > MOST_ITEMS:
        raise OtocError(f"{origin}: parameter {name!r} lists {len(value)} items; {MOST_ITEMS} are the most")
    tests = (
        ("above", lambda item, bound: item > bound, "greater than"),
        ("low", lambda item, bound: item >= bound, "at least"),
        ("high", lambda item, bound: item <= bound, "at most"),
    )
    for item in value if isinstance(value, list) else [value]:
        for kind, test, words in tests:
            bound = field.metadata[kind]
            if bound is not None and item is not None and not test(item, bound):
                raise OtocError(f"{origin}: parameter {name!r} must be {words} {bound}, not {shown(item)}")
        like = field.metadata["like"]
        if like and not re.fullmatch(like[0], item):
            raise OtocError(f"{origin}: parameter {name!r} must be {like[1]}, not {shown(item)}")
        if isinstance(item, str) and (fault := _fault_of_text(item)):
            raise OtocError(f"{origin}: parameter {name!r} is {shown(item)}, which {fault}; write other text")
    return value


def _fault_of_text(text: str) -> str | None:
    """Why some text can be neither a path nor a name."""
    if not text.strip():
        return "is empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
        return "holds a line break or another control character"
    if len(text) > LONGEST_TEXT or any(len(part.encode()) > LONGEST_PART for part in text.split("/")):
        return "is too long"
    return None


def _has_type(value: Any, hint: Any) -> bool:
    kind = typing.get_origin(hint)
    if kind is Literal:
        return value in typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        return any(_has_type(value, option) for option in typing.get_args(hint))
    if kind is list:
        return isinstance(value, list) and all(_has_type(item, typing.get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    kind = typing.get_origin(hint)
    if kind is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    if kind in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if kind is list:
        return f"a list, each item {_describe(typing.get_args(hint)[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}[hint]


def _refuse_contradictions(config: Config, origin: str) -> None:
    if len(config.elastic_granularity) != len(config.elastic_magnitude):
        raise OtocError(f"{origin}: 'elastic_granularity' and 'elastic_magnitude' must have the same length")
    if len(config.scale_range) != 2 or config.scale_range[0] > config.scale_range[1]:
        raise OtocError(f"{origin}: 'scale_range' must be [smallest, largest]")
    if not config.eval_splits:
        raise OtocError(f"{origin}: 'eval_splits' must name at least one split, for example [val]")
    if (config.source in ("file", "points20")) != (config.clicks_file is not None):
        raise OtocError(f"{origin}: 'clicks_file' must be given with 'source: file' and 'source: points20', only then")
    amounts = (config.points_share, config.points_per_class_column)
    if sum(amount is not None for amount in amounts) != (config.source == "points"):
        raise OtocError(
            f"{origin}: 'points_share' or 'points_per_class_column', one of them, must be given with 'source: points', "
            "and only then"
        )
    if (config.source == "subcloud") != (config.subcloud_radius is not None):
        raise OtocError(f"{origin}: 'subcloud_radius' must be given with 'source: subcloud', and only then")
    if (config.source in ("scene", "subcloud")) != config.learns_sets:
        raise OtocError(
            f"{origin}: 'source: scene' and 'source: subcloud' name classes without points; methods made for that, as "
            f"'method: mprm', learn from them, and from nothing else; 'source: {config.source}' and 'method: "
            f"{config.method}' do not go together"
        )
    if config.learns_images and config.source != "images":
        raise OtocError(
            f"{origin}: 'method: {config.method}' learns in labelled images, so it needs 'source: images', not "
            f"'source: {config.source}'; any other method learns what is clicked"
        )
    if config.source == "images" and config.images_root is None:
        raise OtocError(f"{origin}: 'images_root' must name the folder of the frames with 'source: images'")
    if config.images_share != 1 and config.source != "images":
        raise OtocError(f"{origin}: 'images_share' is a share of labelled images, so it needs 'source: images'")
    if (config.pseudo_labels == "quantile") != (config.pseudo_share is not None):
        raise OtocError(f"{origin}: 'pseudo_share' must be given with 'pseudo_labels: quantile', and only then")
    for name, drawn in (("clicks_wrong", 0), ("clicks_forgotten", 0), ("clicks_per_object", 1)):
        if getattr(config, name) != drawn and config.source != "simulated":
            raise OtocError(f"{origin}: {name!r} is about clicks that are drawn, so it needs 'source: simulated'")
    if config.click_reach is not None and config.source in ("all", "images", "scene", "subcloud"):
        raise OtocError(
            f"{origin}: 'click_reach' is about clicks, and 'source: {config.source}' has none; leave it out"
        )
    if config.click_spread is not None and config.source not in ("simulated", "file", "points20"):
        raise OtocError(
            f"{origin}: 'click_spread' is about clicks that label super-voxels, and 'source: {config.source}' has "
            "none; leave it out"
        )
    if (config.dataset == "own") != bool(config.own_classes):
        raise OtocError(f"{origin}: 'own_classes' must list the classes with 'dataset: own', and only then")
    if config.own_truth is not None and config.dataset != "own":
        raise OtocError(f"{origin}: 'own_truth' names a column of scans of your own, so it needs 'dataset: own'")
    if config.own_classes and not 2 <= len(config.own_classes) <= MOST_CLASSES:
        raise OtocError(f"{origin}: 'own_classes' must list 2 to {MOST_CLASSES} classes, not {len(config.own_classes)}")
    if NO_CLASS_NAME in (name.strip().casefold() for name in config.own_classes):
        raise OtocError(
            f"{origin}: 'own_classes' names a class {NO_CLASS_NAME!r}, which says in clicks.csv: none of the classes; "
            "give it another name, or leave it out and click what is of no class as that"
        )
    if len({" ".join(name.split()).casefold() for name in config.own_classes}) < len(config.own_classes):
        raise OtocError(f"{origin}: 'own_classes' names a class twice, or two that differ by capitals or blanks alone")
    if len(set(config.eval_splits)) < len(config.eval_splits):
        raise OtocError(f"{origin}: 'eval_splits' names a split twice")
    if "held_out" in config.eval_splits and config.train_rooms is None:
        raise OtocError(
            f"{origin}: 'eval_splits' names held_out, the training rooms that are not trained on, and all are; "
            "set 'train_rooms' to a part of them"
        )
    if "train" in config.eval_splits and config.train_rooms is not None:
        if config.eval_rooms is None or config.eval_rooms > config.train_rooms:
            raise OtocError(
                f"{origin}: 'eval_splits' names train, and 'train_rooms: {config.train_rooms}' leaves rooms of it out; "
                "set 'eval_rooms' to no more than it"
            )
    own_unet = config.backbone == "unet" or config.learns_images  # which observes by a U-Net of this size
    widths = [config.unet_width * (level + 1) for level in range(config.unet_levels)]
    products = 4 * config.unet_blocks + (config.unet_skip == "concat")  # of a width by itself, about
    weights = 27 * products * sum(width**2 for width in widths)
    if own_unet and weights > MOST_WEIGHTS:
        raise OtocError(
            f"{origin}: 'unet_width', 'unet_levels' and 'unet_blocks' ask for about {weights:.1e} weights, more than "
            f"{MOST_WEIGHTS:.0e}; lower one of them"
        )
    if config.coarse_loss and config.backbone == "unet" and config.unet_levels == 1:
        raise OtocError(f"{origin}: 'coarse_loss' needs coarser levels; set 'unet_levels' to 2 or more, or it to 0")
    if own_unet and config.unet_skip == "add" and config.unet_levels == 1:
        raise OtocError(
            f"{origin}: 'unet_skip: add' needs coarser levels; set 'unet_levels' to 2 or more, or it to concat"
        )
    if config.batch_size % (config.devices * config.accumulate):
        raise OtocError(
            f"{origin}: 'batch_size: {config.batch_size}' cannot be cut into 'devices' x 'accumulate' equal parts, "
            f"{config.devices} x {config.accumulate}; change one of them"
        )
    if config.devices > 1 and ":" in config.device:
        raise OtocError(
            f"{origin}: 'device: {config.device}' names one GPU, and 'devices: {config.devices}' asks for several; set "
            "device to auto, cuda or cpu"
        )
    if config.average_networks > (1 if config.trains_once else config.self_train_iterations):
        raise OtocError(
            f"{origin}: 'average_networks: {config.average_networks}' asks for more networks than there are: 'method: "
            f"{config.method}' trains {'once' if config.trains_once else f'{config.self_train_iterations} iterations'}"
        )
    if config.source == "all" and config.method in ("one_thing_one_click", "released"):
        raise OtocError(f"{origin}: 'source: all' leaves nothing to self-train on; set 'method: control' with it")
    if len(set(config.seeds)) < len(config.seeds):
        raise OtocError(f"{origin}: 'seeds' names a seed twice")
    if re.search(r"_seed\d+$", config.experiment):
        raise OtocError(
            f"{origin}: 'experiment' ends like a repeat; give 'seeds: [0, 1, 2]' instead, see docs/architecture.md"
        )
