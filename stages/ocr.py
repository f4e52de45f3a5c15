"""Reads what is written in a clip's stills, with PP-OCR's networks out of the package `rapidocr`.

What it reads is other people's text. It is bounded and cleaned here, and nothing in the project takes it for more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.models import Model
from curate.stage import Row, RowStage, Workspace
from schemas import Table, text
from stages import looks
from stages.stills import opened

DETECTOR = Model(
    "PP-OCRv6-small",
    "Apache-2.0",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    package=("rapidocr", "rapidocr/models/PP-OCRv6_det_small.onnx"),
)
"""Finds lines of text in any script."""
READER = Model(
    "PP-OCRv6-small",
    "Apache-2.0",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    package=("rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx"),
)
"""Reads Chinese, Japanese and Latin letters; lines in other scripts are found, but read badly."""

MOST_LETTERS, MOST_LINES = 200, 100
"""Of a line, and of a still: a page of small print has about so many. A picture can hold no more than that against
whoever reads the table."""
GLANCE_PX = 32
"""Width of the picture by which a change is seen."""


class Ocr(RowStage):
    """Searches stills for text. About 0.15 s a still on one core, 5 min for an hour of video."""

    name: ClassVar[str] = "ocr"
    writes: ClassVar[Table] = text.OCR
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": looks.CLIP, "stills": ("t_s", "jpeg")}
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"screening": looks.SCREENING}

    every_s: float = Field(2.0, gt=0)
    """Longest time between stills that are searched, seconds: a subtitle stands for 2 to 7 s."""
    changed: float = Field(30.0, ge=0, le=255)
    """A still that differs from the last searched by this much, mean difference of 0 to 255, is searched, too: a hard
    cut or a title card differs by 40 and more, a walking camera by 10 to 25 a second."""
    long_side: int = Field(640, ge=64, le=4096)
    """Long side at which text is searched for, px; a smaller still is not enlarged. At 640 a line of 9 px is read, and
    it costs a quarter of the 1300 px that rapidocr takes by default."""
    least_confidence: float = Field(0.3, ge=0, le=1)
    """Lines of which the reader is less sure are not stored: leaves and folds read as letters have 0.1 to 0.5."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        times = inputs["stills"].column("t_s").to_numpy()
        jpegs = inputs["stills"].column("jpeg")
        for clip, out in looks.looked_at(inputs):
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"]}
            numbers = looks.inside(times, clip)
            if out or not numbers:
                yield row | {"unmeasured": out or "no still lies inside the clip"}
                continue
            pictures = ((float(times[n]), opened(jpegs[n].as_py())) for n in numbers)
            for t_s, picture in self._key_stills(pictures):
                work.progress(t_s)
                yield row | {"t_s": t_s, "model": READER.name} | lines(picture, self.long_side, self.least_confidence)

    def _key_stills(self, pictures: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
        last_s, last = -np.inf, None
        for t_s, picture in pictures:
            glance = cv2.resize(picture, (GLANCE_PX, GLANCE_PX), interpolation=cv2.INTER_AREA)
            apart = 255.0 if last is None else cv2.norm(glance, last, cv2.NORM_L1) / glance.size
            if t_s - last_s > self.every_s - 0.05 or apart > self.changed:
                last_s, last = t_s, glance
                yield t_s, picture


def lines(picture: np.ndarray, long_side: int, least_confidence: float) -> Row:
    """Boxes (shares of the picture), letters and confidences of what is read in (rows, columns, 3) uint8.

    `long_side`: px at which text is searched for; `least_confidence`: sureness below which a line is left out.
    """
    found = engine(long_side)(picture)
    height, width = picture.shape[:2]
    boxes, texts, confidences = [], [], []
    for corners, letters, score in _read(found):
        line = cleaned(letters)
        # A comparison with NaN is false, so that a line with a NaN in it goes, too.
        if not (line and score >= least_confidence and np.isfinite(corners).all()):
            continue
        low, high = corners.min(0) / (width, height), corners.max(0) / (width, height)
        boxes.append(np.clip([*low, *high], 0, 1).tolist())
        texts.append(line)
        confidences.append(float(score))
    most = slice(MOST_LINES)
    return {"boxes": boxes[most], "texts": texts[most], "confidences": confidences[most]}


def _read(found: Any) -> Sequence[tuple[np.ndarray, str, float]]:
    """(corners (4, 2) px, letters, confidence) of each line."""
    if found.boxes is None or found.txts is None:
        return []
    return list(zip(np.asarray(found.boxes, float), found.txts, found.scores, strict=True))


def cleaned(letters: str) -> str:
    """Text without control, format and unassigned characters, white space made single blanks, bounded."""
    plain = "".join(" " if c.isspace() else c for c in letters if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(plain.split())[:MOST_LETTERS]


@lru_cache(maxsize=1)
def engine(long_side: int) -> Any:
    """The detector and the reader, loaded once a process: offline, silent, on one thread.

    Raises:
        WeightsError: the package's files are not there, or are others.
    """
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.text_score": 0.0,
            "Global.use_cls": False,  # would tell text upside down, and costs a third network
            "Det.model_path": str(DETECTOR.weights()),
            "Rec.model_path": str(READER.weights()),
            "Det.limit_type": "max",
            "Det.limit_side_len": long_side,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,  # a worker has one core
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
