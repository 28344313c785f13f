"""Class lists, file label ids and colours of ScanNet-20 and S3DIS-13.

A class index 0..C-1 is what every array of labels holds; ``IGNORE`` marks points without a benchmark class. A click may
say ``NO_CLASS`` instead of a class.
"""

from dataclasses import dataclass

import numpy as np

IGNORE = -100
NO_CLASS = -2  # of a click: what is there is of none of the classes
NO_CLASS_NAME = "none"  # the same in clicks.csv; no class may be called so


@dataclass(frozen=True)
class LabelSet:
    """Names, file ids and colours of the C benchmark classes of one dataset, in index order.

    ``file_ids`` are the label ids found in the dataset's own files (NYU40 ids for ScanNet); ``colors`` are RGB 0..255.
    """

    name: str
    names: tuple[str, ...]
    file_ids: tuple[int, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Class index of a class name; IGNORE for a name outside the benchmark."""
        return self.names.index(name) if name in self.names else IGNORE

    def from_file_ids(self, ids: np.ndarray) -> np.ndarray:
        """Map label ids of the dataset's files, any integer array, to class indices, int16, same shape."""
        ids = np.asarray(ids)
        table = np.full(max(int(ids.max(initial=0)), max(self.file_ids)) + 1, IGNORE, dtype=np.int16)
        table[list(self.file_ids)] = np.arange(len(self), dtype=np.int16)
        return np.where(ids >= 0, table[np.maximum(ids, 0)], np.int16(IGNORE)).astype(np.int16)

    def to_file_ids(self, labels: np.ndarray, unlabelled: int = 0) -> np.ndarray:
        """Map class indices, any integer array, to the dataset's label ids, int32; IGNORE becomes ``unlabelled``."""
        labels = np.asarray(labels)
        table = np.array(self.file_ids, dtype=np.int32)
        return np.where(labels >= 0, table[np.maximum(labels, 0)], np.int32(unlabelled)).astype(np.int32)

    def paint(self, labels: np.ndarray) -> np.ndarray:
        """Colours, uint8 (N, 3), of class indices (N,); IGNORE is light grey, NO_CLASS a darker one."""
        table = np.array([*self.colors, (225, 225, 225), (170, 170, 170)], dtype=np.uint8)
        labels = np.asarray(labels)
        return table[np.where(labels >= 0, labels, len(self) + (labels == NO_CLASS))]

    def name_of(self, label: int) -> str:
        """Name of a class index, NO_CLASS_NAME of NO_CLASS: as clicks.csv has it."""
        return NO_CLASS_NAME if label == NO_CLASS else self.names[label]


# The order is the benchmark's. The colours are those of the ScanNet benchmark's class legend.
SCANNET20 = LabelSet(
    name="scannet20",
    names=(
        "wall",
        "floor",
        "cabinet",
        "bed",
        "chair",
        "sofa",
        "table",
        "door",
        "window",
        "bookshelf",
        "picture",
        "counter",
        "desk",
        "curtain",
        "refrigerator",
        "shower curtain",
        "toilet",
        "sink",
        "bathtub",
        "otherfurniture",
    ),
    file_ids=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39),
    colors=(
        (174, 199, 232),
        (152, 223, 138),
        (31, 119, 180),
        (255, 187, 120),
        (188, 189, 34),
        (140, 86, 75),
        (255, 152, 150),
        (214, 39, 40),
        (197, 176, 213),
        (148, 103, 189),
        (196, 156, 148),
        (23, 190, 207),
        (247, 182, 210),
        (219, 219, 141),
        (255, 127, 14),
        (158, 218, 229),
        (44, 160, 44),
        (112, 128, 144),
        (227, 119, 194),
        (82, 84, 163),
    ),
)

S3DIS13 = LabelSet(
    name="s3dis13",
    names=(
        "ceiling",
        "floor",
        "wall",
        "beam",
        "column",
        "window",
        "door",
        "chair",
        "table",
        "bookcase",
        "sofa",
        "board",
        "clutter",
    ),
    file_ids=tuple(range(13)),
    colors=(
        (0, 200, 90),
        (90, 110, 250),
        (0, 220, 235),
        (250, 240, 20),
        (210, 60, 220),
        (120, 120, 200),
        (195, 165, 45),
        (240, 70, 60),
        (160, 100, 20),
        (15, 160, 20),
        (200, 190, 150),
        (110, 110, 110),
        (60, 60, 60),
    ),
)

# Mean clicks a training scene in the paper (section 4), one for every object of a benchmark class, by label set.
PAPER_CLICKS = {SCANNET20.name: 19.74, S3DIS13.name: 36.15}

LABEL_SETS = {label_set.name: label_set for label_set in (SCANNET20, S3DIS13)}
