"""Every experiment parameter, typed, with the paper's value as its default.

A params file is one flat YAML mapping of these names (papermill merges files shallowly, so sections would be lost).
An unknown name, a value of the wrong type or a contradiction stops the run with the file's name and what to write.
"""

import difflib
import json
import types
import typing
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from otoc_lib.errors import OtocError

Variant = Literal["unet", "unet_gp", "unet_rel_gp", "control"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment. Lengths are metres, ``steps`` are optimizer steps; lists stand for tuples of any length."""

    # What is run, and where its files are (paths are relative to the project's root)
    profile: str  # folder of params/: smoke, rooms, scannet, s3dis, own
    experiment: str  # file name in that folder, without .yaml
    runs_root: str = "runs"
    reports_root: str = "reports"
    seed: int = 0

    # Data
    dataset: Literal["scannet", "s3dis", "own"] = "scannet"
    data_root: str = "data/scannet"
    cache_root: str = "data/cache"  # converted scenes; may be deleted at any time
    own_classes: list[str] = field(default_factory=list)  # class names in order, for dataset: own
    eval_splits: list[str] = field(default_factory=lambda: ["val"])
    train_rooms: int | None = None  # use only the first so many rooms; null: all
    eval_rooms: int | None = None

    # Super-voxels of points without a mesh (S3DIS, own scans): cut pursuit on a voxel grid
    partition_voxel: float = 0.03  # metres
    partition_strength: float = 0.05
    partition_minimum: int = 20  # voxels

    # Annotation: one click per object, official or own click lists, or every label
    source: Literal["simulated", "file", "points20", "all"] = "simulated"
    clicks_per_object: int = 1
    clicks_file: str | None = None  # source file: a clicks.csv; source points20: a limited-annotation file

    # 3D U-Net
    voxel_size: float = 0.02
    unet_width: int = 32
    unet_levels: int = 7
    unet_blocks: int = 2

    # Relation network and prototypes (section 3.3 of the paper)
    relation_dim: int = 32
    relation_samples: int = 20  # labelled super-voxels drawn per class and step
    temperature: float = 0.07
    prototype_momentum: float = 0.9

    # Training; 300 steps are one epoch of ScanNet at batch size 4
    batch_size: int = 4
    max_points: int = 250_000  # larger rooms are cropped by a box
    unet_steps: int = 153_600
    unet_steps_later: int = 76_800  # iterations 2, 3, ...
    relation_steps: int = 307_200
    relation_steps_later: int = 76_800
    optimizer: Literal["adam", "muon"] = "adam"  # muon: orthogonal updates of the convolutions, Adam for the rest
    learning_rate: float = 0.01
    learning_rate_later: float = 0.01
    schedule: Literal["halving", "one_cycle"] = "halving"
    halve_every: int = 115_200  # steps, for schedule: halving
    class_weights: Literal["none", "inverse_sqrt"] = "none"

    # Augmentation (facts: matrix jitter, mirrored x, rotation about z, elastic distortion in voxels, colour shift)
    jitter: float = 0.1
    flip: bool = True
    rotate: bool = True
    scale_range: list[float] = field(default_factory=lambda: [1.0, 1.0])
    elastic_granularity: list[float] = field(default_factory=lambda: [6.0, 20.0])
    elastic_magnitude: list[float] = field(default_factory=lambda: [40.0, 160.0])
    color_shift: float = 0.1

    # Graph propagation (eqs. 2-5) and pseudo labels (eq. 8)
    relation_power: float = 1.0  # P = P_U * P_R ** relation_power
    bandwidth: float = 2.0
    pairwise_weight: float = 1.0
    pairwise_scaling: Literal["row_sum", "literal"] = "row_sum"
    mean_field_steps: int = 10
    mean_field_tolerance: float = 1.0e-3
    threshold: float = 0.9

    # Self-training (Algorithm 1)
    variant: Variant = "unet_rel_gp"
    self_train_iterations: int = 5
    views: int = 1  # augmented views averaged at inference

    # t-SNE (Figure 6)
    tsne_supervoxels: int = 200  # per class

    # Machine; these change how fast a result comes, not which
    device: str = "auto"  # auto, cpu, cuda, cuda:1 ...
    sparse_backend: Literal["auto", "numba", "torch", "spconv"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # below float32 on CUDA only
    propagation: Literal["auto", "dense", "chunked", "triton"] = "auto"  # how the mean field meets its kernel
    propagation_memory: float = 4.0  # GiB that auto may spend on a stored kernel
    workers: int = 0  # processes that load and augment
    checkpoint_seconds: float = 60.0

    @property
    def run_folder(self) -> Path:
        return project_root() / self.runs_root / self.profile / self.experiment

    @property
    def report_folder(self) -> Path:
        return project_root() / self.reports_root / self.profile

    @property
    def data_folder(self) -> Path:
        return project_root() / self.data_root

    @property
    def cache_folder(self) -> Path:
        return project_root() / self.cache_root

    @property
    def iterations(self) -> range:
        """1, 2, ..., self_train_iterations."""
        return range(1, self.self_train_iterations + 1)

    def digest_of(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The values of some parameters, for a manifest."""
        return {name: getattr(self, name) for name in names}


def config_from(values: Mapping[str, Any], origin: str = "parameters") -> Config:
    """Check a flat mapping of parameters and make a Config of it.

    Raises OtocError, naming ``origin`` (a file or a notebook), for unknown names, wrong types, values outside their
    range and contradictions.
    """
    known = {f.name: f for f in fields(Config)}
    hints = typing.get_type_hints(Config)
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the valid names are: {', '.join(known)}"
            raise OtocError(f"{origin}: unknown parameter {name!r}; {hint}")
    for name in ("profile", "experiment"):
        if name not in values:
            raise OtocError(f"{origin}: parameter {name!r} is missing; a params file names its profile and experiment")
    checked = {name: _checked(name, value, hints[name], origin) for name, value in values.items()}
    config = Config(**checked)
    _refuse_contradictions(config, origin)
    return config


def load_config(path: Path | str, **overrides: Any) -> Config:
    """Read one params file; keyword arguments replace single values."""
    path = Path(path)
    if not path.is_file():
        raise OtocError(f"{path}: no such params file; see the params/ folder for the ones that come with the kit")
    return config_from({**read_params(path), **overrides}, str(path))


def read_params(path: Path) -> dict[str, Any]:
    """The flat mapping in one YAML file, unchecked."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise OtocError(f"{path}: not valid YAML ({str(error).splitlines()[-1].strip()}); mend that line") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise OtocError(f"{path}: expected lines of the form 'name: value'")
    return values


def load_notebook_config(namespace: MutableMapping[str, Any]) -> Config:
    """The configuration of a notebook, from its global names: call ``load_notebook_config(globals())``.

    The cell tagged ``parameters`` names a profile and an experiment, so that a notebook opened by hand runs
    params/<profile>/<experiment>.yaml. What papermill injects (a params file by -f, single values by -p) replaces
    the values of that file, and is checked like it.
    """
    plain = (type(None), bool, int, float, str, list, dict)
    passed = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in ("In", "Out") and isinstance(value, plain)
    }
    # Where the cell runs again, later cells have left variables of their own: only the first call can tell the names of
    # parameters from theirs, so it notes them.
    first = namespace.get("_parameter_names", frozenset(passed))
    known = {field.name for field in fields(Config)}
    passed = {name: value for name, value in passed.items() if name in first or name in known}
    for name in ("profile", "experiment"):
        if not isinstance(passed.get(name), str):
            raise OtocError(f"notebook parameters: {name!r} must be set to a string in the cell tagged 'parameters'")
    path = project_root() / "params" / passed["profile"] / f"{passed['experiment']}.yaml"
    base = read_params(path) if path.is_file() else {}
    if not base and set(passed) <= {"profile", "experiment"}:
        raise OtocError(f"notebook parameters: {path} does not exist; set profile and experiment to an existing one")
    config = config_from({**base, **passed}, f"notebook parameters ({passed['profile']}/{passed['experiment']})")
    namespace["_parameter_names"] = first
    return config


def project_root() -> Path:
    """The folder that holds params/ and notebooks/, found from the working directory upwards."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise OtocError(f"{Path.cwd()}: not inside a checkout of the kit (a folder with params/ and notebooks/)")


def _checked(name: str, value: Any, hint: Any, origin: str) -> Any:
    """``value`` if it has the type ``hint`` asks for (an int may stand for a float), else OtocError."""
    if _has_type(value, hint):
        if hint is float:
            return float(value)
        return [float(item) for item in value] if hint == list[float] else value
    advice = ""
    if isinstance(value, str) and hint in (int, float, int | None):
        advice = "; YAML reads numbers such as 1e-3 as text: write 0.001 or 1.0e-3"
    given = json.dumps(value, default=repr)
    raise OtocError(f"{origin}: parameter {name!r} must be {_describe(hint)}, not {given}{advice}")


def _has_type(value: Any, hint: Any) -> bool:
    kind = typing.get_origin(hint)
    if kind is Literal:
        return value in typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        return any(_has_type(value, option) for option in typing.get_args(hint))
    if kind is list:
        return isinstance(value, list) and all(_has_type(item, typing.get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
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
    positive = (
        "clicks_per_object voxel_size unet_width unet_levels unet_blocks relation_dim relation_samples temperature "
        "batch_size max_points unet_steps unet_steps_later relation_steps relation_steps_later learning_rate "
        "learning_rate_later halve_every bandwidth mean_field_steps self_train_iterations views tsne_supervoxels "
        "partition_voxel partition_strength partition_minimum propagation_memory"
    ).split()
    for name in (*positive, "train_rooms", "eval_rooms"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise OtocError(f"{origin}: parameter {name!r} must be greater than 0, not {value}")
    for name in (
        "jitter color_shift pairwise_weight relation_power mean_field_tolerance workers checkpoint_seconds seed"
    ).split():
        if getattr(config, name) < 0:
            raise OtocError(f"{origin}: parameter {name!r} must not be negative, not {getattr(config, name)}")
    for name in ("threshold", "prototype_momentum"):
        if not 0 <= getattr(config, name) <= 1:
            raise OtocError(f"{origin}: parameter {name!r} must lie between 0 and 1, not {getattr(config, name)}")
    if len(config.elastic_granularity) != len(config.elastic_magnitude):
        raise OtocError(f"{origin}: 'elastic_granularity' and 'elastic_magnitude' must have the same length")
    if any(granularity <= 0 for granularity in config.elastic_granularity):
        raise OtocError(f"{origin}: every 'elastic_granularity' must be greater than 0")
    if len(config.scale_range) != 2 or not 0 < config.scale_range[0] <= config.scale_range[1]:
        raise OtocError(f"{origin}: 'scale_range' must be [smallest, largest], both greater than 0")
    if not config.eval_splits:
        raise OtocError(f"{origin}: 'eval_splits' must name at least one split, for example [val]")
    if (config.source in ("file", "points20")) != (config.clicks_file is not None):
        raise OtocError(f"{origin}: 'clicks_file' must be given with 'source: file' and 'source: points20', only then")
    if (config.dataset == "own") != bool(config.own_classes):
        raise OtocError(f"{origin}: 'own_classes' must list the classes with 'dataset: own', and only then")
    if len(set(config.own_classes)) < len(config.own_classes):
        raise OtocError(f"{origin}: 'own_classes' names a class twice")
    if config.source == "all" and config.variant != "control":
        raise OtocError(f"{origin}: 'source: all' leaves nothing to self-train on; set 'variant: control' with it")
    for name in ("profile", "experiment"):
        if not getattr(config, name).replace("_", "").replace("-", "").isalnum():
            raise OtocError(f"{origin}: parameter {name!r} becomes a folder's name: use letters, digits, '_' and '-'")
