"""Noise, colour ramps and light: the material from which every scene of the sample film is made.

Scenes call these once, before their first frame, to paint large textures that they then warp and crop frame by frame.
All arrays are float32; images are RGB in 0..1, shape (height, width, 3).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# OpenCV does not declare the kind of number it returns, so neither do these; all of them are float32.
Plane = NDArray[Any]
Image = NDArray[Any]

HEIGHT, WIDTH, FPS = 360, 640, 25
"""The film's frame, in pixels, and its frames per second."""


def fractal(rng: np.random.Generator, shape: tuple[int, int], slope: float, longest_px: float = 1e9) -> Plane:
    """Tileable noise with amplitude ~ frequency**-slope: mean 0, standard deviation 1, shape (height, width).

    A slope near 1 is rough (sand), near 2 soft (clouds). Wavelengths above `longest_px` are left out. Spectral
    synthesis, after Saupe in "The Science of Fractal Images" (1988): it has no grid for the eye to find.
    """
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    frequency[0, 0] = np.inf
    gain = frequency**-slope * (frequency >= 1 / longest_px)
    return _unit(np.fft.irfft2(spectrum * gain, shape))


def band(rng: np.random.Generator, shape: tuple[int, int], wavelength_px: float, spread: float = 0.35) -> Plane:
    """Tileable smooth noise of about one wavelength: mean 0, standard deviation 1, shape (height, width)."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    frequency[0, 0] = 1e-9
    gain = np.exp(-0.5 * (np.log(frequency * wavelength_px) / spread) ** 2)
    return _unit(np.fft.irfft2(spectrum * gain, shape))


def ridged(rng: np.random.Generator, shape: tuple[int, int], longest_px: float, octaves: int) -> Plane:
    """Mountain-like relief in about 0..1: crests where noise crosses zero, finer ones on the crests of coarser.

    Musgrave's ridged multifractal ("Texturing and Modeling", ch. 16).
    """
    total = np.zeros(shape, np.float32)
    weight = np.ones(shape, np.float32)
    for octave in range(octaves):
        crest = np.clip(1 - np.abs(band(rng, shape, longest_px / 2**octave)) * 0.8, 0, 1) ** 2
        total += crest * weight * 0.5**octave
        weight = np.clip(crest * weight * 1.8, 0, 1)
    return (total / total.max()).astype(np.float32)


def ramp(value: Plane, stops: Sequence[tuple[float, str]]) -> Image:
    """Colour each value by its place between `stops`, (value, "#rrggbb") in rising order: shape value.shape + (3,)."""
    places = [place for place, _ in stops]
    colours = np.array([rgb(colour) for _, colour in stops])
    return np.stack([np.interp(value, places, colours[:, channel]) for channel in range(3)], -1).astype(np.float32)


def rgb(code: str) -> NDArray[np.float32]:
    """A colour written "#rrggbb" as three floats in 0..1."""
    return np.frombuffer(bytes.fromhex(code.removeprefix("#")), np.uint8).astype(np.float32) / np.float32(255)


def hillshade(height: Plane, relief: float, sun: tuple[float, float, float] = (-0.6, -0.5, 0.62)) -> Plane:
    """Lambert light in 0..1 on a height map; `sun` points from the ground to the light as (x, y, up)."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=relief / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=relief / 8)
    east, south, up = np.array(sun) / np.linalg.norm(sun)
    light = (up - slope_x * east - slope_y * south) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return np.clip(light, 0, 1).astype(np.float32)


def smoothstep(low: float | Plane, high: float | Plane, value: Plane) -> Plane:
    """0 below `low`, 1 above `high`, and a soft S between (the two may be in falling order)."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def mix(first: Image, second: Image, share: Plane) -> Image:
    """`first` where share is 0, `second` where it is 1; `share` has shape (height, width)."""
    return (first + (second - first) * share[..., None]).astype(np.float32)


def pixel_grid(height: int, width: int) -> tuple[Plane, Plane]:
    """x and y of every pixel, each of shape (height, width)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x, y


def wander(rng: np.random.Generator, frames: int, period_s: float) -> NDArray[np.float64]:
    """A smooth random walk around 0 with standard deviation about 1, one value a frame: a hand, or a breeze."""
    time_s = np.arange(frames) / FPS
    speeds = rng.uniform(0.5, 1.7, 6) / period_s
    phases = rng.uniform(0, 2 * np.pi, 6)
    waves = np.sin(2 * np.pi * speeds[:, None] * time_s + phases[:, None])
    return np.asarray(waves.sum(0) / np.sqrt(3))


def _unit(field: NDArray[np.float64]) -> Plane:
    return ((field - field.mean()) / field.std()).astype(np.float32)
