"""Asks TransNetV2 about frames of the source itself: about the few where the classifier is unsure, or about all.

The frames are decoded again, from the keyframe before them: what that costs is little beside the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from curate.media.audio import samples
from curate.media.frame import Frame
from curate.media.video import Decode, Timing
from curate.stage import Row, Workspace
from stages.cuts import codec, sound, transnet
from stages.cuts.cascade import GROUPS, Candidate, Evidence, calibrated
from stages.cuts.codec import Coded
from stages.cuts.embedding import distance

CONTEXT = 20
"""Frames shown to the network before and after a candidate: with fewer it misses what it finds with all hundred."""
NEAR = 2
"""How far from the candidate its highest probability may lie, frames."""
ASKED = GROUPS[0] + GROUPS[1]
"""Kinds that the network knows."""


class SecondOpinion:
    """The network's view of one source."""

    def __init__(self, source: Row, pts: np.ndarray, work: Workspace) -> None:
        self._source, self._pts, self._work = source, pts, work
        self.share = 0.0
        """Of the source's frames, how many the network was shown."""

    def about(
        self, found: Sequence[Candidate], calibration: np.ndarray, unsure: tuple[float, float], most: float
    ) -> list[Candidate]:
        """The candidates with true probabilities; of those between the two of `unsure` the network is asked, too.

        Args:
            found: as the classifier has them.
            calibration: what its probabilities are worth, alone and with the network's.
            most: largest share of the source's frames to show; the nearest to even odds come first.
        """
        low, high = unsure
        alone = {candidate: calibrated(candidate, calibration) for candidate in found}
        doubtful = [c for c in found if low < (alone[c].probability or 0) < high and c.kind in ASKED]
        doubtful.sort(key=lambda c: abs((alone[c].probability or 0) - 0.5))
        asked: list[Candidate] = []
        shown = 0
        for candidate in doubtful:
            shown += candidate.end - candidate.start + 2 * CONTEXT + 1
            if shown > most * len(self._pts):
                break
            asked.append(candidate)
            self.share = shown / len(self._pts)
        if asked:
            for candidate, network, others in self._answers(sorted(asked, key=lambda c: c.start)):
                alone[candidate] = calibrated(candidate, calibration, network, others)
        return list(alone.values())

    def everywhere(self) -> list[Candidate]:
        """What the network alone finds in the whole source."""
        with self._work.source(self._source["path"]) as path:
            seen = transnet.probabilities(self._told(Decode(path, Timing.of(self._source))))
        self.share = 1.0
        return transnet.candidates(seen)

    def apart(self, found: Sequence[Candidate], model: str) -> dict[Candidate, float]:
        """How far apart the embeddings of the pictures on both sides of each candidate lie."""
        found_apart: dict[Candidate, float] = {}
        with self._work.source(self._source["path"]) as path:
            for candidate in found:
                first, after = candidate.start - 1, candidate.end
                if first < 0 or after >= len(self._pts):
                    continue
                pictures = [frame.bgr[..., ::-1].copy() for frame in self._frames(path, first, after + 1)]
                if len(pictures) == after + 1 - first:
                    found_apart[candidate] = distance(model, pictures[0], pictures[-1])
        return found_apart

    def _answers(self, doubtful: Sequence[Candidate]) -> Iterator[tuple[Candidate, float, Evidence]]:
        """For each candidate the network's probability, and what other witnesses add to its log odds."""
        with self._work.source(self._source["path"]) as path:
            firsts = [max(0, candidate.start - CONTEXT) for candidate in doubtful]
            spans, coded = [], []
            for candidate, first in zip(doubtful, firsts, strict=True):
                pictures, found = self._shown(path, candidate, first)
                spans.append(pictures)
                coded.append(found)
            answers = transnet.judged(spans)
            for candidate, first, seen, said in zip(doubtful, firsts, answers, coded, strict=True):
                near = seen[max(0, candidate.start - NEAR - first) : candidate.end + NEAR + 1 - first]
                yield candidate, float(near.max(initial=0)), {"sound": self._heard(path, candidate), "codec": said}

    def _shown(self, path: str, candidate: Candidate, first: int) -> tuple[np.ndarray, float | None]:
        """A candidate with what surrounds it, from frame `first` on, as the network sees it; and of a jump, what its
        coding adds to the log odds."""
        end = min(len(self._pts), candidate.end + CONTEXT + 1, first + transnet.WINDOW)
        jump = candidate.kind == "jump"
        coded: list[Coded | None] = []

        def noted() -> Iterator[Frame]:
            for frame in self._frames(path, first, end, vectors=jump):
                if jump:
                    coded.append(Coded.of(frame))
                yield frame

        pictures = transnet.pictures(noted())
        return pictures, codec.log_odds(coded, candidate.start - first) if jump else None

    def _heard(self, path: str, candidate: Candidate) -> float | None:
        """What the sound adds to the log odds of a jump cut; other transitions show well enough."""
        if candidate.kind != "jump" or self._source["audio_codec"] is None:
            return None
        timing = Timing.of(self._source)
        at_s = timing.seconds(int(self._pts[candidate.start]))
        blocks = samples(path, timing, at_s - sound.AROUND_S, at_s + sound.AROUND_S, sound.RATE, "mono")
        heard = np.concatenate([np.empty(0, np.float32), *(block[0] for block in blocks)])
        return sound.log_odds(heard) if len(heard) == round(2 * sound.AROUND_S * sound.RATE) else None

    def _frames(self, path: str, first: int, end: int, vectors: bool = False) -> Iterator[Frame]:
        start_pts = int(self._pts[first])
        # From the nearest split on: what an open GOP gets wrong there lies before the frames that are shown.
        lead = max(pts for pts in self._source["split_pts"] if pts <= start_pts)
        decode = Decode(path, Timing.of(self._source), start_pts, None, lead, wanted_pts=start_pts, vectors=vectors)
        inside = (frame for frame in self._told(decode) if frame.pts >= start_pts)
        return islice(inside, end - first)

    def _told(self, frames: Decode) -> Iterator[Frame]:
        for frame in frames:
            self._work.progress(frame.t_s)
            yield frame
