"""Which packets of an H.264 source can stand in a clip as they are, and which pictures must be encoded anew.

A picture can be copied if all that it refers to is copied, too. From an IDR picture on, nothing refers back. Packets
stand in decoding order, so what was read up to any of them can be decoded; the copy ends behind the last packet up to
which the packets are just the pictures of the take up to some time, with no gap that a later packet would fill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import av

from curate.media.container import demuxed, film_stream, open_media
from curate.media.h264 import (
    DELIMITERS,
    IDR_SLICE,
    PPS,
    SEI,
    SLICE,
    SPS,
    MalformedError,
    ParameterSets,
    Sps,
    join,
    nal_type,
    read_record,
    split,
)
from curate.media.spans import LONGEST_PICTURE_S, Span
from curate.media.verify import digest
from curate.media.video import Timing, seek

MOST_ENCODED = 0.8
"""Where more than this share of a take would be encoded anew, the rest is, too: little is saved, and the clip has
keyframes as often as was asked for."""

PROFILES = {66: "baseline", 77: "main", 100: "high"}
"""The profiles that are copied, as x264 calls them."""

MOST_REORDERED = 16
"""Pictures that may follow one in display although they precede it in decoding: the decoded picture buffer's limit."""


class CannotCopyError(Exception):
    """Why a take has to be encoded anew as a whole."""


@dataclass(frozen=True)
class Unit:
    """One packet of the source."""

    pts: int
    idr: bool
    damaged: bool
    digest: bytes
    """Of what of it would stand in a clip."""


@dataclass(frozen=True)
class CopyPlan:
    """How a take is put together. All times are timestamps of the source."""

    pictures: list[int]
    """All pictures of the take, in presentation order."""
    copied: list[int]
    """The pictures that are copied, in decoding order."""
    keys: frozenset[int]
    """Those of them that are IDR pictures."""
    digests: dict[int, bytes]
    """Of each of them as it must stand in the clip."""
    head_lead: int
    """Keyframe from which the pictures before the copied ones are decoded."""
    sets: ParameterSets
    sps: Sps
    length_size: int | None
    """Of the lengths before the source's NAL units, bytes; None where it is Annex B."""

    @property
    def copy_start(self) -> int:
        return self.copied[0]

    @property
    def head(self) -> list[int]:
        """Pictures before the copied ones."""
        return [pts for pts in self.pictures if pts < self.copy_start]

    @property
    def tail(self) -> list[int]:
        """Pictures behind the copied ones."""
        last = max(self.copied)
        return [pts for pts in self.pictures if pts > last]

    @property
    def tail_lead(self) -> int:
        """IDR picture from which the end of the take is decoded."""
        return max(self.keys)


def copy_plan(path: str, timing: Timing, span: Span, max_gop_s: float | None) -> CopyPlan:
    """How a take can be cut with as little encoding as possible.

    Args:
        max_gop_s: longest distance between keyframes that is acceptable, seconds; None is any.

    Raises:
        CannotCopyError: this take must be encoded as a whole, and why.
    """
    if timing.rotation:
        raise CannotCopyError("the source's picture is turned by its header")
    try:
        scan = _Scan(path, timing, span)
    except MalformedError as error:
        raise CannotCopyError(f"the source's H.264 is damaged: {error}") from error
    pictures = sorted(unit.pts for unit in scan.units if span.start_pts <= unit.pts < span.end_pts)
    first = next((n for n, unit in enumerate(scan.units) if unit.idr and unit.pts in _Range(span)), None)
    if first is None:
        raise CannotCopyError("no IDR picture inside the take to copy from")
    if pictures[0] != span.start_pts or len(pictures) != span.frames:
        raise CannotCopyError(f"the take has {span.frames} pictures, but {len(pictures)} packets in its place")
    longest = max(b - a for a, b in pairwise([*pictures, span.end_pts]))
    if longest * timing.base > LONGEST_PICTURE_S:
        raise CannotCopyError("a picture of the take stands for more than an hour")
    units = scan.units[first:]
    _check_order(scan.units, pictures)
    copied = units[: _clean_prefix(units, [pts for pts in pictures if pts >= units[0].pts])]
    if any(unit.damaged for unit in copied):
        raise CannotCopyError("the source has damaged or hidden packets there")
    encoded = len(pictures) - len(copied)
    if encoded > MOST_ENCODED * len(pictures):
        raise CannotCopyError(f"{encoded} of {len(pictures)} pictures would be encoded anew anyway")
    leads = [unit.pts for unit in scan.units if unit.idr and unit.pts <= span.start_pts]
    plan = CopyPlan(
        pictures,
        [unit.pts for unit in copied],
        frozenset(unit.pts for unit in copied if unit.idr),
        {unit.pts: unit.digest for unit in copied},
        max(leads, default=span.lead_pts),
        scan.sets,
        _usable(scan.sets),
        scan.length_size,
    )
    _check_gops(plan, span, timing, max_gop_s)
    return plan


def source_packets(path: str, timing: Timing, lead_pts: int) -> Iterator[av.Packet]:
    """The film's packets in decoding order, from a keyframe at or before `lead_pts` on."""
    with open_media(path) as container:
        stream = film_stream(container)
        if lead_pts > timing.start_pts:
            seek(container, stream, lead_pts)
        for packet in demuxed(container, stream):
            if packet.size:
                yield packet


def copied_nals(data: bytes, length_size: int | None) -> list[bytes]:
    """What of a packet's data goes into the clip: its slices, and the messages about them.

    Raises:
        MalformedError: it holds something that cannot be copied.
    """
    kept = []
    for nal in split(data, length_size):
        kind = nal_type(nal)
        if kind in (SLICE, IDR_SLICE, SEI):
            kept.append(nal)
        elif kind not in DELIMITERS and kind not in (SPS, PPS):
            raise MalformedError(f"NAL units of type {kind} cannot be copied")
    return kept


@dataclass
class _Scan:
    """What one pass over a take's packets finds, from its lead to where no picture of it can follow."""

    path: str
    timing: Timing
    span: Span
    units: list[Unit] = field(default_factory=list)
    sets: ParameterSets = field(default_factory=ParameterSets)
    length_size: int | None = None

    def __post_init__(self) -> None:
        beyond, inside = 0, _Range(self.span)
        try:
            for packet in source_packets(self.path, self.timing, self.span.lead_pts):
                if not self.units:
                    self._start(packet.stream.codec_context)
                if packet.pts is None:
                    raise CannotCopyError("the source's packets have no timestamps")
                if packet.has_sidedata("new_extradata"):
                    raise CannotCopyError("the source's parameter sets change on the way")
                self.units.append(self._unit(packet, packet.pts in inside))
                beyond += packet.pts >= self.span.end_pts
                if beyond > MOST_REORDERED:
                    return
        except MemoryError:
            raise  # the child's limit, not the file's fault
        except av.error.FFmpegError as error:
            raise CannotCopyError(f"the source cannot be read there: {error.strerror}") from error

    def _start(self, context: av.VideoCodecContext) -> None:
        if context.name != "h264":
            raise CannotCopyError(f"only H.264 is copied, and the source is {context.name}")
        nals, self.length_size = read_record(context.extradata or b"")
        self._add(nals)

    def _unit(self, packet: av.Packet, inside: bool) -> Unit:
        data, nals = bytes(packet), []
        if inside:
            nals = copied_nals(data, self.length_size)
            self._add(nal for nal in split(data, self.length_size) if nal_type(nal) in (SPS, PPS))
        idr = any(nal_type(nal) == IDR_SLICE for nal in nals or split(data, self.length_size))
        return Unit(packet.pts or 0, idr, packet.is_corrupt or packet.is_discard, digest(join(nals)))

    def _add(self, nals: Iterable[bytes]) -> None:
        if not self.sets.add_all(nals):
            raise CannotCopyError("the source's parameter sets change on the way")


@dataclass(frozen=True)
class _Range:
    span: Span

    def __contains__(self, pts: int) -> bool:
        return self.span.start_pts <= pts < self.span.end_pts


def _check_order(units: Sequence[Unit], pictures: Sequence[int]) -> None:
    """Times are unique, and those before an IDR picture in decoding order are earlier, the others later."""
    if any(pts == following for pts, following in pairwise(pictures)):
        raise CannotCopyError("the source's packets have equal timestamps")
    highest: int | None = None
    for unit in units:
        if highest is not None and unit.idr and unit.pts < highest:
            raise CannotCopyError("the source's timestamps go back at an IDR picture")
        highest = unit.pts if highest is None else max(highest, unit.pts)
    lowest: int | None = None
    for unit in reversed(units):
        if lowest is not None and unit.idr and unit.pts > lowest:
            raise CannotCopyError("the source's timestamps go back at an IDR picture")
        lowest = unit.pts if lowest is None else min(lowest, unit.pts)


def _clean_prefix(units: Sequence[Unit], pictures: Sequence[int]) -> int:
    """The most packets, from the first on, that are just as many of the first of `pictures`."""
    clean, highest = 0, pictures[0]
    for number, (unit, due) in enumerate(zip(units, pictures, strict=False)):
        if unit.pts > pictures[-1]:
            break
        highest = max(highest, unit.pts)
        if highest == due:
            clean = number + 1
    return clean


def _usable(sets: ParameterSets) -> Sps:
    """The one kind of picture that the sets describe.

    Raises:
        CannotCopyError: trainers' decoders want another, or there are several.
    """
    try:
        parsed = [Sps.parse(nal) for nal in sets.sps.values()]
    except MalformedError as error:
        raise CannotCopyError(f"the source's H.264 is damaged: {error}") from error
    if not parsed or not sets.pps:
        raise CannotCopyError("the source has no parameter sets where they are looked for")
    head = parsed[0]
    if any(
        (sps.width, sps.height, sps.coded, sps.profile) != (head.width, head.height, head.coded, head.profile)
        for sps in parsed
    ):
        raise CannotCopyError("the source's pictures are of several kinds")
    if not all(sps.progressive for sps in parsed):
        raise CannotCopyError("the source is coded for interlaced pictures")
    if any(sps.chroma_format != 1 or sps.bit_depth != 8 for sps in parsed):
        raise CannotCopyError("the source is not 8-bit 4:2:0")
    if head.profile not in PROFILES:
        raise CannotCopyError(f"the source's H.264 profile is number {head.profile}, which few decoders know")
    if head.coded != (-(-head.width // 16), -(-head.height // 16)):
        raise CannotCopyError("the source's pictures are cropped out of larger ones")
    return head


def _check_gops(plan: CopyPlan, span: Span, timing: Timing, max_gop_s: float | None) -> None:
    if max_gop_s is None:
        return
    ends = [*sorted(plan.keys), plan.tail[0] if plan.tail else span.end_pts]
    longest = max(float((end - start) * timing.base) for start, end in pairwise(ends))
    if longest > max_gop_s:
        raise CannotCopyError(f"the source's keyframes are {longest:.2f} s apart, more than {max_gop_s:g} s")
