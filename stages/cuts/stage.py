"""`cuts`: decides from the stored signals where shots end, by the detector that the recipe names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, boundaries
from stages.cuts.cascade import STITCHED, Candidate, agree, candidates
from stages.cuts.classifier import Classifier, bundled
from stages.cuts.second_opinion import SecondOpinion

LISTS = ("diff", "blend", "step", "split")
GRIDS = ("displaced", "unexplained")
WHOLE = ("t_s", "pts", "errors_before", "delta_hue", "delta_sat", "delta_lum", "delta_2s", "diff")
"""Columns that are held for a whole source; the others, four fifths of the bytes, for a chunk of frames at a time."""
COLUMNS = (*WHOLE, "luma", "contrast", "moved", *LISTS[1:], *GRIDS)
THRESHOLDS = {"cascade": 0.4, "transnetv2": 0.5, "content": 27.0, "adaptive": 3.0}
"""By default: two to three, for a cut in a take costs more than a take in two; of the others their authors'."""


class Cuts(RowStage):
    """Decides where shots end. Lost packets are boundaries too: what lay there is unknown."""

    name: ClassVar[str] = "cuts"
    version: ClassVar[int] = 3
    writes: ClassVar[Table] = boundaries.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "signals": ("source_id", *COLUMNS),
        "sources": ("path", "rotation", "time_base_num", "time_base_den", "start_pts", "split_pts", "audio_codec"),
    }
    opens_media: ClassVar[bool] = True

    detector: Literal["cascade", "transnetv2", "adaptive", "content"] = "cascade"
    """`cascade`: the classifier on the stored signals, and TransNetV2 on what it is unsure about; finds cuts, jumps,
    dissolves, fades and wipes. `transnetv2`: that network on every frame, some twenty times the cost of decoding.
    `adaptive` and `content`: PySceneDetect's."""
    threshold: float | None = Field(None, gt=0)
    """What makes a boundary: by default, a probability of 0.4 for `cascade` and 0.5 for `transnetv2`, a content score
    of 27 of 255 for `content`, and 3 times the neighbours' for `adaptive`."""
    unsure: tuple[float, float] = (0.1, 0.9)
    """Between these probabilities `cascade` asks TransNetV2; two equal numbers: never."""
    most_asked: float = Field(0.02, ge=0, le=1)
    """Largest share of a source's frames that TransNetV2 is shown, the most doubtful first: at 9 ms a frame, 2 % cost
    a third of decoding 640x360."""
    sample_s: Literal[2] | None = None
    """`content` only: compare frames this many seconds apart, as LVD-2M does, in place of neighbours."""
    window: int = Field(2, ge=1)
    """`adaptive` only: neighbours on either side, frames: its authors' default."""
    min_content: float = Field(15.0, ge=0)
    """`adaptive` only: content score below which nothing is cut: its authors' default."""
    embedding: str | None = None
    """`cascade` only: an image model (a local folder or a hub's name, as `transformers` reads it) by which shots are
    stitched that it sees as one; by default only colour and structure decide."""
    stitch_distance: float = Field(0.6, ge=0, le=2)
    """Distance of embeddings up to which they are: Panda-70M's, for ImageBind."""
    weights: str | None = None
    """`cascade` only: an .npz of weights fitted on footage of your own; the bundled ones by default."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        seen = inputs["signals"]
        frames = seen.num_rows
        if not frames:
            return
        signals = arrays(seen.select(WHOLE))
        network = SecondOpinion(inputs["sources"].to_pylist()[0], signals["pts"], work)
        found = self._found(seen, signals, network)
        lost = np.flatnonzero(signals["errors_before"] > 0)
        found += [Candidate(int(at), int(at), "gap", None, "decoder") for at in lost if at > 0]
        found.sort(key=lambda c: (c.start, c.end))
        verdicts = {candidate: self._verdict(candidate, signals["diff"]) for candidate in found}
        if self.embedding:
            asked = [c for c in found if verdicts[c]["accepted"] and c.kind not in ("jump", "gap")]
            for candidate, apart in network.apart(asked, self.embedding).items():
                if apart <= self.stitch_distance:
                    why = f"embeddings of both sides lie {apart:.2f} apart"
                    verdicts[candidate] = {"accepted": False, "why": why, "probability": None}  # nobody knows it
        source_id = seen.column("source_id")[0].as_py()
        for candidate, verdict in verdicts.items():
            yield {"source_id": source_id, **_row(candidate, signals), **verdict}
        end = Candidate(frames, frames, "end", None, self._looked(network.share))
        yield {"source_id": source_id, **_row(end, signals), "accepted": True}

    def _looked(self, share: float) -> str:
        """Who looked for boundaries, for the takes' certificates."""
        if self.detector == "content" and self.sample_s:
            return f"content at {1 / self.sample_s:g} fps, decoder"
        if self.detector != "cascade":
            return f"{self.detector}, decoder"
        stitching = f", stitched by {self.embedding}" if self.embedding else ""
        return f"classifier, transnetv2 on {share:.1%} of the frames, decoder{stitching}"

    @property
    def _threshold(self) -> float:
        return self.threshold or THRESHOLDS[self.detector]

    def _found(self, seen: pa.Table, signals: Mapping[str, np.ndarray], network: SecondOpinion) -> list[Candidate]:
        from stages.cuts import detectors  # PySceneDetect takes an eighth of a second, and the cascade none of it

        if self.detector == "content" and self.sample_s:
            return detectors.sampled_content(signals, self._threshold)
        if self.detector == "content":
            return detectors.content(signals, self._threshold)
        if self.detector == "adaptive":
            return detectors.adaptive(signals, self._threshold, self.window, self.min_content)
        if self.detector == "transnetv2":
            return network.everywhere()
        classifier = Classifier.load(self.weights) if self.weights else bundled()
        found = candidates(classifier.probabilities(len(seen), lambda a, b: arrays(seen.slice(a, b - a))))
        return network.about(found, classifier.calibration, self.unsure, self.most_asked)

    def _verdict(self, candidate: Candidate, diff: np.ndarray) -> Row:
        """Whether a candidate is a boundary, and why not."""
        if candidate.probability is not None and candidate.probability < self._threshold:
            return {"accepted": False, "why": f"less likely than {self._threshold:g}"}
        if self.detector == "cascade" and candidate.kind != "gap" and agree(candidate, diff):
            why, kept = "the same picture stands on both sides", min(candidate.probability or 0.0, STITCHED)
            return {"accepted": False, "why": why, "probability": kept}
        return {"accepted": True, "why": None}


def arrays(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of `signals` that a table has as arrays, frames first."""
    found = {}
    for name in set(table.column_names) & set(COLUMNS):
        column = table.column(name)
        if name in LISTS:
            found[name] = pc.list_flatten(column).to_numpy().reshape(len(table), -1)
        elif name in GRIDS:
            found[name] = np.concatenate([_cells(chunk) for chunk in column.chunks])
        else:
            found[name] = column.to_numpy()
    return found


def _cells(chunk: pa.Array) -> np.ndarray:
    """A chunk of binaries of one length as (rows, bytes), without a Python object for each."""
    width, first = chunk.type.byte_width, chunk.offset
    data = chunk.buffers()[1]
    assert data is not None  # noqa: S101 - for the type checker; only a column of nulls has none
    return np.frombuffer(memoryview(data), np.uint8).reshape(-1, width)[first : first + len(chunk)]


def _row(candidate: Candidate, signals: Mapping[str, np.ndarray]) -> Row:
    last = len(signals["pts"]) - 1
    start, end = min(candidate.start, last), min(candidate.end, last)
    return {
        "start_frame": candidate.start,
        "end_frame": candidate.end,
        "start_pts": int(signals["pts"][start]),
        "end_pts": int(signals["pts"][end]),
        "start_s": float(signals["t_s"][start]),
        "end_s": float(signals["t_s"][end]),
        "kind": candidate.kind,
        "probability": candidate.probability,
        "score": candidate.score,
        "detector": candidate.detector,
    }
