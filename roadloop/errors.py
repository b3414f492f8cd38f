"""The one exception whose message is meant for the person at the keyboard."""


class RoadloopError(ValueError):
    """Bad input, said in one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2; library users catch it
    like any ``ValueError``.
    """
