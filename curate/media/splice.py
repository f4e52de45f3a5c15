"""Writes one take as a copy of its packets with only its ends encoded anew.

The ends have parameter sets of their own, under an id that the source does not use, and begin with an IDR picture, so
that neither part knows of the other. All sets stand in the one avcC record of the file's one video track.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.codec.context import Flags

from curate.media.audio_track import AudioTrack
from curate.media.container import film_stream, open_media
from curate.media.copy_plan import PROFILES, CannotCopyError, CopyPlan, copied_nals, source_packets
from curate.media.encode import MP4
from curate.media.encoder import Encoding, set_up
from curate.media.frame import Frame
from curate.media.h264 import IDR_SLICE, SLICE, join, nal_type, read_record, split
from curate.media.spans import Reader, Span
from curate.media.verify import PAST_SEAM, Intended, Proof, checksum, pixels


@dataclass(frozen=True)
class _Coded:
    """One picture as it stands in the file."""

    pts: int
    data: bytes
    key: bool


def splice_clip(reader: Reader, span: Span, plan: CopyPlan, how: Encoding, out: Path) -> Intended:
    """Write a span of the reader's source into the MP4 file `out` as planned.

    Raises:
        CannotCopyError: the source is not what the plan was made from, or damaged in what must be decoded.
    """
    ends = _Ends(reader, plan, how)
    head = ends.encode(reader.between(span.start_pts, plan.copy_start, plan.head_lead), plan.head)
    # That the source shows a picture at the time of each packet is not to be taken for granted: in AVI it need not.
    opening = sorted(plan.copied)[:PAST_SEAM]
    ends.prove(reader.between(plan.copy_start, opening[-1] + 1, plan.copy_start), opening)
    tail: list[_Coded] = []
    if plan.tail:
        last = sorted(pts for pts in plan.copied if pts >= plan.tail_lead)[-PAST_SEAM:]
        closing = reader.between(last[0], span.end_pts, plan.tail_lead)
        ends.prove(closing, last)
        tail = ends.encode(closing, plan.tail)
    clock = _Clock(plan.pictures, [*(c.pts for c in head), *plan.copied, *(c.pts for c in tail)], span.end_pts)
    timing = reader.timing
    with av.open(str(out), "w", format="mp4", container_options=MP4) as box:
        with open_media(reader.path) as source:
            video = box.add_stream_from_template(film_stream(source))
        video.codec_context.extradata = plan.sets.record()
        video.time_base = timing.base
        sound = AudioTrack(box, reader, span, how.audio_bitrate) if reader.audio else None
        for coded in chain(head, _copies(reader, plan), tail):
            box.mux(clock.packet(coded, video, timing.base))
            reader.progress(timing.seconds(coded.pts))
            if sound:
                sound.up_to(timing.seconds(coded.pts) - span.start_s)
        audio_s = sound.finish() if sound else None
    times = [pts - span.start_pts for pts in plan.pictures]
    seams = [plan.pictures.index(part[0]) for part in (plan.copied if head else [], plan.tail) if part]
    copied = {pts - span.start_pts: found for pts, found in plan.digests.items()}
    encoded = len(head) + len(tail)
    return Intended(times, timing.base, seams, ends.proofs, plan.sps.width, plan.sps.height, encoded, audio_s, copied)


def _copies(reader: Reader, plan: CopyPlan) -> Iterator[_Coded]:
    """The copied pictures, in decoding order."""
    done = 0
    for packet in source_packets(reader.path, reader.timing, plan.copy_start):
        if not done and packet.pts != plan.copy_start:
            continue
        if packet.pts != plan.copied[done]:
            break
        yield _Coded(packet.pts, join(copied_nals(bytes(packet), plan.length_size)), packet.pts in plan.keys)
        done += 1
        if done == len(plan.copied):
            return
    raise CannotCopyError("the source gave other packets when it was read again")


class _Ends:
    """Encodes the pictures before and behind the copied ones, alike in all that their parameter sets say."""

    def __init__(self, reader: Reader, plan: CopyPlan, how: Encoding) -> None:
        self._reader, self._plan, self._how = reader, plan, how
        self._id = plan.sets.free_id()
        self.proofs: list[Proof] = []

    def prove(self, frames: Iterator[Frame], due: Sequence[int]) -> None:
        """Remember copied pictures, which `frames` must give, as what the clip must show at the times `due`."""
        for pts in due:
            picture = self._next(frames, pts).upright()
            self.proofs.append(Proof(self._plan.pictures.index(pts), checksum(picture)))

    def encode(self, frames: Iterator[Frame], due: Sequence[int]) -> list[_Coded]:
        """Encode the pictures at the times `due`, which `frames` must give."""
        if not due:
            return []
        context = av.CodecContext.create("libx264", "w")
        packets = []
        for pts in due:
            picture = self._next(frames, pts).upright()
            if not context.is_open:
                self._open(context, picture)
            picture.pts, picture.time_base = pts, self._reader.timing.base
            picture.pict_type = av.video.frame.PictureType.NONE
            packets += context.encode(picture)
            if pts in (self._plan.pictures[0], self._plan.pictures[-1]):
                self.proofs.append(Proof(self._plan.pictures.index(pts), pixels(picture)))
        return [_coded(packet) for packet in (*packets, *context.encode())]

    def _open(self, context: av.VideoCodecContext, first: av.VideoFrame) -> None:
        sps, how = self._plan.sps, self._how
        # The same buffer of decoded pictures as the source's, lest a decoder start afresh at the seam and drop what it
        # holds; no reordering, because these are few pictures.
        params = {"sps-id": self._id, "ref": sps.dpb_frames, "bframes": 0}
        set_up(context, first, self._reader.timing.base, self._reader.fps, self._reader.aspect, how, **params)
        context.options |= {"profile": PROFILES[sps.profile]}
        context.flags |= Flags.global_header
        context.open()
        nals, _ = read_record(context.extradata or b"")
        if not self._plan.sets.add_all(nals):
            raise CannotCopyError("the ends of the take would differ in how they are coded")

    def _next(self, frames: Iterator[Frame], due: int) -> Frame:
        frame = next(frames, None)
        if frame is None or frame.pts != due or frame.errors_before:
            raise CannotCopyError("the source does not decode to a picture for each packet there")
        return frame


def _coded(packet: av.Packet) -> _Coded:
    nals = [nal for nal in split(bytes(packet), None) if nal_type(nal) in (SLICE, IDR_SLICE)]
    return _Coded(packet.pts or 0, join(nals), any(nal_type(nal) == IDR_SLICE for nal in nals))


class _Clock:
    """Decoding times and durations of the pictures of a clip, out of their presentation times."""

    def __init__(self, pictures: Sequence[int], order: Sequence[int], end_pts: int) -> None:
        """
        Args:
            pictures: presentation times in order.
            order: the same in decoding order.
            end_pts: where the last one's display ends.
        """
        self._start = pictures[0]
        ranks = {pts: rank for rank, pts in enumerate(pictures)}
        late = max(place - ranks[pts] for place, pts in enumerate(order))
        self._durations = {pts: end - pts for pts, end in zip(pictures, [*pictures[1:], end_pts], strict=True)}
        # A picture is decoded when the one that many places before is shown, and so never after it is due itself.
        apart = min(self._durations.values())
        before = [pictures[0] - apart * places for places in range(late, 0, -1)]
        self._dts = dict(zip(order, [*before, *pictures], strict=False))
        # MP4 knows how long a picture lasts by when the next is decoded, and takes the sum for the track's duration.
        last = order[-1]
        self._durations[last] = end_pts - pictures[0] - (self._dts[last] - self._dts[order[0]])

    def packet(self, coded: _Coded, stream: av.VideoStream, base: Fraction) -> av.Packet:
        """A picture as a packet with its times from the clip's start on."""
        packet = av.Packet(coded.data)
        packet.stream, packet.time_base = stream, base
        packet.pts, packet.dts = coded.pts - self._start, self._dts[coded.pts] - self._start
        packet.duration, packet.is_keyframe = self._durations[coded.pts], coded.key
        return packet
