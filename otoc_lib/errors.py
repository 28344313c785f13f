"""The one exception that bad input raises."""


class OtocError(ValueError):
    """Bad input: the message names the file or parameter and says what to do about it.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """
