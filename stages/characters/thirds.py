"""The stage `lower_thirds`: what is written low in the picture while somebody is seen or speaks.

News, documentaries and talk shows say there who is on screen, for some four seconds, whatever the length of the take;
`ocr` reads long takes only, and seldom enough to miss that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, characters
from stages import looks
from stages.characters.titles import same
from stages.cover import Cover
from stages.ocr import READER, lines
from stages.stills import opened
from stages.text import LOW

REACH = 0.05
"""How far above `LOW` the picture is still read, so that a line on the border is read whole."""
MOST_LINES = 200
"""Lines of a take that are stored: news tickers change for hours."""


class LowerThirds(RowStage):
    """Reads the lower part of stills. About 0.1 s a still on one core: a fourteenth of real time where somebody is
    always seen or speaks."""

    name: ClassVar[str] = "lower_thirds"
    writes: ClassVar[Table] = characters.LOWER_THIRDS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "stills": ("t_s", "jpeg"),
        "faces": ("start_s", "end_s"),
        "speech": ("start_s", "end_s", "kind"),
    }

    every_s: float = Field(1.5, gt=0)
    """Time between stills that are read, seconds: a name stands for three seconds and more, and is read twice."""
    long_side: int = Field(640, ge=64, le=4096)
    """Long side at which text is searched for, px; as in `ocr`."""
    least_confidence: float = Field(0.7, ge=0, le=1)
    """Sureness from which a line counts; as in `text`."""
    least_letters: int = Field(4, ge=1)
    """Letters of the shortest line that is stored: shorter names are words, too."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        times = inputs["stills"].column("t_s").to_numpy()
        jpegs = inputs["stills"].column("jpeg")
        somebody = Cover(
            (row["start_s"], row["end_s"])
            for table in ("faces", "speech")
            for row in inputs[table].to_pylist()
            if row.get("kind", "speech") == "speech"
        )
        for clip in inputs["clips"].to_pylist():
            found: list[Row] = []
            last_s = -np.inf
            for n in looks.inside(times, clip):
                t_s = float(times[n])
                if t_s - last_s < self.every_s - 1e-3 or not somebody.seconds(t_s - self.every_s, t_s + self.every_s):
                    continue
                last_s = t_s
                self._add(found, opened(jpegs[n].as_py()), t_s)
                work.progress(t_s)
            for row in found[:MOST_LINES]:
                yield {"source_id": clip["source_id"], "clip_id": clip["clip_id"], "model": READER.name} | row

    def _add(self, found: list[Row], picture: np.ndarray, t_s: float) -> None:
        """What is read in a still; a line that is known has one time more, and its best reading stands for it."""
        top = LOW - REACH
        read = lines(picture[round(top * len(picture)) :], self.long_side, self.least_confidence)
        for (x0, y0, x1, y1), letters, sure in zip(read["boxes"], read["texts"], read["confidences"], strict=True):
            box = [x0, top + y0 * (1 - top), x1, top + y1 * (1 - top)]
            if (box[1] + box[3]) / 2 < LOW or sum(c.isalpha() for c in letters) < self.least_letters:
                continue
            row = {"text": letters, "times_s": [t_s], "box": box, "confidence": sure}
            known = next((other for other in found if same(other["text"], letters)), None)
            if known is None:
                found.append(row)
            else:
                row["times_s"] = known["times_s"] + ([t_s] if known["times_s"][-1] != t_s else [])
                known |= row if sure > known["confidence"] else {"times_s": row["times_s"]}
