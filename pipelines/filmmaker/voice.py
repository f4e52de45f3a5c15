"""The sound: babble with the rhythm, pitch and resonances of speech over a quiet room, as long as the film.

Each glottal pulse rings the formants of the vocal tract as they stand at that moment (Rodet's FOF synthesis, 1984), so
a voice activity detector hears a voice and a speaker model hears two. No words are said.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.filmmaker.film import Film
from pipelines.filmmaker.texture import FPS

SAMPLE_RATE = 48_000
Sound = NDArray[np.float32]

# First three formants in Hz of an adult man's vowels: Peterson and Barney (1952).
VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (570, 840, 2410),
    (530, 1840, 2480),
    (660, 1720, 2410),
    (490, 1350, 1690),
)
BANDWIDTHS_HZ = np.array([70.0, 95.0, 130.0, 220.0])
LOUDNESS = np.array([1.0, 0.5, 0.28, 0.14])
STEP_S = 0.002  # the controls' resolution


class Voice(NamedTuple):
    """A speaker: mean pitch in Hz, formants relative to the table's, syllables a second."""

    pitch_hz: float
    tract: float
    syllables_per_s: float


VOICES = {"low": Voice(112.0, 0.98, 4.3), "high": Voice(208.0, 1.17, 5.0)}


class Controls(NamedTuple):
    """What the mouth does over a phrase, a value each STEP_S: formants have shape (steps, 4)."""

    pitch_hz: NDArray[np.float64]
    voicing: NDArray[np.float64]
    hiss: NDArray[np.float64]
    formants_hz: NDArray[np.float64]


def record(film: Film) -> tuple[Sound, list[dict[str, float | str]]]:
    """The film's sound, mono at 48 kHz in -1..1, and its phrases: start_s, end_s and voice of each."""
    samples = film.frame_count * SAMPLE_RATE // FPS
    rng = np.random.default_rng([take.seed for take in (shot.take for shot in film.shots)])
    sound = _room(rng, samples)
    phrases: list[dict[str, float | str]] = []
    for shot in film.shots:
        for part in shot.take.speech:
            offset_s = shot.start / FPS
            for start_s, end_s in _phrases(rng, offset_s + part.start_s, offset_s + part.end_s):
                spoken = _speak(rng, VOICES[part.voice], end_s - start_s)
                first = round(start_s * SAMPLE_RATE)
                spoken = spoken[: samples - first]
                sound[first : first + len(spoken)] += spoken
                phrases.append({"start_s": round(start_s, 3), "end_s": round(end_s, 3), "voice": part.voice})
    return np.clip(sound, -1, 1), phrases


def _room(rng: np.random.Generator, samples: int) -> Sound:
    """Air: soft noise that falls with frequency, swelling slowly, near -48 dBFS."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / (1 + frequency_hz / 300) * (frequency_hz > 40), samples)
    swell = 1 + 0.3 * np.sin(2 * np.pi * 0.11 * np.arange(samples) / SAMPLE_RATE)
    return (0.004 * noise / noise.std() * swell).astype(np.float32)


def _phrases(rng: np.random.Generator, start_s: float, end_s: float) -> Iterator[tuple[float, float]]:
    """Split a stretch of speech into breaths of a few seconds with pauses between."""
    while end_s - start_s > 0.6:
        stop_s = min(start_s + rng.uniform(1.6, 3.2), end_s)
        if end_s - stop_s < 1.2:
            stop_s = end_s
        yield start_s, stop_s
        start_s = stop_s + rng.uniform(0.45, 0.8)


def _speak(rng: np.random.Generator, voice: Voice, seconds: float) -> Sound:
    controls = _controls(rng, voice, seconds)
    samples = round(seconds * SAMPLE_RATE)
    ring = np.arange(round(0.03 * SAMPLE_RATE)) / SAMPLE_RATE
    # The pulse opens over a third of a millisecond rather than at once: this is the glottis's spectral tilt.
    opening = 1 - np.exp(-ring / 0.00035)
    voiced = np.zeros(samples + len(ring))
    moment_s = 0.0
    while moment_s < seconds - STEP_S:
        step = int(moment_s / STEP_S)
        decay = np.exp(-np.pi * BANDWIDTHS_HZ[:, None] * ring)
        waves = np.sin(2 * np.pi * controls.formants_hz[step][:, None] * ring)
        level = controls.voicing[step] * (1 + 0.06 * rng.standard_normal())
        first = round(moment_s * SAMPLE_RATE)
        voiced[first : first + len(ring)] += level * opening * (LOUDNESS[:, None] * decay * waves).sum(0)
        moment_s += (1 + 0.012 * rng.standard_normal()) / controls.pitch_hz[step]
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    hiss = np.fft.irfft(spectrum * np.exp(-(((frequency_hz - 5200) / 2600) ** 2)), samples)
    envelope = np.interp(np.arange(samples) / SAMPLE_RATE, np.arange(len(controls.hiss)) * STEP_S, controls.hiss)
    sound = 0.27 * voiced[:samples] + 0.07 * hiss / hiss.std() * envelope
    edge = np.minimum(1, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (0.012 * SAMPLE_RATE))
    return (sound * edge).astype(np.float32)


def _controls(rng: np.random.Generator, voice: Voice, seconds: float) -> Controls:
    """Syllable after syllable, a consonant and a vowel each; smoothing lets every sound lean on its neighbours."""
    steps = int(seconds / STEP_S) + 1
    voicing, hiss = np.zeros(steps), np.zeros(steps)
    formants = np.zeros((steps, 4))
    accent = np.zeros(steps)
    step = 0
    while step < steps:
        vowel = np.array([*VOWELS[int(rng.integers(len(VOWELS)))], 3500]) * voice.tract
        length = int(rng.uniform(0.75, 1.3) / voice.syllables_per_s / STEP_S)
        onset = int(length * rng.uniform(0.2, 0.38))
        stressed = rng.random() < 0.4
        consonant, rest = slice(step, step + onset), slice(step + onset, step + length)
        formants[consonant] = 0.5 * vowel + 0.5 * np.array([280, rng.uniform(900, 2000), 2500, 3500]) * voice.tract
        formants[rest] = vowel
        voicing[rest] = rng.uniform(0.7, 0.85) + 0.25 * stressed
        accent[rest] = 0.14 * stressed
        kind = rng.choice(("stop", "fricative", "nasal"), p=(0.35, 0.25, 0.4))
        if kind == "stop":
            hiss[step + onset - 8 : step + onset] = 0.5
        elif kind == "fricative":
            hiss[consonant] = 0.55
        else:
            voicing[consonant] = 0.38
        step += length
    tune = 1.12 - 0.24 * np.linspace(0, 1, steps) + _smooth(accent, 0.05)
    return Controls(
        voice.pitch_hz * tune,
        _smooth(voicing, 0.012),
        _smooth(hiss, 0.006),
        np.stack([_smooth(track, 0.022) for track in formants.T], -1),
    )


def _smooth(track: NDArray[np.float64], spread_s: float) -> NDArray[np.float64]:
    """Gaussian smoothing; the ends are held, so that a formant never falls to zero."""
    reach = int(3 * spread_s / STEP_S) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_S / spread_s) ** 2)
    return np.asarray(np.convolve(np.pad(track, reach, mode="edge"), kernel / kernel.sum(), "valid"))
