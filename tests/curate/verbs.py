"""The command line in this process: the imports of a new one take ten times as long as the work of most verbs."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import pytest

from curate.cli import main


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """What `curate` with these words says, and its exit status; an exception that nobody caught is the caller's."""
    argv, sys.argv = sys.argv, ["curate", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(
        ["curate", *map(str, words)], ended.value.code or 0, out.getvalue(), err.getvalue()
    )
