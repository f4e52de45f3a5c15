"""Whether a written clip is what it was meant to be: counted, decoded where it was put together, and looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from curate.media.container import MediaError, demuxed, open_media
from curate.media.video import Decode, Timing

PAST_SEAM = 17
"""Pictures decoded beyond a seam: one more than a decoder may hold back to put them in order."""


class VerificationError(MediaError):
    """A clip that was written is not what it was meant to be."""


@dataclass(frozen=True)
class Proof:
    """A picture that must be found in the clip."""

    number: int
    """Its place in the clip."""
    shown: np.ndarray | str
    """As `pixels` gives it; or, of a picture that was copied and must be the same to the bit, its `checksum`."""


@dataclass(frozen=True)
class Intended:
    """What a clip is meant to hold."""

    times: list[int]
    """Of its pictures, in ticks of the source's time base since its first."""
    base: Fraction
    """Seconds per tick."""
    seams: list[int]
    """Numbers of the pictures that begin with another encoder than the one before."""
    proofs: list[Proof]
    width: int
    height: int
    encoded: int
    """Pictures that were encoded anew."""
    audio_s: float | None
    copied: dict[int, bytes] = field(default_factory=dict)
    """Digests of the packets that were copied, by time."""


def pixels(picture: av.VideoFrame) -> np.ndarray:
    """The 8-bit 4:2:0 planes of an upright picture, one below the other: luma is the first two thirds of the rows."""
    return picture.to_ndarray()


def checksum(picture: av.VideoFrame) -> str:
    """Of a picture's pixels and size."""
    planes = pixels(picture)
    return f"{planes.shape[1]}x{planes.shape[0]} {digest(planes.tobytes()).hex()}"


def verify(out: Path, intended: Intended, least_psnr: float, progress: Callable[[], None]) -> None:
    """Hold a clip's file against what it is meant to be.

    All of its packets are read, and those that were copied must be the source's to the byte. Decoded are its beginning
    up to a little past the first seam, which shows that the packets are understood, and, where its end is encoded
    anew, the end from the last keyframe before the last seam on, of whose beginning only what other pictures refer to.
    What lies between are whole GOPs as one encoder made them.

    Args:
        least_psnr: in dB, of luma, for pictures that need not be exact.
        progress: called as it goes.

    Raises:
        VerificationError: it is something else.
    """
    base, times, keys, digests = _packets(out)
    if [time * base for time in times] != [time * intended.base for time in intended.times]:
        raise VerificationError(
            f"the file has {len(times)} pictures, not the {len(intended.times)} due, or other times"
        )
    due = [intended.copied.get(time) for time in intended.times]
    if any(wanted and wanted != found for wanted, found in zip(due, digests, strict=True)):
        raise VerificationError("a packet that was copied is not the source's to the byte")
    proofs = {proof.number: proof for proof in intended.proofs}
    ends_copied = intended.times[-1] in intended.copied
    for window in _windows(len(times), keys, intended.seams, ends_copied):
        _look(out, Timing(base, times[0]), times, window, progress, proofs, least_psnr)
    if proofs:
        raise VerificationError(f"pictures {sorted(proofs)} were not looked at")


def digest(data: bytes) -> bytes:
    """Of a packet's or a picture's bytes. SHA-256, because processors have it: it takes half of BLAKE2's time."""
    return hashlib.sha256(data).digest()


def _packets(out: Path) -> tuple[Fraction, list[int], list[int], list[bytes]]:
    """(time base, timestamps in presentation order, places of the keyframes among them, digests of all)."""
    with open_media(str(out)) as container:
        stream = container.streams.video[0]
        read = [(p.pts, p.is_keyframe, digest(bytes(p))) for p in demuxed(container, stream) if p.size]
        base = stream.time_base
    packets = sorted((pts, key, found) for pts, key, found in read if pts is not None)
    if not packets or len(packets) < len(read) or base is None:
        raise VerificationError("the file has pictures without a time, or none")
    times, keys, digests = zip(*packets, strict=True)
    return base, list(times), [n for n, key in enumerate(keys) if key], list(digests)


@dataclass(frozen=True)
class _Window:
    """Numbers of pictures of a clip."""

    lead: int
    """A keyframe to decode from."""
    start: int
    """From here on every picture is due."""
    stop: int


def _windows(count: int, keys: Sequence[int], seams: Sequence[int], ends_copied: bool) -> list[_Window]:
    opening = _Window(0, 0, min(count, min(seams, default=0) + PAST_SEAM))
    if ends_copied:
        return [opening]
    seam = max(seams, default=count - 1)
    lead = max((key for key in keys if key < seam), default=0)
    closing = _Window(lead, max(opening.stop, lead, seam - PAST_SEAM), count)
    if lead > opening.stop:
        return [opening, closing]
    return [_Window(0, 0, count)] if closing.start == opening.stop else [opening, closing]


def _look(
    out: Path,
    timing: Timing,
    times: Sequence[int],
    window: _Window,
    progress: Callable[[], None],
    proofs: dict[int, Proof],
    least_psnr: float,
) -> None:
    """Decode a range of pictures; what has been proven is taken out of `proofs`."""
    start_pts, end_pts = times[window.start], times[window.stop] if window.stop < len(times) else None
    lead_pts = times[window.lead]
    decode = Decode(str(out), timing, start_pts, end_pts, lead_pts, wanted_pts=start_pts)
    number = window.start
    try:
        for frame in decode:
            progress()
            if frame.pts < start_pts:
                continue
            if number >= window.stop or frame.pts != times[number]:
                raise VerificationError(f"decoding gives another picture where number {number} is due")
            if number in proofs:
                _compare(proofs.pop(number), frame.upright(), least_psnr)
            number += 1
    except MemoryError:
        raise  # the child's limit, not the file's fault
    except av.error.FFmpegError as error:
        raise VerificationError(f"the file cannot be decoded: {error.strerror}") from error
    if number != window.stop:
        raise VerificationError(f"decoding ends at picture {number}, before {window.stop}")
    if decode.corrupt_frames or decode.decode_errors:
        raise VerificationError("the file decodes with errors")


def _compare(proof: Proof, found: av.VideoFrame, least_psnr: float) -> None:
    if isinstance(proof.shown, str):
        if checksum(found) != proof.shown:
            raise VerificationError(f"picture {proof.number} was copied, but is not the source's to the bit")
        return
    planes = pixels(found)
    if planes.shape != proof.shown.shape:
        raise VerificationError(f"picture {proof.number} has another size")
    near = psnr(planes, proof.shown)
    if near < least_psnr:
        raise VerificationError(f"picture {proof.number} is not the source's: {near:.1f} dB PSNR")


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of the luma of two pictures as `pixels` gives them, dB; infinite where they are equal."""
    rows = one.shape[0] * 2 // 3
    error = float(np.mean((one[:rows].astype(np.float32) - other[:rows]) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")
