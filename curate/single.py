"""One video through a few stages, without a dataset: for the verbs that answer about a file.

The same child process, probes and row stages as in a run, one after the other, with nothing kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from curate import keys
from curate.analyze import Interval
from curate.dataset import to_arrow
from curate.folder import fetched
from curate.listing import InputError, listing
from curate.recipe import Limits
from curate.sandbox import ChildDiedError, ChildRaisedError, Sandbox, Tables
from curate.scratch import scratch_folder
from curate.stage import FrameProbe, Row, RowStage
from curate.work.context import deadline
from schemas import sources


class VideoError(Exception):
    """The video could not be worked on; the message names it and says why."""


class Single:
    """A video and the process that opens it; a context manager.

    Args:
        given: path or URL of one file.
        progress: told how far a stage is in the video and how long the video is, seconds.
        sound_only: whether a file without pictures will do.

    Raises:
        InputError: it names no file, or several.
        VideoError: it is no video that can be read.
    """

    def __init__(
        self, given: str, progress: Callable[[float, float], None] = lambda at, of: None, sound_only: bool = False
    ) -> None:
        found = list(listing([given]).files.values())
        if len(found) != 1:
            raise InputError(f"{given}: names {len(found)} videos; give one file, or use curate run for many")
        if found[0].failure:
            raise InputError(f"{given}: {found[0].failure}")
        self.path = found[0].path
        self._progress, self._sound_only = progress, sound_only
        limits = Limits()
        self._sandbox = Sandbox(limits.memory_gib, limits.stall_s)
        self._open = ExitStack()
        self._open.callback(self._sandbox.close)
        self._scratch = str(self._open.enter_context(scratch_folder()))
        self.source: Row = {"source_id": keys.digest([self.path]), "paths": [self.path], "user": "{}"}
        self.decode: Row = {}

    def __enter__(self) -> Single:
        try:
            self.source["path"] = self._open.enter_context(fetched(self.path))
            header = {"path": self.source["path"], "sound_only": self._sound_only}
            self.source |= self._call("probe", header, {})[0]["probe"]
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def run(self, probes: Sequence[FrameProbe], stages: Sequence[RowStage]) -> Tables:
        """One decode for all probes, if there are any, then the stages in order: their tables by name.

        Raises:
            VideoError: a probe or a stage failed on the video.
        """
        tables: Tables = {}
        if probes:
            parameters = {probe.name: probe.model_dump(mode="json") for probe in probes}
            header: Row = {"source": self.source, "probes": parameters, "interval": Interval().dump()}
            answer, tables = self._call("analyze", header, {})
            for name, failure in answer["failures"].items():
                raise VideoError(f"{self.path}: {name}: {failure['message']}")
            self.decode = answer["decode"]
        tables["sources"] = to_arrow(sources.SOURCES, [self.source])
        for stage in stages:
            header = {"stage": stage.name, "parameters": stage.model_dump(mode="json"), "dataset": self._scratch}
            inputs = {n: tables[n].select(list(c)) if c else tables[n] for n, c in stage.inputs(tables).items()}
            answer, made = self._call("stage", header, inputs)
            for failure in answer["failures"]:
                raise VideoError(f"{self.path}: {stage.name}: {failure['message']}")
            tables[stage.writes.name] = made["rows"]
        return tables

    def _call(self, work: str, header: dict[str, Any], tables: Tables) -> tuple[dict[str, Any], Tables]:
        length = float(self.source.get("duration_s") or 0)
        try:
            return self._sandbox.call(
                work, header, tables, deadline(self.source), lambda at: self._progress(at, length)
            )
        except ChildRaisedError as error:
            raise VideoError(f"{self.path}: {error}") from None
        except ChildDiedError as error:
            raise VideoError(f"{self.path}: the decoding process {error}; the file is damaged or hostile") from None
