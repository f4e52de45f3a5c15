"""The files a stage may touch while it runs: its source, the dataset's files, and a scratch folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from curate.folder import Folder, fetched
from curate.scratch import scratch_folder

BEAT_S = 5.0
"""Between two signs of life while a store is waited for, seconds."""


class DatasetWorkspace:
    """A `curate.stage.Workspace` over a dataset. `open_workspace` makes one."""

    def __init__(self, folder: Folder, progress: Callable[[float], None]) -> None:
        self._folder = folder
        self._open = ExitStack()
        self.progress = progress

    @cached_property
    def scratch(self) -> Path:
        """Made when first asked for: to make and remove a folder takes a disk longer than most tasks."""
        return self._open.enter_context(scratch_folder())

    def clear(self) -> None:
        """Delete the scratch folder, if there is one."""
        self._open.close()

    @contextmanager
    def source(self, path: str) -> Iterator[str]:
        with ExitStack() as stack:
            with alive(self.progress, "://" in path):
                local = stack.enter_context(fetched(path))
            yield local

    @contextmanager
    def fetch(self, relative: str) -> Iterator[Path]:
        with ExitStack() as stack:
            with alive(self.progress, not self._folder.local):
                local = stack.enter_context(self._folder.fetch(relative))
            yield local

    def publish(self, local: Path, relative: str) -> None:
        with alive(self.progress, not self._folder.local):
            self._folder.move_in(local, relative)


@contextmanager
def alive(progress: Callable[[float], None], remote: bool) -> Iterator[None]:
    """Signs of life while a store is waited for: its retries may take longer than a stuck decoder is given."""
    if not remote:
        yield
        return
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(BEAT_S):
            progress(0.0)

    beat = threading.Thread(target=tell, daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()


@contextmanager
def open_workspace(dataset_url: str, progress: Callable[[float], None] = lambda _: None) -> Iterator[DatasetWorkspace]:
    """A workspace whose scratch folder lasts as long as the block."""
    work = DatasetWorkspace(Folder(dataset_url), progress)
    try:
        yield work
    finally:
        work.clear()
