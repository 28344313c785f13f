"""Official files on disk -> scenes."""

from pathlib import Path

from tqdm import tqdm

from otoc_lib.datasets import scannet
from otoc_lib.errors import OtocError
from otoc_lib.scene import Scene


def load_split(dataset: str, root: Path, split: str, limit: int | None = None) -> list[Scene]:
    """Load the scenes of a split, in the order of its list, with progress on stderr.

    Args:
        dataset: "scannet", the layout of ScanNet-v2, which the bundled rooms share.
        root: folder that holds the data.
        split: name of the split, see ``scannet.list_scenes``.
        limit: load only the first so many; None loads all.
    """
    if dataset != "scannet":
        raise OtocError(f"dataset: {dataset!r} is not known; the known one is 'scannet'")
    names = scannet.list_scenes(root, split)[:limit]
    return [scannet.load_scene(root, name) for name in tqdm(names, desc=f"loading {split}", unit="room")]
