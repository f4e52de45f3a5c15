"""A folder to publish to, on a local disk (to look at it first) or on anything that fsspec knows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from curate.folder import Folder
from curate.listing import InputError
from pipelines.push.files import Change, File, PushError, change

NOTES = ".longtake.json"
"""At the target: checksum by path of each file that a push put there. Readers of datasets pass over such a name."""
SAVED = 20
"""Files after which the notes are written: what a killed push put there since is put there again."""


class FolderTarget:
    """A folder that holds what was published to it, and nothing else."""

    def __init__(self, url: str) -> None:
        try:
            self._folder = Folder(url)
        except (ImportError, ValueError) as error:
            raise InputError(f"{url}: {error}; for s3:// install 'longtake[s3]'") from error
        self.name = url
        self.local, self.root = self._folder.local, self._folder.root
        self.link = Path(self._folder.root).name if self._folder.local else url
        self._noted = self._read()

    def _read(self) -> dict[str, str]:
        if self._folder.exists(NOTES):
            try:
                return dict(json.loads(self._folder.read(NOTES)))
            except ValueError:
                return {}
        if self._folder.exists("recipe.yaml"):
            raise PushError(f"{self.name} is a dataset of curate itself; publish to a folder of its own")
        if there := self._folder.tree(""):
            raise PushError(f"{self.name} holds {there[0]}, which no push put there; publish to a folder of its own")
        return {}

    def page(self) -> str:
        """README.md as it stands there; empty: there is none."""
        return self._folder.read("README.md").decode() if self._folder.exists("README.md") else ""

    def compare(self, wanted: Iterable[File]) -> Change:
        there = {path: self._noted.get(path) for path in self._folder.tree("") if path != NOTES}
        return change(wanted, there, lambda file: file.sha256)

    def apply(self, wanted: Iterable[File], message: str, say: Callable[[str], None]) -> tuple[Change, str | None]:
        todo = self.compare(wanted)
        if not todo:
            return todo, self.name
        # What is about to change is noted no longer, so that a push which is killed vouches for no file it was at.
        for path in (*todo.delete, *(file.path for file in todo.upload)):
            self._noted.pop(path, None)
        self._note()
        last = [file for file in todo.upload if "/" not in file.path]
        first = [file for file in todo.upload if "/" in file.path]
        for number, file in enumerate(first, start=1):
            self._put(file)
            if not number % SAVED:
                self._note()
                say(f"{number} of {len(todo.upload)} files")
        for path in todo.delete:
            self._folder.remove(path)
        for file in last:
            self._put(file)
        self._note()
        self._prune()
        return todo, self.name

    def _put(self, file: File) -> None:
        with file.local() as source:
            self._folder.copy_in(source, file.path)
        self._noted[file.path] = file.sha256

    def _note(self) -> None:
        self._folder.write(NOTES, json.dumps(self._noted, indent=1, sort_keys=True).encode())

    def _prune(self) -> None:
        """Remove folders in which nothing is left."""
        if self._folder.local:
            for parent, _, _ in os.walk(self._folder.root, topdown=False):
                if parent != self._folder.root and not os.listdir(parent):
                    os.rmdir(parent)
