"""The exceptions that bad input and a full disk raise."""

import reprlib

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 60


class OtocError(ValueError):
    """Bad input: the message names the file or parameter and says what to do about it.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


class CannotWriteError(OtocError, OSError):
    """A disk that is full or the like: the message names the file. Nothing is wrong with the input."""

    def __str__(self) -> str:
        return str(self.args[-1])


def shown(value: object) -> str:
    """A value from outside as a message shows it, short however large it is."""
    try:
        return _BRIEF.repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
