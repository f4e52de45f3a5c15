"""Errors that are the user's to mend. The command line prints their text alone, without a traceback."""


class TuneError(Exception):
    """The job cannot go on: the text names the file or value at fault and what to do. Exit code 1."""


class UsageError(TuneError):
    """The command was asked for something it cannot mean (a wrong key, a run of another config). Exit code 2."""
