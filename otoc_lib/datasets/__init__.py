"""Official files on disk -> scenes.

A dataset is the module here that ``dataset`` of ``otoc_lib.config`` names. It holds

- ``list_scenes(root: Path, split: str) -> list[str]``: the names of the scenes of a split, in order;
- ``scene_files(root: Path, name: str) -> list[Path]``: the files that a scene is read from; a scene is converted again
  when one of them changes;
- ``read_scene(root: Path, name: str, config: Config) -> Scene``: the scene from its files;
- ``READS: tuple[str, ...]``: groups of the parameters that change what ``read_scene`` gives; it can read no other;
- where scenes are meshes, ``read_faces(root: Path, name: str) -> np.ndarray | None``: the triangles, int32 [F, 3] of
  the scene's points, to draw them; None for a scene of points.

It may hold

- ``room_of(name: str) -> str``, where several scenes show one room: they are never on both sides of ``eval_splits:
  [held_out]``;
- ``in_training(split: str) -> bool``, where scenes of other splits are in the training split, too: whether those of
  ``split`` are;
- ``read_with_summary``, which gives the scene and its summary, a dict for JSON, and ``read_summary``, which gives the
  latter alone, both with the arguments of ``read_scene``.

All of them raise OtocError naming the file or folder that is missing or damaged. To add a dataset, add its module.
"""

import numpy as np
from tqdm import tqdm

from otoc_lib.config import Config
from otoc_lib.datasets import cache
from otoc_lib.palette import recoloured
from otoc_lib.scene import Scene


def load_split(config: Config, split: str, limit: int | None = None) -> list[Scene]:
    """Load the scenes of a split from the cache, in the order of its list, with progress on stderr.

    Scenes that the cache lacks, or whose files have changed, are converted first, in this process; ``cache.prepare``
    can do it in several.

    Args:
        config: says which dataset, where it lies, and where the cache does.
        split: name of the split, see ``list_scenes`` of the dataset's module.
        limit: load only the first so many; None loads all.

    Returns:
        The scenes; the colours of their label set are those that ``class_colors`` asks for.

    Raises:
        OtocError: names every file that is missing or damaged.
    """
    names = cache.list_scenes(config, split)[:limit]
    cache.convert_missing(config, names)
    loaded = cache.load_all_converted(config, names)
    scenes = list(tqdm(loaded, f"loading {split}", len(names), unit="room"))
    if config.class_colors == "benchmark":
        return scenes
    return [scene.recoloured(recoloured(scene.label_set)) for scene in scenes]


def load_faces(config: Config, name: str) -> np.ndarray | None:
    """The triangles of the mesh of a scene, int32 [F, 3] of its points, from its file; None where it has points only.

    Raises OtocError naming a file that is missing or damaged.
    """
    read_faces = getattr(cache.reader_of(config), "read_faces", None)
    return read_faces(config.data_folder, name) if read_faces else None
