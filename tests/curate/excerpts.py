"""A few seconds of real footage, cut by copying packets: what is tested is not the encoder."""

from __future__ import annotations

from pathlib import Path

import av


def excerpt(source: Path, target: Path, seconds: float, slower: int = 1) -> Path:
    """Copy the pictures before `seconds`, and show each `slower` times as long. The same bytes each time."""
    exact = {"fflags": "+bitexact"}  # without it Matroska numbers its tracks by chance
    with av.open(str(source)) as old, av.open(str(target), "w", options=exact) as new:
        stream = old.streams.video[0]
        out = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.dts is not None and packet.pts * packet.time_base < seconds:
                times = (packet.pts, packet.dts, packet.duration)
                packet.pts, packet.dts, packet.duration = (slower * t for t in times)
                packet.stream = out
                new.mux(packet)
    return target
