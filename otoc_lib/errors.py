"""The exceptions that bad input and a full disk raise, and how warnings read."""

import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 60


class OtocError(ValueError):
    """Bad input: the message names the file or parameter and says what to do about it.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


class SeveralFaultsError(OtocError):
    """Bad input in several places, each with its message; as one text, a line each."""

    def __init__(self, messages: Sequence[str]):
        super().__init__("\n".join(messages))
        self.messages = tuple(messages)


class Faults:
    """Collects what readers refuse, where one fault must not hide others."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def of(self, read: Callable[[], T]) -> T | None:
        """What ``read()`` gives; None where it raises OtocError, which is kept."""
        try:
            return read()
        except OtocError as error:
            self.messages += messages_of(error)
            return None

    def check(self) -> None:
        """Raise what was kept, if anything was."""
        if self.messages:
            raise error_of(self.messages)


def error_of(messages: Sequence[str]) -> OtocError:
    """One error with all messages, each once; there is one at least."""
    found = list(dict.fromkeys(messages))
    return OtocError(found[0]) if len(found) == 1 else SeveralFaultsError(found)


def messages_of(error: Exception) -> tuple[str, ...]:
    """The messages of an error, one for each fault."""
    return error.messages if isinstance(error, SeveralFaultsError) else (str(error),)


def first_of(messages: Sequence[str], most: int, place: object, total: int | None = None) -> list[str]:
    """The first messages about lines of a file, and a last one that says how many more there are.

    Args:
        total: how many lines are wrong, where not all have a message.
    """
    more = max(total or 0, len(messages)) - min(len(messages), most)
    return [*messages[:most], *([f"{place}: {more} more lines that are wrong"] if more else [])]


class CannotWriteError(OtocError, OSError):
    """A disk that is full or the like: the message names the file. Nothing is wrong with the input."""

    def __str__(self) -> str:
        return str(self.args[-1])


def plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Warnings of the kit as sentences; those of programs, such as deprecations, with their place in the code. For
    ``warnings.formatwarning``."""
    return (
        f"warning: {message}\n" if category is UserWarning else f"{filename}:{lineno}: {category.__name__}: {message}\n"
    )


def listed(names: Iterable[str], most: int) -> str:
    """The first names, and how many more there are: ``a, b and 3 more``."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shown(value: object) -> str:
    """A value from outside as a message shows it, short however large it is."""
    try:
        return _BRIEF.repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
