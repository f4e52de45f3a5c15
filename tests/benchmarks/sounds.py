"""How rightly `speech` calls music music: on sound that is music, on sound that is not, and on speech over music.

`python tests/benchmarks/sounds.py --music FILE… --other FILE…` prints for each file which share of its seconds is told
as music, noise and speech, then the same for the speech of `--other` mixed over the music at three levels, where all is
music; and the speed of the whole stage on one core, transcription apart, as a multiple of real time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from curate.media.probe import probe
from curate.media.video import Timing
from stages.speech.diarization import turns
from stages.speech.embedders import embedder
from stages.speech.events import events
from stages.speech.sound import RATE, Sound, decoded
from stages.speech.stage import Speech

LOUDER_DB = (20, 10, 0)
"""By how much speech is louder than music in the mixes: the range of films' mixes."""


def shares(sound: Sound) -> tuple[dict[str, float], float]:
    """Share of the sound by kind, and how long listening took, seconds of the core."""
    how, quiet = Speech(), lambda at_s: None
    began = time.process_time()
    said = turns(sound, embedder(), how.distance, how.sure_s, how.gap_s, how.line_s, how.vad, quiet)
    heard = events(sound, quiet)
    found = {"music": 0.0, "noise": 0.0, "speech": sum(t.end_s - t.start_s for t in said)}
    for kind, start_s, end_s in heard.spans(said):
        found[kind] += end_s - start_s
    return {kind: seconds / sound.seconds for kind, seconds in found.items()}, time.process_time() - began


def mixed(voice: Sound, music: Sound, louder_db: float) -> Sound:
    """Speech over music, the louder as loud as it was."""
    one, other = (s.part(0, len(s.samples)) for s in (voice, music))
    other = np.resize(other, len(one))
    level = [np.sqrt((x**2).mean()) + 1e-9 for x in (one, other)]
    both = one + other * level[0] / level[1] * 10 ** (-louder_db / 20)
    return Sound((np.clip(both, -1, 1) * 32767).astype("<i2"), 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--music", type=Path, nargs="+", required=True)
    parser.add_argument("--other", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("sound", "seconds", "music", "noise", "speech", "x real time")
    sounds: dict[Path, Sound] = {}
    with tempfile.TemporaryDirectory() as folder:
        for n, path in enumerate([*arguments.music, *arguments.other]):
            place = Path(folder) / str(n)
            place.mkdir()
            source = probe(str(path), sound_only=True)
            sounds[path] = decoded(str(path), Timing.of(source), source["duration_s"], place, lambda at_s: None)
        shares(next(iter(sounds.values())))  # weights are loaded

        def add(name: str, sound: Sound) -> None:
            of, took = shares(sound)
            told = [f"{of[kind]:.2f}" for kind in ("music", "noise", "speech")]
            table.add_row(name, f"{sound.seconds:.0f}", *told, f"{sound.seconds / took:.0f}")

        for path, sound in sounds.items():
            add(path.stem, sound)
        for louder in LOUDER_DB:
            for music in arguments.music:
                for voice in arguments.other:
                    first = Sound(sounds[voice].samples[: 30 * RATE], 0, 1)
                    add(f"{voice.stem} {louder} dB over {music.stem}", mixed(first, sounds[music], louder))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
