"""Who speaks when, against what is known: `speech` beside Resemblyzer with clustering and senko's own pipeline.

`python tests/benchmarks/diarization.py FILE…` takes recordings and films with their truth beside them: `.rttm`, or
`.json` with `utterances`. It prints DER and JER by file and over all, without a collar and with overlap scored (and DER
with a collar of 0.25 s, as NIST had it), confusion alone, voices found, and the speed on one core as a multiple of real
time, decoding and loading of weights left out.

Resemblyzer's window is its own (1.6 s, every 0.8 s), its speech Silero's, its clusters average linkage on cosine, at
the threshold that was best for it on the films that ours was set on. The package cannot be imported today (its own
imports are gone): its weights are read as tensors, into its network (`pip install --no-deps Resemblyzer`, and librosa).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import librosa
import numpy as np
import torch
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate
from rich.console import Console
from rich.table import Table
from scipy.cluster.hierarchy import fcluster, linkage

from curate.media.probe import probe
from curate.media.video import Timing
from stages.speech.diarization import turns
from stages.speech.embedders import embedder
from stages.speech.sound import RATE, Sound, decoded
from stages.speech.stage import Speech

Turns = list[tuple[float, float, str]]
RESEMBLYZER_DISTANCE = 0.375
WINDOW_S, EVERY_S = 1.6, 0.8


def ours(sound: Sound) -> Turns:
    how = Speech()
    found = turns(
        sound, embedder(how.embedder), how.distance, how.sure_s, how.gap_s, how.line_s, how.vad, lambda at_s: None
    )
    return [(t.start_s, t.end_s, f"{t.voice}" if t.voice >= 0 else f"unknown {n}") for n, t in enumerate(found)]


class Resemblyzer(torch.nn.Module):
    """Its network (Wan et al., 2018), and what its demonstration does with it."""

    def __init__(self, distance: float) -> None:
        super().__init__()
        self.distance = distance
        self.lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = torch.nn.Linear(256, 256)
        path = distribution("Resemblyzer").locate_file("resemblyzer/pretrained.pt")
        self.load_state_dict(torch.load(str(path), weights_only=True, map_location="cpu")["model_state"], strict=False)
        from silero_vad import load_silero_vad

        self.vad = load_silero_vad(sequence=True)

    def turns(self, sound: Sound) -> Turns:
        from silero_vad import get_speech_timestamps_from_probs

        samples = sound.part(0, len(sound.samples))
        samples = samples * min(1.0, 10 ** (-30 / 20) / max(float(np.sqrt((samples**2).mean())), 1e-5))
        mel = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=400, hop_length=160, n_mels=40).T
        spoken = get_speech_timestamps_from_probs(list(self.vad.audio_forward(sound.part(0, len(sound.samples)))))
        places, inputs = [], []
        for part in spoken:
            start, end = part["start"] / RATE, part["end"] / RATE
            count = max(1, int(np.ceil((end - start - WINDOW_S) / EVERY_S)) + 1)
            for n in range(count):
                at = start + n * EVERY_S
                # A window stands for its middle, the first and the last of a part for its ends too.
                low = start if n == 0 else at + (WINDOW_S - EVERY_S) / 2
                high = end if n == count - 1 else at + (WINDOW_S + EVERY_S) / 2
                places.append((low, high))
                first = round(at * 100)
                piece = mel[first : first + 160]
                inputs.append(np.pad(piece, ((0, 160 - len(piece)), (0, 0))).astype(np.float32))
        if not places:
            return []
        with torch.inference_mode():
            _, (hidden, _) = self.lstm(torch.from_numpy(np.stack(inputs)))
            vectors = torch.nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1).numpy()
        labels = [1] * len(places)
        if len(places) > 1:
            labels = fcluster(linkage(vectors, "average", "cosine"), self.distance, "distance").tolist()
        return [(low, high, str(label)) for (low, high), label in zip(places, labels, strict=True)]


def senko() -> Callable[[Sound], Turns]:
    from senko import Diarizer

    diarizer = Diarizer(device="cpu", warmup=False, quiet=True)
    diarizer._set_torch_num_threads = lambda num=None: torch.set_num_threads(1)  # it would take every core
    torch.set_num_threads(1)

    def run(sound: Sound) -> Turns:
        found = diarizer.diarize_samples(np.asarray(sound.samples), RATE)
        return [(s["start"], s["end"], s["speaker"]) for s in (found or {}).get("merged_segments", [])]

    return run


def truth(path: Path) -> Turns:
    told = path.with_suffix(".json")
    if told.exists():
        return [(u["start"], u["end"], u["character"]) for u in json.loads(told.read_text())["utterances"]]
    rows = [line.split() for line in path.with_suffix(".rttm").read_text().splitlines()]
    return [(float(r[3]), float(r[3]) + float(r[4]), r[7]) for r in rows]


def annotation(found: Turns) -> Annotation:
    made = Annotation()
    for n, (start, end, who) in enumerate(found):
        made[Segment(start, end), n] = who
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--resemblyzer-distance", type=float, default=RESEMBLYZER_DISTANCE)
    parser.add_argument("--only", help="one of speech, resemblyzer, senko")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    peers: dict[str, Callable[[Sound], Turns]] = {
        "speech": ours,
        "resemblyzer": Resemblyzer(arguments.resemblyzer_distance).turns,
    }
    if arguments.only in (None, "senko"):
        peers["senko"] = senko()
    table = Table("file", "by", "DER", "DER ±0.25 s", "JER", "confusion", "voices", "× real time")
    scores = {name: (DiarizationErrorRate(), DiarizationErrorRate(collar=0.5), JaccardErrorRate()) for name in peers}
    clock = dict.fromkeys(peers, 0.0)
    heard_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.files:
            source = probe(str(path), sound_only=True)
            sound = decoded(str(path), Timing.of(source), source["duration_s"], Path(folder), lambda at_s: None)
            known, whole = annotation(truth(path)), Timeline([Segment(0, sound.seconds)])
            heard_s += sound.seconds
            for name, run in peers.items():
                if arguments.only not in (None, name):
                    continue
                if not clock[name]:
                    run(sound)  # weights are loaded, Numba has compiled
                before = time.process_time()
                found = annotation(run(sound))
                took = time.process_time() - before
                clock[name] += took
                der, nist, jer = scores[name]
                parts = der(known, found, uem=whole, detailed=True)
                row = [f"{x:.3f}" for x in (parts["diarization error rate"], nist(known, found, uem=whole))]
                row += [f"{jer(known, found, uem=whole):.3f}", f"{parts['confusion']:.2f} s"]
                row += [f"{len(found.labels())} of {len(known.labels())}", f"{sound.seconds / took:.0f}"]
                table.add_row(path.stem, name, *row)
                print(path.stem, name, *row, file=sys.stderr)
    for name, metrics in scores.items():
        if clock[name]:
            values = [f"{abs(metric):.3f}" for metric in metrics]
            table.add_row("all", name, *values, f"{metrics[0]['confusion']:.2f} s", "", f"{heard_s / clock[name]:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
