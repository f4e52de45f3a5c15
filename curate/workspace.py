"""The files a stage may touch while it runs: its source, the dataset's files, and a scratch folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from curate.folder import Folder, fetched
from curate.scratch import scratch_folder


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

    def source(self, path: str) -> AbstractContextManager[str]:
        return fetched(path)

    def fetch(self, relative: str) -> AbstractContextManager[Path]:
        return self._folder.fetch(relative)

    def publish(self, local: Path, relative: str) -> None:
        self._folder.move_in(local, relative)


@contextmanager
def open_workspace(dataset_url: str, progress: Callable[[float], None] = lambda _: None) -> Iterator[DatasetWorkspace]:
    """A workspace whose scratch folder lasts as long as the block."""
    work = DatasetWorkspace(Folder(dataset_url), progress)
    try:
        yield work
    finally:
        work.clear()
