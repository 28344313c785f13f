"""The exceptions that bad input and a full disk raise."""


class OtocError(ValueError):
    """Bad input: the message names the file or parameter and says what to do about it.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


class CannotWriteError(OtocError, OSError):
    """A disk that is full or the like: the message names the file. Nothing is wrong with the input."""

    def __str__(self) -> str:
        return str(self.args[-1])
