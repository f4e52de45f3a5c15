"""What a stage is: its parameters, what it reads and writes, and the work. The engine does everything else.

A stage is a frozen pydantic model whose fields are its parameters. There are three kinds: a `FrameProbe` sees the
frames of the one decode, a `RowStage` turns the rows of one source (or another group) into rows, and a `TableStage`
turns whole tables into rows. To add one, subclass a kind and name the class under the entry point `longtake.stages`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict

from curate.media.frame import Frame
from schemas import Table

Row = dict[str, Any]
"""Values by column name. Columns left out are null; columns that the table lacks are an error."""


@dataclass(frozen=True)
class Failure:
    """One clip that a stage could not do. The clip's row goes to `errors`; the others go on."""

    clip_id: str
    error: Exception


class DamagedError(Exception):
    """A file of the dataset is not what was written. `path` is its name inside the dataset, `what` what is wrong."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path, self.what = path, what

    def __str__(self) -> str:
        return f"{self.path} is damaged: {self.what}"


class Workspace(Protocol):
    """The files that a stage may touch."""

    @property
    def scratch(self) -> Path:
        """A local folder that is emptied after the task."""

    def source(self, path: str) -> AbstractContextManager[str]:
        """A source as a local file, fetched first if it is remote."""

    def fetch(self, relative: str) -> AbstractContextManager[Path]:
        """A file of the dataset as a local file."""

    def publish(self, local: Path, relative: str) -> None:
        """Move a finished local file into the dataset, in one step: it is there whole or not at all."""

    def progress(self, video_s: float) -> None:
        """Say that work goes on, `video_s` seconds of video further; a silent task is taken for a hung one."""


class Stage(BaseModel, ABC):
    """Common to all stages.

    Class attributes:
        name: what recipes call it.
        version: raised whenever the same parameters and inputs would give other rows; redoes the stage everywhere.
        writes: its one table.
        reads: tables by name, each with the columns it needs; () is all. A table stage's table counts as changed for
            a source only where these columns changed for it.
        reads_if_there: the same for tables that it can do without; they are read where the recipe writes them.
        resources: Dask worker resources that a task needs, such as {"GPU": 1}.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")

    name: ClassVar[str]
    version: ClassVar[int] = 1
    writes: ClassVar[Table]
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    resources: ClassVar[Mapping[str, float]] = {}

    def inputs(self, there: Collection[str]) -> dict[str, tuple[str, ...]]:
        """What the stage reads, by table, in a recipe that has the tables `there`."""
        return {**self.reads, **{t: columns for t, columns in self.reads_if_there.items() if t in there}}

    def faults(self, schemas: Mapping[str, pa.Schema]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What of its parameters does not go with the recipe's tables: the place within them, and what is wrong."""
        yield from ()


class ProbeRun(Protocol):
    """One probe's pass over one source."""

    def update(self, frame: Frame) -> Row | None:
        """The row of this frame without its source_id, frame, pts and t_s, which the engine adds; None for no row."""


class FrameProbe(Stage):
    """Sees every frame of the shared decode. A row may depend on its frame and on the `lookback_s` before it."""

    vectors: ClassVar[bool] = False
    """Whether it looks at `Frame.vectors`. Exporting them costs the decoder 2 to 4 % of its time."""

    @property
    def lookback_s(self) -> float:
        """How far back, in seconds, a row may depend on frames beyond the one just before. Beyond 4 s its sources
        cannot be decoded in intervals."""
        return 0.0

    @abstractmethod
    def start(self, source: Row) -> ProbeRun:
        """A fresh pass over `source` (a row of `sources`)."""


class RowStage(Stage):
    """Turns the rows of one group into rows."""

    by: ClassVar[str] = "source_id"
    """The column whose value makes a group: one task each."""
    opens_media: ClassVar[bool] = False
    """Whether it reads a source's or a clip's media, and so must run in a child process with limits."""

    @abstractmethod
    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        """Rows out of the group's rows of each of its `inputs`."""


class TableStage(Stage):
    """Turns whole tables into rows: deduplication, selection, packing."""

    @abstractmethod
    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        """Batches of rows out of its `inputs`. Rows of one source (or group) stand together, in order."""
