"""What cutting without decoding must know of H.264: NAL units, the heads of parameter sets, and the avcC record.

Numbers of clauses are those of ITU-T H.264 (08/2021); avcC is of ISO/IEC 14496-15, 5.3.3.1. Everything here may be fed
with a hostile file's bytes: reading past an end is a `MalformedError`, and no loop is longer than its input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SLICE, IDR_SLICE, SEI, SPS, PPS = 1, 5, 6, 7, 8
DELIMITERS = frozenset({9, 10, 11, 12})
"""Access unit delimiter, end of sequence, end of stream, filler: nothing that a picture in MP4 needs."""

_HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
"""Profiles whose SPS tells its chroma format and bit depth (7.3.2.1.1)."""
_EXTENDED_SAR = 255


class MalformedError(ValueError):
    """Bytes that are no H.264 where H.264 should be."""


def nal_type(nal: bytes) -> int:
    return nal[0] & 31


def split(data: bytes, length_size: int | None) -> Iterator[bytes]:
    """The NAL units of an access unit: behind lengths of `length_size` bytes, or in Annex B where that is None."""
    return _split_annex_b(data) if length_size is None else _split_lengths(data, length_size)


def _split_lengths(data: bytes, length_size: int) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + length_size], "big")
        place += length_size
        if not length:
            continue
        if place + length > len(data):
            raise MalformedError("a NAL unit is longer than its packet")
        yield data[place : place + length]
        place += length


def _split_annex_b(data: bytes) -> Iterator[bytes]:
    start = data.find(b"\0\0\1")
    if start < 0 and data:
        raise MalformedError("a packet without a start code")
    while start >= 0:
        following = data.find(b"\0\0\1", start + 3)
        nal = data[start + 3 : following if following >= 0 else len(data)].rstrip(b"\0")
        if nal:
            yield nal
        start = following


def join(nals: Iterable[bytes]) -> bytes:
    """NAL units behind 4-byte lengths, as in the MP4 files written here."""
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


class _Bits:
    """Reads the bits of a NAL unit's payload, emulation prevention bytes left out (7.3.1).

    Only the first 4 KiB, which no sequence parameter set exceeds: reading one bit takes as long as there is data.
    """

    def __init__(self, nal: bytes) -> None:
        payload = nal[1:4096].replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def bits(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise MalformedError("a parameter set ends too soon")
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        """Unsigned Exp-Golomb code (9.1)."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > 32:
                raise MalformedError("a number in a parameter set is too large")
        return (1 << zeros) - 1 + self.bits(zeros)

    def se(self) -> int:
        """Signed Exp-Golomb code (9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


@dataclass(frozen=True)
class Sps:
    """The part of a sequence parameter set that decides whether and how its pictures can be copied."""

    id: int
    profile: int
    level: int
    constraints: int
    chroma_format: int
    bit_depth: int
    width: int
    height: int
    """Of the coded picture after cropping, px."""
    coded: tuple[int, int]
    """Width and height in macroblocks."""
    progressive: bool
    """Every picture is a frame: no fields, no macroblock pairs."""
    dpb_frames: int
    """Frames that the decoded picture buffer holds, as far as the set tells."""

    @classmethod
    def parse(cls, nal: bytes) -> Sps:
        """From a NAL unit of type 7 (7.3.2.1.1).

        Raises:
            MalformedError: it is cut off, or has values that the standard does not allow.
        """
        read = _Bits(nal)
        profile, constraints, level = read.bits(8), read.bits(8), read.bits(8)
        identity = read.ue()
        chroma, depth = 1, 8
        if profile in _HIGH_PROFILES:
            chroma, depth = _chroma_and_depth(read)
        read.ue()  # log2_max_frame_num_minus4
        _skip_order(read)
        references = read.ue()
        read.bits(1)  # gaps_in_frame_num_value_allowed_flag
        columns, rows = read.ue() + 1, read.ue() + 1
        progressive = bool(read.bits(1))
        if not progressive:
            read.bits(1)
        read.bits(1)  # direct_8x8_inference_flag
        left, right, top, bottom = [read.ue() for _ in range(4)] if read.bits(1) else [0] * 4
        unit_x, unit_y = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1) * (1 if progressive else 2)
        lines = 16 * rows * (1 if progressive else 2)
        width, height = 16 * columns - unit_x * (left + right), lines - unit_y * (top + bottom)
        if identity > 31 or references > 16 or max(columns, rows) > 1055 or min(width, height) < 1:
            raise MalformedError("a sequence parameter set has values that H.264 does not allow")
        dpb = max(1, references, (_vui_dpb(read) or 0) if read.bits(1) else 0)
        return cls(
            identity, profile, level, constraints, chroma, depth, width, height, (columns, rows), progressive, dpb
        )


def _chroma_and_depth(read: _Bits) -> tuple[int, int]:
    chroma = read.ue()
    if chroma == 3:
        read.bits(1)
    depth = 8 + max(read.ue(), read.ue())
    if chroma > 3 or depth > 14:
        raise MalformedError("a sequence parameter set has values that H.264 does not allow")
    read.bits(1)
    if read.bits(1):
        for number in range(12 if chroma == 3 else 8):
            if read.bits(1):
                _skip_scaling_list(read, 16 if number < 6 else 64)
    return chroma, depth


def _skip_scaling_list(read: _Bits, size: int) -> None:
    """7.3.2.1.1.1."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + read.se()) % 256
        last = following or last


def _skip_order(read: _Bits) -> None:
    kind = read.ue()
    if kind == 0:
        read.ue()
    elif kind == 1:
        read.bits(1)
        read.se()
        read.se()
        count = read.ue()
        if count > 255:
            raise MalformedError("a sequence parameter set has values that H.264 does not allow")
        for _ in range(count):
            read.se()
    elif kind > 2:
        raise MalformedError("a sequence parameter set has values that H.264 does not allow")


def _vui_dpb(read: _Bits) -> int | None:
    """max_dec_frame_buffering of the video usability information (E.1.1), where it is there."""
    if read.bits(1) and read.bits(8) == _EXTENDED_SAR:
        read.bits(32)
    if read.bits(1):
        read.bits(1)
    if read.bits(1):
        read.bits(4)
        if read.bits(1):
            read.bits(24)
    if read.bits(1):
        read.ue()
        read.ue()
    if read.bits(1):
        read.bits(65)
    hrd = [_skip_hrd(read) if read.bits(1) else False for _ in range(2)]
    if any(hrd):
        read.bits(1)
    read.bits(1)
    if not read.bits(1):
        return None
    read.bits(1)
    for _ in range(5):
        read.ue()
    return min(16, read.ue())


def _skip_hrd(read: _Bits) -> bool:
    """E.1.2."""
    count = read.ue() + 1
    if count > 32:
        raise MalformedError("a sequence parameter set has values that H.264 does not allow")
    read.bits(8)
    for _ in range(count):
        read.ue()
        read.ue()
        read.bits(1)
    read.bits(20)
    return True


@dataclass
class ParameterSets:
    """The sequence and picture parameter sets of one stream, by id."""

    sps: dict[int, bytes] = field(default_factory=dict)
    pps: dict[int, bytes] = field(default_factory=dict)

    def add(self, nal: bytes) -> bool:
        """Take a NAL unit of type 7 or 8 in. False if another one with its id is there already."""
        if len(nal) > 0xFFFF:
            raise MalformedError("a parameter set is too large for avcC")
        if nal_type(nal) == SPS:
            return self.sps.setdefault(Sps.parse(nal).id, nal) == nal
        identity = _Bits(nal).ue()
        if identity > 254:  # the standard allows 255, too; avcC cannot count 256 sets
            raise MalformedError("a picture parameter set has an id that H.264 does not allow")
        return self.pps.setdefault(identity, nal) == nal

    def add_all(self, nals: Iterable[bytes]) -> bool:
        """Take several in, up to the first that differs from one with its id; False if there is one."""
        return all(self.add(nal) for nal in nals)

    def free_id(self) -> int:
        """The lowest id from 1 on that no set has, fit for an SPS and a PPS.

        Raises:
            MalformedError: all 31 are taken.
        """
        for identity in range(1, 32):
            if identity not in self.sps and identity not in self.pps:
                return identity
        raise MalformedError("no id for another parameter set is left")

    def record(self) -> bytes:
        """The avcC record that holds all sets; it declares 4-byte lengths.

        Its profile is the first set's and its level the highest: a decoder that is ready for them can decode all.
        """
        parsed = [Sps.parse(nal) for nal in self.sps.values()]
        head, level = parsed[0], max(sps.level for sps in parsed)
        record = bytes([1, head.profile, head.constraints, level, 0xFC | 3, 0xE0 | len(parsed)])
        record += b"".join(len(nal).to_bytes(2, "big") + nal for nal in self.sps.values())
        record += bytes([len(self.pps)]) + b"".join(len(nal).to_bytes(2, "big") + nal for nal in self.pps.values())
        if head.profile in _HIGH_PROFILES:
            record += bytes([0xFC | head.chroma_format, 0xF8 | head.bit_depth - 8, 0xF8 | head.bit_depth - 8, 0])
        return record


def read_record(extradata: bytes) -> tuple[list[bytes], int | None]:
    """(parameter sets, size of the lengths before NAL units) out of an avcC record or Annex B; None says Annex B."""
    if not extradata or extradata[0] != 1:
        return [nal for nal in split(extradata, None) if nal_type(nal) in (SPS, PPS)], None
    if len(extradata) < 7:
        raise MalformedError("the avcC record is too short")
    nals, place = [], 5
    for mask in (31, 255):
        if place >= len(extradata):
            raise MalformedError("the avcC record is too short")
        count, place = extradata[place] & mask, place + 1
        for _ in range(count):
            length = int.from_bytes(extradata[place : place + 2], "big")
            nal, place = extradata[place + 2 : place + 2 + length], place + 2 + length
            if not length or len(nal) < length:
                raise MalformedError("the avcC record is too short")
            nals.append(nal)
    return nals, (extradata[4] & 3) + 1
