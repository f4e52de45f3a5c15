"""Parameter sets are read as they were written, and hostile bytes are read or refused, never worse."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.media.h264 import MalformedError, ParameterSets, Sps, read_record, split
from tests.curate.copyable import MEDIUM
from tests.curate.films import film, steady


@pytest.mark.parametrize(("size", "profile"), [((96, 64), "baseline"), ((90, 50), "high"), ((1280, 720), "main")])
def test_sequence_parameter_set(tmp_path: Path, size: tuple[int, int], profile: str) -> None:
    path = film(tmp_path / "a.mp4", steady(3), size=size, options=MEDIUM | {"profile": profile, "x264-params": "ref=4"})
    with av.open(str(path)) as box:
        nals, length = read_record(box.streams.video[0].codec_context.extradata or b"")
    sps = Sps.parse(nals[0])
    assert length == 4
    assert (sps.width, sps.height, sps.progressive, sps.chroma_format, sps.bit_depth) == (*size, True, 1, 8)
    assert sps.profile == {"baseline": 66, "main": 77, "high": 100}[profile]
    assert sps.dpb_frames == 4
    sets = ParameterSets()
    assert sets.add_all(nals)
    assert read_record(sets.record()) == (nals, 4)


def test_colours_that_no_h264_has_are_malformed() -> None:
    """Found by fuzzing: such a set could not be written into a record."""
    with pytest.raises(MalformedError, match="does not allow"):
        Sps.parse(bytes.fromhex("676400138040de532641affa9f"))


@given(st.binary(max_size=80))
def test_hostile_bytes_are_malformed_or_read(data: bytes) -> None:
    for read in (
        lambda: Sps.parse(b"\x67" + data),
        lambda: ParameterSets().add(b"\x68" + data),
        lambda: read_record(b"\1" + data),
        lambda: list(split(data, 4)),
        lambda: list(split(data, None)),
    ):
        with suppress(MalformedError):
            read()
