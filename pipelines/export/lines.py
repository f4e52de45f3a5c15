"""Self-Forcing's and Rolling Forcing's prompt lists: a prompt a line, and a second file with the long versions."""

from __future__ import annotations

from pipelines.export.folder import Out
from pipelines.export.taken import Taken


def prompts(taken: Taken, out: Out, prompts: int) -> int:
    """`prompts.txt`, as a user would ask, and `prompts_extended.txt`, the whole caption, aligned line by line."""
    out.text("prompts.txt", "".join(f"{take.told('prompt', 'short')}\n" for take in taken.takes))
    out.text("prompts_extended.txt", "".join(f"{take.told('text')}\n" for take in taken.takes))
    return len(taken.takes)
