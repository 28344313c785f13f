"""Official files on disk -> scenes."""

from tqdm import tqdm

from otoc_lib.config import Config
from otoc_lib.datasets import cache
from otoc_lib.scene import Scene


def load_split(config: Config, split: str, limit: int | None = None) -> list[Scene]:
    """Load the scenes of a split from the cache, in the order of its list, with progress on stderr.

    Scenes that the cache lacks, or whose files have changed, are converted first.

    Args:
        config: says which dataset, where it lies, and where the cache does.
        split: name of the split, see ``list_scenes`` of the dataset's module.
        limit: load only the first so many; None loads all.

    Raises:
        OtocError: names every file that is missing or damaged.
    """
    names = cache.list_scenes(config, split)[:limit]
    cache.convert_missing(config, names)
    return [cache.load_converted(config, name) for name in tqdm(names, desc=f"loading {split}", unit="room")]
