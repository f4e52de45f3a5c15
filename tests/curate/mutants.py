"""Damage to media files, by chance from a seed: blind to what the bytes mean, and with an eye for it.

Blind damage mostly breaks a picture. What breaks a parser stands in the few bytes that say how long, how many, how
large and when, so half of the mutations look for those: MP4's boxes, Matroska's elements, AVI's chunks, Ogg's pages
(with their checksums put right again), and the parameter sets of H.264, HEVC, VP8 and AV1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Random = np.random.Generator
Mutator = Callable[[bytearray, Random], bool]
"""Damages the data in place; False where the data has nothing of the kind."""

WORDS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
LONG = (0, 1, 1 << 31, 1 << 32, 1 << 40, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def mutant(films: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    """One of the films, damaged in one to six ways, and what was done to it."""
    number = int(random.integers(len(films)))
    data, done = bytearray(films[number]), [f"#{number}"]
    if random.random() < 0.04:
        other = films[int(random.integers(len(films)))]
        data[_place(data, random) :] = other[_place(other, random) :]
        done.append("splice")
    names = list(MUTATORS)
    wanted = int(random.choice([1, 1, 1, 2, 2, 3, 4, 6]))
    for _ in range(40):
        if len(done) > wanted or not data:
            break
        name = names[int(random.integers(len(names)))]
        if MUTATORS[name](data, random):
            done.append(name)
    return bytes(data), " ".join(done)


def _place(data: bytes | bytearray, random: Random) -> int:
    """Somewhere in the data; half of the time near its beginning, where headers are."""
    size = len(data)
    if random.random() < 0.5:
        size = min(size, 1 << int(random.integers(4, 13)))
    return int(random.integers(max(1, size)))


def _length(random: Random, most: int) -> int:
    return int(min(max(1, most), 1 << int(random.integers(0, 12))))


def _flip(data: bytearray, random: Random) -> bool:
    for _ in range(int(random.choice([1, 2, 4, 16]))):
        data[_place(data, random)] ^= 1 << int(random.integers(8))
    return True


def _set(data: bytearray, random: Random) -> bool:
    for _ in range(int(random.choice([1, 2, 8]))):
        data[_place(data, random)] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, int(random.integers(256))]))
    return True


def _word(data: bytearray, random: Random) -> bool:
    """A telling number of 2, 4 or 8 bytes, either way round."""
    size = int(random.choice([2, 4, 8]))
    if len(data) < size:
        return False
    place = min(_place(data, random), len(data) - size)
    value = int(random.choice(WORDS)) if size < 8 else LONG[int(random.integers(len(LONG)))]
    order = "big" if random.random() < 0.6 else "little"
    data[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, order)
    return True


def _noise(data: bytearray, random: Random) -> bool:
    place = _place(data, random)
    length = _length(random, len(data) - place)
    data[place : place + length] = random.bytes(length)
    return True


def _copy(data: bytearray, random: Random) -> bool:
    place, target = _place(data, random), _place(data, random)
    length = _length(random, len(data) - place)
    data[target : target + length] = data[place : place + length]
    return True


def _insert(data: bytearray, random: Random) -> bool:
    place, target = _place(data, random), _place(data, random)
    data[target:target] = data[place : place + _length(random, len(data) - place)]
    return True


def _swap(data: bytearray, random: Random) -> bool:
    first, second = sorted((_place(data, random), _place(data, random)))
    length = _length(random, second - first)
    one, other = bytes(data[first : first + length]), bytes(data[second : second + length])
    data[second : second + length] = one
    data[first : first + length] = other
    return True


def _delete(data: bytearray, random: Random) -> bool:
    place = _place(data, random)
    del data[place : place + _length(random, len(data) - place)]
    return True


def _truncate(data: bytearray, random: Random) -> bool:
    del data[int(random.integers(len(data))) :]
    return True


# MP4

PARENTS = frozenset(b"moov trak mdia minf stbl edts udta mvex moof traf dinf meta ilst".split())
TABLES = frozenset(
    b"mvhd tkhd mdhd elst stsd stts ctts stsc stsz stco co64 stss mehd trex mfhd tfhd tfdt trun sidx hdlr dref "
    b"avcC hvcC av1C esds colr pasp tmcd cslg sdtp sgpd sbgp".split()
)


def boxes(data: bytes | bytearray, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, bytes]]:
    """(place, size, type) of each box, parents before their children."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        kind = bytes(data[start + 4 : start + 8])
        size = end - start if size in (0, 1) else size
        if size < 8 or start + size > end:
            return
        yield start, size, kind
        if kind in PARENTS:
            yield from boxes(data, start + 8, start + size)
        start += size


def _box_field(data: bytearray, random: Random) -> bool:
    """A number in one of the tables that say where, when and how large."""
    found = [box for box in boxes(data) if box[2] in TABLES]
    if not found:
        return False
    place, size, kind = found[int(random.integers(len(found)))]
    if kind == b"stsd":  # mostly past its first entry's head: the sizes, and the codec's own boxes
        at = place + 8 + int(random.integers(max(1, size - 8)))
        data[at : at + 2] = int(random.choice(WORDS) % 65536).to_bytes(2, "big")
        return True
    words = max(1, (size - 8) // 4)
    at = place + 8 + 4 * int(min(random.integers(words), random.integers(words)))
    old = int.from_bytes(data[at : at + 4], "big")
    value = int(random.choice([*WORDS, old + 1, old - 1, old * 2, random.integers(1 << 32)])) % (1 << 32)
    data[at : at + 4] = value.to_bytes(4, "big")
    return True


def _box_size(data: bytearray, random: Random) -> bool:
    found = list(boxes(data))
    if not found:
        return False
    place, size, _ = found[int(random.integers(len(found)))]
    value = int(random.choice([*WORDS, size - 1, size + 1, size - 4, size * 2, 8, 16])) % (1 << 32)
    data[place : place + 4] = value.to_bytes(4, "big")
    return True


def _box_moved(data: bytearray, random: Random) -> bool:
    """A box doubled, taken out, or renamed, the sizes around it put right."""
    found = [box for box in boxes(data) if box[2] != b"mdat"]
    if not found:
        return False
    place, size, _ = found[int(random.integers(len(found)))]
    around = [(at, long) for at, long, _ in found if at < place and place + size <= at + long]
    what = int(random.integers(3))
    if what == 2:
        data[place + 4 : place + 8] = found[int(random.integers(len(found)))][2]
        return True
    change = size if what else -size
    for at, long in around:
        data[at : at + 4] = (long + change).to_bytes(4, "big")
    if what:
        data[place:place] = data[place : place + size]
    else:
        del data[place : place + size]
    return True


# Matroska

MASTERS = frozenset(
    bytes.fromhex(one)
    for one in "1A45DFA3 18538067 1549A966 1654AE6B AE E0 E1 1F43B675 A0 1C53BB6B BB B7 1941A469 61A7 114D9B74 "
    "4DBB 6D80 6240 5034".split()
)


def elements(data: bytes | bytearray, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, bytes]]:
    """(place of the size, place of the payload, its length, id) of each EBML element."""
    end = len(data) if end is None else end
    while start + 2 <= end:
        width = 9 - data[start].bit_length()
        if width > 4:
            return
        at = start + width
        kind = bytes(data[start:at])
        if at >= end or not data[at]:
            return
        size_width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + size_width], "big") & ((1 << 7 * size_width) - 1)
        payload = at + size_width
        if size == (1 << 7 * size_width) - 1:
            size = end - payload
        yield at, payload, size, kind
        if kind in MASTERS:
            yield from elements(data, payload, min(end, payload + size))
        start = payload + size


def _element(data: bytearray, random: Random) -> bool:
    if data[:4] != b"\x1a\x45\xdf\xa3":
        return False
    found = list(elements(data))
    if not found:
        return False
    at, payload, size, kind = found[int(random.integers(len(found)))]
    width = payload - at
    what = random.random()
    if what < 0.3:
        value = int(random.choice([0, 1, size + 1, size * 2, (1 << 7 * width) - 1, (1 << 7 * width) - 2]))
        data[at:payload] = (value % (1 << 7 * width) | 1 << 7 * width).to_bytes(width, "big")
    elif what < 0.75 and kind not in MASTERS:
        length = min(size, 8)
        value = int(random.choice([*LONG[:-3], int(random.integers(1 << 62)), *map(int, WORDS)])) % (1 << 8 * length)
        data[payload : payload + length] = value.to_bytes(length, "big")
    elif what < 0.9:
        data[payload:payload] = random.bytes(int(random.integers(1, 9)))
    else:
        del data[at - len(kind) : payload + size]
    return True


# RIFF, Ogg, and the bits of codecs


def _chunk(data: bytearray, random: Random) -> bool:
    """AVI: a number in the headers, the index, or a chunk's size."""
    if data[:4] != b"RIFF":
        return False
    marks = [at for name in (b"avih", b"strh", b"strf", b"idx1", b"00dc", b"01wb", b"LIST") for at in _all(data, name)]
    if not marks:
        return False
    at = marks[int(random.integers(len(marks)))] + 4 + 4 * int(random.integers(0, 12))
    data[at : at + 4] = int(random.choice(WORDS)).to_bytes(4, "little")
    return True


def _all(data: bytes | bytearray, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


_CRC = [0] * 256
for _number in range(256):
    _value = _number << 24
    for _ in range(8):
        _value = (_value << 1 ^ (0x04C11DB7 if _value >> 31 else 0)) & 0xFFFFFFFF
    _CRC[_number] = _value


def _page(data: bytearray, random: Random) -> bool:
    """Ogg: a granule position, a lacing value or the packet's head, with the page's checksum right."""
    pages = list(_all(data, b"OggS"))
    if not pages or data[:4] != b"OggS":
        return False
    number = int(random.integers(len(pages)))
    start, end = pages[number], [*pages[1:], len(data)][number]
    what = random.random()
    if what < 0.4:
        data[start + 6 : start + 14] = LONG[int(random.integers(len(LONG)))].to_bytes(8, "little")
    else:
        at = start + int(random.integers(26, max(27, min(end - start, 80))))
        if at < len(data):
            data[at] = int(random.integers(256))
    data[start + 22 : start + 26] = bytes(4)
    crc = 0
    for byte in data[start:end]:
        crc = (crc << 8 ^ _CRC[crc >> 24 ^ byte]) & 0xFFFFFFFF
    data[start + 22 : start + 26] = crc.to_bytes(4, "little")
    return True


def _parameter_set(data: bytearray, random: Random) -> bool:
    """Bits of the first bytes of a parameter set, wherever one stands: behind a start code, or in avcC or hvcC."""
    marks = [
        at + 3 for mark in (b"\0\0\1\x67", b"\0\0\1\x68", b"\0\0\1\x42\1", b"\0\0\1\x40\1") for at in _all(data, mark)
    ]
    marks += [at + 4 + 8 for at in _all(data, b"avcC")] + [at + 4 + 26 for at in _all(data, b"hvcC")]
    marks += [at + 3 for at in _all(data, b"\0\0\1\xb3")] + [at + 3 for at in _all(data, b"\0\0\1\xb5")]  # MPEG-2
    marks += [at + 3 for at in _all(data, b"\0\0\1\x20")]  # MPEG-4
    marks += [at + 3 for at in _all(data, b"\x9d\1\x2a")]  # VP8: width and height
    marks += [at + 8 for at in _all(data, b"av1C")] + [at + 2 for at in _all(data, b"\x12\0\x0a")]
    if not marks:
        return False
    at = marks[int(random.integers(len(marks)))] + int(random.integers(24))
    if at >= len(data):
        return False
    data[at] = data[at] ^ (1 << int(random.integers(8))) if random.random() < 0.6 else int(random.integers(256))
    return True


class Golomb:
    """Reads and writes the bits of an H.264 sequence parameter set."""

    def __init__(self, data: bytes) -> None:
        self.bits = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def take(self, count: int) -> int:
        value = int(self.bits[self.at : self.at + count] or "0", 2)
        self.at += count
        return value

    def golomb(self) -> int:
        zeros = 0
        while self.at < len(self.bits) and self.bits[self.at] == "0":
            zeros, self.at = zeros + 1, self.at + 1
        return self.take(zeros + 1) - 1


def golomb(value: int) -> str:
    """Unsigned Exp-Golomb code, as bits."""
    text = f"{value + 1:b}"
    return "0" * (len(text) - 1) + text


def _sps(data: bytearray, random: Random) -> bool:
    """H.264: one number of a sequence parameter set written anew: frame numbers, references, width, height."""
    marks = [at + 3 for at in _all(data, b"\0\0\1\x67")] + [at + 4 + 8 for at in _all(data, b"avcC")]
    if not marks:
        return False
    at = marks[int(random.integers(len(marks)))]
    end = at + 40
    read = Golomb(bytes(data[at + 4 : end]))
    high = data[at + 1 : at + 2] in (b"\x64", b"\x6e", b"\x7a", b"\xf4")
    fields = [read.golomb()]  # seq_parameter_set_id
    fixed: dict[int, str] = {}
    if high:
        fields += [read.golomb(), read.golomb(), read.golomb()]  # chroma_format_idc, two bit depths
        fixed[len(fields)] = f"{read.take(2):02b}"
    fields += [read.golomb(), read.golomb()]  # log2_max_frame_num, pic_order_cnt_type
    if fields[-1] == 0:
        fields.append(read.golomb())
    fields.append(read.golomb())  # max_num_ref_frames
    fixed[len(fields)] = f"{read.take(1):b}"
    fields += [read.golomb(), read.golomb()]  # width and height in macroblocks
    chosen = int(random.integers(len(fields)))
    fields[chosen] = int(random.choice([0, 1, 5, 16, 17, 32, 255, 1054, 1055, 4095, 65535, (1 << 31) - 1]))
    text = "".join(fixed.get(number, "") + golomb(value) for number, value in enumerate(fields)) + read.bits[read.at :]
    size = end - at - 4
    new = int(text[: 8 * size].ljust(8 * size, "0"), 2).to_bytes(size, "big")
    data[at + 4 : min(end, len(data))] = new[: max(0, len(data) - at - 4)]
    return True


def _stamp(data: bytearray, random: Random) -> bool:
    """The time of a packet of MPEG's program and transport streams, FLV or IVF."""
    if data[:4] == b"DKIF":
        marks, value = [4, 6, 12, 14, 16, 20, 24, 32, 36, 40], int(random.choice(WORDS))
        at = marks[int(random.integers(len(marks)))]
        data[at : at + 4] = struct.pack("<I", value)
        return True
    if data[:3] == b"FLV":
        tags = [at for mark in (b"\x09\0", b"\x08\0") for at in _all(data, mark)]
        if not tags:
            return False
        at = tags[int(random.integers(len(tags)))]
        data[at + 4 : at + 8] = struct.pack(">I", int(random.choice(WORDS)))
        return True
    marks = [at for mark in (b"\0\0\1\xe0", b"\0\0\1\xc0", b"\0\0\1\xba") for at in _all(data, mark)]
    if not marks:
        return False
    at = marks[int(random.integers(len(marks)))] + int(random.integers(4, 19))
    data[at : at + 2] = random.bytes(2)
    return True


MUTATORS: Mapping[str, Mutator] = {
    "flip": _flip,
    "set": _set,
    "word": _word,
    "noise": _noise,
    "copy": _copy,
    "insert": _insert,
    "swap": _swap,
    "delete": _delete,
    "truncate": _truncate,
    "box field": _box_field,
    "box field again": _box_field,
    "box size": _box_size,
    "box moved": _box_moved,
    "element": _element,
    "chunk": _chunk,
    "page": _page,
    "parameter set": _parameter_set,
    "sps": _sps,
    "stamp": _stamp,
}
