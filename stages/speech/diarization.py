"""Who speaks when: the turns of a source's voices, overlap included.

Silero says where there is speech, pyannote's segmentation where within ten seconds the speaker changes or two speak at
once, CAM++ which stretches are one voice over the whole source. On one core an hour takes about two minutes, one and a
half of them CAM++'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from stages.speech.embedders import Embedder
from stages.speech.networks import SEGMENTATION, WINDOW_S, segmenter
from stages.speech.sound import RATE, Sound
from stages.speech.speakers import speakers
from stages.speech.stretches import Stretch, heard, joined, stretches

STEP_S = 5.0
"""Between windows of the segmentation network: each moment is seen by two of them, at most 2.5 s from the middle."""
BATCH = 4
VAD_SAMPLES = 512
"""Samples that Silero judges at once: its own."""
VAD_BLOCK = 60 * RATE // VAD_SAMPLES * VAD_SAMPLES
"""Samples that it is given at once."""
VAD_LEAD = 2 * RATE // VAD_SAMPLES * VAD_SAMPLES
"""Samples before them that it hears first, so that its memory is that of one course: two seconds."""
ROUND_SAMPLES = RATE // 10
"""The embedder is given multiples of it: what is prepared for each length that comes is kept in memory."""
LEAST_SAMPLES = RATE // 4
"""No less is embedded: a syllable."""

Progress = Callable[[float], None]
"""Told how far the work is, seconds of the source."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaks.

    Attributes:
        voice: number by who is heard first, from 0; -1: too short to tell.
        margin: by how much the turn is nearer to its voice's mean than to the next one's, cosine; None: no other.
    """

    start_s: float
    end_s: float
    voice: int
    margin: float | None = None


def model(embed: Embedder) -> str:
    """What a row says told the voices apart."""
    return f"silero-vad, {SEGMENTATION.name}, {embed.name}"


def turns(
    sound: Sound,
    embed: Embedder,
    distance: float,
    sure_s: float,
    gap_s: float,
    line_s: float,
    vad: float,
    progress: Progress,
) -> list[Turn]:
    """The turns of a source, in order of time; see the parameters of the stage for the numbers."""
    spoken = _spoken(sound, vad, progress)
    if not spoken.any():
        return []
    network = segmenter()
    hop = round(network.step_s * RATE)
    frames = len(sound.samples) // hop + 1
    at = np.minimum((np.arange(frames) * hop + hop // 2) // VAD_SAMPLES, len(spoken) - 1)
    windows, starts = _windows(sound, hop, spoken, progress)
    active, cuts = joined(windows, starts, frames, network.step_s)
    found = stretches(heard(active, spoken[at], network.step_s), cuts, network.step_s)
    if not found:
        return []
    vectors, seconds = _embedded(sound, embed, found, progress)
    labels = speakers(found, vectors, seconds, distance, sure_s)
    margins = _margins(vectors, labels)
    mine = []
    for stretch, label, margin in zip(found, labels.tolist(), margins, strict=True):
        start, end = _samples(stretch)
        mine.append(Turn(start / RATE, min(end / RATE, sound.seconds), label, margin))
    return merged([t for t in mine if t.end_s > t.start_s], gap_s, line_s)


def _samples(stretch: Stretch) -> tuple[int, int]:
    """First sample of a stretch and one past its last: a frame is the middle of what the network sees for it."""
    network = segmenter()
    hop, lead = round(network.step_s * RATE), round(network.lead_s * RATE)
    return (stretch.start * hop + lead if stretch.start else 0), stretch.end * hop + lead


def _spoken(sound: Sound, threshold: float, progress: Progress) -> np.ndarray:
    """Whether Silero hears speech, for every `VAD_SAMPLES`."""
    listener = _listener()
    found = []
    for start in range(0, len(sound.samples), VAD_BLOCK):
        lead = min(start, VAD_LEAD)
        answer = listener.audio_forward(sound.part(start - lead, start + VAD_BLOCK))
        found.append(np.asarray(answer)[lead // VAD_SAMPLES :] >= threshold)
        progress(start / RATE)
    return np.concatenate(found)


@lru_cache(maxsize=1)
def _listener() -> Any:
    """Silero's network, loaded once a process."""
    from silero_vad import load_silero_vad

    return load_silero_vad(sequence=True)


def _windows(sound: Sound, hop: int, spoken: np.ndarray, progress: Progress) -> tuple[np.ndarray, list[int]]:
    """What the segmentation network hears in each window, (windows, frames, speakers), and the windows' first frames.
    Windows without speech are not shown to it."""
    length, step = round(WINDOW_S * RATE), round(STEP_S * RATE / hop) * hop
    count = max(1, int(np.ceil((len(sound.samples) - length) / step)) + 1)
    starts = [n * step for n in range(count)]
    with_speech = [n for n, s in enumerate(starts) if spoken[s // VAD_SAMPLES : (s + length) // VAD_SAMPLES + 1].any()]
    answers: dict[int, np.ndarray] = {}
    for first in range(0, len(with_speech), BATCH):
        chosen = with_speech[first : first + BATCH]
        shown = np.zeros((len(chosen), length), np.float32)
        for row, n in zip(shown, chosen, strict=True):
            part = sound.part(starts[n], starts[n] + length)
            row[: len(part)] = part
        answers |= dict(zip(chosen, segmenter()(shown), strict=True))
        progress(starts[chosen[0]] / RATE)
    empty = np.zeros_like(next(iter(answers.values())))
    return np.stack([answers.get(n, empty) for n in range(count)]), [s // hop for s in starts]


def _embedded(sound: Sound, embed: Embedder, found: list[Stretch], progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Each stretch's embedding, of where nobody else speaks if that is enough, and how many seconds are behind it (0
    where somebody else is heard in it)."""
    vectors, seconds = np.zeros((len(found), embed.dimensions), np.float32), np.zeros(len(found))
    for n, stretch in enumerate(found):
        start, end = _samples(stretch)
        part = sound.part(start, end)
        alone = part[np.repeat(stretch.alone, -(-(end - start) // len(stretch.alone)))[: len(part)]]
        pure = len(alone) >= LEAST_SAMPLES
        heard_in = alone if pure else part
        if len(heard_in) >= LEAST_SAMPLES and np.abs(heard_in).max() > 0:
            vectors[n] = embed(heard_in[: len(heard_in) // ROUND_SAMPLES * ROUND_SAMPLES])
            seconds[n] = len(alone) / RATE if pure else 0.0
        progress(start / RATE)
    return vectors, seconds


def _margins(vectors: np.ndarray, labels: np.ndarray) -> list[float | None]:
    count = int(labels.max(initial=-1)) + 1
    if count < 2:
        return [None] * len(labels)
    means = np.stack([vectors[labels == k].mean(0) for k in range(count)])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    likeness = vectors @ means.T
    found: list[float | None] = []
    for row, k in zip(likeness, labels.tolist(), strict=True):
        found.append(None if k < 0 else float(row[k] - np.delete(row, k).max()))
    return found


def merged(found: list[Turn], gap_s: float, line_s: float = float("inf")) -> list[Turn]:
    """Turns of one voice joined that lie up to `gap_s` apart, unless another has begun since and outlasts the first.

    What would be longer than `line_s` is parted again at its longest pauses, if it has any.
    """
    last: dict[int, int] = {}
    groups: list[list[Turn]] = []
    for turn in sorted(found, key=lambda t: (t.start_s, t.end_s)):
        at = last.get(turn.voice) if turn.voice >= 0 else None
        if at is not None and _goes_on(groups[at], turn, groups[at + 1 :], gap_s):
            groups[at].append(turn)
        else:
            last[turn.voice] = len(groups)
            groups.append([turn])
    lines = [_joint(part) for group in groups for part in _parted(group, line_s)]
    return sorted(lines, key=lambda t: (t.start_s, t.end_s))


def _goes_on(group: list[Turn], turn: Turn, since: list[list[Turn]], gap_s: float) -> bool:
    end_s = _joint(group).end_s
    return turn.start_s - end_s <= gap_s and not any(t.end_s > end_s for other in since for t in other)


def _joint(group: list[Turn]) -> Turn:
    margins = [turn.margin for turn in group if turn.margin is not None]
    end_s = max(turn.end_s for turn in group)
    return Turn(group[0].start_s, end_s, group[0].voice, min(margins, default=None))


def _parted(group: list[Turn], line_s: float) -> Iterator[list[Turn]]:
    """A voice's turns, one after another, in groups that last up to `line_s`, parted where they pause longest."""
    waiting = [group]
    while waiting:
        part = waiting.pop()
        pauses = [later.start_s - earlier.end_s for earlier, later in pairwise(part)]
        joint = _joint(part)
        if joint.end_s - joint.start_s <= line_s or max(pauses, default=0.0) <= 0:
            yield part
        else:
            at = int(np.argmax(pauses)) + 1
            waiting += [part[:at], part[at:]]


def overlaps(found: list[Turn]) -> Iterator[float]:
    """For each turn, how long another voice sounds in it, seconds."""
    start, end, voice = (np.array([getattr(t, name) for t in found]) for name in ("start_s", "end_s", "voice"))
    for n, turn in enumerate(found):
        others = (start < turn.end_s) & (end > turn.start_s) & ((voice != turn.voice) | (voice < 0))
        others[n] = False
        total, until = 0.0, turn.start_s
        for m in np.flatnonzero(others)[np.argsort(start[others], kind="stable")].tolist():
            total += max(0.0, min(end[m], turn.end_s) - max(start[m], until))
            until = max(until, end[m])
        yield total
