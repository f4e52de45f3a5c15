"""Decodes one film in a process of its own and prints what that took as JSON; `analysis.py` starts it.

`python one_pass.py FILM [PROBE...]`: with no probe it is PyAV's bare decode loop, with probes the one-pass analysis.
Both open the file by the same options and decode on one thread. Imports are not counted.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path

import av.logging
import cv2

from curate.analyze import Interval, analyze
from curate.media.container import open_media
from curate.media.probe import probe
from curate.plugins import stage_class


def bare(path: str) -> int:
    """The number of frames that PyAV decodes."""
    with open_media(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def analysed(path: str, probes: list[str]) -> int:
    """The number of frames that the probes saw."""
    source = {"source_id": "0" * 32, "path": path, **probe(path)}
    parameters = {name: stage_class(name)().model_dump(mode="json") for name in probes}
    header, _ = analyze(path, source, parameters, Interval().dump(), lambda video_s: None)
    if header["failures"]:
        raise RuntimeError(header["failures"])
    return int(header["decode"]["frames"])


def cpu_s() -> float:
    """User and system seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    path, *probes = sys.argv[1:]
    av.logging.set_level(None)
    cv2.setNumThreads(1)  # as in the engine's decoding process
    for name in probes:
        stage_class(name)
    before = cpu_s()
    frames = analysed(path, probes) if probes else bare(path)
    took = cpu_s() - before
    # Not ru_maxrss: a child inherits the peak of the process that started it.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"frames": frames, "cpu_s": took, "peak_mib": int(peak[1]) / 1024}))


if __name__ == "__main__":
    main()
