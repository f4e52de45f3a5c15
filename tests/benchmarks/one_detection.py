"""Finds the boundaries of one film by one detector in a process of its own, and prints them and what they cost as JSON.

`python one_detection.py FILM DETECTOR`; `cuts.py` starts it. Imports and the loading of weights are not counted: a
worker's process does them once, for all its sources. `bare` as the detector is PyAV's decode loop alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import av.logging
import cv2
from one_pass import bare, cpu_s

from curate.analyze import Interval, analyze
from curate.dataset import to_arrow
from curate.media.probe import probe
from schemas import sources
from stages.cuts import transnet
from stages.cuts.classifier import bundled
from stages.cuts.signals import Signals
from stages.cuts.stage import Cuts
from stages.takes import Takes


def main() -> None:
    path, detector = sys.argv[1:]
    av.logging.set_level(None)
    cv2.setNumThreads(1)  # as in the engine's decoding process
    bundled()
    transnet.network()
    before = cpu_s()
    if detector == "bare":
        print(json.dumps({"frames": bare(path), "cpu_s": cpu_s() - before}))
        return
    source = {"source_id": "0" * 32, "path": path, "paths": [path], "user": "{}", **probe(path)}
    _, tables = analyze(path, source, {Signals.name: Signals().model_dump()}, Interval().dump(), lambda at_s: None)
    work = SimpleNamespace(source=nullcontext, progress=lambda at_s: None, scratch=Path(tempfile.gettempdir()))
    tables["sources"] = to_arrow(sources.SOURCES, [source])
    rows = list(Cuts(detector=detector).run(tables, work))
    tables["boundaries"] = to_arrow(Cuts.writes, rows)
    takes = list(Takes().run(tables, work))
    took = cpu_s() - before
    found = [(r["start_frame"], r["end_frame"]) for r in rows if r["accepted"] and r["kind"] != "end"]
    spans = [(t["start_frame"], t["end_frame"]) for t in takes if t["long_enough"]]
    print(json.dumps({"boundaries": found, "takes": spans, "cpu_s": took, "looked": rows[-1]["detector"]}))


if __name__ == "__main__":
    main()
