"""Values by name that are made when they are asked for, and kept by nobody here.

What there is of a room, such as the label of every point, takes as much memory as the room; of ScanNet's 1201 training
rooms together it takes hundreds of megabytes. One at a time it takes one room's.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


class OnDemand(Mapping[str, Value]):
    """Name -> ``make(sources[name])``, made anew each time.

    Args:
        sources: name -> what a value is made of, such as the scene or the path of a file.
        make: makes it, always the same of the same. A function of a module, or a ``partial`` of one, where worker
            processes ask for values: they get this object and no value.
    """

    def __init__(self, sources: Mapping[str, Any], make: Callable[[Any], Value]):
        self.sources, self.make = sources, make

    def __getitem__(self, name: str) -> Value:
        return self.make(self.sources[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __contains__(self, name: object) -> bool:
        return name in self.sources  # without making it
